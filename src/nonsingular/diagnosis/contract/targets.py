"""Targets against outputs and loss: shapes, admissible values, scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nonsingular.diagnosis.contract import floor
from nonsingular.diagnosis.contract.scene import DISTANCES, MARGINS, Pair, Scene, labels_of
from nonsingular.diagnosis.contract.trace import TRANSPOSES, VIEWS, Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import is_binary

LABELS = {"cross_entropy", "nll_loss"}
UNITS_LAST = {"linear", "lstm", "gru", "rnn_tanh", "multi_head_attention_forward", "addmm", "matmul", "__matmul__"}
OF_PAIRS = {"cosine_embedding_loss", "margin_ranking_loss"}
"""Losses of two outputs, whose third argument says what they should be to each other."""
BOUNDED_01 = {"binary_cross_entropy", "binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"}


# --- shapes --------------------------------------------------------------------------------------------------


def broadcast(scene: Scene) -> Statistic:
    """Entries of the compared tensor over those of the prediction, where shapes differ and are broadcast."""
    words = "comparisons for each target, because the shapes of output and target are broadcast"
    direct = [Pair(op.args[0], op.given(1, "target"), op) for op in scene.calls if op.name in DISTANCES]
    for pair in [*direct, *scene.meetings]:
        a, b = tuple(pair.prediction.shape), tuple(pair.target.shape)
        try:
            whole = torch.broadcast_shapes(a, b)
        except RuntimeError:
            continue
        size = math.prod(whole)
        own = pair.op.name in DISTANCES
        if (
            a == b
            or not (own or pair.prediction.numel() == pair.target.numel())
            or (size <= max(math.prod(a), math.prod(b)) and not own)
        ):
            continue
        if not b and not own:
            continue
        evidence: list[Mapping[str, Any]] = [
            {"measure": f"output {a} against target {b} is compared as {tuple(whole)}; entries", "value": size},
            {"measure": "entries of the output", "value": pair.prediction.numel()},
        ]
        remedy = f"Give both the same shape: target.view_as(output), or output.squeeze(-1) with a target of {a[:1]}."
        return Statistic(1.0, (), words, pair.op.where, tuple(evidence), remedy)
    return Statistic(0.0 if direct or scene.meetings else math.nan, (), words)


def class_axis(scene: Scene) -> Statistic:
    """Whether cross-entropy, which takes classes along axis 1, gets a layer's units along the last axis."""
    words = "classes are taken along axis 1, but the layer's units lie along the last axis"
    seen = False
    for op in scene.calls:
        tensor = op.args[0]
        if op.name not in LABELS or tensor.ndim < 3:
            continue
        seen = True
        source, axis = _unit_axis(scene, tensor)
        if source is not None and axis == tensor.ndim - 1:
            evidence = ({"measure": f"shape of the output {tuple(tensor.shape)}; its last axis", "value": axis},)
            remedy = "Move the classes to axis 1: output.transpose(1, -1), or flatten samples and positions."
            return Statistic(1.0, source.layers, words, op.where, evidence, remedy)
    return Statistic(0.0 if seen else math.nan, (), words)


def _unit_axis(scene: Scene, tensor: Tensor) -> tuple[Op | None, int]:
    """Where the units of the layer behind a tensor are, if nothing moved them; -1 where that is not known."""
    for op in scene.trace.back(tensor):
        if op.name in UNITS_LAST:
            return op, tensor.ndim - 1
        moves = op.name in TRANSPOSES or (op.name in VIEWS and _shape(op.args[0]) != _shape(op.out))
        if moves or (op.name not in VIEWS and op.name not in ("log_softmax", "softmax", "add", "relu")):
            return None, -1
    return None, -1


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x.shape) if isinstance(x, Tensor) else ()


def scrambled(scene: Scene) -> Statistic:
    """A reshape that gives axes the lengths of another order: it moves entries between places instead of axes."""
    words = "axes in another order by a reshape, which takes entries to other places than a transposition"
    for op in scene.trace.ops:
        if op.name not in ("view", "reshape") or not op.args or not isinstance(op.out, Tensor):
            continue
        before, after = _shape(op.args[0]), _shape(op.out)
        length = _moved(before, after)
        if not length:
            continue
        evidence = (
            {"measure": f"{op.name} from {before} to {after}; length of the axis out of place", "value": length},
        )
        remedy = f"Use transpose or permute to move the axis, and {op.name} after it."
        return Statistic(1.0, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)


def _moved(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Length of an axis that a reshape was meant to move; 0 where it only joins or parts neighbours.

    The new lengths are those of one axis moved as it is, and of the others joined in their order; and joining or
    parting the old axes where they are does not give them.
    """
    old = [n for n in before if n != 1]
    new = [n for n in after if n != 1]
    if len(old) < 2 or len(new) < 2 or math.prod(old) != math.prod(new) or _joins(old, new):
        return 0
    for i, length in enumerate(old):
        rest = old[:i] + old[i + 1 :]
        for j, other in enumerate(new):
            moved = other == length and math.prod(old[:i]) != math.prod(new[:j])
            if moved and _joins(rest, new[:j] + new[j + 1 :]):
                return length
    return 0


def _joins(old: list[int], new: list[int]) -> bool:
    """Whether the new lengths come of joining neighbours alone."""
    left = list(old)
    for length in new:
        product = 1
        while left and product < length:
            product *= left.pop(0)
        if product != length:
            return False
    return not left


# --- values --------------------------------------------------------------------------------------------------


def inadmissible(scene: Scene) -> Statistic:
    """Share of targets that the loss does not take: labels out of range, class numbers, what is no probability."""
    words = "share of targets that the loss does not take"
    seen = False
    for op in scene.trace.ops:
        target = _target(op)
        if target is None:
            continue
        seen = True
        bad, why, remedy = _bad(op, target, _everywhere(scene, target))
        if bad > 0:
            values = _everywhere(scene, target).double()
            evidence = (
                {"measure": f"{why}; least target", "value": float(values.min())},
                {"measure": "largest target", "value": float(values.max())},
            )
            return Statistic(bad, (), words, op.where, evidence, remedy)
    return Statistic(0.0 if seen else math.nan, (), words)


def _target(op: Op) -> Tensor | None:
    if op.name not in LABELS | BOUNDED_01 | MARGINS | OF_PAIRS | {"kl_div", "poisson_nll_loss"}:
        return None
    target = op.given(2 if op.name in OF_PAIRS else 1, "target")
    return target if isinstance(target, Tensor) and target.numel() else None


def _everywhere(scene: Scene, target: Tensor) -> Tensor:
    """The target of all batches where this is one as the user gave it."""
    wholes = [b.target for b in scene.task.batches]
    own = scene.batch.target
    alike = isinstance(own, Tensor) and own.dtype == target.dtype and own.numel() == target.numel()
    if alike and all(isinstance(t, Tensor) for t in wholes) and torch.equal(own.flatten(), target.detach().flatten()):
        try:
            return torch.cat([t.reshape(-1, *target.shape[1:]) for t in wholes])
        except RuntimeError:
            return target
    return target


def _bad(op: Op, target: Tensor, values: Tensor) -> tuple[float, str, str]:
    """Share, reason and remedy."""
    classes = op.args[0].shape[1] if op.args[0].ndim > 1 else op.args[0].shape[0]
    if op.name in LABELS and not target.is_floating_point():
        ignored = values == op.given(_IGNORE[op.name], "ignore_index", -100)
        out = ((values < 0) | (values >= classes)) & ~ignored
        share = float(out.double().mean())
        return (
            share,
            f"labels must be 0 to {classes - 1}",
            "Number the classes from 0, and give the network an output each.",
        )
    if op.name == "cross_entropy":
        sums = values.double().sum(1) if values.ndim > 1 else values.double()
        out = ((sums - 1).abs() > 0.01) | (values.double().flatten(1).amin(1) < -1e-6 if values.ndim == 2 else False)
        remedy = "Several labels a sample need binary_cross_entropy_with_logits; one label, its class number."
        return float(out.double().mean()), "targets of cross_entropy must be probabilities that sum to 1", remedy
    if op.name in BOUNDED_01:
        out = (values.double() < 0) | (values.double() > 1)
        remedy = "Class numbers need cross_entropy with an output each; two classes are 0 and 1."
        return float(out.double().mean()), f"targets of {op.name} must lie in [0, 1]", remedy
    if op.name in MARGINS | OF_PAIRS:
        out = values.double().abs() != 1
        return (
            float(out.double().mean()),
            f"targets of {op.name} must be -1 or 1",
            "Use 2 * target - 1 for targets 0 and 1.",
        )
    if op.name == "kl_div" and not op.given(4, "log_target", False):
        out = values.double() < 0
        return (
            float(out.double().mean()),
            "targets of kl_div must be probabilities",
            "Give probabilities, or log_target=True.",
        )
    if op.name == "poisson_nll_loss":
        return float((values.double() < 0).double().mean()), "counts cannot be negative", "Give counts."
    return 0.0, "", ""


_IGNORE = {"cross_entropy": 4, "nll_loss": 4}


@contextmanager
def lenient() -> Iterator[None]:
    """Targets out of range count as the nearest in range, so that the network itself can be looked at."""

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if getattr(func, "__name__", "") in LABELS and len(args) > 1 and not args[1].is_floating_point():
                labels, classes = args[1], args[0].shape[1 if args[0].ndim > 1 else 0]
                ignored = labels == kwargs.get("ignore_index", -100)
                args = (args[0], torch.where(ignored, labels, labels.clamp(0, classes - 1)), *args[2:])
            elif getattr(func, "__name__", "") in BOUNDED_01 and len(args) > 1:
                args = (args[0], args[1].clamp(0, 1), *args[2:])
            return func(*args, **kwargs)

    with Mode():
        yield


def swapped(scene: Scene) -> Statistic:
    """Whether outputs and targets change places in a loss that does not treat them alike."""
    words = "the outputs are given as the targets of the loss, and the targets as its outputs"
    if not scene.swapped:
        return Statistic(0.0 if scene.calls else math.nan, (), words)
    op = scene.swapped[0]
    evidence = ({"measure": f"{op.name} whose target wants a gradient; calls", "value": len(scene.swapped)},)
    return Statistic(1.0, (), words, op.where, evidence, f"Call {op.name}(output, target), in this order.")


def constant(scene: Scene) -> Statistic:
    """Whether all targets are the same, and no goal: there is nothing to tell apart."""
    found = _same_targets(scene)
    return replace(found, value=0.0) if found.value == 1 and _goal(scene) else found


def goal(scene: Scene) -> Statistic:
    """Whether all targets are the same, as an adversary's or a residual's goal is, or labels of a batch by chance."""
    found = _same_targets(scene)
    remedy = "If they are labels, look at how they are made, or give more batches."
    return replace(found, value=0.0 if found.value == 1 and not _goal(scene) else found.value, remedy=remedy)


def _same_targets(scene: Scene) -> Statistic:
    words = "different targets"
    targets = [b.target for b in scene.task.batches]
    if not all(isinstance(t, Tensor) and t.numel() for t in targets) or sum(b.samples for b in scene.task.batches) < 16:
        return Statistic(math.nan, (), words)
    if (not scene.calls and not scene.pairs) or not scene.reads_target:
        return Statistic(math.nan, (), words)
    rows = [t.reshape(t.shape[0], -1) if t.ndim else t.reshape(1, 1) for t in targets]
    same = all(bool((r == rows[0][:1]).all()) for r in rows if r.shape[1:] == rows[0].shape[1:])
    samples = sum(b.samples for b in scene.task.batches)
    evidence = ({"measure": "different targets", "value": 1}, {"measure": "among samples", "value": samples})
    remedy = "Look at how the targets are made: they are the same for every sample."
    return Statistic(float(same), (), words, "", evidence, remedy)


def _goal(scene: Scene) -> bool:
    """Whether one number is wanted of every output: yes or no by a loss of two classes, or 0, 1 or -1 by a distance."""
    target = scene.task.batches[0].target
    if not target.is_floating_point() or not bool((target == target.flatten()[0]).all()):
        return False
    binary = any(op.name in BOUNDED_01 | MARGINS for op in scene.calls)
    return binary or float(target.flatten()[0]) in (-1.0, 0.0, 1.0)


def ignored(scene: Scene) -> Statistic:
    """Decades by which the slope of the loss by the outputs changes less than itself when targets change places.

    At outputs of several sizes: at its floor a hinge looks at no target, and beside huge outputs any is a small change.
    Among the targets too, where they are numbers: far from all of them some losses have one slope.
    """
    words = "decades by which targets that change places change less of the loss's slope than there is"
    unknown = Statistic(math.nan, (), words)
    target, output = scene.batch.target, scene.output
    usable = isinstance(target, Tensor) and isinstance(output, Tensor) and target.ndim and scene.reads_target
    if scene.task.form != "output" or scene.loss is None or not usable or broadcast(scene).value == 1:
        return unknown  # each output against all targets: their order is lost, and that is told
    if len(target) < floor.FEWEST or output.shape[0] != len(target):
        return unknown
    other, moved = floor.in_another_order(target)
    if float(moved.double().mean()) < 0.25:
        return unknown
    point = output.detach() / max(1.0, float(output.detach().double().square().mean().sqrt()))
    among = [target.roll(1, 0).to(point.dtype)] if target.is_floating_point() and target.shape == point.shape else []
    places = (point, *floor.elsewhere(point), *among)
    changes = [c for at in places if (c := _share_changed(scene, at, other)) is not None]
    if not changes:
        return unknown
    evidence = ({"measure": "share of the slope that changes with the targets", "value": max(changes)},)
    remedy = "Look at what the loss does with its targets: a label_smoothing of 1, a weight of 0, another variable."
    where = next((op.where or op.name for op in scene.calls), "")
    return Statistic(-math.log10(max(*changes, 1e-16)), (), words, where, evidence, remedy)


def _share_changed(scene: Scene, output: object, other: Tensor) -> float | None:
    """Share of the loss's slope by these outputs that other targets change; None where it is none, or random."""
    own = floor.slope(scene.task, output, scene.batch)
    size = math.nan if own is None else float(own.norm())
    if own is None or not 0 < size < math.inf:
        return None
    found = floor.change(scene.task, output, scene.batch, other, own)
    return None if found is None else found / size


def left_out(scene: Scene) -> Statistic:
    """Share of the labels that are left out although their class is one of the network's."""
    words = "share of the labels that the loss leaves out, although their class has an output"
    for op in scene.calls:
        target = op.given(1, "target")
        if op.name not in LABELS or not isinstance(target, Tensor) or target.is_floating_point():
            continue
        index = op.given(_IGNORE[op.name], "ignore_index", -100)
        whole = _everywhere(scene, target)
        out = whole == index
        own = scene.batch.target
        padding = isinstance(own, Tensor) and own.ndim > 1 and own.numel() == target.numel() and _at_ends(own == index)
        if not 0 <= index < op.args[0].shape[1 if op.args[0].ndim > 1 else 0] or padding:
            return Statistic(0.0, (), words)
        evidence = (
            {"measure": f"labels of class {index}, which ignore_index={index} leaves out", "value": int(out.sum())},
        )
        remedy = f"Leave ignore_index={index} out, or give it a number that is no class, such as -100."
        return Statistic(float(out.double().mean()), (), words, op.where or op.name, evidence, remedy)
    return Statistic(math.nan, (), words)


def padding_counted(scene: Scene) -> Statistic:
    """Share of the targets that are padding, and that the loss counts: a token that comes at the ends alone."""
    words = "share of the targets that are padding and count in the loss"
    target = scene.batch.target
    for op in scene.calls:
        given = op.given(1, "target")
        if op.name not in LABELS or not isinstance(given, Tensor) or given.is_floating_point():
            continue
        if not isinstance(target, Tensor) or target.ndim != 2 or target.numel() != given.numel():
            return Statistic(math.nan, (), words)
        last = int(target[:, -1].mode().values)
        out = target == last
        run = out.flip(1).long().cumprod(1).flip(1).bool()
        varied = len(run.sum(1).unique()) > 2 and float(run.any(1).double().mean()) > 0.5
        ignored = last == op.given(_IGNORE[op.name], "ignore_index", -100) or op.kwargs.get("reduction") == "none"
        if not varied or ignored or not torch.equal(run, out) or len(target) < floor.FEWEST:
            return Statistic(0.0, (), words)
        evidence = ({"measure": f"targets that are {last}, which comes at the ends alone", "value": int(out.sum())},)
        remedy = f"Leave padding out: ignore_index={last}, so that the loss is about the tokens."
        return Statistic(float(out.double().mean()), (), words, op.where or op.name, evidence, remedy)
    return Statistic(math.nan, (), words)


def _at_ends(out: Tensor) -> bool:
    """Whether what is left out is padding: in nearly every row all of it lies behind, or before, the rest."""
    rows = out.reshape(-1, out.shape[-1]).long()
    padded = rows.diff(dim=1).ne(0).sum(1) <= 1
    return float(padded.double().mean()) > 0.9


def weighed(scene: Scene) -> dict[str, Statistic]:
    """``outweighed`` and ``enlarged-lead``: what weights in the loss do to the balance of the classes.

    Decades by which a class outweighs all others together though it is not the most frequent one; and those by which
    weights enlarge the lead of the most frequent.
    """
    words = {
        "outweighed": "decades by which the loss's weights make one class count for more than all others together",
        "enlarged-lead": "decades by which the loss's weights enlarge the lead of the most frequent class",
    }
    nothing = {name: Statistic(math.nan, (), w) for name, w in words.items()}
    scene = scene.every_class
    for op in scene.calls:
        masses = _masses(scene, op)
        if masses is None:
            continue
        pulled, counted = masses
        share, label = (float(x) for x in pulled.max(0))
        most = float(counted.max())
        if int(label) == int(counted.argmax()) and most > 0.6:
            name, decades = "enlarged-lead", _decades(share) - _decades(most)
        else:
            name, decades = "outweighed", _decades(share)
        evidence = (
            {"measure": f"share of the samples that are of class {int(label)}", "value": float(counted[int(label)])},
            {"measure": "share of what the loss weighs", "value": share},
        )
        remedy = "Weigh classes by the inverse of their frequency: pos_weight is negatives over positives, no more."
        return nothing | {name: Statistic(decades, (), words[name], op.where or op.name, evidence, remedy)}
    return nothing


def balanced(scene: Scene) -> bool:
    """Whether weights in the loss make up for how many samples the classes have."""
    scene = scene.every_class
    both = next((m for op in scene.calls if (m := _masses(scene, op)) is not None), None)
    return both is not None and float(both[0].max()) < min(0.85, float(both[1].max()) - 0.05)


def _decades(share: float) -> float:
    return math.log10(max(share, 1e-12) / max(1 - share, 1e-12))


def _masses(scene: Scene, op: Op) -> tuple[Tensor, Tensor] | None:
    """Of each class: its share of the slopes by outputs of zero, and of the samples; None where there are none."""
    target, output = op.given(1, "target"), op.args[0]
    if op.name not in ("cross_entropy", "binary_cross_entropy_with_logits") or not isinstance(target, Tensor):
        return None
    binary = op.name != "cross_entropy"
    if binary != target.is_floating_point() or (binary and not is_binary(target)):
        return None
    point = torch.zeros_like(output, requires_grad=True)
    options = {**op.kwargs, "reduction": "none"}
    try:
        with torch.enable_grad():
            each = getattr(torch.nn.functional, op.name)(point, *op.args[1:5], **options)
            outer = _outer(scene, op.out)
            [slope] = torch.autograd.grad((each * outer).sum() if outer.shape == each.shape else each.sum(), [point])
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    pull = slope.double().abs()
    pull, labels = (pull.flatten(), target.flatten().long()) if binary else (pull.sum(1).flatten(), target.flatten())
    counts = torch.bincount(labels[labels >= 0]).double()
    if len(labels) < 16 or int((counts > 0).sum()) < 2 or pull.numel() != labels.numel():
        return None
    each = torch.zeros_like(counts).index_add_(0, labels.clamp(min=0), pull * (labels >= 0)) / counts.clamp(min=1)
    own, every = labels_of(scene.batch), scene.labels
    if own is not None and every is not None and torch.equal(own, labels):
        counts = torch.bincount(every[every >= 0], minlength=len(counts)).double()[: len(counts)]
    masses = each * counts
    return (masses / masses.sum(), counts / counts.sum()) if float(masses.sum()) > 0 else None


def _outer(scene: Scene, each: Any) -> Tensor:
    """By what the loss multiplies the losses of samples afterwards; 1 where it is one number already."""
    one = torch.ones(())
    if scene.loss is None or not isinstance(each, Tensor) or each.numel() < 2 or not each.requires_grad:
        return one
    [slope] = torch.autograd.grad(scene.loss, [each], retain_graph=True, allow_unused=True)
    return one if slope is None else slope.detach()


# --- scale ---------------------------------------------------------------------------------------------------


def large(scene: Scene) -> Statistic:
    """Decades by which targets are larger than outputs, of a distance that is not told so."""
    words = "decades by which the targets are larger than the outputs"
    sizes = _sizes(scene)
    if sizes is None:
        return Statistic(math.nan, (), words)
    out, target, _, _ = sizes
    remedy = "Standardise the targets, (y - mean) / deviation, and undo it on the predictions."
    return Statistic(
        math.log10(target / max(out, 1.0)) if target > 0 else math.nan, (), words, "", _evidence(sizes), remedy
    )


def small(scene: Scene) -> Statistic:
    """Decades by which the targets' spread is below that of the outputs, where it is the targets that are odd."""
    words = "decades by which the targets spread less than the outputs"
    sizes = _sizes(scene)
    if sizes is None:
        return Statistic(math.nan, (), words)
    _, _, out, target = sizes
    odd = target > 0 and out > 0 and abs(math.log10(target)) > abs(math.log10(out))
    remedy = "Standardise the targets, (y - mean) / deviation, and undo it on the predictions."
    return Statistic(math.log10(out / target) if odd else math.nan, (), words, "", _evidence(sizes), remedy)


def _evidence(sizes: tuple[float, float, float, float]) -> tuple[Mapping[str, Any], ...]:
    names = ("root mean square of the outputs", "of the targets", "deviation of the outputs", "of the targets")
    return tuple({"measure": name, "value": value} for name, value in zip(names, sizes, strict=True))


def _sizes(scene: Scene) -> tuple[float, float, float, float] | None:
    """Root mean square of outputs and targets, deviation of both; None where no distance compares them."""
    if not scene.pairs:
        return None
    pair = scene.pairs[0]
    if not pair.target.is_floating_point() or not torch.isfinite(pair.prediction).all():
        return None
    out, target = pair.prediction.detach().double(), _everywhere(scene, pair.target).double()
    over = lambda x: float(x.var(0, correction=0).mean().sqrt()) if x.ndim and len(x) > 1 else 0.0  # noqa: E731
    return float(out.square().mean().sqrt()), float(target.square().mean().sqrt()), over(out), over(target)
