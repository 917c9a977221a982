"""Sun, shadows of mountains, clouds and haze: how a scene is lit and veiled at one date."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, shift

from coslide.simulate.fields import rough_field, smooth_field
from coslide.simulate.frame import PIXEL_M, Floats, Frame, to_degrees
from coslide.simulate.recipe import Recipe

DIFFUSE_SHARE = (0.22, 0.16, 0.12, 0.11, 0.10, 0.09, 0.08, 0.08, 0.03, 0.02)
"""Share of the light on level terrain that comes from a clear sky, by band (typical for a continental aerosol)."""

_EPOCH = datetime(2000, 1, 1, 12, tzinfo=UTC)
_BELOW_M = np.float32(-1e9)  # lower than any terrain

_CLOUD_RANGE_M, _CLOUD_HURST = 1800.0, 0.6
_HEIGHT_M = 1200.0  # of clouds above the terrain
_EDGE = 6.0  # how fast a cloud thickens from its rim, in optical depths per deviation of the field
_THICKEST = 6.0
_HAZE_RANGE_M, _HAZE_DEPTH = 2500.0, 0.22


class Sun(NamedTuple):
    """Zenith distance, and azimuth clockwise from north, in degrees."""

    zenith_deg: float
    azimuth_deg: float


class Sky(NamedTuple):
    """Clouds and haze between the satellite and the terrain, shares from 0 to 1, float32 (row, col) on `Frame.grid`.

    `veil` is the share of the light that comes from cloud or haze instead of the terrain, `cloud` that part of it which
    is thick cloud, and `shade` the share of the direct sunlight that a cloud keeps from the terrain.
    """

    veil: Floats
    shade: Floats
    cloud: Floats


def sun_at(time: datetime, lon_deg: float, lat_deg: float) -> Sun:
    """Compute where the sun stands in degrees, good to 0.02 (without refraction) from 1950 to 2050.

    The low-precision formulas of the Astronomical Almanac, as Michalsky (1988, doi:10.1016/0038-092X(88)90045-X)
    gives them. `time` has a time zone.

    Examples
    --------
    >>> sun_at(datetime(2022, 6, 21, 12, 2, tzinfo=UTC), 0.0, 51.5).zenith_deg
    28.06
    """
    days = (time - _EPOCH).total_seconds() / 86400
    mean_longitude = 280.460 + 0.9856474 * days
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(mean_longitude + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    utc = time.astimezone(UTC)
    sidereal_h = 6.697375 + 0.0657098242 * days + utc.hour + utc.minute / 60 + utc.second / 3600
    hour_angle, latitude = math.radians(15 * sidereal_h + lon_deg) - ascension, math.radians(lat_deg)
    east = -math.cos(declination) * math.sin(hour_angle)
    south = math.cos(declination) * math.cos(hour_angle)  # at the equator
    north = math.sin(declination) * math.cos(latitude) - south * math.sin(latitude)
    up = math.sin(declination) * math.sin(latitude) + south * math.cos(latitude)
    return Sun(math.degrees(math.acos(up)), math.degrees(math.atan2(east, north)) % 360)


def sun_over(frame: Frame, time: datetime) -> Sun:
    """Compute where the sun stands over the middle of the scene, in degrees."""
    middle = frame.scene_box.centroid
    lon, lat = to_degrees(middle.x, middle.y)
    return sun_at(time, float(lon), float(lat))


def direct_light(slope_deg: Floats, aspect_deg: Floats, sun: Sun) -> Floats:
    """Compute the direct sunlight on slopes, over that on level terrain (no unit), without cast shadows.

    The cosine law::

        cos i = cos z cos s + sin z sin s cos(azimuth - aspect),   factor = max(cos i, 0) / cos z

    with the sun at zenith distance z. The reflectance of a scene that was not corrected for terrain varies with it
    (Richter 1998, doi:10.1364/AO.37.004004, equation 1).
    """
    slope, zenith = np.radians(slope_deg), np.float32(np.radians(sun.zenith_deg))
    toward = np.cos(np.radians(np.float32(sun.azimuth_deg) - aspect_deg))
    return np.asarray(np.maximum(np.cos(slope) + np.tan(zenith) * np.sin(slope) * toward, 0), dtype=np.float32)


def sky_share(slope_deg: Floats) -> Floats:
    """Compute the share of the sky that a slope sees (no unit): (1 + cos s) / 2, as if alone on a plain."""
    return np.asarray((1 + np.cos(np.radians(slope_deg))) / 2, dtype=np.float32)


def cast_shadow(height_m: Floats, pixel_m: float, sun: Sun) -> NDArray[np.bool_]:
    """Find pixels in the shadow of higher terrain, bool (row, col).

    The terrain is sheared so that the sun stands behind the first row. Seen along the rays, which sink by the tangent
    of the sun's elevation, a pixel is dark where the highest one before it in its column is higher. Terrain outside the
    grid casts no shadow, nor does a sun overhead. `height_m` is float32 (row, col), row 0 north, without nodata.
    """
    azimuth = math.radians(sun.azimuth_deg)
    toward, aside = -math.cos(azimuth), math.sin(azimuth)  # towards the sun, down the rows and along them
    heights, marks = height_m, np.zeros(height_m.shape, dtype=np.bool_)
    turned = marks
    if abs(aside) > abs(toward):
        heights, turned, toward, aside = heights.T, turned.T, aside, toward
    if toward > 0:
        heights, turned = heights[::-1], turned[::-1]
    aside /= abs(toward)
    rows, columns = heights.shape
    sinks = pixel_m * math.hypot(1, aside) / math.tan(math.radians(max(sun.zenith_deg, 1e-6)))
    sinking = (np.float32(sinks) * np.arange(rows, dtype=np.float32))[:, None]
    first = math.floor(min(0.0, aside * (rows - 1)))
    wide = (rows, columns + math.ceil(abs(aside) * (rows - 1)) + 1)
    options = {"order": 1, "mode": "constant", "cval": _BELOW_M}
    sheared = affine_transform(heights, [[1, 0], [-aside, 1]], (0, first), wide, **options) + sinking
    before = np.vstack([np.full((1, wide[1]), _BELOW_M), np.maximum.accumulate(sheared)[:-1]])
    shade = affine_transform(before, [[1, 0], [aside, 1]], (0, -first), heights.shape, **options)
    turned[:] = shade > heights + sinking
    return marks


def make_sky(recipe: Recipe, frame: Frame, sun: Sun, *, date: str) -> Sky:
    """Make the clouds and the haze of one date, ``"pre"`` or ``"post"``.

    A rough field, cut at the level that leaves `Difficulty.cloud_share_pre` (or `_post`) of the scene under cloud; a
    layer of optical depth d hides 1 - exp(-d) of what is below. Shadows are the same clouds, moved away from the sun by
    1200 m times the tangent of its zenith distance.
    """
    random, hardness, shape = recipe.random(f"sky {date}"), recipe.hardness, (frame.side_px, frame.side_px)
    share = hardness.cloud_share_pre if date == "pre" else hardness.cloud_share_post
    field = rough_field(random, shape, PIXEL_M, range_m=_CLOUD_RANGE_M, hurst=_CLOUD_HURST)
    cloud = _hidden(field, frame, share, depth=_EDGE, most=_THICKEST)
    field = smooth_field(random, shape, PIXEL_M, range_m=_HAZE_RANGE_M)
    haze = _hidden(field, frame, hardness.haze_share, depth=_HAZE_DEPTH, most=_HAZE_DEPTH)
    reach, azimuth = _HEIGHT_M * math.tan(math.radians(sun.zenith_deg)) / PIXEL_M, math.radians(sun.azimuth_deg)
    away = (round(reach * math.cos(azimuth)), round(-reach * math.sin(azimuth)))
    return Sky(1 - (1 - cloud) * (1 - haze), shift(cloud, away, order=0), cloud)


def _hidden(field: Floats, frame: Frame, share: float, *, depth: float, most: float) -> Floats:
    """Compute how much is hidden where `field` is among its highest `share` in the scene."""
    if not share:
        return np.zeros_like(field)
    above = field - np.float32(np.quantile(field[frame.inner], 1 - share))
    return np.asarray(1 - np.exp(-np.clip(above * np.float32(depth), 0, most)), dtype=np.float32)
