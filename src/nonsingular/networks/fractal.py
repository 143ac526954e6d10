"""FractalNet (Larsson, Maire and Shakhnarovich 2017): paths of many lengths joined by their mean, with drop-path."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks.convolutional import ConvolutionalLayer, pooled
from nonsingular.networks.initialisation import initialise
from nonsingular.networks.shapes import image_channels

MOST = 8  # times the first block's channels


@checked
@dataclass(frozen=True)
class FractalSpec:
    """A FractalNet: f_1(z) = conv(z), f_{C+1}(z) = (f_C o f_C)(z) joined with conv(z), block after block.

    Attributes:
        columns: C of each block; its longest path has 2^(C-1) convolutions, its shortest one.
        width: channels of the first block; each further block doubles them up to eightfold, and the image halves in
            between.
        skips: whether there are shorter paths; without them only the longest is left.
        drop_path: probability with which a join drops each of its inputs in training (0.15 in the paper); one is kept.
            Half of the batches are global there: one column alone for all blocks.
        blocks: how many (5 in the paper, whose 32 x 32 pixels halve four times).
        dropout: share of a convolution's responses that is dropped in training in the last block; it rises evenly from
            0 in the first (to 0.4 in the paper, §4).
        init: as ``networks.initialise`` takes it.

    Raises:
        InputError: sizes or a probability out of range.

    >>> import nonsingular as ns
    >>> ns.networks.FractalSpec(columns=3, blocks=3).depth
    12
    """

    columns: int = 3
    width: int = 16
    skips: bool = True
    drop_path: float = 0.15
    blocks: int = 3
    dropout: float = 0.0
    init: str = "he"

    def __post_init__(self) -> None:
        for what in ("columns", "width", "blocks"):
            if getattr(self, what) < 1:
                raise InputError(f"network: {what} must be at least 1, got {getattr(self, what)}")
        for what in ("drop_path", "dropout"):
            if not 0 <= getattr(self, what) < 1:
                raise InputError(f"network: {what} must be at least 0 and below 1, got {getattr(self, what)}")

    @property
    def depth(self) -> int:
        """Hidden layers on the longest path."""
        return self.blocks * 2 ** (self.columns - 1)

    @property
    def layers(self) -> int:
        """Layers with weights on the longest path, readout included."""
        return self.depth + 1

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> Fractal:
        """The network, as ``networks.build`` gives it.

        Raises:
            InputError: a shape that is not channel, height, width.
        """
        network = Fractal(self, image_channels(shape), classes)
        generator = torch.Generator().manual_seed(seed)
        for part in (network.layers, network.readout):
            initialise(part, self.init, generator)
        # Shorter paths draw from a generator of their own: without them the longest starts from equal weights.
        initialise(network.shorter, self.init, torch.Generator().manual_seed(seed ^ 0x5C1B))
        return network


class Fractal(nn.Module):
    """The network that a ``FractalSpec`` describes.

    ``layers`` are the convolutions of the longest path in order; ``shorter`` those of the other columns, block by
    block, the column of one convolution first.

    Args:
        spec: description.
        channels: of an image.
        classes: number of outputs.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.FractalSpec(columns=2, width=4), (3, 8, 8), 10, seed=0)
    >>> type(network).__name__, network.eval()(torch.zeros(2, 3, 8, 8)).shape
    ('Fractal', torch.Size([2, 10]))
    """

    def __init__(self, spec: FractalSpec, channels: int, classes: int) -> None:
        super().__init__()
        self.columns, self.skips, self.drop_path = spec.columns, spec.skips, spec.drop_path
        self.dropout = [spec.dropout * block / max(spec.blocks - 1, 1) for block in range(spec.blocks)]
        longest = 2 ** (spec.columns - 1)
        layers: list[nn.Module] = []
        shorter = []
        inputs = channels
        for block in range(spec.blocks):
            width = spec.width * min(2**block, MOST)
            layers += [ConvolutionalLayer(width if place else inputs, width) for place in range(longest)]
            blocks = []
            for column in range(spec.columns - 1 if spec.skips else 0):
                sizes = [inputs if place == 0 else width for place in range(2**column)]
                blocks.append(nn.ModuleList(ConvolutionalLayer(size, width) for size in sizes))
            shorter.append(nn.ModuleList(blocks))
            inputs = width
        self.layers, self.shorter = nn.ModuleList(layers), nn.ModuleList(shorter)
        self.readout = nn.Linear(inputs, classes)

    def forward(self, x: Float[Tensor, "sample channel height width"]) -> Float[Tensor, "sample classes"]:
        """Logits."""
        alone = self._alone(x)
        longest = len(self.layers) // len(self.shorter)
        for block, others in enumerate(self.shorter):
            columns = [*others, self.layers[block * longest : (block + 1) * longest]]  # type: ignore[misc]
            x = self._block(x, columns, alone, self.dropout[block])
            if block < len(self.shorter) - 1 and min(x.shape[2:]) > 1:
                x = F.max_pool2d(x, 2)
        return self.readout(pooled(x))

    def _block(self, x: Tensor, columns: list[nn.ModuleList], alone: Tensor | None, dropout: float = 0.0) -> Tensor:
        """All columns side by side; wherever shorter ones end, what ends there is joined and goes on in all of them."""
        states = [x] * len(columns)
        longest = len(columns[-1])
        for step in range(1, longest + 1):
            ending = [c for c, column in enumerate(columns) if step % (longest // len(column)) == 0]
            for c in ending:
                response = columns[c][step // (longest // len(columns[c])) - 1](states[c])
                states[c] = F.dropout(response, dropout, self.training) if dropout else response
            if len(ending) > 1:
                joined = self._join(torch.stack([states[c] for c in ending]), None if alone is None else alone[ending])
                for c in ending:
                    states[c] = joined
        return states[-1]

    def _join(self, inputs: Float[Tensor, "path ..."], alone: Float[Tensor, " path"] | None) -> Float[Tensor, "..."]:
        """The mean of the paths that are kept; ``alone`` is 1 for the path that is used alone in this batch, if any."""
        if alone is None:
            return inputs.mean(0)
        # Weights instead of branches, so that networks of a population may draw differently in one vectorised call.
        paths = len(inputs)
        kept = (torch.rand(paths, device=inputs.device) >= self.drop_path).to(inputs.dtype)
        one = _one_of(paths, inputs)
        kept = torch.where(kept.sum() == 0, one, kept)
        weights = torch.where(alone.sum() > 0, alone.to(inputs.dtype), kept)
        return torch.tensordot(weights / weights.sum(), inputs, dims=1)

    def _alone(self, x: Tensor) -> Float[Tensor, " column"] | None:
        """1 for a column drawn at random in half of the training batches, else zeros; None where nothing is dropped."""
        if not (self.training and self.drop_path and self.skips):
            return None
        return _one_of(self.columns, x) * (torch.rand((), device=x.device) < GLOBAL)


def _one_of(count: int, like: Tensor) -> Float[Tensor, " count"]:
    """1 at a place drawn at random, 0 elsewhere."""
    place = torch.randint(count, (), device=like.device)
    return (torch.arange(count, device=like.device) == place).to(like.dtype)


GLOBAL = 0.5
