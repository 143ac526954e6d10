"""``nonsingular reproduce``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli import interrupts, options
from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import DataDir, Device, Epochs, Json, OtherData, OtherScaling, Precision, Resume, Scale
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError

if TYPE_CHECKING:
    from nonsingular.experiments.experiment import Experiment
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.report.finished import Finished
    from nonsingular.experiments.reproducing import Outcome

SHOWN = THE_PAPERS


class Engine(StrEnum):
    """Where the runs of an experiment are computed."""

    local = "local"
    ray = "ray"


def command(
    context: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            help="Figures and tables, as --list shows, or of a file of your own, whose code is run: FILE.py:FIGURE.",
            show_default="none",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List every experiment with its status.")] = False,
    json_: Json = False,
    scale: Scale = "laptop",
    data: OtherData = None,
    data_dir: DataDir = None,
    scaling: OtherScaling = None,
    networks: Annotated[
        str | None, typer.Option(help="Only these networks, separated by commas.", show_default="all")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(help="Independent runs of each network.", show_default="the scale's")
    ] = None,
    epochs: Epochs = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first run.", show_default="0")] = None,
    precision: Precision = "auto",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the results.", show_default="out/ID")] = None,
    resume: Resume = False,
    engine: Annotated[
        Engine, typer.Option(help="Where networks are trained: local, or ray for a cluster.")
    ] = Engine.local,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Add runs until every claim is decided or the budget is gone.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for each experiment with --until-decided, as in 2h or 90m.", show_default="none"),
    ] = None,
) -> None:
    """Reproduce figures and tables of the papers: results, figures, claims with verdicts, and a report."""
    from nonsingular.cli.commands.report import write_pages
    from nonsingular.cli.figures import experiment, told
    from nonsingular.cli.tables.claims import print_claims
    from nonsingular.experiments.looks import seconds
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.report.finished import read

    if list_:
        others = [name for name in context.params if name not in ("ids", "list_", "json_")]
        options.refuse_typed(context, others, "is of a run, not of --list")
        _print_list(json_)
        return
    if not ids:
        raise InputError("name at least one experiment, or add --list to see them all")
    if until_decided != (budget is not None):
        raise InputError("--until-decided and --budget go together, as in --until-decided --budget 2h")
    time_left = None if budget is None else seconds(budget)
    overrides = Overrides(
        data=data,
        scaling=scaling,
        runs=runs,
        epochs=epochs,
        seed=seed,
        networks=tuple(networks.split(",")) if networks else (),
        precision=precision,
    )
    chosen = [experiment(id) for id in ids]  # refuses an unknown one before the first one runs
    interrupts.resumable()
    rows: list[dict[str, object]] = []
    finished: list[Finished] = []
    for id, found in zip(ids, chosen, strict=True):
        folder = (out if len(ids) == 1 else out / found.id) if out else Path("out") / found.id
        outcome = reproduced(
            found, scale, overrides, folder, data_dir, device, resume, engine.value, time_left, told(id), precision,
            options.smaller_scales(scale),
        )  # fmt: skip
        judged = [j.to_json() for j in outcome.judgements]
        rows.extend(judged)
        if not json_:
            print_claims(judged)
            print_outcome(outcome)
        finished.append(read(folder))
    if json_:
        print_json(rows)
    elif len(ids) > 1:
        for path in write_pages(finished):
            typer.echo(path)


def _print_list(json_: bool) -> None:
    from nonsingular.cli.tables.experiments import print_experiments
    from nonsingular.papers.registry import experiments

    found = list(experiments())
    if json_:
        # The status is part of what other programs read; there was a time when some were only planned.
        listed = [{"id": e.id, "title": e.title, "scales": list(e.scales), "status": "works"} for e in found]
        print_json(listed)
    else:
        print_experiments(found)


def reproduced(
    found: Experiment,
    scale: str,
    overrides: Overrides,
    out: Path,
    data_dir: Path | None,
    device: str,
    resume: bool,
    engine: str = "local",
    budget: float | None = None,
    name: str = "",
    precision: str = "",
    shorter: str = "",
) -> Outcome:
    """One experiment, with a progress bar; with a budget in seconds until its claims are decided.

    Where it takes minutes, ``shorter`` is said: what takes less.
    """
    from nonsingular.cli.progress import Bar
    from nonsingular.experiments.about import asked
    from nonsingular.experiments.overrides import make_spec
    from nonsingular.experiments.reproducing import reproduce, reproduce_until_decided
    from nonsingular.experiments.run.workspace import Workspace

    spec, how = make_spec(found, scale, overrides), asked(name or found.id, overrides)
    where = options.device(device)
    options.warn_of_emulation(spec.training, where)
    with Bar() as bar:
        bar.suggest(lambda name, whole: shorter)
        workspace = Workspace(out, where, bar, data_dir, engine=engine)
        outcome = (
            reproduce(found, spec, workspace, resume, asked=how)
            if budget is None
            else reproduce_until_decided(found, spec, workspace, budget, resume, how)
        )
    if "precisions" not in spec.settings:
        options.tell_precision(precision, spec.training, where)
    return outcome


def print_outcome(outcome: Outcome) -> None:
    """The files that a reader looks at."""
    for path in written(outcome):
        typer.echo(path)


def written(outcome: Outcome) -> list[Path]:
    """The files that a reader looks at."""
    figures = sorted((outcome.folder / "figures").glob("*.png"))
    return [*figures, outcome.folder / "claims.json", outcome.report]
