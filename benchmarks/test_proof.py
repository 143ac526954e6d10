"""How much a proof computes where copies are left that have told all they can, and how much it would compute.

Counts, not times: they are the same on every machine to rounding. Takes about 25 seconds.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from interleaved import show
from nonsingular.diagnosis import Protocol
from nonsingular.diagnosis.course import MOST_TOLD, POINTS
from nonsingular.training import Trainer

HELD_OUT = 0.2


def plain(depth: int, seed: int = 0) -> nn.Module:
    """A network without skips, as PyTorch starts it."""
    torch.manual_seed(seed)
    hidden = [m for _ in range(depth - 1) for m in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), *hidden, nn.Linear(32, 10))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Net-steps, and samples that pass forwards or backwards through a network: three times a step, and to be told."""
    done, step, evaluate = [0, 0], Trainer._step, Trainer.evaluate

    def stepped(self: Trainer, number: int, rows: torch.Tensor, *rest: object) -> None:
        if rows.shape[1] > 2:  # no trial of whether a vectorised step works
            done[0] += len(rows)
            done[1] += 3 * rows.numel()
        step(self, number, rows, *rest)  # type: ignore[arg-type]

    def evaluated(self: Trainer, inputs: torch.Tensor, *rest: object) -> object:
        done[1] += len(self.seeds) * len(inputs)
        return evaluate(self, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", stepped)
    monkeypatch.setattr(Trainer, "evaluate", evaluated)
    return done


def test_work_of_a_proof(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed, against all arms trained to their end."""
    depth, protocol = (20, Protocol(steps=100)) if full else (3, Protocol(steps=10, seeds=2))
    task = ns.data.prepare(ns.data.DataSpec("digits"))
    data = [(task.train_inputs, task.train_labels)]
    build, done = partial(plain, depth), counted(monkeypatch)
    found = ns.diagnose(build(0), F.cross_entropy, data, steps=protocol.steps, protocol=protocol, build=build)
    assert found.learns is not None
    arms = [(row.arm, row.learned.value, row.stopped, row.runs) for row in found.learns.rows]
    tried = [t for t in (found.proof.trials if found.proof else ()) if t.treated is not None]
    arms += [(f"{t.treatment}: {t.verdict}", t.reached.value, t.stopped, protocol.seeds) for t in tried]
    whole, passes = 0, 0
    for name, _, _, runs in arms:
        held = round(HELD_OUT * len(task.train_labels))
        told, apart = (protocol.batch,) * 2 if name == "one batch" else (MOST_TOLD, held)
        whole += runs * protocol.steps
        passes += runs * (3 * protocol.steps * protocol.batch + (POINTS + 1) * told + apart)
    assert done[0] < whole  # alike inputs and permuted targets tell nothing more where nothing is learned
    assert done[1] < passes
    show(
        f"A proof of {protocol.steps} steps, {depth} layers",
        {
            **{f"{name}, {n} runs": f"{learned:.3f}, {at or protocol.steps} steps" for name, learned, at, n in arms},
            "net-steps": f"{done[0]:,} of {whole:,}, {whole / done[0]:.2f} times fewer",
            "passes of samples": f"{done[1]:,} of {passes:,}, {passes / done[1]:.2f} times fewer",
        },
    )
