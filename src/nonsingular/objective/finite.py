"""Where numbers stop being finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nonsingular.objective.trees import parts, tensors

if TYPE_CHECKING:
    from nonsingular.objective.data import Batch
    from nonsingular.objective.objective import Objective


def first_not_finite(objective: Objective, batch: Batch) -> str:
    """What is the first to be NaN or infinite in the loss on ``batch``, in words."""
    for name, p in objective.parameters.items():
        if not finite(p):
            return f"parameter {name} has NaN or infinite entries"
    if not finite(batch.inputs):
        return "the batch's inputs have NaN or infinite entries"
    if not finite(batch.target):
        return "the batch's target has NaN or infinite entries"
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not finite(output):
                found.append(
                    f"module {name or 'model'} ({type(module).__name__}) is the first to return NaN or infinity"
                )

        return hook

    handles = [m.register_forward_hook(look(n)) for n, m in objective.model.named_modules()]
    try:
        objective.loss({}, batch)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the model's output is finite, so loss_fn makes it"


def samples_not_finite(tree: Any, samples: int) -> list[int]:
    """Which of so many samples have NaN or infinite entries in ``tree``, where its tensors have a row for each.

    >>> import torch
    >>> from nonsingular.objective.finite import samples_not_finite
    >>> samples_not_finite((torch.tensor([[1.0], [torch.nan], [2.0]]), torch.tensor([1.0, 2.0, torch.inf])), 3)
    [1, 2]
    """
    broken = torch.zeros(samples, dtype=torch.bool)
    for t in tensors(tree):
        if t.layout == torch.strided and not t.is_nested and t.is_floating_point() and t.ndim and len(t) == samples:
            broken |= ~torch.isfinite(t.detach()).reshape(samples, -1).all(1).cpu()
    return broken.nonzero()[:, 0].tolist()


def finite(tree: Any) -> bool:
    """Whether no floating-point tensor of ``tree`` has NaN or infinite entries."""
    stored = [part for t in tensors(tree) if t.is_floating_point() for part in parts(t)]
    return all(bool(torch.isfinite(part).all()) for part in stored)
