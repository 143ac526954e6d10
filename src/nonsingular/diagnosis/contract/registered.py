"""Weights that take part and want gradients, but are no parameters of the model: an optimiser will not see them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis import paths
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.records import Statistic

MODULES = "modules that are not registered"
DEEP = 4  # levels of lists, dictionaries and objects that are searched for a name


def unregistered(scene: Scene) -> Statistic:
    """Share of the entries that train the output which are in no ``parameters()`` of the model."""
    words = "share of the trained weights that are not among model.parameters()"
    leaves = {id(t): t for t in _leaves(scene.output)}
    if not leaves:
        return Statistic(math.nan, (), words)
    own = {id(p) for p in scene.task.model.parameters()}
    given = {tuple(t.shape) for t in tree_leaves(scene.batch.inputs) if isinstance(t, Tensor)}  # losses copy inputs
    strays = [t for key, t in leaves.items() if key not in own and tuple(t.shape) not in given]
    size = sum(t.numel() for t in leaves.values())
    names = _names(scene.task.model, strays)
    evidence = [{"measure": "weights outside model.parameters()", "value": sum(t.numel() for t in strays)}]
    if modules := _modules(scene.task.model, names):
        evidence.append({"measure": MODULES, "value": modules})
    if strays and not names:
        where = _lines(scene, strays)
        remedy = "Make modules and parameters once, in __init__, as attributes of the module: these are made elsewhere."
    else:
        where = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        remedy = (
            "Keep modules in nn.ModuleList or nn.ModuleDict and tensors in nn.Parameter or nn.ParameterList, "
            "assigned to the module: a list or dict of Python hides them, as does .to() or arithmetic on a parameter."
        )
    return Statistic(sum(t.numel() for t in strays) / size, (), words, where, tuple(evidence), remedy)


def _leaves(output: Any) -> Iterator[Tensor]:
    """Variables that the output's graph accumulates gradients for."""
    return paths.leaves(t.grad_fn for t in tree_leaves(output) if isinstance(t, Tensor))


def _names(model: nn.Module, strays: list[Tensor]) -> list[str]:
    """Where the strays are kept, as Python would write it."""
    wanted = {id(t) for t in strays}
    found: dict[int, str] = {}

    def search(x: Any, name: str, depth: int) -> None:
        if isinstance(x, nn.Module):
            for inner, p in x.named_parameters():
                if id(p) in wanted:
                    found.setdefault(id(p), f"{name}.{inner}")
        elif isinstance(x, Tensor):
            if id(x) in wanted:
                found.setdefault(id(x), name)
            elif x.grad_fn is not None:  # arithmetic on a parameter: its leaf is behind it
                for leaf in _leaves(x):
                    if id(leaf) in wanted:
                        found.setdefault(id(leaf), name)
        elif depth:
            if isinstance(x, list | tuple):
                for i, one in enumerate(x):
                    search(one, f"{name}[{i}]", depth - 1)
            elif isinstance(x, dict):
                for key, one in x.items():
                    search(one, f"{name}[{key!r}]", depth - 1)
            elif hasattr(x, "__dict__") and type(x).__module__ not in ("builtins", "torch"):
                for key, one in vars(x).items():
                    search(one, f"{name}.{key}", depth - 1)

    registered = ("_parameters", "_buffers", "_modules")
    for prefix, module in model.named_modules():
        for key, value in vars(module).items():
            if key not in registered and not key.startswith(("_forward", "_backward", "_state_dict", "_load")):
                search(value, f"{prefix}.{key}" if prefix else key, DEEP)
    return [found[id(t)] for t in strays if id(t) in found]


def _modules(model: nn.Module, names: list[str]) -> int:
    """How many modules these weights are of that are not found below the model."""
    return len({name.rpartition(".")[0] for name in names} - {name for name, _ in model.named_modules()})


def _lines(scene: Scene, strays: list[Tensor]) -> str:
    """The first user's line that uses one."""
    wanted = {id(t) for t in strays}
    for op in scene.trace.ops:
        if any(id(t) in wanted for t in op.tensors):
            return op.where
    return ""


def cut(scene: Scene) -> Statistic:
    """Whether the loss depends on no parameter, and the call that cut the gradient."""
    words = "the loss has no gradient"
    if scene.loss is None:
        return Statistic(math.nan, (), words)
    if scene.loss.requires_grad:
        return Statistic(0.0, (), words)
    named = dict(scene.task.model.named_parameters())
    if not any(p.requires_grad for p in named.values()):
        evidence = ({"measure": "parameters that require a gradient", "value": 0},)
        remedy = "All parameters are frozen: call requires_grad_(True) on those that should train."
        return Statistic(1.0, tuple(named), words, "", evidence, remedy)
    guilty = None
    for op in scene.trace.ops:
        out = [t for t in tree_leaves(op.out) if isinstance(t, Tensor)]
        if any(t.requires_grad for t in op.tensors) and out and not any(t.requires_grad for t in out):
            guilty = op
    evidence = ({"measure": "gradients that the loss sends back", "value": 0},)
    if guilty is None:
        remedy = "Compute output and loss without no_grad, .detach(), .data, .item() or numpy."
        return Statistic(1.0, (), words, "", evidence, remedy)
    remedy = f"Take {guilty.name} out of the way from parameters to loss{f' ({guilty.where})' if guilty.where else ''}."
    return Statistic(1.0, (), f"{words}: {guilty.name} has none", guilty.where, evidence, remedy)
