"""What made a gradient not finite: told before the step that would make every weight so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nonsingular.diagnosis.loop.caught import Caught
from nonsingular.diagnosis.loop.taps import losses_tapped
from nonsingular.diagnosis.records import Statistic


class Sentinel:
    """Keeps the latest batch; looks at one gradient before each step, and runs the batch again where it is not finite.

    Costs a hook on the model, a call around its loss, and one small sum a step (on a GPU: a wait for it).

    Args:
        model: that trains.
        optimisers: of its loop.
        alarm: called with what made it so, None where that is not found.
    """

    def __init__(
        self, model: nn.Module, optimisers: list[Optimizer], alarm: Callable[[Statistic | None], None]
    ) -> None:
        self._caught, self._alarm = Caught(batches=0), alarm
        self._handles: list[RemovableHandle] = [
            model.register_forward_hook(
                lambda module, args, named, output: self._caught.called(module, args, named, output), with_kwargs=True
            ),
            *(o.register_step_pre_hook(lambda o, args, named: self._look(o)) for o in optimisers),
        ]
        self._losses = losses_tapped(self)
        self._losses.__enter__()

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any], value: Any) -> None:
        """See ``taps.Listener``."""
        self._caught.lost(name, args, named)

    def refused(self, function: Any, args: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        """See ``taps.Listener``."""

    def failed(self, event: str, error: Exception) -> None:
        """See ``taps.Listener``."""

    def _look(self, optimiser: Optimizer) -> None:
        held = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if held and not torch.isfinite(min(held, key=lambda p: p.numel()).grad.sum()):
            self._alarm(self._caught.replayed())

    def close(self) -> None:
        """Take everything away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._losses.__exit__(None, None, None)
