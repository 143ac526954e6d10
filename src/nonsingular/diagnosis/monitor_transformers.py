"""The monitor as a callback of the transformers ``Trainer``; importing this needs transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nonsingular.diagnosis.monitor import Log, Monitor, Writer


class MonitorCallback(TrainerCallback):
    """Measures the model that a transformers ``Trainer`` trains.

    Args:
        every: optimiser steps between measurements.
        log: as ``Monitor`` takes it; by default an entry of the trainer's ``log_history``.
        prefix: of the numbers' names.
    """

    def __init__(self, every: int, log: Log | Writer | None, prefix: str) -> None:
        self._every, self._log, self._prefix = every, log, prefix
        self.monitor: Monitor | None = None

    def on_train_begin(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        log = self._log or (lambda numbers, step: state.log_history.append({**numbers, "step": step}))
        self.monitor = Monitor(kwargs["model"], self._every, log, self._prefix).__enter__()

    def on_step_end(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.monitor is not None:
            self.monitor.step()

    def on_train_end(  # noqa: D102
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.monitor is not None:
            self.monitor.close()
