"""The monitor as a callback of the transformers ``Trainer``; importing this needs transformers."""

from __future__ import annotations

import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from nonsingular.diagnosis.monitor import Log, Monitor, Reaction, TrainingStopped, Writer


class MonitorCallback(TrainerCallback):
    """Measures the model that a transformers ``Trainer`` trains.

    Args:
        every: optimiser steps between measurements.
        log: as ``Monitor`` takes it; by default the trainer's ``log_history`` and all that it reports to.
        prefix: of the numbers' names.
        on_finding: as ``Monitor`` takes it; "stop" lets the trainer end in order.
    """

    def __init__(self, every: int, log: Log | Writer | None, prefix: str, on_finding: Reaction = "warn") -> None:
        self._every, self._log, self._prefix, self._react = every, log, prefix, on_finding
        self.monitor: Monitor | None = None

    def on_train_begin(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        reporters = _reporters()

        def log(numbers: dict[str, float], step: int) -> None:
            state.log_history.append({**numbers, "step": step})
            for reporter in reporters:
                reporter.on_log(args, state, control, logs=dict(numbers), model=kwargs["model"])

        optimiser = getattr(kwargs.get("optimizer"), "optimizer", kwargs.get("optimizer"))  # accelerate wraps it
        self.monitor = Monitor(
            kwargs["model"], self._every, self._log or log, self._prefix, optimiser=optimiser, on_finding=self._react
        ).__enter__()

    def on_step_end(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.monitor is not None:
            try:
                self.monitor.step()
            except TrainingStopped:
                control.should_training_stop = True

    def on_train_end(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.monitor is not None:
            self.monitor.close()


def _reporters() -> list[Any]:
    """The trainer's own integrations (TensorBoard, Weights & Biases, ...), which a callback is not handed.

    The handler that calls the callbacks is looked for among the callers; where it is not, only ``log_history`` is kept.
    """
    frame = sys._getframe(1)
    while frame is not None:
        handler = frame.f_locals.get("self")
        if isinstance(handler, CallbackHandler):
            return [c for c in handler.callbacks if type(c).__module__.startswith("transformers.integrations")]
        frame = frame.f_back  # type: ignore[assignment]
    return []
