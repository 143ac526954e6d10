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
from nonsingular.training.spec import TrainingSpec

aten = torch.ops.aten
IN_CACHE = 6 * 2**20
"""Bytes of layer outputs that runs computed together may fill.

Measured on one thread of an EPYC with 1 MiB of cache a core and 32 MiB shared: products of 500 x 128 with 128 x 128
numbers reach 95 % of the rate of large matrices run by run, and 74 % where ten runs are one call. A hundred networks of
16 units take as long, within the noise, in parts of 3 to 48 MiB.
"""


@dataclass(frozen=True)
class _Activation:
    """``forward(h, out=y)``; ``backward(g, kept, out)`` gives the gradient by h, and may destroy what was kept."""

    forward: Callable[..., object]
    backward: Callable[[Tensor, Tensor, Tensor], object]
    keeps: str  # "h", or "y" where the slope follows from the output


def _erf_backward(g: Tensor, h: Tensor, out: Tensor) -> None:
    torch.mul(g, h.square_().neg_().exp_().mul_(2 / math.sqrt(math.pi)), out=out)


_ACTIVATIONS = {
    "relu": _Activation(
        lambda h, out: torch.clamp_min(h, 0, out=out),
        lambda g, y, out: aten.threshold_backward.grad_input(g, y, 0, grad_input=out),
        "y",
    ),
    "tanh": _Activation(torch.tanh, lambda g, y, out: aten.tanh_backward.grad_input(g, y, grad_input=out), "y"),
    "erf": _Activation(torch.erf, _erf_backward, "h"),
    "gelu": _Activation(
        aten.gelu.out, lambda g, h, out: aten.gelu_backward.grad_input(g, h, approximate="none", grad_input=out), "h"
    ),
    "leaky-relu": _Activation(
        lambda h, out: aten.leaky_relu.out(h, 0.01, out=out),
        lambda g, h, out: aten.leaky_relu_backward.grad_input(g, h, 0.01, False, grad_input=out),
        "h",
    ),
    "linear": _Activation(lambda h, out: out.copy_(h), lambda g, _, out: out.copy_(g), "y"),
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
    def parameters(self) -> set[str]:
        return {f"{n}.{what}" for n in (*(x.linear for x in self.layers), self.readout) for what in ("weight", "bias")}


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

    Attributes:
        runs: networks computed together.
    """

    def __init__(self, population: Population, batch: int) -> None:
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
        a_run = 4 * batch * (kept + max(widths) * (3 + 2 * plan.hyper) + classes)
        self.runs = min(len(population), max(IN_CACHE // a_run, torch.get_num_threads()))
        like = next(iter(self._parameters.values())).detach()

        def room(width: int) -> Tensor:
            return like.new_empty(self.runs, batch, width)

        self._outputs = [room(width) for width in widths]
        self._kept = [room(y.shape[-1]) if a else y for a, y in zip(apart, self._outputs, strict=True)]
        self._logits = room(classes)
        self._scratch = [room(max(widths)).flatten() for _ in range(3)]
        self._total = room(widths[-1]) if plan.hyper else None
        self._later = room(widths[-1]) if plan.hyper else None

    def parts(self) -> Iterator[slice]:
        """The runs, so many at a time."""
        for p in self._parameters.values():
            if p.grad is None:
                p.grad = torch.empty_like(p)
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
        inputs = self._forward(part, x)
        g = by_outputs(self._logits[: len(x)])
        self._by_parameters(part, self._plan.readout, g, inputs[-1])
        self._backward(part, inputs, g)

    def _weight(self, part: slice, name: str) -> Tensor:
        return self._parameters[f"{name}.weight"].detach()[part]

    def _affine(self, part: slice, name: str, x: Tensor, out: Tensor) -> None:
        bias = self._parameters[f"{name}.bias"].detach()[part].unsqueeze(1)
        torch.baddbmm(bias, x, self._weight(part, name).mT, out=out)

    def _by_parameters(self, part: slice, name: str, delta: Tensor, x: Tensor) -> None:
        weight, bias = (self._parameters[f"{name}.{what}"].grad for what in ("weight", "bias"))
        assert weight is not None
        assert bias is not None
        torch.bmm(delta.mT, x, out=weight[part])
        torch.sum(delta, 1, out=bias[part])

    def _forward(self, part: slice, x: Tensor) -> list[Tensor]:
        """The inputs of every layer and of the readout."""
        inputs, count, earlier = [x], len(x), self._buffers.get("earlier")
        total = None if self._total is None else self._total[:count].zero_()
        for l, (layer, f) in enumerate(zip(self._plan.layers, self._functions, strict=True)):  # noqa: E741
            y, h = self._outputs[l][:count], self._kept[l][:count]
            a = h if f.keeps == "y" else y
            self._affine(part, layer.linear, x, h)
            f.forward(h, out=a)
            if layer.identity:
                a = torch.add(a, x, out=y)
            elif layer.skip is not None:
                a = torch.baddbmm(a, x, self._buffers[layer.skip][part].mT, out=y)
            if total is not None and earlier is not None:
                if l >= 2:
                    torch.add(a, total, alpha=1 / (l - 1), out=y)
                if 1 <= l <= earlier.shape[1]:
                    total.baddbmm_(x, earlier[part, l - 1].mT)
            x = y
            inputs.append(x)
        self._affine(part, self._plan.readout, x, self._logits[:count])
        return inputs

    def _backward(self, part: slice, inputs: list[Tensor], by_logits: Tensor) -> None:
        count, earlier = len(inputs[0]), self._buffers.get("earlier")
        later = None if self._later is None else self._later[:count].zero_()

        def shaped(which: int, width: int) -> Tensor:
            return self._scratch[which][: count * self._batch * width].view(count, self._batch, width)

        now, free = 0, 1  # of the scratch: the gradient by a layer's output, and room for that by its input
        g = shaped(now, inputs[-1].shape[-1])
        torch.bmm(by_logits, self._weight(part, self._plan.readout), out=g)
        for l in reversed(range(len(self._plan.layers))):  # noqa: E741
            layer, delta = self._plan.layers[l], shaped(2, g.shape[-1])
            self._functions[l].backward(g, self._kept[l][:count], delta)
            self._by_parameters(part, layer.linear, delta, inputs[l])
            if l == 0:
                return
            weight, before = self._weight(part, layer.linear), shaped(free, inputs[l].shape[-1])
            if layer.skip is not None:
                torch.bmm(g, self._buffers[layer.skip][part], out=before)
                before.baddbmm_(delta, weight)
            elif layer.identity:
                torch.baddbmm(g, delta, weight, out=before)
            else:
                torch.bmm(delta, weight, out=before)
            if later is not None and earlier is not None:
                if l <= earlier.shape[1]:
                    before.baddbmm_(later, earlier[part, l - 1])
                if l >= 2:
                    later.add_(g, alpha=1 / (l - 1))
            g, now, free = before, free, now


def fits(population: Population, task: Task, spec: TrainingSpec) -> bool:
    """Whether a population's gradients can be written out: otherwise they are left to autograd.

    On a CPU, in float32, fully-connected networks without normalisation and dropout, all of whose parameters are
    trained, on samples as they are and labels that the readout knows.
    """
    plan, parameters = _planned(population.skeleton), population.parameters
    if plan is None or not population.vectorised or plan.parameters != {*parameters}:
        return False
    if spec.precision != "float32" or spec.augment != "none" or spec.mixup or _watched(population.skeleton):
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
    match part:
        case nn.GELU(approximate="none"):
            return "gelu"
        case nn.LeakyReLU(negative_slope=0.01):
            return "leaky-relu"
    return {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Identity: "linear"}.get(type(part))


def _watched(network: nn.Module) -> bool:
    """Whether there are hooks, which only the modules' own calls would run."""
    everywhere = nn.modules.module
    hooks = [everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]
    hooks += [h for m in network.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    return any(hooks)


def cross_entropy_gradient(
    logits: Float[Tensor, "run sample classes"], labels: Int64[Tensor, "run sample"]
) -> Float[Tensor, "run sample classes"]:
    """The gradient of every run's mean cross-entropy, softmax minus one-hot labels over the number of samples."""
    g = F.softmax(logits, -1)
    g.scatter_add_(-1, labels.unsqueeze(-1), g.new_full((), -1.0).expand(*labels.shape, 1))
    return g.div_(labels.shape[1])
