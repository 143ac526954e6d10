"""What a network hands on of its curvature: second derivatives, and outputs, that are zero whatever the weights are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.flat_derivatives import REMEDY, WORDS, Derivatives, sends_back
from nonsingular.diagnosis.records import Statistic


def flat(scene: Scene) -> Statistic:
    """Whether model or loss take a derivative of a derivative by inputs that is zero and sends no gradient back."""
    known, value = Derivatives(), math.nan
    for op in scene.trace.ops:
        if op.name != "grad" or op.out is None:
            continue
        is_flat = known.is_flat(op.given(0, "outputs"), op.given(1, "inputs"), op.out)
        if is_flat:
            numbers = sum(t.numel() for t in tree_leaves(op.out) if isinstance(t, Tensor))
            evidence = ({"measure": "numbers of it that are zero", "value": numbers},)
            return Statistic(1.0, op.layers, WORDS, op.where, evidence, REMEDY)
        value = value if is_flat is None else 0.0
    return Statistic(value, (), WORDS)


def zero_output(scene: Scene) -> Statistic:
    """Whether one of several outputs that the loss reads is zero for all samples and sends no gradient back."""
    words = "one of several outputs is zero for every sample, and no gradient comes back from it"
    nothing = Statistic(math.nan, (), words)
    outputs = [t for t in tree_leaves(scene.output) if isinstance(t, Tensor) and t.is_floating_point() and t.ndim]
    if len(outputs) < 2 or scene.loss is None or not scene.loss.requires_grad or flat(scene).value == 1:
        return nothing
    for i, t in enumerate(outputs):
        if not t.requires_grad or not t.numel() or len(t) != scene.batch.samples or bool(t.any()):
            continue
        [read] = torch.autograd.grad(scene.loss, t, retain_graph=True, allow_unused=True)
        if read is None or not bool(read.any()) or sends_back([t]):
            continue
        source = scene.trace.source(t)
        evidence = ({"measure": "number of the output, from 0", "value": i},
                    {"measure": "outputs", "value": len(outputs)})  # fmt: skip
        remedy = "Look at what makes this output: units that are all off, or a derivative of straight pieces. " + REMEDY
        return Statistic(1.0, source.layers if source else (), words, source.where if source else "", evidence, remedy)
    return Statistic(0.0, (), words)
