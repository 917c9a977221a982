"""Cross-validation over the blocks of one event: every block held out once.

    python benchmarks/folds.py INDEX.zarr [--folds 3] [--recipe modern] [--set KEY=VALUE ...] [--out DIR]
    python benchmarks/folds.py INDEX.zarr --adapt MODEL --labels FILE --area FILE [--indices slope ...] [--steps 900]

Blocks of two windows (`split.block_windows`) are ranked by their landslide pixels, and of each run of similar blocks
every fold gets one, drawn by the seed. For each fold a network is trained on the other blocks, or a model of other
events adapted to them. Printed are the scores of each fold, and of all of them together: F1 at the threshold of each
model with a 95 % interval (bootstrap over squares of 128 pixels), average precision, and F1 at the threshold that would
have been best, which is no result.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from coslide.config.training import TrainingSettings
from coslide.cube.cube import open_cube
from coslide.evaluation.pixels import bootstrap_intervals, confusion, counts_by, scores, square_blocks
from coslide.evaluation.probabilities import average_precision, best_threshold, curve
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import Model, load_model
from coslide.mapping.probability_map import choose_threshold
from coslide.options import given_settings
from coslide.pipeline.adapt import STEPS, adapt
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scene
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.pipeline.train import train
from coslide.samples.split import blocks_of
from coslide.windows import Window, cover


def folds_of(scene: LabelledScene, settings: TrainingSettings, count: int) -> list[list[Window]]:
    """Deal the labelled blocks of a scene out to `count` folds, so that each has many and few landslides alike."""
    tile, stride = settings.sampling.tile, settings.sampling.stride
    block_px = tile + (settings.split.block_windows - 1) * stride
    blocks = [
        b
        for b in blocks_of(scene.labels.shape, tile=tile, block_px=block_px)
        if (scene.labels[b.slices] != NODATA).any()
    ]
    ranked = sorted(blocks, key=lambda b: -int((scene.labels[b.slices] == LANDSLIDE).sum()))
    random = np.random.default_rng(settings.seed)
    folds: list[list[Window]] = [[] for _ in range(count)]
    for start in range(0, len(ranked), count):
        for fold, block in zip(random.permutation(count), ranked[start : start + count], strict=False):
            folds[fold].append(block)
    return folds


def outlines(blocks: Sequence[Window], grid: GeoBox) -> gpd.GeoSeries:
    """Outline blocks as polygons."""
    affine = grid.affine
    corners = [(affine * (b.col, b.row), affine * (b.col + b.width, b.row + b.height)) for b in blocks]
    squares = [box(left, bottom, right, top) for (left, top), (right, bottom) in corners]
    return gpd.GeoSeries(squares, crs=str(grid.crs))


def fit(given: argparse.Namespace, settings: TrainingSettings, folds: Sequence[list[Window]], number: int) -> Model:
    """Train a model on all folds but one, or adapt one of other events to them."""
    folder, grid = given.out / f"fold-{number}", open_cube(given.index).grid
    folder.mkdir(parents=True)
    if given.adapt is None:
        outlines(folds[number], grid).to_file(folder / "held-out.gpkg")
        own = settings.changed({"split.scheme": "regions", "split.regions": folder / "held-out.gpkg"})
        train(given.index, folder, own, compare=False)
        return load_model(folder / "model")
    others = outlines([block for i, fold in enumerate(folds) if i != number for block in fold], grid)
    mapped = gpd.read_file(given.area).to_crs(str(grid.crs)).union_all()
    parts = others.intersection(mapped).explode()
    parts[parts.geom_type == "Polygon"].to_file(folder / "area.gpkg")
    how = {"area": folder / "area.gpkg", "indices": given.indices, "steps": given.steps}
    return adapt(given.adapt, given.index, given.labels, folder / "model", **how)


def map_by(model: Model, scene: LabelledScene, where: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """Map the pixels of a fold: their probability, and from which on one counts as landslide."""
    probability = predict_array(model, scene.scene, InferenceOptions(precision="32"))[0][where]
    return probability, choose_threshold(model.metadata, [probability])[0]


def line(name: str, found: NDArray[np.bool_], probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
    """Print the scores of one fold."""
    ranked = curve(probability.astype(np.float64), truth)
    best = scores(*confusion(probability >= best_threshold(ranked), truth)).f1
    own = scores(*confusion(found, truth))
    numbers = (own.f1, own.precision, own.recall, average_precision(ranked), best)
    print(f"{name:<6} " + "  ".join(f"{number:<9.3f}" for number in numbers), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--adapt", metavar="MODEL")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--area", type=Path)
    parser.add_argument("--indices", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-folds"))
    given = parser.parse_args()
    changed = {"recipe": given.recipe, "split.block_windows": 2, **given_settings({"set_": given.set})}
    settings = TrainingSettings().changed(changed)
    scene = open_labelled_scene(given.index)
    labelled, truth = scene.labels != NODATA, scene.labels == LANDSLIDE
    pooled = np.full(labelled.shape, np.nan, dtype=np.float32)
    called = np.zeros(labelled.shape, dtype=bool)
    print("fold   F1         precision  recall     AP         best F1")
    folds = folds_of(scene, settings, given.folds)
    for number, fold in enumerate(folds):
        inside = cover(fold, labelled.shape) & labelled & scene.scene.valid(slice(None))
        probability, threshold = map_by(fit(given, settings, folds, number), scene, inside)
        line(str(number), probability >= threshold, probability, truth[inside])
        pooled[inside], called[inside] = probability, probability >= threshold
    scored = np.isfinite(pooled)
    line("all", called[scored], pooled[scored], truth[scored])
    groups, count = square_blocks(labelled.shape, 128)
    counts = counts_by(groups, called, truth, scored, count=count)
    low, high = bootstrap_intervals(counts, ["f1"])["f1"]
    print(f"F1 of all between {low:.2f} and {high:.2f} (95 %)")


if __name__ == "__main__":
    main()
