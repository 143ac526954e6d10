"""Figure 7: skip matrices of fewer and fewer orthonormal vectors, and how often units are silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Region, mean
from nonsingular.experiments.effects import HALF, gradient_decay, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import NetworkSpec, named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import faster, larger, slope
from nonsingular.papers.orhan2018.differs import EVALUATED_ON, UNDAMPED, both_data_sets
from nonsingular.plots.curves import Panel, over_epochs, over_layers
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 128
VECTORS = {
    "orthogonal": 128,
    "64-vectors": 64,
    "32-vectors": 32,
    "16-vectors": 16,
    "8-vectors": 8,
    "4-vectors": 4,
    "2-vectors": 2,
    "1-vector": 1,
}
"""Network -> orthonormal skip vectors, each copied to as many units as it takes (128 of them: dense orthogonal)."""

SIZES = {"smoke": (10, 2, 2), "laptop": (30, 4, 8), "overnight": (30, 10, 20), "paper": (30, 10, 100)}
"""Scale -> layers, runs (10 in the paper) and epochs."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of 128 units; 30 layers on CIFAR-100 and CIFAR-10 in the paper."""
    images = protocol.images(data, scale)
    depth, runs, epochs = at_scale(SIZES, scale)
    copies = (Member(name, NetworkSpec(depth, WIDTH, f"copies:{count}")) for name, count in VECTORS.items())
    return Spec(
        "orhan2018/fig7",
        scale,
        runs=runs,
        data=images,
        networks=(Member("residual", named("residual", depth=depth, width=WIDTH)), *copies),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None}
        | dict.fromkeys(("silent_rectifier", "zero_response"))
        | dict.fromkeys(("gradient_norm", "below_epsilon"), (0,)),
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Panels a and b; the training speed against the number of vectors; the gradients at the start."""
    title = "Skip matrices of copied orthonormal vectors"
    dense = results.sel(network=[n for n in ("residual", "orthogonal") if n in results.network])
    figures = {
        "accuracy": over_epochs(results, [Panel("train_accuracy", LABELS["train_accuracy"], percent=True)], title),
        "gradients": over_layers(results, Panel("gradient_norm", LABELS["gradient_norm"], log=True), [0], title),
    }
    if dense.sizes["network"]:
        silent = [Panel(name, LABELS[name], percent=True) for name in ("silent_rectifier", "zero_response")]
        figures["zero-responses"] = over_epochs(dense, silent, "Identity and dense orthogonal skips")
    counts = {name: count for name, count in VECTORS.items() if name in results.network}
    if counts:
        figures["vectors"] = over_numbers(
            [Scan(_speeds(results, counts), "mean training accuracy (%)", levels=_identity(results))],
            "vectors",
            "orthonormal skip vectors (of 128 units)",
            title,
            base=2,
            attributes=results.attrs,
        )
    return figures


def _speeds(results: xr.Dataset, counts: Mapping[str, int]) -> xr.DataArray:
    """The speeds of the series, as one curve."""
    series = xr.concat([speed(results, name).drop_vars("network") for name in counts], "vectors")
    return series.assign_coords(vectors=list(counts.values())).expand_dims(network=["copied vectors"])


def _identity(results: xr.Dataset) -> dict[str, xr.DataArray]:
    return {"residual": speed(results, "residual")} if "residual" in results.network else {}


NO_WORSE = 1.0  # percentage points
SLIGHTLY = 5.0
"""Percentage points up to which better is slightly better: a twentieth of the figure's axis, where two such curves can
be told apart but lie close. The paper gives no number."""
DOUBLINGS = {name: float(np.log2(count)) for name, count in VECTORS.items()}


def _claim(
    name: str, statement: str, effect: object, region: Region = POSITIVE, unit: str = "percentage points"
) -> Claim:
    return Claim(f"orhan2018/fig7/{name}", "orhan2018 §2.7, figure 7", statement, effect, region, unit)  # type: ignore[arg-type]


def _halving(more: str, fewer: str) -> Claim:
    return _claim(
        f"{VECTORS[more]}-above-{VECTORS[fewer]}",
        f"{VECTORS[more]} orthonormal skip vectors train better than {VECTORS[fewer]} "
        "(mean training accuracy over the epochs).",
        lambda r: faster(r, more, fewer),
    )


CLAIMS = (
    _claim(
        "fewer-vectors-slower",
        "Training accuracy falls with fewer orthonormal skip vectors "
        "(mean over the epochs: slope over all eight counts).",
        lambda r: slope(r, DOUBLINGS),
        unit="percentage points a doubling",
    ),
    *(_halving(more, fewer) for more, fewer in zip(list(VECTORS)[:-1], list(VECTORS)[1:], strict=True)),
    _claim(
        "orthogonal-better",
        "Dense orthogonal skips work better than identity skips "
        "(mean training accuracy over the epochs: orthogonal minus identity).",
        lambda r: faster(r, "orthogonal", "residual"),
    ),
    _claim(
        "orthogonal-slightly-better",
        f"Dense orthogonal skips work slightly better than identity skips, by less than {SLIGHTLY:g} points "
        "(mean training accuracy over the epochs: orthogonal minus identity).",
        lambda r: faster(r, "orthogonal", "residual"),
        Region(0.0, SLIGHTLY),
    ),
    _claim(
        "orthogonal-no-worse",
        f"Dense orthogonal skips work at least as well as identity skips, to within {NO_WORSE:g} point "
        "(mean training accuracy over the epochs: orthogonal minus identity).",
        lambda r: faster(r, "orthogonal", "residual"),
        Region(low=-NO_WORSE),
    ),
    _claim(
        "zero-responses",
        "With dense orthogonal skips units are deactivated less often than with identity skips "
        "(probability that f(W x + b) is zero, mean over layers and epochs: orthogonal minus identity).",
        lambda r: larger(r, "silent_rectifier", "orthogonal", "residual", 100.0),
        NEGATIVE,
    ),
    _claim(
        "one-vector-vanishes",
        "The least orthogonal matrix suffers from vanishing gradients too "
        "(log10 of gradient norm, first over last hidden layer, at the start; less than half).",
        lambda r: mean(gradient_decay(r, "1-vector")),
        Region(high=HALF),
        "log10",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/fig7",
        "Skip matrices of fewer and fewer orthonormal vectors",
        specs,
        run_study,
        draw,
        CLAIMS,
        differs=(
            "The paper does not say whether layers share a skip matrix: here every layer draws its own.",
            "The claim about zero responses is judged by the rectified part f(W x + b), before the skip is added. The "
            "paper's axis, 3 to 7 %, suggests that it counts the sum with the skip instead. That cannot be zero but in "
            "the first layer where skips are dense, as a sum of many numbers, so nothing could contradict the claim; "
            "it is drawn (zero_response) and not judged.",
            f"What the paper calls slightly better is put at less than {SLIGHTLY:g} percentage points.",
            both_data_sets("orhan2018/fig7"),
            UNDAMPED,
            EVALUATED_ON,
        ),
    ),
)
