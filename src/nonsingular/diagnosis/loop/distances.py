"""Losses that are nothing but a distance between two outputs of models, both of them trained: read off the graph."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.paths import leaves
from nonsingular.objective.graph import behind

SCALINGS = {"Mean", "Sum", "Mul", "Div", "View", "Squeeze", "Expand", "Alias", "ToCopy", "Neg", "Rsub", "Add", "Sqrt"}
EVEN = {"Pow", "Abs", "LinalgVectorNorm", "Norm"}  # of a difference they make a distance
DISTANCES = {"MseLoss", "SmoothL1Loss", "HuberLoss"}
SIDES = SCALINGS | EVEN | {
    "Softmax", "LogSoftmax", "Xlogy", "ClampMin", "Clone", "Sigmoid", "Tanh", "Exp", "Log", "UnsafeView", "Transpose",
    "T", "Select", "Slice", "Unsqueeze", "Relu",
}  # fmt: skip
MOST = 100  # operations between outputs and loss
OUTPUTS = 16  # of models, since the former backward pass


class Distances:
    """Knows what models returned since the former backward pass, as operations of the graph."""

    def __init__(self) -> None:
        self._outputs = deque[Any](maxlen=OUTPUTS)

    def returned(self, output: Any) -> None:
        """A model did."""
        made = (t.grad_fn for t in tree_leaves(output) if isinstance(t, Tensor) and t.requires_grad)
        self._outputs.extend(node for node in made if node is not None)

    def forget(self) -> None:
        """A backward pass is over."""
        self._outputs.clear()

    def between(self, root: Any) -> tuple[set[int], set[int]] | None:
        """Ids of the parameters behind both ends, where the loss is distances between outputs and nothing else.

        Such a loss is least where both are the same constant: nothing but a side that is not trained holds it apart.

        Args:
            root: what the backward pass begins from.
        """
        outputs = set(self._outputs)
        if len(outputs) < 2 or not isinstance(root, Tensor) or root.grad_fn is None:
            return None
        ends = _ends(root.grad_fn, outputs, False, {})
        if not ends:
            return None
        one, other = ({id(v) for pair in ends for v in leaves(pair[side])} for side in (0, 1))
        return (one, other) if one and other else None

    def taught(self, root: Any) -> set[int]:
        """Ids of the parameters behind one end of a distance between outputs that no other term of the loss trains.

        The other end has such a term, as a student's has that learns labels too: the first stands for what it is to
        be like.

        Args:
            root: what the backward pass begins from.
        """
        outputs = set(self._outputs)
        if len(outputs) < 2 or not isinstance(root, Tensor) or root.grad_fn is None:
            return set()
        pairs, others = list[_Pair](), list[Any]()
        _split(root.grad_fn, outputs, pairs, others, {}, set())
        if not pairs or not others:
            return set()
        trained = {id(v) for v in leaves(others)}
        found = set[int]()
        for pair in pairs:
            one, other = ({id(v) for v in leaves(side)} for side in pair)
            for goal, beside in ((one, other), (other, one)):
                if goal.isdisjoint(trained | beside) and beside & trained:
                    found |= goal
        return found


_Pair = tuple[set[Any], set[Any]]


def _split(
    node: Any, outputs: set[Any], pairs: list[_Pair], others: list[Any], known: dict[tuple[Any, bool], list[_Pair]],
    met: set[Any],
) -> None:  # fmt: skip
    """The distances among the terms of a loss, and the operations that its other terms end with."""
    if node in met:
        return
    met.add(node)
    following = [n for n, _ in node.next_functions if n is not None]
    if ends := _ends(node, outputs, False, known):
        pairs += ends
    elif following and len(met) < MOST and (_name(node) == "Add" or (_name(node) in SCALINGS and len(following) == 1)):
        for n in following:
            _split(n, outputs, pairs, others, known, met)
    else:
        others.append(node)


def _ends(
    node: Any, outputs: set[Any], even: bool, known: dict[tuple[Any, bool], list[_Pair]], depth: int = MOST
) -> list[_Pair]:
    """The outputs on both sides of each distance that the loss is a sum of; empty where it is anything else.

    Args:
        node: from which the graph is followed.
        outputs: of models, where it ends.
        even: whether a difference is a distance here, because its sign is lost afterwards.
        known: what was found at operations that were met before, by several ways as a sum with itself is.
        depth: operations that are followed.
    """
    if (node, even) not in known:
        known[node, even] = _found(node, outputs, even, known, depth)
    return known[node, even]


def _found(
    node: Any, outputs: set[Any], even: bool, known: dict[tuple[Any, bool], list[_Pair]], depth: int
) -> list[_Pair]:
    name, following = _name(node), [n for n, _ in node.next_functions if n is not None]
    if node in outputs or not depth:
        return []
    if len(following) == 2 and name in ("Sub", "Mul", *DISTANCES):
        pair = _sides(following, outputs)
        if pair is not None and _is_distance(name, following, even):
            return [pair]
        return []
    if name not in SCALINGS | EVEN or not following or (len(following) > 1 and name != "Add"):
        return []
    terms = [_ends(n, outputs, even or name in EVEN, known, depth - 1) for n in following]
    return list({id(pair): pair for term in terms for pair in term}.values()) if all(terms) else []


def _is_distance(name: str, sides: list[Any], even: bool) -> bool:
    """Whether this is one between its two sides: a difference without its sign, a divergence, a cosine."""
    if name in DISTANCES:
        return True
    if name == "Sub":
        return even or _name(sides[0]) == "Xlogy"
    return all("LinalgVectorNorm" in {_name(n) for n in _between(side, set())} for side in sides)


def _sides(sides: list[Any], outputs: set[Any]) -> _Pair | None:
    """The one output that each side is made of, and of no parameter; a divergence has both on one of them."""
    found = []
    for side in sides:
        nodes = {side} if side in outputs else _between(side, outputs)
        if not all(n in outputs or _name(n) in SIDES for n in nodes) or len(nodes) >= MOST:
            return None
        found.append(nodes & outputs)
    if _name(sides[0]) == "Xlogy":
        found[1] = found[1] - found[0]
    one, other = found
    return (one, other) if len(one) == len(other) == 1 and one != other else None


def _between(node: Any, ends: set[Any]) -> set[Any]:
    """The operations from one on, up to and with those ends; at most so many."""
    return set(islice(behind([node], ends), MOST))


def _name(node: Any) -> str:
    return str(node.name()).rpartition("::")[2].rstrip("0123456789").removesuffix("Backward")
