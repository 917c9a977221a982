"""Files that were cut off, of which GDAL reads what is lost as zeros or missing, without a word."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from coslide.errors import InputError
from coslide.io.paths import read_head

_PLAIN = frozenset({
    "EHdr", "ENVI", "ERS", "GTX", "ISCE", "ISIS2", "ISIS3", "LAN", "MFF", "PAux", "PDS4", "ROI_PAC", "RRASTER", "VICAR",
})  # fmt: skip
"""Formats that GDAL reads as plain numbers: where the file ends early, it reads zeros."""

_NETCDF_3 = (b"CDF\x01", b"CDF\x02")
_GZIP = b"\x1f\x8b"  # ENVI may be compressed: then the end of the file is missed anyway
_HEAD, _SHX_HEAD, _SHX_RECORD = 32, 100, 8  # bytes; of the first, all files have as many


def require_whole_raster(dataset: Any, path: Path) -> None:
    """Require that a raster whose format does not notice it is as long as its size needs.

    Parameters
    ----------
    dataset
        The opened raster (of rasterio).
    path
        Its file, for messages.

    Raises
    ------
    InputError
        If the file of its values is shorter.
    """
    files = [file for file in map(Path, dataset.files) if file.is_file()]
    if dataset.driver in _PLAIN and files:
        values = max(files, key=lambda file: file.stat().st_size)
        kinds = zip(dataset.indexes, dataset.dtypes, strict=True)
        bits = [dataset.tags(i, ns="IMAGE_STRUCTURE").get("NBITS", 8 * np.dtype(kind).itemsize) for i, kind in kinds]
        needed = dataset.height * dataset.width * sum(map(int, bits)) // 8
        if read_head(values)[:2] != _GZIP and values.stat().st_size < needed:
            found = f"found {values.stat().st_size} bytes in {values.name}, expected at least {needed}"
            raise InputError(f"{path}: {found}, as it states its size; it was cut off")
    if dataset.driver == "netCDF" and read_head(path)[:4] in _NETCDF_3:
        try:
            scipy.io.netcdf_file(path, mmap=True).close()
        except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            raise InputError(f"{path}: is no whole netCDF file, it was cut off or damaged ({error})") from None


def require_whole_shapefile(path: Path) -> None:
    """Require that the files of a Shapefile are as long as their heads state, and of one number of features.

    Parameters
    ----------
    path
        The ``.shp``; the ``.shx`` and ``.dbf`` beside it are looked at where they are.

    Raises
    ------
    InputError
        If they are not (ESRI Shapefile Technical Description, 1998; dBASE III).
    """
    counts: dict[str, int] = {}
    for suffix in (".shp", ".shx", ".dbf"):
        for file in {path.with_suffix(suffix), path.with_suffix(suffix.upper())}:
            if file.is_file():
                counts[suffix] = _stated_features(file, suffix)
    if ".shx" in counts and counts.get(".dbf", counts[".shx"]) != counts[".shx"]:
        found = f"found {counts['.shx']} features in its .shx, {counts['.dbf']} in its .dbf"
        raise InputError(f"{path}: {found}; expected the files of one Shapefile")


def _stated_features(file: Path, suffix: str) -> int:
    """Read how many features a file has by its head (of a .shp nothing tells), which must not promise more bytes."""
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if suffix == ".dbf":
        count, of_head, of_record = (int.from_bytes(head[i:j], "little") for i, j in ((4, 8), (8, 10), (10, 12)))
        stated = of_head + count * of_record
    else:
        stated = 2 * int.from_bytes(head[24:28], "big")
        count = (stated - _SHX_HEAD) // _SHX_RECORD
    if (size := file.stat().st_size) < max(stated, _HEAD):
        raise InputError(f"{file}: found {size} bytes, expected {max(stated, _HEAD)} by its head; it was cut off")
    return count
