"""Learning along a linear-dependence manifold is slow: the 3-3-3 toy (Orhan & Pitkow 2018, figure 2d-e, Note 2).

Student and teacher are y = W phi(J x) with 3 inputs, 3 hidden units a, b, c and 3 outputs; the training set is
infinite (x ~ N(0, I), averages in closed form for erf units). The incoming weights are written as

    M = Ja + Jb - Jc  (m = |M| = 0: the three units' inputs are linearly dependent),  D = Ja - Jb - Jc,  C = Jc,

each as norm times direction. Flow in the plane of m and |Jc| is -dE/dm and -dE/d|Jc| with every other parameter
(W, D, the directions of M and C) at its optimum for that m and |Jc|. That is the paper's coordinate system. It is
not neutral: a unit step of m moves the weights by sqrt(1/2), one of |Jc| by sqrt(2). ``flow`` therefore gives besides,
at the same points, the velocity of m and |Jc| when the weights themselves follow their gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.theory import student_teacher as st

Array = np.ndarray
UNITS = st.ErfUnits()
NEIGHBOURS = 1
STATIONARY = 1e-3  # a relative gradient above this is not an optimum


@checked
def random_teacher(seed: int, inputs: int = 3, outputs: int = 3) -> st.Network:
    """Three hidden units, every weight drawn from N(0, 1).

    >>> from nonsingular.theory import linear_dependence
    >>> linear_dependence.random_teacher(0).J.shape
    (3, 3)
    """
    checks.at_least(0, seed=seed)
    checks.at_least(1, inputs=inputs, outputs=outputs)
    rng = np.random.default_rng(seed)
    return st.Network(J=rng.standard_normal((3, inputs)), W=rng.standard_normal((outputs, 3)))


@checked
def to_combinations(J: Float[Array, "3 input"]) -> tuple[Array, Array, Array]:
    """(M, D, C) = (Ja + Jb - Jc, Ja - Jb - Jc, Jc).

    >>> import numpy as np
    >>> from nonsingular.theory import linear_dependence
    >>> M, D, C = linear_dependence.to_combinations(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    >>> M.tolist()  # Jc is the sum of the others
    [0.0, 0.0]
    """
    a, b, c = J
    return a + b - c, a - b - c, c


@checked
def from_combinations(M: Array, D: Array, C: Array) -> Float[Array, "3 input"]:
    """The incoming weights with these combinations; the inverse of ``to_combinations``.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_dependence as ld
    >>> J = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    >>> np.allclose(ld.from_combinations(*ld.to_combinations(J)), J)
    True
    """
    checks.alike(M=M, D=D, C=C)
    return np.stack([(M + D) / 2 + C, (M - D) / 2, C])


@dataclass(frozen=True)
class Optimum:
    """The best network with given m and |Jc|, near a given one.

    Attributes:
        loss: its loss.
        dm: dE/dm there.
        dc: dE/d|Jc| there.
        cosine: of the angle between M and C.
        combinations: its (M, D, C), ``[3, input]``.
        stationarity: norm of the gradient by what was optimised, relative to sqrt(loss of the zero function).

    >>> from nonsingular.theory import linear_dependence as ld
    >>> teacher = ld.random_teacher(0)
    >>> ld.optimum(1.0, 1.0, teacher, teacher.J).stationarity < 1e-3
    True
    """

    loss: float
    dm: float
    dc: float
    cosine: float
    combinations: Float[Array, "3 input"]
    stationarity: float


@checked
def optimum(m: float, c: float, teacher: st.Network, guess: Float[Array, "3 input"]) -> Optimum:
    """Optimise everything but m and |Jc|: W by linear regression, D and the two directions by BFGS.

    Args:
        m: |Ja + Jb - Jc|.
        c: |Jc|.
        teacher: what is learnt.
        guess: (M, D, C) to start from; of M and C only the directions matter.

    Raises:
        InputError: m or |Jc| not above 0.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_dependence as ld
    >>> teacher = ld.random_teacher(0)
    >>> M, _, C = ld.to_combinations(teacher.J)
    >>> found = ld.optimum(np.linalg.norm(M), np.linalg.norm(C), teacher, teacher.J)
    >>> round(found.loss, 6)  # at the teacher's own values the loss is 0
    0.0
    """
    checks.positive(m=m, c=c)

    def value(x: Array) -> tuple[float, Array, dict[str, Any]]:
        raw = x.reshape(3, -1)
        lengths = np.linalg.norm(raw, axis=1)
        M_dir, C_dir = raw[0] / lengths[0], raw[2] / lengths[2]
        combinations = np.stack([m * M_dir, raw[1], c * C_dir])
        loss, dJ = _regressed(from_combinations(*combinations), teacher)
        dM, dD, dC = (dJ[0] + dJ[1]) / 2, (dJ[0] - dJ[1]) / 2, dJ[0] + dJ[2]
        slopes = {"dm": dM @ M_dir, "dc": dC @ C_dir, "cosine": M_dir @ C_dir, "combinations": combinations}
        turn_M = m / lengths[0] * (dM - slopes["dm"] * M_dir)
        turn_C = c / lengths[2] * (dC - slopes["dc"] * C_dir)
        return loss, np.concatenate([turn_M, dD, turn_C]), slopes

    start = guess / np.linalg.norm(guess, axis=1, keepdims=True)
    start[1] = guess[1]
    options = {"gtol": 1e-6, "maxiter": 150}
    x = minimize(lambda x: value(x)[:2], start.ravel(), jac=True, method="BFGS", options=options).x
    loss, gradient, slopes = value(x)
    stationarity = float(np.linalg.norm(gradient) / np.sqrt(_size(teacher))) if np.isfinite(loss) else np.inf
    return Optimum(loss=loss, stationarity=stationarity, **slopes)


STEP = 1e4  # incoming weights beyond this make a step function of a unit, whose integrals lose all digits


def _regressed(J: Array, teacher: st.Network) -> tuple[float, Array]:
    """Loss with W at its optimum for J, and its gradient by J (which, W being optimal, is the one at fixed W)."""
    if not np.abs(J).max() < STEP:
        return np.inf, np.zeros_like(J)  # a line search that went too far turns back from an infinite loss
    own, cross = UNITS.overlap(J, J), UNITS.overlap(J, teacher.J)
    wanted = cross @ teacher.W.T
    W = np.linalg.lstsq(own, wanted, rcond=1e-12)[0].T
    loss = (_size(teacher) - np.sum(W.T * wanted)) / 2
    dJ = np.einsum("ij,ijd->id", W.T @ W, UNITS.gradient(J, J))
    dJ -= np.einsum("ik,ikd->id", W.T @ teacher.W, UNITS.gradient(J, teacher.J))
    return float(loss), dJ


def _size(teacher: st.Network) -> float:
    """E[|teacher(x)|^2]."""
    return float(np.sum((teacher.W.T @ teacher.W) * UNITS.overlap(teacher.J, teacher.J)))


@checked
def flow(teacher: st.Network, relative: ArrayLike) -> xr.Dataset:
    """The flow of m and |Jc| around a teacher.

    Each grid point is optimised from the teacher's own weights and from its nearest solved neighbour, and the better is
    kept: the field follows the branch of optima that the teacher lies on (permuted and sign-flipped copies of the
    teacher lie on others), or a better one where it meets one.

    Args:
        teacher: three hidden units.
        relative: grid of m and of |Jc|, relative to the teacher's own values, above 0, ``[position]``.

    Returns:
        ``dm``, ``dc``: the paper's flow, -dE/dm and -dE/d|Jc| with the rest ``optimised`` or kept at the ``teacher``'s
        values ``[rest, c, m]``; ``weight_dm``, ``weight_dc``: their velocity under gradient flow of the weights,
        with the rest optimised ``[c, m]``; ``loss`` ``[rest, c, m]``; ``stationarity`` ``[c, m]``. Coordinates
        ``m`` and ``c`` are relative to the teacher's; ``teacher_m``, ``teacher_c`` are attributes. Where no optimum
        exists (two units merge while their outgoing weights diverge) the optimised fields are NaN.

    Raises:
        InputError: a teacher without three hidden units, or a grid that is not above 0 and increasing.

    >>> from nonsingular.theory import linear_dependence as ld
    >>> field = ld.flow(ld.random_teacher(0), [0.9, 1.1])
    >>> sorted(field.dims)
    ['c', 'm', 'rest']
    """
    grid = np.asarray(relative, float)
    if teacher.J.shape[0] != 3:
        raise InputError(f"the teacher must have 3 hidden units, got {teacher.J.shape[0]}")
    if grid.ndim != 1 or grid.size < 2 or grid[0] <= 0 or not (np.diff(grid) > 0).all():
        raise InputError("relative must increase from a value above 0")
    own = np.stack(to_combinations(teacher.J))
    m0, c0 = np.linalg.norm(own[0]), np.linalg.norm(own[2])
    n = grid.size
    solved: dict[tuple[int, int], Optimum] = {}
    for i, j in sorted(np.ndindex(n, n), key=lambda ij: np.hypot(grid[ij[0]] - 1, grid[ij[1]] - 1)):
        near = sorted(solved, key=lambda other: (other[0] - i) ** 2 + (other[1] - j) ** 2)[:NEIGHBOURS]
        guesses = [own] + [solved[other].combinations for other in near]
        found = [optimum(grid[j] * m0, grid[i] * c0, teacher, guess) for guess in guesses]
        proper = [f for f in found if f.stationarity <= STATIONARY] or found
        solved[i, j] = min(proper, key=lambda f: f.loss)

    def field(name: str) -> Array:
        return np.array([[getattr(solved[i, j], name) for j in range(n)] for i in range(n)])

    stationarity = field("stationarity")
    missing = np.where(stationarity > STATIONARY, np.nan, 0.0)

    held = np.array([[_held(x * m0, y * c0, own, teacher) for x in grid] for y in grid])
    dm, dc, cosine = field("dm") + missing, field("dc") + missing, field("cosine")
    dims, both = ("c", "m"), ("rest", "c", "m")
    return xr.Dataset(
        {
            "loss": (both, np.stack([field("loss") + missing, held[..., 0]])),
            "dm": (both, -np.stack([dm, held[..., 1]])),
            "dc": (both, -np.stack([dc, held[..., 2]])),
            "weight_dm": (dims, -3 * dm + cosine * dc),
            "weight_dc": (dims, cosine * dm - dc),
            "stationarity": (dims, stationarity),
        },
        coords={"m": grid, "c": grid, "rest": ["optimised", "teacher"]},
        attrs={"teacher_m": float(m0), "teacher_c": float(c0)},
    )


def _held(m: float, c: float, own: Array, teacher: st.Network) -> tuple[float, float, float]:
    """Loss, dE/dm and dE/d|Jc| with all else at the teacher's values."""
    M_dir, C_dir = own[0] / np.linalg.norm(own[0]), own[2] / np.linalg.norm(own[2])
    student = st.Network(from_combinations(m * M_dir, own[1], c * C_dir), teacher.W)
    dJ = st.gradient(student, teacher, UNITS).J
    return st.loss(student, teacher, UNITS), float((dJ[0] + dJ[1]) / 2 @ M_dir), float((dJ[0] + dJ[2]) @ C_dir)


@checked
def speed_ratio(field: xr.Dataset) -> xr.Dataset:
    """Root mean square of dm over that of dc, on the grid points that have an optimum.

    Returns:
        ``ratio`` ``[system]`` for the paper's flow with the rest ``optimised``, the same with the rest at the
        ``teacher``'s values, and the ``weights`` own gradient flow.

    >>> from nonsingular.theory import linear_dependence as ld
    >>> ratio = ld.speed_ratio(ld.flow(ld.random_teacher(0), [0.9, 1.1]))
    >>> sorted(ratio.data_vars)
    ['ratio']
    """

    def rms(x: xr.DataArray) -> float:
        return float(np.sqrt((x**2).mean()))

    ratios = [rms(field.dm.sel(rest=r)) / rms(field.dc.sel(rest=r)) for r in ("optimised", "teacher")]
    ratios.append(rms(field.weight_dm) / rms(field.weight_dc))
    return xr.Dataset({"ratio": ("system", ratios)}, coords={"system": ["optimised", "teacher", "weights"]})
