"""The networks of the bench, and what is done to them to make them ill. All end in logits; images are 1 x 8 x 8."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from nonsingular.networks import initialise

Units = (nn.Linear, nn.Conv2d)
Model = TypeVar("Model", bound=nn.Module)


def mlp(
    inputs: int, outputs: int, depth: int, width: int, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Fully connected, as ``torch.nn`` initialises it."""
    modules: list[nn.Module] = []
    for i in range(depth):
        modules += [nn.Linear(inputs if i == 0 else width, width), activation()]
    return nn.Sequential(*modules, nn.Linear(width, outputs))


def mlp_norm(depth: int, width: int) -> nn.Sequential:
    """Fully connected with batch normalisation in every layer."""
    modules: list[nn.Module] = []
    for i in range(depth):
        modules += [nn.Linear(64 if i == 0 else width, width), nn.BatchNorm1d(width), nn.ReLU()]
    return he(nn.Sequential(*modules, nn.Linear(width, 10)))


class ResidualMLP(nn.Module):
    """Residual blocks of two layers behind layer normalisation."""

    def __init__(self, inputs: int, outputs: int, blocks: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class ExplodingSum(nn.Module):
    """Residual sums of He-initialised blocks without normalisation: the signal doubles in every block."""

    def __init__(self, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, 10)
        he(self)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(x)
        for block in self.blocks:
            x = x + 2 * torch.relu(block(x))
        return self.head(x)


def lenet() -> nn.Module:
    """Two convolutions with pooling, three layers."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def vgg(convolutions: int, norm: bool = True) -> nn.Module:
    """Three stages of ``convolutions`` each with batch normalisation, and a head of two layers."""
    modules: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 64):
        for _ in range(convolutions):
            modules += [
                nn.Conv2d(channels, width, 3, padding=1),
                *([nn.BatchNorm2d(width)] if norm else []),
                nn.ReLU(True),
            ]
            channels = width
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(64, 64), nn.ReLU(True), nn.Linear(64, 10))


def plain_conv(depth: int, channels: int = 16) -> nn.Module:
    """Convolutions one after another, without normalisation or skips."""
    modules: list[nn.Module] = []
    for i in range(depth):
        modules += [nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=1), nn.ReLU(True)]
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def pooled_norm(convolutions: int) -> nn.Module:
    """Instance normalisation right before global pooling: what is pooled is zero, whatever the image."""
    modules: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(True)]
    for _ in range(convolutions):
        modules += [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(True)]
    return nn.Sequential(
        *modules, nn.Conv2d(16, 32, 3, padding=1), nn.InstanceNorm2d(32, affine=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Block(nn.Module):
    """Residual block of two convolutions (He et al. 2016), grouped for ResNeXt."""

    def __init__(self, inputs: int, width: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False, groups=groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of residual blocks."""

    def __init__(self, blocks: int, groups: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        stages: list[nn.Module] = []
        channels = 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(blocks):
                stages.append(Block(channels, width, stride if i == 0 else 1, groups))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Fixup(nn.Module):
    """Residual blocks without normalisation whose last convolution and whose readout start at zero."""

    def __init__(self, blocks: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3 * blocks))
        self.last = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3 * blocks))
        self.head = nn.Linear(width, 10)
        he(self)
        for module in (*self.last, self.head):
            nn.init.zeros_(module.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = torch.relu(self.stem(x))
        for first, last in zip(self.first, self.last, strict=True):
            x = torch.relu(x + last(torch.relu(first(x))))
        return self.head(x.mean((2, 3)))


class DenseNet(nn.Module):
    """Six layers, each of which sees all before it."""

    def __init__(self, growth: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2 * growth, 3, padding=1)
        self.layers_ = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d((2 + i) * growth),
                nn.ReLU(),
                nn.Conv2d((2 + i) * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(6)
        )
        self.head = nn.Linear(8 * growth, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(x)
        for layer in self.layers_:
            x = torch.cat([x, layer(x)], dim=1)
        return self.head(torch.relu(x).mean((2, 3)))


class MobileNet(nn.Module):
    """Inverted residual blocks with depthwise convolutions."""

    def __init__(self, width: int = 16, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU6())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU6(),
                nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width, bias=False), nn.BatchNorm2d(4 * width),
                nn.ReLU6(), nn.Conv2d(4 * width, width, 1, bias=False), nn.BatchNorm2d(width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


class TransformerBlock(nn.Module):
    """Attention and two layers behind layer normalisation; with ``skip=False`` nothing leads around them."""

    def __init__(self, width: int, heads: int, skip: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.skip = heads, skip

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:  # noqa: D102
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        a = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        y = self.out(a.transpose(1, 2).flatten(2))
        x = x + y if self.skip else y
        y = self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return x + y if self.skip else y


class ViT(nn.Module):
    """Patches of two by two pixels, learned positions."""

    def __init__(self, depth: int, width: int = 48, skip: bool = True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, 4, skip) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.patch(x).flatten(2).mT + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class NoSkip(nn.Module):
    """Attention and layers one after another, without skips or normalisation."""

    def __init__(self, depth: int, width: int = 48) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(depth))
        self.layers_ = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.patch(x).flatten(2).mT
        for attention, layer in zip(self.attention, self.layers_, strict=True):
            x = torch.relu(layer(attention(x, x, x, need_weights=False)[0]))
        return self.head(x.mean(1))


class GPT(nn.Module):
    """Decoder over 16 tokens with the initialisation of GPT-2 and tied embeddings."""

    def __init__(self, depth: int, width: int = 48) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(16, width), nn.Embedding(32, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, 4) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 16, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.token(x) + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True)
        return self.head(self.norm(x))


class Encoder(nn.Module):
    """``torch.nn.TransformerEncoder`` over the rows of an image."""

    def __init__(self, depth: int, norm_first: bool, width: int = 32) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, norm_first=norm_first)
        self.embed = nn.Linear(8, width)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.encoder(self.embed(x)).mean(1))


def lonely_norm(depth: int, width: int = 64) -> nn.Module:
    """Group normalisation with one value a group: what it returns is its bias, whatever comes in."""
    modules: list[nn.Module] = []
    for i in range(depth):
        modules += [nn.Linear(64 if i == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(width, width), nn.GroupNorm(width, width), nn.ReLU(), nn.Linear(width, 10))


class Recurrent(nn.Module):
    """A recurrent layer over the rows of an image."""

    def __init__(self, kind: Callable[..., nn.Module] = nn.LSTM, width: int = 48) -> None:
        super().__init__()
        self.recurrent = kind(8, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.recurrent(x)[0][:, -1])


class Mixer(nn.Module):
    """Layers across patches and across channels in turn."""

    def __init__(self, depth: int, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.tokens = nn.ModuleList(self._mlp(16, 32) for _ in range(depth))
        self.channels = nn.ModuleList(self._mlp(width, 64) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.head = nn.Linear(width, 10)

    @staticmethod
    def _mlp(width: int, hidden: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.patch(x).flatten(2).mT
        for i, (tokens, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            x = x + tokens(self.norms[2 * i](x).mT).mT
            x = x + channels(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x).mean(1))


def autoencoder() -> nn.Module:
    """64 inputs through 16 units and back."""
    return nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 64)
    )


class Detached(nn.Module):
    """Two branches, one of which is cut off from the gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Linear(64, width), nn.ReLU()) for _ in range(2))
        self.head = nn.Linear(2 * width, 10)
        he(self)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(torch.cat([self.left(x), self.right(x).detach()], dim=1))


# --- starts -------------------------------------------------------------------------------------------------


def he(model: Model) -> Model:
    """He-normal weights, biases zero."""
    initialise(model, "he")
    return model


def glorot(model: Model) -> Model:
    """Glorot-normal weights, biases zero."""
    initialise(model, "glorot")
    return model


# --- illnesses, planted in place; the readout is left alone ---------------------------------------------------


def _hidden(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, Units)][:-1]


@torch.no_grad()
def scaled(model: nn.Module, factor: float) -> nn.Module:
    """All hidden weights times a factor."""
    for layer in _hidden(model):
        layer.weight.mul_(factor)
    return model


@torch.no_grad()
def dead(model: nn.Module, share: float) -> nn.Module:
    """Strongly negative biases (of the normalisation, where one follows) for a share of every hidden layer's units."""
    modules = [m for m in model.modules() if isinstance(m, (*Units, nn.BatchNorm2d))][:-1]
    for i, layer in enumerate(modules):
        normalised = (
            isinstance(layer, nn.Conv2d) and i + 1 < len(modules) and isinstance(modules[i + 1], nn.BatchNorm2d)
        )
        if layer.bias is not None and not normalised:
            layer.bias[torch.randperm(len(layer.bias))[: round(share * len(layer.bias))]] = -100.0
    return model


@torch.no_grad()
def duplicated(model: nn.Module, share: float) -> nn.Module:
    """A share of the units get the weights and bias of others."""
    for layer in _hidden(model):
        units = len(layer.weight)
        copies = round(share * units)
        if layer.bias is not None:
            layer.bias[units - copies :] = layer.bias[:copies]
        layer.weight[units - copies :] = layer.weight[:copies]
    return model


@torch.no_grad()
def constant(model: nn.Module) -> nn.Module:
    """Every hidden weight 1 / inputs: all units of a layer are the same."""
    for layer in _hidden(model):
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


@torch.no_grad()
def replicated(model: nn.Module, features: int) -> nn.Module:
    """Only so many different units in every hidden layer."""
    for layer in _hidden(model):
        layer.weight.copy_(layer.weight[torch.arange(len(layer.weight)) % features])
    return model


@torch.no_grad()
def zeroed(model: nn.Module, share: float) -> nn.Module:
    """A share of every hidden layer's units lose all incoming weights."""
    for layer in _hidden(model):
        units = torch.randperm(len(layer.weight))[: round(share * len(layer.weight))]
        layer.weight[units] = 0
        if layer.bias is not None:
            layer.bias[units] = 0
    return model


@torch.no_grad()
def zeroed_block(model: nn.Module) -> nn.Module:
    """The middle hidden layers are zero."""
    for layer in _hidden(model)[1:3]:
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()
    return model


@torch.no_grad()
def low_rank(model: nn.Module, rank: int) -> nn.Module:
    """Hidden weights of that rank and the size they had."""
    for layer in _hidden(model):
        U, S, V = torch.linalg.svd(layer.weight, full_matrices=False)
        low = U[:, :rank] * S[:rank] @ V[:rank]
        layer.weight.copy_(low * layer.weight.norm() / low.norm())
    return model


def bottleneck(width: int) -> nn.Module:
    """One unit through which everything passes."""
    return he(
        nn.Sequential(
            nn.Linear(64, width),
            nn.ReLU(),
            nn.Linear(width, 1),
            nn.Linear(1, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 10),
        )
    )


def frozen(model: nn.Module) -> nn.Module:
    """The second hidden layer does not train."""
    for p in _hidden(model)[1].parameters():
        p.requires_grad_(False)
    return model


class Factors(nn.Module):
    """Products of two embeddings, one number a pair ``[sample]``, as of users and what they rate."""

    def __init__(self, rank: int, deviation: float) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(20, rank), nn.Embedding(30, rank)
        self.mean = nn.Parameter(torch.tensor(3.0))
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=deviation)

    def forward(self, pair: Tensor) -> Tensor:
        """Of pairs ``[sample, 2]``."""
        user, item = pair.unbind(1)
        return self.mean + (self.users(user) * self.items(item)).sum(-1)
