"""How li2018's figures are drawn from their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from nonsingular.experiments.drawings import Picture
from nonsingular.papers.li2018.parts import surfaces
from nonsingular.papers.li2018.parts.comparisons import OF_SURFACES
from nonsingular.papers.li2018.parts.lines import LABELS
from nonsingular.plots import landscape as plots
from nonsingular.plots import landscape_interactive as interactive


def _title(results: xr.Dataset) -> str:
    """What is drawn: the networks, and the data."""
    wide = any("-k" in str(name) for name in results.network.values)
    layers = int(results.layers.values[0])
    of_widths = f"Wide-ResNet-{layers}, k times as many channels, with and without skip connections"
    return plots.caption(of_widths if wide else surfaces.title(results), results)


def _first(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=slice(1))


def relief(results: xr.Dataset) -> Picture:
    """The first run's surfaces in three dimensions."""
    return plots.relief(*plots.panels(_first(results)), _title(results))


def contours(results: xr.Dataset) -> Picture:
    """All runs' contours, a row a network."""
    return plots.contours(*plots.panels(results), _title(results), columns=results.sizes["run"])


def contours_by_kind(results: xr.Dataset) -> Picture:
    """The first run's contours, skips above."""
    found = plots.panels(_first(results), by_kind=True)
    return plots.contours(*found, _title(results), columns=results.sizes["network"] // 2)


def contours_of_first(results: xr.Dataset) -> Picture:
    """The first run's contours."""
    return plots.contours(*plots.panels(_first(results)), _title(results))


def roughness(results: xr.Dataset) -> Picture:
    """Every measure of roughness, of all runs."""
    return _measures(results, surfaces.LABELS, _title(results))


def _measures(results: xr.Dataset, labels: Mapping[str, str], title: str) -> Picture:
    return plots.roughness(results, labels, title, {name: OF_SURFACES[name].within for name in labels})


def flatness(results: xr.Dataset) -> Picture:
    """Sharpness against test error."""
    return plots.flatness(results, surfaces.LABELS["sharpness"], _title(results))


def convexity(results: xr.Dataset) -> Picture:
    """The first run's maps of the Hessian's extreme eigenvalues."""
    title = plots.caption("Extreme eigenvalues of the Hessian over the surface", results)
    return plots.ratios(*plots.panels(_first(results)), title)


def shares(results: xr.Dataset) -> Picture:
    """How much of each map is nearly convex, and how much looks tell."""
    labels = {"near_convex": "nearly convex points (%)", "bends": "ratio where it looks non-convex\nminus where convex"}
    return _measures(results, labels, plots.caption("Extreme eigenvalues over the surface", results))


def each_surface(results: xr.Dataset) -> Mapping[str, Any]:
    """The first run's surfaces, to turn with the mouse."""
    return {
        str(name): interactive.surface(results.sel(network=name).isel(run=0), str(name))
        for name in results.network.values
    }


def lines(results: xr.Dataset) -> Picture | None:
    """The loss on the lines of all runs, if there are lines."""
    title = plots.caption("VGG-9 between small batches (0) and large batches (1)", results)
    return plots.lines(results, title) if "pair" in results.coords else None


def solutions(results: xr.Dataset) -> Picture | None:
    """Sharpness, norms and test errors of the ends of the lines."""
    title = plots.caption("VGG-9 with small and large batches", results)
    return _measures(results, LABELS, title) if "pair" in results.coords else None


def planes(results: xr.Dataset) -> tuple[list[xr.Dataset], list[str]]:
    """The first run's planes of paths, as ``landscape.trajectory`` gives them, and their networks' names."""
    found = []
    for name in results.network.values:
        one = results.sel(network=name).isel(run=0)
        plane = xr.Dataset({"loss": (("y", "x"), one.loss.values)}, {"x": one.x.values, "y": one.y.values})
        plane = plane.assign({k: ("checkpoint", one[k].values) for k in ("path_x", "path_y")})
        found.append(plane.assign(explained=("direction", one.explained.values)).assign_attrs(results.attrs))
    return found, [str(n).replace("-", " ").replace("decay", "weight decay") for n in results.network.values]


def paths(results: xr.Dataset) -> Picture:
    """The first run's paths over their planes."""
    return plots.trajectories(*planes(results), plots.caption("VGG-9: paths of SGD in their own planes", results), 2)


def crossing(results: xr.Dataset) -> Picture:
    """How steeply paths cross isocurves over training."""
    return plots.crossing(results, plots.caption("VGG-9: paths of SGD in their own planes", results))


def each_path(results: xr.Dataset) -> Mapping[str, Any]:
    """The planes to turn with the mouse, with the paths on them."""
    return {name: interactive.surface(plane, name) for plane, name in zip(*planes(results), strict=True)}
