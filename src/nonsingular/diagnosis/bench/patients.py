"""The bench: small networks that are healthy, and networks with one planted illness each, built from a seed.

Thresholds come from the healthy ones alone (``healthy.py``); the sick ones only count how often the first finding is
the planted illness (``bench.py``). Their data are the bundled digits, as images, as sequences of rows and as tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.data import DataSpec, prepare
from nonsingular.diagnosis.bench import zoo

Build = Callable[[], nn.Module]
Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """One network of the bench.

    Attributes:
        name: of the kind of network, or of the illness and its size.
        build: makes it, from torch's global random state.
        data: (seed, count) -> batches of so many samples.
        loss: (output, target) -> scalar.
        expected: kinds of finding that are right in the first place; empty for a healthy network.
        trains: whether the bench's own trainer can train it, to look at it after training too.
        held_out: batches of an evaluation, where the mistake is in them, of the seed.
    """

    name: str
    build: Build
    data: Callable[..., Batches]
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy
    expected: tuple[str, ...] = ()
    trains: bool = True
    held_out: Callable[..., Batches] | None = None

    def network(self, seed: int) -> nn.Module:
        """One such network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()


# --- data ---------------------------------------------------------------------------------------------------


@cache
def _digits(scaling: str) -> tuple[Tensor, Tensor]:
    task = prepare(DataSpec("digits", scaling=scaling))
    return task.train_inputs, task.train_labels


def _rows(seed: int, count: int, total: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]


def flat(seed: int, count: int = 256, scaling: str = "standardised", factor: float = 1.0) -> Batches:
    """Digits as vectors."""
    inputs, labels = _digits(scaling)
    rows = _rows(seed, count, len(labels))
    return [(factor * inputs[rows], labels[rows])]


def images(seed: int, count: int = 128, scaling: str = "standardised", factor: float = 1.0) -> Batches:
    """Digits as images of one channel."""
    return [(x.view(-1, 1, 8, 8), y) for x, y in flat(seed, count, scaling, factor)]


def sequences(seed: int, count: int = 128) -> Batches:
    """Digits as sequences of eight rows."""
    return [(x.view(-1, 8, 8), y) for x, y in flat(seed, count)]


def tokens(seed: int, count: int = 48) -> Batches:
    """Digits as texts of 32 grey levels, each to be followed by the next."""
    inputs, labels = _digits("raw")
    text = (inputs[_rows(seed, count, len(labels))] * 15).round().long()[:, 16:49]
    return [(text[:, :-1], text[:, 1:])]


def regression(seed: int, count: int = 256) -> Batches:
    """Sums of sines of eight numbers."""
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return [(x, torch.sin(x[:, :4]).sum(1, keepdim=True) + 0.5 * x[:, 4:5] * x[:, 5:6])]


def reconstruction(seed: int, count: int = 256) -> Batches:
    """Digits to be returned as they are."""
    return [(x, x) for x, _ in flat(seed, count)]


def ratings(seed: int, count: int = 512) -> Batches:
    """Pairs of a user and an item, and what the one gives the other: 1 to 5, a number ``[sample]``."""
    random = torch.Generator().manual_seed(seed)
    users, items = torch.randn(20, 3, generator=random), torch.randn(30, 3, generator=random)
    user, item = (torch.randint(n, (count,), generator=random) for n in (20, 30))
    return [(torch.stack([user, item], 1), (3 + 0.6 * (users[user] * items[item]).sum(1)).clamp(1, 5))]


def unscaled(seed: int, count: int = 256) -> Batches:
    """The regression with its inputs in thousandths of their unit."""
    return [(1e3 * x, y) for x, y in regression(seed, count)]


def next_token(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over all positions."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


# --- healthy ------------------------------------------------------------------------------------------------


def healthy() -> list[Case]:
    """Networks that train: different kinds and sizes, each as people start them."""
    mlp, he = zoo.mlp, zoo.he
    return [
        Case("mlp 2 x 12", partial(mlp, 64, 10, 2, 12), flat),
        Case("mlp 2 x 64", partial(mlp, 64, 10, 2, 64), flat),
        Case("mlp 3 x 256", partial(mlp, 64, 10, 3, 256), flat),
        Case("mlp 3 x 64, grey levels", partial(mlp, 64, 10, 3, 64), partial(flat, scaling="raw")),
        Case("mlp 3 x 64, unit inputs", partial(mlp, 64, 10, 3, 64), partial(flat, scaling="unit")),
        Case("mlp 6 x 128, He", lambda: he(mlp(64, 10, 6, 128)), flat),
        Case("mlp 4 x 64, tanh", lambda: zoo.glorot(mlp(64, 10, 4, 64, nn.Tanh)), flat),
        Case("mlp 4 x 64, gelu", partial(mlp, 64, 10, 4, 64, nn.GELU), flat),
        Case("residual mlp 10 x 64", partial(zoo.ResidualMLP, 64, 10, 10, 64), flat),
        Case("lenet", zoo.lenet, images),
        Case("vgg 8, batch norm", partial(zoo.vgg, 2), images),
        Case("vgg 13, batch norm", partial(zoo.vgg, 3), images),
        Case("resnet 8", partial(zoo.ResNet, 1), images),
        Case("resnet 20", partial(zoo.ResNet, 3), images),
        Case("resnext 11", partial(zoo.ResNet, 1, groups=4), images),
        Case("fixup 14", partial(zoo.Fixup, 2), images),
        Case("densenet", zoo.DenseNet, images),
        Case("mobile net", zoo.MobileNet, images),
        Case("vit", partial(zoo.ViT, 4), images),
        Case("gpt", partial(zoo.GPT, 4), tokens, next_token),
        Case("encoder, post-norm", partial(zoo.Encoder, 2, False), sequences),
        Case("encoder, pre-norm", partial(zoo.Encoder, 6, True), sequences),
        Case("lstm", zoo.Recurrent, sequences),
        Case("gru", partial(zoo.Recurrent, nn.GRU), sequences),
        Case("mixer", partial(zoo.Mixer, 3), images),
        Case("regressor 3 x 64", partial(mlp, 8, 1, 3, 64), regression, F.mse_loss),
        Case("regressor 2 x 16", partial(mlp, 8, 1, 2, 16), regression, F.mse_loss),
        Case("regressor 3 x 32, tanh", partial(mlp, 8, 1, 3, 32, nn.Tanh), regression, F.mse_loss),
        Case("autoencoder", zoo.autoencoder, reconstruction, F.mse_loss),
    ]


# --- sick ---------------------------------------------------------------------------------------------------

VANISHING = ("vanishing-signal", "vanishing-gradient")
EXPLODING = ("exploding-signal", "exploding-gradient")


def _sizes(
    name: str,
    build: Callable[[int], nn.Module],
    sizes: tuple[int, ...],
    data: Callable[..., Batches],
    *expected: str,
    loss: Any = F.cross_entropy,
) -> list[Case]:
    return [Case(f"{name}, {size}", partial(build, size), data, loss, expected) for size in sizes]


def sick() -> list[Case]:
    """Planted illnesses, each at several sizes (depth, or width)."""
    mlp, he = zoo.mlp, zoo.he

    def wide(width: int, depth: int = 4) -> nn.Module:
        return he(mlp(64, 10, depth, width))

    cases: list[Case] = []
    add = cases.extend
    add(_sizes("plain mlp, too deep", lambda d: zoo.glorot(mlp(64, 10, d, 64)), (30, 50, 80), flat, *VANISHING))
    add(_sizes("plain conv net, too deep", lambda d: zoo.plain_conv(d), (30, 50), images, *VANISHING))
    add(_sizes("sigmoid mlp", lambda d: mlp(64, 10, d, 64, nn.Sigmoid), (8, 16), flat, *VANISHING))
    add(_sizes("small init", lambda d: zoo.scaled(he(mlp(64, 10, d, 64)), 0.2), (6, 12), flat, *VANISHING))
    add(_sizes("large init", lambda d: zoo.scaled(he(mlp(64, 10, d, 64)), 4.0), (6, 12, 30), flat, *EXPLODING))
    add(_sizes("exploding residual sum", lambda d: zoo.ExplodingSum(d), (20, 40), flat, *EXPLODING))
    add(_sizes("batch norm, plain, deep", lambda d: zoo.mlp_norm(d, 64), (60, 100), flat, "exploding-gradient"))
    add(_sizes("dead by biases", lambda w: zoo.dead(wide(w), 0.9), (32, 64, 256), flat, "dead-units"))
    add(_sizes("dead channels", lambda n: zoo.dead(zoo.vgg(n), 0.8), (2, 3), images, "dead-units"))
    add(_sizes("half of the units are copies", lambda w: zoo.duplicated(wide(w), 0.5), (32, 64, 256), flat, "overlap"))
    add(_sizes("copied channels", lambda n: zoo.duplicated(zoo.ResNet(n), 0.5), (1, 3), images, "overlap"))
    add(_sizes("constant start", lambda w: zoo.constant(wide(w)), (32, 64), flat, "identical-features"))
    add(_sizes("constant start, conv", lambda n: zoo.constant(zoo.ResNet(n)), (1, 2), images, "identical-features"))
    add(_sizes("four features", lambda w: zoo.replicated(wide(w), 4), (64, 256), flat, "identical-features"))
    add(_sizes("zeroed units", lambda w: zoo.zeroed(wide(w), 0.5), (32, 64, 256), flat, "eliminated-units"))
    add(_sizes("zeroed block", lambda w: zoo.zeroed_block(wide(w)), (32, 64), flat, "eliminated-units"))
    add(_sizes("zeroed channels", lambda n: zoo.zeroed(zoo.vgg(n), 0.5), (2, 3), images, "eliminated-units"))
    add(_sizes("inputs times 1000", lambda w: wide(w), (32, 128), partial(flat, factor=1e3), "saturated-output"))
    add(
        _sizes(
            "raw images in 0 to 255", lambda w: wide(w), (64, 256), partial(flat, scaling="raw", factor=255.0),
            "saturated-output",
        )
    )  # fmt: skip
    add(
        _sizes(
            "unscaled regression inputs", lambda w: he(mlp(8, 1, 3, w)), (32, 128),
            unscaled, "saturated-output", loss=F.mse_loss,
        )
    )  # fmt: skip
    add(
        _sizes(
            "factors drawn from N(0, 1)", lambda rank: zoo.Factors(rank, 1.0), (32, 100), ratings, "saturated-output",
            loss=F.mse_loss,
        )
    )  # fmt: skip
    add(_sizes("singular weights", lambda w: zoo.low_rank(wide(w), 4), (64, 256), flat, "linear-dependence"))
    add(_sizes("singular bottleneck", lambda w: zoo.bottleneck(w), (64, 256), flat, "singular-representation"))
    add(
        _sizes(
            "saturated tanh", lambda w: zoo.scaled(mlp(64, 10, 3, w, nn.Tanh), 30.0), (32, 128), flat, "saturated-units"
        )
    )
    add(_sizes("instance norm before pooling", lambda n: zoo.pooled_norm(n), (1, 3), images, *VANISHING))
    add(_sizes("norm of single values", lambda d: zoo.lonely_norm(d), (1, 4), flat, "degenerate-normalisation"))
    add(
        _sizes(
            "attention without skips", lambda d: zoo.NoSkip(d), (8, 12), images, *VANISHING, "singular-representation"
        )
    )
    add(_sizes("frozen layer", lambda w: zoo.frozen(wide(w)), (32, 256), flat, "untrained-parameters"))
    add(_sizes("detached half", lambda w: zoo.Detached(w), (32, 64), flat, "untrained-parameters"))
    return cases
