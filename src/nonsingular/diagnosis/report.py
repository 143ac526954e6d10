"""One self-contained HTML page: findings first, then one row a layer with small plots, then pictures."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
import torch

from nonsingular.diagnosis.advice import next_step
from nonsingular.diagnosis.diagnosis import Diagnosis
from nonsingular.diagnosis.learnability import percent, points
from nonsingular.diagnosis.patches import called
from nonsingular.diagnosis.records import Layer
from nonsingular.files import write_whole
from nonsingular.plots import diagnosis as plots
from nonsingular.plots.saving import svg
from nonsingular.policy import policy
from nonsingular.words import counted, digits

COLUMNS: tuple[tuple[str, str, Callable[[Layer], float], bool], ...] = (
    ("signal", "root mean square of what the layer passes on", lambda layer: layer.signal, True),
    ("spread", "the part of it that tells samples apart", lambda layer: layer.spread, True),
    ("gradient", "norm of the gradient of one sample's loss by the output", lambda layer: layer.gradient, True),
    ("update", "norm of the weights' gradient over the weights' norm", lambda layer: layer.update, True),
    ("dead", "share of units that respond to no sample", lambda layer: layer.dead, False),
    ("eliminated", "share of units without incoming weights", lambda layer: layer.eliminated, False),
    ("twins", "share of units with the same weights as another", lambda layer: layer.twins, False),
    ("directions", "directions of the responses above 1e-3 of the largest", lambda layer: layer.directions, True),
    (
        "eff. rank",
        "how many directions share the responses' spread: far fewer than directions where few take most",
        lambda layer: layer.effective_rank,
        True,
    ),
    ("condition", "condition number of the representation", lambda layer: layer.condition_number, True),
)


def write_report(path: Path, diagnosis: Diagnosis, title: str, source: str | Path | None = None) -> Path:
    """Write the page and return its path; with the user's file the next step is a diff where it can be."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nonsingular.diagnosis"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": _number,
        "percent": percent,
        "points": points,
        "called": called,
        "counted": counted,
    }
    figures = {name: base64.b64encode(text.encode()).decode() for name, text in _figures(diagnosis).items()}
    page = environment.get_template("diagnosis.html").render(
        title=title,
        policy=policy(),
        diagnosis=diagnosis,
        advice=next_step(diagnosis, source),
        untreated=diagnosis.learns.rows[0].learned.value if diagnosis.learns else math.nan,
        look=diagnosis.look,
        size=sum(p.size for p in diagnosis.look.parameters),
        columns=COLUMNS,
        rows=_rows(diagnosis),
        figures=figures,
        kept=f"{diagnosis.look.kept_bytes / 2**20:,.0f} MiB",
        machine=f"{platform.machine()}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    return path


def _figures(diagnosis: Diagnosis) -> dict[str, str]:
    """Pictures as texts of SVG files."""
    layers = diagnosis.layers
    figures: dict[str, str] = {}
    if layers:
        measures = {
            "signal": [layer.signal for layer in layers],
            "spread over samples": [layer.spread for layer in layers],
            "gradient": [layer.gradient for layer in layers],
        }
        figures["Signals and gradients through depth"] = plots.through_depth([layer.name for layer in layers], measures)
    proof = diagnosis.proof
    tried = [t for t in proof.trials if t.treated is not None] if proof else []
    if proof and tried:
        paths = {"untreated": proof.untreated.path, **{t.treatment: t.treated.path for t in tried if t.treated}}
        figures["Training with and without treatments"] = svg(plots.training(proof.untreated.points, paths))
        effects = [(100 * t.gained.value, 100 * t.gained.low, 100 * t.gained.high) for t in tried]
        helped = [t.verdict == "helps" for t in tried]
        figures["What treatments did"] = svg(plots.gains([t.treatment for t in tried], effects, helped))
    return figures


def _rows(diagnosis: Diagnosis) -> list[dict[str, object]]:
    """Per layer its cells (number and length of the bar, 0 to 1) and the small plot of its directions."""
    layers = diagnosis.layers
    lengths = [_lengths([measure(layer) for layer in layers], log) for _, _, measure, log in COLUMNS]
    accused = {name: f.kind for f in reversed(diagnosis.findings) if len(f.layers) < len(layers) for name in f.layers}
    return [
        {
            "layer": layer,
            "cells": [
                (measure(layer), lengths[c][i], _direction(log)) for c, (_, _, measure, log) in enumerate(COLUMNS)
            ],
            "profile": _polyline(diagnosis.look.profiles.get(layer.name, [])),
            "accused": accused.get(layer.name, ""),
        }
        for i, layer in enumerate(layers)
    ]


def _direction(log: bool) -> str:
    return "log" if log else "share"


def _lengths(values: Sequence[float], log: bool) -> list[float]:
    """Lengths of bars from 0 to 1: shares as they are, sizes on a logarithmic scale between the column's extremes."""
    if not log:
        return [v if math.isfinite(v) else 0.0 for v in values]
    logs = [math.log10(v) if v > 0 and math.isfinite(v) else math.nan for v in values]
    known = [x for x in logs if not math.isnan(x)]
    if not known:
        return [0.0] * len(values)
    low, high = min(known), max(known)
    span = max(high - low, 1.0)  # a column that varies by less than a decade shall not look as if it did not
    return [0.0 if math.isnan(x) else 1 - (high - x) / span * 0.96 for x in logs]


def _polyline(profile: Sequence[float]) -> str:
    """Points of a curve on a logarithmic scale of six decades, in a box of 72 by 20."""
    if len(profile) < 2:
        return ""
    points = []
    for i, value in enumerate(profile):
        decades = min(6.0, -math.log10(max(value, 1e-6)))
        points.append(f"{2 + 68 * i / (len(profile) - 1):.1f},{2 + 16 * decades / 6:.1f}")
    return " ".join(points)


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else digits(value)
