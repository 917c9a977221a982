"""How the sun lights the ground: slopes that face it, slopes that do not, and shadows."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from coslide.simulate.sun import Sun

Floats = NDArray[np.float32]

DIFFUSE_SHARE = (0.22, 0.16, 0.12, 0.11, 0.10, 0.09, 0.08, 0.08, 0.03, 0.02)
"""Share of the light on flat ground that comes from a clear sky, by band (typical for a continental aerosol)."""


def direct_light(slope_deg: Floats, aspect_deg: Floats, sun: Sun) -> Floats:
    """Return the direct sunlight on slopes, over that on flat ground (no unit), without cast shadows.

    The cosine law::

        cos i = cos z cos s + sin z sin s cos(azimuth - aspect),   factor = max(cos i, 0) / cos z

    with the sun at zenith distance z. The reflectance of a scene that was not corrected for terrain varies with it
    (Richter 1998, doi:10.1364/AO.37.004004, equation 1).
    """
    slope, zenith = np.radians(slope_deg), np.float32(np.radians(sun.zenith_deg))
    toward = np.cos(np.radians(np.float32(sun.azimuth_deg) - aspect_deg))
    factor = np.cos(slope) + np.tan(zenith) * np.sin(slope) * toward
    return np.asarray(np.maximum(factor, 0), dtype=np.float32)


def sky_share(slope_deg: Floats) -> Floats:
    """Return the share of the sky that a slope sees (no unit): (1 + cos s) / 2, as if alone on a plain."""
    return np.asarray((1 + np.cos(np.radians(slope_deg))) / 2, dtype=np.float32)


def cast_shadow(height_m: Floats, cell_m: float, sun: Sun) -> NDArray[np.bool_]:
    """Return which cells lie in the shadow of higher ground, bool (row, col).

    From the side of the sun on, row by row (or column by column), the highest shadow so far is carried along and sinks
    by the tangent of the sun's elevation; between two columns it is interpolated. Ground outside casts no shadow.

    Parameters
    ----------
    height_m
        float32 (row, col), row 0 north; without gaps.
    cell_m
        Side of a cell in metres.
    sun
        Where it stands. Overhead it casts no shadow.
    """
    azimuth = np.radians(sun.azimuth_deg)
    down, right = -float(np.cos(azimuth)), float(np.sin(azimuth))  # towards the sun
    # The sweep goes down the rows with the sun behind it; for a sun elsewhere the ground is turned.
    turned = abs(right) > abs(down)
    toward, aside = (right, down) if turned else (down, right)
    heights = height_m.T if turned else height_m
    heights = np.ascontiguousarray(heights[::-1] if toward > 0 else heights)
    aside /= abs(toward)
    step_m = cell_m * float(np.hypot(1.0, aside))
    marks = np.zeros(heights.shape, dtype=np.bool_)
    _sweep(heights, aside, np.float32(step_m / np.tan(np.radians(max(sun.zenith_deg, 1e-6)))), marks)
    marks = marks[::-1] if toward > 0 else marks
    return np.ascontiguousarray(marks.T if turned else marks)


@njit(cache=True, nogil=True)
def _sweep(heights, aside, sinks, marks):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, columns = heights.shape
    lowest = np.float32(-1e9)
    carried = np.full(columns, lowest)
    following = np.empty_like(carried)
    for row in range(rows):
        for column in range(columns):
            shade = lowest
            if row:
                place = column + aside
                left = int(np.floor(place))
                share = np.float32(place - left)
                first = carried[left] if 0 <= left < columns else lowest
                second = carried[left + 1] if 0 <= left + 1 < columns else lowest
                if first > lowest and second > lowest:
                    shade = first + share * (second - first) - sinks
                elif first > lowest and share == 0:
                    shade = first - sinks
            marks[row, column] = shade > heights[row, column]
            following[column] = max(shade, heights[row, column])
        carried[:] = following
