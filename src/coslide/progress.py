"""Progress of what is under way, reported to one callback; messages go through `logging`, logger ``coslide``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[str, int, int], None]


_callback: ContextVar[Progress] = ContextVar("progress", default=lambda name, done, total: None)


def report_progress(name: str, done: int, total: int) -> None:
    """Report that `done` of `total` steps of `name` are done."""
    _callback.get()(name, done, total)


@contextmanager
def progress_to(callback: Progress) -> Iterator[None]:
    """Send all progress to `callback(name, done, total)` while the context is open.

    Progress is reported in the thread that called coslide; processes that it starts report none.

    Examples
    --------
    >>> with progress_to(lambda name, done, total: print(f"{name}: {done} of {total}")):
    ...     report_progress("terrain", 3, 8)
    terrain: 3 of 8
    """
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)
