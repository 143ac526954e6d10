"""Training and evaluation mode: where they depend on it, models run in the one that is meant."""

from __future__ import annotations

import math
import sys
from statistics import fmean

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from nonsingular.diagnosis.loop.records import Call, Loop, Trainee
from nonsingular.diagnosis.loop.statistics.losses import constant
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, is_moved, line_of, shown, trains_here
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import is_library


def _own_train(loop: Loop) -> Statistic:
    """A model that trains whose class has a ``train`` of its own, which nobody calls."""
    words = "calls of the model's own train()"
    for t in loop.trainees:
        own = [m for m in t.module.modules() if not type(m).__module__.startswith("torch.") and _redefined(type(m))]
        if own and not t.told and trains_here(t) and is_moved(loop, t) and loop.steps >= ENOUGH:
            return Statistic(
                1.0, (), words, line_of(t.calls[0].place), (shown(words, 0), shown("steps", loop.steps)),
                f"{type(own[0]).__name__} does something in its train(): freezing, modes. Call model.train() before "
                "each training epoch, or do it where the model is made.",
            )  # fmt: skip
    return NOTHING


def _redefined(kind: type) -> bool:
    """Whether the user wrote a ``train``; what a library's does is the library's to call."""
    owner = next((c for c in kind.__mro__ if "train" in vars(c)), nn.Module)
    return owner is not nn.Module and not is_library(getattr(sys.modules.get(owner.__module__), "__file__", None) or "")


def _mode_training(loop: Loop) -> Statistic:
    words = "share of training passes in evaluation mode"
    value, at = 0.0, None
    for t in loop.trainees:
        graded = [c for c in t.calls if c.graded]
        if len(graded) < ENOUGH or not _depends_on_mode(t.module) or not is_moved(loop, t):
            continue
        share = fmean(not c.training for c in graded)
        if share > value:
            value, at = share, t
    if at is None:
        return NOTHING
    names, what, several = _with_modes(at.module)
    does = "do not do their work" if several else "does not do its work"
    return Statistic(
        value, names, words,
        line_of(at.switched or next(c.place for c in at.calls if c.graded and not c.training)), (),
        f"Call model.train() before each training epoch: in evaluation mode {what} {does}.",
    )  # fmt: skip


def _mode_testing(loop: Loop) -> Statistic:
    words = "share of test passes in training mode"
    for t in loop.trainees:
        if not _depends_on_mode(t.module) or not is_moved(loop, t):
            continue
        tests = test_calls(t)
        value = fmean(c.training for c in tests) if tests else 0.0
        if value:
            names, what, several = _with_modes(t.module)
            changes = "change" if several else "changes"
            return Statistic(
                value, names, words,
                line_of(next(c.place for c in tests if c.training)), (shown("test passes", len(tests)),),
                f"Call model.eval() before testing and model.train() after it: {what} {changes} what is measured.",
            )  # fmt: skip
    return NOTHING


def test_calls(trainee: Trainee) -> list[Call]:
    """Calls that serve a test: no gradient, not another model's input, and not one before each step."""
    quiet = [c for c in trainee.calls if not c.graded and not c.fed and (c.tested or not c.tracked)]
    quiet = [c for c in quiet if not c.tracked or c.tested]
    graded = [c for c in trainee.calls if c.graded]
    steps = {c.number for c in graded}
    alternating = sum(c.number in steps for c in quiet) > 0.5 * len(steps) and len(quiet) < 1.5 * len(graded)
    return [] if alternating or not any(c.tested for c in graded) else quiet


def _depends_on_mode(module: nn.Module) -> bool:
    return any(map(_has_modes, module.modules()))


def _with_modes(module: nn.Module) -> tuple[tuple[str, ...], str, bool]:
    """Names of the first submodules that behave differently in training, the classes of all, whether of several."""
    both = [(name, m) for name, m in module.named_modules() if _has_modes(m)]
    *others, last = dict.fromkeys(type(m).__name__ for _, m in both)
    classes = f"{', '.join(others)} and {last}" if others else last
    return tuple(name for name, _ in both[:4]), classes, bool(others)


def _has_modes(m: nn.Module) -> bool:
    if isinstance(m, _DropoutNd):
        return m.p > 0
    if isinstance(m, _NormBase):
        return bool(m.track_running_stats)
    return isinstance(m, nn.MultiheadAttention | nn.RNNBase) and m.dropout > 0


def _running(loop: Loop) -> Statistic:
    """Part of what training has learnt that is gone in evaluation mode, on the very same samples."""
    words = "part of what is learnt that batch normalisation's running statistics lose, on the samples of training"
    if loop.modes is None or loop.steps < 50:
        return NOTHING
    (train, test), (best, _) = loop.modes, constant(loop)
    if not (math.isfinite(best) and 0 <= train < 0.5 * best):
        return NOTHING
    norms = ([n for n, m in t.module.named_modules() if isinstance(m, _NormBase)] for t in loop.trainees)
    layers = tuple(next(filter(None, norms), ()))
    return Statistic(
        (test - train) / (best - train), layers, words, "",
        (shown("loss of training samples in training mode, dropout off", train),
         shown("of the same in evaluation mode", test), shown("of the best constant prediction", best)),
        "The running statistics do not follow: keep the momentum near 0.1, use larger batches, do not share a "
        "normalisation between kinds of data; GroupNorm and LayerNorm have none.",
    )  # fmt: skip


MEASURES: dict[str, Measure] = {
    "loop-own-train": _own_train,
    "loop-mode-training": _mode_training,
    "loop-mode-testing": _mode_testing,
    "loop-running": _running,
}
