"""The user's optimiser for copies trained side by side: the same rule, groups and rates, on stacked parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nonsingular.errors import InputError
from nonsingular.objective import told

ELEMENTWISE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Rprop", "ASGD",
)  # fmt: skip
"""Optimisers of ``torch.optim`` that treat every number alone, so that stacked copies are stepped as each would be."""

FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
"""Those that step all parameters in one call on every device: the same rule to rounding, several times faster."""

PASSED_ON = {"params", "fused", "foreach", "capturable", "differentiable", "initial_lr", "decoupled_weight_decay"}
Optimiser = torch.optim.Optimizer | Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Steps:
    """How a copy's parameters are stepped.

    Attributes:
        kind: class of ``torch.optim``.
        groups: the names of the parameters and the settings of each group; None for the names stands for all.
        left_out: names of the network's parameters that no group has: they are not trained. What a treatment adds goes
            to the first group.
        clip: norm to which each copy's gradient is clipped; None clips nothing.
    """

    kind: Callable[..., torch.optim.Optimizer]
    groups: tuple[tuple[tuple[str, ...] | None, Mapping[str, Any]], ...]
    left_out: frozenset[str] = frozenset()
    clip: float | None = None

    def __call__(self, stacked: Mapping[str, Tensor]) -> torch.optim.Optimizer:
        """The optimiser over parameters ``[run, ...]`` by name."""
        groups: list[dict[str, Any]] = [{**settings, "params": []} for _, settings in self.groups]
        for name, p in stacked.items():
            own = _unwrapped(name)
            if p.requires_grad and own not in self.left_out:
                held = (i for i, (names, _) in enumerate(self.groups) if names is None or own in names)
                groups[next(held, 0)]["params"].append(p)
        groups = [g for g in groups if g["params"]]
        real = all(p.is_floating_point() for g in groups for p in g["params"])
        how = {"fused": True} if real and self.name in FUSED else {}
        # Adagrad alone has a setting that it reads from its arguments, not from its groups.
        how |= {k: groups[0][k] for k in ("initial_accumulator_value",) if k in groups[0]}
        optimiser = self.kind(groups, **how)
        if self.clip is not None:
            optimiser.register_step_pre_hook(_clipped(self.clip))
        return optimiser

    def __str__(self) -> str:
        rates = sorted({float(settings["lr"]) for _, settings in self.groups})
        clip = "" if self.clip is None else f", gradients clipped to {self.clip:g}"
        return f"{self.name} at {' and '.join(f'{r:g}' for r in rates)}{clip}"

    @property
    def name(self) -> str:
        """Of the class."""
        return str(getattr(self.kind, "__name__", "optimiser"))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        settings = [
            {k: v for k, v in s.items() if isinstance(v, int | float | str | bool | None | list | tuple)}
            for _, s in self.groups
        ]
        return {"optimiser": self.name, "groups": settings, "clip": self.clip}

    def scaled(self, factor: float) -> Steps:
        """With all learning rates times ``factor``."""
        return self._with(lambda s: {**s, "lr": s["lr"] * factor})

    def without_decay(self) -> Steps:
        """Without weight decay."""
        return self._with(lambda s: {**s, "weight_decay": 0.0})

    @property
    def decay(self) -> float:
        """The largest weight decay of a group."""
        return max((float(s.get("weight_decay") or 0.0) for _, s in self.groups), default=0.0)

    def _with(self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Steps:
        return replace(self, groups=tuple((names, change(settings)) for names, settings in self.groups))


def named(optimiser: str, learning_rate: float) -> Steps:
    """``adam`` or ``sgd`` on all parameters."""
    kind: Any = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser]
    return Steps(kind, ((None, {"lr": learning_rate}),))


def made(optimiser: Optimiser, model: nn.Module) -> torch.optim.Optimizer:
    """A user's own optimiser, made where it is a function.

    Args:
        optimiser: over the model's parameters, or model -> optimiser.
        model: whose parameters it holds.

    Raises:
        InputError: something else, or a function that fails or returns something else.
    """
    if not callable(optimiser) and not isinstance(optimiser, torch.optim.Optimizer):
        raise InputError(
            "optimiser must be a torch.optim.Optimizer, or a function of the model that returns one, got "
            f"{type(optimiser).__name__}"
        )
    found = optimiser if isinstance(optimiser, torch.optim.Optimizer) else called(optimiser, model)
    if not isinstance(found, torch.optim.Optimizer):
        raise InputError(f"optimiser(model) must return a torch.optim.Optimizer, got {type(found).__name__}")
    return found


def called(optimiser: Callable[[nn.Module], Any], model: nn.Module) -> Any:
    """What a user's function of the model returns.

    Raises:
        InputError: it fails.
    """
    try:
        return optimiser(model)
    except Exception as error:
        raise InputError(f"optimiser(model) fails: {told(error)}") from error


def like(optimiser: Optimiser, model: nn.Module) -> Steps:
    """The rule, groups and rates of a user's own optimiser.

    Args:
        optimiser: over the model's parameters, or model -> optimiser.
        model: whose parameters it holds.

    Raises:
        InputError: an optimiser that steps matrices or needs a closure, or that holds none of the model's parameters.
    """
    found = made(optimiser, model)
    kind = type(found)
    if kind is not getattr(torch.optim, kind.__name__, None) or kind.__name__ not in ELEMENTWISE:
        raise InputError(
            f"copies cannot be trained side by side with {kind.__name__}; for the proof name one of "
            f"{', '.join(ELEMENTWISE[:4])}, ..."
        )
    names = {id(p): _unwrapped(name) for name, p in model.named_parameters()}
    groups = []
    for group in found.param_groups:
        held = tuple(names[id(p)] for p in group["params"] if id(p) in names)
        if held:
            groups.append((held, {k: _plain(v) for k, v in group.items() if k not in PASSED_ON}))
    if not groups:
        raise InputError("the optimiser holds none of the model's parameters: it was made for another model")
    return Steps(kind, tuple(groups), frozenset(names.values()) - {n for held, _ in groups for n in held})


def _unwrapped(name: str) -> str:
    """A parameter's name without the wrappers that treatments put around modules."""
    return ".".join(part for part in name.split(".") if part != "module")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _clipped(most: float) -> Callable[..., None]:
    """Before a step, each run's gradient is shrunk to a norm of ``most`` where it is larger."""

    def hook(optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        shrink = (most / norm.clamp_min(1e-30)).clamp_max(1.0)
        for g in gradients:
            g.mul_(shrink.view(-1, *[1] * (g.ndim - 1)))

    return hook
