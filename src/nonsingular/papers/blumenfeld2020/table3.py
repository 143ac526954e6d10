"""Table 3: ConstNet in 32 and in 16 bit, with and without noise of the computation, with more and more dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.claims import NEGATIVE, POSITIVE, Claim, Effect, Region, difference
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec, at_scale
from nonsingular.networks import ConstNetSpec
from nonsingular.papers.blumenfeld2020.protocol import (
    PAPER,
    POINTS,
    Measure,
    accuracy,
    better,
    claim,
    images,
    side_by_side,
    training,
    when_trained,
)
from nonsingular.plots import symmetry as plots
from nonsingular.training import Breaker, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = {"smoke": (2, 2, 8, 1), "laptop": (2, 60, 8, 1), "overnight": (3, 20, 8, 1), "paper": (4, 200, 16, 10)}
"""Scale -> runs (the table names no number; as many as table 2 has), epochs, channels of the input layer, widening."""

PRECISIONS = ("float32", "bfloat16")
DROPOUTS = (0.0, 0.01, 0.05)
NOISES = {"noise": Breaker("hardware"), "no noise": Breaker("order-free")}


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
        training=training(scale, epochs, data),
        instruments=dict.fromkeys(("train_accuracy", "test_accuracy", "correlations")),
        settings={"precisions": list(PRECISIONS)},
    )


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """One study a precision, each in a folder of its own; networks are named as ``label`` does."""
    if spec.training is None:
        raise InputError(f"{spec.experiment} needs training")
    parts = {p: replace(spec, training=replace(spec.training, precision=p)) for p in spec.settings["precisions"]}
    return side_by_side(parts, workspace)


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
    return difference(gains[0], gains[1], within=(-200.0, 200.0))


def _trained(effect: Measure, *precisions: str) -> Measure:
    """An effect of networks that had time to train: those with dropout, which break every symmetry, did."""
    return when_trained(effect, *(label(p, n, rate) for p in precisions for n in NOISES for rate in DROPOUTS if rate))


def _claims() -> tuple[Claim, ...]:
    def row(id: str, statement: str, first: str, second: str, region: Region = POSITIVE) -> Claim:
        precision = first.split(",")[0]
        effect = _trained(lambda r: better(r, first, second), precision)
        return claim("table3", id, "table 3", statement, effect, region, POINTS)

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
            _trained(lambda r: _reversed(_interaction(r)), *PRECISIONS),
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
