"""The whole pipeline for one event: build, train where no model is given, map, evaluate, draw."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from coslide.acquisition.comcat import is_event_id
from coslide.config.event import Event, read_event
from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.indices.event_layers import open_event_scenes
from coslide.io.atomic import require_replaceable, write_json
from coslide.io.outputs import output_folder
from coslide.mapping.inputs import require_same_inputs
from coslide.mapping.inventory import PACKAGE
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import find_model, load_model, record_scores
from coslide.mapping.probability_map import read_probability_map
from coslide.memory import peak_memory_gb
from coslide.networks import spec
from coslide.pipeline.build import build_cube
from coslide.pipeline.context import CONTEXT
from coslide.pipeline.evaluate import evaluate
from coslide.pipeline.labelled_scene import burn_regions, open_labelled_scene
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.qgis import write_map_project
from coslide.pipeline.report import write_report
from coslide.pipeline.shipped import choose_model
from coslide.pipeline.train import fit_model
from coslide.pipeline.training_data import require_inputs
from coslide.report.scene_figure import scene_figure
from coslide.sources.inventory import inventory_files
from coslide.training.fit import require_trainable
from coslide.windows import require_tile

_log = logging.getLogger(__name__)


def run(
    event_file: Path | str,
    out: Path | str,
    *,
    model: Path | str | None = None,
    settings: TrainingSettings | None = None,
    resume: bool = False,
) -> Path:
    """Map an event: build, train where there is an inventory and no model, map, evaluate and draw, all in one folder.

    The folder is returned. It holds ``index.zarr``, ``model/`` (unless one is given), ``probability.tif``,
    ``landslides.gpkg``, ``landslides.parquet``, ``landslides.qgz`` (a project of QGIS with all layers),
    ``metrics.json`` (where there is an inventory), ``landslides.png``, ``run.json`` (time, memory) and ``report.html``.

    Parameters
    ----------
    event_file
        The event, as TOML; or the id of an earthquake, such as ``"us2000h8ty"``, whose inputs are then fetched into
        ``event/`` (`coslide.pipeline.fetch.fetch_event`).
    out
        Folder to write to; it must be new or empty unless `resume` is set.
    model
        A bundle to map with, or the name of a model that comes with coslide; None trains on this event, or where it has
        no inventory takes the model of coslide's own that fits best.
    settings
        How to train; None takes the settings of the event file.
    resume
        Go on with an interrupted run: the cube is kept if its sources and settings are the same, and training goes on
        from its last whole epoch.

    Raises
    ------
    InputError
        If anything the user gave cannot be used; nothing half-written is left under a final name.

    Examples
    --------
    >>> out = run(event_file, folder / "run", model=bundle)
    >>> (out / "report.html").exists(), (out / "landslides.gpkg").exists()
    (True, True)
    """
    started = time.monotonic()
    out = Path(out)
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; use --resume to go on with its run, or another --out")
    if is_event_id(str(event_file)) and not Path(event_file).exists():
        from coslide.pipeline.fetch import EVENT_FILE, fetch_event  # brings what asks catalogs

        fetch_event(str(event_file), out / "event")
        event_file = out / "event" / EVENT_FILE
    event = read_event(event_file)
    settings = settings or event.training
    for database in (PACKAGE, CONTEXT):
        require_replaceable(out / database, None)
    with output_folder(out):
        if model is None and event.inventory:
            _require_trainable(event, settings)
        _make_all(event, out, model, settings, resume=resume)
        wall_s, peak_mb = time.monotonic() - started, round(1000 * peak_memory_gb())
        write_json(out / "run.json", {"wall_s": round(wall_s, 1), "peak_memory_mb": peak_mb, "cpus": os.cpu_count()})
        write_report(out)
    _log.info(f"done in {int(wall_s // 60)} min {int(wall_s % 60)} s, peak memory {peak_mb / 1000:.1f} GB: {out}")
    return out


def _make_all(event: Event, out: Path, model: Path | str | None, settings: TrainingSettings, *, resume: bool) -> None:
    """Make all but the report, which tells how long it took."""
    index = out / "index.zarr"
    if model is None and event.inventory:
        require: Callable[[Sequence[Band]], object] = partial(require_inputs, settings=settings)
    elif model is None:
        require = partial(choose_model, pixel_size_m=event.grid.pixel_size_m, name=str(event.file))
    else:
        model = find_model(model)
        require = _fits(load_model(model).metadata, event)
    build_cube(event, index, require=require)
    _log.info(f"{index}: {open_cube(index).summary}")
    if model is None and event.inventory:
        model = out / "model"
        fit_model([open_labelled_scene(index)], out, settings, resume=resume)
    predict_scene(model, index, out, resume=resume)
    metrics = None
    if event.inventory:
        inventory, area = inventory_files(event.inventory)
        metrics = evaluate(out, inventory, area=area, grid=index)
        if model is not None and Path(model) == out / "model":  # not into the bundle of another training
            record_scores(out / "model", metrics)
    found, cube = read_probability_map(out), open_cube(index)
    write_map_project(out, cube, found, event)  # again: the event has more around than the cube
    scene_figure(out / "landslides.png", cube, found, metrics.pixels if metrics else None)


def _fits(metadata: ModelMetadata, event: Event) -> Callable[[Sequence[Band]], object]:
    """Check that a model has the pixel size of the event, and make the check of the bands that its cube will have."""
    name, size_m = str(event.file), event.grid.pixel_size_m
    require_same_inputs(metadata, metadata.bands, size_m, name)

    def require(bands: Sequence[Band]) -> None:
        require_same_inputs(metadata, [band for band in bands if band.role in {"index", "diagnostic"}], size_m, name)

    return require


def _require_trainable(event: Event, settings: TrainingSettings) -> None:
    """Check, before any long work, what would stop the training later."""
    require_trainable(settings)
    if settings.split.scheme == "events":
        raise InputError("training.split.scheme: a run has one event; hold out others with: coslide train --test-on")
    if spec(settings.network).two_dates and event.scenes.pre is None:
        raise InputError(f"{event.file}: has no [scenes.pre], which network {settings.network} compares with")
    grid = open_event_scenes(event).grid
    require_tile((grid.shape.y, grid.shape.x), settings.sampling.tile)
    if settings.split.scheme == "regions" and settings.split.regions is not None:
        burn_regions(settings.split, grid)
