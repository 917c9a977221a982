"""From a trained model and a few labelled tiles of a new event to a model of that event."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from coslide.config.training import TrainingSettings
from coslide.cube.band import sensors_of
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature
from coslide.io.atomic import exclusive_lock, sha256
from coslide.io.outputs import output_folder
from coslide.io.vector import VectorFile
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.adaptation import (
    Adaptation,
    TilePixels,
    calibrated,
    compare,
    held_out_tiles,
    labelled_tiles,
    uncalibrated,
)
from coslide.mapping.inputs import require_same_inputs, warn_of_another_sensor
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import Model, find_model, load_model, save_model
from coslide.mapping.probability_map import choose_threshold
from coslide.mapping.widen import widen
from coslide.pipeline.evaluate import as_vector_file
from coslide.pipeline.labelled_scene import LabelledScene, scene_of_cube
from coslide.pipeline.train import fit_members, mapped_where
from coslide.pipeline.training_data import further_inputs, prepare_tiles
from coslide.samples.footprint import footprint_of, is_held_out, split_raster
from coslide.samples.split import Split, Subset
from coslide.sources.inventory import rasterize_inventory
from coslide.training.checkpoints import require_unused
from coslide.training.fit import with_precision
from coslide.training.module import Start
from coslide.windows import Window, require_tile

_log = logging.getLogger(__name__)

STEPS = 900
PENALTY = 0.01  # measured, as the steps (`docs/training.md`)
_TRAINING, _CACHE = "training", "tiles"


def adapt(
    model: Path | str,
    index: Path | str,
    labels: Path | str | VectorFile,
    out: Path | str,
    *,
    area: Path | str | VectorFile,
    indices: Sequence[str] = (),
    steps: int = STEPS,
    resume: bool = False,
) -> Model:
    """Adapt a trained model to a new event, of which a few tiles are labelled; it is left as a bundle in `out`.

    It is trained on from its weights, at the learning rate of its recipe, on windows at random places of the labelled
    area, and held on to these weights by a penalty (`coslide.training.module.Start`). Windows are neither turned nor
    lit anew, as one scene has one sun, and the adapted model maps without TTA. Of ten tiles or more every fifth is held
    out, and gives the temperature; of fewer all are trained on, and the temperature stays. The threshold is chosen on
    all of them. What it gained is logged and recorded.

    Parameters
    ----------
    model, index
        A bundle, or the name of a model that comes with coslide, and a cube of the new event with the bands that it
        was trained with.
    labels, area
        Landslides, and the area in which all of them were mapped (polygons). Outside nothing is known.
    out
        New folder.
    indices
        Indices of the cube that the model is to be fed besides, such as ``"slope"``, by name or band. Their weights
        begin at 0, so that the adaptation starts from the map of the old model (`coslide.mapping.widen`).
    steps
        Steps of the training; 0 leaves the model as it is, and scores it on the labels.
    resume
        Go on with an adaptation that was interrupted.

    Returns
    -------
    Model
        The adapted model.

    Raises
    ------
    InputError
        If `out` exists, the cube does not fit the model or lacks an index, the labels do not meet it or hold no
        landslide, or a file cannot be read or written.

    Examples
    --------
    >>> adapted = adapt(bundle, index, inventory, folder / "adapted", area=inventory.with_name("area.gpkg"), steps=1)
    >>> adapted.metadata.adapted.event, len(adapted.metadata.footprints)
    ('Made-up earthquake', 2)
    """
    model, out = find_model(model), Path(out).absolute()
    if steps < 0:
        raise InputError(f"steps: found {steps}, expected 0 or more")
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already; expected a new folder for the adapted model")
    old, cube = load_model(model), open_cube(index)
    require_same_inputs(old.metadata, [*cube.inputs, *cube.diagnostics], cube.pixel_size_m, str(index))
    warn_of_another_sensor(old.metadata, cube.inputs, str(index))
    require_tile(cube.shape, old.metadata.tile)
    given = _labelled(cube, as_vector_file(labels), as_vector_file(area), old.metadata.tile)
    settings = _settings(old.metadata, steps)
    if indices:
        old = widen(old, further_inputs(cube, indices, settings, old.metadata.bands))
    work = out.with_name(f".{out.name}.training.part")
    scene, labelled = given.scene, hashlib.sha256(given.scene.labels.tobytes()).hexdigest()
    made_from = {"model": sha256(model), "labels": labelled, "indices": ", ".join(indices)}
    started = time.monotonic()
    with output_folder(work), exclusive_lock(work, out):
        require_unused(work / _TRAINING, resume=resume)
        new = _trained(old, scene, settings, work / _TRAINING, made_from=made_from, resume=resume) if steps else old
        held_out = len(given.held_out) if steps else 0
        record = Adaptation(
            model_sha256=made_from["model"],
            event=scene.name,
            tiles=given.tile_count,
            held_out_tiles=held_out,
            indices=list(indices),
            labelled_km2=float((scene.labels != NODATA).sum()) * cube.pixel_size_m**2 / 1e6,
            steps=steps,
            learning_rate=settings.optimiser.learning_rate,
            penalty=PENALTY,
        )
        new = _calibrated(old, new, given, record)
        save_model(new, out)
        shutil.rmtree(work)
    of = f"{record.tiles} labelled tiles of {scene.name}, {held_out} of them held out"
    _log.info(f"adapted on {of}, in {(time.monotonic() - started) / 60:.1f} min: {out}")
    return new


class _Labelled(NamedTuple):
    """The labelled scene, the number of the tile of each pixel (row, col), and the numbers of the tiles held out."""

    scene: LabelledScene
    tiles: NDArray[np.int32]
    held_out: list[int]

    @property
    def tile_count(self) -> int:
        """How many tiles there are."""
        return int(self.tiles.max())


def _labelled(cube: Cube, labels: VectorFile, area: VectorFile, tile: int) -> _Labelled:
    """Read the labels of a few tiles, and split the tiles into those to train on and those to hold out.

    A window shows the bands around the labelled area too, as a map of the scene would; it has no labels there. The
    footprint is the labelled area alone.
    """
    mask = rasterize_inventory(labels, cube.grid, area=area).mask
    inside = mask != NODATA
    found = np.where(cube.valid(), mask, np.uint8(NODATA))
    if not (found == LANDSLIDE).any():
        where = f"inside the labelled area ({area.path}) and the valid pixels of the cube"
        raise InputError(f"{labels.path}: found no landslide {where}, expected some")
    tiles = labelled_tiles(inside, inside & (found != NODATA), tile=tile)
    counts = np.bincount(tiles[found == LANDSLIDE], minlength=tiles.max() + 1)[1:]
    held_out = [number + 1 for number in held_out_tiles(counts.tolist())]
    apart = np.isin(tiles, held_out)
    # as the guard, held-out tiles show their bands beside training pixels, as a map would
    subsets = np.where((tiles > 0) & ~apart, np.uint8(Subset.TRAIN), np.uint8(Subset.GUARD))
    seen = np.where(inside, np.where(apart, np.uint8(Subset.VALIDATION), np.uint8(Subset.TRAIN)), np.uint8(Subset.NONE))
    places = [Window(r.start, c.start, r.stop - r.start, c.stop - c.start) for r, c in find_objects(tiles)]
    train = [place for number, place in enumerate(places, start=1) if number not in held_out]
    split, footprint = Split(subsets, train, [], [], 0.0), footprint_of(seen, cube.grid)
    scene = replace(scene_of_cube(cube, found), split=split, footprint=footprint, seen=seen)
    return _Labelled(scene, tiles, held_out)


def _settings(metadata: ModelMetadata, steps: int) -> TrainingSettings:
    """Make the settings of the training from those that the model was trained with."""
    trained = {
        name: value for name, value in metadata.settings.items() if not name.startswith(("split.", "optimiser."))
    }
    optimiser = {name: value for name, value in metadata.settings.items() if name.startswith("optimiser.")}
    for name in ("epochs", "steps", "keep", "patience"):
        optimiser.pop(f"optimiser.{name}", None)
    recipe = TrainingSettings().changed({**trained, **optimiser, "optimiser.steps": max(1, steps)})
    return recipe.changed(
        {
            "options": metadata.options,  # width and dates too
            "members": metadata.members,
            "sampling.places": "random",
            "sampling.select": "prevalence",
            "optimiser.weight_decay": 0.0,  # the penalty is in its place
            "sampling.shade": 0.0,  # all landslides of the area were mapped, in shade too
            "augment.flips": False,  # one scene has one sun, and where it stands tells shade from scars
            "augment.relight": 0.0,
            "runtime.devices": 1,
            "runtime.precision": "auto",
        }
    )


def _trained(
    old: Model,
    scene: LabelledScene,
    settings: TrainingSettings,
    folder: Path,
    *,
    made_from: dict[str, str],
    resume: bool,
) -> Model:
    """Train the networks of a model on; what `made_from` names must be the same to resume."""
    try:
        data, _ = prepare_tiles([scene], old.metadata.encoder, settings, folder / _CACHE, normalised=True)
        data = data._replace(validation=None, fingerprints={**data.fingerprints, **made_from})
        settings = with_precision(data, settings, folder)  # one for all members
        start = [Start(network, PENALTY) for network in old.networks]
        networks = tuple(fit_members(data, settings, folder, resume=resume, start=start))
        return replace(old, networks=networks, metadata=old.metadata.model_copy(update={"tta": False}))
    finally:
        shutil.rmtree(folder / _CACHE, ignore_errors=True)


def _calibrated(old: Model, new: Model, given: _Labelled, record: Adaptation) -> Model:
    """Choose temperature and threshold of the adapted model, score it, and complete its metadata.

    A model that was not trained stays as it is, and is scored.
    """
    metadata, held_out = old.metadata, record.held_out_tiles
    pixels = _pixels(old, new, given)
    temperature = metadata.temperature
    before = [apply_temperature(one.before, temperature) for one in pixels]
    threshold, _ = choose_threshold(metadata, before)
    values: dict[str, Any] = {"card": None}  # what it says is of the old model
    if new is not old:
        values |= calibrated(pixels, temperature, threshold, held_out=held_out)
        _log.info("temperature {temperature:.2f}, threshold {threshold:.3f}".format(**values))
        values |= {"threshold_of": "validation", **_trained_on(metadata, given, record)}
    found = compare(pixels, uncalibrated(threshold, temperature), held_out=held_out)
    worth = "the old model was trained on the labelled area, so what the labels are worth cannot be told"
    _log.info(worth if found is None else found.line())
    values["adapted"] = record.model_copy(update={"scores": found})
    return replace(new, metadata=new.metadata.model_copy(update=values))


def _trained_on(metadata: ModelMetadata, given: _Labelled, record: Adaptation) -> dict[str, Any]:
    """Tell what the metadata of a model say of its training after it was trained on, too."""
    scene = given.scene
    split = {"scheme": "regions", "test_tiles": 0, "guard_px": 0, "leak_fraction": 0.0}
    split |= {"train_tiles": record.tiles - record.held_out_tiles, "validation_tiles": record.held_out_tiles}
    return {
        "events": list(dict.fromkeys([*metadata.events, scene.name])),
        "sensors": sorted({*metadata.sensors, *sensors_of(scene.scene.inputs)}),
        "simulated": list(dict.fromkeys([*metadata.simulated, *([scene.name] if scene.simulated else [])])),
        "footprints": [*metadata.footprints, scene.footprint],
        "split": metadata.split | split,
        "credits": sorted({*metadata.credits, *([scene.credit] if scene.credit else [])}),
        "vital_signs": [],
        "samples": {},
        "scores": {},
    }


def _pixels(old: Model, new: Model, given: _Labelled) -> list[TilePixels]:
    """Predict the labelled pixels of tiles by both models, without their temperature; of those held out first."""
    labels, seen = given.scene.labels, split_raster(old.metadata.footprints, cast("Cube", given.scene.scene).grid)
    where = given.tiles > 0
    raw = [replace(one, metadata=one.metadata.model_copy(update={"temperature": 1.0})) for one in (old, new)]
    before = mapped_where(raw[0], given.scene, where)
    after = before if new is old else mapped_where(raw[1], given.scene, where)
    found, places = [], find_objects(given.tiles)
    for number in sorted(range(1, given.tile_count + 1), key=lambda number: number not in given.held_out):
        place = places[number - 1]
        own = given.tiles[place] == number
        truth, fair = labels[place][own] == LANDSLIDE, is_held_out(seen[place][own])
        found.append(TilePixels(before[place][own], after[place][own], truth, fair))
    return found
