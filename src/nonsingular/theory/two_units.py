"""Two hidden units that nearly overlap: the plane of overlap h and elimination z.

The student is f(x) = w1 phi(J1.x) + w2 phi(J2.x). With (Wei et al. 2008; Orhan & Pitkow 2018, section 2.2)

    w = w1 + w2,   z = (w1 - w2) / w,   J = (w1 J1 + w2 J2) / w,   u = J1 - J2,   h = |u|,

the loss to second order in u is E0(w, J) + (w / 8)(1 - z^2) u^T A u, where E0 is the loss of the single unit
w phi(J.x), A = E[e phi''(J.x) x x^T] and e is the single unit's error. h = 0 is the overlap singularity, z = +-1
(one outgoing weight is zero) the elimination singularity.

**Reduced flow.** When the teacher is nearly a single unit, A is small, and (w, J) settle at the best single unit
long before (u, z) move. Gradient flow in these coordinates reads

    u' = -z E_J - 2 E_u
    z' = (2 z / w) E_w - (2 (1 + z^2) / w^2) (E_z + u.E_J / 2)
    J' = z' u / 2 - ((1 + z^2) / 2) E_J - z E_u
    w' = -2 E_w + (2 z / w) (E_z + u.E_J / 2)

Setting J' = w' = 0 and solving for E_J and E_w gives, with eta = h / w, tau = w a t and a the eigenvalue of A along u,

    d eta / d tau = -(eta / 2) (1 - z^2 + eta^2) / (1 + z^2 + eta^2)
    d z   / d tau =  z eta^2 / (1 + z^2 + eta^2)

without any parameter. It keeps z (eta^2 + 1 - z^2 / 3) constant, so the separatrix through (z, eta) = (1, 0) is
eta^2 = (z - 1)^2 (z + 2) / (3 z). Leaving out the term z' u / 2 gives the flow for h << w only (``narrow=True``),
eta' = -(eta / 2)(1 - z^2) / (1 + z^2), z' = z eta^2 / (1 + z^2), which keeps eta^2 + ln|z| - z^2 / 2 constant;
it is wrong where h is as large as w, and so where z changes at all.

Both hold to leading order in h and in the ratio of the slow to the fast rates; ``convergence`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, root

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.theory import student_teacher as st

Array = np.ndarray


# --- coordinates --------------------------------------------------------------------------------------------


@checked
def from_coordinates(w: float, z: float, J: ArrayLike, u: ArrayLike) -> st.Network:
    """The two-unit network with these coordinates.

    Args:
        w: sum of the outgoing weights, not 0.
        z: elimination variable; at +-1 one unit has no outgoing weight.
        J: weighted mean of the incoming weights, ``[input]``.
        u: difference of the incoming weights, ``[input]``.

    Raises:
        InputError: w = 0, or J and u of different lengths.

    >>> from nonsingular.theory import two_units
    >>> two_units.from_coordinates(2.0, 0.0, [1.0], [0.0]).W.tolist()  # both units alike: overlap
    [[1.0, 1.0]]
    """
    J, u = np.atleast_1d(np.asarray(J, float)), np.atleast_1d(np.asarray(u, float))
    if w == 0:
        raise InputError("w must not be 0: z = (w1 - w2) / w would have no meaning")
    if J.shape != u.shape or J.ndim != 1:
        raise InputError(f"J and u must be vectors of one length, got shapes {J.shape} and {u.shape}")
    return st.Network(J=np.stack([J + (1 - z) / 2 * u, J - (1 + z) / 2 * u]), W=w / 2 * np.array([[1.0 + z, 1.0 - z]]))


@checked
def to_coordinates(network: st.Network) -> tuple[float, float, Array, Array]:
    """(w, z, J, u) of a two-unit network with one output; the inverse of ``from_coordinates``.

    >>> from nonsingular.theory import two_units
    >>> w, z, J, u = two_units.to_coordinates(two_units.from_coordinates(2.0, 0.5, [1.0], [0.2]))
    >>> float(w), round(float(z), 9), J.round(9).tolist(), u.round(9).tolist()
    (2.0, 0.5, [1.0], [0.2])
    """
    (w1, w2), (J1, J2) = network.W[0], network.J
    w = w1 + w2
    return w, (w1 - w2) / w, (w1 * J1 + w2 * J2) / w, J1 - J2


# --- the slow manifold --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SingleUnit:
    """The best single unit w phi(J.x) for a teacher, and what decides the flow around it.

    Attributes:
        w: outgoing weight.
        J: incoming weights, ``[input]``.
        A: E[e phi''(J.x) x x^T] for its error e, ``[input, input]``.
        loss: its loss.
        separation: largest slow rate (of u) divided by the smallest fast rate (of J with w adapted); the reduced
            flow needs it to be much smaller than 1.

    >>> from nonsingular.theory import two_units
    >>> single = two_units.best_single_unit(two_units.close_teacher(0.05))
    >>> single.loss < 1e-3, single.direction.tolist()
    (True, [1.0])
    """

    w: float
    J: Float[Array, " input"]
    A: Float[Array, "input input"]
    loss: float
    separation: float

    @property
    def a(self) -> float:
        """The eigenvalue of A of largest size; the segment |z| < 1 of h = 0 attracts along it when w a > 0."""
        values = np.linalg.eigvalsh(self.A)
        return float(values[np.argmax(np.abs(values))])

    @property
    def direction(self) -> Float[Array, " input"]:
        """Unit eigenvector of ``a``."""
        values, vectors = np.linalg.eigh(self.A)
        return vectors[:, np.argmax(np.abs(values))]


@checked
def best_single_unit(teacher: st.Network, units: st.Units | None = None) -> SingleUnit:
    """Fit one unit to a teacher, starting from the teacher's own (w, J).

    Args:
        teacher: one output, outgoing weights that do not sum to 0.
        units: the activation; erf when not given.

    Raises:
        InputError: the teacher's weights sum to 0, or no stationary single unit is found near it.

    >>> from nonsingular.theory import two_units
    >>> teacher = two_units.from_coordinates(1.0, 0.3, [1.0], [0.0])  # is itself a single unit
    >>> round(abs(two_units.best_single_unit(teacher).loss), 9)
    0.0
    """
    units = units or st.ErfUnits()
    v = teacher.W[0]
    if abs(v.sum()) < 1e-12 * np.abs(v).sum():
        raise InputError("the teacher's outgoing weights must not sum to 0")
    scale = np.abs(v).sum()  # the fit is done at weights of order 1, where it is well conditioned
    unit_teacher = st.Network(teacher.J, teacher.W / scale)

    def value(p: Array) -> tuple[float, Array]:
        student = st.Network(p[None, 1:], p[None, :1])
        g = st.gradient(student, unit_teacher, units)
        return st.loss(student, unit_teacher, units), np.concatenate([g.W[0], g.J[0]])

    start = np.concatenate([[v.sum() / scale], v @ teacher.J / v.sum()])
    rough = minimize(value, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    found = root(lambda p: value(p)[1], rough, tol=1e-14)
    if not np.linalg.norm(value(found.x)[1]) < 1e-10:
        raise InputError("no stationary single unit near this teacher; choose one whose units lie closer together")
    w, J = float(found.x[0] * scale), found.x[1:]
    A = w * units.curvature(J[None], J[None])[0, 0] - np.einsum("k,kde->de", v, units.curvature(J[None], teacher.J)[0])
    student = st.Network(J[None], np.array([[w]]))
    H = st.hessian(student, teacher, units)
    fast = H[:-1, :-1] - np.outer(H[:-1, -1], H[-1, :-1]) / H[-1, -1]
    separation = np.abs(np.linalg.eigvalsh(w * A)).max() / 4 / np.linalg.eigvalsh(fast).min()
    return SingleUnit(w, J, A, st.loss(student, teacher, units), float(separation))


# --- the reduced flow ---------------------------------------------------------------------------------------


def _velocity(z: Array, eta: Array, narrow: bool) -> tuple[Array, Array]:
    wide = 0.0 if narrow else eta**2
    scale = 1 + z**2 + wide
    return z * eta**2 / scale, -eta / 2 * (1 - z**2 + wide) / scale


@checked
def reduced_flow(z: ArrayLike, eta: ArrayLike, *, attracting: bool = True, narrow: bool = False) -> xr.Dataset:
    """The reduced vector field on a grid.

    Args:
        z: elimination coordinates, ``[z]``.
        eta: overlap in units of the total outgoing weight, h / w, ``[eta]``.
        attracting: whether w a > 0, that is, |z| < 1 is the stable segment; otherwise time runs backward.
        narrow: the flow for h << w only.

    Returns:
        ``dz``, ``deta`` (per unit of tau = |w a| t), ``speed``, ``basin`` (1 where the start ends on the stable
        segment) and ``excess`` (loss above the best single unit's, in units of |w^3 a|), each ``[eta, z]``.

    >>> from nonsingular.theory import two_units
    >>> field = two_units.reduced_flow([-0.5, 0.5], [0.1])
    >>> sorted(field.data_vars)
    ['basin', 'deta', 'dz', 'excess', 'speed']
    """
    z, eta = np.asarray(z, float), np.asarray(eta, float)
    checks.row(z=z, eta=eta)
    Z, E = np.meshgrid(z, eta)
    sign = 1.0 if attracting else -1.0
    dz, deta = _velocity(Z, E, narrow)
    dims = ("eta", "z")
    return xr.Dataset(
        {
            "dz": (dims, sign * dz, {"units": "1/tau"}),
            "deta": (dims, sign * deta, {"units": "1/tau"}),
            "speed": (dims, np.hypot(dz, deta), {"units": "1/tau"}),
            "basin": (dims, in_basin(Z, E, attracting=attracting).astype(np.int8)),
            "excess": (dims, sign * (1 - Z**2) * E**2 / 8, {"units": "|w^3 a|"}),
        },
        coords={"z": z, "eta": ("eta", eta, {"long_name": "h / w"})},
        attrs={"source": "Orhan & Pitkow 2018, figure 2b"},
    )


@checked
def invariant(z: ArrayLike, eta: ArrayLike, *, narrow: bool = False) -> Array:
    """What the reduced flow keeps constant: z (eta^2 + 1 - z^2 / 3), or eta^2 + ln|z| - z^2 / 2 for ``narrow``.

    >>> import numpy as np
    >>> from nonsingular.theory import two_units
    >>> path = two_units.reduced_trajectory(0.5, 0.5, 5.0)
    >>> bool(np.ptp(two_units.invariant(path.z, path.eta)) < 1e-8)
    True
    """
    z, eta = np.asarray(z, float), np.asarray(eta, float)
    checks.alike(z=z, eta=eta)
    if narrow:
        with np.errstate(divide="ignore"):
            return eta**2 + np.log(np.abs(z)) - z**2 / 2
    return z * (eta**2 + 1 - z**2 / 3)


@checked
def separatrix(z: ArrayLike) -> Array:
    """The eta of the level line through (|z|, eta) = (1, 0): |1 - |z|| sqrt((|z| + 2) / (3 |z|)), inf at 0.

    >>> from nonsingular.theory import two_units
    >>> two_units.separatrix([0.25, 1.0]).round(4).tolist()
    [1.299, 0.0]
    """
    size = np.abs(np.asarray(z, float))
    with np.errstate(divide="ignore"):
        return np.abs(1 - size) * np.sqrt((size + 2) / (3 * size))


@checked
def in_basin(z: ArrayLike, eta: ArrayLike, *, attracting: bool = True) -> Array:
    """Whether the reduced flow from (z, eta) ends on the stable segment of eta = 0.

    The stable segment is |z| < 1 where w a > 0 and |z| > 1 otherwise.

    >>> from nonsingular.theory import two_units
    >>> two_units.in_basin([0.2, 0.9], [0.3, 0.9]).tolist()
    [True, False]
    """
    z, eta = np.asarray(z, float), np.asarray(eta, float)
    checks.alike(z=z, eta=eta)
    inside = np.abs(z) < 1 if attracting else np.abs(z) > 1
    return inside & (np.abs(eta) < separatrix(z))


@checked
def reduced_trajectory(
    z: float,
    eta: float,
    duration: float,
    *,
    points: int = 400,
    attracting: bool = True,
    narrow: bool = False,
    tolerance: float = 1e-10,
) -> xr.Dataset:
    """One trajectory of the reduced flow.

    Args:
        z: start.
        eta: start, h / w.
        duration: in units of tau; negative runs time backward.
        points: times returned, evenly spaced.
        attracting: whether w a > 0.
        narrow: the flow for h << w only.
        tolerance: relative tolerance of the integrator.

    Returns:
        ``z``, ``eta`` and ``excess`` (loss above the best single unit's, in |w^3 a|), each ``[tau]``; NaN after
        |eta| has reached 1000, where the reduction has long ceased to hold.

    >>> from nonsingular.theory import two_units
    >>> path = two_units.reduced_trajectory(0.2, 0.3, 40.0)
    >>> bool(path.eta[-1] < 1e-3)  # ends on the stable segment
    True
    """
    checks.at_least(2, points=points)
    checks.positive(tolerance=tolerance)
    if duration == 0 or not np.isfinite(duration):
        raise InputError(f"duration must be a finite number other than 0, got {duration}")
    sign = 1.0 if attracting else -1.0

    def flow(_: float, y: Array) -> list[float]:
        dz, deta = _velocity(y[0], y[1], narrow)
        return [sign * float(dz), sign * float(deta)]

    def escaped(_: float, y: Array) -> float:
        return abs(y[1]) - 1e3

    escaped.terminal = True  # type: ignore[attr-defined]
    tau = np.linspace(0, duration, points)
    solved = solve_ivp(
        flow, (0, duration), [z, eta], t_eval=tau, events=escaped, method="DOP853", rtol=tolerance, atol=1e-14
    )
    path = np.full((2, points), np.nan)
    path[:, : solved.y.shape[1]] = solved.y
    return xr.Dataset(
        {
            "z": ("tau", path[0]),
            "eta": ("tau", path[1], {"long_name": "h / w"}),
            "excess": ("tau", sign * (1 - path[0] ** 2) * path[1] ** 2 / 8, {"units": "|w^3 a|"}),
        },
        coords={"tau": ("tau", tau, {"units": "1 / (w a)"})},
    )


# --- the full network ---------------------------------------------------------------------------------------


@checked
def full_trajectory(
    start: st.Network,
    teacher: st.Network,
    times: ArrayLike,
    units: st.Units | None = None,
    *,
    tolerance: float = 1e-9,
) -> xr.Dataset:
    """Gradient flow of the whole two-unit network on the exact loss over Gaussian inputs.

    Args:
        start: two units, one output.
        teacher: one output, the same inputs.
        times: increasing from 0, ``[time]``.
        units: the activation; erf when not given.
        tolerance: relative tolerance of the integrator.

    Returns:
        ``w``, ``z``, ``h``, ``loss`` and ``rate`` (the loss's speed of fall, which is the squared gradient norm), each
        ``[time]``, and the parameters ``J`` ``[time, unit, input]`` and ``W`` ``[time, unit]``.

    Raises:
        InputError: networks of the wrong shape or times that do not increase from 0.

    >>> import numpy as np
    >>> from nonsingular.theory import two_units
    >>> teacher = two_units.close_teacher(0.05)
    >>> start = two_units.start_near(two_units.best_single_unit(teacher), 0.3, 0.5)
    >>> path = two_units.full_trajectory(start, teacher, np.linspace(0, 1e3, 20))
    >>> bool(path.loss[-1] < path.loss[0])
    True
    """
    checks.positive(tolerance=tolerance)
    units = units or st.ErfUnits()
    times = np.asarray(times, float)
    if start.J.shape[0] != 2 or start.W.shape[0] != 1 or teacher.W.shape[0] != 1:
        raise InputError("start must have 2 units and 1 output, teacher 1 output")
    if times.ndim != 1 or times.size < 2 or times[0] != 0 or not (np.diff(times) > 0).all():
        raise InputError("times must increase from 0")
    d = start.J.shape[1]
    scale = np.abs(teacher.W).max()  # rates go with the outgoing weights' squares; integrate weights of order 1

    def unpack(p: Array) -> st.Network:
        return st.Network(p[2:].reshape(2, d), scale * p[None, :2])

    def flow(_: float, p: Array) -> Array:
        g = st.gradient(unpack(p), teacher, units)
        return -np.concatenate([g.W[0] / scale, g.J.ravel()])

    first = np.concatenate([start.W[0] / scale, start.J.ravel()])
    solved = solve_ivp(flow, (0, times[-1]), first, t_eval=times, method="LSODA", rtol=tolerance, atol=tolerance * 1e-3)
    networks = [unpack(p) for p in solved.y.T]
    coordinates = [to_coordinates(n) for n in networks]
    gradients = [st.gradient(n, teacher, units) for n in networks]
    return xr.Dataset(
        {
            "w": ("time", [c[0] for c in coordinates]),
            "z": ("time", [c[1] for c in coordinates]),
            "h": ("time", [np.linalg.norm(c[3]) for c in coordinates]),
            "loss": ("time", [st.loss(n, teacher, units) for n in networks]),
            "rate": ("time", [np.sum(g.W**2) + np.sum(g.J**2) for g in gradients]),
            "J": (("time", "unit", "input"), np.stack([n.J for n in networks])),
            "W": (("time", "unit"), np.stack([n.W[0] for n in networks])),
        },
        coords={"time": times},
    )


@checked
def start_near(single: SingleUnit, z: float, eta: float) -> st.Network:
    """The two-unit network on the best single unit with elimination z and overlap eta w along ``a``'s direction.

    >>> from nonsingular.theory import two_units
    >>> single = two_units.best_single_unit(two_units.close_teacher(0.05))
    >>> round(float(two_units.to_coordinates(two_units.start_near(single, 0.3, 0.5))[1]), 6)
    0.3
    """
    return from_coordinates(single.w, z, single.J, eta * single.w * single.direction)


@checked
def close_teacher(scale: float, *, z: float = 2.0, separation: float = 0.6, J: float = 2.0) -> st.Network:
    """A two-unit teacher with one input that comes near a single unit as ``scale`` goes to 0.

    Its outgoing weights sum to ``scale / 10`` and its units lie ``separation * sqrt(scale)`` apart, so that the ratio
    of slow to fast rates (of order separation^2) and the overlap h = eta w fall alike.

    >>> from nonsingular.theory import two_units
    >>> near, nearer = (two_units.best_single_unit(two_units.close_teacher(scale)).loss for scale in (0.1, 0.01))
    >>> nearer < near
    True
    """
    checks.positive(scale=scale, separation=separation)
    return from_coordinates(0.1 * scale, z, [J], [separation * np.sqrt(scale)])


@checked
def convergence(
    scales: Sequence[float], *, z: float = 0.4, eta: float = 0.75, duration: float = 20.0, points: int = 101
) -> xr.Dataset:
    """How far the reduced flow lies from the full network's as h -> 0.

    Args:
        scales: of ``close_teacher``; h at the start is eta times the outgoing weight, hence proportional to them.
        z: start.
        eta: start, h / w.
        duration: in units of 1 / (w a).
        points: times compared.

    Returns:
        ``deviation`` ``[flow, scale]``: the largest distance in the (z, eta) plane along the trajectory, for the flow
        ``uniform`` in h / w and the ``narrow`` one; ``h`` ``[scale]``; ``separation`` ``[scale]``.

    >>> from nonsingular.theory import two_units
    >>> found = two_units.convergence([0.1], duration=0.5, points=3)
    >>> sorted(found.dims)
    ['flow', 'scale']
    """
    deviation = np.empty((2, len(scales)))
    singles = []
    reference = [reduced_trajectory(z, eta, duration, points=points, narrow=n) for n in (False, True)]
    for i, scale in enumerate(scales):
        teacher = close_teacher(scale)
        single = best_single_unit(teacher)
        times = reference[0].tau.values / (single.w * single.a)
        full = full_trajectory(start_near(single, z, eta), teacher, times)
        for k, flow in enumerate(reference):
            deviation[k, i] = np.hypot(full.z.values - flow.z.values, full.h.values / single.w - flow.eta.values).max()
        singles.append(single)
    return xr.Dataset(
        {
            "deviation": (("flow", "scale"), deviation, {"units": "distance in (z, h/w)"}),
            "h": ("scale", [eta * s.w for s in singles]),
            "separation": ("scale", [s.separation for s in singles]),
        },
        coords={"flow": ["uniform", "narrow"], "scale": list(scales)},
    )


@checked
def singular_lines(
    teacher: st.Network, units: st.Units | None = None, *, points: int = 41, extent: float = 2.0
) -> xr.Dataset:
    """The full network on and off its singular lines, around the best single unit.

    Args:
        teacher: one output.
        units: the activation; erf when not given.
        points: positions on each line.
        extent: |z| on the overlap line and h on the elimination line run up to this.

    Returns:
        Over ``z`` at h = 0: ``curvature``, the eigenvalues of the loss's Hessian divided by |w a| ``[z, eigenvalue]``
        (z itself gives a zero one), with ``lowest``, the smallest once that zero is taken out ``[z]``.
        ``fisher`` ``[line, position]``: smallest eigenvalue of the Fisher information relative to the largest, on the
        overlap line, on the elimination line z = 1 and, for comparison, half-way off both (``regular``).

    >>> from nonsingular.theory import two_units
    >>> found = two_units.singular_lines(two_units.close_teacher(0.05), points=5)
    >>> sorted(found.data_vars)
    ['curvature', 'fisher', 'lowest']
    """
    units = units or st.ErfUnits()
    checks.at_least(3, points=points)
    checks.positive(extent=extent)
    single = best_single_unit(teacher, units)
    z = np.linspace(-extent, extent, points)
    h = np.linspace(extent / 10, extent, points)

    def fisher(z: float, h: float) -> float:
        # outgoing weights of sum 1: the smallest eigenvalue must not be small by their scale alone
        network = from_coordinates(1.0, z, single.J, h * single.direction)
        values = np.linalg.eigvalsh(st.fisher_information(network, units))
        return float(values[0] / values[-1])

    curvature, lowest = [], []
    for position in z:
        H = st.hessian(start_near(single, position, 0.0), teacher, units) / abs(single.w * single.a)
        along = np.zeros(len(H))  # the overlap line itself: w1 grows as w2 falls
        along[-2:] = [np.sqrt(0.5), -np.sqrt(0.5)]
        rest = np.linalg.svd(along[None])[2][1:]
        curvature.append(np.linalg.eigvalsh(H))
        lowest.append(np.linalg.eigvalsh(rest @ H @ rest.T)[0])
    lines = [[fisher(x, 0.0) for x in z], [fisher(1.0, x) for x in h], [fisher(0.5, x) for x in h]]
    return xr.Dataset(
        {
            "curvature": (("z", "eigenvalue"), np.array(curvature), {"units": "|w a|"}),
            "lowest": ("z", np.array(lowest), {"units": "|w a|"}),
            "fisher": (("line", "position"), np.array(lines)),
        },
        coords={"z": z, "line": ["overlap", "elimination", "regular"]},
    )
