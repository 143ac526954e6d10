"""Whether the derivative of a model's outputs is the same forwards and backwards: ``u^T (J v)`` is ``(J^T u)^T v``."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nonsingular.curvature.culprits import culprit
from nonsingular.curvature.outputs import Tensors, dot
from nonsingular.curvature.problem import ROUNDING, Params, Problem
from nonsingular.errors import InputError
from nonsingular.objective import FAILURES, Batch

SINGLE = 100 * torch.finfo(torch.float32).eps
"""Some models compute in float32 whatever they are."""

Outputs = Callable[[Problem, Params, Batch], Tensors]


def refuse_disagreement(problem: Problem, outputs: Outputs) -> None:
    """Hold both sides of the outputs' derivative against one another, on the first batch and along random vectors.

    Backward passes that leave their own derivative out, as those through NumPy do, give a forward one that is too
    small: without a word, and with a symmetric Gauss-Newton matrix where they leave all of it out. It costs one
    evaluation of the model and two passes backwards, once an operator.

    Args:
        problem: the model and its parameters.
        outputs: problem, parameters and batch, as the real numbers that are differentiated.

    Raises:
        InputError: the sides differ by more than rounding explains.
    """
    difference, allowed = _difference(problem, outputs)
    if difference <= allowed:
        return
    finer, allowed = _in_double(problem, outputs)
    if finer > max(allowed, ROUNDING * difference):
        where = culprit(problem, problem.batches[0])
        raise InputError(f"the derivative of the model's output is not the same forwards and backwards: {where}")


def _difference(problem: Problem, outputs: Outputs) -> tuple[float, float]:
    """``|u^T (J v) - (J^T u)^T v|``, and what rounding allows."""
    generator = torch.Generator(device=problem.device).manual_seed(2)

    def random(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=generator, device=t.device, dtype=torch.float64).to(t.dtype)

    params = tuple(p.clone().requires_grad_() for p in problem.params)
    with torch.enable_grad():
        z = [t for t in outputs(problem, params, problem.batches[0]) if t.requires_grad]
        u = [random(t).requires_grad_() for t in z]
        v = [random(p) for p in params]
        back = torch.autograd.grad(dot(z, u), params, create_graph=True, materialize_grads=True)
        backwards = dot(back, v)  # linear in u, so that its slope times u is the same from the other side
        forwards = torch.autograd.grad(backwards, u, materialize_grads=True) if backwards.requires_grad else ()
    difference = abs(float(dot(forwards, u).detach()) - float(backwards.detach()))
    size = sum(math.hypot(*(float(t.detach().norm()) for t in side)) for side in (back, forwards))
    digits = max(torch.finfo(problem.dtype).eps ** 0.5, SINGLE)
    return (math.inf if math.isnan(difference) else difference), 10 * digits * size


def _in_double(problem: Problem, outputs: Outputs) -> tuple[float, float]:
    """The same of float64 copies; infinite where the user's code cannot compute with them."""
    try:
        return _difference(problem.in_double(), outputs)
    except (InputError, *FAILURES):
        return math.inf, 0.0
