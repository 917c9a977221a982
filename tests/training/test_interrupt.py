"""Ctrl-C during a training, sent by the process to itself."""

import os
import signal

import pytest

from coslide.training.interrupt import EndsBetweenBatches


@pytest.fixture(autouse=True)
def _default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", ["on_train_batch_end", "on_validation_batch_end"])
def test_an_interrupt_waits_for_the_end_of_the_batch(end):
    interrupt = EndsBetweenBatches()
    after = []
    with pytest.raises(KeyboardInterrupt), interrupt.listening():
        getattr(interrupt, end)()
        os.kill(os.getpid(), signal.SIGINT)
        after.append("the batch goes on")
        getattr(interrupt, end)()
        after.append("another batch")
    assert after == ["the batch goes on"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_ends_it_at_once():
    after = []
    with pytest.raises(KeyboardInterrupt), EndsBetweenBatches().listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        after.append("the batch goes on")
    assert after == []


def test_an_interrupt_after_the_last_batch_is_not_lost():
    with pytest.raises(KeyboardInterrupt), EndsBetweenBatches().listening():
        os.kill(os.getpid(), signal.SIGINT)


def test_a_process_that_ignores_interrupts_goes_on_to():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupt = EndsBetweenBatches()
    with interrupt.listening():
        os.kill(os.getpid(), signal.SIGINT)
        interrupt.on_train_batch_end()
