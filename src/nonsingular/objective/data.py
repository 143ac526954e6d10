"""What a user's data are: read once, batch by batch, whatever they come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nonsingular.errors import BadData
from nonsingular.objective.trees import holds_tensors, merge, tensors, tree_map

TARGETS = ("labels", "label", "target", "targets", "y")
"""Entries of a dictionary, or attributes of an object, that are the target."""


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        inputs: what the model takes; all of the batch where it is no pair.
        target: what the loss compares with; None where there is none.
        samples: how many.
        pair: whether it came as (inputs, target).
        index: of the user's batch that it is, or that it was cut from.

    >>> import torch
    >>> import nonsingular as ns
    >>> batch = next(ns.objective.read([(torch.zeros(8, 3), torch.zeros(8))]))
    >>> batch.samples, batch.split(5)[1].samples
    (8, 3)
    """

    inputs: Any
    target: Any
    samples: int
    pair: bool = True
    index: int = 0

    @property
    def whole(self) -> Any:
        """The batch as the user gave it."""
        return (self.inputs, self.target) if self.pair else self.inputs

    def map(self, function: Callable[[Tensor], Tensor], samples: int | None = None) -> Batch:
        """The batch with ``function`` of each of its tensors; a target that is an entry of the inputs stays one."""
        made: dict[int, Tensor] = {}

        def once(t: Tensor) -> Tensor:
            if id(t) not in made:
                made[id(t)] = function(t)
            return made[id(t)]

        inputs, target = tree_map(once, self.inputs), tree_map(once, self.target)
        return replace(self, inputs=inputs, target=target, samples=self.samples if samples is None else samples)

    def take(self, rows: slice | Tensor, samples: int) -> Batch:
        """Some samples: those rows of all tensors whose leading axis counts the samples.

        Whether that leaves the loss what it is must be tried: `Objective.cut` does.
        """

        def some(t: Tensor) -> Tensor:
            if not t.dim() or t.shape[0] != self.samples:
                return t
            return t[rows.to(t.device) if isinstance(rows, Tensor) else rows]

        return self.map(some, samples)

    def joined(self, other: Batch) -> Batch:
        """Both batches as one.

        Raises:
            NotAlike: their tensors cannot be joined.
        """
        inputs, target = merge(self.inputs, other.inputs), merge(self.target, other.target)
        return replace(self, inputs=inputs, target=target, samples=self.samples + other.samples)

    def split(self, size: int) -> list[Batch]:
        """Pieces of at most ``size`` samples."""
        starts = range(0, self.samples, size)
        return [self.take(slice(start, start + size), min(size, self.samples - start)) for start in starts]


def refuse_undense(batch: Batch) -> None:
    """Refuse a batch whose samples cannot be told apart.

    Raises:
        InputError: one of its tensors is sparse or nested.
    """
    for what, tree in (("inputs", batch.inputs), ("target", batch.target)):
        for t in tensors(tree):
            if t.is_nested or t.layout != torch.strided:
                said = "nested: pad them to one shape" if t.is_nested else "sparse: give them as .to_dense()"
                raise BadData(f"samples must be told apart, but the {what} of batch {batch.index} are {said}")


def read(data: Any, samples: int | None = None) -> Iterator[Batch]:
    """The batches of what a user gives, checked one by one, as they are.

    Args:
        data: None; a pair (inputs, target); a tensor, dictionary or object that is one batch; or an iterable of
            batches, each a pair, a tensor, a list, a dictionary or an object.
        samples: stop with the batch that completes so many.

    Raises:
        InputError: nothing that can be read, or an empty batch.

    >>> import torch
    >>> import nonsingular as ns
    >>> data = [(torch.zeros(8, 3), torch.zeros(8)), (torch.zeros(5, 3), torch.zeros(5))]
    >>> [batch.samples for batch in ns.objective.read(data)]
    [8, 5]
    """
    if data is None:
        yield Batch(None, None, 1, pair=False)
        return
    seen = 0
    for index, given in enumerate(_batches(data)):
        batch = _batch(given, index)
        yield batch
        seen += batch.samples
        if samples is not None and seen >= samples:
            return


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, Tensor | Mapping) or holds_tensors(data) or _is_pair(data):
        return iter([data])
    try:
        return iter(data)
    except TypeError:
        raise BadData(
            f"batches must be an iterable of batches such as pairs (inputs, target), got {type(data).__name__}"
        ) from None


def _is_pair(data: Any) -> bool:
    """Whether a tuple is one batch: inputs with a tensor of targets (or None) beside them."""
    if not (isinstance(data, tuple) and len(data) == 2):
        return False
    inputs, target = data
    return isinstance(target, Tensor | None) and isinstance(inputs, Tensor | tuple | list | Mapping)


def _batch(given: Any, index: int) -> Batch:
    if isinstance(given, Tensor | Mapping) or holds_tensors(given) or hasattr(given, "_fields"):
        batch = Batch(given, _target(given), 0, pair=False, index=index)
    elif isinstance(given, tuple | list) and len(given) == 2:
        inputs, target = given
        batch = Batch(tuple(inputs) if type(inputs) is list else inputs, target, 0, index=index)
    elif isinstance(given, tuple | list) and tensors(given):
        batch = Batch(given, None, 0, pair=False, index=index)
    else:
        raise BadData(
            f"batch {index} must be a pair (inputs, target), a tensor, a dictionary or an object with tensors, "
            f"got {type(given).__name__}"
        )
    return replace(batch, samples=_samples(batch))


def _target(given: Any) -> Any:
    for name in TARGETS:
        found = given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def _samples(batch: Batch) -> int:
    found = count(batch)
    if found is None:  # not to be told: whatever counts first, and `weights` asks where it matters
        sizes = [t.shape[0] for t in tensors(batch.whole) if t.dim()]
        found = sizes[0] if sizes else 1
    if found == 0 or any(t.numel() == 0 for t in tensors(batch.inputs)[:1]):
        raise BadData(f"batch {batch.index} is empty")
    return found


def count(batch: Batch) -> int | None:
    """The number of samples by the target's first axis, else by the inputs'; None where tensors disagree."""
    graphs = getattr(batch.inputs, "num_graphs", None)
    if isinstance(graphs, int):
        return graphs
    for tree in (batch.target, batch.inputs):
        sizes = {t.shape[0] for t in tensors(tree) if t.dim()}
        if sizes:
            return sizes.pop() if len(sizes) == 1 else None
    return None


def valid(batch: Batch, ignore: int = -100, shift: int = 0) -> int | None:
    """Entries of the target that a loss looks at: class numbers that are not ignored, all of other targets.

    Args:
        batch: its target is one tensor; without a target its ``attention_mask`` counts.
        ignore: a class number that is left out; negative ones always are.
        shift: leading entries of each row that a causal language model does not predict.
    """
    if batch.target is None and isinstance(batch.inputs, Mapping) and "attention_mask" in batch.inputs:
        return int(batch.inputs["attention_mask"][..., shift:].sum())
    targets = tensors(batch.target)
    if len(targets) != 1 or (shift and targets[0].dim() < 2):
        return None
    target = targets[0][..., shift:] if shift else targets[0]
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        return target.numel()
    return int(((target != ignore) & (target >= 0)).sum())
