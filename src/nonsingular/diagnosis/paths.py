"""Which layers every path from input to loss must pass: read off the autograd graph, whatever the code looks like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from nonsingular.objective.graph import behind


def bypassed(loss_node: Any, nodes: Mapping[str, Any], sources: Sequence[Any] = ()) -> dict[str, bool]:
    """Whether some connection leads around a layer.

    A layer is bypassed when, with it taken out of the graph, earlier layers still reach the loss, or others that no
    layer comes before: through a skip connection, a concatenation, or a parallel branch. A plain network is a chain of
    layers that are not bypassed.

    Args:
        loss_node: ``loss.grad_fn``.
        nodes: layer name -> ``grad_fn`` of its output, in the order of the forward pass.
        sources: further nodes before all layers, such as those of embeddings.

    Returns:
        Layer name -> bypassed, for every layer with a node.
    """
    known = {name: node for name, node in nodes.items() if node is not None}
    found: dict[str, bool] = {}
    every = {*known.values()}
    begin = [node for node in known.values() if every.isdisjoint(n for n in behind([node]) if n is not node)]
    earlier: list[Any] = [node for node in sources if node is not None]
    for name, node in known.items():
        others = [*earlier, *(n for n in begin if n is not node)]
        found[name] = bool(others) and _reaches(loss_node, others, without=node)
        earlier.append(node)
    return found


def leaves(starts: Iterable[Any]) -> Iterator[Tensor]:
    """The variables that these operations' gradients come to."""
    return (node.variable for node in behind(starts) if hasattr(node, "variable"))


def _reaches(start: Any, goals: Sequence[Any], without: Any) -> bool:
    return not {*goals}.isdisjoint(node for node in behind([start], ends={without}) if node is not without)
