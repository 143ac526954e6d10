"""Watch a training loop the user already has: a few numbers a layer, every so many steps.

```python
with ns.Monitor(model, every=100, log=writer) as monitor:
    for x, y in loader:
        loss = loss_fn(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        monitor.step()
```

Between measurements no hook is set, so that they cost nothing; every ``every``-th step the hooks are set for one
forward and backward pass. They hold no reference to the monitor, and the monitor none to activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nonsingular.diagnosis.layers import layers, response, unit_axis
from nonsingular.errors import InputError, MissingExtra

Log = Callable[[dict[str, float], int], Any]
SAMPLES = 64  # of a batch that are measured
ALARM_DECADES = 5.0  # between the layers' gradients


@runtime_checkable
class Writer(Protocol):
    """TensorBoard's ``SummaryWriter``, or anything with its one method."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> Any:
        """Keep one number."""


@dataclass
class _Seen:
    """Sums of one layer in one step; all a hook refers to."""

    numbers: dict[str, float] = field(default_factory=dict)


class Monitor:
    """Measures signals, dead units and gradients of every layer while a network trains.

    Args:
        model: that trains.
        every: steps between measurements.
        log: where numbers go: a function ``log(numbers, step)``, a TensorBoard ``SummaryWriter``, or None to keep them
            in ``history`` alone.
        prefix: of the numbers' names: ``<prefix>/<measure>/<layer>``.
        keep: measurements kept in ``history``, the latest.

    Attributes:
        history: (step, numbers), the latest last.

    Raises:
        InputError: a cadence below 1, a model without layers, or a log that is none.
    """

    def __init__(
        self, model: nn.Module, every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular",
        keep: int = 1000,
    ) -> None:  # fmt: skip
        if every < 1:
            raise InputError(f"every must be at least 1 step, got {every}")
        if log is not None and not (isinstance(log, Writer) or callable(log)):
            raise InputError(f"log must be log(numbers, step) or have add_scalar, got {type(log).__name__}")
        self._layers = layers(model)
        if not self._layers:
            raise InputError("the model has no layers to watch")
        self.every, self.history = every, list[tuple[int, dict[str, float]]]()
        self._log, self._prefix, self._keep = log, prefix, keep
        self._step, self._handles = 0, list[RemovableHandle]()
        self._seen: dict[str, _Seen] = {}

    def __enter__(self) -> Monitor:
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self) -> None:
        """A training step is done: call it after the optimiser's."""
        if self._handles:
            self._publish()
            self._disarm()
        self._step += 1
        self._arm()

    def close(self) -> None:
        """Take all hooks away and let go of the log."""
        self._disarm()
        self._log = None

    @property
    def alarms(self) -> list[str]:
        """What the latest measurement warns of, in a line each."""
        if not self.history:
            return []
        step, numbers = self.history[-1]
        lines = []
        bad = [k for k, v in numbers.items() if not math.isfinite(v)]
        if bad:
            lines.append(f"step {step}: {bad[0]} is not finite")
        gradients = [v for k, v in numbers.items() if "/gradient/" in k and v > 0 and math.isfinite(v)]
        if len(gradients) > 1 and math.log10(max(gradients) / min(gradients)) > ALARM_DECADES:
            decades = math.log10(max(gradients) / min(gradients))
            lines.append(f"step {step}: layers' gradients differ by {decades:.1f} decades")
        dead = [k.rpartition("/")[2] for k, v in numbers.items() if "/negative/" in k and v >= 1]
        if dead:
            lines.append(f"step {step}: no unit of {', '.join(dead)} is positive for any sample")
        return lines

    # --- one measurement ------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._step % self.every or self._handles:
            return
        self._seen = {name: _Seen() for name in self._layers}
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_hook(_forward_hook(self._seen[name])))

    def _disarm(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen = {}

    @torch.no_grad()
    def _publish(self) -> None:
        numbers: dict[str, float] = {}
        for name, module in self._layers.items():
            measured = dict(self._seen[name].numbers)
            weight = next((p for p in module.parameters(recurse=False) if p.ndim >= 2), None)
            if weight is not None:
                size = float(weight.norm())
                measured["weight"] = size
                if weight.grad is not None and size > 0:
                    measured["update"] = float(weight.grad.norm()) / size
            for measure, value in measured.items():
                numbers[f"{self._prefix}/{measure}/{name}"] = value
        if not numbers:
            return
        self.history.append((self._step, numbers))
        del self.history[: -self._keep]
        if isinstance(self._log, Writer):
            for tag, value in numbers.items():
                self._log.add_scalar(tag, value, self._step)
        elif self._log is not None:
            self._log(numbers, self._step)

    # --- other people's loops -------------------------------------------------------------------------------

    @staticmethod
    def lightning(every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular") -> Any:
        """A Lightning callback; without ``log`` numbers go to the trainer's own loggers.

        Raises:
            MissingExtra: Lightning is not installed.
        """
        try:
            from nonsingular.diagnosis.monitor_lightning import MonitorCallback
        except ImportError:
            raise MissingExtra("the Lightning callback", "lightning") from None
        return MonitorCallback(every, log, prefix)

    @staticmethod
    def transformers(every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular") -> Any:
        """A ``transformers.TrainerCallback``; without ``log`` numbers join the trainer's own log history.

        Raises:
            MissingExtra: transformers is not installed.
        """
        try:
            from nonsingular.diagnosis.monitor_transformers import MonitorCallback
        except ImportError:
            raise MissingExtra("the transformers callback", "transformers") from None
        return MonitorCallback(every, log, prefix)


def _forward_hook(seen: _Seen) -> Callable[[nn.Module, Any, Any], None]:
    """Refers to the record of one layer alone, so that neither model nor monitor is in a cycle."""

    def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = response(output)
        if tensor is None or not module.training or seen.numbers:
            return  # evaluation in between, or a further call within the step
        with torch.no_grad():
            part = tensor.detach()[:SAMPLES].float()
            axis = unit_axis(module, part)
            seen.numbers["signal"] = float(part.square().mean().sqrt())
            seen.numbers["spread"] = float(part.var(0, correction=0).mean().sqrt())
            others = [a for a in range(part.ndim) if a != axis]
            seen.numbers["negative"] = float((part.amax(others) <= 0).float().mean())
        if tensor.requires_grad:
            tensor.register_hook(_backward_hook(seen))

    return hook


def _backward_hook(seen: _Seen) -> Callable[[Tensor], None]:
    def keep(gradient: Tensor) -> None:
        # Of the mean loss; times the batch it is the mean over samples of the gradient of their own loss.
        part = gradient.detach()[:SAMPLES]
        norms = torch.linalg.vector_norm(part.flatten(1), dim=1, dtype=torch.float64)
        seen.numbers["gradient"] = float(norms.mean()) * len(gradient)

    return keep
