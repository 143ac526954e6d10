"""What batches are made of: repeated, sorted, put together wrongly, changed on their way."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import torch

from nonsingular.diagnosis.contract.held_out import SCALED, UNLIKE, levels_as_evidence, unlike
from nonsingular.diagnosis.contract.meanings import ONE_CODE, OTHER_IDS, other_ids
from nonsingular.diagnosis.contract.noising import ROOT, WORDS, wrong_power
from nonsingular.diagnosis.contract.samples import FEWER, fewer_classes
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.statistics.modes import test_calls
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, is_moved, line_of, shown
from nonsingular.diagnosis.records import Statistic

TURNED = 8  # samples whose targets stayed, before that is a habit


def _no_batches(loop: Loop) -> Statistic:
    """Loaders that are begun and hold nothing."""
    words = "batches of the data loader"
    busy = loop.steps or loop.backwards or not loop.ended
    empty = [d for d in loop.loaders.values() if d.begun and not d.drawn]
    if busy or not empty or any(d.drawn for d in loop.loaders.values()):
        return NOTHING
    return Statistic(
        1.0,
        (),
        words,
        line_of(empty[0].place),
        (shown("times it was begun", empty[0].begun), shown(words, 0)),
        "The loader has no batch: the batch is larger than the data and drop_last=True, or the data set is empty.",
    )


def _repeated(loop: Loop) -> Statistic:
    """Share of the batches that were there before in the same pass through a loader."""
    words = "share of the batches that came before in the same pass through the data"
    for t in loop.trainees:
        each = {(*c.passed, c.sample) for c in t.calls if c.graded and c.sample is not None and any(c.passed)}
        seen = [(begun, sample) for begun, _, sample in each]
        if len(seen) < 2 * ENOUGH or any(d.length == 1 for d in loop.loaders.values()):
            continue
        again = len(seen) - len(set(seen))
        every = len({s for _, s in seen})
        return Statistic(
            again / len(seen), (), words, line_of(next((d.place for d in loop.loaders.values()), None)),
            (shown("batches looked at", len(seen)), shown("different ones", every)),
            "Workers that have the same seed deliver the same samples: seed each by its number and by the epoch "
            "(worker_init_fn, get_worker_info().seed), or divide the samples among them.",
        )  # fmt: skip
    return NOTHING


def _same_batch(loop: Loop) -> Statistic:
    words = "share of steps on the very same batch, although there are more"
    more = max((d.length for d in loop.loaders.values()), default=0)
    begun = max((d.begun for d in loop.loaders.values()), default=0)
    for t in loop.trainees:
        graded = [c for c in t.calls if c.graded and c.sample is not None]
        if len(graded) < 2 * ENOUGH:
            continue
        samples = [c.sample for c in graded]
        most = max(set(samples), key=samples.count)
        value = samples.count(most) / len(samples)
        again = more > 1 and begun >= 0.5 * len(graded)
        if value > 0.5 and (again or all(c.sliced for c in graded[1:])):
            loader = max(loop.loaders.values(), key=lambda d: d.begun, default=None)
            return Statistic(
                value, (), words, line_of(loader.place if again and loader else graded[0].place),
                (shown("steps looked at", len(graded)), *([shown("batches there are", more)] if again else [])),
                "next(iter(loader)) begins anew each time: write 'for batch in loader'." if again else
                "The same slice is taken at every step: let its index move on.",
            )  # fmt: skip
    return NOTHING


def _sorted(loop: Loop) -> Statistic:
    for site in loop.sites.values():
        batches = [t for t in site.targets if not t.is_floating_point() and t.numel() > 3]
        if len(batches) < 2 * ENOUGH or len(torch.cat(batches).unique()) < 2:
            continue
        return Statistic(
            fewer_classes(batches), (), FEWER, line_of(site.place), (shown("batches looked at", len(batches)),),
            "Shuffle the samples before they are put into batches: DataLoader(..., shuffle=True), or a permutation.",
        )  # fmt: skip
    return NOTHING


def _apart(loop: Loop, words: str, kinds: tuple[str, str], place: str, of: str, remedy: str, least: int) -> Statistic:
    """Share of the wrong among what was counted as wrong and as right, from so many wrong ones."""
    wrong, right = (loop.counts[kind] for kind in kinds)
    if wrong < least:
        return NOTHING
    return Statistic(
        wrong / (wrong + right), (), words, line_of(loop.places.get(place)), (shown(of, wrong + right),), remedy
    )


def _rows_apart(loop: Loop) -> Statistic:
    return _apart(
        loop, "share of the losses whose targets are the batch's in another order than the inputs",
        ("rows apart", "rows together"), "rows", "losses looked at",
        "Inputs were sorted or shuffled and the targets were not: index both with the same permutation.", ENOUGH,
    )  # fmt: skip


def _collated_apart(loop: Loop) -> Statistic:
    return _apart(
        loop, "share of the batches that have the samples' inputs in another order than their targets",
        ("collated apart", "collated together"), "collated", "batches looked at",
        "The collate function sorts the inputs and leaves the targets as they were: sort the samples, pairs of both, "
        "and take inputs and targets of what is sorted.", ENOUGH,
    )  # fmt: skip


def _loaders_apart(loop: Loop) -> Statistic:
    return _apart(
        loop, "share of the losses that put together other samples of one loader than of the other",
        ("loaders apart", "loaders together"), "loaders", "losses looked at",
        "The loaders shuffle independently: put both into one data set, as in TensorDataset(a, b), and draw from one "
        "loader.", ENOUGH,
    )  # fmt: skip


def _turned(loop: Loop) -> Statistic:
    return _apart(
        loop, "share of the samples that came again another way round whose dense targets had stayed as they were",
        ("targets stayed", "targets turned"), "dense targets", "samples that came again another way round",
        "What flips, turns, shifts or crops an input must do the same to its mask: draw it once, and apply it to both.",
        TURNED,
    )  # fmt: skip


def _rewritten(loop: Loop) -> Statistic:
    """The drift of the inputs, where the data themselves are written over."""
    drift = _drift(loop)
    changed = max((d.changed for d in loop.loaders.values()), default=0)
    parts = max((sum(c.rewritten for c in t.calls) for t in loop.trainees), default=0)
    if max(changed, parts) < 2 or math.isnan(drift.value):
        return NOTHING
    times = shown("times the data were written over since they were last read", max(changed, parts))
    return replace(
        drift,
        evidence=(*drift.evidence, times),
        remedy="The data are changed in place each time they are read: x = (x - mean) / std makes new numbers, -= and "
        "/= write over those of the data set. Do it once, before training.",
    )  # fmt: skip


def _drift(loop: Loop) -> Statistic:
    """How far the inputs' mean and deviation have gone from what they were at first, over what is told apart."""
    words = "decades of the inputs' size, or half deviations of their mean, by which they have changed in training"
    if loop.rewards or loop.returns:
        return NOTHING  # what an agent sees changes as it learns
    worst = NOTHING
    for t in loop.trainees:
        if sum(c.fed for c in t.calls) or not is_moved(loop, t):
            continue
        levels = [c.level for c in t.calls if c.graded and c.level is not None]
        part = len(levels) // 5
        if part < ENOUGH:
            continue
        first, last = levels[:part], levels[-part:]
        (m0, s0), (m1, s1) = ((median(m for m, _ in some), median(s for _, s in some)) for some in (first, last))
        if not s0 > 0:
            continue
        moved = [abs(m - m0) / (2 * s0) for m in (m1, *(m for m, _ in first))]
        scaled = [abs(math.log10(max(s, 1e-12 * s0) / s0)) for s in (s1, *(s for _, s in first))]
        # More than from one batch to the next.
        value = max((way[0] for way in (moved, scaled) if way[0] > 3 * max(way[1:])), default=0.0)
        if not value:
            continue
        if math.isnan(worst.value) or value > worst.value:
            worst = Statistic(
                value, (), words, line_of(t.calls[0].place),
                (shown("mean of the inputs at first", m0), shown("mean at the end", m1),
                 shown("their deviation at first", s0), shown("deviation at the end", s1)),
                "Look at what is done to the inputs on their way: they should have the same mean and deviation at "
                "every pass through the data.",
            )  # fmt: skip
    return worst


def _unlike_tests(loop: Loop) -> Statistic:
    """By how much the inputs of tests are of another size than those of training."""
    for t in loop.trainees:
        train = [c.level for c in t.calls if c.graded and c.level is not None]
        tests = [c for c in test_calls(t) if c.level is not None]
        if len(train) < ENOUGH or not tests or not is_moved(loop, t) or loop.rewards or loop.returns:
            continue
        test = [c.level for c in tests if c.level is not None]
        return Statistic(
            unlike(train, test), (), UNLIKE, line_of(tests[0].place), levels_as_evidence(train, test), SCALED
        )
    return NOTHING


def _other_ids(loop: Loop) -> Statistic:
    """By how much the token ids of tests are distributed otherwise than those of training."""
    for t in loop.trainees:
        train = [c.ids for c in t.calls if c.graded and c.ids is not None]
        tests = [c for c in test_calls(t) if c.ids is not None]
        if not train or not tests or not is_moved(loop, t) or loop.rewards or loop.returns:
            continue
        apart = other_ids(torch.stack(train), torch.stack([c.ids for c in tests if c.ids is not None]))
        return Statistic(apart, (), OTHER_IDS, line_of(tests[0].place), remedy=ONE_CODE)
    return NOTHING


def _noise(loop: Loop) -> Statistic:
    wrong = wrong_power(loop.mixtures, loop.tables) if loop.mixtures else None
    if wrong is None:
        return NOTHING
    return Statistic(wrong, (), WORDS, line_of(loop.places.get("mixture")), remedy=ROOT)


def _reseeded(loop: Loop) -> Statistic:
    words = "share of steps before which the random numbers began again from the same seed"
    if loop.steps < 2 * ENOUGH or not loop.seeds:
        return NOTHING
    (seed, place), times = loop.seeds.most_common(1)[0]
    return Statistic(
        min(1.0, times / loop.steps),
        (),
        words,
        line_of(place),
        (shown(f"times that the seed {seed} was set", times),),
        "Call manual_seed once, before the loop: else dropout, noise and random choices are the same at every step.",
    )


MEASURES: dict[str, Measure] = {
    "loop-no-batches": _no_batches,
    "loop-repeated": _repeated,
    "loop-same-batch": _same_batch,
    "loop-sorted": _sorted,
    "loop-rows-apart": _rows_apart,
    "loop-collated-apart": _collated_apart,
    "loop-loaders-apart": _loaders_apart,
    "loop-turned": _turned,
    "loop-rewritten": _rewritten,
    "loop-drift": _drift,
    "loop-unlike-tests": _unlike_tests,
    "loop-other-ids": _other_ids,
    "loop-noise": _noise,
    "loop-reseeded": _reseeded,
}
