"""From a trained model and a few labelled tiles of a new event to a model of that event."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from coslide.config.training import TrainingSettings
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
from coslide.mapping.inputs import require_same_inputs
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import Model, find_model, load_model, save_model
from coslide.mapping.probability_map import choose_threshold
from coslide.mapping.widen import widen
from coslide.pipeline.evaluate import as_vector_file
from coslide.pipeline.labelled_scene import LabelledScene
from coslide.pipeline.train import fit_members, mapped_where
from coslide.pipeline.training_data import further_inputs, prepare_tiles
from coslide.samples.footprint import footprint_of, is_held_out, split_raster
from coslide.samples.split import Split, Subset
from coslide.sources.inventory import rasterize_inventory
from coslide.training.fit import with_precision
from coslide.training.module import Start
from coslide.windows import Window, cover, require_tile

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
        Steps of the training; 0 leaves the model as it is.
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
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already; expected a new folder for the adapted model")
    old, cube = load_model(model), open_cube(index)
    require_same_inputs(old.metadata, [*cube.inputs, *cube.diagnostics], cube.pixel_size_m, str(index))
    require_tile(cube.shape, old.metadata.tile)
    scene = _labelled(cube, as_vector_file(labels), as_vector_file(area), old.metadata.tile)
    settings = _settings(old.metadata, steps)
    if indices:
        old = widen(old, further_inputs(cube, indices, settings, old.metadata.bands))
    work = out.with_name(f".{out.name}.training.part")
    labelled = hashlib.sha256(scene.labels.tobytes()).hexdigest()
    made_from = {"model": sha256(model), "labels": labelled, "indices": ", ".join(indices)}
    started = time.monotonic()
    with output_folder(work), exclusive_lock(work, out):
        if not resume:
            shutil.rmtree(work / _TRAINING, ignore_errors=True)
        new = _trained(old, scene, settings, work / _TRAINING, made_from=made_from, resume=resume) if steps else old
        held_out = len(scene.split.validation)
        record = Adaptation(
            model_sha256=made_from["model"],
            event=scene.name,
            tiles=len(scene.split.train) + held_out,
            held_out_tiles=held_out,
            indices=list(indices),
            labelled_km2=float((scene.labels != NODATA).sum()) * cube.pixel_size_m**2 / 1e6,
            steps=steps,
            learning_rate=settings.optimiser.learning_rate,
            penalty=PENALTY,
        )
        new = _calibrated(old, new, scene, record)
        save_model(new, out)
        shutil.rmtree(work)
    of = f"{record.tiles} labelled tiles of {scene.name}, {held_out} of them held out"
    _log.info(f"adapted on {of}, in {(time.monotonic() - started) / 60:.1f} min: {out}")
    return new


def _labelled(cube: Cube, labels: VectorFile, area: VectorFile, tile: int) -> LabelledScene:
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
    tiles = [window for window in labelled_tiles(inside, tile) if (found[window.slices] != NODATA).any()]
    held_out = held_out_tiles([int((found[window.slices] == LANDSLIDE).sum()) for window in tiles])
    subsets = np.where(inside, np.uint8(Subset.TRAIN), np.uint8(Subset.GUARD))
    for number in held_out:
        part = subsets[tiles[number].slices]
        part[part == Subset.TRAIN] = Subset.VALIDATION
    train, validation = (
        [window for number, window in enumerate(tiles) if (number in held_out) is kept] for kept in (False, True)
    )
    seen = np.where(inside, subsets, np.uint8(Subset.NONE))
    return LabelledScene(
        cube.title,
        cube.fingerprint,
        cube,
        found,
        credit=str(cube.attrs.get("credit", "")),
        simulated=bool(cube.attrs.get("simulated", 0)),
        split=Split(subsets, train, validation, [], 0.0),
        footprint=footprint_of(seen, cube.grid),
        seen=seen,
    )


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


def _calibrated(old: Model, new: Model, scene: LabelledScene, record: Adaptation) -> Model:
    """Choose temperature and threshold of the adapted model, score it, and complete its metadata."""
    metadata, held_out = old.metadata, 0 if new is old else len(scene.split.validation)
    pixels = _pixels(old, new, scene, [*scene.split.validation, *scene.split.train])
    temperature = metadata.temperature
    before = [apply_temperature(one.before, temperature) for one in pixels]
    threshold, _ = choose_threshold(metadata, before)
    values: dict[str, Any] = {}
    if new is not old:
        values |= calibrated(pixels, temperature, threshold, held_out=held_out)
        _log.info("temperature {temperature:.2f}, threshold {threshold:.3f}".format(**values))
        values |= {"threshold_of": "validation", "tta": False}
    found = compare(pixels, uncalibrated(threshold, temperature), held_out=held_out)
    worth = "the old model was trained on the labelled area, so what the labels are worth cannot be told"
    _log.info(worth if found is None else found.line())
    split: dict[str, Any] = {"scheme": "regions", "test_tiles": 0, "guard_px": 0}
    split |= {"train_tiles": len(scene.split.train), "validation_tiles": len(scene.split.validation)}
    values |= {
        "events": list(dict.fromkeys([*metadata.events, scene.name])),
        "simulated": list(dict.fromkeys([*metadata.simulated, *([scene.name] if scene.simulated else [])])),
        "footprints": [*metadata.footprints, scene.footprint],
        "split": metadata.split | split,
        "credits": sorted({*metadata.credits, *([scene.credit] if scene.credit else [])}),
        "vital_signs": [],
        "samples": {},
        "scores": {},
        "card": None,  # what it says is of the old model
        "adapted": record.model_copy(update={"scores": found}),
    }
    return replace(new, metadata=metadata.model_copy(update=values))


def _pixels(old: Model, new: Model, scene: LabelledScene, tiles: Sequence[Window]) -> list[TilePixels]:
    """Predict the labelled pixels of tiles by both models, without their temperature."""
    labels, seen = scene.labels, split_raster(old.metadata.footprints, cast("Cube", scene.scene).grid)
    where = cover(tiles, labels.shape) & (labels != NODATA)
    raw = [replace(one, metadata=one.metadata.model_copy(update={"temperature": 1.0})) for one in (old, new)]
    before = mapped_where(raw[0], scene, where)
    after = before if new is old else mapped_where(raw[1], scene, where)
    found = []
    for place in (window.slices for window in tiles):
        own = where[place]
        truth, fair = labels[place][own] == LANDSLIDE, is_held_out(seen[place][own])
        found.append(TilePixels(before[place][own], after[place][own], truth, fair))
    return found
