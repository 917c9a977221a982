"""From a model and a cube to a probability map and an inventory."""

import functools
import logging
import math
import shutil
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.unlabelled import LOWEST
from coslide.io.atomic import exclusive_lock, report_write_errors, require_replaceable, sha256
from coslide.io.executor import map_unordered, prefetch
from coslide.io.outputs import output_folder
from coslide.io.resumable import ResumableRaster
from coslide.mapping.export import onnx_predictors
from coslide.mapping.inputs import require_same_inputs, warn_of_another_sensor
from coslide.mapping.inventory import PACKAGE
from coslide.mapping.model import Model, find_model, load_model
from coslide.mapping.probability_map import MapMetadata, choose_threshold, write_probability_map
from coslide.networks.precision import CHOSEN
from coslide.pipeline.context import CONTEXT
from coslide.pipeline.report import write_inventory_products
from coslide.pipeline.scene_predictor import (
    Block,
    InferenceOptions,
    ScenePredictor,
    layers_of,
    predict_array,
    tiling_of,
    turns,
    with_precision,
)
from coslide.pipeline.shipped import choose_model
from coslide.progress import report_progress
from coslide.windows import row_strips

_log = logging.getLogger(__name__)

_ROWS_FOLDER, _ROWS = ".map.part", "rows"  # where the rows lie until the map is whole
_BLOCK_ROWS = 1024  # that a worker computes at once


def predict(model: Model, cube: Cube, options: InferenceOptions | None = None) -> xr.DataArray:
    """Predict the landslide probability of a whole cube in memory.

    Parameters
    ----------
    model, cube
        As `coslide.load_model` and `coslide.open_cube` give them.
    options
        How to map; by default as `coslide map` does.

    Returns
    -------
    xarray.DataArray
        float32 (y, x), 0 to 1, NaN where the cube is not valid, with the cube's coordinates.

    Raises
    ------
    InputError
        If the cube does not fit the model, or the options do not.

    Examples
    --------
    >>> from coslide import load_model, open_cube
    >>> probability = predict(load_model(bundle), open_cube(index))
    >>> probability.dims, bool(0 <= probability.min() <= probability.max() <= 1)
    (('y', 'x'), True)
    """
    require_same_inputs(model.metadata, [*cube.inputs, *cube.diagnostics], cube.pixel_size_m, cube.title)
    warn_of_another_sensor(model.metadata, cube.inputs, cube.title)
    values = predict_array(model, cube, options)[0]
    coordinates = {name: cube.to_xarray()[name] for name in ("y", "x", "spatial_ref")}
    return xr.DataArray(values, coordinates, ("y", "x"), "probability", {"long_name": "landslide probability"})


def predict_scene(
    model: Path | str | None,
    index: Path | str,
    out: Path | str,
    *,
    options: InferenceOptions | None = None,
    min_area_m2: float = 0.0,
    executor: Executor | None = None,
    resume: bool = False,
) -> Path:
    """Map the landslides of the scene in the cube `index` into the folder `out`, which is returned.

    Leaves ``probability.tif`` (0 to 1, NaN where the cube is not valid) and all that is made of it, as described in
    `docs/inventory.md`; with TTA or several members ``uncertainty.tif`` too. The map carries in its tags where the
    model was trained, so that it is never scored there.

    Parameters
    ----------
    model, index
        A bundle, or the name of a model that comes with coslide, and a cube with the bands that it was trained with.
        None takes the model of coslide's own that fits the cube best (`coslide.pipeline.shipped.choose_model`).
    out, options
        Folder to write to, and how to map.
    min_area_m2
        Smaller landslides are left out of the inventory; the probability map keeps them.
    executor
        What computes blocks of rows (`coslide.io.executor.open_executor`); by default this process, row after row. The
        map is the same, but for the last digits of its sums (1e-5).
    resume
        Go on with a map of the same model, cube and options that was interrupted: rows that are there are kept.

    Raises
    ------
    InputError
        If a file cannot be read or written, model and cube do not fit, another program has ``landslides.gpkg`` or
        ``context.gpkg`` of an earlier map open, or another process maps into `out`.

    Examples
    --------
    >>> sorted(path.name for path in predict_scene(bundle, index, folder / "map").glob("landslides.*"))
    ['landslides.gpkg', 'landslides.parquet', 'landslides.qgz']
    """
    options = options or InferenceOptions()
    out = Path(out)
    folder, loaded, cube, missing = open_to_map(model, index, out, options=options, min_area_m2=min_area_m2)
    metadata, tiling = loaded.metadata, tiling_of(options, loaded)
    if options.threshold is not None:
        metadata = metadata.model_copy(update={"threshold_of": options.threshold})
    if missing:
        _log.info(f"mapped without {', '.join(missing)}, which the model was trained to do without")
    work = out / _ROWS_FOLDER
    with output_folder(work), exclusive_lock(work, out), report_write_errors(out):
        if not resume:
            shutil.rmtree(work / _ROWS, ignore_errors=True)
            (work / CHOSEN).unlink(missing_ok=True)
        options = with_precision(options, loaded, work / CHOSEN)
        made_from = f"{sha256(folder)} {cube.fingerprint}"
        job = _Job(folder.absolute(), Path(index).absolute(), options, made_from)
        of_rows = options._replace(threshold=None, tta=turns(options, metadata))  # what decides the rows
        key, layers = f"{made_from} {of_rows} {tiling}", layers_of(options, metadata)
        store = ResumableRaster(work / _ROWS, cube.shape, layers=layers, key=key)
        _fill(store, job, executor)
        pieces = (store.read(rows)[0] for rows in row_strips(cube.shape[0]))
        threshold, expected = choose_threshold(metadata, pieces)
        how: dict[str, Any] = {
            "missing_bands": missing,
            "tta": turns(options, metadata),
            "precision": options.precision,
            "threshold": threshold,
            "expected": expected,
        }
        write_probability_map(out, store, cube.grid, MapMetadata(event=cube.title, model=metadata, **how))
        shutil.rmtree(work)
        _predictor.cache_clear()
    if metadata.threshold_of == "scene":
        hope = "" if expected is None else f": expected F1 {expected.f1:.2f}, if the probabilities are right"
        _log.info(f"threshold {threshold:.3f}, chosen from the map alone (trained: {metadata.threshold:.3f}){hope}")
        if expected is None or expected.f1 < 2 * LOWEST:
            why = "there are few, or the model has seen nothing like this scene"
            _log.info(f"warning: the map hardly tells landslides from the rest: {why}")
    frame = write_inventory_products(out, cube, metadata, min_area_m2=min_area_m2)
    _log.info(f"{len(frame)} landslides, {frame.area_m2.sum() / 1e6:.2f} km2: {out / 'landslides.gpkg'}")
    return out


def open_to_map(
    model: Path | str | None, index: Path | str, out: Path, *, options: InferenceOptions, min_area_m2: float
) -> tuple[Path, Model, Cube, list[str]]:
    """Open a model and a cube that are to be mapped, and name the bands that are missing but not needed.

    The folder of the model comes first. All that can be refused is refused here, before anything is started or written;
    parameters as in `predict_scene`.

    Raises
    ------
    InputError
        If one cannot be read, they or the options do not go together, or what stands in `out` may not be replaced.
    """
    if not 0 <= min_area_m2 < math.inf:
        raise InputError(f"--min-area-m2: found {min_area_m2:g}, expected square metres from 0 on")
    folder = None if model is None else find_model(model)
    loaded = None if folder is None else load_model(folder)  # before the cube: it is the first that was given
    cube = open_cube(index)
    given = [*cube.inputs, *cube.diagnostics]
    if folder is None or loaded is None:
        folder, why = choose_model(given, cube.pixel_size_m, str(index))
        _log.info(why)
        loaded = load_model(folder)
    missing = require_same_inputs(loaded.metadata, given, cube.pixel_size_m, str(index))
    warn_of_another_sensor(loaded.metadata, given, str(index))
    tiling_of(options, loaded)
    if options.onnx:
        onnx_predictors(folder)
    for database in (PACKAGE, CONTEXT):
        require_replaceable(out / database, None)
    return folder, loaded, cube, missing


class _Job(NamedTuple):
    """What a worker needs to compute some rows of a map; `made_from` tells models and cubes of one path apart."""

    model: Path
    cube: Path
    options: InferenceOptions
    made_from: str


@functools.lru_cache(maxsize=1)  # a worker's next block of the same map finds it ready
def _predictor(job: _Job) -> ScenePredictor:
    return ScenePredictor(load_model(job.model), open_cube(job.cube), job.options, folder=job.model)


def _block_of(job: _Job, rows: tuple[int, int]) -> Block:
    return np.concatenate([block for _, block in _predictor(job).blocks(rows=rows, threads=1)], axis=1)


def _fill(store: ResumableRaster, job: _Job, executor: Executor | None) -> None:
    """Compute the rows that are missing from the store: here one after the other, or by an executor in any order."""
    missing, height = store.missing(), store.shape[0]
    done = height - sum(stop - start for start, stop in missing)
    if done:
        _log.info(f"{done} of {height} rows are there already")
    if executor is None:
        computed = (block for rows in missing for block in _predictor(job).blocks(rows=rows))
    else:
        pieces = [(a, min(a + _BLOCK_ROWS, stop)) for start, stop in missing for a in range(start, stop, _BLOCK_ROWS)]
        computed = ((start, block) for (start, _), block in map_unordered(executor, _block_of, job, pieces))
    with prefetch(computed) as blocks:  # the next is computed while one is written
        for start, block in blocks:
            store.write(start, block)
            done += block.shape[1]
            report_progress("mapping", done, height)
