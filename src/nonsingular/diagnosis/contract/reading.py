"""Which parts of the inputs the outputs depend on, and where on the way gradients end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.contract.scene import Scene, passes
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError
from nonsingular.objective import Batch

LONG = 4  # positions along an axis, from where it is looked at
STEPS = {"round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside", "round_", "floor_", "ceil_", "sign_"}
"""Operations whose slope is zero wherever they have one."""
CUTS = {"detach", "detach_", "data", "argmax", "argmin", "tensor", "as_tensor", "item", "tolist", "numpy"}


def unread(scene: Scene) -> dict[str, Statistic]:
    """``unread-inputs`` and ``cut-inputs``: share of the positions of an axis that no output has a gradient by.

    Without a gradient the outputs may still depend on them: then something on the way has cut it.
    """
    words = ("share of the inputs' positions that the outputs do not depend on",
             "share of the inputs' positions that outputs depend on, and no gradient leads back to")  # fmt: skip
    nothing = {name: Statistic(math.nan, (), w) for name, w in zip(("unread-inputs", "cut-inputs"), words, strict=True)}
    try:
        found = max(_silent(scene), key=lambda both: both[0], default=None)
    except (InputError, RuntimeError, ValueError, TypeError):
        return nothing
    if found is None:
        return nothing
    share, axis, silent = found
    length = len(silent)
    depends = _depends(scene, axis, silent) if share > 0 else None
    if depends is None:
        return {name: Statistic(0.0, (), s.words) for name, s in nothing.items()}
    evidence = (
        {"measure": f"positions along axis {axis} of the inputs", "value": length},
        {"measure": "of these without any gradient", "value": int(silent.sum())},
    )
    if depends:
        op = _cutting(scene)
        where = op.where if op is not None else ""
        what = op.name if op is not None else "detach(), .data, no_grad() or a new tensor"
        remedy = f"Take {what} out{f' ({where})' if where else ''}: hand on what was computed as it is, with its graph."
        cut = Statistic(share, op.layers if op is not None else (), words[1], where, evidence, remedy)
        return {**nothing, "cut-inputs": cut}
    op = _choosing(scene, silent)
    where = op.where if op is not None else ""
    at = f" ({where})" if where else ""
    remedy = f"Look at which positions are kept{at}: the last state of a recurrence has seen all, the first only one."
    return {**nothing, "unread-inputs": Statistic(share, (), words[0], where, evidence, remedy)}


def _silent(scene: Scene) -> Iterator[tuple[float, int, Tensor]]:
    """Of each axis of the inputs: the share of its positions without a gradient, the axis, and which they are.

    Positions that hold one number for all samples, such as padding beyond the longest, are none to be read.
    """
    [leaf] = [t for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)]
    for slope in _slopes(scene):
        seen = slope.abs() > 0
        if not bool(seen.any()):
            continue
        for axis in range(1, seen.ndim):
            told = _along(leaf, axis)
            told = told.amax(1) > told.amin(1)
            if int(told.sum()) >= LONG:
                silent = ~_along(seen, axis).any(1) & told
                yield float(silent.sum() / told.sum()), axis, silent


def _along(x: Tensor, axis: int) -> Tensor:
    """Positions of an axis by all that is there."""
    return x.movedim(axis, 0).flatten(1)


def _slopes(scene: Scene) -> Iterator[Tensor]:
    """Of a random sum of the outputs, by the inputs; by their embeddings where they are tokens."""
    batch, n = scene.batch, scene.batch.samples
    tables = [op for op in scene.trace.ops if op.name == "embedding" and isinstance(op.out, Tensor) and not op.in_loss]
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
    if tables and len(leaves) == 1:
        x, out = tables[0].out, summed(scene.output)
        if out is not None and x.requires_grad and x.shape[: leaves[0].ndim] == leaves[0].shape and x.ndim == 3:
            [slope] = torch.autograd.grad(out, [x], retain_graph=True, allow_unused=True)
            if slope is not None:
                yield slope.abs().sum(2)
        return
    if len(leaves) != 1 or not leaves[0].is_floating_point() or leaves[0].ndim < 2 or len(leaves[0]) != n:
        return
    point = leaves[0].detach().clone().requires_grad_()
    inputs = tree_map_only(Tensor, lambda _: point, batch.inputs)
    with untouched(scene.task.model), as_training(scene.task.model), torch.enable_grad():
        out = summed(scene.task.output(Batch(inputs, None, n, pair=False)))
        if out is None:
            return
        [slope] = torch.autograd.grad(out, [point], allow_unused=True)
    if slope is not None:
        yield slope


def summed(output: Any) -> Tensor | None:
    """All outputs, each times a random number."""
    found = [t for t in tree_leaves(getattr(output, "logits", output)) if isinstance(t, Tensor) and t.requires_grad]
    if not found:
        return None
    random = torch.Generator().manual_seed(0)
    parts = [(t * torch.randn(t.shape, generator=random).to(t.device, t.dtype)).sum() for t in found]
    return torch.stack([p.float() for p in parts]).sum()


def _depends(scene: Scene, axis: int, silent: Tensor) -> bool | None:
    """Whether outputs change when the silent positions are those of another sample; None where that is not known."""
    n, inputs = scene.batch.samples, scene.batch.inputs
    [x] = [t for t in tree_leaves(inputs) if isinstance(t, Tensor)]
    shape = [1] * x.ndim
    shape[axis] = len(silent)
    other = torch.where(silent.view(shape), x.roll(1, 0), x)
    try:
        one, two = passes(scene.task, [inputs, tree_map_only(Tensor, lambda _: other, inputs)], n)
    except InputError:
        return None
    a, b = one.last(), two.last()
    if a is None or b is None:
        return None
    return not torch.allclose(a, b, rtol=1e-5, atol=1e-6 * float(b.abs().max()))


def _cutting(scene: Scene) -> Op | None:
    """The first call of the model that takes something trained and returns what is not."""
    for op in scene.trace.ops:
        if not op.in_loss and op.name in CUTS and any(t.requires_grad for t in op.tensors):
            return op
    return None


def _choosing(scene: Scene, silent: Tensor) -> Op | None:
    """The call that takes one position of an axis that has as many."""
    for op in reversed(scene.trace.ops):
        if op.in_loss or op.name not in ("__getitem__", "select", "narrow", "index_select") or not op.args:
            continue
        if isinstance(op.args[0], Tensor) and isinstance(op.out, Tensor) and len(silent) in op.args[0].shape:
            return op
    return None


def flat_step(scene: Scene) -> Statistic:
    """Whether a gradient ends at a call whose slope is zero everywhere, as rounding's is."""
    words = "the gradient ends here: the slope of this call is zero everywhere"
    if scene.loss is None or not scene.loss.requires_grad:
        return Statistic(math.nan, (), words)
    for op in scene.trace.ops:
        taken = op.args[0] if op.args else None
        if op.name not in STEPS or not isinstance(taken, Tensor) or not isinstance(op.out, Tensor):
            continue
        if not (taken.requires_grad and op.out.requires_grad) or taken is op.out:
            continue
        slopes = torch.autograd.grad(scene.loss, [op.out, taken], retain_graph=True, allow_unused=True)
        reached, back = (s is not None and bool((s != 0).any()) for s in slopes)
        if reached and not back:
            evidence = (
                {"measure": f"entries of what {op.name} returns that the loss has a slope by",
                 "value": int((slopes[0] != 0).sum())},
                {"measure": "of what it is given", "value": 0},
            )  # fmt: skip
            remedy = (
                f"Leave {op.name} out of training{f' ({op.where})' if op.where else ''}, or pass the gradient by it: "
                f"x + ({op.name}(x) - x).detach()."
            )
            return Statistic(1.0, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0, (), words)
