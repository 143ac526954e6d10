"""What models are given: from which loader, in which order of rows, of which size, and whether it was written over."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.held_out import level
from nonsingular.diagnosis.contract.meanings import frequencies
from nonsingular.diagnosis.contract.samples import MANY
from nonsingular.diagnosis.loop.loaders import Loaders
from nonsingular.diagnosis.loop.pairing import by_place, numbers_of, order_of_rows, rows_apart
from nonsingular.diagnosis.loop.records import Call, Loader, Loop, Trainee
from nonsingular.diagnosis.loop.turned import Turned
from nonsingular.places import here


class Inputs:
    """Keeps the latest batch of the latest loader, and describes the inputs of calls by it.

    Attributes:
        batch: the tensors of the latest batch.
        loaders: which samples the batches of several loaders are of.
        turned: samples that come again another way round.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.batch: list[Tensor] = []
        self.loaders, self.turned = Loaders(), Turned()
        self._drawn: set[int] = set()  # addresses of the latest batch
        self._order: Tensor | None = None  # of the latest batch's rows in the latest call
        self._loader: Loader | None = None  # that was begun last
        self._written: tuple[int, int] = (0, 0)  # id and version of the tensor that inputs are parts of

    def began(self, loader: Any) -> None:
        """A data loader is iterated from its start."""
        found = self._loop.loaders.setdefault(id(loader), Loader(place=here()))
        found.begun += 1
        self._loader, numbers = found, numbers_of(getattr(loader, "dataset", None))
        found.changed += found.numbers is not None and numbers != found.numbers
        found.numbers = numbers
        try:
            found.length = len(loader)
        except TypeError:
            found.length = 0

    def drawn(self, batch: Any) -> None:
        """A data loader gave a batch."""
        if self._loader is not None:
            self._loader.drawn += 1
        self._order = None
        self.batch = dense(batch)
        self._drawn = {t.data_ptr() for t in self.batch}

    def are_drawn(self, tensors: list[Tensor]) -> bool:
        """Whether one of these is of the latest batch."""
        return any(t.data_ptr() in self._drawn for t in tensors)

    def describe(self, call: Call, x: Tensor, trainee: Trainee, data: bool, ids: bool) -> None:
        """What tells this call's first input from others; its size too, if it is ``data`` and no model's output.

        Args:
            call: of the model, which has returned.
            x: its first input.
            trainee: the model.
            data: whether these are numbers of data.
            ids: whether they chose rows of a table.
        """
        call.passed = (self._loader.begun, self._loader.drawn) if self._loader is not None else (0, 0)
        call.sample, call.sliced = told_apart(x), _sliced(x, trainee.latest)
        trainee.latest = weakref.ref(x)
        if data and not x.is_inference():
            call.level, call.ids, call.rewritten = level(x), _ids(x, ids), self._rewritten(x)
        self._order = order_of_rows(x, self.batch)

    def describe_test(self, call: Call, x: Tensor, ids: bool) -> None:
        """The size of what is given without autograd, of several samples; ``ids`` as of ``describe``."""
        if x.ndim and len(x) > 1:
            call.level, call.ids = level(x), _ids(x, ids)

    def rows_apart(self, target: Tensor) -> bool | None:
        """As ``pairing.rows_apart``, of the latest batch and the latest call."""
        return rows_apart(target, self.batch, self._order)

    def _rewritten(self, x: Tensor) -> bool:
        """Whether the tensor that this is a part of was written over since the former call that took a part of it."""
        whole = x._base if x._base is not None else x
        before, self._written = self._written, (id(whole), whole._version)
        return before[0] == id(whole) and before[1] != whole._version


def _ids(x: Tensor, chose: bool) -> Tensor | None:
    """How often each token occurs, of what chose rows of a table; None of numbers."""
    return frequencies(x) if chose and x.dtype == torch.long and x.ndim > 1 else None


def dense(tree: Any) -> list[Tensor]:
    """The tensors that have memory of their own: of sparse ones neither address nor entries are compared."""
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided]


def told_apart(x: Tensor) -> tuple[Any, ...]:
    """What tells one batch from another: two sums over many entries, one of them weighted by the place."""
    flat = x.detach().flatten()
    flat = flat[:: max(1, len(flat) // MANY)].double()
    return (tuple(x.shape), *torch.stack([flat.sum(), flat.dot(by_place(len(flat), flat.device))]).tolist())


def _sliced(x: Tensor, latest: weakref.ref[Tensor] | None) -> bool:
    """Whether it was cut anew out of a tensor that has more."""
    again = latest is not None and latest() is x
    return not again and x._base is not None and x._base.numel() >= 2 * x.numel()
