"""Treatments of the program: step, loss, readout, targets. Each takes an arm and returns a changed one.

Those of the network itself are in ``treatments.py``. Each says in a sentence what it changed, and refuses where it does
not apply.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nonsingular.diagnosis.course import Arm, Change, with_targets
from nonsingular.diagnosis.optimisers import named
from nonsingular.diagnosis.treatments import PRESCRIPTIONS, Treated
from nonsingular.diagnosis.values import is_binary
from nonsingular.errors import InputError
from nonsingular.objective import tensors

ACTIVATIONS = ("softmax", "log_softmax", "sigmoid", "logsigmoid", "tanh", "relu", "hardtanh", "clamp", "softplus")
"""Functions that bound or clip what a readout returns."""
SQUARED = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
SQUARED_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
CLIP = 1.0


def rate(factor: float) -> Change:
    """The learning rates times ``factor``."""

    def change(arm: Arm) -> tuple[Arm, str]:
        steps = arm.steps.scaled(factor)
        return replace(arm, steps=steps), f"learning rate times {factor:g}: {steps}"

    return change


def clip_gradients(arm: Arm) -> tuple[Arm, str]:
    """Each network's gradient shrunk to norm 1 where it is larger (Pascanu et al. 2013)."""
    if arm.steps.clip is not None:
        raise InputError("gradients are clipped already")
    return replace(arm, steps=replace(arm.steps, clip=CLIP)), f"gradients clipped to a norm of {CLIP:g}"


def no_weight_decay(arm: Arm) -> tuple[Arm, str]:
    """Without weight decay."""
    if not arm.steps.decay:
        raise InputError("the optimiser has no weight decay")
    return replace(arm, steps=arm.steps.without_decay()), f"weight decay of {arm.steps.decay:g} left out"


def adam(arm: Arm) -> tuple[Arm, str]:
    """Adam at 1e-3 on all parameters instead of the optimiser."""
    steps = named("adam", 1e-3)
    if "Adam" in arm.steps.name:
        raise InputError(f"the optimiser is {arm.steps.name} already")
    return replace(arm, steps=steps), f"{steps} instead of {arm.steps}"


def scale_targets(arm: Arm) -> tuple[Arm, str]:
    """Targets of mean 0 and deviation 1, by the training samples; for losses that are distances."""
    target = arm.samples.target
    if not (isinstance(target, Tensor) and target.is_floating_point() and target.ndim):
        raise InputError("targets are class numbers, or no tensor: they have no scale")
    if not (isinstance(arm.loss_fn, SQUARED) or arm.loss_fn in SQUARED_FUNCTIONS):
        raise InputError(
            "the loss is no distance between outputs and targets: it means another thing for scaled targets"
        )
    of = target[arm.train].flatten(1) if target.ndim > 1 else target[arm.train][:, None]
    mean, deviation = of.mean(0), of.std(0)
    if not bool((deviation > 0).all()):
        raise InputError("targets do not vary")
    shape = target.shape[1:]
    changed = with_targets(arm.samples, lambda t: (t - mean.view(shape)) / deviation.view(shape))
    said = f"{float(mean.mean()):.3g} and {float(deviation.mean()):.3g}"
    return replace(arm, samples=changed), f"targets shifted and scaled to mean 0 and deviation 1 (they had {said})"


def scale_both(arm: Arm) -> tuple[Arm, str]:
    """Inputs and targets of mean 0 and deviation 1."""
    targets, said = scale_targets(arm)
    inputs, said_too = of_network(PRESCRIPTIONS["rescale_input"])(targets)
    return inputs, f"{said_too}; {said}"


def match_shapes(arm: Arm) -> tuple[Arm, str]:
    """Outputs in the shape of the targets, where both have as many numbers and the loss would broadcast them."""
    output, target = _compared(arm)
    loss = arm.loss_fn
    if output.shape == target.shape or output.numel() != target.numel():
        raise InputError("outputs and targets have one shape, or another number of entries")

    def matched(output: Tensor, target: Tensor) -> Tensor:
        return loss(output.reshape(target.shape), target)

    of, to = (tuple(t.shape[1:]) for t in (output, target))
    return replace(arm, loss_fn=matched), f"outputs {('sample', *of)} in the shape {('sample', *to)} of the targets"


def another_loss(arm: Arm) -> tuple[Arm, str]:
    """The loss that fits outputs and targets, where another one is used."""
    was, (output, shown) = _name(arm.loss_fn), _compared(arm)
    target = arm.samples.target
    classes = not target.is_floating_point() and output.ndim == shown.ndim + 1 and output.shape[1] > 1
    if classes and was not in ("CrossEntropyLoss", "cross_entropy"):
        return replace(arm, loss_fn=nn.CrossEntropyLoss()), f"CrossEntropyLoss instead of {was}"
    both = target.unique().numel() == 2 and is_binary(target)
    binary = both and output.shape == shown.shape
    if binary and was not in ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits") and _crosses(output):
        return replace(arm, loss_fn=_Logits()), f"BCEWithLogitsLoss instead of {was}"
    real = target.is_floating_point() and output.shape == shown.shape and not binary
    if real and was in ("CrossEntropyLoss", "cross_entropy", "BCELoss", "binary_cross_entropy", "NLLLoss", "nll_loss"):
        return replace(arm, loss_fn=nn.MSELoss()), f"MSELoss instead of {was}"
    raise InputError(f"{was} fits these outputs and targets")


def _compared(arm: Arm) -> tuple[Tensor, Tensor]:
    """Outputs and targets of some samples, where the loss is a function of the two.

    Raises:
        InputError: it is not, or they are no tensors.
    """
    if arm.form != "output":
        raise InputError("the loss is no function of outputs and targets alone")
    output, target = arm.predicted(arm.told), arm.told.target
    if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
        raise InputError("outputs and targets are no tensors")
    return output, target


def remove_last_activation(arm: Arm) -> tuple[Arm, str]:
    """The network without the function that bounds its outputs: softmax, sigmoid, tanh, ReLU."""
    if arm.form != "output":
        raise InputError("the loss is no function of outputs and targets alone")
    found = last_activation(arm.networks[0], arm)
    if not found:
        raise InputError("no softmax, sigmoid, tanh or ReLU comes last")
    networks = tuple(WithoutLast(copy.deepcopy(n), found["name"], found["call"]) for n in arm.networks)
    return replace(arm, networks=networks), f"the last {found['name']} removed, so that outputs are unbounded"


class WithoutLast(nn.Module):
    """A network in whose forward pass one call of an activation returns what it is given."""

    def __init__(self, module: nn.Module, name: str, call: int) -> None:
        super().__init__()
        self.module, self.name, self.call = module, name, call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output without that call."""
        with _Skipping(self.name, self.call):
            return self.module(*args, **kwargs)


class _Skipping(TorchFunctionMode):
    """Counts the calls of one activation and passes one of them by."""

    def __init__(self, name: str, skip: int) -> None:
        super().__init__()
        self.name, self.skip, self.seen = name, skip, -1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _called(func) == self.name:  # what it calls itself is not seen here
            self.seen += 1
            if self.seen == self.skip:
                return args[0]
        return func(*args, **(kwargs or {}))


class _Recording(TorchFunctionMode):
    """The activations that are called: name, how many of it before, output."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = _called(func)
        if name in ACTIVATIONS and isinstance(output, Tensor):
            self.calls.append((name, sum(n == name for n, _, _ in self.calls), output))
        return output


def last_activation(network: nn.Module, arm: Arm) -> Mapping[str, Any]:
    """Name and number of the call of the activation whose output is the network's; nothing where none comes last."""
    with torch.no_grad(), _Recording() as seen:
        output = arm.with_loss(copy.deepcopy(network)).eval().output(arm.told)
    returned = tensors(output)
    if len(returned) != 1:
        return {}
    for name, call, tensor in reversed(seen.calls):
        same = tensor.data_ptr() == returned[0].data_ptr() and tensor.numel() == returned[0].numel()
        if same:
            return {"name": name, "call": call}
    return {}


def _called(func: Any) -> str:
    return str(getattr(func, "__name__", "")).removesuffix("_")


class _Logits(nn.BCEWithLogitsLoss):
    """Class numbers 0 and 1 of any type."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target.to(input.dtype))


def _crosses(output: Tensor) -> bool:
    """Whether outputs leave the interval from 0 to 1, as logits do."""
    return bool((output < 0).any() or (output > 1).any())


def _name(loss: Any) -> str:
    return type(loss).__name__ if isinstance(loss, nn.Module) else str(getattr(loss, "__name__", type(loss).__name__))


def of_network(treat: Callable[[nn.Module, Any, int], Treated]) -> Change:
    """A treatment of the network as one of the arm; each run with random numbers of its own."""

    def change(arm: Arm) -> tuple[Arm, str]:
        treated = [treat(n, arm.example, seed) for seed, n in enumerate(arm.networks)]
        return replace(arm, networks=tuple(t.model for t in treated)), treated[0].what

    return change


def together(changes: Sequence[Change]) -> Change:
    """Several treatments, one after another."""

    def change(arm: Arm) -> tuple[Arm, str]:
        said = []
        for one in changes:
            arm, what = one(arm)
            said.append(what)
        return arm, "; ".join(said)

    return change


PROGRAMS: dict[str, Change] = {
    "learning_rate_0.1x": rate(0.1),
    "learning_rate_0.01x": rate(0.01),
    "learning_rate_10x": rate(10.0),
    "learning_rate_100x": rate(100.0),
    "clip_gradients": clip_gradients,
    "no_weight_decay": no_weight_decay,
    "adam": adam,
    "scale_targets": scale_targets,
    "scale_both": scale_both,
    "match_shapes": match_shapes,
    "another_loss": another_loss,
    "remove_last_activation": remove_last_activation,
}
"""Treatments of the program by name."""

TREATMENTS: dict[str, Change] = {**{name: of_network(treat) for name, treat in PRESCRIPTIONS.items()}, **PROGRAMS}
"""All treatments that need nothing but an arm."""
