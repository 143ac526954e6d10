"""One look at a population in training, which all instruments share."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from nonsingular import measures
from nonsingular.errors import InputError
from nonsingular.networks.fully_connected import Layer
from nonsingular.training import Trainer

PROBE_SAMPLES = 1000
"""First training samples on which units, signals and Hessians are measured (representations by batches see 256)."""


class Snapshot:
    """A population at one moment of its training, seen through a fixed batch of training samples.

    Activations and gradients are those that training sees: batch normalisation uses the batch's own statistics.

    Args:
        trainer: the population in training; it is left as it was.
        samples: size of the batch: the first samples of the training set, in the order of its files.
    """

    def __init__(self, trainer: Trainer, samples: int = PROBE_SAMPLES) -> None:
        self.trainer = trainer
        self.population = trainer.population
        self.inputs: Float[Tensor, "sample input"] = trainer.task.train_inputs[:samples]
        self.labels: Int64[Tensor, " sample"] = trainer.task.train_labels[:samples]

    @cached_property
    def weights(self) -> list[Float[Tensor, "run unit input"]]:
        """Incoming weights, layer by layer."""
        names = measures.weight_names(self.population.skeleton, self.population.layers)
        return [measures.incoming(self.population.parameters[p].detach(), stacked=True) for p in names.values()]

    @cached_property
    def _recorded(self) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            return self.population.record(self.inputs, training=True)

    @property
    def outputs(self) -> Float[Tensor, "run sample class"]:
        """Logits."""
        return self._recorded[0]

    @cached_property
    def activations(self) -> list[Float[Tensor, "run sample unit"]]:
        """Activations, layer by layer."""
        seen = self._recorded[1]
        return [measures.responses(seen[name], stacked=True) for name in self.population.layers]

    @cached_property
    def rectified(self) -> list[Float[Tensor, "run sample unit"]]:
        """What a fully-connected layer of rectified linear units adds to its skip, ``f(W x + b)``, layer by layer.

        Raises:
            InputError: layers of another kind.
        """
        modules = dict(self.population.skeleton.named_modules())
        layers = [modules[name] for name in self.population.layers]
        if not all(isinstance(layer, Layer) and layer.activation == "relu" for layer in layers):
            raise InputError("silent rectifiers are those of fully-connected layers with activation relu")
        ends = [f"{n}.norm" if f"{n}.norm" in modules else f"{n}.linear" for n in self.population.layers]
        with torch.no_grad():
            _, seen = self.population.record(self.inputs, training=True, layers=ends)
        return [torch.relu(seen[name]) for name in ends]

    @cached_property
    def gradients(self) -> list[Float[Tensor, "run sample unit"]]:
        """Gradient of each sample's loss with respect to the activations, layer by layer."""
        offsets = {name: torch.zeros_like(self._recorded[1][name]).requires_grad_() for name in self.population.layers}
        # Without batch normalisation samples do not interact, and the gradient of the sum is each sample's own.
        gradients = torch.autograd.grad(self._summed_loss(offsets), list(offsets.values()))
        return [g.flatten(2) for g in gradients]  # of a convolution: all channels at all places

    @cached_property
    def weight_gradients(self) -> list[Float[Tensor, "run unit input"]]:
        """Gradient of the samples' mean loss with respect to the incoming weights, layer by layer."""
        names = measures.weight_names(self.population.skeleton, self.population.layers)
        weights = [self.population.parameters[name] for name in names.values()]
        gradients = torch.autograd.grad(self._summed_loss() / len(self.labels), weights)
        return [measures.incoming(g, stacked=True) for g in gradients]

    @cached_property
    def skips(self) -> list[Float[Tensor, "run unit unit"] | None]:
        """Fixed skip matrices into the layers; None where there is none, or the identity."""
        return [self.population.buffers.get(f"{name}.skip") for name in self.population.layers]

    def _summed_loss(self, offsets: dict[str, Tensor] | None = None) -> Tensor:
        outputs, _ = self.population.record(self.inputs, offsets, training=True)
        return F.cross_entropy(outputs.flatten(0, 1), self.labels.repeat(len(outputs)), reduction="sum")
