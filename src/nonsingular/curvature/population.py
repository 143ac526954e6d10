"""The Hessians of many networks of one shape, applied together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.curvature.hessian import Hessian
from nonsingular.curvature.linearise import LinearMap, record
from nonsingular.curvature.operator import BLOCK_BYTES, MEMORY_SHARE
from nonsingular.curvature.problem import Batch, Loss, Params, Problem, available_bytes
from nonsingular.errors import InputError


class PopulationHessian:
    """The Hessians of R networks of one architecture, each acting on a vector of its own.

    ``H @ V`` with ``V`` of shape ``[run, P]`` (or ``[run, P, k]``) multiplies row r by the Hessian of network r, all in
    one vectorised call: many times faster than a loop for small networks, whose products are mostly overhead.

    Args:
        model: the architecture; its own parameter values are not used.
        stacked: parameter name -> values of all runs, stacked on a leading axis, as `torch.func.stack_module_state`
            returns them.
        loss_fn: (model output, target) -> scalar, of one network.
        batches: (inputs, target) pairs that all networks see.
        buffers: buffer name -> values of all runs, stacked likewise (skip matrices, running statistics); buffers that
            are not named have the model's own values in every run.
        reduction: as for `Hessian`.
        dtype: compute in this precision; the parameters' own by default.

    Raises:
        InputError: as `Hessian`; or the stacked parameters do not match the model.
    """

    def __init__(
        self,
        model: nn.Module,
        stacked: Mapping[str, Tensor],
        loss_fn: Loss,
        batches: Iterable[tuple[Any, Any]],
        *,
        buffers: Mapping[str, Tensor] | None = None,
        reduction: str = "mean",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {"reduction": reduction, "dtype": dtype}
        self._model, self._loss_fn = model, loss_fn
        self.problem = Problem(model, loss_fn, batches, None, reduction, dtype, channels_last=False)
        self.problem.check()
        self.stacked = self._match(stacked)
        self.buffers = self._match_buffers(buffers or {})
        self.runs = self.stacked[0].shape[0]
        self._maps: list[LinearMap] = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(run, P, P)``."""
        return (self.runs, self.problem.size, self.problem.size)

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.problem.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.problem.device

    def __matmul__(self, V: Float[Tensor, "run P *columns"]) -> Float[Tensor, "run P *columns"]:
        if V.dim() not in (2, 3) or tuple(V.shape[:2]) != self.shape[:2]:
            raise InputError(f"expected [{self.runs}, {self.shape[1]}] or [.., .., k], got {list(V.shape)}")
        if V.dim() == 3:
            return self._blocks(V)
        out = torch.zeros_like(V)
        for linear, weight in zip(self._linear_maps(), self.problem.weights, strict=True):
            out.add_(self.problem.join(linear(*self.problem.split(V)), lead=1), alpha=weight)
        return out

    def member(self, run: int) -> Hessian:
        """The Hessian of one network by itself."""
        model = copy.deepcopy(self._model)
        parameters = dict(model.named_parameters())
        for name, values in zip(self.problem.names, self.stacked, strict=True):
            parameters[name].data = values[run].clone()
        own = dict(model.named_buffers())
        for name, values in self.buffers.items():
            own[name].data = values[run].clone()
        pairs = [(b.inputs, b.target) for b in self.problem.batches]
        return Hessian(model, self._loss_fn, pairs, **self._arguments)

    def _blocks(self, V: Tensor) -> Tensor:
        out = torch.zeros_like(V)
        for linear, weight in zip(self._linear_maps(), self.problem.weights, strict=True):
            width = max(1, BLOCK_BYTES // linear.widest)
            for start in range(0, V.shape[2], width):
                part = V[:, :, start : start + width].movedim(2, 0).contiguous()
                product = self.problem.join(linear.stacked(*self.problem.split(part)), lead=2)
                out[:, :, start : start + width].add_(product.movedim(0, 2), alpha=weight)
        return out

    def _linear_maps(self) -> list[LinearMap]:
        if not self._maps:
            budget = MEMORY_SHARE * available_bytes(self.device)
            for batch in self.problem.batches:
                self._maps.append(record(self._derivative(batch), self.stacked, budget))
                budget -= self._maps[-1].nbytes
        return self._maps

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        def total(stacked: Params) -> Tensor:
            # Networks do not influence one another, so the Hessian of the sum is all of theirs side by side.
            return torch.vmap(lambda p, b: self.problem.loss(p, batch, b))(stacked, self.buffers).sum()

        def along(*direction: Tensor) -> Sequence[Tensor]:
            return torch.func.jvp(torch.func.grad(total), (self.stacked,), (direction,))[1]

        return along

    def _match_buffers(self, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = dict(self._model.named_buffers())
        for name, values in buffers.items():
            expected = (len(self.stacked[0]), *own[name].shape) if name in own else None
            if tuple(values.shape) != expected:
                raise InputError(
                    f"stacked buffer {name} must have shape {expected}, got {tuple(values.shape)}"
                    if expected
                    else f"the model has no buffer {name!r}; its buffers are {', '.join(own) or 'none'}"
                )
        cast = {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in buffers.items()}
        return {k: v.detach().to(self.device) for k, v in cast.items()}

    def _match(self, stacked: Mapping[str, Tensor]) -> Params:
        matched = []
        for name, p in zip(self.problem.names, self.problem.params, strict=True):
            if name not in stacked or stacked[name].shape[1:] != p.shape:
                got = tuple(stacked[name].shape) if name in stacked else "nothing"
                raise InputError(f"stacked parameter {name} must have shape (run, {tuple(p.shape)}), got {got}")
            matched.append(stacked[name].detach().to(self.problem.device, self.problem.dtype))
        runs = {t.shape[0] for t in matched}
        if len(runs) != 1 or 0 in runs:
            raise InputError(f"stacked parameters disagree about the number of runs: {sorted(runs)}")
        return tuple(matched)
