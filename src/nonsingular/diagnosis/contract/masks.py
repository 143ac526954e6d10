"""Masks of padding against the padding that the data show: the wrong way round, they hide what there is to read."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import PRODUCTS, SUMS, in_place
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.values import is_binary

LOW = -1e3  # of a score: what is added to it to hide a position
PADDED = 0.2  # share of the samples that must be seen to end in padding


def inverted(scene: Scene) -> Statistic:
    """Whether a mask hides what the samples hold, and leaves their padding."""
    words = "share of what the samples hold that a mask hides, where it leaves their padding"
    paddings = [p for t in tree_leaves((scene.batch.inputs, scene.batch.target)) if (p := padding(t)) is not None]
    if not paddings:
        return Statistic(math.nan, (), words)
    for op in scene.trace.ops:
        for hidden in _hidden(op):
            for empty in paddings:
                if hidden.shape != empty.shape:
                    continue
                of_padding, of_content = (float(hidden[rows].double().mean()) for rows in (empty, ~empty))
                if of_content > 0.9 and of_padding < 0.1:
                    padded = float(empty.sum(1).double().mean())
                    evidence = (
                        {"measure": "share of the padding that the mask hides", "value": of_padding},
                        {"measure": "positions of a sample that are padding, mean", "value": padded},
                    )
                    remedy = (
                        f"Turn the mask round{f' ({op.where})' if op.where else ''}: key_padding_mask and masked_fill "
                        "take True for what is to be left out, scaled_dot_product_attention for what takes part."
                    )
                    return Statistic(of_content, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)


def padding(x: object) -> Tensor | None:
    """Which positions ``[sample, position]`` hold nothing: one number, or zeros, to the end (or from the start) on."""
    if not isinstance(x, Tensor) or x.dtype == torch.bool or x.is_complex() or x.ndim not in (2, 3):
        return None
    if x.ndim == 2 and (x.is_floating_point() or x.shape[1] < 3):
        return None
    rows = x if x.ndim == 2 else x.detach().abs().amax(2)
    for ends in (rows.flip(1), rows):
        last = ends[:, 0].mode().values if x.ndim == 2 else torch.zeros((), device=x.device)
        empty = (ends == last).long().cumprod(1).bool()
        lengths = empty.sum(1)
        some = float((lengths > 0).double().mean())
        if some >= PADDED and len(lengths.unique()) > 1 and float(empty.double().mean()) < 0.9:
            return empty.flip(1) if ends is not rows else empty
    return None


def _hidden(op: Op) -> Iterator[Tensor]:
    """Positions ``[sample, position]`` that a call leaves out."""
    if op.name == "multi_head_attention_forward":
        yield from _two(op.kwargs.get("key_padding_mask"), True)
    elif op.name == "scaled_dot_product_attention":
        yield from _two(op.given(3, "attn_mask"), False)
    elif op.name in ("masked_fill", "masked_fill_") and isinstance(value := op.given(2, "value"), int | float):
        if value <= LOW or value == 0:
            yield from _two(op.given(1, "mask"), True)
    elif op.name == "where" and len(op.args) == 3:
        for other, left_out in ((op.args[1], True), (op.args[2], False)):
            if _low(other):
                yield from _two(op.args[0], left_out)
    elif op.name in SUMS | in_place(SUMS):
        for t in op.tensors:
            if t.is_floating_point() and not t.requires_grad and t.ndim > 1 and float(t.min()) <= LOW:
                yield from _two(t, True)
    elif op.name in PRODUCTS | in_place(PRODUCTS) and not op.in_loss:
        for t in op.tensors:
            if not t.requires_grad and t.ndim > 1 and is_binary(t):
                yield from _two(t.bool(), False)


def _low(x: object) -> bool:
    value = x if isinstance(x, int | float) else x.max() if isinstance(x, Tensor) and not x.requires_grad else 0.0
    return float(value) <= LOW


def _two(mask: object, left_out: bool) -> Iterator[Tensor]:
    """A mask by sample and position; ``left_out`` is what True means, and of numbers low ones are left out."""
    if not isinstance(mask, Tensor) or mask.ndim < 2:
        return
    hidden = (mask if left_out else ~mask) if mask.dtype == torch.bool else mask <= LOW
    if hidden.ndim > 2 and hidden.shape[-1] == 1:  # a factor of every unit
        hidden = hidden.squeeze(-1)
    if hidden.ndim > 2:
        hidden = hidden.flatten(1, -2).all(1)
    yield hidden
