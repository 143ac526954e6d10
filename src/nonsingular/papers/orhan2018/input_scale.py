"""What the scale of the inputs decides: the paper's orderings under several scalings, and why they turn round.

With Glorot weights and zero biases a network's activations are proportional to its inputs. A plain layer halves the
squared norm; a residual one multiplies it by 1.5 to 2.3, the more the more its units agree in sign; a dense orthogonal
skip mixes the signs, which leaves 1.5. Over 20 layers this decides whether the first logits are far too large to be
unlearnt soon, or the gradients so small that Adam's epsilon damps its steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.data import prepare
from nonsingular.errors import InputError
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, NotMeasured, Region, mean
from nonsingular.experiments.effects import per_run, speed
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import named
from nonsingular.papers.orhan2018 import protocol
from nonsingular.papers.orhan2018.comparing import CORRELATIONS, faster, require_started
from nonsingular.papers.orhan2018.differs import EVALUATED_ON
from nonsingular.plots.curves import Panel, over_layers
from nonsingular.plots.scans import Scan, over_numbers
from nonsingular.training import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORKS = ("plain", "residual", "hyper-residual", "orthogonal")
SKIPS = NETWORKS[1:]
SCALINGS = ("unit*0.01", "unit*0.1", "unit", "unit*10", "standardised", "raw")
PROPORTIONAL = SCALINGS[:5]
"""The same inputs but for a factor (on CIFAR ``standardised`` is ``unit`` times 55)."""

SIZES = {"smoke": (10, 2, 2), "laptop": (20, 3, 6), "overnight": (20, 5, 12), "paper": (20, 10, 100)}
"""Scale -> layers, runs and epochs."""


def specs(scale: str, data: str | None = None) -> Spec:
    """Networks of figure 3 and the dense orthogonal one, at every input scaling."""
    images = protocol.images(data, scale)
    depth, runs, epochs = at_scale(SIZES, scale)
    return Spec(
        "orhan2018/input-scale",
        scale,
        runs=runs,
        data=images,
        networks=tuple(Member(name, named(name, depth=depth)) for name in NETWORKS),
        training=protocol.training(images, epochs),
        instruments={"train_accuracy": None}
        | dict.fromkeys(("activation_norm", "gradient_norm", "logit_norm", "weight_gradient", "below_epsilon"), (0,)),
        settings={"scalings": list(SCALINGS)},
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """One study a scaling, each resumable in a folder of its own; the spec's own scaling is added to the list.

    Raises:
        InputError: no data in the spec, or as ``run_study``.
    """
    if spec.data is None:
        raise InputError(f"{spec.experiment} needs data")
    scalings: list[str] = list(dict.fromkeys([*spec.settings["scalings"], spec.data.scaling]))
    studies, norms = [], []
    for scaling in scalings:
        part = replace(spec, data=replace(spec.data, scaling=scaling))
        folder = workspace.folder / "scalings" / scaling.replace("*", "-times-")
        studies.append(run_study(part, replace(workspace, folder=folder)))
        inputs = prepare(replace(spec.data, scaling=scaling), workspace.data_dir).train_inputs
        norms.append(float(inputs.double().square().sum(1).mean().sqrt()))
    results = xr.concat(studies, xr.Variable("scaling", scalings), combine_attrs="drop_conflicts")
    return results.assign(image_norm=("scaling", norms))


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Speed, first logits and damped gradients against the scaling; activation norms by layer."""
    start = results.isel(epoch=0)
    accuracy = 100 * results.train_accuracy.isel(epoch=slice(1, None)).mean("epoch")
    damped = 100 * start.below_epsilon.mean("layer")
    scans = [
        Scan(_numbered(accuracy), "mean training accuracy (%)"),
        Scan(_numbered(start.logit_norm), "norm of the first logits", log=True, marks={"1": 1.0}),
        Scan(_numbered(damped), "weight gradients below Adam's epsilon (%)"),
    ]
    ticks = [
        f"{s}\n|x| = {n:.2g}" for s, n in zip(map(str, results.scaling.values), results.image_norm.values, strict=True)
    ]
    title = f"Input scaling, {results.sizes['layer']} layers, {results.attrs.get('data', 'unnamed data')}"
    figures = {
        "scaling": over_numbers(
            scans, "scaling", "input scaling, and root mean square norm of an image", title, base=0, ticks=ticks
        )
    }
    if "unit" in results.scaling.values:
        unit = results.sel(scaling="unit").assign_attrs(results.attrs, scaling="unit")
        panel = Panel("activation_norm", LABELS["activation_norm"], log=True)
        figures["growth"] = over_layers(unit, panel, [0], "Growth through the layers (proportional to the inputs)")
    return figures


def _numbered(values: xr.DataArray) -> xr.DataArray:
    """Scalings have names; they are drawn in their order."""
    return values.assign_coords(scaling=np.arange(values.sizes["scaling"]))


def at(results: xr.Dataset, scaling: str) -> xr.Dataset:
    """The study of one scaling.

    Raises:
        NotMeasured: it is not among the results.
    """
    if scaling not in results.scaling.values:
        raise NotMeasured(f"scaling {scaling} is not among the results")
    return results.sel(scaling=scaling)


def growth(results: xr.Dataset, network: str) -> xr.DataArray:
    """Factor of the squared activation norm from one layer to the next at the start, by run (geometric mean)."""
    norms = per_run(results, "activation_norm", network).isel(epoch=0, drop=True).dropna("layer", how="all")
    ratio = norms.isel(layer=-1, drop=True) / norms.isel(layer=0, drop=True)
    return ratio ** (2 / (norms.sizes["layer"] - 1))


def _spread_of_growth(results: xr.Dataset) -> Effect:
    """Of each run, the largest relative difference of a growth between inputs that differ by a factor."""
    found = [growth(at(results, s), n) / growth(at(results, "unit"), n) for s in PROPORTIONAL for n in NETWORKS]
    return mean(np.abs(np.stack(found) - 1).max(0))


def _follows(results: xr.Dataset, networks: Sequence[str], variable: str) -> Effect:
    """Rank correlation over scalings and networks between speed and a variable at the start, averaged over runs."""
    pairs = [(s, n) for s in SCALINGS for n in networks]
    fast = np.stack([speed(at(results, s), n) for s, n in pairs], axis=1)
    cause = np.stack([_at_start(at(results, s), n, variable) for s, n in pairs], axis=1)
    require_started(_side_by_side(results, networks), *(f"{n}, {s}" for s, n in pairs))
    found = [stats.spearmanr(a, b, nan_policy="omit").statistic for a, b in zip(fast, cause, strict=True)]
    return mean(found, within=CORRELATIONS)


def _side_by_side(results: xr.Dataset, networks: Sequence[str]) -> xr.Dataset:
    """The accuracies of the networks at every scaling, as networks of one study."""
    accuracy = results[["train_accuracy"]].sel(network=list(networks)).stack(one=("network", "scaling"))
    names = [f"{n}, {s}" for n, s in zip(accuracy.network.values, accuracy.scaling.values, strict=True)]
    return accuracy.drop_vars(["one", "network", "scaling"]).rename(one="network").assign_coords(network=names)


def _at_start(results: xr.Dataset, network: str, variable: str) -> xr.DataArray:
    values = per_run(results, variable, network).isel(epoch=0, drop=True)
    return values.mean("layer") if "layer" in values.dims else values


ORDERS = (
    ("residual", "plain", "Residual networks train faster than plain ones", "orhan2018 §2.3, figure 3a"),
    (
        "hyper-residual",
        "residual",
        "Hyper-residual networks train faster than residual ones",
        "orhan2018 §2.3, fig. 3a",
    ),
    ("orthogonal", "residual", "Dense orthogonal skips work better than identity skips", "orhan2018 §2.7, figure 7a"),
)


def _order(scaling: str, first: str, second: str, statement: str, source: str) -> Claim:
    return Claim(
        f"orhan2018/input-scale/{first}-above-{second}/{scaling}",
        source,
        f"With {scaling} inputs: {statement} (mean training accuracy over the epochs: {first} minus {second}).",
        lambda r: faster(at(r, scaling), first, second),
        POSITIVE,
        "percentage points",
    )


OURS = "not in the paper: how its networks depend on the scale of their inputs"


def _why(name: str, statement: str, effect: object, region: Region, unit: str = "") -> Claim:
    return Claim(f"orhan2018/input-scale/{name}", OURS, statement, effect, region, unit)  # type: ignore[arg-type]


def _growth_claim(network: str, words: str, region: Region) -> Claim:
    return _why(
        f"growth-{network}",
        f"{words} at the start (factor of the squared activation norm a layer).",
        lambda r: mean(growth(at(r, "unit"), network)),
        region,
    )


CLAIMS = (
    *(_order(scaling, *order) for order in ORDERS for scaling in SCALINGS),
    _growth_claim("plain", "A plain layer halves the squared norm", Region(0.4, 0.6)),
    _growth_claim("residual", "An identity skip makes it grow faster than its two parts alone would", Region(1.5, 2.3)),
    _growth_claim("orthogonal", "A dense orthogonal skip adds the squared norms of its parts", Region(1.35, 1.65)),
    _why(
        "proportional",
        "Growth does not depend on the scale: networks with zero biases are proportional to their inputs "
        "(largest relative difference).",
        _spread_of_growth,
        Region(high=0.01),
    ),
    _why(
        "large-logits-slow",
        "Networks with skips train more slowly the larger their first logits "
        "(rank correlation over scalings and networks).",
        lambda r: _follows(r, SKIPS, "logit_norm"),
        NEGATIVE,
        "rank correlation",
    ),
    _why(
        "damped-gradients-slow",
        "Plain networks train more slowly the more of their gradients are below Adam's epsilon "
        "(rank correlation over scalings).",
        lambda r: _follows(r, ("plain",), "below_epsilon"),
        NEGATIVE,
        "rank correlation",
    ),
)

EXPERIMENTS = (
    Experiment(
        "orhan2018/input-scale",
        "What the scale of the inputs decides: growth, first logits, gradients against epsilon",
        specs,
        run,
        draw,
        CLAIMS,
        differs=("The paper has no such figure: it does not mention how it scaled its images.", EVALUATED_ON),
        labels={"image_norm": "root mean square norm of an image", "scaling": "scaling of the inputs"},
    ),
)
