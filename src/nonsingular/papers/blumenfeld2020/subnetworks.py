"""Appendix F: how many different sub-networks a network has under each symmetry of its features.

Nothing is trained; sub-networks are counted. A network of L layers of N units has 2^(NL) masks that keep or drop
units; masks that a symmetry of identical features turns into each other are one sub-network. ``one-to-one``: features
connected to one of the next layer each; ``all-to-all``: to all. Formulas are held against enumeration at small sizes.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly
from nonsingular.experiments.effects import require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, claim, largest_value, measured
from nonsingular.plots import symmetry
from nonsingular.theory import subnetworks


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Logarithms of the counts; and the largest distance between formulas and enumeration."""
    widths, layers = spec.settings["widths"], spec.settings["layers"]
    counts = [[math.log2(subnetworks.count(s, n, layers)) for n in widths] for s in subnetworks.SYMMETRIES]
    most = spec.settings["enumerated"]
    sizes = [(n, l) for n in range(1, most + 1) for l in range(1, most + 1) if n * l <= most]  # noqa: E741
    gaps = [
        abs(subnetworks.count(kind, *size) - subnetworks.enumerate_masks(kind, *size))
        for kind, size in workspace.each("masks", product(subnetworks.SYMMETRIES, sizes), "sizes")
    ]
    return xr.Dataset(
        {
            "bits": (("symmetry", "width"), counts),
            "approximate_bits": ("width", [subnetworks.approximate(n, layers) for n in widths]),
            "gap": (("symmetry", "size"), np.reshape(gaps, (-1, len(sizes)))),
        },
        coords={"symmetry": list(subnetworks.SYMMETRIES), "width": widths, "size": [f"{n}x{d}" for n, d in sizes]},
        attrs={"layers": layers},
    )


def ratio(first: str, second: str) -> Measure:
    """The largest log2 ratio of two symmetries' counts."""

    def effect(results: xr.Dataset) -> Effect:
        require(results, "bits")
        bits = results.bits.sel(width=results.width[results.width > 1])
        return exactly(float((bits.sel(symmetry=first) - bits.sel(symmetry=second)).max()))

    return Measure(effect, f"largest log2 of the count of {first} over that of {second}, over widths above 1", "bits")


@measured("relative error of the logarithm, worst over widths", "%")
def approximation(results: xr.Dataset) -> Effect:
    """The largest relative error of the logarithm, in percent."""
    require(results, "approximate_bits", "bits")
    exact = results.bits.sel(symmetry="one-to-one")
    short = (exact - results.approximate_bits) / exact
    width = int(results.width.values[np.argmax(short.values)])
    note = f"2^(NL) / N!, its largest shortfall at width {width}; good only where 2^L is far above N^2"
    return exactly(float(100 * short.max()), note)


FIGURE = Figure(
    "blumenfeld2020/subnetworks",
    "Distinct sub-networks under each symmetry",
    source="blumenfeld2020 appendix F",
    sizes=Scales(
        runs=1,
        widths=([2**k for k in range(5)], [2**k for k in range(8)], [2**k for k in range(10)]),
        layers=(4, 13, 13),
        enumerated=(8, 12, 16),
    ),
    run=run,
    draw={"subnetworks": symmetry.subnetworks},
    claims={
        "formulas": claim(
            "2^(NL) sub-networks without symmetry, (N+1)^L under all-to-all and multisets of 2^L masks under "
            "one-to-one connections",
            largest_value("gap", "largest distance from enumerating every mask", "sub-networks") < 0.5,
        ),
        "symmetry-leaves-fewer": claim(
            "One-to-one symmetry leaves fewer sub-networks than none", ratio("one-to-one", "none") < 0
        ),
        "all-to-all-leaves-fewest": claim(
            "All-to-all symmetry leaves fewer sub-networks than one-to-one", ratio("all-to-all", "one-to-one") < 0
        ),
        "approximation": claim("The one-to-one count is roughly 2^(NL) / N!", approximation < 5),
    },
    differs=(
        "The text's formula for the one-to-one count is lost: the exact count by multisets and its approximation "
        "2^(NL) / N! are derived here.",
    ),
    labels={
        "bits": "logarithm of the number of distinct sub-networks (bits)",
        "approximate_bits": "its approximation (bits)",
        "gap": "distance of formula and enumeration",
    },
)
