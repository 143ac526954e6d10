"""Images and sequences whose neighbours are no neighbours: axes exchanged by a reshape before the model saw them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic

MOST = 64  # samples that are compared
LONG = 6  # places along an axis, from where neighbours say something


def torn(scene: Scene) -> Statistic:
    """Decades by which neighbours would be more alike if the entries, in their order, were read as other axes."""
    words = "decades by which neighbours are more alike when the same numbers are read with the channels last"
    leaves = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    if len(leaves) != 1 or not leaves[0].is_floating_point() or leaves[0].ndim not in (3, 4):
        return Statistic(math.nan, (), words)
    x = leaves[0][:MOST].double()
    channels, places = x.shape[1], tuple(x.shape[2:])
    if channels < 2 or min(places, default=0) < LONG or len(x) < 2:
        return Statistic(math.nan, (), words)
    otherwise = x.reshape(len(x), *places, channels).movedim(-1, 1)
    as_it_is, other = _roughness(x), _roughness(otherwise)
    if not (as_it_is > 0 and other > 0):
        return Statistic(math.nan, (), words)
    evidence = (
        {"measure": "mean square step between neighbours over that between any two places", "value": as_it_is},
        {"measure": "the same with the channels last in memory", "value": other},
    )
    order = ", ".join(map(str, (0, x.ndim - 1, *range(1, x.ndim - 1))))
    remedy = (
        f"Move the axes with permute({order}): a reshape or view to {('n', channels, *places)} keeps the entries in "
        "their old order and mixes channels and places."
    )
    return Statistic(math.log10(as_it_is / other), scene.entrance, words, "", evidence, remedy)


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


def _roughness(x: Tensor) -> float:
    """Mean square difference of neighbours over twice the variance, the worst of the axes; 1 is noise."""
    spread = x.flatten(2).var(2, correction=0).mean()
    if not float(spread) > 0:
        return math.nan
    return max(float(x.diff(dim=axis).square().mean() / (2 * spread)) for axis in range(2, x.ndim))
