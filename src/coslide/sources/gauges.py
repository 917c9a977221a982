"""Rain gauges: totals, or daily rain that is summed up to the event."""

import datetime as dt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coslide.config.schema import RainConfig
from coslide.errors import InputError
from coslide.io.table import read_table
from coslide.io.vector import as_text

MM_PER_UNIT = {"mm": 1.0, "0.1mm": 0.1, "cm": 10.0, "inch": 25.4}
MOST_MM_PER_DAY = 2000.0
"""The most that was ever measured in a day is 1825 mm (Foc-Foc, La Reunion, 1966)."""

_DAY = dt.timedelta(days=1)
_FARTHEST_MOVE_DEG = 0.05  # gauges are moved across the road, not to another valley


class Gauges(NamedTuple):
    """Longitude and latitude in degrees (WGS 84) and rain in mm, each float64 (gauge,), and lines for the log."""

    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    rain_mm: NDArray[np.float64]
    notes: tuple[str, ...]


def read_gauges(rain: RainConfig, *, event_time: dt.datetime | None) -> Gauges:
    """Read the gauges of a CSV table and sum the rain that each of them measured before the event, in mm.

    Parameters
    ----------
    rain
        The table and how to read it. With ``columns.date`` its rows are daily and are summed over the window that ends
        at the event (`day_weights`); without, each row is a total.
    event_time
        Of the earthquake, UTC (one without a time zone is taken for UTC); needed for daily rows only.

    Returns
    -------
    Gauges
        Without rows that lack a place or a value, hold a value of ``missing`` or failed quality control, and, for daily
        rows, without gauges that lack one of the days of the window: a sum with a gap would be too small.

    Raises
    ------
    InputError
        If the table cannot be read or lacks a column, holds text where a number or a date belongs, negative rain or a
        place that is none; if a gauge has two values for a day, or two places; if no gauge is left; or if the rows are
        daily and `event_time` is None or none of them lies in the window.

    Notes
    -----
    Daily values of different networks come in different units and with different codes for "missing" (GHCN-Daily:
    tenths of mm, empty; GSOD: inches, 99.99), so both are stated, never guessed.
    """
    path, columns = rain.path, rain.columns
    rows, notes = _usable_rows(rain)
    if columns.date is None:
        gauges = _merged(path, rows) if columns.station else rows
        each = gauges.groupby(["lon", "lat"])["rain"].nunique()
        if each.median() >= 3:  # two in one place may be two gauges: kriging takes their mean
            lon, lat = each.index[0]
            found = f"found {each.iloc[0]} different totals at longitude {lon:g}, latitude {lat:g}"
            expected = "expected one for each gauge (for daily rain give columns.date)"
            raise InputError(f"{path}: {found}, and as many elsewhere; {expected}")
    elif event_time is not None:
        gauges, summed = _sums_before(path, rows, day_weights(rain, event_time))
        notes += summed
    else:
        raise InputError(f"{path}: holds daily rain; found no time_utc in the event file, expected the event's time")
    lon, lat, rain_mm = gauges[["lon", "lat", "rain"]].to_numpy(dtype=np.float64).T
    notes.append(f"{rain_mm.size} gauges with {rain_mm.min():.1f} to {rain_mm.max():.1f} mm")
    return Gauges(lon, lat, rain_mm, tuple(notes))


def day_weights(rain: RainConfig, event_time: dt.datetime) -> dict[dt.date, float]:
    """Weigh the dates whose rain counts, by the share, 0 to 1, of each that fell before the event.

    Parameters
    ----------
    rain
        The day of a gauge that is dated D lasts 24 hours from D 00:00 UTC plus ``day_starts_utc_h``. The
        ``window_days`` days before that of the event count whole: those of 29 July to 7 August for an event of 8
        August, as Table 1 of Yang et al. (2023, doi:10.3390/rs15040977) has them. The day of the event counts with the
        share of its hours before the event (``event_day = "share"``), or not at all (``"drop"``: no rain from after the
        event can be in the sum).
    event_time
        UTC.

    Examples
    --------
    >>> rain = RainConfig(gauges="rain.csv", unit="mm", window_days=2)
    >>> weights = day_weights(rain, dt.datetime(2017, 8, 8, 6))
    >>> {f"{date:%d %b}": weight for date, weight in weights.items()}
    {'06 Aug': 1.0, '07 Aug': 1.0, '08 Aug': 0.25}
    """
    event = event_time.astimezone(dt.UTC) if event_time.tzinfo else event_time.replace(tzinfo=dt.UTC)
    late = dt.timedelta(hours=rain.day_starts_utc_h)
    last = (event - late).date()  # the day of a gauge in which the event lies
    weights = {last - back * _DAY: 1.0 for back in range(rain.window_days, 0, -1)}
    before = (event - late - dt.datetime.combine(last, dt.time(), dt.UTC)) / _DAY
    if rain.event_day == "share" and before > 0:
        weights[last] = before
    return weights


def _usable_rows(rain: RainConfig) -> tuple[pd.DataFrame, list[str]]:
    """Read lon, lat (degrees), rain (mm), station and, where there is one, date of the rows that count."""
    path, columns = rain.path, rain.columns
    numbers = [columns.lon, columns.lat, columns.rain]
    table = read_table(path, filter(None, columns.model_dump().values()), numbers=numbers)
    rows = table[numbers].set_axis(["lon", "lat", "rain"], axis=1)
    counts = rows.notna().all(axis=1) & ~rows["rain"].isin(rain.missing)
    if columns.quality:
        counts &= table[columns.quality].isna()
    if not counts.any():
        raise InputError(f"{path}: none of its {len(rows)} rows has a place and a value of {columns.rain!r}")
    most_mm = MOST_MM_PER_DAY * (1 if columns.date else rain.window_days + 1)
    rain_mm = rows["rain"] * MM_PER_UNIT[rain.unit]
    if (wrong := rows["rain"][counts & ((rain_mm < 0) | (rain_mm > most_mm))]).size:
        found, expected = wrong.iloc[0], f"expected 0 to {most_mm:g} mm{'' if columns.date else ' in all'}"
        hint = f"is rain.unit right? If it means 'no measurement', give rain.missing = [{as_text(found)}]"
        what = f"{columns.rain} (rain.unit {rain.unit!r})"
        raise InputError(f"{path}: line {wrong.index[0]}: found {found:g} as {what}, {expected}; {hint}")
    rows["rain"] = rain_mm
    rows["station"] = [f"{x:.9g}, {y:.9g}" for x, y in zip(rows["lon"], rows["lat"], strict=True)]
    if columns.station:
        rows["station"] = table[columns.station].fillna(rows["station"])
    if columns.date:
        rows["date"] = table[columns.date]
    dropped = int((~counts).sum())
    notes = [f"{dropped} of {len(rows)} rows left out: no value, or failed quality control"] if dropped else []
    return rows[counts], notes


def _merged(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of each gauge, or gauge and date; rows that are the same count once."""
    groups = rows.groupby(["station", "date"] if "date" in rows else ["station"])
    low, high = groups["rain"].min(), groups["rain"].max()
    if ((spread := high - low) > 1e-6).any():
        key: Any = spread.idxmax()
        gauge = " on ".join(map(str, key if isinstance(key, tuple) else (key,)))
        raise InputError(f"{path}: found {low[key]:g}, {high[key]:g} mm for station {gauge}, expected one value")
    places = rows.groupby("station")[["lon", "lat"]]
    moved = (places.max() - places.min()).max(axis=1)
    if (moved > _FARTHEST_MOVE_DEG).any():
        apart = f"{moved.max():g} degrees apart"
        raise InputError(f"{path}: found station {moved.idxmax()} in places {apart}, expected one place")
    return groups[["lon", "lat", "rain"]].first().reset_index()


def _sums_before(path: Path, rows: pd.DataFrame, weights: dict[dt.date, float]) -> tuple[pd.DataFrame, list[str]]:
    """Sum the rain of the gauges that have a value on each of the dates that count.

    Dates are such as 2017-08-08 (a time after it is ignored) or 20170808.
    """
    given = rows["date"]
    day = given.str.split("[T ]", regex=True).str[0]
    dates = pd.to_datetime(day, format="%Y-%m-%d", errors="coerce")
    dates = dates.fillna(pd.to_datetime(day, format="%Y%m%d", errors="coerce"))
    if (wrong := given[dates.isna()]).size:
        found = "has no date" if pd.isna(wrong.iloc[0]) else f"found {wrong.iloc[0]!r} as date"
        raise InputError(f"{path}: line {wrong.index[0]}: {found}, expected dates such as 2017-08-08 or 20170808")
    rows = rows.assign(date=dates.dt.date)
    first, last = min(weights), max(weights)
    inside = _merged(path, rows[rows["date"].isin(list(weights))])
    if inside.empty:
        days = f"days from {rows['date'].min()} to {rows['date'].max()}"
        raise InputError(f"{path}: found {days}, expected {first} to {last}")
    inside["rain"] *= inside["date"].map(weights)
    stations = inside.groupby("station")
    sums = stations[["lon", "lat"]].first().assign(rain=stations["rain"].sum(), days=stations.size())
    complete = sums[sums["days"] == len(weights)]
    if complete.empty:
        found = f"no gauge has all {len(weights)} days from {first} to {last} (the fullest has {sums['days'].max()})"
        hint = 'rain.event_day = "drop" where the table ends before that of the event'
        raise InputError(f"{path}: {found}; give a shorter rain.window_days, or {hint}")
    notes = [f"rain of {len(weights)} days, {first} to {last}"]
    notes += [
        f"{date} lies in the window by {weight:.1%}, its rain counts by that share"
        for date, weight in weights.items()
        if weight < 1
    ]
    if gone := rows["station"].nunique() - len(complete):
        notes.append(f"{gone} gauges left out: days of the window are missing")
    return complete, notes
