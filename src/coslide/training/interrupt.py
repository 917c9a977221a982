"""Ctrl-C during a training."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lightning.pytorch.callbacks import Callback


class EndsBetweenBatches(Callback):
    """Let Ctrl-C end a training after the batch at hand, and a second one at once.

    An interrupt in the middle of a batch can leave a lock of a library held, and the process would wait for it for ever
    (TensorBoard's queue), or be lost while Python cleans up an object.
    """

    def __init__(self) -> None:
        self._heard = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C for the length of the block; a process that ignores it, or another thread, goes on as it did."""
        before = signal.getsignal(signal.SIGINT)
        if not callable(before) or threading.current_thread() is not threading.main_thread():
            yield
            return

        def hear(number: int, frame: FrameType | None) -> None:
            if self._heard:
                before(number, frame)
            self._heard = True

        signal.signal(signal.SIGINT, hear)
        try:
            yield
            if self._heard:  # after the last batch
                raise KeyboardInterrupt
        finally:
            signal.signal(signal.SIGINT, before)

    def on_train_batch_end(self, *_: Any) -> None:
        """End the training if it was asked to."""
        if self._heard:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *_: Any) -> None:
        """End the training if it was asked to."""
        self.on_train_batch_end()
