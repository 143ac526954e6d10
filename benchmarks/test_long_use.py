"""Long use: memory that does not grow, and hooks that are gone.

With ``--full`` 100 000 steps under a monitor and under ``watch``, and a population of 1 000 epochs: some minutes.
"""

from __future__ import annotations

import contextlib
import gc
import io
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import nonsingular as ns
from child import here, in_child
from interleaved import show
from nonsingular import cli
from nonsingular.diagnosis.loop import Observer, calls, losses, observer, records
from nonsingular.diagnosis.loop.script import run

KIB = 1024
ROOM = 48
"""KiB by which what is kept may grow: dictionaries that are made larger, caches that fill."""


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is kept of a loop is full soon: what grows after that grows for ever."""
    monkeypatch.setattr(records, "MOST", 40)
    for module, limit in ((calls, "CALLS"), (observer, "KEPT"), (losses, "TARGETS")):
        monkeypatch.setattr(module, limit, 20)
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> float:
    """KiB that Python's objects take."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / KIB


def grown(step: Callable[[int], object], steps: int) -> float:
    """KiB by which memory grew in the second half of so many steps."""
    for k in range(steps // 2):
        step(k)
    before = held()
    for k in range(steps // 2, steps):
        step(k)
    return held() - before


@pytest.mark.parametrize("with_optimiser", [False, True])
def test_a_monitor(full: bool, with_optimiser: bool) -> None:
    steps, every = (100_000, 100) if full else (320, 8)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    watched = optimiser if with_optimiser else None

    def step(k: int) -> None:
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()
        monitor.step()

    with ns.Monitor(model, every=every, keep=5, optimiser=watched, on_finding=None) as monitor:
        more = grown(step, steps)
    hooks = [h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks) if h]
    assert len(monitor.history) == 5
    assert not hooks
    assert not vars(nn.modules.module).get("_global_forward_hooks_with_kwargs")
    assert not optimiser._optimizer_step_pre_hooks
    assert not optimiser._optimizer_step_post_hooks
    show(f"Monitor, {steps:,} steps, {'with' if with_optimiser else 'without'} the optimiser",
         {"memory, second half": f"{more:+.0f} KiB"})  # fmt: skip
    assert more < ROOM


SCRIPT = """
import gc, sys, tracemalloc
import torch
from torch import nn

steps = int(sys.argv[1])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
x, y = torch.randn(8, 4), torch.randn(8, 1)
for k in range(steps):
    if k == steps // 2:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
    optimiser.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimiser.step()
gc.collect()
open(sys.argv[2], "w").write(str(tracemalloc.get_traced_memory()[0] - before))
"""


def watched(text: str, many: int, folder: Path) -> tuple[Observer, float]:
    """Who watched a script that does something so many times, and the KiB that it grew by in the second half."""
    script, grew = folder / "train.py", folder / "grew"
    script.write_text(text)
    watching = Observer()
    assert run(script, [str(many), str(grew)], watching).error is None
    return watching, float(grew.read_text()) / KIB


def test_watch(full: bool, tmp_path: Path) -> None:
    steps = 100_000 if full else 600
    before = torch.optim.Optimizer.zero_grad, torch.Tensor.backward, nn.Module.__call__
    watching, more = watched(SCRIPT, steps, tmp_path)
    assert (torch.optim.Optimizer.zero_grad, torch.Tensor.backward, nn.Module.__call__) == before
    loop = watching.loop
    assert loop.steps == loop.optimisers[0].steps == steps
    assert max(len(loop.updates), len(loop.losses), len(loop.optimisers[0].rates)) <= records.MOST
    assert loop.losses[-1][0] == steps - 1
    show(f"watch, {steps:,} steps", {"memory, second half": f"{more:+.0f} KiB"})
    assert more < ROOM


SEARCH = """
import gc, sys, tracemalloc
import torch
from torch import nn

models = int(sys.argv[1])
for k in range(models):
    if k == models // 2:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
    model = nn.Linear(4, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimiser.step()
gc.collect()
open(sys.argv[2], "w").write(str(tracemalloc.get_traced_memory()[0] - before))
"""


def test_watch_of_a_search_over_models(full: bool, tmp_path: Path) -> None:
    """Models made one after another are let go."""
    models = 2000 if full else 100
    _, more = watched(SEARCH, models, tmp_path)
    show(f"watch, {models:,} models", {"memory, second half": f"{more:+.0f} KiB"})
    assert more < ROOM


def population(epochs: int, out: Path) -> None:
    words = ["reproduce", "orhan2018/fig6", "--scale", "smoke", "--networks", "plain", "--runs", "2"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.run([*words, "--epochs", str(epochs), "--out", str(out), "--json"]) == 0


def test_a_population(full: bool, tmp_path: Path) -> None:
    """Memory is as high as after a quarter of the epochs."""
    tracemalloc.stop()  # it would cost more than it tells: what is held is tensors
    epochs, measured, room = (1000, in_child, 40) if full else (8, here, 100)  # MiB; here others have left holes
    peaks = [measured(population, part, tmp_path / str(part)).peak * 1024 for part in (epochs // 4, epochs)]
    show(f"a population, {epochs} epochs", {"peak memory": f"{peaks[0]:.0f} and {peaks[1]:.0f} MiB"})
    assert peaks[1] < peaks[0] + room
