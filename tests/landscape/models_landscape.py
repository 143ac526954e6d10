"""Small networks and data of the landscape tests, and the slow way that the fast ones are held against."""

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from nonsingular import landscape

POINTS = np.array([[0.0, 0.0], [1.0, -0.5], [-0.3, 0.8], [0.2, 0.1], [-1, -1]])


def relu_net(sizes=(6, 10, 8, 3), bias=True, seed=0):
    torch.manual_seed(seed)
    layers = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pairs(inputs=6, classes=3, samples=40, seed=1, image=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *(image or (inputs,)), generator=generator)
    return [(x, torch.randint(classes, (samples,), generator=generator))]


class SkipNet(nn.Module):
    """A convolutional network with batch normalisation, one of them where nothing can take it in, and a skip."""

    def __init__(self, classes=3, seed=0):
        torch.manual_seed(seed)
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.last = nn.BatchNorm2d(4, affine=False)
        self.down = nn.Conv2d(4, 6, 1, stride=2)
        self.head = nn.Linear(6, classes)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.normal_()
                m.running_var.uniform_(0.5, 2)
                if m.affine:
                    nn.init.uniform_(m.weight, 0.5, 2)
                    nn.init.normal_(m.bias)
        self.eval()

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(self.last(self.bn2(self.conv(x)) + x))
        return self.head(self.down(x).mean((2, 3)))


def image_pairs(samples=24, seed=1):
    return pairs(samples=samples, seed=seed, image=(2, 6, 6))


def obvious(model, loss_fn, batches, directions, points):
    """Set the weights, pass all the data through, point after point."""
    found = []
    for point in points:
        moved = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            for c, d in zip(point, directions, strict=True):
                for name, tensor in d.items():
                    moved.state_dict()[name] += c * tensor.double()
            losses = [(loss_fn(moved(x.double()), t).item(), len(x)) for x, t in batches]
        found.append(sum(v * n for v, n in losses) / sum(n for _, n in losses))
    return np.array(found)


def directions(model, **options):
    return [landscape.gaussian(model, seed, **options) for seed in (0, 1)]
