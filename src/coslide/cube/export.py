"""The bands of a cube as Cloud-Optimised GeoTIFFs, with a STAC item that lists them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.io.atomic import Marker, whole_output
from coslide.io.cog import ITEM, RasterBands, write_cog, write_item

COGS = Marker(ITEM, "coslide:cube")


def write_cogs(cube: Cube, folder: Path | str) -> Path:
    """Write every band of `cube` as a Cloud-Optimised GeoTIFF, and a STAC item, ``item.json``, that lists them.

    Parameters
    ----------
    cube
        An opened cube.
    folder
        Written whole or not at all; an older one of the same kind is replaced.

    Returns
    -------
    Path
        `folder`. A file has the name of its band, its type and nodata value (NaN, or 255 for classes), its unit, and in
        its tags what it is, where it comes from with the SHA-256, when, by which resampling and libraries.

    Raises
    ------
    InputError
        If the disk is full, or the folder holds something else.
    OSError
        If a file does not read back as it was written.
    """
    folder = Path(folder)
    with whole_output(folder, marker=COGS) as part:
        part.mkdir()
        for band in cube.bands:
            described = RasterBands([band.name], [band.unit], band.dtype, band.nodata)
            read = partial(_read_rows, cube.array(band))
            write_cog(part / f"{band.name}.tif", cube.grid, described, read, tags=_tags(band))
        name = str(cube.attrs.get("event_id") or cube.title)
        properties = {"title": cube.title, "coslide:cube": cube.fingerprint}
        assets = {f"{band.name}.tif": _asset(band) for band in cube.bands}
        write_item(part, cube.grid, name=name, date=cube.date, properties=properties, assets=assets)
    return folder


def _read_rows(values: xr.DataArray, rows: slice) -> NDArray[Any]:
    return np.asarray(values.isel(y=rows).values[np.newaxis])


def _tags(band: Band) -> dict[str, str]:
    found = {"long_name": band.long_name, "role": band.role, "definition": band.definition}
    found |= {key: band.provenance.get(key, "") for key in ("acquired", "computed", "resampling", "libraries")}
    found |= {key: ", ".join(band.provenance.get(key, ())) for key in ("source", "source_sha256")}
    return {key: str(text) for key, text in found.items() if text}


def _asset(band: Band) -> dict[str, Any]:
    """Describe the file of a band for the STAC item."""
    nodata = "nan" if np.isnan(band.nodata) else band.nodata
    raster: dict[str, Any] = {"data_type": band.dtype, "unit": band.unit, "nodata": nodata}
    if span := band.provenance["value_range"]:
        statistics = dict(zip(("minimum", "maximum"), span, strict=True))
        raster["statistics"] = statistics | {"valid_percent": 100 * band.provenance["valid_share"]}
    extra = {"raster:bands": [raster], **{f"coslide:{key}": text for key, text in _tags(band).items()}}
    return {"title": band.name, "description": band.long_name, "extra_fields": extra}
