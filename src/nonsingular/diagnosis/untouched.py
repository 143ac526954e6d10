"""The user's model is theirs: everything a look changes is put back, whatever happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Within, the model may run in any mode; afterwards modes, buffers and random states are as they were.

    Gradients are none of its business: take them with ``torch.autograd.grad``, which leaves ``.grad`` alone.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                setattr(module, name, buffer)  # a module may have bound a new tensor to the name


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
