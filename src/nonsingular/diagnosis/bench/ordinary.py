"""Healthy programs with all kinds of losses, targets and data: what rules of the contract must not accuse."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.pairs import Cells, Do, convolutional, one_hot, perceptron, relabelled, reread, then
from nonsingular.diagnosis.bench.patients import (
    Batches,
    Case,
    flat,
    images,
    next_token,
    ratings,
    reconstruction,
    regression,
    sequences,
    tokens,
)


def ordinary() -> list[Case]:
    """One case a habit."""
    parts = (_of_classes, _of_places, _of_inputs, _of_numbers, _of_pairs, _of_parts, _of_data)
    return [case for part in parts for case in part()]


def _of_classes() -> list[Case]:
    """Losses of classes, whatever says which."""
    ten = partial(perceptron, 10)
    several = relabelled(flat, lambda y: ((one_hot(y) + one_hot((y * 7 + 3) % 10)) > 0).float())
    return [
        Case("soft targets", ten, relabelled(flat, _soft), F.cross_entropy),
        Case("smoothed labels", ten, flat, partial(F.cross_entropy, label_smoothing=0.1)),
        Case("weighted classes", ten, flat, partial(F.cross_entropy, weight=torch.linspace(0.5, 2, 10))),
        Case("distillation", ten, relabelled(flat, _soft), _distil),
        Case("several labels", ten, several, F.binary_cross_entropy_with_logits),
        Case("several labels, probabilities", partial(then, ten, nn.Sigmoid()), several, F.binary_cross_entropy),
        Case("two classes", partial(perceptron, 1), relabelled(flat, _odd), F.binary_cross_entropy_with_logits),
        Case("log-softmax and nll", partial(then, ten, nn.LogSoftmax(-1)), flat, F.nll_loss),
        Case("softmax against one-hot", partial(then, ten, nn.Softmax(1)), relabelled(flat, one_hot), F.mse_loss),
        Case("margin", ten, flat, F.multi_margin_loss),
        Case("signs", partial(perceptron, 1), relabelled(flat, lambda y: 2 * _odd(y) - 1), F.soft_margin_loss),
        Case("some labels ignored", ten, relabelled(flat, _some_ignored), F.cross_entropy),
        Case("logistic regression", partial(nn.Linear, 64, 10), flat, F.cross_entropy),
        Case("learnt loss weight", ten, flat, _Learnt()),
        Case("discriminator", partial(perceptron, 1), _real_or_not, F.binary_cross_entropy_with_logits),
        Case("two classes from images", partial(then, partial(convolutional, 1), nn.Sigmoid()),
             relabelled(images, _odd), F.binary_cross_entropy),
    ]  # fmt: skip


def _of_places() -> list[Case]:
    """An answer for each place of an image or a sequence."""
    return [
        Case("segmentation", _segmenter, relabelled(images, _mask_of), F.cross_entropy),
        Case("segmentation, one channel", partial(_segmenter, 1), _masks, F.binary_cross_entropy_with_logits),
        Case("tags", _Tagger, relabelled(sequences, lambda y: (y[:, None] + torch.arange(8)) % 10), F.cross_entropy),
        Case("tokens, padding ignored", partial(zoo.GPT, 2), _padded, next_token),
        Case("connectionist", _Connectionist, _connected, _ctc),
    ]  # fmt: skip


def _of_inputs() -> list[Case]:
    """Inputs that are to be returned."""
    grey = partial(flat, scaling="raw")
    pixels = lambda seed, count=256: [(x, x) for x, _ in grey(seed, count)]  # noqa: E731
    return [
        Case("sigmoid autoencoder", partial(then, zoo.autoencoder, nn.Sigmoid()), pixels, F.binary_cross_entropy),
        Case("sigmoid autoencoder, squares", partial(then, zoo.autoencoder, nn.Sigmoid()), pixels, F.mse_loss),
        Case("variational autoencoder", _Variational, pixels, _evidence, trains=False),
        Case("linear autoencoder", partial(_linear_autoencoder, 16), reconstruction, F.mse_loss),
        Case("tied autoencoder", _Tied, reconstruction, F.mse_loss),
    ]  # fmt: skip


def _of_numbers() -> list[Case]:
    """Losses of numbers, in any range."""
    mlp = zoo.mlp
    return [
        Case("linear regression", partial(nn.Linear, 8, 1), regression, F.mse_loss),
        Case("absolute differences", partial(mlp, 8, 1, 2, 32), regression, F.l1_loss),
        Case("huber", partial(mlp, 8, 1, 2, 32), regression, F.huber_loss),
        Case("quantiles", partial(mlp, 8, 3, 2, 32), regression, _pinball),
        Case("mean and variance", partial(mlp, 8, 2, 2, 32), regression, _gaussian),
        Case("counts", partial(mlp, 8, 1, 2, 32), relabelled(regression, _counted), F.poisson_nll_loss),
        Case("fractions through sigmoid", partial(then, partial(mlp, 8, 1, 2, 32), nn.Sigmoid()),
             relabelled(regression, torch.sigmoid), F.mse_loss),
        Case("bounded actions", partial(then, partial(mlp, 8, 1, 2, 32), Do(lambda x: 3 * torch.tanh(x))),
             relabelled(regression, lambda y: y.clamp(-2.9, 2.9)), F.mse_loss),
        Case("positive targets through softplus", partial(then, partial(mlp, 8, 1, 2, 32), nn.Softplus()),
             relabelled(regression, torch.exp), F.mse_loss),
        Case("ages", partial(mlp, 8, 1, 2, 64), relabelled(regression, lambda y: 35 + 5 * y), F.mse_loss),
        Case("image regression", partial(convolutional, 1), relabelled(images, _numbers), F.mse_loss),
        Case("forecast", _Forecast, _waves, F.mse_loss),
        Case("factors", partial(zoo.Factors, 32, 0.1), ratings, F.mse_loss),
        Case("sines", _Sines, _field, F.mse_loss),
        Case("field of coordinates", partial(mlp, 2, 1, 3, 64, nn.Tanh), _field, F.mse_loss),
    ]  # fmt: skip


def _of_pairs() -> list[Case]:
    """Samples that are compared, or that read each other."""
    ten = partial(perceptron, 10)
    return [
        Case("in-batch negatives", _TwoTowers, relabelled(flat, _own_number), _both_ways, trains=False),
        Case("unit outputs", partial(then, ten, Do(F.normalize)), relabelled(flat, one_hot), _cosine),
        Case("triplets", _Embedding, _triplets, _triplet, trains=False),
        Case("temperature of cosines", _Cosines, flat),
        Case("rank pairs", partial(perceptron, 1), relabelled(flat, lambda y: y.float()), _ranking),
        Case("contrastive", partial(perceptron, 16), flat, _contrastive),
        Case("graph", _Graph, _graph, F.cross_entropy, trains=False),
        Case("papers that cite each other", _Citing, _papers, F.cross_entropy, trains=False),
        Case("papers, sums over neighbours", _Citing, partial(_papers, mean=False), F.cross_entropy, trains=False),
    ]  # fmt: skip


def _of_parts() -> list[Case]:
    """Parts of networks that look like mistakes."""
    ten = partial(perceptron, 10)
    return [
        Case("attention pooling", _Pooled, sequences),
        Case("time first by design", _TimeFirst, reread(sequences, lambda x: x), F.cross_entropy),
        Case("gated", _Gated, flat),
        Case("conv head", _conv_head, images),
        Case("1-D convolution", _conv1d, sequences),
        Case("dropout", _dropout, flat),
        Case("squeeze and excitation", _Excited, images),
        Case("layer norm head", partial(then, ten, nn.LayerNorm(10)), flat),
        Case("tanh network, standard images", partial(convolutional, 10, nn.Tanh), images),
        Case("long head", partial(then, partial(convolutional, 10), nn.ReLU(), nn.Linear(10, 10)), images),
        Case("longer head, recurrent", partial(then, partial(Cells, 10), *_head()), sequences),
        Case("longer head, images", partial(then, partial(convolutional, 10), *_head()), images),
        Case("narrow head", partial(then, partial(convolutional, 10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, 2)),
             relabelled(images, lambda y: y % 2)),
        Case("both directions", _Both, sequences),
        Case("mixture of experts", _Experts, flat),
    ]  # fmt: skip


def _of_data() -> list[Case]:
    """Inputs and classes that look like mistakes."""
    mlp = zoo.mlp
    return [
        Case("raw readings", _Readings, reread(flat, lambda x: 1000 + 3 * x), F.cross_entropy),
        Case("rare class", partial(perceptron, 2), relabelled(flat, lambda y: (y == 3).long()), F.cross_entropy),
        Case("coarse features", partial(mlp, 3, 2, 2, 16), _coarse, F.cross_entropy),
        Case("bag of words", _Bag, tokens_of_classes),
    ]  # fmt: skip


# --- losses ---------------------------------------------------------------------------------------------------


def _soft(y: Tensor) -> Tensor:
    return 0.8 * one_hot(y) + 0.2 * one_hot((y + 1) % 10)


def _counted(y: Tensor) -> Tensor:
    return (3 * y.exp()).floor().clamp(max=99.0)


def _numbers(y: Tensor) -> Tensor:
    return y.float()[:, None] / 10


def _odd(y: Tensor) -> Tensor:
    return (y % 2).float()[:, None]


def _distil(output: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(F.log_softmax(output / 2, 1), target, reduction="batchmean") * 4


def _some_ignored(y: Tensor) -> Tensor:
    return torch.where(torch.arange(len(y)) % 5 == 0, -100, y)


def _mask_of(y: Tensor) -> Tensor:
    return (y[:, None, None] + torch.arange(8)[:, None] * torch.arange(8)) % 3


def _masks(seed: int, count: int = 128) -> Batches:
    return [(x, (x > 0.5).float()) for x, _ in images(seed, count)]


def _padded(seed: int, count: int = 48) -> Batches:
    [(x, y)] = tokens(seed, count)
    keep = torch.arange(y.shape[1]) < 20 + torch.arange(len(y))[:, None] % 12
    return [(x, torch.where(keep, y, -100))]


def _pinball(output: Tensor, target: Tensor) -> Tensor:
    level = torch.tensor([0.1, 0.5, 0.9])
    off = target - output
    return torch.maximum(level * off, (level - 1) * off).mean()


def _gaussian(output: Tensor, target: Tensor) -> Tensor:
    return F.gaussian_nll_loss(output[:, :1], target, F.softplus(output[:, 1:]) + 1e-3)


def _cosine(output: Tensor, target: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(output, target)).mean()


def _evidence(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    image, mean, log_variance = output
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
    return F.binary_cross_entropy(image, target) + 1e-3 * divergence


def _triplet(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    return F.triplet_margin_loss(*output) + 0.0 * target.float().mean()


def _ranking(output: Tensor, target: Tensor) -> Tensor:
    score = output[:, 0]
    sign = torch.sign(target[:, None] - target[None])
    return F.relu(0.1 - sign * (score[:, None] - score[None])).mean()


def _contrastive(output: Tensor, target: Tensor) -> Tensor:
    z = F.normalize(output, dim=1)
    same = (target[:, None] == target[None]) & ~torch.eye(len(target), dtype=torch.bool)
    logits = (z @ z.T / 0.2).masked_fill(torch.eye(len(target), dtype=torch.bool), -1e4)
    return -(logits.log_softmax(1) * same).sum() / same.sum().clamp(min=1)


def _ctc(output: Tensor, target: Tensor) -> Tensor:
    n, t = output.shape[:2]
    return F.ctc_loss(
        output.log_softmax(-1).transpose(0, 1), target, torch.full((n,), t), torch.full((n,), target.shape[1])
    )


class _Learnt(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) * torch.exp(-self.scale) + self.scale


# --- data -----------------------------------------------------------------------------------------------------


def _triplets(seed: int, count: int = 128) -> Batches:
    [(x, y)] = flat(seed, count)
    return [((x, x.roll(1, 0), x.roll(2, 0)), y)]  # type: ignore[list-item]


def _papers(seed: int, count: int = 160, mean: bool = True) -> Batches:
    """Which of 300 words a paper has, whom it cites, mostly of its own field, and which of seven fields that is."""
    generator = torch.Generator().manual_seed(seed)
    field = torch.randint(0, 7, (count,), generator=generator)
    usual = torch.rand(7, 300, generator=generator) ** 6
    words = (torch.rand(count, 300, generator=generator) < 0.01 + 0.15 * usual[field]).float()
    chance = torch.where(field[:, None] == field, 0.1, 0.005)
    cites = torch.rand(count, count, generator=generator) < chance
    adjacency = (cites | cites.T | torch.eye(count, dtype=torch.bool)).float()
    size = adjacency.sum(1).rsqrt()
    return [((words, size[:, None] * adjacency * size if mean else adjacency), field)]  # type: ignore[list-item]


def _graph(seed: int, count: int = 128) -> Batches:
    [(x, y)] = flat(seed, count)
    near = torch.cdist(x, x)
    adjacency = (near < near.quantile(0.05)).float()
    return [((x, adjacency / adjacency.sum(1, keepdim=True)), y)]  # type: ignore[list-item]


def _coarse(seed: int, count: int = 256) -> Batches:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (count, 3), generator=g).float()
    return [(x, (x.sum(1) + torch.randint(0, 3, (count,), generator=g) > 5).long())]


def _connected(seed: int, count: int = 64) -> Batches:
    [(x, y)] = sequences(seed, count)
    return [(x, torch.stack([y + 1, (y + 3) % 10 + 1], 1))]


def _real_or_not(seed: int, count: int = 256) -> Batches:
    [(x, _)] = flat(seed, count)
    real = (torch.arange(len(x)) % 2).float()[:, None]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return [(torch.where(real > 0, x, noise), real)]


def _waves(seed: int, count: int = 256) -> Batches:
    g = torch.Generator().manual_seed(seed)
    phase, speed = torch.rand(count, 1, generator=g) * 6, 0.2 + torch.rand(count, 1, generator=g)
    wave = torch.sin(phase + speed * torch.arange(24))
    return [(wave[:, :20, None], wave[:, 20:])]


def tokens_of_classes(seed: int, count: int = 128) -> Batches:
    """Grey levels of digits as words, with the digits' classes."""
    [(x, y)] = flat(seed, count, scaling="raw")
    return [((x * 15).round().long(), y)]


def _field(seed: int, count: int = 256) -> Batches:
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return [(x, (torch.sin(3 * x[:, :1]) * x[:, 1:]))]


# --- networks -------------------------------------------------------------------------------------------------


def _segmenter(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, classes, 1)
    )


def _linear_autoencoder(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.Linear(width, 64))


def _conv_head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def _conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(8, 24, 3, padding=1), nn.ReLU(), nn.Conv1d(24, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool1d(1),
        nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip


def _dropout() -> nn.Module:
    return nn.Sequential(
        nn.Dropout(0.2), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(32, 10),
    )  # fmt: skip


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(8, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0]).transpose(1, 2)


class _TimeFirst(nn.Module):
    """Turns its inputs to [time, sample, feature], as recurrent layers take them by default."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(8, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x.transpose(0, 1))[0][-1])


class _Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))
        self.decode = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 64), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, 1)
        return self.decode(mean + torch.randn_like(mean) * (log_variance / 2).exp()), mean, log_variance


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 64) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight.T) @ self.weight


class _Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = perceptron(16)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return tuple(F.normalize(self.body(x), dim=1) for x in (a, b, c))


class _Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.score, self.head = nn.Linear(8, 32), nn.Linear(32, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.embed(x))
        return self.head((self.score(h).softmax(1) * h).sum(1))


class _Cosines(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes = perceptron(32), nn.Parameter(torch.randn(10, 32))

    def forward(self, x: Tensor) -> Tensor:
        return 12 * F.normalize(self.body(x), dim=1) @ F.normalize(self.classes, dim=1).T


class _Citing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(300, 16), nn.Linear(16, 7)

    def forward(self, words: Tensor, adjacency: Tensor) -> Tensor:
        return adjacency @ self.second(torch.relu(adjacency @ self.first(words)))


class _Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return adjacency @ self.second(torch.relu(adjacency @ self.first(x)))


class _Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate, self.head = nn.Linear(64, 48), nn.Linear(64, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.value(x) * torch.sigmoid(self.gate(x)))


class _Excited(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.squeeze, self.excite, self.head = nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(h.mean((2, 3))))))
        return self.head(F.avg_pool2d(h * gate[:, :, None, None], 2).flatten(1))


class _Connectionist(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(8, 32, batch_first=True), nn.Linear(32, 11)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0])


class _Forecast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


def _head() -> tuple[nn.Module, ...]:
    return nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10)


class _Sines(nn.Module):
    """Sitzmann et al. 2020, section 3.2."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 64)])
        self.head = nn.Linear(64, 1)
        for i, layer in enumerate(self.layers):
            bound = 1 / 2 if i == 0 else (6 / 64) ** 0.5 / 30
            nn.init.uniform_(layer.weight, -bound, bound)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


class _Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(8, 24, 2, bidirectional=True, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class _Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(16, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


class _Readings(nn.Module):
    """Batch normalisation takes the offset of the inputs out, as long as it knows it."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.first, self.norm = nn.BatchNorm1d(64), nn.Linear(64, 32), nn.BatchNorm1d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.first(self.whole(x)))))


class _TwoTowers(nn.Module):
    """Similarities of each sample's halves to those of all samples (Radford et al. 2021, figure 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = zoo.mlp(32, 16, 1, 48), zoo.mlp(32, 16, 1, 48)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return self.scale.exp() * F.normalize(self.left(left)) @ F.normalize(self.right(right)).t()


def _own_number(y: Tensor) -> Tensor:
    return torch.arange(len(y))


def _both_ways(similarities: Tensor, own: Tensor) -> Tensor:
    return (F.cross_entropy(similarities, own) + F.cross_entropy(similarities.t(), own)) / 2


class _Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(zoo.mlp(64, 10, 1, 32) for _ in range(4))
        self.gate = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Any:
        weight = self.gate(x).softmax(1)
        return (torch.stack([e(x) for e in self.experts], 1) * weight[:, :, None]).sum(1)
