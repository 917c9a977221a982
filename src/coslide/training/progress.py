"""How far a training is: each step to whoever listens to progress, and a line for every tenth."""

import logging
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from coslide.progress import report_progress

_log = logging.getLogger(__name__)
_LINES = 10


class ReportedProgress(Callback):
    """Reports each of `steps` steps, and logs a line for every tenth of them, with the loss and the time left."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._started, self._first = 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note when and at which step this run began."""
        self._started, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Report a step."""
        if not trainer.is_global_zero:
            return
        done = trainer.global_step
        report_progress("training", done, self._steps)
        if done * _LINES // self._steps > (done - 1) * _LINES // self._steps:
            left_min = (time.monotonic() - self._started) / max(1, done - self._first) * (self._steps - done) / 60
            loss = float(trainer.callback_metrics.get("loss_step", float("nan")))
            _log.info(f"step {done} of {self._steps}, loss {loss:.4f}, {left_min:.1f} min left")
