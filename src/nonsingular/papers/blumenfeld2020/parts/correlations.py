"""Weight correlations from two starts, and how layers move: measures of figures 3, 4 and 7."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from nonsingular.experiments.claims import Effect, NotMeasured, difference, mean
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.quantities import END, START, of
from nonsingular.experiments.verbs import Declared, Measure, average, claim
from nonsingular.papers.blumenfeld2020.parts.constnet import BOTH, stages
from nonsingular.papers.blumenfeld2020.parts.protocol import FORMS

WORDS = {"correlation": "cosine", "centred": "centred"}
"""Form of a correlation, as claims and axes say it."""
LAYERS = "mean over layers"


def of_both(variable: str, layer: int | None) -> Measure:
    """Distance of a correlation between both starts at the last epoch, over that at the first (mean over layers)."""
    where = LAYERS if layer is None else f"layer {layer}"

    def effect(results: xr.Dataset) -> Effect:
        zero, he = (per_run(results, variable, name) for name in BOTH)
        if layer is not None:
            zero, he = (x.sel(layer=[layer]) for x in (zero, he))
        apart = xr.DataArray(np.abs(zero - he)).mean("layer")
        end, start = apart.isel(epoch=-1), apart.isel(epoch=0)
        refuse_random_walk(he)
        note = f"{float(start.mean()):.2f} apart at the start, {float(end.mean()):.2f} at the end"
        return mean(end / start, note=note, within=(0, np.inf))

    return Measure(
        effect,
        f"distance between both starts, end over start, {where}, where the He start ends more correlated",
        "",
        BOTH,
    )


def refuse_random_walk(he: xr.DataArray) -> None:
    """Weights that wander at random end uncorrelated from every start: they converge, and nothing was found out.

    Raises:
        NotMeasured: the network from random weights ends no more correlated than it began.
    """
    sizes = xr.DataArray(np.abs(he)).mean("layer")
    rise = difference(sizes.isel(epoch=-1), sizes.isel(epoch=0), paired=True)
    if not rise.low > 0:
        raise NotMeasured(
            "the He start ends no more correlated than random weights are (mean size "
            f"{float(sizes.isel(epoch=0).mean()):.2g}, then {float(sizes.isel(epoch=-1).mean()):.2g}): "
            "weights that wander at random would meet there too"
        )


def convergence(side: str, layer: int | None = None) -> dict[str, Declared]:
    """That a correlation falls from identical features, and ends where it ends from the He start; in both forms."""
    claims = {}
    for form, ending in FORMS.items():
        variable = f"{side}_{form}"
        claims[f"{side}-falls{ending}"] = claim(
            f"From identical features the {side} correlation falls while training ({WORDS[form]})",
            average(of(variable, epoch=END, layer=layer) - of(variable, epoch=START, layer=layer), BOTH[0]) < 0,
        )
        claims[f"{side}-converges{ending}"] = claim(
            f"The {side} correlations converge to similar values from both starts ({WORDS[form]})",
            of_both(variable, layer) < 0.25,
        )
    return claims


APART = 1e-6
"""Standard deviation over layers below which correlations differ by rounding alone."""


def grouped(variable: str, groups: Mapping[str, tuple[int, ...]] | None = None) -> Measure:
    """Steps of a correlation at the stages' borders, over those at the borders and inside (1: layers move as groups).

    At each run's epoch of largest variance over layers, when the symmetry breaks. A step is the distance between the
    means over half a stage before and after: at the two borders, and in the middle of each of the three stages. A trend
    that is smooth over all layers has equal steps, a share of 1/2, and so have layers that differ without order.
    """
    by_stage = groups or stages()

    def effect(results: xr.Dataset) -> Effect:
        layers = [n for stage in by_stage.values() for n in stage]
        values = per_run(results, variable, BOTH[0]).sel(layer=layers)
        spread = values.std("layer").fillna(0)
        when = spread.argmax("epoch")
        if not (spread.max("epoch") > APART).any():
            raise NotMeasured(f"{variable} is the same in all layers: no symmetry was broken")
        chosen = values.isel(epoch=when).where(spread.isel(epoch=when) > APART).transpose("run", "layer").values
        border, inside = steps(chosen, len(layers) // len(by_stage))
        epochs = sorted({int(e) for e in results.epoch.values[when.values]})
        with np.errstate(invalid="ignore"):
            share = border / (border + inside)
        return mean(share, note=f"at epochs {epochs}, where layers differ most", within=(0, 1))

    return Measure(
        effect,
        "mean step at the borders of stages over the sum of that and the mean step inside; a smooth trend has half",
        "",
        BOTH[:1],
    )


def steps(values: Float[np.ndarray, "run layer"], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean step at the borders of stages of ``size`` layers, and mean step in their middles, one number a run each."""
    half = size // 2
    means = np.stack([values[:, i : i + half].mean(1) for i in range(0, values.shape[1], half)], 1)
    found = np.abs(np.diff(means, axis=1))
    return found[:, 1::2].mean(1), found[:, ::2].mean(1)
