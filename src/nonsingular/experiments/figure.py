"""A figure or table declared: sizes, study, drawings, claims, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import Claim
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Declared, Needs
from nonsingular.plots.curves import Panel, over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

Draw = Callable[[xr.Dataset], "Picture"]


class Curves:
    """A drawing: variables of studies over the epochs at which they were measured, one curve a network.

    Args:
        *variables: of instruments, a panel each.
        title: above all panels.
    """

    def __init__(self, *variables: str, title: str) -> None:
        self.variables, self.title = variables, title

    def __call__(self, results: xr.Dataset) -> Picture:
        """The picture."""
        measured = results.dropna("epoch", how="all", subset=list(self.variables))
        panels = [Panel(name, LABELS[name], percent=name in PERCENT) for name in self.variables]
        return over_epochs(measured, panels, self.title)


@dataclass(frozen=True, init=False)
class Figure(Experiment):
    """One figure or table of a paper, declared; it is an ``Experiment``.

    Args:
        id: ``paper/figure``.
        title: one line for listings.
        source: where the paper has it; claims may name another place.
        sizes: its numbers at the four scales; ``runs`` is among them.
        study: its spec at a scale.
        draw: name -> drawing.
        claims: from verbs (``verbs.claim``), or whole ones.
        needs: what networks must have done to be compared; a claim of networks that have not is not judged.
        differs: as ``Experiment``.
        run: as ``Experiment``; by default a study.
        labels: as ``Experiment``.
    """

    def __init__(
        self,
        id: str,
        title: str,
        *,
        source: str,
        sizes: Scales,
        study: Callable[[Size], Spec],
        draw: Mapping[str, Draw],
        claims: Sequence[Declared | Claim] = (),
        needs: Needs | None = None,
        differs: tuple[str, ...] = (),
        run: Callable[[Spec, Workspace], xr.Dataset] = run_study,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        def specs(scale: str, data: str | None = None) -> Spec:
            return study(sizes.at(scale, id, data))

        def pictures(results: xr.Dataset) -> Mapping[str, Picture]:
            return {name: drawing(results) for name, drawing in draw.items()}

        whole = tuple(c.claim(id, source, needs) if isinstance(c, Declared) else c for c in claims)
        super().__init__(id, title, specs, run, pictures, whole, differs=differs, labels=labels or {})
