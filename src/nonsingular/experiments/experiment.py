"""The shape every experiment has: spec -> results -> figures and claims; and the register of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.claims import Claim
from nonsingular.experiments.spec import SCALES, Spec
from nonsingular.experiments.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper.

    Attributes:
        id: ``paper/figure``, as ``reproduce`` takes it.
        title: one line for listings.
        specs: scale -> the spec at that scale.
        run: (spec, workspace) -> results, a labelled data set with dimensions such as ``network``, ``run``, ``epoch``.
            Long runs keep what they have finished in the workspace and go on from there.
        draw: results -> figures by name; drawn from the results and nothing else.
        claims: the paper's claims about these results.
        interactive: results -> plotly figures by name, for those that have one (extra ``interactive``).
    """

    id: str
    title: str
    specs: Callable[[str], Spec] | None = None
    run: Callable[[Spec, Workspace], xr.Dataset] | None = None
    draw: Callable[[xr.Dataset], Mapping[str, Figure]] | None = None
    claims: tuple[Claim, ...] = ()
    interactive: Callable[[xr.Dataset], Mapping[str, object]] | None = None
    scales: tuple[str, ...] = field(default=SCALES)

    @property
    def status(self) -> str:
        """``works`` or ``planned``."""
        return "works" if self.run is not None else "planned"

    @property
    def paper(self) -> str:
        """The paper's prefix."""
        return self.id.split("/")[0]


class Registry:
    """All experiments by id, in the papers' order."""

    def __init__(self, experiments: Iterable[Experiment]) -> None:
        self._by_id = {e.id: e for e in experiments}

    def __iter__(self) -> Iterable[Experiment]:  # type: ignore[override]
        return iter(self._by_id.values())

    def __getitem__(self, id: str) -> Experiment:
        """The experiment with this id.

        Raises:
            InputError: unknown id; the message offers the nearest one.
        """
        if id in self._by_id:
            return self._by_id[id]
        import difflib

        near = difflib.get_close_matches(id, self._by_id, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown experiment {id!r}{hint} (nonsingular reproduce --list shows all)")
