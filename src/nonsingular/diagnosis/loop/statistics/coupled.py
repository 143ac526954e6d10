"""L2 in an optimiser that divides each step by its gradient's size: what the penalty is worth beside the loss."""

from __future__ import annotations

import math
from statistics import fmean, median

from nonsingular.diagnosis.loop.movement import ADAPTIVE
from nonsingular.diagnosis.loop.records import Held, Loop, Update
from nonsingular.diagnosis.loop.statistics.losses import constant, latest, step_losses
from nonsingular.diagnosis.loop.statistics.steps import stepping, updates_of
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING, Measure, line_of, names_of, shown
from nonsingular.diagnosis.records import Statistic

FREE = 1e-4  # cosine between weights and gradient, below which the loss does not depend on their size
LEFT = 0.05  # part of the best constant's loss that has to be left, for decay to have cost anything


def _coupled(loop: Loop) -> Statistic:
    """The penalty on the layers that decay draws in more than their gradient draws them out, over the constant's loss.

    Weight decay of d in these optimisers lessens loss + d/2 |weights|^2. What learning can win at all is the loss of
    the best constant: where the penalty is a good part of that, so much is given away for small weights.
    """
    words = "penalty on the weights that weight_decay stands for, over the loss of the best constant prediction"
    worst = NOTHING
    for held in stepping(loop):
        updates = [u for u in updates_of(loop, held) if u.coupled and u.parameters]
        most, late = _at_stake(loop)
        if held.kind not in ADAPTIVE or len(updates) < 2 * ENOUGH or not most > 0 or not late > LEFT * most:
            continue
        updates = updates[len(updates) // 2 :]
        layers = _drawn_in(updates)
        value = sum(_penalty(updates, held, i) for i in layers) / most
        if layers and (math.isnan(worst.value) or value > worst.value):
            worst = Statistic(
                value, names_of(loop, layers), words, line_of(held.made),
                (shown("weight_decay", max(u.coupled[i] for u in updates for i in layers if i in u.coupled)),
                 shown("loss at the end over that of the best constant prediction", late / most),
                 shown("layers that decay draws in more than the gradient draws them out", len(layers))),
                f"weight_decay of {held.kind} is added to the gradient, which is then divided by its own size: take "
                f"1e-4 or less, or AdamW, which takes it from the weights apart (1e-2 is usual there).",
            )  # fmt: skip
    return worst


def _at_stake(loop: Loop) -> tuple[float, float]:
    """What learning can win at most, and the loss at the end; the first loss, if none is below zero, for the former."""
    losses, (best, values) = step_losses(loop), constant(loop)
    if values and math.isfinite(best):
        return best, latest(values)
    known = len(losses) >= 2 * ENOUGH and all(v >= 0 for v in losses)
    return (fmean(losses[:ENOUGH]), latest(losses)) if known else (math.nan, math.nan)


def _drawn_in(updates: list[Update]) -> list[int]:
    """Ids of the parameters that decay makes smaller more than the loss wants them larger, if it minds their size."""
    found = []
    for i in updates[-1].coupled:
        rows = [(u.parameters[i], u.coupled[i]) for u in updates if i in u.parameters and i in u.coupled]
        cosines = [abs(m.outward) / (m.gradient * m.weight) for m, _ in rows if m.gradient * m.weight > 0]
        inward = sum(factor * m.weight**2 for m, factor in rows)
        if cosines and median(cosines) > FREE and inward > sum(m.outward for m, _ in rows):
            found.append(i)
    return found


def _penalty(updates: list[Update], held: Held, i: int) -> float:
    """What decay stands for on one parameter; a quarter of it where what was drawn for nothing may still be there.

    These optimisers move all entries alike: a weight can have lost its size after as many steps as it is long in them.
    """
    rows = [(u.parameters[i], u.coupled[i]) for u in updates if i in u.parameters and i in u.coupled]
    penalty = median(factor / 2 * m.weight**2 for m, factor in rows)
    way = held.steps * median(m.moved for m, _ in rows)
    return penalty if way > median(m.weight for m, _ in rows) else penalty / 4


MEASURES: dict[str, Measure] = {"loop-coupled": _coupled}
