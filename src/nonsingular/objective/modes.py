"""In which mode a model is measured: one rule for everything that takes a model.

A network with dropout or batch normalisation is two functions. Which of them a number is of must not depend on what the
model was used for last, so that it is the evaluated one unless the other is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nonsingular.errors import InputError

MODES = ("eval", "train", "own")
Modes = Sequence[tuple[nn.Module, bool]]
"""Each module, and whether it is in training mode."""

TOLD = (
    "the model is in training mode, where its loss is another, and is measured in evaluation mode: say mode='eval' to "
    "mean that, mode='train' to measure it as it trains, or mode='own' to leave every module as it is"
)


def put(model: nn.Module, mode: str | None) -> None:
    """Put a model into the mode that is asked for: evaluation by default.

    Raises:
        InputError: no such mode.
    """
    if mode is not None and mode not in MODES:
        raise InputError(f"mode must be {', '.join(map(repr, MODES))}, got {mode!r}")
    if mode != "own":
        model.train(mode == "train")


def named(modes: Modes) -> str:
    """The mode, as it is asked for; ``own`` where modules are in different ones.

    >>> layers = [nn.Linear(3, 2), nn.Dropout()]
    >>> named([(layer, False) for layer in layers])
    'eval'
    """
    training = {mode for _, mode in modes}
    return "own" if len(training) > 1 else "train" if True in training else "eval"


def in_words(modes: Modes) -> str:
    """The mode in a word or two, for people.

    >>> in_words([(nn.Linear(3, 2), False), (nn.Dropout(), True)])
    'own (1 of 2 modules in training mode)'
    """
    training = sum(mode for _, mode in modes)
    own = f"own ({training} of {len(modes)} modules in training mode)"
    return {"eval": "evaluation", "train": "training", "own": own}[named(modes)]
