"""What people use of a map: polygons, density, a summary and a list of the files; and the page `report.html`."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

import coslide
from coslide.config.records import read_record
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError, first_line
from coslide.evaluation.assessment import ASSESSMENT, Assessment
from coslide.evaluation.scores import METRICS, read_scores
from coslide.grid import pixel_size_m
from coslide.io.atomic import sha256, whole_output, write_json
from coslide.io.cog import RasterBands, place_in_item, write_cog, write_item
from coslide.io.paths import file_exists, folder_exists
from coslide.io.qgis import write_raster_style
from coslide.mapping.attributes import LandslideContext, count_density, summarise_inventory
from coslide.mapping.inventory import object_areas_m2, vectorize_landslides, write_inventory
from coslide.mapping.metadata import METADATA, ModelMetadata, load_metadata
from coslide.mapping.probability_map import PROBABILITY, UNCERTAINTY, ProbabilityMap, read_probability_map
from coslide.pipeline.evaluate import require_grid
from coslide.pipeline.qgis import TITLES, write_map_project, write_pictures
from coslide.pipeline.report_facts import absent_indices, bibtex, credit_rows, input_rows, model_words
from coslide.pipeline.report_map import Judged, delivered_landslides, judge, map_content
from coslide.report import charts, images
from coslide.report.assets import page_assets
from coslide.report.largest import largest_pictures, scenes_of
from coslide.report.page import render

_log = logging.getLogger(__name__)

_COMPOSITES = {
    "": ("true colour", images.TRUE_COLOUR),  # goes by its dates
    "In the near infrared": ("false colour; plants are red", ("B8", "B4", "B3")),
}

_LARGEST = 6  # landslides that are drawn before and after
_DENSITY = {0.0: (255, 255, 204, 0), 0.5: (253, 141, 60, 255), 1.0: (128, 0, 38, 255)}  # of shares of the highest
_TITLES = {
    PROBABILITY: "landslide probability",
    UNCERTAINTY: "standard deviation of the probability over orientations and members",
    "landslides.gpkg": "landslide polygons",
    "landslides.parquet": "landslide polygons",
    "density.tif": "landslides per km2, and share of the area that slid",
    "summary.json": "number, area and sizes of the landslides",
    "summary.png": "sizes of the landslides, and their number per km2",
    **TITLES,
}


class Picture(NamedTuple):
    """A picture of the page: its data address, what it shows, a text below it, colours explained, its width [km]."""

    uri: str
    alt: str
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()
    width_km: float = 0.0  # 0 for what is no map


def write_report(folder: Path | str) -> Path:
    """Write ``report.html`` into the folder of a run: one file that opens without a network.

    Scenes, map, scores, sizes, inputs and how it all came about, from what `coslide.run` left. What is missing, such as
    scores where there is no inventory, is left out, and the page lists it.

    Parameters
    ----------
    folder
        It holds at least ``index.zarr`` or ``probability.tif``.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If both are missing, a file cannot be read, cube and map lie on different grids, or the page cannot be written.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> write_report(predict_scene(bundle, index, folder / "map")).name
    'report.html'
    """
    folder = Path(folder)
    index, path = folder / "index.zarr", folder / "report.html"
    cube = open_cube(index) if folder_exists(index) else None
    found = read_probability_map(folder) if file_exists(folder / PROBABILITY) else None
    if cube is None and found is None:
        raise InputError(f"{folder}: has neither index.zarr nor probability.tif; expected the folder of a run")
    if cube is not None and found is not None:
        require_grid(found.grid, index)
    with whole_output(path) as part:
        part.write_text(render("report.html.j2", run=_content(folder, cube, found)), encoding="utf-8")
    _log.info(f"report: {path}")
    return path


def _content(folder: Path, cube: Cube | None, found: ProbabilityMap | None) -> dict[str, Any]:
    """Collect all that the page shows."""
    made_by = found.metadata if found else None
    scores = read_scores(folder / METRICS) if file_exists(folder / METRICS) else None
    bundle = folder / "model"
    model = made_by.model if made_by else load_metadata(bundle) if file_exists(bundle / METADATA) else None
    event = cube.title if cube else made_by.event if made_by else ""
    time = str(cube.attrs.get("event_time_utc") or "") if cube else ""
    drawn = charts.score_charts(scores) if scores else ()
    signs = model.vital_signs if model else []
    alt = "Bars of the spread of kernels at each depth, and of the average precision lost without it"
    judged, landslides = (judge(found, cube), delivered_landslides(folder, found)) if found else (None, None)
    map_data = map_content(cube, found, landslides, judged) | {"name": "landslides"}
    title = event or folder.resolve().name
    owners = [str(cube.attrs.get("credit") or "")] if cube else []
    return {
        "title": title,
        "map_data": map_data,
        "page": page_assets(map_data),
        "inputs": input_rows(cube) if cube else [],
        "absent": absent_indices(cube) if cube else [],
        "sources": credit_rows(cube) if cube else [],
        "told": model_words(model, found) if model else [],
        "areas_m2": [] if landslides is None else landslides["area_m2"].tolist(),
        "bibtex": bibtex(title, owners + (model.credits if model else [])),
        "files": {path.name for path in folder.iterdir()},
        "cube": cube,
        "time": dt.datetime.fromisoformat(time).astimezone(dt.UTC) if time else None,
        "scores": scores,
        "assessment": _assessment(folder) if found else None,
        "charts": {name: _chart(figure, title, caption) for name, title, caption, figure in drawn},
        "map": found,
        "model": model,
        "scenes": _scenes(cube) if cube else {},
        "bands": [row for row in cube.contents() if row["role"] == "index"] if cube else [],
        "loss": _loss(folder),
        "vital_signs": [(one, _chart(charts.diagnostics_figure(one), alt)) for one in signs],
        "version": coslide.__version__,
        "cost": _cost(folder / "run.json"),
        **(_map_parts(folder, found, cube, judged) if found and judged else {"sizes": {}}),
        **_largest(cube, landslides),
    }


def _chart(figure: Figure, alt: str, caption: str = "") -> Picture:
    return Picture(images.figure_uri(figure), alt, caption)


def _assessment(folder: Path) -> Assessment | None:
    """Read what the labels of a sample told of the map; None without it, or where the map was made again since."""
    path = folder / ASSESSMENT
    if not file_exists(path):
        return None
    found = read_record(path, Assessment, advice="assess again (coslide assess), or remove it")
    if found.map_sha256 == sha256(folder / PROBABILITY):
        return found
    _log.warning(f"{path}: is of another {PROBABILITY}, and left out of the report; draw a sample of this map")
    return None


class _Cost(BaseModel):
    """What a run leaves of its time and memory."""

    wall_s: float = Field(default=0.0, ge=0, lt=1e9)
    peak_memory_mb: float = Field(default=0.0, ge=0, lt=1e9)
    cpus: int | None = None


def _cost(path: Path) -> dict[str, Any]:
    """Read time and memory of a run; empty where it left none."""
    if not file_exists(path):
        return {}
    return read_record(path, _Cost, advice="remove it, or run again").model_dump(exclude_none=True)


def _scenes(cube: Cube) -> dict[str, list[Picture]]:
    """Draw the scenes before and after the earthquake with one stretch; a date that lacks a band is left out."""
    step, width_km = images.step_of(cube.grid.shape), cube.grid.shape.x * pixel_size_m(cube.grid) / 1000
    found: dict[str, list[Picture]] = {}
    for title, (words, channels) in _COMPOSITES.items():
        scenes = {
            when: np.stack([images.thumbnail(cube.array(band), step).image for band in bands], axis=-1)
            for date, when in (("pre", "before"), ("post", "after"))
            if (bands := cube.reflectance(date, channels))
        }
        drawn = images.true_colours(list(scenes.values())) if scenes else []
        dates = "Before and after" if len(scenes) > 1 else f"{''.join(scenes).capitalize()} the earthquake"
        pictures = found[title or dates] = []
        for when, colours in zip(scenes, drawn, strict=True):
            alt, caption = f"Scene {when} the earthquake, {words}", f"{when.capitalize()}: {words}."
            pictures.append(Picture(images.jpeg_uri(colours), alt, caption, width_km=width_km))
    return found


def _largest(cube: Cube | None, landslides: gpd.GeoDataFrame | None) -> dict[str, Any]:
    """Draw the largest landslides, each with its place in the inventory."""
    scenes = scenes_of(cube) if cube else []
    if cube is None or landslides is None or not scenes:
        return {"largest": []}
    ordered = landslides.reset_index(drop=True).sort_values("area_m2", ascending=False, kind="stable")
    told = [
        (number, f"Landslide {row.id}, {row.area_m2:,.0f} m²")
        for number, row in zip(ordered.index, ordered.itertuples(), strict=True)
    ]
    drawn = zip(told, largest_pictures(cube, ordered, scenes, _LARGEST), strict=False)
    dates = " and ".join(scene.when for scene in scenes)
    return {
        "largest": [(number, Picture(uri, f"{text}, {dates} the earthquake", text)) for (number, text), uri in drawn],
        "largest_text": f"Each {dates} the earthquake, from the left; each date has a stretch of its own.",
    }


def _map_parts(folder: Path, found: ProbabilityMap, cube: Cube | None, places: Judged) -> dict[str, Any]:
    """Draw the map, and measure it."""
    valid, (mapped, _, held_out, judged) = np.isfinite(found.probability), places
    recognised = np.asarray(np.nan_to_num(found.probability) >= found.threshold)
    step, width_km = images.step_of(found.grid.shape), found.grid.shape.x * found.pixel_size_m / 1000
    terrain = cube.to_xarray() if cube else {}
    small = -(-found.grid.shape.y // step), -(-found.grid.shape.x // step)
    relief = images.thumbnail(terrain["elevation"], step).image if "elevation" in terrain else np.full(small, np.nan)
    background = images.shaded_relief(relief, found.pixel_size_m * step)
    framed = None if held_out.all() else held_out

    def draw(codes: NDArray[np.uint8], title: str, words: Mapping[int, str]) -> Picture:
        colours = images.landslide_colours(codes, valid, background, framed, step=step)
        legend = [(images.COLOURS[code], label) for code, label in words.items() if (codes == code).any()]
        alt = f"{title} on the shaded relief: {', '.join(words.values())}"
        return Picture(images.jpeg_uri(colours, sharp=True), alt, f"{title}.", legend, width_km)

    maps, masks, words = [], {"recognised": recognised}, {images.NOT_SCORED: "recognised"}
    if mapped is not None:
        masks = {"mapped": mapped & judged, "recognised": recognised & judged}
        words = {images.CORRECT: "correct", images.FALSE_ALARM: "false alarm", images.MISSED: "missed"}
        words[images.NOT_SCORED] = "recognised, not scored"
        of_mapping = np.where(mapped, images.CORRECT, images.NOTHING).astype(np.uint8)
        maps = [draw(of_mapping, "Mapped landslides", {images.CORRECT: "mapped"})]
    maps.append(draw(images.landslide_codes(recognised, mapped, judged), "Recognised landslides", words))
    alt, colours = "Map of landslide probability on the shaded relief", images.PROBABILITY
    legend = [(colours[1], "probability 0.5"), (colours[2], "probability 1")]
    shades = images.probability_colours(found.probability, background, step=step)
    probability = Picture(images.jpeg_uri(shades, sharp=True), alt, legend=legend, width_km=width_km)
    sizes = {name: object_areas_m2(mask, found.pixel_size_m) for name, mask in masks.items()}
    summary, alt = folder / "summary.png", "Area-frequency curve of the landslides, and a map of their number per km²"
    return {
        "maps": maps,
        "probability": probability,
        "framed": framed is not None,
        "mapped_km2": np.count_nonzero(valid) * found.pixel_size_m**2 / 1e6,
        "nodata_share": float(1 - valid.mean()),
        "summary": Picture(images.data_uri(_png(summary), "png"), alt) if file_exists(summary) else None,
        "sizes": {name: areas for name, areas in sizes.items() if areas.size},
        "size_chart": _chart(charts.size_figure(sizes), "How many landslides are at least so large"),
    }


def _loss(folder: Path) -> Picture | None:
    """Draw the course of the training, which has several logs where it was resumed."""
    logs = [version / "metrics.csv" for version in folder.glob("training/csv/version_*")]
    logs = [log for log in logs if file_exists(log) and log.stat().st_size]
    if not logs:
        return None
    logs.sort(key=lambda path: (len(path.parent.name), path.parent.name))  # version_2 before version_10
    # No such column where the first epoch was interrupted.
    rows = pd.concat(map(_read_log, logs)).reindex(columns=["epoch", "loss_epoch"]).dropna()
    losses = rows.groupby("epoch")["loss_epoch"].last().tolist()
    return _chart(charts.loss_figure(losses), "Training loss of each epoch") if losses else None


def _read_log(path: Path) -> pd.DataFrame:
    try:
        found = pd.read_csv(path)
        if "epoch" not in found:
            raise ValueError("it has no column epoch")
        wanted = found[found.columns.intersection(["epoch", "loss_epoch"])]
        return wanted.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    except (ValueError, TypeError) as error:  # pandas' own errors are of this kind, and those of decoding
        reason = first_line(error)[:200]
        raise InputError(f"{path}: cannot be read as the log of a training ({reason}); remove it") from None


def _png(path: Path) -> bytes:
    """Read a picture that can be shown."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be shown ({error}), expected a PNG; map again, or remove it") from None
    return path.read_bytes()


def write_inventory_products(out: Path, cube: Cube, model: ModelMetadata, *, min_area_m2: float) -> gpd.GeoDataFrame:
    """Draw the landslides of the probability map in `out`, and write all that is made of them beside it.

    ``landslides.gpkg`` and ``landslides.parquet`` (`coslide.mapping.inventory.vectorize_landslides`), ``density.tif``,
    ``summary.json`` and ``summary.png``, ``landslides.qgz`` with what it shows, and ``item.json``, which lists them.

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
    of_model = {"model": model.name} if model.name else {}
    of_model |= {"network": model.network, "trained_on": ", ".join(model.events), "threshold": f"{found.threshold:g}"}
    of_model |= model.model_dump(include={"coslide_version", "licence", "citation"})
    dates = (cube.acquired("pre"), cube.acquired("post"))
    context = LandslideContext(lambda place, name: cube.read_pixels(name, place), found.spread, *dates)
    drawn = {"threshold": found.threshold, "min_area_m2": min_area_m2}
    frame = vectorize_landslides(found.probability, found.grid, **drawn, context=context)
    write_inventory(frame, out, metadata={"event": event, "credit": str(cube.attrs.get("credit", "")), **of_model})
    density, squares = count_density(frame, valid, found.grid)
    bands = RasterBands(["landslides per km2", "share of the area that slid"], ["km-2", "1"])
    write_cog(out / "density.tif", squares, bands, lambda rows: density[:, rows])
    highest = float(np.nanmax(density[0], initial=1.0))
    write_raster_style(out / "density.tif", {share * highest: colour for share, colour in _DENSITY.items()})
    summary = summarise_inventory(frame, valid_km2=np.count_nonzero(valid) * pixel_size_m(found.grid) ** 2 / 1e6)
    write_json(out / "summary.json", {"event": event, **of_model, "min_area_m2": min_area_m2, **summary})
    images.save_figure(charts.summary_figure(summary, density[0], squares, title=event), out / "summary.png")
    write_pictures(out, cube)
    write_map_project(out, cube, found)
    properties: dict[str, Any] = {"title": event, **{f"coslide:{key}": text for key, text in of_model.items()}}
    properties |= {"coslide:landslides": summary["landslides"], "coslide:area_km2": summary["area_km2"]}
    assets: dict[str, Any] = {name: {"title": title} for name, title in _TITLES.items() if (out / name).is_file()}
    assets["density.tif"]["extra_fields"] = place_in_item(squares)
    write_item(out, found.grid, name=out.resolve().name, date=cube.date, properties=properties, assets=assets)
    return frame
