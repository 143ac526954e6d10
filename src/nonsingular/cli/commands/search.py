"""``nonsingular search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import interrupts, options
from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import DataDir, Device, Epochs, Json, OtherData, OtherScaling, Precision, Resume, Scale
from nonsingular.cli.streams import print_json

SHOWN = THE_PAPERS


def command(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NUMBER",
            help="What is searched: NAME, NAME=LOW:HIGH, or NAME=VALUE for one that stays "
            "(mu, sigma, lambda, learning-rate, depth, width).",
            show_default="mu sigma lambda",
        ),
    ] = None,
    network: Annotated[str, typer.Option(help="The network whose numbers are searched, at 30 layers.")] = "plain",
    scale: Scale = "laptop",
    data: OtherData = None,
    data_dir: DataDir = None,
    scaling: OtherScaling = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials in all; more may be asked for with --resume.", show_default="the scale's")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(help="Trials trained as one population.", show_default="the scale's")
    ] = None,
    sampler: Annotated[str, typer.Option(help="Optuna's: random, tpe, cmaes or gp.")] = "random",
    runs: Annotated[
        int | None, typer.Option(help="Networks of each trial, one a seed.", show_default="the scale's")
    ] = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the sampler, and of each trial's first network.", show_default="0")
    ] = None,
    precision: Precision = "auto",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the study and its figure.")] = Path("out/search"),
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Search the numbers that a paper found by search, such as mu, sigma and lambda of bias regularisation."""
    from nonsingular import search as searching
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.search import print_search
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.run.workspace import Workspace

    overrides = Overrides(data=data, scaling=scaling, runs=runs, epochs=epochs, seed=seed, precision=precision)
    found = searching.ranges(numbers or searching.BIAS_REGULARISATION)
    spec = searching.make_spec(scale, found, network, sampler, overrides)
    where = options.device(device)
    options.warn_of_emulation(spec.training, where)
    interrupts.resumable()
    with Bar() as bar:
        bar.suggest(lambda name, whole: options.smaller_scales(scale))
        workspace = Workspace(out, where, bar, data_dir)
        results = searching.search(spec, workspace, trials, at_once, resume)
    options.tell_precision(precision, spec.training, where)
    if json_:
        print_json(searching.summary(results))
    else:
        print_search(searching.summary(results))
        for path in (out / "figures" / "search.png", out / "search.json", out / "study.db"):
            typer.echo(path)
