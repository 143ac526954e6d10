"""How many eigenvalues are degenerate, negative and positive; one result type for three methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.curvature.algebra import PRODUCTS, Linear, Symmetric
from nonsingular.curvature.counting import lanczos_counts
from nonsingular.curvature.inertia import window_counts
from nonsingular.curvature.lanczos import SymmetricOperator, times
from nonsingular.curvature.moments import Mixture, fit_mixture, skilling_moments
from nonsingular.curvature.precision import require_precision
from nonsingular.curvature.traces import Forms
from nonsingular.errors import InputError
from nonsingular.files import plain
from nonsingular.spelling import spelled
from nonsingular.words import counted, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
METHODS = ("exact", "lanczos", "moments")
EXACT_LIMIT = 30_000  # parameters: the dense matrix takes 7 GiB in float64
EXACT_BY_DEFAULT = 3000  # parameters: some seconds


@dataclass(frozen=True)
class Count:
    """A number of eigenvalues with its 95 % interval, and both as parts of all eigenvalues.

    Attributes:
        count: the number; not an integer where it is estimated.
        interval: (low, high); equal to the count where it is exact.
        parameters: how many eigenvalues there are.

    >>> import nonsingular as ns
    >>> count = ns.curvature.Count(20.0, (18.0, 23.0), parameters=1000)
    >>> count.fraction
    0.02
    """

    count: float
    interval: tuple[float, float]
    parameters: int

    @property
    def fraction(self) -> float:
        """Part of all eigenvalues."""
        return self.count / self.parameters

    @property
    def fraction_interval(self) -> tuple[float, float]:
        """Likewise."""
        return self.interval[0] / self.parameters, self.interval[1] / self.parameters

    @property
    def percent(self) -> float:
        """The part in percent, for people: 0 where an estimate is less than a thousandth of one eigenvalue."""
        return 100 * self.fraction if self.count >= 1e-3 else 0.0

    def __str__(self) -> str:
        """The number, its interval and its share."""
        low, high = self.interval
        known = f" ({low:,.0f} to {high:,.0f})" if math.isfinite(low) else " (interval not known)"
        return f"{self.count:,.0f}{'' if low == high else known}, {significant(self.percent, 4)} %"

    def to_json(self) -> dict[str, object]:
        """``{"count", "fraction", "interval"}``, NaN as null; the interval is the count's."""
        interval = [None if math.isnan(x) else x for x in self.interval]
        return {"count": self.count, "fraction": self.fraction, "interval": interval}


@dataclass(frozen=True)
class Spectrum:
    """Where a matrix's eigenvalues lie; printed, in a few lines.

    Attributes:
        parameters: number of eigenvalues, P.
        window: half the width of the window around zero.
        method: ``exact``, ``lanczos`` or ``moments``.
        degenerate: eigenvalues in [-window, window].
        negative: below it.
        positive: above it.
        how: in a sentence, how the numbers were got.
        extremes: smallest and largest eigenvalue; NaN where the method does not give them.
        trace: sum of the eigenvalues, with its 95 % interval.
        products: products with the operator that it took.
        mixture: of ``moments``: the density that was fitted.
        eigenvalues: all of them, ascending, where they were asked for (``exact``).
        stopped: of ``lanczos``: why the intervals are wider than asked; empty where they are not.
        matrix: whose eigenvalues they are, as the operator prints itself: with the mode that the model is measured in.

    >>> import torch
    >>> import nonsingular as ns
    >>> found = ns.spectrum(torch.diag(torch.tensor([3.0, 0.05, 0.0, -2.0])))
    >>> found.negative.count, found.degenerate.count, found.positive.count
    (1, 2, 1)
    """

    parameters: int
    window: float
    method: str
    degenerate: Count
    negative: Count
    positive: Count
    how: str
    extremes: tuple[float, float] = (math.nan, math.nan)
    trace: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    products: int = 0
    mixture: Mixture | None = None
    eigenvalues: Float[np.ndarray, " P"] | None = field(default=None, repr=False, compare=False)
    stopped: str = ""
    matrix: str = ""
    _density: Callable[[Array, float], Array] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Counts with their intervals, the ends of the spectrum, of what it is and how it was got."""
        lines = [f"Spectrum of {counted(self.parameters, 'eigenvalue')}, {self.method}"]
        parts = {
            f"degenerate, within ±{self.window:g}": self.degenerate,
            f"negative, below -{self.window:g}": self.negative,
            f"positive, above {self.window:g}": self.positive,
        }
        lines += [f"  {name:<28}{count}" for name, count in parts.items()]
        if not math.isnan(self.extremes[0]):
            lines.append(f"  from {self.extremes[0]:.4g} to {self.extremes[1]:.4g}")
        lines += [f"  of {self.matrix}"] if self.matrix else []
        return "\n".join([*lines, f"  {self.how}"])

    def density(self, grid: Float[np.ndarray, " point"], width: float = 0.05) -> Float[np.ndarray, " point"]:
        """Density of the eigenvalues on a grid, per unit of eigenvalue; it integrates to 1.

        Args:
            grid: eigenvalues.
            width: of the Gaussian that smooths discrete eigenvalues, in units of asinh(eigenvalue / window): of the
                window's own width near zero, relative far away. Mixtures are smooth already and take no account of it.

        Raises:
            InputError: only counts were computed.
        """
        if self._density is None:
            raise InputError("only counts were computed: ask for spectrum(..., eigenvalues=True)")
        return self._density(np.asarray(grid, float), width)

    def plot(self, title: str = "Hessian spectrum") -> Figure:
        """The density as a matplotlib figure, with the window shaded and the counts beside it.

        Raises:
            InputError: only counts were computed.
        """
        from nonsingular.plots.spectra import density  # which draws these results

        return density({"eigenvalues": self}, title)

    def to_json(self) -> dict[str, object]:
        """What ``nonsingular spectrum --json`` prints beside what the command was given; what is not known is null."""
        return {
            "matrix": self.matrix,
            "parameters": self.parameters,
            "window": self.window,
            "method": self.method,
            "degenerate": self.degenerate.to_json(),
            "negative": self.negative.to_json(),
            "positive": self.positive.to_json(),
            "extremes": plain(self.extremes),
            "trace": plain(self.trace),
            "eigenvalues": plain(self.eigenvalues),
            "products": self.products,
            "how": self.how,
            "stopped": self.stopped,
        }


@checked
@spelled
def spectrum(
    H: SymmetricOperator | Tensor,
    window: float = 0.1,
    method: str | None = None,
    *,
    eigenvalues: bool = False,
    error: float = 0.05,
    seconds: float = 60.0,
    max_steps: int = 1000,
    max_probes: int = 16,
    seed: int = 0,
) -> Spectrum:
    """Count the eigenvalues inside, below and above a window around zero (orhan2018 Note 4: 0.1 either way).

    Args:
        H: a curvature operator, any symmetric operator on tensors with ``@``, ``shape``, ``dtype`` and ``device``, or a
            symmetric matrix.
        window: half the window's width, positive.
        method: ``exact`` forms the matrix and counts by its inertia, up to some 10 000 parameters; ``lanczos`` needs
            products only, and its intervals hold both for chance and for what it has not resolved; ``moments`` is the
            paper's estimate from four moments, whose interval holds for chance only, not for the mixture's misfit.
            By default ``exact`` up to 3 000 parameters or where ``eigenvalues`` are asked for, ``lanczos`` beyond.
        eigenvalues: of ``exact``: compute them all, for `Spectrum.density`.
        error: of ``lanczos``: half the width of the 95 % interval of the number outside, relative to it.
        seconds: of ``lanczos``: after which it stops, says so (`Spectrum.stopped`) and gives the interval reached;
            preparing the products does not count. ``math.inf`` for results that do not depend on the machine's speed.
        max_steps: of ``lanczos``: products per random vector.
        max_probes: random vectors, beyond the first of ``lanczos``. Its estimates converge long before its intervals
            close: ``max_steps=100, max_probes=0`` takes what 100 products give.
        seed: of the random vectors.

    Raises:
        InputError: unknown method, a window that is not positive, or a matrix too large for ``exact``.

    >>> import torch
    >>> import nonsingular as ns
    >>> random = torch.manual_seed(0)
    >>> model, batch = torch.nn.Linear(6, 3), (torch.randn(60, 6), torch.arange(60) % 3)
    >>> H = ns.Hessian(model, torch.nn.functional.cross_entropy, [batch])
    >>> exact, estimate = ns.spectrum(H), ns.spectrum(H, method="lanczos")
    >>> low, high = estimate.positive.interval
    >>> low <= exact.positive.count <= high
    True
    """
    if method is not None and method not in METHODS:
        raise InputError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    if not 0 < window < math.inf:
        raise InputError(f"window must be positive and finite, got {window}")
    if len(H.shape) != 2 or H.shape[0] != H.shape[1]:
        raise InputError(f"expected a square symmetric operator, got shape {tuple(H.shape)}")
    require_precision(H)
    method = method or ("exact" if eigenvalues or H.shape[0] <= EXACT_BY_DEFAULT else "lanczos")
    if method == "exact":
        found = _exact(H, window, eigenvalues)
    elif method == "lanczos":
        found = _lanczos(H, window, error, seconds, max_steps, max_probes, seed)
    else:
        found = _moments(H, window, max_probes, seed)
    return replace(found, matrix=repr(H) if isinstance(H, Linear) else "")


def _exact(H: SymmetricOperator | Tensor, window: float, eigenvalues: bool) -> Spectrum:
    n = H.shape[0]
    if n > EXACT_LIMIT:
        gigabytes = 8 * n**2 / 2**30
        raise InputError(f"a matrix of {counted(n, 'parameter')} takes {gigabytes:,.0f} GiB: use method='lanczos'")
    A = _matrix(H)
    if not torch.isfinite(A).all():
        raise InputError("the matrix has NaN or infinite entries")
    trace, values = float(A.double().diagonal().sum()), None
    if eigenvalues:
        with progress.stretch("its eigenvalues", None, ""):
            values = torch.linalg.eigvalsh(A.double()).cpu().numpy()
        below, above = int((values < -window).sum()), int((values > window).sum())
        extremes, density = (float(values[0]), float(values[-1])), _quadrature(values, np.full(n, 1 / n), window)
        how = "all eigenvalues of the dense matrix in float64"
    else:
        with progress.stretch("counting its eigenvalues", None, ""):
            below, _, above = window_counts(A, window)
        extremes, density = (math.nan, math.nan), None
        how = "dense matrix; counts by symmetric indefinite factorisation at both edges in float64 (Sylvester)"

    def certain(k: int) -> Count:
        return Count(k, (k, k), n)

    return Spectrum(
        n, window, "exact", certain(n - below - above), certain(below), certain(above), how, extremes,
        (trace, trace, trace), eigenvalues=values, _density=density,
    )  # fmt: skip


def _matrix(H: SymmetricOperator | Tensor) -> Tensor:
    if isinstance(H, Tensor):
        return (H + H.mT) / 2
    if isinstance(H, Symmetric):
        return H.dense()
    A = times(H, torch.eye(H.shape[0], dtype=H.dtype, device=H.device))
    return (A + A.mT) / 2


def _lanczos(
    H: SymmetricOperator, window: float, error: float, seconds: float, max_steps: int, max_probes: int, seed: int
) -> Spectrum:
    if not (error > 0 and seconds > 0 and max_steps >= 1 and max_probes >= 0):
        raise InputError("error and seconds must be positive, max_steps at least 1 and max_probes at least 0")
    n = H.shape[0]
    limits = {"max_steps": max_steps, "max_probes": max_probes}
    found = lanczos_counts(H, window, error=error, seconds=seconds, **limits, seed=seed)

    def count(estimate: tuple[float, float, float]) -> Count:
        value, low, high = (min(max(x, 0.0), float(n)) for x in estimate)
        return Count(value, (low, high), n)

    outside, low, high = found.outside
    how = (
        f"Lanczos, {counted(found.products, 'product')}: {counted(found.exact, 'eigenvalue')} outside the window "
        f"converged and counted one by one, the rest by quadrature from {counted(found.probes, 'random vector')}"
        + (f"; {found.stopped}" if found.stopped else "")
    )
    return Spectrum(
        n, window, "lanczos", count((n - outside, n - high, n - low)), count(found.below), count(found.above), how,
        found.extremes, found.trace, found.products, stopped=found.stopped,
        _density=_quadrature(found.nodes, found.weights, window),
    )  # fmt: skip


def _moments(H: SymmetricOperator, window: float, probes: int, seed: int) -> Spectrum:
    if probes < 1:
        raise InputError(f"moments need at least one random vector, got max_probes={probes}")
    n = H.shape[0]
    progress.expect(PRODUCTS, 2 * probes)
    samples = skilling_moments(H, probes, seed)
    if not np.isfinite(samples).all():
        raise InputError("the moments are not finite: the operator's products have NaN or infinite entries")

    if not np.all(samples.mean(axis=0)):
        raise InputError("a moment is zero: a mixture cannot be fitted to it; use method='exact' or 'lanczos'")
    fit = fit_mixture(samples.mean(axis=0))
    best = fit.parts(window)
    half = np.full(3, math.nan)
    if probes > 1:
        from scipy.special import stdtrit  # which takes a quarter of a second to load

        half = stdtrit(probes - 1, 0.975) * _error_of_fits(samples, lambda moments: fit_mixture(moments).parts(window))

    def count(i: int) -> Count:
        low, high = max(0.0, best[i] - half[i]), min(1.0, best[i] + half[i])
        return Count(float(n * best[i]), (float(n * low), float(n * high)), n)

    trace, spread = Forms(n * samples[:, 0], n * samples[:, 1]).trace
    how = (
        f"four Skilling moments from {counted(probes, 'random vector')}; fitted w = {fit.w:.3g}, xi = {fit.xi:.3g}, "
        f"omega = {fit.omega:.3g}, alpha = {fit.alpha:.3g}, relative mismatch {fit.mismatch:.2g}; "
        "the intervals hold for chance, not for the mixture's misfit"
    )
    return Spectrum(
        n, window, "moments", count(0), count(1), count(2), how,
        trace=(trace, trace - spread, trace + spread), products=2 * probes, mixture=fit,
        _density=lambda grid, width: fit.pdf(grid),
    )  # fmt: skip


def _error_of_fits(samples: Float[Array, "probe moment"], parts: Callable[[Array], Array]) -> Array:
    """Standard errors of what the mixture fitted to all vectors' mean moments says.

    A fit is no mean, and either of two estimates may be too small: the spread of the fits to single vectors, and that
    of the fits with one vector left out (the jackknife). The larger one counts.
    """
    probes, total = len(samples), samples.sum(axis=0)
    single = np.std([parts(m) for m in samples], axis=0, ddof=1) / math.sqrt(probes)
    left_out = [parts((total - m) / (probes - 1)) for m in samples]
    return np.asarray(np.maximum(single, np.std(left_out, axis=0) * math.sqrt(probes - 1)))


def _quadrature(nodes: Array, weights: Array, window: float) -> Callable[[Array, float], Array]:
    """Density of weighted points, smoothed on the scale asinh(x / window): linear near 0 and logarithmic far off."""

    def density(grid: Array, width: float) -> Array:
        centres, at = np.arcsinh(nodes / window), np.arcsinh(grid / window)
        out = np.zeros_like(at)
        for part in range(0, len(centres), 1024):
            c, w = centres[part : part + 1024], weights[part : part + 1024]
            out += np.exp(-(((at[:, None] - c) / width) ** 2) / 2) @ w / (width * math.sqrt(2 * math.pi))
        return out / np.hypot(grid, window)

    return density
