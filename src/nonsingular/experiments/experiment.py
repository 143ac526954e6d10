"""The shape every experiment has: spec -> results -> figures and claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import Claim
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import SCALES, Spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure


@dataclass(frozen=True)
class Experiment:
    """One figure or table of a paper.

    Attributes:
        id: ``paper/figure``, as ``reproduce`` takes it.
        title: one line for listings.
        spec: scale -> the spec at that scale; ``data=NAME`` too where the experiment trains on images.
        run: (spec, workspace) -> results, a labelled data set with dimensions such as ``network``, ``run``, ``epoch``.
            Long runs keep what they have finished in the workspace and go on from there.
        draw: results -> figures by name; drawn from the results and nothing else.
        claims: the paper's claims about these results.
        interactive: results -> plotly figures by name, for those that have one (extra ``interactive``).
        scales: those it runs at.
        differs: what it does otherwise than the paper at every scale, or chooses where the paper is silent, each in a
            sentence. What a scale changes of the paper's numbers is told from the specs.
        labels: variable -> its axis label, ``name (unit)``, for variables that are not an instrument's.
        fewest_epochs: without which there is nothing to draw or to judge; fewer are refused before anything is trained.
    """

    id: str
    title: str
    spec: Callable[..., Spec]
    run: Callable[[Spec, Workspace], xr.Dataset]
    draw: Callable[[xr.Dataset], Mapping[str, Figure]]
    claims: tuple[Claim, ...] = ()
    interactive: Callable[[xr.Dataset], Mapping[str, PlotlyFigure]] | None = None
    scales: tuple[str, ...] = field(default=SCALES)
    differs: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    fewest_epochs: int = 1

    @property
    def paper(self) -> str:
        """The paper's prefix."""
        return self.id.split("/")[0]
