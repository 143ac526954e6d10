"""The data themselves: constant, duplicated, contradicting, imbalanced, sorted or leaking samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import MATRIX_PRODUCTS
from nonsingular.diagnosis.contract.narrow import classes_by_batch
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.targets import balanced
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import is_binary
from nonsingular.objective import Batch

MANY = 65536  # entries of a batch, beyond which some stand for all
ENOUGH = 32  # samples, from where a share means something


def rows(batches: Sequence[Batch]) -> list[bytes] | None:
    """Each sample's inputs as bytes; None where they cannot be told apart by sample."""
    found: list[bytes] = []
    for batch in batches:
        leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
        if any(not t.ndim or t.shape[0] != batch.samples for t in leaves):
            return None
        parts = [t.detach().cpu().contiguous().flatten(1) if t.ndim > 1 else t.detach().cpu()[:, None] for t in leaves]
        parts = [p.float() if p.dtype == torch.bfloat16 else p for p in parts]
        found += [b"".join(p[i].numpy().tobytes() for p in parts) for i in range(batch.samples)]
    return found


def repeated(scene: Scene) -> dict[str, Statistic]:
    """``constant-inputs``, ``duplicates`` and ``contradictions``: shares of the samples."""
    names = ("constant-inputs", "duplicates", "contradictions")
    words = (
        "all inputs are the same", "share of samples that repeat another",
        "share of samples whose inputs also come with another target",
    )  # fmt: skip
    unknown = {n: Statistic(math.nan, (), w) for n, w in zip(names, words, strict=True)}
    keys = rows(scene.task.batches)
    targets = _targets(scene.task.batches)
    if keys is None or targets is None or len(keys) < ENOUGH or len(keys) != len(targets):
        return unknown
    inputs = Counter(keys)
    both = Counter(zip(keys, targets, strict=True))
    constant = float(len(inputs) == 1)
    duplicates = 1 - len(both) / len(keys)
    answers = Counter(key for key, _ in both)
    # The most frequent answer of an input may be right; the others contradict it.
    usual: dict[bytes, int] = {}
    for (key, _), count in both.items():
        usual[key] = max(usual.get(key, 0), count)
    contradictions = sum(inputs[k] - usual[k] for k in answers if answers[k] > 1) / len(keys)
    if not constant and not _continuous(scene.task.batches, len(keys)):
        contradictions = duplicates = math.nan  # inputs of few values repeat by nature
    evidence = ({"measure": "samples", "value": len(keys)}, {"measure": "different inputs", "value": len(inputs)})
    remedies = (
        "Look at how the inputs are read: every sample is the same.",
        "Remove repeated samples, or read each once.",
        "Look at how inputs and targets are joined: the same input comes with different targets.",
    )
    values = (constant, duplicates if not constant else math.nan, contradictions if not constant else math.nan)
    return {n: Statistic(v, (), w, "", evidence, r) for n, w, v, r in zip(names, words, values, remedies, strict=True)}


def _continuous(batches: Sequence[Batch], samples: int) -> bool:
    """Whether inputs are numbers of many values, so that two samples are not the same by chance."""
    first = next(t for t in tree_leaves(batches[0].inputs) if isinstance(t, Tensor))
    if not first.is_floating_point():
        return False
    some = torch.cat([next(t for t in tree_leaves(b.inputs) if isinstance(t, Tensor)).flatten() for b in batches])
    different = len(torch.unique(some[: 1 << 20]))
    size = first[0].numel()
    return size * math.log(max(different, 1)) > 4 * math.log(samples) and different > min(samples, 64) / 4


def _targets(batches: Sequence[Batch]) -> list[bytes] | None:
    found: list[bytes] = []
    for batch in batches:
        t = batch.target
        if not isinstance(t, Tensor) or not t.ndim or t.shape[0] != batch.samples:
            return None
        t = t.detach().cpu().contiguous()
        t = t.float() if t.dtype == torch.bfloat16 else t
        found += [t[i].numpy().tobytes() for i in range(len(t))]
    return found


def uneven_features(scene: Scene) -> Statistic:
    """Decades by which the largest column of a table exceeds the usual one, where the model takes it as it is."""
    words = "decades by which one input feature is larger than the median one"
    xs = [_tables(b) for b in scene.task.batches]
    known = [x for x in xs if x is not None]
    if len(known) != len(xs) or len({x.shape[1] for x in known}) != 1 or sum(map(len, known)) < ENOUGH:
        return Statistic(math.nan, (), words)
    if not _taken_as_it_is(scene):
        return Statistic(math.nan, (), words)
    sizes = torch.cat(known).double().square().mean(0).sqrt()
    sizes = sizes[sizes > 0]
    if len(sizes) < 3:
        return Statistic(math.nan, (), words)
    # Small columns do no harm: what is below a tenth counts as a tenth.
    usual, largest = max(float(sizes.median()), 0.1), float(sizes.max())
    evidence = (
        {"measure": "root mean square of the largest feature", "value": largest},
        {"measure": "of the median one", "value": usual},
        {"measure": "features", "value": len(sizes)},
    )
    remedy = "Standardise each feature of the inputs, (x - mean) / deviation, with the training set's numbers."
    return Statistic(math.log10(largest / usual), (), words, "", evidence, remedy)


def _tables(batch: Batch) -> Tensor | None:
    """The inputs, where they are one table of numbers, a row a sample."""
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
    alone = len(leaves) == 1 and leaves[0].ndim == 2 and leaves[0].is_floating_point()
    return leaves[0] if alone and leaves[0].shape[0] == batch.samples else None


def _taken_as_it_is(scene: Scene) -> bool:
    """Whether the first thing that happens to the inputs is a layer's product, without any scaling before it."""
    [x] = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    first = next((op for op in scene.trace.ops if any(t is x for t in op.tensors)), None)
    return first is not None and first.name in MATRIX_PRODUCTS


def raw_bytes(scene: Scene) -> Statistic:
    """Decades by which outputs exceed 1 where inputs are whole numbers up to 255 that a layer takes as they are."""
    words = "decades by which outputs exceed one, of inputs that are bytes as files have them"
    xs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    outputs = [t for t in tree_leaves(scene.output) if isinstance(t, Tensor) and t.is_floating_point()]
    if len(xs) != 1 or not outputs or not xs[0].is_floating_point() or xs[0].ndim < 2:
        return Statistic(math.nan, (), words)
    x = xs[0]
    bytes_ = float(x.min()) >= 0 and 100 < float(x.max()) <= 255 and bool((x == x.round()).all())
    if not bytes_ or len(x.unique()) < 48:
        return Statistic(0.0, (), words)
    size = max(float(t.detach().double().square().mean().sqrt()) for t in outputs)
    evidence = ({"measure": "largest input", "value": float(x.max())},
                {"measure": "root mean square of the outputs before training", "value": size})  # fmt: skip
    remedy = "Scale the inputs: divide pixels by 255, or standardise them by the training set's mean and deviation."
    return Statistic(math.log10(max(size, 1e-12)), scene.entrance, words, "", evidence, remedy)


def imbalance(scene: Scene) -> Statistic:
    """Decades by which the most frequent class outnumbers all others together."""
    words = "decades by which one class outnumbers all others together"
    labels = [b.target for b in scene.task.batches]
    if not all(
        isinstance(t, Tensor) and t.numel() == b.samples for t, b in zip(labels, scene.task.batches, strict=True)
    ):
        return Statistic(math.nan, (), words)
    flat = torch.cat([t.flatten() for t in labels])
    two = flat.is_floating_point() and is_binary(flat)
    if len(flat) < ENOUGH or (flat.is_floating_point() and not two):
        return Statistic(math.nan, (), words)
    values, counts = flat.unique(return_counts=True)
    if len(values) < 2:
        return Statistic(math.nan, (), words)  # constant targets are a finding of their own
    if balanced(scene):
        return Statistic(0.0, (), words)
    share = float(counts.max()) / len(flat)
    evidence = (
        {"measure": "classes", "value": len(values)},
        {"measure": "samples of the rarest", "value": int(counts.min())},
        {"measure": "accuracy of always saying the most frequent", "value": share},
    )
    remedy = "Weight the loss by class, or draw the classes evenly; judge by balanced accuracy, not by accuracy."
    return Statistic(math.log10(share / (1 - share)), (), words, "", evidence, remedy)


def ordered(scene: Scene) -> Statistic:
    """By how much batches hold fewer classes than batches drawn at random would."""
    classes = classes_by_batch(scene)
    if classes is None or len(classes) < 3:
        return Statistic(math.nan, (), FEWER)
    evidence = (
        {"measure": "batches", "value": len(classes)},
        {"measure": "classes of the usual one", "value": median(classes)},
    )
    remedy = "Shuffle the samples: DataLoader(..., shuffle=True)."
    return Statistic(fewer_classes([b.target for b in scene.task.batches]), (), FEWER, "", evidence, remedy)


FEWER = "part of the classes beyond one that batches lack, of those that batches drawn at random would hold"


def fewer_classes(batches: Sequence[Tensor]) -> float:
    """By how much batches of labels hold fewer classes than at random: 0 as many, 1 one each; NaN if unknown."""
    batches = [b.flatten() for b in batches if b.numel() > 1]
    if not batches:
        return math.nan
    shares = torch.cat(batches).unique(return_counts=True)[1].double()
    shares = shares / shares.sum()
    held = sum(len(b.unique()) for b in batches) / len(batches) - 1
    wanted = sum(float((1 - (1 - shares) ** len(b)).sum()) for b in batches) / len(batches) - 1
    return max(0.0, 1 - held / wanted) if wanted > 0.3 else math.nan
