"""How much memory the process takes, and how it keeps it."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

_before_restarts_gb = [0.0]  # the largest peak counted before the last restart

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make the C library keep, from now on, what the process frees, to give it out again.

    By default glibc hands large blocks back to the system as soon as they are freed. A network allocates and frees one
    for every map, and the system then brings each of them in page by page: a fifth of the time of mapping on a CPU and
    more of training is spent so (docs/performance.md). The peak is usually as before; it is held until the end.

    Returns
    -------
    bool
        False where the C library has no such setting (it is not glibc); nothing has changed then.

    Notes
    -----
    It concerns the whole process, so it is called where the process is coslide's own: by the command line. Programs
    that use coslide as a library may call it first thing.

    Examples
    --------
    >>> keep_freed_memory() in (True, False)
    True
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
    accepted = [mallopt(name, value) for name, value in settings.items()]
    return all(accepted)


def peak_memory_gb(*, since_restart: bool = False) -> float:
    """Measure the largest memory [GB] that the process has taken: since it started, or since `restart_peak`.

    Examples
    --------
    >>> 0.001 < peak_memory_gb() < 1000
    True
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9  # macOS counts bytes, Linux kilobytes
    # That also counts what the parent had taken before this program was loaded; this does not.
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        peak_gb = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
    return peak_gb if since_restart else max(peak_gb, _before_restarts_gb[0])


def restart_peak() -> None:
    """Let `peak_memory_gb` count anew from now on for who asks for it, where the system allows that.

    Examples
    --------
    >>> restart_peak()
    >>> peak_memory_gb(since_restart=True) <= peak_memory_gb()
    True
    """
    _before_restarts_gb[0] = peak_memory_gb()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
