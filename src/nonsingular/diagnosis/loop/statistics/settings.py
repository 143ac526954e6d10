"""Settings of optimisers that are hardly meant, by their values alone: exchanged arguments, averages over no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nonsingular.diagnosis.loop.records import Held, Loop
from nonsingular.diagnosis.loop.statistics.steps import stepping
from nonsingular.diagnosis.loop.statistics.told import NOTHING, Measure, line_of, shown
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.weights import fresh

LARGE = 0.5  # what a dampening, a decay or an eps is not, and a momentum or an average's share usually is
SMALL = 0.01  # what a momentum is not, and a decay usually is
LONG = 0.99  # an average that lasts this long is one of squares, as none of gradients is
NO_RATE = 2e-6  # learning rates of weights that were drawn at random lie above it

SIGNATURES = {
    "SGD": "SGD(params, lr, momentum, dampening, weight_decay)",
    "RMSprop": "RMSprop(params, lr, alpha, eps, weight_decay, momentum)",
    "Adagrad": "Adagrad(params, lr, lr_decay, weight_decay)",
    "Adadelta": "Adadelta(params, lr, rho, eps, weight_decay)",
    **{kind: f"{kind}(params, lr, betas, eps, weight_decay)" for kind in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")},
}


@dataclass(frozen=True)
class _Odd:
    """Settings that make no sense with each other.

    Attributes:
        names: of the settings.
        does: what they make of the steps, and what to write instead; "" where they stand in each other's place.
    """

    names: tuple[str, ...]
    does: str = ""


def _unlikely(loop: Loop) -> Statistic:
    """Whether an optimiser has settings that nobody chooses, and which."""
    words = "settings of the optimiser that are hardly meant"
    for o in stepping(loop):
        odd = _odd(o.settings) or _rate_for_decay(loop, o)
        if odd is None:
            continue
        values = {name: float(x) for name in odd.names if (x := _number(o.settings, name)) is not None}
        told = " and ".join(f"{name}={x:g}" for name, x in values.items())
        order = SIGNATURES.get(o.kind, "that of its documentation")
        exchanged = f"these look like arguments in each other's place. The order is {order}; write their names."
        return Statistic(
            1.0, (), words, line_of(o.made), tuple(shown(name, x) for name, x in values.items()),
            f"{o.kind} has {told}: {odd.does or exchanged}",
        )  # fmt: skip
    return NOTHING


def _odd(s: Mapping[str, Any]) -> _Odd | None:
    """Settings that make no sense with each other; None where there are none.

    >>> _odd({"momentum": 1e-4, "dampening": 0.9}).names, _odd({"momentum": 0.9, "dampening": 0.9})
    (('momentum', 'dampening'), None)
    """
    number = lambda name: x if (x := _number(s, name)) is not None else 0.0  # noqa: E731
    momentum = number("momentum")
    if momentum >= 1:
        return _Odd(("momentum",), "what it remembers never fades, so that steps grow. Take one below 1, as 0.9.")
    if 0 < momentum < SMALL:  # without any, a dampening has no effect
        other = next((name for name in ("dampening", "weight_decay") if number(name) >= LARGE), "")
        return _Odd(("momentum", other)) if other else None
    if number("lr_decay") >= LARGE:
        tenth = 1 + 9 * number("lr_decay")
        return _Odd(("lr_decay",), f"at the tenth step the rate is divided by {tenth:.2g} already. Leave it at 0.")
    return _odd_averages(s)


def _odd_averages(s: Mapping[str, Any]) -> _Odd | None:
    """Averages of squared gradients over hardly any steps, or over fewer than those of the gradients themselves.

    >>> _odd_averages({"betas": (0.999, 0.9)})  # the usual ones, exchanged
    _Odd(names=('betas[0]', 'betas[1]'), does='')
    >>> "over 2 alone" in _odd_averages({"betas": (0.9, 0.5)}).does
    True
    >>> _odd_averages({"betas": (0.5, 0.9)}), _odd_averages({"betas": (0.0, 0.0)})  # steps by signs are meant
    (None, None)
    """
    first, second = _number(s, "betas[0]"), _number(s, "betas[1]")
    if first is not None and second is not None:
        if first <= second and not 0 < second < LARGE:
            return None
        if first >= LONG and second < first:
            return _Odd(("betas[0]", "betas[1]"))
        usual = "the second is usually 0.95 to 0.999"
        does = _outlived(first, second, usual) if first > second else _short(second, usual)
        return _Odd(("betas[0]", "betas[1]"), does)
    average = next((name for name in ("alpha", "rho") if _number(s, name) is not None), "")
    share = _number(s, average)
    if not average or share is None or "eps" not in s or not 0 < share < LARGE:
        return None
    if share < SMALL or (_number(s, "eps") or 0.0) >= LARGE:  # a decay or an eps in its place
        return _Odd((average, "eps"))
    return _Odd((average,), _short(share, f"{average} is the part of it that stays, usually 0.9 to 0.99"))


def _outlived(first: float, second: float, usual: str) -> str:
    """What averages of gradients do that last longer than those of their squares."""
    longer = f"some {1 / (1 - first):.2g}" if first < 1 else "all"
    return (
        f"gradients are averaged over {longer} steps and their squares over {1 / (1 - second):.2g} alone, so that a "
        f"large gradient still makes steps when what they are divided by has forgotten it; {usual}."
    )


def _short(share: float, usual: str) -> str:
    """What an average that keeps so little of itself does."""
    return (
        f"squares of the gradients are averaged over some {1 / (1 - share):.2g} steps alone, so that each step is "
        f"divided by little more than its own gradient, and noise counts as much as slope; {usual}."
    )


def _rate_for_decay(loop: Loop, o: Held) -> _Odd | None:
    """Whether rate and decay are exchanged: a rate at which nothing moves that was drawn, and a decay like a rate."""
    rate, decay = max(o.rates, default=0.0), _number(o.settings, "weight_decay") or 0.0
    constant = o.scheduler is None and min(o.rates, default=0.0) == rate
    if not (constant and 0 < rate < NO_RATE and 100 * rate < decay and 1e-4 <= decay <= 0.1):
        return None
    held = [m for t in loop.trainees for m in t.module.modules() if any(id(p) in o.ids for p in m.parameters(False))]
    pretrained = any(m in loop.loaded for m in held)
    return _Odd(("lr", "weight_decay")) if held and not pretrained and fresh(held) else None


def _number(s: Mapping[str, Any], name: str) -> float | None:
    """A setting that is a number; ``betas[1]`` is the second of several."""
    base, _, place = name.partition("[")
    x = s.get(base)
    if place:
        x = x[int(place[:-1])] if isinstance(x, tuple | list) and len(x) == 2 else None
    return float(x) if isinstance(x, int | float) and not isinstance(x, bool) else None


MEASURES: dict[str, Measure] = {"loop-settings": _unlikely}
