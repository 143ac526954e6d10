"""Table 1: ConstNet from identical features, and what may break their symmetry.

ConstNet, a residual network whose features all start identical (``fig3``), is trained with one thing at a time that
may break their symmetry, a "breaker": noise of the computation (sums in random order), noise of gradients or of the
weights at the start, dropout of 1 %; with none (``deterministic``: sums that depend on no order); from He's random
start; and a Wide-ResNet beside it. ``library`` has the kernels that PyTorch takes on this device. A network trains
better than another if its test accuracy after the last epoch is higher. A run is a seed.
"""

from __future__ import annotations

import xarray as xr

from nonsingular.experiments.claims import Effect, exactly
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import all_of, given, trained
from nonsingular.experiments.quantities import epochs_until
from nonsingular.experiments.verbs import Measure, Needs, claim, larger
from nonsingular.papers.blumenfeld2020.parts.constnet import BREAKERS, PARAMETER_NOISE, SIZES, study
from nonsingular.papers.blumenfeld2020.parts.protocol import ACCURACY, DIFFERS, LEFT_CHANCE, STUCK, drawn

TITLE = "ConstNet and what may break its symmetry"
EQUAL_WITHIN = 2.0
"""Percentage points within which two accuracies count as equal."""


def features(network: str) -> Measure:
    """The largest number of distinct filters in a layer at the end, over layers and runs."""

    def effect(results: xr.Dataset) -> Effect:
        return exactly(float(per_run(results, "unique_features", network).isel(epoch=-1).max()))

    return Measure(effect, f"largest number of distinct filters in a layer: {network}", "filters", (network,))


def symmetric(*networks: str) -> Needs:
    """That the arithmetic of networks broke no symmetry, as it is meant to."""
    return all_of(*(given(features(name) < 1.5, f"the sums of {name} are not exact") for name in networks))


NOISY = given(features("library") > 1.5, "the kernels of this device treat all channels alike: they have no noise")
HE_TRAINED = trained(HALFWAY, "constnet-he")
EITHER = trained(HALFWAY, "constnet-he", "wide-resnet")
BESIDE_NONE = all_of(EITHER, symmetric("deterministic"))

FIGURE = Figure(
    "blumenfeld2020/table1",
    TITLE,
    source="blumenfeld2020 table 1, §4",
    sizes=SIZES,
    study=study,
    draw=drawn(TITLE),
    needs=HE_TRAINED,
    claims={
        "deterministic-fails": claim(
            "Without any breaker training ConstNet from identical features fails: more than 5 points below the He "
            "start",
            larger(ACCURACY, "deterministic", "constnet-he") < -5.0,
            needs=all_of(HE_TRAINED, symmetric("deterministic")),
        ),
        "deterministic-stays-symmetric": claim(
            "Without any breaker ConstNet's features stay identical to the bit while it trains as far as it can",
            features("deterministic") < 1.5,
            needs=trained(LEFT_CHANCE, "deterministic"),
        ),
        **{
            f"{name}-trains": claim(
                f"With {name.replace('-', ' ')} ConstNet trains better than without a breaker",
                larger(ACCURACY, name, "deterministic") > 0,
                needs=BESIDE_NONE,
            )
            for name in BREAKERS
        },
        "library-trains": claim(
            "Nothing but the library's own kernels on this device trains ConstNet better than order-free sums",
            larger(ACCURACY, "library", "deterministic") > 0,
            needs=all_of(BESIDE_NONE, NOISY),
        ),
        **{
            f"{name}-reaches-he": claim(
                f"With {cause} alone ConstNet comes within {EQUAL_WITHIN:g} points of the He start, or beyond",
                larger(ACCURACY, network, "constnet-he") > -EQUAL_WITHIN,
            )
            for name, network, cause in (
                ("noise", "computation-noise", "noise of the computation"),
                ("parameter-noise", "parameter-noise", "noise of the weights at the start"),
                ("gradient-noise", "gradient-noise", "noise of the gradients"),
            )
        },
        "starts-behind": claim(
            f"From identical features training is a few epochs behind ({STUCK:g} % are more than they reach together)",
            larger(epochs_until(STUCK), "computation-noise", "constnet-he") > 0,
            source="blumenfeld2020 §4",
        ),
        "dropout-leaves-a-gap": claim(
            "Dropout on skipped layers alone leaves a gap to the He start",
            larger(ACCURACY, "dropout", "constnet-he") < 0,
            source="blumenfeld2020 appendix I",
        ),
        "dropout-everywhere-closes-it": claim(
            "Dropout on all layers does better than dropout on skipped ones",
            larger(ACCURACY, "dropout-all", "dropout") > 0,
            source="blumenfeld2020 appendix I",
        ),
        "wide-resnet": claim(
            f"ConstNet from the He start does as well as a Wide-ResNet, to within {EQUAL_WITHIN:g} points or better",
            larger(ACCURACY, "constnet-he", "wide-resnet") > -EQUAL_WITHIN,
            needs=trained(HALFWAY, "wide-resnet"),
        ),
    },
    differs=(
        *DIFFERS,
        "Overnight the deterministic network takes the library's own kernels, so that there is no other with them and "
        "library-trains is not judged.",
        "The text names no size of the noise: every gradient is multiplied by 1 plus a normal number times the machine "
        f"epsilon, and weights start with normal numbers of {PARAMETER_NOISE:g} over the root of their fan-in.",
    ),
)
