"""Losses over data that are spread over processes (``torch.distributed``, as ``torchrun`` starts them)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from nonsingular.curvature.distributed import require_process_group, share
from nonsingular.landscape.losses import Losses, Points, Quantities

TOGETHER = 16
"""Points after which the processes exchange their losses: two numbers a point."""


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, each of which calls this.

    Raises:
        InputError: no process group has been initialised.
    """
    require_process_group()
    on = values.device if dist.get_backend() == "nccl" else torch.device("cpu")
    found = values.detach().to(on, copy=True).contiguous()
    dist.all_reduce(found)
    return found.to(values.device)


class Distributed:
    """The loss over all processes' data, from the losses over each process's own part.

    Every process makes it and takes part in every call; all get the same numbers to the bit, so that a refinement
    takes the same decisions in each of them. A process keeps its own part of the data only.

    Args:
        local: of the same model, loss and directions in every process.

    Raises:
        InputError: no process group has been initialised, or weights of the processes that have to be said.
    """

    def __init__(self, local: Losses) -> None:
        require_process_group()
        self.local = local
        self.device = local.device if dist.get_backend() == "nccl" else torch.device("cpu")
        self.samples, self.total = (int(n) for n in self._sum(np.array([local.samples, local.total], float)))
        part = share(local.objective, self.device) if local.reduction == "mean" else local.total / self.total
        self._shares = np.full(len(local.quantities), part)  # metrics average where losses add up
        self._shares[0] = part if local.reduction == "mean" else 1.0

    def evaluate(
        self, points: Points, on_point: Callable[[int, np.ndarray, np.ndarray], None] = lambda i, values, errors: None
    ) -> tuple[Quantities, Quantities]:
        """As ``Losses``: the loss and the metrics at ``points`` over all data, and their standard errors."""
        shares, shape = self._shares, (len(points), len(self._shares))
        found, errors = np.empty(shape), np.empty(shape)
        for start in range(0, len(points), TOGETHER):
            mine, off = self.local.evaluate(points[start : start + TOGETHER])
            # The parts are drawn independently: variances of their weighted sum add up.
            values, variances = self._sum(np.stack([shares * mine, (shares * off) ** 2]))
            for row, value, error in zip(range(start, start + len(mine)), values, np.sqrt(variances), strict=True):
                found[row], errors[row] = value, error
                on_point(row, value, error)
        return found, errors

    def everywhere(self, done: Bool[np.ndarray, " *point"]) -> Bool[np.ndarray, " *point"]:
        """The points that every process has done: a stopped run goes on from these."""
        return self._sum(done.astype(float)) == dist.get_world_size()

    def _sum(self, values: Float[np.ndarray, " *shape"]) -> Float[np.ndarray, " *shape"]:
        return summed(torch.as_tensor(values, dtype=torch.float64, device=self.device)).cpu().numpy()
