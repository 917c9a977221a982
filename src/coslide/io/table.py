"""Tables of stations (CSV): every row is held against the header, so that no value can slip into another column."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from coslide.errors import InputError
from coslide.io.paths import require_regular_file

_LONGEST_LINE = 1_000_000
_TAR_MAGIC_AT = 257
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"PAR1": "Parquet",
}
_MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none"}  # as spreadsheets, R and pandas write it


def read_table(path: Path, names: Iterable[str], *, numbers: Sequence[str], degrees: bool = True) -> pd.DataFrame:
    r"""Read the columns `names` of a CSV file, as text; what is empty, only blanks or a word such as NA is missing.

    Parameters
    ----------
    path
        A file with a header line, separated by commas, in UTF-8.
    names
        The columns that it must have, each once.
    numbers
        Those of them that are float64, NaN where a value is missing: longitude and latitude in degrees, and others.
    degrees
        Whether the first two of `numbers` are longitude and latitude.

    Returns
    -------
    DataFrame
        Its index is the line of each row in the file; the header is line 1. Blank lines are left out.

    Raises
    ------
    InputError
        If it cannot be read, is compressed or no text, lacks a column or has it twice; if a row has more or fewer
        fields than the header; or if a number is not finite, a longitude not from -180 to 360, or a latitude not from
        -90 to 90.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "stations.csv"
    >>> _ = path.write_text("name,x,y,pga\nA,141,42,0.3\nB,142,43,")
    >>> read_table(path, ["name", "x", "y", "pga"], numbers=["x", "y", "pga"])
      name      x     y  pga
    2    A  141.0  42.0  0.3
    3    B  142.0  43.0  NaN
    """
    wanted = list(names)
    require_regular_file(path)
    try:
        _require_text(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = _read_columns(path, file, wanted)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as CSV ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: found text that is not UTF-8, expected a CSV file in UTF-8 (save it so)") from None
    for name in numbers:
        values = pd.to_numeric(table[name], errors="coerce").astype(np.float64)
        for line in table.index[table[name].notna() & ~np.isfinite(values)]:
            raise InputError(f"{path}: line {line}: found {table[name][line]!r} as {name}, expected numbers")
        table[name] = values
    if degrees:
        _require_degrees(path, table[[*numbers[:2]]])
    return table


def _require_text(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_TAR_MAGIC_AT + 5)
    if head[_TAR_MAGIC_AT:] == b"ustar":
        raise InputError(f"{path}: is a tar archive, expected a CSV file (unpack it)")
    for magic, kind in _PACKED.items():
        if head.startswith(magic):
            raise InputError(f"{path}: is {kind}, expected a CSV file (unpack it, or save it as CSV)")


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    """Yield the lines of a file, none of which can fill the memory."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if "\0" in line:
            raise InputError(f"{path}: line {number}: holds a NUL byte, expected a CSV file in UTF-8")
        if len(line) == _LONGEST_LINE:
            raise InputError(f"{path}: line {number}: is longer than {_LONGEST_LINE} characters, expected a CSV file")
        yield line


def _read_columns(path: Path, file: IO[str], wanted: list[str]) -> pd.DataFrame:
    """Read the wanted columns of all rows, as text, None where it is missing."""
    reader = csv.reader(_lines(path, file), skipinitialspace=True, strict=True)
    lines: list[int] = []
    rows: list[list[str | None]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _places(path, header, wanted)
        for row in reader:
            if len(row) <= 1 and not "".join(row).strip():
                continue  # a blank line
            if len(row) != len(header):
                found = f"found {len(row)} fields, expected {len(header)} as in the header"
                more = " (a comma at the end, or a column without a name?)" if len(row) > len(header) else ""
                raise InputError(f"{path}: line {reader.line_num}: {found}{more}")
            texts = [row[place].strip() for place in places]
            rows.append([None if text.lower() in _MISSING else text for text in texts])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: cannot be read as CSV ({error})") from None
    return pd.DataFrame(rows, index=lines, columns=wanted, dtype=object)


def _places(path: Path, header: list[str], wanted: list[str]) -> list[int]:
    """Find the place of each wanted column in the header."""
    if not any(header):
        raise InputError(f"{path}: cannot be read as CSV (its first line is blank); expected a header")
    if missing := [name for name in wanted if name not in header]:
        text = ", ".join(header)
        other = next(
            (word for sign, word in {";": "semicolons", "\t": "tabs", "|": "bars"}.items() if sign in text), ""
        )
        hint = f"; its fields are separated by {other}, expected commas" if other and len(header) == 1 else ""
        raise InputError(f"{path}: has no column {missing[0]!r}; found {text[:500]}{hint}")
    if twice := [name for name in wanted if header.count(name) > 1]:
        raise InputError(f"{path}: has {header.count(twice[0])} columns {twice[0]!r}, expected one")
    return [header.index(name) for name in wanted]


def _require_degrees(path: Path, places: pd.DataFrame) -> None:
    lon_deg, lat_deg = places.to_numpy().T
    for row in np.flatnonzero((np.abs(lat_deg) > 90) | (lon_deg < -180) | (lon_deg > 360)):
        found = f"found longitude {lon_deg[row]:g} and latitude {lat_deg[row]:g}, expected degrees"
        swapped = abs(lon_deg[row]) <= 90 and -180 <= lat_deg[row] <= 360
        hint = " (are the columns of longitude and latitude swapped?)" if swapped else ""
        raise InputError(f"{path}: line {places.index[int(row)]}: {found}{hint}")
