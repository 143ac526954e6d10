"""What connectionist temporal classification asks of its arguments: a blank of its own, and frames enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.contract.scene import Scene, traced
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError

Labels = list[Int[Tensor, " label"]]


@dataclass(frozen=True)
class _Call:
    """A call of the loss.

    Attributes:
        op: its call.
        labels: of each sample, without padding.
        frames: of each sample.
        blank: its class.
        scores: ``[frame, sample, class]``.
    """

    op: Op
    labels: Labels
    frames: Int[Tensor, " sample"]
    blank: int
    scores: Tensor


def blank_among_labels(scene: Scene) -> Statistic:
    """Share of the samples that have the blank among their labels."""
    words = "share of the samples that have the blank among their labels"
    calls = list(_calls(scene))
    for call in calls:
        having = [bool((labels == call.blank).any()) for labels in call.labels]
        if not any(having):
            continue
        classes, used = call.scores.shape[-1], torch.cat(call.labels)
        free = [c for c in (classes - 1, 0) if not bool((used == c).any())]
        at_ends = all(_ends_alone(labels, call.blank) for labels in call.labels)
        remedy = f"Give the loss blank={free[0]}, a class that is no label" if free else (
            "Give the network one class more than there are labels, and the loss its number as blank"
        )  # fmt: skip
        if at_ends:
            remedy = "Give the numbers of labels without their padding as target_lengths; else, g" + remedy[1:]
        evidence = (
            {"measure": "blank", "value": call.blank},
            {"measure": "share of the labels that are the blank", "value": float((used == call.blank).double().mean())},
            {"measure": "classes of the network", "value": classes},
        )
        return Statistic(sum(having) / len(having), (), words, _line(scene, call.op), evidence, f"{remedy}.")
    return Statistic(0.0 if calls else math.nan, (), words)


def too_few_frames(scene: Scene) -> Statistic:
    """Share of the samples whose labels do not fit into their frames, and are left out; 1 if the loss is infinite."""
    words = "share of the samples that have more labels than their frames can hold"
    calls = list(_calls(scene))
    for call in calls:
        wanted = torch.tensor([len(x) + int((x[1:] == x[:-1]).sum()) for x in call.labels])
        short = wanted > call.frames
        if bool(short.any()):
            first = int(short.nonzero()[0])
            evidence = (
                {"measure": f"frames that sample {first} wants, one a label and one between two that are the same",
                 "value": int(wanted[first])},
                {"measure": "frames that it has", "value": int(call.frames[first])},
            )  # fmt: skip
            remedy = (
                "Shorten time less on the way (smaller strides, less pooling), see that input_lengths are those after "
                "it, or leave such samples out; zero_infinity=True only hides them."
            )
            share = float(short.double().mean())
            endless = scene.loss is not None and not math.isfinite(float(scene.loss.detach()))
            of_all = "the loss is infinite, because a sample has more labels than its frames can hold"
            line = _line(scene, call.op)
            return Statistic(1.0 if endless else share, (), of_all if endless else words, line, evidence, remedy)
    return Statistic(0.0 if calls else math.nan, (), words)


def time_for_samples(scene: Scene) -> Statistic:
    """Whether the loss takes the axis of the samples for that of time; only as many of both let it pass."""
    words = "the loss takes the first axis for time, and it holds the samples"
    calls, n = list(_calls(scene)), scene.batch.samples
    for call in calls:
        if n < 2 or call.scores.shape[:2] != (n, n):
            continue
        inputs = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor) and t.ndim > 1 and len(t) == n]
        if len(inputs) != 1:
            return Statistic(math.nan, (), words)
        order = torch.tensor([n - 1, *range(1, n)], device=inputs[0].device)
        changed = tree_map_only(Tensor, lambda t: t[order] if t is inputs[0] else t, scene.batch.inputs)  # noqa: B023
        try:
            again = traced(scene.task, replace(scene.batch, inputs=changed))
        except InputError:
            return Statistic(math.nan, (), words)
        other = next((c.scores for c in _calls(again)), None)
        if other is None:
            return Statistic(math.nan, (), words)
        moved = (other - call.scores).detach().abs().amax(2) > 1e-4 * call.scores.detach().abs().max()
        if bool(moved[0].any()) and not bool(moved[1:].any()):
            evidence = ({"measure": "samples, and positions of each", "value": n},)
            remedy = f"Give {call.op.name} scores[time, sample, class]: outputs.transpose(0, 1)."
            return Statistic(1.0, (), words, _line(scene, call.op), evidence, remedy)
    return Statistic(0.0 if calls else math.nan, (), words)


def _calls(scene: Scene) -> Iterator[_Call]:
    for op in scene.trace.ops:
        if op.name != "ctc_loss":
            continue
        scores, targets, frames, lengths = (
            op.given(i, name)
            for i, name in enumerate(("log_probs", "targets", "input_lengths", "target_lengths"))
        )  # fmt: skip
        if not isinstance(scores, Tensor) or not isinstance(targets, Tensor) or scores.ndim not in (2, 3):
            continue
        scores = scores if scores.ndim == 3 else scores[:, None]
        of_frames, of_labels = (torch.as_tensor(x).detach().cpu().long().flatten() for x in (frames, lengths))
        targets = targets.detach().cpu().long()
        if targets.ndim == 2:
            labels = [row[:k] for row, k in zip(targets, of_labels.tolist(), strict=False)]
        elif int(of_labels.sum()) == len(targets):
            labels = list(targets.split(of_labels.tolist()))
        else:
            continue
        if len(labels) == len(of_frames):
            yield _Call(op, labels, of_frames, int(op.given(4, "blank", 0)), scores)


def _ends_alone(labels: Int[Tensor, " label"], blank: int) -> bool:
    """Whether a sample has the blank at its end alone."""
    inside = labels[: int((labels != blank).nonzero().max()) + 1] if bool((labels != blank).any()) else labels[:0]
    return not bool((inside == blank).any())


def _line(scene: Scene, op: Op) -> str:
    return op.where or scene.loss_place or op.name
