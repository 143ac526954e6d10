"""Samples that come again with their entries in other places, as flipped ones do: whether dense targets go along."""

from __future__ import annotations

import torch
from torch import Tensor

from nonsingular.diagnosis.loop.pairing import by_place

ROWS = 20_000  # samples that are kept
LARGEST = 4_000_000  # entries of a batch that is looked at
VALUES, LEAST = 32, 4  # different ones of a sample that tell it from others, and places along an axis
CHANNELS = 4  # that are looked at
SAME = 1e-7  # relative difference of sums that are taken in another order


class Turned:
    """Keeps of each sample what stays as it is turned, and what tells one way round from another."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], tuple[float, float]] = {}
        self._given: Tensor | None = None

    def given(self, x: Tensor) -> None:
        """A model is called with this, with autograd."""
        fits = (
            x.layout == torch.strided
            and x.is_floating_point()
            and x.ndim > 2
            and x.shape[-1] >= LEAST
            and 0 < x.numel() <= LARGEST
        )
        self._given = x.detach() if fits else None

    def forget(self) -> None:
        """A backward pass is over."""
        self._given = None

    def compared(self, target: Tensor) -> tuple[int, int]:
        """Samples that came again another way round: with targets that stayed, and with targets that went along.

        Targets that are the same both ways round, or that have the entries of their inputs (a network may be there to
        turn them back), are left out.
        """
        x, self._given = self._given, None
        if x is None or not _dense(x, target) or x.device != target.device or _values(x[0]) < VALUES:
            return 0, 0
        axes = max(1, x.ndim - 2)
        stays, way = _described(x, axes)
        target_stays, target_way = _described(target, axes)
        if target_stays.shape == stays.shape and torch.allclose(target_stays, stays, rtol=1e-6):
            return 0, 0
        mirrored = [_described(target.flip(axis), axes)[1] for axis in range(-axes, 0)]
        telling = torch.stack([~_close(m, target_way) for m in mirrored]).all(0)
        stayed = went = 0
        rows = zip(_keys(stays), way.tolist(), target_way.tolist(), telling.tolist(), strict=True)
        for key, now, target_now, tells in rows:
            before = self._seen.get(key)
            if before is None and len(self._seen) < ROWS:
                self._seen[key] = now, target_now
            if before is None or not tells or _alike(before[0], now):
                continue
            stayed += (same := _alike(before[1], target_now))
            went += not same
        return stayed, went


def _dense(x: Tensor, target: Tensor) -> bool:
    """Whether there is a target for each place of the inputs."""
    axes = max(1, x.ndim - 2)
    if target.layout != torch.strided or target.is_complex() or target.ndim <= axes or len(target) != len(x):
        return False
    a_class_each = axes == 1 and target.ndim < x.ndim and target.is_floating_point()  # and as many as there are places
    return target.shape[-axes:] == x.shape[-axes:] and not a_class_each


def _values(sample: Tensor) -> int:
    flat = sample.flatten()
    return len(flat[:: max(1, len(flat) // 1024)].unique())


def _described(x: Tensor, axes: int) -> tuple[Tensor, Tensor]:
    """Of each sample sums that do not depend on the places, by channel, and one that does."""
    rows = x.double().reshape(len(x), -1, x[0].numel() // max(1, x[0].shape[:-axes].numel()))[:, :CHANNELS]
    stays = torch.cat([rows.sum(2), rows.square().sum(2)], 1)
    return stays, (rows @ by_place(rows.shape[2], x.device)).sum(1)


def _keys(stays: Tensor) -> list[tuple[int, ...]]:
    size = stays.abs().amax(1, keepdim=True).clamp(min=1e-12)
    marks = torch.cat([stays / size, size.log()], 1).mul(1e7).round().long()
    return [tuple(row) for row in marks.tolist()]


def _close(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs() <= SAME * (a.abs() + b.abs() + 1e-3)


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * (abs(a) + abs(b) + 1e-3)
