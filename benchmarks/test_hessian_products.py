"""Products of the Hessian of a ResNet-20 on 128 CIFAR-sized images, against other packages.

Medians of ratios from processes that take turns, one package each: in one process the memory that one package has given
back decides how fast the next gets its own. Much of PyHessian's time here is such page faults, which ours, working in
pieces of the data, does not have. With them what building costs, after how many products it has paid for itself, and
peak memory. Images are random: the arithmetic does not depend on them. Takes about 6 minutes on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from child import Measured, here, in_child
from interleaved import interleaved, ratio, show
from nonsingular import onednn
from nonsingular.curvature import Hessian
from nonsingular.networks import NetworkSpec, build
from peers import PEERS, Batch, Product, installed, skip_missing
from resnet import ResNet20

OURS, COMPILED = "ours", "ours, compiled"
TARGETS = {"PyHessian": 4, "curvlinops": 8}


@dataclass(frozen=True)
class Size:
    """Images of so many pixels a side in pieces; products measured in each of the processes."""

    images: int
    pixels: int
    piece: int
    rounds: int
    products: int


FULL, SMOKE = Size(128, 32, 64, rounds=3, products=2), Size(4, 8, 2, rounds=1, products=1)
ONE_PIECE = Size(64, 32, 64, rounds=1, products=1)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def the_model(size: Size) -> tuple[torch.nn.Module, Batch, torch.Tensor]:
    """ResNet-20, the images, a vector."""
    torch.manual_seed(0)
    model, generator = ResNet20().eval(), torch.Generator().manual_seed(0)
    x = torch.randn(size.images, 3, size.pixels, size.pixels, generator=generator)
    y = torch.randint(10, (size.images,), generator=generator)
    return model, (x, y), torch.randn(sum(p.numel() for p in model.parameters()))


def ours(size: Size, compile: bool = False) -> Hessian:
    model, batch, _ = the_model(size)
    return Hessian(model, F.cross_entropy, [batch], microbatch=size.piece, compile=compile)


def some_products(name: str, size: Size) -> tuple[float, list[float], list[float]]:
    """Seconds to build, seconds of each product after a first one, and the beginning of a product."""
    model, batch, v = the_model(size)
    start = time.perf_counter()
    if name in PEERS:
        product = PEERS[name](model, batch)
        build = time.perf_counter() - start
        product(v)
    else:
        product = ours(size, compile=name == COMPILED).__matmul__
        product(v)
        build = time.perf_counter() - start
    return build, [timed(lambda: product(v)) for _ in range(size.products)], product(v)[:500].tolist()


def arithmetic(product: Product, v: torch.Tensor) -> float:
    """Of one product, GFLOP."""
    with FlopCounterMode(display=False) as counter:
        product(v)
    return counter.get_total_flops() / 1e9


def convolution_rate(images: int) -> float:
    """What this machine's convolutions reach on the same shapes, GFLOP/s: the median of the three stages."""
    rates = []
    for channels, size in ((16, 32), (32, 16), (64, 8)):
        x = torch.randn(images, channels, size, size).contiguous(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)

        def convolve(x: torch.Tensor = x, w: torch.Tensor = w) -> torch.Tensor:
            return F.conv2d(x, w, padding=1)

        rates.append(2 * images * size**2 * channels**2 * 9 / median(timed(convolve) for _ in range(20)) / 1e9)
    return median(rates)


def agree(product: list[float], reference: list[float]) -> bool:
    return np.allclose(product, reference, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", PEERS)
def test_peers_give_the_same_product(name: str) -> None:
    skip_missing(name)
    model, batch, v = the_model(SMOKE)
    torch.testing.assert_close(PEERS[name](model, batch)(v), ours(SMOKE) @ v, rtol=1e-3, atol=1e-5)


def test_products(full: bool) -> None:
    size = FULL if full else SMOKE
    # Generating machine code takes half a minute.
    names = [OURS, COMPILED, *installed()] if full else [OURS, "jvp(grad)"]
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for _ in range(size.rounds):
        for name, rounds in found.items():
            measure = in_child if full or name == OURS else here
            rounds.append(measure(some_products, name, size))
    seconds = {name: [median(r.result[1]) for r in rounds] for name, rounds in found.items()}
    builds = {name: median(r.result[0] for r in rounds) for name, rounds in found.items()}
    print(f"\nResNet-20, {size}, {torch.get_num_threads()} threads; targets {TARGETS}")
    for name, rounds in found.items():
        assert agree(rounds[0].result[2], found[OURS][0].result[2]), name
        ratio = median(a / b for a, b in zip(seconds[name], seconds[OURS], strict=True))
        saved = median(seconds[name]) - median(seconds[OURS])
        pays = (builds[OURS] - builds[name]) / saved if saved > 0 else float("inf")
        spread, peak = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}", max(r.peak for r in rounds)
        print(f"  {name:<14} {median(seconds[name]):.2f} s a product ({spread}), ratio {ratio:.2f}, {peak:.1f} GiB")
        print(f"    {builds[name]:.1f} s to build; ours has paid for itself after {max(0.0, pays):.1f} products")
        assert not full or name not in PEERS or ratio > 1


def test_what_limits_products(full: bool) -> None:
    size = ONE_PIECE if full else SMOKE
    model, batch, v = the_model(size)
    products = {"ours": ours(size).__matmul__} | {name: PEERS[name](model, batch) for name in installed()}
    products["ours"](v)
    print(f"\nconvolutions of these shapes run at {convolution_rate(size.piece):.0f} GFLOP/s here")
    for name, product in products.items():
        work = arithmetic(product, v)
        seconds = median(timed(lambda product=product: product(v)) for _ in range(3 if full else 1))  # type: ignore[misc]
        print(f"  {name}: {work:.2f} GFLOP a product, {work / seconds:.0f} GFLOP/s")
        assert work > 0


@dataclass(frozen=True)
class Layers:
    """A fully-connected network, as wide as its inputs, and its samples."""

    depth: int
    width: int
    samples: int

    def multiply_adds(self) -> int:
        """Of a product, ours or a double backward: two a layer in each of forward, backward and weights' gradients."""
        first = self.samples * self.width**2
        return 6 * (self.depth - 1) * first + 2 * first + 6 * self.samples * self.width * CLASSES


CLASSES = 10
LAYERS = (Layers(10, 512, 1000), Layers(10, 128, 2000), Layers(10, 32, 2000))


def retained(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Product:
    """The quickest way without this package: a gradient whose graph is kept, differentiated once a product."""
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
    flat = torch.cat([s.flatten() for s in slopes])
    return lambda v: torch.cat([p.flatten() for p in torch.autograd.grad(flat, parameters, v, retain_graph=True)])


@pytest.mark.parametrize("size", LAYERS, ids=lambda size: str(size.width))
def test_linear_layers(size: Layers, full: bool) -> None:
    """Products of fully-connected networks, alone and of four vectors at once, and what limits them."""
    size = size if full else Layers(2, size.width // 32, 5)
    torch.manual_seed(0)
    model = build(NetworkSpec(size.depth, size.width), size.width, CLASSES, 0)
    x, y = torch.randn(size.samples, size.width), torch.randint(CLASSES, (size.samples,))
    H, peer = Hessian(model, F.cross_entropy, [(x, y)]), retained(model, x, y)
    V, side = torch.randn(H.shape[0], 4), 1500 if full else 10
    torch.testing.assert_close(peer(V[:, 0]), H @ V[:, 0], rtol=1e-3, atol=1e-5)
    a = torch.randn(side, side)
    ways: dict[str, Callable[[], object]] = {"torch.mm": lambda: a @ a}
    ways |= {"oneDNN": lambda: onednn.product(a, a)} if onednn.available() else {}
    rates = {n: 2 * side**3 / t.median / 1e9 for n, t in interleaved(ways, *((5, 1) if full else (1, 0))).items()}
    timings = interleaved(
        {"retained": lambda: peer(V[:, 0]), "ours": lambda: H @ V[:, 0], "a column of four": lambda: H @ V},
        *((9, 2) if full else (1, 0)),
    )
    columns = {"retained": 1, "ours": 1, "a column of four": 4}
    rows = {n: f"{rate:.0f} GFLOP/s of large matrices" for n, rate in rates.items()}
    for name, timing in timings.items():
        seconds = timing.median / columns[name]
        gain = columns[name] * ratio(timings["retained"], timing)
        rows[name] = f"{1e3 * seconds:.1f} ms, {2 * size.multiply_adds() / seconds / 1e9:.0f} GFLOP/s, {gain:.2f} times"
    show(str(size), rows)


def test_recording_against_torch_linearize(full: bool) -> None:
    model, batch, _ = the_model(ONE_PIECE if full else SMOKE)
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(p: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(model, p, (batch[0],)), batch[1])

    ours = timed(lambda: Hessian(model, F.cross_entropy, [batch]).linearised)
    print(f"\nbuilding on {len(batch[1])} images: ours, checks included, {ours:.1f} s")
    if full:  # it takes as long on few images
        theirs = timed(lambda: torch.func.linearize(torch.func.grad(loss), parameters))
        print(f"  torch.func.linearize {theirs:.1f} s")
        assert ours < theirs
