"""Terms that a script adds to a trained loss and no gradient comes back from, although a model's parameters make them.

A term that is a tensor is followed back through the calls on the tape to where its graph was cut. One that is a number
(``.item()``) or a new tensor is known by its values: the same multiple of what was read off in several passes.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from nonsingular.diagnosis.arithmetic import ADDED, SCALED, in_place
from nonsingular.diagnosis.loop.records import Cut
from nonsingular.diagnosis.loop.tape import Called, ReadOff, comes_back_to
from nonsingular.diagnosis.paths import leaves
from nonsingular.objective.graph import behind
from nonsingular.places import Place

PLAIN = {"mean", "sum", "squeeze", "view", "reshape", "float", "double", "to", "clone"}
ADDING = ADDED | in_place(ADDED) | {"__iadd__", "__isub__"}
SCALING = SCALED | in_place(SCALED) | PLAIN | {"__imul__", "__itruediv__"}
PASSES = 3  # in which a number is the same multiple of another, from where it is made of that one
SAME = 1e-4  # of a multiple; numbers that a script has read off are rounded to float32
NUMBERS = 16  # that are read off in one pass and each held against a loss


def _is_number(x: Any) -> bool:
    """Whether it is one of data, or of nothing that trains."""
    return not x.requires_grad if isinstance(x, Tensor) else isinstance(x, Real) and not isinstance(x, Integral)


@dataclass(frozen=True)
class _Term:
    """What is added to a loss without a graph: a tensor of one number, or a number; ``at`` is the place of the call."""

    value: Any
    at: int


@dataclass(frozen=True)
class _Number:
    """A number that a script has read off, or the sum of those of one line, and what with a graph it was made of."""

    value: float
    sources: list[Tensor]
    place: Place | None


class CutTerms:
    """Finds them before each backward pass, and remembers the numbers of earlier ones."""

    def __init__(self) -> None:
        self._multiples: defaultdict[Any, list[tuple[float, float]]] = defaultdict(list)
        self._cuts: dict[Any, Cut] = {}
        self._graded: set[_Step] = set()

    def of(self, root: Any, calls: Sequence[Called], numbers: Sequence[ReadOff]) -> list[Cut]:
        """The terms of this loss that are cut.

        Args:
            root: what the backward pass begins from.
            calls: on the tape, in order.
            numbers: that were read off tensors.
        """
        if not isinstance(root, Tensor) or root.grad_fn is None:
            return []
        chain = _Chain(root, calls)
        self._look_elsewhere(root, chain)
        found, unknown = list[Cut](), list[_Term]()
        for term in chain.terms:
            sources, made = chain.cut(term.value, term.at)
            if not sources:
                unknown.append(term)
            elif chain.is_part_of(sources):
                return []  # x - x.detach(): what the loss is and what its gradient is are two things here
            elif chain.is_new(sources) and not chain.is_used(made, term.at):
                found.append(self._cut(sources, made, chain, term.at))
        return found + (self._by_number(unknown, chain, chain.read(numbers)) if unknown else [])

    def _by_number(self, terms: Sequence[_Term], chain: _Chain, numbers: Sequence[_Number]) -> list[Cut]:
        """Terms that have been the same multiple of numbers that were read off, in so many passes."""
        found, used = [], chain.numbers()
        for (u, value), (k, read) in itertools.product(used.items(), enumerate(numbers)):
            self._multiples[u, k, read.place].append((value, read.value))
        for (i, term), (k, read) in itertools.product(enumerate(terms), enumerate(numbers)):
            place = chain.calls[term.at].place
            seen = self._multiples[i, place, k, read.place]
            seen.append((float(term.value), read.value))
            if _is_multiple(seen) and not any(_is_multiple(self._multiples[u, k, read.place]) for u in used):
                found.append(self._cut(read.sources, {}, chain, term.at))
        return found

    def _look_elsewhere(self, root: Tensor, chain: _Chain) -> None:
        """Earlier terms that this backward pass trains are not cut: they take turns, or have passes of their own."""
        self._graded |= chain.graded()
        reached = {id(v) for v in leaves([root.grad_fn])} if self._cuts else set()
        for cut in self._cuts.values():
            cut.graded |= not self._graded.isdisjoint(cut.made_by) or bool(cut.own and cut.own <= reached)

    def _cut(self, sources: Sequence[Tensor], made: Mapping[int, Tensor], chain: _Chain, at: int) -> Cut:
        """The same object for the same term of another pass."""
        nodes = [s.grad_fn for s in sources if s.grad_fn is not None]
        ids = {id(v) for v in leaves(nodes)} | {id(s) for s in sources if s.grad_fn is None}
        made_by = chain.steps_of([*sources, *made.values()])
        found = self._cuts.setdefault((chain.step(at), frozenset(made_by)), Cut(chain.calls[at].place, made_by))
        found.behind, found.own = ids, ids - chain.leaves()
        found.graded |= not self._graded.isdisjoint(made_by)
        for s in sources:
            if s.grad_fn is not None and s.numel() == 1:
                s.register_hook(lambda _: setattr(found, "graded", True))
        return found


def _is_multiple(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the first number is the second one times a constant, in several pairs that differ.

    >>> _is_multiple([(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]), _is_multiple([(1.0, 1.0), (1.9, 2.0), (2.7, 3.0)])
    (True, False)
    """
    if len(pairs) < PASSES or not all(math.isfinite(x) and n and math.isfinite(n) for x, n in pairs):
        return False
    ratios, numbers = [x / n for x, n in pairs], [n for _, n in pairs]
    size = max(map(abs, ratios))
    differ = max(numbers) - min(numbers) > 100 * SAME * max(map(abs, numbers))
    return differ and size > 0 and max(ratios) - min(ratios) <= SAME * size


_Step = tuple[str, Place | None, int]
"""A call of every backward pass anew: its name, its line, and how many of that name the line has made before."""


class _Chain:
    """The calls that a loss was made by: a tensor that is changed in place is made several times.

    Attributes:
        calls: in order.
        terms: what is added without a graph to the sum, of one number, that the loss is.
    """

    def __init__(self, root: Tensor, calls: Sequence[Called]) -> None:
        self.calls = calls
        self._makers: defaultdict[int, list[int]] = defaultdict(list)
        for i, call in enumerate(calls):
            for t in call.returned:
                self._makers[id(t)].append(i)
        self._root, self._values = root, list[float]()
        self.terms, self._parts = self._added(root)
        self._reached = comes_back_to(root)
        times = Counter[Any]()
        self._steps = list[_Step]()
        for call in calls:
            self._steps.append((call.name, call.place, times[call.name, call.place]))
            times[call.name, call.place] += 1

    def maker(self, tensor: Tensor, before: int) -> int | None:
        """Which call made a tensor as it was before another one."""
        return next((i for i in reversed(self._makers.get(id(tensor), [])) if i < before), None)

    def _added(self, root: Tensor) -> tuple[list[_Term], set[Any]]:
        """The terms without a graph, and the operations that made the sum and its other parts."""
        found, parts, stack = list[_Term](), set[Any](), [(root, len(self.calls))]
        while stack:
            tensor, before = stack.pop()
            if tensor.numel() == 1:
                parts.add(tensor.grad_fn)
                self._values.append(float(tensor.detach().real))
            i = self.maker(tensor, before)
            if i is None:
                continue
            call = self.calls[i]
            trained = [t for t in call.given if t.requires_grad]
            if call.name in ADDING and all(t.numel() == 1 for t in (*call.given, *call.returned)):
                stack += [(t, i) for t in trained]
                found += [_Term(x, i) for x in call.args if _is_number(x)]
            elif call.name in SCALING and len(trained) == 1:
                stack.append((trained[0], i))
        return found, parts - {None}

    def cut(self, x: Any, before: int) -> tuple[list[Tensor], dict[int, Tensor]]:
        """What something was made of that has a graph, and all that was made of this without one, by id."""
        if not isinstance(x, Tensor):
            return [], {}
        made: dict[int, Tensor] = {}
        return ([x] if x.requires_grad else self._sources(x, before, made, set())), made

    def _sources(self, tensor: Tensor, before: int, made: dict[int, Tensor], seen: set[int]) -> list[Tensor]:
        i = self.maker(tensor, before)
        if i is None or i in seen:
            return []
        seen.add(i)
        call = self.calls[i]
        trained = [t for t in call.given if t.requires_grad]
        found = trained or [s for t in call.given for s in self._sources(t, i, made, seen)]
        if found:
            made[id(tensor)] = tensor
        return found

    def is_part_of(self, sources: Sequence[Tensor]) -> bool:
        """Whether a part of the loss that has its graph is among what these were made of, or was computed twice."""
        return not self._parts.isdisjoint(behind(s.grad_fn for s in sources)) or any(
            math.isclose(value, part, rel_tol=1e-6) for value in self._sums(sources) for part in self._values
        )

    def _sums(self, sources: Sequence[Tensor]) -> list[float]:
        """Numbers, apart from zeros, that these are or were made of by calls on numbers."""
        found, stack, seen = list[float](), [(s, len(self.calls)) for s in sources], set[int]()
        while stack:
            tensor, before = stack.pop()
            if tensor.numel() > 1 or not tensor.requires_grad or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if value := float(tensor.detach().real):
                found.append(value)
            if (i := self.maker(tensor, before)) is not None:
                stack += [(t, i) for t in self.calls[i].given]
        return found

    def step(self, i: int) -> _Step:
        """Which call it is in every pass."""
        return self._steps[i]

    def steps_of(self, tensors: Sequence[Tensor]) -> set[_Step]:
        """The calls that made the numbers among these."""
        return {self._steps[i] for t in tensors if t.numel() == 1 for i in self._makers.get(id(t), [])}

    def graded(self) -> set[_Step]:
        """The calls that made numbers to which a gradient comes back."""
        trained = lambda t: t.numel() == 1 and t.requires_grad and t.grad_fn in self._reached  # noqa: E731
        return {step for step, call in zip(self._steps, self.calls, strict=True) if any(map(trained, call.returned))}

    def leaves(self) -> set[int]:
        """Ids of the parameters that the backward pass comes to."""
        return {id(v) for v in leaves([self._root.grad_fn])}

    def numbers(self) -> dict[Any, float]:
        """Numbers that calls in the graph are given and do not add as terms, by call and position."""
        terms = {term.at for term in self.terms}
        return {
            (self._steps[i], k): float(x)
            for i, call in enumerate(self.calls)
            if i not in terms and any(t.requires_grad and t.grad_fn in self._reached for t in call.returned)
            for k, x in enumerate((*call.args, *call.kwargs.values()))
            if _is_number(x) and (not isinstance(x, Tensor) or (x.numel() == 1 and not x.is_complex()))
        }

    def is_new(self, sources: Sequence[Tensor]) -> bool:
        """Whether numbers among these were made since the models returned: others had a backward pass of their own."""
        return all(s.numel() > 1 or s.grad_fn is None or id(s) in self._makers for s in sources)

    def is_used(self, made: Mapping[int, Tensor], at: int) -> bool:
        """Whether the loss has the same with its graph, or uses it elsewhere, as what keeps an exponential small."""
        numbers = [t for t in made.values() if t.numel() == 1]
        for i, call in enumerate(self.calls):
            for out in call.returned:
                if not out.requires_grad or out.grad_fn not in self._reached:
                    continue
                if i != at and any(id(t) in made for t in call.given):
                    return True
                if out.numel() == 1 and any(bool(torch.isclose(out.detach(), n, rtol=1e-6)) for n in numbers):
                    return True
        return False

    def read(self, numbers: Sequence[ReadOff]) -> list[_Number]:
        """Those that no part of the loss stands for, and their sums by line."""
        found = list[_Number]()
        for n in numbers:
            sources, made = self.cut(n.tensor, len(self.calls))
            if not sources or not self.is_new(sources) or self.is_part_of(sources):
                continue
            if not self.is_used(made, len(self.calls)):
                found.append(_Number(n.value, sources, n.place))
        lines = {n.place: [m for m in found if m.place == n.place] for n in found}
        sums = [
            _Number(sum(m.value for m in some), [s for m in some for s in m.sources], place)
            for place, some in lines.items() if len(some) > 1
        ]  # fmt: skip
        return [*sums, *found[:NUMBERS]]
