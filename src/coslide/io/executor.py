"""Who does the work of many windows: threads of this process, or the workers of a dask cluster.

The windows are the same either way and each is computed by the same function, so the results are the same. Networks are
the exception: which kernels torch picks depends on the processor, so that workers may differ in the last digits.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from coslide.errors import InputError

_CONNECT_S = 10
_LOOK_S = 0.1  # how often a thread that waits looks whether it is still wanted

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Something that calls a function for many items at once."""

    def each(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Return each item with ``work(shared, item)``, in the order in which they are done.

        The first error that `work` raises is raised here; what has not begun by then is not done.
        """
        ...


def available_processors() -> int:
    """Return how many processors this process may use, at least 1.

    Examples
    --------
    >>> available_processors() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):  # Linux: containers and schedulers may allow fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Threads:
    """Threads of this process, as many as `count`; by default as there are processors.

    Examples
    --------
    >>> sorted(Threads(2).each(lambda shared, item: shared + item, 10, [1, 2, 3]))
    [(1, 11), (2, 12), (3, 13)]
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or available_processors()

    def each(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Return each item with its result, as they are done; see `Workers`."""
        pool = ThreadPoolExecutor(self.count)
        try:
            running: dict[Future[Result], Item] = {pool.submit(work, shared, item): item for item in items}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class Cluster:
    """The workers of a dask cluster; `client` is connected to its scheduler.

    A worker that dies is survived: what it had not finished is given to another. What the work writes must lie where
    every worker can reach it under the same path.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def each(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Return each item with its result, as they are done; see `Workers`.

        Raises
        ------
        InputError
            If workers died over the same item again and again.
        """
        from distributed import KilledWorker, as_completed

        kept = self.client.scatter(shared, broadcast=True, hash=False)
        running = {self.client.submit(work, kept, item, pure=False): item for item in items}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except KilledWorker as error:
            raise InputError(
                f"workers of {self.client.scheduler.address} died over the same work; give them more memory ({error})"
            ) from None
        finally:
            self.client.cancel(list(running))


@contextmanager
def open_executor(*, scheduler: str | None = None, count: int | None = None) -> Iterator[Workers]:
    """Return workers for the length of the block.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler, such as ``"tcp://10.0.0.1:8786"``. Workers and scheduler run code that they are
        sent: use only those of a network that you trust.
    count
        Without `scheduler`: that many processes of a cluster on this machine. None for both: threads of this process.

    Raises
    ------
    InputError
        If the scheduler does not answer, or it has no workers.
    """
    if scheduler is None and count is None:
        yield Threads()
        return
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    if scheduler is None:
        # What dask wants to set for its workers, OMP_NUM_THREADS=1 among it, it would set for this process too.
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": {}}),
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as local,
            Client(local) as client,
        ):
            yield Cluster(client)
        return
    try:
        client = Client(scheduler, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--scheduler {scheduler}: cannot be reached ({reason})") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise InputError(f"--scheduler {scheduler}: has no workers; start some with: dask worker {scheduler}")
        yield Cluster(client)


@contextmanager
def prefetch(items: Iterable[Item], count: int = 2) -> Iterator[Iterator[Item]]:
    """Return the items of an iterable, made in a thread of its own, at most `count` before they are asked for.

    Reading, computing and writing overlap so. The thread ends with the block, after the item that it is at; an error in
    it is raised where its item would have been.

    Examples
    --------
    >>> with prefetch(range(5)) as numbers:
    ...     list(numbers)
    [0, 1, 2, 3, 4]
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(count)
    ended = threading.Event()
    thread = threading.Thread(target=_make, args=(items, ready, ended), daemon=True)
    thread.start()
    try:
        yield _take(ready)
    finally:
        ended.set()
        thread.join()


def _make(items: Iterable[Any], ready: "queue.Queue[tuple[bool, Any]]", ended: threading.Event) -> None:
    """Put each item as (True, item), and (False, None or the error that stopped it) at the end."""

    def put(entry: tuple[bool, Any]) -> None:
        while not ended.is_set():
            with suppress(queue.Full):
                ready.put(entry, timeout=_LOOK_S)
                return

    try:
        for item in items:
            put((True, item))
            if ended.is_set():
                return
        put((False, None))
    except BaseException as error:  # noqa: BLE001 - raised again by who asks for the item
        put((False, error))


def _take(ready: "queue.Queue[tuple[bool, Any]]") -> Iterator[Any]:
    while True:
        is_item, entry = ready.get()
        if is_item:
            yield entry
        elif entry is None:
            return
        else:
            raise entry
