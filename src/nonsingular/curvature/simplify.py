"""Recorded linear functions with fewer passes over memory: the same function to rounding.

Automatic differentiation multiplies by one constant after the other (a normalisation's 1/deviation, then its weight)
and adds products up one by one. Each is a pass over an activation, and together they take a quarter of the time of a
Hessian product of a convolutional network.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from nonsingular import onednn

_MUL, _ADD = torch.ops.aten.mul.Tensor, torch.ops.aten.add.Tensor
_MM, _ADDMM = torch.ops.aten.mm.default, torch.ops.aten.addmm.default
LARGE = "large"  # in the notes of a node
_CONV, _BACKWARD = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default


def simplify(graph: fx.Graph, constants: dict[fx.Node, Tensor]) -> None:
    """Rewrite a graph of ATen calls in place.

    Args:
        graph: of a linear function; its placeholders are constants, then inputs.
        constants: placeholder -> its value, in their order; kept in step with the graph.
    """
    _merge_factors(graph, constants)
    _add_products(graph)
    graph.eliminate_dead_code()
    for node in [n for n in constants if not n.users]:
        graph.erase_node(node)
        del constants[node]


def _merge_factors(graph: fx.Graph, constants: dict[fx.Node, Tensor]) -> None:
    """``(x * a) * b`` becomes ``x * (a b)`` where ``a b`` takes no more memory than ``a`` or ``b``."""
    for node in graph.nodes:
        inner, b = _factors(node, constants)
        x, a = _factors(inner, constants)
        if inner is None or x is None or a is None or b is None or len(inner.users) > 1:
            continue
        if a.dtype != b.dtype or torch.broadcast_shapes(a.shape, b.shape) not in (a.shape, b.shape):
            continue
        with graph.inserting_after(next(reversed(constants))):
            merged = graph.placeholder(f"{node.name}_factor")
        constants[merged] = a * b
        node.args = (x, merged)


def _factors(node: fx.Node | None, constants: dict[fx.Node, Tensor]) -> tuple[fx.Node | None, Tensor | None]:
    """What a multiplication multiplies, and by which constant."""
    if node is None or node.op != "call_function" or node.target is not _MUL or node.kwargs:
        return None, None
    for x, c in (node.args, node.args[::-1]):
        if isinstance(x, fx.Node) and isinstance(c, fx.Node) and c in constants and x not in constants:
            return x, constants[c]
    return None, None


def _add_products(graph: fx.Graph) -> None:
    """``x + a * b`` becomes one call."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not _ADD or node.kwargs:
            continue
        for x, product in (node.args, node.args[::-1]):
            if _used_once(product, _MUL) and all(isinstance(a, fx.Node) for a in (x, *product.args)):
                node.target, node.args = torch.ops.aten.addcmul.default, (x, *product.args)
                break


def convolves(graph: fx.Graph) -> bool:
    """Whether there is anything for ``join_convolutions``."""
    return any(node.target in (_CONV, _BACKWARD) for node in graph.nodes)


def join_convolutions(graph: fx.Graph) -> None:
    """Sums of two convolutions, or of two input gradients, become one with twice the channels to add up.

    The derivative of ``conv(x, w)`` is ``conv(x', w) + conv(x, w')``: one convolution of ``[x', x]`` with ``[w, w']``.
    It spares the sum, and on a CPU few channels are convolved well below the rate of many. Not for a vectorised call:
    there the two fold the vectors into samples and into channels, while the joint one would be a grouped convolution.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not _ADD or node.kwargs:
            continue
        a, b = node.args
        with graph.inserting_before(node):
            joint = _joint_convolution(graph, a, b) or _joint_input_gradient(graph, a, b)
        if joint is not None:
            node.replace_all_uses_with(joint)
    graph.eliminate_dead_code()


def _joint_convolution(graph: fx.Graph, a: object, b: object) -> fx.Node | None:
    if not (_used_once(a, _CONV) and _used_once(b, _CONV)):
        return None
    (x, w, c, *rest), (y, v, d, *same) = a.args, b.args  # type: ignore[attr-defined]
    *_, transposed, _, groups = rest
    if rest != same or (c is not None and d is not None) or transposed or groups != 1:
        return None
    bias = d if c is None else c
    return graph.call_function(_CONV, (_cat(graph, x, y, 1), _cat(graph, w, v, 1), bias, *rest))


def _joint_input_gradient(graph: fx.Graph, a: object, b: object) -> fx.Node | None:
    first, second = _gradient(a), _gradient(b)
    if first is None or second is None:
        return None
    (g, x, w, *rest), (h, _, v, *same) = first.args, second.args
    *_, transposed, _, groups, mask = rest
    if rest != same or transposed or groups != 1 or mask != [True, False, False]:
        return None
    both = graph.call_function(_BACKWARD, (_cat(graph, g, h, 1), x, _cat(graph, w, v, 0), *rest))
    return graph.call_function(operator.getitem, (both, 0))


def _gradient(node: object) -> fx.Node | None:
    """The call of which this is the first result, if it is read by nobody else."""
    if not _used_once(node, operator.getitem) or node.args[1] != 0:  # type: ignore[attr-defined]
        return None
    call = node.args[0]  # type: ignore[attr-defined]
    return call if _used_once(call, _BACKWARD) else None


def is_large_product(func: Any, args: Sequence[Any]) -> bool:
    """Whether a call is a matrix product, or that and a sum, that oneDNN computes faster."""
    return func in (_MM, _ADDMM) and onednn.large(*args[-2:])


def speed_up_products(graph: fx.Graph) -> None:
    """Products that were marked as large when they were recorded, and sums with them, by oneDNN."""
    for node in graph.nodes:
        if node.target is _ADD and len(node.args) == 2 and not node.kwargs:
            for c, mm in (node.args, node.args[::-1]):
                if isinstance(c, fx.Node) and _used_once(mm, _MM) and mm.meta.get(LARGE):
                    node.target, node.args = _product_and, (c, *mm.args)
                    break
        elif node.meta.get(LARGE) and not node.kwargs:
            node.target = onednn.product if node.target is _MM else _product_and
    graph.eliminate_dead_code()


def _product_and(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    whole = c.dtype == a.dtype and c.shape == (a.shape[0], b.shape[1])
    return onednn.product_and(a, b, c) if whole else c + onednn.product(a, b)


def _cat(graph: fx.Graph, a: Any, b: Any, dim: int) -> fx.Node:
    return graph.call_function(torch.ops.aten.cat.default, ([a, b], dim))


def _used_once(node: object, target: object) -> bool:
    """Whether it is the result of this call, with one reader."""
    return (
        isinstance(node, fx.Node)
        and node.op == "call_function"
        and node.target is target
        and not node.kwargs
        and len(node.users) == 1
    )
