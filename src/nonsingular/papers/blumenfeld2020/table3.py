"""Table 3: ConstNet in 32 and in 16 bit, with and without noise of the computation, with more and more dropout.

ConstNet (``table1``) is trained from identical features in float32 and in bfloat16, with and without noise of the
computation (sums in random order), with dropout of 0, 1 and 5 %: ``bfloat16 no noise dropout 0.01``. A run is a seed.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import all_of, trained
from nonsingular.experiments.quantities import Quantity, epochs_until
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim, larger, weighted_sum
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.blumenfeld2020.parts.protocol import (
    ACCURACY,
    DIFFERS,
    NOISE,
    STUCK,
    WIDENING,
    WIDTH,
    drawn,
    quiet,
)
from nonsingular.papers.blumenfeld2020.table1 import symmetric
from nonsingular.training import Member

PRECISIONS = ("float32", "bfloat16")
NOISES = ("noise", "no noise")
DROPOUTS = (0.0, 0.01, 0.05)
TITLE = "ConstNet in 32 and 16 bit, with and without noise of the computation"


def label(precision: str, noise: str, dropout: float = 0.0) -> str:
    """A network's name."""
    return f"{precision} {noise} dropout {dropout:g}"


def study(size: Size) -> Spec:
    """Every precision, with and without noise of the computation, at three rates of dropout."""
    breakers = dict(zip(NOISES, (NOISE, quiet(size.scale)), strict=True))
    networks = {
        Member(label(p, n, rate), ConstNetSpec(13, size.width, size.widening, dropout=rate), breaker=breakers[n]): {
            "precision": p
        }
        for p in PRECISIONS
        for n in NOISES
        for rate in DROPOUTS
    }
    return protocol.study(size, networks, precisions=list(PRECISIONS))


def scatter(quantity: Quantity) -> Quantity:
    """How far each run is from the mean of all, so that networks are compared in how much their runs differ."""

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        values = quantity(results, network)
        return np.abs(values - values.mean("run")) * np.sqrt(values.sizes["run"] / max(values.sizes["run"] - 1, 1))

    return Quantity(
        measure,
        f"distance from the mean over runs of the {quantity.words}",
        quantity.unit,
        (0.0, np.inf),
        tells_training=True,
    )


def with_dropout(*precisions: str) -> tuple[str, ...]:
    """Networks that should train: dropout breaks every symmetry. If none does, there was no time to."""
    return tuple(label(p, n, rate) for p in precisions for n in NOISES for rate in DROPOUTS if rate)


def exact(precision: str) -> str:
    """The network without any breaker."""
    return label(precision, "no noise")


ALONE, TOGETHER = label("float32", "noise"), label("float32", "noise", 0.01)
ACCURATE = {p: trained(HALFWAY, *with_dropout(p)) for p in PRECISIONS}

LESS = weighted_sum(ACCURACY, {label("bfloat16", "noise"): 1, exact("bfloat16"): -1, ALONE: -1, exact("float32"): 1})

FIGURE = Figure(
    "blumenfeld2020/table3",
    "ConstNet in 16 bit",
    source="blumenfeld2020 table 3",
    sizes=Scales(runs=(2, 2, 3, 4), epochs=(2, 60, 10, 200), width=WIDTH, widening=WIDENING),
    study=study,
    draw=drawn(TITLE),
    claims={
        **{
            f"{p}-dropout": claim(
                f"Without noise of the computation 1 % dropout is what trains ConstNet, in {p}",
                larger(ACCURACY, label(p, "no noise", 0.01), exact(p)) > 0,
                needs=all_of(ACCURATE[p], symmetric(exact(p))),
            )
            for p in PRECISIONS
        },
        "float32-noise": claim(
            "In float32 noise of the computation alone trains ConstNet",
            larger(ACCURACY, ALONE, exact("float32")) > 0,
            needs=all_of(ACCURATE["float32"], symmetric(exact("float32"))),
        ),
        "sixteen-bit-needs-dropout": claim(
            "In 16 bit noise of the computation alone does not do what dropout does: ConstNet ends more than 5 points "
            "behind",
            larger(ACCURACY, label("bfloat16", "noise"), label("bfloat16", "noise", 0.01)) < -5.0,
            needs=ACCURATE["bfloat16"],
        ),
        "noise-is-worth-less-in-16-bit": claim(
            "Noise of the computation brings less in 16 bit than in 32",
            LESS < 0,
            source="blumenfeld2020 table 3, appendix I",
            needs=all_of(*ACCURATE.values(), symmetric(*map(exact, PRECISIONS))),
        ),
        "stuck-for-a-random-time": claim(
            "With noise of the computation alone it takes a random number of epochs until training sets in, with 1 % "
            "dropout beside it not",
            larger(scatter(epochs_until(STUCK)), ALONE, TOGETHER) > 0,
            source="blumenfeld2020 §4",
            needs=ACCURATE["float32"],
        ),
        "dropout-shortens-it": claim(
            "Dropout beside noise of the computation shortens the time until training sets in",
            larger(epochs_until(STUCK), ALONE, TOGETHER) > 0,
            source="blumenfeld2020 §4",
            needs=ACCURATE["float32"],
        ),
    },
    differs=(
        *DIFFERS,
        "16 bit is bfloat16 mixed precision, the paper's is float16; dropout rates are 0, 1 % and 5 % (the table's "
        "header is lost in the text). Sums are accumulated in float32 and rounded to 16 bit, as hardware does. The "
        "table names no number of runs.",
    ),
)
