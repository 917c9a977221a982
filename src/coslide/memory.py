"""How a process of its own keeps its memory: for the command line and the benchmarks, not for libraries to decide."""

import ctypes

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Return whether the C library keeps, from now on, what the process frees, to give out again.

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
