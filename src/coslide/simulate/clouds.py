"""Clouds, the shadows that they cast, and haze, at one date."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.noise import rough_field, smooth_field
from coslide.simulate.recipe import Recipe
from coslide.simulate.sun import Sun

Floats = NDArray[np.float32]

_CLOUD_RANGE_M, _CLOUD_HURST = 1800.0, 0.6
_HEIGHT_M = 1200.0  # of clouds above the ground
_EDGE = 6.0  # how fast a cloud thickens from its rim, in optical depths per deviation of the field
_THICKEST = 6.0
_HAZE_RANGE_M, _HAZE_DEPTH = 2500.0, 0.22


class Sky(NamedTuple):
    """What lies between the satellite and the ground, float32 (row, col) on `Frame.ground`.

    Attributes
    ----------
    veil
        Share of the light that comes from cloud or haze instead of the ground, 0 to 1.
    shade
        Share of the direct sunlight that a cloud keeps from the ground, 0 to 1.
    cloud
        That part of `veil` which is thick cloud, 0 to 1.
    """

    veil: Floats
    shade: Floats
    cloud: Floats


def make_sky(recipe: Recipe, frame: Frame, sun: Sun, *, date: str) -> Sky:
    """Return the clouds and the haze of one date, ``"pre"`` or ``"post"``.

    A rough field, cut at the level that leaves `Difficulty.cloud_share_pre` (or `_post`) of the tile under cloud; a
    layer of optical depth d hides 1 - exp(-d) of what is below. Shadows are the same clouds, moved away from the sun by
    1200 m times the tangent of its zenith distance.
    """
    random = recipe.random(f"sky {date}")
    hardness = recipe.hardness
    share = hardness.cloud_share_pre if date == "pre" else hardness.cloud_share_post
    shape = (frame.cells, frame.cells)
    field = rough_field(random, shape, CELL_M, range_m=_CLOUD_RANGE_M, hurst=_CLOUD_HURST)
    cloud = _hidden(field, frame, share, depth=_EDGE, most=_THICKEST)
    field = smooth_field(random, shape, CELL_M, range_m=_HAZE_RANGE_M)
    haze = _hidden(field, frame, hardness.haze_share, depth=_HAZE_DEPTH, most=_HAZE_DEPTH)
    reach = _HEIGHT_M * np.tan(np.radians(sun.zenith_deg)) / CELL_M
    azimuth = np.radians(sun.azimuth_deg)
    down, right = round(float(reach * np.cos(azimuth))), round(float(-reach * np.sin(azimuth)))
    return Sky(1 - (1 - cloud) * (1 - haze), _moved(cloud, down, right), cloud)


def _hidden(field: Floats, frame: Frame, share: float, *, depth: float, most: float) -> Floats:
    """Return how much is hidden where `field` is among its highest `share` in the tile."""
    if not share:
        return np.zeros_like(field)
    above = field - np.float32(np.quantile(field[frame.inner], 1 - share))
    return np.asarray(1 - np.exp(-np.clip(above * np.float32(depth), 0, most)), dtype=np.float32)


def _moved(values: Floats, down: int, right: int) -> Floats:
    """Return an array moved by whole cells; what comes in is 0."""
    rows, columns = values.shape
    moved = np.zeros_like(values)
    moved[max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = values[
        max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)
    ]
    return moved
