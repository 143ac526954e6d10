"""Samples of several data loaders that a loss puts together: whether they are the same samples of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nonsingular.places import Place

SIDE_BY_SIDE = 8  # loaders that are told apart in one step


@dataclass(eq=False)
class _Iteration:
    """A pass through a loader.

    Attributes:
        place: where it was begun.
        samples: of the data set.
        ahead: indices of batches that are on their way.
        indices, addresses: of the latest batch.
    """

    place: Place | None
    samples: int
    ahead: deque[tuple[int, ...]] = field(default_factory=deque)
    indices: tuple[int, ...] = ()
    addresses: frozenset[int] = frozenset()


class Loaders:
    """Knows the latest batch of each loader since the former backward pass."""

    def __init__(self) -> None:
        self._iterations: WeakKeyDictionary[Any, _Iteration] = WeakKeyDictionary()
        self._latest: list[_Iteration] = []
        self._given: list[_Iteration] = []  # to the latest call of a model

    def began(self, loader: Any, iterator: Any, place: Place | None) -> None:
        """A pass begins."""
        try:
            self._iterations[iterator] = _Iteration(place, len(loader.dataset))
        except (TypeError, AttributeError):  # an iterator or a data set of another kind
            return

    def indexed(self, iterator: Any, index: Any) -> None:
        """These samples will be read."""
        found = self._iterations.get(iterator)
        indices = tuple(index) if isinstance(index, list | tuple) else (index,)
        if found is not None and all(isinstance(i, int) for i in indices):
            found.ahead.append(indices)

    def drawn(self, iterator: Any, batch: Sequence[Tensor]) -> None:
        """They were."""
        found = self._iterations.get(iterator)
        if found is None or not found.ahead:
            return
        found.indices, found.addresses = found.ahead.popleft(), frozenset(t.data_ptr() for t in batch)
        self._latest = [*(one for one in self._latest if one is not found), found][-SIDE_BY_SIDE:]

    def given(self, tensors: Sequence[Tensor]) -> None:
        """A model is called with these."""
        self._given = self._of(tensors)

    def forget(self) -> None:
        """A backward pass is over."""
        self._latest, self._given = [], []

    def apart(self, output: Any, target: Any) -> tuple[bool, Place | None] | None:
        """Whether a loss compares samples of two loaders row by row that are not the same, and where these are drawn.

        Rows are compared where targets come from another loader than the inputs, or where each row is to be most like
        its own one of the other kind. None where neither is so, and of data sets of different sizes, which are no
        pairs.
        """
        if not isinstance(target, Tensor) or len(self._latest) < 2:
            return None
        pairs = [(a, b) for a in self._given for b in self._of([target]) if a is not b]
        if not pairs and _each_its_own(output, target):
            first = self._given[0] if self._given else self._latest[0]
            pairs = [(first, b) for b in self._latest if b is not first]
        pairs = [(a, b) for a, b in pairs if a.samples == b.samples and len(a.indices) == len(b.indices) == len(target)]
        if not pairs:
            return None
        a, b = pairs[0]
        return a.indices != b.indices, b.place

    def _of(self, tensors: Sequence[Tensor]) -> list[_Iteration]:
        addresses = {t.data_ptr() for t in tensors}
        return [one for one in self._latest if one.addresses & addresses]


def _each_its_own(output: Any, target: Tensor) -> bool:
    """Whether a classification is among the samples of the batch, and each one's class is its own number.

    >>> _each_its_own(torch.zeros(3, 3), torch.arange(3)), _each_its_own(torch.zeros(3, 3), torch.tensor([0, 2, 1]))
    (True, False)
    """
    if not isinstance(output, Tensor) or target.dtype != torch.long or target.ndim != 1:
        return False
    n = len(target)
    return tuple(output.shape) == (n, n) and n > 1 and torch.equal(target.cpu(), torch.arange(n))
