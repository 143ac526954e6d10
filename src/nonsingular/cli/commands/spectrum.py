"""``nonsingular spectrum``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import options
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import (
    Batches,
    Checkpoint,
    Data,
    DataDir,
    Device,
    Json,
    Mode,
    RandomSeed,
    Replace,
    Samples,
    Scaling,
    Target,
    Weights,
)
from nonsingular.cli.streams import print_json
from nonsingular.cli.terminal import complain
from nonsingular.words import counted, duration

SHOWN = YOUR_NETWORK
FILE = "spectrum.json"
OF_LANCZOS = ("error", "seconds")
"""Options."""


def command(
    context: typer.Context,
    target: Target,
    checkpoint: Checkpoint = None,
    data: Data = None,
    batches: Batches = None,
    data_dir: DataDir = None,
    scaling: Scaling = None,
    samples: Samples = None,
    method: Annotated[str | None, typer.Option(help="exact, lanczos or moments.", show_default="by size")] = None,
    window: Annotated[float, typer.Option(help="Eigenvalues within this of zero are degenerate.")] = 0.1,
    error: Annotated[
        float, typer.Option(help="Of lanczos: stop when the number outside the window is known to this share.")
    ] = 0.05,
    seconds: Annotated[
        float,
        typer.Option(help="Of lanczos: stop after so long, preparing apart, with the interval as wide as it is."),
    ] = 60.0,
    mode: Mode = "eval",
    weights: Weights = None,
    random_seed: RandomSeed = None,
    seed: Annotated[int, typer.Option(help="Of the random vectors, and of the factory.")] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the figure and spectrum.json.")] = Path("out/spectrum"),
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Count the degenerate, negative and positive eigenvalues of a model's Hessian, and draw their density."""
    from nonsingular import curvature
    from nonsingular.cli import targets
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.spectrum import print_spectrum
    from nonsingular.curvature.algebra import PRODUCTS
    from nonsingular.curvature.spectrum import EXACT_BY_DEFAULT
    from nonsingular.files import held, plain, to_json, write_whole
    from nonsingular.objective import Objective
    from nonsingular.plots.saving import write_figure
    from nonsingular.plots.spectra import density

    if method is not None and method != "lanczos":
        options.refuse_typed(context, OF_LANCZOS, f"is of --method lanczos, not of {method}")
    mine = targets.bring(target, checkpoint, data, batches, data_dir, scaling, samples, seed)
    with held(out), Bar() as bar, options.in_options_words(), mine.named():
        options.keep_earlier(out, _earlier(out), replace)
        bar.start("checking model, loss and data", None, PRODUCTS)
        objective = Objective(
            mine.model, mine.loss_fn, mine.batches, weights=weights, mode=options.mode(mode), seed=random_seed,
            device=options.device(device),
        )  # fmt: skip
        for note in objective.notes:
            typer.echo(note, err=True)
        H = curvature.Hessian(objective)
        chosen = method or ("exact" if H.shape[0] <= EXACT_BY_DEFAULT else "lanczos")
        if method is None and chosen == "exact":
            for option in options.typed(context, *OF_LANCZOS):
                complain(f"{option} is of --method lanczos; so few parameters are counted exactly")
        bar.suggest(lambda _, whole: _shorter(whole, chosen, mine.samples, seconds))
        bar.start(f"spectrum of {counted(H.shape[0], 'parameter')}", None, PRODUCTS)
        found = curvature.spectrum(H, window, chosen, eigenvalues=True, error=error, seconds=seconds, seed=seed)
        record = {
            "target": target, "checkpoint": checkpoint, "data": mine.data, "mode": objective.mode,
            "loss": float(objective.value()), "loss_fn": objective.loss_name, **found.to_json(),
        }  # fmt: skip
        write_whole(out / FILE, to_json(record))
        figure = density({target: found}, f"Hessian spectrum of {target}, mode: {objective.mode}")
        picture = write_figure(out, "spectrum", figure)
    if json_:
        print_json(plain(record))
    else:
        print_spectrum(found, record)
        if checkpoint is None:
            typer.echo(mine.made)
        typer.echo(picture)


def _shorter(whole: float, method: str, samples: int, seconds: float) -> str:
    """What takes minutes where what was asked for takes longer, in words."""
    if method == "lanczos":
        return f"--seconds {options.AIM:.0f} stops sooner, with a wider interval" if seconds > options.AIM else ""
    fewer = int(samples * options.AIM / whole)
    smaller = f", or --samples {fewer} for {duration(options.AIM)}" if fewer else ""
    return f"--method lanczos stops after --seconds {options.AIM:.0f}{smaller}"


def _earlier(out: Path) -> str | None:
    """The spectrum that a folder holds, in words."""
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        return f"the {found['method']} spectrum of {counted(found['parameters'], 'parameter')}"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "a spectrum that is damaged"
