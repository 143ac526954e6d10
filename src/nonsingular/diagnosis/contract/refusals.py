"""Losses that raise on the values they are given: on which output or target, and what it would have to be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import OWN
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError
from nonsingular.objective import first_line

COLUMNS = 8  # of one output, at most, that are changed one by one
Change = Callable[[Tensor], Tensor]


def _definite(x: Tensor) -> Tensor:
    """Rows made positive definite matrices, where they have as many entries as a matrix."""
    side = math.isqrt(x.shape[-1]) if x.ndim else 0
    if side < 2 or side**2 != x.shape[-1]:
        return x
    m = x.unflatten(-1, (side, side))
    return (m @ m.mT + torch.eye(side, dtype=x.dtype, device=x.device)).flatten(-2)


WITHIN: dict[str, Change] = {
    "positive definite matrices": _definite,
    "positive": lambda x: F.softplus(x) + 1.5,  # beyond what a probability may be
    "between 0 and 1": torch.sigmoid,
    "probabilities that sum to one": lambda x: x.softmax(-1) if x.ndim else x,
}
"""What outputs can be made, shapes kept, that a loss may want."""
TAKEN: dict[str, Change] = {
    "at least 0": lambda t: t.abs(),
    "whole numbers from 0": lambda t: t.abs().round(),
    "0 or 1": lambda t: (t > 0).to(t.dtype),
}
REFUSED = ("refused-outputs", "refused-targets")
REMEDIES = {
    "positive": "put softplus behind it, or let the network return a logarithm and take exp in the loss",
    "between 0 and 1": "put a sigmoid behind it, or take the loss that takes logits (binary_cross_entropy_with_logits)",
    "probabilities that sum to one": "put a softmax behind it, or give it as logits",
    "positive definite matrices": "make it L @ L.T of a lower triangle, plus a small diagonal",
}


@dataclass(frozen=True)
class Refusal:
    """Why a loss raises.

    Attributes:
        words: which output it is, or "the targets".
        wanted: what it would have to be.
        values: of it.
        cured: outputs and targets of which the loss takes what it refused.
        of_targets: whether it refuses the targets.
    """

    words: str
    wanted: str
    values: Tensor
    cured: Callable[[Any, Any], tuple[Any, Any]]
    of_targets: bool = False


def refusal(scene: Scene) -> Refusal | None:
    """Which values the loss of a scene raises on; None where it does not, or for another reason, such as shapes."""
    if scene.failure is None or scene.task.form != "output":
        return None

    def takes(output: Any, target: Any) -> bool:
        try:
            with torch.no_grad():
                return bool(torch.isfinite(torch.as_tensor(scene.task.of_output(output, target))).all())
        except (InputError, RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return False

    for words, part, put in _parts(scene.output):
        for wanted, change in WITHIN.items():
            if takes(put(scene.output, change), scene.batch.target):
                cured = lambda output, target: (put(output, change), target)  # noqa: B023, E731
                return Refusal(words, wanted, part(scene.output), cured)
    targets = scene.batch.target
    if isinstance(targets, Tensor):
        for wanted, change in TAKEN.items():
            if takes(scene.output, change(targets)):
                cured = lambda output, target: (output, change(target))  # noqa: B023, E731
                return Refusal("the targets", wanted, targets, cured, True)
    return None


def _parts(output: Any) -> Iterator[tuple[str, Callable[[Any], Tensor], Callable[[Any, Change], Any]]]:
    """Parts of an output, the smallest first: words for it, what reads it, what changes it alone."""
    leaves, spec = tree_flatten(output)
    floats = [i for i, t in enumerate(leaves) if isinstance(t, Tensor) and t.is_floating_point()]
    for i in floats:
        name = "the output" if len(floats) == 1 else f"output {i}"
        columns = leaves[i].shape[-1] if leaves[i].ndim > 1 and 1 < leaves[i].shape[-1] <= COLUMNS else 0
        for column in (*range(columns), None):

            def read(output: Any, i: int = i, column: int | None = column) -> Tensor:
                leaf: Tensor = tree_leaves(output)[i]
                return leaf if column is None else leaf[..., column]

            def put(output: Any, change: Change, i: int = i, column: int | None = column) -> Any:
                held = tree_leaves(output)
                if column is None:
                    held[i] = change(held[i])
                else:
                    rows = list(held[i].unbind(-1))
                    rows[column] = change(rows[column])
                    held[i] = torch.stack(rows, -1)
                return tree_unflatten(held, spec)

            yield (name if column is None else f"column {column} of {name}"), read, put


def refused_by(
    refused: Refusal | None, failure: BaseException | None, module: str = "", op: str = ""
) -> dict[str, Statistic]:
    """``refused-outputs`` and ``refused-targets``: facts, with the call, the values and the line.

    Args:
        refused: what was found; None for nothing.
        failure: what the loss raised.
        module: that the values come of.
        op: torch's function that raised it; "" where the user's code or a class did.
    """
    words = "the loss raises an error on these values"
    found = {name: Statistic(0.0, (), words) for name in REFUSED}
    if refused is None or failure is None:
        return found
    cause = failure.__cause__ or failure
    values = refused.values.detach().double()
    evidence: tuple[dict[str, Any], ...] = (
        {"measure": f"least value of {refused.words}", "value": float(values.min())},
        {"measure": "largest", "value": float(values.max())},
    )
    said = f"{op or 'the loss'} raises {type(cause).__name__}: {first_line(cause).partition(' but found')[0][:160]}"
    outputs = not refused.of_targets
    remedy = f"{refused.words[:1].upper()}{refused.words[1:]} must be {refused.wanted}: "
    remedy += REMEDIES[refused.wanted] if outputs else "look at how they are made, or take another loss"
    where = _line(cause)
    name = REFUSED[refused.of_targets]
    layers = (module,) if module else ()
    return {
        **found,
        name: Statistic(1.0, layers, said, where, ({"measure": said, "value": 1.0}, *evidence), f"{remedy}."),
    }


def statistics(scene: Scene) -> dict[str, Statistic]:
    """``refused-outputs`` and ``refused-targets`` of a scene."""
    refused = refusal(scene)
    failed = next((op for op in reversed(scene.trace.ops) if op.in_loss and op.out is None), None)
    head = scene.trace.source(next(iter(t for t in tree_leaves(scene.output) if isinstance(t, Tensor)), None))
    module = head.module if head is not None else ""
    return refused_by(refused, scene.failure, module, failed.name if failed is not None else "")


def of_call(function: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any]) -> Refusal | None:
    """Which argument of one of torch's losses it raises on, and what that would have to be; None where that is not it.

    >>> of_call(F.binary_cross_entropy, [torch.tensor([2.0]), torch.tensor([1.0])], {}).words
    'the input of binary_cross_entropy'
    """
    given = inspect.signature(function).bind(*args, **named).arguments
    for name, value in given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            continue
        of_targets = name == "target"
        for wanted, change in (TAKEN if of_targets else WITHIN).items():
            try:
                with torch.no_grad():
                    function(**{**given, name: change(value)})
            except (RuntimeError, ValueError, TypeError, IndexError):
                continue
            words = f"the {name} of {function.__name__}"
            return Refusal(words, wanted, value, lambda output, target: (output, target), of_targets)
    return None


def _line(error: BaseException) -> str:
    """``file.py:line`` of the user's innermost frame in an error's traceback; "" where there is none."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(OWN) and not file.startswith("<"):
            found = f"{Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
