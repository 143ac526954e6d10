"""What a random code may cost: whether reconstruction can ever pay for a single nat of it, as the loss weighs both.

A code that tells nothing costs nothing, and leaves reconstruction the loss of the best constant answer. No optimum is
worse. So where reconstruction cannot be negative, the divergence there is at most that loss over the cost of a nat:
below one or two nats the code tells next to nothing, whatever the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import (
    ADDED,
    DIFFERENCES,
    NEGATIONS,
    POWERS,
    PRODUCTS,
    QUOTIENTS,
    SUMS,
    TURNED_DIFFERENCES,
)
from nonsingular.diagnosis.contract.scene import DISTANCES, Scene
from nonsingular.diagnosis.contract.trace import VIEWS, Op
from nonsingular.diagnosis.records import Statistic

EXACT = 1e-3
FEWEST = 8  # numbers of a sample, from where a mean over them is not much like their sum
ENTROPIES = {"binary_cross_entropy", "binary_cross_entropy_with_logits"}
SPREADS: tuple[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]], ...] = (
    (lambda v: (v.exp() - 1) / 2, lambda v: (v.exp() - 1 - v) / 2),  # the logarithm of a variance
    (lambda v: (2 * v).exp() - 1, lambda v: ((2 * v).exp() - 1 - 2 * v) / 2),  # of a deviation
    (lambda v: v - 1 / v, lambda v: (v.square() - 1) / 2 - v.log()),  # a deviation
    (lambda v: (1 - 1 / v) / 2, lambda v: (v - 1 - v.log()) / 2),  # a variance
)
"""What a code's spread adds to its divergence from the standard normal distribution: slope and value."""


@dataclass(frozen=True)
class _Part:
    """A part of the loss: ``weight`` times the sum of a tensor's entries."""

    tensor: Tensor
    weight: float

    @property
    def value(self) -> float:
        return self.weight * float(self.tensor.detach().double().sum())


def too_dear(scene: Scene) -> Statistic:
    """What the loss takes for one nat of a Gaussian code, as a share of all that could ever be gained by it."""
    words = "cost of a single nat of the code, over all that reconstruction can gain by the code"
    unknown = Statistic(math.nan, (), words)
    if scene.loss is None or not scene.loss.requires_grad:
        return unknown
    reading = _reading(scene)
    parts = list(_parts(scene, scene.loss, 1.0))
    data = [p for p in parts if id(p.tensor) in reading]
    others = [p for p in parts if id(p.tensor) not in reading]
    gains = [_gain(scene, p) for p in data]
    gain = sum(g for g in gains if g is not None)
    found = _divergence(scene, others) if others and gain > 0 and None not in gains else None
    if found is None:
        return unknown
    nat, nats = found
    if abs(sum(p.value for p in others) - nat * nats) > EXACT * (1 + abs(nat * nats)):
        return unknown  # there are further terms
    evidence = (
        {"measure": "nats that the code of a sample has where the loss is least, at most", "value": gain / nat},
        {"measure": "loss of reconstruction by the best constant answer", "value": gain},
        {"measure": "cost of one nat", "value": nat},
    )
    remedy = (
        'Reduce both terms alike: reconstruction summed over the numbers of a sample (reduction="sum", over the number '
        "of samples) beside a divergence that is summed over the code; or give the divergence a smaller weight."
    )
    op = next((op for p in data for op in scene.trace.back(p.tensor) if op.in_loss and op.where), None)
    return Statistic(nat / gain, (), words, op.where if op is not None else scene.loss_place, evidence, remedy)


def _parts(scene: Scene, tensor: Tensor, weight: float) -> Iterator[_Part]:
    """What a loss is the weighed sum of, sums and means of many numbers looked into."""
    op = scene.trace.producer(tensor)
    taken = [t for t in op.args if isinstance(t, Tensor) and t.requires_grad] if op is not None else []
    if op is None or not taken or not isinstance(op.out, Tensor):
        yield _Part(tensor, weight)
        return
    plain = not op.kwargs and len(op.args) == 2
    if len(taken) == 2 and plain and taken[0].shape == taken[1].shape and op.name in ADDED:
        signs = (1, -1) if op.name in DIFFERENCES else (-1, 1) if op.name in TURNED_DIFFERENCES else (1, 1)
        for part, sign in zip(taken, signs, strict=True):
            yield from _parts(scene, part, sign * weight)
        return
    factor = _factor(op, taken[0]) if len(taken) == 1 else None
    if factor is None:
        yield _Part(tensor, weight)
    else:
        yield from _parts(scene, taken[0], factor * weight)


def _factor(op: Op, taken: Tensor) -> float | None:
    """By what each number is multiplied; None where a call does something else."""
    if op.name in ("sum", "mean"):
        return 1.0 if op.name == "sum" else op.out.numel() / taken.numel()
    if op.name in NEGATIONS:
        return -1.0
    if op.name in VIEWS and op.out.numel() == taken.numel():
        return 1.0
    if len(op.args) != 2 or op.kwargs:
        return None
    other = op.args[1] if op.args[0] is taken else op.args[0]
    if not isinstance(other, int | float | Tensor) or (isinstance(other, Tensor) and other.numel() != 1):
        return None
    number = float(other)
    if op.name in SUMS and number == 0:  # as Python's sum begins
        return 1.0
    if op.name in PRODUCTS:
        return number
    return 1 / number if op.name in QUOTIENTS and op.args[0] is taken and number else None


def _reading(scene: Scene) -> set[int]:
    """Everything that the loss computes of the targets, or of the inputs that are to be returned."""
    known = {id(t) for t in tree_leaves((scene.batch.target, scene.batch.inputs)) if isinstance(t, Tensor)}
    for op in scene.trace.ops:
        if op.in_loss and any(id(t) in known for t in op.tensors):
            known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor)}
    return known


def _gain(scene: Scene, part: _Part) -> float | None:
    """A term of reconstruction by the best constant answer; None where it might be negative, or is about few numbers.

    Its best answer is taken to be without any loss.
    """
    op = scene.trace.source(part.tensor)
    if op is None or part.weight <= 0 or not op.args:
        return None
    name, prediction, target = op.name, op.args[0], op.given(1, "target")
    if _squares(op) or name == "abs":
        name = "l1_loss" if name == "abs" else "mse_loss"
        inner = scene.trace.source(prediction)
        if inner is None or inner.name not in DIFFERENCES | TURNED_DIFFERENCES or len(inner.tensors) != 2:
            return None
        prediction, target = sorted(inner.tensors, key=lambda t: not t.requires_grad)
    if not isinstance(target, Tensor) or target.shape != prediction.shape or target.requires_grad:
        return None
    if target.ndim < 2 or target.numel() < FEWEST * len(target):
        return None
    wanted, found = target.detach().double(), prediction.detach().double()
    mean = wanted.mean(0).expand_as(wanted)
    if name in ENTROPIES:
        if float(wanted.min()) < 0 or float(wanted.max()) > 1:
            return None
        then = F.binary_cross_entropy(mean, wanted)
        now = F.binary_cross_entropy(found.sigmoid() if name.endswith("logits") else found, wanted)
    elif name in DISTANCES:
        power = 2 if name == "mse_loss" else 1  # far from zero, where they are less than squares
        then, now = ((p - wanted).abs().pow(power).mean() for p in (mean, found))
    else:
        return None
    return part.value * float(then / now) if now > 0 else None


def _squares(op: Op) -> bool:
    itself = op.name in PRODUCTS and len(op.args) == 2 and op.args[0] is op.args[1]
    return itself or op.name == "square" or (op.name in POWERS and op.given(1, "exponent") in (2, 2.0))


def _divergence(scene: Scene, parts: Sequence[_Part]) -> tuple[float, float] | None:
    """What a nat of a code costs and how many it has, where these parts are a Gaussian's divergence; None elsewhere."""
    n = scene.batch.samples
    every = {id(t): t for t in [*tree_leaves(scene.output), *(t for op in scene.trace.ops for t in _made(op))]
             if isinstance(t, Tensor) and t.requires_grad and t.ndim > 1 and len(t) == n}  # fmt: skip
    given = list(every.values())
    with torch.enable_grad():
        whole = torch.stack([p.weight * p.tensor.double().sum() for p in parts]).sum()
    if not given or not whole.requires_grad:
        return None
    try:
        slopes = torch.autograd.grad(whole, given, retain_graph=True, allow_unused=True)
    except RuntimeError:  # what it needs was written over since
        return None
    taken = [(t.detach().double(), g.double()) for t, g in zip(given, slopes, strict=True) if g is not None]
    known: list[Tensor] = []
    costs, nats = [], 0.0
    for mean, slope in taken:
        size = float(mean.square().sum())
        cost = n * float((slope * mean).sum()) / size if size > 0 else 0.0
        if not cost > 0 or not _same(slope, cost / n * mean) or any(_same(mean, m) for m in known):
            continue
        of_spread = next((float(value(v).sum()) / n for v, s in taken if v is not mean and v.shape == mean.shape
                          for fall, value in SPREADS if _same(s, cost / n * fall(v))), None)  # fmt: skip
        if of_spread is not None:
            known.append(mean)
            costs.append(cost)
            nats += of_spread + size / 2 / n
    alike = bool(costs) and max(costs) < (1 + EXACT) * min(costs)
    return (costs[0], nats) if alike else None


def _made(op: Op) -> list[Tensor]:
    return [t for t in tree_leaves(op.out) if isinstance(t, Tensor)]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).norm() <= EXACT * b.norm()) and bool(b.any())
