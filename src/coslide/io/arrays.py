"""Arrays of numbers in files without a place: PNG, TIFF, HDF5 and NPY, looked at before memory is taken for them."""

import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from coslide.errors import InputError, first_line
from coslide.io.paths import require_regular_file
from coslide.io.raster import reason_of

MOST_VALUES = 2**24
"""Most values of one array; 4096 x 4096 pixels of one band."""
_MOST_BYTES = 2**28  # of a part of a PNG
_PICTURES, _HDF5 = {".png": "PNG", ".tif": "GTiff", ".tiff": "GTiff"}, {".h5", ".hdf5"}


class StoredArray(NamedTuple):
    """Values of a file as they are stored, and the value that it declares to be nodata, or None.

    Of a picture (PNG, TIFF) they are (band, row, col); else as the file has them.
    """

    values: NDArray[Any]
    nodata: float | None = None


def read_array(path: Path, dataset: str = "") -> StoredArray:
    """Read the numbers of a file, in the format that its suffix tells.

    Parameters
    ----------
    path
        ``.png``, ``.tif``, ``.tiff``, ``.h5``, ``.hdf5`` or ``.npy``. Nothing is unpickled, and nothing
        outside the file is read.
    dataset
        Of HDF5: the data set to read.

    Raises
    ------
    InputError
        If it is of another format, cannot be read, holds no numbers, or more than `MOST_VALUES`.
    """
    suffix = path.suffix.lower()
    require_regular_file(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a file of numbers")
    if suffix in _PICTURES:
        return _read_picture(path, _PICTURES[suffix])
    if suffix in _HDF5:
        return StoredArray(_read_hdf5(path, dataset))
    if suffix == ".npy":
        return StoredArray(_read_npy(path))
    raise InputError(f"{path}: found {suffix or 'no suffix'}, expected .png, .tif, .h5 or .npy")


def _require_numbers(what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiub":
        raise InputError(f"{what}: found values of type {dtype}, expected numbers")
    if not 0 < int(np.prod([int(length) for length in shape], dtype=object)) <= MOST_VALUES:
        raise InputError(f"{what}: found the shape {shape}, expected 1 to {MOST_VALUES} values")


def _require_whole_png(path: Path) -> None:
    """Check the parts of a PNG one by one: GDAL reads what is lost of one that was cut off as zeros."""
    with path.open("rb") as file:
        kind = b""
        file.seek(8)  # the signature, which GDAL looks at
        while kind != b"IEND":
            size, kind = int.from_bytes(file.read(4)), file.read(4)
            content, checksum = file.read(min(size, _MOST_BYTES)), file.read(4)
            if not kind or zlib.crc32(kind + content).to_bytes(4) != checksum:
                raise InputError(f"{path}: cannot be read as PNG (it was cut off or damaged)")


def _read_picture(path: Path, driver: str) -> StoredArray:
    if driver == "PNG":
        _require_whole_png(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # It does not look for other files beside this one.
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(path, driver=driver) as file:
                _require_numbers(str(path), (file.count, *file.shape), np.result_type(*map(np.dtype, file.dtypes)))
                return StoredArray(file.read(), file.nodata)
        except RasterioError as error:
            raise InputError(f"{path}: cannot be read as {driver} ({reason_of(error)})") from None


def _read_hdf5(path: Path, name: str) -> NDArray[Any]:
    """Read a data set, whose values must lie in this file: HDF5 has three ways to make another look like a part."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if (link := file.get(name, getlink=True)) is None:
                found = ", ".join(sorted(file)[:5]) or "nothing"
                raise InputError(f"{path}: found {found}, expected the data set {name!r}")
            data = file[name] if isinstance(link, h5py.HardLink) else None
            if data is None or (isinstance(data, h5py.Dataset) and (data.external or data.is_virtual)):
                raise InputError(f"{path}: {name}: found values elsewhere, expected a data set in the file itself")
            if not isinstance(data, h5py.Dataset):
                raise InputError(f"{path}: {name}: found a {type(data).__name__.lower()}, expected a data set")
            _require_numbers(f"{path}: {name}", data.shape or (), data.dtype)
            return np.asarray(data[()])
    # A damaged file makes h5py raise any of these, by where the damage is.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({first_line(error)})") from None


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        _require_numbers(str(path), stored.shape, stored.dtype)
        return np.array(stored)
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as NPY ({first_line(error)})") from None
