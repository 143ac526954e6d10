"""What changes when inputs are changed: samples that see one another, networks that are affine in their input."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.batches import square
from nonsingular.diagnosis.contract.narrow import DROPOUTS
from nonsingular.diagnosis.contract.scene import Scene, passes
from nonsingular.diagnosis.contract.trace import Op, Trace
from nonsingular.diagnosis.neighbours import chance_of_neighbours
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.tokens import chance_of_tokens
from nonsingular.errors import InputError
from nonsingular.objective import Batch

PROBED = 13  # samples: a length that no other axis is likely to have
PRECISION = 1e-4  # of the outputs' spread: more is no rounding
ROUNDING = 1e-6  # of the outputs: samples that differ by less have one output
ALONG_AN_AXIS = ("lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward")
"""What goes along the first axis of its inputs unless it is made with ``batch_first``."""
WEIGHTED = {
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "addmm",
    "matmul", "__matmul__", "mm", "bmm", "einsum", "bilinear", "baddbmm",
}  # fmt: skip


def mixed(scene: Scene) -> Statistic:
    """By how much a sample's output moves when only the others change, as a part of how outputs differ."""
    words = "change of a sample's output when only the other samples change, over the spread of the outputs"
    unknown = Statistic(math.nan, (), words)
    batch = _few(scene, PROBED)
    if batch is None or _shares(scene, batch):
        return unknown
    n = batch.samples
    kept = n // 2
    # Not a permutation: means, softmax and attention over samples would not notice.
    order = torch.tensor([n - 1] * kept + [kept] + [0] * (n - kept - 1))
    others = tree_map_only(Tensor, lambda t: t[order.to(t.device)] if t.ndim and t.shape[0] == n else t, batch.inputs)
    try:
        one, same, two = passes(scene.task, [batch.inputs, batch.inputs, others], n)
    except InputError:
        return unknown
    last, again, moved = (_last(t) for t in (one, same, two))
    if last is None or again is None or moved is None or not last.ndim or last.shape[0] != n or n < 4:
        return unknown
    if last.shape != moved.shape or not torch.isfinite(last).all() or not torch.equal(last, again):
        return unknown
    spread = float(last.double().std(0).mean())
    change = float((moved[kept].double() - last[kept].double()).square().mean().sqrt())
    alike = not spread > ROUNDING * float(last.abs().max())
    place, then = _where_mixed(one, two, n, kept) if alike or change > PRECISION * spread else (None, None)
    if alike:  # of what is mixed nothing reaches the outputs: where it happens it can be seen
        if place is None or then is None or place.name not in ALONG_AN_AXIS:
            return unknown
        words = "change of what a layer returns for a sample when only the other samples change, over its size"
        change, spread = _change_of(place.out, then.out, n, kept)
        if not spread > 0:
            return unknown
    if place is not None and scene.task.compares and _in_the_comparison(scene, one, place, n):
        return unknown
    layers = place.layers if place is not None else ()
    remedy = f"Look at {place.name} ({place.where}): " if place is not None else ""
    remedy += _mixing_remedy(place)
    evidence = ({"measure": "samples in the pass", "value": n},)
    where = place.where if place is not None else ""
    of = place.told if place is not None else ""
    return Statistic(change / spread, layers, words, where, evidence, remedy, of)


ATTENTION = {"multi_head_attention_forward", "scaled_dot_product_attention", "_transformer_encoder_layer_fwd"}


def orderless(scene: Scene) -> Statistic:
    """Whether a network with attention does not see the order of its inputs, and the targets hang on that order."""
    words = "the outputs are the same in whatever order the positions come"
    unknown = Statistic(math.nan, (), words)
    leaves = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    attends = any(op.name in ATTENTION for op in scene.trace.ops)
    batch = _few(scene, PROBED)
    if not attends or batch is None or len(leaves) != 1 or leaves[0].ndim not in (2, 3) or leaves[0].shape[1] < 4:
        return unknown
    x = next(t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor))
    if x.ndim == 2 and x.is_floating_point():
        return unknown  # a table
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    try:
        one, two = passes(scene.task, [batch.inputs, _instead(batch.inputs, x[:, order])], batch.samples)
    except InputError:
        return unknown
    a, b = _last(one), _last(two)
    if a is None or b is None or a.shape != b.shape or not bool(torch.isfinite(a).all()):
        return unknown
    spread = float(a.double().std(0).mean())
    if not spread > 1e-6 * float(a.abs().max()):
        return unknown
    moved = float((a.double() - b.double()).abs().max())
    if moved > 1e-3 * spread or not _hangs_on_order(scene):
        return Statistic(0.0, (), words)
    evidence = (
        {"measure": "change of the outputs when positions change places, over their spread", "value": moved / spread},
        {"measure": "positions", "value": x.shape[1]},
    )
    remedy = "Add an embedding of the position to each token before the first layer of attention."
    where = next((op.module or op.where for op in one.ops if op.name in ATTENTION), "")
    return Statistic(1.0, (where,) if where else (), words, "", evidence, remedy)


def _hangs_on_order(scene: Scene) -> bool:
    """Whether what is there, in whatever order, tells nothing of the targets, and in its order does."""
    batches = scene.task.batches
    try:
        x = torch.cat([next(t for t in tree_leaves(b.inputs) if isinstance(t, Tensor)) for b in batches])
        y = torch.cat([b.target for b in batches])
    except (RuntimeError, TypeError):
        return False
    if len(x) < 128 or y.ndim > 2 or len(y) != len(x):
        return False
    if not x.is_floating_point():
        without, within = (chance_of_tokens(x.long().cpu(), y, ordered) for ordered in (False, True))
    else:
        x, y = x[:512], y[:512]
        without, within = (chance_of_neighbours(Batch(given, y, len(y))) for given in (x.double().mean(1), x))
    return without > 0.1 and within <= 0.01


def random_in_evaluation(scene: Scene) -> Statistic:
    """Whether dropout is active, or normalisation takes the batch's statistics, after ``model.eval()``."""
    words = "calls that behave as in training although the model is in evaluation mode"
    try:
        [trace] = passes(scene.task, [scene.batch.inputs], scene.batch.samples)
    except InputError:
        return Statistic(math.nan, (), words)
    for op in trace.ops:
        chance = _dropped(op)
        if chance > 0 and not isinstance(_module(scene, op), nn.modules.dropout._DropoutNd):
            evidence = ({"measure": f"probability of dropout by {op.name} in evaluation mode", "value": chance},)
            remedy = f"Pass training=self.training to {op.name}, or use nn.Dropout, which model.eval() switches off."
            if op.name == "scaled_dot_product_attention":
                remedy = f"Give {op.name} dropout_p=p if self.training else 0.0: it knows no modes."
            return Statistic(1.0, (), words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)


def _dropped(op: Op) -> float:
    """The chance with which a call drops numbers."""
    if op.name in DROPOUTS:
        return float(op.given(1, "p", 0.5)) if op.given(2, "training", True) else 0.0
    if op.name == "scaled_dot_product_attention":
        return float(op.given(4, "dropout_p", 0.0))
    if op.name == "multi_head_attention_forward" and op.given(13, "training", True):
        return float(op.given(10, "dropout_p", 0.0))
    return 0.0


def _module(scene: Scene, op: Op) -> nn.Module | None:
    return scene.task.model.get_submodule(op.module) if op.module else None


def _mixing_remedy(place: Op | None) -> str:
    name = place.name if place is not None else ""
    if name in ALONG_AN_AXIS:
        return "its first axis is time unless it is made with batch_first=True."
    if name in ("softmax", "log_softmax"):
        return "normalise over the classes' axis, not over the samples'."
    if name in ("view", "reshape"):
        return "a reshape must keep the samples' axis; use transpose or permute to move it."
    return "keep samples apart: no statistics, softmax, recurrence or reshape over the samples' axis."


def _few(scene: Scene, wanted: int) -> Batch | None:
    """So many samples of the traced batch; None where there are fewer than four."""
    batch = scene.batch
    few = batch.split(wanted)[0] if batch.samples > wanted else batch
    return few if few.samples >= 4 else None


def _shares(scene: Scene, batch: Batch) -> bool:
    """Whether samples belong together by design: inputs of other lengths (graphs), or tables of sample by sample."""
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
    if any(not t.ndim or t.shape[0] != batch.samples for t in leaves):
        return True
    whole = {b.samples for b in scene.task.batches} | {batch.samples}
    tables = {t.shape[0] for t in leaves if t.ndim >= 2 and t.shape[0] == t.shape[1] > 3} | square(scene.task.model)
    return bool(tables & whole) or _by_batch(scene)


def _by_batch(scene: Scene) -> bool:
    """Normalisations that have no running statistics use the batch's by design."""
    norms = torch.nn.modules.batchnorm._BatchNorm
    return any(isinstance(m, norms) and not m.track_running_stats for m in scene.task.model.modules())


def _last(trace: Trace) -> Tensor | None:
    """The last floating-point tensor that the model computed."""
    for op in reversed(trace.ops):
        for t in tree_leaves(op.out):
            if isinstance(t, Tensor) and t.is_floating_point() and t.ndim:
                return t.detach()
    return None


def _in_the_comparison(scene: Scene, trace: Trace, place: Op, n: int) -> bool:
    """Whether samples are kept apart until outputs compare them."""
    try:
        [fewer] = passes(scene.task, [scene.batch.split(n - 1)[0].inputs], n - 1)
    except InputError:
        return False
    for op, less in zip(trace.ops, fewer.ops, strict=False):
        if _grows(op.out, less.out):
            return True
        if op is place and not _several_views(op.out, n):
            return False
    return False


def _several_views(out: Any, n: int) -> bool:
    """Whether samples lie along an axis several times, where what belongs to one is not known."""
    return any(size > n and size % n == 0 for t in tree_leaves(out) if isinstance(t, Tensor) for size in t.shape)


def _grows(a: Any, b: Any) -> bool:
    """Whether of more samples a tensor is larger along more than one axis."""
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=False)
    both = [(x.shape, y.shape) for x, y in pairs if isinstance(x, Tensor) and isinstance(y, Tensor)]
    return any(len(x) == len(y) and sum(p > q for p, q in zip(x, y, strict=True)) > 1 for x, y in both)


def _where_mixed(one: Trace, two: Trace, n: int, kept: int) -> tuple[Op, Op] | tuple[None, None]:
    """The first call, in both passes, whose result for the kept sample moved although what it was given did not."""
    if len(one.ops) != len(two.ops):
        return None, None
    moved: set[int] = set()
    for a, b in zip(one.ops, two.ops, strict=True):
        if _changed(a.out, b.out, n, kept):
            if not any(id(t) in moved for t in a.tensors):
                return a, b
            moved |= {id(t) for t in tree_leaves(a.out) if isinstance(t, Tensor)}
    return None, None


def _change_of(a: Any, b: Any, n: int, kept: int) -> tuple[float, float]:
    """Root mean squares of the change of the kept sample's part of what a call returned, and of that part.

    Nothing of either where nothing that it returned has samples.
    """
    for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True):
        if isinstance(x, Tensor) and x.is_floating_point() and n in x.shape and _changed(x, y, n, kept):
            own, other = (t.detach().double().select(list(x.shape).index(n), kept) for t in (x, y))
            return float((own - other).square().mean().sqrt()), float(own.square().mean().sqrt())
    return 0.0, 0.0


def _changed(a: Any, b: Any, n: int, kept: int) -> bool:
    for x, y in zip(tree_leaves(a), tree_leaves(b), strict=False):
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.is_floating_point() and x.shape == y.shape):
            continue
        x, y = x.detach(), y.detach()
        axes = [axis for axis in range(x.ndim) if x.shape[axis] == n]
        if not axes:
            return not torch.equal(x, y)
        p, q = (t.select(axes[0], kept).double() for t in (x, y))
        if float((p - q).abs().max()) > 1e-5 * float(x.double().abs().max()):
            return True
    return False


# --- affine --------------------------------------------------------------------------------------------------


def affine(scene: Scene) -> Statistic:
    """Decades by which a network with several layers is closer to an affine map than its outputs spread."""
    words = "decades by which the network differs less from an affine map of its inputs than its outputs spread"
    unknown = Statistic(math.nan, (), words)
    inputs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    if len(inputs) != 1 or not inputs[0].is_floating_point() or scene.batch.samples < 4:
        return unknown
    deep = [op for op in scene.trace.ops if not op.in_loss and op.name in WEIGHTED and _behind_parameters(op)]
    if not deep or not _uses_parameters(deep[-1]) or _begins_with_zeros(scene):
        return unknown
    few = _few(scene, PROBED)
    if few is None or _bottleneck(deep, inputs[0], scene.batch.samples):
        return unknown
    x = next(t for t in tree_leaves(few.inputs) if isinstance(t, Tensor))
    y = x.flip(0) if few.samples % 2 == 0 else x.roll(1, 0)
    forms = [_instead(few.inputs, v) for v in (x, y, (x + y) / 2)]
    try:
        a, b, middle = (_readout(t) for t in passes(scene.task, forms, few.samples))
    except InputError:
        return unknown
    if a is None or b is None or middle is None or not a.shape == b.shape == middle.shape:
        return unknown
    a, b, middle = a.double(), b.double(), middle.double()
    spread = float((a - b).square().mean().sqrt())
    off = float((middle - (a + b) / 2).square().mean().sqrt())
    rounding = 1e-7 * float(a.abs().max())
    if not spread > 100 * rounding or not math.isfinite(spread + off):
        return unknown
    value = math.log10(spread / max(off, rounding))
    explained = _affine_fit(scene)
    evidence = [{"measure": "layers with weights behind one another", "value": len(deep) + 1}]
    if explained is not None:
        evidence.append(
            {"measure": "share of the targets' variance that any affine map can explain", "value": explained}
        )
    layers = tuple(dict.fromkeys(op.module for op in deep if op.module))
    return Statistic(value, layers, words, "", tuple(evidence))


def _begins_with_zeros(scene: Scene) -> bool:
    """Whether branches are switched off at the start (Fixup, ReZero, LoRA): affine there says nothing of training."""
    chosen = (p for p in scene.task.model.parameters() if p.requires_grad and (p.ndim > 1 or p.numel() == 1))
    return any(p.numel() > 0 and not bool(p.detach().any()) for p in chosen)


def _bottleneck(deep: list[Op], inputs: Tensor, samples: int) -> bool:
    """Whether some layer is narrower than inputs and outputs: then a product of layers is a map of low rank."""
    widths = [op.args[0].numel() / samples for op in deep]
    outputs = deep[-1].out.numel() / samples if isinstance(deep[-1].out, Tensor) else 0
    return min(widths) < min(inputs.numel() / samples, outputs)


def _instead(inputs: Any, tensor: Tensor) -> Any:
    """The same inputs with this as their only tensor."""
    return tree_map_only(Tensor, lambda _: tensor, inputs)


def _behind_parameters(op: Op) -> bool:
    """Whether what a layer takes already depends on parameters before it."""
    return (
        bool(op.args) and isinstance(op.args[0], Tensor) and op.args[0].requires_grad and op.args[0].grad_fn is not None
    )


def _uses_parameters(op: Op) -> bool:
    return any(t.requires_grad and t.grad_fn is None for t in op.tensors[1:])


def _readout(trace: Trace) -> Tensor | None:
    """What the last layer with weights returns: the outputs before any activation."""
    for op in reversed(trace.ops):
        if op.name in WEIGHTED and isinstance(op.out, Tensor):
            return op.out.detach()
    return None


def _affine_fit(scene: Scene) -> float | None:
    """R squared of least squares over all samples, where there are three times as many as inputs."""
    xs = [next(t for t in tree_leaves(b.inputs) if isinstance(t, Tensor)) for b in scene.task.batches]
    ys = [b.target for b in scene.task.batches]
    if not all(isinstance(t, Tensor) and t.is_floating_point() and t.ndim for t in ys):
        return None
    x, y = torch.cat([t.flatten(1) for t in xs]).double(), torch.cat([t.reshape(len(t), -1) for t in ys]).double()
    if len(x) < 3 * x.shape[1] and len(x) > x.shape[1] + 1 and x.shape[1] > 2:
        return None
    if len(x) <= x.shape[1] + 1 or x.shape[1] > 512:
        return None
    full = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype, device=x.device)], 1)
    rest = y - full @ torch.linalg.lstsq(full, y).solution
    total = (y - y.mean(0)).square().sum()
    return float(1 - rest.square().sum() / total) if total > 0 else None
