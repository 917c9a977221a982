"""Where the sun stands."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

_EPOCH = datetime(2000, 1, 1, 12, tzinfo=UTC)


class Sun(NamedTuple):
    """Zenith distance, and azimuth clockwise from north, in degrees."""

    zenith_deg: float
    azimuth_deg: float


def sun_at(time: datetime, lon_deg: float, lat_deg: float) -> Sun:
    """Return where the sun stands in degrees, good to 0.02 (without refraction) from 1950 to 2050.

    The low-precision formulas of the Astronomical Almanac, as Michalsky (1988, doi:10.1016/0038-092X(88)90045-X)
    gives them.

    Parameters
    ----------
    time
        It knows its time zone.
    lon_deg, lat_deg
        Degrees east and north.

    Examples
    --------
    >>> sun_at(datetime(2022, 6, 21, 12, 2, tzinfo=UTC), 0.0, 51.5).zenith_deg
    28.06
    """
    days = (time - _EPOCH).total_seconds() / 86400
    mean_longitude = math.radians((280.460 + 0.9856474 * days) % 360)
    anomaly = math.radians((357.528 + 0.9856003 * days) % 360)
    longitude = mean_longitude + math.radians(1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    utc = time.astimezone(UTC)
    hours = utc.hour + utc.minute / 60 + utc.second / 3600
    sidereal_h = 6.697375 + 0.0657098242 * days + hours
    hour_angle = math.radians(15 * sidereal_h + lon_deg) - ascension
    latitude = math.radians(lat_deg)
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.sin(declination) * math.cos(latitude) - math.cos(declination) * math.cos(hour_angle) * math.sin(
        latitude
    )
    up = math.sin(declination) * math.sin(latitude) + math.cos(declination) * math.cos(hour_angle) * math.cos(latitude)
    return Sun(math.degrees(math.acos(up)), math.degrees(math.atan2(east, north)) % 360)
