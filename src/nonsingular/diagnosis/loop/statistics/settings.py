"""Settings of optimisers that are hardly meant: arguments in each other's place, by their values alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nonsingular.diagnosis.loop.records import Held, Loop
from nonsingular.diagnosis.loop.statistics.steps import stepping
from nonsingular.diagnosis.loop.statistics.told import NOTHING, Measure, fresh, line_of, shown
from nonsingular.diagnosis.records import Statistic

LARGE = 0.5  # what a dampening, a decay or an eps is not, and a momentum or an average's share usually is
SMALL = 0.01  # what a momentum is not, and a decay usually is
NO_RATE = 2e-6  # learning rates of weights that were drawn at random lie above it

SIGNATURES = {
    "SGD": "SGD(params, lr, momentum, dampening, weight_decay)",
    "RMSprop": "RMSprop(params, lr, alpha, eps, weight_decay, momentum)",
    "Adagrad": "Adagrad(params, lr, lr_decay, weight_decay)",
    "Adadelta": "Adadelta(params, lr, rho, eps, weight_decay)",
    **{kind: f"{kind}(params, lr, betas, eps, weight_decay)" for kind in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}


def _unlikely(loop: Loop) -> Statistic:
    """Whether an optimiser has settings that nobody chooses, and which."""
    words = "settings of the optimiser that are hardly meant"
    for o in stepping(loop):
        odd = _odd(o.settings) or _rate_for_decay(loop, o)
        if not odd:
            continue
        values = {name: float(x) for name in odd if (x := _number(o.settings, name)) is not None}
        told = " and ".join(f"{name}={x:g}" for name, x in values.items())
        return Statistic(
            1.0, (), words, line_of(o.made), tuple(shown(name, x) for name, x in values.items()),
            f"{o.kind} has {told}: these look like arguments in each other's place. The order is "
            f"{SIGNATURES.get(o.kind, 'that of its documentation')}; write their names.",
        )  # fmt: skip
    return NOTHING


def _odd(s: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of settings that make no sense with each other.

    >>> _odd({"momentum": 1e-4, "dampening": 0.9}), _odd({"momentum": 0.9, "dampening": 0.9})
    (('momentum', 'dampening'), ())
    >>> _odd({"betas": (0.999, 0.9), "eps": 1e-8}), _odd({"betas": (0.5, 0.9), "eps": 1e-8})
    (('betas[0]', 'betas[1]'), ())
    >>> _odd({"betas": (0.0, 0.0), "eps": 1e-8}), _odd({"betas": (0.0, 0.1), "eps": 1e-8})
    ((), ('betas[0]', 'betas[1]'))
    """
    number = lambda name: x if (x := _number(s, name)) is not None else 0.0  # noqa: E731
    momentum, first, second = number("momentum"), number("betas[0]"), _number(s, "betas[1]")
    if momentum >= 1:
        return ("momentum",)  # what it remembers grows
    if 0 < momentum < SMALL:  # without any, a dampening has no effect
        other = next((name for name in ("dampening", "weight_decay") if number(name) >= LARGE), "")
        return ("momentum", other) if other else ()
    if second is not None and (first > second or 0 < second < LARGE):  # without averages Adam steps by signs
        return ("betas[0]", "betas[1]")
    average = next((name for name in ("alpha", "rho") if _number(s, name) is not None), "")
    if average and "eps" in s and 0 < number(average) < LARGE:
        return (average,)
    if number("lr_decay") >= LARGE:
        return ("lr_decay",)
    return ()


def _rate_for_decay(loop: Loop, o: Held) -> tuple[str, ...]:
    """Whether rate and decay are exchanged: a rate at which nothing moves that was drawn, and a decay like a rate."""
    rate, decay = max(o.rates, default=0.0), _number(o.settings, "weight_decay") or 0.0
    constant = o.scheduler is None and min(o.rates, default=0.0) == rate
    if not (constant and 0 < rate < NO_RATE and 100 * rate < decay and 1e-4 <= decay <= 0.1):
        return ()
    held = [m for t in loop.trainees for m in t.module.modules() if any(id(p) in o.ids for p in m.parameters(False))]
    pretrained = any(m in loop.loaded for m in held)
    return ("lr", "weight_decay") if held and not pretrained and fresh(held) else ()


def _number(s: Mapping[str, Any], name: str) -> float | None:
    """A setting that is a number; ``betas[1]`` is the second of several."""
    base, _, place = name.partition("[")
    x = s.get(base)
    if place:
        x = x[int(place[:-1])] if isinstance(x, tuple | list) and len(x) == 2 else None
    return float(x) if isinstance(x, int | float) and not isinstance(x, bool) else None


MEASURES: dict[str, Measure] = {"loop-settings": _unlikely}
