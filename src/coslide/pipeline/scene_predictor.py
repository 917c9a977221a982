"""A model made ready to map a scene: its options, its windows, and the blocks of rows that it gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature
from coslide.io.executor import available_processors
from coslide.mapping.export import onnx_predictors
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import Model
from coslide.mapping.sliding_window import TilingOptions, augmented, mean_and_spread, predict_rows
from coslide.networks.cgblock import fuse
from coslide.networks.precision import choose_precision
from coslide.pipeline.labelled_scene import Scene
from coslide.progress import report_progress
from coslide.samples.encode import Encoder
from coslide.samples.light import LightSamples
from coslide.windows import row_strips

_SURE = 1e-6
_STEEP_DEG, _MOUNTAINOUS = 3.0, 0.02  # what is a slope, and the share of a scene from which its light is theirs
_LARGEST_WINDOW = 4096
Block = NDArray[np.float32]  # rows of a map: (layer, row, col)


class InferenceOptions(NamedTuple):
    """How a scene is mapped.

    `window` is the side of the windows that the network sees, in pixels, that of its training tiles by default;
    `stride` is the step between them, three quarters of a window by default (see `docs/performance.md`): they
    overlap and are blended. A network may give another answer for the same pixel in a larger window, EGCN for one,
    whose graph spans it. `batch` windows are given to the network at once: it changes memory and speed, not the map.
    `precision` is ``"32"``, ``"bf16"``, or ``"auto"``: bfloat16 on a CPU where a timed trial shows that it is clearly
    faster. With `tta`, each window is seen in all of its eight orientations; by default it is where the model was
    scored so. The map is the mean over orientations and members of the model, the uncertainty their spread. With
    `onnx`, ONNX Runtime runs the network (`coslide.mapping.export`). `threshold` is ``"validation"`` for the one that
    is best on the model's validation set, ``"scene"`` for one that is chosen from the map alone, by default as the
    model was scored.

    Examples
    --------
    >>> options = InferenceOptions(tta=True, threshold="scene")
    >>> options.tta, options.window
    (True, None)
    """

    window: int | None = None
    stride: int | None = None
    batch: int = 8
    tta: bool | None = None
    onnx: bool = False
    precision: str = "auto"
    threshold: str | None = None


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
        self.layers = layers_of(options, model.metadata)
        self._encoder = encoder_for(model.metadata.encoder, scene)
        if options.onnx and folder is None:
            raise ValueError("folder: expected that of the bundle, which holds the ONNX form")
        network = model.predictors(self.options.precision, name=str(folder or "the model"))
        predictors = onnx_predictors(folder) if folder and options.onnx else network
        if turns(options, model.metadata):
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


def layers_of(options: InferenceOptions, metadata: ModelMetadata) -> int:
    """Count 2 where there is a spread beside the mean."""
    return 2 if turns(options, metadata) or metadata.members > 1 else 1


def turns(options: InferenceOptions, metadata: ModelMetadata) -> bool:
    """Decide whether each window is seen in eight orientations."""
    return metadata.tta if options.tta is None else options.tta


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
    if options.threshold not in (None, "validation", "scene"):
        raise InputError(f"--threshold: found {options.threshold}, expected validation or scene")
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


def encoder_for(encoder: Encoder, scene: Scene) -> Encoder:
    """Choose how a scene is encoded: as the model was fed, and what is seen in its own light by that of the scene.

    The levels are those of its slopes, where the terrain is known and there are some: sea, lakes and plains tell
    nothing of the light on slopes.
    """
    bands = [encoder.bands[number] for number in encoder.light]
    if not bands:
        return encoder
    slopes = [band for band in scene.inputs if band.name == "slope"]
    every, steep = (LightSamples(len(bands), scene.shape) for _ in range(2))
    for rows in row_strips(scene.shape[0]):
        values, valid = scene.read(rows, [*bands, *slopes]), scene.valid(rows)
        every.add(values[: len(bands)], valid)
        steep.add(values[: len(bands)], valid & (values[len(bands) :] >= _STEEP_DEG).any(axis=0))
    return encoder.in_light(steep if steep.count > _MOUNTAINOUS * every.count else every)
