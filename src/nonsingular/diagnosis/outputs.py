"""The network's outputs against its targets: is a classifier sure of itself before it knows anything?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.layers import response
from nonsingular.objective import Batch


@dataclass(frozen=True)
class OutputStatistics:
    """What comes out.

    Attributes:
        task: ``classifier``, ``regressor`` or ``other`` where outputs and targets do not tell.
        outputs: classes of a classifier, numbers a sample of a regressor.
        loss: mean over samples of the user's loss.
        excess: of a classifier, its mean cross-entropy over that of equal odds, log(classes); of a regressor, the
            outputs' spread over the targets'. NaN where the task is other.
        confidence: mean of the largest class probability, NaN for others.
        accuracy: share of right classes, NaN for others.
        spread: root mean square deviation of the outputs from their mean over samples.
    """

    task: str
    outputs: int
    loss: float
    excess: float
    confidence: float
    accuracy: float
    spread: float


class Outputs:
    """Adds up what is needed, piece by piece."""

    def __init__(self) -> None:
        self.samples, self.loss = 0, 0.0
        self._sums: dict[str, float] = {}
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._task, self._count = "other", 0

    def add(self, output: Any, batch: Batch, loss: Tensor) -> None:
        """One piece's output and loss."""
        self.samples += batch.samples
        self.loss += float(loss.detach()) * batch.samples
        out = numbers(output)
        targets = [t for t in tree_leaves(batch.target) if isinstance(t, Tensor)]
        if out is None or len(targets) != 1:
            return
        out, target = out.detach().double(), targets[0]
        if not target.is_floating_point() and (axis := _class_axis(out, target)) is not None:
            self._classify(out.movedim(axis, -1).flatten(0, -2), target.flatten(), batch.samples)
        elif target.is_floating_point() and out.numel() == target.numel():
            self._task, self._count = "regressor", out[0].numel() if out.ndim else 1
            self._outputs.append(out.flatten(1) if out.ndim > 1 else out[:, None])
            self._targets.append(target.double().reshape(self._outputs[-1].shape))

    def _classify(self, out: Tensor, target: Tensor, samples: int) -> None:
        valid = (target >= 0) & (target < out.shape[-1])  # -100 marks what cross-entropy leaves out
        out, target = out[valid], target[valid]
        if out.shape[-1] < 2 or not len(target):
            return
        self._task, self._count = "classifier", out.shape[-1]
        logs = out.log_softmax(-1)
        entropy = torch.nn.functional.nll_loss(logs, target.long())
        for name, value in {
            "entropy": entropy,
            "confidence": logs.amax(-1).exp().mean(),
            "accuracy": (out.argmax(-1) == target).double().mean(),
            "spread": out.var(0, correction=0).mean().sqrt(),
        }.items():
            self._sums[name] = self._sums.get(name, 0.0) + samples * float(value)

    def statistics(self) -> OutputStatistics:
        """Of everything added."""
        n = max(self.samples, 1)
        nan = math.nan
        if self._task == "classifier":
            s = {k: v / n for k, v in self._sums.items()}
            excess = s["entropy"] / math.log(self._count)
            return OutputStatistics(
                "classifier", self._count, self.loss / n, excess, s["confidence"], s["accuracy"], s["spread"]
            )
        if self._task == "regressor":
            out, target = torch.cat(self._outputs), torch.cat(self._targets)
            spread, wanted = (float(x.var(0, correction=0).mean().sqrt()) for x in (out, target))
            return OutputStatistics(
                "regressor", self._count, self.loss / n, spread / wanted if wanted else nan, nan, nan, spread
            )
        return OutputStatistics("other", 0, self.loss / n, nan, nan, nan, nan)


def _class_axis(out: Tensor, target: Tensor) -> int | None:
    """The axis of the outputs that the targets lack: the last or the second."""
    if out.shape[:-1] == target.shape:
        return out.ndim - 1
    return 1 if out.ndim > 1 and (*out.shape[:1], *out.shape[2:]) == tuple(target.shape) else None


def numbers(output: Any) -> Tensor | None:
    """The outputs ``[sample, ...]``; of a model that squeezes its only number away ``[sample]``."""
    if hasattr(output, "logits"):
        return getattr(output, "logits", None)
    alone = isinstance(output, Tensor) and output.is_floating_point() and output.ndim == 1
    return output if alone else response(output)
