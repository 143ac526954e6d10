"""The Gauss-Newton part of the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nonsingular.curvature.folding import FoldNormalisations
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.problem import Params
from nonsingular.objective import Batch


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix :math:`J^\top (\nabla_z^2 \ell) J`, with J the derivative of the outputs z.

    It is the Hessian with the model replaced by its linearisation: positive semi-definite where the loss is convex in
    the outputs, and equal to the Fisher information for cross-entropy (Martens 2020, section 8). The model's output
    must be one tensor.
    """

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        params, target = self.problem.params, batch.target
        slope = torch.func.grad(lambda z: self.problem.loss_fn(z, target))

        def outputs(p: Params) -> Tensor:
            with FoldNormalisations():
                return self.problem.output(p, batch)

        def along(*direction: Tensor) -> Sequence[Tensor]:
            z, dz = torch.func.jvp(outputs, (params,), (direction,))  # type: ignore[misc]
            curved = torch.func.jvp(slope, (z,), (dz,))[1]
            return torch.func.vjp(outputs, params)[1](curved)[0]

        return along

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params = tuple(p.clone().requires_grad_() for p in self.problem.params)
        z = self.problem.output(params, batch)
        # J v as the derivative of u^T J with respect to u, which needs no forward mode.
        u = torch.zeros_like(z, requires_grad=True)
        pulled = torch.autograd.grad(z, params, u, create_graph=True, materialize_grads=True)
        along = sum((g * d).sum() for g, d in zip(pulled, direction, strict=True))
        if not isinstance(along, Tensor) or not along.requires_grad:
            return [torch.zeros_like(p) for p in params]
        (dz,) = torch.autograd.grad(along, u, retain_graph=True)
        leaf = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.problem.loss_fn(leaf, batch.target), leaf, create_graph=True)
        if not slope.requires_grad:  # a loss linear in the outputs
            return [torch.zeros_like(p) for p in params]
        (curved,) = torch.autograd.grad(slope, leaf, dz)
        return torch.autograd.grad(z, params, curved, materialize_grads=True)
