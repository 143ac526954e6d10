"""``nonsingular diagnose``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nonsingular.cli import interrupts, options
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import Batches, Checkpoint, Data, DataDir, Device, Json, Replace, Resume, Scaling, Target
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError
from nonsingular.words import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from nonsingular.cli.targets import Brought
    from nonsingular.diagnosis import Kept, Protocol
    from nonsingular.diagnosis.loop.rehearse import Rehearsal
    from nonsingular.diagnosis.optimisers import Steps
    from nonsingular.diagnosis.records import Statistic

SHOWN = YOUR_NETWORK
OF_PROOF, OF_TRAINING = ("seeds", "batch", "resume"), ("learning_rate", "optimiser")
"""Options of copies that train, and those that a rehearsal of steps has as well."""
OF_COPIES = "is of copies that train: give --steps N too"


def command(
    context: typer.Context,
    target: Target,
    checkpoint: Checkpoint = None,
    data: Data = None,
    batches: Batches = None,
    data_dir: DataDir = None,
    scaling: Scaling = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out", help="File like that of --batches: are its samples also in training?", show_default="none"
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Training images of the data set to use.", show_default="2000, more with --steps")
    ] = None,
    steps: Annotated[int, typer.Option(help="Train copies for so many steps to prove the treatments.")] = 0,
    seeds: Annotated[int, typer.Option(help="Runs of each copy.")] = 5,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the copies' training.", show_default="0.001, or the file's own")
    ] = None,
    optimiser: Annotated[
        str | None,
        typer.Option(help="Of the copies' training: adam or sgd.", show_default="the file's optimiser(model), or adam"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The random state in which the factory is called.")] = 0,
    seconds: Annotated[float, typer.Option(help="Look at no further batch after so long.")] = 60.0,
    curvature: Annotated[
        bool | None,
        typer.Option("--curvature/--no-curvature", help="Count flat directions.", show_default="of small networks"),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="Rehearse your own training step, FILE.py:train_step, called with (model, batch, optimiser); "
            "its file may have batches() and optimiser(model).",
            show_default="none",
        ),
    ] = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of report.html and diagnosis.json.")] = Path("out/diagnose"),
    resume: Resume = False,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Tell why your own network will not train; with --steps, prove what would make it."""
    from nonsingular import diagnosis
    from nonsingular.cli import targets
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.diagnosis import print_diagnosis
    from nonsingular.cli.tables.loop import print_loop
    from nonsingular.files import held, to_json, write_whole

    _refuse_unused(context, steps, step)
    place = options.device(device)
    named = learning_rate is not None or optimiser is not None
    rate = 1e-3 if learning_rate is None else learning_rate
    protocol = diagnosis.Protocol(max(steps, 1), seeds, batch, rate, optimiser or "adam")

    def usual() -> int:
        return diagnosis.samples_for(data, data_dir, steps, batch)

    if out.is_dir():  # told before anything is looked at
        options.keep_earlier(out, diagnosis.earlier(out), replace, steps > 0 and resume)
    rehearsed = targets.TrainingStep(step) if step is not None else None
    mine = targets.bring(target, checkpoint, data, batches, data_dir, scaling, samples, seed, usual, rehearsed)
    model = mine.model.to(place)
    looked = _Looked(mine, model, None if named else targets.one_optimiser(rehearsed or mine.target, model))
    if rehearsed is not None:
        seen = rehearsed.rehearse(model, mine.batches, protocol.optimiser, rate)
        if mine.loss_fn is None and seen.loss_fn is None and len(seen.loop.optimisers) > 1:
            print_json(seen.to_json()) if json_ else print_loop(seen, rehearsed.name)
            return  # of adversaries without a loss of outputs and targets the loop is all there is to see
        looked = looked.after(seen, rehearsed.name)
    mine = looked.mine
    apart = targets.read_batches(held_out) if held_out is not None else []
    stepped = diagnosis.own_steps(looked.own, looked.model) if steps else None
    with held(out), Bar() as bar, mine.named(held_out):
        options.keep_earlier(out, diagnosis.earlier(out), replace, steps > 0 and resume)
        if replace and not steps:
            diagnosis.discard(out)
        kept = None
        if steps:
            kept = _kept(out, target, looked, protocol, stepped, seed, resume)
            interrupts.resumable()
            bar.suggest(lambda _, seconds: _shorter(seconds, steps))
        found = diagnosis.diagnose(
            looked.model, mine.loss_fn, mine.batches, steps=steps, protocol=protocol,
            build=looked.builder(checkpoint, seed, place), curvature=curvature, kept=kept,
            budget=diagnosis.Budget(seconds=seconds), on_progress=bar.note, observed=looked.observed,
            optimiser=looked.own, held_out=apart, data=mine.data,
        )  # fmt: skip
        write_whole(out / "diagnosis.json", to_json(found.to_json()))
        source = mine.target.file if checkpoint else mine.target.place  # weights are of the network as it is
        report = found.report(out / "report.html", target, source)
    if json_:
        print_json(found.to_json())
    else:
        print_diagnosis(found, source)
        typer.echo(report)


def _refuse_unused(context: typer.Context, steps: int, step: str | None) -> None:
    """Refuse options of copies that train where none do."""
    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")
    if not steps:
        options.refuse_typed(context, OF_PROOF, OF_COPIES)
        if step is None:
            options.refuse_typed(context, OF_TRAINING, OF_COPIES)


@dataclass(frozen=True)
class _Looked:
    """What is looked at.

    Attributes:
        mine: what was brought.
        model: the network, which is ``part`` of the brought one, or all of it ("").
        own: ``optimiser(model)`` of its file; None where copies are trained with another.
        observed: what its training step showed.
    """

    mine: Brought
    model: torch.nn.Module
    own: Any
    part: str = ""
    observed: Mapping[str, Statistic] | None = None

    def after(self, seen: Rehearsal, step: str) -> _Looked:
        """The same, or that part of it that a rehearsed training step trains first, with the step's loss."""
        from nonsingular.cli import targets

        part = targets.followed(self.model, seen, step)
        mine = targets.with_loss(self.mine, seen, step, part)
        own = None if part else self.own  # it is of the whole
        return _Looked(mine, self.model.get_submodule(part), own, part, seen.numbers)

    def builder(self, checkpoint: Path | None, seed: int, place: torch.device) -> Callable[[int], torch.nn.Module]:
        """What makes further networks of the kind, by number."""

        def build(number: int) -> torch.nn.Module:
            return self.mine.target.build(checkpoint, seed + number)[0].to(place).get_submodule(self.part)

        return build


def _kept(
    out: Path, target: str, looked: _Looked, protocol: Protocol, stepped: Steps | None, seed: int, resume: bool
) -> Kept:
    """The file of curves of copies, which a stopped proof goes on from."""
    from nonsingular import diagnosis

    plan = diagnosis.plan(
        target, looked.model, protocol, data=dict(looked.mine.data), samples=looked.mine.samples, seed=seed,
        own=stepped and stepped.to_json(),
    )  # fmt: skip
    return diagnosis.Kept(out, plan, resume)


FEWEST = 50
"""Steps from which on a proof may tell something."""


def _shorter(seconds: float, steps: int) -> str:
    """A proof that takes minutes where the one asked for takes longer, in words."""
    fewer = max(FEWEST, int(steps * options.AIM / seconds))
    return f"--steps {fewer} takes {duration(seconds * fewer / steps)}, and tells less" if fewer < steps else ""
