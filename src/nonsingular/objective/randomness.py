"""Random numbers that a model or a loss draws: noticed, and held the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

State = tuple[Any, ...]


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Within: the random numbers of ``seed`` (PyTorch's, NumPy's, Python's); afterwards the caller's go on."""
    if seed is None:
        yield
        return
    before = state(device)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what a user's code draws from
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])
        if device.type == "cuda":
            torch.cuda.set_rng_state(before[3], device)


def state(device: torch.device) -> State:
    """The generators' states."""
    states = (torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002
    return (*states, torch.cuda.get_rng_state(device)) if device.type == "cuda" else states


def drew(before: State, after: State) -> bool:
    """Whether random numbers were drawn in between."""
    numpy = [(s[1][1].tobytes(), s[1][2]) for s in (before, after)]
    torchs = [[s[0], *s[3:]] for s in (before, after)]
    same = all(torch.equal(a, b) for a, b in zip(*torchs, strict=True))
    return not same or numpy[0] != numpy[1] or before[2] != after[2]


@contextmanager
def watching(model: nn.Module, device: torch.device) -> Iterator[list[str]]:
    """Within: notes modules that draw random numbers, innermost first, in words."""
    found: list[str] = []
    entered: dict[int, State] = {}

    def enter(module: nn.Module, args: Any) -> None:
        entered[id(module)] = state(device)

    def leave(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if drew(entered[id(module)], state(device)):
                found.append(f"module {name or 'model'} ({type(module).__name__})")

        return hook

    handles = [m.register_forward_pre_hook(enter) for m in model.modules()]
    handles += [m.register_forward_hook(leave(n)) for n, m in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
