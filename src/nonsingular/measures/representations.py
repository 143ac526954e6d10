"""Linear dependence and conditioning of the hidden representations."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import checks
from nonsingular.checks import checked


@checked
def linear_dependence(activations: Float[Tensor, "*run sample unit"], top: int = 3) -> Float[Tensor, "*run"]:
    """Share of the variance in the ``top`` eigenmodes of the units' covariance, in (0, 1] (orhan2018 figure 4e).

    1 where nothing varies: no direction is left outside the top modes. NaN for activations that are not finite.

    >>> import torch
    >>> import nonsingular as ns
    >>> one_direction = torch.outer(torch.arange(10.0), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> round(float(ns.measures.linear_dependence(one_direction, top=1)), 6)
    1.0
    """
    checks.at_least(0, top=top)
    return _top_share(_covariance_eigenvalues(activations), top)


@checked
def effective_rank(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Exponential of the entropy of the normalised covariance eigenvalues, from 1 to the number of units.

    0 where nothing varies, NaN for activations that are not finite. Roy and Vetterli 2007, there with singular values
    instead of eigenvalues.

    >>> import torch
    >>> import nonsingular as ns
    >>> one_direction = torch.outer(torch.arange(10.0), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> round(float(ns.measures.effective_rank(one_direction)), 3)
    1.0
    """
    return _entropy_rank(_covariance_eigenvalues(activations))


@checked
def condition_number(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run"]:
    """Largest over smallest singular value of the representation, in float64 (oyedotun2021).

    Infinite where the rank is deficient: where the smallest singular value is below the largest times the longer
    side times the machine epsilon of float64, the usual numerical rank. NaN for activations that are not finite.
    Rounding hides a deficiency: activations that a network computed in float32 have errors of about 1e-7, so that only
    units which are exactly zero or exactly equal are found in them.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.condition_number(torch.diag(torch.tensor([1.0, 2.0, 10.0])))
    tensor(10., dtype=torch.float64)
    >>> ns.measures.condition_number(torch.ones(4, 3))
    tensor(inf, dtype=torch.float64)
    """
    return _conditioning(singular_values(activations), max(activations.shape[-2:]))


@checked
def singular_values(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run mode"]:
    """Of the representation, in float64, descending; NaN for a run whose activations are not finite.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.measures.singular_values(torch.diag(torch.tensor([1.0, 2.0, 10.0])))
    tensor([10.,  2.,  1.], dtype=torch.float64)
    """
    matrix = activations.double()
    finite = torch.isfinite(matrix).flatten(-2).all(-1)
    # LAPACK raises on NaN and would take the healthy runs with it.
    matrix = torch.where(finite[..., None, None], matrix, 0.0)
    tall = matrix.mT if matrix.shape[-1] > matrix.shape[-2] else matrix
    # Of its triangular factor, which is as exact and several times as fast where one side is much longer.
    values = torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)
    return torch.where(finite[..., None], values, torch.nan)


@checked
class StreamedRepresentation:
    """The same measures of a representation whose samples come in batches, in memory that does not grow with them.

    The triangular factor of a QR decomposition is updated batch by batch, so singular values are as exact as those of
    the whole matrix (accumulating products of activations would square the condition number and lose half the digits).
    Means and squared deviations are added up as in Chan, Golub and LeVeque 1983. All in float64.

    >>> import torch
    >>> import nonsingular as ns
    >>> whole = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> streamed = ns.measures.StreamedRepresentation()
    >>> for batch in whole.split(20):
    ...     streamed.update(batch)
    >>> torch.allclose(streamed.singular_values(), ns.measures.singular_values(whole))
    True
    """

    def __init__(self) -> None:
        self.samples = 0
        self._factor: Tensor | None = None
        self._mean, self._scatter = torch.zeros(()), torch.zeros(())

    def update(self, activations: Float[Tensor, "*run sample unit"]) -> None:
        """Take in a batch of samples."""
        x = activations.double()
        new = x.shape[-2]
        # Finite numbers only: one run that broke down must not stop the factorisation of the others. Its mean tells.
        rows = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
        rows = rows if self._factor is None else torch.cat([self._factor, rows], dim=-2)
        self._factor = torch.linalg.qr(rows, mode="r").R
        # Relative to the first sample, so that what does not vary has a deviation of exactly zero.
        moved = x - x[..., :1, :]
        centred = moved - moved.mean(-2, keepdim=True)
        mean, scatter = x[..., 0, :] + moved.mean(-2), centred.mT @ centred
        total = self.samples + new
        if self.samples:
            step = mean - self._mean
            scatter = self._scatter + scatter + (self.samples * new / total) * step[..., :, None] * step[..., None, :]
            mean = self._mean + new / total * step
        self._mean, self._scatter, self.samples = mean, scatter, total

    @property
    def mean(self) -> Float[Tensor, "*run unit"]:
        """Of each unit."""
        return self._mean

    def singular_values(self) -> Float[Tensor, "*run mode"]:
        """As the function of this name gives of all samples together."""
        assert self._factor is not None, "no samples yet"
        return torch.where(self._finite()[..., None], torch.linalg.svdvals(self._factor), torch.nan)

    def condition_number(self) -> Float[Tensor, "*run"]:
        """As the function of this name gives of all samples together."""
        values = self.singular_values()
        return _conditioning(values, max(self.samples, self._mean.shape[-1]))

    def effective_rank(self) -> Float[Tensor, "*run"]:
        """As the function of this name gives of all samples together."""
        return _entropy_rank(self._spectrum())

    def linear_dependence(self, top: int = 3) -> Float[Tensor, "*run"]:
        """As the function of this name gives of all samples together."""
        return _top_share(self._spectrum(), top)

    def _finite(self) -> Tensor:
        return torch.isfinite(self._scatter).flatten(-2).all(-1)

    def _spectrum(self) -> Float[Tensor, "*run mode"]:
        return _eigenvalues(self._scatter / self.samples)


def _conditioning(values: Float[Tensor, "*run mode"], longer_side: int) -> Float[Tensor, "*run"]:
    largest, smallest = values[..., 0], values[..., -1]
    tolerance = largest * longer_side * torch.finfo(torch.float64).eps
    ratio = torch.where(smallest > tolerance, largest / smallest, torch.inf)
    return torch.where(torch.isfinite(values).all(-1), ratio, torch.nan)


def _top_share(spectrum: Float[Tensor, "*run mode"], top: int) -> Float[Tensor, "*run"]:
    total = spectrum.sum(-1)
    return torch.where(total == 0, 1.0, spectrum.flip(-1)[..., :top].sum(-1) / total)


def _entropy_rank(spectrum: Float[Tensor, "*run mode"]) -> Float[Tensor, "*run"]:
    total = spectrum.sum(-1, keepdim=True)
    entropy = torch.special.entr(spectrum / total).sum(-1)
    return torch.where(total[..., 0] == 0, 0.0, entropy.exp())


def _covariance_eigenvalues(activations: Float[Tensor, "*run sample unit"]) -> Float[Tensor, "*run mode"]:
    """Ascending, clipped at zero; NaN for a run whose activations are not finite."""
    # In float64, in whose range squares of any float32 lie; relative to the first sample, so that what does not vary
    # is exactly zero.
    matrix = activations.double()
    moved = matrix - matrix[..., :1, :]
    centred = moved - moved.mean(-2, keepdim=True)
    return _eigenvalues(centred.mT @ centred / activations.shape[-2])


def _eigenvalues(covariance: Float[Tensor, "*run unit unit"]) -> Float[Tensor, "*run mode"]:
    finite = torch.isfinite(covariance).flatten(-2).all(-1)
    values = torch.linalg.eigvalsh(torch.where(finite[..., None, None], covariance, 0.0)).clamp_min(0)
    return torch.where(finite[..., None], values, torch.nan)
