"""A program with a mistake and its healthy twin, and the networks and data that both are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.patients import Batches, Case, flat, images, regression, sequences

Loss = Callable[[Any, Any], Tensor]
Body = Callable[[int], nn.Module]
Data = Callable[..., Batches]


class Cells(nn.Module):
    """A recurrent network over eight rows, read at one of them; ``batch_first=False`` takes samples for time."""

    def __init__(
        self, outputs: int, kind: Callable[..., nn.Module] = nn.LSTM, batch_first: bool = True, step: int = -1
    ) -> None:
        super().__init__()
        self.step = step
        self.cells = kind(8, 32, batch_first=batch_first)
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.cells(x)[0][:, self.step])


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


WIDE: dict[str, tuple[Body, Data]] = {
    "regression": (lambda outputs: zoo.mlp(8, outputs, 2, 48), regression),
    "tanh regression": (lambda outputs: zoo.mlp(8, outputs, 2, 48, nn.Tanh), regression),
}
"""The same, too large for their Hessian to be counted."""


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


# --- data -----------------------------------------------------------------------------------------------------


def cut(data: Data, size: int) -> Data:
    """The same in batches of so many samples."""

    def pieces(seed: int, count: int = 256) -> Batches:
        [(x, y)] = data(seed, min(count, 256) if size > 1 else 48)
        return list(zip(x.split(size), y.split(size), strict=True))

    return pieces


def by_class(data: Data) -> Data:
    """The same in batches of one class each."""

    def sorted_by_class(seed: int, count: int = 256) -> Batches:
        [(x, y)] = data(seed, count)
        return [(x[y == label], y[y == label]) for label in range(10)]

    return sorted_by_class
