"""Images and sequences whose neighbours are no neighbours: axes exchanged by a reshape before the model saw them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic

MOST = 64  # samples that are compared
LONG = 6  # places along an axis, from where neighbours say something
FEWEST = 8  # samples, from where nearly all of them say something
ENTRIES = 2_000_000  # of all samples that are compared
COLOURS = 4  # channels of an image, at most
GAIN = 0.05  # bits a number by which another reading is shorter, at least
NEARLY_ALL = 0.9  # of the samples
SEAM = 1.5  # times the mean square step within rows, up to where one across their ends is like it
FINEST = 1e-4  # of a sample's variance: finer differences of neighbours are the precision of a file


@dataclass(frozen=True)
class Reading:
    """One way to read the numbers of a sample.

    Attributes:
        memory: the axes, in the order in which they lie in memory.
        channels: which of them are channels; along the others neighbours are told by one another.
        words: what the axes are, beside the batch's.
        cure: how such numbers are brought to the shape that was given.
        row: entries of a row as given, beyond which it takes what is a neighbour for none; 0: those of its last axis.
    """

    memory: tuple[int, ...]
    channels: int
    words: str = ""
    cure: str = ""
    row: int = 0

    def of(self, x: Tensor) -> Tensor:
        """``[sample, channel, *places]``."""
        return x.reshape(len(x), *self.memory).movedim(self.channels + 1, 1)

    @property
    def is_long(self) -> bool:
        """Whether every axis of places is long enough for neighbours to say something."""
        return min(n for i, n in enumerate(self.memory) if i != self.channels) >= LONG


def torn(scene: Scene) -> Statistic:
    """Share of the samples whose entries, in their order, are told in fewer bits when they are read as other axes.

    Each entry is told by its neighbours before it along each axis of places, in a channel of its own mean and size. The
    numbers count for torn where that is shorter in nearly all samples, and neighbours across the ends of the rows as
    given are as much alike as any: a texture that repeats after as many places as there are channels ends there.
    """
    words = "share of the samples whose numbers are told in fewer bits when they are read with other axes"
    nothing = Statistic(math.nan, (), words)
    for x in (t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)):
        if x.ndim not in (3, 4) or not x.is_floating_point() or len(x) < FEWEST:
            continue
        x = x[: max(FEWEST, min(MOST, ENTRIES // x[0].numel()))].detach().double()
        x = x[x.flatten(1).std(1) > 0]
        natural, others = _readings(tuple(x.shape[1:]))
        if len(x) < FEWEST or not (natural and others) or not bool(torch.isfinite(x).all()):
            continue
        as_it_is = torch.stack([_bits(r, x) for r in natural]).amin(0)
        gains = {r: as_it_is - _bits(r, x) for r in others}
        best = max(gains, key=lambda r: float(gains[r].mean()))
        gain = gains[best]
        share = float((gain > 0).double().mean())
        nothing = Statistic(0.0, (), words)
        if float(gain.mean()) < GAIN or share < NEARLY_ALL or not _has_no_seams(best, x) or _is_one_signal(x):
            continue
        evidence = (
            {"measure": "bits a number, told by its neighbours, as it is given", "value": float(as_it_is.mean())},
            {"measure": f"the same in the order of memory read as {best.words}",
             "value": float((as_it_is - gain).mean())},
        )  # fmt: skip
        shape = ("n", *x.shape[1:])
        remedy = (
            f"The numbers lie in memory as {best.words}: a view or reshape to ({', '.join(map(str, shape))}) keeps "
            f"that order and mixes the axes. Give them their own shape, then {best.cure}."
        )
        return Statistic(share, scene.entrance, words, "", evidence, remedy)
    return nothing


def _readings(shape: tuple[int, ...]) -> tuple[list[Reading], list[Reading]]:
    """Those that a shape may mean, and those whose axes were exchanged by a view."""
    if len(shape) == 2:
        a, b = shape
        natural = [Reading((a, b), 0), Reading((a, b), 1), Reading((1, a, b), 0)]
        others = [
            Reading((b, a), 1, f"{b} places of {a} features each", "permute(0, 2, 1)"),
            Reading((b, a), 0, f"{b} features of {a} places each", "permute(0, 2, 1)"),
            Reading((1, b, a), 0, f"images of {b} by {a}", "permute(0, 2, 1)"),
        ]
    else:
        a, b, c = shape
        natural = [Reading(shape, 0), Reading(shape, 2)]
        first, last = f"height, width, channels ({b}, {c}, {a})", f"channels, height, width ({c}, {a}, {b})"
        others = [Reading((b, c, a), 2, first, "permute(0, 3, 1, 2)")] if a > 1 else []
        others += [Reading((c, a, b), 0, last, "permute(0, 2, 3, 1)")] if 1 < c <= COLOURS else []
        others += [Reading((a, c, b), 0, f"{a}, {c}, {b}", "permute(0, 1, 3, 2)")] if a <= COLOURS else []
        others += [Reading((b, a, c), 2, f"{b}, {a}, {c}", "permute(0, 2, 1, 3)", b * c)] if c <= COLOURS else []
    same = [(r.memory, r.channels) for r in natural]
    return [r for r in natural if r.is_long], [r for r in others if r.is_long and (r.memory, r.channels) not in same]


def _is_one_signal(x: Tensor) -> bool:
    """Whether sequences are pieces of one smooth signal, cut one after another: then a period looks like an axis.

    Rows of an image that lie in memory one after another have seams at their ends.
    """
    if x.ndim != 3:
        return False
    steps = x.flatten(1).diff(dim=1).square()
    across = torch.arange(1, x[0].numel(), device=x.device) % x.shape[1] == 0  # ends of the rows that it would have
    inner, ends = float(steps[:, ~across].mean()), float(steps[:, across].mean())
    return ends < 2 * inner and inner < float(x.flatten(1).var(1).mean())  # of numbers without relation twice that


def _bits(reading: Reading, x: Tensor) -> Tensor:
    """Bits a number, but for a constant, of normal numbers that are told by their neighbours, ``[sample]``."""
    read = reading.of(x)
    around = tuple(range(2, read.ndim))
    size = read.std(around, correction=0, keepdim=True).clamp_min(1e-12)
    centred = (read - read.mean(around, keepdim=True)) / size
    here = _behind_first(centred, around)
    before = [_behind_first(centred, around, axis) for axis in around]
    table = torch.stack([b.flatten() for b in before], 1)
    # Neighbours count for as far as they are alike: negative weights would tell of patterns, such as one of several.
    weights = torch.linalg.lstsq(table, here.reshape(-1, 1)).solution.flatten().clamp_min(0)
    rest = here - sum(w * b for w, b in zip(weights, before, strict=True))
    variance = (rest * size).square().mean(around) + FINEST * x.flatten(1).var(1)[:, None]
    places = math.prod(read.shape[2:])
    of_few = 1 / (places - 1) + 1 / max(1, rest[0, 0].numel())  # what a mean and a variance of few places take off
    return (variance.log().mean(1) + of_few) / (2 * math.log(2))


def _behind_first(x: Tensor, axes: tuple[int, ...], before: int = 0) -> Tensor:
    """All but the first entries along each axis, or what comes before them along one of them."""
    for axis in axes:
        x = x.narrow(axis, int(axis != before), x.shape[axis] - 1)
    return x


def _has_no_seams(reading: Reading, x: Tensor) -> bool:
    """Whether neighbours in this reading that lie in two rows as given are as much alike as those of one row."""
    read = reading.of(x)
    entries = torch.arange(x[0].numel(), device=x.device).reshape(1, *x.shape[1:])
    row = reading.of(entries).expand(1, *read.shape[1:]) // (reading.row or x.shape[-1])
    across = (row.diff(dim=-1) != 0).expand(len(x), *read.shape[1:-1], -1)
    steps = read.diff(dim=-1).square()
    if not bool(across.any()) or bool(across.all()):
        return False
    return float(steps[across].mean()) < SEAM * float(steps[~across].mean())


def noise(scene: Scene) -> Statistic:
    """How little neighbours have in common in images that are made of bytes: 1 where they are as unlike as any two."""
    words = "mean square step between neighbours over that between any two places, in images made of bytes"
    leaves = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    if len(leaves) != 1 or not leaves[0].is_floating_point() or leaves[0].ndim != 4 or min(leaves[0].shape[2:]) < LONG:
        return Statistic(math.nan, (), words)
    x = leaves[0][:MOST].double()
    different = len(x.unique())
    if not BYTES[0] <= different <= BYTES[1] * x.shape[1] or x.numel() < 20 * different:
        return Statistic(math.nan, (), words)
    spread = x.flatten(2).var(2, correction=0).mean()
    steps = [
        float(x.diff(dim=axis).square().mean() / (2 * spread)) if float(spread) > 0 else math.nan for axis in (2, 3)
    ]
    evidence = ({"measure": "different values of a pixel", "value": different},)
    remedy = (
        "Look at how the images are brought into shape: reshape or view in the place of permute mixes pixels, or even "
        "images; arrays of other tools may have the samples last."
    )
    return Statistic(min(steps), scene.entrance, words, "", evidence, remedy)


def mirrored(scene: Scene) -> Statistic:
    """Share of the samples whose dense target fits the mirrored or turned input much better than the input itself."""
    words = "share of the samples whose targets fit the mirrored or turned input, and not the input as it is"
    xs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    y = scene.batch.target
    if len(xs) != 1 or not isinstance(y, Tensor) or xs[0].ndim != 4 or not xs[0].is_floating_point() or y.ndim < 3:
        return Statistic(math.nan, (), words)
    x, y = xs[0].double(), y.double().reshape(len(y), -1, *y.shape[-2:])
    if x.shape[-2:] != y.shape[-2:] or len(x) != len(y) or len(x) < 8 or min(x.shape[-2:]) < LONG:
        return Statistic(math.nan, (), words)
    as_it_is = _likeness(x, y)
    others = {"flip(-1)": x.flip(-1), "flip(-2)": x.flip(-2), "rot90": x.flip(-1, -2)}
    best = max(others, key=lambda name: float((_likeness(others[name], y) > as_it_is + CLEARLY).double().mean()))
    off = float((_likeness(others[best], y) > as_it_is + CLEARLY).double().mean())
    straight = float((as_it_is > _likeness(others[best], y) + CLEARLY).double().mean())
    evidence = (
        {"measure": f"share of the samples that fit after {best} of the input", "value": off},
        {"measure": "share of the samples that fit as they are", "value": straight},
    )
    remedy = f"Do to the target what is done to the input: {best} of one needs {best} of the other."
    return Statistic(off, scene.entrance, words, "", evidence, remedy)


CLEARLY = 0.25  # of a correlation


def _likeness(x: Tensor, y: Tensor) -> Tensor:
    """Largest correlation, of either sign, of a channel of the input with one of the target, for each sample."""
    a, b = (t.flatten(2) - t.flatten(2).mean(2, keepdim=True) for t in (x, y))
    products = torch.einsum("ncp,nkp->nck", a, b)
    sizes = a.norm(dim=2)[:, :, None] * b.norm(dim=2)[:, None]
    return (products / sizes.clamp_min(1e-12)).abs().flatten(1).amax(1)


BYTES = (48, 256)  # different values of an image of bytes, at least, and at most a channel
