"""How many steps of networks a proof takes where copies that cannot help any more are left, and how many it would take.

A count, not a time: it is the same on every machine to rounding. Takes about 15 seconds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from interleaved import show
from nonsingular.diagnosis import Protocol


def plain(depth: int, seed: int = 0) -> nn.Module:
    """A network without skips, as PyTorch starts it."""
    torch.manual_seed(seed)
    hidden = [m for _ in range(depth - 1) for m in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), *hidden, nn.Linear(32, 10))


def test_steps_of_a_proof(full: bool) -> None:
    """Each arm's steps as they were taken, against all of them."""
    depth, protocol = (20, Protocol(steps=100)) if full else (3, Protocol(steps=10, seeds=2))
    task = ns.data.prepare(ns.data.DataSpec("digits"))
    data = [(task.train_inputs, task.train_labels)]
    found = ns.diagnose(
        plain(depth), F.cross_entropy, data, steps=protocol.steps, protocol=protocol, build=lambda s: plain(depth, s)
    )
    assert found.learns is not None
    trials = [t for t in (found.proof.trials if found.proof else ()) if t.treated is not None]
    always = protocol.steps * sum(row.runs for row in found.learns.rows)
    whole = always + protocol.steps * protocol.seeds * len(trials)
    taken = always + protocol.seeds * sum(t.stopped or protocol.steps for t in trials)
    assert taken <= whole
    show(
        f"A proof of {protocol.steps} steps, {depth} layers",
        {
            **{t.treatment: f"{t.verdict}, {t.stopped or protocol.steps} steps" for t in trials},
            "net-steps": f"{taken:,} of {whole:,}, {whole / taken:.2f} times fewer",
        },
    )
