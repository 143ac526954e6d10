"""What the scale of the inputs decides: the paper's orderings under several scalings, and why they turn round.

With Glorot weights and zero biases a network's activations are proportional to its inputs. A plain layer halves the
squared norm; a residual one multiplies it by 1.5 to 2.3, the more the more its units agree in sign; a dense orthogonal
skip mixes the signs, which leaves 1.5. Over 20 layers this decides whether the first logits are far too large to be
unlearnt soon, or the gradients so small that Adam's epsilon damps its steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.drawings import OverLayers
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import SPEED, START, Quantity, of
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.experiments.verbs import across, average, correlation_along, faster, question
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import protocol
from nonsingular.papers.orhan2018.parts.differences import EVALUATED_ON
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NETWORKS = ("plain", "residual", "hyper-residual", "orthogonal")
SKIPS = NETWORKS[1:]
SCALINGS = ("unit*0.01", "unit*0.1", "unit", "unit*10", "standardised", "raw")
PROPORTIONAL = SCALINGS[:5]
"""The same inputs but for a factor (on CIFAR ``standardised`` is ``unit`` times 55)."""
ORDERS = (
    ("residual", "plain", "Residual networks train faster than plain ones", "orhan2018 §2.3, figure 3a"),
    (
        "hyper-residual",
        "residual",
        "Hyper-residual networks train faster than residual ones",
        "orhan2018 §2.3, figure 3a",
    ),
    ("orthogonal", "residual", "Dense orthogonal skips work better than identity skips", "orhan2018 §2.7, figure 7a"),
)


def at(network: str, scaling: str) -> str:
    """The name of a network that is trained on inputs of a scaling."""
    return f"{network}@{scaling}"


def study(size: Size) -> Spec:
    """Networks of figure 3 and the dense orthogonal one, at every input scaling."""
    members = [Member(at(n, s), named(n, depth=size.depth)) for s in SCALINGS for n in NETWORKS]
    start = ("activation_norm", "gradient_norm", "logit_norm", "weight_gradient", "below_epsilon", "input_norm")
    spec = protocol.study(size, members, {"train_accuracy": None} | dict.fromkeys(start, (START,)))
    return replace(spec, settings={"data": {at(n, s): {"scaling": s} for s in SCALINGS for n in NETWORKS}})


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Train them.

    Raises:
        InputError: another scaling is asked for.
    """
    if spec.data is None or spec.data.scaling != "unit":
        raise InputError(f"{spec.experiment} has scalings of its own: --scaling does not apply")
    return run_study(spec, workspace)


def flat(results: xr.Dataset) -> xr.Dataset:
    """Results with a dimension of scalings, as earlier versions kept them, with one network for each."""
    if "scaling" not in results.dims:
        return results
    if "image_norm" in results:
        results = results.assign(input_norm=results.image_norm * xr.ones_like(results.train_accuracy))
    stacked = results.drop_vars("image_norm", errors="ignore").stack(one=("scaling", "network"))
    names = [at(n, s) for s, n in zip(stacked.scaling.values, stacked.network.values, strict=True)]
    stacked = stacked.drop_vars(["one", "scaling", "network"]).rename(one="network").assign_coords(network=names)
    return stacked.transpose("network", "run", "epoch", ...)


def growth(results: xr.Dataset, network: str) -> xr.DataArray:
    """Factor of the squared activation norm from one layer to the next at the start, by run (geometric mean)."""
    ends = [of("activation_norm", epoch=START, layer=layer, log=True)(results, network) for layer in (1, LAST)]
    return 10.0 ** (2 * (ends[1] - ends[0]) / (results.sizes["layer"] - 1))


GROWTH = Quantity(growth, "factor of the squared activation norm a layer, at the start", before=True)
CHANGE = Quantity(
    lambda results, network: abs(growth(results, network) / growth(results, f"{network.split('@')[0]}@unit") - 1),
    "relative change of the growth against that of inputs of unit norm",
    before=True,
)


def scaling(results: xr.Dataset) -> Picture | None:
    """Speed, first logits and damped gradients against the scaling."""
    there = [s for s in SCALINGS if any(at(n, s) in results.network for n in NETWORKS)]
    kinds = [n for n in NETWORKS if all(at(n, s) in results.network for s in there)]

    if not kinds:
        return None

    def scan(quantity: Quantity) -> xr.DataArray:
        curves = [xr.concat([quantity(results, at(n, s)) for s in there], "scaling") for n in kinds]
        return xr.concat(curves, xr.Variable("network", kinds)).assign_coords(scaling=np.arange(len(there)))

    norms = [float(of("input_norm", epoch=START)(results, at(kinds[0], s)).mean()) for s in there]
    return over_numbers(
        [
            Scan(scan(SPEED), "mean training accuracy (%)"),
            Scan(scan(of("logit_norm", epoch=START)), "norm of the first logits", log=True, marks={"1": 1.0}),
            Scan(scan(of("below_epsilon", epoch=START)), "weight gradients below Adam's epsilon (%)"),
        ],
        "scaling",
        "input scaling, and root mean square norm of an image",
        f"Input scaling, {results.sizes['layer']} layers, {results.attrs.get('data', 'unnamed data')}",
        base=0,
        ticks=[f"{s}\n|x| = {norm:.2g}" for s, norm in zip(there, norms, strict=True)],
    )


def unit(results: xr.Dataset) -> xr.Dataset:
    """Of inputs of unit norm, under the networks' own names."""
    names = [n for n in NETWORKS if at(n, "unit") in results.network]
    return results.sel(network=[at(n, "unit") for n in names]).assign_coords(network=names)


def _everywhere(*networks: str) -> tuple[str, ...]:
    return tuple(at(n, s) for s in SCALINGS for n in networks)


FIGURE = Figure(
    "orhan2018/input-scale",
    "What the scale of the inputs decides: growth, first logits, gradients against epsilon",
    source="how the networks of orhan2018 depend on the scale of their inputs, which it does not mention",
    sizes=Scales(depth=(10, 20, 20, 20), runs=(2, 3, 5, 10), epochs=(2, 6, 12, 100)),
    study=study,
    run=run,
    reads=flat,
    draw={
        "scaling": scaling,
        "growth": OverLayers(
            "activation_norm", title="Growth through {layers} layers (proportional to the inputs)", view=unit
        ),
    },
    needs=protocol.STARTED,
    claims={
        **{
            f"{first}-above-{second}/{s}": question(
                f"With {s} inputs: {statement}", faster(at(first, s), at(second, s)) > 0, source=source
            )
            for first, second, statement, source in ORDERS
            for s in SCALINGS
        },
        "growth-plain": question(
            "A plain layer halves the squared norm", average(GROWTH, at("plain", "unit")).between(0.4, 0.6)
        ),
        "growth-residual": question(
            "An identity skip makes it grow faster than its two parts alone would",
            average(GROWTH, at("residual", "unit")).between(1.5, 2.3),
        ),
        "growth-orthogonal": question(
            "A dense orthogonal skip adds the squared norms of its parts",
            average(GROWTH, at("orthogonal", "unit")).between(1.35, 1.65),
        ),
        "proportional": question(
            "Growth does not depend on the scale: networks with zero biases are proportional",
            across(CHANGE, [at(n, s) for s in PROPORTIONAL for n in NETWORKS], "max") < 0.01,
        ),
        "large-logits-slow": question(
            "Networks with skips train more slowly the larger their first logits",
            correlation_along(SPEED, of("logit_norm", epoch=START), _everywhere(*SKIPS)) < 0,
        ),
        "damped-gradients-slow": question(
            "Plain networks train more slowly the more gradients are below Adam's epsilon",
            correlation_along(SPEED, of("below_epsilon", epoch=START), _everywhere("plain")) < 0,
        ),
    },
    differs=("The paper has no such figure: it does not mention how it scaled its images.", EVALUATED_ON),
    labels={"image_norm": "root mean square norm of an image", "scaling": "scaling of the inputs"},
)
