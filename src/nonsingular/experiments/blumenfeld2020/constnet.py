"""Table 1 and figures 3, 4 and 7: what breaks ConstNet's symmetry, and its weight correlations over training.

The four items share one study: the first that is run trains, the others copy its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.blumenfeld2020.correlations import (
    BOTH,
    BY_CHANCE,
    DEPTH,
    converge,
    falls,
    grouped,
    groups,
)
from nonsingular.experiments.blumenfeld2020.protocol import (
    PAPER,
    POINTS,
    Measure,
    at_end,
    better,
    claim,
    images,
    training,
)
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, exactly
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.instruments import LABELS
from nonsingular.experiments.sharing import run_shared
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import ConstNetSpec, wide_resnet
from nonsingular.plots import symmetry as plots
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Breaker, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (3, 8, 8, 1), "paper": (5, 200, 16, 10)}
"""Scale -> runs, epochs, channels of the input layer, widening."""

BREAKERS = ("random-order", "gradient-noise", "parameter-noise", "dropout", "dropout-all")
FREE = Breaker("order-free")
LITTLE = 2.0  # percentage points


def networks(width: int, widening: int) -> tuple[Member, ...]:
    """ConstNet with every breaker and with none, from a He start, and Wide-ResNet-16."""
    zero = ConstNetSpec(DEPTH, width, widening)

    def constnet(name: str, breaker: Breaker | None = FREE, spec: ConstNetSpec = zero) -> Member:
        return Member(name, spec, breaker=breaker)

    return (
        Member("wide-resnet", wide_resnet(16, widening, width=width)),
        constnet("constnet-he", None, replace(zero, start="he")),
        constnet("random-order", Breaker("random-order")),
        constnet("gradient-noise", Breaker("order-free", gradient_noise=1.0)),
        constnet("parameter-noise", Breaker("order-free", parameter_noise=1e-3)),
        constnet("dropout", spec=replace(zero, dropout=0.01)),
        constnet("dropout-all", spec=replace(zero, dropout=0.01, dropout_on="all")),
        constnet("library", None),
        constnet("deterministic"),
    )


def specs_of(id: str) -> Callable[..., Spec]:
    """The study's spec under an item's id."""

    def specs(scale: str, data: str | None = None) -> Spec:
        runs, epochs, width, widening = at_scale(SIZES, scale)
        return Spec(
            id,
            scale,
            runs=runs,
            data=images(data, scale),
            networks=networks(width, widening),
            training=training(scale, epochs),
            instruments={"train_accuracy": None, "test_accuracy": None, "correlations": None},
        )

    return specs


# --- figures ------------------------------------------------------------------------------------------------


def draw_table(results: xr.Dataset) -> Mapping[str, Figure]:
    """Accuracies over the epochs and at the end."""
    panels = [Panel(f"{part}_accuracy", LABELS[f"{part}_accuracy"], percent=True) for part in ("train", "test")]
    return {
        "accuracy": over_epochs(results, panels, "ConstNet and what breaks its symmetry"),
        "table": plots.accuracies(results, "ConstNet and what breaks its symmetry"),
    }


def draw_fig3(results: xr.Dataset) -> Mapping[str, Figure]:
    """One layer's correlations over training, from both starts."""
    shown = results.sel(network=[n for n in BOTH if n in results.network]).sel(layer=[SHOWN])
    panels = [Panel(name, LABELS[name]) for name in ("forward_correlation", "backward_correlation")]
    return {"correlations": over_epochs(shown, panels, f"Weight correlations of layer {SHOWN} of ConstNet")}


SHOWN = 11
"""A layer of the last stage, whose symmetry breaks first."""


def draw_fig4(results: xr.Dataset) -> Mapping[str, Figure]:
    """Every layer's correlations from the 0 start, coloured by width."""
    return {"groups": plots.correlation_groups(results.sel(network=BOTH[0]), groups())}


def draw_fig7(results: xr.Dataset) -> Mapping[str, Figure]:
    """All layers, both starts; uncentred as the text defines them, and centred as the authors measured."""
    shown = results.sel(network=[n for n in BOTH if n in results.network])
    return {
        "forward": plots.correlations_by_layer(shown, "forward_correlation", "Forward correlations (cosine)"),
        "backward": plots.correlations_by_layer(shown, "backward_correlation", "Backward correlations (cosine)"),
        "forward-centred": plots.correlations_by_layer(shown, "forward_centred", "Forward correlations (centred)"),
    }


# --- effects ------------------------------------------------------------------------------------------------


def _features(results: xr.Dataset) -> Effect:
    unique = at_end(results, "unique_features", "deterministic")
    return exactly(float(unique.max()), "distinct filters, largest over layers and runs")


def _trains(network: str) -> Measure:
    return lambda results: better(results, network, "deterministic")


def _library(results: xr.Dataset) -> Effect:
    effect = better(results, "library", "deterministic")
    unique = int(at_end(results, "unique_features", "library").max())
    note = f"{effect.note}; up to {unique} distinct filters in a layer (1: these kernels treat all channels alike)"
    return replace(effect, note=note)


TABLE = (
    claim(
        "table1",
        "deterministic-fails",
        "table 1",
        "Without any breaker training from identical features fails: test accuracy 5 points below the He start or more "
        "(deterministic minus He).",
        lambda r: better(r, "deterministic", "constnet-he"),
        Region(high=-5.0),
        POINTS,
    ),
    claim(
        "table1",
        "deterministic-stays-symmetric",
        "§4",
        "Without any breaker the features stay identical to the bit (largest number of distinct filters in a layer).",
        _features,
        Region(high=1.5),
        "filters",
    ),
    *(
        claim(
            "table1",
            f"{name}-trains",
            "table 1, §4",
            f"With {name.replace('-', ' ')} it trains better than without a breaker (test accuracy).",
            _trains(name),
            POSITIVE,
            POINTS,
        )
        for name in BREAKERS
    ),
    claim(
        "table1",
        "library-trains",
        "table 1, §4",
        "Nothing but the library's own kernels on this device trains it better than order-free sums (test accuracy).",
        _library,
        POSITIVE,
        POINTS,
    ),
    claim(
        "table1",
        "noise-reaches-he",
        "table 1",
        f"Noise of the computation alone brings it within {LITTLE:g} points of the He start (random order minus He).",
        lambda r: better(r, "random-order", "constnet-he"),
        Region(low=-LITTLE),
        POINTS,
    ),
    claim(
        "table1",
        "dropout-leaves-a-gap",
        "appendix I",
        "Dropout on skipped layers alone leaves a gap to the He start (dropout minus He).",
        lambda r: better(r, "dropout", "constnet-he"),
        NEGATIVE,
        POINTS,
    ),
    claim(
        "table1",
        "dropout-everywhere-closes-it",
        "appendix I",
        "Dropout on all layers closes it (on all layers minus on skipped ones).",
        lambda r: better(r, "dropout-all", "dropout"),
        POSITIVE,
        POINTS,
    ),
    claim(
        "table1",
        "wide-resnet",
        "table 1",
        f"ConstNet from the He start does as well as a Wide-ResNet, to within {LITTLE:g} points (ConstNet minus it).",
        lambda r: better(r, "constnet-he", "wide-resnet"),
        Region(low=-LITTLE),
        POINTS,
    ),
)


def _correlation_claims(item: str, source: str, side: str) -> tuple[Claim, ...]:
    variable = f"{side}_correlation"
    return (
        claim(
            item,
            f"{side}-falls",
            source,
            f"From identical features the {side} correlation falls while training (mean over layers, end minus start).",
            falls(variable),
            NEGATIVE,
        ),
        claim(
            item,
            f"{side}-converges",
            source,
            f"The {side} correlations converge to similar values from both starts (mean distance between the starts, "
            "the last epoch's over the first one's; below a quarter).",
            converge(variable),
            Region(high=0.25),
        ),
    )


FIG3 = _correlation_claims("fig3", "§4.1, figure 3", "forward")
FIG7 = (*_correlation_claims("fig7", "figure 7", "forward"), *_correlation_claims("fig7", "figure 7", "backward"))
FIG4 = tuple(
    claim(
        "fig4",
        f"{side}-groups",
        "§4.2, figure 4",
        f"Layers of equal width move as groups: more of the {side} correlations' variance lies between the stages than "
        "chance puts there (share between stages, above 2 / 11).",
        grouped(f"{side}_correlation"),
        BY_CHANCE,
    )
    for side in ("forward", "backward")
)


def _experiment(
    item: str, title: str, draw: Callable[[xr.Dataset], Mapping[str, Figure]], claims: tuple[Claim, ...]
) -> Experiment:
    id = f"blumenfeld2020/{item}"
    return Experiment(id, title, specs_of(id), run_shared, draw, claims, differs=PAPER)


EXPERIMENTS = (
    _experiment("table1", "ConstNet and what breaks its symmetry", draw_table, TABLE),
    _experiment("fig3", "Weight correlations of one layer over training, from both starts", draw_fig3, FIG3),
    _experiment("fig4", "Layers of equal width break their symmetry as groups", draw_fig4, FIG4),
    _experiment("fig7", "Weight correlations of all layers from both starts", draw_fig7, FIG7),
)
