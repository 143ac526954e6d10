"""The Gauss-Newton part of the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nonsingular.curvature.folding import FoldNormalisations
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.problem import Params
from nonsingular.errors import InputError
from nonsingular.objective import Batch, tensors, tree_map


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix :math:`J^\top (\nabla_z^2 \ell) J`, with J the derivative of the outputs z.

    It is the Hessian with the model replaced by its linearisation: positive semi-definite where the loss is convex in
    the outputs, and equal to the Fisher information for cross-entropy (Martens 2020, section 8). The loss must be
    ``loss_fn(output, target)``; the output may be one tensor or hold several.
    """

    def _refuse(self) -> None:
        """Refuse losses that are no functions of outputs: what the model computes of them has curvature of its own."""
        objective, batch = self.problem.objective, self.problem.batches[0]
        if objective.form != "output" or objective.follows:
            raise InputError(
                "GaussNewton needs a loss_fn(output, target) of nothing but the model's output; a loss of model and "
                "batch, or the model's own, has a Hessian only"
            )
        output = objective.output({}, batch)
        z = [t.detach().requires_grad_() for t in _floats(output)]
        loss = self.problem.loss_fn(_with_floats(output, z), batch.target)
        slopes = torch.autograd.grad(loss, z, materialize_grads=True)
        if any(s.dim() == 0 and bool(s != 0) for s in slopes):
            raise InputError(
                "GaussNewton needs outputs before they are a loss: the model returns a scalar that loss_fn uses, whose "
                "curvature would be left out; return what it is computed from"
            )

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        params, target = self.problem.params, batch.target
        form = tree_map(Tensor.detach, self.problem.output(params, batch))
        slope = torch.func.grad(lambda z: self.problem.loss_fn(_with_floats(form, z), target))

        def outputs(p: Params) -> tuple[Tensor, ...]:
            with FoldNormalisations():
                return _floats(self.problem.output(p, batch))

        def along(*direction: Tensor) -> Sequence[Tensor]:
            z, dz = torch.func.jvp(outputs, (params,), (direction,))  # type: ignore[misc]
            curved = torch.func.jvp(slope, (z,), (dz,))[1]
            return torch.func.vjp(outputs, params)[1](curved)[0]

        return along

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params = tuple(p.clone().requires_grad_() for p in self.problem.params)
        output = self.problem.output(params, batch)
        z = [t for t in _floats(output) if t.requires_grad]
        # J v as the derivative of u^T J with respect to u, which needs no forward mode.
        u = [torch.zeros_like(t, requires_grad=True) for t in z]
        pulled = torch.autograd.grad(z, params, u, create_graph=True, materialize_grads=True)
        along = sum((g * d).sum() for g, d in zip(pulled, direction, strict=True))
        if not isinstance(along, Tensor) or not along.requires_grad:
            return [torch.zeros_like(p) for p in params]
        dz = torch.autograd.grad(along, u, retain_graph=True, materialize_grads=True)
        leaves = [t.detach().requires_grad_(t.requires_grad) for t in _floats(output)]
        moving = [t for t in leaves if t.requires_grad]
        loss = self.problem.loss_fn(_with_floats(output, leaves), batch.target)
        slopes = torch.autograd.grad(loss, moving, create_graph=True, materialize_grads=True)
        curving = [(s, d) for s, d in zip(slopes, dz, strict=True) if s.requires_grad]
        if not curving:  # a loss linear in the outputs
            return [torch.zeros_like(p) for p in params]
        curved = torch.autograd.grad([s for s, _ in curving], moving, [d for _, d in curving], materialize_grads=True)
        return torch.autograd.grad(z, params, curved, materialize_grads=True)


def _floats(output: Any) -> tuple[Tensor, ...]:
    return tuple(t for t in tensors(output) if t.is_floating_point())


def _with_floats(output: Any, floats: Sequence[Tensor]) -> Any:
    """``output`` with other tensors of real numbers in the places of its own."""
    rest = iter(floats)
    return tree_map(lambda t: next(rest) if t.is_floating_point() else t, output)
