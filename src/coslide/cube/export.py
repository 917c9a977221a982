"""The bands of a cube as Cloud-Optimised GeoTIFFs, with a STAC item that lists them."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping

from coslide.cube.cube import BAND_DIMENSION, band_table, cube_grid
from coslide.grid import short_crs
from coslide.io.atomic import Marker, whole_output

_ROWS = 512
_PROFILE = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}
_COG = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEWS": "AUTO"}
_ITEM = "item.json"
COGS = Marker(_ITEM, "coslide:cube")


def write_cogs(cube: xr.Dataset, folder: Path | str) -> Path:
    """Return the folder with a Cloud-Optimised GeoTIFF of every band of `cube`, and a STAC item, ``item.json``.

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
        rows = band_table(cube)
        for row in rows:
            _write_band(cube, row, part)
        text = json.dumps(_stac_item(cube, rows), indent=2, ensure_ascii=False)
        (part / _ITEM).write_text(text + "\n", encoding="utf-8")
    return folder


def _write_band(cube: xr.Dataset, row: dict[str, Any], folder: Path) -> None:
    variable = _band_of(cube, row)
    grid, attrs = cube_grid(cube), variable.attrs
    plain, cog = folder / "plain.tif", folder / f"{row['band']}.tif"
    size = {"width": grid.shape.x, "height": grid.shape.y, "count": 1, "dtype": variable.dtype.name}
    place = {"crs": str(grid.crs), "transform": grid.affine, "nodata": attrs["_FillValue"]}
    with rasterio.open(plain, "w", **_PROFILE, **size, **place) as file:
        file.set_band_description(1, row["band"])
        file.units = (row["unit"],)
        file.update_tags(**_tags(row, attrs))
        for top in range(0, grid.shape.y, _ROWS):
            values = variable.isel(y=slice(top, top + _ROWS)).values
            file.write(values, 1, window=((top, top + values.shape[0]), (0, values.shape[1])))
    # A mean of class numbers is no class.
    overviews = "NEAREST" if variable.dtype.kind == "u" else "AVERAGE"
    rasterio.shutil.copy(plain, cog, driver="COG", OVERVIEW_RESAMPLING=overviews, **_COG)
    plain.unlink()
    _compare(cog, variable)


def _band_of(cube: xr.Dataset, row: dict[str, Any]) -> xr.DataArray:
    variable: xr.DataArray = cube[row["variable"]]
    if BAND_DIMENSION in variable.dims:
        variable = variable.sel({BAND_DIMENSION: row["band"].removeprefix(f"{row['variable']}_")})
    return variable


def _tags(row: dict[str, Any], attrs: dict[str, Any]) -> dict[str, str]:
    said = {
        key: attrs[key] for key in ("acquired", "computed", "resampling", "definition", "libraries") if key in attrs
    }
    hashes = {"source_sha256": ", ".join(attrs["source_sha256"])} if "source_sha256" in attrs else {}
    own = {"long_name": row["long_name"], "role": row["role"], "source": ", ".join(row["source"])}
    return {key: str(value) for key, value in (own | said | hashes).items()}


def _compare(path: Path, variable: xr.DataArray) -> None:
    """Read a file again: GDAL does not report a disk that fills while it is closed."""
    with rasterio.open(path) as file:
        for top in range(0, file.height, _ROWS):
            expected = variable.isel(y=slice(top, top + _ROWS)).values
            found = file.read(1, window=((top, top + expected.shape[0]), (0, file.width)))
            if not np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f"):
                raise OSError(f"{path}: does not read back as it was written")


def _stac_item(cube: xr.Dataset, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the STAC item of the files, its addresses relative to itself."""
    import pystac

    grid = cube_grid(cube)
    outline = _outline(grid)
    item = pystac.Item(
        id=str(cube.attrs.get("event_id") or cube.attrs["title"]),
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=scene_date(cube),
        properties={
            "title": str(cube.attrs["title"]),
            "proj:code": short_crs(cube["spatial_ref"].attrs["crs_wkt"]),
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.affine[:6]),
            "coslide:cube": cube.attrs["coslide_fingerprint"],
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    for row in rows:
        variable = cube[row["variable"]]
        band = {"data_type": variable.dtype.name, "unit": row["unit"]}
        fill = variable.attrs["_FillValue"]
        band["nodata"] = "nan" if np.isnan(fill) else int(fill)
        if row["smallest"] is not None:
            spans = {"minimum": row["smallest"], "maximum": row["largest"], "valid_percent": 100 * row["valid_share"]}
            band["statistics"] = spans
        asset = pystac.Asset(
            f"./{row['band']}.tif",
            title=row["band"],
            description=row["long_name"],
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "raster:bands": [band],
                **{f"coslide:{key}": text for key, text in _tags(row, variable.attrs).items()},
            },
        )
        item.add_asset(row["band"], asset)
    found: dict[str, Any] = item.to_dict(include_self_link=False)
    return found


def _outline(grid: GeoBox) -> Any:
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    return box(*to_degrees.transform_bounds(*grid.boundingbox.bbox))


def scene_date(cube: xr.Dataset) -> dt.datetime:
    """Return the day of the scene after the event; where that is not recorded, when the cube was built."""
    for text in (cube["reflectance_post"].attrs.get("acquired", ""), str(cube.attrs["history"]).split()[0]):
        try:
            found = dt.datetime.fromisoformat(str(text))
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    raise ValueError("the cube says neither when its scene was acquired nor when it was built")
