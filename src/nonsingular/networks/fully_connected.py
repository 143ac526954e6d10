"""Fully-connected networks with and without skip connections (orhan2018 §2.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.shapes import check_dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": F.gelu,
    "leaky-relu": F.leaky_relu,
    "linear": lambda x: x,
}


@checked
class Layer(nn.Module):
    """One hidden layer, ``f(norm(W x + b)) + S x + more``; its output is the layer's activation.

    Args:
        inputs: units of the layer before.
        units: units of this layer.
        activation: name of f.
        skip: the matrix S (fixed), ``"identity"``, or None.
        batch_norm: whether the pre-activation is batch-normalised (Ioffe and Szegedy 2015).

    Raises:
        InputError: unknown activation, or a skip that is neither a matrix of the layer's shape nor ``"identity"``.

    >>> import torch
    >>> import nonsingular as ns
    >>> layer = ns.networks.Layer(8, 8, "relu", skip="identity")
    >>> for parameter in layer.parameters():
    ...     _ = torch.nn.init.zeros_(parameter)
    >>> x = torch.randn(3, 8)
    >>> torch.equal(layer(x), x)  # what is left is the skip
    True
    """

    skip: Tensor | None

    def __init__(
        self,
        inputs: int,
        units: int,
        activation: str = "relu",
        skip: Tensor | str | None = None,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
        if isinstance(skip, str) and (skip != "identity" or inputs != units):
            raise InputError(f"a skip to {units} units from {inputs} is a matrix, or 'identity' if equal; got {skip!r}")
        if isinstance(skip, Tensor) and skip.shape != (units, inputs):
            raise InputError(f"a skip matrix must have shape {(units, inputs)} here, got {tuple(skip.shape)}")
        # A bias before batch normalisation has no effect and no gradient but rounding; the norm brings its own.
        self.linear = nn.Linear(inputs, units, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(units) if batch_norm else None
        self.activation = activation
        self.identity = isinstance(skip, str)
        self.register_buffer("skip", skip if isinstance(skip, Tensor) else None)

    def forward(
        self, x: Float[Tensor, "sample inputs"], more: Float[Tensor, "sample units"] | None = None
    ) -> Float[Tensor, "sample units"]:
        """The layer's activation; ``more`` is what skip connections from earlier layers bring."""
        h = self.linear(x)
        if self.norm is not None:
            h = self.norm(h.to(self.norm.weight.dtype))  # under autocast and vmap together it takes no mixed types
        y = ACTIVATIONS[self.activation](h)
        if self.identity:
            y = y + x
        elif self.skip is not None:
            y = y + x @ self.skip.mT
        return y if more is None else y + more

    def extra_repr(self) -> str:  # noqa: D102
        skip = "identity" if self.identity else None if self.skip is None else "matrix"
        return f"activation={self.activation}, skip={skip}"


@checked
class FullyConnected(nn.Module):
    r"""``depth`` hidden layers of ``width`` units and a linear readout (the softmax is in the loss).

    Plain, with ``skip=None``: :math:`x_{l+1} = f(W_l x_l + b_{l+1})`. Residual: :math:`+\, S x_l` from the second
    hidden layer on. Hyper-residual, with ``earlier``: further
    :math:`+\, \frac{1}{l-1} \sum_{k=1}^{l-1} Q_k x_k` for :math:`l \ge 2` (orhan2018 §2.3).

    Args:
        inputs: number of inputs; images are flattened.
        classes: number of outputs.
        depth: hidden layers.
        width: units in each.
        activation: a name in ``ACTIVATIONS``.
        skips: skip matrices of layers 2 to ``depth``, each a matrix, ``"identity"`` or None; missing ones are None.
        earlier: the matrices Q of a hyper-residual network, ``depth - 2`` of them.
        batch_norm: the hidden layers, counted from 1, whose pre-activation is batch-normalised.
        dropout: share of each hidden layer's activations that the next one does not see while training.

    Raises:
        InputError: unknown activation, sizes below 1, a dropout outside [0, 1), or skips whose number or shape does not
            fit.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.FullyConnected(inputs=64, classes=10, depth=3, width=16, skips=["identity", None])
    >>> network(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """

    earlier: Tensor | None

    def __init__(
        self,
        inputs: int,
        classes: int,
        depth: int = 20,
        width: int = 128,
        activation: str = "relu",
        skips: Sequence[Tensor | str | None] = (),
        earlier: Float[Tensor, "layer width width"] | None = None,
        batch_norm: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_dropout(dropout)
        for name, value in {"inputs": inputs, "classes": classes, "depth": depth, "width": width}.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if len(skips) > depth - 1:
            raise InputError(f"{depth} layers have at most {depth - 1} skips, got {len(skips)}")
        if earlier is not None and earlier.shape != (depth - 2, width, width):
            raise InputError(f"earlier must have shape {(depth - 2, width, width)}, got {tuple(earlier.shape)}")
        if not all(1 <= layer <= depth for layer in batch_norm):
            raise InputError(f"batch_norm names layers 1 to {depth}, got {tuple(batch_norm)}")
        skips = [None, *skips, *[None] * (depth - 1 - len(skips))]
        self.layers = nn.ModuleList(
            Layer(inputs if i == 0 else width, width, activation, skips[i], i + 1 in batch_norm) for i in range(depth)
        )
        self.readout = nn.Linear(width, classes)
        self.dropout = dropout
        self.register_buffer("earlier", earlier)

    def forward(self, x: Float[Tensor, "sample ..."]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        x = x.flatten(1)
        if self.earlier is None:
            for layer in self.layers:
                x = self._dropped(layer(x))
        else:
            x = self._hyper_residual(x, self.earlier)
        return self.readout(x)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def _hyper_residual(self, x: Tensor, Q: Tensor) -> Tensor:
        # Q_k depends on the sender alone, so the sum over earlier layers grows by one term a layer.
        total: Tensor | None = None
        for l, layer in enumerate(self.layers):  # noqa: E741
            sender = x
            x = self._dropped(layer(x, None if total is None else total / (l - 1)))
            if 1 <= l <= len(Q):  # the last layer sends nothing on
                term = sender @ Q[l - 1].mT
                total = term if total is None else total + term
        return x
