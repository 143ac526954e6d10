"""Figures that are made, but not put on paper, which takes most of the time that commands take in tests."""

import functools
import io
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from nonsingular.plots import saving

_PUT, _ARRANGED = Figure.savefig, saving._arrange


@functools.cache
def _empty(kind: str) -> bytes:
    content = io.BytesIO()
    _PUT(Figure(figsize=(1, 1)), content, format=kind)
    return content.getvalue()


def _left_empty(figure, file, *, format=None, **_):
    kind = format or Path(file).suffix[1:]
    if isinstance(file, io.TextIOBase):
        file.write(_empty(kind).decode())
    elif hasattr(file, "write"):
        file.write(_empty(kind))
    else:
        Path(file).write_bytes(_empty(kind))


@contextmanager
def spared():
    """Within, pictures are whole files with nothing on them."""
    Figure.savefig, saving._arrange = _left_empty, lambda figure: None
    try:
        yield
    finally:
        Figure.savefig, saving._arrange = _PUT, _ARRANGED
