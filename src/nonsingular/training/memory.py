"""The memory of training steps: how many runs fit, and that one step leaves its memory to the next."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.data import Task
from nonsingular.memory import available_bytes
from nonsingular.training.population import Population
from nonsingular.training.spec import TrainingSpec

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
FEW = 2
"""Samples that memory is measured with; batch normalisation takes no single one."""
MOST_RUNS = 10**9  # where the system does not say how much memory there is
_KEPT, _MAPPED = 2**31 - 1, (2**25, 2**30)  # bytes; older versions refuse the second


def keep_freed_memory() -> None:
    """Let this process keep what a step has freed for the next one, instead of giving it back to the system.

    A step frees all its activations, and glibc returns them as soon as they lie at the end of the heap. Each page that
    the next step takes is then a page fault: 15 000 of them in a step of ResNet-20, 8 % of its time. Where there is no
    such setting nothing happens, nor where the user has chosen by an environment variable of glibc.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        for size in _MAPPED:
            libc.mallopt(_MMAP_THRESHOLD, size)


def _give_back_freed_memory() -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@checked
def runs_that_fit(network: nn.Module, task: Task, spec: TrainingSpec, device: torch.device, share: float = 0.4) -> int:
    """How many runs of one vectorised step fit in ``share`` of the free memory, at least 1.

    Counted per run: parameters, gradients and two optimiser moments; what autograd keeps of a forward pass, twice, for
    the gradients that flow back; and the batch. Measured on a pass of few samples.

    >>> import torch
    >>> import nonsingular as ns
    >>> task = ns.data.prepare(ns.data.DataSpec("digits", train=300, test=100))
    >>> network = ns.networks.build(ns.networks.named("plain", depth=3, width=16), 64, 10, seed=0)
    >>> ns.training.runs_that_fit(network, task, ns.TrainingSpec(batch=50), torch.device("cpu")) >= 1
    True
    """
    alone = Population([network])
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    inputs = torch.zeros(1, FEW, *task.shape)  # zeros on device ``meta`` would load a compiler, which takes seconds
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        outputs = alone(inputs)  # holds what is kept, so that no two have one address
    fixed = {t.untyped_storage().data_ptr() for t in (*alone.parameters.values(), *alone.buffers.values())}
    growth = spec.batch / FEW
    parameters = sum(p.numel() * p.element_size() for p in alone.parameters.values())
    activations = sum(size if at in fixed else growth * size for at, size in kept.items())
    a_run = 4 * parameters + 2 * activations + 2 * growth * inputs.numel() * inputs.element_size()
    del outputs
    _give_back_freed_memory()
    return max(1, int(min(share * available_bytes(device) / a_run, MOST_RUNS)))
