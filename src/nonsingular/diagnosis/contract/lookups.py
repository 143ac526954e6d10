"""Tables of parameters of which each sample reads few rows: embeddings, and first layers of one-hot inputs."""

from __future__ import annotations

from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import MATRIX_PRODUCTS
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op

FEW = 0.25  # of the rows: what a sample reads of a table
BY_INDEX = {"embedding", "embedding_bag", "__getitem__", "index_select", "gather", "take"}


def looked_up(scene: Scene) -> tuple[str, ...]:
    """Names of the parameters that samples only look up: the mean over a batch dilutes the curvature of their rows.

    Rows that no sample of the batch reads have none.
    """
    named = {id(p): name for name, p in scene.task.model.named_parameters() if p.requires_grad}
    found: set[int] = set()
    others: set[int] = set()
    for op in scene.trace.ops:
        read = _read(op, scene.batch.samples)
        own = {id(t) for t in op.tensors if id(t) in named and t.ndim > (op.name in MATRIX_PRODUCTS)}  # but biases
        (found if read is not None and read < FEW else others).update(own)
    return tuple(named[i] for i in named if i in found - others)


def reads_ids(scene: Scene) -> bool:
    """Whether inputs choose rows of a table that is trained, as ids of tokens do and whole numbers of other kinds not.

    >>> import torch
    >>> from nonsingular.diagnosis.batches import problem
    >>> from nonsingular.diagnosis.contract import scene
    >>> x = torch.randint(5, (8, 3))
    >>> table = torch.nn.Sequential(torch.nn.Embedding(5, 2), torch.nn.Flatten())
    >>> reads_ids(scene(problem(table, lambda out, _: out.mean(), [(x, x)], 8)))
    True
    """
    known = {id(t) for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor) and not t.is_floating_point()}
    for op in scene.trace.ops:
        if not any(id(t) in known for t in op.tensors):
            continue
        if op.name in BY_INDEX and any(t.requires_grad for t in op.tensors):
            return True
        known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor) and not t.is_floating_point()}
    return False


def _read(op: Op, samples: int) -> float | None:
    """Share of a table's rows that a sample reads, on average; None where this is no reading of rows."""
    if op.name in BY_INDEX:
        table = next((t for t in op.tensors if t.requires_grad and t.ndim), None)
        index = [t for t in tree_leaves(op.args) if isinstance(t, Tensor) and not t.is_floating_point()]
        return max(t.numel() for t in index) / samples / len(table) if table is not None and index else None
    if op.name in MATRIX_PRODUCTS and len(op.tensors) > 1:
        data = next((t for t in op.tensors if not t.requires_grad and t.ndim > 1), None)
        whole = data is not None and bool((data == data.round()).all())  # ones of one-hot inputs, counts of a bag
        return float((data != 0).double().mean()) if data is not None and whole else None
    return None
