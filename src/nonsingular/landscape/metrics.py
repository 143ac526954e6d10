"""What is measured beside the loss at every point: accuracy, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from nonsingular.checks import checked
from nonsingular.errors import InputError

Metric = Callable[[Any, Any], Tensor | float]
"""(model output, target) -> a number, the mean over a batch's samples."""
Metrics = Mapping[str, Metric] | Iterable[str]

TAKEN = ("loss", "standard_error", "evaluated", "was_evaluated", "x", "y", "plane", "run", "network")
"""Names in a result that are not free for metrics."""


@checked
def accuracy(output: Any, target: Tensor) -> Tensor:
    """Share of targets that the output's largest entry names, in [0, 1].

    Args:
        output: scores ``[sample, class, ...]`` as ``cross_entropy`` takes them, or ``[..., class]`` beside targets of
            the leading shape; or one logit for each of two classes, of the target's shape. ``output.logits`` where it
            has them.
        target: class numbers (negative ones, such as -100, are ignored), probabilities of classes, or 0 and 1.

    Raises:
        InputError: shapes that do not go together.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        tensor(0.5000, dtype=torch.float64)
    """
    scores = output.get("logits", output) if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not (isinstance(scores, Tensor) and isinstance(target, Tensor)):
        raise InputError(f"accuracy needs a tensor of scores, got {type(output).__name__}; give a function of your own")
    if scores.shape == target.shape and not target.is_floating_point():
        return _share((scores > 0) == (target > 0), target)
    if scores.dim() == target.dim() + 1 and scores.numel() == target.numel():  # one logit a sample, with an axis of 1
        return _share((scores.reshape(target.shape) > 0) == (target > 0.5), target)
    if scores.shape == target.shape:
        if scores.dim() > 1 and scores.shape[1] > 1:  # probabilities of classes
            return (scores.argmax(1) == target.argmax(1)).to(scores.dtype).mean()
        return _share((scores > 0) == (target > 0.5), target)
    second = (scores.shape[:1] + scores.shape[2:]) == target.shape
    last = scores.shape[:-1] == target.shape
    if second and last and scores.dim() > 2:
        raise InputError(
            f"accuracy cannot tell whether the second or the last axis of scores of shape {tuple(scores.shape)} counts "
            "classes; give a function of your own"
        )
    if second or last:
        return _share(scores.argmax(1 if second else -1) == target, target)
    raise InputError(
        f"accuracy cannot tell classes in scores of shape {tuple(scores.shape)} beside targets of shape "
        f"{tuple(target.shape)}; give a function of your own"
    )


def _share(right: Tensor, target: Tensor) -> Tensor:
    counted = (target >= 0).to(torch.float64)
    return (right * counted).sum() / counted.sum()


METRICS: dict[str, Metric] = {"accuracy": accuracy}


def beside(found: xr.Dataset) -> list[str]:
    """The metrics that a result has beside the loss: what has a standard error of its own."""
    return [str(name) for name in found.data_vars if f"{name}_standard_error" in found]


def chosen(metrics: Metrics) -> dict[str, Metric]:
    """Metrics by name.

    Args:
        metrics: names of ``METRICS``, or a mapping from names to functions.

    Raises:
        InputError: an unknown name, one that a result uses otherwise, or what is no function.
    """
    if isinstance(metrics, str):
        metrics = [metrics]
    if not isinstance(metrics, Mapping):
        names = list(metrics)
        for name in names:
            if name not in METRICS:
                there = ", ".join(METRICS)
                raise InputError(
                    f"unknown metric {name!r}; there is {there}, or give {{name: function of (output, target)}}"
                )
        metrics = {name: METRICS[name] for name in names}
    for name, metric in metrics.items():
        if name in TAKEN or name.endswith("_standard_error"):
            raise InputError(f"a metric cannot be called {name}: results have that name already")
        if not callable(metric):
            raise InputError(f"metric {name} must be a function of (output, target), got {type(metric).__name__}")
    return dict(metrics)
