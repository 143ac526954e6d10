"""Products of the Hessian of a ResNet-20 on 512 CIFAR-sized images, against other packages.

Medians of ratios from processes that take turns, one package each: in one process the memory that one package has given
back decides how fast the next gets its own. Much of PyHessian's time here is such page faults, which ours, working in
pieces of the data, does not have. With them what building costs, after how many products it has paid for itself, and
peak memory. Images are random: the arithmetic does not depend on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from child import in_child
from nonsingular.curvature import Hessian
from peers import PEERS
from resnet import ResNet20

IMAGES, PIECE, ROUNDS, PRODUCTS = 512, 64, 3, 4
OURS, COMPILED = "ours", "ours, compiled"
TARGETS = {"PyHessian": 4, "curvlinops": 8}


def a_batch(images: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 3, 32, 32, generator=generator), torch.randint(10, (images,), generator=generator)


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def the_model() -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    model = ResNet20().eval()
    return model, a_batch(IMAGES), torch.randn(sum(p.numel() for p in model.parameters()))


def ours(compile: bool = False) -> Hessian:
    model, batch, _ = the_model()
    return Hessian(model, F.cross_entropy, [batch], microbatch=PIECE, compile=compile)


def some_products(name: str) -> tuple[float, list[float], list[float]]:
    """Seconds to build, seconds of each product after a first one, and the beginning of a product."""
    model, batch, v = the_model()
    start = time.perf_counter()
    if name in PEERS:
        product = PEERS[name](model, batch)
        build = time.perf_counter() - start
        product(v)
    else:
        product = ours(compile=name == COMPILED).__matmul__
        product(v)
        build = time.perf_counter() - start
    return build, [timed(lambda: product(v)) for _ in range(PRODUCTS)], product(v)[:500].tolist()


def arithmetic(product: Callable[[torch.Tensor], torch.Tensor], v: torch.Tensor) -> float:
    """Of one product, GFLOP."""
    with FlopCounterMode(display=False) as counter:
        product(v)
    return counter.get_total_flops() / 1e9


def convolution_rate() -> float:
    """What this machine's convolutions reach on the same shapes, GFLOP/s: the median of the three stages."""
    rates = []
    for channels, size in ((16, 32), (32, 16), (64, 8)):
        x = torch.randn(PIECE, channels, size, size).contiguous(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        seconds = median(timed(lambda x=x, w=w: F.conv2d(x, w, padding=1)) for _ in range(20))
        rates.append(2 * PIECE * size**2 * channels**2 * 9 / seconds / 1e9)
    return median(rates)


def test_products() -> None:
    found = {name: [] for name in (OURS, COMPILED, *PEERS)}
    for _ in range(ROUNDS):
        for name, rounds in found.items():
            rounds.append(in_child(some_products, name))
    seconds = {name: [median(r.result[1]) for r in rounds] for name, rounds in found.items()}
    builds = {name: median(r.result[0] for r in rounds) for name, rounds in found.items()}
    print(
        f"\nResNet-20, {IMAGES} images, {torch.get_num_threads()} threads, {ROUNDS} processes each; targets {TARGETS}"
    )
    for name, rounds in found.items():
        assert np.allclose(rounds[0].result[2], found[OURS][0].result[2], rtol=1e-2, atol=1e-3), name
        ratio = median(a / b for a, b in zip(seconds[name], seconds[OURS], strict=True))
        saved = median(seconds[name]) - median(seconds[OURS])
        pays = (builds[OURS] - builds[name]) / saved if saved > 0 else float("inf")
        spread, peak = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}", max(r.peak for r in rounds)
        print(f"  {name:<14} {median(seconds[name]):.2f} s a product ({spread}), ratio {ratio:.2f}, {peak:.1f} GiB")
        print(f"    {builds[name]:.1f} s to build; ours has paid for itself after {max(0.0, pays):.1f} products")
        assert name not in PEERS or ratio > 1


def test_what_limits_products() -> None:
    model, batch, v = the_model()
    products = {"ours": ours().__matmul__} | {name: make(model, batch) for name, make in PEERS.items()}
    products["ours"](v)
    print(f"\nconvolutions of these shapes run at {convolution_rate():.0f} GFLOP/s here")
    for name, product in products.items():
        work = arithmetic(product, v)
        seconds = median(timed(lambda product=product: product(v)) for _ in range(3))
        print(f"  {name}: {work:.0f} GFLOP a product, {work / seconds:.0f} GFLOP/s")


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
