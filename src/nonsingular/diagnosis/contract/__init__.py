"""The contract: outputs, loss, targets and data held against each other, by one traced pass and a few more.

Each check is a function of a ``Scene`` that gives a ``Statistic`` (NaN where it does not apply); ``rules/contract.py``
says which numbers are findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from nonsingular.diagnosis.batches import Problem
from nonsingular.diagnosis.contract import (
    alignments,
    answers,
    couples,
    curvature,
    cut_terms,
    edges,
    floor,
    foreign_noise,
    heads,
    held_out,
    latents,
    layout,
    likelihoods,
    lookups,
    masks,
    meanings,
    narrow,
    near_copies,
    noising,
    padded,
    probes,
    reading,
    reductions,
    refusals,
    registered,
    samples,
    signs,
    slopes,
    targets,
    terms,
)
from nonsingular.diagnosis.contract.finite import not_finite
from nonsingular.diagnosis.contract.scene import Scene, scene
from nonsingular.diagnosis.records import Statistic
from nonsingular.objective import Batch

CHECKS = {
    "twice-normalised": heads.probabilities,
    "clipped-logits": heads.clipped,
    "positive-logarithms": heads.positive_logarithms,
    "unnormalised": heads.unnormalised,
    "shared-sum": heads.shared,
    "out-of-reach": heads.out_of_reach,
    "dead-outputs": heads.dead_readout,
    "unsuited": heads.unsuited,
    "broadcast": targets.broadcast,
    "class-axis": targets.class_axis,
    "scrambled": targets.scrambled,
    "inadmissible": targets.inadmissible,
    "swapped": targets.swapped,
    "blank-labels": alignments.blank_among_labels,
    "few-frames": alignments.too_few_frames,
    "samples-for-time": alignments.time_for_samples,
    "against-targets": signs.against_targets,
    "backwards": signs.backwards,
    "exchanged-pairs": couples.exchanged,
    "undefined": likelihoods.undefined,
    "endless": likelihoods.endless,
    "constant-targets": targets.constant,
    "constant-goal": targets.goal,
    "ignored-targets": targets.ignored,
    "at-floor": floor.at_floor,
    "left-out-labels": targets.left_out,
    "padding-counted": targets.padding_counted,
    "large-targets": targets.large,
    "small-targets": targets.small,
    "mixed": probes.mixed,
    "random-evaluation": probes.random_in_evaluation,
    "affine": probes.affine,
    "unregistered": registered.unregistered,
    "cut": registered.cut,
    "flat-derivative": curvature.flat,
    "zero-output": curvature.zero_output,
    "cut-term": cut_terms.cut_term,
    "flat-step": reading.flat_step,
    "read-late": padded.read_late,
    "inverted-mask": masks.inverted,
    "torn": layout.torn,
    "mirrored": layout.mirrored,
    "turned-edges": edges.turned_round,
    "sent-back": edges.sent_back,
    "wrong-slope": slopes.wrong,
    "noise": layout.noise,
    "orderless": probes.orderless,
    "one-sided": terms.one_sided,
    "unlike-reductions": reductions.unlike,
    "dear-code": latents.too_dear,
    "near-and-far": terms.near_and_far,
    "noised": noising.noised,
    "foreign-noise": foreign_noise.foreign,
    "reparameterised": noising.reparameterised,
    "lonely": narrow.lonely,
    "batch-alone": narrow.batch_alone,
    "dropped": narrow.dropped,
    "heavy-dropout": narrow.heavy,
    "statistics-stay": narrow.statistics_stay,
    "seen-answers": answers.seen_answers,
    "copied-answers": answers.copied,
    "near-contradictions": near_copies.contradicting,
    "uneven-features": samples.uneven_features,
    "raw-bytes": samples.raw_bytes,
    "imbalance": samples.imbalance,
    "ordered": samples.ordered,
}

OF_MEANING = {"held-out-ids": meanings.held_out_ids, "held-out-meaning": meanings.held_out_meaning}
APART = {"leakage": held_out.leakage, "held-out-scale": held_out.held_out_scale, **OF_MEANING}
"""Checks of held-out batches against those of training."""


def statistics(task: Problem, tests: Sequence[Batch] = (), seen: Scene | None = None) -> dict[str, Statistic]:
    """Every statistic of the contract, by name.

    Args:
        task: model, loss and batches; data are judged on all of them, the rest on a few samples.
        tests: batches of an evaluation, to be held against the training's.
        seen: the traced pass, where there was one already.

    Raises:
        InputError: the model fails on the batches.
    """
    seen = seen or scene(task)
    found = (
        {name: check(seen) for name, check in CHECKS.items()}
        | refusals.statistics(seen)
        | samples.repeated(seen)
        | reading.unread(seen)
        | targets.weighed(seen)
    )
    if found["inadmissible"].value > 0:
        found["refused-targets"] = replace(found["refused-targets"], value=0.0)  # the same, and told better
    if tests:
        found |= {name: check(task.batches, tests) for name, check in APART.items()}
        if not lookups.reads_ids(seen):
            found |= {name: check(_numbers(task.batches), _numbers(tests)) for name, check in OF_MEANING.items()}
    return found


def _numbers(batches: Sequence[Batch]) -> list[Batch]:
    """The same with inputs that are numbers, whole ones too."""
    whole = {torch.int64, torch.int32, torch.int16, torch.uint8}
    return [replace(b, inputs=tree_map_only(Tensor, lambda t: t.float() if t.dtype in whole else t, b.inputs))
            for b in batches]  # fmt: skip


__all__ = ["Scene", "not_finite", "scene", "statistics"]
