"""Mistakes in the contract of outputs, loss, targets and data, planted in several kinds of network.

Each comes with its healthy twin: the same program without the mistake. Both are built from the same parts, so that what
tells them apart is the mistake alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.patients import Batches, Case, flat, images, regression, sequences

Loss = Callable[[Any, Any], Tensor]
Body = Callable[[int], nn.Module]
Data = Callable[..., Batches]


# --- networks of every kind, by the number of their outputs ---------------------------------------------------


class Cells(nn.Module):
    """A recurrent network over eight rows; ``batch_first=False`` takes samples for time."""

    def __init__(self, outputs: int, kind: Callable[..., nn.Module] = nn.LSTM, batch_first: bool = True) -> None:
        super().__init__()
        self.cells = kind(8, 32, batch_first=batch_first)
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.cells(x)[0][:, -1])


class Attention(nn.Module):
    """An encoder over eight rows; ``batch_first=False`` lets samples attend to one another."""

    def __init__(self, outputs: int, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=batch_first)
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.layer(self.embed(x)).mean(1))


def convolutional(outputs: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions and two layers."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), activation(), nn.AvgPool2d(2), nn.Conv2d(12, 24, 3, padding=1), activation(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 48), activation(), nn.Linear(48, outputs),
    )  # fmt: skip


def perceptron(outputs: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Two hidden layers on digits."""
    return zoo.mlp(64, outputs, 2, 48, activation)


KINDS: dict[str, tuple[Body, Data]] = {
    "mlp": (perceptron, flat),
    "cnn": (convolutional, images),
    "rnn": (Cells, sequences),
    "transformer": (Attention, sequences),
}
REGRESSIONS: dict[str, tuple[Body, Data]] = {
    "regression": (lambda outputs: zoo.mlp(8, outputs, 2, 32), regression),
    "tanh regression": (lambda outputs: zoo.mlp(8, outputs, 2, 32, nn.Tanh), regression),
}


def relabelled(data: Data, change: Callable[[Tensor], Tensor]) -> Data:
    """The same inputs with other targets."""
    return lambda seed, count=256: [(x, change(y)) for x, y in data(seed, count)]


def reread(data: Data, change: Callable[[Tensor], Tensor]) -> Data:
    """Other inputs with the same targets."""
    return lambda seed, count=256: [(change(x), y) for x, y in data(seed, count)]


def one_hot(y: Tensor) -> Tensor:
    """Classes as rows of zeros and a one."""
    return F.one_hot(y, 10).float()


def then(body: Callable[[], nn.Module], *after: nn.Module) -> nn.Module:
    """The network with further modules behind it."""
    return nn.Sequential(body(), *after)


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.function(x)


Pair = tuple[Case, Case]


def pair(
    name: str, kind: str, expected: str, data: Data, loss: Loss, build: Callable[[], nn.Module], *,
    twin: Callable[[], nn.Module] | None = None, twin_data: Data | None = None, twin_loss: Loss | None = None,
) -> Pair:  # fmt: skip
    """A sick program and its twin: what is not given is the same."""
    sick = Case(f"{name}, {kind}", build, data, loss, (expected,))
    healthy = replace(
        sick, name=f"{name}, {kind}: cured", build=twin or build, data=twin_data or data, loss=twin_loss or loss,
        expected=(), trains=False,
    )  # fmt: skip
    return sick, healthy


def mistakes() -> list[Pair]:
    """Every mistake in every kind of network it can be made in, with its twin."""
    parts = (_heads, _ranges, _shapes, _signs, _targets, _scales, _mixing, _wiring, _numbers, _data)
    return [both for part in parts for both in part()]


# --- what feeds the loss --------------------------------------------------------------------------------------


def _heads() -> Iterator[Pair]:
    twice = "probabilities-as-logits"
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        several = relabelled(data, one_hot)
        yield pair("softmax before cross-entropy", kind, twice, data, F.cross_entropy,
                   partial(then, ten, nn.Softmax(1)), twin=ten)  # fmt: skip
        yield pair("probabilities by hand", kind, twice, data, F.cross_entropy,
                   partial(then, ten, Do(lambda x: x.exp() / x.exp().sum(1, keepdim=True))), twin=ten)  # fmt: skip
        yield pair("sigmoid before cross-entropy", kind, twice, data, F.cross_entropy,
                   partial(then, ten, nn.Sigmoid()), twin=ten)  # fmt: skip
        yield pair("sigmoid twice", kind, twice, several, F.binary_cross_entropy_with_logits,
                   partial(then, ten, nn.Sigmoid()), twin=ten)  # fmt: skip
        yield pair("no logarithm", kind, twice, data, F.nll_loss,
                   partial(then, ten, nn.Softmax(1)), twin=partial(then, ten, nn.LogSoftmax(1)))  # fmt: skip
        two = relabelled(data, lambda y: (y % 2).float()[:, None])
        yield pair("softmax of one unit", kind, twice, two, F.binary_cross_entropy,
                   partial(then, partial(body, 1), nn.Softmax(1)),
                   twin=partial(then, partial(body, 1), nn.Sigmoid()))  # fmt: skip


def _ranges() -> Iterator[Pair]:
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("rectified logits", kind, "output-range", data, F.cross_entropy,
                   partial(then, ten, nn.ReLU()), twin=ten)  # fmt: skip
        yield pair("logits of tanh", kind, "output-range", data, F.cross_entropy,
                   partial(then, ten, nn.Tanh()), twin=ten)  # fmt: skip
        yield pair("no log-softmax", kind, "output-range", data, F.nll_loss, ten,
                   twin=partial(then, ten, nn.LogSoftmax(1)))  # fmt: skip
        odd = relabelled(data, lambda y: (y % 2).float()[:, None])
        yield pair("cut to probabilities", kind, "output-range", odd, F.binary_cross_entropy,
                   partial(then, partial(body, 1), Do(lambda x: x.clamp(0, 1))),
                   twin=partial(then, partial(body, 1), nn.Sigmoid(), Do(lambda x: x.clamp(1e-6, 1))))  # fmt: skip
        several = relabelled(data, lambda y: ((one_hot(y) + one_hot((y + 3) % 10)) > 0).float())
        yield pair("softmax for several labels", kind, "output-range", several, F.binary_cross_entropy,
                   partial(then, ten, nn.Softmax(1)), twin=partial(then, ten, nn.Sigmoid()))  # fmt: skip
    for kind, (body, data) in REGRESSIONS.items():
        one = partial(body, 1)
        for name, activation in (("sigmoid", nn.Sigmoid()), ("tanh", nn.Tanh()), ("relu", nn.ReLU())):
            yield pair(f"targets beyond {name}", kind, "output-range", data, F.mse_loss,
                       partial(then, one, activation), twin=one)  # fmt: skip
        counts = relabelled(data, lambda y: y.exp().clamp(max=20).round())
        yield pair("rates for their logarithms", kind, "output-range", counts, F.poisson_nll_loss,
                   partial(then, one, Do(torch.exp)), twin=one)  # fmt: skip
        yield pair("targets beyond twice tanh", kind, "output-range", relabelled(data, lambda y: 3 * y), F.l1_loss,
                   partial(then, one, Do(lambda x: 2 * torch.tanh(x))), twin=one)  # fmt: skip


def _by_hand(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).mean()


def _shapes() -> Iterator[Pair]:
    for kind, (body, data) in REGRESSIONS.items():
        squeezed = partial(then, partial(body, 1), nn.Flatten(0))
        rows = relabelled(data, lambda y: y[:, 0])
        for name, loss in (("mse", F.mse_loss), ("by hand", _by_hand), ("smooth l1", F.smooth_l1_loss)):
            yield pair(f"column of targets, {name}", kind, "shape-mismatch", data, loss, squeezed, twin_data=rows)
        yield pair("row of targets", kind, "shape-mismatch", rows, F.mse_loss, partial(body, 1), twin_data=data)

    class Tagger(nn.Module):
        """Eight positions, eight classes, so that exchanged axes fit."""

        def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.cells, self.head, self.move = nn.GRU(8, 24, batch_first=True), nn.Linear(24, 8), move

        def forward(self, x: Tensor) -> Tensor:
            return self.move(self.head(self.cells(x)[0]))

    tags = relabelled(sequences, lambda y: (y[:, None] + torch.arange(8)) % 8)
    moved = partial(Tagger, lambda x: x.transpose(1, 2))
    yield pair("classes along the last axis", "rnn", "shape-mismatch", tags, F.cross_entropy,
               partial(Tagger, lambda x: x), twin=moved)  # fmt: skip
    wide = reread(images, lambda x: torch.cat([x, x, x], 1).permute(0, 2, 3, 1).contiguous())

    def channels(move: Callable[[Tensor], Tensor]) -> nn.Module:
        return nn.Sequential(Do(move), nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(432, 10))

    yield pair("reshaped images", "cnn", "shape-mismatch", wide, F.cross_entropy,
               partial(channels, lambda x: x.view(len(x), 3, 8, 8)),
               twin=partial(channels, lambda x: x.permute(0, 3, 1, 2)))  # fmt: skip

    def tokens(move: Callable[[Tensor], Tensor]) -> nn.Module:
        body = (nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), Do(move), nn.Linear(12, 24), nn.ReLU())
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(24 * 64, 10))

    yield pair("reshaped tokens", "transformer", "shape-mismatch", images, F.cross_entropy,
               partial(tokens, lambda x: x.reshape(len(x), 64, 12)),
               twin=partial(tokens, lambda x: x.flatten(2).transpose(1, 2)))  # fmt: skip
    squares = relabelled(images, lambda y: (y[:, None, None] + torch.arange(64).view(8, 8)) % 3)

    def pixels(output: Tensor, target: Tensor, move: bool) -> Tensor:
        rows = output.permute(0, 2, 3, 1) if move else output
        return F.cross_entropy(rows.reshape(-1, 3), target.reshape(-1))

    yield pair("reshaped scores", "cnn", "shape-mismatch", squares, partial(pixels, move=False),
               partial(nn.Conv2d, 1, 3, 3, padding=1), twin_loss=partial(pixels, move=True))  # fmt: skip


def _signs() -> Iterator[Pair]:
    def less(loss: Loss) -> Loss:
        return lambda output, target: -loss(output, target)

    def picked(output: Tensor, target: Tensor) -> Tensor:
        return -output.log_softmax(1)[torch.arange(len(target)), target].mean()

    def summed(output: Tensor, target: Tensor) -> Tensor:
        return -(target * output.log_softmax(1)).sum(1).mean()

    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        for name, own, loss in (
            ("torch's", data, F.cross_entropy),
            ("by hand", data, picked),
            ("one-hot", relabelled(data, one_hot), summed),
        ):
            yield pair(f"minus a cross-entropy, {name}", kind, "wrong-sign", own, less(loss), ten, twin_loss=loss)
        alike = lambda output, target: F.cosine_similarity(output, target).mean()  # noqa: E731
        yield pair(
            "likeness made less", kind, "wrong-sign", relabelled(data, one_hot), alike, ten, twin_loss=less(alike)
        )
    for kind, (body, data) in REGRESSIONS.items():
        distances: tuple[tuple[str, Loss], ...] = (("torch's", F.l1_loss), ("by hand", _by_hand))
        for name, distance in distances:
            yield pair(
                f"minus a distance, {name}",
                kind,
                "wrong-sign",
                data,
                less(distance),
                partial(body, 1),
                twin_loss=distance,
            )


class Pairs(nn.Module):
    """Each sample's two halves, by one network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = zoo.mlp(32, 12, 1, 48)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.body(x[:, :32]), self.body(x[:, 32:])


def _targets() -> Iterator[Pair]:
    bad = "invalid-targets"
    likeness = relabelled(flat, lambda y: (y % 2).float())
    of_pairs: tuple[tuple[str, Loss], ...] = (
        ("cosines", lambda output, target: F.cosine_embedding_loss(output[0], output[1], target)),
        ("ranks", lambda output, target: F.margin_ranking_loss(output[0].mean(1), output[1].mean(1), target)),
    )
    for name, loss in of_pairs:
        yield pair(f"pairs without signs, {name}", "mlp", bad, likeness, loss, Pairs,
                   twin_data=relabelled(flat, lambda y: 2 * (y % 2).float() - 1))  # fmt: skip
    for kind, (body, data) in KINDS.items():
        ten, one = partial(body, 10), partial(body, 1)
        yield pair(
            "labels from one", kind, bad, relabelled(data, lambda y: y + 1), F.cross_entropy, ten, twin_data=data
        )
        yield pair("one label", kind, bad, relabelled(data, torch.zeros_like), F.cross_entropy, ten, twin_data=data)
        two = relabelled(data, lambda y: (y % 2).float()[:, None])
        yield pair("class numbers", kind, bad, relabelled(data, lambda y: (y % 3).float()[:, None]),
                   F.binary_cross_entropy_with_logits, one, twin_data=two)  # fmt: skip
        several = relabelled(data, lambda y: ((one_hot(y) + one_hot((y + 3) % 10)) > 0).float())
        yield pair("several labels", kind, bad, several, F.cross_entropy, ten,
                   twin_loss=F.binary_cross_entropy_with_logits)  # fmt: skip
        yield pair("arguments exchanged", kind, bad, two, lambda output, target: F.binary_cross_entropy(target, output),
                   partial(then, one, nn.Sigmoid()), twin_loss=F.binary_cross_entropy)  # fmt: skip
        signs = relabelled(data, lambda y: 2 * (y % 2).float()[:, None] - 1)
        yield pair("labels without signs", kind, bad, two, F.soft_margin_loss, one, twin_data=signs)


def _scales() -> Iterator[Pair]:
    for kind, (body, data) in REGRESSIONS.items():
        one = partial(body, 1)
        for name, change in (
            ("in thousands", lambda y: 1e4 * y), ("far from zero", lambda y: y + 500.0), ("tiny", lambda y: 1e-4 * y),
        ):  # fmt: skip
            yield pair(
                f"targets {name}", kind, "target-scale", relabelled(data, change), F.mse_loss, one, twin_data=data
            )


# --- samples and layers ---------------------------------------------------------------------------------------


def _mixing() -> Iterator[Pair]:
    mixed = "samples-mixed"
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("softmax over samples", kind, mixed, data, F.nll_loss, partial(then, ten, nn.LogSoftmax(0)),
                   twin=partial(then, ten, nn.LogSoftmax(1)))  # fmt: skip
        yield pair("centred by the batch", kind, mixed, data, F.cross_entropy,
                   partial(then, ten, Do(lambda x: x - x.mean(0))), twin=ten)  # fmt: skip
    for cell in (nn.LSTM, nn.GRU):
        yield pair(f"samples for time, {cell.__name__}", "rnn", mixed, sequences, F.cross_entropy,
                   partial(Cells, 10, cell, False), twin=partial(Cells, 10, cell))  # fmt: skip
    yield pair("samples attend to samples", "transformer", mixed, sequences, F.cross_entropy,
               partial(Attention, 10, False), twin=partial(Attention, 10))  # fmt: skip

    def turned(move: Callable[[Tensor], Tensor]) -> nn.Module:
        return nn.Sequential(Do(move), Do(lambda x: x.transpose(0, 1)), Cells(10))

    yield pair("reshape across samples", "rnn", mixed, sequences, F.cross_entropy,
               partial(turned, lambda x: x.reshape(8, -1, 8)),
               twin=partial(turned, lambda x: x.transpose(0, 1)))  # fmt: skip


class Listed(nn.Module):
    """Blocks in a list of Python, in a dictionary, or made anew in each pass; or registered."""

    def __init__(self, body: Body, how: str) -> None:
        super().__init__()
        self.how = how
        blocks = [nn.Linear(10, 10) for _ in range(2)]
        self.body = body(10)
        self.blocks: Any = {"list": blocks, "dict": {"a": blocks[0], "b": blocks[1]}}.get(how, nn.ModuleList(blocks))
        if how == "moved":
            self.scale = nn.Parameter(torch.ones(10)).double().float()
        elif how == "registered":
            self.scale = nn.Parameter(torch.ones(10))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.body(x)
        if self.how == "anew":
            return nn.Linear(10, 10)(torch.relu(x))
        for block in self.blocks.values() if isinstance(self.blocks, dict) else self.blocks:
            x = block(torch.relu(x))
        return x * self.scale if hasattr(self, "scale") else x


def _wiring() -> Iterator[Pair]:
    for kind, (body, data) in KINDS.items():
        for how in ("list", "dict", "anew", "moved"):
            yield pair(f"unregistered, {how}", kind, "unregistered-parameters", data, F.cross_entropy,
                       partial(Listed, body, how), twin=partial(Listed, body, "registered"))  # fmt: skip
        yield pair("detached", kind, "untrained-parameters", data, F.cross_entropy,
                   partial(then, partial(body, 10), Do(lambda x: x.detach().requires_grad_())),
                   twin=partial(body, 10))  # fmt: skip
    for kind, body, data in (("mlp", perceptron, flat), ("cnn", convolutional, images)):
        yield pair("no activation", kind, "affine-network", data, F.cross_entropy, partial(body, 10, nn.Identity),
                   twin=partial(body, 10))  # fmt: skip
        yield pair("activation that never switches", kind, "affine-network", data, F.cross_entropy,
                   partial(body, 10, lambda: Do(lambda x: torch.relu(x + 100.0) - 100.0)),
                   twin=partial(body, 10))  # fmt: skip
    yield pair("no activation", "regression", "affine-network", regression, F.mse_loss,
               partial(zoo.mlp, 8, 1, 2, 32, nn.Identity), twin=partial(zoo.mlp, 8, 1, 2, 32))  # fmt: skip
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("normalised over one value", kind, "degenerate-normalisation", data, F.cross_entropy,
                   partial(then, ten, nn.Unflatten(1, (10, 1)), nn.LayerNorm(1), nn.Flatten()),
                   twin=partial(then, ten, nn.LayerNorm(10)))  # fmt: skip
        batched = partial(then, ten, nn.ReLU(), nn.BatchNorm1d(10), nn.Linear(10, 10))
        yield pair("batch norm of single samples", kind, "degenerate-normalisation", _cut(data, 1), F.cross_entropy,
                   batched, twin_data=_cut(data, 32))  # fmt: skip
        yield pair("batch norm of single classes", kind, "degenerate-normalisation", _sorted(data), F.cross_entropy,
                   batched, twin_data=_cut(data, 32))  # fmt: skip
        yield pair("dropout never off", kind, "wrong-mode", data, F.cross_entropy,
                   partial(then, ten, nn.ReLU(), Do(lambda x: F.dropout(x, 0.3)), nn.Linear(10, 10)),
                   twin=partial(then, ten, nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, 10)))  # fmt: skip
        narrow = lambda outputs, p: (nn.Linear(10, 2), nn.ReLU(), nn.Dropout(p), nn.Linear(2, outputs))  # noqa: E731
        wide = lambda outputs, p: (nn.Linear(10, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, outputs))  # noqa: E731
        yield pair("dropout on two units", kind, "narrow-dropout", relabelled(data, lambda y: y % 2), F.cross_entropy,
                   partial(_headed, ten, narrow), twin=partial(_headed, ten, wide))  # fmt: skip


def _headed(body: Callable[[], nn.Module], head: Callable[[int, float], tuple[nn.Module, ...]]) -> nn.Module:
    return then(body, *head(2, 0.5))


def _cut(data: Data, size: int) -> Data:
    def cut(seed: int, count: int = 256) -> Batches:
        [(x, y)] = data(seed, min(count, 256) if size > 1 else 48)
        return list(zip(x.split(size), y.split(size), strict=True))

    return cut


def _sorted(data: Data) -> Data:
    def by_class(seed: int, count: int = 256) -> Batches:
        [(x, y)] = data(seed, count)
        return [(x[y == label], y[y == label]) for label in range(10)]

    return by_class


# --- numbers --------------------------------------------------------------------------------------------------


def _numbers() -> Iterator[Pair]:
    def distance(inside: float) -> Loss:
        return lambda output, target: ((output - target).square().sum(1) + inside).sqrt().mean()

    def entropy(inside: float) -> Loss:
        return lambda output, target: -(target * (output.relu() + inside).log()).sum(1).mean()

    def still(body: Body) -> nn.Module:
        model = body(10)
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return model

    for kind, (body, data) in KINDS.items():
        zeros = relabelled(data, lambda y: one_hot(y) * (torch.arange(len(y)) % 4 > 0)[:, None])
        yield pair("root of zero", kind, "nan-gradient", zeros, distance(0.0), partial(still, body),
                   twin_loss=distance(1e-3))  # fmt: skip
        yield pair("logarithm of zero", kind, "nan-loss", relabelled(data, one_hot), entropy(0.0), partial(body, 10),
                   twin_loss=entropy(0.1))  # fmt: skip

        def weighted(output: Tensor, target: Tensor, safe: float) -> Tensor:
            weight = (target > 20).float()
            return (F.cross_entropy(output, target, reduction="none") * weight).sum() / (weight.sum() + safe)

        yield pair("nothing to average", kind, "nan-loss", data, partial(weighted, safe=0.0), partial(body, 10),
                   twin_loss=F.cross_entropy)  # fmt: skip

        if kind == "transformer":
            yield pair("mask inverted", kind, "nan-loss", data, F.cross_entropy, partial(Masked, True),
                       twin=partial(Masked, False))  # fmt: skip

        def unit(x: Tensor, safe: float = 0.0) -> Tensor:
            return x.relu() / (x.relu().norm(dim=1, keepdim=True) + safe)

        low = partial(then, partial(body, 10), Do(lambda x: x - 5.0))
        yield pair("quotient of zeros", kind, "nan-loss", data, F.cross_entropy,
                   partial(then, low, Do(unit), nn.Linear(10, 10)),
                   twin=partial(then, partial(body, 10), Do(partial(unit, safe=0.1)), nn.Linear(10, 10)))  # fmt: skip


class Masked(nn.Module):
    """Attention with a mask of which rows count; inverted, it leaves some samples nothing to attend to."""

    def __init__(self, inverted: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 10)
        self.attention, self.inverted = nn.MultiheadAttention(32, 4, batch_first=True), inverted

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.embed(x)
        empty = torch.zeros(x.shape[:2], dtype=torch.bool)
        empty[::2, 6:] = True
        mask = ~empty if self.inverted else empty
        return self.head(self.attention(h, h, h, key_padding_mask=mask)[0].mean(1))


# --- data -----------------------------------------------------------------------------------------------------


def _data() -> Iterator[Pair]:
    bad = "bad-data"
    for kind, (body, data) in REGRESSIONS.items():
        dated = reread(data, lambda x: torch.cat([x[:, :-1], 1.6e9 + 1e6 * x[:, -1:]], 1))
        cents = reread(data, lambda x: x * torch.tensor([1e4] + [1.0] * (x.shape[1] - 1)))
        for name, raw in (("seconds", dated), ("cents", cents)):
            yield pair(f"one column in {name}", kind, bad, raw, F.mse_loss, partial(body, 1), twin_data=data)
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("the same input", kind, bad, reread(data, lambda x: x[:1].expand_as(x).clone()), F.cross_entropy,
                   ten, twin_data=data)  # fmt: skip

        def doubled(seed: int, count: int = 256, data: Data = data, shift: int = 1) -> Batches:
            [(x, y)] = data(seed, count // 2)
            return [(torch.cat([x, x]), torch.cat([y, (y + shift) % 10]))]

        yield pair("contradicting targets", kind, bad, doubled, F.cross_entropy, ten, twin_data=data)

        def repeated(seed: int, count: int = 256, data: Data = data) -> Batches:
            [(x, y)] = data(seed, 64)
            return [(x.repeat(4, *[1] * (x.ndim - 1)), y.repeat(4))]

        yield pair("repeated samples", kind, bad, repeated, F.cross_entropy, ten, twin_data=data)
        yield pair("one rare class", kind, bad, relabelled(data, lambda y: (torch.arange(len(y)) % 50 == 0).long()),
                   F.cross_entropy, partial(body, 2), twin_data=relabelled(data, lambda y: y % 2))  # fmt: skip
        yield pair("sorted by class", kind, bad, _sorted(data), F.cross_entropy, ten, twin_data=_cut(data, 32))
