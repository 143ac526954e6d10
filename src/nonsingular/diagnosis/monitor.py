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

Every ``every``-th step hooks are set for one forward and backward pass, and the loop is observed (``loop``) for that
step and the next, as it is in the first steps. In between nothing is, but for the latest batch where ``optimiser`` is
given, so that what makes a gradient NaN can be named before the weights are. Hooks hold no reference to the monitor,
and the monitor none to activations.

Findings are those of ``nonsingular watch``. They are told once each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from nonsingular.checks import checked
from nonsingular.diagnosis import healthy
from nonsingular.diagnosis.findings import Finding, findings
from nonsingular.diagnosis.layers import layers, response, unit_axis
from nonsingular.diagnosis.loop.caught import Caught
from nonsingular.diagnosis.loop.observer import Observer
from nonsingular.diagnosis.loop.sentinel import Sentinel
from nonsingular.diagnosis.loop.statistics import loop_statistics
from nonsingular.diagnosis.loop.statistics.losses import constant
from nonsingular.diagnosis.loop.taps import tapped
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError, MissingExtra
from nonsingular.places import warn
from nonsingular.spelling import spelled

Log = Callable[[dict[str, float], int], Any]
Reaction = Literal["warn", "stop"] | Callable[[Finding], Any] | None
FIRST = 5  # steps from the start in which the loop is observed
SAMPLES = 64  # of a batch that are measured
ALARM_DECADES = 5.0  # between the layers' gradients, or what tells samples apart in them


@runtime_checkable
class Writer(Protocol):
    """TensorBoard's ``SummaryWriter``, or anything with its one method."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> Any:
        """Keep one number."""


@dataclass
class _Seen:
    """Sums of one layer in one step; all a hook refers to."""

    numbers: dict[str, float] = field(default_factory=dict)


class TrainingStopped(RuntimeError):
    """A monitor with ``on_finding="stop"`` found something; ``findings`` says what."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = findings


@checked
class Monitor:
    """Measures signals, dead units, gradients and steps of every layer while a network trains, and says what is wrong.

    Args:
        model: that trains.
        every: steps between measurements.
        log: where numbers go: a function ``log(numbers, step)``, a TensorBoard ``SummaryWriter``, or None to keep them
            in ``history`` alone.
        prefix: of the numbers' names: ``<prefix>/<measure>/<layer>``, or ``<prefix>/<measure>`` of the whole.
        keep: measurements kept in ``history``, the latest.
        optimiser: of the loop, or several: with it each gradient is looked at before it is used, and where it is not
            finite the batch is run again to name the operation.
        on_finding: "warn" (a Python warning), "stop" (``TrainingStopped`` out of ``step``), a function of a finding, or
            None to keep them in ``findings`` alone.

    Attributes:
        history: (step, numbers), the latest last.
        findings: what was found so far, in the order in which it was.

    Raises:
        InputError: a cadence below 1, a model without layers, or a log, an optimiser or a reaction that is none.

    Example:
        >>> import torch, nonsingular as ns
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with ns.Monitor(model, every=5, optimiser=optimiser, on_finding=None) as monitor:
        ...     for _ in range(12):
        ...         loss = model(torch.randn(16, 4)).square().mean()  # zero_grad() is missing
        ...         loss.backward()
        ...         optimiser.step()
        ...         monitor.step()
        >>> monitor.findings[0].kind
        'gradients-accumulate'
    """

    @spelled
    def __init__(
        self, model: nn.Module, every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular",
        keep: int = 1000, *, optimiser: Optimizer | Sequence[Optimizer] | None = None, on_finding: Reaction = "warn",
    ) -> None:  # fmt: skip
        if every < 1:
            raise InputError(f"every must be at least 1 step, got {every}")
        if log is not None and not (isinstance(log, Writer) or callable(log)):
            raise InputError(f"log must be log(numbers, step) or have add_scalar, got {type(log).__name__}")
        if not (on_finding in ("warn", "stop", None) or callable(on_finding)):
            raise InputError(f'on_finding must be "warn", "stop", a function of a finding or None, got {on_finding!r}')
        held: list[Any] = (
            list(optimiser) if isinstance(optimiser, list | tuple) else [] if optimiser is None else [optimiser]
        )
        if not all(isinstance(o, Optimizer) for o in held):
            raise InputError("optimiser must be a torch.optim.Optimizer or several of them")
        self._layers = layers(model)
        if not self._layers:
            raise InputError("the model has no layers to watch")
        self.every, self.history, self.findings = every, list[tuple[int, dict[str, float]]](), list[Finding]()
        self._log, self._prefix, self._keep, self._react = log, prefix, keep, on_finding
        self._step, self._handles = 0, list[RemovableHandle]()
        self._seen: dict[str, _Seen] = {}
        self._before: dict[str, Tensor] = {}
        self._observer = Observer(measured=sys.maxsize, caught=Caught(batches=0))
        self._taps: AbstractContextManager[None] | None = None
        self._model, self._optimisers = model, held
        self._sentinel: Sentinel | None = None
        for o in held:
            self._observer.met(o)

    def __enter__(self) -> Monitor:
        if self._optimisers and self._sentinel is None:
            self._sentinel = Sentinel(self._model, self._optimisers, _breaker(self._observer))
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self) -> None:
        """A training step is done: call it after the optimiser's.

        Raises:
            TrainingStopped: something was found, and ``on_finding`` is "stop".
        """
        broken = self._observer.loop.broken is not None and not any(f.kind.startswith("nan-") for f in self.findings)
        if self._handles:
            self._publish()
            self._disarm()
        self._step += 1
        self._observer.unseen = self._step - self._observer.loop.steps
        due = self._taps is not None and (not self._observing() or self._step % max(self.every, FIRST) == 0)
        if due and not self._observing():
            self._leave()
        self._arm()
        if due or broken:
            self._judge()

    def close(self) -> None:
        """Take all hooks away, say what was found last, and let go of the log."""
        self._disarm()
        if self._taps is not None:
            self._leave()
        if self._sentinel is not None:
            self._sentinel.close()
            self._sentinel = None
        self._log = None
        self._react = None if self._react == "stop" else self._react
        self._judge()

    @property
    def alarms(self) -> list[str]:
        """What was found, in a line each."""
        return [str(finding) for finding in self.findings]

    # --- what is wrong --------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Findings of the loop and of the latest measurement, told where they are new."""
        numbers = loop_statistics(self._observer.loop) | self._signals()
        known = {f.kind for f in self.findings}
        new = [f for f in findings(numbers, healthy.limits()) if f.kind not in known and not f.because]
        self.findings += new
        if self._react == "warn":
            for finding in new:
                warn(f"step {self._step}: {finding}")
        elif callable(self._react):
            for finding in new:
                self._react(finding)
        elif self._react == "stop" and new:
            raise TrainingStopped(new)

    def _signals(self) -> dict[str, Statistic]:
        """What the latest measurement says of the network, where it is beyond doubt."""
        if not self.history:
            return {}
        numbers = self.history[-1][1]
        found: dict[str, Statistic] = {}
        bad = [k.rpartition("/")[2] for k, v in numbers.items() if "/signal/" in k and not math.isfinite(v)]
        if bad:
            found["overflow"] = Statistic(1.0, tuple(bad), "layers return infinity or NaN")
        for measure, name in (("spread", "signal-decades"), ("gradient", "gradient-decades")):
            sizes = {k.rpartition("/")[2]: v for k, v in numbers.items() if f"/{measure}/" in k}
            values = list(sizes.values())
            if len(values) > 1 and all(0 < v < math.inf for v in values):
                quarter = max(1, len(values) // 4)
                decades = math.log10(max(values[-quarter:]) / max(values[:quarter]))
                if abs(decades) > ALARM_DECADES:
                    words = f"decades of the {measure} from the first quarter of the layers to the last"
                    found[name] = Statistic(decades, tuple(sizes), words)
        dead = tuple(k.rpartition("/")[2] for k, v in numbers.items() if "/negative/" in k and v >= 1)
        if dead:
            found["dead"] = Statistic(1.0, dead, "share of units that are positive for no sample")
        return found

    # --- when to look ---------------------------------------------------------------------------------------

    def _observing(self) -> bool:
        """Whether the loop is observed in the step that comes: two at a time, to see what the first leaves the next."""
        return self._step < FIRST or self._step % self.every < 2

    def _leave(self) -> None:
        assert self._taps is not None
        self._taps.__exit__(None, None, None)
        self._taps = None
        self._observer.pause()

    # --- one measurement ------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._observing() and self._taps is None:
            self._taps = tapped(self._observer)
            self._taps.__enter__()
        if self._step % self.every or self._handles:
            return
        self._before = {name: w.detach().clone() for name, m in self._layers.items() if (w := _weight(m)) is not None}
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
            weight, before = _weight(module), self._before.get(name)
            if weight is not None and before is not None and before.shape == weight.shape:
                measured["weight"] = size = float(weight.norm())
                if size > 0:
                    measured["update"] = float((weight - before).norm()) / size
            for measure, value in measured.items():
                numbers[f"{self._prefix}/{measure}/{name}"] = value
        self._before = {}
        if not numbers:
            return
        numbers |= {f"{self._prefix}/{name}": value for name, value in self._whole(numbers).items()}
        self.history.append((self._step, numbers))
        del self.history[: -self._keep]
        if isinstance(self._log, Writer):
            for tag, value in numbers.items():
                self._log.add_scalar(tag, value, self._step)
        elif self._log is not None:
            self._log(numbers, self._step)

    def _whole(self, numbers: dict[str, float]) -> dict[str, float]:
        """The few numbers to look at first: loss, against the best constant prediction, step, gradients, findings."""
        loop, found = self._observer.loop, {"findings": float(len(self.findings))}
        if loop.losses:
            found["loss"] = loop.losses[-1][1]
        best, values = constant(loop)
        if best > 0 and values:
            found["loss_over_constant"] = values[-1] / best
        steps = [v for k, v in numbers.items() if "/update/" in k]
        if steps:
            found["step_over_weight"] = sorted(steps)[len(steps) // 2]
        gradients = [v for k, v in numbers.items() if "/gradient/" in k and 0 < v < math.inf]
        if gradients:
            found["gradient_decades"] = math.log10(max(gradients) / min(gradients))
        return found

    # --- other people's loops -------------------------------------------------------------------------------

    @staticmethod
    def lightning(
        every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular", on_finding: Reaction = "warn"
    ) -> Any:
        """A Lightning callback; without ``log`` numbers go to the trainer's own loggers. "stop" ends the fit in order.

        Raises:
            MissingExtra: Lightning is not installed.
        """
        try:
            from nonsingular.diagnosis.monitor_lightning import MonitorCallback
        except ImportError:
            raise MissingExtra("the Lightning callback", "lightning") from None
        return MonitorCallback(every, log, prefix, on_finding)

    @staticmethod
    def transformers(
        every: int = 100, log: Log | Writer | None = None, prefix: str = "nonsingular", on_finding: Reaction = "warn"
    ) -> Any:
        """A ``transformers.TrainerCallback``; "stop" ends the training in order.

        Without ``log`` numbers join the trainer's log history and go to what it reports to, as TensorBoard.

        Raises:
            MissingExtra: transformers is not installed.
        """
        try:
            from nonsingular.diagnosis.monitor_transformers import MonitorCallback
        except ImportError:
            raise MissingExtra("the transformers callback", "transformers") from None
        return MonitorCallback(every, log, prefix, on_finding)


def _weight(module: nn.Module) -> Tensor | None:
    return next((p for p in module.parameters(recurse=False) if p.ndim >= 2), None)


def _breaker(observer: Observer) -> Callable[[Statistic | None], None]:
    def broke(made: Statistic | None) -> None:
        observer.broke("loss" if made is not None and "gradient" not in made.words else "gradient", made)

    return broke


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
