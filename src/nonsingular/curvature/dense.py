r"""Dense Hessians layer pair by layer pair, instead of by products with the identity.

This is for models whose chosen parameters belong to linear layers that act on one vector a sample, whatever
lies between them. Add :math:`\delta_l` to the output of layer l, :math:`h_l = W_l x_l + b_l + \delta_l`, and call the
loss as a function of all of these :math:`\Psi`. A change of layer l's parameters is :math:`\delta_l = \Delta_l
\tilde x_l`, with :math:`\tilde x_l` the input and a 1 for the bias. So for l before m, summed over samples,

.. math::
    H_{(l,ab),(m,ij)} = \tilde x_{l,b}\, \tilde x_{m,j}\, \frac{\partial^2 \Psi}
    {\partial\delta_{l,a}\,\partial\delta_{m,i}} + \tilde x_{l,b}\, \frac{\partial \Psi}{\partial\delta_{m,i}}\,
    \frac{\partial x_{m,j}}{\partial\delta_{l,a}} .

Both derivatives need one direction a unit instead of one a parameter, and the sums are matrix products. They are taken
by backward passes alone: PyTorch's forward mode and ``vmap`` first load its compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular import progress
from nonsingular.curvature.outputs import pushing
from nonsingular.curvature.problem import Problem
from nonsingular.objective import Batch

ROWS = "rows"  # what progress is counted in, of each batch
SAMPLES = 512  # summed at a time, so that the factors stay in the processor's cache


class NotLayered(Exception):
    """The model is not of the kind that layer pairs need; the message says why."""


@torch.enable_grad()
def by_layer_pairs(problem: Problem) -> Float[Tensor, "P P"]:
    """The Hessian of a model of linear layers; see the module's docstring.

    The form assumes that samples do not influence one another and that weights are not used elsewhere. The caller must
    compare a product.

    Raises:
        NotLayered: a parameter belongs to no linear layer, or a layer does not act on one vector a sample, once.
    """
    layers = _linear_layers(problem)
    blocks: dict[tuple[int, int], Tensor] = {}
    rows = sum(layer.units * (layer.inputs + 1) for layer in layers)
    with progress.stretch("its matrix, layer by layer", rows * len(problem.batches), ROWS):
        for batch, weight in zip(problem.batches, problem.weights, strict=True):
            layers = _by_execution(problem, layers, batch)
            traced = _traced(problem, layers, batch)
            for l in range(len(layers)):  # noqa: E741
                _add_row(blocks, layers, traced, l, weight)
    return _assemble(problem, layers, blocks)


@dataclass(frozen=True)
class _Layer:
    """A linear layer and where its parameters lie in the flat vector (None: not among the chosen)."""

    module: nn.Linear
    weight: int | None
    bias: int | None

    @property
    def units(self) -> int:
        return self.module.out_features

    @property
    def inputs(self) -> int:
        return self.module.in_features

    def pieces(self) -> list[tuple[slice, slice, tuple[int, ...]]]:
        """(columns of the input with a 1, flat positions, shape) of the chosen ones of weight and bias."""
        found: list[tuple[slice, slice, tuple[int, ...]]] = []
        if self.weight is not None:
            flat = slice(self.weight, self.weight + self.units * self.inputs)
            found.append((slice(0, self.inputs), flat, (self.units, self.inputs)))
        if self.bias is not None:
            found.append(
                (slice(self.inputs, self.inputs + 1), slice(self.bias, self.bias + self.units), (self.units, 1))
            )
        return found


def _linear_layers(problem: Problem) -> list[_Layer]:
    sizes = [p.numel() for p in problem.params]
    offsets = {name: sum(sizes[:i]) for i, name in enumerate(problem.names)}
    layers = []
    for name, module in problem.model.named_modules():
        keys = (f"{name}.weight" if name else "weight", f"{name}.bias" if name else "bias")
        if type(module) is nn.Linear and any(k in offsets for k in keys):
            layers.append(_Layer(module, offsets.pop(keys[0], None), offsets.pop(keys[1], None)))
    if offsets:
        raise NotLayered(f"{next(iter(offsets))} belongs to no linear layer")
    return layers


def _tapped(
    problem: Problem, layers: Sequence[_Layer], batch: Batch, deltas: Sequence[Tensor] | None
) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The loss with ``deltas`` added to the layers' outputs, and (layer, input) in the order of execution."""
    seen: list[tuple[int, Tensor]] = []

    def hook(index: int) -> Callable[..., Tensor]:
        def tap(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen.append((index, args[0]))
            return output if deltas is None else output + deltas[index]

        return tap

    handles = [layer.module.register_forward_hook(hook(i)) for i, layer in enumerate(layers)]
    try:
        return problem.loss(problem.params, batch), seen
    finally:
        for handle in handles:
            handle.remove()


def _by_execution(problem: Problem, layers: list[_Layer], batch: Batch) -> list[_Layer]:
    with torch.no_grad():
        _, seen = _tapped(problem, layers, batch, None)
    if sorted(i for i, _ in seen) != list(range(len(layers))):
        raise NotLayered("a layer is not used exactly once")
    if any(x.dim() != 2 or len(x) != batch.samples for _, x in seen):
        raise NotLayered("a layer acts on more than one vector a sample")
    return [layers[i] for i, _ in seen]


@dataclass(frozen=True)
class _Traced:
    """One batch with its graph: what was added to layers' outputs, the loss's slopes by it, and layers' inputs."""

    deltas: Sequence[Tensor]
    slopes: Sequence[Tensor]
    inputs: Sequence[Tensor]


def _traced(problem: Problem, layers: Sequence[_Layer], batch: Batch) -> _Traced:
    like = torch.empty((), dtype=problem.dtype, device=problem.device)
    deltas = [like.new_zeros(batch.samples, layer.units, requires_grad=True) for layer in layers]
    loss, seen = _tapped(problem, layers, batch, deltas)
    slopes = torch.autograd.grad(loss, deltas, create_graph=True, materialize_grads=True)
    return _Traced(deltas, slopes, [x for _, x in seen])


def _add_row(
    blocks: dict[tuple[int, int], Tensor],
    layers: Sequence[_Layer],
    traced: _Traced,
    l: int,  # noqa: E741
    weight: float,
) -> None:
    """Add one batch to ``blocks[l, m]``, m >= l, of shape [unit of l, its input and 1, unit of m, its input and 1]."""
    delta, slopes, inputs = traced.deltas[l], traced.slopes[l:], traced.inputs[l:]
    along = pushing([*slopes, *inputs[1:]], [delta])  # a layer's own input stays
    slopes, ones = [s.detach() for s in slopes], torch.ones_like(delta[:, :1])
    augmented = [torch.cat([x.detach(), ones], 1) for x in inputs]
    for m, layer in enumerate(layers[l:], l):
        if (l, m) not in blocks:
            blocks[l, m] = slopes[0].new_zeros(layers[l].units, layers[l].inputs + 1, layer.units, layer.inputs + 1)
    for unit in range(layers[l].units):
        direction = torch.zeros_like(delta)
        direction[:, unit] = 1
        out = along([direction])
        curved, moved = out[: len(slopes)], out[len(slopes) :]
        for m in range(len(slopes)):
            moving = (slopes[m], moved[m - 1]) if m else None
            _add_products(blocks[l, l + m][unit], weight, augmented[0], augmented[m], curved[m], moving)
        progress.count(ROWS, augmented[0].shape[1])


def _add_products(
    block: Tensor, weight: float, first: Tensor, second: Tensor, curved: Tensor, moving: tuple[Tensor, Tensor] | None
) -> None:
    """Add to ``block[b, i, j]`` the samples' sum of ``first[b] (second[j] curved[i] + slope[i] moved[j])``."""
    b, i, j = block.shape
    for start in range(0, len(first), SAMPLES):
        part = slice(start, start + SAMPLES)
        right = curved[part, :, None] * second[part, None, :]
        if moving is not None:
            slope, moved = moving
            right[..., : j - 1].addcmul_(slope[part, :, None], moved[part, None, :])
        block.view(b, i * j).addmm_(first[part].mT, right.flatten(1), alpha=weight)


def _assemble(problem: Problem, layers: Sequence[_Layer], blocks: dict[tuple[int, int], Tensor]) -> Tensor:
    matrix = torch.empty(problem.size, problem.size, dtype=problem.dtype, device=problem.device)
    for (l, m), block in blocks.items():  # noqa: E741
        for rows, row_positions, row_shape in layers[l].pieces():
            for columns, column_positions, column_shape in layers[m].pieces():
                part = block[:, rows, :, columns]
                target = matrix[row_positions, column_positions]
                target.unflatten(1, column_shape).unflatten(0, row_shape).copy_(part)
                if l != m:
                    matrix[column_positions, row_positions] = target.mT
    return matrix
