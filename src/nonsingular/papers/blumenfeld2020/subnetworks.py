"""Appendix F: how many different sub-networks a network has under each symmetry of its features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import NEGATIVE, Effect, Region, exactly
from nonsingular.experiments.effects import require
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.papers.blumenfeld2020.protocol import Measure, claim
from nonsingular.plots import symmetry as plots
from nonsingular.theory import subnetworks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCALES = {
    "smoke": {"widths": [1, 2, 4, 8, 16], "layers": 4, "enumerated": 8},
    "laptop": {"widths": [1, 2, 4, 8, 16, 32, 64, 128], "layers": 13, "enumerated": 12},
    "paper": {"widths": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], "layers": 13, "enumerated": 16},
}


def specs(scale: str) -> Spec:
    """Widths at one depth, and small sizes whose masks are all enumerated."""
    return Spec("blumenfeld2020/subnetworks", scale, settings=at_scale(_SCALES, scale))


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Logarithms of the counts; and the largest distance between formulas and enumeration."""
    widths, layers = spec.settings["widths"], spec.settings["layers"]
    counts = [[math.log2(subnetworks.count(s, n, layers)) for n in widths] for s in subnetworks.SYMMETRIES]
    most = spec.settings["enumerated"]
    sizes = [(n, l) for n in range(1, most + 1) for l in range(1, most + 1) if n * l <= most]  # noqa: E741
    workspace.progress.start("masks", len(sizes) * len(subnetworks.SYMMETRIES), "sizes")
    gaps = np.empty((len(subnetworks.SYMMETRIES), len(sizes)))
    for i, symmetry in enumerate(subnetworks.SYMMETRIES):
        for j, size in enumerate(sizes):
            gaps[i, j] = abs(subnetworks.count(symmetry, *size) - subnetworks.enumerate_masks(symmetry, *size))
            workspace.progress.advance()
    return xr.Dataset(
        {
            "bits": (("symmetry", "width"), counts),
            "approximate_bits": ("width", [subnetworks.approximate(n, layers) for n in widths]),
            "gap": (("symmetry", "size"), gaps),
        },
        coords={"symmetry": list(subnetworks.SYMMETRIES), "width": widths, "size": [f"{n}x{d}" for n, d in sizes]},
        attrs={"layers": layers},
    )


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Counts against the width."""
    return {"subnetworks": plots.subnetworks(results)}


def _largest_gap(results: xr.Dataset) -> Effect:
    require(results, "gap")
    return exactly(float(results.gap.max()), f"{results.sizes['size']} sizes, every mask enumerated")


def _lost(symmetry: str, than: str) -> Measure:
    def effect(results: xr.Dataset) -> Effect:
        require(results, "bits")
        widths = results.width[results.width > 1]
        bits = results.bits.sel(width=widths)
        return exactly(float((bits.sel(symmetry=symmetry) - bits.sel(symmetry=than)).max()))

    return effect


def _approximation(results: xr.Dataset) -> Effect:
    require(results, "approximate_bits", "bits")
    short = (results.bits.sel(symmetry="one-to-one") - results.approximate_bits) / results.bits.sel(
        symmetry="one-to-one"
    )
    width = int(results.width.values[np.argmax(short.values)])
    note = f"2^(NL) / N!, its largest shortfall at width {width}; good only where 2^L is far above N^2"
    return exactly(float(100 * short.max()), note)


CLAIMS = (
    claim(
        "subnetworks",
        "formulas",
        "appendix F",
        "2^(NL) sub-networks without symmetry, (N+1)^L under all-to-all and multisets of 2^L masks under one-to-one "
        "connections (largest distance from enumerating every mask).",
        _largest_gap,
        Region(high=0.5),
        "sub-networks",
    ),
    claim(
        "subnetworks",
        "symmetry-leaves-fewer",
        "appendix F",
        "One-to-one symmetry leaves fewer sub-networks than none (largest log2 ratio over widths above 1).",
        _lost("one-to-one", "none"),
        NEGATIVE,
        "bits",
    ),
    claim(
        "subnetworks",
        "all-to-all-leaves-fewest",
        "appendix F",
        "All-to-all symmetry leaves fewer than one-to-one (largest log2 ratio over widths above 1).",
        _lost("all-to-all", "one-to-one"),
        NEGATIVE,
        "bits",
    ),
    claim(
        "subnetworks",
        "approximation",
        "appendix F",
        "The one-to-one count is roughly 2^(NL) / N! (relative error of the logarithm, worst over widths, below 5 %).",
        _approximation,
        Region(high=5.0),
        "%",
    ),
)

EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/subnetworks",
        "Distinct sub-networks under each symmetry",
        specs,
        run,
        draw,
        CLAIMS,
        differs=(
            "The text's formula for the one-to-one count is lost: the exact count by multisets and its approximation "
            "2^(NL) / N! are derived here.",
        ),
        labels={
            "bits": "logarithm of the number of distinct sub-networks (bits)",
            "approximate_bits": "its approximation (bits)",
            "gap": "distance of formula and enumeration",
        },
    ),
)
