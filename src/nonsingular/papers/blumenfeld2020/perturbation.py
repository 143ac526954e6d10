"""Appendix G: a perturbation that breaks the symmetry between channels, passed through "I" and "1" layers.

Nothing is trained. One convolution, started as the identity ("I") or as the average over channels ("1"), is given
features that are equal in all channels plus a small random perturbation, at several widths. The norm of the
perturbation, and of its symmetry-breaking part (what differs between channels), is measured after over before the
layer. A run is a sample of features and perturbation.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
import xarray as xr
from torch import nn

from nonsingular.experiments.claims import Effect, exactly, mean
from nonsingular.experiments.effects import ROUNDING, require, selected
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim, measured, question
from nonsingular.measures import responses, symmetry_breaking
from nonsingular.networks.initialisation import average, identity
from nonsingular.plots import symmetry

LAYERS = {"identity": identity, "average": average}


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Norms of an additive perturbation and of its symmetry-breaking part after one layer, over those before it.

    Features are equal in all channels; the perturbation's entries are independent, normal and small. A layer that began
    as an average and has since moved by independent numbers a hundredth of its weights' size is measured too.
    """
    widths, size, spread = (spec.settings[key] for key in ("widths", "size", "spread"))
    kinds = [*LAYERS, "moved average"]
    whole, broken = np.empty((2, len(kinds), len(widths), spec.runs))
    for (j, width), (k, seed) in workspace.each(
        "perturbations", product(enumerate(widths), enumerate(spec.seeds)), "samples"
    ):
        generator = torch.Generator().manual_seed(seed)
        common = torch.randn(1, 1, size, size, generator=generator, dtype=torch.float64)
        noise = spread * torch.randn(1, width, size, size, generator=generator, dtype=torch.float64)
        x = common + noise
        for i, kind in enumerate(kinds):
            conv = nn.Conv2d(width, width, 3, padding=1, bias=False).double()
            LAYERS.get(kind, average)(conv)
            with torch.no_grad():
                if kind == "moved average":
                    moves = torch.randn(width, width, generator=generator, dtype=torch.float64)
                    conv.weight[:, :, 1, 1] += 0.01 / width * moves
                y = conv(x)
                whole[i, j, k] = conv(noise).norm() / noise.norm()
                broken[i, j, k] = symmetry_breaking(responses(y)) / symmetry_breaking(responses(x))
    dims = ("layer_kind", "width", "run")
    return xr.Dataset(
        {"perturbation": (dims, whole), "breaking": (dims, broken)},
        coords={"layer_kind": kinds, "width": widths, "run": spec.seeds},
    )


@measured("largest relative change of the perturbation's norm or of its symmetry-breaking part")
def unchanged(results: xr.Dataset) -> Effect:
    """The largest change through an "I" layer."""
    require(results, "perturbation", "breaking")
    both = results[["perturbation", "breaking"]].sel(layer_kind="identity").to_array()
    return exactly(float(np.abs(both - 1).max()))


@measured("slope of the log of the perturbation's norm against log width")
def exponent(results: xr.Dataset) -> Effect:
    """The slope of log norm against log width, one number a run."""
    values = np.log(selected(results, "perturbation", layer_kind="average").transpose("run", "width").values)
    return mean([np.polyfit(np.log(results.width.values), v, 1)[0] for v in values])


@measured("largest symmetry-breaking part after over before the layer")
def annihilated(results: xr.Dataset) -> Effect:
    """What is left after an exact "1" layer, and in the note what comes back once its weights have moved."""
    require(results, "breaking")
    moved = results.breaking.sel(layer_kind="moved average").mean("run")
    note = (
        "what is left of the perturbation is the same in all channels, so nothing of what breaks the symmetry is; once "
        "weights have moved by 1 %, "
        + ", ".join(f"{float(m):.2g} at width {int(n)}" for n, m in zip(results.width, moved, strict=True))
        + " comes back, made from the common signal"
    )
    return exactly(float(results.breaking.sel(layer_kind="average").max()), note)


FIGURE = Figure(
    "blumenfeld2020/perturbation",
    "Symmetry-breaking part after one layer, by kind of layer and width",
    source="blumenfeld2020 appendix G",
    sizes=Scales(
        runs=(20, 100, 1000),
        widths=([4, 16, 64], [4, 16, 64, 256], [4, 16, 64, 256, 1024]),
        size=(4, 8, 8),
        spread=1e-3,
    ),
    run=run,
    draw={"perturbation": symmetry.perturbation},
    claims={
        "identity": claim('An "I" layer passes a perturbation on unchanged', unchanged < ROUNDING),
        "average-norm": claim(
            'A "1" layer divides the norm of an independent perturbation by the root of the width',
            exponent.between(-0.55, -0.45),
        ),
        "average-leaves-some": question(
            'Some of what breaks the symmetry passes an exact "1" layer', annihilated > ROUNDING
        ),
    },
    differs=("Figures 9 and 10 have the same quantities in trained networks; here the appendix's idealised layer.",),
    labels={
        "perturbation": "norm of a perturbation after the layer / before",
        "breaking": "its symmetry-breaking part after the layer / before",
        "width": "channels",
    },
)
