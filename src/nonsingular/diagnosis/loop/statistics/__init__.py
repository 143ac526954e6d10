"""What a loop comes down to: one number for each way in which loops go wrong, with the line and the parameters.

Numbers are taken from what happened to the weights and gradients themselves, so that a loop is judged by what it does,
not by how it is written. A step is called too large, too small, clipped or decayed away only where the loss shows it.
Each module has one idea and names its numbers in ``MEASURES``; ``told``, ``losses`` and ``steps`` are what they share.
"""

from __future__ import annotations

from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.statistics import (
    bounds,
    coupled,
    data,
    graph,
    held,
    lasting,
    losses,
    modes,
    order,
    precision,
    schedules,
    settings,
    signs,
    sizes,
    teachers,
)
from nonsingular.diagnosis.loop.statistics.told import Measure
from nonsingular.diagnosis.records import Statistic

MEASURES: dict[str, Measure] = {
    name: measure
    for module in (
        losses,
        held,
        order,
        graph,
        lasting,
        sizes,
        bounds,
        coupled,
        schedules,
        settings,
        modes,
        teachers,
        signs,
        data,
        precision,
    )
    for name, measure in module.MEASURES.items()
}


def loop_statistics(loop: Loop) -> dict[str, Statistic]:
    """Every number of a loop, by name; NaN where the loop has nothing to measure it by."""
    return {name: measure(loop) for name, measure in MEASURES.items()}
