"""Appendix D: whether ConstNet's tangent kernel at the start is a linear model's.

Nothing is trained. The tangent kernel K(x, y), the inner product of the output's gradients with respect to all
parameters at two images, is computed for ConstNet (``fig3``) at its start and compared with that of a linear model of
the images' mean brightness: equal kernels mean that training begins as a linear model's. ConstNet without and with
batch normalisation and from He's random start are compared; there is one run.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Effect, exactly
from nonsingular.experiments.effects import FLOAT32_ROUNDING, require, selected
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, claim, measured, question
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.parts.kernels import run
from nonsingular.papers.blumenfeld2020.parts.protocol import few_images
from nonsingular.plots import symmetry
from nonsingular.training import Member


def study(size: Size) -> Spec:
    """ConstNet without and with batch normalisation, and its He start for comparison."""
    width, widening = size.width, size.widening
    return size.spec(
        data=few_images(size),
        networks=(
            Member("constnet", ConstNetSpec(width=width, widening=widening, batch_norm=False)),
            Member("constnet+bn", ConstNetSpec(width=width, widening=widening)),
            Member("constnet-he", ConstNetSpec(width=width, widening=widening, batch_norm=False, start="he")),
        ),
    )


def gap(network: str) -> Measure:
    """How far a network's kernel is from a linear model's."""

    def effect(results: xr.Dataset) -> Effect:
        kernel, linear = (selected(results, name, network=network) for name in ("kernel", "linear"))
        return exactly(float(np.abs(kernel - linear).max() / np.abs(kernel).max()))

    return Measure(
        effect, "largest distance from the kernel of a linear model of the image's mean / the kernel's largest entry"
    )


@measured("rank of the kernel, which is 2 for a line in one number and its offset", "rank")
def rank(results: xr.Dataset) -> Effect:
    """The rank of ConstNet's kernel."""
    require(results, "spectrum")
    ranks = (results.spectrum.sel(model=["constnet", "linear-in-pixels"]) > 1e-12).sum("mode")
    note = (
        f"a linear model of all pixels has rank {int(ranks[1])} on these images: the average over channels and pixels "
        "leaves one number of an image, its mean brightness, so the kernel is that of a line and its offset"
    )
    return exactly(float(ranks[0]), note)


FIGURE = Figure(
    "blumenfeld2020/ntk",
    "ConstNet's tangent kernel at the start, beside a linear model's",
    source="blumenfeld2020 appendix D",
    sizes=Scales(runs=1, samples=(20, 60, 200), pixels=(None, 16, None), width=(8, 8, 16), widening=(1, 1, 10)),
    study=study,
    run=run,
    draw={"kernel": symmetry.kernels, "spectrum": symmetry.kernel_spectra},
    claims={
        "linear": claim(
            "Without batch normalisation ConstNet's tangent kernel at the start is a linear model's",
            gap("constnet") < FLOAT32_ROUNDING,  # a third, the first layer's weight of a channel, is rounded to float32
        ),
        "batch-norm": claim(
            "With batch normalisation off the linear path, too, ConstNet's tangent kernel at the start is a linear "
            "model's",
            gap("constnet+bn") < FLOAT32_ROUNDING,
        ),
        "he-is-not": claim(
            "From He's random start ConstNet's tangent kernel is not a linear model's", gap("constnet-he") > 0.01
        ),
        "pixels": question("The features are as rich as those of a linear classifier of the pixels", rank > 2.5),
    },
    differs=("No rectifier stands between the last layer and the pooling, as the appendix's derivation has it.",),
    labels={"kernel": "tangent kernel", "linear": "kernel of the linear model", "spectrum": "eigenvalue / the largest"},
)
