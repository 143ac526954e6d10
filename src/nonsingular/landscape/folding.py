"""Batch normalisation in evaluation mode is an affine map of channels: folded into the convolution before it.

Folding a whole network costs less than one image, and saves a pass over every activation at every point of a surface.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Folded:
    """A network without its foldable batch normalisations, and how its weights follow from the original's.

    Attributes:
        module: the network, with a bias in every layer that took in a normalisation.
        layers: layer name -> (name of the normalisation, its eps, whether the layer had a bias, whether it is affine).
    """

    module: nn.Module
    layers: dict[str, tuple[str, float, bool, bool]]

    def state(self, original: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The folded network's parameters and buffers from the original's.

        Args:
            original: all parameters and buffers of the original, by name.
        """
        folded = {name: original[name] for name in self.module.state_dict() if name in original}
        for layer, (norm, eps, biased, affine) in self.layers.items():
            scale = torch.rsqrt(original[f"{norm}.running_var"] + eps)
            if affine:
                scale = scale * original[f"{norm}.weight"]
            weight = original[f"{layer}.weight"]
            shift = -original[f"{norm}.running_mean"]
            if biased:
                shift = shift + original[f"{layer}.bias"]
            shift = shift * scale
            folded[f"{layer}.weight"] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
            folded[f"{layer}.bias"] = shift + original[f"{norm}.bias"] if affine else shift
        return folded


def fold(model: nn.Module) -> Folded | None:
    """The folded network, or None where nothing can be folded or the model's flow of control cannot be traced.

    Args:
        model: in evaluation mode; it is copied.
    """
    if len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False))):
        return None  # a shared weight would need two foldings
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model))
    except Exception:  # whatever goes wrong in tracing, there is another way
        return None
    modules = dict(traced.named_modules())
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    once = {target for target in modules if sum(node.target == target for node in calls) == 1}
    layers: dict[str, tuple[str, float, bool, bool]] = {}
    for node in calls:
        norm, before = modules[node.target], node.args[0] if node.args else None
        if not (_normalises(norm) and isinstance(before, fx.Node) and before.op == "call_module"):
            continue
        layer = modules[before.target]
        if not (type(layer) in _FOLDABLE and len(before.users) == 1 and {node.target, before.target} <= once):
            continue
        layers[str(before.target)] = str(node.target), norm.eps, layer.bias is not None, norm.affine
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    if not layers:
        return None
    traced.delete_all_unused_submodules()
    traced.recompile()
    return Folded(traced, layers)


def _normalises(module: nn.Module) -> bool:
    """Batch normalisation with running statistics."""
    return isinstance(module, _BatchNorm) and not module.training and module.running_var is not None
