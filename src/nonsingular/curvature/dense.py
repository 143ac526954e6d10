r"""Dense Hessians layer pair by layer pair, instead of by products with the identity.

This is for models whose chosen parameters belong to linear layers that act on one vector a sample, whatever
lies between them. Add :math:`\delta_l` to the output of layer l, :math:`h_l = W_l x_l + b_l + \delta_l`, and call the
loss as a function of all of these :math:`\Psi`. A change of layer l's parameters is :math:`\delta_l = \Delta_l
\tilde x_l`, with :math:`\tilde x_l` the input and a 1 for the bias. So for l before m, summed over samples,

.. math::
    H_{(l,ab),(m,ij)} = \tilde x_{l,b}\, \tilde x_{m,j}\, \frac{\partial^2 \Psi}
    {\partial\delta_{l,a}\,\partial\delta_{m,i}} + \tilde x_{l,b}\, \frac{\partial \Psi}{\partial\delta_{m,i}}\,
    \frac{\partial x_{m,j}}{\partial\delta_{l,a}} .

Both derivatives need one direction a unit instead of one a parameter, and the sums are matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular import progress
from nonsingular.curvature.linearise import record
from nonsingular.curvature.problem import Problem
from nonsingular.objective import Batch

ROWS = "rows"  # what progress is counted in, of each batch
UNIT_BYTES = 2**27  # of per-sample derivatives with respect to some units of a layer, held at a time
SAMPLES = 512  # summed at a time, so that the factors stay in the processor's cache


class NotLayered(Exception):
    """The model is not of the kind that layer pairs need; the message says why."""


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
            for l in range(len(layers)):  # noqa: E741
                _add_row(blocks, problem, layers, batch, l, weight)
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


def _add_row(
    blocks: dict[tuple[int, int], Tensor],
    problem: Problem,
    layers: Sequence[_Layer],
    batch: Batch,
    l: int,  # noqa: E741
    weight: float,
) -> None:
    """Add one batch to ``blocks[l, m]``, m >= l, of shape [unit of l, its input and 1, unit of m, its input and 1]."""
    zeros = tuple(
        torch.zeros(batch.samples, layer.units, dtype=problem.dtype, device=problem.device) for layer in layers
    )

    def loss(deltas: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        value, seen = _tapped(problem, layers, batch, deltas)
        return value, [x for _, x in seen]

    def slopes_and_inputs(delta: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        slopes, inputs = torch.func.grad(loss, has_aux=True)((*zeros[:l], delta, *zeros[l + 1 :]))
        return slopes[l:], inputs[l:]

    def along(direction: Tensor) -> Sequence[Tensor]:
        curved, moved = torch.func.jvp(slopes_and_inputs, (zeros[l],), (direction,))[1]
        return [*curved, *moved]

    slopes, inputs = (tuple(t.detach() for t in ts) for ts in slopes_and_inputs(zeros[l]))
    ones = torch.ones(batch.samples, 1, dtype=problem.dtype, device=problem.device)
    augmented = [torch.cat([x, ones], 1) for x in inputs]
    linear = record(along, (zeros[l],), float("inf"))
    units, width = layers[l].units, sum(t.shape[1] for t in (*slopes, *inputs))
    for m, layer in enumerate(layers[l:], l):
        if (l, m) not in blocks:
            shape = (units, layers[l].inputs + 1, layer.units, layer.inputs + 1)
            blocks[l, m] = torch.zeros(shape, dtype=problem.dtype, device=problem.device)
    at_once = max(1, UNIT_BYTES // (8 * batch.samples * width))
    for some in torch.eye(units, dtype=problem.dtype, device=problem.device).split(at_once):
        out = linear.stacked(some[:, None, :].expand(-1, *zeros[l].shape))
        curved, moved = out[: len(slopes)], out[len(slopes) :]
        which = slice(int(some[0].argmax()), int(some[0].argmax()) + len(some))
        for m in range(len(slopes)):
            moving = (slopes[m], moved[m]) if m else None  # a layer's own input stays
            _add_products(blocks[l, l + m][which], weight, augmented[0], augmented[m], curved[m], moving)
        progress.count(ROWS, len(some) * augmented[0].shape[1])


def _add_products(
    block: Tensor, weight: float, first: Tensor, second: Tensor, curved: Tensor, moving: tuple[Tensor, Tensor] | None
) -> None:
    """Add to ``block[a, b, i, j]`` the samples' sum of ``first[b] (second[j] curved[a, i] + slope[i] moved[a, j])``."""
    a, b, i, j = block.shape
    for start in range(0, len(first), SAMPLES):
        part = slice(start, start + SAMPLES)
        right = curved[:, part, :, None] * second[None, part, None, :]
        if moving is not None:
            slope, moved = moving
            right[..., : j - 1].addcmul_(slope[None, part, :, None], moved[:, part, None, :])
        left = first[part].mT.expand(a, b, -1)
        block.view(a, b, i * j).baddbmm_(left, right.view(a, -1, i * j), alpha=weight)


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
