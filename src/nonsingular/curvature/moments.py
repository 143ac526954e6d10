"""The paper's estimate: four moments of the spectral density and a mixture fitted to them (orhan2018 Note 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.curvature.lanczos import SymmetricOperator
from nonsingular.curvature.precision import require_symmetric
from nonsingular.curvature.room import gaussian
from nonsingular.errors import InputError

Array = np.ndarray
BULK = 0.001  # deviation of the narrow Gaussian, fixed in the paper
SMALLEST = 1e-9  # weight of the skew normal: the paper's grid starts there


@checked
def skilling_moments(
    H: SymmetricOperator, probes: int = 1, seed: int = 0, count: int = 4
) -> Float[np.ndarray, "probe moment"]:
    r"""Unbiased estimates of the moments :math:`\frac1P \sum_i \lambda_i^k`, k = 1 to ``count`` (Skilling 1989).

    :math:`v_0 = r`, :math:`v_k = H v_{k-1}`; :math:`m_{2k} = v_k^T v_k / P`, :math:`m_{2k+1} = v_k^T v_{k+1} / P`
    (orhan2018 equations 3 and 4), with r standard normal: two products give four moments.

    Args:
        H: the operator.
        probes: independent vectors r.
        seed: of the vectors.
        count: moments.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.curvature.skilling_moments(2 * torch.eye(100), probes=3).round(3).tolist()[0]
    [2.546, 5.093, 10.186, 20.372]
    """
    require_symmetric(H)
    checks.at_least(1, probes=probes, count=count)
    n = H.shape[0]
    generator = torch.Generator().manual_seed(seed)
    moments = np.empty((probes, count))
    for row in moments:
        v = gaussian(H, 1, generator)[:, 0]
        for k in range(1, count + 1):
            if k % 2:
                previous, v = v, H @ v
                row[k - 1] = float(previous.double() @ v.double()) / n
            else:
                row[k - 1] = float(v.double() @ v.double()) / n
    return moments


@dataclass(frozen=True)
class Mixture:
    r""":math:`q(\lambda) = w\,SN(\lambda; \xi, \omega, \alpha) + (1 - w)\,N(\lambda; 0, 0.001^2)`.

    SN is the skew normal (orhan2018 equation 5).

    Attributes:
        w: weight of the skew normal.
        xi: its location.
        omega: its scale, positive.
        alpha: its shape.
        mismatch: sum over the moments of |fitted - wanted| / |wanted| (equation 6).

    >>> import numpy as np
    >>> import nonsingular as ns
    >>> mixture = ns.curvature.Mixture(w=0.01, xi=2.0, omega=0.1, alpha=0.0)  # one eigenvalue in a hundred is near 2
    >>> round(float(1 - mixture.cdf(0.1)), 4)
    0.01
    """

    w: float
    xi: float
    omega: float
    alpha: float
    mismatch: float = float("nan")

    def pdf(self, x: Array) -> Array:
        """Density at ``x``."""
        from scipy.stats import norm, skewnorm  # which takes most of a second

        tails = skewnorm.pdf(x, self.alpha, self.xi, self.omega)
        return self.w * tails + (1 - self.w) * norm.pdf(x, scale=BULK)

    def cdf(self, x: float) -> float:
        """Part of the spectrum below ``x``."""
        from scipy.stats import norm, skewnorm

        tails = skewnorm.cdf(x, self.alpha, self.xi, self.omega)
        return float(self.w * tails + (1 - self.w) * norm.cdf(x, scale=BULK))

    def parts(self, window: float) -> Float[np.ndarray, " 3"]:
        """Parts of the spectrum within ``window`` of zero, below and above."""
        below, above = self.cdf(-window), 1 - self.cdf(window)
        return np.array([1 - below - above, below, above]).clip(0.0, 1.0)  # rounding


PARAMETERS = ("w", "xi", "omega", "alpha")


def mixture_moments(w: Array, xi: Array, omega: Array, alpha: Array) -> Float[np.ndarray, "4 ..."]:
    """The first four non-central moments of the mixture, in closed form (Azzalini 1985 for the skew normal's)."""
    delta = alpha / np.hypot(1, alpha)
    # SN = xi + omega (delta |u| + sqrt(1 - delta^2) v) with standard normal u, v; z has the moments:
    b = np.sqrt(2 / np.pi)
    z1, z2, z3, z4 = b * delta, 1.0, b * (3 * delta - delta**3), 3.0
    tails = (
        xi + omega * z1,
        xi**2 + 2 * xi * omega * z1 + omega**2 * z2,
        xi**3 + 3 * xi**2 * omega * z1 + 3 * xi * omega**2 * z2 + omega**3 * z3,
        xi**4 + 4 * xi**3 * omega * z1 + 6 * xi**2 * omega**2 * z2 + 4 * xi * omega**3 * z3 + omega**4 * z4,
    )
    bulk = (0.0, BULK**2, 0.0, 3 * BULK**4)
    return np.stack([w * t + (1 - w) * g for t, g in zip(tails, bulk, strict=True)])


def mismatch(wanted: Float[np.ndarray, " 4"], got: Float[np.ndarray, "4 ..."]) -> Array:
    """Sum over the moments of |got - wanted| / |wanted| (orhan2018 equation 6)."""
    wanted = np.asarray(wanted).reshape(4, *[1] * (got.ndim - 1))
    return (np.abs(got - wanted) / np.abs(wanted)).sum(axis=0)


@checked
def fit_mixture(moments: Float[np.ndarray, " 4"], weights: int = 4000) -> Mixture:
    """The mixture whose moments are nearest, by `mismatch`.

    The paper searched a grid of 10^8 points. But for a given weight w, the skew normal that matches the first three
    moments has a closed form, so that one unknown and one equation are left: roots of the fourth moment's difference in
    w. Where there is none (the moments lie outside of what the mixture can have), sequential quadratic programming goes
    on from the best weights. Of several exact solutions the one of smallest weight is taken.

    Args:
        moments: the first four, none of them zero.
        weights: values of w, from 1e-9 to 1 in equal ratios, between which roots are looked for.

    Raises:
        InputError: a moment is zero or not finite.

    >>> import numpy as np
    >>> import nonsingular as ns
    >>> moments = 0.01 * 2.0 ** np.arange(1, 5)  # one eigenvalue in a hundred is 2, the others are 0
    >>> round(ns.curvature.fit_mixture(moments).w, 4)
    0.01
    """
    checks.at_least(1, weights=weights)
    moments = np.asarray(moments, float)
    if not (np.isfinite(moments).all() and np.all(moments != 0)):
        raise InputError(f"the four moments must be finite and not zero, got {moments}")
    exact = exact_mixtures(moments, weights)
    if exact:
        return exact[0]
    w, xi, omega, alpha = _three_matched(moments, np.geomspace(SMALLEST, 1, weights))
    values = mismatch(moments, mixture_moments(w, xi, omega, alpha))
    best = np.argsort(values)[:: max(1, weights // 400)][:4]
    # The matched skew normals are often the steepest there are; the best ones of all need not be.
    starts = [(w[i], xi[i], omega[i], steep * alpha[i]) for i in best for steep in (1.0, 0.02)]
    wide = math.sqrt(moments[3] / moments[1] / 3)  # a normal at zero with the second and fourth moments
    starts += [(min(1.0, moments[1] / wide**2), 0.0, wide, sign) for sign in (-1.0, 1.0)]
    return min((_polish(moments, start) for start in starts), key=lambda fit: fit.mismatch)


def exact_mixtures(moments: Float[np.ndarray, " 4"], weights: int = 4000) -> list[Mixture]:
    """All mixtures with exactly these moments, by rising weight: often none, and sometimes more than one.

    Args:
        moments: the first four, none of them zero.
        weights: values of w between which roots are looked for.
    """
    logs = np.linspace(np.log(SMALLEST), 0.0, weights)
    candidates = _three_matched(moments, np.exp(logs))
    fourth = mixture_moments(*candidates)[3] - moments[3]
    found = [_root_between(moments, logs[i], logs[i + 1]) for i in np.flatnonzero(fourth[:-1] * fourth[1:] < 0)]
    return [fit for fit in found if fit.mismatch < 1e-6]


STEEPEST = 0.9999  # of delta = alpha / sqrt(1 + alpha^2): alpha up to 70


def _three_matched(moments: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    """For every weight the parameters that match the first three moments, as nearly as a skew normal can."""
    m1, m2, m3 = moments[0] / w, (moments[1] - (1 - w) * BULK**2) / w, moments[2] / w
    variance = np.maximum(m2 - m1**2, 1e-12 * np.abs(m2))
    skewness = (m3 - 3 * m1 * variance - m1**3) / variance**1.5
    # The skew normal's skewness as a function of delta, inverted (Azzalini 1985).
    part = np.abs(skewness) ** (2 / 3)
    delta = np.sqrt(np.pi / 2 * part / (part + ((4 - np.pi) / 2) ** (2 / 3)))
    delta = np.sign(skewness) * np.minimum(delta, STEEPEST)
    omega = np.sqrt(variance / (1 - 2 * delta**2 / np.pi))
    return w, m1 - omega * delta * np.sqrt(2 / np.pi), omega, delta / np.sqrt(1 - delta**2)


def _mixture(moments: Array, parameters: Sequence[float | Array]) -> Mixture:
    w, xi, omega, alpha = (float(p) for p in parameters)
    value = float(mismatch(moments, mixture_moments(*(np.asarray(p) for p in (w, xi, omega, alpha)))))
    return Mixture(w, xi, omega, alpha, value)


def _root_between(moments: Array, low: float, high: float) -> Mixture:
    def fourth(log: float) -> float:
        matched = _three_matched(moments, np.exp(np.float64(log)))
        return float(mixture_moments(*matched)[3] / moments[3] - 1)

    from scipy.optimize import brentq  # which takes a third of a second to load

    return _mixture(moments, _three_matched(moments, np.exp(np.float64(brentq(fourth, low, high, xtol=1e-14)))))


STEEPEST_ANGLE = math.atanh(STEEPEST)  # alpha = sinh(angle), delta = tanh(angle): nothing overflows
FAR = 20.0  # from its start, of the location in scales and of the scale in logarithms
LARGEST = 700.0  # of logarithms whose exponential is finite


def _polish(moments: Array, start: Sequence[float]) -> Mixture:
    """A local minimum of the mismatch by sequential quadratic programming.

    The sum of absolute values has kinks wherever a moment is matched, as the best mixtures do. With four bounds
    t_k >= |relative error of moment k|, whose sum is minimised, all functions are smooth.
    """
    from scipy.optimize import minimize

    wanted, unit = [float(m) for m in moments], float(start[2])

    def room(z: Array) -> Array:
        r = np.array(_relative(wanted, unit, z)[0])
        return np.concatenate([z[4:] - r, z[4:] + r])

    def slopes(z: Array) -> Array:
        out[:4, :4] = _relative(wanted, unit, z)[1]
        out[4:, :4] = out[:4, :4]
        out[:4, :4] *= -1
        return out

    out = np.tile(np.eye(4), (2, 2))
    x = np.array([np.log(start[0]), start[1] / start[2], np.log(start[2]), np.arcsinh(start[3])])
    found = minimize(
        lambda z: z[4:].sum(),
        np.concatenate([x, np.abs(_relative(wanted, unit, x)[0])]),
        jac=lambda z: np.repeat([0.0, 1.0], 4),
        constraints={"type": "ineq", "fun": room, "jac": slopes},
        bounds=[
            (np.log(SMALLEST), 0.0),
            (-FAR, FAR),
            (x[2] - FAR, x[2] + FAR),
            (-STEEPEST_ANGLE, STEEPEST_ANGLE),
            *[(0.0, None)] * 4,
        ],
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-10},
    )
    return min(
        (_mixture(moments, (np.exp(y[0]), y[1] * unit, np.exp(y[2]), np.sinh(y[3]))) for y in (x, found.x[:4])),
        key=lambda fit: np.nan_to_num(fit.mismatch, nan=np.inf),
    )


def _relative(wanted: Sequence[float], unit: float, x: Array) -> tuple[list[float], list[list[float]]]:
    """The relative error of each of the mixture's moments, and its slopes by log w, xi / unit, log omega and the angle.

    In plain numbers: a fit comes here thousands of times, and arrays of four would take ten times as long.
    """
    log_w, location, log_omega, angle = x[:4].tolist()
    w, xi, omega, delta = math.exp(log_w), location * unit, math.exp(min(log_omega, LARGEST)), math.tanh(angle)
    b, bend = math.sqrt(2 / math.pi), 1 - delta * delta  # the latter: of delta by the angle
    z1, z3, z1_bend, z3_bend = b * delta, b * (3 * delta - delta**3), b * bend, 3 * b * bend * bend
    xi2, omega2 = xi * xi, omega * omega
    xi3, omega3 = xi2 * xi, omega2 * omega
    tails = (
        xi + omega * z1,
        xi2 + 2 * xi * omega * z1 + omega2,
        xi3 + 3 * xi2 * omega * z1 + 3 * xi * omega2 + omega3 * z3,
        xi3 * xi + 4 * xi3 * omega * z1 + 6 * xi2 * omega2 + 4 * xi * omega3 * z3 + 3 * omega3 * omega,
    )
    bulk = (0.0, BULK**2, 0.0, 3 * BULK**4)
    by_location = (1.0, 2 * tails[0], 3 * tails[1], 4 * tails[2])
    by_scale = (
        omega * z1,
        2 * xi * omega * z1 + 2 * omega2,
        3 * xi2 * omega * z1 + 6 * xi * omega2 + 3 * omega3 * z3,
        4 * xi3 * omega * z1 + 12 * xi2 * omega2 + 12 * xi * omega3 * z3 + 12 * omega3 * omega,
    )
    by_angle = (
        omega * z1_bend,
        2 * xi * omega * z1_bend,
        3 * xi2 * omega * z1_bend + omega3 * z3_bend,
        4 * xi3 * omega * z1_bend + 4 * xi * omega3 * z3_bend,
    )
    errors = [(w * t + (1 - w) * g) / m - 1 for t, g, m in zip(tails, bulk, wanted, strict=True)]
    rows = zip(tails, bulk, by_location, by_scale, by_angle, wanted, strict=True)
    slopes = [[w * s / m for s in (t - g, unit * place, scale, turn)] for t, g, place, scale, turn, m in rows]
    return errors, slopes
