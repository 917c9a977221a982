"""How rivers and landslides carve mountains: the stream power law, and slopes that do not stand steeper than they can.

Both are exact in one regard that the rest builds on: where uplift and erosion balance, the slope of a channel is
S = (U / K) A^-m, and no hillslope is steeper than its threshold.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from coslide.simulate.drainage import (
    DIAGONAL,
    downstream_order,
    drained_area,
    fill_depressions,
    steepest_receivers,
)

Floats = NDArray[np.float32]


class Law(NamedTuple):
    """What uplift, rivers and landslides do in one step; each is a number or an array of the shape of the ground.

    Attributes
    ----------
    uplift_m
        U times the step, in metres.
    erodibility
        K times the step, in m^(1 - 2m).
    threshold
        Tangent of the steepest slope that stands.
    concavity
        m of the stream power law, a number.
    aslant
        As for `steepest_receivers`.
    """

    uplift_m: ArrayLike
    erodibility: ArrayLike
    threshold: ArrayLike
    concavity: float
    aslant: ArrayLike = DIAGONAL


def erode(height_m: Floats, cell_m: float, *, outlets: NDArray[np.bool_], law: Law, steps: int) -> Floats:
    """Return the elevation in metres after `steps` of uplift, river erosion and landsliding, float32 (row, col).

    One step fills depressions, lets the water run (D8 or Rho8), lifts the ground, lets rivers cut by the stream power
    law with n = 1 ::

        dz/dt = U - K A^m S

    implicitly, from the outlets upstream [1]_, and takes off what stands steeper than the threshold (`limit_slope`).

    Parameters
    ----------
    height_m
        Metres, float32 (row, col).
    cell_m
        Side of the square cells.
    outlets
        bool (row, col): cells that keep their height and let the water out.
    law
        What one step does.
    steps
        How many.

    References
    ----------
    .. [1] Braun & Willett (2013), A very efficient O(n), implicit and parallel method to solve the stream power
       equation, Geomorphology 180-181, 170-179, doi:10.1016/j.geomorph.2012.10.008.

    Examples
    --------
    A river that drains 100, 200 and 300 m2 in the balance of uplift and erosion; its slope is 1 / A:

    >>> line = np.array([[0.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    >>> law = Law(uplift_m=1e3, erodibility=1e3, threshold=9.0, concavity=1.0)
    >>> outlet = np.array([[True, False, False, False]])
    >>> 100 * erode(line, 10.0, outlets=outlet, law=law, steps=20)
    array([[ 0.   ,  3.333,  8.333, 18.333]], dtype=float32)
    """
    shape = height_m.shape
    uplift, erodibility, threshold = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float32), shape)) for values in law[:3]
    )
    height = height_m
    for _ in range(steps):
        height = fill_depressions(height, outlets)
        receiver = steepest_receivers(height, law.aslant)
        order = downstream_order(receiver)
        area = drained_area(receiver, order, cell_m**2)
        height = np.where(outlets, height, height + uplift)
        _cut(height, (receiver.reshape(-1), order), (area, erodibility), (cell_m, law.concavity))
        height = limit_slope(height, cell_m, threshold)
    return height


def limit_slope(height_m: Floats, cell_m: float, threshold: ArrayLike) -> Floats:
    """Return the elevation in metres with all that stands steeper than `threshold` taken off, float32 (row, col).

    The highest surface that is nowhere above the given one and nowhere steeper than the threshold, as slopes that
    fail as soon as rivers have made them too steep (Burbank et al. 1996, doi:10.1038/379505a0). Where it is below the
    given one it solves |grad z| = threshold, found by fast sweeping [1]_, upwind and first order.

    Parameters
    ----------
    height_m
        Metres, float32 (row, col).
    cell_m
        Side of the square cells.
    threshold
        Tangent of the steepest slope that stands; a number or (row, col).

    Notes
    -----
    Two rounds of four sweeps: exact where slopes are straight or bend once between crest and foot.

    References
    ----------
    .. [1] Zhao (2005), A fast sweeping method for Eikonal equations, Math. Comput. 74, 603-627,
       doi:10.1090/S0025-5718-04-01678-3.

    Examples
    --------
    >>> cliff = np.array([[0.0, 90.0, 90.0, 90.0]], dtype=np.float32)
    >>> limit_slope(cliff, 10.0, 1.0)
    array([[ 0., 10., 20., 30.]], dtype=float32)
    """
    limited = np.array(height_m, dtype=np.float32, order="C")
    steepest = np.broadcast_to(np.asarray(threshold, dtype=np.float32) * np.float32(cell_m), limited.shape)
    steepest = np.ascontiguousarray(steepest)
    for _ in range(2):
        for down in (True, False):
            for right in (True, False):
                _sweep(limited, steepest, down, right)
    return limited


@njit(cache=True, nogil=True)
def _cut(height, drainage, power, constants):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    (receiver, order), (area, erodibility), (cell_m, concavity) = drainage, power, constants
    columns = height.shape[1]
    exponent = np.float32(concavity)
    straight, aslant = np.float32(cell_m), np.float32(cell_m * math.sqrt(2.0))
    for cell in order:
        below = receiver[cell]
        i, j, a, b = cell // columns, cell % columns, below // columns, below % columns
        # Uplift may have left the receiver above: then nothing is cut. At an outlet both are one.
        if height[i, j] > height[a, b]:
            length = aslant if i != a and j != b else straight
            strength = erodibility[i, j] * area[i, j] ** exponent / length
            height[i, j] = (height[i, j] + strength * height[a, b]) / (np.float32(1) + strength)


@njit(cache=True, nogil=True)
def _sweep(height, rise, down, right):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, columns = height.shape
    ceiling, half, two = np.float32(np.inf), np.float32(0.5), np.float32(2)
    for k in range(rows):
        i = k if down else rows - 1 - k
        for m in range(columns):
            j = m if right else columns - 1 - m
            a = min(height[i - 1, j] if i > 0 else ceiling, height[i + 1, j] if i < rows - 1 else ceiling)
            b = min(height[i, j - 1] if j > 0 else ceiling, height[i, j + 1] if j < columns - 1 else ceiling)
            step = rise[i, j]
            apart = abs(a - b)
            one_sided, slope = min(a, b) + step, two * step * step - apart * apart
            most = one_sided if apart >= step else half * (a + b + math.sqrt(slope))
            height[i, j] = min(height[i, j], most)
