"""Two-layer networks W phi(J x) learning one another from Gaussian inputs, without sampling error.

With x ~ N(0, I) everything that gradient flow needs is the overlap of two units,
Q(a, b) = E[phi(a.x) phi(b.x)], and its derivatives. For phi(t) = erf(t / sqrt 2) it is
(2 / pi) arcsin(a.b / sqrt((1 + a.a)(1 + b.b))) (Saad & Solla 1995, equation 3); for other smooth units it is
integrated by Gauss-Hermite quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from jaxtyping import Float
from numpy.polynomial.hermite_e import hermegauss

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

Array = np.ndarray


class Units(Protocol):
    """Overlaps of hidden units under Gaussian inputs; ``a`` and ``b`` are incoming weights, ``[unit, input]``.

    Derivatives treat ``a`` and ``b`` as independent even where they are the same units.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> a = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> st.ErfUnits().overlap(a, a).round(4).tolist()
    [[0.3333, 0.0], [0.0, 0.3333]]
    """

    def overlap(self, a: Array, b: Array) -> Float[Array, "a b"]:
        """Q(a, b) = E[phi(a.x) phi(b.x)]."""

    def gradient(self, a: Array, b: Array) -> Float[Array, "a b input"]:
        """dQ/da = E[phi'(a.x) phi(b.x) x]."""

    def curvature(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """d2Q/da2 = E[phi''(a.x) phi(b.x) x x^T]."""

    def mixed(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """d2Q/da db = E[phi'(a.x) phi'(b.x) x x^T]."""


class ErfUnits:
    """phi(t) = erf(t / sqrt 2): every average in closed form.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> float(st.ErfUnits().overlap(np.array([[1.0]]), np.array([[1.0]]))[0, 0].round(4))  # E[erf(x / sqrt 2)^2]
    0.3333
    """

    def overlap(self, a: Array, b: Array) -> Float[Array, "a b"]:
        """(2 / pi) arcsin(a.b / sqrt((1 + a.a)(1 + b.b)))."""
        s, alpha, beta, _ = _products(a, b)
        return 2 / np.pi * np.arcsin(s / np.sqrt(alpha * beta))

    def gradient(self, a: Array, b: Array) -> Float[Array, "a b input"]:
        """(2 / pi) (b - a s / alpha) / sqrt(alpha beta - s^2), with s = a.b, alpha = 1 + a.a, beta = 1 + b.b."""
        s, alpha, _, determinant = _products(a, b)
        return 2 / np.pi * (b[None] - (s / alpha)[..., None] * a[:, None]) / np.sqrt(determinant)[..., None]

    def curvature(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """The derivative of ``gradient`` by ``a``."""
        s, alpha, beta, determinant = (x[..., None, None] for x in _products(a, b))
        row, row_t, column, column_t = (
            a[:, None, :, None],
            a[:, None, None, :],
            b[None, :, :, None],
            b[None, :, None, :],
        )
        identity = np.eye(a.shape[1])
        bend = (column - s / alpha * row) * (beta * row_t - s * column_t) / determinant**1.5
        turn = (-row * column_t - s * identity + 2 * s / alpha * row * row_t) / (alpha * np.sqrt(determinant))
        return 2 / np.pi * (turn - bend)

    def mixed(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """The derivative of ``gradient`` by ``b``."""
        s, alpha, _, determinant = (x[..., None, None] for x in _products(a, b))
        row, row_t, column, column_t = (
            a[:, None, :, None],
            a[:, None, None, :],
            b[None, :, :, None],
            b[None, :, None, :],
        )
        identity = np.eye(a.shape[1])
        bend = (column - s / alpha * row) * (alpha * column_t - s * row_t) / determinant**1.5
        return 2 / np.pi * ((identity - row * row_t / alpha) / np.sqrt(determinant) - bend)


def _products(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """Products s = a.b, alpha = 1 + a.a, beta = 1 + b.b and alpha beta - s^2, each ``[a, b]``."""
    s = a @ b.T
    alpha = np.broadcast_to(1 + np.sum(a * a, axis=1)[:, None], s.shape)
    beta = np.broadcast_to(1 + np.sum(b * b, axis=1)[None], s.shape)
    return s, alpha, beta, alpha * beta - s**2


@checked
class QuadratureUnits:
    """Any smooth unit, integrated by a tensor product of Gauss-Hermite rules (at most three inputs).

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> square = st.QuadratureUnits(lambda t: t**2, lambda t: 2 * t, lambda t: 2 + 0 * t, inputs=1)
    >>> float(square.overlap(np.array([[1.0]]), np.array([[1.0]]))[0, 0].round(6))  # E[x^4]
    3.0
    """

    def __init__(
        self,
        phi: Callable[[Array], Array],
        first: Callable[[Array], Array],
        second: Callable[[Array], Array],
        inputs: int,
        nodes: int = 48,
    ) -> None:
        """Prepare the rule.

        Args:
            phi: the activation, element by element.
            first: its derivative.
            second: its second derivative.
            inputs: number of inputs, 1 to 3 (the rule has ``nodes ** inputs`` points).
            nodes: points of the one-dimensional rule.

        Raises:
            InputError: ``inputs`` outside 1 to 3 or fewer than two nodes.
        """
        if inputs not in (1, 2, 3):
            raise InputError(f"inputs must be 1, 2 or 3 for quadrature, got {inputs}")
        checks.at_least(2, nodes=nodes)
        points, weights = hermegauss(nodes)
        weights = weights / weights.sum()
        self._phi, self._first, self._second = phi, first, second
        self._x = np.array(list(product(points, repeat=inputs)))
        self._weights = np.array(list(product(weights, repeat=inputs))).prod(axis=1)

    def _average(self, f: Array, g: Array, moments: str) -> Array:
        letters = {0: "", 1: "d", 2: "de"}[len(moments)]
        terms = ",".join(["pa", "pb", "p", *("p" + k for k in letters)])
        return np.einsum(f"{terms}->ab{letters}", f, g, self._weights, *[self._x] * len(moments), optimize=True)

    def overlap(self, a: Array, b: Array) -> Float[Array, "a b"]:
        """E[phi(a.x) phi(b.x)]."""
        return self._average(self._phi(self._x @ a.T), self._phi(self._x @ b.T), "")

    def gradient(self, a: Array, b: Array) -> Float[Array, "a b input"]:
        """E[phi'(a.x) phi(b.x) x]."""
        return self._average(self._first(self._x @ a.T), self._phi(self._x @ b.T), "x")

    def curvature(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """E[phi''(a.x) phi(b.x) x x^T]."""
        return self._average(self._second(self._x @ a.T), self._phi(self._x @ b.T), "xx")

    def mixed(self, a: Array, b: Array) -> Float[Array, "a b input input"]:
        """E[phi'(a.x) phi'(b.x) x x^T]."""
        return self._average(self._first(self._x @ a.T), self._first(self._x @ b.T), "xx")


@checked
def tanh_units(inputs: int, nodes: int = 48) -> QuadratureUnits:
    """Units with phi = tanh, by quadrature.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> float(st.tanh_units(1).overlap(np.array([[1.0]]), np.array([[-1.0]]))[0, 0].round(3))
    -0.394
    """

    def first(t: Array) -> Array:
        return 1 - np.tanh(t) ** 2

    def second(t: Array) -> Array:
        return -2 * np.tanh(t) * first(t)

    return QuadratureUnits(np.tanh, first, second, inputs, nodes)


@checked
@dataclass(frozen=True)
class Network:
    """y(x) = W phi(J x).

    Attributes:
        J: incoming weights, ``[unit, input]``.
        W: outgoing weights, ``[output, unit]``.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> st.Network(J=np.eye(2), W=np.array([[1.0, -1.0]])).W.shape
    (1, 2)
    """

    J: Float[Array, "unit input"]
    W: Float[Array, "output unit"]

    def __post_init__(self) -> None:
        if self.J.ndim != 2 or self.W.ndim != 2 or self.W.shape[1] != self.J.shape[0]:
            raise InputError(
                f"J must be [unit, input] and W [output, unit], got shapes {self.J.shape} and {self.W.shape}"
            )


@checked
def loss(student: Network, teacher: Network, units: Units) -> float:
    """E[|student(x) - teacher(x)|^2] / 2 over x ~ N(0, I).

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> teacher = st.Network(np.eye(2), np.array([[1.0, 1.0]]))
    >>> swapped = st.Network(np.eye(2)[::-1], np.array([[1.0, 1.0]]))
    >>> round(abs(st.loss(swapped, teacher, st.ErfUnits())), 12)
    0.0
    """
    S, T = student.W, teacher.W
    own = np.sum((S.T @ S) * units.overlap(student.J, student.J))
    cross = np.sum((S.T @ T) * units.overlap(student.J, teacher.J))
    target = np.sum((T.T @ T) * units.overlap(teacher.J, teacher.J))
    return float(own - 2 * cross + target) / 2


@checked
def gradient(student: Network, teacher: Network, units: Units) -> Network:
    """The gradient of ``loss`` by the student's J and W, in the student's shapes.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> teacher = st.Network(np.eye(2), np.array([[1.0, 1.0]]))
    >>> float(np.abs(st.gradient(teacher, teacher, st.ErfUnits()).J).max().round(12))
    0.0
    """
    S, T = student.W, teacher.W
    dW = S @ units.overlap(student.J, student.J) - T @ units.overlap(student.J, teacher.J).T
    dJ = np.einsum("ij,ijd->id", S.T @ S, units.gradient(student.J, student.J))
    dJ -= np.einsum("ik,ikd->id", S.T @ T, units.gradient(student.J, teacher.J))
    return Network(J=dJ, W=dW)


@checked
def fisher_information(network: Network, units: Units) -> Float[Array, "parameter parameter"]:
    """E[g g^T] with g the gradient of a one-output network's output by its parameters (J by rows, then W).

    It is singular exactly where some direction in parameter space leaves the function unchanged to first order.

    Raises:
        InputError: more than one output.

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> overlapping = st.Network(np.ones((2, 2)), np.array([[1.0, 0.5]]))
    >>> F = st.fisher_information(overlapping, st.ErfUnits())
    >>> len(F) - int(np.linalg.matrix_rank(F, tol=1e-10))  # directions in which the function does not change
    3
    """
    if network.W.shape[0] != 1:
        raise InputError(f"fisher_information needs a network with 1 output, got {network.W.shape[0]}")
    w, J = network.W[0], network.J
    n, d = J.shape
    incoming = (w[:, None, None, None] * w[None, :, None, None] * units.mixed(J, J)).transpose(0, 2, 1, 3)
    crossing = (w[:, None, None] * units.gradient(J, J)).transpose(0, 2, 1).reshape(n * d, n)
    return np.block([[incoming.reshape(n * d, n * d), crossing], [crossing.T, units.overlap(J, J)]])


@checked
def hessian(student: Network, teacher: Network, units: Units) -> Float[Array, "parameter parameter"]:
    """The Hessian of ``loss`` for one output, parameters as in ``fisher_information``.

    Gauss-Newton part plus the residual part: e = student - teacher reaches the second derivative of each unit's
    own weights only, E[e phi''(J_i x) x x^T] w_i, and their mixed one, E[e phi'(J_i x) x].

    >>> import numpy as np
    >>> from nonsingular.theory import student_teacher as st
    >>> teacher = st.Network(np.eye(2), np.array([[1.0, 1.0]]))
    >>> bool(np.linalg.eigvalsh(st.hessian(teacher, teacher, st.ErfUnits())).min() > 0)  # a minimum, and no flat one
    True
    """
    full = fisher_information(student, units)
    w, v = student.W[0], teacher.W[0]
    bend = np.einsum("j,ijde->ide", w, units.curvature(student.J, student.J))
    bend -= np.einsum("k,ikde->ide", v, units.curvature(student.J, teacher.J))
    slope = np.einsum("j,ijd->id", w, units.gradient(student.J, student.J))
    slope -= np.einsum("k,ikd->id", v, units.gradient(student.J, teacher.J))
    n, d = student.J.shape
    for i in range(n):
        own = slice(i * d, (i + 1) * d)
        full[own, own] += w[i] * bend[i]
        full[own, n * d + i] += slope[i]
        full[n * d + i, own] += slope[i]
    return full
