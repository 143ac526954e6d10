"""Samples that do not influence one another, while every module stays in the mode it is in."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

MIXING = (_NormBase, nn.RNNBase)
"""Modules of torch's that mix samples or draw numbers in train mode, beside those that call a function for it."""


class Calm(TorchFunctionMode):
    """Within: functions that are told by ``training=`` to drop entries, or to take a batch's statistics, do not.

    >>> import torch
    >>> with Calm():
    ...     torch.nn.Dropout()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("training") is True and not (func is F.batch_norm and args[1] is None):  # no other statistics
            kwargs["training"] = False
        if kwargs.get("dropout_p"):  # attention
            kwargs["dropout_p"] = 0.0
        return func(*args, **kwargs)
