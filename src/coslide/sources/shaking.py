"""Recorded shaking."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.event import Shaking

STANDARD_GRAVITY_M_S2 = 9.80665
G_PER_UNIT = {"g": 1.0, "%g": 0.01, "m/s2": 1 / STANDARD_GRAVITY_M_S2, "cm/s2": 0.01 / STANDARD_GRAVITY_M_S2}
LARGEST_RECORDED_G = 5.0  # 4.36 g at IWTH25 on 2008-06-14 is the largest recorded so far (Aoi et al. 2008)


class Stations(NamedTuple):
    """Longitude and latitude in degrees (WGS 84) and peak ground acceleration in g, each float64 (station,)."""

    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    pga_g: NDArray[np.float64]


def read_stations(shaking: Shaking) -> Stations:
    """Return the stations of a CSV table that recorded a peak ground acceleration, in g.

    Rows without a value are left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, holds text where a number belongs or no station with a value, or
        if a value is not positive or beyond 5 g (a wrong unit).
    """
    path, columns = shaking.stations, shaking.columns
    table = _read_table(path)
    missing = [name for name in (columns.lon, columns.lat, columns.pga) if name not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; found {', '.join(map(str, table.columns))}")
    try:
        numbers = table[[columns.lon, columns.lat, columns.pga]].astype("float64")
    except ValueError as error:
        raise InputError(f"{path}: {error}; expected numbers") from None
    lon, lat, pga = numbers.dropna().to_numpy().T
    pga_g = pga * G_PER_UNIT[shaking.unit]
    if pga_g.size == 0:
        raise InputError(f"{path}: no station has a value in column {columns.pga!r}")
    if pga_g.min() <= 0 or pga_g.max() > LARGEST_RECORDED_G:
        raise InputError(
            f"{path}: found {pga_g.min():.3g} to {pga_g.max():.3g} g with unit {shaking.unit!r}, "
            f"expected values above 0 and up to {LARGEST_RECORDED_G:g} g"
        )
    return Stations(lon, lat, pga_g)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({str(error).splitlines()[0]})") from None
