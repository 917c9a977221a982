"""How the steps tell what they do, without knowing who listens."""

from collections.abc import Callable
from typing import NamedTuple


def _silent(*_: object) -> None:
    pass


class Listener(NamedTuple):
    """Who hears of a step: `say` gets one line per result, `progress` what is under way, how much is done, and of what.

    Examples
    --------
    >>> heard = Listener(progress=lambda name, done, total: print(f"{name}: {done} of {total}"))
    >>> heard.progress("terrain", 3, 8)
    terrain: 3 of 8
    """

    say: Callable[[str], None] = _silent
    progress: Callable[[str, int, int], None] = _silent


QUIET = Listener()
