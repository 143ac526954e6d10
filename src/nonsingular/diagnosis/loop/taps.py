"""Torch's own functions, listened to: optimisers, backward passes, losses, modes, loaders, scalers.

Everything is patched where it is looked up at call time, so that the user's code needs no edit, and put back on exit.
Nothing that is listened to changes what the user's code computes.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import Optimizer, lr_scheduler, optimizer
from torch.utils.hooks import RemovableHandle

from nonsingular.places import here

LOSSES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "soft_margin_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "ctc_loss",
)  # fmt: skip


FOLDER = str(Path(__file__).parent)


class Listener(Protocol):
    """What is told."""

    def entered(self, module: nn.Module) -> None:
        """A module is called."""

    def left(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """It returned; None where it failed."""

    def switched(self, module: nn.Module, training: bool) -> None:
        """A module's mode was set."""

    def loaded(self, module: nn.Module, own: bool = False) -> None:
        """Weights were loaded into a module; ``own`` if they are its own tensors."""

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any], value: Any) -> None:
        """One of torch's losses was computed."""

    def refused(self, function: Any, args: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        """One of torch's losses raised this."""

    def before_backward(self, tensors: Any) -> None:
        """A backward pass begins."""

    def after_backward(self, failed: bool = False) -> None:
        """It ended."""

    def derived(self, outputs: Any, inputs: Any, derivative: Any) -> None:
        """``torch.autograd.grad`` returned a derivative with its graph."""

    def made(self, optimiser: Optimizer) -> None:
        """An optimiser was constructed."""

    def stepping(self, optimiser: Optimizer) -> None:
        """A step begins."""

    def stepped(self, optimiser: Optimizer) -> None:
        """It ended."""

    def cleared(self, thing: Any) -> None:
        """``zero_grad`` of an optimiser or a module."""

    def clipped(self, parameters: Any, most: float) -> None:
        """Gradients are about to be clipped to this norm; infinity where it is their values that are."""

    def scheduled(self, scheduler: Any, given: tuple[Any, ...]) -> None:
        """A scheduler was stepped, and given this."""

    def seeded(self, seed: Any) -> None:
        """The random numbers begin anew."""

    def scaled(self, scaler: Any) -> None:
        """A loss was multiplied by a gradient scaler."""

    def unscaled(self, scaler: Any, optimiser: Optimizer) -> None:
        """An optimiser's gradients were divided by the scaler's factor."""

    def scaler_stepped(self, scaler: Any, optimiser: Optimizer) -> None:
        """A scaler was asked for a step, which it may have skipped."""

    def began(self, loader: Any, iterator: Any) -> None:
        """A data loader is iterated from its start."""

    def indexed(self, iterator: Any, index: Any) -> None:
        """The samples of one of its batches are chosen."""

    def drawn(self, batch: Any, iterator: Any) -> None:
        """A data loader gave a batch."""

    def failed(self, event: str, error: Exception) -> None:
        """The listener raised this and is told of nothing further of the kind."""


class _Taps:
    """Patches that are in place as long as anybody listens, whatever the order in which they come and go."""

    def __init__(self, install: Callable[[Any, ExitStack], None]) -> None:
        self._install, self._listeners, self._undo = install, list[Any](), ExitStack()

    def __getattr__(self, event: str) -> Callable[..., None]:
        def tell(*args: Any, **named: Any) -> None:
            for listener in list(self._listeners):
                try:
                    with torch._C.DisableTorchFunction():  # what is computed here is nothing of the user's to be kept
                        getattr(listener, event)(*args, **named)
                except Exception as error:  # the training goes on, whatever becomes of its observation
                    self._listeners = [other for other in self._listeners if other is not listener]
                    listener.failed(event, error)

        return tell

    @contextmanager
    def heard_by(self, listener: Any) -> Iterator[None]:
        """Within, the listener is told."""
        if not self._listeners:
            self._install(self, self._undo)
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners = [other for other in self._listeners if other is not listener]
            if not self._listeners:
                self._undo.close()


@contextmanager
def tapped(listener: Listener) -> Iterator[None]:
    """Within, the listener hears of everything; afterwards torch is as it was."""
    with _EVENTS.heard_by(listener), _LOSSES.heard_by(listener):
        yield


def losses_tapped(listener: Any) -> AbstractContextManager[None]:
    """Within, ``listener.lost`` hears of torch's losses, and of nothing else."""
    return _LOSSES.heard_by(listener)


def _patch(undo: ExitStack, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    undo.callback(setattr, owner, name, original)


def _remove(handle: RemovableHandle) -> None:
    """Take a hook back, and the entry of its keywords, which PyTorch keeps for ever (2.13)."""
    handle.remove()
    vars(modules).get("_global_forward_hooks_with_kwargs", {}).pop(handle.id, None)


def _install_losses(listener: Any, undo: ExitStack) -> None:
    for name in LOSSES:
        _patch(undo, F, name, functools.partial(_loss, listener, name))


def _install_events(listener: Any, undo: ExitStack) -> None:
    patch = functools.partial(_patch, undo)
    for handle in (
        modules.register_module_forward_pre_hook(lambda module, args: listener.entered(module)),
        modules.register_module_forward_hook(_left(listener), with_kwargs=True, always_call=True),
        optimizer.register_optimizer_step_pre_hook(lambda o, args, named: listener.stepping(o)),
        optimizer.register_optimizer_step_post_hook(lambda o, args, named: listener.stepped(o)),
    ):
        undo.callback(_remove, handle)
    patch(warnings, "showwarning", _at_the_users_line)
    warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")  # these ones
    patch(torch.autograd, "backward", functools.partial(_backward, listener))
    patch(torch.autograd, "grad", functools.partial(_grad, listener))
    patch(Optimizer, "__init__", lambda f: _after(f, lambda self, args, named, _: listener.made(self)))
    patch(Optimizer, "zero_grad", lambda f: _after(f, lambda self, args, named, _: listener.cleared(self)))
    patch(nn.Module, "zero_grad", lambda f: _after(f, lambda self, args, named, _: listener.cleared(self)))
    patch(nn.Module, "load_state_dict", lambda f: _after(f, _told_of_weights(listener)))
    patch(nn.Module, "train", lambda f: _mode(f, listener))
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        patch(nn.utils, name, functools.partial(_clip, listener))
        patch(nn.utils.clip_grad, name, functools.partial(_clip, listener))
    stepped = lambda self, args, named, _: listener.scheduled(self, (*args, *named.values()))  # noqa: E731
    for scheduler in (lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau):
        patch(scheduler, "step", lambda f: _after(f, stepped))
    for owner in (torch, torch.random):
        patch(owner, "manual_seed", lambda f: _after(f, lambda seed, args, named, _: listener.seeded(seed)))
    scaler = torch.amp.GradScaler
    patch(scaler, "scale", lambda f: _after(f, lambda self, args, named, _: listener.scaled(self)))
    patch(scaler, "unscale_", lambda f: _after(f, lambda self, args, named, _: listener.unscaled(self, args[0])))
    patch(scaler, "step", lambda f: _after(f, lambda self, args, named, _: listener.scaler_stepped(self, args[0])))
    data = torch.utils.data
    patch(data.DataLoader, "__iter__", lambda f: _after(f, lambda self, args, named, made: listener.began(self, made)))
    batches = data.dataloader._BaseDataLoaderIter
    patch(batches, "_next_index", lambda f: _after(f, lambda self, args, named, index: listener.indexed(self, index)))
    patch(batches, "__next__", lambda f: _after(f, lambda self, args, named, batch: listener.drawn(batch, self)))


_EVENTS, _LOSSES = _Taps(_install_events), _Taps(_install_losses)


def _at_the_users_line(function: Callable[..., Any]) -> Any:
    """Warnings that point at the caller of a function listened to point past this package."""

    @functools.wraps(function)
    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> Any:
        place = here() if filename.startswith(FOLDER) else None
        if place is not None:
            filename, lineno = place.file, place.line
        return function(message, category, filename, lineno, file, line)

    return show


def _left(listener: Listener) -> Callable[..., None]:
    def left(module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        # After a call that failed torch hands on no keyword arguments.
        listener.left(module, args, rest[0] if len(rest) > 1 else {}, rest[-1])

    return left


def _after(function: Callable[..., Any], tell: Callable[[Any, tuple[Any, ...], dict[str, Any], Any], None]) -> Any:
    @functools.wraps(function)
    def wrapped(self: Any, *args: Any, **named: Any) -> Any:
        result = function(self, *args, **named)
        tell(self, args, named, result)
        return result

    return wrapped


def _told_of_weights(listener: Listener) -> Callable[..., None]:
    def tell(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], _: Any) -> None:
        state = args[0] if args else named.get("state_dict") or {}
        own = {p.data_ptr() for p in module.parameters() if p.numel()}
        given = {t.data_ptr() for t in state.values() if isinstance(t, torch.Tensor) and t.numel()}
        listener.loaded(module, bool(own) and own <= given)

    return tell


def _clip(listener: Listener, function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def clip(*args: Any, **named: Any) -> Any:
        given = args[0] if args else named.pop("parameters")
        parameters = given if isinstance(given, torch.Tensor) else list(given)  # both look through them
        most = args[1] if len(args) > 1 else named.get("max_norm", math.inf)
        by_norm = function.__name__ == "clip_grad_norm_"
        listener.clipped(parameters, float(most) if by_norm else math.inf)
        return function(parameters, *args[1:], **named)

    return clip


def _mode(function: Callable[..., Any], listener: Listener) -> Any:
    @functools.wraps(function)
    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        listener.switched(self, mode)
        return function(self, mode)

    return train


def _backward(listener: Listener, function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def backward(tensors: Any, *args: Any, **named: Any) -> Any:
        listener.before_backward(tensors)
        try:
            result = function(tensors, *args, **named)
        except BaseException:
            listener.after_backward(failed=True)
            raise
        listener.after_backward()
        return result

    return backward


def _grad(listener: Listener, function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def grad(outputs: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        derivative = function(outputs, inputs, *args, **named)
        if not torch.compiler.is_compiling():
            listener.derived(outputs, inputs, derivative)
        return derivative

    return grad


def _loss(listener: Listener, name: str, function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    def loss(*args: Any, **named: Any) -> Any:
        try:
            value = function(*args, **named)
        except Exception as error:
            listener.refused(function, args, named, error)
            raise
        if not torch.compiler.is_compiling():
            listener.lost(name, args, named, value)
        return value

    return loss
