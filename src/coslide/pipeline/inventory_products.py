"""From a probability map to what people use of it: polygons, density, a summary and a list of the files."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np

from coslide.cube.cube import Cube
from coslide.grid import pixel_size_m
from coslide.io.atomic import whole_output, write_json
from coslide.io.cog import RasterBands, write_cog, write_item
from coslide.mapping.attributes import LandslideContext, count_density, summarise_inventory
from coslide.mapping.inventory import vectorize_landslides, write_inventory
from coslide.mapping.model import ModelMetadata
from coslide.mapping.probability_map import PROBABILITY, UNCERTAINTY, read_probability_map
from coslide.report.charts import summary_figure

_TITLES = {
    PROBABILITY: "landslide probability",
    UNCERTAINTY: "standard deviation of the probability over orientations and members",
    "landslides.gpkg": "landslide polygons",
    "landslides.parquet": "landslide polygons",
    "density.tif": "landslides per km2, and share of the area that slid",
    "summary.json": "number, area and sizes of the landslides",
    "summary.png": "sizes of the landslides, and their number per km2",
}


def write_inventory_products(out: Path, cube: Cube, model: ModelMetadata, *, min_area_m2: float) -> gpd.GeoDataFrame:
    """Draw the landslides of the probability map in `out`, and write all that is made of them beside it.

    ``landslides.gpkg`` and ``landslides.parquet`` (`coslide.mapping.inventory.vectorize_landslides`), ``density.tif``,
    ``summary.json`` and ``summary.png``, and ``item.json``, which lists them.

    Parameters
    ----------
    out
        Folder of the map.
    cube, model
        What was mapped, and by which model.
    min_area_m2
        Smaller landslides are left out.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    found, event = read_probability_map(out), cube.title
    valid = np.isfinite(found.probability)
    of_model = {"network": model.network, "trained_on": ", ".join(model.events), "threshold": f"{model.threshold:g}"}
    of_model |= model.model_dump(include={"coslide_version", "licence", "citation"})
    dates = (cube.acquired("pre"), cube.acquired("post"))
    context = LandslideContext(lambda place, name: cube.read_pixels(name, place), found.spread, *dates)
    drawn = {"threshold": found.threshold, "min_area_m2": min_area_m2}
    frame = vectorize_landslides(found.probability, found.grid, **drawn, context=context)
    write_inventory(frame, out, metadata={"event": event, "credit": str(cube.attrs.get("credit", "")), **of_model})
    density, squares = count_density(frame, valid, found.grid)
    bands = RasterBands(["landslides per km2", "share of the area that slid"], ["km-2", "1"])
    write_cog(out / "density.tif", squares, bands, lambda rows: density[:, rows])
    summary = summarise_inventory(frame, valid_km2=np.count_nonzero(valid) * pixel_size_m(found.grid) ** 2 / 1e6)
    write_json(out / "summary.json", {"event": event, **of_model, "min_area_m2": min_area_m2, **summary})
    west, south, east, north = (edge / 1000 for edge in squares.boundingbox.bbox)
    figure = summary_figure(summary, density[0], bounds_km=(west, south, east, north), title=event)
    with whole_output(out / "summary.png") as part:
        figure.savefig(part, format="png", metadata={"Software": None})
    properties: dict[str, Any] = {"title": event, **{f"coslide:{key}": text for key, text in of_model.items()}}
    properties |= {"coslide:landslides": summary["landslides"], "coslide:area_km2": summary["area_km2"]}
    assets = {name: {"title": title} for name, title in _TITLES.items() if (out / name).is_file()}
    write_item(out, found.grid, name=out.resolve().name, date=cube.date, properties=properties, assets=assets)
    return frame
