"""One scene out of several: each pixel from the first date that shows it clearly."""

import datetime as dt
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import SceneConfig
from coslide.grid import common_grid, join_extents
from coslide.io.cog import RasterBands, write_cog
from coslide.sources.safe import read_time
from coslide.sources.sentinel2 import TILE_LATTICE_M, SceneReader, open_scene

SCALE, OFFSET = 1e-4, -0.1
"""Reflectance = stored value * scale + offset, as in products since processing baseline 04.00."""
_NODATA, _LARGEST = 0, 65534
_NO_DATE = -32768
_NONE = 255


def write_composite(
    scenes: Sequence[SceneConfig], folder: Path, *, root: Path, event_time: dt.datetime
) -> dict[str, Any]:
    """Write a scene in which each pixel has the values of the first date that shows it clearly.

    Parameters
    ----------
    scenes
        One for each date, with the same bands, the preferred one first; paths are absolute. A date shows a pixel
        clearly where its class in the scene classification is none of ``scl_invalid``.
    folder
        Where the rasters are written: one for each band, with pixels as large as there, the classification, and
        ``days.tif``, which says how many days after the earthquake each pixel was sensed (negative: before).
    root
        The folder of the event.
    event_time
        When the earthquake was.

    Returns
    -------
    dict
        Keys of the scene for an event file. The date is that of the first scene. Pixels that no date shows clearly are
        nodata.

    Raises
    ------
    InputError
        If a scene cannot be opened or read, or a file not be written.

    Notes
    -----
    Rasters of the first scene are not resampled. Rows are read one strip after another, whatever the size of the area.
    """
    readers = [open_scene(scene, root=root) for scene in scenes]
    first = readers[0]
    extents = [extent for reader in readers for extent in reader.extents()]
    whole = join_extents("scenes", extents)
    grid = common_grid([whole], pixel_size_m=TILE_LATTICE_M, crs=whole.crs, lattice=first.lattice())
    layers = {name: RasterBands([name], ["1"], "uint16", _NODATA) for name in first.band_names}
    layers |= {"SCL": RasterBands(["SCL"], ["1"], "uint8", 0), "days": RasterBands(["days"], ["d"], "int16", _NO_DATE)}
    for name, bands in layers.items():
        fold = round(TILE_LATTICE_M / _pixel_m(first, name))
        own = GeoBox((grid.shape.y * fold, grid.shape.x * fold), grid.affine @ Affine.scale(1 / fold), grid.crs)
        read = partial(_read, readers, name, own, days=_days(readers, event_time))
        write_cog(folder / f"{name}.tif", own, bands, read)
    paths = {name: folder / f"{name}.tif" for name in first.band_names}
    values = {"scale": SCALE, "offset": OFFSET, "nodata": _NODATA}
    return {"date": first.acquired, **values, "bands": paths, "scl": folder / "SCL.tif"}


def _pixel_m(reader: SceneReader, name: str) -> float:
    """Measure the pixels of a band, or of the classification, of the first product of a scene."""
    rasters = reader.products[0].rasters
    return float(abs(rasters[name if name in rasters else "SCL"].geobox.affine.a))


def _days(readers: Sequence[SceneReader], event_time: dt.datetime) -> list[int]:
    """Count the days from the earthquake to each scene."""
    dates = [read_time(reader.acquired) for reader in readers]
    return [_NO_DATE if date is None else (date.date() - event_time.date()).days for date in dates]


def _read(readers: Sequence[SceneReader], name: str, grid: GeoBox, rows: slice, *, days: Sequence[int]) -> NDArray[Any]:
    """Read rows of a band, of the classification or of the days, as they are stored."""
    window = grid[rows, :]
    chosen = np.full(window.shape, _NONE, dtype=np.uint8)
    for number, reader in enumerate(readers):
        left = chosen == _NONE
        if left.any():
            chosen[left & reader.clear(window)] = number
    if name == "days":
        days_of = np.full(_NONE + 1, _NO_DATE, dtype=np.int16)
        days_of[: len(days)] = days
        return days_of[chosen][np.newaxis]
    out = np.zeros((1, *window.shape), dtype=np.uint8 if name == "SCL" else np.uint16)
    for number, reader in enumerate(readers):
        if (taken := chosen == number).any():
            out[0, taken] = (_classes if name == "SCL" else partial(_stored, name=name))(reader, window)[taken]
    return out


def _classes(reader: SceneReader, window: GeoBox) -> NDArray[np.float32]:
    classes = reader.classes(window)
    return np.zeros(window.shape, dtype=np.float32) if classes is None else np.nan_to_num(classes)


def _stored(reader: SceneReader, window: GeoBox, name: str) -> NDArray[np.uint16]:
    """Read reflectance as stored values."""
    values = np.round((reader.reflectance(name, window) - OFFSET) / SCALE)
    void = np.isnan(values)
    stored: NDArray[np.uint16] = np.where(void, _NODATA, values.clip(1, _LARGEST)).astype(np.uint16)
    return stored
