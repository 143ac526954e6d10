"""Goals of the form reward + discount * value of what follows, found by their numbers, whatever they are called."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from nonsingular.diagnosis.loop.tape import comes_back_to
from nonsingular.diagnosis.values import is_binary
from nonsingular.places import user_frames

DISCOUNTS = (1.0, 0.999, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.9, 0.85, 0.8, 0.7, 0.5)
ENDS = re.compile(r"(^|_)(d|dones?|ends?|ended|finals?|last|terminals?|terminated|terms?)(_|$)", re.IGNORECASE)
GOES_ON = re.compile(r"(^|_)(not?n?_?dones?|not?n?_?(final|terminal)s?|alive|continues?)(_|$)", re.IGNORECASE)
EITHER = re.compile(r"(^|_)masks?(_|$)", re.IGNORECASE)  # some write 1 for an end, others for what goes on
CUT_OFF = re.compile(r"trunc|time_?(limit|out)", re.IGNORECASE)  # an end by the clock, past which values do go on
FEWEST, MOST = 8, 4096  # samples of a batch
NUMBERS = 16  # of as many samples, in sight, that may be the rewards
ROWS = 0.98  # of the samples, of which the form holds


class Bootstraps:
    """Knows what models returned and what losses took for targets since the former backward pass."""

    def __init__(self) -> None:
        self._values, self._goals = deque[tuple[Tensor, Any]](maxlen=4), deque[Tensor](maxlen=8)

    def returned(self, output: Any) -> None:
        """A model did."""
        if isinstance(output, Tensor) and output.is_floating_point() and 0 < output.ndim < 3:
            self._values.append((output.detach(), output.grad_fn))

    def compared(self, target: Any) -> None:
        """A loss took a target."""
        if isinstance(target, Tensor) and target.is_floating_point():
            self._goals.append(target.detach())

    def forget(self) -> None:
        """A backward pass is over, and what came before it."""
        self._values.clear()
        self._goals.clear()

    def go_on(self, root: Any) -> bool:
        """Whether the goals of samples at which an episode has ended have a value of what follows in them all the same.

        Whether one has is read off a variable, by the name that it has where the backward pass is called. An output
        that the pass comes back to is the value of the state itself, which is compared with the goal.

        Args:
            root: what the backward pass begins from.
        """
        goals = [g for g in self._goals if FEWEST <= g.numel() <= MOST and g.numel() == len(g)]
        reached = comes_back_to(root) if goals and self._values else set()
        values = [v for v, made in self._values if made not in reached]
        if not (goals and values) or _cut_off():
            return False
        for goal in goals:
            n = goal.numel()
            outputs = [v.reshape(n, -1) for v in values if len(v) == n and v.numel() <= 64 * n]
            names = _in_sight(n) if outputs else {}
            for ended in _ended(names):
                if any(_follows(goal.flatten(), r, outputs, ended) for r in list(names.values())[:NUMBERS]):
                    return True
        return False


def _cut_off() -> bool:
    """Whether episodes are also ended by a clock: which end is which, no variable tells for sure."""
    return any(CUT_OFF.search(name) for frame in user_frames() for name in (*frame.f_locals, *frame.f_globals))


def _in_sight(n: int) -> dict[str, Tensor]:
    """Variables that are a number for each of so many samples, entries of tuples too."""
    found: dict[str, Tensor] = {}
    for frame in user_frames():
        for name, value in _entries({**frame.f_globals, **frame.f_locals}):
            if isinstance(value, Tensor) and value.numel() == n == len(value) and not value.requires_grad:
                found.setdefault(name, value.detach().flatten().float())
    return found


def _entries(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(names.items()):
        if isinstance(value, Tensor) and value.ndim:
            yield name, value
        elif isinstance(value, tuple | list) and len(value) <= NUMBERS:
            yield from ((f"{i} of {name}", v) for i, v in enumerate(value) if isinstance(v, Tensor) and v.ndim)


def _ended(names: Mapping[str, Tensor]) -> list[Tensor]:
    """At which samples an episode has ended, by each variable that says so: fewer than those at which none has."""
    found = []
    for name, value in names.items():
        if not is_binary(value) or len(value.unique()) < 2:
            continue
        if EITHER.search(name):
            found.append(value == float(value.mean() < 0.5))
        elif GOES_ON.search(name):
            found.append(value == 0)
        elif ENDS.search(name):
            found.append(value == 1)
    return found


def _follows(goal: Tensor, reward: Tensor, outputs: list[Tensor], ended: Tensor) -> bool:
    """Whether the goal is a reward and a discounted output of a model, of the samples at an end too.

    >>> import torch
    >>> goal, reward = torch.tensor([1.9, 0.45]), torch.tensor([1.0, 0.0])
    >>> output = torch.tensor([[1.0, 2.0], [0.5, 0.1]])
    >>> _follows(goal, reward, [output], torch.tensor([False, True]))
    True
    >>> _follows(reward + torch.tensor([0.9, 0.0]), reward, [output], torch.tensor([False, True]))
    False
    """
    rest = (goal.to(reward) - reward)[:, None]
    size = 1e-4 * (1 + float(rest.abs().max()))
    discounts = rest.new_tensor(DISCOUNTS)
    for output in outputs:
        values = output.to(rest)
        possible = discounts[_holds(rest[ended], values[ended], discounts, size).all(1)]  # few samples leave few
        if len(possible) and bool((_holds(rest, values, possible, size).double().mean(1) > ROWS).any()):
            return True
    return False


def _holds(rest: Tensor, values: Tensor, discounts: Tensor, size: float) -> Tensor:
    """Of which samples the rest is a discounted value, with each discount: (discounts, samples)."""
    near = ((rest - discounts[:, None, None] * values).abs() < size).any(2)
    return near & (rest[:, 0].abs() > size)
