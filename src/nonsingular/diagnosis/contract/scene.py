"""One traced pass of model and loss on a few samples: what every check of the contract reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import DIFFERENCES, PRODUCTS, QUOTIENTS, TURNED_DIFFERENCES
from nonsingular.diagnosis.batches import Problem, indivisible
from nonsingular.diagnosis.contract.trace import Op, Trace
from nonsingular.diagnosis.course import joined
from nonsingular.diagnosis.untouched import as_evaluated, as_training, untouched
from nonsingular.diagnosis.values import is_binary
from nonsingular.errors import InputError
from nonsingular.objective import Batch

SAMPLES = 64
LARGE = 5_000_000  # parameters, from where fewer samples must do
FEW = 4

DISTANCES = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
LOGITS = {"cross_entropy", "binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"}
LOG_PROBABILITIES = {"nll_loss", "kl_div", "ctc_loss"}
PROBABILITIES = {"binary_cross_entropy"}
MARGINS = {"soft_margin_loss", "hinge_embedding_loss"}
LOSSES = DISTANCES | LOGITS | LOG_PROBABILITIES | PROBABILITIES | MARGINS | {"poisson_nll_loss", "gaussian_nll_loss"}
MEETINGS = DIFFERENCES | TURNED_DIFFERENCES | PRODUCTS | QUOTIENTS | {"dist", "eq"}


@dataclass(frozen=True)
class Pair:
    """A prediction and what it is compared with, by a distance.

    Attributes:
        prediction, target: tensors that meet in ``op``.
        op: a loss of PyTorch, or a difference that the user's loss takes.
    """

    prediction: Tensor
    target: Tensor
    op: Op


@dataclass(frozen=True)
class Scene:
    """What was traced.

    Attributes:
        task: model, loss and batches.
        batch: of the pass.
        trace: the calls.
        output: what the model returned.
        loss: its value with its graph; None where the loss failed.
        failure: why it did.
    """

    task: Problem
    batch: Batch
    trace: Trace
    output: Any
    loss: Tensor | None
    failure: InputError | None = None

    @cached_property
    def calls(self) -> list[Op]:
        """Losses of PyTorch that compare something the parameters made."""
        return [op for op in self.trace.ops if op.name in LOSSES and op.args and _trained(op.args[0])]

    @cached_property
    def swapped(self) -> list[Op]:
        """Losses of PyTorch that got something trained for their target, and nothing trained for their input."""
        return [
            op for op in self.trace.ops
            if op.name in LOSSES - DISTANCES and _trained(op.given(1, "target")) and not _trained(op.given(0, "input"))
        ]  # fmt: skip

    @cached_property
    def pairs(self) -> list[Pair]:
        """Predictions and targets that a distance compares, in a loss of PyTorch or by a difference."""
        found = [
            Pair(op.args[0], target, op)
            for op in self.calls
            if op.name in DISTANCES and isinstance(target := op.given(1, "target"), Tensor)
        ]
        return found or [p for p in self.meetings if p.op.name in DIFFERENCES | TURNED_DIFFERENCES]

    @cached_property
    def meetings(self) -> list[Pair]:
        """Where the user's loss combines something trained with something of the target, element by element."""
        known = {id(t) for t in tree_leaves(self.batch.target) if isinstance(t, Tensor)}
        found = []
        for op in self.trace.ops:
            if not op.in_loss:
                continue
            tensors = op.tensors
            if any(id(t) in known and not t.requires_grad for t in tensors):
                known |= {id(t) for t in tree_leaves(op.out) if isinstance(t, Tensor) and not t.requires_grad}
            if op.name in MEETINGS and len(tensors) == 2 and op.out is not None:
                trained = [t for t in tensors if _trained(t)]
                targets = [t for t in tensors if id(t) in known and not t.requires_grad]
                if len(trained) == len(targets) == 1 and trained[0].ndim:
                    found.append(Pair(trained[0], targets[0], op))
        return found

    @property
    def loss_place(self) -> str:
        """Where the loss is made; "" where no call of the user's made it."""
        op = self.trace.source(self.loss)
        return op.where if op is not None else ""

    @cached_property
    def every_class(self) -> Scene:
        """The pass on samples of all classes that the batches have; this one where it has them, or they are unknown."""
        whole = self.labels
        if whole is None or indivisible(self.batch) or self.task.whole:
            return self
        own = labels_of(self.batch)
        missing = whole.unique() if own is None else [c for c in whole.unique() if not bool((own == c).any())]
        if not len(missing):
            return self
        first = torch.stack([(whole == c).nonzero()[0, 0] for c in whole.unique()])
        rest = torch.arange(len(whole), device=whole.device)
        rows = torch.cat([first, rest[~torch.isin(rest, first)]])[: self.batch.samples]
        try:
            return traced(self.task, joined(self.task.batches).take(rows, len(rows)))
        except InputError:
            return self

    @cached_property
    def labels(self) -> Tensor | None:
        """The class of each sample of all batches, as numbers; None where targets are none, or one."""
        each = [labels_of(b) for b in self.task.batches]
        known = [t for t in each if t is not None]
        return torch.cat(known) if known and len(known) == len(each) else None

    @cached_property
    def reads_target(self) -> bool:
        """Whether the loss reads what the batch has for a target."""
        targets = [t for t in tree_leaves(self.batch.target) if isinstance(t, Tensor)]
        memory = {t.untyped_storage().data_ptr() for t in targets}
        return any(
            t.untyped_storage().data_ptr() in memory
            for op in self.trace.ops if op.in_loss for t in op.tensors if not t.is_sparse
        )  # fmt: skip

    @cached_property
    def entrance(self) -> tuple[str, ...]:
        """The module that takes the inputs first; none where a line of the model does."""
        given = {id(t) for t in tree_leaves(self.batch.inputs) if isinstance(t, Tensor)}
        op = next((op for op in self.trace.ops if any(id(t) in given for t in op.tensors)), None)
        return op.layers if op is not None else ()

    def outputs(self, most: int = 256) -> tuple[Tensor, Tensor] | None:
        """Outputs and targets of more samples, where both are one tensor; samples first."""
        outs, targets, seen = [], [], 0
        with untouched(self.task.model), as_training(self.task.model), torch.no_grad():
            for batch in self.task.batches:
                for piece in batch.split(SAMPLES):
                    if seen >= most or (seen and piece.samples < 2):
                        break
                    out, target = _single(self.task.output(piece)), _single(piece.target)
                    if out is None or target is None:
                        return None
                    outs.append(out)
                    targets.append(target)
                    seen += piece.samples
        try:
            return torch.cat(outs), torch.cat(targets)
        except RuntimeError:  # lengths differ
            return outs[0], targets[0]


def scene(task: Problem) -> Scene:
    """Trace model and loss as training runs them, dropout off.

    Raises:
        InputError: the model fails.
    """
    size = sum(p.numel() for p in task.model.parameters())
    wanted = FEW if size > LARGE else SAMPLES
    whole = task.batches[0]
    few = task.few(whole, wanted)
    try:
        return traced(task, few)
    except InputError:
        if few is whole:
            raise
        return traced(task, whole)  # a model that takes this many samples only


def traced(task: Problem, batch: Batch) -> Scene:
    """The pass on this batch; see ``scene``."""
    trace = Trace(task.model)
    _ = task.writes_data  # found out by a pass of its own, which must not be traced
    with untouched(task.model), as_training(task.model), torch.enable_grad(), trace:
        if task.form != "output":
            return Scene(task, batch, trace, *task.run(batch, trace.enter_loss))
        output = task.output(batch)
        trace.enter_loss()
        try:
            return Scene(task, batch, trace, output, task.loss(output, batch))
        except InputError as failure:
            return Scene(task, batch, trace, output, None, failure)


def passes(task: Problem, inputs: list[Any], samples: int) -> Iterator[Trace]:
    """Traces of the model alone, in evaluation mode, on several inputs of the same shapes."""
    for one in inputs:
        trace = Trace(task.model)
        with untouched(task.model), torch.no_grad():
            as_evaluated(task.model, lambda: task.output(Batch(inputs[0], None, samples, pair=False)))
            with trace:
                task.output(Batch(one, None, samples, pair=False))
        yield trace


def labels_of(batch: Batch) -> Tensor | None:
    """The class of each sample of a batch, the first of its targets that are whole numbers, or zeros and ones."""
    for t in tree_leaves(batch.target):
        if isinstance(t, Tensor) and t.ndim and t.numel() == len(t) == batch.samples and not t.is_complex():
            flat = t.detach().flatten()
            if not flat.is_floating_point() or is_binary(flat):
                return flat.long()
    return None


def _trained(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _single(x: Any) -> Tensor | None:
    x = getattr(x, "logits", x)
    leaves = [t for t in tree_leaves(x) if isinstance(t, Tensor)]
    return leaves[0] if len(leaves) == 1 and leaves[0].ndim else None
