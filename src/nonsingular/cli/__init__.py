"""The command line: options in, calls into the library, tables out. No logic of its own."""

from nonsingular.cli.app import app, main, run

__all__ = ["app", "main", "run"]
