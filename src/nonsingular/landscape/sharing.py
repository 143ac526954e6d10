r"""Linear layers by other ways than their own; those of the data themselves need no product at a point.

At coordinates c a layer of the data gives :math:`(W + \sum_k c_k D_k) x + b + \sum_k c_k d_k`: what it gives with the
centre's weights, plus c_k times what it gives with a direction's. These are computed once, and added up at every point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.landscape.fitting import Direction
from nonsingular.objective import Batch, Objective, available_bytes, tensors

FEWEST_INPUTS = 64
"""Of a layer that is shared: with fewer a product takes no longer than adding up (benchmarks/test_landscape.py)."""
MEMORY = 0.1
"""Share of what is available that outputs may take."""

Forwards = Mapping[nn.Linear, Callable[[Tensor], Tensor]]
_Place = tuple[int, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Shared:
    """Layers and, by the place of their input in memory, their outputs with the centre's weights and each direction's.

    Attributes:
        layers: layer -> place of an input -> outputs ``[centre and directions, ...]``.
    """

    layers: Mapping[nn.Linear, Mapping[_Place, Float[Tensor, "part *output"]]]

    def at(self, point: Float[Tensor, " direction"], otherwise: Forwards) -> Forwards:
        """The layers' forward passes at a point; what is no data goes through ``otherwise``, or their own."""
        c = torch.cat([point.new_ones(1), point])
        return {m: _added_up(otherwise.get(m, m.forward), known, c) for m, known in self.layers.items()}


@contextmanager
def computing(forwards: Forwards) -> Iterator[None]:
    """Within: these layers compute so."""
    for layer, forward in forwards.items():
        layer.forward = forward  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        for layer in forwards:
            del layer.forward


def linear_layers(model: nn.Module) -> dict[nn.Linear, str]:
    """The linear layers that are called as PyTorch's are, and their names."""
    return {m: n for n, m in model.named_modules() if type(m) is nn.Linear and "forward" not in vars(m)}


def share(
    objective: Objective, centre: Mapping[str, Tensor], directions: Sequence[Direction], pieces: Sequence[Batch]
) -> Shared | None:
    """The layers of the data that are large enough, if there are any and memory has room for their outputs.

    Args:
        objective: whose model is evaluated.
        centre: its parameters and buffers.
        directions: of the coordinates.
        pieces: of the data, which stay where they are in memory.
    """
    named = {
        m: n
        for m, n in linear_layers(objective.model).items()
        if m.in_features >= FEWEST_INPUTS and _plain(m) and {f"{n}.{p}" for p, _ in m.named_parameters()} <= {*centre}
    }
    layers: dict[nn.Linear, dict[_Place, Tensor]] = {}
    room = MEMORY * available_bytes(objective.device)
    for piece in pieces:
        for layer, place, x in _inputs(objective, centre, piece, list(named)):
            room -= (1 + len(directions)) * math.prod(x.shape[:-1]) * layer.out_features * x.element_size()
            if room < 0:
                return None
            layers.setdefault(layer, {})[place] = _outputs(named[layer], x, [centre, *directions])
        if not layers:
            return None
    return Shared(layers)


def _plain(layer: nn.Linear) -> bool:
    """Whether its weights are parameters, not made of others before each pass, as pruning and weight_norm do."""
    return {n for n, _ in layer.named_parameters()} == ({"weight"} if layer.bias is None else {"weight", "bias"})


def _inputs(
    objective: Objective, centre: Mapping[str, Tensor], piece: Batch, layers: Sequence[nn.Linear]
) -> list[tuple[nn.Linear, _Place, Tensor]]:
    """What layers are given of a piece as it lies in memory."""
    own = {t.untyped_storage().data_ptr() for t in tensors(piece.whole) if _place(t) is not None}
    found: list[tuple[nn.Linear, _Place, Tensor]] = []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        place = _place(args[0]) if args else None
        if place is not None and args[0].untyped_storage().data_ptr() in own:
            found.append((module, place, args[0]))  # type: ignore[arg-type]

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        if layers:
            objective.loss(centre, piece)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _outputs(name: str, x: Tensor, weights: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "part *output"]:
    shape = (*x.shape[:-1], len(weights[0][f"{name}.weight"]))
    parts = []
    for these in weights:
        weight, bias = these.get(f"{name}.weight"), these.get(f"{name}.bias")
        part = x.new_zeros(shape) if weight is None else F.linear(x, weight)
        parts.append(part if bias is None else part + bias)
    return torch.stack(parts)


def _added_up(
    plain: Callable[[Tensor], Tensor], known: Mapping[_Place, Tensor], c: Float[Tensor, " part"]
) -> Callable[[Tensor], Tensor]:
    def forward(input: Tensor) -> Tensor:
        place = _place(input)
        outputs = None if place is None else known.get(place)
        return plain(input) if outputs is None else (c @ outputs.flatten(1)).view(outputs.shape[1:])

    return forward


def _place(x: Tensor) -> _Place | None:
    """Where a tensor lies; None of one that is differentiated, or has no memory as under function transforms."""
    try:
        return None if x.requires_grad else (x.data_ptr(), tuple(x.shape), x.stride())
    except RuntimeError:
        return None
