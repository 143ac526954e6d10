"""What every symmetric operator of this package can do beside multiplying: sums, multiples, parts, other forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import progress
from nonsingular.curvature.vectors import Layout, Vector
from nonsingular.errors import InputError

PRODUCTS = "products"  # what progress is counted in

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from nonsingular.curvature.diagonals import Diagonal
    from nonsingular.curvature.eigenpairs import Eigenpairs
    from nonsingular.curvature.solving import Preconditioner, Solution
    from nonsingular.curvature.traces import Estimate


class Symmetric(ABC):
    """A symmetric matrix ``[P, P]`` known by its products.

    ``A @ v`` and ``v @ A`` take a flat vector ``[P]``, a block ``[P, k]`` (``[k, P]`` from the left), or, for operators
    over parameters, tensors of the parameters' shapes by name or in order, which come back in the same form.
    ``A + B``, ``A - B``, ``3 * A`` are operators again, and ``A + 0.1`` adds 0.1 to the diagonal (damping).

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> H = ns.Hessian(model, torch.nn.functional.cross_entropy, [batch])
    >>> v = torch.ones(8)
    >>> torch.allclose((2 * H + 0.5) @ v, 2 * (H @ v) + 0.5 * v)
    True
    """

    __array_ufunc__ = None  # numpy leaves ``array @ A`` to us

    # --- what a kind of operator defines --------------------------------------------------------------------

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the products."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Of the products."""

    @property
    def layout(self) -> Layout | None:
        """Which entries belong to which parameter; None for operators that are not over parameters."""
        return None

    def __repr__(self) -> str:
        """Kind, size and dtype, and what else a kind has to say."""
        size = " x ".join(map(str, self.shape))
        told = ", ".join([size, str(self.dtype).removeprefix("torch."), *self._told()])
        return f"{type(self).__name__}({told})"

    def _told(self) -> Sequence[str]:
        """What ``repr`` says beside size and dtype."""
        return ()

    @abstractmethod
    def _product(self, v: Float[Tensor, "P *columns"]) -> Float[Tensor, "P *columns"]:
        """The product with a vector or a block of the operator's dtype, on its device."""

    # --- products -------------------------------------------------------------------------------------------

    @property
    def T(self) -> Symmetric:  # noqa: N802 - the name that matrices have
        """The transpose: the operator itself."""
        return self

    def __matmul__(self, v: Any) -> Any:
        if self.layout is not None and not isinstance(v, Tensor | np.ndarray) and holds_tensors(v):
            return self.layout.like(self @ self.layout.flatten(v), v)
        v = torch.as_tensor(v, dtype=self.dtype, device=self.device).detach()
        if v.dim() not in (1, 2) or v.shape[0] != self.shape[0]:
            raise InputError(
                f"expected a vector [{self.shape[0]}] or a block [{self.shape[0]}, k], got {list(v.shape)}"
            )
        return self._product(v)

    def __rmatmul__(self, v: Any) -> Any:
        if isinstance(v, Tensor | np.ndarray) and v.ndim == 2:
            return (self @ v.T).mT
        return self @ v

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Tensors on the left: PyTorch asks here before it gives up."""
        left, right = (*args, None)[:2]
        name = getattr(func, "__name__", "")
        if isinstance(right, Symmetric):
            if name in ("matmul", "__matmul__"):
                return right.__rmatmul__(left)
            if name in ("add", "__add__"):
                return right + left
            if name in ("mul", "__mul__"):
                return right * left
            if name in ("sub", "__sub__"):
                return right.__rsub__(left)
        return NotImplemented

    # --- sums and multiples ---------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Symmetric:
        return Combination.of(self, 1.0) + other

    def __mul__(self, factor: Any) -> Symmetric:
        return Combination.of(self, 1.0) * factor

    def __radd__(self, other: Any) -> Symmetric:
        return self + other

    def __rmul__(self, factor: Any) -> Symmetric:
        return self * factor

    def __sub__(self, other: Any) -> Symmetric:
        return self + (-1.0 * other)

    def __rsub__(self, other: Any) -> Symmetric:
        return (-1.0 * self) + other

    def __truediv__(self, factor: Any) -> Symmetric:
        return self * (1 / factor)

    def __neg__(self) -> Symmetric:
        return self * -1.0

    # --- parts, and other forms -----------------------------------------------------------------------------

    def block(self, params: str | Sequence[str] | Sequence[int] | Tensor) -> Part:
        """The diagonal block of some parameters or entries, by products with the whole.

        Args:
            params: names, what names start with (``"layers.0"``), or patterns (``"*.bias"``), one or several; or
                numbers of rows.

        Raises:
            InputError: the operator is not over parameters, they are none of its own, or there are no such rows.
        """
        names = [params] if isinstance(params, str) else [p for p in params if isinstance(p, str)]
        if not names:
            return Part(self, rows=params)
        if self.layout is None:
            raise InputError("the operator is not over parameters: it has no blocks by name")
        return Part(self, names)

    def dense(self) -> Float[Tensor, "P P"]:
        """The whole symmetric matrix, by products with the identity."""
        with progress.stretch("its matrix, by products", self.shape[0], PRODUCTS):
            matrix = self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        return matrix.add_(matrix.mT.clone()).mul_(0.5)

    def to_scipy(self) -> LinearOperator:
        """A ``scipy.sparse.linalg.LinearOperator`` of the same dtype, for ``eigsh`` and the like."""
        from scipy.sparse.linalg import LinearOperator

        def product(v: np.ndarray) -> np.ndarray:
            return (self @ torch.as_tensor(v, dtype=self.dtype, device=self.device)).cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return LinearOperator(
            self.shape,
            matvec=lambda v: product(v.ravel()),
            rmatvec=lambda v: product(v.ravel()),
            matmat=product,
            rmatmat=product,
            dtype=dtype,
        )

    # --- algorithms -----------------------------------------------------------------------------------------

    def trace(self, **options: Any) -> Estimate:
        """The sum of the eigenvalues: see `nonsingular.curvature.trace`."""
        from nonsingular.curvature.traces import trace

        return trace(self, **options)

    def frobenius(self, **options: Any) -> Estimate:
        """The Frobenius norm: see `nonsingular.curvature.frobenius`."""
        from nonsingular.curvature.traces import frobenius

        return frobenius(self, **options)

    def diagonal(self, **options: Any) -> Diagonal:
        """The diagonal's entries: see `nonsingular.curvature.diagonal`."""
        from nonsingular.curvature.diagonals import diagonal

        return diagonal(self, **options)

    def solve(
        self, v: Vector, damping: float = 0.0, preconditioner: Preconditioner = "sketch", **options: Any
    ) -> Solution:
        """Solve ``(A + damping) x = v``: see `nonsingular.curvature.solve`."""
        from nonsingular.curvature.solving import solve

        return solve(self, v, damping, preconditioner, **options)

    def eigenpairs(self, k: int = 1, which: str = "magnitude", **options: Any) -> Eigenpairs:
        """Extreme eigenvalues and eigenvectors: see `nonsingular.curvature.eigenpairs`."""
        from nonsingular.curvature.eigenpairs import eigenpairs

        return eigenpairs(self, k, which, **options)


class Combination(Symmetric):
    """``sum of factor * operator, plus shift times the identity``."""

    def __init__(self, terms: Sequence[tuple[float, Symmetric]], shift: float) -> None:
        self.terms, self.shift = list(terms), shift

    @classmethod
    def of(cls, operator: Symmetric, factor: float) -> Combination:
        """One operator times a factor; combinations are not nested."""
        if isinstance(operator, Combination):
            return operator._scaled(factor)
        return cls([(factor, operator)], 0.0)

    def _scaled(self, factor: float) -> Combination:
        return Combination([(factor * f, A) for f, A in self.terms], factor * self.shift)

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return self.terms[0][1].shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.terms[0][1].dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.terms[0][1].device

    @property
    def layout(self) -> Layout | None:
        """Of the first term."""
        return self.terms[0][1].layout

    def _told(self) -> Sequence[str]:
        terms = [f"{factor:g} * {type(operator).__name__}" for factor, operator in self.terms]
        return [" + ".join([*terms, *([f"{self.shift:g}"] if self.shift else [])])]

    def _product(self, v: Tensor) -> Tensor:
        total = self.shift * v
        for factor, operator in self.terms:
            total.add_((operator @ v).to(self.device, self.dtype), alpha=factor)
        return total

    def dense(self) -> Float[Tensor, "P P"]:
        """The whole matrix, each term in its own best way."""
        total = self.shift * torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        for factor, operator in self.terms:
            total.add_(operator.dense().to(self.device, self.dtype), alpha=factor)
        return total

    def __add__(self, other: Any) -> Symmetric:
        if (number := _number(other)) is not None:
            return Combination(self.terms, self.shift + number)
        if not isinstance(other, Symmetric):
            raise InputError(f"an operator adds numbers (to its diagonal) and operators, got {type(other).__name__}")
        if other.shape != self.shape:
            raise InputError(f"operators of shapes {self.shape} and {other.shape} cannot be added")
        if self.layout and other.layout and self.layout != other.layout:
            raise InputError("the operators are over different parameters, or over the same in another order")
        more = Combination.of(other, 1.0)
        return Combination([*self.terms, *more.terms], self.shift + more.shift)

    def __mul__(self, factor: Any) -> Symmetric:
        if (number := _number(factor)) is None:
            raise InputError(f"an operator is multiplied by numbers, got {type(factor).__name__}; products are A @ v")
        return self._scaled(number)


class Part(Symmetric):
    """A diagonal block of an operator: the rows and columns of some parameters, or of some numbers."""

    def __init__(self, whole: Symmetric, params: str | Sequence[str] = (), rows: Any = None) -> None:
        self.whole = whole
        self._layout: Layout | None = None
        if rows is not None:
            self.entries = _rows(rows, whole)
            return
        assert whole.layout is not None
        slices = whole.layout.slices(params)
        self._layout = whole.layout.part(slices)
        entries = [torch.arange(s.start, s.stop, device=whole.device) for s in slices.values()]
        self.entries = torch.cat(entries)

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)`` of the part."""
        return (len(self.entries),) * 2

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.whole.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self.whole.device

    @property
    def layout(self) -> Layout | None:
        """Of the part; None where it is of numbered rows."""
        return self._layout

    def _told(self) -> Sequence[str]:
        return [f"of a {type(self.whole).__name__} of {self.whole.shape[0]}"]

    def _product(self, v: Tensor) -> Tensor:
        padded = v.new_zeros(self.whole.shape[0], *v.shape[1:])
        padded[self.entries] = v
        return (self.whole @ padded)[self.entries]


def _rows(rows: Any, whole: Symmetric) -> Tensor:
    found = torch.as_tensor(rows, device=whole.device).flatten()
    if found.is_floating_point() or found.dtype == torch.bool or not len(found) or len(found.unique()) < len(found):
        raise InputError("a block is of names, or of different whole numbers of rows")
    if int(found.min()) < 0 or int(found.max()) >= whole.shape[0]:
        raise InputError(f"rows are numbered 0 to {whole.shape[0] - 1}, got {int(found.min())} to {int(found.max())}")
    return found


def holds_tensors(v: Any) -> bool:
    """Whether ``v`` is a vector of tensors by name or in order."""
    if isinstance(v, Mapping):
        return True
    return isinstance(v, list | tuple) and any(isinstance(p, Tensor) and p.dim() > 0 for p in v)


def _number(x: Any) -> float | None:
    if isinstance(x, Tensor) and x.dim() > 0:
        return None
    try:
        return float(x)
    except (TypeError, ValueError):
        return None
