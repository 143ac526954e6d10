"""Names that a declaration uses: a misspelt one is told in a line that says what there is."""

from __future__ import annotations

from collections.abc import Iterable

from nonsingular.errors import InputError
from nonsingular.spelling import nearest


def known(what: str, name: str, there: Iterable[str], where: str = "") -> str:
    """``name``, if it is among those that are there.

    Args:
        what: kind of thing, as in ``network``.
        name: looked for.
        there: all names.
        where: who speaks of it, for the message.

    Raises:
        InputError: it is not; the message offers the nearest and names all.

    >>> known("network", "plian", ["plain", "residual"])
    Traceback (most recent call last):
    ...
    nonsingular.errors.InputError: unknown network 'plian'; did you mean 'plain'? There are plain, residual
    """
    names = list(there)
    if name in names:
        return name
    near = nearest(name, names)
    hint = f"did you mean {near!r}? There are" if near else "there are"
    raise InputError(f"{where}unknown {what} {name!r}; {hint} {', '.join(names) or 'none'}")
