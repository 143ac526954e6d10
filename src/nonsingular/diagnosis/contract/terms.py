"""Terms of a loss against each other, and what is to be near against what is to be far."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import ADDED, SCALED, SUMS
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

SCALES = SCALED | {"squeeze"}
MATERIAL = 0.01  # of what a loss draws together
TRIPLETS = {"triplet_margin_loss", "triplet_margin_with_distance_loss"}


def one_sided(scene: Scene) -> Statistic:
    """Decades by which a term that reads no target sends back more gradient than all terms that do.

    A term about few of the samples, as a boundary condition is, leaves the others free however much it weighs: once it
    holds it hinders no other. Its gradient counts by its share of the samples.
    """
    words = "decades by which a term of the loss without targets has a larger gradient than those with them"
    unknown = Statistic(math.nan, (), words)
    if scene.loss is None or not scene.loss.requires_grad or not scene.reads_target:
        return unknown
    terms = list(terms_of(scene, scene.loss))
    reading = _reading(scene)
    parameters = [p for p in scene.task.model.parameters() if p.requires_grad]
    with_targets = [t for t in terms if id(t) in reading]
    others = [t for t in terms if id(t) not in reading]
    if not with_targets or not others:
        return unknown
    data = _gradient(scene, with_targets, parameters)
    sizes = [(_gradient(scene, [t], parameters), _concerned(scene, t), t) for t in others]
    size, share, term = max(sizes, key=lambda each: each[0] * each[1])
    if not (data > 0 and size > 0 and math.isfinite(data + size)):
        return unknown
    op = scene.trace.producer(term)
    where = op.where if op is not None else ""
    evidence = (
        {"measure": "norm of the gradient of the term without targets", "value": size},
        {"measure": "of the terms with targets", "value": data},
        *([{"measure": "share of the samples that the first is about", "value": share}] if share < 1 else []),
    )
    remedy = (
        f"Bring the terms to one scale{f' ({where})' if where else ''}: both means, or both sums over the numbers of a "
        "sample and means over samples; or give this one a smaller weight."
    )
    return Statistic(math.log10(share * size / data), (), words, where, evidence, remedy)


def _concerned(scene: Scene, term: Tensor) -> float:
    """Share of the samples on whose outputs a term depends; 1 where it depends on something else."""
    leaves = [t for t in tree_leaves(scene.output) if isinstance(t, Tensor) and t.requires_grad and t.ndim]
    if not leaves:
        return 1.0
    try:
        slopes = torch.autograd.grad(term, leaves, torch.ones_like(term), retain_graph=True, allow_unused=True)
    except RuntimeError:  # as in _gradient
        return 1.0
    rows = [int((s.reshape(len(s), -1) != 0).any(1).sum()) for s in slopes if s is not None and len(s)]
    return min(1.0, max(rows) / scene.batch.samples) if any(rows) else 1.0


def terms_of(scene: Scene, tensor: Tensor) -> Iterator[Tensor]:
    """What a loss is the sum of; a sum that is scaled is looked into."""
    op = scene.trace.producer(tensor)
    parts = [t for t in op.args if isinstance(t, Tensor) and t.requires_grad] if op is not None and op.in_loss else []
    inner: list[Tensor] = []
    if op is not None and len(parts) == 1:
        whole = _begins(op, parts[0]) or (op.name in SCALES and _has_sum(scene, parts[0]))
        inner = parts if whole else []
    elif op is not None and len(parts) == 2 and op.name in ADDED and all(p.numel() == 1 for p in parts):
        inner = parts
    for part in inner:
        yield from terms_of(scene, part)
    if not inner:
        yield tensor


def _begins(op: Op, part: Tensor) -> bool:
    """Whether a sum has only begun: with this and a zero, as Python's does."""
    others = [x for x in op.args if x is not part]
    zero = len(others) == 1 and isinstance(others[0], int | float | Tensor) and not torch.as_tensor(others[0]).any()
    return op.name in SUMS and zero and part.numel() == 1


def _has_sum(scene: Scene, tensor: Tensor) -> bool:
    op = scene.trace.producer(tensor)
    if op is None or not op.in_loss or tensor.numel() != 1:
        return False
    parts = [t for t in op.args if isinstance(t, Tensor) and t.requires_grad]
    return op.name in ADDED or (op.name in SCALES and len(parts) == 1 and _has_sum(scene, parts[0]))


def _reading(scene: Scene) -> set[int]:
    """Everything that the loss computes of the targets."""
    known = {id(t) for t in tree_leaves(scene.batch.target) if isinstance(t, Tensor)}
    for op in scene.trace.ops:
        if op.in_loss and any(id(t) in known for t in op.tensors):
            known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor)}
    return known


def _gradient(scene: Scene, terms: list[Tensor], parameters: Sequence[Tensor]) -> float:
    """Norm of what these terms send back to the parameters, as the loss weighs them; NaN where none comes back."""
    try:
        weights = torch.autograd.grad(scene.loss, terms, retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
        known = [(t, w) for t, w in zip(terms, weights, strict=True) if w is not None]
        if not known:
            return 0.0
        both = [list(x) for x in zip(*known, strict=True)]
        back = torch.autograd.grad(both[0], parameters, both[1], retain_graph=True, allow_unused=True)
    except RuntimeError:  # what it needs was written over since, as a parametrisation's buffers are
        return math.nan
    return math.sqrt(sum(float(g.double().square().sum()) for g in back if g is not None))


def near_and_far(scene: Scene) -> Statistic:
    """By how many standard errors what a triplet loss draws near is further away than what it drives off, at first."""
    words = "standard errors by which the positives are further from their anchors than the negatives, before training"
    for op in scene.trace.ops:
        if op.name not in TRIPLETS or len(op.args) < 3 or not all(isinstance(t, Tensor) for t in op.args[:3]):
            continue
        anchor, positive, negative = (t.detach().double().flatten(1) for t in op.args[:3])
        if len(anchor) < 16 or not anchor.shape == positive.shape == negative.shape:
            continue
        near, far = _distance(anchor, positive), _distance(anchor, negative)
        off = _in_errors(near - far)
        if math.isnan(off):
            continue
        evidence = (
            {"measure": "mean distance of the second argument from the first", "value": float(near.mean())},
            {"measure": "of the third", "value": float(far.mean())},
        )
        remedy = f"Call {op.name}(anchor, positive, negative), in this order."
        return Statistic(off, (), words, op.where or op.name, evidence, remedy)
    return _by_hand(scene, words)


def _by_hand(scene: Scene, words: str) -> Statistic:
    """The same of a loss of three things a sample, by what its slope draws together and what it drives apart.

    Which are alike is asked of the inputs: three outputs of one thing, as channels or fields are, are no triplet.
    """
    unknown = Statistic(math.nan, (), words)
    three, given = _three(scene.output), _three(scene.batch.inputs)
    if not (three and given) or scene.loss is None or not scene.loss.requires_grad or scene.reads_target:
        return unknown
    if len(given[0]) < 16 or len(three[0]) != len(given[0]) or not given[0].is_floating_point():
        return unknown
    leaves = [t for t in tree_leaves(scene.output) if isinstance(t, Tensor)]
    try:
        slopes = torch.autograd.grad(scene.loss, leaves, retain_graph=True, allow_unused=True)
    except RuntimeError:  # as in _gradient
        return unknown
    pull = _three([s if s is not None else torch.zeros_like(t) for s, t in zip(slopes, leaves, strict=True)])
    closer = {
        (i, j): float(((three[i] - three[j]).detach() * (pull[i] - pull[j])).sum())
        for i, j in itertools.combinations(range(3), 2)
    }
    drawn, driven = max(closer, key=closer.__getitem__), min(closer, key=closer.__getitem__)
    if not (closer[drawn] > 0 > closer[driven] and -closer[driven] > MATERIAL * closer[drawn]):
        return unknown
    near, far = (_distance(given[i].double().flatten(1), given[j].double().flatten(1)) for i, j in (drawn, driven))
    evidence = (
        {"measure": f"mean distance of inputs {drawn[0]} and {drawn[1]}, whose outputs the loss draws together",
         "value": float(near.mean())},
        {"measure": f"of inputs {driven[0]} and {driven[1]}, whose outputs it drives apart",
         "value": float(far.mean())},
    )  # fmt: skip
    remedy = (
        "Exchange the two in the loss: of similarities that of the positive pair is to grow, of distances that of the "
        "negative one. Negatives that were picked because they look alike are told here too."
    )
    return Statistic(_in_errors(near - far), (), words, "", evidence, remedy)


def _three(output: object) -> tuple[Tensor, ...]:
    """Three things a sample, in one tensor or in three; none where these are something else."""
    leaves = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
    if len(leaves) == 1 and leaves[0].ndim > 2 and leaves[0].shape[1] == 3:
        return leaves[0].unbind(1)
    if len(leaves) == 3 and leaves[0].ndim > 1 and all(t.shape == leaves[0].shape for t in leaves):
        return tuple(leaves)
    return ()


def _in_errors(x: Tensor) -> float:
    """The mean in its standard errors; NaN where it has none."""
    error = float(x.std()) / math.sqrt(len(x))
    return float(x.mean()) / error if error > 0 else math.nan


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).norm(dim=1)
