"""The Hessians of many networks of one shape, applied together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.curvature.hessian import Hessian, double_backward
from nonsingular.curvature.linearise import LinearMap
from nonsingular.curvature.problem import Params, Problem
from nonsingular.curvature.recorded import BLOCK_BYTES, Recorded
from nonsingular.errors import InputError
from nonsingular.objective import Batch, Loss, Objective
from nonsingular.spelling import spelled

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@checked
class PopulationHessian(Recorded):
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
        weights: as for `Hessian`.
        mode: as for `Hessian`.
        dtype: compute in this precision; the parameters' own by default.
        linearise: as for `Hessian`. Off, or where it fails or memory is short, networks are differentiated anew one
            after the other.
        memory: bytes that recordings may keep; by default 60 % of what is available.

    Raises:
        InputError: as `Hessian`; or the stacked parameters do not match the model.

    >>> import torch
    >>> import nonsingular as ns
    >>> networks = [torch.nn.Linear(3, 2) for _ in range(4)]
    >>> stacked, _ = torch.func.stack_module_state(networks)
    >>> batch = torch.randn(8, 3), torch.arange(8) % 2
    >>> H = ns.curvature.PopulationHessian(networks[0], stacked, torch.nn.functional.cross_entropy, [batch])
    >>> H.shape
    (4, 8, 8)
    """

    @spelled
    def __init__(
        self,
        model: nn.Module,
        stacked: Mapping[str, Tensor],
        loss_fn: Loss | None,
        batches: Any,
        *,
        buffers: Mapping[str, Tensor] | None = None,
        reduction: str = "mean",
        weights: str | Callable[[Any], float] | None = None,
        mode: str | None = None,
        dtype: torch.dtype | None = None,
        linearise: bool = True,
        memory: float | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"linearise": linearise, "memory": memory}
        self._objective = Objective(
            model, loss_fn, batches, reduction=reduction, weights=weights, mode=mode, dtype=dtype
        )
        super().__init__(Problem(self._objective, None, channels_last=False), linearise, False, memory)
        self.problem.check()
        self.stacked = self._match(stacked)
        self.buffers = self._match_buffers(buffers or {})
        self.runs = self.stacked[0].shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(run, P, P)``."""
        return (self.runs, self.problem.size, self.problem.size)

    def __repr__(self) -> str:
        """Kind, size, dtype, number of batches and mode."""
        size, dtype = " x ".join(map(str, self.shape)), str(self.dtype).removeprefix("torch.")
        return f"PopulationHessian({', '.join((size, dtype, *self.problem.told))})"

    def __matmul__(self, V: Float[Tensor, "run P *columns"]) -> Float[Tensor, "run P *columns"]:
        if V.dim() not in (2, 3) or tuple(V.shape[:2]) != self.shape[:2]:
            raise InputError(f"expected [{self.runs}, {self.shape[1]}] or [.., .., k], got {list(V.shape)}")
        if V.dim() == 3:
            return self._blocks(V)
        V = V.detach().to(self.device, self.dtype)
        out = torch.zeros_like(V)
        for batch, weight, linear in self._parts():
            parts = self.problem.split(V)
            product = linear(*parts) if linear is not None else self._recompute(batch, parts)
            out.add_(self.problem.join(product, lead=1), alpha=weight)
        return out

    def member(self, run: int) -> Hessian:
        """The Hessian of one network by itself."""
        state = {name: values[run] for name, values in zip(self.problem.names, self.stacked, strict=True)}
        state |= {name: values[run] for name, values in self.buffers.items()}
        return Hessian(self._objective.at(state), **self._options)

    def to_scipy(self) -> LinearOperator:
        """All runs' Hessians as one block-diagonal ``scipy.sparse.linalg.LinearOperator`` ``[run P, run P]``."""
        from scipy.sparse.linalg import LinearOperator

        def product(v: np.ndarray) -> np.ndarray:
            V = torch.as_tensor(v, dtype=self.dtype, device=self.device).reshape(*self.shape[:2], *v.shape[1:])
            return (self @ V).reshape(v.shape).cpu().numpy()

        def vector(v: np.ndarray) -> np.ndarray:
            return product(v.ravel())

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        shape = (self.runs * self.problem.size,) * 2
        return LinearOperator(shape, matvec=vector, rmatvec=vector, matmat=product, rmatmat=product, dtype=dtype)

    def _blocks(self, V: Tensor) -> Tensor:
        if not self.linearised:
            return torch.stack([self @ v for v in V.unbind(2)], dim=2)
        V = V.detach().to(self.device, self.dtype)
        out = torch.zeros_like(V)
        for _, weight, linear in self._parts():
            assert linear is not None
            width = max(1, BLOCK_BYTES // linear.widest)
            for start in range(0, V.shape[2], width):
                part = V[:, :, start : start + width].movedim(2, 0).contiguous()
                product = self.problem.join(linear.stacked(*self.problem.split(part)), lead=2)
                out[:, :, start : start + width].add_(product.movedim(0, 2), alpha=weight)
        return out

    def _parts(self) -> Iterable[tuple[Batch, float, LinearMap | None]]:
        return zip(self.problem.batches, self.problem.weights, self._linear_maps(), strict=True)

    def _arguments(self, batch: Batch) -> Params:
        return self.stacked

    def _recomputed(self, batch: Batch, direction: Params) -> Sequence[Tensor]:
        """One network after the other, each by plain automatic differentiation."""
        products = []
        for run in range(self.runs):
            params = tuple(p[run].clone().requires_grad_() for p in self.stacked)
            buffers = {name: values[run] for name, values in self.buffers.items()}
            loss = self.problem.loss(params, batch, buffers)
            products.append(double_backward(loss, params, [d[run] for d in direction]))
        return [torch.stack(parts) for parts in zip(*products, strict=True)]

    def _derivative(self, batch: Batch) -> Callable[..., Sequence[Tensor]]:
        def total(stacked: Params) -> Tensor:
            # Networks do not influence one another, so the Hessian of the sum is all of theirs side by side.
            return torch.vmap(lambda p, b: self.problem.loss(p, batch, b))(stacked, self.buffers).sum()

        def along(*direction: Tensor) -> Sequence[Tensor]:
            return torch.func.jvp(torch.func.grad(total), (self.stacked,), (direction,))[1]

        return along

    def _match_buffers(self, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = self._objective.buffers
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
