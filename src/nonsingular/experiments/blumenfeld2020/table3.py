"""Table 3: ConstNet in 32 and in 16 bit, with and without noise of the computation, with more and more dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.blumenfeld2020.protocol import PAPER, POINTS, accuracy, better, claim, images, training
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.experiments.study import run_study
from nonsingular.experiments.workspace import Workspace
from nonsingular.networks import ConstNetSpec
from nonsingular.plots import symmetry as plots
from nonsingular.training import Breaker, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (2, 8, 8, 1), "paper": (1, 200, 16, 10)}
"""Scale -> runs, epochs, channels of the input layer, widening."""

PRECISIONS = ("float32", "bfloat16")
DROPOUTS = (0.0, 0.01, 0.05)
NOISES = {"noise": Breaker("random-order"), "no noise": Breaker("order-free")}


def specs(scale: str, data: str | None = None) -> Spec:
    """With and without noise of the computation, three rates of dropout; both precisions are trained."""
    runs, epochs, width, widening = at_scale(SIZES, scale)
    return Spec(
        "blumenfeld2020/table3",
        scale,
        runs=runs,
        data=images(data, scale),
        networks=tuple(
            Member(f"{noise}, dropout {rate:g}", ConstNetSpec(13, width, widening, dropout=rate), breaker=breaker)
            for noise, breaker in NOISES.items()
            for rate in DROPOUTS
        ),
        training=training(scale, epochs),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations")),
        settings={"precisions": list(PRECISIONS)},
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """One study a precision, each in a folder of its own; networks are named as ``label`` does."""
    if spec.training is None:
        raise InputError(f"{spec.experiment} needs training")
    studies = []
    for precision in spec.settings["precisions"]:
        part = replace(spec, training=replace(spec.training, precision=precision))
        folder = workspace.folder / "studies" / precision
        folder.mkdir(parents=True, exist_ok=True)
        found = run_study(part, replace(workspace, folder=folder))
        studies.append(found.assign_coords(network=[f"{precision}, {name}" for name in found.network.values]))
    return xr.concat(studies, "network", combine_attrs="drop_conflicts")


def draw(results: xr.Dataset) -> Mapping[str, Figure]:
    """Test accuracies at the end."""
    return {"table": plots.accuracies(results, "ConstNet in 32 and 16 bit, with and without noise of the computation")}


def label(precision: str, noise: str, dropout: float = 0.0) -> str:
    """A network's name in the results."""
    return f"{precision}, {noise}, dropout {dropout:g}"


def _interaction(results: xr.Dataset) -> Effect:
    """What noise of the computation brings in 32 bit, less what it brings in 16."""
    gains = [
        accuracy(results, label(p, "noise")).values - accuracy(results, label(p, "no noise")).values for p in PRECISIONS
    ]
    return difference(gains[0], gains[1])


def _claims() -> tuple[Claim, ...]:
    def row(id: str, statement: str, first: str, second: str, region: Region = POSITIVE) -> Claim:
        return claim("table3", id, "table 3", statement, lambda r: better(r, first, second), region, POINTS)

    return (
        *(
            row(
                f"{precision}-dropout",
                f"Without noise of the computation 1 % dropout is what trains it, in {precision} (with minus without).",
                label(precision, "no noise", 0.01),
                label(precision, "no noise"),
            )
            for precision in PRECISIONS
        ),
        row(
            "float32-noise",
            "In float32 noise of the computation alone trains it (with noise minus without, no dropout).",
            label("float32", "noise"),
            label("float32", "no noise"),
        ),
        row(
            "sixteen-bit-needs-dropout",
            "In 16 bit noise of the computation alone does not do what dropout does (noise minus noise with 1 % "
            "dropout; more than 5 points behind).",
            label("bfloat16", "noise"),
            label("bfloat16", "noise", 0.01),
            Region(high=-5.0),
        ),
        claim(
            "table3",
            "noise-is-worth-less-in-16-bit",
            "table 3, appendix I",
            "Noise of the computation brings less in 16 bit than in 32 (gain in bfloat16 minus gain in float32).",
            lambda r: _reversed(_interaction(r)),
            NEGATIVE,
            POINTS,
        ),
    )


def _reversed(effect: Effect) -> Effect:
    return Effect(-effect.value, -effect.high, -effect.low, effect.runs, effect.note)


EXPERIMENTS = (
    Experiment(
        "blumenfeld2020/table3",
        "ConstNet in 16 bit",
        specs,
        run,
        draw,
        _claims(),
        differs=(
            *PAPER,
            "16 bit is bfloat16 mixed precision, the paper's is float16; dropout rates are 0, 1 % and 5 % (the table's "
            "header is lost in the text). Sums are accumulated in float32 and rounded to 16 bit, as hardware does.",
        ),
    ),
)
