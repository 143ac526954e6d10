"""Curvature by layer: the diagonal block of each module's parameters, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.curvature.algebra import Symmetric
from nonsingular.curvature.eigenpairs import eigenpairs
from nonsingular.curvature.traces import trace
from nonsingular.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

EXACT = 512  # entries up to which a block's matrix is formed


@checked
def by_layer(
    H: Symmetric, blocks: Mapping[str, str | Sequence[str]] | None = None, *, products: int = 96, seed: int = 0
) -> xr.Dataset:
    """Parameters, trace and extreme eigenvalues of diagonal blocks: by default of every module with own parameters.

    Blocks of up to 512 parameters are formed and exact; of larger ones the trace is estimated (`trace`) and the extreme
    eigenvalues iterated (`eigenpairs`), by products with the whole operator.

    Args:
        H: an operator over parameters.
        blocks: label -> names, what names start with, or patterns, one or several, instead.
            ``{"biases": "*.bias"}``.
        products: of the operator, for each trace that is estimated.
        seed: of the random vectors.

    Returns:
        Over ``block``: ``parameters``; ``trace`` with its 95 % interval from ``trace_low`` to ``trace_high``;
        ``smallest`` and ``largest`` eigenvalue; ``residual``, how far these may be off.

    Raises:
        InputError: the operator is not over parameters, or a block means none of them.

    Example:
        >>> import torch
        >>> from nonsingular.curvature import Hessian, by_layer
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
        >>> H = Hessian(model, torch.nn.functional.mse_loss, [(torch.randn(8, 3), torch.randn(8, 2))])
        >>> by_layer(H).parameters.to_series().to_dict()
        {'0': 16, '2': 10}
    """
    checks.at_least(1, products=products)
    if H.layout is None:
        raise InputError("the operator is not over parameters: it has no layers")
    if blocks is None:
        owners = dict.fromkeys(name.rpartition(".")[0] for name in H.layout.names)
        # A module with modules of its own: its parameters, not theirs.
        blocks = {o or "model": [n for n in H.layout.names if n.rpartition(".")[0] == o] for o in owners}
    rows = {label: _row(H, params, products, seed) for label, params in blocks.items()}
    names = ("parameters", "trace", "trace_low", "trace_high", "smallest", "largest", "residual")
    columns = {name: ("block", np.array([row[i] for row in rows.values()])) for i, name in enumerate(names)}
    import xarray as xr

    return xr.Dataset(columns, coords={"block": list(rows)})


def _row(H: Symmetric, params: str | Sequence[str], products: int, seed: int) -> tuple[float, ...]:
    block = H.block(params)
    n = block.shape[0]
    if n <= EXACT:
        values = torch.linalg.eigvalsh(block.dense().double())
        total = float(values.sum())
        return n, total, total, total, float(values[0]), float(values[-1]), 0.0
    total_estimate = trace(block, products=products, seed=seed)
    smallest, largest = (eigenpairs(block, 1, which, seed=seed) for which in ("smallest", "largest"))
    residual = float(torch.cat([smallest.residuals, largest.residuals]).max())
    ends = float(smallest.values[0]), float(largest.values[0])
    return n, total_estimate.value, *total_estimate.interval, *ends, residual
