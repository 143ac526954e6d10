"""Derivatives of derivatives that are zero everywhere: those of a network whose activations have straight pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.paths import leaves
from nonsingular.objective.graph import behind

KEPT = 16  # latest derivatives, of which others may be derivatives
PIECES = ("Relu", "relu", "Threshold", "Hardtanh", "Clamp", "Abs", "Maximum", "Minimum")  # in names of a graph's nodes
WORDS = "a derivative of a derivative by the inputs is zero everywhere, and no gradient comes back from it"
REMEDY = (
    "Take an activation that is curved: tanh, sine, softplus or SiLU. ReLU, LeakyReLU and Hardtanh are made of "
    "straight pieces: the second derivative of a network of them is zero wherever there is one."
)


class Derivatives:
    """Remembers what ``torch.autograd.grad`` returned and tells of later calls whether they are flat.

    >>> x = torch.linspace(0, 1, 5).requires_grad_()
    >>> w = torch.ones(1, requires_grad=True)
    >>> kept = Derivatives()
    >>> u = ((w * x - 0.5).relu() + w * x).sum()
    >>> [first] = torch.autograd.grad(u, x, create_graph=True)
    >>> kept.is_flat(u, x, first) is None
    True
    >>> [second] = torch.autograd.grad((first * w).sum(), x, create_graph=True, materialize_grads=True)
    >>> kept.is_flat((first * w).sum(), x, second)
    True
    """

    def __init__(self) -> None:
        self._made: deque[Any] = deque(maxlen=KEPT)

    def forget(self) -> None:
        """What comes now is no derivative of what came before."""
        self._made.clear()

    def is_flat(self, outputs: Any, inputs: Any, derivative: Any) -> bool | None:
        """Whether what ``grad`` has returned is zero everywhere and no gradient comes back from it.

        Args:
            outputs: of the call.
            inputs: of the call; weights are none.
            derivative: what it returned.

        Returns:
            None where it is no derivative of a derivative, or one of what is zero itself; False of networks without
            activations of straight pieces, which may be linear in an input on purpose.
        """
        of, by, found = _tensors(outputs), _tensors(inputs), _tensors(derivative)
        if any(is_functorch_wrapped_tensor(t) for t in (*of, *by, *found)):  # within vmap nobody can ask for values
            return None
        graph = {node for t in of if t.grad_fn is not None for node in behind([t.grad_fn])}
        second = any(node in graph for node in self._made)
        self._made.extend(t.grad_fn for t in found if t.grad_fn is not None)
        if not second or not found or _are_of_weights(by) or not any(bool(t.any()) for t in of):
            return None
        bent = any(piece in node.name() for node in graph for piece in PIECES)
        return bent and not any(bool(t.any()) for t in found) and not sends_back(found, by)


def sends_back(found: Iterable[Tensor], without: Iterable[Tensor] = ()) -> bool:
    """Whether any gradient of these numbers comes to what they were computed of, other than ``without``."""
    graded = [t for t in found if t.requires_grad]
    own = {id(t) for t in without}
    weights = list({id(p): p for p in leaves(t.grad_fn for t in graded) if id(p) not in own}.values())
    if not graded or not weights:
        return False
    # Unlike factors, so that no sum of gradients is zero where they are not.
    factors = [torch.linspace(1, 2, t.numel(), dtype=t.dtype, device=t.device).view_as(t) for t in graded]
    back = torch.autograd.grad(graded, weights, factors, retain_graph=True, allow_unused=True)
    return any(g is not None and bool(g.any()) for g in back)


def _are_of_weights(by: list[Tensor]) -> bool:
    return any(isinstance(t, nn.Parameter) for t in (*by, *leaves(t.grad_fn for t in by)))


def _tensors(x: Any) -> list[Tensor]:
    return [t for t in tree_leaves(x) if isinstance(t, Tensor) and t.is_floating_point() and t.numel()]
