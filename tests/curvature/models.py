"""Small models of every kind that the operators must handle, and the slow obvious Hessian to hold them against."""

import functools

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder transposed."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(5, 3)
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x):
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T, self.bias)


class Shared(nn.Module):
    """One layer under two names, used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


class Residual(nn.Module):
    def __init__(self, activation, width=4, depth=3):
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.stem(x))
        for layer in self.layers:
            x = x + self.activation(layer(x))
        return self.head(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True),
        nn.Conv2d(3, 2, 3, stride=2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def labelled(*shape, classes=3):
    return torch.randn(*shape), torch.randint(classes, (shape[0],))


def cases():
    """name -> (model, loss, batches), float64, away from their initial symmetric points."""
    regress = [(torch.randn(7, 5), torch.randn(7, 5))]
    built = {
        "relu mlp": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), F.cross_entropy, [labelled(9, 6)]),
        "residual": (Residual(torch.relu), F.cross_entropy, [labelled(9, 6)]),
        "residual tanh": (Residual(torch.tanh), F.cross_entropy, [labelled(9, 6)]),
        "convolutions, batch norm in eval mode": (convolutional().eval(), F.cross_entropy, [labelled(5, 2, 6, 6)]),
        "convolutions, batch norm in train mode": (convolutional().train(), F.cross_entropy, [labelled(5, 2, 6, 6)]),
        "activations in place": (
            nn.Sequential(
                nn.Conv2d(2, 3, 3), nn.ReLU(True), nn.Conv2d(3, 2, 3), nn.ReLU(True), nn.Flatten(), nn.Linear(8, 3)
            ),
            F.cross_entropy,
            [labelled(5, 2, 6, 6)],
        ),
        "one channel": (
            nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)),
            F.cross_entropy,
            [labelled(5, 1, 6, 6)],
        ),
        "attention": (Attention(), F.cross_entropy, [labelled(4, 3, 4)]),
        "attention in eval mode": (Attention().eval(), F.cross_entropy, [labelled(4, 3, 4)]),
        "tied weights": (Tied(), F.mse_loss, regress),
        "shared layer": (Shared(), F.mse_loss, [(torch.randn(7, 4), torch.randn(7, 4))]),
        "several batches": (Residual(torch.tanh), F.cross_entropy, [labelled(9, 6), labelled(4, 6), labelled(1, 6)]),
    }
    for model, _, batches in built.values():
        model.double()
        for _, m in model.named_modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.normal_()
                m.running_var.uniform_(0.5, 2)
        for i, (x, y) in enumerate(batches):
            batches[i] = (x.double(), y.double() if y.is_floating_point() else y)
    return built


NAMES = tuple(cases())


def case(name):
    torch.manual_seed(3)
    return cases()[name]


def dense_reference(model, loss_fn, batches, names=None, reduction="mean") -> Tensor:
    """``torch.func.hessian``, batch by batch.

    Layer normalisation and batch normalisation in train mode are exceptions: there ``torch.func.hessian`` (torch 2.13)
    is wrong, as finite differences show (see the tests), and ``torch.autograd.functional.hessian`` takes its place.
    """
    hessian = torch.func.hessian
    if any(isinstance(m, nn.LayerNorm) or (isinstance(m, nn.BatchNorm2d) and m.training) for m in model.modules()):
        hessian = functools.partial(functools.partial, torch.autograd.functional.hessian)

    everything = {k: p.detach() for k, p in model.named_parameters()}
    names = list(everything) if names is None else names
    samples = sum(len(x) for x, _ in batches)
    total = 0.0
    buffers = {k: b.clone() for k, b in model.named_buffers()}
    for m in model.modules():  # what frozen statistics mean: batch statistics, no updates
        if isinstance(m, nn.BatchNorm2d) and m.training:
            m.track_running_stats = False
    for x, y in batches:
        sizes = [everything[k].numel() for k in names]

        def loss(flat, x=x, y=y, sizes=sizes):
            parts = [p.reshape(everything[k].shape) for k, p in zip(names, flat.split(sizes), strict=True)]
            return loss_fn(functional_call(model, everything | buffers | dict(zip(names, parts, strict=True)), (x,)), y)

        flat = torch.cat([everything[k].ravel() for k in names])
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            h = hessian(loss)(flat)
        total = total + h * (len(x) / samples if reduction == "mean" else 1.0)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.track_running_stats = True
    return total
