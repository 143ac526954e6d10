"""Terms of a loss without a gradient: their value depends on the weights, and no step can make them smaller."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import ADDED, SCALED
from nonsingular.diagnosis.contract.scene import Scene, traced
from nonsingular.diagnosis.contract.terms import SCALES
from nonsingular.diagnosis.contract.trace import TRANSPOSES, VIEWS, Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError

LINEAR = SCALES | VIEWS | TRANSPOSES | {"sum", "mean"}
NUDGE = 0.01  # of each weight
CHANGED = 1e-6  # of a value, beyond rounding
NO_CHANGE = {"detach", "detach_", "zeros_like", "ones_like", "sign", "argmax", "item"}


def cut_term(scene: Scene) -> Statistic:
    """Whether the loss has a term, or a derivative in a term, that hangs on the weights and has no gradient."""
    words = "a part of the loss depends on the weights, and no gradient leads back from it"
    if scene.loss is None or not scene.loss.requires_grad:
        return Statistic(math.nan, (), words)
    number = {id(op): i for i, op in enumerate(scene.trace.ops)}
    for op in (*_derivatives(scene), *_terms(scene)):
        if _is_elsewhere(scene, op):
            continue
        change = _change(scene, number[id(op)])
        if change is None or change <= CHANGED:
            continue
        by_grad = op.name == "grad"
        evidence = (
            {"measure": f"change of what {op.name} returns when weights change by {NUDGE:.0%}", "value": change},
            {"measure": "gradients that it sends back", "value": 0},
        )
        at = f" ({op.where})" if op.where else ""
        remedy = (
            f"Call torch.autograd.grad with create_graph=True{at}: without it the derivative is a number to autograd."
            if by_grad
            else f"Compute this term with its graph{at}: no no_grad(), .data, numpy, detached output or derivative "
            "without create_graph=True on the way."
        )
        return Statistic(1.0, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)


def _derivatives(scene: Scene) -> Iterator[Op]:
    """Derivatives by what is no weight, without a graph, that come into the loss and through no further layer."""
    weights = {id(p) for p in scene.task.model.parameters()}
    shapes = {p.shape for p in scene.task.model.parameters()}  # of copies that are trained within a step, too
    for i, op in enumerate(scene.trace.ops):
        by = [t for t in tree_leaves(op.given(1, "inputs")) if isinstance(t, Tensor)]
        out = [t for t in tree_leaves(op.out) if isinstance(t, Tensor)]
        if op.name != "grad" or not out or any(t.requires_grad for t in out) or any(t.shape in shapes for t in by):
            continue
        known = {id(t) for t in out}
        for later in scene.trace.ops[i + 1 :]:
            taken = later.tensors
            if later.name in NO_CHANGE or not any(id(t) in known for t in taken):
                continue
            if any(id(t) in weights for t in taken):
                break
            known |= {id(t) for t in tree_leaves(later.out) if isinstance(t, Tensor)}
        else:
            if id(scene.loss) in known:
                yield op


def _terms(scene: Scene) -> Iterator[Op]:
    """Calls that made what is added to the loss without a gradient, of weights."""
    of_weights = _of_weights(scene)
    stack = [scene.loss]
    while stack:
        op = scene.trace.producer(stack.pop())
        if op is None:
            continue
        given = [t for t in op.args if isinstance(t, Tensor)]
        trained = [t for t in given if t.requires_grad]
        if op.name in ADDED:
            stack += trained
            for t in given:
                maker = scene.trace.source(t, LINEAR)
                still = not t.requires_grad and t.is_floating_point() and id(t) in of_weights
                if still and maker is not None and maker.name not in NO_CHANGE:
                    yield maker
        elif op.name in LINEAR and len(trained) == 1:
            stack += trained


def _is_elsewhere(scene: Scene, op: Op) -> bool:
    """Whether the loss has the same numbers with their graph too, as codes that are averages are held to outputs.

    Where they are multiplied by others of the weights, the term is another function than they are.
    """
    out, known = op.out, _of_weights(scene)
    factors = [o.tensors for o in scene.trace.ops if o.name in SCALED and any(t is out for t in o.tensors)]
    if any(t.numel() > 1 and id(t) in known for given in factors if len(given) > 1 for t in given):
        return False
    return isinstance(out, Tensor) and any(
        isinstance(t := other.out, Tensor)
        and t.requires_grad
        and t.shape == out.shape
        and torch.allclose(t.detach(), out)
        for other in scene.trace.ops
        if other.in_loss
    )


def _of_weights(scene: Scene) -> set[int]:
    """Everything that is computed of weights that train, with a graph or without."""
    memory = {p.untyped_storage().data_ptr() for p in scene.task.model.parameters() if p.requires_grad}
    known: set[int] = set()
    for op in scene.trace.ops:
        taken = [t for t in op.tensors if not t.is_sparse]
        if any(t.requires_grad or id(t) in known or t.untyped_storage().data_ptr() in memory for t in taken):
            known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor)}
    return known


def _change(scene: Scene, number: int) -> float | None:
    """By what part the result of a call changes with the weights; None where it is random, or not known."""
    parameters = [p for p in scene.task.model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    try:
        same = _result(traced(scene.task, scene.batch), scene, number)
        for p in parameters:
            p.data.mul_(1 + NUDGE)  # that no graph notices
        other = _result(traced(scene.task, scene.batch), scene, number)
    except InputError:
        return None
    finally:
        for p, b in zip(parameters, before, strict=True):
            p.data.copy_(b)
    own = _result(scene, scene, number)
    if own is None or same is None or other is None or not own.shape == same.shape == other.shape:
        return None
    if not torch.equal(own, same) or not bool(torch.isfinite(other).all()):
        return None
    return float((own - other).norm() / own.norm().clamp_min(1e-30))


def _result(run: Scene, first: Scene, number: int) -> Tensor | None:
    """What a call of one pass returned in another."""
    ops = run.trace.ops
    if len(ops) <= number or ops[number].name != first.trace.ops[number].name:
        return None
    out = [t for t in tree_leaves(ops[number].out) if isinstance(t, Tensor) and t.is_floating_point()]
    return torch.cat([t.detach().double().flatten() for t in out]) if out else None
