"""Losses that are minus the logarithm of a likelihood: their curvature in the outputs, and targets drawn from them.

A known loss is a sum of terms with weights w (1/N each for a mean over N): over positions of a classification, each
with its probabilities p, or over single entries of a regression or of yes-or-no decisions. Its second derivative with
respect to the outputs does not depend on what the targets are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KNOWN = "cross_entropy, mse_loss and binary_cross_entropy_with_logits"


@dataclass(frozen=True)
class Likelihood:
    """A known loss at some outputs.

    Attributes:
        kind: ``classes``, ``squares`` or ``bits``.
        weight: of each term, of a shape that broadcasts with the outputs.
        mean: the probabilities (``classes``: along axis ``axis``), or the outputs themselves (``squares``).
        axis: of the classes.
    """

    kind: str
    weight: Tensor
    mean: Tensor
    axis: int = 0

    def curved(self, dz: Tensor) -> Tensor:
        """The second derivative with respect to the outputs, times ``dz``."""
        p = self.mean
        if self.kind == "classes":
            return self.weight * (p * dz - p * (p * dz).sum(self.axis, keepdim=True))
        return self.weight * (2 * dz if self.kind == "squares" else p * (1 - p) * dz)

    def draw(self, generator: torch.Generator) -> Tensor:
        """The loss's slope at each output, per unit of weight, for targets drawn from the model's own predictions."""
        p = self.mean.detach().cpu().double()
        if self.kind == "classes":
            rows = p.movedim(self.axis, -1)
            drawn = torch.multinomial(rows.reshape(-1, rows.shape[-1]), 1, generator=generator).squeeze(1)
            hot = F.one_hot(drawn, rows.shape[-1]).reshape(rows.shape).movedim(-1, self.axis)
            return (p - hot).to(self.mean)
        if self.kind == "squares":  # (z - y)^2 is minus the logarithm of a Gaussian of variance 1/2
            return (2**0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype)).to(self.mean)
        return (p - torch.bernoulli(p, generator=generator)).to(self.mean)

    def outer(self, slope: Tensor, dz: Tensor) -> Tensor:
        """The terms' outer products of slopes, times ``dz``."""
        if self.kind == "classes":
            return self.weight * slope * (slope * dz).sum(self.axis, keepdim=True)
        return self.weight * slope**2 * dz


def likelihood(loss_fn: Any, z: Any, target: Any) -> Likelihood | None:
    """The loss at outputs z, if it is one that is known and in a plain form of it."""
    options = _options(loss_fn)
    if options is None or not isinstance(z, Tensor) or not isinstance(target, Tensor):
        return None
    kind, reduction, weight, ignored = options
    if reduction not in ("mean", "sum"):
        return None
    if kind == "classes":
        return _classes(z, target, reduction, weight, ignored)
    if z.shape != target.shape:
        return None
    one = torch.ones((), dtype=z.dtype, device=z.device)
    terms = one / z.numel() if reduction == "mean" else one
    if kind == "squares":
        return Likelihood("squares", terms, z)
    return Likelihood("bits", terms, z.sigmoid())


def _options(loss_fn: Any) -> tuple[str, str, Tensor | None, int] | None:
    """Kind, reduction, weights of the classes, and the class that is ignored."""
    plain = {F.cross_entropy: "classes", F.mse_loss: "squares", F.binary_cross_entropy_with_logits: "bits"}
    if (kind := plain.get(loss_fn) if callable(loss_fn) and not isinstance(loss_fn, nn.Module) else None) is not None:
        return kind, "mean", None, -100
    if type(loss_fn) is nn.CrossEntropyLoss and loss_fn.label_smoothing == 0:
        return "classes", loss_fn.reduction, loss_fn.weight, loss_fn.ignore_index
    if type(loss_fn) is nn.MSELoss:
        return "squares", loss_fn.reduction, None, -100
    if type(loss_fn) is nn.BCEWithLogitsLoss and loss_fn.weight is None and loss_fn.pos_weight is None:
        return "bits", loss_fn.reduction, None, -100
    return None


def _classes(z: Tensor, target: Tensor, reduction: str, weight: Tensor | None, ignored: int) -> Likelihood | None:
    axis = 0 if z.dim() == 1 else 1
    if target.is_floating_point() or tuple(target.shape) != (*z.shape[:axis], *z.shape[axis + 1 :]):
        return None
    counted = target != ignored
    terms = counted.to(z.dtype)
    if weight is not None:
        terms = terms * weight.to(z.dtype)[target.where(counted, 0)]
    if reduction == "mean":
        terms = terms / terms.sum()
    return Likelihood("classes", terms.unsqueeze(axis), z.softmax(axis), axis)
