"""Whether a population is computed in one vectorised call or network after network, by what was measured.

The choice follows from the networks and the protocol alone, never from a clock or from the machine: a study that is
resumed, or computed elsewhere, takes the same way and rounds alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nonsingular.data import Task
from nonsingular.dispatch import Dispatch
from nonsingular.objective.randomness import seeded
from nonsingular.training.population import Population, convolves
from nonsingular.training.spec import TrainingSpec

MOST_WORK = 2e7
"""Multiply-adds of a network's mean convolution in one step, up to which a CPU gains from a grouped one.

Measured with AVX-512, one and two threads, ResNet-20 of 4 to 16 channels on 8 x 8 to 32 x 32 pixels, 2 to 10 runs:
vectorised steps take 0.4 to 0.8 times as long below 1e7, 0.7 to 1.1 times (0.86 on average) at 2e7, and 0.9 to 2 times
from 7e7 on (benchmarks/test_convolutional_training.py).
"""


def vectorises(networks: Sequence[nn.Module], task: Task, spec: TrainingSpec, device: torch.device) -> bool:
    """Whether the steps of these networks are vectorised unless asked otherwise.

    On a GPU all are (for convolutions that is not measured). On a CPU those are not that draw random numbers: a run's
    dropout shall not depend on its neighbours. Of the others networks without convolutions are, and several with small
    ones, in float32 (torch's automatic casts do not reach vectorised convolutions). They are tried, so that those
    which a vectorised call cannot compute stay apart.
    """
    if device.type == "cuda":
        return True
    if not convolves(networks[0]):
        seen = _tried(networks[:1], task, min(spec.batch, len(task.train_labels)), device)
        return seen is None or not seen.random
    if len(networks) == 1 or spec.precision == "bfloat16":
        return False
    seen = _tried(networks[:2], task, 2, device)
    if seen is None or seen.random or not seen.work:
        return False
    return sum(seen.work) / len(seen.work) * spec.batch / 4 <= MOST_WORK  # of two networks on two samples


def _tried(networks: Sequence[nn.Module], task: Task, samples: int, device: torch.device) -> _Seen | None:
    """What a step of copies of these networks calls, or None where they cannot be computed so."""
    some, seen = Population(networks, device, vectorised=len(networks) > 1), _Seen()
    some.train()
    try:
        with torch.no_grad(), seeded(0, device), seen:
            some(task.train_inputs[:samples], shared=True)
    except Exception:  # a network that looks at its own numbers, say; what is wrong with others is told when they train
        return None
    return seen


class _Seen(Dispatch):
    """The work of the convolutions that are called, in multiply-adds, and whether random numbers are drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[int] = []
        self.random = False

    def dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run it, and note what it costs."""
        output = func(*args, **kwargs)
        if func is torch.ops.aten.convolution.default:
            weight: Tensor = args[1]
            self.work.append(output.numel() * weight[0].numel())
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        return output
