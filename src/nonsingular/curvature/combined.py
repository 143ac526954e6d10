"""Operators that are made of others: transposes, products, sums and multiples, blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular.curvature.algebra import Entries, Linear, Symmetric
from nonsingular.curvature.cuts import WHOLE, Whole, cuts_of
from nonsingular.curvature.vectors import Layout
from nonsingular.errors import InputError


class _Like(Linear):
    """Of the dtype and on the device of another, and over the processes of any that it is made of."""

    _first: Linear

    @property
    def _made_of(self) -> Sequence[Linear]:
        """What it is made of."""
        return [self._first]

    @property
    def cuts(self) -> Whole:
        """How vectors of its size are cut, so that all processes decide alike."""
        return next((c for c in map(cuts_of, self._made_of) if c.processes > 1), WHOLE).over(self.shape[0])

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self._first.dtype

    @property
    def device(self) -> torch.device:
        """Of the products."""
        return self._first.device


class Transposed(_Like):
    """The transpose of an operator."""

    def __init__(self, of: Linear) -> None:
        self.of = self._first = of

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.of.shape[1], self.of.shape[0]

    @property
    def layout(self) -> Layout | None:
        """Of the rows of what it transposes."""
        return self.of.rows

    @property
    def rows(self) -> Layout | None:
        """Of the columns of what it transposes."""
        return self.of.layout

    @property
    def T(self) -> Linear:  # noqa: N802 - the name that matrices have
        """What it transposes."""
        return self.of

    def _told(self) -> Sequence[str]:
        return [f"of a {type(self.of).__name__}"]

    def _product(self, v: Tensor) -> Tensor:
        return self.of._transposed(v)

    def _transposed(self, u: Tensor) -> Tensor:
        return self.of._product(u)


# --- products -----------------------------------------------------------------------------------------------


class Product(_Like):
    """``A @ B`` of two operators."""

    def __init__(self, left: Linear, right: Linear) -> None:
        if left.shape[1] != right.shape[0]:
            raise InputError(f"operators of shapes {left.shape} and {right.shape} cannot be multiplied")
        self.left, self.right, self._first = left, right, left

    @property
    def _made_of(self) -> Sequence[Linear]:
        return [self.left, self.right]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the left one, columns of the right one."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def layout(self) -> Layout | None:
        """Of the right one's columns."""
        return self.right.layout

    @property
    def rows(self) -> Layout | None:
        """Of the left one's rows."""
        return self.left.rows

    def _told(self) -> Sequence[str]:
        return [f"{type(self.left).__name__} @ {type(self.right).__name__}"]

    def _product(self, v: Tensor) -> Tensor:
        return self.left @ (self.right @ v).to(self.device, self.dtype)

    def _transposed(self, u: Tensor) -> Tensor:
        return (self.right.T @ (self.left.T @ u)).to(self.device, self.dtype)


class Gram(Product, Symmetric):
    """``A.T @ A`` or ``A @ A.T``: symmetric, and positive semi-definite."""


def product(left: Linear, right: Linear) -> Linear:
    """The product of two operators, symmetric where one is the other's transpose."""
    return Gram(left, right) if left.T is right or right.T is left else Product(left, right)


# --- sums and multiples -------------------------------------------------------------------------------------


class Sum(_Like):
    """``sum of factor * operator, plus shift times the identity``."""

    def __init__(self, terms: Sequence[tuple[float, Linear]], shift: float) -> None:
        self.terms, self.shift = list(terms), shift
        self._first = self.terms[0][1]

    @property
    def _made_of(self) -> Sequence[Linear]:
        return [operator for _, operator in self.terms]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._first.shape

    @property
    def layout(self) -> Layout | None:
        """Of the first term's columns."""
        return self._first.layout

    @property
    def rows(self) -> Layout | None:
        """Of the first term's rows."""
        return self._first.rows

    def _told(self) -> Sequence[str]:
        terms = [f"{factor:g} * {type(operator).__name__}" for factor, operator in self.terms]
        return [" + ".join([*terms, *([f"{self.shift:g}"] if self.shift else [])])]

    def _product(self, v: Tensor) -> Tensor:
        return self._total(v, [A for _, A in self.terms])

    def _transposed(self, u: Tensor) -> Tensor:
        return self._total(u, [A.T for _, A in self.terms])

    def _total(self, v: Tensor, operators: Sequence[Linear]) -> Tensor:
        total = self.shift * v if self.shift else v.new_zeros(operators[0].shape[0], *v.shape[1:])
        for (factor, _), operator in zip(self.terms, operators, strict=True):
            total.add_((operator @ v).to(self.device, self.dtype), alpha=factor)
        return total

    def dense(self) -> Float[Tensor, "m n"]:
        """The whole matrix, each term in its own best way."""
        total = self.shift * torch.eye(*self.shape, dtype=self.dtype, device=self.device)
        for factor, operator in self.terms:
            total.add_(operator.dense().to(self.device, self.dtype), alpha=factor)
        return total


class Combination(Sum, Symmetric):
    """The same of symmetric operators."""


def added(operator: Linear, other: Any, factor: float = 1.0) -> Linear:
    """The sum with (a multiple of) another operator, or of a number on the diagonal.

    Raises:
        InputError: neither of them, or operators that do not fit.
    """
    terms, shift = _terms(operator)
    if (number := _number(other)) is not None:
        if operator.shape[0] != operator.shape[1]:
            raise InputError(f"a number is added to the diagonal, which an operator {list(operator.shape)} has not")
        return _sum(terms, shift + factor * number)
    if not isinstance(other, Linear):
        raise InputError(f"an operator adds numbers (to its diagonal) and operators, got {type(other).__name__}")
    if other.shape != operator.shape:
        raise InputError(f"operators of shapes {operator.shape} and {other.shape} cannot be added")
    for mine, theirs in ((operator.layout, other.layout), (operator.rows, other.rows)):
        if mine and theirs and mine != theirs:
            raise InputError("the operators are over different parameters, or over the same in another order")
    more, beside = _terms(other)
    return _sum([*terms, *((factor * f, A) for f, A in more)], shift + factor * beside)


def scaled(operator: Linear, factor: Any, divide: bool = False) -> Linear:
    """The operator times a number, or divided by it.

    Raises:
        InputError: no number, or a division by zero.
    """
    number = _number(factor)
    if number is None:
        done = "divided" if divide else "multiplied"
        raise InputError(f"an operator is {done} by numbers, got {type(factor).__name__}; products are A @ v")
    if divide:
        if not number:
            raise InputError("an operator cannot be divided by zero")
        number = 1 / number
    terms, shift = _terms(operator)
    return _sum([(number * f, A) for f, A in terms], number * shift)


def _terms(operator: Linear) -> tuple[list[tuple[float, Linear]], float]:
    """What it is the sum of; sums are not nested."""
    return (operator.terms, operator.shift) if isinstance(operator, Sum) else ([(1.0, operator)], 0.0)


def _sum(terms: Sequence[tuple[float, Linear]], shift: float) -> Linear:
    return (Combination if all(isinstance(A, Symmetric) for _, A in terms) else Sum)(terms, shift)


def _number(x: Any) -> float | None:
    """A real number as such, or as a tensor or an array without axes."""
    if isinstance(x, Tensor):
        return None if x.dim() or x.is_complex() else float(x)
    if isinstance(x, np.ndarray):
        return float(x) if x.ndim == 0 and x.dtype.kind in "iuf" else None
    return float(x) if isinstance(x, Real) else None


# --- blocks -------------------------------------------------------------------------------------------------


class Submatrix(_Like):
    """Some rows and some columns of an operator."""

    def __init__(self, whole: Linear, rows: Entries, columns: Entries) -> None:
        self.whole = self._first = whole
        self.chosen_rows, self._rows = _entries(rows, whole.rows, whole.shape[0], whole.device, "rows")
        self.chosen, self._layout = _entries(columns, whole.layout, whole.shape[1], whole.device, "columns")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that were chosen."""
        return len(self.chosen_rows), len(self.chosen)

    @property
    def layout(self) -> Layout | None:
        """Of the columns; None where they were chosen by their numbers."""
        return self._layout

    @property
    def rows(self) -> Layout | None:
        """Of the rows; None where they were chosen by their numbers."""
        return self._rows

    def _told(self) -> Sequence[str]:
        return [f"of a {type(self.whole).__name__} of {' x '.join(map(str, dict.fromkeys(self.whole.shape)))}"]

    def _product(self, v: Tensor) -> Tensor:
        return self._padded(self.whole, v, self.chosen)[self.chosen_rows]

    def _transposed(self, u: Tensor) -> Tensor:
        return self._padded(self.whole.T, u, self.chosen_rows)[self.chosen]

    def _padded(self, whole: Linear, v: Tensor, entries: Tensor) -> Tensor:
        padded = v.new_zeros(whole.shape[1], *v.shape[1:])
        padded[entries] = v
        return whole @ padded


class Part(Submatrix, Symmetric):
    """A diagonal block of a symmetric operator: the rows and columns of some parameters, or of some numbers."""

    def __init__(self, whole: Symmetric, rows: Entries) -> None:
        super().__init__(whole, rows, rows)


def _entries(
    wanted: Entries, layout: Layout | None, size: int, device: torch.device, what: str
) -> tuple[Tensor, Layout | None]:
    """The numbers of rows or columns, and their layout where they were chosen by name."""
    if isinstance(wanted, slice):
        wanted = range(size)[wanted]
    chosen = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, Iterable) else []
    names = [w for w in chosen if isinstance(w, str)]
    if not names:
        return _numbered(wanted if isinstance(wanted, Tensor) else chosen, size, device, what), None
    if len(names) < len(chosen):
        raise InputError(f"a block is of names or of numbers of {what}, got both")
    if layout is None:
        raise InputError(f"the operator is not over parameters: its {what} have no names")
    slices = layout.slices(names)
    entries = [torch.arange(s.start, s.stop, device=device) for s in slices.values()]
    return torch.cat(entries), layout.part(slices)


def _numbered(wanted: Any, size: int, device: torch.device, what: str) -> Tensor:
    try:
        found = torch.as_tensor(wanted, device=device).flatten()
        whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    except (TypeError, ValueError, RuntimeError):
        whole = False
    if not whole or not len(found) or len(found.unique()) < len(found):
        raise InputError(f"a block is of names, or of different whole numbers of {what}")
    if int(found.min()) < 0 or int(found.max()) >= size:
        raise InputError(f"{what} are numbered 0 to {size - 1}, got {int(found.min())} to {int(found.max())}")
    return found
