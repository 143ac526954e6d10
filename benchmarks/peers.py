"""Other packages' Hessian-vector products, called as their documentation does, and their Lanczos quadrature.

The packages are in an environment of their own (`make bench` sets up .venv-bench): PyHessian requires torchvision,
whose build on the package index does not fit a PyTorch for CPUs (`vision` is what gets past that). What
is not installed is skipped. hessian-eigenthings is not here: its only release on the package index cannot be installed
beside a current PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def split(vector: Tensor, like: list[nn.Parameter]) -> list[Tensor]:
    """A flat vector in the parameters' shapes."""
    parts = vector.split([p.numel() for p in like])
    return [v.view_as(p) for v, p in zip(parts, like, strict=True)]


def pyhessian(model: nn.Module, batch: Batch) -> Product:
    """On one batch PyHessian keeps the gradient's graph and differentiates it once a product."""
    from pyhessian.hessian import hessian
    from pyhessian.utils import hessian_vector_product

    model.zero_grad()
    peer = hessian(model, nn.CrossEntropyLoss(), data=batch, cuda=False)

    def product(v: Tensor) -> Tensor:
        parts = hessian_vector_product(peer.gradsH, peer.params, split(v, peer.params))
        return torch.cat([p.flatten() for p in parts])

    return product


def curvlinops(model: nn.Module, batch: Batch) -> Product:
    """Curvlinops differentiates from the start for every product."""
    from curvlinops import HessianLinearOperator

    parameters = [p for p in model.parameters() if p.requires_grad]
    peer = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [batch], check_deterministic=False)
    return lambda v: peer @ v


def jvp_of_grad(model: nn.Module, batch: Batch) -> Product:
    """What a few lines of ``torch.func`` give."""
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(p: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(model, p, (batch[0],)), batch[1])

    def product(v: Tensor) -> Tensor:
        tangents = dict(zip(parameters, split(v, list(parameters.values())), strict=True))  # type: ignore[arg-type]
        out = torch.func.jvp(torch.func.grad(loss), (parameters,), (tangents,))[1]
        return torch.cat([t.flatten() for t in out.values()])

    return product


PEERS: dict[str, Callable[[nn.Module, Batch], Product]] = {
    "PyHessian": pyhessian,
    "curvlinops": curvlinops,
    "jvp(grad)": jvp_of_grad,
}


def missing(name: str) -> bool:
    """Whether a peer's package is not installed."""
    return name in ("PyHessian", "curvlinops") and find_spec(name.lower()) is None


def skip_missing(*names: str) -> None:
    """Skip the test, with its reason, where a peer is not installed."""
    for name in names:
        if missing(name):
            pytest.skip(f"{name} is not installed here: `make bench` sets up an environment that has it")


def installed() -> list[str]:
    """The peers that can be measured here."""
    return [name for name in PEERS if not missing(name)]


class Quadrature:
    """Lanczos quadrature as curvlinops' ``fast_lanczos`` and PyHessian's ``density`` take it; it can be continued.

    Plain Lanczos without reorthogonalisation, the cheaper of the two (PyHessian orthogonalises against a list of
    vectors in Python, and its ``density`` calls ``torch.eig``, which PyTorch has removed).
    """

    def __init__(self, product: Product, start: Tensor) -> None:
        self.product = product
        self.v = start / start.norm()
        self.previous = torch.zeros_like(start)
        self.alphas: list[float] = []
        self.betas: list[float] = []

    def extend(self, steps: int) -> None:
        """More products."""
        for _ in range(steps):
            w = self.product(self.v) - (self.betas[-1] if self.betas else 0.0) * self.previous
            self.alphas.append(float(w @ self.v))
            w -= self.alphas[-1] * self.v
            self.betas.append(float(w.norm()))
            self.previous, self.v = self.v, w / self.betas[-1]

    def decomposition(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and eigenvectors of the tridiagonal matrix."""
        off = self.betas[:-1]
        return np.linalg.eigh(np.diag(self.alphas) + np.diag(off, 1) + np.diag(off, -1))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of Gauss quadrature."""
        values, vectors = self.decomposition()
        return values, vectors[0] ** 2


def share_of_log_spectrum(process: Quadrature, window: float, largest: float, kappa: float) -> float:
    """The part outside the window of curvlinops' spectrum of log |H|, by its own function."""
    from curvlinops.papyan2020traces.spectrum import lanczos_approximate_log_spectrum_from_iter as spectrum

    values, vectors = (torch.as_tensor(x) for x in process.decomposition())
    grid, density = spectrum((values, vectors), (0.0, largest), 20_000, kappa, margin=0.05, epsilon=1e-5)
    outside = grid > window + 1e-5  # the grid is of |H| + epsilon
    return float(torch.trapezoid(density[outside], grid[outside]))
