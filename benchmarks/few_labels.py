"""What a few labelled tiles of a new event are worth: a model adapted on more and more of them, scored on the rest.

    python benchmarks/few_labels.py MODEL INDEX.zarr --labels FILE --area FILE --out DIR [--tiles 5 10 20] [--seed 0]
        [--indices slope ...] [--old chips.toml#event]

Tiles of the model's size are drawn at random from those that are labelled for the larger part, each number of them from
the same order; the rest, on which every row is scored, lies outside all of them. With an event that the model was
trained on (--old), the last column is the average precision there: what the adaptation forgets. It can be told where no
further indices (--indices) are fed.
"""

import argparse
from pathlib import Path

import geopandas as gpd
import numpy as np
from shapely.geometry import box

import coslide
from coslide.evaluation.probabilities import average_precision, curve
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.metadata import load_metadata
from coslide.mapping.model import find_model, load_model
from coslide.pipeline.labelled_scene import open_labelled_scene, open_labelled_scenes
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array


def tiles_of(index: Path, side_px: int, seed: int) -> gpd.GeoSeries:
    """List the tiles that are labelled for the larger part, in random order, as polygons on the grid."""
    scene = open_labelled_scene(index)
    labelled = (scene.labels != NODATA) & scene.scene.valid(slice(None))
    grid = coslide.open_cube(index).grid
    found = []
    for row in range(0, labelled.shape[0] - side_px + 1, side_px):
        for col in range(0, labelled.shape[1] - side_px + 1, side_px):
            if labelled[row : row + side_px, col : col + side_px].mean() > 0.5:
                (left, top), (right, bottom) = (grid.affine * (col + d, row + d) for d in (0, side_px))
                found.append(box(left, bottom, right, top))
    order = np.random.default_rng(seed).permutation(len(found))
    return gpd.GeoSeries([found[number] for number in order], crs=str(grid.crs))


def average_precision_on(event: str, model: Path | str) -> float:
    """Map an event with a model, and compute the average precision on its labelled pixels."""
    (scene,) = open_labelled_scenes(event)
    probability = predict_array(load_model(model), scene.scene, InferenceOptions(precision="32"))[0]
    where = np.isfinite(probability) & (scene.labels != NODATA)
    return average_precision(curve(probability[where].astype(np.float64), scene.labels[where] == LANDSLIDE))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("index", type=Path)
    for name in ("--labels", "--area", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--tiles", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--old")
    parser.add_argument("--indices", nargs="+", default=[])
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    tiles = tiles_of(given.index, load_metadata(find_model(given.model)).tile, given.seed)
    if len(tiles) < max(given.tiles):
        parser.error(f"--tiles: found {max(given.tiles)}, but {len(tiles)} tiles are labelled for the larger part")
    rest = gpd.read_file(given.area).to_crs(tiles.crs).difference(tiles.iloc[: max(given.tiles)].union_all())
    rest.to_file(given.out / "rest.gpkg")
    print("tiles   F1     precision  recall   AP     best F1" + ("  AP, old event" if given.old else ""))
    for count in (0, *given.tiles):
        model, folder = given.model, given.out / f"tiles-{count}"
        if count:
            tiles.iloc[:count].to_file(given.out / f"area-{count}.gpkg")
            model = folder / "model"
            how = {"area": given.out / f"area-{count}.gpkg", "indices": given.indices}
            coslide.adapt(given.model, given.index, given.labels, model, **how)
        coslide.predict_scene(model, given.index, folder / "map")
        found = coslide.evaluate(folder / "map", given.labels, area=given.out / "rest.gpkg", grid=given.index).pixels
        best = found.oracle.f1 if found.oracle else float("nan")
        numbers = f"{found.f1:.3f}  {found.precision:.3f}      {found.recall:.3f}    {found.average_precision:.3f}"
        old = f"    {average_precision_on(given.old, model):.3f}" if given.old else ""
        print(f"{count:<7} {numbers}  {best:.3f}{old}", flush=True)


if __name__ == "__main__":
    main()
