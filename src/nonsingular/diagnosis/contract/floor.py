"""A loss at its floor: it has no slope where the outputs are, as a hinge of which no sample is within the margin."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from nonsingular.diagnosis import weights
from nonsingular.diagnosis.batches import Problem
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError
from nonsingular.objective import Batch

FEWEST = 8  # samples
BATCHES = 8
ALIKE = 0.01  # of what tells outputs apart
NOTHING = 1e-4  # of a slope
TRAINED = 0.5  # the value of a loss at its floor that a network has been trained to: no finding
HINGES = {
    "relu", "clamp", "clamp_min", "maximum", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    "margin_ranking_loss", "hinge_embedding_loss", "cosine_embedding_loss", "multi_margin_loss",
}  # fmt: skip


def slope(task: Problem, output: object, batch: Batch) -> Tensor | None:
    """The loss's slope by these outputs, flat; None where it has none, or where the loss fails.

    Args:
        task: whose loss is taken.
        output: a tree of tensors, as the model returns it.
        batch: with the targets.
    """
    leaves, spec = tree_flatten(output)
    points = [t.detach().clone().requires_grad_() if _moves(t) else t for t in leaves]
    try:
        with torch.enable_grad():
            loss = task.loss(tree_unflatten(points, spec), batch)
            found = torch.autograd.grad(loss, [p for p in points if _moves(p)], allow_unused=True)
    except (InputError, RuntimeError, ValueError, TypeError, IndexError):
        return None
    known = [g.double().flatten() for g in found if g is not None]
    return torch.cat(known) if known else None


def change(task: Problem, output: object, batch: Batch, other: Tensor, own: Tensor) -> float | None:
    """Norm of what of the loss's slope changes with other targets; None where it has none with them, or is random.

    Args:
        task: whose loss is taken.
        output: as ``slope`` takes it.
        batch: with the targets.
        other: targets in their place.
        own: the slope with the batch's own.
    """
    again, there = (slope(task, output, replace(batch, target=t)) for t in (batch.target, other))
    if again is None or there is None or not torch.equal(own, again):
        return None
    return float((own - there).norm())


def elsewhere(output: object) -> list[object]:
    """Outputs that are nearly the same for all samples, where every margin counts, and those of other samples.

    Both lie between outputs of the model, so that a loss that takes these takes them: probabilities, positive numbers.
    """
    leaves, spec = tree_flatten(output)
    moved = [t.detach() if _moves(t) else t for t in leaves]
    alike = [t.mean(0) + ALIKE * (t - t.mean(0)) if _moves(t) and t.ndim else t for t in moved]
    others = [t.roll(1, 0) if _moves(t) and t.ndim else t for t in moved]
    return [tree_unflatten(alike, spec), tree_unflatten(others, spec)]


def in_another_order(target: Tensor) -> tuple[Tensor, Tensor]:
    """The targets in a random order, which keeps no classes together, and which of them have changed."""
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0)).to(target.device)
    return target[order], (target[order] != target).reshape(len(target), -1).any(1)


def at_floor(scene: Scene) -> Statistic:
    """Whether the loss has no slope, or none that the targets change, at these outputs, and one at others.

    1 for weights as they were drawn, ``TRAINED`` for others: training may lead there.
    """
    words = "the loss has no slope at the outputs, for any sample"
    if scene.task.form != "output" or scene.loss is None or not scene.loss.requires_grad:
        return Statistic(math.nan, (), words)
    if scene.batch.samples < FEWEST:
        return Statistic(math.nan, (), words)
    own = slope(scene.task, scene.output, scene.batch)
    here = _decided(scene.task, scene.output, scene.batch, own)
    if here is None or here > 0:
        return Statistic(math.nan if here is None else 0.0, (), words)
    others = [_decided(scene.task, o, scene.batch, slope(scene.task, o, scene.batch)) for o in elsewhere(scene.output)]
    known = [x for x in others if x is not None]
    hinge = next((op for op in scene.trace.ops if op.in_loss and op.name in HINGES and _idle(op.out)), None)
    # Beside huge outputs targets change nothing either, though no hinge is idle.
    flat = hinge is not None or (own is not None and not bool(own.any()))
    if not flat or not known or not max(known) > 0 or not _everywhere(scene):
        return Statistic(0.0, (), words)
    evidence = (
        {"measure": "loss", "value": float(scene.loss.detach())},
        {"measure": "norm of its slope by the outputs, in what the targets decide", "value": here},
        {"measure": "the same for outputs that are nearly the same, or other samples'", "value": max(known)},
    )
    remedy = (
        "No sample is within the margin: choose harder negatives (semi-hard or hardest of the batch), a larger margin, "
        "or look at the scale of the outputs."
    )
    where = (hinge.where or hinge.name) if hinge is not None else scene.loss_place
    return Statistic(1.0 if _drawn(scene) else TRAINED, (), words, where, evidence, remedy)


def _decided(task: Problem, output: object, batch: Batch, own: Tensor | None) -> float | None:
    """Norm of the slope ``own``, or of what of it changes with the targets, where these can be exchanged."""
    target = batch.target
    if own is None or not bool(torch.isfinite(own).all()):
        return None
    size = float(own.norm())
    if not size or not isinstance(target, Tensor) or not target.ndim or len(target) != batch.samples:
        return size
    other, moved = in_another_order(target)
    found = change(task, output, batch, other, own) if float(moved.double().mean()) > 0.25 else None
    if found is None:
        return size
    return found if found > NOTHING * size else 0.0


def _everywhere(scene: Scene) -> bool:
    """Whether it is so in whole batches, the first ones: a larger one has harder samples."""
    task = scene.task
    with untouched(task.model), as_training(task.model):
        outputs = ((task.output(b), b) for b in task.batches[:BATCHES])
        return all(_decided(task, o, b, slope(task, o, b)) in (0.0, None) for o, b in outputs)


def _drawn(scene: Scene) -> bool:
    """Whether most weights are as initialisations draw them."""
    told = sorted((p for p in scene.task.model.parameters() if weights.telling(p)), key=lambda p: -p.numel())[:4]
    return sum(map(weights.drawn, told)) > len(told) / 2


def _idle(x: object) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and x.numel() > 0 and not bool(x.detach().any())


def _moves(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
