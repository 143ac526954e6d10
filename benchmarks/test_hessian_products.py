"""Products of the Hessian of a ResNet-20 on 512 CIFAR-sized images, against other packages.

Medians of ratios from interleaved calls; with them what building costs, and after how many products it has paid for
itself. Images are random: the arithmetic does not depend on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from child import in_child
from interleaved import interleaved, ratio
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


def the_model() -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    model = ResNet20().eval()
    return model, a_batch(IMAGES), torch.randn(sum(p.numel() for p in model.parameters()))


def ours(compile: bool = False) -> Hessian:
    model, batch, _ = the_model()
    return Hessian(model, F.cross_entropy, [batch], microbatch=PIECE, compile=compile)


def two_products(name: str) -> None:
    model, batch, v = the_model()
    product = PEERS[name](model, batch) if name in PEERS else ours(compile=name == "ours, compiled").__matmul__
    product(v)
    product(v)


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


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_products(compile: bool) -> None:
    model, batch, v = the_model()
    H = ours(compile)
    build = timed(lambda: H @ v)
    theirs, their_build = {}, {}
    for name, make in PEERS.items():
        start = time.perf_counter()
        theirs[name] = make(model, batch)
        their_build[name] = time.perf_counter() - start
        torch.testing.assert_close(theirs[name](v), H @ v, rtol=1e-2, atol=1e-3)
    rounds = interleaved({"ours": lambda: H @ v} | {k: lambda p=p: p(v) for k, p in theirs.items()}, ROUNDS, warmup=0)
    mine = rounds["ours"]
    how = "compiled" if compile else "eager"
    print(f"\nResNet-20, {IMAGES} images, {torch.get_num_threads()} threads, {how}")
    print(f"  ours: {mine.median:.2f} s a product, {build:.1f} s to build, recordings {H.nbytes / 2**30:.1f} GiB")
    for name in PEERS:
        saved = rounds[name].median - mine.median
        pays = (build - their_build[name]) / saved if saved > 0 else float("inf")
        print(
            f"  {name}: {rounds[name].median:.2f} s a product, ratio {ratio(rounds[name], mine):.2f} "
            f"(target {TARGETS[name]:g}); the build has paid for itself after {max(0.0, pays):.1f} products"
        )
    assert all(ratio(rounds[name], mine) > 1 for name in PEERS)


def test_what_limits_products() -> None:
    model, batch, v = the_model()
    products = {"ours": ours().__matmul__} | {name: make(model, batch) for name, make in PEERS.items()}
    products["ours"](v)
    print(f"\nconvolutions of these shapes run at {convolution_rate():.0f} GFLOP/s here")
    for name, product in products.items():
        work = arithmetic(product, v)
        seconds = median(timed(lambda product=product: product(v)) for _ in range(3))
        print(f"  {name}: {work:.0f} GFLOP a product, {work / seconds:.0f} GFLOP/s")


@pytest.mark.parametrize("name", ["ours", "ours, compiled", *PEERS])
def test_peak_memory(name: str) -> None:
    print(f"\n{name}: peak memory of a process that makes two products {in_child(two_products, name).peak:.1f} GiB")


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
