"""A STAC item that lists the files of a folder."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping

from coslide.io.atomic import write_json

ITEM = "item.json"
_EXTENSIONS = "https://stac-extensions.github.io"
_MEDIA = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".png": "image/png",
}


def write_item(
    folder: Path,
    grid: GeoBox,
    *,
    name: str,
    date: dt.datetime,
    properties: Mapping[str, Any],
    assets: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write ``item.json`` into a folder, its addresses relative to itself.

    Parameters
    ----------
    folder
        Of the files.
    grid
        Of the rasters.
    name
        Identifies the item.
    date
        Of the scene.
    properties
        What else is known of all files, in plain JSON values.
    assets
        Of each file, by its name in `folder`: `title`, `description` and `extra_fields` of a `pystac.Asset`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    import pystac

    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    outline = box(*to_degrees.transform_bounds(*grid.boundingbox.bbox))
    place = {"proj:code": str(grid.crs), "proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}
    extensions = [f"{_EXTENSIONS}/projection/v2.0.0/schema.json"]
    if any("raster:bands" in asset.get("extra_fields", {}) for asset in assets.values()):
        extensions.append(f"{_EXTENSIONS}/raster/v1.1.0/schema.json")
    item = pystac.Item(
        id=name,
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=date,
        properties={**place, **properties},
        stac_extensions=extensions,
    )
    for file, fields in assets.items():
        asset = pystac.Asset(f"./{file}", media_type=_MEDIA[Path(file).suffix], roles=["data"], **fields)
        item.add_asset(file.removesuffix(".tif"), asset)
    write_json(folder / ITEM, item.to_dict(include_self_link=False))
