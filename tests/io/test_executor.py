"""Threads and clusters do the same work."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from coslide.errors import InputError
from coslide.io.executor import Threads, open_executor, prefetch

THREADS_AT_START = os.environ.get("OMP_NUM_THREADS")

# What workers are to call is made inside functions: it is then sent whole, for they cannot import a test module.


def summing():
    return lambda shared, item: int((shared * item).sum())


def refusing():
    def refuse(_, item):
        if item == 2:
            raise InputError("two: cannot be used")
        return item

    return refuse


def dying_once():
    def work(folder, item):
        if item == 3:
            try:
                (folder / "died").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return item**2

    return work


@pytest.fixture(scope="module")
def cluster():
    with open_executor(count=2) as workers:
        yield workers


def test_threads_answer_for_every_item():
    assert dict(Threads().each(summing(), np.arange(5), [1, 2, 3])) == {1: 10, 2: 20, 3: 30}


def test_an_error_in_a_thread_is_raised_and_ends_the_work():
    with pytest.raises(InputError, match="two: cannot be used"):
        list(Threads(1).each(refusing(), None, [1, 2, 3]))


def test_a_cluster_gives_what_threads_give(cluster):
    shared = np.arange(5)
    assert dict(cluster.each(summing(), shared, [1, 2, 3])) == dict(Threads().each(summing(), shared, [1, 2, 3]))


def test_an_error_in_a_worker_is_raised_here(cluster):
    with pytest.raises(InputError, match="two: cannot be used"):
        list(cluster.each(refusing(), None, [1, 2, 3]))


def test_a_worker_that_is_killed_is_survived(cluster, tmp_path):
    assert dict(cluster.each(dying_once(), Path(tmp_path), range(8))) == {item: item**2 for item in range(8)}
    assert (tmp_path / "died").exists()


def test_a_scheduler_hires_its_workers(cluster):
    with open_executor(scheduler=cluster.client.scheduler.address) as workers:
        assert dict(workers.each(summing(), np.arange(3), [2])) == {2: 6}


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr("coslide.io.executor._CONNECT_S", 0.5)
    with (
        pytest.raises(InputError, match=r"--scheduler tcp://127\.0\.0\.1:9: cannot be reached"),
        open_executor(scheduler="tcp://127.0.0.1:9"),
    ):
        pass


def test_nobody_hired_means_the_threads_of_this_process():
    with open_executor() as workers:
        assert isinstance(workers, Threads)


def test_a_cluster_leaves_the_environment_of_this_process_alone(cluster):
    """Networks trained in a process started later would otherwise run on one thread, with other roundings."""
    assert cluster.client.scheduler_info()["workers"]
    assert os.environ.get("OMP_NUM_THREADS") == THREADS_AT_START


def test_items_are_made_a_little_before_they_are_asked_for_and_not_more():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    with prefetch(items(), 3) as found:
        assert next(found) == 0
        deadline = time.monotonic() + 10
        while len(made) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) <= 6  # one taken, three ready, one waiting for room
    assert len(made) < 20


def test_an_error_in_the_thread_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise OSError("gone")

    with prefetch(items()) as found:
        assert next(found) == 1
        with pytest.raises(OSError, match="gone"):
            next(found)


def test_the_thread_ends_with_the_block_though_nobody_takes_its_items():
    before = threading.active_count()
    with prefetch(iter(int, 1)) as found:  # without end
        next(found)
    assert threading.active_count() == before
