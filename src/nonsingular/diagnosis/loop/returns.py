"""How a policy's returns are made of its rewards, read off the variables where the loss is computed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from nonsingular.diagnosis.loop.bootstraps import DISCOUNTS, ENDS
from nonsingular.places import is_library, user_frame, user_frames

FEWEST, MOST = 4, 100_000  # numbers of a sequence that is looked at
ALIKE = 1 - 1e-4  # correlation from where two sequences are the same but for scale and shift
REWARDS = re.compile(r"(^|_)(rewards?|rs?|rews?)$", re.IGNORECASE)
RETURNS = re.compile(r"(^|_)(returns?|rets?|discounted(_rewards)?|gs?|rtgs?|targets?)$", re.IGNORECASE)
FORWARD, REVERSED = "the sum of what came before", "in the order of the steps turned round"
PAST_THE_END = "continued past the end of an episode"


def returns_in_sight(weights: Sequence[Tensor] = ()) -> str:
    """What is wrong with returns where the user's code is now; "" where nothing is, or none are in sight.

    Args:
        weights: by what log-probabilities were multiplied: returns, whatever they are called.
    """
    frame = user_frame()
    if frame is None:
        return ""
    names = {**frame.f_globals, **frame.f_locals}
    theirs = [v for v in names.values() if not _is_librarys(v)]
    held = [(n, x) for v in theirs for n, x in list(getattr(v, "__dict__", {}).items()) if REWARDS.search(n)]
    found = [*((n, v) for n, v in names.items() if REWARDS.search(n)), *held]
    rewards = [s for _, v in found if (s := _numbers(v)) is not None]
    returns = [s for n, v in names.items() if RETURNS.search(n) and (s := _numbers(v)) is not None]
    for earned in rewards:
        for told in returns:
            if len(earned) == len(told) and (wrong := judged(earned, told)):
                return wrong
    for table in _tables(weights):
        for paid in _tables([v for frame in user_frames() for v in _rewards(frame)]):
            if paid.shape == table.shape and (wrong := judged_table(paid, table)):
                return wrong
    dones = [s for n, v in names.items() if ENDS.search(n) and (s := _numbers(v)) is not None]
    return PAST_THE_END if any(across(r, told, d) for d in dones for r in rewards for told in returns) else ""


def _rewards(frame: FrameType) -> list[Any]:
    names = {**frame.f_globals, **frame.f_locals}
    return [v for n, v in names.items() if REWARDS.search(n)]


def _tables(values: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """Those that are numbers of several episodes at several steps, or of the steps of one."""
    found = []
    for x in values:
        if isinstance(x, list) and FEWEST <= len(x) <= MOST and all(isinstance(r, int | float) for r in x):
            found.append(np.asarray(x, dtype=float))
        elif not isinstance(x, Tensor | np.ndarray) or x.ndim not in (1, 2) or not FEWEST <= math.prod(x.shape) <= MOST:
            continue
        elif isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
            found.append(x)
        elif isinstance(x, Tensor) and not x.is_complex():
            found.append(x.detach().double().cpu().numpy())
    return found


def _is_librarys(value: Any) -> bool:
    """Whether it is a module of a library, with names in thousands, none of them the user's."""
    return isinstance(value, ModuleType) and is_library(getattr(value, "__file__", None) or "<")


def across(rewards: Sequence[float], returns: Sequence[float], dones: Sequence[float]) -> bool:
    """Whether returns are sums that run on from one episode into the next.

    >>> across([1.0, 0.0, 2.0, 1.0, 3.0], [7.0, 6.0, 6.0, 4.0, 3.0], [0, 1, 0, 0, 1])
    True
    >>> across([1.0, 0.0, 2.0, 1.0, 3.0], [1.0, 0.0, 6.0, 4.0, 3.0], [0, 1, 0, 0, 1])
    False
    """
    if not 4 <= len(rewards) == len(returns) == len(dones) or not {1.0} <= set(dones[:-1]) <= {0.0, 1.0}:
        return False
    r, told, ended = (np.asarray(x, dtype=float) for x in (rewards, returns, dones))
    pieces = np.split(r, np.flatnonzero(ended[:-1]) + 1)
    through = np.flatnonzero(_alike(_yet_to_come(r), told))
    if not len(through):
        return False
    apart = np.concatenate([_yet_to_come(piece) for piece in pieces], axis=1)
    return not _alike(apart, told)[through[0]]


def judged(rewards: Sequence[float], returns: Sequence[float]) -> str:
    """What returns are of rewards, where that is not the discounted sum of what is yet to come.

    Scale and shift are free: returns may have been standardised.

    >>> judged([1.0, 0.0, 2.0, 1.0, 3.0], [1.0, 1.0, 3.0, 4.0, 7.0])
    'the sum of what came before'
    >>> judged([1.0, 0.0, 2.0, 1.0, 3.0], [7.0, 6.0, 6.0, 4.0, 3.0])
    ''
    """
    r, told = np.asarray(rewards, dtype=float), np.asarray(returns, dtype=float)
    if len(r) < FEWEST or not np.isfinite([r, told]).all() or told.std() == 0:
        return ""
    after = _yet_to_come(r)
    if _alike(after, told).any():
        return ""
    forward, turned = _alike(_come_before(r), told), _alike(after[:, ::-1], told)
    found = [FORWARD if f else REVERSED for f, t in zip(forward, turned, strict=True) if f or t]
    return found[-1] if found else ""


def judged_table(rewards: np.ndarray[Any, Any], returns: np.ndarray[Any, Any]) -> str:
    """As ``judged``, of episodes side by side: along either axis, and with the mean over episodes taken off or not.

    >>> rewards = np.random.default_rng(0).normal(size=(8, 5))
    >>> judged_table(rewards, rewards.cumsum(1)), judged_table(rewards, rewards[:, ::-1].cumsum(1)[:, ::-1])
    ('the sum of what came before', '')
    """
    if rewards.ndim == 1:
        return judged(rewards.tolist(), returns.tolist())
    r, told = rewards.astype(float), returns.astype(float)
    if not np.isfinite([r, told]).all() or min(r.shape) < 2:
        return ""
    both = [(r, told), (r.T, told.T)]
    if any(_alike_tables(_yet_to_come(a), b).any() for a, b in both):
        return ""
    return FORWARD if any(_alike_tables(_come_before(a), b).any() for a, b in both) else ""


def _come_before(r: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Sums along the last axis of what came until then, for each discount: (discounts, *shape of ``r``).

    Sums of 1, 2, 4, 8 ... terms, each of two that are there: as exact as one term after the other, and without a loop
    over the steps.
    """
    sums = np.stack([r.astype(float)] * len(DISCOUNTS))
    discounts = np.reshape(DISCOUNTS, (-1, *[1] * r.ndim))
    terms = 1
    while terms < r.shape[-1]:
        sums[..., terms:] += discounts**terms * sums[..., :-terms]
        terms *= 2
    return sums


def _yet_to_come(r: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same of what comes from then on."""
    return _come_before(r[..., ::-1])[..., ::-1]


def _alike_tables(tables: np.ndarray[Any, Any], told: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which are the same as one but for a scale and what is taken off at each step: a mean, or some baseline."""
    centred = tables - tables.mean(1, keepdims=True)
    return _alike(centred.reshape(len(tables), -1), (told - told.mean(0)).ravel())


def _alike(rows: np.ndarray[Any, Any], told: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows are the same as one sequence but for scale and shift: their correlation is 1, almost."""
    rows, told = rows - rows.mean(1, keepdims=True), told - told.mean()
    sizes = np.sqrt((rows * rows).sum(1)) * np.sqrt(told @ told)
    return np.asarray((sizes > 0) & (rows @ told > ALIKE * sizes))


def _numbers(x: Any) -> list[float] | None:
    if isinstance(x, Tensor):
        known = FEWEST <= x.numel() <= MOST and not x.is_complex()
        return x.detach().double().flatten().tolist() if known else None
    if not isinstance(x, list | tuple | np.ndarray):
        return None
    try:  # an array without an axis has no length
        return [float(v) for v in x] if FEWEST <= len(x) <= MOST else None
    except (TypeError, ValueError):
        return None
