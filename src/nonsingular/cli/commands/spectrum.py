"""``nonsingular spectrum``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import options
from nonsingular.cli.commands import YOUR_NETWORK
from nonsingular.cli.options import Batches, Checkpoint, Data, DataDir, Device, Json, Samples, Scaling, Target
from nonsingular.cli.streams import print_json

SHOWN = YOUR_NETWORK
EXACT_BY_DEFAULT = 3000  # parameters: some seconds


def command(
    target: Target,
    checkpoint: Checkpoint = None,
    data: Data = None,
    batches: Batches = None,
    data_dir: DataDir = None,
    scaling: Scaling = options.SCALING,
    samples: Samples = 1000,
    method: Annotated[str | None, typer.Option(help="exact, lanczos or moments.", show_default="by size")] = None,
    window: Annotated[float, typer.Option(help="Eigenvalues within this of zero are degenerate.")] = 0.1,
    error: Annotated[
        float, typer.Option(help="Of lanczos: stop when the number outside the window is known to this share.")
    ] = 0.05,
    seconds: Annotated[
        float,
        typer.Option(help="Of lanczos: stop after so long, preparing apart, with the interval as wide as it is."),
    ] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the random vectors, and of the factory.")] = 0,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the figure and spectrum.json.")] = Path("out/spectrum"),
    json_: Json = False,
) -> None:
    """Count the degenerate, negative and positive eigenvalues of a model's Hessian, and draw their density."""
    from nonsingular import curvature
    from nonsingular.cli import targets
    from nonsingular.cli.progress import Bar
    from nonsingular.cli.tables.spectrum import print_spectrum
    from nonsingular.curvature.operator import PRODUCTS
    from nonsingular.files import held, to_json, write_figure, write_whole
    from nonsingular.objective import Objective
    from nonsingular.plots.spectra import density

    mine = targets.bring(target, checkpoint, data, batches, data_dir, scaling, samples, seed)
    objective = Objective(mine.model, mine.loss_fn, mine.batches, device=options.device(device))
    for note in objective.notes:
        typer.echo(note, err=True)
    H = curvature.Hessian(objective)
    method = method or ("exact" if H.shape[0] <= EXACT_BY_DEFAULT else "lanczos")
    with held(out), Bar() as bar:
        bar.start(f"spectrum of {H.shape[0]:,} parameters", H.shape[0] if method == "exact" else None, PRODUCTS)
        found = curvature.spectrum(H, window, method, eigenvalues=True, error=error, seconds=seconds, seed=seed)
        write_whole(out / "spectrum.json", to_json(found.to_json()))
        figure = density({target: found}, f"Hessian spectrum of {target}")
        picture = write_figure(out, "spectrum", figure)
    if json_:
        print_json(found.to_json())
    else:
        print_spectrum(found)
        typer.echo(picture)
