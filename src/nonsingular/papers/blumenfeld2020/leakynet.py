"""Table 2 and figures 8, 9 and 10: LeakyNet with more and more averaging layers, which hold back symmetry breaking.

The four items share one study: the first that is run trains, the others copy its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.effects import slope
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import LeakyNetSpec
from nonsingular.papers.blumenfeld2020.correlations import FORMS
from nonsingular.papers.blumenfeld2020.protocol import (
    PAPER,
    POINTS,
    Measure,
    accuracy,
    at_end,
    better,
    claim,
    images,
    training,
    when_trained,
)
from nonsingular.plots import symmetry as plots
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Breaker, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (3, 60, 8, 1), "overnight": (5, 20, 8, 1), "paper": (4, 200, 16, 10)}
"""Scale -> runs, epochs, channels of the input layer, widening."""

STARTS = {
    "he": "H" * 13,
    "0-averages": "I" * 13,
    "1-average": "1" + "I" * 12,
    "3-averages": "1" + "IIII" + "11II" + "IIII",
    "5-averages": "1" + "IIII" + "1111" + "IIII",
    "7-averages": "1" + "II11" * 3,
    "13-averages": "1" * 13,
}
"""Network -> start of each layer, in the order that the authors' published scripts have."""

COUNTS = {name: float(starts.count("1")) for name, starts in STARTS.items() if name != "he"}


def specs_of(id: str) -> Callable[..., Spec]:
    """The study's spec under an item's id."""

    def specs(scale: str, data: str | None = None) -> Spec:
        runs, epochs, width, widening = at_scale(SIZES, scale)
        return Spec(
            id,
            scale,
            runs=runs,
            data=images(data, scale),
            networks=tuple(
                Member(name, LeakyNetSpec(13, width, widening, starts), breaker=Breaker("hardware"))
                for name, starts in STARTS.items()
            ),
            training=training(scale, epochs, data),
            instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations", "symmetry_breaking")),
        )

    return specs


# --- figures ------------------------------------------------------------------------------------------------


def draw_table2(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracies over the epochs, and at the end."""
    panels = [Panel(f"{part}_accuracy", LABELS[f"{part}_accuracy"], percent=True) for part in ("train", "test")]
    title = "LeakyNet, 13 layers of which some start as averages"
    return {"accuracy": over_epochs(results, panels, title), "table": plots.accuracies(results, title)}


def draw_fig8(results: xr.Dataset) -> Mapping[str, Figure]:
    """Forward correlations by layer over training."""
    figures = {}
    for suffix, form in FORMS.items():
        variable, title = f"forward_{suffix}", f"LeakyNet: forward correlations ({form})"
        figures[f"forward{_ending(suffix)}"] = plots.correlations_by_layer(results, variable, title)
        figures[f"end{_ending(suffix)}"] = plots.by_layer_at_end(results, variable, f"{title} after training")
    return figures


def _ending(suffix: str) -> str:
    return "-centred" if suffix == "centred" else ""


def draw_fig9(results: xr.Dataset) -> Mapping[str, Figure]:
    """The symmetry-breaking part of the features, early and at the end."""
    return {"features": plots.breaking(results, "feature_breaking", STARTS, "features")}


def draw_fig10(results: xr.Dataset) -> Mapping[str, Figure]:
    """The same of the gradients by the features."""
    return {"gradients": plots.breaking(results, "gradient_breaking", STARTS, "gradients")}


# --- effects ------------------------------------------------------------------------------------------------


def _forward(results: xr.Dataset, network: str, suffix: str, reduce: str) -> xr.DataArray:
    """Over layers of one run, at the end."""
    return getattr(at_end(results, f"forward_{suffix}", network), reduce)("layer")


NOTHING = 1e-8  # of the part before: stands for a ratio of zero, whose logarithm no mean could take


ROUNDED = 1e-6
"""Mean symmetry-breaking part that float32's rounding alone makes of equal features."""


def passed_on(results: xr.Dataset, variable: str, letter: str) -> xr.DataArray:
    """log10 of the symmetry-breaking part after a layer over that before it, one number a run.

    Both are first averaged: over the epochs after the start, over the layers that began as ``letter``, and over the
    networks that have layers of both kinds. (Logarithms of single ratios would be driven by the smallest of them.)
    Signals pass from below, gradients from above. Where nothing but rounding breaks the symmetry before such layers
    there is no ratio.
    """
    parts = []
    for name in MIXED:
        values = (
            results[variable].sel(network=name).isel(epoch=slice(1, None)).transpose("run", "epoch", "layer").values
        )
        below, above = values[..., :-1], values[..., 1:]
        before, after = (above, below) if variable == "gradient_breaking" else (below, above)
        layers = [i for i, start in enumerate(STARTS[name][1:]) if start == letter]
        pairs = np.stack([before[..., layers], after[..., layers]])
        parts.append(np.where(np.isfinite(pairs).all(0), pairs, 0.0))
    before, after = np.concatenate(parts, 3).reshape(2, results.sizes["run"], -1).mean(2)
    ratio = np.full(before.shape, np.nan)
    np.divide(after, before, out=ratio, where=before > ROUNDED)
    return xr.DataArray(np.log10(np.maximum(ratio, NOTHING)), dims="run")


def _stuck(network: str, suffix: str) -> Measure:
    return lambda results: mean(_forward(results, network, suffix, "max"), within=CORRELATION)


CORRELATION = (-1.0, 1.0)


MIXED = ("3-averages", "5-averages", "7-averages")


def _kept(variable: str, letter: str) -> Measure:
    return lambda results: mean(_measured(results, variable, letter))


def _measured(results: xr.Dataset, variable: str, letter: str) -> xr.DataArray:
    for name in MIXED:
        at_end(results, variable, name)  # refuses results without it
    return passed_on(results, variable, letter)


def _gap(variable: str) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        return difference(_measured(results, variable, "1"), _measured(results, variable, "I"), paired=True)

    return effect


REFERENCES = ("he", "0-averages")
"""Networks that should train: if neither does, there was no time to."""


def _trained(effect: Measure) -> Measure:
    return when_trained(effect, *REFERENCES)


TABLE2 = (
    claim(
        "table2",
        "accuracy-falls",
        "§5.2, table 2",
        "Test accuracy falls as more layers start as averages (slope over 0, 1, 3, 5, 7 and 13 of 13 layers).",
        _trained(lambda r: slope(r, COUNTS, accuracy)),
        NEGATIVE,
        "percentage points a layer",
    ),
    claim(
        "table2",
        "one-average-is-enough-to-train",
        "table 2",
        "Identical features in the first layer alone cost little: within 2 points of all layers apart (1 minus 0).",
        _trained(lambda r: better(r, "1-average", "0-averages")),
        Region(low=-2.0),
        POINTS,
    ),
    claim(
        "table2",
        "all-averages-fail",
        "table 2",
        "With averages in all layers it trains worse than with one (13 minus 1).",
        _trained(lambda r: better(r, "13-averages", "1-average")),
        NEGATIVE,
        POINTS,
    ),
    claim(
        "table2",
        "he-is-best",
        "§5.2",
        "The He start does better than layers kept apart (He minus 0 averages).",
        _trained(lambda r: better(r, "he", "0-averages")),
        POSITIVE,
        POINTS,
    ),
)


def _fig8(suffix: str) -> tuple[Claim, ...]:
    form, ending = FORMS[suffix], _ending(suffix)

    def co_adapts(results: xr.Dataset) -> Effect:
        he, apart = (_forward(results, name, suffix, "mean") for name in ("he", "1-average"))
        return difference(he, apart, within=(-2.0, 2.0))

    return (
        *(
            claim(
                "fig8",
                f"stuck-with-{name}{ending}",
                "table 2, figure 8",
                f"With {name.replace('-', ' ')} some layer keeps identical features to the end (largest forward "
                f"correlation, {form}; above 0.95).",
                _trained(_stuck(name, suffix)),
                Region(low=0.95),
            )
            for name in ("5-averages", "7-averages", "13-averages")
        ),
        claim(
            "fig8",
            f"apart-stays-apart{ending}",
            "table 2",
            f"With one average no layer does (largest forward correlation, {form}; below 0.5, paper 0.25).",
            _trained(_stuck("1-average", suffix)),
            Region(high=0.5),
        ),
        claim(
            "fig8",
            f"he-co-adapts{ending}",
            "§5.2",
            f"From the He start correlations end higher than from the identity ({form}, mean over layers, He minus 1 "
            "average).",
            _trained(co_adapts),
            POSITIVE,
        ),
    )


FIG8 = tuple(c for suffix in FORMS for c in _fig8(suffix))


def _breaking_claims(item: str, what: str, variable: str) -> tuple[Claim, ...]:
    source = f"appendix G, figure {item.removeprefix('fig')}"
    return (
        claim(
            item,
            "averages-attenuate",
            source,
            f"The symmetry-breaking part of {what} falls sharply through a layer that began as an average (log10 of "
            "its mean after over its mean before, over all epochs; below -0.3, half).",
            _kept(variable, "1"),
            Region(high=float(np.log10(0.5))),
            "log10",
        ),
        claim(
            item,
            "identities-pass-it-on",
            source,
            "It is relatively unaffected by a layer that began as the identity (between half and twice).",
            _kept(variable, "I"),
            Region(float(np.log10(0.5)), float(np.log10(2.0))),
            "log10",
        ),
        claim(
            item,
            "averages-attenuate-more",
            source,
            "It falls more through averages than through identities (difference of the two).",
            _gap(variable),
            NEGATIVE,
            "log10",
        ),
    )


FIG9 = _breaking_claims("fig9", "features", "feature_breaking")
FIG10 = _breaking_claims("fig10", "gradients", "gradient_breaking")


DIFFERS = (
    *PAPER,
    "Every pair of layers ends with a normalisation, since appendix H has it after every block that is the identity; "
    "the authors' code normalises after every layer, which undoes the identity.",
)


def _experiment(
    item: str, title: str, draw: Callable[[xr.Dataset], Mapping[str, Figure]], claims: tuple[Claim, ...]
) -> Experiment:
    id = f"blumenfeld2020/{item}"
    return Experiment(id, title, specs_of(id), run_shared, draw, claims, differs=DIFFERS)


EXPERIMENTS = (
    _experiment("table2", "LeakyNet with more and more identical-feature layers", draw_table2, TABLE2),
    _experiment("fig8", "LeakyNet: correlations over training", draw_fig8, FIG8),
    _experiment("fig9", "Symmetry-breaking perturbation of features by layer", draw_fig9, FIG9),
    _experiment("fig10", "Symmetry-breaking perturbation of gradients by layer", draw_fig10, FIG10),
)
