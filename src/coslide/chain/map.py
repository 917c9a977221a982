"""From a model and a cube to a probability map and an inventory."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray

from coslide.chain.areas import Scene, scene_of
from coslide.errors import InputError
from coslide.evaluation.calibration import at_temperature
from coslide.indices.cogs import scene_date
from coslide.indices.cube import cube_grid, open_cube, read_cells
from coslide.listener import QUIET, Listener
from coslide.mapping.bundle import Card, Model, load_model, require_same_inputs
from coslide.mapping.density import density_grid, write_density
from coslide.mapping.inventory import Known, polygons, write_inventory
from coslide.mapping.probability import write_probability
from coslide.mapping.scene import Blending, predict_rows
from coslide.mapping.stac import write_item
from coslide.samples.normalise import Moments, Normalisation, normalise
from coslide.samples.windows import row_strips

_FILES = {
    "probability.tif": "landslide probability",
    "landslides.gpkg": "landslide polygons",
    "landslides.parquet": "landslide polygons",
    "density.tif": "landslides per km2, and share of the ground that slid",
}


def map_scene(
    model: Path | str,
    index: Path | str,
    out: Path | str,
    *,
    stride: int | None = None,
    batch: int = 8,
    min_area_m2: float = 0.0,
    listener: Listener = QUIET,
) -> Path:
    """Return the folder with the landslide map of the scene in the cube `index`.

    Leaves ``probability.tif`` (0 to 1, NaN where the cube is not valid), ``landslides.gpkg`` and
    ``landslides.parquet`` (`docs/inventory.md`), ``density.tif`` (landslides per km2) and ``item.json`` (STAC). The map
    carries in its tags where the model was trained, so that it is never scored there.

    Parameters
    ----------
    model, index
        A bundle, and a cube with the channels that it was trained with.
    out
        Folder to write to.
    stride
        Step between the blended windows, in cells; half a tile by default. The windows are as large as the tiles of
        the training.
    batch
        Windows given to the network at once; it changes memory and speed, not the map.
    min_area_m2
        Smaller landslides are left out of the inventory; the probability map keeps them.
    listener
        Who hears of it.

    Raises
    ------
    InputError
        If a file cannot be read or written, or model and cube do not fit.
    """
    out, index = Path(out), Path(index)
    loaded, cube = load_model(model), open_cube(index)
    grid, card, scene = cube_grid(cube), loaded.card, scene_of(cube)
    missing = require_same_inputs(card, scene.bands, scene.cell_size_m, str(index))
    if missing:
        listener.say(f"mapped without {', '.join(missing)}, which the model was trained to do without")
    rows = predicted_rows(loaded, scene, stride=stride, batch=batch, listener=listener)
    tags = {
        "event": str(cube.attrs["title"]),
        "network": card.network,
        "threshold": str(card.threshold),
        "temperature": str(card.temperature),
        "ground": json.dumps([ground.model_dump() for ground in card.ground]),
        "missing": ", ".join(missing),
        "unplaced": ", ".join(card.unplaced),
        "split": json.dumps(card.split),
    }
    write_probability(out / "probability.tif", rows, grid, tags=tags)
    with rasterio.open(out / "probability.tif") as file:
        known = Known(
            gather=lambda place, name: read_cells(cube, name, place),
            before=_date(cube, "reflectance_pre"),
            after=_date(cube, "reflectance_post"),
        )
        probability = file.read(1)
    known_ground = np.isfinite(probability)
    frame = polygons(probability, grid, threshold=card.threshold, min_area_m2=min_area_m2, known=known)
    metadata = {"event": str(cube.attrs["title"]), "credit": str(cube.attrs.get("credit", "")), **_of_model(card)}
    write_inventory(frame, out, metadata=metadata)
    write_density(out / "density.tif", *density_grid(frame, known_ground, grid))
    properties: dict[str, Any] = {
        "title": metadata["event"],
        **{f"coslide:{key}": text for key, text in _of_model(card).items()},
    }
    properties |= {"coslide:landslides": len(frame), "coslide:area_km2": float(frame.area_m2.sum() / 1e6)}
    write_item(out, grid, date=scene_date(cube), properties=properties, files=_FILES)
    listener.say(f"{len(frame)} landslides, {frame.area_m2.sum() / 1e6:.2f} km2: {out / 'landslides.gpkg'}")
    return out


def _of_model(card: Card) -> dict[str, str]:
    return {
        "network": card.network,
        "trained_on": ", ".join(card.events),
        "threshold": f"{card.threshold:g}",
        "coslide_version": card.coslide_version,
        "licence": card.licence,
        "citation": card.citation,
    }


def predicted_rows(
    model: Model,
    scene: Scene,
    *,
    where: NDArray[np.bool_] | None = None,
    stride: int | None = None,
    batch: int = 8,
    listener: Listener = QUIET,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Return the landslide probability (0 to 1) of `scene` in blocks of rows, NaN where it is not valid.

    Parameters
    ----------
    model
        What to map with.
    scene
        What to map.
    where
        Cells that are wanted, bool (row, col); others are NaN. The others' inputs are seen all the same.
    stride, batch, listener
        As for `map_scene`.

    Raises
    ------
    InputError
        If `stride` is longer than the tile of the model.
    """
    card = model.card
    if stride is not None and not 1 <= stride <= card.tile:
        raise InputError(f"--stride: found {stride}, expected 1 to {card.tile}, the tile of the model")
    normalisation = _normalisation_of(card, scene)

    def read_rows(start: int, stop: int) -> NDArray[np.float32]:
        return normalise(scene.read(slice(start, stop), card.bands), normalisation)

    def valid_rows(start: int, stop: int) -> NDArray[np.bool_]:
        rows = slice(start, stop)
        return scene.valid(rows) if where is None else scene.valid(rows) & where[rows]

    rows = predict_rows(
        read_rows,
        model.predictor(),
        scene.shape,
        blending=Blending(tile=card.tile, stride=stride or card.tile // 2, batch=batch),
        valid_rows=valid_rows,
        progress=functools.partial(listener.progress, "mapping"),
    )
    return ((start, at_temperature(block, card.temperature)) for start, block in rows)


def _date(cube: xr.Dataset, scene: str) -> str:
    """Return when a scene was acquired, as the cube says it; empty where it does not."""
    said = str(cube[scene].attrs.get("acquired", "")) if scene in cube else ""
    return "" if said == "not recorded" else said


def _normalisation_of(card: Card, scene: Scene) -> Normalisation:
    """Return what `scene` is normalised with: that of the model, or its own where the model was trained so."""
    if card.normalise == "global":
        return card.normalisation
    moments = Moments(card.bands)
    for rows in row_strips(scene.shape[0]):
        moments.add(scene.read(rows, card.bands), scene.valid(rows))
    return moments.normalisation()
