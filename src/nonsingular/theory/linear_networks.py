"""Deep linear networks with and without skips (Orhan & Pitkow 2018, Supplementary Note 5; Saxe et al. 2013).

With whitened inputs gradient flow sees the input-output correlation only through its singular values s. In the
basis of its modes:

*Three layers, several modes.* Columns a_alpha, b_alpha of A, B (hidden unit x mode) tie mode alpha to the hidden layer;
the network's map is (B + U)^T (A + V), with orthonormal skips U, V (0 in the plain network), and

    E = |diag(s) - (B + U)^T (A + V)|^2 / 2                                                      (22, 26)
    A' = (B + U) R,   B' = (A + V) R^T,   R = diag(s) - (B + U)^T (A + V)                        (10-11, 16-19)

These are the gradients of (22) and (26). The paper's printed equations 14, 15, 18 and 19 have the last product of
inner indices exchanged (a_1.b_2 where the gradient, and the paper's own 11, have a_2.b_1).

*L layers, one mode.* Mode strengths a_1 .. a_(L-1) with E = (s - prod_l (a_l + c_l))^2 / 2, where c_l is 0 in the
plain, 1 in the residual and l in the hyper-residual network (29-31). tau = 1 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import root

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError

Array = np.ndarray
NETWORKS = ("plain", "residual", "hyper-residual")


# --- three layers, several modes ----------------------------------------------------------------------------


@checked
def hadamard_skips() -> Float[Array, "hidden mode"]:
    """The two orthonormal skip vectors of figure S4: [1, 1] / sqrt 2 and [1, -1] / sqrt 2, as columns.

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.hadamard_skips().round(3).tolist()
    [[0.707, 0.707], [0.707, -0.707]]
    """
    return np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)


@checked
def three_layer_energy(A: Array, B: Array, s: Array, U: Array | float = 0.0, V: Array | float = 0.0) -> float:
    """Equations 22 and 26: |diag(s) - (B + U)^T (A + V)|^2 / 2.

    Args:
        A: first layer, ``[hidden, mode]``.
        B: second layer, ``[hidden, mode]``.
        s: singular values, ``[mode]``.
        U: skip of the second layer, ``[hidden, mode]``; 0 in the plain network.
        V: skip of the first layer.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.three_layer_energy(np.eye(2), np.diag([3.0, 1.0]), np.array([3.0, 1.0]))  # B^T A is the target
    0.0
    """
    _check_modes(s, A, B, U, V)
    return float(np.sum((np.diag(s) - (B + U).T @ (A + V)) ** 2)) / 2


@checked
def three_layer_hessian(
    A: Array, B: Array, s: Array, U: Array | float = 0.0, V: Array | float = 0.0
) -> Float[Array, "parameter parameter"]:
    """The whole Hessian of ``three_layer_energy``, parameters A then B, each mode by mode.

    The block of one mode's a is equations 24-25 (27-28): sum_beta b_i^beta b_j^beta, with b + u for b, the same for
    every mode; the paper leaves out the blocks between a and b, which contain the error R.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> zero, s = np.zeros((2, 1)), np.array([2.0])
    >>> np.linalg.eigvalsh(linear_networks.three_layer_hessian(zero, zero, s)).tolist()  # at 0: a saddle
    [-2.0, -2.0, 2.0, 2.0]
    """
    _check_modes(s, A, B, U, V)
    X, Y = A + V, B + U
    hidden, modes = X.shape
    R = np.diag(s) - Y.T @ X
    eye = np.eye(modes)
    aa = np.kron(eye, Y @ Y.T)
    bb = np.kron(eye, X @ X.T)
    # d2E / dA[i, alpha] dB[k, beta] = Y[i, beta] X[k, alpha] - delta_ik R[beta, alpha]
    ab = np.einsum("ib,ka->aibk", Y, X) - np.einsum("ik,ba->aibk", np.eye(hidden), R)
    ab = ab.reshape(modes * hidden, modes * hidden)
    return np.block([[aa, ab], [ab.T, bb]])


@checked
def three_layer_trajectory(
    s: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    times: ArrayLike,
    *,
    U: ArrayLike | None = None,
    V: ArrayLike | None = None,
    tolerance: float = 1e-9,
) -> xr.Dataset:
    """Gradient flow of the three-layer network in the basis of its modes (equations 10-19).

    Args:
        s: singular values, above 0, ``[mode]``.
        A: start, ``[hidden, mode]``.
        B: start, ``[hidden, mode]``.
        times: increasing from 0, ``[time]``, in units of tau.
        U: skip vectors of the second layer as columns; none in the plain network.
        V: skip vectors of the first layer.
        tolerance: relative tolerance of the integrator.

    Returns:
        ``a``, ``b`` ``[time, hidden, mode]``; ``strength``, the diagonal of the network's map, ``[time, mode]``;
        ``error``, |R| / |s|, ``[time]``.

    Raises:
        InputError: shapes that do not agree, singular values not above 0, times that do not increase from 0.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> start = 0.1 * np.eye(2)
    >>> path = linear_networks.three_layer_trajectory([3.0, 1.0], start, start, np.linspace(0, 20, 50))
    >>> sorted(path.data_vars), path.sizes["time"]
    (['a', 'b', 'error', 'strength'], 50)
    """
    checks.positive(tolerance=tolerance)
    s, A, B, times = (np.asarray(x, float) for x in (s, A, B, times))
    U = np.zeros_like(B) if U is None else np.asarray(U, float)
    V = np.zeros_like(A) if V is None else np.asarray(V, float)
    if s.ndim != 1 or not (s > 0).all():
        raise InputError("s must be singular values above 0, one for each mode")
    checks.axes(2, A=A, B=B)
    _check_modes(s, A, B, U, V)
    _check_times(times)
    shape = (2, *A.shape)

    def flow(_: float, p: Array) -> Array:
        X, Y = p.reshape(shape)[0] + V, p.reshape(shape)[1] + U
        R = np.diag(s) - Y.T @ X
        return np.stack([Y @ R, X @ R.T]).ravel()

    solved = solve_ivp(
        flow, (0, times[-1]), np.stack([A, B]).ravel(), t_eval=times, method="DOP853", rtol=tolerance, atol=1e-13
    )
    _check_solved(solved, tolerance)
    a, b = solved.y.T.reshape(-1, *shape).transpose(1, 0, 2, 3)
    maps = np.einsum("thi,thj->tij", b + U, a + V)
    error = np.linalg.norm(np.diag(s) - maps, axis=(1, 2)) / np.linalg.norm(s)
    return xr.Dataset(
        {
            "a": (("time", "hidden", "mode"), a),
            "b": (("time", "hidden", "mode"), b),
            "strength": (("time", "mode"), np.einsum("tii->ti", maps)),
            "error": ("time", error, {"long_name": "|diag(s) - map| / |s|"}),
        },
        coords={"time": ("time", times, {"units": "tau"}), "mode": np.arange(1, s.size + 1)},
    )


@checked
def time_to_converge(time: ArrayLike, error: ArrayLike, threshold: float = 0.01) -> float:
    """First time after which the error stays below the threshold; infinite if it does not within the window.

    Args:
        time: ``[time]``.
        error: ``[time]``.
        threshold: in the error's units.

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.time_to_converge([0.0, 1.0, 2.0, 3.0], [1.0, 0.5, 1e-3, 1e-4])
    2.0
    """
    time, error = np.asarray(time, float), np.asarray(error, float)
    checks.row(time=time, error=error)
    checks.as_many(time=time, error=error)
    above = np.flatnonzero(~(error < threshold))
    if above.size == 0:
        return float(time[0])
    return float(time[above[-1] + 1]) if above[-1] + 1 < time.size else np.inf


# --- L layers, one mode -------------------------------------------------------------------------------------


@checked
def skip_strengths(network: str, layers: int) -> Float[Array, " layer"]:
    """c_l of equations 29-31: 0 (plain), 1 (residual) or l (hyper-residual) for the layers - 1 weight matrices.

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.skip_strengths("residual", 4).tolist()
    [1.0, 1.0, 1.0]
    >>> linear_networks.skip_strengths("hyper-residual", 4).tolist()
    [1.0, 2.0, 3.0]
    """
    checks.one_of(NETWORKS, network=network)
    checks.at_least(2, layers=layers)
    n = layers - 1
    return {"plain": np.zeros(n), "residual": np.ones(n), "hyper-residual": np.arange(1.0, n + 1)}[network]


def _others(x: Array) -> Array:
    """The product of all entries but one, along the last axis, without dividing."""
    ones = np.ones_like(x[..., :1])
    left = np.cumprod(np.concatenate([ones, x[..., :-1]], -1), -1)
    right = np.cumprod(np.concatenate([ones, x[..., :0:-1]], -1), -1)[..., ::-1]
    return left * right


@checked
def mode_gradient(a: ArrayLike, s: float, c: ArrayLike) -> Float[Array, "... layer"]:
    """dE/da_i = -(s - u) prod_(l != i) (a_l + c_l), u = prod_l (a_l + c_l) (equation 32).

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> bool(linear_networks.mode_gradient([0.0, 0.0], 3.0, [0.0, 0.0]).any())  # plain: zero is a saddle
    False
    >>> linear_networks.mode_gradient([0.0, 0.0], 3.0, [1.0, 1.0]).tolist()  # residual: it is not
    [-2.0, -2.0]
    """
    a, c = np.asarray(a, float), np.asarray(c, float)
    checks.alike(a=a, c=c)
    x = a + c
    return -(s - np.prod(x, -1, keepdims=True)) * _others(x)


@checked
def mode_hessian(a: ArrayLike, s: float, c: ArrayLike) -> Float[Array, "... layer layer"]:
    """Equations 33-34: (prod_(l != i) x_l)^2 on the diagonal, (2 u - s) prod_(l != i, k) x_l off it; x = a + c.

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.mode_hessian([0.0, 0.0], 3.0, [0.0, 0.0]).tolist()
    [[0.0, -3.0], [-3.0, 0.0]]
    """
    a, c = np.asarray(a, float), np.asarray(c, float)
    checks.alike(a=a, c=c)
    x = a + c
    n = x.shape[-1]
    eye = np.eye(n, dtype=bool)
    left_out = eye[:, None] | eye[None, :]  # [i, k, l]: l is i or k
    pairs = np.where(left_out, 1.0, x[..., None, None, :]).prod(-1)
    u = np.prod(x, -1)[..., None, None]
    return np.where(eye, (_others(x) ** 2)[..., None], (2 * u - s) * pairs)


def _mode_flow(s: float, c: Array) -> Callable[[float, Array], list[float]]:
    """``-mode_gradient`` for an integrator, in plain numbers: of ten layers, arrays take five times as long."""
    skips, backwards = c.tolist(), range(len(c) - 1, -1, -1)

    def flow(_: float, a: Array) -> list[float]:
        x = [one + skip for one, skip in zip(a.tolist(), skips, strict=True)]
        others, u = [], 1.0
        for strength in x:
            others.append(u)
            u *= strength
        behind = s - u
        for i in backwards:
            others[i] *= behind
            behind *= x[i]
        return others

    return flow


@checked
def mode_trajectory(network: str, s: float, a: ArrayLike, times: ArrayLike, *, tolerance: float = 1e-9) -> xr.Dataset:
    """Gradient flow of the mode strengths of one mode (equations 29-31).

    Args:
        network: ``plain``, ``residual`` or ``hyper-residual``.
        s: the mode's singular value.
        a: start, ``[layer]`` (one entry a weight matrix).
        times: increasing from 0, ``[time]``.
        tolerance: relative tolerance of the integrator.

    Returns:
        ``a`` ``[time, layer]``, ``u``, the product of a_l + c_l, ``[time]``, and ``curvature``, the largest eigenvalue
        of the Hessian, ``[time]`` (gradient descent needs a learning rate below 2 divided by it).

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> times = np.linspace(0, 3, 30)
    >>> ends = [linear_networks.mode_trajectory(n, 3.0, [0.1, 0.1, 0.1], times) for n in ("plain", "residual")]
    >>> [round(float(path.u[-1]), 2) for path in ends]  # the target is 3
    [0.67, 3.0]
    """
    checks.positive(tolerance=tolerance)
    a, times = np.asarray(a, float), np.asarray(times, float)
    if a.ndim != 1 or a.size < 1:
        raise InputError(f"a must be a vector with one entry a layer, got shape {a.shape}")
    _check_times(times)
    c = skip_strengths(network, a.size + 1)
    solved = solve_ivp(
        _mode_flow(s, c),
        (0, times[-1]),
        a,
        t_eval=times,
        method="Radau",
        jac=lambda _, y: -mode_hessian(y, s, c),
        rtol=tolerance,
        atol=tolerance * 1e-3,
    )
    _check_solved(solved, tolerance)
    path = solved.y.T
    return xr.Dataset(
        {
            "a": (("time", "layer"), path),
            "u": ("time", np.prod(path + c, axis=1)),
            "curvature": ("time", np.linalg.eigvalsh(mode_hessian(path, s, c))[:, -1]),
        },
        coords={"time": ("time", times, {"units": "tau"}), "layer": np.arange(1, a.size + 1)},
        attrs={"network": network, "s": float(s)},
    )


@checked
def phase_portrait(network: str, s: float, a: ArrayLike, b: ArrayLike) -> xr.Dataset:
    """The flow of the two mode strengths of a three-layer network (figure S5a).

    Args:
        network: ``plain``, ``residual`` or ``hyper-residual``.
        s: the mode's singular value.
        a: grid of a_1, ``[a]``.
        b: grid of a_2, ``[b]``.

    Returns:
        ``da``, ``db``, ``speed`` and ``energy``, each ``[b, a]``.

    >>> from nonsingular.theory import linear_networks
    >>> field = linear_networks.phase_portrait("plain", 3.0, [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    >>> sorted(field.dims)
    ['a', 'b']
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    checks.row(a=a, b=b)
    grid = np.stack(np.meshgrid(a, b), axis=-1)
    c = skip_strengths(network, 3)
    velocity = -mode_gradient(grid, s, c)
    dims = ("b", "a")
    return xr.Dataset(
        {
            "da": (dims, velocity[..., 0]),
            "db": (dims, velocity[..., 1]),
            "speed": (dims, np.linalg.norm(velocity, axis=-1)),
            "energy": (dims, (s - np.prod(grid + c, axis=-1)) ** 2 / 2),
        },
        coords={"a": a, "b": b},
    )


@checked
def saddles(
    network: str, s: float, *, starts: int = 200, extent: float = 4.0, seed: int = 0
) -> Float[Array, "saddle 2"]:
    """Saddles of the three-layer network's energy, found by root search from random starts.

    Args:
        network: ``plain``, ``residual`` or ``hyper-residual``.
        s: the mode's singular value, not 0.
        starts: random starts.
        extent: they are uniform in [-extent, extent]^2.
        seed: of the starts.

    Returns:
        Distinct stationary points whose Hessian has eigenvalues of both signs.

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.saddles("residual", 3.0, starts=20).round(4).tolist()
    [[-1.0, -1.0]]
    """
    checks.at_least(0, seed=seed)
    checks.at_least(1, starts=starts)
    checks.positive(extent=extent)
    c = skip_strengths(network, 3)
    found: list[Array] = []
    for start in np.random.default_rng(seed).uniform(-extent, extent, (starts, 2)):
        solution = root(lambda y: mode_gradient(y, s, c), start, jac=lambda y: mode_hessian(y, s, c), tol=1e-13)
        if not solution.success:
            continue
        low, high = np.linalg.eigvalsh(mode_hessian(solution.x, s, c))
        new = all(np.linalg.norm(solution.x - other) > 1e-6 for other in found)
        if low < -1e-9 and high > 1e-9 and new:
            found.append(solution.x)
    return np.array(found).reshape(-1, 2)


# --- actual matrices ----------------------------------------------------------------------------------------


@checked
def rectangular_identity(rows: int, columns: int) -> Float[Array, "row column"]:
    """The identity with zero padding, which joins layers of different sizes (Note 5).

    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.rectangular_identity(2, 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    checks.at_least(1, rows=rows, columns=columns)
    return np.eye(rows, columns)


@checked
def matrix_gradient(W: Sequence[Array], target: Array, c: Sequence[float] | Array) -> list[Array]:
    """Gradients of |target - prod_l (W_l + c_l I)|^2 / 2 by each W_l; W_1 acts first, I may be rectangular.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> linear_networks.matrix_gradient([np.eye(2), np.eye(2)], np.eye(2), [0.0, 0.0])[0].tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    _check_chain(W, target, c)
    X = [w + k * rectangular_identity(*w.shape) for w, k in zip(W, c, strict=True)]
    below = [np.eye(X[0].shape[1])]
    for x in X[:-1]:
        below.append(x @ below[-1])
    above = [np.eye(X[-1].shape[0])]
    for x in X[:0:-1]:
        above.insert(0, above[0] @ x)
    error = target - X[-1] @ below[-1]
    return [-a.T @ error @ b.T for a, b in zip(above, below, strict=True)]


@checked
def matrix_descent(
    W: Sequence[Array], target: Array, c: Sequence[float] | Array, steps: int, learning_rate: float
) -> xr.Dataset:
    """Gradient descent on actual weight matrices with whitened inputs.

    Args:
        W: start, W_1 first; each ``[out, in]``, sizes that chain.
        target: the input-output correlation, ``[last out, first in]``.
        c: weight of the (rectangular) identity added to each matrix.
        steps: steps taken.
        learning_rate: step size.

    Returns:
        ``map``, the network's matrix, ``[step, out, in]``, before each step and after the last; ``time`` = step x rate.

    Raises:
        InputError: matrices that do not chain or a target of another shape.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> start = [0.5 * np.eye(2)] * 2
    >>> path = linear_networks.matrix_descent(start, np.eye(2), [0.0, 0.0], steps=100, learning_rate=0.1)
    >>> path["map"][-1].round(3).values.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    checks.at_least(1, steps=steps)
    checks.positive(learning_rate=learning_rate)
    W = [np.array(w, float) for w in W]
    _check_chain(W, target, c)
    maps = np.empty((steps + 1, *target.shape))
    for step in range(steps + 1):
        product = np.eye(W[0].shape[1])
        for w, k in zip(W, c, strict=True):
            product = (w + k * rectangular_identity(*w.shape)) @ product
        maps[step] = product
        for w, g in zip(W, matrix_gradient(W, target, c), strict=True):
            w -= learning_rate * g
    return xr.Dataset(
        {"map": (("step", "out", "in"), maps)}, coords={"time": ("step", learning_rate * np.arange(steps + 1))}
    )


@checked
def aligned_matrices(
    strengths: Float[Array, "layer mode"], sizes: Sequence[int], s: ArrayLike, *, shared: bool, seed: int = 0
) -> tuple[list[Array], Array]:
    """Weight matrices whose modes are decoupled: W_l = R_(l+1) D_l R_l^T, and the target with the same modes.

    Args:
        strengths: initial a_l of each mode, ``[layer, mode]``.
        sizes: width of each layer from input to output, each at least the number of modes.
        s: the target's singular values, ``[mode]``.
        shared: all R_l mix the same first coordinates alike, as R_(l+1)^T I R_l = I requires (residual networks);
            otherwise every layer has its own random orthogonal R_l (plain networks).
        seed: of the rotations.

    Returns:
        The matrices, W_1 first, and the target.

    >>> import numpy as np
    >>> from nonsingular.theory import linear_networks
    >>> W, target = linear_networks.aligned_matrices(np.full((2, 1), 0.5), (3, 3, 3), [2.0], shared=True)
    >>> np.linalg.svd(target)[1].round(6).tolist()
    [2.0, 0.0, 0.0]
    """
    checks.at_least(0, seed=seed)
    if np.ndim(strengths) != 2 or np.shape(s) != np.shape(strengths)[1:]:
        got = f"{list(np.shape(strengths))} and {list(np.shape(s))}"
        raise InputError(f"strengths must be [layer, mode] and s [mode], got {got}")
    layers, modes = np.shape(strengths)
    if len(sizes) != layers + 1 or min(sizes) < modes:
        raise InputError(f"sizes must be {layers + 1} widths of at least {modes}, got {list(sizes)}")
    rng = np.random.default_rng(seed)
    common = np.linalg.qr(rng.standard_normal((modes, modes)))[0]

    def rotation(size: int) -> Array:
        if not shared:
            return np.linalg.qr(rng.standard_normal((size, size)))[0]
        R = np.eye(size)
        R[:modes, :modes] = common
        return R

    def diagonal(values: Array, rows: int, columns: int) -> Array:
        D = np.zeros((rows, columns))
        D[range(modes), range(modes)] = values
        return D

    R = [rotation(size) for size in sizes]
    W = [R[k + 1] @ diagonal(strengths[k], sizes[k + 1], sizes[k]) @ R[k].T for k in range(layers)]
    return W, R[-1] @ diagonal(np.asarray(s, float), sizes[-1], sizes[0]) @ R[0].T


def _check_modes(s: ArrayLike, *matrices: ArrayLike) -> None:
    """That singular values are a row, and the matrices ``[hidden, mode]``; a number stands for a matrix of it."""
    modes = np.size(s)
    shapes = [np.shape(m) for m in matrices if np.ndim(m)]
    if np.ndim(s) != 1 or any(len(shape) != 2 or shape[1] != modes for shape in shapes) or len(set(shapes)) > 1:
        told = ", ".join(str(list(shape)) for shape in [np.shape(s), *shapes])
        raise InputError(f"s must be [mode], A, B, U and V all [hidden, mode], got {told}")


def _check_solved(solved: Any, tolerance: float) -> None:
    if not solved.success:
        raise InputError(f"the flow cannot be followed with tolerance {tolerance:g}: {solved.message}")


def _check_chain(W: Sequence[Array], target: Array, c: Sequence[float] | Array) -> None:
    """That matrices can follow each other, to the target, each with a number of ``c``."""
    checks.as_many(W=W, c=c)
    if any(np.ndim(w) != 2 for w in W) or any(a.shape[0] != b.shape[1] for a, b in pairwise(W)):
        raise InputError(f"W must be matrices that chain, W_1 first, got shapes {[list(np.shape(w)) for w in W]}")
    if np.shape(target) != (W[-1].shape[0], W[0].shape[1]) or np.ndim(c) != 1:
        raise InputError("target must be [last out, first in] and c have one entry for each matrix")


def _check_times(times: Array) -> None:
    if times.ndim != 1 or times.size < 2 or times[0] != 0 or not (np.diff(times) > 0).all():
        raise InputError("times must increase from 0")
