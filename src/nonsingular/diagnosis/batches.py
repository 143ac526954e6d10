"""What the user's batches are: checked once, moved to the model's device, cut into pieces that fit the memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from nonsingular.data import load
from nonsingular.errors import InputError
from nonsingular.objective import Batch, first_line, is_out_of_memory, out_of_memory

LossFn = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Problem:
    """A model, its loss and the batches it is looked at with.

    Attributes:
        model: the user's, as it is.
        loss_fn: (output, target) -> scalar.
        batches: checked, on the model's device; those of very few samples put together.
        sizes: samples of the batches as they were brought.
    """

    model: nn.Module
    loss_fn: LossFn
    batches: list[Batch]
    sizes: tuple[int, ...] = ()

    @property
    def samples(self) -> int:
        """Over all batches."""
        return sum(b.samples for b in self.batches)

    def output(self, batch: Batch) -> Any:
        """What the model returns.

        Raises:
            InputError: the model fails on it.
        """
        try:
            if isinstance(batch.inputs, Mapping):
                return self.model(**batch.inputs)
            return self.model(*batch.inputs) if isinstance(batch.inputs, tuple) else self.model(batch.inputs)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            shapes = ", ".join(str(tuple(t.shape)) for t in tree_leaves(batch.inputs) if isinstance(t, Tensor))
            raise InputError(f"the model fails on inputs of shape {shapes}: {first_line(error)}") from error

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The loss, a scalar that depends on parameters.

        Raises:
            InputError: loss_fn fails, or returns something else.
        """
        try:
            with warnings.catch_warnings():  # that shapes differ is a finding
                warnings.filterwarnings("ignore", message="Using a target size")
                loss = self.loss_fn(output, batch.target)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
            raise InputError(
                f"loss_fn fails on the model's output and the target ({_shape(output)}, {_shape(batch.target)}): "
                f"{first_line(error)}"
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"loss_fn must return a scalar tensor, got {what}; reduce it, for example by .mean()")
        return loss.squeeze()

    def pieces(self, size: int) -> Iterator[Batch]:
        """The batches, cut into pieces of at most ``size`` samples; a rest of one sample is left out."""
        for batch in self.batches:
            if batch.samples > size and not indivisible(batch):
                yield from (p for p in batch.split(size) if p.samples > 1)
            else:
                yield batch


def problem(model: nn.Module, loss_fn: LossFn, batches: Iterable[tuple[Any, Any]], samples: int) -> Problem:
    """Check what the user brings.

    Args:
        model: with parameters, all on one device.
        loss_fn: (output, target) -> scalar.
        batches: pairs (inputs, target), read until there are ``samples``; inputs are a tensor, a tuple or a dictionary.
        samples: at least 2.

    Raises:
        InputError: anything about them that cannot be used.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not callable(loss_fn):
        raise InputError(f"loss_fn must be callable as loss_fn(output, target), got {type(loss_fn).__name__}")
    parameters = dict(model.named_parameters())
    lazy = [name for name, p in parameters.items() if isinstance(p, UninitializedParameter)]
    if lazy:
        raise InputError(f"parameter {lazy[0]} has no shape yet: run the model once on a batch before the diagnosis")
    if not sum(p.numel() for p in parameters.values()):
        hidden = next((key for key, value in vars(model).items() if key != "_modules" and _holds_modules(value)), None)
        where = f"self.{hidden} is a plain list or dict: keep modules in nn.ModuleList or nn.ModuleDict"
        hint = where if hidden else "there is nothing to train"
        raise InputError(f"the model has no parameters: {hint}")
    devices = {p.device for p in parameters.values()}
    if len(devices) > 1 or next(iter(devices)).type == "meta":
        raise InputError(
            f"the model's parameters are on {' and '.join(sorted(map(str, devices)))}; move it to one device"
        )
    for name, p in parameters.items():
        if not torch.isfinite(p).all():
            raise InputError(f"parameter {name} has NaN or infinite entries: diagnose weights from before that")
    found = list(_read(batches, samples, next(iter(devices))))
    if sum(b.samples for b in found) < 2:
        raise InputError("at least 2 samples are needed: give batches of (inputs, target) with more samples")
    return Problem(model, loss_fn, _together(found), tuple(b.samples for b in found))


def _holds_modules(x: Any) -> bool:
    """Whether this is a plain collection with modules in it, which ``parameters()`` does not see."""
    inside = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return any(isinstance(m, nn.Module) for m in inside)


def _read(batches: Any, samples: int, device: torch.device) -> Iterator[Batch]:
    if isinstance(batches, tuple) and len(batches) == 2 and isinstance(batches[0], Tensor):
        batches = [batches]
    try:
        pairs = iter(batches)
    except TypeError:
        raise InputError(f"batches must be an iterable of (inputs, target), got {type(batches).__name__}") from None
    seen = 0
    for index, pair in enumerate(pairs):
        batch = _batch(pair, index, device)
        if seen + batch.samples > samples and not indivisible(batch):
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
    return Batch(inputs, target, a.samples + b.samples)


def _batch(pair: Any, index: int, device: torch.device) -> Batch:
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise InputError(f"batch {index} must be a pair (inputs, target), got {type(pair).__name__}")
    inputs, target = (tree_map_only(Tensor, lambda t: t.detach().to(device), x) for x in pair)
    tensors = [t for t in tree_leaves(inputs) if isinstance(t, Tensor)]
    if not tensors:
        raise InputError(f"batch {index} has no tensor among its inputs")
    for what, leaves in (("inputs", tensors), ("target", tree_leaves(target))):
        for t in leaves:
            if isinstance(t, Tensor) and t.is_floating_point() and not torch.isfinite(t).all():
                raise InputError(f"the {what} of batch {index} have NaN or infinite entries")
    counts = {t.shape[0] for t in tensors if t.ndim}
    rows = tensors[0].shape[0] if tensors[0].ndim else 1
    if not rows:
        raise InputError(f"batch {index} is empty")
    if isinstance(target, Tensor) and target.ndim and target.shape[0] != rows and len(counts) == 1:
        raise InputError(f"batch {index} has {rows} inputs but {target.shape[0]} targets")
    return Batch(tuple(inputs) if isinstance(inputs, list) else inputs, target, rows)


def _shape(x: Any) -> str:
    return f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def samples_for(name: str | None, data_dir: Path | None, steps: int, batch: int) -> int:
    """Training images of a named data set that a diagnosis needs: more where copies are trained, at most 20 000."""
    available = len(load(name or "digits", data_dir).train)
    return min(available, 20_000, max(2000, 2 * steps * batch))
