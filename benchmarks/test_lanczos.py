"""What a spectrum by Lanczos spends beside products with the Hessian, and rows against columns to project out.

The aim is that products are the main cost. With ``--full`` a plain network of 198 155 parameters (784 inputs, ten
layers, 1 000 samples) and 180 vectors that are projected away. Takes a minute on one thread.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interleaved import interleaved, ratio, show
from nonsingular.curvature import Hessian, Lanczos, Lockstep
from nonsingular.curvature.lanczos import project_out


class Timed(Hessian):
    """A Hessian that adds up the processor time of its products."""

    spent = 0.0

    def _product(self, v: Tensor) -> Tensor:
        start = time.process_time()
        product = super()._product(v)
        self.spent += time.process_time() - start
        return product


def hessian(full: bool) -> Timed:
    torch.manual_seed(0)
    sizes, samples = ([784, *[115] * 9, 10], 1000) if full else ([6, 5, 3], 20)
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    x, y = torch.rand(samples, sizes[0]), torch.arange(samples) % sizes[-1]
    return Timed(nn.Sequential(*layers[:-1]), F.cross_entropy, [(x, y)])


def share(process: Lanczos | Lockstep, H: Timed, steps: int) -> tuple[float, float]:
    """Seconds a step, and the share of them that are products."""
    process.extend(2)
    H.spent, start = 0.0, time.process_time()
    process.extend(steps)
    passed = time.process_time() - start
    return passed / steps, H.spent / passed


@pytest.mark.parametrize("vectors", [2, 8])
def test_products_are_the_main_cost(vectors: int, full: bool) -> None:
    H = hessian(full)
    n, away, steps = (H.shape[0], 180, 12) if full else (H.shape[0], 4, 3)
    Q = torch.linalg.qr(torch.randn(n, away)).Q
    side_by_side, products = share(Lockstep(H, torch.randn(n, vectors), Q), H, steps)
    first = Lanczos(H, torch.randn(n))
    first.extend(100 if full else 3)
    keeping, of_first = share(first, H, steps)
    rows, W = Q.mT.contiguous(), torch.randn(vectors, n)
    times = interleaved(
        {
            "columns": lambda: W.T.sub_(Q @ (Q.mT @ W.T.contiguous())),
            "rows": lambda: project_out(rows, W),
        },
        rounds=5 if full else 1,
    )
    show(
        f"{n:,} parameters, {vectors} vectors side by side, {away} projected away",
        {
            "a step side by side": f"{1e3 * side_by_side:.0f} ms, products {products:.0%}",
            "a step that keeps its vectors": f"{1e3 * keeping:.0f} ms, products {of_first:.0%}",
            "columns over rows": f"{ratio(times['columns'], times['rows']):.1f}",
        },
    )
    assert not full or min(products, of_first) > 0.5
