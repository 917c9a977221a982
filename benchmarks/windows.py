"""What window and overlap do to the scores of a map, and how fast each is.

    python benchmarks/windows.py INDEX.zarr MODEL [MODEL ...] [--rounds 3]

Maps the scene of a cube with each model (each member of one that has several) at several sizes and steps of the
windows, and scores each map on the ground that the model did not see. Prints for each: F1 and average precision (mean
over the models, and how far F1 is from that of the densest overlap of the same window: mean, smallest and largest over
the models), and pixels per second (median of the rounds; options take turns). Run it on an idle machine.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from coslide.evaluation.pixels import confusion, scores
from coslide.evaluation.probabilities import average_precision, curve
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import Model, load_model
from coslide.memory import keep_freed_memory
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scene
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.samples.footprint import is_held_out, split_raster

OPTIONS = [
    InferenceOptions(window, stride, batch=max(1, 8 * 128**2 // window**2))
    for window in (128, 256, 512)
    for stride in (window // 4, window // 2, window * 5 // 8, window * 3 // 4, window * 7 // 8, window)
]


def main() -> None:
    """Print a line for each set of options."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("index", type=Path)
    words.add_argument("models", type=Path, nargs="+")
    words.add_argument("--rounds", type=int, default=1)
    given = words.parse_args()
    keep_freed_memory()
    area, models = (
        open_labelled_scene(given.index),
        [alone for path in given.models for alone in _members(load_model(path))],
    )
    found = {options: [_scored(area, model, options) for model in models] for options in OPTIONS}
    seconds = {options: list[float]() for options in OPTIONS}
    for _ in range(given.rounds):
        for options in OPTIONS:
            started = time.perf_counter()
            predict_array(models[0], area.scene, options)
            seconds[options].append(time.perf_counter() - started)
    pixels = area.scene.shape[0] * area.scene.shape[1]
    print(f"{area.name}: {area.scene.shape[0]} x {area.scene.shape[1]} pixels, {len(models)} models")
    print("window  stride  F1     AP     F1 less that of the densest overlap   Mpx/s")
    for options in OPTIONS:
        densest = next(other for other in OPTIONS if other.window == options.window)
        less = [a[0] - b[0] for a, b in zip(found[options], found[densest], strict=True)]
        f1, precision = np.mean(found[options], axis=0)
        rate = pixels / 1e6 / statistics.median(seconds[options])
        print(
            f"{options.window:<7} {options.stride:<7} {f1:.3f}  {precision:.3f}  {np.mean(less):+.4f} "
            f"({min(less):+.4f} to {max(less):+.4f})          {rate:.3f}",
            flush=True,
        )


def _members(model: Model) -> list[Model]:
    return [Model((network,), model.metadata.model_copy(update={"members": 1})) for network in model.networks]


def _scored(area: LabelledScene, model: Model, options: InferenceOptions) -> tuple[float, float]:
    """Return F1 and average precision of a map, on held-out ground."""
    seen = split_raster(model.metadata.footprints, area.scene.grid)
    where = is_held_out(seen) & (area.labels != NODATA)
    probability = predict_array(model, area.scene, options)[0]
    where &= np.isfinite(probability)
    mapped = area.labels == LANDSLIDE
    f1 = scores(*confusion(probability >= model.metadata.threshold, mapped, where)).f1
    return f1, average_precision(curve(probability[where], mapped[where]))


if __name__ == "__main__":
    main()
