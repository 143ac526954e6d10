"""Which modules of any PyTorch model are layers of units, along which axis, with which incoming weights.

Layers keep the names of ``model.named_modules()``, as everywhere in the project (measures/capture.py). Unlike there,
the readout counts too, and every module that owns weights of units is a layer: linear and convolutional modules,
attention, recurrent ones, and modules of the user's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular.measures import incoming

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation
    nn.LayerNorm,
    nn.GroupNorm,
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)
_NOT_UNITS = (nn.Embedding, nn.EmbeddingBag, *NORMALISATIONS)


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model that hold units, by name, in the order of ``named_modules``.

    A module counts when it owns a parameter of two or more axes itself; tables of embeddings and normalisations do not.
    Of modules within each other only the inner one counts, except for attention, which computes with its inner
    projection's weights but never calls it.
    """
    found: dict[str, nn.Module] = {}
    attention: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") for outer in attention) or "parametrizations" in name.split("."):
            continue
        if isinstance(module, nn.MultiheadAttention):
            attention.append(name)
            found[name] = module
        elif not isinstance(module, _NOT_UNITS) and any(p.ndim >= 2 for p in _own_parameters(module).values()):
            found[name] = module
    inner = {
        outer for outer in found for name in found if outer != name and name.startswith(f"{outer}." if outer else "")
    }
    return {name: module for name, module in found.items() if name not in inner}


def is_normalisation(module: nn.Module) -> bool:
    """Whether a module normalises what passes: torch's own, and others that are called ``...Norm``."""
    return isinstance(module, NORMALISATIONS) or type(module).__name__.endswith(
        ("Norm", "BatchNorm2d", "Normalization")
    )


def unit_axis(module: nn.Module, output: Tensor) -> int:
    """Axis of the units in a layer's output: channels of a convolution, else the last."""
    spatial = isinstance(module, (*CONVOLUTIONS, *TRANSPOSED))
    return 1 if spatial and output.ndim > 2 else output.ndim - 1


def response(output: Any) -> Tensor | None:
    """The first floating-point tensor of what a module returned; recurrent and attention modules return more."""
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim >= 2:
            return leaf
    return None


def unit_weights(module: nn.Module, units: int, *, gradient: dict[int, Tensor] | None = None) -> Tensor | None:
    """Incoming weights, one row a unit, or their gradients.

    Args:
        module: a layer.
        units: how many units its output has.
        gradient: ``id(parameter)`` -> gradient; without it the weights themselves.

    Returns:
        ``[unit, input]``, or None where no parameter has an axis of that many units. A recurrent unit's row joins its
        gates' weights from the input and from the units.
    """
    rows = [r for p, axis in _weights(module, units) if (r := _rows(p, axis, units, gradient)) is not None]
    if not rows:
        return None
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def unit_biases(module: nn.Module, units: int) -> Float[Tensor, " unit"] | None:
    """The units' biases where the layer has one a unit."""
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) and bias.shape == (units,) else None


def groups(module: nn.Module) -> int:
    """Groups of a grouped convolution: units of different groups have different inputs."""
    return int(getattr(module, "groups", 1)) if isinstance(module, CONVOLUTIONS) else 1


def _own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    own = dict(module.named_parameters(recurse=False))
    for name, part in getattr(module, "parametrizations", {}).items():  # weight norm and its like keep the original
        own[name] = part.original if hasattr(part, "original") else next(part.parameters())
    return own


def _weights(module: nn.Module, units: int) -> Iterator[tuple[Tensor, int]]:
    """Parameters with their unit axis; -1 marks the stacked gates of a recurrent layer."""
    if isinstance(module, nn.MultiheadAttention):
        yield module.out_proj.weight, 0
    elif isinstance(module, nn.RNNBase):
        last = module.num_layers - 1
        if not module.bidirectional and not module.proj_size:
            yield from ((p, -1) for p in module.all_weights[last][:2])
    elif isinstance(module, TRANSPOSED):
        if module.groups == 1:
            yield module.weight, 1
    else:
        own = [p for p in _own_parameters(module).values() if p.ndim >= 2]
        weight = getattr(module, "weight", None)  # through a parametrisation, as the layer uses it
        candidates = [weight] if isinstance(weight, Tensor) and weight.ndim >= 2 else own
        for p in candidates:
            axes = [axis for axis in (0, 1) if p.shape[axis] == units]
            if axes:
                # Matrices [input, unit], as in the Conv1D of transformers, say so only where they are not square.
                yield p, axes[-1] if type(module).__name__ == "Conv1D" else axes[0]
                return


def _rows(p: Tensor, axis: int, units: int, gradient: dict[int, Tensor] | None) -> Tensor | None:
    values = p.detach() if gradient is None else gradient.get(id(p))
    if values is None:
        return None
    if axis == -1:
        return values.unflatten(0, (-1, units)).movedim(1, 0).flatten(1)
    return incoming(values.movedim(axis, 0))
