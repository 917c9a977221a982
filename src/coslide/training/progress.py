"""How far a training is: a bar on a terminal, else a line for every tenth."""

import logging
import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, RichProgressBar

_log = logging.getLogger(__name__)


_LINES = 10


def progress_callback(steps: int) -> Callback:
    """Make the callback that tells how far a training of `steps` steps is: a bar where standard error is a terminal."""
    return _Bar() if sys.stderr.isatty() else _Lines(steps)


class _Bar(RichProgressBar):
    """Epoch, loss, speed and time left, on the error channel: standard output belongs to the results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        """Choose what the bar shows beside the speed: the losses, without the number of the log folder."""
        shown = super().get_metrics(*args)
        return {name: value for name, value in shown.items() if name != "v_num"}


class _Lines(Callback):
    """A line for every tenth of a training, with the loss and the time left."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._started, self._first = 0.0, 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note when and at which step this run began."""
        self._started, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_end(  # noqa: PLR0917 - as Lightning calls it
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Say how far it is."""
        done = trainer.global_step
        if done * _LINES // self._steps == (done - 1) * _LINES // self._steps or not trainer.is_global_zero:
            return
        per_step_s = (time.monotonic() - self._started) / max(1, done - self._first)
        loss = float(trainer.callback_metrics.get("loss_step", float("nan")))
        left_min = per_step_s * (self._steps - done) / 60
        _log.info(f"step {done} of {self._steps}, loss {loss:.4f}, {left_min:.1f} min left")
