"""Scores of a map against a mapped inventory, never on ground that training saw."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.errors import InputError
from coslide.evaluation.calibration import brier, expected_calibration_error
from coslide.evaluation.pixels import confusion, scores
from coslide.files import write_json
from coslide.grid import short_crs
from coslide.indices.cube import cube_grid, open_cube, read_valid
from coslide.labels import LANDSLIDE, UNKNOWN
from coslide.listener import QUIET, Listener
from coslide.mapping.ground import TRAINED_ON, Ground, seen_ground
from coslide.sources.inventory import burn, read_inventory
from coslide.sources.raster import open_raster
from coslide.sources.vector import read_vector


class Map(NamedTuple):
    """A landslide map as it lies in a folder.

    `probability` is float32 (row, col), NaN where not mapped; `seen` is uint8 (row, col), what training did with each
    cell (`coslide.mapping.ground`); `split` is what the model says of its split, empty if it was trained elsewhere.
    """

    probability: NDArray[np.float32]
    grid: GeoBox
    threshold: float
    seen: NDArray[np.uint8]
    split: dict[str, Any]


def evaluate(
    folder: Path | str,
    inventory: Path | str,
    *,
    area: Path | str | None = None,
    grid: Path | str | None = None,
    listener: Listener = QUIET,
) -> dict[str, Any]:
    """Return the scores of the map in `folder` against `inventory`, and leave them in ``folder/metrics.json``.

    Cells count where the map has a value, the inventory says what they are, and the model was not trained on them.

    Parameters
    ----------
    folder
        What `coslide.map_scene` leaves; or any folder with a ``landslides.gpkg``, if `grid` is given.
    inventory, area
        Mapped landslides, and where they were mapped; None means everywhere.
    grid
        A cube on whose grid, and on whose valid cells, to score. Needed where there is no ``probability.tif``.
    listener
        Who hears of it.

    Returns
    -------
    dict
        ``pixels``, ``calibration`` (empty without probabilities) and ``split``; `docs/metrics.md` names every key.

    Raises
    ------
    InputError
        If there is no map, a file cannot be read, the grids differ, or no cell is left to score.
    """
    folder = Path(folder)
    if (folder / "probability.tif").exists():
        found = read_map(folder)
        if grid is not None:
            _require_grid(found.grid, Path(grid))
            found.probability[~read_valid(open_cube(grid))] = np.nan
        calibrated = True
    else:
        found = _map_of_polygons(folder, grid)
        calibrated = False
    labels = read_inventory(Path(inventory), found.grid, area=Path(area) if area else None).mask
    metrics = held_out_scores(found.probability, labels, found.seen, threshold=found.threshold)
    if not calibrated:  # nothing says what the polygons were drawn from
        metrics["calibration"] = {}
        metrics["split"]["scheme"] = "unknown"
    metrics["split"] |= found.split
    write_json(folder / "metrics.json", metrics)
    listener.say(score_line(metrics))
    return metrics


def read_map(folder: Path) -> Map:
    """Return the map that `coslide.map_scene` left in `folder`.

    Raises
    ------
    InputError
        If ``probability.tif`` is missing or cannot be read, or does not say where its model was trained.
    """
    path = folder / "probability.tif"
    if not path.exists():
        raise InputError(f"{path}: not found; expected the folder of a map (coslide map writes one)")
    with open_raster(path) as file:
        probability = file.read(1)
        tags = file.tags()
        grid = GeoBox(file.shape, file.transform, short_crs(file.crs.to_wkt()))
    try:
        threshold = float(tags["threshold"])
        seen = seen_ground(Ground.model_validate_json(tags["ground"]), grid)
        split = json.loads(tags["split"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: lacks what coslide map writes into its tags ({type(error).__name__})") from None
    return Map(probability, grid, threshold, seen, split if seen.any() else {})


def held_out_scores(
    probability: NDArray[np.float32], labels: NDArray[np.uint8], seen: NDArray[np.uint8], *, threshold: float
) -> dict[str, Any]:
    """Return the scores of a probability map, all (row, col), on the cells that training did not see.

    Parameters
    ----------
    probability
        0 to 1; NaN cells are not scored.
    labels
        0 background, 1 landslide, 255 unknown; unknown cells are not scored.
    seen
        1 where the model was trained; these cells are not scored.
    threshold
        From which probability a cell counts as landslide.

    Raises
    ------
    InputError
        If no cell is left.
    """
    where = np.isfinite(probability) & (labels != UNKNOWN) & (seen != TRAINED_ON)
    if not where.any():
        raise InputError("no cell is left to score: the model was trained on all mapped ground inside the inventory")
    mapped = labels == LANDSLIDE
    return {
        "pixels": scores(confusion(probability >= threshold, mapped, where)),
        "calibration": {
            "brier": brier(probability, mapped, where),
            "ece": expected_calibration_error(probability, mapped, where),
            "threshold": threshold,
        },
        "split": {"scheme": "all", "leak_fraction": 0.0, "scored_cells": int(where.sum())},
    }


def score_line(metrics: dict[str, Any]) -> str:
    """Return the landslide scores in one line for people."""
    pixels = metrics["pixels"]
    return (
        f"F1 {pixels['f1']:.3f}, precision {pixels['precision']:.3f}, recall {pixels['recall']:.3f}, "
        f"IoU {pixels['iou_landslide']:.3f} on {metrics['split']['scored_cells']} cells"
        + (" that training did not see" if metrics["split"]["scheme"] != "unknown" else ", seen in training or not")
        + ("" if pixels["tp"] + pixels["fn"] else "; none of them is a mapped landslide, so these scores say nothing")
    )


def _map_of_polygons(folder: Path, grid: Path | str | None) -> Map:
    path = folder / "landslides.gpkg"
    if grid is None or not path.exists():
        raise InputError(f"{folder}: has no probability.tif; expected one, or a landslides.gpkg and --grid INDEX.zarr")
    cube = open_cube(grid)
    target = cube_grid(cube)
    landslides = read_vector(path, str(target.crs), what="landslide polygons", may_be_empty=True)
    burnt = burn(landslides, target).astype(np.float32)
    burnt[~read_valid(cube)] = np.nan
    return Map(burnt, target, 0.5, np.zeros(target.shape, dtype=np.uint8), {})


def _require_grid(found: GeoBox, index: Path) -> None:
    expected = cube_grid(open_cube(index))
    if found.crs != expected.crs or found.shape != expected.shape or not found.affine.almost_equals(expected.affine):
        raise InputError(
            f"{index}: found a grid of {expected.shape.y} x {expected.shape.x} cells at {expected.affine.c:.0f}, "
            f"{expected.affine.f:.0f} ({expected.crs}), expected that of the map, {found.shape.y} x {found.shape.x} at "
            f"{found.affine.c:.0f}, {found.affine.f:.0f} ({found.crs})"
        )
