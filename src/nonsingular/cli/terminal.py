"""How numbers, tables and complaints reach the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output; wide where it is a file, which does not wrap."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=140)


def number(value: float | None) -> str:
    """Three digits, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def complain(message: str, status: int = 0) -> int:
    """One line on standard error; gives the status back."""
    typer.echo(f"nonsingular: {' '.join(message.split())}", err=True)
    return status
