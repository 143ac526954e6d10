"""Hooks that watch a model's forward and backward pass and keep bounded statistics of every layer.

Activations are seen where they are computed, below autograd (``TorchDispatchMode``), because half of all models apply
them as functions that no module hook sees. An activation belongs to the layer that was called last, if their units are
as many: after ``conv -> norm -> relu`` the rectified channels are the convolution's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonsingular.diagnosis.layers import is_normalisation, layers, response, unit_axis
from nonsingular.diagnosis.values import evenly
from nonsingular.dispatch import Dispatch
from nonsingular.errors import InputError

aten = torch.ops.aten
RECTIFIERS = {aten.relu: "relu", aten.relu_: "relu", aten.clamp_min: "relu", aten.clamp_min_: "relu"}
RECTIFIERS |= {
    aten.threshold: "threshold",
    aten.threshold_: "threshold",
    aten.hardtanh: "relu6",
    aten.hardtanh_: "relu6",
}
SMOOTH = {aten.gelu: "gelu", aten.silu: "silu", aten.silu_: "silu", aten.elu: "elu", aten.elu_: "elu"}
SMOOTH |= {aten.leaky_relu: "leaky relu", aten.leaky_relu_: "leaky relu", aten.softplus: "softplus", aten.erf: "erf"}
SMOOTH |= {aten.mish: "mish", aten.hardswish: "hardswish", aten.hardswish_: "hardswish", aten.prelu: "prelu"}
BOUNDED = {aten.tanh: "tanh", aten.tanh_: "tanh", aten.sigmoid: "sigmoid", aten.sigmoid_: "sigmoid"}
ACTIVATIONS = RECTIFIERS | SMOOTH | BOUNDED | {aten._prelu_kernel: "prelu"}
SATURATED = 0.99  # of the bounded activation's range from its middle


@dataclass
class Moments:
    """Sums over pieces of what passes one place, weighted by samples.

    Attributes:
        square: of the mean square, over everything.
        variance: of the mean over units and places of the variance over samples.
        samples: that were seen.
    """

    square: float = 0.0
    variance: float = 0.0
    samples: int = 0

    def add(self, x: Tensor, samples: int) -> None:
        """One piece's tensor; its sample axis is the one as long as there are samples."""
        # In float64, in whose range the squares of any float32 lie.
        values = x.detach().double()
        axis = sample_axis(x, samples)
        self.square += samples * float(values.square().mean())
        self.variance += samples * float(values.var(axis, correction=0).mean())
        self.samples += samples

    @property
    def norm(self) -> float:
        """Root mean square."""
        return (self.square / max(self.samples, 1)) ** 0.5

    @property
    def spread(self) -> float:
        """Root mean square deviation from the mean over samples: what tells samples apart."""
        return (self.variance / max(self.samples, 1)) ** 0.5


@dataclass
class Watched:
    """What is kept of one layer.

    Attributes:
        name, module: the layer.
        units: of its output.
        output: of the layer itself, before any normalisation and activation.
        after: of the activation that follows, if one was seen.
        activation: its name.
        peaks: piece -> ``[unit]``, the largest absolute response of each unit after the activation (or of the output).
        rows: piece -> sampled responses ``[row, unit]``, after the activation where there is one.
        zeros: sum over samples of the share of responses that are zero after the activation; likewise ``saturated``.
        gradient: sum over samples of the norm of the gradient of that sample's loss by the output.
        node: of the autograd graph, where the output was computed in the first piece.
        normalised: whether a normalisation came between the layer and what followed it.
    """

    name: str
    module: nn.Module
    units: int
    axis: int
    output: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    activation: str | None = None
    peaks: dict[int, Tensor] = field(default_factory=dict)
    rows: dict[int, Tensor] = field(default_factory=dict)
    zeros: float = 0.0
    saturated: float = 0.0
    gradient: float = 0.0
    gradient_samples: int = 0
    node: Any = None
    normalised: bool = False
    piece: int = -1
    finite: bool = True

    @property
    def gradient_norm(self) -> float:
        """Mean over samples of the norm of the gradient of a sample's loss by the output; NaN where none flows."""
        return self.gradient / self.gradient_samples if self.gradient_samples else math.nan

    @property
    def through(self) -> Moments:
        """What the layer passes on: after its activation, where one was seen."""
        return self.after if self.after.samples else self.output


@dataclass
class Normalised:
    """A normalisation: what came in and what went out."""

    name: str
    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    piece: int = -1
    position: int = 0


class Watch(Dispatch):
    """Watches every layer, activation and normalisation of a model while it is entered.

    Args:
        model: hooked on entry, free of hooks on exit.
        rows: responses kept per layer and piece.
        units: units of which rows are kept, spread evenly over the layer.
    """

    def __init__(self, model: nn.Module, rows: int, units: int) -> None:
        super().__init__()
        self.watched: dict[str, Watched] = {}
        self.norms: dict[str, Normalised] = {}
        self.sources: list[Any] = []  # nodes of embeddings in the first piece
        self._model, self._rows, self._units = model, rows, units
        self._piece, self._samples = -1, 0
        self._latest: Watched | None = None
        self._returned = False  # the model, from this piece: what flows back before belongs to a derivative within it
        self._inside = 0  # of a recurrent or attention layer, whose inner gates are not its activation
        self._generator = torch.Generator().manual_seed(0)
        self._stack = ExitStack()

    def start(self, samples: int) -> None:
        """A new piece of that many samples begins."""
        self._piece, self._samples, self._latest, self._returned = self._piece + 1, samples, None, False

    def end(self) -> None:
        """The model has returned: what the loss computes is no activation of a layer."""
        self._latest, self._returned = None, True

    def __enter__(self) -> Watch:
        for name, module in layers(self._model).items():
            self._stack.callback(module.register_forward_pre_hook(self._enter_layer).remove)
            self._stack.callback(module.register_forward_hook(self._layer(name), always_call=True).remove)
        for name, module in self._model.named_modules():
            if isinstance(module, nn.Embedding):
                self._stack.callback(module.register_forward_hook(self._source).remove)
            if is_normalisation(module):
                self._stack.callback(module.register_forward_hook(self._norm(name)).remove)
        try:
            return super().__enter__()
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._stack.close()

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run the operation; keep what an activation returns."""
        out = func(*args, **kwargs)
        name = ACTIVATIONS.get(func.overloadpacket)
        if name is not None and not self._inside and self._latest is not None and isinstance(out, Tensor):
            self._activation(name, out)
        return out

    # --- what is kept ---------------------------------------------------------------------------------------

    def _source(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if not self._piece:
            self.sources.append(output.grad_fn)

    def _enter_layer(self, _module: nn.Module, _inputs: Any) -> None:
        self._inside += 1

    def _layer(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            self._inside -= 1
            tensor = response(output)
            if tensor is None:
                return
            axis = unit_axis(module, tensor)
            if not tensor.numel():
                _refuse_no_units(name, module, tensor, axis)
                return  # of no sample in this pass, as experts are that nothing is sent to
            seen = self.watched.get(name)
            if seen is None:
                seen = self.watched[name] = Watched(name, module, tensor.shape[axis], axis)
                seen.node = tensor.grad_fn
            if seen.piece == self._piece:
                return  # called again within one pass: the first call stands for the layer
            seen.piece = self._piece
            self._output(seen, tensor)
            self._latest = seen

        return hook

    def _output(self, seen: Watched, tensor: Tensor) -> None:
        samples = self._samples
        seen.output.add(tensor, samples)
        if tensor.requires_grad:
            tensor.register_hook(self._gradient(seen, samples))
        self._responses(seen, tensor)

    def _responses(self, seen: Watched, tensor: Tensor) -> None:
        """Peaks and rows of this piece; those of an activation that follows replace the output's."""
        values = tensor.detach()
        seen.finite = seen.finite and bool(torch.isfinite(values).all())
        others = [a for a in range(values.ndim) if a != seen.axis]
        peak = torch.maximum(values.amax(others), -values.amin(others)).float().cpu()
        places = values.movedim(seen.axis, -1)
        shape = places.shape[:-1]
        count = min(self._rows, places[..., 0].numel())
        picks = torch.randint(places[..., 0].numel(), (count,), generator=self._generator)
        # PyTorch's own unravel_index loads sympy, for a third of a second.
        index = tuple(torch.from_numpy(i).to(values.device) for i in np.unravel_index(picks.numpy(), shape))
        rows = places[index][:, evenly(seen.units, self._units).to(values.device)].float().cpu()
        seen.rows[self._piece], seen.peaks[self._piece] = rows, peak

    def _activation(self, name: str, out: Tensor) -> None:
        seen = self._latest
        assert seen is not None
        if out.ndim <= seen.axis or out.shape[seen.axis] != seen.units:
            return
        seen.activation = name
        seen.after.add(out, self._samples)
        seen.zeros += self._samples * float((out == 0).float().mean())
        if name in ("tanh", "sigmoid"):
            middle, half = (0.0, 1.0) if name == "tanh" else (0.5, 0.5)
            seen.saturated += self._samples * float(((out - middle).abs() > SATURATED * half).float().mean())
        self._responses(seen, out)
        self._latest = None

    def _norm(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            x, y = response(inputs), response(output)
            if x is None or y is None:
                return
            seen = self.norms.setdefault(name, Normalised(name, position=len(self.watched)))
            if seen.piece == self._piece:
                return
            seen.piece = self._piece
            seen.before.add(x, self._samples)
            seen.after.add(y, self._samples)
            if self._latest is not None:
                self._latest.normalised = True

        return hook

    def _gradient(self, seen: Watched, samples: int) -> Callable[[Tensor | None], None]:
        def keep(gradient: Tensor | None) -> None:
            if gradient is None or not self._returned:  # none of an output that nobody uses, such as an LSTM's
                return
            axis = sample_axis(gradient, samples)
            # In float64: the squares of a vanishing gradient leave the range of float32 long before it does.
            rows = gradient.detach().movedim(axis, 0).flatten(1)
            norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
            # The loss is a mean over samples; the norm that belongs to one sample's loss is that many times larger.
            seen.gradient += float(norms.mean()) * samples * samples
            seen.gradient_samples += samples

        return keep


def _refuse_no_units(name: str, module: nn.Module, tensor: Tensor, axis: int) -> None:
    if not tensor.shape[axis]:
        raise InputError(
            f"layer {name} ({type(module).__name__}) has no units, its output is of shape {tuple(tensor.shape)}: "
            "nothing passes through it; give it at least one"
        )


def sample_axis(x: Tensor, samples: int) -> int:
    """The axis that counts samples: the first, unless only the second is as long as there are samples."""
    return 1 if x.ndim > 1 and x.shape[0] != samples and x.shape[1] == samples else 0
