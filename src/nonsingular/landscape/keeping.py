"""Losses kept as they come, so that a surface that was stopped goes on where it ended."""

from __future__ import annotations

import hashlib
import io
import math
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular.errors import InputError
from nonsingular.files import write_whole
from nonsingular.landscape.fitting import Direction

SECONDS = 5.0
"""A killed process loses at most this much work and one point."""
_DIGESTED = 2**22  # elements of a tensor of data: the first tell one data set from another


class Kept:
    """Losses and standard errors on a grid, in memory and, if a path is given, in an ``.npz`` file.

    Args:
        shape: of the grid.
        path: the file; None keeps nothing. One with the same digest is gone on from.
        digest: of all that decides the values.

    Attributes:
        precision: in which the points were computed; a stopped surface goes on in the same. Empty before it is known.

    Raises:
        InputError: the file is damaged, or holds the values of something else.
    """

    def __init__(self, shape: tuple[int, ...], path: Path | None = None, digest: str = "") -> None:
        self.loss, self.error = np.full(shape, np.nan), np.full(shape, np.nan)
        self.done = np.zeros(shape, bool)
        self.precision = ""
        self._path, self._digest = path, digest
        self._saved = -math.inf  # the first point is written at once: a folder that cannot be written to shows early
        if path is not None and path.exists():
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as kept:
                digest, self.precision = str(kept["digest"]), str(kept["precision"])
                found = kept["loss"], kept["error"], kept["done"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise InputError(f"{path} is not a readable file of losses; delete it to start again") from None
        if digest != self._digest or found[0].shape != self.loss.shape:
            raise InputError(
                f"{path} holds the losses of another surface (weights, data, directions or grid differ); "
                "repeat the command that began it, or name another folder"
            )
        self.loss, self.error, self.done = found

    def put(self, index: tuple[int, ...], loss: float, error: float) -> None:
        """Keep one point; the file is written every few seconds."""
        self.loss[index], self.error[index], self.done[index] = loss, error, True
        if time.monotonic() - self._saved > SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file whole or not at all."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(
            content, digest=self._digest, precision=self.precision, loss=self.loss, error=self.error, done=self.done
        )
        write_whole(self._path, content.getvalue())
        self._saved = time.monotonic()


def digest(model: nn.Module, directions: Iterable[Direction], batches: Iterable[Any], *rest: object) -> str:
    """A hash of weights, directions, the beginnings of all tensors of data, and whatever else decides the losses."""
    found = hashlib.sha256(repr(rest).encode())
    for state in (model.state_dict(), *directions):
        for name, tensor in state.items():
            if isinstance(tensor, Tensor):
                found.update(f"{name}{tuple(tensor.shape)}".encode())
                found.update(_bytes(tensor))
    for leaf in tree_leaves(list(batches)):
        found.update(_bytes(leaf.flatten()[:_DIGESTED]) if isinstance(leaf, Tensor) else repr(leaf).encode())
    return found.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
