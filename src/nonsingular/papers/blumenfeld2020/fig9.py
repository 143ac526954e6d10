"""Figures 9 and 10: the part of features, and of gradients by them, that breaks the symmetry, layer by layer.

The LeakyNets of figure 8, whose layers start as averages over channels ("1") or as the identity ("I"). The
symmetry-breaking part of a layer's features is what differs between its channels, as a share of their norm: 0 where
all are identical. How much of it a layer passes on is its log10 after over before the layer, upwards for features and
downwards for gradients: the mean over the layers of one start in the networks that have both, of 3, 5 and 7 averages.
A run is a seed.
"""

from __future__ import annotations

from functools import partial
from math import log10

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, NotMeasured, mean
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import END, of
from nonsingular.experiments.verbs import Measure, claim, weighted_sum
from nonsingular.papers.blumenfeld2020.parts.leakynet import COUNTS, DIFFERS, HAS_LEFT_CHANCE, SIZES, STARTS, study
from nonsingular.plots import symmetry

MIXED = ("3-averages", "5-averages", "7-averages")
"""Networks that have layers of both kinds."""
NOTHING = 1e-8  # of the part before: stands for a ratio of zero, whose logarithm no mean could take
ROUNDED = 1e-6
"""Mean symmetry-breaking part that float32's rounding alone makes of equal features."""


def passed_on(results: xr.Dataset, variable: str, letter: str) -> xr.DataArray:
    """log10 of the symmetry-breaking part after a layer over that before it, one number a run.

    Both are first averaged: over the epochs after the start, over the layers that began as ``letter``, and over the
    networks that have layers of both kinds. (Logarithms of single ratios would be driven by the smallest of them.)
    Signals pass from below, gradients from above. Where nothing but rounding breaks the symmetry before such layers
    there is no ratio.

    Raises:
        NotMeasured: the results lack a network, or the variable after training.
    """
    parts = []
    for name in MIXED:
        found = per_run(results, variable, name).isel(epoch=slice(1, None)).transpose("run", "epoch", "layer")
        if not found.notnull().any():
            raise NotMeasured(f"{variable} of {name} after training")
        below, above = found.values[..., :-1], found.values[..., 1:]
        before, after = (above, below) if variable == "gradient_breaking" else (below, above)
        layers = [i for i, start in enumerate(STARTS[name][1:]) if start == letter]
        pairs = np.stack([before[..., layers], after[..., layers]])
        parts.append(np.where(np.isfinite(pairs).all(0), pairs, 0.0))
    before, after = np.concatenate(parts, 3).reshape(2, results.sizes["run"], -1).mean(2)
    ratio = np.full(before.shape, np.nan)
    np.divide(after, before, out=ratio, where=before > ROUNDED)
    return xr.DataArray(np.log10(np.maximum(ratio, NOTHING)), dims="run")


def kept(variable: str, letter: str, less: str = "") -> Measure:
    """What layers of one start keep of the symmetry-breaking part, or that less what layers of another keep."""

    def effect(results: xr.Dataset) -> Effect:
        found = passed_on(results, variable, letter)
        return mean(found - passed_on(results, variable, less) if less else found)

    words = (
        f'log10 of the part\'s mean after over its mean before "{letter}" layers (more than rounding), over '
        f"{', '.join(MIXED)} and the epochs after the start"
    )
    return Measure(effect, words + (f', less that of "{less}" layers' if less else ""), "log10", MIXED)


def figure(item: str, what: str, variable: str, title: str) -> Figure:
    """Figure 9 or 10."""
    grown = of(variable, epoch=END) - of(variable, epoch=1)
    words = f"{grown.words}: mean over {', '.join(COUNTS)}"
    everywhere = weighted_sum(grown, {name: 1 / len(COUNTS) for name in COUNTS}).called(words)
    return Figure(
        f"blumenfeld2020/{item}",
        title,
        source=f"blumenfeld2020 appendix G, figure {item.removeprefix('fig')}",
        sizes=SIZES,
        study=study,
        draw={what: partial(symmetry.breaking, variable=variable, starts=STARTS, what=what)},
        needs=HAS_LEFT_CHANCE,
        claims={
            "averages-attenuate": claim(
                f"The symmetry-breaking part of {what} falls sharply through a layer that began as an average",
                kept(variable, "1") < log10(1 / 2),
            ),
            "identities-pass-it-on": claim(
                f"The symmetry-breaking part of {what} is relatively unaffected by a layer that began as the identity",
                kept(variable, "I").between(log10(1 / 2), log10(2)),
            ),
            "averages-attenuate-more": claim(
                f"The symmetry-breaking part of {what} falls more through averages than through identities",
                kept(variable, "1", "I") < 0,
            ),
            "grows-in-training": claim(
                f"The symmetry-breaking part of {what} grows in training, on average over the starts",
                everywhere > 0,
                source="blumenfeld2020 appendix G",
            ),
        },
        differs=DIFFERS,
    )


FIG9 = figure("fig9", "features", "feature_breaking", "Symmetry-breaking perturbation of features by layer")
FIG10 = figure("fig10", "gradients", "gradient_breaking", "Symmetry-breaking perturbation of gradients by layer")
