"""The command line: options in, calls into the library, tables out. No logic of its own."""

from __future__ import annotations

import errno
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nonsingular import __version__, interrupts
from nonsingular.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    import xarray as xr

    from nonsingular.experiments.finished import Finished
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.reproduce import Outcome
    from nonsingular.training import TrainingSpec

app = typer.Typer(
    help="Why will this deep network not train, and what would make it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_USERS_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


EXACT_BY_DEFAULT = 3000  # parameters: some seconds


class Engine(StrEnum):
    """Where the runs of an experiment are computed."""

    local = "local"
    ray = "ray"


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of Parquet files, one folder a data set [env: NONSINGULAR_DATA]."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of training: float32, or bfloat16 (mixed), which is faster where convolutions are wide (docs/depth.md).",
    ),
]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Handle options without a command."""
    if version:
        typer.echo(f"nonsingular {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the results; an earlier demo there is replaced.")] = Path(
        "out/demo"
    ),
    device: Device = "auto",
) -> None:
    """Train plain, residual, hyper-residual and bias-regularised networks on digits: two minutes on two cores."""
    from nonsingular.experiments.demo import COLUMNS
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.registry import experiment
    from nonsingular.experiments.reproduce import discard, summary
    from nonsingular.terminal import print_claims, print_summary

    discard(out, "demo")
    outcome = _reproduce(experiment("demo").id, "laptop", Overrides(), out, None, device, resume=False)
    print_summary(summary(outcome.results, COLUMNS), outcome.results.sizes["run"])
    print_claims([j.to_json() for j in outcome.judgements])
    _print_outcome(outcome)


@app.command()
def reproduce(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Figures and tables, as --list shows.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List every experiment with its status.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    scale: Annotated[str, typer.Option(help="smoke (seconds), laptop (minutes) or paper.")] = "laptop",
    data: Annotated[str | None, typer.Option(help="Data set instead of the scale's own.")] = None,
    data_dir: DataDir = None,
    scaling: Annotated[
        str | None, typer.Option(help="Inputs: raw, centred, standardised or unit; *FACTOR may follow.")
    ] = None,
    networks: Annotated[str | None, typer.Option(help="Only these networks, separated by commas.")] = None,
    runs: Annotated[int | None, typer.Option(help="Independent runs of each network.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes through the training set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first run.")] = None,
    precision: Precision = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the results [default: out/ID].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run ended.")] = False,
    engine: Annotated[
        Engine, typer.Option(help="Where networks are trained: local, or ray for a cluster.")
    ] = Engine.local,
) -> None:
    """Reproduce figures and tables of the papers: results, figures, claims with verdicts, and a report."""
    from nonsingular.experiments.finished import read
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.registry import experiment, experiments
    from nonsingular.terminal import print_claims, print_experiments

    if list_:
        found = list(experiments())
        if json_:
            # The status is part of what other programs read; there was a time when some were only planned.
            listed = [{"id": e.id, "title": e.title, "scales": list(e.scales), "status": "works"} for e in found]
            typer.echo(json.dumps(listed, indent=2))
        else:
            print_experiments(found)
        return
    if not ids:
        raise InputError("name at least one experiment, or add --list to see them all")
    overrides = Overrides(
        data=data,
        scaling=scaling,
        runs=runs,
        epochs=epochs,
        seed=seed,
        networks=tuple(networks.split(",")) if networks else (),
        precision=precision,
    )
    for id in ids:
        experiment(id)  # refuse an unknown id before the first one runs
    rows: list[dict[str, object]] = []
    finished: list[Finished] = []
    for id in ids:
        folder = (out if len(ids) == 1 else out / id) if out else Path("out") / id
        outcome = _reproduce(id, scale, overrides, folder, data_dir, device, resume, engine.value)
        judged = [j.to_json() for j in outcome.judgements]
        rows.extend(judged)
        if not json_:
            print_claims(judged)
            _print_outcome(outcome)
        finished.append(read(folder))
    if json_:
        typer.echo(json.dumps(rows, indent=2))
    elif len(ids) > 1:
        _report(finished)


@app.command()
def claims(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that reproduce has written.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the scoreboard: each claim, the paper's value, ours with its interval, and the verdict."""
    from nonsingular.experiments.finished import read_claims
    from nonsingular.terminal import print_claims, print_counts

    rows = [row for folder in folders for row in read_claims(folder)]
    if json_:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_claims(rows)
        print_counts(rows)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that reproduce has written.")],
    out: Annotated[
        Path | None,
        typer.Option(help="One page of all [default: report.html for each paper, in the folder of its experiments]."),
    ] = None,
) -> None:
    """Gather finished experiments into one HTML page a paper: scoreboard, figures beside claims, protocol."""
    from nonsingular.experiments.finished import find

    _report(find(folders), out)


def _report(found: Sequence[Finished], out: Path | None = None) -> None:
    from nonsingular.experiments.registry import experiments
    from nonsingular.experiments.report import pages, write_report

    known = {e.id: e for e in experiments()}
    for path, gathered in ({out: found} if out else pages(found)).items():
        typer.echo(write_report(path, gathered, known))


@app.command()
def search(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NUMBER...",
            help="What is searched: NAME, NAME=LOW:HIGH, or NAME=VALUE for one that stays "
            "(mu, sigma, lambda, learning-rate, depth, width) [default: mu sigma lambda].",
        ),
    ] = None,
    network: Annotated[str, typer.Option(help="The network whose numbers are searched, at 30 layers.")] = "plain",
    scale: Annotated[str, typer.Option(help="smoke (seconds), laptop (minutes) or paper.")] = "laptop",
    data: Annotated[str | None, typer.Option(help="Data set instead of the scale's own.")] = None,
    data_dir: DataDir = None,
    scaling: Annotated[
        str | None, typer.Option(help="Inputs: raw, centred, standardised or unit; *FACTOR may follow.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all; more may be asked for with --resume.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Trials trained as one population.")] = None,
    sampler: Annotated[str, typer.Option(help="Optuna's: random, tpe, cmaes or gp.")] = "random",
    runs: Annotated[int | None, typer.Option(help="Networks of each trial, one a seed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes through the training set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler, and of each trial's first network.")] = None,
    precision: Precision = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the study and its figure.")] = Path("out/search"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped search ended.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Search the numbers that a paper found by search, such as mu, sigma and lambda of bias regularisation."""
    from nonsingular import search as searching
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.workspace import Workspace
    from nonsingular.terminal import Bar, print_search

    overrides = Overrides(data=data, scaling=scaling, runs=runs, epochs=epochs, seed=seed, precision=precision)
    found = searching.ranges(numbers or searching.BIAS_REGULARISATION)
    spec = searching.make_spec(scale, found, network, sampler, overrides)
    where = _device(device)
    _warn_of_emulation(spec.training, where)
    with Bar() as bar:
        workspace = Workspace(out, where, bar, data_dir)
        results = searching.search(spec, workspace, trials, at_once, resume)
    if json_:
        typer.echo(json.dumps(searching.summary(results), indent=2))
    else:
        print_search(searching.summary(results))
        for path in (out / "figures" / "search.png", out / "search.json", out / "study.db"):
            typer.echo(path)


@app.command()
def diagnose(
    target: Annotated[str, typer.Argument(help="package.module:factory or file.py:factory; it returns a model.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights: safetensors, or a file of torch.save.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set [default: digits].")] = None,
    batches: Annotated[Path | None, typer.Option(help="File of torch.save: a list of (inputs, targets).")] = None,
    data_dir: DataDir = None,
    scaling: Annotated[str, typer.Option(help="Inputs: raw, centred, standardised or unit.")] = "standardised",
    samples: Annotated[
        int | None, typer.Option(help="Training images of the data set to use [default: 2000, more with --steps].")
    ] = None,
    steps: Annotated[int, typer.Option(help="Train copies for so many steps to prove the treatments.")] = 0,
    seeds: Annotated[int, typer.Option(help="Runs of each copy.")] = 5,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of the copies' training.")] = 1e-3,
    optimiser: Annotated[str, typer.Option(help="Of the copies' training: adam or sgd.")] = "adam",
    seed: Annotated[int, typer.Option(help="The random state in which the factory is called.")] = 0,
    seconds: Annotated[float, typer.Option(help="Look at no further batch after so long.")] = 60.0,
    curvature: Annotated[
        bool | None, typer.Option("--curvature/--no-curvature", help="Count flat directions [default: small networks].")
    ] = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of report.html and diagnosis.json.")] = Path("out/diagnose"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run ended.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Tell why your own network will not train; with --steps, prove what would make it."""
    import torch

    from nonsingular import diagnosis, targets
    from nonsingular.files import held, write_whole
    from nonsingular.terminal import Bar
    from nonsingular.terminal_diagnosis import print_diagnosis

    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")
    place = _device(device)
    protocol = diagnosis.Protocol(max(steps, 1), seeds, batch, learning_rate, optimiser)

    def build(number: int) -> torch.nn.Module:
        torch.manual_seed(seed + number)
        return targets.load_target(target, checkpoint)[0].to(place)

    torch.manual_seed(seed)
    model, loss_fn = targets.load_target(target, checkpoint)
    if samples is None:
        samples = diagnosis.samples_for(data, data_dir, steps, batch) if batches is None else 0
    pairs = targets.load_batches(model, data, batches, data_dir, scaling, samples)
    model = model.to(place)
    settings = {"data": data, "batches": batches and str(batches), "scaling": scaling, "samples": samples, "seed": seed}
    with held(out), Bar() as bar:
        kept = diagnosis.Kept(out, diagnosis.plan(target, model, protocol, **settings), resume) if steps else None
        found = diagnosis.diagnose(
            model, loss_fn, pairs, steps=steps, protocol=protocol, build=build, curvature=curvature, kept=kept,
            budget=diagnosis.Budget(seconds=seconds), on_progress=bar.note,
        )  # fmt: skip
        write_whole(out / "diagnosis.json", json.dumps(found.to_json(), indent=2))
        report = found.report(out / "report.html", target)
    if json_:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        print_diagnosis(found)
        typer.echo(report)


@app.command("bench-diagnosis", hidden=True)
def bench_diagnosis(
    seeds: Annotated[int, typer.Option(help="Networks of each kind, from seeds no threshold has seen.")] = 2,
    calibrate: Annotated[
        Path | None, typer.Option(help="Measure the healthy networks' limits instead, into this file.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Measure how often the diagnosis is right: sick and healthy networks with known answers."""
    from nonsingular.diagnosis import bench
    from nonsingular.terminal import Bar
    from nonsingular.terminal_diagnosis import print_bench

    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}")
    with Bar() as bar:
        if calibrate is not None:
            first = bench.CALIBRATION_SEED
            table = bench.calibrate(range(first, first + seeds), lambda case: bar.note(case.name))
            bench.write_table(calibrate, table)
            typer.echo(calibrate)
            return
        first = bench.FRESH_SEED
        outcome = bench.bench(range(first, first + seeds), lambda case: bar.note(case.name))
    if json_:
        typer.echo(json.dumps(outcome.to_json(), indent=2))
    else:
        print_bench(outcome)


@app.command()
def spectrum(
    target: Annotated[str, typer.Argument(help="package.module:factory or file.py:factory; it returns a model.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights: safetensors, or a file of torch.save.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set [default: digits].")] = None,
    batches: Annotated[Path | None, typer.Option(help="File of torch.save: a list of (inputs, targets).")] = None,
    data_dir: DataDir = None,
    scaling: Annotated[str, typer.Option(help="Inputs: raw, centred, standardised or unit.")] = "unit",
    samples: Annotated[int, typer.Option(help="Training images of the data set to use.")] = 1000,
    method: Annotated[str | None, typer.Option(help="exact, lanczos or moments [default: by size].")] = None,
    window: Annotated[float, typer.Option(help="Eigenvalues within this of zero are degenerate.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the random vectors.")] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the figure and spectrum.json.")] = Path("out/spectrum"),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Count the degenerate, negative and positive eigenvalues of a model's Hessian, and draw their density."""
    from nonsingular import curvature, targets
    from nonsingular.files import held, write_whole
    from nonsingular.plots.spectra import density
    from nonsingular.terminal import print_spectrum

    model, loss_fn = targets.load_target(target, checkpoint)
    pairs = targets.load_batches(model, data, batches, data_dir, scaling, samples)
    H = curvature.Hessian(model.to(_device(device)), loss_fn, pairs)
    method = method or ("exact" if H.shape[0] <= EXACT_BY_DEFAULT else "lanczos")
    with held(out):
        found = curvature.spectrum(H, window, method, eigenvalues=True, seed=seed)
        write_whole(out / "spectrum.json", json.dumps(found.to_json(), indent=2))
        figure = density({target: found}, f"Hessian spectrum of {target}")
        for suffix in ("png", "svg"):
            figure.savefig(out / f"spectrum.{suffix}")
    if json_:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        print_spectrum(found)
        typer.echo(out / "spectrum.png")


@app.command()
def landscape(
    target: Annotated[str, typer.Argument(help="package.module:factory or file.py:factory; it returns a model.")],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Weights; twice for the line between two solutions, more for the path of a training run."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set [default: digits].")] = None,
    batches: Annotated[Path | None, typer.Option(help="File of torch.save: a list of (inputs, targets).")] = None,
    data_dir: DataDir = None,
    scaling: Annotated[str, typer.Option(help="Inputs: raw, centred, standardised, channels or unit.")] = "unit",
    samples: Annotated[int, typer.Option(help="Training images of the data set to use.")] = 1000,
    grid: Annotated[int, typer.Option(help="Points along each axis.")] = 51,
    directions: Annotated[
        str, typer.Option(help="Random, normalised by filter, layer or none; or hessian eigenvectors.")
    ] = "filter",
    keep: Annotated[str, typer.Option(help="Move these too: bias, norm, or bias,norm.")] = "",
    span: Annotated[float | None, typer.Option(help="Planes reach from -SPAN to SPAN [default: 1].")] = None,
    planes: Annotated[int, typer.Option(help="Pairs of random directions.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first pair.")] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Evaluate every point, interpolate none.")] = False,
    tolerance: Annotated[float, typer.Option(help="Error of interpolated points, as a share of the range.")] = 0.005,
    subset: Annotated[int | None, typer.Option(help="Random samples used at every point [default: all].")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16 (mixed), or auto: whichever is faster.")
    ] = "float32",
    convexity: Annotated[int, typer.Option(help="Points along each axis of a map of the Hessian's extremes.")] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("out/landscape"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run ended.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Draw the loss surface of a model: around a solution, between two, or along a training run."""
    from nonsingular import landscape as surfaces
    from nonsingular import targets
    from nonsingular.files import held
    from nonsingular.terminal import Bar, print_landscape
    from nonsingular.weights import read_weights

    look = surfaces.Look(directions, tuple(filter(None, keep.split(","))), seed, planes, grid, span, convexity)
    settings = surfaces.Settings(0.0 if exact else tolerance, subset, precision, seed)
    model, loss_fn = targets.load_target(target)
    states = [read_weights(path) for path in checkpoint or []]
    pairs = targets.load_batches(model, data, batches, data_dir, scaling, samples)
    with held(out), Bar() as bar:
        surfaces.begin(out, resume)
        bar.start("points", look.planes * grid ** (1 if len(states) == 2 else 2), "points")
        found = surfaces.explore(model.to(_device(device)), loss_fn, pairs, states, look, settings, out, bar.advance)
        surfaces.save(out, found, target, look, settings)
        figures = _draw_landscape(out, found, target)
    if json_:
        typer.echo(json.dumps(surfaces.summary(found), indent=2))
    else:
        print_landscape(surfaces.summary(found))
        for path in figures:
            typer.echo(path)


def _draw_landscape(out: Path, found: xr.Dataset, title: str) -> list[Path]:
    import importlib.util

    from nonsingular.plots import landscape as plots

    written = []
    for name, figure in plots.draw(found, title).items():
        for suffix in ("png", "svg"):
            figure.savefig(out / f"{name}.{suffix}")
        written.append(out / f"{name}.png")
    if "y" in found.dims and importlib.util.find_spec("plotly") is not None:
        from nonsingular.plots.landscape_interactive import surface

        first = found.isel(plane=0) if "plane" in found.dims else found
        surface(first, title).write_html(out / "surface.html", include_plotlyjs=True)
        written.append(out / "surface.html")
    return written


def _reproduce(
    id: str,
    scale: str,
    overrides: Overrides,
    out: Path,
    data_dir: Path | None,
    device: str,
    resume: bool,
    engine: str = "local",
) -> Outcome:
    from nonsingular.experiments.overrides import make_spec
    from nonsingular.experiments.registry import experiment
    from nonsingular.experiments.reproduce import reproduce
    from nonsingular.experiments.workspace import Workspace
    from nonsingular.terminal import Bar

    found = experiment(id)
    spec = make_spec(found, scale, overrides)
    where = _device(device)
    _warn_of_emulation(spec.training, where)
    with Bar() as bar:
        workspace = Workspace(out, where, bar, data_dir, engine=engine)
        return reproduce(found, spec, workspace, resume)


def _device(name: str) -> torch.device:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; there are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device here; use --device cpu (or auto)")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _warn_of_emulation(training: TrainingSpec | None, device: torch.device) -> None:
    from nonsingular.training import emulates_bfloat16

    if training and training.precision == "bfloat16" and emulates_bfloat16(device):
        _complain("this CPU only emulates bfloat16 and is many times slower in it; --precision float32 is not", 0)


def _print_outcome(outcome: Outcome) -> None:
    figures = sorted((outcome.folder / "figures").glob("*.png"))
    for path in [*figures, outcome.folder / "claims.json", outcome.report]:
        typer.echo(path)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: the user's mistakes and interrupts end in one line and their exit status, not in a traceback."""
    interrupts.promise()
    status = run(arguments)
    if status == interrupts.STATUS:
        interrupts.leave()
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 internal failure, 2 bad input, 130 interrupted."""
    try:
        result: Any = app(args=arguments, standalone_mode=False)
    except InputError as error:
        return _complain(str(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return _complain(interrupts.INTERRUPTED, interrupts.STATUS)
    except typer.Exit as stop:
        return (
            _complain(interrupts.INTERRUPTED, interrupts.STATUS)
            if stop.exit_code == interrupts.STATUS
            else stop.exit_code
        )
    except OSError as error:
        if error.errno not in _USERS_DISK:
            raise
        return _complain(f"{error.strerror}: {error.filename or 'while writing results'}; what is complete is kept", 2)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own usage errors
            return _complain(error.format_message(), 2)
        raise
    status = result if isinstance(result, int) else 0
    return _complain(interrupts.INTERRUPTED, interrupts.STATUS) if status == interrupts.STATUS else status


def _complain(message: str, status: int) -> int:
    typer.echo(f"nonsingular: {' '.join(message.split())}", err=True)
    return status
