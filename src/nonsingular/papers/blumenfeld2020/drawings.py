"""Drawings of this paper alone: correlations and symmetry breaking layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.drawings import View
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.papers.blumenfeld2020.constnet import BOTH, stages
from nonsingular.plots import symmetry

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture


class Accuracies:
    """Test accuracy of every run after the last epoch, a row a network, with chance."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __call__(self, results: xr.Dataset) -> Picture:
        """The picture."""
        return symmetry.accuracies(results, self.title)


class ByLayer:
    """A correlation over the epochs, a panel a network and a curve a layer.

    Args:
        variable: of the instrument.
        view: what is drawn of the results.
    """

    def __init__(self, variable: str, view: View | None = None) -> None:
        self.variable, self.view = variable, view

    def __call__(self, results: xr.Dataset) -> Picture:
        """The picture."""
        return symmetry.correlations_by_layer(
            self.view(results) if self.view else results, self.variable, LABELS[self.variable]
        )


class AtEnd:
    """A correlation after the last epoch against the layer, a curve a network."""

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def __call__(self, results: xr.Dataset) -> Picture:
        """The picture."""
        return symmetry.by_layer_at_end(results, self.variable, LABELS[self.variable])


class Breaking:
    """The relative size of what breaks the symmetry, by layer, early and late.

    Args:
        variable: of the instrument.
        what: it is of.
        starts: network -> start of each layer; averages are marked.
    """

    def __init__(self, variable: str, what: str, starts: dict[str, str]) -> None:
        self.variable, self.what, self.starts = variable, what, starts

    def __call__(self, results: xr.Dataset) -> Picture:
        """The picture."""
        return symmetry.breaking(results, self.variable, self.starts, self.what)


def groups(results: xr.Dataset, form: str, names: Sequence[str] = BOTH[:1]) -> Picture:
    """Every layer's correlations from identical features, coloured by the layer's stage."""
    return symmetry.correlation_groups(
        results.sel(network=names[0]), stages(), form, form.replace("correlation", "cosine")
    )
