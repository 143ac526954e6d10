"""Recurrences that run on through padding and are read at its end, long after what a sample holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.masks import padding
from nonsingular.diagnosis.contract.reading import summed
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

RECURRENCES = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
LATE = 8  # steps through padding, from which a state is said to be read late
REMEDY = (
    "Read each sample's state at its own last position: out[range(n), lengths - 1], or "
    "nn.utils.rnn.pack_padded_sequence with the lengths, after which h_n is that."
)


def read_late(scene: Scene) -> Statistic:
    """Share of the samples whose outputs depend on a recurrence only through states that lie in their padding."""
    words = f"share of the samples that a recurrence is read of {LATE} or more steps after their end"
    paddings = [e for t in tree_leaves(scene.batch.inputs) if (e := padding(t)) is not None]
    paddings = [e for e in paddings if bool(e[:, -1].any()) and not bool(e[:, 0].any())]
    total = summed(scene.output)
    if not paddings or total is None:
        return Statistic(math.nan, (), words)
    found = [
        (float((only_padding & (empty.sum(1).to(total.device) >= LATE)).double().mean()), op, empty)
        for op, empty in itertools.product(scene.trace.ops, paddings)
        for only_padding in _read(op, total, empty)
    ]
    share, op, empty = max(found, key=lambda one: one[0], default=(0.0, None, paddings[0]))
    if op is None or not share:
        return Statistic(0.0, (), words)
    evidence = (
        {"measure": "steps through padding, mean over samples", "value": float(empty.sum(1).double().mean())},
        {"measure": "positions", "value": empty.shape[1]},
    )
    return Statistic(share, op.layers, words, op.place, evidence, REMEDY)


def _read(op: Op, total: Tensor, empty: Bool[Tensor, "sample position"]) -> Iterator[Bool[Tensor, " sample"]]:
    """Of a recurrence over padded samples: which of them are read in their padding alone."""
    if op.name not in RECURRENCES or len(op.args) < 9 or not isinstance(op.out, tuple):
        return  # over packed samples it has no ``batch_first``, and ends where they end
    both_ways, batch_first = bool(op.args[7]), bool(op.args[8])
    states, last = op.out[0], op.out[1]
    if not (isinstance(states, Tensor) and states.requires_grad and states.ndim == 3):
        return
    by_states, by_last = torch.autograd.grad(total, [states, last], retain_graph=True, allow_unused=True)
    if by_states is not None:
        felt = by_states.abs().sum(2) > 0
        felt = felt if batch_first else felt.T
        if felt.shape == empty.shape and bool(felt.any()):
            yield ~(felt & ~empty.to(felt.device)).any(1)
    elif by_last is not None and not both_ways and states.shape[:2] == (empty.shape if batch_first else empty.T.shape):
        yield empty[:, -1].to(states.device)  # the other way round it has seen the beginning last
