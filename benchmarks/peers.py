"""Other packages' Hessian-vector products, called as their documentation does, and their Lanczos quadrature.

hessian-eigenthings is not here: its only release on the package index cannot be installed beside a current PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def split(vector: Tensor, like: list[nn.Parameter]) -> list[Tensor]:
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


PEERS = {"PyHessian": pyhessian, "curvlinops": curvlinops, "jvp(grad)": jvp_of_grad}


def lanczos_quadrature(product: Product, size: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights as curvlinops' ``fast_lanczos`` and PyHessian's ``density`` take them.

    Plain Lanczos without reorthogonalisation, the cheaper of the two (PyHessian orthogonalises against a list of
    vectors in Python, and its ``density`` calls ``torch.eig``, which PyTorch has removed).
    """
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(size, generator=generator)
    v /= v.norm()
    previous, beta = torch.zeros_like(v), 0.0
    alphas, betas = [], []
    for _ in range(steps):
        w = product(v) - beta * previous
        alpha = float(w @ v)
        w -= alpha * v
        beta = float(w.norm())
        alphas.append(alpha)
        betas.append(beta)
        previous, v = v, w / beta
    T = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    nodes, vectors = np.linalg.eigh(T)
    return nodes, vectors[0] ** 2
