"""Layers with too few values for what is done to them: normalisation over one value, dropout on a few units."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from nonsingular.diagnosis.contract.heads import SOFTMAXES, TO_LOGARITHMS, normalised_over
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

DROPOUTS = {"dropout", "alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"}


OPEN = 0.75  # stands for a gate that is always open, where 1 stands for nothing that is left
SHARES = SOFTMAXES | {"log_softmax"}
ALONG = SHARES | {"std", "var", "std_mean", "var_mean", "normalize"}
"""What normalises along the axes that it is given."""


def lonely(scene: Scene) -> Statistic:
    """Whether some normalisation has a single value to normalise over, so that nothing is left of it.

    In every call on a line: a memory that grows has one entry at first. Where a sample has a single share, and nothing
    else that it could be a share of, that is a gate that is open, as a mixture of one expert has it: ``OPEN``.
    """
    words = "values over which it normalises"
    known = [(op, count) for op in scene.trace.ops if (count := _values(op, scene)) is not None]
    most: dict[str, int] = {}
    for op, count in known:
        most[op.told] = max(most.get(op.told, 0), count)
    alone = [op for op, _ in known if most[op.told] == 1]
    if not alone:
        return Statistic(0.0 if known else math.nan, (), words)
    op = min(alone, key=_is_gate)
    evidence = ({"measure": f"{op.name}: values over which it normalises", "value": 1},)
    return Statistic(OPEN if _is_gate(op) else 1.0, op.layers, words, op.where, evidence, _remedy(op))


def _is_gate(op: Op) -> bool:
    """Whether a softmax gives each sample one share, and there is no other axis that it should have run along."""
    return op.name in SHARES and all(n == 1 for n in _shape(op)[1:])


def _remedy(op: Op) -> str:
    if _is_gate(op):
        return (
            f"What {op.told} returns is always 1, so that what it multiplies is always let through: a gate for one "
            "thing is a sigmoid; where a mixture has one expert on purpose, nothing is lost."
        )
    if op.name not in ALONG:
        return "Normalise over all features, or leave the normalisation out: of one value nothing is left."
    left = "of one entry the share is always 1" if op.name in SHARES else "one entry has no spread, only a sign"
    return (
        f"Let {op.told} run along the axis of what it compares: of its input's shape {_shape(op)} it takes an axis of "
        f"length 1, and {left}."
    )


def _shape(op: Op) -> tuple[int, ...]:
    return tuple(op.args[0].shape) if op.args and isinstance(op.args[0], Tensor) else ()


def _values(op: Op, scene: Scene) -> int | None:
    shape = _shape(op)
    if not shape:
        return None
    if op.name in ("layer_norm", "rms_norm"):
        return math.prod(op.given(1, "normalized_shape", ()) or (0,))
    if op.name == "group_norm" and len(shape) >= 2:
        return math.prod(shape[1:]) // int(op.given(1, "num_groups", 1))
    if op.name == "instance_norm" and len(shape) >= 3:
        return math.prod(shape[2:])
    if op.name in ALONG and op.args[0].requires_grad and not op.in_loss and scene.batch.samples > 1:
        return _along(op, shape, scene)
    return None


def _along(op: Op, shape: tuple[int, ...], scene: Scene) -> int | None:
    """Entries along the axes that are normalised, where they are given; a softmax before the loss is told as such."""
    if op.name in SHARES:
        head = any(scene.trace.source(call.args[0], TO_LOGARITHMS) is op for call in scene.calls)
        return None if head else normalised_over(op)
    axes = op.given(2, "dim", 1) if op.name == "normalize" else op.given(1, "dim")
    axes = (axes,) if isinstance(axes, int) and not isinstance(axes, bool) else axes
    return math.prod(shape[a] for a in axes) if isinstance(axes, tuple | list) and axes else None


def batch_alone(scene: Scene) -> Statistic:
    """Whether batch normalisation gets batches of one sample, or of one class each."""
    words = "batch normalisation over batches that are no sample of the data"
    norms = [n for n, m in scene.task.model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    sizes = scene.task.sizes
    if not norms or not sizes:
        return Statistic(math.nan, (), words)
    layers = tuple(norms)
    if max(sizes) == 1:
        evidence = ({"measure": "samples in a batch", "value": 1}, {"measure": "batches", "value": len(sizes)})
        remedy = "Use larger batches, or normalisation that does not look at the batch (GroupNorm, LayerNorm)."
        return Statistic(1.0, layers, words, norms[0], evidence, remedy)
    classes = classes_by_batch(scene)
    if classes is not None and len(classes) > 2 and max(classes) == 1:
        evidence = ({"measure": "classes in a batch", "value": 1}, {"measure": "batches", "value": len(classes)})
        return Statistic(1.0, layers, words, norms[0], evidence, "Shuffle the samples: DataLoader(..., shuffle=True).")
    return Statistic(0.0, layers, words)


def classes_by_batch(scene: Scene) -> list[int] | None:
    """Different labels in each batch; None where targets are no labels, or all batches have the same one."""
    labels = [b.target for b in scene.task.batches]
    if not all(isinstance(t, Tensor) and not t.is_floating_point() and t.ndim == 1 for t in labels):
        return None
    kinds: list[set[Any]] = [set(t.tolist()) for t in labels if len(t) > 1]
    return [len(k) for k in kinds] if len(set().union(*kinds)) > 1 else None


def statistics_stay(scene: Scene) -> Statistic:
    """Whether running statistics never move, hardly, or hold the latest batch alone, by the momentum of their module.

    Statistics that have moved before may be kept on purpose.
    """
    words = "momentum of batch normalisation, the part of the running statistics that each batch replaces"
    norms = {
        name: (m, m.momentum) for name, m in scene.task.model.named_modules()
        if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats
    }  # fmt: skip
    known = {name: (m, float(momentum)) for name, (m, momentum) in norms.items() if momentum is not None}
    if not known:
        return Statistic(math.nan, (), words)
    odd = {name: part for name, (m, part) in known.items() if part >= 0.9 or (part <= 1e-3 and _fresh(m))}
    if not odd:
        return Statistic(0.0, (), words)
    value = next(iter(odd.values()))
    remedy = (
        "Evaluation then uses the statistics of the last batch alone: take momentum=0.1 (other libraries' 0.9 or 0.99 "
        "are 1 minus that)." if value > 0.5 else
        "Evaluation then uses a mean of 0 and a variance of 1, whatever the data are: take momentum=0.1."
    )  # fmt: skip
    return Statistic(
        0.5 if value > 0.5 else 1.0, tuple(odd), words, next(iter(odd)), ({"measure": words, "value": value},), remedy
    )


def _fresh(m: nn.modules.batchnorm._NormBase) -> bool:
    return m.running_mean is not None and not bool(m.running_mean.any())


def heavy(scene: Scene) -> Statistic:
    """The largest share of the numbers that some dropout takes away."""
    words = "share of the numbers that dropout takes away"
    found = [(float(op.given(1, "p", 0.5)), op) for op in scene.trace.ops if op.name in DROPOUTS]
    if not found:
        return Statistic(math.nan, (), words)
    value, op = max(found, key=lambda both: both[0])
    remedy = "Drop less: 0.1 to 0.5 are usual."
    return Statistic(value, op.layers, words, op.where, (), remedy)


def dropped(scene: Scene) -> Statistic:
    """The chance that dropout takes all values of a sample away, where that is worst."""
    words = "chance that dropout takes everything of a sample away"
    worst, guilty = 0.0, None
    seen = False
    for op in scene.trace.ops:
        if op.name not in DROPOUTS or not isinstance(op.args[0], Tensor) or op.args[0].ndim < 2:
            continue
        shape = op.args[0].shape
        units = math.prod(shape[1:]) if op.name in ("dropout", "alpha_dropout") else shape[1]
        seen = True
        chance = float(op.given(1, "p", 0.5)) ** units
        if chance > worst:
            worst, guilty = chance, op
    if guilty is None:
        return Statistic(worst if seen else math.nan, (), words)
    units = math.prod(guilty.args[0].shape[1:])
    evidence = (
        {"measure": "values of a sample there", "value": units},
        {"measure": "probability of dropping one", "value": float(guilty.given(1, "p", 0.5))},
    )
    remedy = f"Leave dropout out where there are {units} values, or put it behind a wider layer."
    return Statistic(worst, guilty.layers, words, guilty.where, evidence, remedy)
