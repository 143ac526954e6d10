"""One look at a network on the user's own batches: every measure, layer by layer, in bounded memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular import checks, measures, progress
from nonsingular.checks import checked
from nonsingular.diagnosis import weights
from nonsingular.diagnosis.batches import LossFn, Problem, problem
from nonsingular.diagnosis.methods import called_apart
from nonsingular.diagnosis.outputs import Outputs
from nonsingular.diagnosis.paths import bypassed
from nonsingular.diagnosis.records import Layer, Look, Parameter
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.diagnosis.values import evenly
from nonsingular.diagnosis.watch import Watch, Watched
from nonsingular.errors import InputError
from nonsingular.objective import Batch, first_line, is_out_of_memory

SMALL_DIRECTION = 1e-3


@checked
@dataclass(frozen=True)
class Budget:
    """What a look may cost.

    Attributes:
        samples: of the batches, at most.
        seconds: after which no further piece of the batches is begun.
        memory: bytes that autograd may keep of one piece; a piece has two samples at least.
        rows: responses kept per layer, over all pieces.
        units: of a layer, spread evenly, whose responses and weights are compared with each other.

    >>> import nonsingular as ns
    >>> ns.diagnosis.Budget(samples=128, seconds=10).samples
    128
    """

    samples: int = 512
    seconds: float = 60.0
    memory: int = 1 << 30
    rows: int = 512
    units: int = 128

    def __post_init__(self) -> None:
        checks.at_least(1, samples=self.samples, memory=self.memory, rows=self.rows, units=self.units)
        if not self.seconds >= 0:
            raise InputError(f"seconds must be at least 0, got {self.seconds}")


@checked
def look(
    model: nn.Module,
    loss_fn: LossFn | None,
    batches: Iterable[tuple[Any, Any]],
    budget: Budget | None = None,
) -> Look:
    """Measure a network as training sees it: normalisations by the batch's statistics, dropout off.

    The model's modes, buffers, hooks, ``.grad`` and ``requires_grad``, and the random states, are as before afterwards.

    Args:
        model: any module with parameters on one device.
        loss_fn: (output, target) -> scalar, a mean over samples; (model, batch) -> scalar; None for the model's own.
        batches: pairs (inputs, target); inputs are a tensor, or a tuple or dictionary of what the model takes.
        budget: bounds of memory and time.

    Raises:
        InputError: a model, loss or batches that cannot be used; see ``batches.problem``.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(6, 3), (torch.randn(60, 6), torch.arange(60) % 3)
    >>> ns.diagnosis.look(model, torch.nn.functional.cross_entropy, [batch]).complete
    True
    """
    budget = budget or Budget()
    model = getattr(model, "_orig_mod", model)  # compiled modules compute elsewhere than where hooks see it
    task = problem(model, loss_fn, batches, budget.samples)
    began = time.perf_counter()
    with untouched(model), as_training(model):
        piece, kept = _piece_size(task, budget.memory)
        rows = max(1, budget.rows * min(piece, task.samples) // task.samples)
        watch, passes = Watch(model, rows, budget.units), _Passes(task)
        with torch.enable_grad(), watch, progress.stretch("looking at the network", task.samples, "samples"):
            for batch in task.pieces(piece):
                watch.start(batch.samples)
                passes.add(batch, watch)
                progress.count("samples", batch.samples)
                if time.perf_counter() - began > budget.seconds:
                    break
            progress.expect("samples", passes.samples)
    for seen in list(watch.watched.values())[-1:]:
        seen.after.samples = 0  # what a readout's activation makes of it is nobody's input
    with untouched(model):
        model.eval()  # reading a weight under spectral normalisation moves its buffers in train mode
        layers = _waiting([_layer(seen, passes, budget) for seen in watch.watched.values()])
    norm, rank = _inputs(task, budget)
    return Look(
        layers=layers,
        norms={n.name: (n.before.spread, n.after.spread, n.position) for n in watch.norms.values()},
        parameters=passes.parameters(),
        outputs=passes.outputs.statistics(),
        input_norm=norm,
        input_rank=rank,
        samples=passes.samples,
        seconds=time.perf_counter() - began,
        piece=piece,
        kept_bytes=kept,
        profiles={name: profile(torch.cat(list(seen.rows.values()))) for name, seen in watch.watched.items()},
        complete=passes.samples >= task.samples - 1,
        not_finite=passes.not_finite,
    )


class _Passes:
    """The forward and backward passes, and what they say of parameters and outputs."""

    def __init__(self, task: Problem) -> None:
        self._task = task
        self._named = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
        self._norms = dict.fromkeys(self._named, 0.0)
        self._reached: set[str] = set()
        self.unit_gradients: dict[int, Tensor] = {}  # of squares, by id of the parameter
        self.outputs = Outputs()
        self.around: dict[str, bool] = {}
        self.samples = 0
        self.not_finite: Batch | None = None

    def add(self, batch: Batch, watch: Watch) -> None:
        output, loss = self._task.run(batch, watch.end)
        watch.end()  # of a loss that calls parts of the model, and never the whole
        self.outputs.add(output, batch, loss)
        if not self.samples and loss.grad_fn is not None:
            nodes = {name: seen.node for name, seen in watch.watched.items()}
            self.around = bypassed(loss.grad_fn, nodes, watch.sources)
            watch.sources.clear()
            for seen in watch.watched.values():
                seen.node = None
        fine = bool(torch.isfinite(loss))
        if loss.requires_grad:
            fine &= self._differentiate(loss, batch.samples)
        if not fine and self.not_finite is None:
            self.not_finite = batch
        self.samples += batch.samples

    def _differentiate(self, loss: Tensor, samples: int) -> bool:
        """Take the gradient; whether all of it is finite."""
        fine = True
        gradients = _gradients(loss, list(self._named.values()))
        for (name, p), g in zip(self._named.items(), gradients, strict=True):
            if g is None:
                continue
            self._reached.add(name)
            norm = float(torch.linalg.vector_norm(g, dtype=torch.float64))
            fine &= math.isfinite(norm)
            self._norms[name] += samples * norm
            if p.ndim >= 2:
                total = self.unit_gradients.get(id(p))
                # Only whether anything arrived matters, so one byte an entry is enough.
                arrived = g != 0
                self.unit_gradients[id(p)] = arrived if total is None else total | arrived
        return fine

    def gradient_norm(self, p: Tensor) -> float:
        """Mean over pieces of the norm of a parameter's gradient, NaN where it has none."""
        names = [name for name, q in self._named.items() if q is p]
        return self._norms[names[0]] / max(self.samples, 1) if names and names[0] in self._reached else math.nan

    def parameters(self) -> list[Parameter]:
        aliases: dict[int, list[str]] = {}
        for name, p in self._task.model.named_parameters(remove_duplicate=False):
            aliases.setdefault(id(p), []).append(name)
        apart = called_apart(self._task.model)
        return [
            Parameter(
                name,
                p.numel(),
                frozen=not p.requires_grad,
                unused=p.requires_grad and name not in self._reached,
                zero_gradient=name in self._reached and self._norms[name] == 0,
                zero=not bool(p.detach().any()),
                tied=tuple(aliases[id(p)][1:]),
                trained=not p.requires_grad
                and weights.trained(p, self._task.model.get_submodule(name.rpartition(".")[0])),
                apart=name.split(".")[0] in apart,
            )
            for name, p in self._task.model.named_parameters()
        ]


def _gradients(loss: Tensor, parameters: list[Tensor]) -> tuple[Tensor | None, ...]:
    try:
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(f"the loss has no gradient: {first_line(error)}") from error


def _layer(seen: Watched, passes: _Passes, budget: Budget) -> Layer:
    peak = torch.stack(list(seen.peaks.values())).amax(0)
    samples = seen.output.samples
    responses = torch.cat(list(seen.rows.values()))
    rectified = seen.activation in ("relu", "relu6", "threshold")
    measured = weights.compare(seen.module, seen.units, passes.unit_gradients, budget.units)
    weight = measured.pop("weight", None)
    gradient = passes.gradient_norm(weight) if isinstance(weight, Tensor) else math.nan
    size = float(weight.detach().norm()) if isinstance(weight, Tensor) else math.nan
    finite = seen.finite and bool(torch.isfinite(responses).all())
    return Layer(
        name=seen.name,
        kind=type(seen.module).__name__,
        units=seen.units,
        activation=seen.activation or "",
        normalised=seen.normalised,
        bypassed=passes.around.get(seen.name),
        signal=seen.through.norm,
        output=seen.output.norm,
        spread=seen.through.spread,
        gradient=seen.gradient_norm,
        dead=float((peak <= 1e-6 * peak.max()).float().mean()) if seen.activation and finite else math.nan,
        zero_response=seen.zeros / samples if rectified else math.nan,
        saturated=seen.saturated / samples if seen.activation in ("tanh", "sigmoid") else math.nan,
        update=gradient / size if size else math.nan,
        finite=finite,
        **(_representation(responses) if finite else {}),
        **measured,
    )


def _waiting(layers: list[Layer]) -> list[Layer]:
    """Zero weights that wait for a later layer of zero weights to make its first step are not eliminated."""
    learning = [i for i, layer in enumerate(layers) if layer.weight_norm == 0 and layer.eliminated == 0]
    last = max(learning, default=-1)
    return [
        replace(layer, eliminated=math.nan) if i < last and layer.gradient == 0 and layer.eliminated > 0 else layer
        for i, layer in enumerate(layers)
    ]


def _representation(rows: Tensor) -> dict[str, float]:
    if rows.shape[1] < 2 or len(rows) < 3:
        return {}
    return {
        "linear_dependence": float(measures.linear_dependence(rows)),
        "effective_rank": float(measures.effective_rank(rows)),
        "directions": _directions(rows),
        "condition_number": float(measures.condition_number(rows)),
    }


def profile(rows: Tensor, points: int = 24) -> list[float]:
    """How fast a representation's directions get small: singular values of the centred responses over the largest."""
    if not torch.isfinite(rows).all() or rows.shape[1] < 2:
        return []
    values = torch.linalg.svdvals((rows - rows.mean(0)).double())
    if not values[0] > 0:
        return []
    return (values / values[0])[evenly(len(values), points)].tolist()


def _directions(rows: Tensor) -> float:
    values = torch.linalg.svdvals((rows - rows.mean(0)).double())
    return float((values > SMALL_DIRECTION * values[0]).sum())


def _inputs(task: Problem, budget: Budget) -> tuple[float, float]:
    """Root mean square and effective rank; NaN for tokens."""
    first = [t for t in tree_leaves(task.batches[0].inputs) if isinstance(t, Tensor)]
    if not first[0].is_floating_point():
        return math.nan, math.nan
    size = first[0][0].numel()
    picked = evenly(size, 4 * budget.units)
    tensors = [t for b in task.batches if (t := tree_leaves(b.inputs)[0]).shape[1:] == first[0].shape[1:]]
    rows = torch.cat([t.flatten(1)[:, picked.to(t.device)].float().cpu() for t in tensors if t.ndim > 1])
    if not rows.numel():
        return math.nan, math.nan
    norm = float(torch.cat([t.double().square().flatten() for t in tensors]).mean().sqrt())
    return norm, float(measures.effective_rank(rows))


def _piece_size(task: Problem, memory: int) -> tuple[int, int]:
    """How many samples may pass at a time, by what autograd keeps of two; and the bytes it will keep."""
    two = task.few(task.batches[0], 2)
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in task.model.parameters()}

    def keep(t: Tensor) -> Tensor:
        if t.untyped_storage().data_ptr() not in own:  # by its own size: inputs are slices of larger storages
            kept[t.data_ptr()] = max(kept.get(t.data_ptr(), 0), t.numel() * t.element_size())
        return t

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        task.run(two)
    a_sample = max(1, sum(kept.values()) // max(two.samples, 1))
    size = max(2, min(task.samples, memory // a_sample))
    return size, size * a_sample
