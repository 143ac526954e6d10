"""A user's own module as an architecture: built from a seed, and tried on what it will be trained on."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from nonsingular.checks import checked
from nonsingular.errors import InputError

HOW = "a class or function without arguments, or with two: the shape of a sample and the number of classes"


@checked
@dataclass(frozen=True)
class OwnNetwork:
    """A module of somebody else's code.

    Attributes:
        factory: the module's class, or a function that returns a module; called without arguments, or with the shape
            of a sample and the number of classes where it takes two. All that is random in it is drawn from the seed
            of the run (of Python's, NumPy's and PyTorch's generators).

    Raises:
        InputError: it is no class or function, or takes other arguments.

    >>> import torch
    >>> import nonsingular as ns
    >>> own = ns.networks.OwnNetwork(lambda shape, classes: torch.nn.Linear(shape[0], classes))
    >>> own.build((64,), 10, seed=0)
    Linear(in_features=64, out_features=10, bias=True)
    """

    factory: Callable[..., nn.Module]

    def __post_init__(self) -> None:
        if isinstance(self.factory, nn.Module):
            name = type(self.factory).__name__
            raise InputError(f"every run starts anew: give the class {name} or a function, not a module that exists")
        if not callable(self.factory) or self._arguments((1,), 1) is None:
            raise InputError(f"a network is {HOW}, got {self.name}")

    @property
    def name(self) -> str:
        """What it is called in its own code."""
        return str(getattr(self.factory, "__qualname__", None) or repr(self.factory))

    @property
    def depth(self) -> int:
        """Known of a module that is built, not of its factory.

        Raises:
            InputError: always.
        """
        raise InputError(f"the depth of {self.name} is known only once it is built")

    def build(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """The module for inputs of ``shape``, with all that is random drawn from ``seed``.

        Raises:
            InputError: it cannot be built, is no module, or does not give one number a class for such inputs.
        """
        with _seeded(seed):
            try:
                network = self.factory(*(self._arguments(shape, classes) or ()))
            except Exception as error:
                raise InputError(f"{self.name} cannot be built: {_said(error)}") from error
            if not isinstance(network, nn.Module):
                raise InputError(f"{self.name} must give a torch.nn.Module, it gave {type(network).__name__}")
            self._try(network, shape, classes)
        return network

    def _try(self, network: nn.Module, shape: tuple[int, ...], classes: int) -> None:
        training = network.training
        try:
            with torch.no_grad():
                outputs = network.eval()(torch.zeros(2, *shape))
        except Exception as error:
            raise InputError(
                f"{self.name} does not take samples of shape {shape}: {_said(error)} "
                "(DataSpec(layout='image') gives images, its default flat ones)"
            ) from error
        finally:
            network.train(training)
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if found != (2, classes):
            raise InputError(f"{self.name} must give {classes} logits a sample, for 2 samples it gave {found}")

    def _arguments(self, shape: tuple[int, ...], classes: int) -> tuple[object, ...] | None:
        try:
            signature = inspect.signature(self.factory)
        except (TypeError, ValueError):
            return ()
        for arguments in ((), (shape, classes)):
            try:
                signature.bind(*arguments)
            except TypeError:
                continue
            return arguments
        return None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All generators that a factory may draw from begin at ``seed``, and are afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what users' factories draw from)
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
