"""Layers by name, and what passes through them: activations, and gradients with respect to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError


@dataclass
class Capture:
    """What passed through the named layers during the forward passes inside a ``capture`` context.

    Attributes:
        activations: layer name -> its output in the latest pass; empty where a ``visit`` takes them instead.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> with ns.measures.capture(model, ["0"]) as seen:
    ...     _ = model(torch.ones(5, 4))
    >>> seen.activations["0"].shape
    torch.Size([5, 3])
    """

    activations: dict[str, Tensor] = field(default_factory=dict)


Visit = Callable[[str, Tensor], None]
"""Takes a layer's name and its output as the pass reaches it."""


@contextmanager
def capture(
    model: nn.Module, layers: Sequence[str], offsets: Mapping[str, Tensor] | None = None, visit: Visit | None = None
) -> Iterator[Capture]:
    """Record the outputs of ``layers`` in every forward pass inside the context; the hooks are gone afterwards.

    Works under ``torch.func`` transforms: hand the recorded tensors out through the transformed function's result.

    Args:
        model: any module.
        layers: module names as in ``model.named_modules()``.
        offsets: added to the outputs of the layers they name. The gradient by an offset of zeros is the gradient by
            the activation.
        visit: called with each output instead of keeping it, so that no more than one need be in memory.

    Raises:
        InputError: a name that the model does not have, or an offset of a layer that is not recorded.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> with ns.measures.capture(model, ["0", "1"]) as seen:
    ...     _ = model(torch.randn(50, 4))
    >>> bool((seen.activations["1"] == seen.activations["0"].relu()).all())
    True
    """
    modules = _modules(model, layers)
    offsets = offsets or {}
    surplus = [name for name in offsets if name not in layers]
    if surplus:
        raise InputError(f"offset of {surplus[0]!r}, which is not recorded; recorded are {', '.join(layers)}")
    record = Capture()

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            if name in offsets:
                output = output + offsets[name]
            if visit is None:
                record.activations[name] = output
            else:
                visit(name, output)
            return output.clone()  # what follows may work in place, as nn.ReLU(inplace=True) does

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@checked
def layer_names(model: nn.Module) -> list[str]:
    """The names of a model's hidden layers, in order: the one way the project names a layer.

    The children of its ``layers``, where it has such a list of modules with weights and a readout beside it (as the
    project's own networks have); otherwise every linear and convolutional module except the last, the readout.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.layer_names(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)))
    ['0']
    """
    units = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = [name for name, module in model.named_modules() if isinstance(module, units)]
    layers = getattr(model, "layers", None)
    if isinstance(layers, nn.ModuleList) and not all(name.startswith("layers.") for name in found):
        weighted = [any(p.ndim >= 2 for p in layer.parameters()) for layer in layers]
        if all(weighted):
            return [f"layers.{name}" for name, _ in layers.named_children()]
    return found[:-1]


@checked
def weight_names(model: nn.Module, layers: Sequence[str]) -> dict[str, str]:
    """Layer name -> name of the parameter that holds its units' incoming weights: its first of two or more axes.

    Raises:
        InputError: a name that the model does not have, or a layer without such a parameter.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.measures.weight_names(model, ["0", "2"])
    {'0': '0.weight', '2': '2.weight'}
    """
    names = {}
    for layer, module in _modules(model, layers).items():
        weights = [f"{layer}.{name}" for name, p in module.named_parameters() if p.ndim >= 2]
        if not weights:
            raise InputError(
                f"layer {layer!r} ({type(module).__name__}) has no weights of units; name a layer that has"
            )
        names[layer] = weights[0]
    return names


def _modules(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    missing = [name for name in layers if name not in modules]
    if missing:
        raise InputError(f"the model has no layer {missing[0]!r}; its layers are {', '.join(layer_names(model))}")
    return {name: modules[name] for name in layers}
