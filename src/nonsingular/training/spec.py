"""How networks are trained, and who is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.networks import Architecture, OwnNetwork
from nonsingular.training.breakers import Breaker
from nonsingular.training.regularisers import BiasPenalty

PRECISIONS = ("float32", "bfloat16")
OPTIMISERS = ("adam", "sgd")
AUGMENTATIONS = ("none", "crop+mirror", "reflected-crop+mirror")


@checked
@dataclass(frozen=True)
class Member:
    """One kind of network in a comparison.

    Attributes:
        name: its label.
        network: its architecture, or a class or function of one's own that gives a module (``networks.OwnNetwork``).
        penalty: its regulariser.
        breaker: what breaks its symmetry.

    Raises:
        InputError: a network that is neither.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.training.Member("plain", ns.networks.named("plain", depth=10)).network.depth
    10
    >>> own = ns.training.Member("mine", lambda shape, classes: torch.nn.Linear(shape[0], classes))
    >>> own.name
    'mine'
    """

    name: str
    network: Architecture
    penalty: BiasPenalty | None = None
    breaker: Breaker | None = None

    def __init__(
        self,
        name: str,
        network: Architecture | Callable[..., nn.Module],
        penalty: BiasPenalty | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        own = isinstance(network, type) or not hasattr(network, "build")
        values = (name, OwnNetwork(network) if own else network, penalty, breaker)  # type: ignore[arg-type]
        for field, value in zip(("name", "network", "penalty", "breaker"), values, strict=True):
            object.__setattr__(self, field, value)


@checked
@dataclass(frozen=True)
class TrainingSpec:
    """The protocol of a training run (defaults: orhan2018 §2.3).

    Attributes:
        epochs: passes through the training set.
        batch: samples a step; a last, smaller batch is left out.
        learning_rate: step size.
        optimiser: ``adam`` or ``sgd``.
        momentum: of ``sgd``.
        precision: ``float32``, or ``bfloat16`` for automatic mixed precision.
        weight_decay: of all parameters (of ``sgd`` the L2 penalty; of ``adam`` decoupled, as in AdamW).
        milestones: epochs after which the learning rate is multiplied by ``decay``.
        decay: see there.
        warm_up: epochs at the start with a tenth of the learning rate (He et al. 2016b: 400 steps of 128 images).
        augment: ``none``, or ``crop+mirror``: images padded by 4 zero pixels, cropped and mirrored at random in every
            step (He et al. 2016, section 4.2); or ``reflected-crop+mirror``: padded by 4 reflected ones (Zagoruyko and
            Komodakis 2016, section 3).
        mixup: alpha of mixup (Zhang et al. 2017); 0 mixes nothing.
        nesterov: whether the momentum is Nesterov's, as ``torch.optim.SGD`` has it (Sutskever et al. 2013).

    >>> import nonsingular as ns
    >>> spec = ns.TrainingSpec(epochs=60, batch=128, optimiser="sgd", learning_rate=0.1, milestones=(30, 45))
    >>> spec.momentum, spec.decay
    (0.0, 0.1)
    """

    epochs: int = 1
    batch: int = 500
    learning_rate: float = 5e-4
    optimiser: str = "adam"
    momentum: float = 0.0
    precision: str = "float32"
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    augment: str = "none"
    mixup: float = 0.0
    warm_up: int = 0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"epochs must be at least 1, got {self.epochs}")
        if self.batch < 1:
            raise InputError(f"batch must be at least 1, got {self.batch}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"unknown optimiser {self.optimiser!r}; there are {', '.join(OPTIMISERS)}")
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum > 0):
            raise InputError("nesterov needs optimiser sgd and a momentum above 0")
        if self.augment not in AUGMENTATIONS:
            raise InputError(f"unknown augmentation {self.augment!r}; there are {', '.join(AUGMENTATIONS)}")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if not self.decay > 0:
            raise InputError(f"decay must be positive, got {self.decay}")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if not 0 <= self.mixup < float("inf"):
            raise InputError(f"mixup must be finite and at least 0, got {self.mixup}")
        if self.warm_up < 0:
            raise InputError(f"warm_up must be at least 0, got {self.warm_up}")
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {self.precision!r}; there are {', '.join(PRECISIONS)}")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        warming = 0.1 if epoch < self.warm_up else 1.0
        return warming * self.learning_rate * self.decay ** sum(epoch >= m for m in self.milestones)

    def steps(self, samples: int) -> int:
        """Of an epoch, for a training set of so many samples."""
        return samples // self.batch
