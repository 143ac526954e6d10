"""Table 1 and figures 3, 4 and 7: what breaks ConstNet's symmetry, and its weight correlations over training.

The four items share one study: the first that is run trains, the others copy its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, exactly
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import ConstNetSpec, wide_resnet
from nonsingular.papers.blumenfeld2020.correlations import (
    BOTH,
    DEPTH,
    FORMS,
    STEPS,
    converge,
    falls,
    grouped,
    groups,
)
from nonsingular.papers.blumenfeld2020.protocol import (
    PAPER,
    POINTS,
    Measure,
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

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (3, 60, 8, 1), "overnight": (5, 20, 8, 1), "paper": (5, 200, 16, 10)}
"""Scale -> runs, epochs, channels of the input layer, widening."""

BREAKERS = ("computation-noise", "gradient-noise", "parameter-noise", "dropout", "dropout-all")
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
        constnet("computation-noise", Breaker("hardware")),
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
            training=training(scale, epochs, data),
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
    panels = [Panel(f"{side}_{suffix}", LABELS[f"{side}_{suffix}"]) for suffix in FORMS for side in SIDES]
    return {"correlations": over_epochs(shown, panels, f"Weight correlations of layer {SHOWN} of ConstNet")}


SIDES = ("forward", "backward")
SHOWN = 11
"""A layer of the last stage, whose symmetry breaks first."""


def draw_fig4(results: xr.Dataset) -> Mapping[str, Figure]:
    """Every layer's correlations from the 0 start, coloured by width."""
    shown = results.sel(network=BOTH[0])
    return {
        "groups": plots.correlation_groups(shown, groups(), "correlation", FORMS["correlation"]),
        "groups-centred": plots.correlation_groups(shown, groups(), "centred", FORMS["centred"]),
    }


def draw_fig7(results: xr.Dataset) -> Mapping[str, Figure]:
    """All layers, both starts; uncentred as the text defines them, and centred as the authors measured."""
    shown = results.sel(network=[n for n in BOTH if n in results.network])
    return {
        f"{side}{_ending(suffix)}": plots.correlations_by_layer(
            shown, f"{side}_{suffix}", f"{side.capitalize()} correlations ({form})"
        )
        for suffix, form in FORMS.items()
        for side in SIDES
    }


# --- effects ------------------------------------------------------------------------------------------------


def _features(results: xr.Dataset) -> Effect:
    unique = at_end(results, "unique_features", "deterministic")
    return exactly(float(unique.max()), "distinct filters, largest over layers and runs")


REFERENCES = ("constnet-he", "wide-resnet")
"""Networks without symmetry: if neither trains, there was no time to."""


def _behind(first: str, second: str) -> Measure:
    return when_trained(lambda results: better(results, first, second), *REFERENCES)


def _trains(network: str) -> Measure:
    return when_trained(lambda results: better(results, network, "deterministic"), *REFERENCES)


def _library(results: xr.Dataset) -> Effect:
    effect = better(results, "library", "deterministic")
    unique = int(at_end(results, "unique_features", "library").max())
    if unique == 1:
        raise NotMeasured("the kernels of this device treat all channels alike: there is no noise to break a symmetry")
    return replace(effect, note=f"{effect.note}; up to {unique} distinct filters in a layer")


TABLE = (
    claim(
        "table1",
        "deterministic-fails",
        "table 1",
        "Without any breaker training from identical features fails: test accuracy 5 points below the He start or more "
        "(deterministic minus He).",
        _behind("deterministic", "constnet-he"),
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
        when_trained(_library, *REFERENCES),
        POSITIVE,
        POINTS,
    ),
    claim(
        "table1",
        "noise-reaches-he",
        "table 1",
        f"Noise of the computation alone brings it within {LITTLE:g} points of the He start (with it minus He).",
        _behind("computation-noise", "constnet-he"),
        Region(low=-LITTLE),
        POINTS,
    ),
    claim(
        "table1",
        "dropout-leaves-a-gap",
        "appendix I",
        "Dropout on skipped layers alone leaves a gap to the He start (dropout minus He).",
        _behind("dropout", "constnet-he"),
        NEGATIVE,
        POINTS,
    ),
    claim(
        "table1",
        "dropout-everywhere-closes-it",
        "appendix I",
        "Dropout on all layers closes it (on all layers minus on skipped ones).",
        _behind("dropout-all", "dropout"),
        POSITIVE,
        POINTS,
    ),
    claim(
        "table1",
        "wide-resnet",
        "table 1",
        f"ConstNet from the He start does as well as a Wide-ResNet, to within {LITTLE:g} points (ConstNet minus it).",
        _behind("constnet-he", "wide-resnet"),
        Region(low=-LITTLE),
        POINTS,
    ),
)


def _correlation_claims(item: str, source: str, side: str) -> tuple[Claim, ...]:
    return tuple(c for suffix in FORMS for c in _claims_of_one_form(item, source, side, suffix))


def _claims_of_one_form(item: str, source: str, side: str, suffix: str) -> tuple[Claim, Claim]:
    variable, form, ending = f"{side}_{suffix}", FORMS[suffix], _ending(suffix)
    return (
        claim(
            item,
            f"{side}-falls{ending}",
            source,
            f"From identical features the {side} correlation falls while training ({form}; mean over layers, end minus "
            "start).",
            when_trained(falls(variable), *BOTH),
            NEGATIVE,
        ),
        claim(
            item,
            f"{side}-converges{ending}",
            source,
            f"The {side} correlations converge to similar values from both starts ({form}; mean distance between the "
            "starts, the last epoch's over the first one's; below a quarter).",
            when_trained(converge(variable), *BOTH),
            Region(high=0.25),
        ),
    )


def _ending(suffix: str) -> str:
    return "-centred" if suffix == "centred" else ""


FIG3 = _correlation_claims("fig3", "§4.1, figure 3", "forward")
FIG7 = (*_correlation_claims("fig7", "figure 7", "forward"), *_correlation_claims("fig7", "figure 7", "backward"))
FIG4 = tuple(
    claim(
        "fig4",
        f"{side}-groups{_ending(suffix)}",
        "§4.2, figure 4",
        f"Layers of equal width move as groups: {side} correlations ({form}) make larger steps from stage to stage "
        "than inside the stages (step at a border over the sum of both; above two thirds, a smooth trend has half).",
        grouped(f"{side}_{suffix}"),
        STEPS,
    )
    for side in SIDES
    for suffix, form in FORMS.items()
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
