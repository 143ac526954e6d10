"""Networks of one structure, stacked on a leading ``run`` axis and computed in one vectorised call."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from nonsingular.errors import InputError
from nonsingular.measures import capture, layer_names


def structure(network: nn.Module) -> tuple[object, ...]:
    """What two networks must share to be stacked: their modules, and the shapes of parameters and buffers."""
    return (repr(network), *((name, tuple(t.shape)) for name, t in network.state_dict().items()))


class Population:
    """R networks of equal structure whose parameters are stacked.

    They may differ in every number: weights, and fixed skip matrices (which are buffers).

    Args:
        networks: the members; they are copied.
        device: where the stacked tensors live.

    Attributes:
        parameters: name -> stacked parameter, a leaf that an optimiser can take.
        buffers: name -> stacked buffer.

    Raises:
        InputError: no networks, or networks of different structure.
    """

    def __init__(self, networks: Sequence[nn.Module], device: torch.device | str = "cpu") -> None:
        if not networks:
            raise InputError("a population needs at least one network")
        kinds = {structure(n) for n in networks}
        if len(kinds) > 1:
            raise InputError(f"a population needs networks of equal structure, got {len(kinds)} kinds")
        parameters, buffers = stack_module_state(list(networks))
        self.parameters: dict[str, Tensor] = {
            k: nn.Parameter(v.detach().to(device), requires_grad=v.requires_grad) for k, v in parameters.items()
        }
        self.buffers: dict[str, Tensor] = {k: v.detach().to(device) for k, v in buffers.items()}
        self.skeleton = copy.deepcopy(networks[0]).to("meta")
        self.layers = layer_names(self.skeleton)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __call__(
        self, inputs: Float[Tensor, "#run sample ..."], shared: bool = False
    ) -> Float[Tensor, "run sample out"]:
        """The networks' outputs.

        Args:
            inputs: a batch of its own for each run; with ``shared`` one batch for all, without the run axis.
            shared: whether all runs see the same batch.
        """

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.skeleton, (parameters, buffers), (x,))

        return vmap(one, in_dims=(0, 0, None if shared else 0), randomness="different")(
            self.parameters, self.buffers, inputs
        )

    def record(
        self, inputs: Float[Tensor, "sample ..."], offsets: dict[str, Tensor] | None = None, training: bool = False
    ) -> tuple[Float[Tensor, "run sample out"], dict[str, Float[Tensor, "run sample ..."]]]:
        """Outputs and hidden activations on one batch shared by all runs.

        Args:
            inputs: the batch.
            offsets: added to the activations, layer by layer; the gradient by them is the gradient by the activations.
            training: normalise with the statistics of this batch, as training does, instead of the running ones.
                The networks' own buffers stay as they are.
        """

        def one(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], offset: dict[str, Tensor] | None
        ) -> tuple[Tensor, dict[str, Tensor]]:
            with capture(self.skeleton, self.layers, offset) as seen:
                output = functional_call(self.skeleton, (parameters, buffers), (inputs,))
            return output, seen.activations

        self.train(training)
        buffers = {k: v.clone() for k, v in self.buffers.items()} if training else self.buffers
        return vmap(one, in_dims=(0, 0, None if offsets is None else 0), randomness="different")(
            self.parameters, buffers, offsets
        )

    def train(self, mode: bool = True) -> None:
        """Put the networks in training mode, or with False in evaluation mode."""
        self.skeleton.train(mode)

    def network(self, run: int) -> nn.Module:
        """A copy of one member as an ordinary module on the CPU."""
        network = copy.deepcopy(self.skeleton).to_empty(device="cpu")
        state = {**self.parameters, **self.buffers}
        network.load_state_dict({k: state[k][run].detach().cpu() for k in network.state_dict()})
        return network

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All numbers of the population, for a checkpoint."""
        return {"parameters": {k: v.detach() for k, v in self.parameters.items()}, "buffers": dict(self.buffers)}

    @torch.no_grad()
    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take over the numbers of a checkpoint."""
        for mine, theirs in ((self.parameters, state["parameters"]), (self.buffers, state["buffers"])):
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
