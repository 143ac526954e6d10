"""What curvature operators of one network share: products from recordings of its batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.curvature.algebra import PRODUCTS, Symmetric
from nonsingular.curvature.choosing import Choice
from nonsingular.curvature.culprits import culprit
from nonsingular.curvature.linearise import LinearMap
from nonsingular.curvature.problem import ROUNDING, Params, Problem
from nonsingular.curvature.recorded import Recorded, columns
from nonsingular.curvature.vectors import Layout
from nonsingular.errors import InputError
from nonsingular.objective import FAILURES, Batch, Loss, Objective, brought
from nonsingular.spelling import spelled


@checked
class Curvature(Recorded, Symmetric):
    """A symmetric matrix of second derivatives, known by its products.

    ``C @ v`` takes a vector ``[P]`` or a block ``[P, k]``, of the operator's dtype and on its device, whose entries are
    ordered as ``model.named_parameters()`` yields the chosen parameters, each flattened row by row; or tensors of the
    parameters' shapes, by name or in that order. What else it can do is in `Symmetric`.

    Args:
        model: any module, or an `Objective` in place of model, loss and batches. It is copied, and never changed.
        loss_fn: as `Objective` takes it: (model output, target) -> scalar, (model, batch) -> scalar, or None.
        batches: as `Objective` takes data: a pair (inputs, target), or batches. Read once, and copied.
        params: which parameters to differentiate: names, what names start with (``"encoder"``), patterns
            (``"*.bias"``), modules or parameters, one or several; all that require a gradient by default.
        reduction: ``"mean"`` weighs each batch's loss by its share of the whole, right for losses that average
            over the batch; ``"sum"`` adds them up.
        weights: what that share is counted in; see `Objective`.
        mode: ``"eval"`` (running statistics, no dropout), ``"train"`` (batch statistics, dropout with a ``seed``), or
            ``"own"``, every module as it is; by default ``"eval"``, with a warning where the model is in training mode
            and that makes a difference. An `Objective` has its own.
        form: of the loss; see `Objective`.
        seed: for losses that draw random numbers; see `Objective`.
        microbatch: split every batch into pieces of at most this many samples. Faster where intermediate results then
            fit the processor's cache; right only for losses that average over samples which do not influence one
            another, which is checked on every batch.
        linearise: record the part of the product that depends on the vector once per batch and replay it. Off, or
            where it fails or memory is short, every product differentiates anew, which is slower and equally right.
        compile: fuse the recorded operations with ``torch.compile``: half a minute once, faster products after.
        dtype: compute in this precision; the parameters' own by default, float32 where they have 16 bits.
        channels_last: memory order of 4-D tensors; by default channels-last where the model has 2-D convolutions.
        memory: bytes that recordings may keep; by default 60 % of what is available.

    Raises:
        InputError: no parameters or batches, a loss that is not a finite scalar or has no second derivative, active
            dropout, integer parameters, out of memory.

    Note:
        Piecewise linear activations (ReLU) have no second derivative at their kinks. As in every such tool, the kinks,
        which inputs hit with probability zero, are left out: this is the curvature within the linear pieces.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> H = ns.Hessian(model, torch.nn.functional.cross_entropy, [batch])
    >>> isinstance(H, ns.curvature.Curvature), H.block("bias").shape
    (True, (2, 2))
    """

    _second = True  # whether it is made of second derivatives of the model

    @spelled
    def __init__(
        self,
        model: nn.Module | Objective,
        loss_fn: Loss | None = None,
        batches: Any = None,
        params: Choice | Iterable[Choice] | None = None,
        *,
        reduction: str = "mean",
        weights: str | Callable[[Any], float] | None = None,
        mode: str | None = None,
        form: str | None = None,
        seed: int | None = None,
        microbatch: int | None = None,
        linearise: bool = True,
        compile: bool = False,
        dtype: torch.dtype | None = None,
        channels_last: bool | None = None,
        memory: float | None = None,
    ) -> None:
        objective = brought(
            model, loss_fn, batches, reduction=reduction, weights=weights, mode=mode, form=form, seed=seed, dtype=dtype
        )
        problem = Problem(objective, params, channels_last)
        super().__init__(problem, linearise, compile, memory)
        problem.check(second=self._second)
        self._refuse()
        if microbatch is not None:
            self._split_batches(microbatch)

    # --- what a kind of curvature defines -------------------------------------------------------------------

    def _refuse(self) -> None:
        """Refuse problems that have no curvature of this kind."""

    # --- products -------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return (self.problem.size, self.problem.size)

    @property
    def layout(self) -> Layout:
        """Which entries of a vector belong to which parameter."""
        return Layout(self.problem.names, tuple(p.shape for p in self.problem.params))

    def _told(self) -> Sequence[str]:
        return self.problem.told

    def _product(self, v: Float[Tensor, "P *columns"]) -> Float[Tensor, "P *columns"]:
        return self._vector_product(v) if v.dim() == 1 else self._block_product(v)

    def recomputed_product(self, v: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """``self @ v`` by plain differentiation from the start: what the fast ways are checked against."""
        return self._vector_product(v, [None] * len(self.problem.batches))

    def _vector_product(self, v: Tensor, maps: list[LinearMap | None] | None = None) -> Tensor:
        direction = self.problem.split(v)
        total: Tensor | None = None
        maps = self._linear_maps() if maps is None else maps
        for batch, weight, linear in zip(self.problem.batches, self.problem.weights, maps, strict=True):
            parts = linear(*direction) if linear is not None else self._recompute(batch, direction)
            product = self.problem.join(parts)
            total = weight * product if total is None else total.add_(product, alpha=weight)
        assert total is not None
        progress.count(PRODUCTS)
        return total

    def _block_product(self, V: Tensor) -> Tensor:
        maps = self._linear_maps()
        if self.problem.convolutional or any(m is None for m in maps):
            # Convolutions with a different kernel for every column run as grouped ones, slower than one by one.
            return torch.stack([self._vector_product(v) for v in V.T], dim=1)
        out = torch.zeros_like(V)
        for weight, linear in zip(self.problem.weights, maps, strict=True):
            assert linear is not None
            for some, product in columns(linear, V, self.problem.split, lambda parts: self.problem.join(parts, 1)):
                out[:, some].add_(product, alpha=weight)
                if linear is maps[-1]:
                    progress.count(PRODUCTS, product.shape[1])
        return out

    # --- recordings, and what they are held against ---------------------------------------------------------

    def _arguments(self, batch: Batch) -> Params:
        return self.problem.params

    def _linear_maps(self) -> list[LinearMap | None]:
        fresh = not self._maps
        maps = super()._linear_maps()
        if fresh:
            self._check_symmetry()
        return maps

    def _check_symmetry(self) -> None:
        """Second derivatives that PyTorch silently leaves out (``once_differentiable``) make products asymmetric.

        So does rounding, where the Hessian is smaller than it: that shrinks in float64.
        """
        batch, linear = self.problem.batches[0], self._maps[0]
        difference, allowed = self._asymmetry(batch, linear)
        if difference <= allowed:
            return
        self._maps = []
        finer, allowed = self._asymmetry_in_double()
        if math.isfinite(difference) and finer <= max(allowed, ROUNDING * difference):
            name = str(self.dtype).removeprefix("torch.")
            raise InputError(
                f"the Hessian is smaller than the rounding of {name}: give the model in float64 (model.double(), or "
                "dtype=torch.float64 in Python)"
                if finer <= allowed
                else f"the Hessian is smaller than the rounding of {name} and of float64: the loss is flat here"
            )
        where = culprit(self.problem, batch)
        raise InputError(f"the loss is not twice differentiable, its Hessian comes out asymmetric: {where}")

    def _asymmetry(self, batch: Batch, linear: LinearMap | None) -> tuple[float, float]:
        """``|v @ H @ u - u @ H @ v|`` for one batch's matrix H and two random vectors, and what rounding allows."""
        generator = torch.Generator(device=self.device).manual_seed(1)
        pair = torch.randn(2, self.shape[0], generator=generator, device=self.device, dtype=self.dtype)
        directions = [self.problem.split(v) for v in pair]
        Hu, Hv = (
            self.problem.join(linear(*d) if linear is not None else self._recompute(batch, d)) for d in directions
        )
        difference = float((pair[1] @ Hu - pair[0] @ Hv).abs())
        allowed = 10 * torch.finfo(self.dtype).eps ** 0.5 * float(Hu.norm() + Hv.norm())
        return (math.inf if math.isnan(difference) else difference), allowed

    def _asymmetry_in_double(self) -> tuple[float, float]:
        """The same of float64 copies; infinite where the user's code cannot compute with them."""
        other = copy.copy(self)
        other.problem = self.problem.in_double()
        try:
            return other._asymmetry(other.problem.batches[0], None)
        except (InputError, *FAILURES):
            return math.inf, 0.0

    # --- micro-batches --------------------------------------------------------------------------------------

    def _split_batches(self, size: int) -> None:
        if size < 1:
            raise InputError(f"microbatch must be at least 1, got {size}")
        if not self.problem.cut(size):
            raise InputError(
                "microbatch changes the loss: it is not a mean over independent samples (batch normalisation in train "
                "mode, or another reduction?); leave microbatch out"
            )
