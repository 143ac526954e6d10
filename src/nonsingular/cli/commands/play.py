"""``nonsingular play``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS

SHOWN = THE_PAPERS


def command(
    out: Annotated[
        Path | None, typer.Option(help="Write the page there.", show_default="a temporary file, which is opened")
    ] = None,
) -> None:
    """Open a page in which the small exact models move: two units, linear networks, binary weights, signals."""
    import tempfile

    from nonsingular.play import write_page

    if out is not None:
        typer.echo(write_page(out))
        return
    path = write_page(Path(tempfile.mkdtemp(prefix="nonsingular-")) / "play.html")
    typer.echo(path)
    typer.launch(path.as_uri())
