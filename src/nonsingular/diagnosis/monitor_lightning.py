"""The monitor as a Lightning callback; importing this needs Lightning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from nonsingular.diagnosis.monitor import Log, Monitor, Reaction, TrainingStopped, Writer


class MonitorCallback(Callback):
    """Measures the module that Lightning trains.

    Args:
        every: steps between measurements.
        log: as ``Monitor`` takes it; by default the trainer's loggers.
        prefix: of the numbers' names.
        on_finding: as ``Monitor`` takes it; "stop" lets the trainer end in order.
    """

    def __init__(self, every: int, log: Log | Writer | None, prefix: str, on_finding: Reaction = "warn") -> None:
        self._every, self._log, self._prefix, self._react = every, log, prefix, on_finding
        self.monitor: Monitor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: D102
        log = self._log or (lambda numbers, step: [logger.log_metrics(numbers, step) for logger in trainer.loggers])
        self.monitor = Monitor(
            pl_module, self._every, log, self._prefix, optimiser=trainer.optimizers, on_finding=self._react
        ).__enter__()

    def on_train_batch_end(  # noqa: D102
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.monitor is not None:
            try:
                self.monitor.step()
            except TrainingStopped:
                trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: D102
        if self.monitor is not None:
            self.monitor.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: D102
        if self.monitor is not None:
            self.monitor.close()
