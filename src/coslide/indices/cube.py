"""The index cube: a Zarr store with one variable per index, all on one grid, opened and read here.

Variables carry a ``role``: ``index`` (input of a network), ``mask`` (`valid`: True where a cell can be mapped) or
``label`` (`landslide`: 0 background, 1 landslide, 255 unknown).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.errors import InputError
from coslide.grid import short_crs
from coslide.labels import UNKNOWN

CUBE_FORMAT = 1
BAND_DIMENSION = "band"


class Band(NamedTuple):
    """One input channel of a network.

    `name` is unique in the cube (``reflectance_post_B2``, ``slope``), `unit` is a UDUNITS string (``"1"`` for
    reflectance and classes), `classes` is the number of classes of a class map, else 0, and `definition` is what
    bounds its classes (``levels 0.12, 0.16 g``), else empty.
    """

    name: str
    unit: str
    classes: int = 0
    definition: str = ""


def open_cube(path: Path | str) -> xr.Dataset:
    """Return the index cube of a Zarr folder, read lazily; values are as stored (no masking, no scaling).

    Raises
    ------
    InputError
        If there is no such folder, or it is no cube of this format.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: not found; expected an index cube (coslide build writes one)")
    try:
        cube: xr.Dataset = xr.open_zarr(path, chunks=None, mask_and_scale=False, decode_coords="all")
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Zarr ({str(error).splitlines()[0]})") from None
    found = cube.attrs.get("coslide_cube_format")
    if found != CUBE_FORMAT:
        raise InputError(f"{path}: found cube format {found}, expected {CUBE_FORMAT}; build it again")
    return cube


def cube_grid(cube: xr.Dataset) -> GeoBox:
    """Return the grid that the variables of `cube` lie on."""
    mapping = cube["spatial_ref"].attrs
    affine = Affine.from_gdal(*(float(number) for number in mapping["GeoTransform"].split()))
    return GeoBox((cube.sizes["y"], cube.sizes["x"]), affine, short_crs(mapping["crs_wkt"]))


def input_bands(cube: xr.Dataset) -> tuple[Band, ...]:
    """Return the input channels of `cube` in their fixed order: that of building, then of the bands of an index."""
    bands = []
    for name in _index_names(cube):
        variable = cube[name]
        attrs = variable.attrs
        what = (str(attrs["units"]), int(attrs.get("classes", 0)), str(attrs.get("definition", "")))
        parts = [f"_{band}" for band in variable[BAND_DIMENSION].values] if BAND_DIMENSION in variable.dims else [""]
        bands += [Band(f"{name}{part}", *what) for part in parts]
    return tuple(bands)


def read_inputs(cube: xr.Dataset, rows: slice = slice(None)) -> NDArray[np.float32]:
    """Return rows of all input channels, each in its own unit, in the order of `input_bands`.

    Parameters
    ----------
    cube
        An opened cube.
    rows
        Which rows, from the north; all by default.

    Returns
    -------
    ndarray of float32, (band, row, col)
        NaN where a channel has no value.
    """
    layers = []
    for name in _index_names(cube):
        variable = cube[name]
        stored = variable.isel(y=rows).values
        values = stored.astype(np.float32)
        fill = variable.attrs.get("_FillValue")
        if fill is not None and not np.isnan(fill):
            values[stored == fill] = np.nan
        layers.append(values if values.ndim == 3 else values[np.newaxis])
    return np.concatenate(layers)


def read_valid(cube: xr.Dataset, rows: slice = slice(None)) -> NDArray[np.bool_]:
    """Return True, as (row, col), where a cell can be mapped: the scene after the event and the DEM have a value."""
    return cube["valid"].isel(y=rows).values.astype(bool)


def read_labels(cube: xr.Dataset) -> NDArray[np.uint8]:
    """Return the mapped landslides as (row, col): 0 background, 1 landslide, 255 unknown or not valid.

    Raises
    ------
    InputError
        If the cube was built without an inventory.
    """
    if "landslide" not in cube:
        raise InputError("the cube has no landslide labels; add [inventory] to the event file and build it again")
    labels = cube["landslide"].values.copy()
    labels[~read_valid(cube)] = UNKNOWN
    return labels


def difference(found: Sequence[Band], expected: Sequence[Band]) -> str:
    """Return in words how two lists of input channels differ; empty if they are the same.

    Examples
    --------
    >>> slope, aspect = Band("slope", "degree"), Band("aspect_class", "1", 9)
    >>> difference([slope], [slope, aspect])
    'aspect_class is missing'
    >>> difference([aspect, slope], [slope, aspect])
    'the order differs'
    """
    missing = [band.name for band in expected if band.name not in {b.name for b in found}]
    extra = [band.name for band in found if band.name not in {b.name for b in expected}]
    units = [
        f"{a.name} has {_meaning(a)} instead of {_meaning(b)}"
        for a in found
        for b in expected
        if a.name == b.name and a != b
    ]
    parts = [f"{', '.join(missing)} is missing"] if missing else []
    parts += [f"{', '.join(extra)} is too many"] if extra else []
    parts += units
    if not parts and list(found) != list(expected):
        parts = ["the order differs"]
    return "; ".join(parts)


def _meaning(band: Band) -> str:
    classes = f" and {band.classes} classes ({band.definition})" if band.classes else ""
    return f"unit {band.unit!r}{classes}"


def _index_names(cube: xr.Dataset) -> list[str]:
    return [name for name in cube.attrs["indices"] if cube[name].attrs["role"] == "index"]
