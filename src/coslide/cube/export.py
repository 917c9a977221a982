"""The bands of a cube as Cloud-Optimised GeoTIFFs, with a STAC item that lists them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from pyproj import Transformer
from shapely.geometry import box, mapping

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.io.atomic import Marker, whole_output

_ROWS = 512
_PROFILE = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}
_COG = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEWS": "AUTO"}
_ITEM = "item.json"
_RECORDED = ("acquired", "computed", "resampling", "libraries")
COGS = Marker(_ITEM, "coslide:cube")


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
            _write_band(cube, band, part)
        text = json.dumps(_stac_item(cube), indent=2, ensure_ascii=False)
        (part / _ITEM).write_text(text + "\n", encoding="utf-8")
    return folder


def _write_band(cube: Cube, band: Band, folder: Path) -> None:
    grid, values = cube.grid, cube.array(band)
    plain, cog = folder / "plain.tif", folder / f"{band.name}.tif"
    size = {"width": grid.shape.x, "height": grid.shape.y, "count": 1, "dtype": band.dtype}
    place = {"crs": str(grid.crs), "transform": grid.affine, "nodata": band.nodata}
    with rasterio.open(plain, "w", **_PROFILE, **size, **place) as file:
        file.set_band_description(1, band.name)
        file.units = (band.unit,)
        file.update_tags(**_tags(band))
        for top in range(0, grid.shape.y, _ROWS):
            strip = values.isel(y=slice(top, top + _ROWS)).values
            file.write(strip, 1, window=((top, top + strip.shape[0]), (0, strip.shape[1])))
    # A mean of class numbers is no class.
    overviews = "AVERAGE" if band.kind == "continuous" else "NEAREST"
    rasterio.shutil.copy(plain, cog, driver="COG", OVERVIEW_RESAMPLING=overviews, **_COG)
    plain.unlink()
    with rasterio.open(cog) as file:  # GDAL does not report a disk that fills while it is closed
        for top in range(0, file.height, _ROWS):
            strip = values.isel(y=slice(top, top + _ROWS)).values
            found = file.read(1, window=((top, top + strip.shape[0]), (0, file.width)))
            if not np.array_equal(found, strip, equal_nan=band.kind == "continuous"):
                raise OSError(f"{cog}: does not read back as it was written")


def _tags(band: Band) -> dict[str, str]:
    found = {"long_name": band.long_name, "role": band.role, "definition": band.definition}
    found |= {key: str(text) for key in _RECORDED if (text := band.provenance.get(key))}
    found |= {key: ", ".join(texts) for key in ("source", "source_sha256") if (texts := band.provenance.get(key))}
    return {key: text for key, text in found.items() if text}


def _stac_item(cube: Cube) -> dict[str, Any]:
    """Build the STAC item of the files, its addresses relative to itself."""
    import pystac

    grid = cube.grid
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    outline = box(*to_degrees.transform_bounds(*grid.boundingbox.bbox))
    item = pystac.Item(
        id=str(cube.attrs.get("event_id") or cube.title),
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=cube.date,
        properties={
            "title": cube.title,
            "proj:code": str(grid.crs),
            "proj:shape": list(grid.shape),
            "proj:transform": list(grid.affine[:6]),
            "coslide:cube": cube.fingerprint,
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    for row, band in zip(cube.contents(), cube.bands, strict=True):
        nodata = "nan" if np.isnan(band.nodata) else band.nodata
        raster: dict[str, Any] = {"data_type": band.dtype, "unit": band.unit, "nodata": nodata}
        if row["smallest"] is not None:
            spans = {"minimum": row["smallest"], "maximum": row["largest"], "valid_percent": 100 * row["valid_share"]}
            raster["statistics"] = spans
        asset = pystac.Asset(
            f"./{band.name}.tif",
            title=band.name,
            description=band.long_name,
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "raster:bands": [raster],
                **{f"coslide:{key}": text for key, text in _tags(band).items()},
            },
        )
        item.add_asset(band.name, asset)
    found: dict[str, Any] = item.to_dict(include_self_link=False)
    return found
