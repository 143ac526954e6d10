"""Names of PyTorch's functions for arithmetic, whether operators, functions or methods call them.

To a ``TorchFunctionMode`` ``a - b``, ``torch.subtract(a, b)`` and ``1 - a`` are three functions: ``sub``, ``subtract``
and ``__rsub__``. What changes its first argument has the same name with a line behind it.
"""

from __future__ import annotations

from collections.abc import Set

SUMS = frozenset({"add", "__add__", "__radd__"})
DIFFERENCES = frozenset({"sub", "subtract", "__sub__"})
TURNED_DIFFERENCES = frozenset({"rsub", "__rsub__"})
"""Of the second argument and the first."""
PRODUCTS = frozenset({"mul", "multiply", "__mul__", "__rmul__"})
QUOTIENTS = frozenset({"div", "divide", "true_divide", "__truediv__"})
TURNED_QUOTIENTS = frozenset({"__rdiv__", "__rtruediv__"})
NEGATIONS = frozenset({"neg", "negative", "__neg__"})
POWERS = frozenset({"pow", "float_power", "__pow__"})
MATRIX_PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm", "__matmul__"})
"""Of a table with a row a sample and weights."""

ADDED = SUMS | DIFFERENCES | TURNED_DIFFERENCES
"""What adds two things up, with whatever sign."""
SCALED = PRODUCTS | QUOTIENTS | NEGATIONS
"""What multiplies its argument by a number."""


def in_place(names: Set[str]) -> frozenset[str]:
    """The same operations on what they change.

    >>> sorted(in_place(DIFFERENCES))
    ['sub_', 'subtract_']
    """
    return frozenset(f"{name}_" for name in names if not name.endswith("_"))
