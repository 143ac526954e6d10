"""Who is at fault where a loss has no second derivative: each part tried alone on what it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.curvature.problem import Problem
from nonsingular.objective import FAILURES, Batch, evaluating, first_line

Part = Callable[[], None]
STEP = 1e-3  # of the finite differences that second derivatives are held against


def culprit(problem: Problem, batch: Batch, error: BaseException | None = None) -> str:
    """Name the first leaf module, or else the loss, that cannot be differentiated twice.

    Args:
        problem: model and loss.
        batch: on which it failed.
        error: what was raised. Parts that raise the same are looked for first; without an error, second derivatives
            that are silently wrong are, by finite differences.
    """
    calls: list[tuple[str, nn.Module, tuple[Any, ...]]] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            calls.append((name, module, tree_map_only(Tensor, lambda t: t.detach().clone(), args)))

        return hook

    leaves = [(n, m) for n, m in problem.model.named_modules() if not list(m.children())]
    handles = [m.register_forward_pre_hook(keep(n)) for n, m in leaves]
    try:
        of_output = problem.objective.form == "output"
        output = (problem.output if of_output else problem.loss)(problem.params, batch)
    finally:
        for handle in handles:
            handle.remove()

    def loss(leaf: Any) -> Any:
        return problem.loss_fn(leaf, batch.target)

    parts = [(f"module {n} ({type(m).__name__})", _Part(_squared(m), m, a, problem.dtype)) for n, m, a in calls]
    if of_output:
        parts.append(("loss_fn", _Part(loss, nn.Module(), (output,), problem.dtype)))
    failures = [(who, why) for who, part in parts if (why := part.failure(compare=error is None)) is not None]
    for who, why in failures:
        if error is None or why == first_line(error):
            return f"{who}: {why}"
    if failures:
        return ": ".join(failures[0])
    why = f" ({first_line(error)})" if error is not None else ""
    return f"no single module fails alone; look at the code between modules and at loss_fn{why}"


def _squared(module: nn.Module) -> Callable[..., Tensor]:
    def total(*inputs: Any) -> Tensor:
        return torch.stack([(t**2).sum() for t in tree_leaves(module(*inputs)) if is_float(t)]).sum()

    return total


class _Part:
    """A scalar function of some inputs and of a module's parameters, in the precision of the whole computation."""

    def __init__(
        self, function: Callable[..., Tensor], module: nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype
    ) -> None:
        self.function, self.module, self.inputs = function, module, inputs
        self.parameters = {n: t.detach().to(dtype) for n, t in module.named_parameters() if is_float(t)}
        self.buffers = {n: t.to(dtype) if is_float(t) else t.clone() for n, t in module.named_buffers()}

    def failure(self, compare: bool) -> str | None:
        """What goes wrong when it is differentiated twice."""
        try:
            self._differentiate_twice(compare)
        except RuntimeError as error:
            return first_line(error)
        except FAILURES:  # of the trial: arguments by name, say, are not passed on
            return None
        return None

    def _differentiate_twice(self, compare: bool) -> None:
        floats = [t for t in (*tree_leaves(self.inputs), *self.parameters.values()) if is_float(t)]
        generator = torch.Generator().manual_seed(0)
        direction = [torch.randn(t.shape, generator=generator).to(t) for t in floats]
        gradients, at = self._gradients(direction, 0.0)
        slope = torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()
        got = torch.autograd.grad(slope, at, materialize_grads=True) if slope.requires_grad else [0 * t for t in at]
        if not compare:
            return
        ahead, behind = (self._gradients(direction, sign * STEP)[0] for sign in (1, -1))
        expected = [(a - b) / (2 * STEP) for a, b in zip(ahead, behind, strict=True)]
        if _mostly_different(got, expected):
            raise RuntimeError(
                "its second derivative is wrong; is the backward of a function marked once_differentiable?"
            )

    def _gradients(self, direction: Sequence[Tensor], step: float) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Gradients, moved by ``step`` in ``direction``; and what they are taken with respect to."""
        moves = iter(direction)

        def moved(t: Tensor) -> Tensor:
            return (t.detach() + step * next(moves)).requires_grad_() if is_float(t) else t

        inputs = tree_map_only(Tensor, moved, self.inputs)
        state = {name: moved(p) for name, p in self.parameters.items()}
        at = [t for t in (*tree_leaves(inputs), *state.values()) if is_float(t)]
        holder = _Holder(self.module, self.function)
        with torch.enable_grad(), evaluating(self.module):
            # Times one, because modules that work in place may not overwrite a leaf.
            used = tree_map_only(Tensor, lambda t: t * 1 if is_float(t) else t, inputs)
            named = {f"module.{k}": v for k, v in {**self.buffers, **state}.items()}
            total = functional_call(holder, named, used)
            return torch.autograd.grad(total, at, create_graph=True, materialize_grads=True), at


class _Holder(nn.Module):
    """A function of a module's output as a module, so that the module's parameters can be replaced."""

    def __init__(self, module: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *inputs: Any) -> Tensor:
        return self.function(*inputs)


def _mostly_different(got: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether half of the entries that matter differ by more than rounding and kinks, which few of them meet."""
    a, b = (torch.cat([t.detach().double().flatten() for t in ts]) for ts in (got, expected))
    size = torch.maximum(a.abs(), b.abs())
    matter = size > 0.01 * size.max()
    return bool(matter.any()) and float(((a - b).abs() > 0.3 * size)[matter].double().mean()) > 0.5


def is_float(x: object) -> bool:
    """Whether ``x`` is a tensor of real numbers."""
    return isinstance(x, Tensor) and x.is_floating_point()
