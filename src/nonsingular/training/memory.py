"""How many runs of a vectorised step fit in memory."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from nonsingular.data import Task
from nonsingular.training.population import Population
from nonsingular.training.spec import TrainingSpec


def runs_that_fit(network: nn.Module, task: Task, spec: TrainingSpec, device: torch.device, share: float = 0.4) -> int:
    """How many runs of one vectorised step fit in ``share`` of the free memory, at least 1.

    Counted per run: parameters, gradients and two optimiser moments; what autograd keeps of a forward pass, twice, for
    the gradients that flow back; and the batch. Measured on a pass without data (device ``meta``).
    """
    skeleton = Population([network], "meta")
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        kept[id(t.untyped_storage())] = t.untyped_storage().nbytes()
        return t

    inputs = torch.empty(1, spec.batch, *task.shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        skeleton(inputs)
    parameters = sum(p.numel() * p.element_size() for p in skeleton.parameters.values())
    activations = sum(kept.values())
    a_run = 4 * parameters + 2 * activations + 2 * inputs.numel() * inputs.element_size()
    return max(1, int(share * _free_memory(device) / a_run))


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
