"""Curvature over data that are spread over processes (``torch.distributed``, as ``torchrun`` starts them)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.curvature.algebra import Symmetric
from nonsingular.curvature.cuts import Whole
from nonsingular.curvature.operator import Curvature
from nonsingular.curvature.vectors import Layout
from nonsingular.errors import InputError
from nonsingular.objective import Objective

RULES = ("samples", "tokens", "wanted", "equal")


class Spread(Whole):
    """Vectors cut into equal parts of consecutive entries, the last ones one shorter where they do not come out even.

    Args:
        size: entries of a vector.
        device: where processes exchange numbers.
        group: of processes.
    """

    def __init__(self, size: int, device: torch.device, group: dist.ProcessGroup | None = None) -> None:
        self.device, self.group, self.processes = device, group, dist.get_world_size(group)
        self._longest = -(-size // self.processes)
        short = self._longest * self.processes - size
        self._sizes = [self._longest - (rank >= self.processes - short) for rank in range(self.processes)]
        rank = dist.get_rank(group)
        self._mine = slice(sum(self._sizes[:rank]), sum(self._sizes[: rank + 1]))

    def part(self, w: Tensor) -> Tensor:
        """The entries of this process."""
        return w[self._mine]

    def whole(self, part: Tensor) -> Tensor:
        """The vectors put together from all processes, in each of them."""
        sent = part.new_zeros(self._longest, *part.shape[1:])
        sent[: len(part)] = part
        parts = [torch.empty_like(sent) for _ in self._sizes]
        dist.all_gather(parts, sent, group=self.group)
        return torch.cat([p[:size] for p, size in zip(parts, self._sizes, strict=True)])

    def summed(self, t: Tensor) -> Tensor:
        """The sum, equal to the bit in all processes."""
        t = t.contiguous()
        dist.all_reduce(t, group=self.group)
        return t

    def least(self, number: float) -> float:
        """The least number."""
        return float(_gathered([number], self.device, self.group).min())

    def over(self, size: int) -> Spread:
        """The same for vectors of another size."""
        return Spread(size, self.device, self.group)


@checked
class Distributed(Symmetric):
    """The curvature of the loss over all processes' data, from an operator over this process's own.

    Every process makes it, with its own part of the batches, and takes part in every product; all get the same
    numbers to the bit, so algorithms that are run in each of them (``spectrum``, Lanczos) take the same decisions.
    What a process keeps, its recordings foremost, is that of its own part. Of the vectors that Lanczos processes keep
    each holds some entries (``cuts``): K processes have room for K times as many.

    Args:
        local: a ``Hessian`` or ``GaussNewton`` of the same model, loss and parameters in every process.
        reduction: as ``local`` was given it: ``"mean"`` weighs the processes by their data as the batches of
            one are weighed, ``"sum"`` adds up.
        group: of processes; all of them by default.

    Raises:
        InputError: no process group has been initialised, another reduction, operators of different size, or weights
            that have to be said.

    Example:
        >>> dist.init_process_group("gloo")                                    # doctest: +SKIP
        >>> H = Distributed(Hessian(model, loss_fn, my_batches))               # doctest: +SKIP
        >>> spectrum(H, method="lanczos").degenerate                           # doctest: +SKIP
    """

    def __init__(self, local: Curvature, reduction: str = "mean", group: dist.ProcessGroup | None = None) -> None:
        require_process_group()
        if reduction not in ("mean", "sum"):
            raise InputError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.local, self.group = local, group
        sizes = {int(size) for size in _gathered([local.shape[0]], local.device, group)}
        if len(sizes) > 1:
            raise InputError(f"the processes' operators differ in size: {', '.join(map(str, sorted(sizes)))}")
        self.cuts = Spread(local.shape[0], local.device, group)
        self.weight = share(local.problem.objective, local.device, group) if reduction == "mean" else 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return self.local.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.local.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.local.device

    @property
    def layout(self) -> Layout | None:
        """As of the local operators."""
        return self.local.layout

    def _product(self, v: Float[Tensor, "P *columns"]) -> Float[Tensor, "P *columns"]:
        product = self.weight * (self.local @ v)
        dist.all_reduce(product, group=self.group)
        return product


def require_process_group() -> None:
    """Refuse to go on alone.

    Raises:
        InputError: no process group has been initialised.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise InputError("no process group: call torch.distributed.init_process_group first (torchrun sets it up)")


def share(objective: Objective, device: torch.device, group: dist.ProcessGroup | None = None) -> float:
    """What this process's data weigh in all processes', by any rule that all of them know, if these agree.

    Args:
        objective: of this process, a mean over its own part of the data.
        device: where the processes exchange numbers.
        group: of processes; all of them by default.

    Raises:
        InputError: no such rule, or several that disagree; in every process alike.
    """
    mine = objective.masses()
    masses = _gathered([mine.get(name, math.nan) for name in RULES], device, group)
    shares = [m / m.sum() for m in masses.T if bool(torch.isfinite(m).all()) and m.sum() > 0]
    if not shares or any(not torch.allclose(s, shares[0], rtol=1e-12) for s in shares):
        raise InputError(
            "what each process's data weigh in the whole loss is not clear: give all of them the same "
            "weights='samples', 'tokens', 'equal' or a function batch -> weight"
        )
    return float(shares[0][dist.get_rank(group)])


def _gathered(
    numbers: Sequence[float], device: torch.device, group: dist.ProcessGroup | None
) -> Float[Tensor, "process number"]:
    """Every process's numbers."""
    sent = torch.tensor(numbers, dtype=torch.float64, device=device)
    everyone = [torch.zeros_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, sent, group=group)
    return torch.stack(everyone).cpu()
