"""Surface reflectance of land cover in the ten bands, by season and by rock."""

from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.frame import Floats
from coslide.simulate.landcover import Cover
from coslide.simulate.recipe import AGES, Difficulty

# Rounded values of such surfaces in the USGS Spectral Library 7 (Kokaly et al. 2017, doi:10.3133/ds1035), the ECOSTRESS
# library (Meerdink et al. 2019, doi:10.1016/j.rse.2019.05.015) and, for canopies, Rautiainen et al. (2018,
# doi:10.3390/rs10020207): typical ones, chosen by hand, not averages over a sample.
_BARE = {  # B2, B3, B4, B5, B6, B7, B8, B8A, B11, B12; plants without green leaves
    Cover.CONIFER: (0.022, 0.034, 0.030, 0.060, 0.135, 0.165, 0.180, 0.190, 0.105, 0.052),
    Cover.BROADLEAF: (0.045, 0.060, 0.075, 0.095, 0.125, 0.145, 0.160, 0.175, 0.190, 0.125),
    Cover.SHRUB: (0.050, 0.070, 0.085, 0.110, 0.150, 0.165, 0.180, 0.195, 0.230, 0.160),
    Cover.MEADOW: (0.060, 0.090, 0.120, 0.150, 0.190, 0.210, 0.230, 0.250, 0.310, 0.220),
    Cover.CROP: (0.060, 0.085, 0.110, 0.130, 0.160, 0.180, 0.200, 0.215, 0.280, 0.220),
    Cover.STUBBLE: (0.075, 0.105, 0.140, 0.165, 0.190, 0.210, 0.235, 0.255, 0.345, 0.270),
    Cover.SOIL: (0.065, 0.090, 0.120, 0.140, 0.155, 0.170, 0.185, 0.200, 0.270, 0.240),
    Cover.OUTCROP: (0.075, 0.095, 0.110, 0.130, 0.155, 0.170, 0.180, 0.190, 0.215, 0.185),
    Cover.OLD_SCAR: (0.080, 0.105, 0.125, 0.150, 0.185, 0.205, 0.220, 0.230, 0.255, 0.205),
    Cover.DEBRIS: (0.072, 0.095, 0.117, 0.138, 0.162, 0.178, 0.190, 0.202, 0.245, 0.212),
    Cover.GRAVEL: (0.120, 0.145, 0.160, 0.170, 0.180, 0.185, 0.190, 0.195, 0.215, 0.185),
    Cover.WATER: (0.040, 0.050, 0.035, 0.028, 0.018, 0.017, 0.016, 0.015, 0.008, 0.006),
    Cover.ROAD: (0.080, 0.090, 0.095, 0.100, 0.105, 0.110, 0.115, 0.120, 0.135, 0.125),
    Cover.ROOF: (0.110, 0.120, 0.140, 0.150, 0.160, 0.165, 0.175, 0.185, 0.215, 0.195),
    Cover.SNOW: (0.80, 0.82, 0.83, 0.83, 0.82, 0.81, 0.80, 0.78, 0.10, 0.08),
}
_BARE[Cover.CUT] = _BARE[Cover.DEBRIS]  # only where it lies and how it is shaped tells it from a landslide
_GREEN = {
    Cover.CONIFER: (0.018, 0.032, 0.022, 0.055, 0.155, 0.190, 0.205, 0.215, 0.095, 0.042),
    Cover.BROADLEAF: (0.024, 0.052, 0.026, 0.090, 0.290, 0.360, 0.380, 0.395, 0.170, 0.075),
    Cover.SHRUB: (0.030, 0.055, 0.040, 0.095, 0.225, 0.270, 0.285, 0.300, 0.190, 0.100),
    Cover.MEADOW: (0.032, 0.070, 0.042, 0.120, 0.300, 0.370, 0.390, 0.405, 0.220, 0.110),
    Cover.CROP: (0.028, 0.060, 0.032, 0.100, 0.330, 0.430, 0.450, 0.460, 0.200, 0.090),
}
_FRESH_DEBRIS = (0.125, 0.155, 0.180, 0.195, 0.210, 0.220, 0.230, 0.240, 0.290, 0.255)
CLOUD = (0.62, 0.61, 0.60, 0.60, 0.60, 0.60, 0.60, 0.59, 0.42, 0.30)
"""Reflectance of a thick cloud of water drops, in the order of the bands."""

# Brightness of the rock of each stratum, D1 to T3, and how much redder than grey it is from B2 to B12.
_BRIGHTNESS = (0.80, 1.12, 1.25, 1.20, 0.90, 1.05, 0.92, 0.76)
_REDNESS = (0.00, 0.02, 0.00, 0.03, 0.12, 0.06, 0.10, 0.04)
_ROCKY = (Cover.OUTCROP, Cover.OLD_SCAR, Cover.DEBRIS, Cover.CUT, Cover.SOIL)

_SPRING_DAY, _AUTUMN_DAY, _HEIGHT_M = 100.0, 305.0, 1500.0  # half green at that height
_SPRING_RATE, _AUTUMN_RATE = 0.12, 0.10  # per day
_METRES_PER_DAY = 30.5  # Hopkins (1920): four days for 400 feet


class Palette(NamedTuple):
    """Reflectance by land cover (no unit), without green leaves and in full leaf, float32 (cover, band).

    `tint` is the factor that a stratum puts on rocky covers, float32 (cover, stratum, band); stratum 0 is the oldest.
    """

    bare: Floats
    green: Floats
    tint: Floats


def palette(hardness: Difficulty) -> Palette:
    """List the reflectance of every `Cover` in the bands of `coslide.config.schema.SENTINEL2_BANDS`.

    `Difficulty.fresh_debris` moves debris from weathered ground (0) to freshly broken rock (1).
    """
    bare = np.array([_BARE[cover] for cover in Cover], dtype=np.float32)
    fresh = np.float32(hardness.fresh_debris)
    for cover in (Cover.DEBRIS, Cover.CUT):
        bare[cover] += fresh * (np.array(_FRESH_DEBRIS, dtype=np.float32) - bare[cover])
    green = bare.copy()
    for cover, values in _GREEN.items():
        green[cover] = values
    tint = np.ones((len(Cover), len(AGES), len(SENTINEL2_BANDS)), dtype=np.float32)
    tilt = np.linspace(-1, 1, len(SENTINEL2_BANDS))
    tint[list(_ROCKY)] = np.array(_BRIGHTNESS)[:, None] * (1 + np.array(_REDNESS)[:, None] * tilt)
    return Palette(bare, green, tint)


def green_share(date: datetime, height_m: ArrayLike) -> Floats:
    """Compute which share of their leaves plants have (no unit, 0 to 1), by the day of the year and height in metres.

    Two logistic curves, spring and autumn (Beck et al. 2006, doi:10.1016/j.rse.2005.10.021, equation 3); with every
    30.5 m of height spring comes a day later and autumn a day earlier (Hopkins' law of four days for 400 feet)::

        g = 1 / (1 + exp(-0.12 (t - S))) + 1 / (1 + exp(0.10 (t - A))) - 1
    """
    day = np.float32(date.timetuple().tm_yday)
    later = (np.asarray(height_m, dtype=np.float32) - np.float32(_HEIGHT_M)) / np.float32(_METRES_PER_DAY)
    spring = 1 / (1 + np.exp(np.float32(-_SPRING_RATE) * (day - np.float32(_SPRING_DAY) - later)))
    autumn = 1 / (1 + np.exp(np.float32(_AUTUMN_RATE) * (day - np.float32(_AUTUMN_DAY) + later)))
    return np.asarray(np.clip(spring + autumn - 1, 0, 1), dtype=np.float32)
