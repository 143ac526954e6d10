"""What the network's last operation makes of its outputs, against what the loss takes and the targets need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nonsingular.diagnosis.arithmetic import (
    DIFFERENCES,
    NEGATIONS,
    POWERS,
    PRODUCTS,
    QUOTIENTS,
    SUMS,
    TURNED_DIFFERENCES,
)
from nonsingular.diagnosis.contract.scene import LOG_PROBABILITIES, LOGITS, PROBABILITIES, Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import is_binary

SOFTMAXES = {"softmax", "softmin", "gumbel_softmax"}
SIGMOIDS = {"sigmoid", "sigmoid_", "hardsigmoid", "expit"}
LOG_SOFTMAXES = {"log_softmax", "logsigmoid"}
CLIPPERS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "threshold", "threshold_", "clamp_min", "clamp_min_"}
"""Operations with no slope over part of their range."""

TO_LOGARITHMS = {"log", "clamp", "clip", "clamp_min", "clamp_", "add", "log_"}
"""What makes logarithms of probabilities."""

LAYERS = {"linear", "addmm", "matmul", "__matmul__", "conv1d", "conv2d", "conv3d", "conv_transpose2d"}
"""What returns any numbers."""

Interval = tuple[float, float]
INF = math.inf
BOUNDS: dict[str, Interval] = {
    **dict.fromkeys(SOFTMAXES | SIGMOIDS, (0.0, 1.0)),
    **dict.fromkeys(("tanh", "tanh_", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "relu_", "softplus", "exp", "exp_", "abs", "square", "sqrt"), (0.0, INF)),
    **dict.fromkeys(LOG_SOFTMAXES, (-INF, 0.0)),
    "relu6": (0.0, 6.0), "gelu": (-0.17, INF), "silu": (-0.279, INF), "mish": (-0.309, INF), "selu": (-1.759, INF),
    "sin": (-1.0, 1.0), "cos": (-1.0, 1.0), "cosine_similarity": (-1.0, 1.0), "normalize": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
}  # fmt: skip

CERTAIN, ABSENT = 1.0, 0.0


def probabilities(scene: Scene) -> Statistic:
    """Probabilities handed to a loss that makes its own of them; see also a softmax over one unit."""
    for op in scene.calls:
        found = _twice(scene, op) or _single_unit(scene, op)
        if found is not None:
            return found
    return Statistic(ABSENT if scene.calls else math.nan, (), "")


def _twice(scene: Scene, loss: Op) -> Statistic | None:
    tensor = loss.args[0]
    head = scene.trace.source(tensor, {"clamp", "clip", "clamp_"})
    if loss.name in LOGITS:
        if head is not None and head.name in SOFTMAXES | SIGMOIDS:
            return _statistic(
                loss, head, f"{head.name} comes before {loss.name}, which takes logits", tensor, _without(head)
            )
        if loss.name == "cross_entropy" and _sums_to_one(tensor):
            words = f"the outputs are probabilities, but {loss.name} takes logits"
            return _statistic(loss, head, words, tensor, "Give the loss what the network had before it was normalised.")
    if loss.name in LOG_PROBABILITIES and head is not None and head.name in SOFTMAXES | SIGMOIDS:
        words = f"{head.name} comes before {loss.name}, which takes log-probabilities"
        remedy = f"Use log_softmax over axis {_classes(loss)} instead of {head.name}, or logits and cross_entropy."
        return _statistic(loss, head, words, tensor, remedy)
    inner = _inside(scene, tensor)
    if inner is not None and inner.name in SOFTMAXES | SIGMOIDS:
        words = f"the outputs are probabilities twice over: {inner.name} and then once more"
        return _statistic(loss, inner, words, tensor, _without(inner))
    return None


def _without(head: Op) -> str:
    place = head.place or (f"module {head.module}" if head.module else "the model")
    return f"Take {head.name} out ({place}): the loss applies its own."


def _inside(scene: Scene, tensor: Tensor) -> Op | None:
    """What computed the logits of a head that makes probabilities: ``log`` and clipping are passed over."""
    head = scene.trace.source(tensor, TO_LOGARITHMS)
    if head is None or head.name not in SOFTMAXES | SIGMOIDS | LOG_SOFTMAXES:
        return None
    return scene.trace.source(head.args[0])


def _single_unit(scene: Scene, loss: Op) -> Statistic | None:
    tensor = loss.args[0]
    if loss.name == "cross_entropy":
        axis = 1 if tensor.ndim > 1 else 0
        if tensor.shape[axis] == 1:
            words = "cross_entropy over one output: its softmax is 1 for every sample"
            remedy = (
                "Use binary_cross_entropy_with_logits for one output, a distance for a regression, or more outputs."
            )
            return _statistic(loss, None, words, tensor, remedy)
    head = scene.trace.source(tensor, TO_LOGARITHMS)
    if head is not None and head.name in SOFTMAXES | {"log_softmax"} and normalised_over(head) == 1:
        words = f"{head.name} over one unit: it is the same for every sample"
        return _statistic(loss, head, words, tensor, "Use sigmoid for one unit, or one unit a class.")
    return None


def normalised_over(op: Op) -> int | None:
    """Entries along the axis of a softmax; None where its axis is not known."""
    if not op.args or not isinstance(op.args[0], Tensor) or not op.args[0].ndim:
        return None
    shape = op.args[0].shape
    usual = -1 if op.name == "gumbel_softmax" else 0 if len(shape) in (1, 3) else 1
    axis = op.given(3, "dim", usual) if op.name == "gumbel_softmax" else op.given(1, "dim")
    axis = usual if axis is None else axis
    return shape[axis] if isinstance(axis, int) else None


def _statistic(loss: Op, head: Op | None, words: str, tensor: Tensor, remedy: str) -> Statistic:
    values = tensor.detach()
    at = head or loss
    evidence: list[dict[str, Any]] = [
        {"measure": f"{words}; least output", "value": float(values.min())},
        {"measure": "largest output", "value": float(values.max())},
    ]
    if loss.name == "cross_entropy" and values.ndim > 1 and values.shape[1] > 1:
        floor = math.log1p((values.shape[1] - 1) * math.exp(-1.0))
        evidence.append({"measure": "loss that logits between 0 and 1 cannot go below", "value": floor})
    return Statistic(CERTAIN, at.layers, words, at.where, tuple(evidence), remedy, *_out(head))


def _out(head: Op | None) -> tuple[str, bool]:
    """That a remedy takes this operation out, or puts another in its place."""
    return (head.told, True) if head is not None else ("", False)


def _classes(loss: Op) -> int:
    """The axis along which a loss of log-probabilities has the classes."""
    return loss.args[0].ndim - 1 if loss.name in ("kl_div", "ctc_loss") else 1


def _sums_to_one(tensor: Tensor) -> bool:
    """Whether classes (axis 1) are probabilities of every sample, and not by chance."""
    if tensor.ndim < 2 or tensor.shape[1] < 2:
        return False
    values = tensor.detach().double()
    sums = values.sum(1)
    return bool((values >= 0).all() and (sums - 1).abs().max() < 1e-4 and sums.numel() >= 4)


# --- range ---------------------------------------------------------------------------------------------------


def clipped(scene: Scene) -> Statistic:
    """Logits behind an operation that clips or bounds them, so that some answers cannot be given."""
    if (found := _cut_before_logarithm(scene)) is not None:
        return found
    for op in scene.calls:
        found = None
        if op.name in LOGITS:
            found = _clipped(scene, op, op.args[0])
        elif op.name in LOG_PROBABILITIES | PROBABILITIES:
            inner = _inside(scene, op.args[0])
            if inner is not None:
                found = _clipped(scene, op, inner.out if isinstance(inner.out, Tensor) else op.args[0])
            found = found or _cut_to_probabilities(scene, op)
        if found is not None:
            return found
    return Statistic(ABSENT if scene.calls else math.nan, (), "")


def _cut_before_logarithm(scene: Scene) -> Statistic | None:
    """A layer's numbers, clamped to lie between 0 and 1, of which the user's loss takes logarithms."""
    for op in scene.trace.ops:
        head = scene.trace.source(op.args[0]) if op.name == "log" and op.in_loss and op.args else None
        if head is None or head.name not in ("clamp", "clip", "clamp_") or not isinstance(head.args[0], Tensor):
            continue
        low, high = _clamp(head)
        layer = scene.trace.source(head.args[0])
        if layer is not None and layer.name in LAYERS and low >= 0 and high <= 1:
            return _cut(head, f"{head.name} cuts numbers to probabilities, of which logarithms are taken")
    return None


def _clipped(scene: Scene, loss: Op, logits: Tensor) -> Statistic | None:
    head = scene.trace.source(logits)
    if head is None or head.name in SOFTMAXES | SIGMOIDS:
        return None
    low, high = interval(scene, logits)
    binary = "binary" in loss.name or "multilabel" in loss.name or logits.ndim < 2
    factor, product = _factor(scene, logits)
    if not binary and high - low < INF and (product is not None or head.name == "cosine_similarity"):
        return _cosines(loss, logits, product or head, high - low)
    if product is not None and abs(factor) < FAINT:
        return _faint(loss, product, factor)
    narrow = high - low < 5.0
    one_sided = (low > -1.0 or high < 1.0) and binary
    if not (head.name in CLIPPERS or narrow or one_sided):
        return None
    if head.name == "log_softmax" and not binary:
        return None
    words = f"{head.name} bounds the logits of {loss.name}"
    evidence: list[dict[str, Any]] = [
        {"measure": f"{words}; bounds from", "value": low}, {"measure": "to", "value": high},
        {"measure": "share of logits at a bound", "value": _at_bounds(logits, low, high)},
    ]  # fmt: skip
    remedy = f"Take {head.name} off the output{f' ({head.where})' if head.where else ''}: logits may be any number."
    return Statistic(CERTAIN, head.layers, words, head.where, tuple(evidence), remedy, *_out(head))


FAINT = 0.05  # factor between a layer and the loss, below which logits hardly differ


def _factor(scene: Scene, tensor: Tensor) -> tuple[float, Op | None]:
    """By which number what a layer returns is multiplied until it is this tensor, and the layer's call."""
    factor = 1.0
    for _ in range(8):
        op = scene.trace.source(tensor)
        if op is None or op.name in LAYERS | VECTOR_PRODUCTS:
            return factor, op
        inner, constant = _split(op) if op.name in ARITHMETIC and len(op.args) == 2 else (None, None)
        if inner is None or constant is None or op.name not in PRODUCTS | QUOTIENTS:
            return factor, None
        factor = factor * constant if op.name in PRODUCTS else factor / constant if constant else math.nan
        tensor = inner
    return factor, None


def _cosines(loss: Op, logits: Tensor, product: Op, span: float) -> Statistic | None:
    """Products of unit vectors for logits: they differ by so little that the loss has a high floor."""
    classes = logits.shape[1]
    floor = math.log1p((classes - 1) * math.exp(-span))
    if span > NARROW or not floor > 0.25 * math.log(classes):
        return None
    words = f"the logits of {loss.name} are cosines, which differ by {span:.2g} at most"
    evidence = (
        {"measure": f"{words}; loss that they cannot go below", "value": floor},
        {"measure": "loss of equal odds", "value": math.log(classes)},
        {"measure": "classes", "value": classes},
    )
    remedy = "Divide the cosines by a temperature (0.05 to 0.1), or multiply them by a scale that is learnt."
    return Statistic(CERTAIN, product.layers, words, product.where, evidence, remedy)


NARROW = 2.5  # between the largest and the least logit: cosines without a temperature have 2


def _faint(loss: Op, layer: Op, factor: float) -> Statistic:
    words = f"the logits of {loss.name} are what a layer returns times {factor:.2g}"
    evidence = ({"measure": f"{words}; factor", "value": factor},)
    remedy = "Leave the factor out: the outputs have to grow by its inverse before they say anything."
    return Statistic(CERTAIN, layer.layers, words, layer.where, evidence, remedy)


def _cut_to_probabilities(scene: Scene, loss: Op) -> Statistic | None:
    """Any numbers that were clamped to lie between 0 and 1, for a loss that takes probabilities."""
    head = scene.trace.source(loss.args[0])
    if loss.name not in PROBABILITIES or head is None or head.name not in CLIPPERS | {"clamp", "clip", "clamp_"}:
        return None
    layer = scene.trace.source(head.args[0])
    if layer is None or layer.name not in LAYERS:
        return None  # what was normalised by hand is clamped for safety
    return _cut(head, f"{head.name} cuts numbers to probabilities for {loss.name}")


def _cut(head: Op, words: str) -> Statistic:
    before = head.args[0].detach()
    outside = float(((before <= 0) | (before >= 1)).float().mean())
    evidence = ({"measure": f"{words}; share of them outside 0 to 1, where no gradient passes", "value": outside},)
    remedy = (
        f"Use sigmoid instead of {head.name}{f' ({head.where})' if head.where else ''}, or logits and their own loss."
    )
    return Statistic(CERTAIN, head.layers, words, head.where, evidence, remedy, *_out(head))


def _at_bounds(values: Tensor, low: float, high: float) -> float:
    values = values.detach()
    return float(((values <= low) | (values >= high)).float().mean())


def positive_logarithms(scene: Scene) -> Statistic:
    """Rates for a loss that takes their logarithms, and takes the exponential itself."""
    for op in scene.calls:
        if op.name != "poisson_nll_loss" or not op.given(2, "log_input", True):
            continue
        head = scene.trace.source(op.args[0])
        low, high = interval(scene, op.args[0])
        if head is None or low < 0:
            continue
        words = f"{head.name} comes before {op.name}, which takes the logarithm of the rate"
        evidence = ({"measure": f"{words}; bounds from", "value": low}, {"measure": "to", "value": high})
        remedy = f"Take {head.name} off the output{f' ({head.where})' if head.where else ''}, or pass log_input=False."
        return Statistic(CERTAIN, head.layers, words, head.where, evidence, remedy, *_out(head))
    return Statistic(ABSENT if scene.calls else math.nan, (), "")


def unnormalised(scene: Scene) -> Statistic:
    """Raw outputs for a loss that takes log-probabilities: it has no lower bound."""
    for op in scene.calls:
        tensor = op.args[0].detach()
        if op.name not in LOG_PROBABILITIES or tensor.ndim < 2:
            continue
        axis = _classes(op)
        rest = tensor.double().logsumexp(axis)
        head = scene.trace.source(op.args[0])
        if head is not None and head.name in SOFTMAXES | SIGMOIDS:
            continue  # told as probabilities
        off = float(rest.abs().max())
        if off < 1e-3 or (op.name == "kl_div" and float(tensor.double().flatten(1).logsumexp(1).abs().max()) < 1e-3):
            continue
        where = head.where if head is not None else op.where
        axis_words = ""
        if head is not None and head.name == "log_softmax":
            axis_words = (
                f"; log_softmax normalises another axis ({head.given(1, 'dim')}) than the loss's classes ({axis})"
            )
        words = f"{op.name} takes log-probabilities, but the outputs are not normalised{axis_words}"
        evidence = ({"measure": f"{words}; log of the sum of their exponentials, 0 where they are", "value": off},)
        remedy = f"Normalise over axis {axis} with log_softmax, or use cross_entropy on the raw outputs."
        return Statistic(CERTAIN, (), words, where, evidence, remedy)
    return Statistic(ABSENT if scene.calls else math.nan, (), "")


def shared(scene: Scene) -> Statistic:
    """Probabilities that compete by a softmax, for targets that do not sum to one."""
    words = "sum of a sample's targets, where a softmax makes the outputs sum to 1"
    for op in scene.calls:
        head = scene.trace.source(op.args[0], {"clamp", "clip", "clamp_"})
        target = op.given(1, "target")
        if op.name not in PROBABILITIES or head is None or head.name not in SOFTMAXES or not isinstance(target, Tensor):
            continue
        axis = head.given(1, "dim")
        if not isinstance(axis, int) or target.ndim <= abs(axis) - (axis < 0) or head.args[0].shape[axis] == 1:
            continue
        if axis % head.args[0].ndim == 0:
            continue  # over the samples, which no target asks for
        sums = target.double().sum(axis)
        off = float(((sums - 1).abs() > 0.01).double().mean())
        if off > 0.02:
            evidence = ({"measure": words, "value": float(sums.mean())},)
            remedy = f"Use sigmoid instead of {head.name}: then each output is a probability of its own."
            return Statistic(off, head.layers, words, head.where, evidence, remedy, *_out(head))
    return Statistic(0.0 if scene.calls else math.nan, (), words)


def out_of_reach(scene: Scene) -> Statistic:
    """Share of targets that the output's last operation cannot return."""
    words = "share of targets outside what the output can be"
    seen = False
    for pair in scene.pairs:
        low, high = interval(scene, pair.prediction)
        head = scene.trace.source(pair.prediction)
        seen = True
        if head is None or not pair.target.is_floating_point() or (low, high) == (-INF, INF):
            continue
        targets = _targets(scene, pair.target)
        slack = 0.01 * max(high - low if math.isfinite(high - low) else 0.0, float(targets.std(correction=0)))
        outside = float(((targets < low - slack) | (targets > high + slack)).double().mean())
        if outside > 0.02:
            evidence: tuple[dict[str, Any], ...] = (
                {"measure": "least target", "value": float(targets.min())},
                {"measure": "largest target", "value": float(targets.max())},
                {"measure": f"{head.name} returns at least", "value": low},
                {"measure": f"{head.name} returns at most", "value": high},
            )
            remedy = (
                f"Take {head.name} off the output{f' ({head.where})' if head.where else ''}, "
                "or bring the targets into its range."
            )
            return Statistic(outside, head.layers, words, head.where, evidence, remedy, *_out(head))
    return Statistic(0.0 if seen else math.nan, (), words)


def _targets(scene: Scene, target: Tensor) -> Tensor:
    """The same of all batches where the target is a batch's own; else of this pass."""
    wholes = [b.target for b in scene.task.batches]
    if target is scene.batch.target and all(isinstance(t, Tensor) for t in wholes):
        return torch.cat([t.flatten() for t in wholes]).double()
    return target.detach().flatten().double()


def interval(scene: Scene, tensor: Any) -> Interval:
    """Bounds that a tensor's last operations set, whatever the network before them returns."""
    op = scene.trace.source(tensor)
    if op is None:
        return -INF, INF
    if op.name in ("clamp", "clip", "clamp_", "hardtanh", "hardtanh_", "clamp_min", "clamp_max"):
        return _clamp(op)
    if op.name == "elu":
        return -float(op.given(1, "alpha", 1.0)), INF
    if op.name in BOUNDS:
        return BOUNDS[op.name]
    if op.name in VECTOR_PRODUCTS:
        size = _unit_products(scene, op)
        return -size, size
    if op.name in NEGATIONS:
        low, high = interval(scene, op.args[0])
        return -high, -low
    rule = ARITHMETIC.get(op.name)
    if rule is not None and len(op.args) == 2:
        inner, constants = _split(op)
        if inner is not None and constants is not None:
            ends = [rule(x, constants) for x in interval(scene, inner)]
            return (-INF, INF) if any(math.isnan(e) for e in ends) else (min(ends), max(ends))
    if op.name in POWERS and op.given(1, "exponent") in (2, 2.0, 4):
        return 0.0, INF
    return -INF, INF


VECTOR_PRODUCTS = {"linear", "matmul", "__matmul__", "mm", "bmm"}


def _unit_products(scene: Scene, op: Op) -> float:
    """Largest product of two vectors whose lengths are given, as normalised ones are; infinite where they are not.

    Vectors that some call made and that are all of one length have been given it.
    """
    a, b = op.args[0], op.given(1, "weight")
    biased = op.name == "linear" and op.given(2, "bias") is not None
    if biased or not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim > 1 and b.ndim > 1):
        return INF
    if scene.trace.source(a) is None or scene.trace.source(b) is None:
        return INF
    lengths = [a.detach().norm(dim=-1), b.detach().norm(dim=-1 if op.name == "linear" else -2)]
    if any(n.numel() < 2 or not float(n.max() - n.min()) <= 1e-3 * float(n.max()) for n in lengths):
        return INF
    return float(lengths[0].max() * lengths[1].max())


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    **dict.fromkeys(SUMS, lambda x, c: x + c),
    **dict.fromkeys(PRODUCTS, lambda x, c: x * c),
    **dict.fromkeys(DIFFERENCES, lambda x, c: x - c),
    **dict.fromkeys(TURNED_DIFFERENCES, lambda x, c: c - x),
    **dict.fromkeys(QUOTIENTS, lambda x, c: x / c if c else math.nan),
}


def _split(op: Op) -> tuple[Tensor | None, float | None]:
    a, b = op.args
    if isinstance(a, Tensor) and isinstance(b, int | float):
        return a, float(b)
    if isinstance(b, Tensor) and isinstance(a, int | float) and op.name not in QUOTIENTS | DIFFERENCES:
        return b, float(a)
    if isinstance(a, Tensor) and isinstance(b, Tensor) and b.numel() == 1 and not b.requires_grad:
        return a, float(b)
    return None, None


def _clamp(op: Op) -> Interval:
    if op.name == "clamp_max":
        return -INF, float(op.given(1, "max"))
    low, high = op.given(1, "min", None), None if op.name == "clamp_min" else op.given(2, "max", None)
    if op.name.startswith("hardtanh"):
        low, high = op.given(1, "min_val", -1.0), op.given(2, "max_val", 1.0)
    bounds = [-INF if low is None else low, INF if high is None else high]
    if any(isinstance(b, Tensor) and b.numel() != 1 for b in bounds):
        return -INF, INF
    return float(bounds[0]), float(bounds[1])


def unsuited(scene: Scene) -> Statistic:
    """Whether probabilities of classes that a softmax makes are held against ones and zeros by absolute differences."""
    words = "absolute differences between probabilities of classes and ones and zeros"
    for pair in scene.pairs:
        head = scene.trace.source(pair.prediction)
        target = pair.target
        if head is None or head.name not in SOFTMAXES or pair.op.name in ("mse_loss", "dist") or target.ndim < 2:
            continue
        absolute = pair.op.name in ("l1_loss", "smooth_l1_loss", "huber_loss") or _absolute(scene, pair.op)
        binary = is_binary(target) and bool((target.sum(1) == 1).all())
        if absolute and binary:
            evidence = ({"measure": f"{words}; classes", "value": target.shape[1]},)
            remedy = "This is a loss of regression: use cross-entropy on the logits for a classification."
            return Statistic(CERTAIN, (), words, pair.op.where, evidence, remedy, *_out(head))
    return Statistic(ABSENT if scene.pairs else math.nan, (), words)


def _absolute(scene: Scene, difference: Op) -> bool:
    """Whether absolute values are taken of a difference."""
    return any(op.name in ("abs", "absolute") and op.args and op.args[0] is difference.out for op in scene.trace.ops)


def dead_readout(scene: Scene) -> Statistic:
    """Share of output units that a clipping operation holds at its bound for every sample, where targets differ."""
    words = "share of output units that are at the bound of their activation for every sample"
    tensors = [op.args[0] for op in scene.calls] + [p.prediction for p in scene.pairs]
    for tensor in tensors[:1]:
        head = scene.trace.source(tensor)
        if head is None or head.name not in CLIPPERS | {"clamp", "clip"}:
            continue
        low, high = interval(scene, tensor)
        both = scene.outputs()
        values = both[0] if both is not None and both[0].shape[1:] == tensor.shape[1:] else tensor.detach()
        rows = values.double()[:, None] if values.ndim == 1 else values.double()
        if len(rows) < 8:
            continue
        units = rows.movedim(1, -1).flatten(0, -2)
        dead = ((units <= low).all(0) | (units >= high).all(0)).double()
        evidence = ({"measure": "units", "value": dead.numel()},)
        return Statistic(float(dead.mean()), head.layers, words, head.where, evidence)
    return Statistic(math.nan, (), words)
