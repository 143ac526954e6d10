r"""The backward identity of a residual block, verified layer by layer.

For a block :math:`h = F(x) + x` the chain rule reads
:math:`\partial L/\partial x = \partial L/\partial h\,(\partial F/\partial x + I)`: the gradient of what is above
reaches what is below whole, and what comes through F is added. Without the skip only
:math:`\partial L/\partial h\,\partial F/\partial x` is left.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.experiments.effects import ROUNDING, selected
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import Quantity
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import Measure, average, claim, largest_value, question
from nonsingular.networks import plainnet, resnet
from nonsingular.papers.li2018.parts.block_gradients import run
from nonsingular.papers.li2018.parts.protocol import images
from nonsingular.plots.depth import backward_identity
from nonsingular.training import Member


def study(size: Size) -> Spec:
    """A ResNet in the order of pre-activation, so that a block is h = F(x) + x; and without skips."""
    return size.spec(
        data=images(size),
        networks=(
            Member("resnet", resnet(size.layers, width=size.width, order="pre")),
            Member("plainnet", plainnet(size.layers, width=size.width, order="pre")),
        ),
        settings={"samples": 64},
    )


def gap(network: str) -> Measure:
    """The largest relative distance of the two sides of the identity over blocks and networks."""
    return largest_value(
        "gap",
        "largest distance of the right side from autograd's gradient / that gradient's norm, over blocks",
        network=network,
    )


def _change(results: xr.Dataset, network: str) -> xr.DataArray:
    log = xr.apply_ufunc(np.log10, selected(results, "whole", network=network))
    return abs(log.isel(block=0) - log.isel(block=-1))


CHANGE = Quantity(
    _change,
    "|log10 of the gradient's norm at the first block over that at the last|",
    "log10",
    (0, np.inf),
    before=True,
)

FIGURE = Figure(
    "li2018/gradient",
    "The backward identity of a residual block, layer by layer",
    source='li2018 slides, residual connections "stabilize" gradients',
    sizes=Scales(runs=(2, 5, 10), layers=(20, 56, 110), width=(4, 8, 16)),
    study=study,
    run=run,
    draw={"gradient": backward_identity},
    claims={
        "identity": claim("dL/dx = dL/dh (dF/dx + I) at every block", gap("resnet") < ROUNDING),
        "without": claim("Without the skip only dL/dh dF/dx is left of dL/dx", gap("plainnet") < ROUNDING),
        "kept": question(
            "Gradients at the first block of the ResNet are within a factor of ten of the last one's",
            average(CHANGE, "resnet") < 1,
        ),
        "not-kept": question(
            "Gradients at the first block of the PlainNet are not within a factor of ten of the last one's",
            average(CHANGE, "plainnet") > 1,
        ),
    },
    differs=(
        'The slides give the identity, and say that the gradient is "carried to the next module untouched"; by how '
        "much it changes from the last block to the first is ours to measure, and the factor of ten is ours.",
    ),
    labels={
        "whole": "norm of the loss's gradient with respect to a block's input (nats)",
        "through_skip": "norm of its part through the skip (nats)",
        "through_block": "norm of its part through the block (nats)",
        "gap": "distance of both parts' sum from the whole / its norm",
        "block": "block, from the inputs on",
    },
)
