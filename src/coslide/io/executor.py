"""The work of many windows, done by threads of this process or by the workers of a dask cluster.

The windows and the function that computes them are the same either way, and so are the results. Networks are the
exception: which kernels torch picks depends on the processor, so that workers may differ in the last digits.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, TypeVar

from coslide.errors import InputError, first_line

_CONNECT_S = 10
_IN_FLIGHT = 128  # more than a cluster of this kind has workers; finished results wait in memory until they are taken

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def available_processors() -> int:
    """Count the processors that this process may use, at least 1.

    Examples
    --------
    >>> available_processors() >= 1
    True
    """
    # Linux: containers and schedulers may allow fewer than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_executor(*, scheduler: str | None = None, count: int | None = None) -> Iterator[Executor | None]:
    """Open the executor that the command line asks for, for the length of the block.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler, such as ``"tcp://10.0.0.1:8786"``. Workers and scheduler run code that they are
        sent: use only those of a network that you trust. What the work writes must lie where every worker can reach it
        under the same path.
    count
        Without `scheduler`: that many processes of a cluster on this machine.

    Yields
    ------
    Executor or None
        None if neither is given: the work is then done by this process. A worker of a cluster may die; what it had not
        finished is given to another.

    Raises
    ------
    InputError
        If the scheduler does not answer or has no workers, or workers died over the same work again and again.
    """
    if scheduler is None and count is None:
        yield None
        return
    import dask
    from distributed import Client, KilledWorker, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    # What dask wants to set for its workers, OMP_NUM_THREADS=1 among it, it would set for this process too. And only a
    # worker that is no daemon may have processes of its own, which load tiles for a GPU.
    own = {"distributed.nanny.pre-spawn-environ": {}, "distributed.worker.daemon": False}
    with ExitStack() as stack, dask.config.set(own):
        if scheduler is None:
            free = {"dashboard_address": ":0"}  # otherwise a second cluster on this machine warns of port 8787
            local = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, scheduler_kwargs=free)
            scheduler = stack.enter_context(local).scheduler_address
        try:
            client: Any = stack.enter_context(Client(scheduler, timeout=_CONNECT_S))
        except (OSError, ValueError) as error:
            reason = first_line(error)
            raise InputError(f"--scheduler {scheduler}: cannot be reached ({reason})") from None
        if not client.scheduler_info()["workers"]:
            raise InputError(f"--scheduler {scheduler}: has no workers; start some with: dask worker {scheduler}")
        try:
            yield client.get_executor(pure=False)
        except KilledWorker as error:
            problem = f"workers of {scheduler} died over the same work"
            raise InputError(f"{problem}; give them more memory ({error})") from None


def map_unordered(
    executor: Executor, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Call ``function(shared, item)`` for many items at once, and yield each item with its result as it is done.

    Parameters
    ----------
    executor
        A thread pool, or the executor of a dask client, whose processes are sent `shared` once each.
    function, shared, items
        At most 128 items are in flight at once.

    Notes
    -----
    The first error that `function` raises is raised here; what has not begun by then is not done.

    Examples
    --------
    >>> with ThreadPoolExecutor(2) as threads:
    ...     sorted(map_unordered(threads, lambda shared, item: shared + item, 10, [1, 2, 3]))
    [(1, 11), (2, 12), (3, 13)]
    """
    if not isinstance(executor, ThreadPoolExecutor):
        from distributed import default_client

        (shared,) = default_client().scatter([shared], broadcast=True, hash=False)
    left = iter(items)
    running: dict[Future[Result], Item] = {}
    try:
        while True:
            for item in islice(left, _IN_FLIGHT - len(running)):
                running[executor.submit(function, shared, item)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        wait([future for future in running if not future.cancel()])


@contextmanager
def prefetch(items: Iterable[Item], count: int = 2) -> Iterator[Iterator[Item]]:
    """Make the items of an iterable in a thread of its own, at most `count` before they are asked for.

    Reading, computing and writing overlap so. The thread ends with the block, after the item that it is at; an error in
    it is raised where its item would have been.

    Examples
    --------
    >>> with prefetch(range(5)) as numbers:
    ...     list(numbers)
    [0, 1, 2, 3, 4]
    """
    source, end = iter(items), object()
    thread = ThreadPoolExecutor(1)
    ready: deque[Future[Any]] = deque(thread.submit(next, source, end) for _ in range(count))

    def taken() -> Iterator[Item]:
        while (item := ready.popleft().result()) is not end:
            ready.append(thread.submit(next, source, end))
            yield item

    try:
        yield taken()
    finally:
        thread.shutdown(cancel_futures=True)
