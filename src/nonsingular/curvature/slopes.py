"""Functions of the user's own whose backward pass, or its derivative, is not right: no matrix made with it would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from nonsingular.errors import InputError
from nonsingular.objective.functions import Applied, NothingToSay, Probe, applied, own_functions

WRONG = 1e-2
"""Share by which derivatives may differ from central differences in float64."""
LOOKED = 8
"""Calls that are looked at, of each class."""
CURE = "give it its own derivative (torch.autograd.gradgradcheck compares)"
OF_NOTHING = (
    "its forward returns what it is given: a backward pass that changes gradients on purpose is that of no function, "
    "and has no curvature; leave it out"
)


def refuse_false_slopes(found: Tensor, again: Callable[[], object], second: bool) -> None:
    """Hold the backward pass of every function of the user's own against its forward pass, and its own derivative too.

    Nothing is computed where there is none. Of each call: some ten evaluations of the function alone.

    Args:
        found: what was computed.
        again: computes it again.
        second: whether the function's own second derivative is wanted, or the derivative of outputs from both sides.

    Raises:
        InputError: one of them returns something else, as straight-through estimates and reversed gradients do, or
            leaves its own derivative out, as a backward pass through NumPy does.
    """
    classes = own_functions([found])
    if not classes:
        return
    with applied(classes) as calls:
        again()
    for cls in classes:
        for call in [c for c in calls if c.function is cls][:LOOKED]:
            for fault in _faults(call, second):
                raise InputError(f"{cls.__name__}.backward {fault}")


def _faults(call: Applied, second: bool) -> Iterator[str]:
    try:
        probe = Probe(call)
        cure = OF_NOTHING if probe.identity else CURE
        if _differ(probe.told, probe.found) and not probe.rounds():
            yield (
                f"is not the derivative of its forward: along a random direction {probe.told:.3g} instead of "
                f"{probe.found:.3g}; {cure}"
            )
        if _differ(probe.told, probe.forwards()):
            why = "once_differentiable, detached, through NumPy or a kernel?"
            yield f"has no derivative of its own that PyTorch could see ({why}); {cure}"
        if second:
            told, true = probe.bends()
            if _differ(told, true, 1e-3 * probe.told):
                yield (
                    f"has a wrong derivative of its own: along a random direction {told:.3g} instead of {true:.3g}; "
                    f"{cure}"
                )
    except NothingToSay:
        return


def _differ(a: float, b: float, least: float = 0.0) -> bool:
    """By more than rounding, as a part of the larger one or of what is the least to count."""
    return abs(a - b) > WRONG * max(abs(a), abs(b), abs(least))
