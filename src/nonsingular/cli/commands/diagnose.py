"""``nonsingular diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli import interrupts, options
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import Batches, Checkpoint, Data, DataDir, Device, Json, Replace, Resume, Scaling, Target
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError
from nonsingular.words import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

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

    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")
    if not steps:
        options.refuse_typed(context, OF_PROOF, OF_COPIES)
        if step is None:
            options.refuse_typed(context, OF_TRAINING, OF_COPIES)
    place = options.device(device)
    named = learning_rate is not None or optimiser is not None
    learning_rate, optimiser = 1e-3 if learning_rate is None else learning_rate, optimiser or "adam"
    protocol = diagnosis.Protocol(max(steps, 1), seeds, batch, learning_rate, optimiser)

    def usual() -> int:
        return diagnosis.samples_for(data, data_dir, steps, batch)

    rehearsed = targets.TrainingStep(step) if step is not None else None
    mine = targets.bring(target, checkpoint, data, batches, data_dir, scaling, samples, seed, usual, rehearsed)
    model = mine.model.to(place)

    def build(number: int) -> torch.nn.Module:
        return mine.target.build(checkpoint, seed + number)[0].to(place).get_submodule(part)

    own, part = None if named else targets.one_optimiser(rehearsed or mine.target, model), ""
    observed: Mapping[str, Statistic] | None = None
    if rehearsed is not None:
        seen = rehearsed.rehearse(model, mine.batches, optimiser, learning_rate)
        if mine.loss_fn is None and seen.loss_fn is None and len(seen.loop.optimisers) > 1:
            print_json(seen.to_json()) if json_ else print_loop(seen, rehearsed.name)
            return  # of adversaries without a loss of outputs and targets the loop is all there is to see
        part = targets.followed(model, seen, rehearsed.name)
        observed, mine = seen.numbers, targets.with_loss(mine, seen, rehearsed.name, part)
        model = model.get_submodule(part)
        own = own if not part else None  # it is of the whole
    apart = targets.read_batches(held_out) if held_out is not None else []
    stepped = diagnosis.own_steps(own, model) if steps else None
    settings = {"data": dict(mine.data), "samples": mine.samples, "seed": seed}
    with held(out), Bar() as bar, mine.named(held_out):
        options.keep_earlier(out, diagnosis.earlier(out), replace, steps > 0 and resume)
        if replace and not steps:
            diagnosis.discard(out)
        plan = diagnosis.plan(target, model, protocol, **settings, own=stepped and stepped.to_json())
        kept = diagnosis.Kept(out, plan, resume) if steps else None
        if steps:
            interrupts.resumable()
            bar.suggest(lambda _, seconds: _shorter(seconds, steps))
        found = diagnosis.diagnose(
            model, mine.loss_fn, mine.batches, steps=steps, protocol=protocol,
            build=build, curvature=curvature, kept=kept, budget=diagnosis.Budget(seconds=seconds), on_progress=bar.note,
            observed=observed, optimiser=own, held_out=apart, data=mine.data,
        )  # fmt: skip
        write_whole(out / "diagnosis.json", to_json(found.to_json()))
        source = mine.target.file if checkpoint else mine.target.place  # weights are of the network as it is
        report = found.report(out / "report.html", target, source)
    if json_:
        print_json(found.to_json())
    else:
        print_diagnosis(found, source)
        typer.echo(report)


FEWEST = 50
"""Steps from which on a proof may tell something."""


def _shorter(seconds: float, steps: int) -> str:
    """A proof that takes minutes where the one asked for takes longer, in words."""
    fewer = max(FEWEST, int(steps * options.AIM / seconds))
    return f"--steps {fewer} takes {duration(seconds * fewer / steps)}, and tells less" if fewer < steps else ""
