"""The user's model is theirs: everything a look changes is put back, whatever happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from nonsingular.errors import InputError


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Within, the model may run in any mode; afterwards modes, buffers and random states are as they were.

    Gradients are none of its business: take them with ``torch.autograd.grad``, which leaves ``.grad`` alone. Buffers
    have stand-ins: a graph that waits for its backward pass may hold the model's own, which must not be written to.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, buffer) for m in model.modules() for name, buffer in m.named_buffers(recurse=False)]
    values = {id(buffer): (buffer, _version(buffer), buffer.detach().clone()) for _, _, buffer in buffers}
    stand_ins = {i: buffer if buffer.requires_grad else value.clone() for i, (buffer, _, value) in values.items()}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        for module, name, buffer in buffers:
            setattr(module, name, stand_ins[id(buffer)])
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        with torch.no_grad():
            for buffer, version, value in values.values():
                if _version(buffer) != version:  # it has another name beside that of the module's
                    buffer.copy_(value)


def _version(buffer: Tensor) -> int:
    """How often it was written to; what was made in inference mode does not count it."""
    return -1 if buffer.is_inference() else buffer._version


@contextmanager
def as_training(model: nn.Module) -> Iterator[None]:
    """Training mode without what is random; the modes are put back by ``untouched``."""
    model.train()
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.training = module.training and not module.dropout
    yield


def as_evaluated(model: nn.Module, run: Callable[[], object]) -> None:
    """Evaluation mode, in which running statistics near their start are those of a pass; within ``untouched``.

    At their start, a mean of 0 and a variance of 1, they make another network of it than the one that is trained.

    Args:
        model: whose buffers ``untouched`` puts back.
        run: the pass.
    """
    fresh = [m for m in model.modules() if isinstance(m, _NormBase) and _near_start(m)]
    if fresh:
        momenta = [m.momentum for m in fresh]
        try:
            for m in fresh:
                m.momentum = 1.0
            with as_training(model), torch.no_grad():
                run()
        except InputError:  # it does not train on so few
            for m in fresh:
                m.reset_running_stats()
        finally:
            for m, momentum in zip(fresh, momenta, strict=True):
                m.momentum = momentum
    model.eval()


def _near_start(m: _NormBase) -> bool:
    """Whether running statistics are those of the start, or still hold some of it."""
    mean, deviation, batches = m.running_mean, m.running_var, m.num_batches_tracked
    if mean is None or deviation is None:
        return False
    left = (1 - m.momentum) ** int(batches) if batches is not None and m.momentum is not None else 0.0
    moved = bool(mean.any()) or not bool((deviation == 1).all())
    return LEFT < left < 1 if moved else True


LEFT = 0.01  # of the start in running statistics, from where they are not the data's
