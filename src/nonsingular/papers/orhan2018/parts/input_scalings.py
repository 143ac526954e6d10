"""Networks that are trained at several input scalings: their names, how signals grow in them, and their picture."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.drawings import Picture
from nonsingular.experiments.quantities import SPEED, START, Quantity, of
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import LAST, Spec
from nonsingular.plots.scans import Scan, over_numbers

NETWORKS = ("plain", "residual", "hyper-residual", "orthogonal")
SKIPS = NETWORKS[1:]
SCALINGS = ("unit*0.01", "unit*0.1", "unit", "unit*10", "standardised", "raw")
PROPORTIONAL = SCALINGS[:5]
"""The same inputs but for a factor (on CIFAR ``standardised`` is ``unit`` times 55)."""


def at(network: str, scaling: str) -> str:
    """The name of a network that is trained on inputs of a scaling."""
    return f"{network}@{scaling}"


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


GROWTH_PER_LAYER = Quantity(growth, "factor of the squared activation norm a layer, at the start", before=True)
CHANGE_OF_GROWTH = Quantity(
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


def everywhere(*networks: str) -> tuple[str, ...]:
    """Names of these networks at all scalings."""
    return tuple(at(n, s) for s in SCALINGS for n in networks)
