"""What a script does to a model's output before its loss takes it, read off the graph of autograd.

Only what changes values element by element, normalises them or gives the samples another shape is known; it can be
done again to other outputs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nonsingular.diagnosis.loop.places import at_line
from nonsingular.places import Place

MARK = "nonsingular output"
Operation = Callable[[Tensor], Tensor]
Known = Callable[[Any, tuple[int, ...]], Operation | None]


class Output:
    """What a model returned, known again in the graph without being kept alive."""

    def __init__(self, output: Tensor) -> None:
        self._tensor, self._mark = weakref.ref(output), object()
        if output.grad_fn is not None:
            _metadata(output.grad_fn)[MARK] = self._mark

    def until(self, tensor: Any, place: Place | None) -> Operation | None:
        """What made a tensor of it, by a line; None where it was not made of it alone, or by something unknown."""
        if not isinstance(tensor, Tensor):
            return None
        if tensor.grad_fn is None:
            return _in_turn(()) if tensor is self._tensor() else None
        try:
            return self._read(tensor, place)
        except RuntimeError:  # a backward pass has freed what the graph knew
            return None

    def _read(self, tensor: Tensor, place: Place | None) -> Operation | None:
        node, shape, found = tensor.grad_fn, tuple(tensor.shape), list[Operation]()
        while node is not None and _metadata(node).get(MARK) is not self._mark:
            known = KNOWN.get(node.name())
            befores = [before for before, _ in node.next_functions if before is not None]
            operation = None if known is None or len(befores) != 1 else known(node, shape)
            if operation is None:
                return None
            found.append(at_line(operation, place))
            shape = _shape_before(node, shape)
            node = befores[0]
        return None if node is None else _in_turn(found[::-1])


def _metadata(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = node.metadata  # torch's stubs call it a method
    return found


def _in_turn(operations: Sequence[Operation]) -> Operation:
    def between(output: Tensor) -> Tensor:
        for operation in operations:
            output = operation(output)
        return output

    return between


def _shape_before(node: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if node.name() == "UnsqueezeBackward0":
        axis = _signed(node._saved_dim) % len(shape)
        return shape[:axis] + shape[axis + 1 :]
    return tuple(getattr(node, "_saved_self_sym_sizes", shape))


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _normalised(function: Callable[[Tensor, int], Tensor]) -> Known:
    def known(node: Any, _: tuple[int, ...]) -> Operation:
        axis = _signed(node._saved_dim)
        return lambda x: function(x, axis)

    return known


def _shaped(node: Any, shape: tuple[int, ...]) -> Operation | None:
    before = _shape_before(node, shape)
    if not shape or not before or shape[0] != before[0]:
        return None  # other than a row a sample
    return lambda x: x.reshape(len(x), *shape[1:])


def _chosen(node: Any, _: tuple[int, ...]) -> Operation | None:
    axis, index = _signed(node._saved_dim), _signed(node._saved_index)
    return None if axis == 0 else lambda x: x.select(axis, index)


def _scaled(function: Callable[[Tensor, Tensor], Tensor]) -> Known:
    def known(node: Any, _: tuple[int, ...]) -> Operation | None:
        factor = node._saved_other
        return None if factor is None or factor.numel() != 1 else lambda x: function(x, factor)

    return known


def _limited(low: str, high: str) -> Known:
    def known(node: Any, _: tuple[int, ...]) -> Operation:
        ends = getattr(node, low), getattr(node, high, None)
        return lambda x: torch.clamp(x, *ends)

    return known


KNOWN: dict[str, Known] = {
    "SoftmaxBackward0": _normalised(F.softmax),
    "LogSoftmaxBackward0": _normalised(F.log_softmax),
    "SigmoidBackward0": lambda *_: torch.sigmoid,
    "LogSigmoidBackward0": lambda *_: F.logsigmoid,
    "ReluBackward0": lambda *_: torch.relu,
    "TanhBackward0": lambda *_: torch.tanh,
    "SoftplusBackward0": lambda *_: F.softplus,
    "LogBackward0": lambda *_: torch.log,
    "ExpBackward0": lambda *_: torch.exp,
    "ClampBackward1": _limited("_saved_min", "_saved_max"),
    "ClampMinBackward0": _limited("_saved_min", ""),
    "HardtanhBackward0": _limited("_saved_min_val", "_saved_max_val"),
    "MulBackward0": _scaled(torch.mul),
    "DivBackward0": _scaled(torch.div),
    "SelectBackward0": _chosen,
    **dict.fromkeys(("CloneBackward0", "ToCopyBackward0"), lambda *_: lambda x: x),
    **dict.fromkeys(
        ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "SqueezeBackward0", "SqueezeBackward1",
         "UnsqueezeBackward0"), _shaped,
    ),
}  # fmt: skip
"""Node of the graph -> what it did, from the node and the shape of what it returned; None where that is not known."""
