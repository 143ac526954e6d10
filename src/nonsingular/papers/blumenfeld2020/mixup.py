"""ConstNet without batch normalisation, with scalar scales and mixup in its place (appendices A and D).

ConstNet (``fig3``) is trained from identical features with noise of the computation: with batch normalisation
(``constnet+bn``) or scalar scales in its place (``constnet``), each without mixup and with it (``mixup 1 ...``:
training on random blends of two images and their labels). The linear regime is what regression with the network's
tangent kernel at the start reaches. A run is a seed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import xarray as xr

from nonsingular.data import Task, prepare
from nonsingular.errors import InputError
from nonsingular.experiments.effects import require
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.fit import HALFWAY
from nonsingular.experiments.needs import trained
from nonsingular.experiments.quantities import POINTS, Quantity
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import average, claim, larger
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.blumenfeld2020.parts.kernels import brightness
from nonsingular.papers.blumenfeld2020.parts.protocol import ACCURACY, DIFFERS, NOISE, WIDENING, WIDTH, drawn
from nonsingular.training import Member

ALPHA = 1.0
"""Strength of mixup: on CIFAR-10 Zhang et al. 2017 take 1."""
EQUAL_WITHIN, GAP = 2.0, 10.0  # percentage points
TITLE = "ConstNet without and with batch normalisation and mixup"


def label(alpha: float, network: str) -> str:
    """A network's name."""
    return f"mixup {alpha:g} {network}"


def study(size: Size) -> Spec:
    """ConstNet from identical features, without and with batch normalisation; both without and with mixup."""
    networks = {
        Member(
            label(alpha, name), ConstNetSpec(13, size.width, size.widening, batch_norm="bn" in name), breaker=NOISE
        ): {"mixup": alpha}
        for alpha in (0.0, ALPHA)
        for name in ("constnet", "constnet+bn")
    }
    return protocol.study(size, networks)


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """The study, and what the network's linearisation at the start reaches."""
    if spec.data is None:
        raise InputError(f"{spec.experiment} needs data")
    return run_study(spec, workspace).assign(linear_regime=linear_regime(prepare(spec.data, workspace.data_dir)))


def linear_regime(task: Task) -> float:
    """Test accuracy of kernel regression with ConstNet's tangent kernel at the start (appendix D).

    The kernel is that of a line in the image's ``brightness``: least squares of the classes' indicators by it.
    """

    def regressors(x: torch.Tensor) -> torch.Tensor:
        s = brightness(x)
        return torch.stack([s, torch.ones_like(s)], 1)

    targets = F.one_hot(task.train_labels, task.classes).double()
    coefficients = torch.linalg.lstsq(regressors(task.train_inputs), targets).solution
    found = (regressors(task.test_inputs) @ coefficients).argmax(1)
    return float((found == task.test_labels).double().mean())


def _beyond_linear(results: xr.Dataset, network: str) -> xr.DataArray:
    require(results, "linear_regime")
    return ACCURACY(results, network) - 100 * float(results.linear_regime)


BEYOND = Quantity(
    _beyond_linear, f"{ACCURACY.words}, less that of regression with its tangent kernel", POINTS, (-100.0, 100.0)
)
NORMALISED, BARE, MIXED = label(0, "constnet+bn"), label(0, "constnet"), label(ALPHA, "constnet")

FIGURE = Figure(
    "blumenfeld2020/mixup",
    "ConstNet without batch normalisation, with mixup",
    source="blumenfeld2020 appendix A",
    sizes=Scales(runs=(2, 3, 4, 5), epochs=(2, 60, 15, 200), width=WIDTH, widening=WIDENING),
    study=study,
    run=run,
    draw=drawn(TITLE),
    claims={
        "beyond-the-linear-regime": claim(
            "Without batch normalisation ConstNet trains far beyond its linearisation at the start",
            average(BEYOND, MIXED) > GAP,
            source="blumenfeld2020 appendix D",
            needs=trained(HALFWAY, NORMALISED, MIXED),
        ),
        "mixup-generalises": claim(
            "Without batch normalisation it takes mixup to generalise",
            larger(ACCURACY, MIXED, BARE) > 0,
            needs=trained(HALFWAY, BARE),
        ),
        "mixup-replaces-norm": claim(
            f"With mixup nothing is lost without batch normalisation: within {EQUAL_WITHIN:g} points of ConstNet with "
            "it, or beyond",
            larger(ACCURACY, MIXED, NORMALISED) > -EQUAL_WITHIN,
            needs=trained(HALFWAY, NORMALISED),
        ),
    },
    differs=(
        *DIFFERS,
        "The text's accuracy without batch normalisation is lost, and its search over mixup's strength and the "
        f"learning rate is not made: alpha is {ALPHA:g}, the learning rate is that of all other runs.",
    ),
    labels={"linear_regime": "test accuracy of the linearised network"},
)
