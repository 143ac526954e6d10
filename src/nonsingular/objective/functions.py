"""Functions of the user's own, whose backward pass is held against their forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nonsingular.objective.graph import behind
from nonsingular.objective.trees import tensors

STEP = 1e-5
APART = 1e-2
"""Share of their size that inputs are moved by first: many lie on a kink, as padding does, and none of them then."""
LARGER = (1e-2, 3e-2, 1e-1)
"""Steps as shares of the inputs' size: some digits of 16 bits."""
ROUGH = 0.3
"""Share of a sum's usual size by which rounding to 16 bits may change its difference quotient."""
SMOOTH = 1e-3
"""Change of a difference quotient with its step, as a part of the usual one, beyond which there is a jump or kink."""


@dataclass(frozen=True)
class Applied:
    """A call of a function: its class, what it was given, and where the user called it."""

    function: Any
    args: tuple[Any, ...]
    where: str


def own_functions(found: Iterable[Tensor | None]) -> list[Any]:
    """Classes of functions in the graph of some tensors that are no part of torch."""
    classes = dict[Any, None]()
    for node in behind([None if t is None else t.grad_fn for t in found]):
        cls = getattr(type(node), "_forward_cls", None)
        if cls is not None and not cls.__module__.startswith("torch"):
            classes[cls] = None
    return list(classes)


@contextmanager
def applied(classes: list[Any], where: Callable[[], str] = str) -> Iterator[list[Applied]]:
    """Within, calls of these functions are kept."""
    calls: list[Applied] = []

    def listened(cls: Any, original: Any) -> Any:
        apart = cls.setup_context is not Function.setup_context  # then forward is not given the context

        def forward(*args: Any) -> Any:
            calls.append(Applied(cls, args if apart else args[1:], where()))
            return original(*args)

        return staticmethod(forward)

    kept = [(cls, cls.__dict__.get("forward"), cls.forward) for cls in classes]
    for cls, _, original in kept:
        cls.forward = listened(cls, original)
    try:
        yield calls
    finally:
        for cls, own, _ in kept:
            if own is None:
                del cls.forward
            else:
                cls.forward = own


class Probe:
    """A call's function in float64 near where it was called, along a random direction.

    Of what it returns, a random sum is looked at, but for entries that jump or have a kink there.

    Attributes:
        identity: whether the function returns what it is given.
        found: the sum's slope by central differences.
        told: by its backward pass.

    Raises:
        NothingToSay: most of it jumps, it has no gradient, or does not compute in float64.
    """

    def __init__(self, call: Applied) -> None:
        self._function, self._random = call.function, torch.Generator().manual_seed(0)
        self._args = [a.detach().double() if _is_float(a) else a for a in call.args]
        places = [i for i, a in enumerate(call.args) if _is_float(a) and a.requires_grad]
        for i in places:
            self._args[i] = self._args[i] + APART * self._args[i].square().mean().sqrt() * self._draw(self._args[i])
        self._ways = {i: self._draw(self._args[i]) for i in places}
        with _saying_nothing():
            found, finer = (self._quotients(step) for step in (STEP, STEP / 10))
            self._weights = [self._draw(q) * s for q, s in zip(found, _smooth(found, finer), strict=True)]
            self.identity = any(torch.equal(self._args[i], o) for i in places for o in self._outs(0.0))
            pass_ = self._backward(0.0)
        self._used = pass_.used
        self.told = float(pass_.slope)
        self.found = sum(float((found[i] * self._weights[i]).sum()) for i in self._used)

    def forwards(self) -> float:
        """The sum's slope by the derivative of the backward pass, which is linear: 0 where it has none."""
        with _saying_nothing():
            back = self._backward(0.0, graph=True)
            return float(_dot(back.derivative(back.weights), back.weights).detach())

    def rounds(self) -> bool:
        """Whether the function computes in 16 bits, and has the slope that is told in steps larger than their digits.

        Smaller ones change nothing. Steps of another kind differ for inputs that are rounded first.
        """
        with _saying_nothing():
            if not any(self._blind_to(dtype) for dtype in (torch.bfloat16, torch.float16)):
                return False
            size = max(float(self._args[i].square().mean().sqrt()) for i in self._ways)
            return any(self._agrees(step * size) for step in LARGER)

    def bends(self) -> tuple[float, float]:
        """The slope of that slope along the same direction: by the backward pass's own derivative, and by differences.

        Raises:
            NothingToSay: it jumps.
        """
        with _saying_nothing():
            back = self._backward(0.0, graph=True)
            told = float(_dot(back.derivative(back.points), self._ways.values()))
            found, finer = (self._bend(step) for step in (STEP, STEP / 10))
            if found == finer == 0 != told:  # a backward pass in 16 bits, if larger steps change it
                found, finer = (self._bend(step) for step in (LARGER[-1], LARGER[0]))
        if not abs(found - finer) <= SMOOTH * (abs(finer) + abs(self.told)):
            raise NothingToSay
        return told, found

    def _blind_to(self, dtype: torch.dtype) -> bool:
        """Whether inputs that are rounded to a precision give the same."""
        rounded = [a.to(dtype).double() if i in self._ways else a for i, a in enumerate(self._args)]
        return all(map(torch.equal, self._of(rounded), self._outs(0.0)))

    def _agrees(self, step: float) -> bool:
        """Whether quotients hardly depend on the step, as those across a few jumps do, and their sum is what is told.

        But for rounding, which is measured by what such a sum usually is.
        """
        whole, half = self._quotients(step), self._quotients(step / 2)
        terms, finer = (torch.cat([(q[i] * self._weights[i]).flatten() for i in self._used]) for q in (whole, half))
        rough = ROUGH * float(terms.norm())
        return float((terms - finer).norm()) <= rough and abs(float(terms.sum()) - self.told) <= rough

    def _draw(self, t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=self._random, dtype=torch.float64).to(t.device)

    def _moved(self, step: float) -> list[Any]:
        return [a + step * self._ways[i] if i in self._ways else a for i, a in enumerate(self._args)]

    def _outs(self, step: float) -> list[Tensor]:
        return self._of(self._moved(step))

    def _of(self, args: list[Any]) -> list[Tensor]:
        with torch.no_grad():
            return [t for t in tensors(self._function.apply(*args)) if t.is_floating_point()]

    def _quotients(self, step: float) -> list[Tensor]:
        """Central differences of all that the function returns."""
        pairs = zip(self._outs(step), self._outs(-step), strict=True)
        return [(ahead - behind).double() / (2 * step) for ahead, behind in pairs]

    def _bend(self, step: float) -> float:
        """The central difference of the sum's slope."""
        ahead, behind = (float(self._backward(sign * step).slope) for sign in (1, -1))
        return (ahead - behind) / (2 * step)

    def _backward(self, step: float, graph: bool = False) -> _Backward:
        with torch.enable_grad():
            args = [a.detach().requires_grad_() if i in self._ways else a for i, a in enumerate(self._moved(step))]
            points = [args[i] for i in self._ways]
            outs = [t for t in tensors(self._function.apply(*args)) if t.is_floating_point()]
            used = [i for i, o in enumerate(outs) if o.requires_grad]
            if not used:
                raise NothingToSay
            weights = [self._weights[i].clone().requires_grad_(graph) for i in used]
            back = torch.autograd.grad([outs[i] for i in used], points, weights, create_graph=graph, allow_unused=True)
            return _Backward(_dot(back, self._ways.values()), points, weights, used)


@dataclass(frozen=True)
class _Backward:
    """A pass: the sum's slope, where it was taken, the weights that it is linear in, and of which outputs they are."""

    slope: Tensor
    points: list[Tensor]
    weights: list[Tensor]
    used: list[int]

    def derivative(self, by: list[Tensor]) -> Sequence[Tensor | None]:
        """Of the slope: nothing where the backward pass has left its own derivative out."""
        if not self.slope.requires_grad:
            return [None] * len(by)
        return torch.autograd.grad(self.slope, by, retain_graph=True, allow_unused=True)


class NothingToSay(Exception):
    """Of a function, by differences."""


@contextmanager
def _saying_nothing() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # it may take no float64: an assertion, a table of precisions
        raise NothingToSay from error


def _dot(a: Iterable[Tensor | None], b: Iterable[Tensor]) -> Tensor:
    return sum(((x * y).sum() for x, y in zip(a, b, strict=True) if x is not None), torch.zeros(()))


def _smooth(found: list[Tensor], finer: list[Tensor]) -> list[Tensor]:
    """Where difference quotients do not depend on their step."""
    if not found or not sum(q.numel() for q in found):
        raise NothingToSay
    usual = torch.cat([q.abs().flatten() for q in finer]).median()
    same = [(a - b).abs() <= SMOOTH * (b.abs() + usual) for a, b in zip(found, finer, strict=True)]
    if not float(torch.cat([s.flatten() for s in same]).double().mean()) > 0.5:
        raise NothingToSay
    return same


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
