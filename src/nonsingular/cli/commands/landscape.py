"""``nonsingular landscape``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli import interrupts, options
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import (
    Batches,
    Data,
    DataDir,
    Device,
    Json,
    Mode,
    RandomSeed,
    Replace,
    Resume,
    Samples,
    Scaling,
    Target,
    Weights,
)
from nonsingular.cli.streams import print_json
from nonsingular.errors import InputError
from nonsingular.words import duration

if TYPE_CHECKING:
    import xarray as xr

    from nonsingular.landscape import Look
    from nonsingular.landscape.metrics import Metric

SHOWN = YOUR_NETWORK
EVALUATING = "evaluating points"
OF_PLANES = ("directions", "keep", "span", "planes", "convexity")
"""Options."""


def command(
    context: typer.Context,
    target: Target,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Weights; twice for the line between two solutions, more for the path of a training run.",
            show_default="the factory's",
        ),
    ] = None,
    data: Data = None,
    batches: Batches = None,
    data_dir: DataDir = None,
    scaling: Scaling = None,
    samples: Samples = None,
    grid: Annotated[
        int | None, typer.Option(help="Points along each axis.", show_default="101 on a line, 51 on a plane")
    ] = None,
    directions: Annotated[
        str,
        typer.Option(
            help="Random, normalised by filter, layer, weight, dfilter, dlayer (of norm 1 each) or none; or "
            "hessian eigenvectors."
        ),
    ] = "filter",
    keep: Annotated[str, typer.Option(help="Move these too: bias, norm, or bias,norm.")] = "",
    span: Annotated[float | None, typer.Option(help="Planes reach from -SPAN to SPAN.", show_default="1")] = None,
    planes: Annotated[int, typer.Option(help="Pairs of random directions.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first pair, and of the factory.")] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Evaluate every point, interpolate none.")] = False,
    tolerance: Annotated[float, typer.Option(help="Error of interpolated points, as a share of the range.")] = 0.005,
    subset: Annotated[int | None, typer.Option(help="Random samples used at every point.", show_default="all")] = None,
    precision: Annotated[
        str,
        typer.Option(help="float32, bfloat16 (mixed), or auto: where it is faster and right to half the tolerance."),
    ] = "auto",
    convexity: Annotated[int, typer.Option(help="Points along each axis of a map of the Hessian's extremes.")] = 0,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC",
            help="Measure this beside the loss: accuracy, or file.py:function of (output, target). Again for more.",
            show_default="none",
        ),
    ] = None,
    statistics: Annotated[
        str, typer.Option(help="Of batch normalisation: given, or recomputed from the data at every point.")
    ] = "given",
    mode: Mode = "eval",
    weights: Weights = None,
    random_seed: RandomSeed = None,
    export: Annotated[
        str, typer.Option(help="Files for other programs: vtk (ParaView), h5 (loss-landscape), or vtk,h5.")
    ] = "",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("out/landscape"),
    resume: Resume = False,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Draw the loss surface of a model: around a solution, between two, or along a training run."""
    from nonsingular import landscape as surfaces
    from nonsingular.cli import targets
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.landscape import print_landscape
    from nonsingular.files import held

    look = surfaces.Look(
        directions, _several(keep), seed, planes, grid, span, convexity, _several(export)
    )  # fmt: skip
    _refuse_unused(context, look, len(checkpoint or []), exact, bool(metric))
    settings = surfaces.Settings(0.0 if exact else tolerance, subset, precision, seed, statistics=statistics)
    with options.in_options_words():
        metrics = _metrics(metric or [])
    mine = targets.bring(target, None, data, batches, data_dir, scaling, samples, seed)
    states = checkpoint or []
    with held(out), Bar() as bar:
        options.keep_earlier(out, surfaces.earlier(out), replace, resume)
        if replace and not resume:
            surfaces.discard(out)
        interrupts.resumable()
        name = EVALUATING + ("" if exact or metrics else ", at most")
        bar.suggest(lambda name, seconds: _shorter(name, seconds, look.points(len(states)), convexity))
        bar.start(name, look.planes * math.prod(look.points(len(states))), "points")
        place = options.device(device)
        with options.in_options_words(), mine.named():
            found = surfaces.explore(
                mine.model.to(place), mine.loss_fn, mine.batches, states, look, settings, out, bar.advance,
                metrics=metrics, seed=random_seed, weights=weights, mode=options.mode(mode),
            )  # fmt: skip
        surfaces.save(out, found, target, look, settings)
        figures = _draw(out, found, target)
    if json_:
        print_json(surfaces.summary(found))
    else:
        print_landscape(surfaces.summary(found), mine.data)
        if not states:
            typer.echo(mine.made)
        for path in figures:
            typer.echo(path)


def _refuse_unused(context: typer.Context, look: Look, states: int, exact: bool, metrics: bool) -> None:
    """Refuse options that mean nothing beside the others."""
    if states > 1:
        instead = "the line between two checkpoints" if states == 2 else "the path of several checkpoints"
        options.refuse_typed(context, OF_PLANES, f"is of planes around one solution, not of {instead}")
    if look.directions == "hessian":
        options.refuse_typed(context, ("keep",), "is of random directions, not of --directions hessian")
    if exact or metrics:
        every = "--exact" if exact else "--metric"
        options.refuse_typed(context, ("tolerance",), f"is of interpolated points, and {every} evaluates all of them")


COARSEST = 5


def _shorter(name: str, seconds: float, points: tuple[int, ...], convexity: int) -> str:
    """A grid that takes minutes where the one asked for takes longer, in words."""
    of_map = "--convexity", convexity, 2
    option, grid, axes = ("--grid", points[0], len(points)) if name.startswith(EVALUATING) else of_map
    fewer = max(COARSEST, int(grid * (options.AIM / seconds) ** (1 / axes)))
    return f"{option} {fewer} takes {duration(seconds * (fewer / grid) ** axes)}" if fewer < grid else ""


def _several(words: str) -> tuple[str, ...]:
    return tuple(filter(None, words.split(",")))


def _metrics(words: list[str]) -> dict[str, Metric]:
    """Metrics by name: those there are, and functions of a user's own files."""
    from nonsingular.cli.code import code
    from nonsingular.landscape.metrics import chosen

    found: dict[str, Metric] = {}
    for word in words:
        place, _, name = word.rpartition(":")
        if not place:
            found |= chosen([word])
            continue
        function = getattr(code(place).module, name, None)
        if not callable(function):
            raise InputError(f"{place} has no function {name!r}; --metric takes accuracy, or file.py:function")
        found |= chosen({name: function})
    return found


def _draw(out: Path, found: xr.Dataset, title: str) -> list[Path]:
    import importlib.util

    from nonsingular.files import write_whole
    from nonsingular.plots import landscape as plots
    from nonsingular.plots.saving import write_figure

    written = [write_figure(out, name, figure) for name, figure in plots.draw(found, title).items()]
    if "y" in found.dims and importlib.util.find_spec("plotly") is not None:
        from nonsingular.plots.landscape_interactive import page

        first = found.isel(plane=0) if "plane" in found.dims else found
        write_whole(out / "surface.html", page(first, title))
        written.append(out / "surface.html")
    return written
