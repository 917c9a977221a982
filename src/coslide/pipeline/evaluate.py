"""Scores of a map against a mapped inventory, never on pixels that training saw, and the files they are left in."""

import logging
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.objects import PAPER_SMALLEST_PX
from coslide.evaluation.pixels import PixelCounts, PixelRates, scores
from coslide.evaluation.scores import METRICS, TILES, Scores
from coslide.evaluation.scoring import SIDE_PX, ScoredMap, score, score_places
from coslide.grid import same_grid
from coslide.io.atomic import whole_output, write_json
from coslide.io.codes import read_codes
from coslide.io.paths import file_exists
from coslide.io.shapes import POLYGONS
from coslide.io.vector import VectorFile, read_vector
from coslide.mapping.probability_map import PROBABILITY, ProbabilityMap, read_probability_map
from coslide.pipeline.baselines import read_baselines
from coslide.report.charts import error_figure, score_charts
from coslide.report.images import save_figure
from coslide.report.page import render, score_text
from coslide.sources.inventory import rasterize_inventory, rasterize_polygons

_log = logging.getLogger(__name__)

COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "iou_landslide": "IoU",
    "average_precision": "AP",
    "kappa": "kappa",
    "oa": "OA",
    "miou": "mIoU",
    "miou_paper": "mIoU of the paper",
}
"""Scores of a table and their headings."""


def evaluate(
    folder: Path | str,
    inventory: Path | str | VectorFile,
    *,
    area: Path | str | VectorFile | None = None,
    grid: Path | str | None = None,
    regions: Path | str | VectorFile | None = None,
    classes: Path | str | None = None,
) -> Scores:
    """Score the map in `folder` against `inventory`.

    The scores are left in ``metrics.json`` and, for people, in ``metrics.md`` and ``figures/``; ``tiles.csv`` has those
    of each square of 128 pixels.

    Pixels count where the map has a value, the inventory has labels, and the model was not trained on them.

    Parameters
    ----------
    folder
        What `coslide.map_scene` leaves; or any folder with a ``landslides.gpkg``, if `grid` is given.
    inventory, area
        Mapped landslides, and where they were mapped; None means everywhere.
    grid
        A cube on whose grid, and on whose valid pixels, to score. Needed where there is no ``probability.tif``.
    regions
        Polygons to score one by one; a column ``name`` (or else ``id``) names them.
    classes
        A raster of whole numbers: each class of environment is scored by itself. Nodata is left out.

    Returns
    -------
    Scores
        What ``metrics.json`` holds; `docs/metrics.md` describes every key.

    Raises
    ------
    InputError
        If there is no map, a file cannot be read, the grids differ, or no pixel is left to score.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> scores = evaluate(predict_scene(bundle, index, folder / "map"), inventory, grid=index)
    >>> scores.split.scheme, 0 <= scores.pixels.f1 <= 1
    ('blocks', True)
    """
    folder = Path(folder)
    found = read_probability_map(folder) if file_exists(folder / PROBABILITY) else _map_of_polygons(folder, grid)
    if grid is not None:
        require_grid(found.grid, Path(grid))
        found.probability[~open_cube(grid).valid()] = np.nan
    source, mapped = as_vector_file(inventory), None if area is None else as_vector_file(area)
    labels = rasterize_inventory(source, found.grid, area=mapped).mask
    baselines = read_baselines(folder, found.grid) if found.metadata else {}
    model = found.metadata.model if found.metadata else None
    trained = model.threshold if model is not None and model.threshold_of == "scene" else None
    of_map = (found.seen, found.pixel_size_m, found.threshold, trained, found.temperature)
    one = ScoredMap(folder.resolve().name, found.probability, labels, *of_map, baselines)
    metrics = score([one], split=found.split, learned=found.metadata.model.learned if found.metadata else {})
    places = {}
    if regions is not None:
        places["regions"] = score_places(one, *_regions(as_vector_file(regions), found.grid))
    if classes is not None:
        places["classes"] = score_places(one, *_classes(Path(classes), found.grid))
    metrics = metrics.model_copy(update=places)
    write_scores(folder, metrics, [one])
    return metrics


def write_scores(folder: Path, found: Scores, maps: Sequence[ScoredMap]) -> None:
    """Write ``metrics.json``, ``metrics.md``, ``tiles.csv`` and ``figures/`` into the folder of a run.

    Parameters
    ----------
    folder
        Of a run.
    found
        From `coslide.evaluation.scoring.score`.
    maps
        What was scored.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    write_json(folder / METRICS, found.to_json())
    rates = {column: head for column, head in COLUMNS.items() if column in PixelRates.model_fields}
    with whole_output(folder / "metrics.md") as part:
        text = render("metrics.md.j2", found=found, columns=COLUMNS, rates=rates, smallest_px=PAPER_SMALLEST_PX)
        part.write_text(text, encoding="utf-8")
    with whole_output(folder / TILES) as part:
        pd.concat([_tiles(one) for one in maps]).to_csv(part, index=False, lineterminator="\r\n")
    for old in (folder / "figures").glob("*.png"):  # of an earlier evaluation, which may have drawn others
        if not old.is_dir():
            old.unlink()
    figures = {name: figure for name, _, _, figure in score_charts(found)}
    for number, one in enumerate((one for one in maps if one.where.any()), start=1):
        name = "errors" if number == 1 else f"errors_{number}"
        figures[name] = error_figure(one)
    for name, figure in figures.items():
        save_figure(figure, folder / "figures" / f"{name}.png")
    _log.info(found.line())


def result_rows(found: Scores) -> list[tuple[str, ...]]:
    """Write the scores of the model and of each baseline as text: name, then `COLUMNS`."""
    rows = {"model": found.pixels, **found.baselines}
    return [(name, *(score_text(getattr(row, column, None), 4) for column in COLUMNS)) for name, row in rows.items()]


def _tiles(one: ScoredMap) -> pd.DataFrame:
    """List the squares of a map that have a scored pixel, with their counts and scores."""
    across, rows = -(-one.labels.shape[1] // SIDE_PX), []
    columns = {*PixelCounts.model_fields, "f1", "precision", "recall", "iou_landslide"}
    for number, counts in enumerate(one.block_confusion().tolist()):
        if any(counts):
            place = {"event": one.name, "row": SIDE_PX * (number // across), "col": SIDE_PX * (number % across)}
            rows.append(place | scores(*counts).model_dump(include=columns))
    return pd.DataFrame(rows).round(4)


def _map_of_polygons(folder: Path, grid: Path | str | None) -> ProbabilityMap:
    path = folder / "landslides.gpkg"
    if grid is None or not file_exists(path):
        raise InputError(f"{folder}: has no probability.tif; expected one, or a landslides.gpkg and --grid INDEX.zarr")
    target = open_cube(grid).grid
    landslides = read_vector(path, target, what="landslide polygons", kinds=POLYGONS, may_be_empty=True)
    return ProbabilityMap(rasterize_polygons(landslides, target).astype(np.float32), target)


def require_grid(found: GeoBox, index: Path) -> None:
    """Check that a map has the grid of the cube `index`.

    Raises
    ------
    InputError
        If it has another.
    """
    expected = open_cube(index).grid
    if not same_grid(found, expected):
        raise InputError(f"{index}: found a grid of {_words(expected)}, expected that of the map, {_words(found)}")


def _words(grid: GeoBox) -> str:
    return f"{grid.shape.y} x {grid.shape.x} pixels at {grid.affine.c:.0f}, {grid.affine.f:.0f} ({grid.crs})"


def as_vector_file(given: Path | str | VectorFile) -> VectorFile:
    """Take a path as a file without a layer named."""
    return given if isinstance(given, VectorFile) else VectorFile(Path(given))


def read_regions(source: VectorFile, grid: GeoBox) -> dict[str, list[BaseGeometry]]:
    """Read regions by their names, in the CRS of a grid.

    A column ``name`` (or else ``id``) names them; polygons of one name are one region. One without a name is called by
    its place in the file, counted from 1.

    Raises
    ------
    InputError
        As `coslide.io.vector.read_vector`.
    """
    frame = read_vector(source, grid, what="regions as polygons", kinds=POLYGONS)
    column = next((name for name in ("name", "id") if name in frame.columns), None)
    names = ["" if pd.isna(text) else " ".join(str(text).split()) for text in frame[column]] if column else []
    found: dict[str, list[BaseGeometry]] = {}
    for number, (name, outline) in enumerate(zip_longest(names, frame.geometry, fillvalue=""), start=1):
        other = f"{number} (no name)" if str(number) in names else str(number)
        found.setdefault(name or other, []).append(outline)
    return found


def _regions(source: VectorFile, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Find the number of the region that each pixel lies in, 0 for none, and the names of the regions."""
    found = read_regions(source, grid)
    shapes = [(outline, number) for number, outlines in enumerate(found.values(), start=1) for outline in outlines]
    return rasterize(shapes, out_shape=tuple(grid.shape), transform=grid.affine, dtype="int32"), list(found)


def _classes(path: Path, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Read the number of the class of each pixel of the map, 0 for none, and the names of the classes."""
    numbers, codes = read_codes(path, grid, most=np.iinfo(np.uint16).max, what="classes")
    if codes.dtype.kind not in "iu":
        raise InputError(f"{path}: found values of type {codes.dtype}, expected classes in whole numbers")
    return numbers.astype(np.int32), [str(code) for code in codes]
