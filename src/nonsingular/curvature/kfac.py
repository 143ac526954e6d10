"""The Kronecker-factored approximations and their inverses, by curvlinops."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nonsingular.checks import checked
from nonsingular.curvature.algebra import Symmetric
from nonsingular.curvature.choosing import Choice, choose
from nonsingular.curvature.traces import Estimate, frobenius, trace
from nonsingular.curvature.vectors import Layout
from nonsingular.errors import InputError, MissingExtra
from nonsingular.objective import Loss, Objective, brought

MODULES: dict[Any, type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.mse_loss: nn.MSELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}


KINDS = {"kfac": "KFACLinearOperator", "ekfac": "EKFACLinearOperator"}


class _Partner(Symmetric):
    """An operator of curvlinops over named parameters, as one of ours."""

    _partner: Any
    _dtype: torch.dtype
    _device: torch.device
    _layout: Layout

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return (sum(self._layout.sizes),) * 2

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self._device

    @property
    def layout(self) -> Layout:
        """Which entries of a vector belong to which parameter."""
        return self._layout

    def _product(self, v: Float[Tensor, "P *columns"]) -> Float[Tensor, "P *columns"]:
        return self._partner @ v


@checked
class KFAC(_Partner):
    """Gauss-Newton by Kronecker factors of every linear and convolutional layer (Martens and Grosse 2015).

    A partner: `curvlinops <https://curvlinops.readthedocs.io>`_ computes the factors and the products (the extra
    ``kfac``); here they become an operator like the others. Layers do not interact in it.

    Args:
        model: with ``nn.Linear`` and ``nn.Conv2d`` layers for all chosen parameters; or an `Objective` in place of
            model, loss and batches.
        loss_fn: cross-entropy, squared errors or ``binary_cross_entropy_with_logits``, as a function or a module.
        batches: (inputs, target) pairs.
        params: which parameters, as `Curvature` takes them; all that require a gradient by default.
        kind: ``"kfac"``, or ``"ekfac"`` with eigenvalues corrected in the factors' eigenbasis (George and others 2018).
        exact: the loss's second derivative, instead of targets drawn from the model's predictions.
        mode: as for `Curvature`.
        seed: of the draws.
        options: of curvlinops' operator.

    Raises:
        InputError: curvlinops is not installed, a loss that it does not know, or what it refuses.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Sequential(torch.nn.Linear(3, 2)), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> ns.curvature.KFAC(model, torch.nn.CrossEntropyLoss(), [batch]).shape  # doctest: +SKIP
    (8, 8)
    """

    def __init__(
        self,
        model: nn.Module | Objective,
        loss_fn: Loss | None = None,
        batches: Any = None,
        params: Choice | list[Choice] | None = None,
        *,
        kind: str = "kfac",
        exact: bool = True,
        mode: str | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        try:
            import curvlinops
        except ImportError:
            raise MissingExtra("KFAC, which curvlinops computes,", "kfac") from None
        objective = brought(model, loss_fn, batches, mode=mode)
        loss: Any = objective.loss_fn
        if callable(loss) and not isinstance(loss, nn.Module) and loss in MODULES:
            loss = MODULES[loss]()
        if type(loss) not in MODULES.values():
            known = ", ".join(sorted(f.__name__ for f in MODULES))
            raise InputError(f"KFAC needs a loss that curvlinops knows ({known}), got {objective.loss_fn}")
        names = list(choose(objective.model, objective.own(params)))
        everything = dict(objective.model.named_parameters())
        pairs = [(b.inputs[0] if isinstance(b.inputs, tuple) else b.inputs, b.target) for b in objective.batches]
        fisher = curvlinops.FisherType.TYPE2 if exact else curvlinops.FisherType.MC
        chosen = [everything[n].requires_grad_() for n in names]
        try:
            self._partner = getattr(curvlinops, KINDS[kind])(
                objective.model, loss, chosen, pairs, fisher_type=fisher, seed=seed, **options
            )
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise InputError(f"curvlinops refuses this model: {str(error).splitlines()[0]}") from error
        self._dtype, self._device = objective.dtype, objective.device
        self._layout = Layout(tuple(names), tuple(p.shape for p in chosen))

    def trace(self, **options: Any) -> Estimate:
        """The sum of the eigenvalues, exactly, from the factors; options of the estimate elsewhere do nothing.

        Raises:
            InputError: the factors are not finite.
        """
        inspect.signature(trace).bind(self, **options)  # misspelt ones are refused as elsewhere
        return self._exactly("trace")

    def frobenius(self, **options: Any) -> Estimate:
        """The Frobenius norm, exactly, from the factors; options of the estimate elsewhere do nothing.

        Raises:
            InputError: the factors are not finite.
        """
        inspect.signature(frobenius).bind(self, **options)
        return self._exactly("frobenius_norm")

    def logdet(self) -> float:
        """The logarithm of the determinant, from the factors; minus infinity where one of them is singular.

        Raises:
            InputError: the factors are not finite.
        """
        self.frobenius()  # of finite factors: then NaN is a determinant that rounding has made negative
        value = float(self._partner.logdet)
        return -math.inf if math.isnan(value) else value

    def _exactly(self, name: str) -> Estimate:
        value = float(getattr(self._partner, name))
        if not math.isfinite(value):
            raise InputError("the Kronecker factors have NaN or infinite entries")
        return Estimate(value, (value, value), 0, "from the factors")

    def inverse(self, damping: float) -> Symmetric:
        """The inverse of this plus ``damping`` times the identity, exactly, as an operator.

        What multiplies by an approximate inverse of Gauss-Newton: ``G.solve(v, damping, kfac.inverse(damping))``.

        Raises:
            InputError: damping that is not positive.
        """
        if not damping > 0:
            raise InputError(f"damping must be positive, got {damping}")
        return _Inverse(self, damping)


class _Inverse(_Partner):
    def __init__(self, of: KFAC, damping: float) -> None:
        import curvlinops

        if hasattr(curvlinops, "KFACInverseLinearOperator"):
            inverse = curvlinops.KFACInverseLinearOperator(of._partner, damping=damping, use_exact_damping=True)
        else:
            inverse = of._partner.inverse(damping=damping, use_exact_damping=True)
        self._partner, self._dtype, self._device, self._layout = inverse, of._dtype, of._device, of._layout
