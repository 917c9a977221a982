"""A STAC item that lists what a mapped scene consists of."""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping

from coslide.io.atomic import whole_output

_MEDIA = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".png": "image/png",
}


def write_item(
    folder: Path, grid: GeoBox, *, date: dt.datetime, properties: Mapping[str, Any], files: Mapping[str, str]
) -> Path:
    """Return the path of ``item.json`` in the folder of a map, its addresses relative to itself.

    Parameters
    ----------
    folder
        Of the map; its name identifies the item.
    grid
        Of the map.
    date
        Of the scene that was mapped.
    properties
        What else to say, in plain JSON values.
    files
        Titles of the files in `folder`, by their names.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    import pystac

    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    outline = box(*to_degrees.transform_bounds(*grid.boundingbox.bbox))
    place = {"proj:code": str(grid.crs), "proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}
    item = pystac.Item(
        id=folder.resolve().name,
        geometry=mapping(outline),
        bbox=list(outline.bounds),
        datetime=date,
        properties={**place, **properties},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    for name, title in files.items():
        asset = pystac.Asset(f"./{name}", title=title, media_type=_MEDIA[Path(name).suffix], roles=["data"])
        item.add_asset(Path(name).stem if name.endswith(".tif") else name, asset)
    path = folder / "item.json"
    with whole_output(path) as part:
        text = json.dumps(item.to_dict(include_self_link=False), indent=2, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    return path
