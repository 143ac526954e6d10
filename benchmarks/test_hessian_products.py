"""Products of the Hessian of a ResNet-20 on 512 CIFAR-sized images, against other packages.

Medians of ratios from interleaved calls; with them what building costs, and after how many products it has paid for
itself. Images are random: the arithmetic does not depend on them.
"""

from __future__ import annotations

import resource
import time
from statistics import median

import pytest
import torch
from torch.nn import functional as F

from nonsingular.curvature import Hessian
from peers import PEERS
from resnet import ResNet20

IMAGES, PIECE, ROUNDS = 512, 64, 5
TARGETS = {"PyHessian": 4.0, "curvlinops": 8.0, "jvp(grad)": 0.0}


def a_batch(images: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 3, 32, 32, generator=generator), torch.randint(10, (images,), generator=generator)


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_products(compile: bool) -> None:
    torch.manual_seed(0)
    model, batch = ResNet20().eval(), a_batch(IMAGES)
    v = torch.randn(sum(p.numel() for p in model.parameters()))
    H = Hessian(model, F.cross_entropy, [batch], microbatch=PIECE, compile=compile)
    build = timed(lambda: H @ v)
    theirs, their_build = {}, {}
    for name, make in PEERS.items():
        start = time.perf_counter()
        theirs[name] = make(model, batch)
        their_build[name] = time.perf_counter() - start
        torch.testing.assert_close(theirs[name](v), H @ v, rtol=1e-2, atol=1e-3)
    ratios: dict[str, list[float]] = {name: [] for name in PEERS}
    ours, them = [], {name: [] for name in PEERS}
    for _ in range(ROUNDS):
        ours.append(timed(lambda: H @ v))
        for name, product in theirs.items():
            them[name].append(timed(lambda product=product: product(v)))
            ratios[name].append(them[name][-1] / ours[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\nresidual network, {IMAGES} images, {torch.get_num_threads()} threads, {'compiled' if compile else 'eager'}"
    )
    print(f"  ours: {median(ours):.2f} s a product, {build:.1f} s to build, recordings {H.nbytes / 2**30:.1f} GiB")
    for name in PEERS:
        saved = median(them[name]) - median(ours)
        pays = (build - their_build[name]) / saved if saved > 0 else float("inf")
        print(
            f"  {name}: {median(them[name]):.2f} s a product, ratio {median(ratios[name]):.2f} "
            f"(target {TARGETS[name]:g}); the build has paid for itself after {max(0.0, pays):.1f} products"
        )
    print(f"  peak memory of the process, all together: {peak:.1f} GiB")
    assert all(median(r) > 1 for r in ratios.values())


def test_recording_against_torch_linearize() -> None:
    torch.manual_seed(0)
    model, batch = ResNet20().eval(), a_batch(PIECE)
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(p: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(model, p, (batch[0],)), batch[1])

    ours = timed(lambda: Hessian(model, F.cross_entropy, [batch]).linearised)
    theirs = timed(lambda: torch.func.linearize(torch.func.grad(loss), parameters))
    print(f"\nbuilding on {PIECE} images: ours, checks included, {ours:.1f} s; torch.func.linearize {theirs:.1f} s")
    assert ours < theirs
