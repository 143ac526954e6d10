"""What operators of one network and of a population share: a linear function a batch, recorded once or done anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nonsingular.curvature.culprits import culprit
from nonsingular.curvature.linearise import LinearMap, NotLinearisable, OverBudget, record
from nonsingular.curvature.problem import Params, Problem
from nonsingular.errors import InputError
from nonsingular.objective import Batch, available_bytes, first_line, is_out_of_memory, out_of_memory
from nonsingular.places import warn
from nonsingular.words import counted

BLOCK_BYTES = 2**28  # columns are multiplied side by side while no intermediate tensor is larger than this
MEMORY_SHARE = 0.6  # of the available memory, for what a linearised operator keeps


class Recorded(ABC):
    """A linear operator that is a weighted sum over batches of recorded functions.

    Where a batch cannot be recorded, or memory is short, its product is differentiated anew every time, and a warning
    says so once. The first recording is held against that slower way before it is trusted.
    """

    failure = "the loss cannot be differentiated twice"  # what is said where even the slower way cannot

    def __init__(self, problem: Problem, linearise: bool, compile: bool, memory: float | None) -> None:
        self.problem = problem
        self._linearise, self._compile = linearise, compile
        self._budget = MEMORY_SHARE * available_bytes(self.device) if memory is None else memory
        self._maps: list[LinearMap | None] = []

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.problem.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.problem.device

    @property
    def linearised(self) -> bool:
        """Whether every batch is recorded (records them if that has not happened yet)."""
        return all(m is not None for m in self._linear_maps())

    @property
    def nbytes(self) -> int:
        """Memory that the recordings keep, bytes."""
        return sum(m.nbytes for m in self._maps if m is not None)

    @property
    def _room(self) -> float:
        """Bytes that recordings may keep."""
        return self._budget

    # --- what a kind of operator defines --------------------------------------------------------------------

    @abstractmethod
    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        """The product with one batch's matrix as a function of tensors shaped like ``_arguments``."""

    @abstractmethod
    def _arguments(self, batch: Batch) -> Params:
        """Tensors of the shapes and memory formats that recordings are called with."""

    @abstractmethod
    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        """The product with one batch's matrix by plain automatic differentiation, every time from the start."""

    # --- recording, or not ----------------------------------------------------------------------------------

    def _linear_maps(self) -> list[LinearMap | None]:
        if not self._maps:
            if self._linearise:
                self._record_all()
            else:
                self._maps = [None] * len(self.problem.batches)
        return self._maps

    def _record_all(self) -> None:
        left = self._room
        for i, batch in enumerate(self.problem.batches):
            try:
                linear = record(self._derivative(batch), self._arguments(batch), left)
                if i == 0:
                    self._verify(linear, batch)
            except Exception as error:  # whatever goes wrong in tracing, there is another way
                if isinstance(error, InputError):
                    raise
                self._fall_back(error, i)
                return
            left -= linear.nbytes
            if self._compile:
                linear.compile(like=self._maps[0] if self._maps else None)
            self._maps.append(linear)

    def _verify(self, linear: LinearMap, batch: Batch) -> None:
        """Hold a recording against plain differentiation: a wrong one must never pass for a fast one.

        Raises:
            NotLinearisable: it gives other products.
        """
        generator = torch.Generator(device=self.device).manual_seed(0)
        probe = tuple(
            torch.empty_like(t).copy_(torch.randn(t.shape, generator=generator, device=t.device, dtype=t.dtype))
            for t in self._arguments(batch)
        )
        expected = _flat(self._recompute(batch, probe))
        refuse_difference(_flat(linear(*probe)), expected)
        if not self.problem.convolutional:
            both = linear.stacked(*(torch.stack([t, -t]) for t in probe))
            refuse_difference(_flat(both, 1), torch.stack([expected, -expected]), "vectorised recording")

    def _fall_back(self, error: Exception, recorded: int) -> None:
        rest = len(self.problem.batches) - recorded
        self._maps += [None] * rest
        short = isinstance(error, OverBudget) or is_out_of_memory(error)
        cause = "memory is short" if short else "the model cannot be linearised"
        warn(
            f"{cause} ({first_line(error)}): products with {rest} of {counted(len(self._maps), 'batch')} are "
            "computed anew each time, which is slower and equally right"
        )

    def _recompute(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        """What ``_recomputed`` gives, with its failures in words."""
        with self.in_words(batch), torch.enable_grad():
            return self._recomputed(batch, direction)

    @contextmanager
    def in_words(self, batch: Batch) -> Iterator[None]:
        """Within: what cannot be differentiated is refused, and named."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            raise InputError(f"{self.failure}: {culprit(self.problem, batch, error)}") from error


def columns(
    linear: LinearMap, V: Tensor, split: Callable[[Tensor], Params], join: Callable[[Sequence[Tensor]], Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """A recorded function of the columns of a block, as many side by side as memory is good for.

    Large products are oneDNN's column by column alone, 1.2 to 1.9 times as fast as PyTorch's of several at once
    (``benchmarks/test_hessian_products.py``).

    Args:
        linear: the function.
        V: columns.
        split: rows ``[k, n]`` as the function's arguments, stacked.
        join: what it gives of them as rows.

    Yields:
        Which columns, and what they become.
    """
    if linear.large:
        for i, v in enumerate(V.T):
            yield slice(i, i + 1), join([t[None] for t in linear(*split(v.contiguous()))]).T
        return
    width = max(1, BLOCK_BYTES // linear.widest)
    for start in range(0, V.shape[1], width):
        some = slice(start, start + width)
        yield some, join(linear.stacked(*split(V[:, some].T.contiguous()))).T


def _flat(tensors: Sequence[Tensor], lead: int = 0) -> Tensor:
    return torch.cat([t.reshape(*t.shape[:lead], -1) for t in tensors], -1)


def refuse_difference(got: Tensor, expected: Tensor, what: str = "recording") -> None:
    """Raise `NotLinearisable` where products differ by more than rounding explains."""
    # Some models compute their loss in float32 whatever they are: wrong recordings are further off than that.
    tolerance = max(torch.finfo(expected.dtype).eps ** 0.5, 100 * torch.finfo(torch.float32).eps)
    if not (got - expected).norm() <= tolerance * expected.norm():
        raise NotLinearisable(f"the {what} gives other products than plain differentiation")
