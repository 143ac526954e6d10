"""Noise that a network is to tell and that is not the noise its inputs were mixed with: there is nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import DIFFERENCES, TURNED_DIFFERENCES
from nonsingular.diagnosis.contract.noising import NOISES
from nonsingular.diagnosis.contract.scene import DISTANCES, Scene
from nonsingular.diagnosis.contract.trace import TRANSPOSES, VIEWS, Op
from nonsingular.diagnosis.course import joined
from nonsingular.diagnosis.neighbours import SAMPLES, chance_of_neighbours
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError
from nonsingular.objective import Batch

ENOUGH = 2000  # entries of the targets, from where their distribution is known
MOST = 1 << 18  # entries that are looked at
WIDE = 64  # entries of a sample whose relations to one another are looked at
NORMAL = 4.0  # standard errors up to which moments are those of standard normal numbers
SURE = 3.29  # standard errors on each side of a 99.9 % interval
APART = 0.1  # correlation of targets and inputs within which the interval lies where there is none
PERMUTATIONS = 99
BLOCKS = 4  # of samples among which neighbours are looked for
RELATED = 0.01  # p-value up to which neighbours have like targets
FITTED = 3  # samples an unknown of a linear fit, from where its error on others tells whether there is one
EXPLAINED = 0.02  # part of the targets' variance on other samples, from where a linear fit explains some


def foreign(scene: Scene) -> Statistic:
    """Whether targets are noise that the inputs do not contain.

    Shown by the calls where model and loss draw the noise themselves; else by the data: white standard normal targets
    of the shape of an input that is not white noise itself, without any correlation with it, linear relation or
    likeness among neighbours.
    """
    words = "targets are noise that the inputs do not contain"
    remedy = (
        "Draw the noise once: the same tensor is mixed into the input and is the target (noise = torch.randn_like(x); "
        "the input is made of x and noise, the target is noise)."
    )
    for op in _compared_with_other_noise(scene):
        entries = sum(t.numel() for t in op.tensors if not t.requires_grad)
        drawn = {"measure": "numbers compared that are drawn anew", "value": entries}
        return Statistic(1.0, op.layers, words, op.where, (drawn,), remedy)
    nothing = Statistic(math.nan, (), words)
    try:
        batch = joined(scene.task.batches)
    except InputError:
        return nothing
    given = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor) and t.ndim and len(t) == batch.samples]
    dense = [t for t in tree_leaves(batch.target) if isinstance(t, Tensor) and t.is_floating_point()]
    for target in (t for t in dense if t.ndim > 1 and len(t) == batch.samples and t.numel() >= ENOUGH):
        same = [x for x in given if x.shape == target.shape and x.is_floating_point()]
        if not same:
            continue
        nothing = Statistic(0.0, (), words)
        if not _is_white_noise(target) or any(map(_is_white_noise, same)):
            continue
        correlations = [_correlation(x, target) for x in same]
        apart = all(abs(r) + error < APART for r, error in correlations)
        if not apart or any(_are_related(x, target) or _is_explained(x, target) for x in same):
            continue
        if _are_alike(batch, given, target):
            continue
        r, error = max(correlations, key=lambda c: abs(c[0]))
        evidence = (
            {"measure": "correlation of the targets with the inputs", "value": r},
            {"measure": "half its 99.9 % interval", "value": error},
            {"measure": "numbers compared", "value": min(MOST, target.numel())},
        )
        return Statistic(1.0, (), words, "", evidence, remedy)
    return nothing


def _compared_with_other_noise(scene: Scene) -> Iterator[Op]:
    """Comparisons of an output with noise that it is not made of, while an input, or other noise, has that shape."""
    inputs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor) and t.is_floating_point()]
    ops = scene.trace.ops
    drawn = [op.out for op in ops if op.name in NOISES and isinstance(op.out, Tensor) and op.out.ndim > 1]
    reached = {id(noise): _made_of(ops, noise) for noise in drawn}
    for op in ops:
        if op.name not in DISTANCES | DIFFERENCES | TURNED_DIFFERENCES or len(op.tensors) != 2:
            continue
        trained = [t for t in op.tensors if t.requires_grad]
        still = [t for t in op.tensors if not t.requires_grad]
        if len(trained) != 1 or len(still) != 1 or trained[0].shape != still[0].shape:
            continue
        own = next((n for n in drawn if n is _values(scene, still[0])), None)
        others = [n for n in drawn if n is not own and own is not None and n.shape == own.shape]
        if own is None or id(trained[0]) in reached[id(own)]:
            continue
        mixed = any(id(trained[0]) in reached[id(n)] for n in others)
        if mixed or (op.in_loss and any(x.shape == own.shape for x in inputs)):
            yield op


def _values(scene: Scene, x: Tensor) -> Tensor:
    """What a tensor is a view of."""
    while (op := scene.trace.producer(x)) is not None and op.name in VIEWS | TRANSPOSES and op.tensors:
        x = op.tensors[0]
    return x


def _made_of(ops: list[Op], x: Tensor) -> set[int]:
    """Ids of everything that is computed of a tensor."""
    known = {id(x)}
    for op in ops:
        if any(id(t) in known for t in op.tensors):
            known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor)}
            if op.out is None and op.args and isinstance(op.args[0], Tensor):
                known.add(id(op.args[0]))  # what is written into
    return known


def _is_white_noise(x: Tensor) -> bool:
    """Whether these may be independent standard normal numbers, by their first four moments and by one another."""
    some = x.detach().flatten()[:MOST].double()
    n, mean, variance = len(some), float(some.mean()), float(some.var())
    if n < ENOUGH or not variance > 0 or not math.isfinite(variance):
        return False
    standard = (some - mean) / math.sqrt(variance)
    skewness, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    errors = (mean * math.sqrt(n), (variance - 1) * math.sqrt(n / 2),
              skewness * math.sqrt(n / 6), (kurtosis - 3) * math.sqrt(n / 24))  # fmt: skip
    if max(map(abs, errors)) > NORMAL:
        return False
    rows = _standardised(x)
    if rows.shape[1] < 2:
        return True

    def together(columns: Tensor) -> float:
        return float((columns.T @ columns / len(columns)).square().triu(1).sum())

    def turned(seed: int) -> Tensor:  # each column's samples in another order
        generator = torch.Generator().manual_seed(seed)
        order = torch.rand(rows.shape, generator=generator).argsort(0).to(rows.device)
        return rows.gather(0, order)

    return together(rows) <= max(together(turned(seed)) for seed in range(PERMUTATIONS))


def _standardised(x: Tensor) -> Tensor:
    """``[sample, entry]``: the first entries of each sample, of mean 0 and variance 1 over the samples."""
    rows = x.detach().flatten(1)[: MOST // WIDE, :WIDE].double()
    return (rows - rows.mean(0)) / rows.std(0, correction=0).clamp_min(1e-12)


def _correlation(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Of the same entries of both, pooled over entries and samples, and half its 99.9 % interval."""
    a, b = (t.detach().flatten(1).double() for t in (x, y))
    rows = max(1, MOST // a.shape[1])
    a, b = (t[:rows] - t[:rows].mean(0) for t in (a, b))
    r = float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
    return r, SURE / math.sqrt(a.numel())


def _are_related(x: Tensor, y: Tensor) -> bool:
    """Whether some entries of a sample's targets are linear in some of its inputs, by a permutation test."""
    a, b = _standardised(x), _standardised(y)

    def relation(targets: Tensor) -> float:
        return float((a.T @ targets).square().sum())

    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(b), generator=generator).to(b.device) for _ in range(PERMUTATIONS)]
    return relation(b) > max(relation(b[order]) for order in orders)


def _is_explained(x: Tensor, y: Tensor) -> bool:
    """Whether a linear fit of half of the samples explains others' targets; so, too, where they are too few to tell.

    A little noise beside inputs on a surface is hardly correlated with any of their entries, and yet plain to see.
    """
    a, b = x.detach().flatten(1).double().cpu(), y.detach().flatten(1)[:, :WIDE].double().cpu()
    half = len(a) // 2
    if half < FITTED * (a.shape[1] + 1) or a.shape[1] > MOST // half:
        return True
    a = torch.cat([a, torch.ones_like(a[:, :1])], 1)
    fit = torch.linalg.lstsq(a[:half], b[:half]).solution
    error = float((b[half:] - a[half:] @ fit).square().mean())
    of_fit = 1 + a.shape[1] / half  # what fitting so many numbers adds where there is nothing to explain
    chance = NORMAL * math.sqrt(2 / b[half:].numel())  # by which the others' variance differs by itself
    return error < (1 - max(EXPLAINED, chance)) * of_fit * float(b.var(0).mean())


def _are_alike(batch: Batch, given: list[Tensor], target: Tensor) -> bool:
    """Whether samples whose inputs are alike, all of them together, have like targets."""
    x = torch.cat([t.detach().flatten(1).double() if t.ndim > 1 else t.detach().double()[:, None] for t in given], 1)
    y = target.detach().flatten(1)[:, :WIDE]
    blocks = zip(x.split(SAMPLES)[:BLOCKS], y.split(SAMPLES)[:BLOCKS], strict=True)
    chances = [chance_of_neighbours(replace(batch, inputs=a, target=b, samples=len(a))) for a, b in blocks]
    return any(chance <= RELATED for chance in chances)
