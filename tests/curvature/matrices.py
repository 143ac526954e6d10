"""Symmetric matrices of known eigenvalues, of every kind that algorithms stumble over."""

import numpy as np
import torch


def symmetric(eigenvalues, seed=0, dtype=torch.float64):
    """A dense matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return (Q * torch.as_tensor(eigenvalues, dtype=torch.float64) @ Q.T).to(dtype)


def network_like(n=400, outside=40, seed=0):
    """Most eigenvalues near zero, a heavy tail outside the window, as trained networks have."""
    rng = np.random.default_rng(seed)
    bulk = 0.02 * rng.standard_cauchy(n - outside).clip(-4, 4)
    tail = 0.1 * (1 + rng.pareto(0.7, outside)).clip(1.02, 1000) * np.where(rng.random(outside) < 0.2, -1, 1)
    return np.concatenate([bulk, tail])


SPECTRA = {
    "one": np.array([3.0]),
    "two, opposite": np.array([2.0, -2.0]),
    "five alike": np.ones(5),
    "ten alike": np.full(10, -1.0),
    "zero": np.zeros(40),
    "repeated": np.concatenate([np.full(12, 5.0), np.full(3, -5.0), np.linspace(-1, 1, 60)]),
    "low rank": np.concatenate([[4.0, -3.0, 1.0], np.zeros(80)]),
    "ill-conditioned": np.logspace(-12, 3, 60),
    "indefinite": np.linspace(-1, 3, 80),
    "all outside": np.linspace(1, 2, 50),
    "one large": np.array([0.042] + [1.4e-4] * 99),
    "network-like": network_like(120, 20),
}
