"""The Fisher information's estimates from gradients: of the data's targets, or of targets that the model draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.curvature.gauss_newton import Curved, GaussNewton
from nonsingular.curvature.likelihoods import KNOWN, likelihood
from nonsingular.curvature.outputs import Tensors, floats, with_floats
from nonsingular.errors import InputError
from nonsingular.objective import Batch
from nonsingular.words import counted


class EmpiricalFisher(GaussNewton):
    r"""The weighted sum of :math:`g_n g_n^\top`, with :math:`g_n` the gradient of a term of the loss.

    For cross-entropy the terms are the targets (samples, or positions in them) with their weights in the loss; for
    squared errors and ``binary_cross_entropy_with_logits`` samples, whose errors are summed in a term and averaged by
    its weight; for any other loss samples, of which it is taken to be the mean. Samples are along the leading axis of
    the output, which must be one tensor. It is no Fisher information, as its targets are the data's, not the model's
    (Kunstner, Balles and Hennig 2019); `MonteCarloFisher` estimates that, and `GaussNewton` is it for the losses that
    both know.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> F = ns.curvature.EmpiricalFisher(model, torch.nn.functional.cross_entropy, [batch])
    >>> bool(torch.linalg.eigvalsh(F.dense()).min() > -1e-6)
    True
    """

    def _refuse(self) -> None:
        super()._refuse()
        batch = self.problem.batches[0]
        outputs = floats(self.problem.objective.output({}, batch))
        if self.problem.objective.reduction != "mean":
            raise InputError("EmpiricalFisher needs a loss that is a mean over samples, and reduction='mean'")
        if len(outputs) != 1 or outputs[0].dim() == 0 or outputs[0].shape[0] != batch.samples:
            raise InputError(
                f"EmpiricalFisher needs outputs whose leading axis counts the {counted(batch.samples, 'sample')}, got "
                f"{[tuple(z.shape) for z in outputs]}"
            )

    def _outputs_curvature(self, output: Any, batch: Batch) -> Curved:
        def loss(z: Tensor) -> Tensor:
            return self.problem.loss_fn(with_floats(output, [z]), batch.target)

        (z,) = floats(output)
        return self._outer(output, batch, torch.func.grad(loss)(z))

    def _recomputed_curvature(self, output: Any, batch: Batch, dz: Tensors) -> Tensors:
        (leaf,) = (t.detach().requires_grad_() for t in floats(output))
        (slope,) = torch.autograd.grad(self.problem.loss_fn(with_floats(output, [leaf]), batch.target), leaf)
        return self._outer(output, batch, slope)(dz)

    def _outer(self, output: Any, batch: Batch, slope: Tensor) -> Curved:
        """Outer products of the terms' slopes, from the slope of the whole."""
        found = likelihood(self.problem.objective.loss_fn, output, batch.target)
        if found is not None and found.kind == "classes":
            own = torch.where(found.weight > 0, slope / found.weight, 0.0)
            return lambda dz: (found.outer(own, dz[0]),)
        rows = slope.flatten(1)
        terms = batch.samples if found is None else rows.numel()  # 1 / the weight of one
        return lambda dz: ((terms * rows * (rows * dz[0].flatten(1)).sum(1, keepdim=True)).reshape(slope.shape),)


@checked
class MonteCarloFisher(GaussNewton):
    r"""The Fisher information from targets drawn from the model's predictions, at the data's inputs.

    The mean over draws of :math:`\sum_n w_n g_n g_n^\top`, with :math:`g_n` the gradient of a term of the loss for a
    drawn target and :math:`w_n` its weight: an unbiased estimate of `GaussNewton` for cross-entropy, squared errors and
    ``binary_cross_entropy_with_logits``, the losses that are known to be likelihoods.

    Args:
        arguments: of `Curvature`.
        draws: targets for each term.
        draw_seed: of the draws, which are made once.
        options: of `Curvature`.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> F = ns.curvature.MonteCarloFisher(model, torch.nn.functional.cross_entropy, [batch], draws=4)
    >>> F.shape
    (8, 8)
    """

    def __init__(self, *arguments: Any, draws: int = 1, draw_seed: int = 0, **options: Any) -> None:
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        self.draws, self.draw_seed = draws, draw_seed
        super().__init__(*arguments, **options)

    def _refuse(self) -> None:
        super()._refuse()
        batch = self.problem.batches[0]
        if likelihood(self.problem.objective.loss_fn, self.problem.objective.output({}, batch), batch.target) is None:
            raise InputError(
                f"MonteCarloFisher draws targets for {KNOWN} in their plain forms; this loss is none of them"
            )

    def _outputs_curvature(self, output: Any, batch: Batch) -> Curved:
        found = likelihood(self.problem.objective.loss_fn, output, batch.target)
        assert found is not None
        place = next(i for i, b in enumerate(self.problem.batches) if b is batch)
        generator = torch.Generator().manual_seed(self.draw_seed + 1_000_003 * place)
        slopes = [found.draw(generator) for _ in range(self.draws)]
        return lambda dz: (sum((found.outer(s, dz[0]) for s in slopes), torch.zeros_like(dz[0])) / self.draws,)

    def _recomputed_curvature(self, output: Any, batch: Batch, dz: Tensors) -> Tensors:
        return self._outputs_curvature(output, batch)(dz)
