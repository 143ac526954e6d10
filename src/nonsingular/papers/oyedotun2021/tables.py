"""Tables 1 to 3: training and test accuracy of 164-layer PlainNet, ResNet and ResNeXt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.experiments.claims import POSITIVE, Claim, Effect, Region, difference, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.fit import (
    HALFWAY,
    diverged,
    fitted,
    possible,
    possible_differences,
    require_trained,
)
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.spec import LAST, Spec, at_scale
from nonsingular.papers.oyedotun2021 import protocol
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.plots.depth import accuracies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = {"table1": "mnist", "table2": "cifar10", "table3": "cifar100-fine"}
TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100-fine": "CIFAR-100"}


def study(id: str, name: str, scale: str, data: str | None = None) -> Spec:
    """The study behind tables 1 to 3 and figures 5 to 8: equal but for the data, so that it need be trained once.

    Args:
        id: of the experiment.
        name: the data set that the paper has here.
        scale: ``smoke`` trains on the bundled digits.
        data: another data set, if asked for.
    """
    epochs = at_scale(protocol.EPOCHS, scale)
    images = protocol.images(data or ("digits" if scale == "smoke" else name), scale)
    looks = (0, 1, LAST) if scale != "paper" else (0, 1, 10, 50, LAST)
    return Spec(
        id,
        scale,
        runs=protocol.RUNS[scale],
        data=images,
        networks=protocol.networks(scale),
        training=protocol.training(images, scale, epochs),
        instruments={
            "train_accuracy": None,
            "test_accuracy": None,
            "representations": looks,
            "weight_quantiles": looks,
        },
    )


def _reached(network: str) -> Callable[[xr.Dataset], Effect]:
    return lambda r: mean(fitted(r, network), note=diverged(r, network), within=possible(r))


def _plain(results: xr.Dataset) -> Effect:
    require_trained(results, "resnet", "resnext")
    return _reached("plainnet")(results)


def _gap(network: str) -> Callable[[xr.Dataset], Effect]:
    def effect(results: xr.Dataset) -> Effect:
        require_trained(results, network, "plainnet")
        a, b = (fitted(results, name, "test") for name in (network, "plainnet"))
        return difference(a, b, note=diverged(results, network, "plainnet"), within=possible_differences(results))

    return effect


def _claims(table: str) -> tuple[Claim, ...]:
    source = f"Oyedotun et al. 2021 (article), {table[:-1]} {table[-1]}"
    way = "training accuracy at the end, on the way from chance = 0 to no error = 100"
    better = "at the end (test accuracy on the same scale, {} minus PlainNet)."
    unit = "percent of the way"
    rows = (
        ("plainnet-does-not-fit", f"PlainNet does not fit even its training set ({way}: less than half).",
         _plain, Region(high=HALFWAY)),
        ("resnet-trains", f"ResNet of the same depth trains ({way}: more than half).",
         _reached("resnet"), Region(low=HALFWAY)),
        ("resnext-trains", f"ResNeXt of the same depth trains ({way}: more than half).",
         _reached("resnext"), Region(low=HALFWAY)),
        ("resnet-generalises", f"ResNet classifies new images better {better.format('ResNet')}",
         _gap("resnet"), POSITIVE),
        ("resnext-generalises", f"ResNeXt classifies new images better {better.format('ResNeXt')}",
         _gap("resnext"), POSITIVE),
    )  # fmt: skip
    return tuple(
        Claim(f"oyedotun2021/{table}/{name}", source, statement, effect, region, unit)
        for name, statement, effect, region in rows
    )


def draw(results: xr.Dataset, name: str) -> Mapping[str, Figure]:
    """Accuracies over training, and at its end."""
    depth = int(results.sizes["layer"]) + 1
    panels = [Panel(f"{s}_accuracy", LABELS[f"{s}_accuracy"], percent=True) for s in ("train", "test")]
    title = f"PlainNet, ResNet and ResNeXt with {depth} layers"
    return {"accuracy": over_epochs(results, panels, title), name: accuracies(results, f"{title} at the end")}


DIFFERS = (
    "The text names networks and data sets, no blocks and no protocol. At paper scale ResNet-164 is that of He et al. "
    "2016b (pre-activation, bottlenecks, projections where sizes change, batch normalisation, He starts; momentum, a "
    "tenth of the learning rate in the first epoch). ResNeXt-164 is post-activation with projections (Xie et al. 2017) "
    "and 8 x 4d, which keeps its parameters near the ResNet's; with their 8 x 64d it would have 210 million.",
    "At paper scale a projection is part of a skip: ResNet-164 has 1.70 million parameters, PlainNet-164 1.66.",
    "Laptop and smoke scales have thin post-activation networks whose skips have no parameters.",
    "Whether a network trains is said on a scale of our own: half of the way from chance to no error.",
    "Laptop and smoke scales train with Adam; with momentum PlainNet-164 diverges within a few epochs.",
)

EXPERIMENTS = tuple(
    Experiment(
        f"oyedotun2021/{table}",
        f"164-layer PlainNet, ResNet and ResNeXt on {TITLES[data]}",
        partial(study, f"oyedotun2021/{table}", data),
        run_shared,
        partial(draw, name=table),
        _claims(table),
        differs=DIFFERS,
    )
    for table, data in DATA.items()
)
