"""The Hessian of a loss with respect to a model's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.curvature.dense import by_layer_pairs
from nonsingular.curvature.folding import FoldNormalisations
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.problem import Params
from nonsingular.errors import InputError
from nonsingular.objective import Batch


class Hessian(Curvature):
    r"""The Hessian :math:`\nabla^2 L`, with :math:`L` the mean (or sum) of the batches' losses.

    The product is the derivative of the gradient in the vector's direction (Pearlmutter 1994), forward over reverse:
    six passes through the network where a gradient takes three, recorded once per batch so that only those six remain.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import Hessian
        >>> model = torch.nn.Linear(3, 2)
        >>> batches = [(torch.randn(8, 3), torch.randn(8, 2))]
        >>> H = Hessian(model, torch.nn.functional.mse_loss, batches)
        >>> (H @ torch.ones(8)).shape
        torch.Size([8])
    """

    def dense(self) -> Float[Tensor, "P P"]:
        """The whole matrix: layer pair by layer pair where the model is of linear layers, else by products.

        The first is checked by one product with a random vector, which a wrong matrix passes with probability zero.
        """
        try:
            matrix = by_layer_pairs(self.problem)
        except InputError:
            raise
        except Exception:  # whatever goes wrong in tracing, there is another way
            return super().dense()
        generator = torch.Generator(device=self.device).manual_seed(0)
        probe = torch.randn(self.shape[0], generator=generator, device=self.device, dtype=self.dtype)
        expected = self.recomputed_product(probe)
        if (matrix @ probe - expected).norm() <= torch.finfo(self.dtype).eps ** 0.5 * expected.norm():
            return matrix
        return super().dense()

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        def loss(p: Params) -> Tensor:
            with FoldNormalisations():
                return self.problem.loss(p, batch)

        gradient = torch.func.grad(loss)

        def along(*direction: Tensor) -> Sequence[Tensor]:
            return torch.func.jvp(gradient, (self.problem.params,), (direction,))[1]

        return along

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params = tuple(p.clone().requires_grad_() for p in self.problem.params)
        return double_backward(self.problem.loss(params, batch), params, direction)


def double_backward(loss: Tensor, params: Params, direction: Sequence[Tensor]) -> Sequence[Tensor]:
    """The Hessian's product with ``direction``: the gradient of the gradient's slope along it."""
    gradient = torch.autograd.grad(loss, params, create_graph=True, materialize_grads=True)
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    if not isinstance(slope, Tensor) or not slope.requires_grad:  # a loss linear in the parameters
        return [torch.zeros_like(p) for p in params]
    return torch.autograd.grad(slope, params, materialize_grads=True)
