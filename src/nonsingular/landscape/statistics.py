"""Running statistics of batch normalisation, taken anew at other weights.

Between two networks the statistics of both say little: activations there have other means and variances. Recomputing
them at every point shows the loss that a network with those weights would have (Garipov et al. 2018; Jordan et al.
2023 repair interpolated networks so).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = ("given", "recomputed")


def normalisations(model: nn.Module) -> dict[str, nn.Module]:
    """Batch normalisations that keep running statistics, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is not None}


def recomputed(
    layers: dict[str, nn.Module], passes: Iterable[Callable[[], Any]], total: Callable[[Tensor], Tensor] = lambda t: t
) -> dict[str, Tensor]:
    """Running means and variances as ``torch.optim.swa_utils.update_bn`` gives them.

    Args:
        layers: from ``normalisations``, in train mode while the passes run: each normalises by its batch.
        passes: pass one batch each through the network, at the weights wanted.
        total: adds a float64 vector up over all processes that hold a part of the batches.

    Returns:
        Names of buffers -> the mean over batches of each batch's mean, and of its unbiased variance.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach()
            var, mean = torch.var_mean(x, [axis for axis in range(x.dim()) if axis != 1])
            seen[name].append((mean, var))

        return hook

    handles = [layer.register_forward_hook(look(name)) for name, layer in layers.items()]
    try:
        for run in passes:
            run()
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, moments in seen.items():
        if moments:
            # One vector: how many batches, the sums of their means, and those of their variances.
            sums = [torch.stack([m[k] for m in moments]).double().sum(0) for k in (0, 1)]
            added = total(torch.cat([sums[0].new_tensor([len(moments)]), *sums]))
            means = (added[1:] / added[0]).to(moments[0][0])
            found[f"{name}.running_mean"], found[f"{name}.running_var"] = means.chunk(2)
    return found
