"""From a model and a cube to a probability map and an inventory."""

import functools
import json
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from coslide.cube.cube import cube_grid, open_cube
from coslide.errors import InputError
from coslide.evaluation.calibration import apply_temperature
from coslide.io.atomic import exclusive_lock, report_write_errors, sha256
from coslide.io.executor import available_processors, map_unordered, prefetch
from coslide.io.resumable_raster import ResumableRaster
from coslide.mapping.export import onnx_predictors
from coslide.mapping.model import Model, ModelMetadata, Predict, load_model, require_same_inputs
from coslide.mapping.probability_map import write_cog
from coslide.mapping.sliding_window import TilingOptions, predict_rows
from coslide.mapping.strips import in_blocks
from coslide.mapping.tta import ensemble_mean_std, in_views
from coslide.networks.fuse import fuse
from coslide.networks.precision import CHOSEN, kept_choice, time_precisions
from coslide.pipeline.inventory_products import PROBABILITY, TITLES, UNCERTAINTY, write_inventory_products
from coslide.pipeline.labelled_scene import Scene, scene_of
from coslide.progress import report_progress
from coslide.samples.dihedral import VIEWS
from coslide.samples.encode import Encoder
from coslide.samples.normalise import Moments
from coslide.windows import row_strips

_log = logging.getLogger(__name__)


_ROWS_FOLDER, _ROWS = ".map.part", "rows"  # where the rows lie until the map is whole
_BLOCK_ROWS = 1024  # that a worker computes at once
PrecisionChoice = Literal["auto", "32", "bf16"]
Block = NDArray[np.float32]  # rows of a map: (row, col), or (layer, row, col)
_SURE = 1e-6


class InferenceOptions(NamedTuple):
    """How a scene is mapped.

    `window` is the side of the windows that the network sees, in cells, that of its training tiles by default; `stride`
    is the step between them, three quarters of a window by default (`docs/performance.md` says why): they overlap and
    are blended. A network may say something else of the same cell in a larger window, EGCN for one, whose graph spans
    it. `batch` windows are given to the network at once: it changes memory and speed, not the map. `precision` is
    ``"32"``, ``"bf16"``, or ``"auto"``: bfloat16 on a CPU where a timed trial shows that it is clearly faster. With
    `views` of 8, each window is seen in all of its eight views. The map is the mean of all views and members of the
    model, the uncertainty their spread. With `onnx`, ONNX Runtime runs the network (`coslide.mapping.export`).
    """

    window: int | None = None
    stride: int | None = None
    batch: int = 8
    views: int = 1
    onnx: bool = False
    precision: str = "auto"


STANDARD = InferenceOptions()


def predict_scene(
    model: Path | str,
    index: Path | str,
    out: Path | str,
    *,
    way: InferenceOptions = STANDARD,
    min_area_m2: float = 0.0,
    executor: Executor | None = None,
    resume: bool = False,
) -> Path:
    """Return the folder with the landslide map of the scene in the cube `index`.

    Leaves ``probability.tif`` (0 to 1, NaN where the cube is not valid), ``landslides.gpkg`` and
    ``landslides.parquet``, ``density.tif`` (landslides per km2), ``summary.json``, ``summary.png`` and ``item.json``
    (STAC), all described in `docs/inventory.md`; with several views or members ``uncertainty.tif`` too. The map carries
    in its tags where the model was trained, so that it is never scored there.

    Parameters
    ----------
    model, index
        A bundle, and a cube with the channels that it was trained with.
    out
        Folder to write to.
    way
        How to map.
    min_area_m2
        Smaller landslides are left out of the inventory; the probability map keeps them.
    executor
        What computes blocks of rows (`coslide.io.executor.open_executor`); by default this process, row after row. The
        map is the same, but for the last digits of its sums (1e-5).
    resume
        Go on with a map of the same model, cube and way that was interrupted: rows that are there are kept.

    Raises
    ------
    InputError
        If a file cannot be read or written, if model and cube do not fit, or if another process maps into `out`.
    """
    out, loaded, cube = Path(out), load_model(model), open_cube(index)
    grid, card, scene = cube_grid(cube), loaded.card, scene_of(cube)
    missing = require_same_inputs(card, [*scene.bands, *scene.measured], scene.pixel_size_m, str(index))
    if missing:
        _log.info(f"mapped without {', '.join(missing)}, which the model was trained to do without")
    _require_way(way, loaded)
    predictors = onnx_predictors(Path(model)) if way.onnx else None  # said before anything is written
    tags = {
        "event": str(cube.attrs["title"]),
        "network": card.network,
        "threshold": str(card.threshold),
        "temperature": str(card.temperature),
        "ground": json.dumps([ground.model_dump() for ground in card.ground]),
        "split": json.dumps(card.split),
        "missing": ", ".join(missing),
        "events_without_location": ", ".join(card.events_without_location),
        "views": str(way.views),
        "members": str(card.members),
    }
    work = out / _ROWS_FOLDER
    with report_write_errors(out):
        work.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(work, out), report_write_errors(out):
        if not resume:
            shutil.rmtree(work / _ROWS, ignore_errors=True)
            (work / CHOSEN).unlink(missing_ok=True)
        way = with_precision(way, loaded, work / CHOSEN)
        tags["precision"] = way.precision
        made_from = f"{sha256(Path(model))} {cube.attrs['coslide_fingerprint']}"
        key = f"{made_from} {way} {_blending(way, card, 1)}"
        store = ResumableRaster(work / _ROWS, scene.shape, layers=_layers(way, card), key=key)
        if executor is None:
            blocks = _blocks_here(_ready(loaded, scene, way, predictors=predictors), store.missing())
        else:
            job = _Job(Path(model).absolute(), Path(index).absolute(), way, made_from)
            blocks = _blocks_of_executor(job, store.missing(), executor)
        _fill(store, blocks, scene.shape[0])
        write_cog(store, 0, out / PROBABILITY, grid, tags=tags)
        if _layers(way, card) > 1:
            write_cog(store, 1, out / UNCERTAINTY, grid, tags=tags, what=TITLES[UNCERTAINTY])
        else:
            (out / UNCERTAINTY).unlink(missing_ok=True)  # of an earlier map
        shutil.rmtree(work)
    frame = write_inventory_products(out, cube, card, min_area_m2=min_area_m2)
    _log.info(f"{len(frame)} landslides, {frame.area_m2.sum() / 1e6:.2f} km2: {out / 'landslides.gpkg'}")
    return out


class _Job(NamedTuple):
    """What a worker needs to compute some rows of a map; `made_from` tells models and cubes of one path apart."""

    model: Path
    cube: Path
    way: InferenceOptions
    made_from: str


def _fill(store: ResumableRaster, blocks: Iterator[tuple[int, Block]], height: int) -> None:
    """Put the blocks that are missing into the store."""
    done = height - sum(stop - start for start, stop in store.missing())
    if done:
        _log.info(f"{done} of {height} rows are there already")
    for start, block in blocks:
        store.write(start, block)
        done += block.shape[1]
        report_progress("mapping", done, height)


def _blocks_here(ready: "_Ready", missing: list[tuple[int, int]]) -> Iterator[tuple[int, Block]]:
    """Return blocks of the missing rows, one after the other; the next is computed while one is written."""
    for rows in missing:
        with prefetch(_layered(_predicted(ready, rows=rows))) as made:
            yield from made


def _blocks_of_executor(job: _Job, missing: list[tuple[int, int]], executor: Executor) -> Iterator[tuple[int, Block]]:
    """Compute blocks of the missing rows and yield them in the order in which they are done."""
    pieces = [(a, min(a + _BLOCK_ROWS, stop)) for start, stop in missing for a in range(start, stop, _BLOCK_ROWS)]
    for (start, _), block in map_unordered(executor, _block_of, job, pieces):
        yield start, block


def _block_of(job: _Job, rows: tuple[int, int]) -> Block:
    return np.concatenate([block for _, block in _layered(_predicted(_opened(job), rows=rows, threads=1))], axis=1)


def _layered(blocks: Iterator[tuple[int, Block]]) -> Iterator[tuple[int, Block]]:
    """Return blocks as (layer, row, col), whatever the number of layers."""
    return ((start, block if block.ndim == 3 else block[np.newaxis]) for start, block in blocks)


@functools.lru_cache(maxsize=1)
def _opened(job: _Job) -> "_Ready":
    """Return what a worker maps with; the next block of the same map finds it ready."""
    predictors = onnx_predictors(job.model) if job.way.onnx else None
    return _ready(load_model(job.model), scene_of(open_cube(job.cube)), job.way, predictors=predictors)


def _layers(way: InferenceOptions, card: ModelMetadata) -> int:
    """Return 2 where there is a spread beside the mean."""
    return 2 if way.views > 1 or card.members > 1 else 1


def _window(way: InferenceOptions, card: ModelMetadata) -> int:
    return card.tile if way.window is None else way.window


def _blending(way: InferenceOptions, card: ModelMetadata, threads: int | None) -> TilingOptions:
    window = _window(way, card)
    if threads is None:  # a GPU is kept busy by one
        threads = 1 if torch.cuda.is_available() and not way.onnx else available_processors()
    return TilingOptions(tile=window, stride=way.stride or window * 3 // 4, batch=way.batch, threads=threads)


def _require_way(way: InferenceOptions, model: Model) -> None:
    window = _window(way, model.card)
    if window != model.card.tile:
        multiple = int(getattr(model.networks[0], "size_multiple", 1))
        if window < multiple or window % multiple:
            raise InputError(f"--window: found {window}, expected a multiple of {multiple} for {model.card.network}")
        if way.onnx or getattr(model.networks[0], "fixed_side", None):
            what = "its ONNX form" if way.onnx else "the model"
            raise InputError(f"--window: found {window}, expected {model.card.tile}, the tile that {what} is made for")
    if way.stride is not None and not 1 <= way.stride <= window:
        raise InputError(f"--stride: found {way.stride}, expected 1 to {window}, the side of a window")
    if way.onnx and way.precision == "bf16":
        raise InputError("--precision: found bf16, expected 32 or auto with --onnx, which runs in single precision")
    if way.precision not in get_args(PrecisionChoice):
        expected = ", ".join(get_args(PrecisionChoice))
        raise InputError(f"--precision: found {way.precision}, expected one of {expected}")
    if way.views not in (1, VIEWS):
        raise InputError(f"--views: found {way.views}, expected 1 or {VIEWS}")


def with_precision(way: InferenceOptions, model: Model, kept: Path | None = None) -> InferenceOptions:
    """Decide the precision of a way that leaves it open, by a trial of the network on windows of its size.

    The choice is kept in the file `kept`, where one is named, and taken from there by a map that goes on.
    """
    if way.precision != "auto":
        return way
    if way.onnx or torch.cuda.is_available():
        return way._replace(precision="32")
    inputs, window = len(model.card.encoder.names), _window(way, model.card)
    trial = functools.partial(time_precisions, fuse(model.networks[0]), inputs, window, gradients=False)
    return way._replace(precision=kept_choice(trial, kept, "the map"))


def predicted_rows(
    model: Model,
    scene: Scene,
    *,
    way: InferenceOptions = STANDARD,
    where: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, Block]]:
    """Return the landslide probability (0 to 1) of `scene` in blocks of rows, NaN where it is not valid.

    With several views or members a block is (2, row, col): their mean and standard deviation.

    Parameters
    ----------
    model
        What to map with.
    scene
        What to map.
    way
        How to map.
    where
        Cells that are wanted, bool (row, col); others are NaN. The others' inputs are seen all the same.

    Raises
    ------
    InputError
        If the network cannot see windows of that size, the stride is longer than them, or the number of views is
        neither 1 nor 8.
    """
    _require_way(way, model)
    return _predicted(_ready(model, scene, with_precision(way, model)), where=where)


class _Ready(NamedTuple):
    """A model and a scene with what is made of them once, however many blocks of rows are mapped."""

    card: ModelMetadata
    scene: Scene
    way: InferenceOptions
    encoder: Encoder
    predict: Predict


def _ready(model: Model, scene: Scene, way: InferenceOptions, *, predictors: list[Predict] | None = None) -> _Ready:
    """Return what maps; `predictors` run the members, with torch by default."""
    card = model.card
    looks = predictors or model.predictors(way.precision)
    if way.views > 1:
        directions = card.encoder.directions
        looks = [look for predict in looks for look in in_views(predict, directions=directions)]
    predict = ensemble_mean_std(looks) if _layers(way, card) > 1 else looks[0]
    return _Ready(card, scene, way, encoder_for(card, scene), predict)


def _predicted(
    ready: _Ready,
    *,
    where: NDArray[np.bool_] | None = None,
    rows: tuple[int, int] | None = None,
    threads: int | None = None,
) -> Iterator[tuple[int, Block]]:
    """Return blocks of rows; of those from the first of `rows` to before the last, or of all."""
    card, scene, way = ready.card, ready.scene, ready.way

    def read_rows(start: int, stop: int) -> Block:
        return ready.encoder.encode(scene.read(slice(start, stop), card.bands))

    def valid_rows(start: int, stop: int) -> NDArray[np.bool_]:
        strip = slice(start, stop)
        return scene.valid(strip) if where is None else scene.valid(strip) & where[strip]

    found = predict_rows(
        in_blocks(read_rows, scene.shape[0], scene.block_rows),
        ready.predict,
        scene.shape,
        blending=_blending(way, card, threads),
        valid_rows=valid_rows,
        layers=_layers(way, card),
        rows=rows,
        progress=functools.partial(report_progress, "mapping"),
    )
    return ((start, _tempered(block, card.temperature)) for start, block in found)


def _tempered(block: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Return a block at the temperature of the model; a spread changes as the probability does (first order)."""
    if temperature == 1:
        return block
    if block.ndim == 2:
        return apply_temperature(block, temperature)
    given = block[0].clip(_SURE, 1 - _SURE)
    found = apply_temperature(given, temperature)
    slope = found * (1 - found) / (temperature * given * (1 - given))
    return np.stack([apply_temperature(block[0], temperature), block[1] * slope])


def encoder_for(card: ModelMetadata, scene: Scene) -> Encoder:
    """Tell how `scene` is fed: as the model says, normalised by itself where the model was trained so."""
    if card.normalise == "global":
        return card.encoder
    moments = Moments(card.bands)
    for rows in row_strips(scene.shape[0]):
        moments.add(scene.read(rows, card.bands), scene.valid(rows))
    return card.encoder._replace(normalisation=moments.normalisation())
