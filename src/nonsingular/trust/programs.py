"""Whole programs as people write them: a model, a loss and batches that fit one another, put together by choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.trust.layers import Shape, layer
from nonsingular.trust.pick import Pick, at_random

Batches = list[tuple[Any, Any]]
DTYPES = (torch.float64, torch.float32, torch.float64, torch.bfloat16, torch.float16)
INPUTS = ("vector", "tokens", "image", "sequence", "signal", "volume", "time-first", "dictionary", "pair")
SIZES = ((5,), (4, 3), (4, 4, 1), (1,), (1, 1), (2, 5))  # of batches
VOCABULARY = 6


@dataclass(frozen=True)
class Program:
    """What a person would bring.

    Attributes:
        model: in the mode and precision it is to be judged in.
        loss_fn: of (output, target), or of (model, batch).
        batches: (inputs, target), or dictionaries.
        reduction: ``mean`` or ``sum``.
        mass: what a batch weighs in the mean over all data; None where batches count alike.
        of_model: whether the loss is one of (model, batch).
        words: what was put together.
    """

    model: nn.Module
    loss_fn: Callable[..., Tensor]
    batches: Batches
    reduction: str
    mass: Callable[[Any], float] | None
    words: str
    of_model: bool = False


@dataclass(frozen=True)
class Task:
    """A loss and the targets that it takes.

    Attributes:
        name: of the loss.
        outputs: of the network for one sample (or token).
        loss: of (output, target).
        target: (samples, generator) -> target.
        reduction: as ``Program``.
        mass: as ``Program``.
    """

    name: str
    outputs: int
    loss: Callable[[Any, Any], Tensor]
    target: Callable[[tuple[int, ...], torch.Generator], Tensor]
    reduction: str = "mean"
    mass: Callable[[Tensor], float] | None = lambda target: float(len(target))


class Net(nn.Module):
    """Layers one after another between a front and a head."""

    def __init__(self, front: nn.Module | None, body: Sequence[nn.Module], head: nn.Module | None, form: str) -> None:
        super().__init__()
        self.front, self.body, self.head, self.form = front, nn.ModuleList(body), head, form

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Any:  # noqa: D102
        if self.form == "time-first":
            x = x.transpose(0, 1)
        x = x if self.front is None else self.front(x)
        x = x if scale is None else x * scale
        for module in self.body:
            x = module(x)
        x = x if self.head is None else self.head(x)
        return {"logits": x, "hidden": 2 * x} if self.form == "dictionary" else x


def seeded(seed: int) -> Program:
    """The program of a seed."""
    return program(at_random(seed))


def program(pick: Pick) -> Program:
    """Put a program together. Weights and data are drawn from one fixed seed: the choices alone decide what it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _program(pick)


def _program(pick: Pick) -> Program:
    generator = torch.Generator().manual_seed(1)
    kind, sizes, dtype = pick(INPUTS), pick(SIZES), pick(DTYPES)
    shape, front = _inputs(kind)
    body = []
    for _ in range(pick((1, 2, 3, 4))):
        made, shape = layer(pick, shape)
        body.append(made)
    per_token = shape.kind == "sequence" and pick((False, True))
    task = _task(pick, per_token)
    model = Net(front, body, _head(shape, task.outputs, per_token), kind)
    if pick((False, False, True)):
        model = _tied(model)
    model.to(dtype).train(pick((False, True)))
    lead = (shape.sizes[0],) if per_token else ()
    batches = [(_example(kind, n, dtype, generator), _cast(task.target((n, *lead), generator), dtype)) for n in sizes]
    made_of = [str(m).replace("\n", " ") for m in (front, *body, model.head) if m is not None]
    words = f"{' > '.join(made_of)}; {task.name}; batches of {', '.join(map(str, sizes))}; {kind}; {dtype}; " + (
        "train" if model.training else "eval"
    )
    found = Program(model, _of(task, kind), batches, task.reduction, _mass(task), words)
    return pick((_as_it_is, _as_it_is, _penalised, _as_dictionaries))(found, task)


# --- inputs and heads ---------------------------------------------------------------------------------------


def _inputs(kind: str) -> tuple[Shape, nn.Module | None]:
    if kind == "tokens":
        return Shape("sequence", (4, 3)), nn.Embedding(VOCABULARY, 3, padding_idx=0)
    shapes = {
        "image": Shape("image", (2, 4, 4)), "signal": Shape("signal", (2, 6)), "volume": Shape("volume", (1, 3, 3, 3)),
        "sequence": Shape("sequence", (4, 2)), "time-first": Shape("sequence", (4, 2)),
    }  # fmt: skip
    return shapes.get(kind, Shape("vector", (4,))), None


def _example(kind: str, n: int, dtype: torch.dtype, generator: torch.Generator) -> Any:
    if kind == "tokens":
        return torch.randint(0, VOCABULARY, (n, 4), generator=generator)
    shape = _inputs(kind)[0].sizes
    x = torch.randn((n, *shape), generator=generator, dtype=torch.float64).to(dtype)
    if kind == "time-first":
        return x.transpose(0, 1).contiguous()
    if kind == "dictionary":
        return {"x": x, "scale": torch.rand(n, 1, generator=generator, dtype=torch.float64).to(dtype)}
    if kind == "pair":
        return (x, torch.rand(n, 1, generator=generator, dtype=torch.float64).to(dtype))
    return x


def _head(shape: Shape, outputs: int, per_token: bool) -> nn.Module:
    if per_token:
        return nn.Linear(shape.sizes[-1], outputs)
    size = 1
    for s in shape.sizes:
        size *= s
    return nn.Sequential(nn.Flatten(), nn.Linear(size, outputs))


def _tied(model: Net) -> Net:
    """The first two linear maps of one shape share their weight."""
    linear = [m for m in model.modules() if type(m) is nn.Linear and isinstance(m.weight, nn.Parameter)]
    for i, first in enumerate(linear):
        for second in linear[i + 1 :]:
            if first.weight.shape == second.weight.shape:
                second.weight = first.weight
                return model
    return model


def _cast(target: Tensor, dtype: torch.dtype) -> Tensor:
    return target.to(dtype) if target.is_floating_point() else target


# --- losses -------------------------------------------------------------------------------------------------


def _classes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 3, shape, generator=generator)


def _ignoring(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    target = _classes(shape, generator)
    return target.masked_fill(torch.rand(shape, generator=generator) < 0.3, -100)


def _numbers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn((*shape, 3), generator=generator, dtype=torch.float64)


def _positive(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return _numbers(shape, generator).abs().round()


def _bits(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return (torch.rand((*shape, 3), generator=generator, dtype=torch.float64) > 0.5).double()


def _last(z: Tensor) -> Tensor:
    """Classes in the second axis, as losses of sequences take them."""
    return z.movedim(-1, 1)


WEIGHTS = (0.5, 1.0, 3.0)


def _class_weights(z: Tensor) -> Tensor:
    return torch.tensor(WEIGHTS, dtype=z.dtype)


def _weighed(target: Tensor) -> float:
    return float(torch.tensor(WEIGHTS, dtype=torch.float64)[target].sum())


def _valid(target: Tensor) -> float:
    return float((target != -100).sum())


def _task(pick: Pick, per_token: bool) -> Task:
    tasks = [
        Task("mse", 3, F.mse_loss, _numbers),
        Task("cross-entropy", 3, lambda z, y: F.cross_entropy(_last(z), y), _classes),
        Task("cross-entropy, smoothed", 3, lambda z, y: F.cross_entropy(_last(z), y, label_smoothing=0.1), _classes),
        Task("cross-entropy, weights", 3, lambda z, y: F.cross_entropy(_last(z), y, _class_weights(z)), _classes,
             mass=_weighed),
        Task("cross-entropy, ignored", 3, lambda z, y: F.cross_entropy(_last(z), y), _ignoring, mass=_valid),
        Task("nll of log_softmax", 3, lambda z, y: F.nll_loss(_last(z.log_softmax(-1)), y), _classes),
        Task("bce", 3, F.binary_cross_entropy_with_logits, _bits),
        Task("bce of sigmoid", 3, lambda z, y: F.binary_cross_entropy(torch.sigmoid(z), y), _bits),
        Task("huber", 3, lambda z, y: F.huber_loss(z, y, delta=0.5), _numbers),
        Task("smooth l1", 3, F.smooth_l1_loss, _numbers),
        Task("poisson", 3, F.poisson_nll_loss, _positive),
        Task("sum of squares", 3, lambda z, y: (z - y).square().sum(), _numbers, "sum", None),
        Task("squares by hand", 3, lambda z, y: ((z - y) ** 2).sum(-1).mean(), _numbers),
        Task("cross-entropy, summed", 3, lambda z, y: F.cross_entropy(_last(z), y, reduction="sum"), _classes, "sum",
             None),
        Task("cosine", 3, lambda z, y: 1 - F.cosine_similarity(z, y, dim=-1).mean(), _numbers),
        Task("gaussian", 6, _gaussian, _numbers),
        Task("root of mse", 3, lambda z, y: F.mse_loss(z, y).sqrt(), _numbers, mass=None),
    ]  # fmt: skip
    if not per_token:
        tasks += [
            Task("multi-margin", 3, F.multi_margin_loss, _classes),
            Task("ctc", 9, _ctc, lambda shape, g: torch.randint(1, 3, (shape[0], 2), generator=g)),
        ]
    return pick(tasks)


def _gaussian(z: Tensor, y: Tensor) -> Tensor:
    mean, spread = z.chunk(2, dim=-1)
    return F.gaussian_nll_loss(mean, y, F.softplus(spread) + 0.1)


def _ctc(z: Tensor, y: Tensor) -> Tensor:
    scores = z.view(len(z), 3, 3).transpose(0, 1).log_softmax(-1)
    lengths = torch.full((len(z),), 3), torch.full((len(z),), 2)
    return F.ctc_loss(scores, y, *lengths, zero_infinity=True)


def _of(task: Task, kind: str) -> Callable[[Any, Any], Tensor]:
    return (lambda output, target: task.loss(output["logits"], target)) if kind == "dictionary" else task.loss


def _mass(task: Task) -> Callable[[Any], float] | None:
    mass = task.mass
    return None if mass is None else lambda batch: mass(batch[1])


# --- how it is brought --------------------------------------------------------------------------------------


def _as_it_is(found: Program, task: Task) -> Program:
    return found


def _penalised(found: Program, task: Task) -> Program:
    """The loss of a model and a batch, with a penalty on all weights."""
    inner = found.loss_fn

    def loss(model: nn.Module, batch: tuple[Any, Any]) -> Tensor:
        inputs, target = batch
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        output = model(**inputs) if isinstance(inputs, dict) else model(*given)
        return inner(output, target) + 0.05 * torch.stack([p.square().sum() for p in model.parameters()]).sum()

    return replace(found, loss_fn=loss, of_model=True, words=f"{found.words}; penalty")


def _as_dictionaries(found: Program, task: Task) -> Program:
    """Batches as a collator gives them."""
    if not all(isinstance(x, Tensor) for x, _ in found.batches):
        return found
    batches = [{"x": x, "labels": y} for x, y in found.batches]
    mass = task.mass
    weigh = None if mass is None else lambda batch: mass(batch["labels"])
    return replace(found, batches=batches, mass=weigh, words=f"{found.words}; dictionaries")  # type: ignore[arg-type]
