"""A model's outputs as a function of its parameters, and their derivative from both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nonsingular.curvature.folding import FoldNormalisations
from nonsingular.curvature.problem import Params, Problem
from nonsingular.objective import Batch, tensors, tree_map

Tensors = tuple[Tensor, ...]
Select = Callable[[Any], Any]


def floats(output: Any) -> Tensors:
    """The tensors of real numbers that an output holds."""
    return tuple(t for t in tensors(output) if t.is_floating_point())


def with_floats(output: Any, floats: Sequence[Tensor]) -> Any:
    """``output`` with other tensors of real numbers in the places of its own."""
    rest = iter(floats)
    return tree_map(lambda t: next(rest) if t.is_floating_point() else t, output)


def outputs_on(problem: Problem, batch: Batch, select: Select | None = None) -> Callable[[Params], Tensors]:
    """The real numbers of the model's output on a batch, in the form that is differentiated fastest.

    Args:
        problem: the model and its parameters.
        batch: its inputs.
        select: what of the output is meant; all of it by default.
    """

    def outputs(params: Params) -> Tensors:
        with FoldNormalisations():
            output = problem.output(params, batch)
        return floats(output if select is None else select(output))

    return outputs


def pushed(z: Sequence[Tensor], params: Params, direction: Sequence[Tensor]) -> Tensors:
    """The derivative of outputs z along a direction by plain automatic differentiation, without forward mode."""
    return pushing(z, params)(direction)


def pushing(z: Sequence[Tensor], params: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Tensors]:
    """The derivative of outputs z along a direction, as a function of it.

    It is the derivative of ``u^T J`` with respect to u, times the direction.
    """
    moving = [t for t in z if t.requires_grad]
    u = [torch.zeros_like(t, requires_grad=True) for t in moving]
    pulled = torch.autograd.grad(dot(moving, u), params, create_graph=True, materialize_grads=True) if moving else ()

    def along(direction: Sequence[Tensor]) -> Tensors:
        slope = dot(pulled, direction)
        if not slope.requires_grad:
            return tuple(torch.zeros_like(t) for t in z)
        found = iter(torch.autograd.grad(slope, u, retain_graph=True, materialize_grads=True))
        return tuple(next(found) if t.requires_grad else torch.zeros_like(t) for t in z)

    return along


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """A scalar, since ``torch.autograd.grad`` loads PyTorch's compiler, half a second, for others' cotangents."""
    return sum(((x * y).sum() for x, y in zip(a, b, strict=False)), torch.zeros(()))


def pulled(z: Sequence[Tensor], params: Params, cotangent: Sequence[Tensor]) -> Tensors:
    """The gradient of the outputs' product with a cotangent, by plain automatic differentiation."""
    pairs = [(t, c) for t, c in zip(z, cotangent, strict=True) if t.requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(p) for p in params)
    return torch.autograd.grad([t for t, _ in pairs], params, [c for _, c in pairs], materialize_grads=True)
