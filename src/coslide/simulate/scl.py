"""The scene classification that comes with a product, with the mistakes that such ones make."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from coslide.simulate.clouds import Sky
from coslide.simulate.frame import Frame

Floats = NDArray[np.float32]

DARK, SHADOW, PLANTS, BARE, WATER, MAYBE_CLOUD, CLOUD, SNOW = 2, 3, 4, 5, 6, 8, 9, 11
"""Classes of the SCL of level 2A (0 no data, 1 saturated, 7 unclassified and 10 cirrus do not occur here)."""

_CLOUD_FROM, _MAYBE_FROM, _SHADOW_FROM = 0.6, 0.25, 0.45
_PLANTS_FROM_NDVI, _WATER_BELOW_B8, _DARK_BELOW_B8 = 0.4, 0.06, 0.045
_SNOW_FROM_NDSI, _SNOW_FROM_B3 = 0.4, 0.25


def classify(reflectance: Mapping[str, Floats], sky: Sky, frame: Frame) -> NDArray[np.uint8]:
    """Return the scene classification, uint8 (row, col) in cells of 20 m on the tile.

    By thresholds of NDVI, NDSI and brightness as Sen2Cor has them (Louis et al. 2016, Proceedings of the Living Planet
    Symposium, ESA SP-740), and by how much cloud really is there: the rims of clouds and of shadows are missed, haze
    is never seen, and dark slopes may pass for water.

    Parameters
    ----------
    reflectance
        B3, B4, B8 and B11 by name, in cells of 10 or 20 m.
    sky
        The clouds.
    frame
        Where the tile lies.
    """
    b3, b4, b8, b11 = (_at_20_m(reflectance[name], frame) for name in ("B3", "B4", "B8", "B11"))
    cloud, shade = (_at_20_m(values[frame.inner], frame) for values in (sky.cloud, sky.shade))
    ndvi = (b8 - b4) / np.maximum(b8 + b4, 1e-4)
    ndsi = (b3 - b11) / np.maximum(b3 + b11, 1e-4)
    classes = np.full(b3.shape, BARE, dtype=np.uint8)
    classes[ndvi > _PLANTS_FROM_NDVI] = PLANTS
    classes[(ndvi < 0) & (b8 < _WATER_BELOW_B8)] = WATER
    classes[(b8 < _DARK_BELOW_B8) & (ndvi >= 0) & (ndvi <= _PLANTS_FROM_NDVI)] = DARK
    classes[(ndsi > _SNOW_FROM_NDSI) & (b3 > _SNOW_FROM_B3)] = SNOW
    classes[shade > _SHADOW_FROM] = SHADOW
    classes[cloud > _MAYBE_FROM] = MAYBE_CLOUD
    classes[cloud > _CLOUD_FROM] = CLOUD
    return classes


def _at_20_m(values: Floats, frame: Frame) -> Floats:
    """Return means over cells of 20 m; what is at 20 m stays."""
    side = frame.tile_cells // 2
    if values.shape == (side, side):
        return values
    return np.asarray(values.reshape(side, 2, side, 2).mean(axis=(1, 3)), dtype=np.float32)
