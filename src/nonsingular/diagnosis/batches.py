"""What the user's batches are: checked once, moved to the model's device, cut into pieces that fit the memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from nonsingular.data import load
from nonsingular.diagnosis.untouched import untouched
from nonsingular.errors import BadData, InputError
from nonsingular.objective import Batch, is_out_of_memory, out_of_memory, taken_by, told
from nonsingular.objective.data import read, refuse_undense
from nonsingular.objective.finite import finite, samples_not_finite
from nonsingular.objective.losses import Evaluated, misfit, no_scalar, said
from nonsingular.objective.models import refuse_unusable
from nonsingular.objective.trees import fresh, tensors
from nonsingular.words import counted

LossFn = Callable[..., Tensor]
BROADCAST = "Using a target size"  # how PyTorch's warning of it begins
FAILURES = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Problem:
    """A model, its loss and the batches it is looked at with: the user's own, not copies, because hooks watch them.

    Attributes:
        model: the user's, as it is.
        loss_fn: of output and target, or of model and batch; None for the model's own.
        batches: checked, on the model's device; those of very few samples put together.
        form: as in ``objective.Objective``.
        sizes: samples of the batches as they were brought.
        whole: whether the model holds a table of sample by sample, so that batches cannot be cut.
    """

    model: nn.Module
    loss_fn: Any
    batches: list[Batch]
    form: str = "output"
    sizes: tuple[int, ...] = ()
    whole: bool = False

    @property
    def samples(self) -> int:
        """Over all batches."""
        return sum(b.samples for b in self.batches)

    @cached_property
    def _evaluated(self) -> Evaluated:
        return Evaluated(self.model, self.loss_fn, self.form)

    @cached_property
    def writes_data(self) -> bool:
        """Whether the model writes over its inputs (a first layer in place), as a pass over two samples shows."""
        first = self.batches[0]
        own = self.few(first, 2).map(fresh)
        before = [t._version for t in tensors(own.whole)]
        with untouched(self.model), suppress(*FAILURES), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=BROADCAST)  # that shapes differ is a finding
            self._evaluated(own)
        return [t._version for t in tensors(own.whole)] != before

    @cached_property
    def compares(self) -> bool:
        """Whether outputs have a column for each sample, as the similarities of in-batch negatives have."""
        first = self.batches[0]
        if self.whole or indivisible(first) or first.samples < 2:
            return False
        shapes = []
        with untouched(self.model), suppress(*FAILURES), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=BROADCAST)
            self.model.eval()
            for samples in (min(first.samples, COMPARED), min(first.samples, COMPARED) - 1):
                output = self._evaluated.output(first.split(samples)[0].map(fresh))
                shapes.append([t.shape for t in tree_leaves(output) if isinstance(t, Tensor) and t.ndim > 1])
        if len(shapes) < 2:
            return False
        return any(a[0] > b[0] and a[1:] != b[1:] for a, b in zip(*shapes, strict=False))

    def _cuts(self, batch: Batch) -> bool:
        """Whether samples of a batch may be looked at without the others."""
        return not (self.whole or self.compares or indivisible(batch))

    def _own(self, batch: Batch) -> Batch:
        """The batch for one pass, which must leave the data as they are."""
        return batch.map(fresh) if self.writes_data else batch

    def output(self, batch: Batch) -> Any:
        """What the model returns.

        Raises:
            InputError: the model fails on it.
        """
        try:
            return self._evaluated.output(self._own(batch))
        except InputError:
            raise
        except FAILURES as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            shapes = ", ".join(str(tuple(t.shape)) for t in tree_leaves(batch.inputs) if isinstance(t, Tensor))
            raise BadData(f"the model fails on inputs of shape {shapes}: {told(error)}{_bytes(batch)}") from error

    def predicted(self, batch: Batch) -> Any:
        """What the model returns in evaluation mode, without a graph."""
        with untouched(self.model), torch.no_grad():
            self.model.eval()
            return self.output(batch)

    def of_output(self, output: Any, target: Any) -> Any:
        """The loss of an output, as ``loss_fn`` gives it."""
        return self._evaluated.of_output(output, target)

    def run(self, batch: Batch, between: Callable[[], None] = lambda: None) -> tuple[Any, Tensor]:
        """The model's output and the loss, a scalar.

        Args:
            batch: of samples.
            between: called when the model has returned, before the loss goes on.

        Raises:
            InputError: the model or the loss fails, or the loss is something else; see ``loss``.
        """
        if self.form == "output":
            output = self.output(batch)
            between()
            return output, self.loss(output, batch)
        seen: list[Any] = []

        def returned(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.append(output)
            between()

        hook = self.model.register_forward_hook(returned)
        try:
            loss = self._scalar(lambda: self._evaluated(self._own(batch)), "the loss", batch)
        finally:
            hook.remove()
        return (seen[-1] if seen else None), loss

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The loss of an output, a scalar; for losses of output and target.

        Raises:
            InputError: loss_fn fails, or returns something else.
        """
        what = f"loss_fn fails on the model's output and the target ({_shape(output)}, {_shape(batch.target)})"
        return self._scalar(lambda: self._evaluated.of_output(output, batch.target), what, batch, output)

    def _scalar(self, compute: Callable[[], Any], what: str, batch: Batch, output: Any = None) -> Tensor:
        try:
            with warnings.catch_warnings():  # that shapes differ is a finding
                warnings.filterwarnings("ignore", message=BROADCAST)
                loss = compute()
        except InputError:
            raise
        except FAILURES as error:
            if is_out_of_memory(error):
                raise out_of_memory(self.batches[0]) from error
            raise BadData(f"{what}: {told(error)}{misfit(output, batch.target)}") from error
        if loss is None:
            none = "the model returns no loss of its own: give loss_fn"
            raise InputError(none if self.loss_fn is None else "loss_fn returns None: let it return the loss")
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise no_scalar(loss, batch)
        return loss.squeeze()

    def few(self, batch: Batch, samples: int) -> Batch:
        """So many samples of a batch; all of it where they hang together."""
        return batch.split(samples)[0] if batch.samples > samples and self._cuts(batch) else batch

    def pieces(self, size: int) -> Iterator[Batch]:
        """The batches, cut into pieces of at most ``size`` samples; a rest of one sample is left out."""
        for batch in self.batches:
            if batch.samples > size and self._cuts(batch):
                yield from (p for p in batch.split(size) if p.samples > 1)
            else:
                yield batch


def problem(model: nn.Module, loss_fn: Any, batches: Any, samples: int) -> Problem:
    """Check what the user brings.

    Args:
        model: with parameters, all on one device.
        loss_fn: (output, target) -> scalar, (model, batch) -> scalar, or None for the model's own.
        batches: as in ``objective.Objective``, read until there are ``samples``.
        samples: at least 2.

    Raises:
        InputError: anything about them that cannot be used.
    """
    refuse_unusable(model)
    form = said(model, loss_fn, None) or "output"
    parameters = dict(model.named_parameters())
    if not sum(p.numel() for p in parameters.values()):
        hidden = next((key for key, value in vars(model).items() if key != "_modules" and _holds_modules(value)), None)
        where = f"self.{hidden} is a plain list or dict: keep modules in nn.ModuleList or nn.ModuleDict"
        hint = where if hidden else "there is nothing to train"
        raise InputError(f"the model has no parameters: {hint}")
    for name, p in parameters.items():
        if p.is_complex():
            raise InputError(
                f"parameter {name} is complex, and a diagnosis needs real ones: keep it as its real and imaginary part "
                "(torch.view_as_real) and put them together in forward (torch.view_as_complex)"
            )
        if not torch.isfinite(p).all():
            raise InputError(f"parameter {name} has NaN or infinite entries: diagnose weights from before that")
    tables = square(model)
    found = list(_read(batches, samples, taken_by(model), tables))
    if sum(b.samples for b in found) < 2:
        raise BadData("at least 2 samples are needed: give batches of (inputs, target) with more samples")
    whole = any(b.samples in tables for b in found)
    return Problem(model, loss_fn, _together(found), form, tuple(b.samples for b in found), whole)


def square(model: nn.Module) -> set[int]:
    """Sides of the square tables that a model holds and does not train, such as a graph's adjacency."""
    held: list[Any] = [*model.buffers()]
    for module in model.modules():
        held += [x for x in vars(module).values() if isinstance(x, Tensor)]
    parameters = {id(p) for p in model.parameters()}
    return {
        t.shape[0] for t in held if id(t) not in parameters and t.ndim >= 2 and t.shape[0] == t.shape[1] and len(t) > 3
    }


def _holds_modules(x: Any) -> bool:
    """Whether this is a plain collection with modules in it, which ``parameters()`` does not see."""
    inside = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return any(isinstance(m, nn.Module) for m in inside)


def _read(batches: Any, samples: int, taken: Callable[[Tensor], Tensor], tables: set[int]) -> Iterator[Batch]:
    seen = 0
    for raw in read(batches):
        refuse_undense(raw)
        batch = raw.map(taken)
        _check(batch)
        if seen + batch.samples > samples and not (batch.samples in tables or indivisible(batch)):
            batch = batch.split(samples - seen)[0]
        yield batch
        seen += batch.samples
        if seen >= samples:
            return


def indivisible(batch: Batch) -> bool:
    """Whether samples hang together by their inputs: a table of sample by sample, or edges, as graphs have them."""
    leaves = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor) and t.ndim]
    square = any(t.ndim > 1 and batch.samples > 3 and t.shape[0] == t.shape[1] == batch.samples for t in leaves)
    return square or any(t.ndim > 1 and t.shape[0] == 2 != batch.samples and not t.is_floating_point() for t in leaves)


COMPARED = 4  # samples of the pass that shows whether outputs compare them
FEW, ENOUGH = 4, 64  # samples: batches smaller than the first are put together up to the second


def _together(batches: list[Batch]) -> list[Batch]:
    """Batches of one or a few samples as larger ones, where shapes agree: what tells samples apart needs several."""
    found: list[Batch] = []
    for batch in batches:
        last = found[-1] if found else None
        joined = None
        if last is not None and batch.samples < FEW and last.samples + batch.samples <= ENOUGH:
            joined = _joined(last, batch)
        if joined is None:
            found.append(batch)
        else:
            found[-1] = joined
    return found


def _joined(a: Batch, b: Batch) -> Batch | None:
    """Both as one; None where their tensors do not go together."""
    (left, spec), (right, other) = (tree_flatten((x.inputs, x.target)) for x in (a, b))
    if spec != other:
        return None
    leaves: list[Any] = []
    for x, y in zip(left, right, strict=True):
        tensors = isinstance(x, Tensor) and isinstance(y, Tensor)
        if tensors and x.ndim and y.ndim and (len(x), len(y)) == (a.samples, b.samples) and x.shape[1:] == y.shape[1:]:
            leaves.append(torch.cat([x, y]))
        elif (tensors and x.shape == y.shape and torch.equal(x, y)) or (not tensors and x == y):
            leaves.append(x)
        else:
            return None
    inputs, target = tree_unflatten(leaves, spec)
    return replace(a, inputs=inputs, target=target, samples=a.samples + b.samples)


def _check(batch: Batch) -> None:
    """Refuse what cannot be looked at: nothing to take, numbers that are none, targets of other samples."""
    tensors = [t for t in tree_leaves(batch.inputs) if isinstance(t, Tensor)]
    if not tensors:
        raise BadData(f"batch {batch.index} has no tensor among its inputs")
    for what, tree in (("inputs", batch.inputs), ("targets", batch.target)):
        if not finite(tree):
            rows = samples_not_finite(tree, batch.samples)
            told = (
                f": {len(rows)} of its {counted(batch.samples, 'sample')}, the first is number {rows[0]}"
                if rows
                else ""
            )
            raise BadData(
                f"the {what} of batch {batch.index} have NaN or infinite entries{told} (counted from 0): mend such "
                "samples or leave them out"
            )
    counts, target = {t.shape[0] for t in tensors if t.ndim}, batch.target
    if batch.pair and isinstance(target, Tensor) and target.ndim and len(counts) == 1 and target.shape[0] not in counts:
        raise BadData(
            f"batch {batch.index} has {counted(counts.pop(), 'input')} but {counted(target.shape[0], 'target')}"
        )


def _bytes(batch: Batch) -> str:
    """What to do about inputs as image files have them, where there are any."""
    raw = any(isinstance(t, Tensor) and t.dtype == torch.uint8 for t in tree_leaves(batch.inputs))
    return "; the inputs are uint8: give floating-point numbers, for images x.float() / 255" if raw else ""


def _shape(x: Any) -> str:
    return f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def samples_for(name: str | None, data_dir: Path | None, steps: int, batch: int) -> int:
    """Training images of a named data set that a diagnosis needs: more where copies are trained, at most 20 000.

    >>> import nonsingular as ns
    >>> look, train = (ns.diagnosis.samples_for("digits", None, steps, batch=64) for steps in (0, 200))
    >>> look <= train
    True
    """
    available = len(load(name or "digits", data_dir).train)
    return min(available, 20_000, max(2000, 2 * steps * batch))
