"""The index cube: a Zarr store with one variable per index, all on one grid, opened and read here.

Variables carry a ``role``: ``index`` (input of a network), ``diagnostic`` (to look at), ``mask`` (`valid`: True where a
cell can be mapped) or ``label`` (`landslide`: 0 background, 1 landslide, 255 unknown).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.errors import InputError
from coslide.grid import short_crs
from coslide.labels import NODATA

CUBE_FORMAT = 2
BAND_DIMENSION = "band"
_ROWS = 512  # read at once


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
    found = _format_of(path)
    if found is None:
        raise InputError(f"{path}: is no index cube, or not a whole one; coslide build writes one")
    if found != CUBE_FORMAT:
        raise InputError(f"{path}: found cube format {found}, expected {CUBE_FORMAT}; build it again")
    try:
        cube: xr.Dataset = xr.open_zarr(path, chunks=None, mask_and_scale=False, decode_coords="all")
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Zarr ({str(error).splitlines()[0]})") from None
    return cube


def _format_of(path: Path) -> Any:
    """Return the format of a whole cube; None for all other folders, a cube that is being built too."""
    try:
        return json.loads((path / ".zattrs").read_text(encoding="utf-8")).get("coslide_cube_format")
    except (OSError, ValueError, AttributeError):
        return None


def cube_grid(cube: xr.Dataset) -> GeoBox:
    """Return the grid that the variables of `cube` lie on."""
    mapping = cube["spatial_ref"].attrs
    affine = Affine.from_gdal(*(float(number) for number in mapping["GeoTransform"].split()))
    return GeoBox((cube.sizes["y"], cube.sizes["x"]), affine, short_crs(mapping["crs_wkt"]))


def input_bands(cube: xr.Dataset) -> tuple[Band, ...]:
    """Return the input channels of `cube` in their fixed order: that of building, then of the bands of an index."""
    return tuple(_channels(cube, "index"))


def diagnostic_bands(cube: xr.Dataset) -> tuple[Band, ...]:
    """List the bands of `cube` that are no index, such as the PGA behind its classes; a network may ask for them."""
    return tuple(_channels(cube, "diagnostic"))


def read_inputs(
    cube: xr.Dataset, rows: slice = slice(None), *, bands: Sequence[Band] | None = None
) -> NDArray[np.float32]:
    """Return rows of input channels, each in its own unit.

    Parameters
    ----------
    cube
        An opened cube.
    rows
        Which rows, from the north; all by default.
    bands
        Which channels, in which order; all in that of `input_bands` by default.

    Returns
    -------
    ndarray of float32, (band, row, col)
        NaN where a channel has no value.

    Raises
    ------
    KeyError
        If the cube has no channel of that name.
    """
    channels = {band.name: place for band, place in {**_channels(cube, "diagnostic"), **_channels(cube)}.items()}
    wanted = [channels[band.name] for band in (input_bands(cube) if bands is None else bands)]
    height = len(range(*rows.indices(cube.sizes["y"])))
    values = np.empty((len(wanted), height, cube.sizes["x"]), dtype=np.float32)
    for channel, (name, number) in zip(values, wanted, strict=True):
        variable = cube[name].isel(y=rows)
        stored = variable.values if number is None else variable.isel({BAND_DIMENSION: number}).values
        channel[...] = stored
        fill = variable.attrs.get("_FillValue")
        if fill is not None and not np.isnan(fill):
            channel[stored == fill] = np.nan
    return values


def read_pixels(cube: xr.Dataset, name: str, place: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return a variable of one band in some cells, float32 (cell,) in its unit; None if the cube does not have it.

    Parameters
    ----------
    cube
        An opened cube.
    name
        Of an index or a diagnostic.
    place
        Number of each cell in the raveled (row, col) grid; in any order.

    Returns
    -------
    ndarray or None
        NaN where there is no value.
    """
    if name not in cube:
        return None
    variable, width = cube[name], cube.sizes["x"]
    fill = variable.attrs.get("_FillValue")
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    values = np.empty(len(place), dtype=np.float32)
    for top in range(0, cube.sizes["y"], _ROWS):
        first, last = np.searchsorted(ordered, [top * width, (top + _ROWS) * width])
        if first < last:
            stored = variable.isel(y=slice(top, top + _ROWS)).values.ravel()[ordered[first:last] - top * width]
            found = stored.astype(np.float32)
            if fill is not None and not np.isnan(fill):
                found[stored == fill] = np.nan
            values[order[first:last]] = found
    return values


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
    labels[~read_valid(cube)] = NODATA
    return labels


def summary(cube: xr.Dataset) -> str:
    """Return in one line how many input channels a cube has, its size in cells, and which share of it is valid."""
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    valid = float(cube["valid"].values.mean())
    return f"{len(input_bands(cube))} channels, {rows} x {columns} cells, {valid:.0%} valid"


def band_table(cube: xr.Dataset) -> list[dict[str, Any]]:
    """Return what is in a cube, a row for each band: as it was counted when the cube was built.

    Returns
    -------
    list of dict
        ``band``, ``variable``, ``role``, ``unit``, ``long_name``, ``valid_share`` (of all cells, 0 to 1), ``smallest``
        and ``largest`` (None where no cell has a value) and ``source`` (files and addresses).
    """
    rows = []
    for name in cube.attrs["indices"]:
        attrs = cube[name].attrs
        several = BAND_DIMENSION in cube[name].dims
        bands = [f"{name}_{band}" for band in cube[name][BAND_DIMENSION].values] if several else [name]
        shares, ranges = attrs["valid_share"], attrs["value_range"]
        spans = zip(bands, shares if several else [shares], ranges if several else [ranges], strict=True)
        source = attrs.get("source", [])
        shared = {
            "role": attrs["role"],
            "unit": attrs["units"],
            "long_name": attrs["long_name"],
            "source": [source] if isinstance(source, str) else list(source),
        }
        for band, share, span in spans:
            smallest, largest = span or (None, None)
            row = {"band": band, "variable": name, "valid_share": share, "smallest": smallest, "largest": largest}
            rows.append({**row, **shared})
    return rows


def band_mismatch(found: Sequence[Band], expected: Sequence[Band]) -> str:
    """Return in words what `found` lacks of the input channels `expected`; empty if it has them all.

    What it has besides, and its order, do not matter: channels are picked by name.

    Examples
    --------
    >>> slope, aspect = Band("slope", "degree"), Band("aspect_class", "1", 9)
    >>> band_mismatch([slope], [slope, aspect])
    'aspect_class is missing'
    >>> band_mismatch([slope._replace(unit="1")], [slope])
    "slope has unit '1' instead of unit 'degree'"
    """
    own = {band.name: band for band in found}
    missing = [band.name for band in expected if band.name not in own]
    parts = [f"{', '.join(missing)} is missing"] if missing else []
    parts += [
        f"{band.name} has {_meaning(own[band.name])} instead of {_meaning(band)}"
        for band in expected
        if band.name in own and own[band.name] != band
    ]
    return "; ".join(parts)


def _meaning(band: Band) -> str:
    classes = f" and {band.classes} classes ({band.definition})" if band.classes else ""
    return f"unit {band.unit!r}{classes}"


def _channels(cube: xr.Dataset, role: str = "index") -> dict[Band, tuple[str, int | None]]:
    """Find each band of a role, the variable that holds it, and its number there if that has several."""
    channels: dict[Band, tuple[str, int | None]] = {}
    for name in cube.attrs["indices"]:
        variable = cube[name]
        attrs = variable.attrs
        if attrs["role"] != role:
            continue
        what = (str(attrs["units"]), int(attrs.get("classes", 0)), str(attrs.get("definition", "")))
        if BAND_DIMENSION in variable.dims:
            for number, band in enumerate(variable[BAND_DIMENSION].values):
                channels[Band(f"{name}_{band}", *what)] = name, number
        else:
            channels[Band(name, *what)] = name, None
    return channels
