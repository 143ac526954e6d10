"""Modules put around a model's own, and where they can go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nonsingular.diagnosis.layers import CONVOLUTIONS, layers, response, unit_axis
from nonsingular.diagnosis.paths import bypassed
from nonsingular.diagnosis.untouched import untouched
from nonsingular.errors import InputError, first_line
from nonsingular.objective import FAILURES
from nonsingular.objective.models import not_copied

MOST_LAYERS = 6  # a transformer's block has up to so many; a skip around more hides what goes wrong inside


@dataclass(frozen=True)
class Block:
    """A module that a connection can lead around.

    Attributes:
        name: of the module.
        layers: names of the layers in it, in the order of definition.
        units: size of the unit axis.
        axis: of the units.
        bypassed: whether some connection leads around it, or inside it around each of its layers.
    """

    name: str
    layers: tuple[str, ...]
    units: int
    axis: int
    bypassed: bool


def blocks(model: nn.Module, inputs: Any) -> list[Block]:
    """The largest modules of one to six layers whose output has the shape of their input, none within another.

    Raises:
        InputError: the model does not take the inputs.
    """
    units = layers(model)
    within = {
        name: tuple(n for n in units if n == name or n.startswith(f"{name}."))
        for name, module in model.named_modules()
        if name
    }
    candidates = {n: inner for n, inner in within.items() if 0 < len(inner) <= MOST_LAYERS}
    shapes: dict[str, tuple[int, int]] = {}
    nodes: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(_see(name, shapes, nodes), with_kwargs=True)
        for name, module in model.named_modules()
        if name in candidates
    ]
    try:
        with untouched(model), torch.enable_grad():
            model.eval()
            for module in model.modules():
                if isinstance(module, nn.RNNBase):
                    module.train()
            out = response(_call(model, inputs))
            around = _around(out, nodes)
    finally:
        for handle in handles:
            handle.remove()
    found: list[Block] = []
    for name, (size, axis) in shapes.items():
        if any(name.startswith(f"{other}.") for other in shapes):
            continue
        inner = candidates[name]
        skipped = around.get(name, False) or all(around.get(n, False) for n in inner)
        found.append(Block(name, inner, size, axis, skipped))
    order = list(within)
    return sorted(found, key=lambda b: order.index(b.name))


def _around(out: Tensor | None, nodes: Mapping[str, Any]) -> dict[str, bool]:
    if out is None or out.grad_fn is None:
        return {}
    return bypassed(out.grad_fn, nodes)


def _see(name: str, shapes: dict[str, tuple[int, int]], nodes: dict[str, Any]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        y = output[0] if isinstance(output, tuple) and output else output
        if name in nodes or not isinstance(y, Tensor):
            return
        nodes[name] = y.grad_fn
        if isinstance(x, Tensor) and x.shape == y.shape and x.is_floating_point() and y.ndim > 1:
            axis = 1 if _spatial(module, y) else unit_axis(module, y)
            shapes[name] = (y.shape[axis], axis)

    return hook


def _spatial(module: nn.Module, y: Tensor) -> bool:
    return y.ndim > 2 and any(isinstance(m, CONVOLUTIONS) for m in module.modules())


def _call(model: nn.Module, inputs: Any) -> Any:
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)
    except FAILURES as error:
        raise InputError(f"the model does not take these inputs: {first_line(error)}") from error


def replace_module(model: nn.Module, name: str, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``make(module)`` in the place of the module of that name."""
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    new = make(owner.get_submodule(child))
    new.train(owner.training)
    setattr(owner, child, new)


class _Around(nn.Module):
    """Hands on what code outside asks of the module inside, such as its ``weight``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


class Skip(_Around):
    r"""A module with a connection around it: :math:`y = S x + \alpha F(x)`.

    Args:
        module: F; of a tuple that it returns the first tensor counts.
        scale: alpha.
        matrix: S, ``[unit, unit]``, fixed; the identity if None.
        axis: of the units.
    """

    matrix: Tensor | None

    def __init__(self, module: nn.Module, scale: float = 1.0, matrix: Tensor | None = None, axis: int = -1) -> None:
        super().__init__(module)
        self.scale, self.axis = scale, axis
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        y = self.module(x, *args, **kwargs)
        skip = x if self.matrix is None else (x.movedim(self.axis, -1) @ self.matrix.mT).movedim(-1, self.axis)
        if isinstance(y, tuple):
            return (skip + self.scale * y[0], *y[1:])
        return skip + self.scale * y


class Normalised(_Around):
    """A layer whose output is normalised.

    Args:
        module: a linear or convolutional layer.
        kind: ``batch`` or ``layer``; None takes batch normalisation behind convolutions.
    """

    def __init__(self, module: nn.Module, kind: str | None = None) -> None:
        super().__init__(module)
        convolution = isinstance(module, CONVOLUTIONS)
        units = int(module.out_channels if convolution else module.out_features)  # type: ignore[arg-type]
        kind = kind or ("batch" if convolution else "layer")
        dimensions = next((d for d, c in enumerate(CONVOLUTIONS, 1) if isinstance(module, c)), 1)
        batch = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
        if kind == "batch":
            self.norm: nn.Module = batch(units)
        else:
            self.norm = nn.GroupNorm(1, units) if convolution else nn.LayerNorm(units)
        weight = next(module.parameters())
        self.norm.to(weight.device, weight.dtype)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.norm(self.module(x))


class Rescaled(nn.Module):
    """A model behind standardised inputs.

    Args:
        model: takes one tensor.
        inputs: the batch whose mean and spread count: by channel of images, by number of vectors. What varies by less
            than a thousandth of the largest spread is not blown up.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        self.model = model
        feature = 1 if inputs.ndim == 4 else inputs.ndim - 1
        others = [a for a in range(inputs.ndim) if a != feature]
        values = inputs.detach().double()
        spread = values.std(others, correction=0, keepdim=True)
        floor = max(1e-3 * float(spread.max()), 1e-12)
        self.register_buffer("mean", values.mean(others, keepdim=True).to(inputs))
        self.register_buffer("deviation", spread.clamp_min(floor).to(inputs))

    def forward(self, x: Tensor) -> Any:  # noqa: D102
        return self.model((x - self.mean) / self.deviation)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, or the reason why there is none.

    Raises:
        InputError: the model holds something that cannot be copied.
    """
    try:
        return copy.deepcopy(model, not_copied(model))
    except Exception as error:
        raise InputError(f"the model cannot be copied (copy.deepcopy): {str(error).splitlines()[0]}") from error
