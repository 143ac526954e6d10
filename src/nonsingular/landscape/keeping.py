"""Losses kept as they come, so that a surface that was stopped goes on where it ended."""

from __future__ import annotations

import hashlib
import io
import math
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nonsingular.errors import InputError
from nonsingular.files import write_whole
from nonsingular.landscape.fitting import Direction
from nonsingular.objective import Objective, tensors
from nonsingular.objective.trees import parts

SECONDS = 5.0
"""A killed process loses at most this much work and one point."""
_DIGESTED = 2**22  # elements of a tensor of data: the first tell one data set from another


class Kept:
    """Losses, metrics and standard errors on a grid, in memory and, if a path is given, in an ``.npz`` file.

    Args:
        shape: of the grid, and how many quantities there are at a point; the first is the loss.
        path: the file; None keeps nothing. One with the same digest is gone on from.
        digest: of all that decides the values.

    Attributes:
        precision: in which the points were computed; a stopped surface goes on in the same. Empty before it is known.

    Raises:
        InputError: the file is damaged, or holds the values of something else.
    """

    def __init__(self, shape: tuple[int, ...], path: Path | None = None, digest: str = "") -> None:
        self.values, self.errors = np.full(shape, np.nan), np.full(shape, np.nan)
        self.done = np.zeros(shape[:-1], bool)
        self.precision = ""
        self._path, self._digest = path, digest
        self._saved = -math.inf  # the first point is written at once: a folder that cannot be written to shows early
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as kept:
                digest, self.precision = str(kept["digest"]), str(kept["precision"])
                found = kept["values"], kept["errors"], kept["done"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise InputError(f"{path} is not a readable file of losses; delete it to start again") from None
        if digest != self._digest or found[0].shape != self.values.shape:
            raise InputError(
                f"{path} holds the losses of another surface (weights, data, directions, metrics or grid differ); "
                "repeat the command that began it, or name another folder"
            )
        self.values, self.errors, self.done = found

    def put(self, index: tuple[int, ...], values: np.ndarray, errors: np.ndarray) -> None:
        """Keep one point; the file is written every few seconds."""
        self.values[index], self.errors[index], self.done[index] = values, errors, True
        if time.monotonic() - self._saved > SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file whole or not at all."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(
            content, digest=self._digest, precision=self.precision, values=self.values, errors=self.errors,
            done=self.done,
        )  # fmt: skip
        write_whole(self._path, content.getvalue())
        self._saved = time.monotonic()


def digest(objective: Objective, directions: Iterable[Direction], *rest: object) -> str:
    """A hash of weights, directions, the beginnings of all tensors of data, and whatever else decides the losses."""
    found = hashlib.sha256(
        repr((objective.form, objective.seed, objective.mode_in_words, objective.weights, *rest)).encode()
    )
    for state in (objective.parameters, objective.buffers, *directions):
        for name, tensor in state.items():
            found.update(f"{name}{tuple(tensor.shape)}".encode())
            found.update(_bytes(tensor))
    for batch in objective.batches:
        for tensor in [part for t in tensors(batch.whole) for part in parts(t)]:
            found.update(f"{batch.index}{tuple(tensor.shape)}".encode())
            found.update(_bytes(tensor.flatten()[:_DIGESTED]))
    return found.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
