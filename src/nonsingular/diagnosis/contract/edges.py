"""Graphs whose messages go astray: against the way in which targets depend on neighbours, or back to their senders."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_evaluated, untouched
from nonsingular.diagnosis.values import evenly
from nonsingular.errors import InputError

NODES = 64  # of a graph, from where something can be said; at most MOST are looked at
MOST = 1024
MANY = 100_000  # edges that are looked at
ASKED = 8  # nodes whose outputs are asked what they depend on
ONE_WAY = 0.3  # share of the edges that have none back, from where there is a way round
COLUMNS, CLASSES = 128, 1000
RIDGES = (1.0, 10.0, 100.0)
Edges = Integer[Tensor, "2 edge"]


def turned_round(scene: Scene) -> Statistic:
    """How much more of the targets the nodes at the other ends of the edges tell than those that messages come from.

    As a share of the targets' variance, in nodes that a linear fit has not seen, beyond what a node's own inputs tell.
    0 where messages come from the nodes that tell more.
    """
    words = "share of the targets' variance that the nodes tell to which no message comes from, beyond those that send"
    unknown = Statistic(math.nan, (), words)
    graphs = [g for g in _graphs(scene, scene.batch.samples) if _one_way(g) >= ONE_WAY]
    nodes = _nodes(scene) if graphs else None
    if nodes is None:
        return unknown
    x, y, known = nodes
    for edges in graphs:
        along = _read_along(scene, x, edges)
        if along is None:
            continue
        sends, gets = (edges if along else edges.flip(0)).cpu()
        read, other = (_gain_by_messages(x, y, known, a, b) for a, b in ((sends, gets), (gets, sends)))
        evidence = (
            {"measure": "share of the targets' variance that nodes tell which send messages", "value": read},
            {"measure": "that the nodes tell which get them", "value": other},
        )
        remedy = (
            "Turn the edges round: edge_index.flip(0), or the transposed adjacency. Messages go from edge_index[0] to "
            "edge_index[1], and row i of an adjacency holds what node i gets."
        )
        value = other - read if other > 2 * max(read, 0.0) else 0.0
        return Statistic(value, scene.entrance, words, "", evidence, remedy)
    return unknown


def _nodes(scene: Scene) -> tuple[Tensor, Tensor, Tensor] | None:
    """Numbers and targets of the nodes, and which targets count; None where the batch is no graph of nodes."""
    xs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor) and t.is_floating_point()]
    y, n = scene.batch.target, scene.batch.samples
    x = next((t for t in xs if t.ndim == 2 and len(t) == n and t.shape[1] != n), None)
    if x is None or not isinstance(y, Tensor) or not y.ndim or len(y) != n or n < NODES or y.is_complex():
        return None
    if y.is_floating_point():
        return x, y.detach().cpu().double().reshape(n, -1), torch.ones(n, dtype=torch.bool)
    y = y.cpu().long()
    classes, codes = y.unique(return_inverse=True)
    if y.ndim > 1 or not 1 < len(classes) <= CLASSES:
        return None
    return x, F.one_hot(codes, len(classes)).double(), y >= 0


def _graphs(scene: Scene, n: int) -> Iterator[Edges]:
    """Edges that the model's operations were given: a list of two rows, or a table of node by node."""
    seen = set()
    held = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    for t in [*held, *(t for op in scene.trace.ops if not op.in_loss for t in op.tensors)]:
        if id(t) in seen or t.requires_grad:
            continue
        seen.add(id(t))
        if t.ndim != 2 or t.is_complex() or (t.layout == torch.strided and not t.numel()):
            continue
        listed = t.layout == torch.strided and t.dtype == torch.long and t.shape[0] == 2 != n and t.shape[1] >= n
        if listed and 0 <= int(t.min()) <= int(t.max()) < n:
            yield t[:, t[0] != t[1]]
        elif tuple(t.shape) == (n, n) and n >= NODES:
            gets, sends = t.nonzero().T if t.layout == torch.strided else t.to_sparse_coo().coalesce().indices()
            if n <= len(sends) < n * n / 4:
                yield torch.stack([sends, gets])[:, sends != gets]


def _one_way(edges: Edges) -> float:
    """Share of the edges that have none back."""
    size = int(edges.max()) + 1 if edges.numel() else 1
    there, back = (a * size + b for a, b in ((edges[0], edges[1]), (edges[1], edges[0])))
    return float((~torch.isin(there, back)).double().mean()) if edges.numel() else 0.0


def _read_along(scene: Scene, x: Tensor, edges: Edges) -> bool | None:
    """Whether outputs of ``edges[1]`` depend on inputs of ``edges[0]``, and not the other way; None if neither or both.

    Asked by the gradient of some nodes' outputs.
    """
    point = x.detach().clone().requires_grad_()
    inputs = tree_map_only(Tensor, lambda t: point if t is x else t, scene.batch.inputs)
    task = scene.task
    along = against = 0
    with untouched(task.model), torch.enable_grad():
        as_evaluated(task.model, lambda: task.output(scene.batch))
        try:
            out = task.output(replace(scene.batch, inputs=inputs))
        except InputError:
            return None
        if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != len(x) or not out.requires_grad:
            return None
        ends = edges.flatten().unique()
        for node in ends[evenly(len(ends), ASKED)].tolist():
            [slope] = torch.autograd.grad(out[node].sum(), [point], retain_graph=True, allow_unused=True)
            if slope is None:
                return None
            felt = slope.abs().sum(1) > 0
            along += int(felt[edges[0][edges[1] == node]].sum())
            against += int(felt[edges[1][edges[0] == node]].sum())
    if max(along, against) < ASKED / 2 or min(along, against) > 0.7 * max(along, against):
        return None
    return along > against


def _gain_by_messages(x: Tensor, y: Tensor, known: Tensor, sends: Tensor, gets: Tensor) -> float:
    """Share of the targets' variance that the mean and the number of the sending neighbours tell, in unseen nodes."""
    rows = known.nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))][:MOST]
    few = torch.isin(gets, rows).nonzero().flatten()
    sends, gets = (t[few[evenly(len(few), MANY)]] for t in (sends, gets))
    own = x.detach().cpu().double()
    if own.shape[1] > COLUMNS:
        own = own @ torch.randn(own.shape[1], COLUMNS, generator=torch.Generator().manual_seed(0)).double()
    count = torch.zeros(len(x)).double().index_add_(0, gets, torch.ones(len(gets)).double())
    mean = torch.zeros_like(own).index_add_(0, gets, own[sends]) / count.clamp_min(1)[:, None]
    whole = torch.cat([own, mean, count.clamp(max=20)[:, None]], 1)
    return _explained(whole[rows], y[rows]) - _explained(own[rows], y[rows])


def _explained(x: Float[Tensor, "node column"], y: Float[Tensor, "node number"]) -> float:
    """Share of the variance of targets that a ridge regression on one half of the nodes explains in the other."""
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-12)
    y = y - y.mean(0)
    half = len(x) // 2
    best = -math.inf
    for ridge in RIDGES:
        left = 0.0
        for fit, test in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
            gram = x[fit].T @ x[fit] + ridge * torch.eye(x.shape[1]).double()
            left += float((y[test] - x[test] @ torch.linalg.solve(gram, x[fit].T @ y[fit])).square().sum())
        best = max(best, 1 - left / max(float(y.square().sum()), 1e-12))
    return best


def sent_back(scene: Scene) -> Statistic:
    """Whether what is read of the nodes by an index is added up by that very index: every node gets its own."""
    words = "messages that are added up at the nodes that they come from"
    read: dict[
        int, Tensor
    ] = {}  # id of rows that were read by an index, and of what was made of them alone -> the index
    for op in scene.trace.ops:
        if op.in_loss:
            continue
        if (index := _read_by(op)) is not None or (index := _made_of(op, read)) is not None:
            read[id(op.out)] = index
        added, values = _added(op)
        if added is None or id(values) not in read:
            continue
        index = read[id(values)]
        own = added if added.ndim == 1 else added.flatten(1)[:, 0]
        if own.shape == index.shape and len(own) > NODES and torch.equal(own, index) and len(own.unique()) < len(own):
            evidence = ({"measure": "messages", "value": len(own)}, {"measure": "nodes", "value": len(own.unique())})
            at = f" ({op.where})" if op.where else ""
            remedy = f"Add messages up at the other end of the edges{at}: read by edge_index[0], add by edge_index[1]."
            return Statistic(1.0, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)


def _read_by(op: Op) -> Tensor | None:
    """The index by which rows are read."""
    by_rows = op.name == "__getitem__" or (op.name == "index_select" and op.given(1, "dim") == 0)
    index = op.given(1 if op.name == "__getitem__" else 2, "index") if by_rows else None
    return index if isinstance(index, Tensor) and index.dtype == torch.long and index.ndim == 1 else None


def _made_of(op: Op, read: dict[int, Tensor]) -> Tensor | None:
    """The index of the rows of which alone, parameters apart, rows were made."""
    rows = [t for t in op.tensors if not isinstance(t, nn.Parameter) and t.ndim]
    found = {id(index): index for t in rows if (index := read.get(id(t))) is not None}
    if len(found) != 1 or not isinstance(op.out, Tensor) or not op.out.ndim:
        return None
    [index] = found.values()
    alone = all(id(t) in read or len(t) != len(index) for t in rows)
    return index if alone and len(op.out) == len(index) else None


def _added(op: Op) -> tuple[Tensor | None, object]:
    """The index by which rows are added up, and the rows."""
    if op.name in ("index_add", "index_add_", "scatter_add", "scatter_add_", "index_reduce", "index_reduce_"):
        return op.given(2, "index"), op.given(3, "source" if op.name.startswith("index") else "src")
    return None, None
