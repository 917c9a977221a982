"""Where the water of each cell runs to, and how much ground it has drained on its way."""

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

# The eight neighbours, (row, column); straight ones first, so that of equal slopes a straight one wins.
_ROWS = np.array([-1, 0, 0, 1, -1, -1, 1, 1], dtype=np.int64)
_COLUMNS = np.array([0, -1, 1, 0, -1, 1, -1, 1], dtype=np.int64)
_STRAIGHT = 4
DIAGONAL = 1 / math.sqrt(2.0)  # D8's factor on the fall to a neighbour at a corner


def fill_depressions(height_m: ArrayLike, outlets: ArrayLike | None = None) -> Floats:
    """Return the elevation in metres with its depressions filled, so that from every cell a way leads down and out.

    Priority-Flood [1]_: from the outlets inward, lowest cell first, no cell stays at or below the one from which the
    flood has reached it. What would be level is raised by one unit in the last place of float32 per cell (0.1 to
    0.2 mm at 1000 to 4000 m), so that water finds its way over filled ground too.

    Parameters
    ----------
    height_m
        Metres, (row, col), finite; used as float32.
    outlets
        bool (row, col), True where water leaves, which is left as it is. None means the outermost ring.

    Returns
    -------
    ndarray of float32
        Same shape. Every cell that is not an outlet has a lower neighbour among its eight.

    Raises
    ------
    ValueError
        If the shapes differ or there is no outlet.

    References
    ----------
    .. [1] Barnes, Lehman & Mulla (2014), Priority-flood, Comput. Geosci. 62, 117-127,
       doi:10.1016/j.cageo.2013.04.024.

    Examples
    --------
    >>> pit = [[5.0, 5.0, 5.0], [5.0, 1.0, 3.0], [5.0, 5.0, 5.0]]
    >>> filled = fill_depressions(pit)
    >>> round(float(filled[1, 1]), 3), bool(filled[1, 1] > 3.0)
    (3.0, True)
    """
    filled = np.array(height_m, dtype=np.float32, order="C")
    if outlets is None:
        seeds = np.zeros(filled.shape, dtype=np.bool_)
        seeds[[0, -1], :] = seeds[:, [0, -1]] = True
    else:
        seeds = np.array(outlets, dtype=np.bool_, order="C")
    if seeds.shape != filled.shape:
        raise ValueError(f"outlets: found the shape {seeds.shape}, expected that of height_m, {filled.shape}")
    if not seeds.any():
        raise ValueError("outlets: found none, expected one cell at least from which water leaves")
    _flood(filled, seeds)
    return filled


def steepest_receivers(height_m: Floats, aslant: ArrayLike = DIAGONAL) -> Integers:
    """Return the flat index of the neighbour that water of each cell runs to, int32 (row, col).

    The one of the eight with the steepest fall (D8; O'Callaghan & Mark 1984, doi:10.1016/S0734-189X(84)80011-0); the
    cell's own index where no neighbour is lower.

    Parameters
    ----------
    height_m
        float32 (row, col), cells square. Water stays in depressions: fill them first.
    aslant
        Factor on the fall to the four neighbours at the corners; a number or (row, col). 1 / (2 - r) with r drawn
        from 0 to 1 for each cell lets rivers run in any direction on average (Rho8; Fairfield & Leymarie 1991,
        doi:10.1029/90WR02658), where D8 proper prefers eight.

    Examples
    --------
    >>> steepest_receivers(np.array([[3.0, 2.0, 1.0]], dtype=np.float32))
    array([[1, 2, 2]], dtype=int32)
    """
    receiver = np.empty(height_m.shape, dtype=np.int32)
    factor = np.broadcast_to(np.asarray(aslant, dtype=np.float32), receiver.shape)
    _find_receivers(np.ascontiguousarray(height_m, dtype=np.float32), factor, receiver)
    return receiver


def downstream_order(receiver: Integers) -> Integers:
    """Return the flat indices of all cells, every cell after the one that it drains to, int32 (cells,).

    Read backwards, every cell comes after all that drain into it.

    Parameters
    ----------
    receiver
        As `steepest_receivers` returns it, without cycles.

    Examples
    --------
    >>> downstream_order(np.array([[1, 2, 2]], dtype=np.int32))
    array([2, 1, 0], dtype=int32)
    """
    flat = receiver.reshape(-1)
    upstream_first = np.empty(flat.size, dtype=np.int32)
    _sort_by_flow(flat, upstream_first)
    return upstream_first[::-1]


def drained_area(receiver: Integers, order: Integers, source_m2: ArrayLike) -> Floats:
    """Return the ground whose water runs through each cell, itself included, in m2, float32 (row, col).

    Parameters
    ----------
    receiver
        As `steepest_receivers` returns it, (row, col).
    order
        As `downstream_order` returns it.
    source_m2
        What each cell adds, in m2: its own area, and that of ground outside whose water enters there. A number, or
        of the shape of `receiver`.

    Examples
    --------
    >>> receiver = np.array([[1, 2, 2]], dtype=np.int32)
    >>> drained_area(receiver, downstream_order(receiver), 100.0)
    array([[100., 200., 300.]], dtype=float32)
    """
    area = np.empty(receiver.shape, dtype=np.float64)  # single cells would be lost in float32 beside a large basin
    area[...] = source_m2
    _add_downstream(receiver.reshape(-1), order, area.reshape(-1))
    return area.astype(np.float32)


def first_marked(marked: NDArray[np.bool_], receiver: Integers, order: Integers) -> Integers:
    """Return the flat index of the first marked cell on the way down from each cell, itself included, int32 (row, col).

    -1 where the water leaves without coming by one.

    Parameters
    ----------
    marked
        bool (row, col).
    receiver, order
        As `steepest_receivers` and `downstream_order` return them.

    Examples
    --------
    >>> receiver = np.array([[1, 2, 2]], dtype=np.int32)
    >>> first_marked(np.array([[False, True, False]]), receiver, downstream_order(receiver))
    array([[ 1,  1, -1]], dtype=int32)
    """
    found = np.empty(receiver.shape, dtype=np.int32)
    _pass_upstream(marked.reshape(-1), receiver.reshape(-1), order, found.reshape(-1))
    return found


@njit(cache=True, nogil=True)
def _flood(height, done):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, columns = height.shape
    keys, cells = np.empty(height.size, dtype=np.float32), np.empty(height.size, dtype=np.int32)
    size = 0
    for i in range(rows):
        for j in range(columns):
            if done[i, j]:
                size = _push(keys, cells, size, height[i, j], i * columns + j)
    ceiling = np.float32(np.inf)
    while size > 0:
        cell = cells[0]
        size = _drop_first(keys, cells, size)
        i, j = cell // columns, cell % columns
        least = np.nextafter(height[i, j], ceiling)
        for side in range(8):
            a, b = i + _ROWS[side], j + _COLUMNS[side]
            if 0 <= a < rows and 0 <= b < columns and not done[a, b]:
                done[a, b] = True
                height[a, b] = max(height[a, b], least)
                size = _push(keys, cells, size, height[a, b], a * columns + b)


@njit(cache=True, nogil=True, inline="always")
def _push(keys, cells, size, key, cell):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    """Add to a binary heap whose smallest key is first; return its new size."""
    at = size
    while at > 0:
        above = (at - 1) // 2
        if keys[above] <= key:
            break
        keys[at], cells[at] = keys[above], cells[above]
        at = above
    keys[at], cells[at] = key, cell
    return size + 1


@njit(cache=True, nogil=True, inline="always")
def _drop_first(keys, cells, size):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Take the smallest key off the heap; return its new size."""
    size -= 1
    key, cell = keys[size], cells[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if key <= keys[below]:
            break
        keys[at], cells[at] = keys[below], cells[below]
        at = below
    keys[at], cells[at] = key, cell
    return size


@njit(cache=True, nogil=True)
def _find_receivers(height, aslant, receiver):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, columns = height.shape
    for i in range(rows):
        for j in range(columns):
            steepest, to = np.float32(0), i * columns + j
            for side in range(8):
                a, b = i + _ROWS[side], j + _COLUMNS[side]
                if 0 <= a < rows and 0 <= b < columns:
                    fall = height[i, j] - height[a, b]
                    if side >= _STRAIGHT:
                        fall *= aslant[i, j]
                    if fall > steepest:
                        steepest, to = fall, a * columns + b
            receiver[i, j] = to


@njit(cache=True, nogil=True)
def _sort_by_flow(receiver, upstream_first):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    waiting = np.zeros(receiver.size, dtype=np.uint8)  # donors that have not been listed yet
    for cell in range(receiver.size):
        if receiver[cell] != cell:
            waiting[receiver[cell]] += np.uint8(1)
    count = 0
    for head in range(receiver.size):
        if waiting[head] != 0:
            continue
        cell = head
        while True:
            waiting[cell] = np.uint8(255)  # listed; nothing has more than eight donors
            upstream_first[count] = cell
            count += 1
            below = receiver[cell]
            if below == cell:
                break
            waiting[below] -= np.uint8(1)
            if waiting[below] != 0:  # the last of its donors will go on from there
                break
            cell = below


@njit(cache=True, nogil=True)
def _add_downstream(receiver, order, area):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    for place in range(order.size - 1, -1, -1):
        cell = order[place]
        if receiver[cell] != cell:
            area[receiver[cell]] += area[cell]


@njit(cache=True, nogil=True)
def _pass_upstream(marked, receiver, order, found):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    for cell in order:
        if marked[cell]:
            found[cell] = cell
        elif receiver[cell] == cell:
            found[cell] = -1
        else:
            found[cell] = found[receiver[cell]]
