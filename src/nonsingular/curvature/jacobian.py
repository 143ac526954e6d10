"""The derivative of a model's outputs with respect to its parameters, as an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.curvature.adjoint import refuse_disagreement
from nonsingular.curvature.algebra import PRODUCTS, Linear
from nonsingular.curvature.choosing import Choice
from nonsingular.curvature.linearise import LinearMap
from nonsingular.curvature.outputs import Select, Tensors, floats, outputs_on, pulled, pushed
from nonsingular.curvature.problem import Params, Problem
from nonsingular.curvature.recorded import Recorded, columns
from nonsingular.curvature.vectors import Layout
from nonsingular.errors import InputError
from nonsingular.objective import FAILURES, Batch, Objective, brought, told
from nonsingular.spelling import spelled


@checked
class Jacobian(Linear):
    r"""The Jacobian :math:`\partial z / \partial\theta` ``[outputs, P]`` of all outputs z on all the data.

    Rows are the batches' outputs one after another, each flattened row by row: sample by sample where samples lead.
    ``J @ v`` says how the outputs change along v, ``J.T @ u`` is the gradient of :math:`u^\top z`; both are recorded
    once a batch. ``J @ J.T`` is the empirical neural tangent kernel (Jacot, Gabriel and Hongler 2018), with all that
    `Symmetric` can do; the weighted ``J.T @ J`` of a loss is `GaussNewton`.

    Args:
        model: any module, copied and never changed; or an `Objective`, whose model, data, seed and dtype are taken.
        batches: as `Objective` takes data; targets are not looked at.
        params: as `Curvature` takes them.
        outputs: what of the model's output is meant, as a function of it (``lambda out: out.logits``); by default all
            real numbers that it holds.
        mode: as for `Curvature`.
        seed: for models that draw random numbers; see `Objective`.
        linearise: as for `Curvature`.
        dtype: compute in this precision; the parameters' own by default, float32 where they have 16 bits.
        channels_last: as for `Curvature`.
        memory: bytes that recordings of both sides may keep; by default 60 % of what is available.

    Raises:
        InputError: no parameters or batches, outputs without real numbers or that do not depend on the parameters,
            what an `Objective` has already, active dropout, out of memory.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, x = torch.nn.Linear(3, 2), torch.randn(8, 3)
    >>> J = ns.curvature.Jacobian(model, x)
    >>> J.shape
    (16, 8)
    >>> change = J @ {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    >>> torch.allclose(change["0"], x.sum(1, keepdim=True).expand(8, 2), atol=1e-6)
    True
    >>> (J @ J.T).eigenpairs(2).vectors.shape
    torch.Size([16, 2])
    """

    @spelled
    def __init__(
        self,
        model: nn.Module | Objective,
        batches: Any = None,
        params: Choice | Iterable[Choice] | None = None,
        *,
        outputs: Select | None = None,
        mode: str | None = None,
        seed: int | None = None,
        linearise: bool = True,
        dtype: torch.dtype | None = None,
        channels_last: bool | None = None,
        memory: float | None = None,
    ) -> None:
        self.problem = Problem(
            _without_loss(model, batches, outputs, mode=mode, seed=seed, dtype=dtype), params, channels_last
        )
        self.problem.check(
            "the model's output", lambda p, batch: _size(self.problem.output(p, batch), outputs), second=False
        )
        self.outputs = outputs
        self._shapes = [self._shapes_on(batch) for batch in self.problem.batches]
        options: dict[str, Any] = {"linearise": linearise, "memory": memory}
        self._forwards = _Forwards(self.problem, self._shapes, outputs, **options)
        self._backwards = _Backwards(self.problem, self._shapes, outputs, **options)
        self._forwards.beside, self._backwards.beside = self._backwards, self._forwards

    def _shapes_on(self, batch: Batch) -> list[torch.Size]:
        with torch.no_grad():
            return [t.shape for t in outputs_on(self.problem, batch, self.outputs)(self.problem.params)]

    @property
    def shape(self) -> tuple[int, int]:
        """``(outputs, P)``."""
        return sum(s.numel() for shapes in self._shapes for s in shapes), self.problem.size

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.problem.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.problem.device

    @property
    def layout(self) -> Layout:
        """Which columns belong to which parameter."""
        return Layout(self.problem.names, tuple(p.shape for p in self.problem.params))

    @property
    def rows(self) -> Layout:
        """Which rows are which batch's outputs: ``"0"``, ``"1"``, or ``"0.0"``, ``"0.1"`` of models with several."""
        named = {
            f"{i}.{k}" if len(shapes) > 1 else f"{i}": shape
            for i, shapes in enumerate(self._shapes)
            for k, shape in enumerate(shapes)
        }
        return Layout(tuple(named), tuple(named.values()), "output")

    @property
    def linearised(self) -> bool:
        """Whether every batch is recorded, both ways (records them if that has not happened yet)."""
        return self._forwards.linearised and self._backwards.linearised

    @property
    def nbytes(self) -> int:
        """Memory that the recordings keep, bytes."""
        return self._forwards.nbytes + self._backwards.nbytes

    def _told(self) -> Sequence[str]:
        return self.problem.told

    def _product(self, v: Float[Tensor, "P *columns"]) -> Float[Tensor, "outputs *columns"]:
        found = torch.cat([self._forwards.times(i, v) for i in range(len(self._shapes))])
        progress.count(PRODUCTS, 1 if v.dim() == 1 else v.shape[1])
        return found

    def _transposed(self, u: Float[Tensor, "outputs *columns"]) -> Float[Tensor, "P *columns"]:
        total = u.new_zeros(self.shape[1], *u.shape[1:])
        for i, part in enumerate(u.split([sum(s.numel() for s in shapes) for shapes in self._shapes])):
            total.add_(self._backwards.times(i, part))
        progress.count(PRODUCTS, 1 if u.dim() == 1 else u.shape[1])
        return total


def _without_loss(model: nn.Module | Objective, batches: Any, select: Select | None, **options: Any) -> Objective:
    """The model and its data at the door, with a loss that looks at the outputs alone."""
    if isinstance(model, Objective):
        return brought(model, None, batches, **options)

    def size(output: Any, target: Any = None) -> Tensor:
        return _size(output, select)

    return Objective(model, size, batches, form="output", reduction="sum", **options)


def _size(output: Any, select: Select | None) -> Tensor:
    """Of what is meant of an output: a number that depends on all of it.

    Raises:
        InputError: there are no real numbers in it, or it cannot be taken from the output.
    """
    try:
        meant = output if select is None else select(output)
    except FAILURES as error:
        raise InputError(f"outputs= failed on what the model returns: {told(error)}") from error
    found = floats(meant)
    if not found:
        what = "outputs= gives" if select is not None else "the model returns"
        raise InputError(f"{what} no real numbers but {type(meant).__name__}: a Jacobian is of outputs")
    return torch.stack([t.square().mean() for t in found]).sum()


class _Side(Recorded):
    """The products with each batch's part of the Jacobian, from one side.

    Attributes:
        beside: the other side, whose recordings take of the same memory.
    """

    beside: _Side
    failure = "the model's output cannot be differentiated"

    def __init__(
        self,
        problem: Problem,
        shapes: Sequence[Sequence[torch.Size]],
        select: Select | None,
        linearise: bool,
        memory: float | None,
    ) -> None:
        super().__init__(problem, linearise, False, memory)
        self.shapes = {id(batch): found for batch, found in zip(problem.batches, shapes, strict=True)}
        self.select = select

    @property
    def _room(self) -> float:
        return super()._room - self.beside.nbytes

    def times(self, i: int, v: Float[Tensor, "n *columns"]) -> Float[Tensor, "m *columns"]:
        """Batch i's matrix times a vector or a block."""
        batch, linear = self.problem.batches[i], self._linear_maps()[i]
        if v.dim() == 2 and v.shape[1] and (linear is None or self.problem.convolutional):
            return torch.stack([self.times(i, column) for column in v.T], 1)
        if v.dim() == 2:
            assert linear is not None
            split, join = (lambda V: self._split(batch, V)), (lambda parts: self.problem.join(parts, 1))
            return torch.cat([part for _, part in columns(linear, v, split, join)], 1)
        arguments = self._split(batch, v)
        return self.problem.join(linear(*arguments) if linear is not None else self._recompute(batch, arguments))

    def _split(self, batch: Batch, v: Tensor) -> Params:
        """A flat vector, or rows of them, as the arguments on a batch."""
        raise NotImplementedError

    def _outputs(self, batch: Batch) -> Callable[[Params], Tensors]:
        return outputs_on(self.problem, batch, self.select)

    def _plain(self, batch: Batch) -> tuple[Params, Tensors]:
        """Parameters, and outputs with their graph."""
        params = tuple(p.clone().requires_grad_() for p in self.problem.params)
        return params, self._meant(self.problem, params, batch)

    def _meant(self, problem: Problem, params: Params, batch: Batch) -> Tensors:
        output = problem.output(params, batch)
        return floats(output if self.select is None else self.select(output))


class _Forwards(_Side):
    """``J @ v``, once it has been held against the other side."""

    def _linear_maps(self) -> list[LinearMap | None]:
        fresh = not self._maps
        maps = super()._linear_maps()
        if fresh:
            with self.in_words(self.problem.batches[0]):
                refuse_disagreement(self.problem, self._meant)
        return maps

    def _split(self, batch: Batch, v: Tensor) -> Params:
        return self.problem.split(v)

    def _arguments(self, batch: Batch) -> Params:
        return self.problem.params

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        outputs, params = self._outputs(batch), self.problem.params

        def along(*direction: Tensor) -> Sequence[Tensor]:
            return [t.to(self.dtype) for t in torch.func.jvp(outputs, (params,), (direction,))[1]]

        return along

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params, z = self._plain(batch)
        return [t.to(self.dtype) for t in pushed(z, params, direction)]


class _Backwards(_Side):
    """``J.T @ u``."""

    def _split(self, batch: Batch, v: Tensor) -> Params:
        shapes = self.shapes[id(batch)]
        parts = v.split([s.numel() for s in shapes], dim=-1)
        return tuple(p.reshape(*v.shape[:-1], *s) for p, s in zip(parts, shapes, strict=True))

    def _arguments(self, batch: Batch) -> Params:
        return tuple(torch.zeros(s, dtype=self.dtype, device=self.device) for s in self.shapes[id(batch)])

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        def against(*cotangent: Tensor) -> Sequence[Tensor]:
            z, pull, *_ = torch.func.vjp(self._outputs(batch), self.problem.params)
            return pull(tuple(c.to(t.dtype) for c, t in zip(cotangent, z, strict=True)))[0]

        return against

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        params, z = self._plain(batch)
        return pulled(z, params, [c.to(t.dtype) for c, t in zip(direction, z, strict=True)])
