"""Networks of one structure, stacked on a leading ``run`` axis and computed in one vectorised call."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.measures import capture, layer_names
from nonsingular.training.alike import one_code, structure


def replaced(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a module that holds ``tensors`` (by name) for its own; tied parameters stay tied."""
    own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    memo = {id(t): tensors[name] for name, t in own.items()}
    return copy.deepcopy(network, memo)


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def convolves(network: nn.Module) -> bool:
    """Whether a network has convolutions."""
    return any(isinstance(m, CONVOLUTIONS) for m in network.modules())


def _abstract(network: nn.Module) -> nn.Module:
    """A copy without numbers (device ``meta``)."""
    shapes: dict[str, Tensor] = {
        name: nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad)
        for name, p in network.named_parameters()
    }
    return replaced(network, shapes | {name: b.to("meta") for name, b in network.named_buffers()})


@checked
class Population:
    """R networks of equal structure whose parameters are stacked.

    They may differ in every number: weights, and fixed skip matrices (which are buffers). Those that differ in more,
    such as a share of dropout, are computed one after another, each by its own code.

    Args:
        networks: the members; they are copied.
        device: where the stacked tensors live.
        vectorised: compute all members in one vectorised call (True), or one after another (False). By default
            networks with convolutions go one after another on a CPU, where a grouped convolution is slower than its
            groups once there is work to do. A ``Trainer``, which knows the batch, chooses by that work.

    Attributes:
        parameters: name -> stacked parameter, a leaf that an optimiser can take. Weights of two-dimensional
            convolutions lie channels-last in memory.
        buffers: name -> stacked buffer.
        skeletons: the members without numbers, one object where one's code stands for all.
        convolves: whether the networks have convolutions.
        layers: names of the hidden layers.

    Raises:
        InputError: no networks, or networks of different structure.

    >>> import torch
    >>> import nonsingular as ns
    >>> networks = [ns.networks.build(ns.networks.named("plain", depth=3, width=8), 4, 2, seed) for seed in range(5)]
    >>> population = ns.Population(networks)
    >>> population(torch.zeros(5, 7, 4)).shape  # each run its own seven samples: run, sample, class
    torch.Size([5, 7, 2])
    """

    def __init__(
        self, networks: Sequence[nn.Module], device: torch.device | str = "cpu", vectorised: bool | None = None
    ) -> None:
        place = checks.device(device)
        if len(networks) == 0:
            raise InputError("a population needs at least one network")
        kinds = {structure(n) for n in networks}
        if len(kinds) > 1:
            raise InputError(f"a population needs networks of equal structure, got {len(kinds)} kinds")
        self.parameters: dict[str, Tensor] = {
            name: nn.Parameter(_channels_last(_stacked(every).to(place)), requires_grad=every[0].requires_grad)
            for name, every in _by_name([dict(n.named_parameters()) for n in networks])
        }
        self.buffers: dict[str, Tensor] = {
            name: _stacked(every).to(place) for name, every in _by_name([dict(n.named_buffers()) for n in networks])
        }
        one = one_code(networks)
        self.skeletons = [_abstract(networks[0])] * len(networks) if one else [_abstract(n) for n in networks]
        self.layers = layer_names(self.skeleton)
        self.convolves = convolves(self.skeleton)
        on_cpu = place.type != "cuda"
        self.vectorised = one and (not (self.convolves and on_cpu) if vectorised is None else vectorised)

    @property
    def skeleton(self) -> nn.Module:
        """The first member without numbers."""
        return self.skeletons[0]

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
        if not self.vectorised:
            each = zip(self.skeletons, self.members(), [inputs] * len(self) if shared else inputs, strict=True)
            return torch.stack([functional_call(skeleton, member, (x,)) for skeleton, member, x in each])

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.skeleton, (parameters, buffers), (x,))

        return vmap(one, in_dims=(0, 0, None if shared else 0), randomness="different")(
            self.parameters, self.buffers, inputs
        )

    def members(self) -> Iterator[dict[str, Tensor]]:
        """Member by member its parameters and buffers by name: views of the stacked tensors."""
        stacked = {**self.parameters, **self.buffers}
        unbound = {name: tensor.unbind() for name, tensor in stacked.items()}
        for run in range(len(self)):
            yield {name: tensors[run] for name, tensors in unbound.items()}

    def record(
        self,
        inputs: Float[Tensor, "sample ..."],
        offsets: dict[str, Tensor] | None = None,
        training: bool = False,
        layers: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, "run sample out"], dict[str, Float[Tensor, "run sample ..."]]]:
        """Outputs and hidden activations on one batch shared by all runs.

        Args:
            inputs: the batch.
            offsets: added to the activations, layer by layer; the gradient by them is the gradient by the activations.
            training: normalise with the statistics of this batch, as training does, instead of the running ones.
                The networks' own buffers stay as they are.
            layers: names of other modules to record instead of the hidden layers.
        """

        def one(
            skeleton: nn.Module,
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            offset: dict[str, Tensor] | None,
        ) -> tuple[Tensor, dict[str, Tensor]]:
            with capture(skeleton, self.layers if layers is None else layers, offset) as seen:
                output = functional_call(skeleton, (parameters, buffers), (inputs,))
            return output, seen.activations

        self.train(training)
        buffers = {k: v.clone() for k, v in self.buffers.items()} if training else self.buffers
        if not self.vectorised:
            every = [
                one(skeleton, _run(self.parameters, r), _run(buffers, r), None if offsets is None else _run(offsets, r))
                for r, skeleton in enumerate(self.skeletons)
            ]
            outputs = torch.stack([output for output, _ in every])
            return outputs, {name: torch.stack([seen[name] for _, seen in every]) for name in every[0][1]}
        of_all = partial(one, self.skeleton)
        return vmap(of_all, in_dims=(0, 0, None if offsets is None else 0), randomness="different")(
            self.parameters, buffers, offsets
        )

    def train(self, mode: bool = True) -> None:
        """Put the networks in training mode, or with False in evaluation mode."""
        for skeleton in self.skeletons:
            skeleton.train(mode)

    def network(self, run: int) -> nn.Module:
        """A copy of one member as an ordinary module on the CPU."""
        numbers: dict[str, Tensor] = {
            name: nn.Parameter(_copy(p[run]), requires_grad=p.requires_grad) for name, p in self.parameters.items()
        }
        return replaced(self.skeletons[run], numbers | {name: _copy(b[run]) for name, b in self.buffers.items()})

    def state(self) -> dict[str, dict[str, Tensor]]:
        """All numbers of the population, for a checkpoint."""
        return {"parameters": {k: v.detach() for k, v in self.parameters.items()}, "buffers": dict(self.buffers)}

    @torch.no_grad()
    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take over the numbers of a checkpoint."""
        for mine, theirs in ((self.parameters, state["parameters"]), (self.buffers, state["buffers"])):
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])


def _channels_last(stacked: Tensor) -> Tensor:
    """Weights of two-dimensional convolutions with the channels innermost in memory, the layout fast kernels want."""
    if stacked.ndim != 5:
        return stacked
    return stacked.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def _by_name(members: Sequence[Mapping[str, Tensor]]) -> Iterator[tuple[str, list[Tensor]]]:
    return ((name, [member[name] for member in members]) for name in members[0])


def _stacked(members: Sequence[Tensor]) -> Tensor:
    return torch.stack([member.detach() for member in members])


def _run(stacked: Mapping[str, Tensor], run: int) -> dict[str, Tensor]:
    return {name: tensor[run] for name, tensor in stacked.items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
