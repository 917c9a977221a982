"""From the folder of a run to a page for people: `report.html`."""

import datetime as dt
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import coslide
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.scores import METRICS, Scores, VitalSigns, read_scores
from coslide.grid import pixel_size_m
from coslide.io.atomic import whole_output
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.inventory import object_areas_m2
from coslide.mapping.model import BUNDLE, load_metadata
from coslide.mapping.probability_map import ProbabilityMap, read_probability_map
from coslide.pipeline.evaluate import require_grid
from coslide.report import charts, images, palette
from coslide.report.page import render
from coslide.report.thumbnails import thumbnail
from coslide.samples.footprint import is_held_out

_log = logging.getLogger(__name__)

_FILES = {
    "index.zarr": "scenes, relief and inputs",
    "probability.tif": "map, sizes and their areas",
    METRICS: "scores",
    "training": "course of the training",
    "run.json": "time and memory",
}
_COMPOSITES = {
    "Before and after": ("true colour", ("B4", "B3", "B2")),
    "In the near infrared": ("false colour; plants are red", ("B8", "B4", "B3")),
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
    path = folder / "report.html"
    with whole_output(path) as part:
        part.write_text(render("report.html.j2", run=_read(folder)), encoding="utf-8")
    _log.info(f"report: {path}")
    return path


def _read(folder: Path) -> dict[str, Any]:
    """Collect all that the page shows."""
    index, probability = folder / "index.zarr", folder / "probability.tif"
    if not index.is_dir() and not probability.is_file():
        raise InputError(f"{folder}: has neither index.zarr nor probability.tif; expected the folder of a run")
    cube = open_cube(index) if index.is_dir() else None
    found = read_probability_map(folder) if probability.is_file() else None
    if cube is not None and found is not None:
        require_grid(found.grid, index)
    attrs: Mapping[str, Any] = {} if cube is None else cube.attrs
    event = cube.title if cube is not None else found.metadata.event if found and found.metadata else ""
    title = event or folder.resolve().name
    mapped = cube.labels if cube is not None and "landslide" in cube else None
    metrics = read_scores(folder / METRICS) if (folder / METRICS).is_file() else None
    model = found.metadata.model if found and found.metadata else None
    if model is None and BUNDLE.is_in(folder / "model"):
        model = load_metadata(folder / "model")
    missing = [f"{name}: {what}" for name, what in _FILES.items() if not (folder / name).exists()]
    missing += [] if model else ["model: network and settings"]
    if cube is not None:
        missing += [] if any(band.date == "pre" for band in cube.bands) else ["a scene before the earthquake"]
        missing += [] if "landslide" in cube else ["an inventory to compare with"]
    return {
        "title": title,
        "credit": str(attrs.get("credit", "")),
        "simulated": bool(attrs.get("simulated")),
        "when": _when(attrs),
        "scores": metrics,
        "charts": {} if metrics is None else _charts(metrics),
        "map": found,
        "model": model,
        "missing": missing,
        "scenes": {} if cube is None else _scenes(cube),
        "bands": [] if cube is None else [row for row in cube.contents() if row["role"] == "index"],
        "loss": _loss(folder),
        "vital_signs": [_signs(signs) for signs in model.vital_signs] if model else [],
        "version": coslide.__version__,
        "history": str(attrs.get("history", "–")),
        "cost": _json(folder / "run.json"),
        **(_map_parts(folder, found, cube, mapped) if found else {"sizes": None}),
    }


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON file; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is not what coslide writes (JSON); run again")
    return found


def _when(attrs: Mapping[str, Any]) -> str:
    """Write time and magnitude of the earthquake in a sentence, as far as the cube has them."""
    time, magnitude = attrs.get("event_time_utc"), attrs.get("event_magnitude")
    words = [f"Magnitude {magnitude:.1f}"] if isinstance(magnitude, int | float) else []
    if time:
        moment = dt.datetime.fromisoformat(str(time)).astimezone(dt.UTC)
        words.append(f"{moment.day} {moment:%B %Y, %H:%M} UTC")
    return f"{', '.join(words)}. " if words else ""


def _scenes(cube: Cube) -> dict[str, list[Picture]]:
    """Draw the scenes before and after the earthquake with one stretch; a date that lacks a band is left out."""
    step = images.step_of(cube.grid.shape)
    width_km = cube.grid.shape.x * pixel_size_m(cube.grid) / 1000
    found = {}
    for title, (words, channels) in _COMPOSITES.items():
        scenes = {
            when: np.stack([thumbnail(cube.array(band), step).image for band in bands], axis=-1)
            for date, when in (("pre", "before"), ("post", "after"))
            if (bands := cube.reflectance(date, channels))
        }
        if scenes:
            drawn = zip(scenes, images.true_colours(list(scenes.values())), strict=True)
            found[title] = [
                Picture(
                    images.jpeg_uri(colours),
                    f"Scene {when} the earthquake, {words}",
                    f"{when.capitalize()}: {words}.",
                    width_km=width_km,
                )
                for when, colours in drawn
            ]
    return found


def _map_parts(
    folder: Path, found: ProbabilityMap, cube: Cube | None, mapped: NDArray[np.uint8] | None
) -> dict[str, Any]:
    """Draw the map, and measure it."""
    valid, held_out = np.isfinite(found.probability), is_held_out(found.seen)
    recognised = np.asarray(np.nan_to_num(found.probability) >= found.threshold)
    landslide = None if mapped is None else mapped == LANDSLIDE
    judged = valid & held_out & (True if mapped is None else mapped != NODATA)
    step = images.step_of(found.grid.shape)
    elevation = cube.to_xarray()["elevation"] if cube is not None and "elevation" in cube else None
    relief = None if elevation is None else thumbnail(elevation, step).image
    small = -(-found.grid.shape.y // step), -(-found.grid.shape.x // step)
    background = images.shaded_relief(relief, small, found.pixel_size_m * step)
    framed = None if held_out.all() else held_out
    width_km = found.grid.shape.x * found.pixel_size_m / 1000

    def draw(codes: NDArray[np.uint8], title: str, words: Mapping[int, str]) -> Picture:
        colours = images.landslide_colours(codes, valid, step=step, background=background, held_out=framed)
        legend = [(images.COLOURS[code], label) for code, label in words.items()]
        alt = f"{title} on the shaded relief: {', '.join(words.values())}"
        return Picture(images.jpeg_uri(colours, sharp=True), alt, f"{title}.", legend, width_km)

    maps, words = [], {images.NOT_SCORED: "recognised"}
    codes = images.landslide_codes(recognised, landslide, judged)
    if landslide is not None:
        of_mapping = np.where(landslide, images.CORRECT, images.NOTHING).astype(np.uint8)
        maps.append(draw(of_mapping, "Mapped landslides", {images.CORRECT: "mapped"}))
        words = {images.CORRECT: "correct", images.FALSE_ALARM: "false alarm", images.MISSED: "missed"}
        if (codes == images.NOT_SCORED).any():
            words[images.NOT_SCORED] = "recognised, not scored"
    maps.append(draw(codes, "Recognised landslides", words))
    probability = Picture(
        images.jpeg_uri(images.probability_colours(found.probability, background, step=step), sharp=True),
        "Map of landslide probability on the shaded relief",
        legend=[(palette.PROBABILITY[1], "probability 0.5"), (palette.PROBABILITY[2], "probability 1")],
        width_km=width_km,
    )
    summary, alt = folder / "summary.png", "Area-frequency curve of the landslides, and a map of their number per km²"
    return {
        "maps": maps,
        "probability": probability,
        "framed": framed is not None,
        "mapped_km2": np.count_nonzero(valid) * found.pixel_size_m**2 / 1e6,
        "nodata_share": float(1 - valid.mean()),
        "areas_m2": _inventory_m2(folder, found, recognised),
        "summary": Picture(images.data_uri(summary.read_bytes(), "png"), alt) if summary.is_file() else None,
        "sizes": _sizes(recognised, landslide, judged, found.pixel_size_m),
    }


def _inventory_m2(folder: Path, found: ProbabilityMap, recognised: NDArray[np.bool_]) -> list[float]:
    """Read the areas of the landslides that are delivered; measure those of the map where there is no inventory."""
    path = folder / "landslides.gpkg"
    if not path.is_file():
        return list(object_areas_m2(recognised, found.pixel_size_m))
    frame = read_vector(path, str(found.grid.crs), what="landslide polygons", may_be_empty=True)
    return [float(area) for area in frame.get("area_m2", frame.geometry.area)]


def _sizes(
    recognised: NDArray[np.bool_], landslide: NDArray[np.bool_] | None, judged: NDArray[np.bool_], size_m: float
) -> dict[str, Any] | None:
    """Compare the sizes of mapped and recognised landslides where they can be judged, or list all recognised ones."""
    masks = {"recognised": recognised}
    if landslide is not None:
        masks = {"mapped": landslide & judged, "recognised": recognised & judged}
    areas = {name: object_areas_m2(mask, size_m) for name, mask in masks.items()}
    rows = [
        (name, len(own), f"{own.sum() / 1e6:.2f}", f"{np.median(own):.0f}", f"{own.max():.0f}")
        for name, own in areas.items()
        if len(own)
    ]
    if not rows:
        return None
    chart = charts.figure_uri(charts.size_figure(areas))
    return {
        "chart": Picture(chart, "How many landslides are at least so large"),
        "columns": ["landslides", "number", "area [km²]", "median [m²]", "largest [m²]"],
        "rows": rows,
        "everywhere": landslide is None,
    }


def _charts(found: Scores) -> dict[str, Picture]:
    drawn = charts.score_charts(found)
    return {name: Picture(charts.figure_uri(figure), title, caption) for name, title, caption, figure in drawn}


def _loss(folder: Path) -> Picture | None:
    """Draw the course of the training, which has several logs where it was resumed."""
    logs = [log for log in folder.glob("training/csv/version_*/metrics.csv") if log.stat().st_size]
    if not logs:
        return None
    logs.sort(key=lambda path: int(path.parent.name.removeprefix("version_")))
    rows = pd.concat([pd.read_csv(log) for log in logs])
    # No such column where the first epoch was interrupted.
    losses = rows.reindex(columns=["epoch", "loss_epoch"]).dropna().groupby("epoch")["loss_epoch"].last()
    chart = charts.figure_uri(charts.loss_figure(losses.tolist()))
    return Picture(chart, "Training loss of each epoch") if len(losses) else None


def _signs(signs: VitalSigns) -> tuple[VitalSigns, Picture]:
    alt = "Bars of the spread of kernels at each depth, and of the average precision lost without it"
    return signs, Picture(charts.figure_uri(charts.vital_signs_figure(signs)), alt)
