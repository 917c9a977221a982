"""Threads and clusters do the same work."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import KilledWorker, default_client

from coslide.errors import InputError
from coslide.io.executor import map_unordered, open_executor, prefetch

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
    with open_executor(count=2) as executor:
        yield executor


@pytest.fixture
def scheduler(cluster):
    return default_client().scheduler.address


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(params=["threads", "cluster"])
def executor(request):
    return request.getfixturevalue(request.param)


def test_every_item_comes_with_its_result(executor):
    assert dict(map_unordered(executor, summing(), np.arange(5), [1, 2, 3])) == {1: 10, 2: 20, 3: 30}


def test_an_error_comes_through_as_it_is(executor):
    with pytest.raises(InputError, match="two: cannot be used"):
        list(map_unordered(executor, refusing(), None, [1, 2, 3]))


def test_a_bounded_number_of_items_is_in_flight_and_what_has_not_begun_by_an_error_is_not_done(threads, monkeypatch):
    monkeypatch.setattr("coslide.io.executor._IN_FLIGHT", 4)
    begun, taken = [], iter(range(1000))

    def work(_, item):
        begun.append(item)
        if item == 10:
            raise OSError("gone")
        return item

    with pytest.raises(OSError, match="gone"):
        for done, _ in enumerate(map_unordered(threads, work, None, taken), start=1):
            assert len(begun) <= done + 4
    assert 11 <= len(begun) <= 14


def test_shared_data_is_sent_once_to_each_process(cluster):
    """In each process there is one object, however many items it is given."""
    seen = dict(map_unordered(cluster, lambda shared, _: (os.getpid(), id(shared)), [1, 2, 3], range(20)))
    assert len(set(seen.values())) == len({process for process, _ in seen.values()})


def test_a_worker_that_is_killed_is_survived(cluster, tmp_path):
    found = map_unordered(cluster, dying_once(), Path(tmp_path), range(8))
    assert dict(found) == {item: item**2 for item in range(8)}
    assert (tmp_path / "died").exists()


def test_a_scheduler_gives_the_work_to_its_workers(scheduler):
    with open_executor(scheduler=scheduler) as executor:
        assert dict(map_unordered(executor, summing(), np.arange(3), [2])) == {2: 6}


def test_work_over_which_workers_die_again_and_again_is_one_line(scheduler):
    with (
        pytest.raises(InputError, match="died over the same work; give them more memory"),
        open_executor(scheduler=scheduler),
    ):
        raise KilledWorker("work", SimpleNamespace(address="tcp://127.0.0.1:9"), 3)


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr("coslide.io.executor._CONNECT_S", 0.5)
    with (
        pytest.raises(InputError, match=r"--scheduler tcp://127\.0\.0\.1:9: cannot be reached"),
        open_executor(scheduler="tcp://127.0.0.1:9"),
    ):
        pass


def test_without_workers_or_scheduler_this_process_does_the_work():
    with open_executor() as executor:
        assert executor is None


def test_a_cluster_leaves_the_environment_of_this_process_alone(cluster):
    """Networks trained in a process started later would otherwise run on one thread, with other roundings."""
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
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == 4  # one taken, three ready
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
