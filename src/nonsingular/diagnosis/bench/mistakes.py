"""Mistakes in the contract of outputs, loss, targets and data, planted in several kinds of network.

Each comes with its healthy twin: the same program without the mistake. Both are built from the same parts, so that what
tells them apart is the mistake alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.diagnosis.bench import data_mistakes, zoo
from nonsingular.diagnosis.bench.pairs import (
    KINDS,
    REGRESSIONS,
    WIDE,
    Attention,
    Body,
    Cells,
    Data,
    Do,
    Loss,
    Pair,
    by_class,
    convolutional,
    cut,
    one_hot,
    pair,
    perceptron,
    relabelled,
    reread,
    then,
)
from nonsingular.diagnosis.bench.patients import (
    Batches,
    flat,
    images,
    reconstruction,
    regression,
    sequences,
    tokens,
)


def mistakes() -> list[Pair]:
    """Every mistake in every kind of network it can be made in, with its twin."""
    parts = (
        _heads, _ranges, _cosines, _absolute, _shapes, _signs, _coefficients, _likelihoods, _targets, _alignments,
        _weights, _scales, _mixing, _reading, _copies, _noises, _masks, _wiring, _slopes, _numbers,
        *data_mistakes.PARTS,
    )  # fmt: skip
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


class Cosines(nn.Module):
    """Classes by the cosines between a sample and one vector each, over a temperature."""

    def __init__(self, body: Body, temperature: float, own: bool = False) -> None:
        super().__init__()
        self.body, self.classes = body(24), nn.Parameter(torch.randn(10, 24))
        self.temperature, self.own = temperature, own

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.body(x)
        if self.own:
            h, w = (t / t.norm(dim=1, keepdim=True) for t in (h, self.classes))
            return (h @ w.T) / self.temperature
        return F.linear(F.normalize(h), F.normalize(self.classes)) / self.temperature


def _cosines() -> Iterator[Pair]:
    for kind, (body, data) in KINDS.items():
        for name, own in (("torch's", False), ("by hand", True)):
            yield pair(f"cosines for logits, {name}", kind, "output-range", data, F.cross_entropy,
                       partial(Cosines, body, 1.0, own), twin=partial(Cosines, body, 0.2, own))  # fmt: skip
        yield pair("logits over a thousand", kind, "output-range", data, lambda o, y: F.cross_entropy(o / 1000, y),
                   partial(body, 10), twin_loss=F.cross_entropy)  # fmt: skip


def _absolute() -> Iterator[Pair]:
    for kind, (body, data) in KINDS.items():
        chances = partial(then, partial(body, 10), nn.Softmax(1))
        for name, loss in (("torch's", F.l1_loss), ("by hand", lambda o, y: (o - y).abs().sum(1).mean())):
            yield pair(f"absolute differences of chances, {name}", kind, "unsuited-loss", relabelled(data, one_hot),
                       loss, chances, twin_loss=lambda o, y: -(y * (o + 1e-9).log()).sum(1).mean())  # fmt: skip


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


def _coefficients() -> Iterator[Pair]:
    """What is to grow, made smaller."""

    def dice(output: Tensor, target: Tensor) -> Tensor:
        p = output.sigmoid()
        return 2 * (p * target).sum() / (p.sum() + target.sum() + 1e-6)

    def overlap(output: Tensor, target: Tensor) -> Tensor:
        both = (output.sigmoid() * target).flatten(1).sum(1)
        return (both / (output.sigmoid() + target).flatten(1).sum(1).sub(both).add(1e-6)).mean()

    def correlation(output: Tensor, target: Tensor) -> Tensor:
        a, b = output - output.mean(), target - target.mean()
        return (a * b).mean() / (a.square().mean() * b.square().mean() + 1e-6).sqrt()

    def likelihood(output: Tensor, target: Tensor) -> Tensor:
        return torch.distributions.Normal(output, 1.0).log_prob(target).mean()

    def chances(output: Tensor, target: Tensor) -> Tensor:
        return torch.distributions.Categorical(logits=output).log_prob(target).mean()

    bright = relabelled_by_inputs(images, lambda x: (F.avg_pool2d(x, 3, 1, 1) > 0).float())
    for name, loss in (("dice", dice), ("overlap", overlap)):
        yield pair(f"{name} made less", "cnn", "wrong-sign", bright, loss, _pixelwise,
                   twin_loss=partial(_less, loss, 1.0))  # fmt: skip
    for kind, (body, data) in WIDE.items():
        for name, loss in (("correlation", correlation), ("likelihood", likelihood)):
            yield pair(f"{name} made less", kind, "wrong-sign", data, loss, partial(body, 1),
                       twin_loss=partial(_less, loss, 0.0))  # fmt: skip
    for kind, (body, data) in KINDS.items():
        yield pair("likelihood made less", kind, "wrong-sign", data, chances, partial(body, 10),
                   twin_loss=lambda o, y: -chances(o, y))  # fmt: skip


def _less(loss: Loss, whole: float, output: Tensor, target: Tensor) -> Tensor:
    return whole - loss(output, target)


def _pixelwise() -> nn.Module:
    one, two, last = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)
    return nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), last)


def relabelled_by_inputs(data: Data, change: Callable[[Tensor], Tensor]) -> Data:
    """The same inputs with targets that are made of them."""
    return lambda seed, count=128: [(x, change(x)) for x, _ in data(seed, count)]


def _likelihoods() -> Iterator[Pair]:
    """Variances and rates that may be negative, and terms without a least value."""

    def gaussian(positive: Callable[[Tensor], Tensor]) -> Loss:
        def loss(output: Tensor, target: Tensor) -> Tensor:
            mean, variance = output[:, :1], positive(output[:, 1:])
            return 0.5 * (variance.log() + (target - mean).square() / variance).mean()

        return loss

    def sizes(output: Tensor, target: Tensor) -> Tensor:
        mean, variance = output[:, :1], output[:, 1:]
        return 0.5 * (variance.abs().log() + (target - mean).square() / variance).mean()

    def rate(output: Tensor, target: Tensor, positive: Callable[[Tensor], Tensor]) -> Tensor:
        return (positive(output) - target * positive(output).log()).mean()

    for kind, (body, data) in WIDE.items():
        own = lambda x: x  # noqa: E731
        yield pair("variance of any sign", kind, "output-range", data, gaussian(own), partial(body, 2),
                   twin_loss=gaussian(torch.exp))  # fmt: skip
        yield pair("logarithm of a size", kind, "wrong-sign", data, sizes, partial(body, 2),
                   twin_loss=gaussian(lambda v: F.softplus(v) + 1e-3))  # fmt: skip
        counts = relabelled(data, lambda y: y.exp().clamp(max=20).round())
        yield pair("rate of any sign", kind, "output-range", counts, partial(rate, positive=own), partial(body, 1),
                   twin_loss=partial(rate, positive=F.softplus))  # fmt: skip

    def evidence(output: tuple[Tensor, Tensor, Tensor], target: Tensor, sign: float) -> Tensor:
        again, mean, log = output
        return F.mse_loss(again, target) - sign * 0.005 * (1 + log - mean.square() - log.exp()).mean()

    yield pair("a divergence made larger", "mlp", "wrong-sign", reconstruction, partial(evidence, sign=-1.0), Coded,
               twin_loss=partial(evidence, sign=1.0))  # fmt: skip


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


def _alignments() -> Iterator[Pair]:
    """Labels without places: what is said in eight rows of an image, after the rows are gone through."""

    def loss(output: Tensor, target: Tensor, blank: int = 0, turned: bool = True, every: int = 1) -> Tensor:
        scores = output.log_softmax(2)[:, ::every]
        n, t = scores.shape[:2]
        frames, labels = torch.full((n,), t), torch.full((n,), target.shape[1])
        scores = scores.transpose(0, 1) if turned else scores
        return F.ctc_loss(scores, target, frames, labels, blank, zero_infinity=True)

    few, eight, more = (
        relabelled(sequences, partial(_spoken, first=first, many=many)) for first, many in ((0, 2), (1, 2), (1, 5))
    )
    as_many = cut(eight, 8)
    ten = partial(_Spelling, 11)
    yield pair("the blank is a label", "rnn", "invalid-targets", few, loss, ten, twin_loss=partial(loss, blank=10))
    yield pair("more labels than frames", "rnn", "invalid-targets", more, partial(loss, every=4), ten, twin_loss=loss)
    yield pair("samples for time", "rnn", "shape-mismatch", as_many, partial(loss, turned=False), ten, twin_loss=loss)


def _spoken(y: Tensor, first: int, many: int) -> Tensor:
    """A digit, and those that are three, six, ... larger."""
    return torch.stack([(y + 3 * i) % 10 + first for i in range(many)], 1)


class _Spelling(nn.Module):
    """Scores of the classes at each of eight rows."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(8, 32, batch_first=True), nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0])


def _weights() -> Iterator[Pair]:
    """Of classes and of terms."""
    for kind, (body, data) in KINDS.items():
        ten, two = partial(body, 10), partial(body, 2)
        yield pair("labels smoothed away", kind, "invalid-targets", data, partial(F.cross_entropy, label_smoothing=1.0),
                   ten, twin_loss=partial(F.cross_entropy, label_smoothing=0.1))  # fmt: skip
        yield pair("a class is ignored", kind, "invalid-targets", data, partial(F.cross_entropy, ignore_index=3), ten,
                   twin_loss=partial(F.cross_entropy, ignore_index=-1))  # fmt: skip
        rare = relabelled(data, lambda y: (y < 2).long())
        yield pair("frequencies for weights", kind, "lopsided-loss", rare,
                   partial(F.cross_entropy, weight=torch.tensor([1.6, 0.4])), two,
                   twin_loss=partial(F.cross_entropy, weight=torch.tensor([0.4, 1.6])))  # fmt: skip
        odd = relabelled(data, lambda y: (y % 2).float()[:, None])
        heavy, light = (
            partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor([w])) for w in (1e4, 2.0)
        )  # fmt: skip
        yield pair("a weight of thousands", kind, "lopsided-loss", odd, heavy, partial(body, 1), twin_loss=light)

    def evidence(output: tuple[Tensor, Tensor, Tensor], target: Tensor, per: float = 1.0) -> Tensor:
        again, mean, log = output
        divergence = -0.5 * (1 + log - mean.square() - log.exp()).sum()
        return F.mse_loss(again, target) + divergence / (per * target.numel())

    yield pair("a mean and a sum", "mlp", "lopsided-loss", reconstruction,
               partial(evidence, per=1e-4), Coded, twin_loss=evidence)  # fmt: skip

    def bound(output: tuple[Tensor, Tensor, Tensor], target: Tensor, how: str) -> Tensor:
        again, mean, log = output
        divergence = -0.5 * (1 + log - mean.square() - log.exp()).sum(1)
        if how == "by hand":
            return ((again - target).square().mean(1) + divergence).mean()
        return F.mse_loss(again, target, reduction=how) / (1 if how == "mean" else len(target)) + divergence.mean()

    for how in ("mean", "by hand"):
        yield pair(f"a mean over pixels and a sum over codes, {how}", "mlp", "lopsided-loss", reconstruction,
                   partial(bound, how=how), Coded, twin_loss=partial(bound, how="sum"))  # fmt: skip
    yield pair("positives for negatives", "mlp", "wrong-sign", _triplets,
               lambda output, target: F.triplet_margin_loss(output[:, 0], output[:, 2], output[:, 1]), Embedded,
               twin_loss=lambda output, target: F.triplet_margin_loss(*output.unbind(1)))  # fmt: skip


class Coded(nn.Module):
    """An autoencoder with a random code; ``power`` of the variance by which its noise is multiplied."""

    def __init__(self, power: float = 0.5) -> None:
        super().__init__()
        self.power = power
        self.first, self.mean, self.log, self.last = (nn.Linear(*n) for n in ((64, 48), (48, 8), (48, 8), (8, 64)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        h = self.first(x).relu()
        mean, log = self.mean(h), self.log(h)
        return self.last(mean + torch.randn_like(mean) * (self.power * log).exp()), mean, log


def _windows(seed: int, count: int = 128, ahead: int = 1) -> Batches:
    """Stretches of a noisy wave, each with the number that is so many steps after its last one."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(count + 40.0)
    wave = torch.sin(time / 4 + seed) + 0.2 * torch.randn(len(time), generator=generator)
    stretches = wave.unfold(0, 33, 1)[:count]
    return [(stretches[:, :32].reshape(-1, 8, 4), stretches[:, 31 + ahead : 32 + ahead])]


def _copies() -> Iterator[Pair]:
    for kind, body in (("mlp", lambda: nn.Sequential(nn.Flatten(), zoo.mlp(32, 1, 2, 48))), ("rnn", lambda: _Waves())):
        for words, ahead in (("the last step for the next", 0), ("the last but one for the next", -1)):
            yield pair(words, kind, "bad-data", partial(_windows, ahead=ahead), F.mse_loss, body, twin_data=_windows)


class _Waves(nn.Module):
    """A recurrent network over eight steps of four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(4, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class _Noised(nn.Module):
    """Returns the noise that it has added to its inputs beside what it takes it for; ``powers`` of signal and noise."""

    betas: Tensor
    left: Tensor

    def __init__(self, powers: tuple[float, float] = (0.5, 0.5), anew: bool = False) -> None:
        super().__init__()
        self.powers, self.anew, self.body = powers, anew, zoo.mlp(65, 64, 2, 64)
        self.register_buffer("betas", torch.linspace(1e-3, 0.2, 50))
        self.register_buffer("left", (1 - self.betas).cumprod(0))

    def forward(self, x: Tensor) -> Tensor:
        t = torch.randint(0, 50, (len(x),))
        noise, left = torch.randn_like(x), self.left[t][:, None]
        noisy = left ** self.powers[0] * x + (1 - left) ** self.powers[1] * noise
        return self.body(torch.cat([noisy, t[:, None] / 50], 1)) - (torch.randn_like(x) if self.anew else noise)


def _denoising(seed: int, count: int = 256, anew: bool = False) -> Batches:
    """Points of a plane with noise, and that noise or some that is drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator)
    plane = draw(count, 2) @ draw(2, 16) / 2
    noise = draw(count, 16)
    return [(plane + noise, draw(count, 16) if anew else noise)]


def _noises() -> Iterator[Pair]:
    def evidence(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
        again, mean, log = output
        return F.mse_loss(again, target) - 0.005 * (1 + log - mean.square() - log.exp()).mean()

    yield pair("variance for deviation", "mlp", "wrong-noise", reconstruction, evidence, partial(Coded, 1.0),
               twin=Coded)  # fmt: skip
    for words, powers in (("noise", (0.5, 1.0)), ("signal", (1.0, 0.5)), ("both", (1.0, 1.0))):
        yield pair(f"variance of {words}", "mlp", "wrong-noise", reconstruction,
                   lambda output, target: output.square().mean(), partial(_Noised, powers), twin=_Noised)  # fmt: skip
    yield pair("noise drawn anew", "mlp", "wrong-noise", reconstruction, lambda output, target: output.square().mean(),
               partial(_Noised, anew=True), twin=_Noised)  # fmt: skip
    yield pair("noise of other samples", "mlp", "wrong-noise", partial(_denoising, anew=True), F.mse_loss,
               lambda: zoo.mlp(16, 16, 2, 48), twin_data=_denoising)  # fmt: skip


class Embedded(nn.Module):
    """Three inputs in a row, each by the same network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron(16)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _triplets(seed: int, count: int = 256) -> Batches:
    """Digits, each with another of its class and one of another class."""
    [(x, y)] = flat(seed, count)
    random = torch.Generator().manual_seed(seed)
    alike, other = (
        torch.stack([rows[torch.randint(len(rows), (), generator=random)] for rows in chosen])
        for chosen in ([(y == c).nonzero()[:, 0] for c in y], [(y != c).nonzero()[:, 0] for c in y])
    )
    return [(torch.stack([x, x[alike], x[other]], 1), y)]


def _scales() -> Iterator[Pair]:
    for kind, (body, data) in REGRESSIONS.items():
        one = partial(body, 1)
        for name, change in (
            ("in thousands", lambda y: 1e4 * y), ("far from zero", lambda y: y + 500.0), ("tiny", lambda y: 1e-4 * y),
        ):  # fmt: skip
            yield pair(
                f"targets {name}", kind, "target-scale", relabelled(data, change), F.mse_loss, one, twin_data=data
            )
    pixels = lambda x: ((x.clamp(-2, 2) + 2) * 63).round()  # noqa: E731
    for kind in ("mlp", "cnn"):
        body, data = KINDS[kind]
        yield pair("pixels as bytes", kind, "saturated-output", reread(data, pixels), F.cross_entropy,
                   partial(body, 10), twin_data=reread(data, lambda x: pixels(x) / 255))  # fmt: skip


# --- samples and layers ---------------------------------------------------------------------------------------


def _mixing() -> Iterator[Pair]:
    mixed = "samples-mixed"
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("softmax over samples", kind, mixed, data, F.nll_loss, partial(then, ten, nn.LogSoftmax(0)),
                   twin=partial(then, ten, nn.LogSoftmax(1)))  # fmt: skip
        yield pair("probabilities over samples", kind, "probabilities-as-logits", data, F.cross_entropy,
                   partial(then, ten, nn.Softmax(0)), twin=ten)  # fmt: skip
        yield pair("centred by the batch", kind, mixed, data, F.cross_entropy,
                   partial(then, ten, Do(lambda x: x - x.mean(0))), twin=ten)  # fmt: skip
    for cell in (nn.LSTM, nn.GRU):
        yield pair(f"samples for time, {cell.__name__}", "rnn", mixed, sequences, F.cross_entropy,
                   partial(Cells, 10, cell, False), twin=partial(Cells, 10, cell))  # fmt: skip
    yield pair("samples attend to samples", "transformer", mixed, sequences, F.cross_entropy,
               partial(Attention, 10, False), twin=partial(Attention, 10))  # fmt: skip

    yield pair("samples attend to samples, read at a mark", "tokens", mixed, _ordered, F.cross_entropy,
               partial(Marked, False), twin=partial(Marked, True))  # fmt: skip

    def turned(move: Callable[[Tensor], Tensor]) -> nn.Module:
        return nn.Sequential(Do(move), Do(lambda x: x.transpose(0, 1)), Cells(10))

    yield pair("reshape across samples", "rnn", mixed, sequences, F.cross_entropy,
               partial(turned, lambda x: x.reshape(8, -1, 8)),
               twin=partial(turned, lambda x: x.transpose(0, 1)))  # fmt: skip


class Steps(nn.Module):
    """A recurrence written out; ``cut`` hands on its state without its graph."""

    def __init__(self, outputs: int, cut: bool, kind: Callable[..., nn.Module] = nn.GRUCell) -> None:
        super().__init__()
        self.cell, self.head, self.cut = kind(8, 32), nn.Linear(32, outputs), cut

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = x.new_zeros(len(x), 32)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h.detach() if self.cut else h)
        return self.head(h)


class Tokens(nn.Module):
    """Attention over tokens, with or without what tells their places."""

    def __init__(self, places: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(12, 32), nn.Linear(32, 2)
        self.places = nn.Parameter(0.1 * torch.randn(10, 32)) if places else 0.0
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.layer(self.table(x) + self.places).mean(1))


class Marked(nn.Module):
    """Attention over a mark and the tokens behind it, read at the mark."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.table, self.places, self.head = nn.Embedding(13, 32), nn.Embedding(11, 32), nn.Linear(32, 2)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = torch.cat([torch.full_like(x[:, :1], 12), x], 1)
        return self.head(self.layer(self.table(x) + self.places.weight)[:, 0])


def _ordered(seed: int, count: int = 512) -> Batches:
    """Which of two marks comes first, among other tokens?"""
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(2, 12, (512, 10), generator=random)
    places = torch.rand(512, 10, generator=random).argsort(1)[:, :2]
    x = x.scatter(1, places, torch.tensor([[0, 1]]).expand(512, 2))
    return [(x, (places[:, 0] < places[:, 1]).long())]


def _following(places: slice, seed: int, count: int = 48) -> Batches:
    """Digits as texts, each token to be followed by the next, or by itself."""
    [(x, y)] = tokens(seed, count)
    whole = torch.cat([x, y[:, -1:]], 1)
    return [(whole[:, places], whole[:, 1:])]


def _next_token(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


class Unmasked(nn.Module):
    """Attention of each token to all others."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(16, 32), nn.Linear(32, 16)
        self.places = nn.Parameter(0.1 * torch.randn(32, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.layer(self.table(x) + self.places[: x.shape[1]]))


def _forecasts(seed: int, channels: int, count: int = 64) -> Batches:
    """Waves of several frequencies, channels before time, each to be followed by its next value."""
    random = torch.Generator().manual_seed(seed)
    rate, phase = (torch.rand(64, channels, 1, generator=random) for _ in range(2))
    waves = torch.sin((0.2 + rate / 2) * torch.arange(33) + 6 * phase)
    waves = waves + 0.1 * torch.randn(waves.shape, generator=random)
    return [(waves[..., :-1], waves[..., 1:])]


def _forecaster(pad: Callable[[Tensor], Tensor]) -> nn.Module:
    return nn.Sequential(Do(pad), nn.Conv1d(1, 24, 3), nn.Tanh(), Do(pad), nn.Conv1d(24, 24, 3), nn.Tanh(),
                         nn.Conv1d(24, 1, 1))  # fmt: skip


class _BothWays(nn.Module):
    """A recurrence over time, which comes after the channels."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.cells = nn.GRU(3, 24, batch_first=True, bidirectional=both)
        self.head = nn.Linear(48 if both else 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x.transpose(1, 2))[0]).transpose(1, 2)


def _reading() -> Iterator[Pair]:
    """Which parts of the inputs are read, and taught."""
    for cell in (nn.LSTM, nn.GRU):
        yield pair(f"the first step is read, {cell.__name__}", "rnn", "unread-inputs", sequences, F.cross_entropy,
                   partial(Cells, 10, cell, step=0), twin=partial(Cells, 10, cell))  # fmt: skip
    for kind in (nn.GRUCell, nn.RNNCell):
        yield pair(f"cut between steps, {kind.__name__}", "rnn", "gradient-cut", sequences, F.cross_entropy,
                   partial(Steps, 10, True, kind), twin=partial(Steps, 10, False, kind))  # fmt: skip
    for places, name in ((slice(None, -1), "no mask"), (slice(1, None), "no shift")):
        yield pair(f"next tokens, {name}", "transformer", "bad-data", partial(_following, places), _next_token,
                   partial(zoo.GPT, 1) if name == "no shift" else Unmasked,
                   twin=partial(zoo.GPT, 1), twin_data=partial(_following, slice(None, -1)))  # fmt: skip
    ahead = lambda x: F.pad(x, (2, 0))  # noqa: E731
    around = lambda x: F.pad(x, (1, 1))  # noqa: E731
    yield pair("padded on both sides", "cnn", "bad-data", partial(_forecasts, channels=1), F.mse_loss,
               partial(_forecaster, around), twin=partial(_forecaster, ahead))  # fmt: skip
    yield pair("a recurrence both ways", "rnn", "bad-data", partial(_forecasts, channels=3), F.mse_loss,
               partial(_BothWays, True), twin=partial(_BothWays, False))  # fmt: skip
    yield pair("tokens without places", "transformer", "order-blind", _ordered, F.cross_entropy,
               partial(Tokens, False), twin=partial(Tokens, True))  # fmt: skip


class Padded(nn.Module):
    """Attention and a mean over tokens, with masks of what is padding, or of what is not."""

    def __init__(self, attends: bool = True, counts: bool = True, by_hand: bool = False) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(12, 32), nn.Linear(32, 2)
        self.layer = None if by_hand else nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.attends, self.counts = attends, counts

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        empty, h = x == 0, self.table(x)
        hidden = empty if self.attends else ~empty
        if self.layer is None:
            scores = (h @ h.transpose(1, 2) / 32**0.5).masked_fill(hidden[:, None], -1e9)
            h = h + scores.softmax(-1) @ h
        else:
            h = self.layer(h, src_key_padding_mask=hidden)
        kept = (~empty if self.counts else empty).float()[:, :, None]
        return self.head((h * kept).sum(1) / kept.sum(1).clamp(min=1))


class ReadLate(nn.Module):
    """A recurrence over padded tokens, read at the end of each sample, or at the end of its padding."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], late: bool, last: bool = False) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(12, 16, padding_idx=0), nn.Linear(16, 2)
        self.cell, self.late, self.last = cell(16, 16, batch_first=True), late, last

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        states, end = self.cell(self.table(x))
        if self.late and self.last:
            return self.head((end[0] if isinstance(end, tuple) else end)[-1])
        ends = -torch.ones(len(x), dtype=torch.long) if self.late else (x > 0).sum(1) - 1
        return self.head(states[torch.arange(len(x)), ends])


def _padded(seed: int, count: int = 128, length: int = 8) -> Batches:
    """Is there a mark among the tokens, of which there are three to seven, and then padding?"""
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 12, (128, length), generator=random)
    x = x * (torch.arange(length) < torch.randint(3, 8, (128, 1), generator=random))
    return [(x, (x > 9).any(1).long())]


def _masks() -> Iterator[Pair]:
    for name, given in (
        ("attention", {"attends": False}), ("attention by hand", {"attends": False, "by_hand": True}),
        ("mean", {"counts": False}),
    ):  # fmt: skip
        yield pair(f"mask inverted, {name}", "transformer", "inverted-mask", _padded, F.cross_entropy,
                   partial(Padded, **given), twin=partial(Padded, by_hand=given.get("by_hand", False)))  # fmt: skip
    long = partial(_padded, length=30)
    for name, cell, last in (("gru", nn.GRU, False), ("lstm", nn.LSTM, True)):
        yield pair(f"read after the padding, {name}", "recurrent", "read-after-padding", long, F.cross_entropy,
                   partial(ReadLate, cell, True, last), twin=partial(ReadLate, cell, False))  # fmt: skip


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


class Weighed(nn.Module):
    """A sum over eight rows by weights that a softmax makes of scores, along some axis."""

    def __init__(self, outputs: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.score, self.head = zoo.mlp(8, 1, 1, 16, nn.Tanh), zoo.mlp(8, outputs, 1, 32)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head((self.score(x).softmax(self.axis) * x).sum(1))


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
        if data is sequences:
            yield pair("weights of one place", kind, "degenerate-normalisation", data, F.cross_entropy,
                       partial(Weighed, 10, -1), twin=partial(Weighed, 10, 1))  # fmt: skip
        batched = partial(then, ten, nn.ReLU(), nn.BatchNorm1d(10), nn.Linear(10, 10))
        yield pair("batch norm of single samples", kind, "degenerate-normalisation", cut(data, 1), F.cross_entropy,
                   batched, twin_data=cut(data, 32))  # fmt: skip
        for name, momentum in (("stay", 0.0), ("hold one batch", 0.99)):
            yield pair(f"running statistics {name}", kind, "degenerate-normalisation", data, F.cross_entropy,
                       partial(then, ten, nn.ReLU(), nn.BatchNorm1d(10, momentum=momentum), nn.Linear(10, 10)),
                       twin=batched)  # fmt: skip
        yield pair("batch norm of single classes", kind, "degenerate-normalisation", by_class(data), F.cross_entropy,
                   batched, twin_data=cut(data, 32))  # fmt: skip
        yield pair("dropout never off", kind, "wrong-mode", data, F.cross_entropy,
                   partial(then, ten, nn.ReLU(), Do(lambda x: F.dropout(x, 0.3)), nn.Linear(10, 10)),
                   twin=partial(then, ten, nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, 10)))  # fmt: skip
        yield pair("dropout of nearly all", kind, "narrow-dropout", data, F.cross_entropy,
                   partial(then, ten, nn.ReLU(), nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.95), nn.Linear(64, 10)),
                   twin=partial(then, ten, nn.ReLU(), nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.3),
                                nn.Linear(64, 10)))  # fmt: skip
        narrow = lambda outputs, p: (nn.Linear(10, 2), nn.ReLU(), nn.Dropout(p), nn.Linear(2, outputs))  # noqa: E731
        wide = lambda outputs, p: (nn.Linear(10, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, outputs))  # noqa: E731
        yield pair("dropout on two units", kind, "narrow-dropout", relabelled(data, lambda y: y % 2), F.cross_entropy,
                   partial(_headed, ten, narrow), twin=partial(_headed, ten, wide))  # fmt: skip


class _Sine(torch.autograd.Function):
    """A sine whose backward pass takes what it returned for what it was given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.sin()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient * y.cos()


class _Equation(nn.Module):
    """A function of one number, and what an equation leaves of it: its derivative of some order is what is given."""

    def __init__(self, graph: bool, order: int = 1, activation: Callable[[], nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.body, self.graph, self.order = zoo.mlp(1, 1, 2, 24, activation), graph, order

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_()
        value = derived = self.body(x)
        for _ in range(self.order):
            [derived] = torch.autograd.grad(derived.sum(), x, create_graph=self.graph, retain_graph=True)
        return value, derived


def _points(seed: int, count: int = 64) -> Batches:
    """Numbers, and the slope and the value of a sine there."""
    x = 4 * torch.rand(64, 1, generator=torch.Generator().manual_seed(seed))
    return [(x, torch.cat([x.cos(), x.sin()], 1))]


def _slopes() -> Iterator[Pair]:
    def equation(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return F.mse_loss(output[1], target[:, :1]) + F.mse_loss(output[0], target[:, 1:])

    def residual(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return (output[1] + output[0] - target.sum(1, keepdim=True)).square().mean()

    for name, loss in (("a term", equation), ("within a term", residual)):
        yield pair(f"a derivative without its graph, {name}", "tanh regression", "gradient-cut", _points, loss,
                   partial(_Equation, False), twin=partial(_Equation, True))  # fmt: skip
    yield pair("a second derivative of ReLU", "tanh regression", "flat-derivative", _points, equation,
               partial(_Equation, True, 2, nn.ReLU), twin=partial(_Equation, True, 2))  # fmt: skip
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("rounded", kind, "untrained-parameters", data, F.cross_entropy, partial(then, ten, Do(torch.round)),
                   twin=partial(then, ten, Do(lambda x: x + (x.round() - x).detach())))  # fmt: skip
        own = lambda sine: (Do(lambda x: sine(8 * x)), nn.Linear(10, 10))  # noqa: E731
        yield pair("a slope of one's own", kind, "wrong-gradient", data, F.cross_entropy,
                   partial(then, ten, *own(_Sine.apply)), twin=partial(then, ten, *own(torch.sin)))  # fmt: skip


def _headed(body: Callable[[], nn.Module], head: Callable[[int, float], tuple[nn.Module, ...]]) -> nn.Module:
    return then(body, *head(2, 0.5))


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
