"""What figures draw of their results: small objects that are called with them, from the variables or quantities named.

Titles may have ``{layers}``, ``{runs}`` and ``{epochs}`` in them, which are those of the results. A drawing of what was
not measured is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import xarray as xr

from nonsingular.checks import checked
from nonsingular.experiments.claims import NotMeasured
from nonsingular.experiments.known import known
from nonsingular.experiments.quantities import POINTS, START, Quantity
from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.intervals import mean
from nonsingular.plots import curves, scans
from nonsingular.plots.curves import Panel

if TYPE_CHECKING:
    import matplotlib.figure

Picture: TypeAlias = "matplotlib.figure.Figure"  # a word alone: Matplotlib is imported where something is drawn
Drawing = Callable[[xr.Dataset], "Picture | None"]
View = Callable[[xr.Dataset], xr.Dataset]
"""What is done to the results before they are drawn: runs sorted into groups, networks left out."""


def titled(title: str, results: xr.Dataset) -> str:
    """A title with the numbers of the results."""
    epochs = int(results.epoch[-1]) if "epoch" in results.coords else 0
    return title.format(layers=results.sizes.get("layer", 0), runs=results.sizes.get("run", 1), epochs=epochs)


def panel(variable: str, *, log: bool = False) -> Panel:
    """The axes of an instrument's variable."""
    return Panel(variable, LABELS[variable], percent=variable in PERCENT, log=log)


@checked
class Only:
    """Results of nothing but the named networks, as far as they are there."""

    def __init__(self, *networks: str) -> None:
        self.networks = networks

    def __call__(self, results: xr.Dataset) -> xr.Dataset:
        """Those among the results."""
        return results.sel(network=[n for n in self.networks if n in results.network.values])


def labelled(plot: Callable[[xr.Dataset, str, str], Picture], variable: str, view: View | None = None) -> Drawing:
    """A plot of an instrument's variable under its label: ``plot(results, variable, label)``."""
    known("variable", variable, LABELS)
    return lambda results: plot(view(results) if view else results, variable, LABELS[variable])


@checked
class Curves:
    """Variables over the epochs at which they were measured, a panel each, one curve a network.

    Args:
        *variables: of instruments.
        title: above all panels.
        log: those with a logarithmic axis.
        layer: of variables by layer, the one that is drawn; by default the mean over all.
        view: what is drawn of the results.

    Raises:
        InputError: no instrument has such a variable.
    """

    def __init__(
        self, *variables: str, title: str, log: Sequence[str] = (), layer: int | None = None, view: View | None = None
    ) -> None:
        self.variables, self.title, self.log, self.layer, self.view = variables, title, log, layer, view
        for variable in (*variables, *log):
            known("variable", variable, LABELS)

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that it names."""
        return getattr(self.view, "networks", ())

    def __call__(self, results: xr.Dataset) -> Picture | None:
        """The picture."""
        title, results = titled(self.title, results), self.view(results) if self.view else results
        shown = [v for v in self.variables if v in results and results[v].notnull().any()]
        if not shown:
            return None
        if self.layer is not None and "layer" in results.dims:
            results = results.sel(layer=[self.layer])
        measured = results.dropna("epoch", how="all", subset=shown)
        return curves.over_epochs(measured, [panel(v, log=v in self.log) for v in shown], title)


@checked
@dataclass(frozen=True)
class OverLayers:
    """A variable against the layer, a panel an epoch, one curve a network.

    Attributes:
        variable: of an instrument.
        epochs: those that are drawn where they were measured.
        title: above all panels.
        log: whether its axis is logarithmic.
        view: what is drawn of the results.
    """

    variable: str
    _: KW_ONLY
    title: str
    epochs: Sequence[int] = (START,)
    log: bool = True
    view: View | None = None

    def __post_init__(self) -> None:
        known("variable", self.variable, LABELS)

    @property
    def variables(self) -> tuple[str, ...]:
        """As ``Curves`` has them."""
        return (self.variable,)

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that it names."""
        return getattr(self.view, "networks", ())

    def __call__(self, results: xr.Dataset) -> Picture | None:
        """The picture."""
        title, results = titled(self.title, results), self.view(results) if self.view else results
        if self.variable not in results or not results[self.variable].notnull().any():
            return None
        measured = results.dropna("epoch", how="all", subset=[self.variable]).epoch
        epochs = [e for e in self.epochs if e in measured]
        return curves.over_layers(results, panel(self.variable, log=self.log), epochs, title) if epochs else None


@checked
class OverNumbers:
    """Quantities against a number that was varied, a panel each.

    Args:
        *quantities: what is drawn.
        series: curve -> network -> its number.
        label: of the number's axis, with its unit.
        title: above all panels.
        base: of the number's logarithmic axis; 0 makes it linear.
        levels: networks outside the series, drawn as horizontal lines.
        ends: of each curve, by its name, a number drawn as a vertical line with its interval in the first panel.
    """

    def __init__(
        self,
        *quantities: Quantity,
        series: Mapping[str, Mapping[str, float]],
        label: str,
        title: str,
        base: int = 10,
        levels: Sequence[str] = (),
        ends: Quantity | None = None,
    ) -> None:
        self.quantities, self.series, self.label = quantities, series, label
        self.title, self.base, self.levels, self.ends = title, base, levels, ends

    @property
    def variables(self) -> tuple[str, ...]:
        """Those that it draws."""
        return tuple(name for quantity in self.quantities for name in quantity.variables)

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that it draws as lines; of the series those that are there are drawn."""
        return tuple(self.levels)

    def __call__(self, results: xr.Dataset) -> Picture | None:
        """The picture."""
        there = set(map(str, results.network.values))
        series = {
            curve: {n: x for n, x in places.items() if n in there}
            for curve, places in self.series.items()
            if there & set(places)
        }
        if not series:
            return None
        levels = [n for n in self.levels if n in there]
        drawn = [self._scan(results, q, series, levels) for q in _measured(self.quantities, results, series)]
        if not drawn:
            return None
        if self.ends is not None and all(there >= set(places) for places in self.series.values()):
            found = {curve: mean(self.ends(results, curve)) for curve in series}
            drawn[0] = replace(drawn[0], ends={curve: (e.value, e.low, e.high) for curve, e in found.items()})
        title = titled(self.title, results)
        return scans.over_numbers(drawn, "number", self.label, title, base=self.base, attributes=_trained_on(results))

    @staticmethod
    def _scan(
        results: xr.Dataset, quantity: Quantity, series: Mapping[str, Mapping[str, float]], levels: Sequence[str]
    ) -> scans.Scan:
        curves_ = [
            xr.concat([quantity(results, n) for n in places], xr.Variable("number", list(places.values())))
            for places in series.values()
        ]
        values = xr.concat(curves_, xr.Variable("network", list(series)), join="outer")
        return scans.Scan(values, axis_label(quantity), levels={n: quantity(results, n) for n in levels})


def _measured(
    quantities: Sequence[Quantity], results: xr.Dataset, series: Mapping[str, Mapping[str, float]]
) -> list[Quantity]:
    """Those that the results have of all networks of the series."""
    there = []
    for quantity in quantities:
        with suppress(NotMeasured):
            for name in (name for places in series.values() for name in places):
                quantity(results, name)
            there.append(quantity)
    return there


def axis_label(quantity: Quantity) -> str:
    """What a quantity is called on an axis."""
    unit = {POINTS: "%", "log10": ""}.get(quantity.unit, quantity.unit)
    return quantity.words + (f" ({unit})" if unit else "")


def _trained_on(results: xr.Dataset) -> Mapping[str, str] | None:
    return results.attrs if "data" in results.attrs else None
