"""The Gauss-Newton part of the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nonsingular.curvature.adjoint import refuse_disagreement
from nonsingular.curvature.likelihoods import likelihood
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.outputs import Tensors, floats, outputs_on, pulled, pushed, with_floats
from nonsingular.curvature.problem import Params
from nonsingular.errors import InputError
from nonsingular.objective import Batch, tree_map

Curved = Callable[[Tensors], Tensors]


class GaussNewton(Curvature):
    r"""The generalised Gauss-Newton matrix :math:`J^\top (\nabla_z^2 \ell) J`, with J the derivative of the outputs z.

    It is the Hessian with the model replaced by its linearisation: positive semi-definite where the loss is convex in
    the outputs, and equal to the Fisher information for cross-entropy (Martens 2020, section 8). The loss must be
    ``loss_fn(output, target)``; the output may be one tensor or hold several. For cross-entropy, squared errors and
    ``binary_cross_entropy_with_logits`` the second derivative is written out instead of differentiated. J is held
    against its transpose once, and refused where both modes of differentiation do not agree.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> loss_fn = torch.nn.functional.cross_entropy
    >>> G, H = ns.curvature.GaussNewton(model, loss_fn, [batch]), ns.Hessian(model, loss_fn, [batch])
    >>> torch.allclose(G.dense(), H.dense(), atol=1e-6)  # of a linear model they are the same
    True
    """

    _second = False

    def _refuse(self) -> None:
        """Refuse losses that are no functions of outputs: what the model computes of them has curvature of its own."""
        objective, batch = self.problem.objective, self.problem.batches[0]
        if objective.form != "output" or objective.follows:
            raise InputError(
                "GaussNewton needs a loss_fn(output, target) of nothing but the model's output; a loss of model and "
                "batch, or the model's own, has a Hessian only"
            )
        output = objective.output({}, batch)
        z = [t.detach().requires_grad_() for t in floats(output)]
        loss = self.problem.loss_fn(with_floats(output, z), batch.target)
        slopes = torch.autograd.grad(loss, z, materialize_grads=True)
        if any(s.dim() == 0 and bool(s != 0) for s in slopes):
            raise InputError(
                "GaussNewton needs outputs before they are a loss: the model returns a scalar that loss_fn uses, whose "
                "curvature would be left out; return what it is computed from"
            )

    def _check_symmetry(self) -> None:
        """Where all of a derivative is left out on one side, the product of both is zero, and symmetric."""
        with self.in_words(self.problem.batches[0]):
            refuse_disagreement(self.problem, lambda problem, params, batch: floats(problem.output(params, batch)))
        super()._check_symmetry()

    def _outputs_curvature(self, output: Any, batch: Batch) -> Curved:
        """The loss's second derivative with respect to the outputs as a function of a direction."""
        z = floats(output)
        found = likelihood(self.problem.objective.loss_fn, output, batch.target)
        if found is not None:  # written out: positive to rounding, and fewer passes
            return lambda dz: (found.curved(dz[0]),)
        slope = torch.func.grad(lambda z: self.problem.loss_fn(with_floats(output, z), batch.target))
        return lambda dz: torch.func.jvp(slope, (z,), (dz,))[1]

    def _recomputed_curvature(self, output: Any, batch: Batch, dz: Tensors) -> Tensors:
        """The same by plain automatic differentiation."""
        leaves = tuple(t.detach().requires_grad_() for t in floats(output))
        loss = self.problem.loss_fn(with_floats(output, leaves), batch.target)
        slopes = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        curving = [(s, d) for s, d in zip(slopes, dz, strict=True) if s.requires_grad]
        if not curving:  # a loss linear in the outputs
            return tuple(torch.zeros_like(t) for t in leaves)
        return torch.autograd.grad([s for s, _ in curving], leaves, [d for _, d in curving], materialize_grads=True)

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        params = self.problem.params
        curvature = self._outputs_curvature(tree_map(Tensor.detach, self.problem.output(params, batch)), batch)

        outputs = outputs_on(self.problem, batch)

        def along(*direction: Tensor) -> Sequence[Tensor]:
            dz = torch.func.jvp(outputs, (params,), (direction,))[1]
            return torch.func.vjp(outputs, params)[1](curvature(dz))[0]

        return along

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params = tuple(p.clone().requires_grad_() for p in self.problem.params)
        output = self.problem.output(params, batch)
        z = floats(output)
        dz = pushed(z, params, direction)
        return pulled(z, params, self._recomputed_curvature(tree_map(Tensor.detach, output), batch, dz))
