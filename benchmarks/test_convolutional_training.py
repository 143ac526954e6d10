"""How much faster the training loop takes steps of convolutional networks than plain PyTorch, and which way is fastest.

``pytest benchmarks/test_convolutional_training.py --full -s`` prints the table. Candidates take turns; what counts are
ratios. Takes about 3 minutes on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from interleaved import interleaved, ratio, show
from nonsingular.data import Task
from nonsingular.networks import Architecture, ConstNetSpec, LeakyNetSpec, ResidualSpec, build, resnet
from nonsingular.training import Trainer, TrainingSpec, emulates_bfloat16
from resnet import ResNet20

BATCH, STEPS = 128, 2
SGD = TrainingSpec(batch=BATCH, optimiser="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BFLOAT16 = not emulates_bfloat16(torch.device(DEVICE))


def a_task(pixels: int, batch: int) -> Task:
    """Random images, one epoch of which is two steps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * batch, 3, pixels, pixels, generator=generator)
    y = torch.randint(0, 10, (len(x),), generator=generator)
    return Task(x, y, x[:10], y[:10], 10).to(torch.device(DEVICE))


def plain(
    task: Task, network: torch.nn.Module, channels_last: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """An epoch in default layout, float32, stock SGD, as a tutorial writes it; or channels-last; or compiled."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(DEVICE, memory_format=layout)  # type: ignore[call-overload]
    forward: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network) if compiled else network
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    batch = len(task.train_labels) // STEPS

    def epoch() -> None:
        for _ in range(STEPS):
            rows = torch.randint(0, len(task.train_labels), (batch,))
            x = task.train_inputs[rows].contiguous(memory_format=layout)
            loss = F.cross_entropy(forward(x), task.train_labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        _wait()

    return epoch


def a_trainer(
    task: Task, spec: Architecture, precision: str = "float32", runs: int = 1, vectorised: bool | None = None
) -> Trainer:
    networks = [build(spec, task.shape, 10, seed) for seed in range(runs)]
    training = replace(SGD, precision=precision, batch=len(task.train_labels) // STEPS)
    return Trainer(networks, range(runs), task, training, device=DEVICE, vectorised=vectorised)


def ours(
    task: Task, spec: Architecture, precision: str = "float32", runs: int = 1, vectorised: bool | None = None
) -> Callable[[], None]:
    """An epoch of every run by the project's training loop."""
    trainer = a_trainer(task, spec, precision, runs, vectorised)

    def epoch() -> None:
        trainer.train_epoch()
        _wait()

    return epoch


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def test_training_step_of_resnet20(full: bool) -> None:
    """Our loop against the same network in default layout float32 PyTorch: at least 1.5 times as fast is the aim.

    PyTorch gains here too from what the loop tells the allocator (``keep_freed_memory``): both run in one process.
    """
    task, spec = a_task(32, BATCH) if full else a_task(8, 4), resnet(20, shortcut="projected")
    candidates = {
        "PyTorch, default layout": plain(task, ResNet20()),
        "PyTorch, channels-last": plain(task, ResNet20(), channels_last=True),
        "ours, float32": ours(task, spec),
    }
    if BFLOAT16:
        candidates["ours, bfloat16"] = ours(task, spec, "bfloat16")
    if DEVICE == "cuda" and full:
        candidates["PyTorch, channels-last, compiled"] = plain(task, ResNet20(), channels_last=True, compiled=True)
    timings = interleaved(candidates, *((7, 2) if full else (1, 0)))
    reference = timings["PyTorch, default layout"]
    show(
        f"training step of ResNet-20, batch {BATCH}, 32 x 32, {DEVICE} ({torch.backends.cpu.get_cpu_capability()})",
        {n: f"{1e3 * t.median / STEPS:7.0f} ms, {ratio(reference, t):.2f} times as fast" for n, t in timings.items()},
    )
    fastest = max(ratio(reference, t) for n, t in timings.items() if n.startswith("ours"))
    assert not full or fastest > 1


class Case(NamedTuple):
    """Networks that a population may consist of, and the numbers of runs that are tried."""

    name: str
    spec: Architecture
    pixels: int
    batch: int
    populations: tuple[int, ...]


POPULATIONS = [
    *(Case(f"ResNet-20 of {c}", resnet(20, width=c), size, BATCH, (2, 5)) for c in (4, 8, 16) for size in (8, 16)),
    *(Case(f"ResNet-20 of {c}", resnet(20, width=c), 32, BATCH, (2,)) for c in (4, 8, 16)),
    *(Case(f"ResNet-20 of {c}", resnet(20, width=c), 8, 25, (3, 10)) for c in (8, 16)),
    Case("ResNet-164 of 8", resnet(164, block="bottleneck", width=8), 8, 50, (2, 3)),
    Case("ResNeXt-164 of 8", ResidualSpec(164, "bottleneck", 8, cardinality=4, group_width=2), 8, 50, (3,)),
    Case("ConstNet of 8", ConstNetSpec(13, 8, 1), 8, 25, (3, 10)),
    Case("LeakyNet of 8", LeakyNetSpec(13, 8, 1), 8, 25, (3, 10)),
]
"""What the way that a `Trainer` chooses was decided by."""


def test_populations(full: bool) -> None:
    """Networks one after another against one vectorised call: what a `Trainer` chooses shall be the faster way."""
    rows, lost = {}, []
    for name, spec, pixels, batch, populations in (
        POPULATIONS if full else [Case("ConstNet", ConstNetSpec(4, 8, 1), 8, 2, (2,))]
    ):
        task = a_task(pixels, batch)
        for runs in populations:
            ways = {"apart": ours(task, spec, runs=runs, vectorised=False)}
            ways["vectorised"] = ours(task, spec, runs=runs, vectorised=True)
            timings = interleaved(ways, *((3, 1) if full else (1, 0)))
            chosen = a_trainer(task, spec, runs=runs).population.vectorised
            speed = ratio(timings["vectorised"], timings["apart"])
            lost.append(speed if chosen else 1 / speed)
            rows[f"{name}, {pixels} x {pixels}, batch {batch}, {runs} runs"] = (
                f"{1e3 * timings['apart'].median / (runs * STEPS):7.1f} ms a net-step, "
                f"vectorised {speed:.2f} times that; "
                f"{'vectorised' if chosen else 'one after another'} by default"
            )
    show(f"populations, {DEVICE} ({torch.backends.cpu.get_cpu_capability()})", rows)
    # On another machine the border lies elsewhere; by far the wrong way is a rule that does not hold there.
    assert not full or torch.tensor(lost).log().mean().exp() < 1


def test_bfloat16_is_sound(full: bool) -> None:
    """The loss after a few epochs in mixed precision is that of float32 within the spread of seeds."""
    samples, pixels, batch, width = (1_000, 16, BATCH, 8) if full else (24, 8, 8, 4)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (samples,), generator=generator)
    x = torch.randn(samples, 3, pixels, pixels, generator=generator)
    x += torch.randn(10, 3, pixels, pixels, generator=generator)[labels]
    task = Task(x, labels, x, labels, 10)
    losses = {}
    for precision in ("float32", "bfloat16"):
        networks = [build(resnet(20, width=width), task.shape, 10, seed) for seed in range(3)]
        protocol = replace(SGD, precision=precision, learning_rate=0.01, batch=batch)
        trainer = Trainer(networks, range(3), task, protocol)
        for _ in range(2):
            trainer.train_epoch()
        losses[precision] = trainer.evaluate(x, labels).loss
    show(
        "loss after two epochs, three seeds",
        {n: str([round(v, 3) for v in loss.tolist()]) for n, loss in losses.items()},
    )
    spread = losses["float32"].std()
    assert (losses["bfloat16"].mean() - losses["float32"].mean()).abs() < 2 * spread
