"""Gradients of fully-connected networks by hand: no graph, every buffer used again, some runs at a time.

Autograd keeps each layer's output of all runs, in fresh memory every step, and returns to it when it has long left the
cache. Here a few runs go forward and backward before the next ones begin, in buffers that stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nonsingular.data import Task
from nonsingular.networks.fully_connected import FullyConnected, Layer
from nonsingular.training.population import Population
from nonsingular.training.products import OneByOne, products
from nonsingular.training.spec import TrainingSpec

aten = torch.ops.aten
IN_CACHE = 6 * 2**20
"""Bytes of layer outputs that runs computed together may fill.

Measured on one thread of an EPYC with 1 MiB of cache a core and 32 MiB shared: products of 500 x 128 with 128 x 128
numbers reach 95 % of the rate of large matrices run by run, and 74 % where ten runs are one call. A hundred networks of
16 units take as long, within the noise, in parts of 3 to 48 MiB.
"""


HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")


@dataclass(frozen=True)
class _Activation:
    """``forward(h, out=y)``; ``backward(g, kept)`` gives the gradient by h in the place of what was kept."""

    forward: Callable[..., object]
    backward: Callable[[Tensor, Tensor], object]
    keeps: str  # "h", or "y" where the slope follows from the output


def _erf_backward(g: Tensor, h: Tensor) -> None:
    h.square_().neg_().exp_().mul_(2 / math.sqrt(math.pi)).mul_(g)


_ACTIVATIONS = {
    "relu": _Activation(
        lambda h, out: torch.clamp_min(h, 0, out=out),
        lambda g, y: aten.threshold_backward.grad_input(g, y, 0, grad_input=y),
        "y",
    ),
    "tanh": _Activation(torch.tanh, lambda g, y: aten.tanh_backward.grad_input(g, y, grad_input=y), "y"),
    "erf": _Activation(torch.erf, _erf_backward, "h"),
    "gelu": _Activation(
        aten.gelu.out, lambda g, h: aten.gelu_backward.grad_input(g, h, approximate="none", grad_input=h), "h"
    ),
    "leaky-relu": _Activation(
        lambda h, out: aten.leaky_relu.out(h, 0.01, out=out),
        lambda g, h: aten.leaky_relu_backward.grad_input(g, h, 0.01, False, grad_input=h),
        "h",
    ),
    "linear": _Activation(lambda h, out: out.copy_(h), lambda g, y: y.copy_(g), "y"),
}


@dataclass(frozen=True)
class _Dense:
    """A layer by the names of its parts: ``linear``, what follows it, and the skip around both."""

    linear: str
    activation: str
    identity: bool = False
    skip: str | None = None


@dataclass(frozen=True)
class _Plan:
    """Layers and the linear readout; ``hyper``: whether the buffer ``earlier`` holds skips from all earlier layers."""

    layers: tuple[_Dense, ...]
    readout: str
    hyper: bool = False
    flat: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the linear layers, the readout last."""
        return (*(layer.linear for layer in self.layers), self.readout)

    @property
    def parameters(self) -> set[str]:
        return {f"{n}.{what}" for n in self.names for what in ("weight", "bias")}


class LinearStack:
    r"""The gradients of a population of fully-connected networks, written out.

    With :math:`h_l = W_l x_l + b_l`, :math:`x_{l+1} = f(h_l) + S_l x_l + \frac{1}{l-1} \sum_{k<l} Q_k x_k` and
    :math:`g_l` the gradient by :math:`x_{l+1}`: by :math:`h_l` it is :math:`\delta_l = f'(h_l) \odot g_l`, by
    :math:`W_l` it is :math:`\delta_l^T x_l` summed over samples, and
    :math:`g_{l-1} = W_l^T \delta_l + S_l^T g_l + Q_l^T \sum_{m>l} g_m / (m-1)`.

    Args:
        population: of ``FullyConnected`` networks, or of ``nn.Sequential`` of linear layers and activations, as
            ``fits`` accepts them.
        batch: samples of a step.
        precision: of products and of layers' outputs; by default the parameters' own. In ``torch.bfloat16`` parameters
            are rounded for every step and gradients added to them in full, as ``torch.autocast`` does.

    Attributes:
        runs: networks computed together.
    """

    def __init__(self, population: Population, batch: int, precision: torch.dtype | None = None) -> None:
        plan = _planned(population.skeleton)
        assert plan is not None
        self._plan, self._batch = plan, batch
        self._parameters, self._buffers = population.parameters, population.buffers
        self._functions = [_ACTIVATIONS[layer.activation] for layer in plan.layers]
        widths = [self._parameters[f"{layer.linear}.bias"].shape[1] for layer in plan.layers]
        classes = self._parameters[f"{plan.readout}.bias"].shape[1]
        # Where the output alone does not give the slope, what does is kept beside it.
        apart = [
            f.keeps == "h" or layer.identity or layer.skip is not None or (plan.hyper and number >= 2)
            for number, (f, layer) in enumerate(zip(self._functions, plan.layers, strict=True))
        ]
        kept = sum(width * (1 + a) for width, a in zip(widths, apart, strict=True))
        first = next(iter(self._parameters.values())).detach()
        like = first.new_empty((), dtype=precision or first.dtype)
        a_run = like.itemsize * batch * (kept + max(widths) * 2 * (1 + plan.hyper) + classes)
        shapes = [self._parameters[f"{n}.weight"].shape for n in self._plan.names]
        self._products = [products(batch, like.expand(shape)) for shape in shapes]
        apiece = any(isinstance(p, OneByOne) for p in self._products[1:])
        self.runs = 1 if apiece else min(len(population), max(IN_CACHE // a_run, torch.get_num_threads()))
        self._like, self._rounded = like, dict[str, Tensor]()

        def room(width: int) -> Tensor:
            return like.new_empty(self.runs, batch, width)

        self._outputs = [room(width) for width in widths]
        self._kept = [room(y.shape[-1]) if a else y for a, y in zip(apart, self._outputs, strict=True)]
        self._logits = like.new_empty(self.runs, classes, batch).mT  # samples innermost, as its softmax wants them
        self._scratch = [room(max(widths)).flatten() for _ in range(2)]
        self._sums = [room(widths[-1]) for _ in range(2)] if plan.hyper else []
        self._views: dict[int, _Views] = {}
        self._places: list[int] = []

    def parts(self) -> Iterator[slice]:
        """The runs, so many at a time."""
        for p in self._parameters.values():
            if p.grad is None:
                p.grad = torch.empty_like(p)
        places = [t.data_ptr() for p in self._parameters.values() for t in (p, p.grad) if t is not None]
        if places != self._places:  # they were put elsewhere
            self._views, self._places = {}, places
        count = len(next(iter(self._parameters.values())))
        for start in range(0, count, self.runs):
            yield slice(start, min(start + self.runs, count))

    @torch.no_grad()
    def differentiate(
        self, part: slice, x: Float[Tensor, "run sample input"], by_outputs: Callable[[Tensor], Tensor]
    ) -> None:
        """Set the gradients of some runs.

        Args:
            part: which.
            x: their batches.
            by_outputs: gives the gradient of the loss by the outputs, and may write it over them.
        """
        if part.start not in self._views:
            self._views[part.start] = self._seen(part)
        views = self._views[part.start]
        for exact, rounded in views.before:
            rounded.copy_(exact)
        inputs, kept, logits = self._forward(views, x)
        g = by_outputs(logits).to(logits.dtype)
        self._by_parameters(views, -1, g, inputs[-1])
        self._backward(views, inputs, kept, g)
        for exact, rounded in views.behind:
            exact.copy_(rounded)

    def _seen(self, part: slice) -> _Views:
        count, names = part.stop - part.start, self._plan.names
        of = {n: p.detach()[part] for n, p in (self._parameters | self._buffers).items()}
        by = {n: p.grad[part] for n, p in self._parameters.items() if p.grad is not None}
        values = [(t, self._stand_in(f"value {n}", t)) for n, t in of.items()]
        slopes = [(t, self._stand_in(f"gradient {n}", t)) for n, t in by.items()]
        of, by = (dict(zip(names, (r for _, r in pairs), strict=True)) for names, pairs in ((of, values), (by, slopes)))
        widths = [y.shape[-1] for y in self._outputs]

        def shaped(which: int, width: int) -> Tensor:
            return self._scratch[which][: count * self._batch * width].view(count, self._batch, width)

        return _Views(
            weights=[of[f"{n}.weight"] for n in names],
            biases=[of[f"{n}.bias"].unsqueeze(1) for n in names],
            by_weights=[by[f"{n}.weight"] for n in names],
            by_biases=[by[f"{n}.bias"] for n in names],
            skips=[None if layer.skip is None else of[layer.skip] for layer in self._plan.layers],
            earlier=[Q.squeeze(1) for Q in of["earlier"].split(1, 1)] if self._plan.hyper else [],
            outputs=[y[:count] for y in self._outputs],
            kept=[h[:count] for h in self._kept],
            logits=self._logits[:count],
            slopes=[shaped(number % 2, width) for number, width in enumerate(widths)],
            sums=[t[:count] for t in self._sums],
            before=[(exact, rounded) for exact, rounded in values if rounded is not exact],
            behind=[(exact, rounded) for exact, rounded in slopes if rounded is not exact],
        )

    def _stand_in(self, name: str, t: Float[Tensor, "run ..."]) -> Float[Tensor, "run ..."]:
        """What is computed with in the place of a tensor: itself, or room for it in the precision of the products."""
        if t.dtype == self._like.dtype:
            return t
        if name not in self._rounded:
            self._rounded[name] = self._like.new_empty(self.runs, *t.shape[1:])
        return self._rounded[name][: len(t)]

    def _forward(self, views: _Views, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The inputs of every layer and of the readout, what gives each layer's slope, and the outputs."""
        inputs, kept, total = [x], [], views.sums[0].zero_() if self._plan.hyper else None
        for l, (layer, f) in enumerate(zip(self._plan.layers, self._functions, strict=True)):  # noqa: E741
            products, y, skip = self._products[l], views.outputs[l], views.skips[l]
            h = products.affine(x, views.weights[l], views.biases[l], views.kept[l])
            a = h if f.keeps == "y" else y
            f.forward(h, out=a)
            kept.append(h)
            if layer.identity:
                a = torch.add(a, x, out=y)
            elif skip is not None:
                a = products.product(x, skip.mT, y, plus=a)
            if total is not None:
                if l >= 2:
                    a = torch.add(a, total, alpha=1 / (l - 1), out=y)
                if 1 <= l <= len(views.earlier):
                    total = products.product(x, views.earlier[l - 1].mT, total, plus=total)
            x = a
            inputs.append(x)
        return inputs, kept, self._products[-1].affine(x, views.weights[-1], views.biases[-1], views.logits)

    def _backward(self, views: _Views, inputs: list[Tensor], kept: list[Tensor], by_logits: Tensor) -> None:
        later = views.sums[1].zero_() if self._plan.hyper else None
        g = self._products[-1].product(by_logits, views.weights[-1], views.slopes[-1])
        for l in reversed(range(len(self._plan.layers))):  # noqa: E741
            products, delta, skip, weight = self._products[l], kept[l], views.skips[l], views.weights[l]
            self._functions[l].backward(g, delta)
            self._by_parameters(views, l, delta, inputs[l])
            if l == 0:
                return
            before = views.slopes[l - 1]
            if skip is not None:
                through = products.product(g, skip, before)
                before = products.product(delta, weight, before, plus=through)
            else:
                before = products.product(delta, weight, before, plus=g if self._plan.layers[l].identity else None)
            if later is not None:
                if l <= len(views.earlier):
                    before = products.product(later, views.earlier[l - 1], before, plus=before)
                if l >= 2:
                    later.add_(g, alpha=1 / (l - 1))
            g = before

    def _by_parameters(self, views: _Views, layer: int, delta: Tensor, x: Tensor) -> None:
        """Set the gradients by one layer's weights and biases."""
        self._products[layer].over_samples(delta, x, views.by_weights[layer])
        torch.sum(delta, 1, out=views.by_biases[layer])


@dataclass(frozen=True)
class _Views:
    """What a part of the runs computes with, layer by layer and then the readout: made once, as that takes its time.

    ``slopes`` are the gradients by layers' outputs, which take turns in two buffers. ``before`` a step the
    first of each pair, a parameter, is copied to the second, in the precision of products; ``behind`` it gradients are
    copied back.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    by_weights: list[Tensor]
    by_biases: list[Tensor]
    skips: list[Tensor | None]
    earlier: list[Tensor]
    outputs: list[Tensor]
    kept: list[Tensor]
    logits: Tensor
    slopes: list[Tensor]
    sums: list[Tensor]
    before: list[tuple[Tensor, Tensor]]
    behind: list[tuple[Tensor, Tensor]]


def fits(population: Population, task: Task, spec: TrainingSpec) -> bool:
    """Whether a population's gradients can be written out: otherwise they are left to autograd.

    On a CPU, in float32 or mixed with bfloat16, fully-connected networks without normalisation and dropout, all of
    whose parameters are trained, on samples as they are and labels that the readout knows.
    """
    plan, parameters = _planned(population.skeleton), population.parameters
    if plan is None or not population.vectorised or plan.parameters != {*parameters}:
        return False
    if spec.augment != "none" or spec.mixup or _watched(population.skeleton):
        return False
    tensors = [*parameters.values(), task.train_inputs]
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    trained = all(p.requires_grad for p in parameters.values())
    labels, classes = task.train_labels, parameters[f"{plan.readout}.bias"].shape[1]
    known = labels.is_floating_point() or (int(labels.min()) >= 0 and int(labels.max()) < classes)
    return plain and trained and known and (plan.flat or task.train_inputs.ndim == 2)


def _planned(network: nn.Module) -> _Plan | None:
    """A network's layers, where it is of a kind that is written out here."""
    if type(network) is nn.Sequential:
        return _sequence(network)
    if type(network) is not FullyConnected or network.dropout or type(network.readout) is not nn.Linear:
        return None
    layers: list[Layer] = list(network.layers)  # type: ignore[arg-type]
    if any(type(x) is not Layer or type(x.linear) is not nn.Linear or x.norm is not None for x in layers):
        return None
    dense = (
        _Dense(f"layers.{i}.linear", x.activation, x.identity, None if x.skip is None else f"layers.{i}.skip")
        for i, x in enumerate(layers)
    )
    return _Plan(tuple(dense), "readout", network.earlier is not None)


def _sequence(network: nn.Sequential) -> _Plan | None:
    """Linear layers with at most one activation behind each, the last one without."""
    parts = list(_leaves(network, ""))
    flat = bool(parts) and type(parts[0][1]) is nn.Flatten and (parts[0][1].start_dim, parts[0][1].end_dim) == (1, -1)
    parts = parts[flat:]
    layers: list[_Dense] = []
    before: nn.Module | None = None
    for name, part in parts:
        activation = _activation(part)
        if type(part) is nn.Linear:
            layers.append(_Dense(name, "linear"))
        elif activation and type(before) is nn.Linear:
            layers[-1] = replace(layers[-1], activation=activation)
        else:
            return None
        before = part
    if len(layers) < 2 or type(before) is not nn.Linear:
        return None
    return _Plan(tuple(layers[:-1]), layers[-1].linear, flat=flat)


def _leaves(network: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in network._modules.items():  # ``named_children`` leaves out what comes a second time
        if part is None:
            continue
        if type(part) is nn.Sequential:
            yield from _leaves(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def _activation(part: nn.Module) -> str | None:
    """The name of what a module computes, where it is written out here."""
    kind = type(part)  # exactly: a subclass may compute anything
    if kind is nn.GELU:
        return "gelu" if part.approximate == "none" else None
    if kind is nn.LeakyReLU:
        return "leaky-relu" if part.negative_slope == 0.01 else None
    return {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Identity: "linear"}.get(kind)


def _watched(network: nn.Module) -> bool:
    """Whether there is what only the modules' own calls would run: hooks, or a ``forward`` put on an instance."""
    if any(getattr(nn.modules.module, f"_global_{hooks}") for hooks in HOOKS):
        return True
    return any(getattr(m, f"_{hooks}") or "forward" in vars(m) for m in network.modules() for hooks in HOOKS)


def cross_entropy_gradient(
    logits: Float[Tensor, "run sample classes"], labels: Int64[Tensor, "run sample"]
) -> Float[Tensor, "run sample classes"]:
    """The gradient of every run's mean cross-entropy, softmax minus one-hot labels over the number of samples.

    Samples lie innermost in memory: over ten numbers in a row PyTorch's softmax takes 13 times as long (63 against 5
    microseconds for 500 samples, the copy included).
    """
    g = F.softmax(logits.mT, -2)
    g.scatter_add_(-2, labels.unsqueeze(-2), g.new_full((), -1.0).expand(len(labels), 1, labels.shape[1]))
    return g.div_(labels.shape[1]).mT
