"""NaN: the first call that returns it, or the first step back at which a gradient becomes it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import POWERS, QUOTIENTS, TURNED_QUOTIENTS, in_place
from nonsingular.diagnosis.batches import Problem
from nonsingular.diagnosis.contract.trace import OWN, Op, Trace
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.objective import Batch
from nonsingular.objective.finite import finite, samples_not_finite
from nonsingular.objective.graph import behind

DATA = "the data"
"""What a remedy is about where no operation makes a number that is not finite."""
HUGE = 1e15  # what is computed from numbers beyond it overflows; that is a matter of the signal


def not_finite(task: Problem, batch: Batch | None) -> dict[str, Statistic]:
    """Replay the batch on which loss or gradient was not finite, and say where that began.

    Args:
        task: model and loss.
        batch: the first with a loss or a gradient that is not finite; None where all were.

    Returns:
        ``nan-loss`` and ``nan-gradient``.
    """
    nothing = Statistic(0.0, (), "")
    if batch is None:
        return {"nan-loss": nothing, "nan-gradient": nothing}
    trace = Trace(task.model)
    anomaly = torch.autograd.set_detect_anomaly(True, check_nan=False)  # keeps the line of every operation
    with untouched(task.model), as_training(task.model), torch.enable_grad(), anomaly, trace:
        _, loss = task.run(batch, trace.enter_loss)
        op = _first(trace)
        if op is not None and not finite(loss):
            return {"nan-loss": _made(op), "nan-gradient": nothing}
        if not finite(loss):
            return {"nan-loss": nothing, "nan-gradient": nothing}  # an overflow of the network's own signal
        return {"nan-loss": nothing, "nan-gradient": _gradient(task, loss, trace)}


def given(inputs: Any, target: Any) -> Statistic | None:
    """What a model or its loss was handed that is not finite itself; None where all of it is.

    Args:
        inputs: of the model.
        target: what the loss compares with, None where that is not known.
    """
    for what, tree in (("inputs", inputs), ("targets", target)):
        tree = [t for t in tree_leaves(tree) if isinstance(t, Tensor) and not _masks(t)]
        if finite(tree):
            continue
        samples = next((len(t) for t in tree if t.ndim), 1)
        rows = samples_not_finite(tree, samples)
        if not rows:  # a table for all samples, as weights of classes are
            words = f"the {what} of this batch have NaN or infinite entries, in no row of a sample"
            return Statistic(1.0, (), words, "", (), f"{words[0].upper()}{words[1:]}. {MADE}", DATA)
        told = f"{len(rows)} of the {samples} samples of this batch {what} are NaN or infinite"
        evidence = (
            {"measure": f"samples of the batch whose {what} are NaN or infinite", "value": len(rows)},
            {"measure": "samples of the batch", "value": samples},
            {"measure": "number of the first of them in the batch, from 0", "value": rows[0]},
        )
        return Statistic(1.0, (), f"in {told}", "", evidence, f"In {told}. {CLEAN}", DATA)
    return None


MADE = (
    "Where the data are finite, look at what is done to them on their way, such as a division by a deviation of zero."
)
CLEAN = (
    "Mend such samples or leave them out before training: (~torch.isfinite(x).flatten(1).all(1)).nonzero() finds them. "
    + MADE
)


def _masks(t: Tensor) -> bool:
    """Whether infinities are meant: minus infinity where something is hidden, and zero elsewhere."""
    plain = t.is_floating_point() and t.layout == torch.strided and not t.is_nested
    return plain and bool(((t == 0) | (t == -math.inf)).all())


def _first(trace: Trace) -> Op | None:
    """The first call that makes NaN, or infinity, from numbers of ordinary size and infinities that are meant."""
    for op in trace.ops:
        if op.name in FILLS or not isinstance(op.out, Tensor) or not op.out.is_floating_point() or finite(op.out):
            continue
        given = [t.detach() for t in op.tensors if t.is_floating_point() and t.numel()]
        if any(bool(t.isnan().any()) for t in given):
            continue
        made_nan, masked = bool(op.out.isnan().any()), any(bool(t.isinf().any()) for t in given)
        if masked and not made_nan:
            continue  # hands on an infinity, as an attention's mask
        sizes = [float(t[t.isfinite()].abs().max()) for t in given if t.isfinite().any()]
        overflowed = any(bool((t == math.inf).any()) for t in given)
        return None if overflowed or max(sizes, default=0.0) > HUGE else op
    return None


FILLS = {
    "full",
    "full_like",
    "zeros",
    "ones",
    "tensor",
    "masked_fill",
    "masked_fill_",
    "new_full",
    "where",
    "empty",
    "fill_",
}
"""Calls whose infinities are meant."""


def _made(op: Op) -> Statistic:
    values = [t.detach().double() for t in op.tensors if t.is_floating_point() and t.numel()]
    part = "the loss" if op.in_loss else "the network"
    out = op.out.detach()
    evidence = [
        {
            "measure": f"entries of {op.name} in {part} that are NaN or infinite",
            "value": int((~torch.isfinite(out)).sum()),
        },
        *({"measure": "least it was given", "value": float(v.min())} for v in values[:1]),
        *({"measure": "largest it was given", "value": float(v.max())} for v in values[:1]),
    ]
    words = f"{op.name} in {part} returns NaN or infinity from finite numbers"
    layers = op.layers
    return Statistic(1.0, layers, words, op.where, tuple(evidence), _forward_remedy(op), op.told)


LOGARITHMS = ("log", "log2", "log10", "log_")
ROOTS = ("sqrt", "rsqrt", "sqrt_")
DIVISIONS = QUOTIENTS | in_place(QUOTIENTS) | TURNED_QUOTIENTS | {"reciprocal", "reciprocal_"}
RAISED = POWERS | in_place(POWERS)


def _forward_remedy(op: Op) -> str:
    line = f" ({op.where})" if op.where else ""
    least = min((float(t.detach().min()) for t in op.tensors[:1] if t.is_floating_point() and t.numel()), default=0.0)
    if least < 0 and op.name in (*LOGARITHMS, *ROOTS):
        return (
            f"{op.name} is given negative numbers{line} and has no value there: look for a sign that is wrong, or an "
            "output of any sign; let the network return the logarithm and take exp, or put softplus behind it."
        )
    if least <= -1 and op.name == "log1p":
        return f"Keep what log1p is given above -1{line}: look for a sign that is wrong, or clamp it."
    if least < 0 and op.name in RAISED:
        return f"{op.name} is given negative numbers{line}, which have whole powers only: take abs() or softplus first."
    if op.name in LOGARITHMS:
        return f"Keep log away from zero{line}: use log_softmax or logsigmoid, or add 1e-6 inside."
    if op.name in DIVISIONS:
        return f"Keep the divisor away from zero{line}: add a small number to it."
    if op.name in RAISED or op.name in ("exp", "exp_", "exp2", "__rpow__", "expm1", "cosh", "sinh"):
        return f"Bound what {op.name} is given{line}: subtract its maximum, or use logsumexp or softplus."
    if op.name == "rsqrt":
        return f"Keep rsqrt away from zero{line}: add a small number inside."
    if op.name in ("acos", "asin", "acosh", "atanh", "logit"):
        return f"Keep what {op.name} is given inside its domain{line}: clamp it."
    if op.name in ("mean", "std", "var"):
        return f"Do not take {op.name} of nothing, or of one value{line}."
    if op.name in ("softmax", "log_softmax", "multi_head_attention_forward", "scaled_dot_product_attention"):
        return (
            f"Leave something unmasked in every row{line}: a softmax of nothing but -inf is NaN. Is the mask inverted?"
        )
    if op.name == "cross_entropy":
        return f"Leave some target that counts in every batch{line}: with all ignored, the mean is of nothing."
    return f"Look at what {op.name} is given{line}."


def _gradient(task: Problem, loss: Tensor, trace: Trace) -> Statistic:
    """Follow the gradient back until it is not finite any more."""
    made: list[tuple[str, str]] = []

    def watch(node: Any) -> Any:
        def hook(back: tuple[Tensor | None, ...], came: tuple[Tensor | None, ...]) -> None:
            if not made and finite(came) and not finite(back):
                made.append((node.name().removesuffix("Backward0").removesuffix("Backward1"), _line(node)))

        return hook

    handles = [n.register_hook(watch(n)) for n in [*behind([loss.grad_fn])] if not hasattr(n, "variable")]
    try:
        named = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    broken = [name for name, g in zip(named, gradients, strict=True) if g is not None and not finite(g)]
    if not broken:
        return Statistic(0.0, (), "")
    name, line = made[0] if made else ("", "")
    values = _given(trace, name)
    evidence: list[dict[str, Any]] = [
        {"measure": "parameters whose gradient is NaN or infinite", "value": len(broken)},
        {"measure": "the loss, which is finite", "value": float(loss.detach())},
    ]
    if values is not None:
        evidence.append({"measure": f"least that {name.lower()} was given", "value": values})
    words = f"the gradient of {name.lower() or 'some operation'} is NaN or infinite"
    layers = tuple(dict.fromkeys(n.rpartition(".")[0] for n in broken))
    return Statistic(
        1.0,
        layers,
        words,
        f"{name.lower()} at {line}" if line else name.lower(),
        tuple(evidence),
        _backward_remedy(name, line),
        f"{name.lower()} at {line}",
    )


def _backward_remedy(name: str, line: str) -> str:
    at = f" ({line})" if line else ""
    name = name.lower()
    if name in ("sqrt", "pow", "rsqrt", "linalgvectornorm", "norm"):
        return f"The slope of a root is infinite at zero{at}: add a small number under it, as in (x + 1e-8).sqrt()."
    if name.startswith("log") or name in ("div", "reciprocal"):
        return f"The slope is infinite at zero{at}: add a small number, or clamp what goes in."
    if name in ("acos", "asin"):
        return f"The slope is infinite at -1 and 1{at}: clamp to just inside."
    if name == "std":
        return (
            f"The slope of a deviation of equal numbers is infinite{at}: use var, or add a small number under the root."
        )
    return (
        f"Look at {name}{at}: its slope is not finite for what it is given; torch.where does not stop a NaN behind it."
    )


def _given(trace: Trace, name: str) -> float | None:
    wanted = name.lower()
    for op in trace.ops:
        if op.name.strip("_") == wanted and op.tensors and op.tensors[0].is_floating_point():
            return float(op.tensors[0].detach().abs().min())
    return None


def _line(node: Any) -> str:
    """The user's line that made a node, from the record that anomaly detection keeps."""
    lines = node.metadata.get("traceback_", [])
    frames = [part.strip().splitlines()[0] for part in lines if part.strip().startswith('File "')]
    for frame in reversed(frames):
        file = frame.split('"')[1]
        if file.endswith("/contract/trace.py"):
            continue  # the trace itself, which calls every function
        if not file.startswith(OWN) and not file.startswith("<"):
            number = frame.split("line ")[1].split(",")[0]
            return f"{file.rpartition('/')[2]}:{number}"
        if file.startswith(OWN[1]):
            return ""
    return ""
