"""Treatments: each takes a model and returns a changed copy, and says what it changed.

The model that is given is never touched. What a treatment does not name stays as it is, to the bit; wrapped layers keep
their parameters under ``.module`` of their old name. All are called as ``treatment(model, inputs)``: inputs are one
batch of what the model takes, a tensor, or a tuple or dictionary, and may be left out where a treatment does not look
at them. All else is given by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.diagnosis.layers import is_normalisation, layers
from nonsingular.diagnosis.surgery import Normalised, Rescaled, Skip, blocks, copied, replace_module
from nonsingular.errors import InputError
from nonsingular.measures import incoming, incoming_norm
from nonsingular.networks import initialise, orthogonal
from nonsingular.words import counted

PEOPLE = {"he": "He", "glorot": "Glorot"}
INITIALISED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Treated:
    """A treated copy.

    Attributes:
        model: the copy.
        what: what was done, in a sentence.
        layers: names of the layers that changed, as in the model that was given.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> treated = ns.treatments.zero_readout(model)
    >>> treated.layers
    ('2',)
    """

    model: nn.Module
    what: str
    layers: tuple[str, ...]


@checked
def add_skips(
    model: nn.Module, inputs: Any, *, kind: str = "identity", scale: float | None = None, seed: int = 0
) -> Treated:
    r"""Lead connections around all blocks whose shapes allow it: :math:`y = S x + \alpha F(x)` (orhan2018 §2.3, §2.7).

    A block is the largest module of at most six layers whose output has the shape of its input, as long as no
    connection leads around it already.

    Args:
        model: any model.
        inputs: one batch, to see shapes and connections.
        kind: ``identity``, or ``orthogonal``: a fixed random orthogonal matrix, which for fully-connected layers breaks
            the symmetries better (figure 7).
        scale: alpha; by default one over the root of the number of blocks, so that the sum stays of one size at any
            depth. The paper's own networks have 1.
        seed: of the matrices.

    Raises:
        InputError: unknown kind, or no block whose shapes allow a skip.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(4)))
    >>> treated = ns.treatments.add_skips(model, torch.randn(10, 8))
    >>> len(treated.layers) > 0, treated.model is model
    (True, False)
    """
    if kind not in ("identity", "orthogonal"):
        raise InputError(f"unknown kind of skip {kind!r}; there are identity, orthogonal")
    found = [b for b in blocks(model, inputs) if not b.bypassed]
    if not found:
        raise InputError("no block of the model takes and returns tensors of one shape: skips need a projection here")
    alpha = len(found) ** -0.5 if scale is None else scale
    treated, generator = copied(model), torch.Generator().manual_seed(seed)
    for block in found:
        matrix = orthogonal(block.units, generator) if kind == "orthogonal" else None
        replace_module(treated, block.name, _skipping(alpha, matrix, block.axis))
    names = tuple(b.name for b in found)
    return Treated(treated, f"{kind} skips around {_names(names)}, whose outputs are scaled by {alpha:.3g}", names)


@checked
def bias_targets(
    model: nn.Module, inputs: Any = None, *, mean: float = 0.5, deviation: float = 1.0, seed: int = 0
) -> Treated:
    """Draw the hidden layers' biases from N(mean, deviation): units of different thresholds do not overlap.

    The paper (orhan2018 §2.6; it found 0.51 and 0.96 on CIFAR-10) holds them there with a penalty on the squared
    distance; add ``bias_penalty`` to your loss for that. Biases are drawn in units of each layer's weights' norm.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.bias_targets(model).layers
    ('0',)
    """
    treated, generator = _copied(model, inputs), torch.Generator().manual_seed(seed)
    names = []
    with torch.no_grad():
        for name, module in _hidden(treated).items():
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor):
                weight = _weight(module)
                scale = 1.0 if weight is None else float(incoming_norm(incoming(weight)).mean())
                drawn = mean + deviation * torch.randn(bias.shape, generator=generator)
                bias.copy_(scale * drawn.to(bias))
                names.append(name)
    if not names:
        raise InputError("no hidden layer has a bias to set")
    return Treated(treated, f"biases of {_names(names)} drawn from N({mean:g}, {deviation:g}) times the weights' norm",
                   tuple(names))  # fmt: skip


@checked
def bias_penalty(treated: nn.Module, reference: nn.Module, strength: float = 0.03) -> Tensor:
    """Squared distance of a network's biases from a reference's (as ``bias_targets`` drew them), times strength.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> treated = ns.treatments.bias_targets(model).model
    >>> ns.treatments.bias_penalty(treated, treated).item()
    0.0
    """
    targets = dict(reference.named_parameters())
    biases = {name: p for name, p in treated.named_parameters() if name.endswith("bias")}
    if not biases or any(name not in targets or targets[name].shape != p.shape for name, p in biases.items()):
        raise InputError("treated and reference must have the same biases, and some: give two copies of one network")
    terms = [(p - targets[name].detach()).square().sum() for name, p in biases.items()]
    return strength * torch.stack(terms).sum()


@checked
def reinitialise(
    model: nn.Module, inputs: Any = None, *, how: str = "he", seed: int = 0, only: Iterable[str] = ()
) -> Treated:
    """Draw the hidden layers' weights anew and set their biases to zero.

    Args:
        model: any model.
        inputs: not looked at.
        how: as ``networks.initialise`` takes it: ``he``, ``glorot``, and what else it knows.
        seed: of the draw.
        only: layers to initialise; by default all linear and convolutional ones but the readout. Weights shared with
            embeddings stay.

    Raises:
        InputError: unknown name, or a model without such layers.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.reinitialise(model, how="he").model[0].bias.abs().max().item()
    0.0
    """
    treated, generator = _copied(model, inputs), torch.Generator().manual_seed(seed)
    only = tuple(only)
    tables = {id(m.weight) for m in treated.modules() if isinstance(m, nn.Embedding)}
    names = [
        name for name, m in (layers(treated) if only else _hidden(treated)).items()
        if isinstance(m, INITIALISED) and id(m.weight) not in tables and (not only or name in only)
    ]  # fmt: skip
    if not names:
        raise InputError("the model has no hidden linear or convolutional layers to initialise")
    for name in names:
        initialise(treated.get_submodule(name), how, generator)
    return Treated(treated, f"{PEOPLE.get(how, how)} initialisation of {_names(names)}, biases zero", tuple(names))


@checked
def revive_units(model: nn.Module, inputs: Any = None, *, seed: int = 0) -> Treated:
    """Draw incoming weights (He) for the units that have none, and set their biases to zero; the others stay.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> _ = model[0].weight.data[1].zero_()
    >>> bool((ns.treatments.revive_units(model).model[0].weight[1] != 0).all())
    True
    """
    treated, generator = _copied(model, inputs), torch.Generator().manual_seed(seed)
    names, count = [], 0
    with torch.no_grad():
        for name, module in _hidden(treated).items():
            weight, bias = _weight(module), getattr(module, "bias", None)
            if weight is None:
                continue
            rows = incoming(weight)
            norms = incoming_norm(rows)
            empty = norms <= 1e-6 * norms.max()
            if empty.any():
                drawn = torch.randn(weight[empty].shape, generator=generator) * (2 / rows.shape[1]) ** 0.5
                weight[empty] = drawn.to(weight)
                if isinstance(bias, Tensor):
                    bias[empty] = 0.0
                names.append(name)
                count += int(empty.sum())
    if not names:
        raise InputError("every unit has incoming weights: there is none to revive")
    return Treated(treated, f"{counted(count, 'unit')} of {_names(names)} drawn anew", tuple(names))


@checked
def reset_biases(model: nn.Module, inputs: Any = None) -> Treated:
    """Set the biases of hidden layers and of normalisations to zero.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.reset_biases(model).model[0].bias.abs().max().item()
    0.0
    """
    treated = _copied(model, inputs)
    modules = {**_hidden(treated), **{n: m for n, m in treated.named_modules() if is_normalisation(m)}}
    names = []
    with torch.no_grad():
        for name, module in modules.items():
            bias = getattr(module, "bias", None)
            if isinstance(bias, Tensor) and bool(bias.any()):
                bias.zero_()
                names.append(name)
    if not names:
        raise InputError("all hidden biases are zero already")
    return Treated(treated, f"biases of {_names(names)} set to zero", tuple(names))


@checked
def replace_sigmoids(model: nn.Module, inputs: Any = None) -> Treated:
    """Put rectifiers in the place of sigmoids between layers, whose slope is at most 1/4 (Glorot and Bengio 2010, §3).

    Between layers: in an ``nn.Sequential``, with a layer after it. Sigmoids that end in gates or probabilities are
    left alone.

    Raises:
        InputError: there is no such sigmoid.

    >>> import torch
    >>> import nonsingular as ns
    >>> layers = torch.nn.Linear(4, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
    >>> model = torch.nn.Sequential(*layers)
    >>> treated = ns.treatments.replace_sigmoids(model)
    >>> [type(module).__name__ for module in treated.model]
    ['Linear', 'ReLU', 'Linear', 'Sigmoid']
    """
    treated = _copied(model, inputs)
    places = treated.named_modules(remove_duplicate=False)  # one sigmoid may stand in many
    names = [n for n, m in places if type(m) is nn.Sigmoid and _precedes_layer(treated, n)]
    if not names:
        raise InputError("there is no nn.Sigmoid with a layer after it in an nn.Sequential")
    for name in names:
        replace_module(treated, name, lambda _: nn.ReLU())
    return Treated(treated, f"{_names(names)} made rectifiers", tuple(names))


@checked
def insert_normalisation(model: nn.Module, inputs: Any = None, *, kind: str | None = None) -> Treated:
    """Normalise what every hidden layer returns, before its activation.

    Args:
        model: any model.
        inputs: not looked at.
        kind: ``batch`` or ``layer``; by default batch normalisation behind convolutions and layer normalisation behind
            others. Layers behind which a normalisation of the same module follows keep theirs.

    Raises:
        InputError: unknown kind, or no layer to normalise.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.insert_normalisation(model).what
    'normalisation behind 0'
    """
    if kind not in (None, "batch", "layer"):
        raise InputError(f"unknown normalisation {kind!r}; there are batch, layer")
    treated = _copied(model, inputs)
    names = []
    for name, module in _hidden(treated).items():
        if isinstance(module, INITIALISED) and not _normalised_next(treated, name):
            replace_module(treated, name, lambda m: Normalised(m, kind))
            names.append(name)
    if not names:
        raise InputError("every hidden layer is normalised already")
    return Treated(treated, f"normalisation behind {_names(names)}", tuple(names))


@checked
def rescale_input(model: nn.Module, inputs: Any) -> Treated:
    """Standardise the inputs: each channel of images, each number of vectors, by the mean and spread of this batch.

    Raises:
        InputError: inputs that are not one floating-point tensor (tokens have no scale).

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.rescale_input(model, 255 * torch.rand(50, 4)).what
    'inputs shifted and scaled to mean 0 and deviation 1'
    """
    if not (isinstance(inputs, Tensor) and inputs.is_floating_point() and inputs.ndim > 1):
        raise InputError("only inputs that are one floating-point tensor can be rescaled")
    return Treated(Rescaled(copied(model), inputs), "inputs shifted and scaled to mean 0 and deviation 1", ())


@checked
def shrink_branches(model: nn.Module, inputs: Any, *, factor: float | None = None) -> Treated:
    """Scale the output of every block that a connection leads around, so that the sum of all is of the size of one.

    Args:
        model: any model with skip connections.
        inputs: one batch, to see shapes and connections.
        factor: of the weights and bias of each block's last layer; by default one over the root of the number of
            blocks. Zero is how Fixup starts (Zhang et al. 2019); not for blocks that end in a rectifier, which never
            leave it.

    Raises:
        InputError: no such block.

    >>> import torch
    >>> import nonsingular as ns
    >>> network = ns.networks.build(ns.networks.named("residual", depth=4, width=8), 8, 2, seed=0)
    >>> len(ns.treatments.shrink_branches(network, torch.randn(10, 8)).layers) > 0
    True
    """
    found = [b for b in blocks(model, inputs) if b.bypassed and b.layers]
    if not found:
        raise InputError("no block with a connection around it was found")
    factor = len(found) ** -0.5 if factor is None else factor
    treated = copied(model)
    names = tuple(b.layers[-1] for b in found)
    with torch.no_grad():
        for name in names:
            for p in treated.get_submodule(name).parameters(recurse=False):
                p.mul_(factor)
    return Treated(treated, f"weights of {_names(names)}, the last of their blocks, times {factor:.3g}", names)


@checked
def zero_readout(model: nn.Module, inputs: Any = None) -> Treated:
    """Set the last layer to zero, so that training starts at equal odds (or at zero); its gradient is not zero.

    Raises:
        InputError: the model has no layer, as products of embeddings have none.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> ns.treatments.zero_readout(model).model(torch.randn(5, 4)).abs().max().item()
    0.0
    """
    treated = _copied(model, inputs)
    named = list(layers(treated).items())
    if not named:
        raise InputError("the model has no layer that could be its readout")
    name, module = named[-1]
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    return Treated(treated, f"readout {name} set to zero", (name,))


@checked
def shrink_embeddings(model: nn.Module, inputs: Any = None, *, deviation: float = 0.02, seed: int = 0) -> Treated:
    """Draw embeddings anew from N(0, deviation^2), as GPT-2 does, instead of PyTorch's N(0, 1) (Radford et al. 2019).

    A readout that shares its weights with an embedding multiplies by them once more, so that its scores are of the size
    of the root of the width.

    Args:
        model: with embeddings.
        inputs: not looked at.
        deviation: of the new weights.
        seed: of their numbers.

    Raises:
        InputError: no embedding is that large.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Embedding(1000, 64), torch.nn.Linear(64, 10))
    >>> treated = ns.treatments.shrink_embeddings(model)
    >>> round(treated.model[0].weight.std().item(), 3)
    0.02
    """
    treated, generator = _copied(model, inputs), torch.Generator().manual_seed(seed)
    names = []
    with torch.no_grad():
        for name, module in treated.named_modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and float(module.weight.std()) > 2 * deviation:
                new = deviation * torch.randn(module.weight.shape, generator=generator).to(module.weight)
                if module.padding_idx is not None:
                    new[module.padding_idx] = 0
                module.weight.copy_(new)
                names.append(name)
    if not names:
        raise InputError(f"the model has no embeddings much larger than {deviation:g}")
    return Treated(treated, f"embeddings {_names(names)} drawn anew with deviation {deviation:g}", tuple(names))


@checked
def break_symmetry(model: nn.Module, inputs: Any = None, *, noise: float = 0.3, seed: int = 0) -> Treated:
    """Add noise to the hidden weights, so that units that were the same become different (blumenfeld2020 §2, figure 1).

    Args:
        model: any model.
        inputs: not looked at.
        noise: its standard deviation, in units of the root mean square of each layer's weights.
        seed: of the noise.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> _ = model[0].weight.data.fill_(1.0)  # three units that are the same
    >>> int(ns.measures.unique_features(ns.treatments.break_symmetry(model).model[0].weight))
    3
    """
    treated, generator = _copied(model, inputs), torch.Generator().manual_seed(seed)
    names = []
    with torch.no_grad():
        for name, module in _hidden(treated).items():
            for p in module.parameters(recurse=False):
                if p.ndim >= 2 and bool(p.any()):
                    size = noise * float(p.square().mean().sqrt())
                    p.add_(torch.randn(p.shape, generator=generator).to(p), alpha=size)
                    names.append(name)
    if not names:
        raise InputError("the model has no hidden weights that are not zero: use reinitialise")
    names = list(dict.fromkeys(names))
    return Treated(treated, f"noise of {noise:g} times the weights' size added to {_names(names)}", tuple(names))


@checked
def unfreeze(model: nn.Module, inputs: Any = None) -> Treated:
    """Let every parameter train.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> _ = model.requires_grad_(False)
    >>> all(p.requires_grad for p in ns.treatments.unfreeze(model).model.parameters())
    True
    """
    treated = _copied(model, inputs)
    names = []
    for name, p in treated.named_parameters():
        if not p.requires_grad and p.is_floating_point():
            p.requires_grad_(True)
            names.append(name)
    if not names:
        raise InputError("no parameter is frozen")
    return Treated(treated, f"{_names(names)} made to train", tuple(names))


@checked
def warm_start(model: nn.Module, donor: nn.Module | Mapping[str, Tensor]) -> Treated:
    """Take over a trained network's weights wherever shapes fit (oyedotun2021: VGG-16 from a trained VGG-11).

    First by name; what is left over, in order, among parameters of equal shape.

    Args:
        model: the network to start.
        donor: a trained network, or its state dictionary.

    Raises:
        InputError: nothing fits.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, donor = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, n)) for n in (2, 5))
    >>> bool((ns.treatments.warm_start(model, donor).model[0].weight == donor[0].weight).all())
    True
    """
    state = dict(donor.state_dict() if isinstance(donor, nn.Module) else donor)
    treated = copied(model)
    own = treated.state_dict()
    taken = {name: state.pop(name) for name in list(own) if name in state and state[name].shape == own[name].shape}
    for name, tensor in own.items():
        if name not in taken:
            match = next((k for k, v in state.items() if v.shape == tensor.shape and v.ndim >= 2), None)
            if match is not None:
                taken[name] = state.pop(match)
    if not taken:
        raise InputError("no tensor of the donor has the shape of one of the model's")
    treated.load_state_dict({**own, **taken})
    return Treated(treated, f"{len(taken)} of {counted(len(own), 'tensor')} taken over from the donor", tuple(taken))


def _copied(model: nn.Module, inputs: Any) -> nn.Module:
    """A copy to treat, where the inputs are not looked at.

    Raises:
        InputError: the model cannot be copied; or a setting stands where a batch does.
    """
    if isinstance(inputs, str | int | float):
        raise InputError(f"inputs must be a batch of what the model takes, got {inputs!r}; settings are given by name")
    return copied(model)


def _prescribed(treatment: Callable[..., Treated]) -> Prescription:
    seeded = "seed" in inspect.signature(treatment).parameters
    return lambda model, inputs, seed: treatment(model, inputs, **({"seed": seed} if seeded else {}))


def _skipping(scale: float, matrix: Tensor | None, axis: int) -> Callable[[nn.Module], nn.Module]:
    return lambda module: Skip(module, scale, matrix, axis)


Prescription = Callable[[nn.Module, Any, int], Treated]

_FUNCTIONS: dict[str, Callable[..., Treated]] = {
    treatment.__name__: treatment
    for treatment in (
        add_skips, bias_targets, reinitialise, revive_units, reset_biases, replace_sigmoids, insert_normalisation,
        rescale_input, shrink_branches, zero_readout, shrink_embeddings, break_symmetry, unfreeze,
    )
}  # fmt: skip

PRESCRIPTIONS: dict[str, Prescription] = {name: _prescribed(treatment) for name, treatment in _FUNCTIONS.items()}
"""Treatments that need nothing but the model and a batch: name -> (model, inputs, seed) -> treated copy."""


def looks_at_inputs(treatment: str) -> bool:
    """Whether the treatment of this name needs the batch that it is given.

    >>> looks_at_inputs("add_skips"), looks_at_inputs("reinitialise")
    (True, False)
    """
    return inspect.signature(_FUNCTIONS[treatment]).parameters["inputs"].default is inspect.Parameter.empty


def _hidden(model: nn.Module) -> dict[str, nn.Module]:
    """All layers but the last, which is the readout."""
    return dict(list(layers(model).items())[:-1])


def _weight(module: nn.Module) -> Tensor | None:
    """Weights ``[unit, input, ...]`` of a linear or convolutional layer."""
    return module.weight if isinstance(module, INITIALISED) else None


def _normalised_next(model: nn.Module, name: str) -> bool:
    """Whether the module after this one, in the order of definition, is a normalisation."""
    leaves = [
        (n, m)
        for n, m in model.named_modules()
        if "parametrizations" not in n.split(".") and {k for k, _ in m.named_children()} <= {"parametrizations"}
    ]
    index = [n for n, _ in leaves].index(name)
    return index + 1 < len(leaves) and is_normalisation(leaves[index + 1][1])


def _precedes_layer(model: nn.Module, name: str) -> bool:
    """Whether a layer comes later in the ``nn.Sequential`` that holds this module, or in those around that one."""
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    if not name or not isinstance(owner, nn.Sequential) or type(owner).forward is not nn.Sequential.forward:
        return False  # one that adds or multiplies something of its own may be a gate
    later = list(owner)[list(owner._modules).index(child) + 1 :]
    return any(layers(module) for module in later) or _precedes_layer(model, parent)


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:3])
    return f"{len(listed)} layers ({shown}, ...)" if len(listed) > 4 else ", ".join(listed)
