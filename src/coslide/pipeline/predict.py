"""From a model and a cube to a probability map and an inventory."""

import functools
import logging
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature
from coslide.io.atomic import exclusive_lock, report_write_errors, require_replaceable, sha256
from coslide.io.executor import available_processors, map_unordered, prefetch
from coslide.io.outputs import output_folder
from coslide.io.resumable import ResumableRaster
from coslide.mapping.export import onnx_predictors
from coslide.mapping.inventory import PACKAGE
from coslide.mapping.model import Model, ModelMetadata, load_model, require_same_inputs
from coslide.mapping.probability_map import MapMetadata, write_probability_map
from coslide.mapping.sliding_window import TilingOptions, augmented, mean_and_spread, predict_rows
from coslide.networks.cgblock import fuse
from coslide.networks.precision import CHOSEN, choose_precision
from coslide.pipeline.labelled_scene import Scene
from coslide.pipeline.report import write_inventory_products
from coslide.progress import report_progress
from coslide.samples.encode import Encoder, Moments
from coslide.windows import row_strips

_log = logging.getLogger(__name__)

_ROWS_FOLDER, _ROWS = ".map.part", "rows"  # where the rows lie until the map is whole
_BLOCK_ROWS = 1024  # that a worker computes at once
_SURE = 1e-6
_LARGEST_WINDOW = 4096
Block = NDArray[np.float32]  # rows of a map: (layer, row, col)


class InferenceOptions(NamedTuple):
    """How a scene is mapped.

    `window` is the side of the windows that the network sees, in pixels, that of its training tiles by default;
    `stride` is the step between them, three quarters of a window by default (see `docs/performance.md`): they
    overlap and are blended. A network may give another answer for the same pixel in a larger window, EGCN for one,
    whose graph spans it. `batch` windows are given to the network at once: it changes memory and speed, not the map.
    `precision` is ``"32"``, ``"bf16"``, or ``"auto"``: bfloat16 on a CPU where a timed trial shows that it is clearly
    faster. With `tta`, each window is seen in all of its eight orientations. The map is the mean over orientations and
    members of the model, the uncertainty their spread. With `onnx`, ONNX Runtime runs the network
    (`coslide.mapping.export`).
    """

    window: int | None = None
    stride: int | None = None
    batch: int = 8
    tta: bool = False
    onnx: bool = False
    precision: str = "auto"


class ScenePredictor:
    """A model made ready to map one scene.

    Parameters
    ----------
    model, scene, options
        What to map with, what to map, and how.
    folder
        Of the model's bundle; needed for its ONNX form only.

    Raises
    ------
    InputError
        If the options do not go with the network, or the bundle has no ONNX form.
    ValueError
        If the ONNX form is asked for without a folder.
    """

    def __init__(
        self, model: Model, scene: Scene, options: InferenceOptions | None = None, *, folder: Path | None = None
    ) -> None:
        options = options or InferenceOptions()
        self._tiling = tiling_of(options, model)
        self.options = with_precision(options, model)
        self.metadata, self.scene = model.metadata, scene
        self.layers = _layers(options, model.metadata)
        self._encoder = encoder_for(model.metadata, scene)
        if options.onnx and folder is None:
            raise ValueError("folder: expected that of the bundle, which holds the ONNX form")
        network = model.predictors(self.options.precision, name=str(folder or "the model"))
        predictors = onnx_predictors(folder) if folder and options.onnx else network
        if options.tta:
            predictors = [turned for one in predictors for turned in augmented(one, self.metadata.encoder.aspect)]
        self._predict = mean_and_spread(predictors)

    def blocks(
        self, *, where: NDArray[np.bool_] | None = None, rows: tuple[int, int] | None = None, threads: int | None = None
    ) -> Iterator[tuple[int, Block]]:
        """Predict the landslide probability (0 to 1) in blocks of rows, NaN where the scene is not valid.

        With TTA or several members a block is (2, row, col): mean and standard deviation; else (1, row, col).

        Parameters
        ----------
        where
            Pixels that are wanted, bool (row, col); others are NaN. The others' inputs are seen all the same.
        rows
            First row and one past the last that are wanted; all by default.
        threads
            How many threads run the network; by default as many as there are processors.
        """
        bands, scene = self.metadata.bands, self.scene

        def read_rows(start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            strip = slice(start, stop)
            valid = scene.valid(strip)
            return self._encoder.encode(scene.read(strip, bands)), valid if where is None else valid & where[strip]

        if threads is None:  # a GPU is kept busy by one
            threads = 1 if torch.cuda.is_available() and not self.options.onnx else available_processors()
        options = {"layers": self.layers, "block_rows": scene.block_rows}
        tiling = self._tiling._replace(threads=threads)
        for start, block in predict_rows(read_rows, self._predict, scene.shape, tiling=tiling, rows=rows, **options):
            yield start, _calibrated(block, self.metadata.temperature)


def predict_array(
    model: Model, scene: Scene, options: InferenceOptions | None = None, *, where: NDArray[np.bool_] | None = None
) -> Block:
    """Predict a whole scene in memory, float32 (layer, row, col); as `ScenePredictor.blocks`."""
    predictor = ScenePredictor(model, scene, options)
    found = np.empty((predictor.layers, *scene.shape), dtype=np.float32)
    for start, block in predictor.blocks(where=where):
        found[:, start : start + block.shape[1]] = block
        report_progress("mapping", start + block.shape[1], scene.shape[0])
    return found


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
    values = predict_array(model, cube, options)[0]
    coordinates = {name: cube.to_xarray()[name] for name in ("y", "x", "spatial_ref")}
    return xr.DataArray(values, coordinates, ("y", "x"), "probability", {"long_name": "landslide probability"})


def predict_scene(
    model: Path | str,
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
        A bundle, and a cube with the bands that it was trained with.
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
        If a file cannot be read or written, model and cube do not fit, another program has ``landslides.gpkg`` of an
        earlier map open, or another process maps into `out`.

    Examples
    --------
    >>> sorted(path.name for path in predict_scene(bundle, index, folder / "map").glob("landslides.*"))
    ['landslides.gpkg', 'landslides.parquet']
    """
    options = options or InferenceOptions()
    out = Path(out)
    loaded, cube, missing = open_to_map(model, index, out, options=options, min_area_m2=min_area_m2)
    metadata, tiling = loaded.metadata, tiling_of(options, loaded)
    if missing:
        _log.info(f"mapped without {', '.join(missing)}, which the model was trained to do without")
    work = out / _ROWS_FOLDER
    with output_folder(work), exclusive_lock(work, out), report_write_errors(out):
        if not resume:
            shutil.rmtree(work / _ROWS, ignore_errors=True)
            (work / CHOSEN).unlink(missing_ok=True)
        options = with_precision(options, loaded, work / CHOSEN)
        made_from = f"{sha256(Path(model))} {cube.fingerprint}"
        job = _Job(Path(model).absolute(), Path(index).absolute(), options, made_from)
        key, layers = f"{made_from} {options} {tiling}", _layers(options, metadata)
        store = ResumableRaster(work / _ROWS, cube.shape, layers=layers, key=key)
        _fill(store, job, executor)
        how: dict[str, Any] = {"missing_bands": missing, "tta": options.tta, "precision": options.precision}
        write_probability_map(out, store, cube.grid, MapMetadata(event=cube.title, model=metadata, **how))
        shutil.rmtree(work)
        _predictor.cache_clear()
    frame = write_inventory_products(out, cube, metadata, min_area_m2=min_area_m2)
    _log.info(f"{len(frame)} landslides, {frame.area_m2.sum() / 1e6:.2f} km2: {out / 'landslides.gpkg'}")
    return out


def open_to_map(
    model: Path | str, index: Path | str, out: Path, *, options: InferenceOptions, min_area_m2: float
) -> tuple[Model, Cube, list[str]]:
    """Open a model and a cube that are to be mapped, and name the bands that are missing but not needed.

    All that can be refused is refused here, before anything is started or written; parameters as in `predict_scene`.

    Raises
    ------
    InputError
        If one cannot be read, they or the options do not go together, or what stands in `out` may not be replaced.
    """
    if not 0 <= min_area_m2 < math.inf:
        raise InputError(f"--min-area-m2: found {min_area_m2:g}, expected square metres from 0 on")
    loaded, cube = load_model(model), open_cube(index)
    given = [*cube.inputs, *cube.diagnostics]
    missing = require_same_inputs(loaded.metadata, given, cube.pixel_size_m, str(index))
    tiling_of(options, loaded)
    if options.onnx:
        onnx_predictors(Path(model))
    require_replaceable(out / PACKAGE, None)
    return loaded, cube, missing


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


def _layers(options: InferenceOptions, metadata: ModelMetadata) -> int:
    """Count 2 where there is a spread beside the mean."""
    return 2 if options.tta or metadata.members > 1 else 1


def tiling_of(options: InferenceOptions, model: Model) -> TilingOptions:
    """Choose windows and stride, and check that a network can be run as the options ask.

    Raises
    ------
    InputError
        If it cannot see windows of that size, the stride is longer than them, or the precision is unknown or not that
        of ONNX.
    """
    metadata, network = model.metadata, model.networks[0]
    window = metadata.tile if options.window is None else options.window
    if window != metadata.tile:
        multiple = int(getattr(network, "size_multiple", 1))
        if not multiple <= window <= _LARGEST_WINDOW or window % multiple:
            expected = f"expected a multiple of {multiple} for {metadata.network}, up to {_LARGEST_WINDOW}"
            raise InputError(f"--window: found {window}, {expected}")
        if options.onnx or getattr(network, "fixed_side", None):
            what = "its ONNX form" if options.onnx else "the model"
            raise InputError(f"--window: found {window}, expected {metadata.tile}, the tile that {what} is made for")
    stride = window * 3 // 4 if options.stride is None else options.stride
    if not 1 <= stride <= window:
        raise InputError(f"--stride: found {stride}, expected 1 to {window}, the side of a window")
    if options.onnx and options.precision == "bf16":
        raise InputError("--precision: found bf16, expected 32 or auto with --onnx, which runs in single precision")
    if options.precision not in (choices := ("auto", "32", "bf16")):
        raise InputError(f"--precision: found {options.precision}, expected one of {', '.join(choices)}")
    return TilingOptions(window, stride, options.batch)


def with_precision(options: InferenceOptions, model: Model, kept: Path | None = None) -> InferenceOptions:
    """Decide the precision where the options leave it open, by a trial of the network on windows of their size.

    The choice is kept in the file `kept`, where one is named, and taken from there by a map that goes on.
    """
    if options.precision != "auto":
        return options
    if options.onnx or torch.cuda.is_available():
        return options._replace(precision="32")
    network, inputs = fuse(model.networks[0]), len(model.metadata.encoder.names)
    side_px = options.window or model.metadata.tile
    chosen = choose_precision(network, inputs, side_px, gradients=False, what="the map", kept=kept)
    return options._replace(precision=chosen)


def _calibrated(block: Block, temperature: float) -> Block:
    """Apply the temperature of the model; a spread changes as the probability does (first order)."""
    mean, *spread = block
    given = mean.clip(_SURE, 1 - _SURE)
    found = apply_temperature(given, temperature)
    slope = found * (1 - found) / (temperature * given * (1 - given))
    return np.stack([apply_temperature(mean, temperature), *(one * slope for one in spread)])


def encoder_for(metadata: ModelMetadata, scene: Scene) -> Encoder:
    """Choose how a scene is encoded: as the model was fed, or normalised by itself where the model was trained so."""
    if metadata.normalise == "global":
        return metadata.encoder
    moments = Moments(metadata.bands)
    for rows in row_strips(scene.shape[0]):
        moments.add(scene.read(rows, metadata.bands), scene.valid(rows))
    return metadata.encoder._replace(normalisation=moments.normalisation())
