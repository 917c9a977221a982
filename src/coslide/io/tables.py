"""Tables of stations: CSV files with a header."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coslide.errors import InputError

_HEADER_LINES = 1


def read_table(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Read the columns `names` of a CSV file, as text; what is empty, or only blanks, is missing.

    Parameters
    ----------
    path
        A file with a header line, separated by commas, in UTF-8.
    names
        The columns that it must have.

    Raises
    ------
    InputError
        If it cannot be read or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({str(error).splitlines()[0]})") from None
    lacking = [name for name in names if name not in table.columns]
    if lacking:
        raise InputError(f"{path}: has no column {lacking[0]!r}; found {', '.join(map(str, table.columns))}")
    stripped = {name: table[name].str.strip() for name in names}
    return pd.DataFrame({name: column.where(column != "") for name, column in stripped.items()})


def numbers_of(path: Path, column: pd.Series) -> NDArray[np.float64]:
    """Convert a column of text to numbers, float64 (row,); NaN where it is missing.

    Parameters
    ----------
    path
        The file, for the message.
    column
        As `read_table` returns it: its name and its rows from 0.

    Raises
    ------
    InputError
        If a value is no finite number.

    Examples
    --------
    >>> numbers_of(Path("a.csv"), pd.Series(["1.5", None], name="pga"))
    array([1.5, nan])
    """
    numbers: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(column.notna().to_numpy() & ~np.isfinite(numbers))
    if wrong.size:
        row = int(wrong[0])
        line = row + _HEADER_LINES + 1
        raise InputError(f"{path}: line {line}: found {column.iloc[row]!r} as {column.name}, expected numbers")
    return numbers


def require_on_earth(path: Path, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> None:
    """Require longitudes from -180 to 360 degrees and latitudes from -90 to 90; NaN passes.

    Raises
    ------
    InputError
        Naming the first place that lies elsewhere.
    """
    away = np.flatnonzero((np.abs(lat_deg) > 90) | (lon_deg < -180) | (lon_deg > 360))
    if away.size:
        line, lon, lat = away[0] + _HEADER_LINES + 1, lon_deg[away[0]], lat_deg[away[0]]
        raise InputError(f"{path}: line {line}: found longitude {lon:g} and latitude {lat:g}, expected degrees")
