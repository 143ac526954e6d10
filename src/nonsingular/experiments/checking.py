"""What a figure names must be there: told before anything is trained, in a line that says what there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nonsingular.errors import InputError
from nonsingular.experiments.known import known
from nonsingular.experiments.run.instruments import INSTRUMENTS
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared

Named = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Who speaks, of which networks and of which variables."""


def check(
    specs: Sequence[Spec], claims: Mapping[str, Declared], draw: Mapping[str, Any], needs: Any, measured: bool
) -> None:
    """Refuse a figure that names what its study has at no scale.

    Args:
        specs: its study at all scales.
        claims: as ``Figure``.
        draw: drawings by name.
        needs: as ``Figure``.
        measured: whether its results are those of the study's instruments and no others.

    Raises:
        InputError: an instrument that there is not; a network that the study does not have, or a variable that it does
            not measure.
    """
    of = f"{specs[0].experiment}"
    for spec in specs:
        for name in spec.instruments:
            known("instrument", name, INSTRUMENTS, f"{of}: ")
    networks = list(dict.fromkeys(m.name for spec in specs for m in spec.networks))
    variables = {v for spec in specs for name in spec.instruments for v in INSTRUMENTS[name].variables}
    for who, compared, needed in _named(claims, draw, needs):
        for name in compared if networks else ():
            known("network", name, networks, f"{of}, {who}: ")
        for name in needed if measured and variables else ():
            if name not in variables:
                bring = " or ".join(i for i, instrument in INSTRUMENTS.items() if name in instrument.variables)
                raise InputError(f"{of}, {who}: {name} is measured at no scale; have {bring} among the instruments")


def _named(claims: Mapping[str, Declared], draw: Mapping[str, Any], needs: Any) -> Iterator[Named]:
    yield "needs", *_of(needs)
    for name, declared in claims.items():
        measure = declared.test.measure
        own = measure.networks if measure.groups is None and isinstance(measure.networks, tuple) else ()
        yield f"claim {name!r}", own, measure.variables
        yield f"needs of claim {name!r}", *_of(declared.needs)
    for name, drawing in draw.items():
        yield f"drawing {name!r}", *_of(drawing)


def _of(part: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return getattr(part, "networks", ()), getattr(part, "variables", ())
