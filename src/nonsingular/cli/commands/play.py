"""``nonsingular play``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.options import Json
from nonsingular.cli.streams import print_json
from nonsingular.cli.terminal import telling_of_folders

SHOWN = THE_PAPERS


def command(
    out: Annotated[
        Path | None, typer.Option(help="Write the page there.", show_default="a temporary file, which is opened")
    ] = None,
    json_: Json = False,
) -> None:
    """Open a page, for a lecture or alone, in which small exact models move: units, linear networks, binary weights."""
    import tempfile

    from nonsingular.play import write_page

    with telling_of_folders(out):
        path = write_page(out or Path(tempfile.mkdtemp(prefix="nonsingular-")) / "play.html")
    if json_:
        print_json({"page": str(path)})
    else:
        typer.echo(path)
    if out is None:
        typer.launch(path.as_uri())
