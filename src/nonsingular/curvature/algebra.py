"""What every operator of this package can do beside multiplying: sums, multiples, products, parts, other forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import progress
from nonsingular.curvature.vectors import Layout, Vector
from nonsingular.errors import InputError

PRODUCTS = "products"  # what progress is counted in
Entries = str | Sequence[str] | Sequence[int] | Tensor | slice
"""Rows or columns: names, what names start with, or patterns, one or several; numbers; or a slice of them."""

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from nonsingular.curvature.combined import Part, Submatrix
    from nonsingular.curvature.diagonals import Diagonal
    from nonsingular.curvature.eigenpairs import Eigenpairs
    from nonsingular.curvature.solving import Preconditioner, Solution
    from nonsingular.curvature.traces import Estimate


class Linear(ABC):
    """A matrix ``[m, n]`` known by its products and its transpose's.

    ``A @ v`` takes a flat vector ``[n]``, a block ``[n, k]``, or, for operators over parameters, tensors of the
    parameters' shapes by name or in order, and answers in the same form; ``v @ A`` is ``A.T @ v``. ``A + B``, ``3 * A``
    and ``A @ B`` are operators again; ``A.T @ A`` and ``A @ A.T`` are `Symmetric`.

    >>> import torch
    >>> import nonsingular as ns
    >>> J = ns.curvature.Jacobian(torch.nn.Linear(3, 2), torch.randn(8, 3))
    >>> J.shape, J.T.shape, (J @ J.T).shape, (2 * J).dense().shape
    ((16, 8), (8, 16), (16, 16), torch.Size([16, 8]))
    """

    __array_ufunc__ = None  # numpy leaves ``array @ A`` to us

    # --- what a kind of operator defines --------------------------------------------------------------------

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

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
        """Which entries of a vector belong to what; None where they have no names."""
        return None

    @property
    def rows(self) -> Layout | None:
        """The same of a product's entries."""
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
    def _product(self, v: Float[Tensor, "n *columns"]) -> Float[Tensor, "m *columns"]:
        """The product with a vector or a block of the operator's dtype, on its device."""

    @abstractmethod
    def _transposed(self, u: Float[Tensor, "m *columns"]) -> Float[Tensor, "n *columns"]:
        """The transpose's."""

    # --- products -------------------------------------------------------------------------------------------

    @property
    def T(self) -> Linear:  # noqa: N802 - the name that matrices have
        """The transpose."""
        from nonsingular.curvature.combined import Transposed

        return Transposed(self)

    @overload
    def __matmul__(self, v: Linear) -> Linear: ...
    @overload
    def __matmul__(self, v: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def __matmul__(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    @overload
    def __matmul__(self, v: Sequence[Tensor]) -> list[Tensor]: ...

    def __matmul__(self, v: Any) -> Any:
        if isinstance(v, Linear):
            from nonsingular.curvature.combined import product

            return product(self, v)
        if self.layout is not None and not isinstance(v, Tensor | np.ndarray) and holds_tensors(v):
            flat = self @ self.layout.flatten(v)
            return flat if self.rows is None else self.rows.like(flat, v)
        v = torch.as_tensor(v, dtype=self.dtype, device=self.device).detach()
        if v.dim() not in (1, 2) or v.shape[0] != self.shape[1]:
            raise InputError(
                f"expected a vector [{self.shape[1]}] or a block [{self.shape[1]}, k], got {list(v.shape)}"
            )
        return self._product(v)

    @overload
    def __rmatmul__(self, v: Tensor | np.ndarray) -> Tensor: ...
    @overload
    def __rmatmul__(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    @overload
    def __rmatmul__(self, v: Sequence[Tensor]) -> list[Tensor]: ...

    def __rmatmul__(self, v: Any) -> Any:
        if isinstance(v, Tensor | np.ndarray) and v.ndim == 2:
            return (self.T @ v.T).mT
        return self.T @ v

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Tensors on the left: PyTorch asks here before it gives up."""
        left, right = (*args, None)[:2]
        name = getattr(func, "__name__", "")
        if isinstance(right, Linear):
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

    def __add__(self, other: Any) -> Linear:
        from nonsingular.curvature.combined import added

        return added(self, other)

    def __mul__(self, factor: Any) -> Linear:
        from nonsingular.curvature.combined import scaled

        return scaled(self, factor)

    def __radd__(self, other: Any) -> Linear:
        return self + other

    def __rmul__(self, factor: Any) -> Linear:
        return self * factor

    def __sub__(self, other: Any) -> Linear:
        from nonsingular.curvature.combined import added

        return added(self, other, -1.0)

    def __rsub__(self, other: Any) -> Linear:
        return (-1.0 * self) + other

    def __truediv__(self, factor: Any) -> Linear:
        from nonsingular.curvature.combined import scaled

        return scaled(self, factor, divide=True)

    def __neg__(self) -> Linear:
        return self * -1.0

    # --- parts, and other forms -----------------------------------------------------------------------------

    def block(self, rows: Entries, columns: Entries) -> Linear:
        """The submatrix of some rows and some columns, by products with the whole.

        Args:
            rows: names, what names start with (``"layers.0"``), or patterns (``"*.bias"``), one or several; numbers;
                or a slice.
            columns: likewise.

        Raises:
            InputError: rows or columns without names are asked for by name, or there are none such.
        """
        from nonsingular.curvature.combined import Submatrix

        return Submatrix(self, rows, columns)

    def dense(self) -> Float[Tensor, "m n"]:
        """The whole matrix, by products with the identity, on the side that needs fewer."""
        m, n = self.shape
        with progress.stretch("its matrix, by products", min(m, n), PRODUCTS):
            eye = torch.eye(min(m, n), dtype=self.dtype, device=self.device)
            return self @ eye if n <= m else (self.T @ eye).mT

    def to_scipy(self) -> LinearOperator:
        """A ``scipy.sparse.linalg.LinearOperator`` of the same dtype, for ``eigsh``, ``svds`` and the like."""
        from scipy.sparse.linalg import LinearOperator

        def by(A: Linear, v: np.ndarray) -> np.ndarray:
            return (A @ torch.as_tensor(v, dtype=self.dtype, device=self.device)).cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return LinearOperator(
            self.shape,
            matvec=lambda v: by(self, v.ravel()),
            rmatvec=lambda v: by(self.T, v.ravel()),
            matmat=lambda v: by(self, v),
            rmatmat=lambda v: by(self.T, v),
            dtype=dtype,
        )


class Symmetric(Linear):
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

    @property
    def rows(self) -> Layout | None:
        """As of the columns."""
        return self.layout

    @property
    def T(self) -> Symmetric:  # noqa: N802 - the name that matrices have
        """The transpose: the operator itself."""
        return self

    def _transposed(self, u: Tensor) -> Tensor:
        return self._product(u)

    # --- sums and multiples: of symmetric ones they are symmetric -------------------------------------------

    @overload
    def __add__(self, other: Symmetric | SupportsFloat) -> Symmetric: ...
    @overload
    def __add__(self, other: Any) -> Linear: ...

    def __add__(self, other: Any) -> Any:
        return super().__add__(other)

    @overload
    def __radd__(self, other: Symmetric | SupportsFloat) -> Symmetric: ...
    @overload
    def __radd__(self, other: Any) -> Linear: ...

    def __radd__(self, other: Any) -> Any:
        return self + other

    @overload
    def __sub__(self, other: Symmetric | SupportsFloat) -> Symmetric: ...
    @overload
    def __sub__(self, other: Any) -> Linear: ...

    def __sub__(self, other: Any) -> Any:
        return super().__sub__(other)

    @overload
    def __rsub__(self, other: Symmetric | SupportsFloat) -> Symmetric: ...
    @overload
    def __rsub__(self, other: Any) -> Linear: ...

    def __rsub__(self, other: Any) -> Any:
        return super().__rsub__(other)

    if TYPE_CHECKING:

        def __mul__(self, factor: Any) -> Symmetric: ...
        def __rmul__(self, factor: Any) -> Symmetric: ...
        def __truediv__(self, factor: Any) -> Symmetric: ...
        def __neg__(self) -> Symmetric: ...

    # --- parts, and other forms -----------------------------------------------------------------------------

    @overload
    def block(self, rows: Entries) -> Part: ...
    @overload
    def block(self, rows: Entries, columns: Entries) -> Submatrix: ...

    def block(self, rows: Entries, columns: Entries | None = None) -> Part | Submatrix:
        """The block of some parameters or rows, by products with the whole: on the diagonal, or any.

        Args:
            rows: names, what names start with (``"layers.0"``), or patterns (``"*.bias"``), one or several; numbers of
                rows; or a slice of them.
            columns: likewise, where they are not those of the rows.

        Raises:
            InputError: the operator is not over parameters, they are none of its own, or there are no such rows.
        """
        from nonsingular.curvature.combined import Part, Submatrix

        return Part(self, rows) if columns is None else Submatrix(self, rows, columns)

    def dense(self) -> Float[Tensor, "P P"]:
        """The whole symmetric matrix, by products with the identity."""
        matrix = super().dense()
        return matrix.add_(matrix.mT.clone()).mul_(0.5)

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


def holds_tensors(v: Any) -> bool:
    """Whether ``v`` is a vector of tensors by name or in order."""
    if isinstance(v, Mapping):
        return True
    return isinstance(v, list | tuple) and any(isinstance(p, Tensor) and p.dim() > 0 for p in v)
