"""The regions of a study: chosen by rule or named by the user, mapped by the model of each case, scored and drawn."""

import logging
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from coslide.config.records import read_record
from coslide.cube.band import REFLECTANCE, Band, Date
from coslide.errors import InputError
from coslide.evaluation.scores import PlaceScores
from coslide.evaluation.scoring import ScoredMap, score_places
from coslide.evaluation.study_regions import (
    RegionOfStudy,
    describe_environment,
    environment_bands,
    region_rows,
    region_score_rows,
)
from coslide.io.atomic import whole_output
from coslide.io.vector import VectorFile
from coslide.labels import LANDSLIDE, NODATA, label_objects
from coslide.mapping.model import Model, load_model
from coslide.mapping.probability_map import choose_threshold
from coslide.pipeline.evaluate import read_regions
from coslide.pipeline.labelled_scene import LabelledScene, Scene, unlike_names
from coslide.pipeline.train import mapped_where
from coslide.pipeline.training_data import split_fingerprint
from coslide.report.page import render
from coslide.report.region_figure import RegionMaps, region_figure
from coslide.samples.footprint import is_held_out, split_raster
from coslide.training.checkpoints import RECORD
from coslide.windows import Window

_log = logging.getLogger(__name__)

_LABELLED = 0.9  # of a tile that is chosen by rule
_MOST_REGIONS = 50
_SPARSE = 0.25  # share of the tiles that are called sparse
_RULES = {
    "A": "the held-out tile with most landslide area",
    "B": "of the other tiles, that with most landslides",
    "C": "of the tiles left with little landslide area (the lowest quarter), that with most landslides",
}
_DATES: dict[Date, str] = {"pre": "Before", "post": "After"}


class Place(NamedTuple):
    """Where a region lies.

    `rule` tells why it was chosen. `inside`, bool (row, col), are the pixels of the rectangle `window` that belong to
    it, and `outline` are rings around them: columns and rows of that rectangle, (point, 2) each.
    """

    name: str
    rule: str
    window: Window
    inside: NDArray[np.bool_]
    outline: Sequence[NDArray[np.float64]] = ()


class _Maps(NamedTuple):
    """What a case makes of the regions: its landslides, bool (row, col) of the scene, and the scores of each region."""

    recognised: NDArray[np.bool_]
    scores: list[PlaceScores]


class _Tile(NamedTuple):
    window: Window
    area: int
    landslides: int


def draw_regions(
    runs: Mapping[str, Path], scene: LabelledScene, out: Path, *, regions: VectorFile | None = None
) -> list[RegionOfStudy]:
    """Map, score and draw some regions of a scene by the models of several runs.

    Pixels that training saw, or that chose a threshold, are never scored. Leaves ``out/figures/region-NAME.png`` for
    each region and ``out/regions.md``; those of an earlier call are replaced once all models have mapped.

    Parameters
    ----------
    runs
        Folder of a run (`coslide.train`) by the label of its case; all of one split.
    scene
        What they were trained on, with that split (`coslide.pipeline.train.plan_training`).
    out
        Folder of the study.
    regions
        Polygons; a column ``name`` (or else ``id``) names them. None chooses up to three held-out tiles by rule
        (`choose_tiles`). `find_regions` tells beforehand whether they will do.

    Returns
    -------
    list of RegionOfStudy
        Empty where no tile is wholly held out, labelled and with a landslide.

    Raises
    ------
    InputError
        If the regions or a model cannot be read, a region lies outside of the scene or has no pixel to score, a model
        was trained on another split, or the files cannot be written.
    """
    places = find_regions(scene, regions)
    wanted = np.zeros(scene.labels.shape, dtype=bool)
    for place in places:
        wanted[place.window.slices] |= place.inside
    maps: dict[str, _Maps] = {}
    for case, folder in runs.items() if places else ():
        model = load_model(folder / "model")
        _require_split(model, scene, folder)
        maps[case] = _mapped(model, scene, places, wanted)
    for old in [*(out / "figures").glob("region*.png"), out / "regions.md"]:  # of an earlier study, which had others
        old.unlink(missing_ok=True)
    if not places:
        _log.info("no tile is wholly held out, labelled and with a landslide: no region is drawn; name some yourself")
        return []
    numbers = label_objects(scene.labels == LANDSLIDE)
    pixels = np.bincount(numbers.reshape(-1))
    files = unlike_names([f"region {place.name}" for place in places], otherwise="region")
    found = []
    for i, (place, file) in enumerate(zip(places, files, strict=True)):
        scores = {case: own.scores[i] for case, own in maps.items()}
        found.append(_described(place, scene, scores, (numbers, pixels), figure=f"figures/{file}.png"))
    for place, one in zip(places, found, strict=True):
        region_figure(out / one.figure, one, _pictures(place, scene, maps))
        _log.info(f"region {one.name}: {one.size}")
    with whole_output(out / "regions.md") as part:
        tables = {"places": region_rows(found), "scores": region_score_rows(found)}
        part.write_text(render("regions.md.j2", found=found, **tables), encoding="utf-8")
    return found


def find_regions(scene: LabelledScene, regions: VectorFile | None = None) -> list[Place]:
    """Find where the regions of a study lie, and check that each has a pixel to score; nothing is mapped.

    Parameters
    ----------
    scene, regions
        As for `draw_regions`.

    Raises
    ------
    InputError
        If the regions cannot be read or are more than 50, or one lies outside of the scene or has no pixel to score.
    """
    if regions is not None:
        return _named(regions, scene)
    return [
        Place(name, _RULES[name], window, np.ones((window.height, window.width), dtype=bool))
        for name, window in choose_tiles(scene).items()
    ]


def choose_tiles(scene: LabelledScene) -> dict[str, Window]:
    """Choose up to three tiles of the test set that do not overlap.

    Those count that training saw no pixel of, 90 % of whose pixels are labelled, and that have a landslide pixel. A is
    the one with most landslide area, B the one with most landslides among those that do not overlap A, and C is sparse:
    of those left, the quarter with the least landslide area is taken, and the one with most landslides among it. Of
    tiles that are alike, the northernmost is taken, and of these the westernmost.

    Parameters
    ----------
    scene
        With its split.

    Returns
    -------
    dict
        The tiles by their names; fewer than three where there are not as many.
    """
    fair, numbers = is_held_out(scene.seen), label_objects(scene.labels == LANDSLIDE)
    tiles = []
    for window in sorted(set(scene.split.test)):
        labelled = (scene.labels[window.slices] != NODATA).mean()
        landslide = numbers[window.slices][numbers[window.slices] > 0]
        if fair[window.slices].all() and labelled >= _LABELLED and landslide.size:
            tiles.append(_Tile(window, landslide.size, len(np.unique(landslide))))
    chosen: dict[str, Window] = {}
    for name in _RULES:
        tiles = [tile for tile in tiles if not any(_overlap(tile.window, other) for other in chosen.values())]
        if not tiles:
            break
        if name == "C":
            most = np.quantile([tile.area for tile in tiles], _SPARSE)
            tiles = [tile for tile in tiles if tile.area <= most]
        chosen[name] = max(tiles, key=attrgetter("area" if name == "A" else "landslides")).window
    return chosen


def _overlap(one: Window, other: Window) -> bool:
    rows = one.row < other.row + other.height and other.row < one.row + one.height
    return rows and one.col < other.col + other.width and other.col < one.col + one.width


def _named(regions: VectorFile, scene: LabelledScene) -> list[Place]:
    """Find where the regions of a file lie in a scene."""
    grid = scene.scene.grid
    if grid is None:
        raise InputError(
            f"{regions.path}: {scene.name} has no place on Earth; leave the regions out, and tiles are drawn"
        )
    fair, places, found = is_held_out(scene.seen) & (scene.labels != NODATA), [], read_regions(regions, grid)
    if len(found) > _MOST_REGIONS:
        how = "merge some by a common name, or leave some out"
        raise InputError(f"{regions.path}: found {len(found)} regions, expected at most {_MOST_REGIONS}; {how}")
    for name, outlines in found.items():
        window = _window_of(outlines, grid)
        if window is None:
            raise InputError(f"{regions.path}: region {name}: found it outside of {scene.name}, expected it inside")
        place = Place(name, f"named in {regions.path.name}", window, *_burnt(outlines, grid, window))
        if not (fair[window.slices] & place.inside).any():
            expected = "expected one that reaches into the test set, which the splits folder of each run shows"
            raise InputError(f"{regions.path}: region {name}: found no labelled pixel that is held out, {expected}")
        places.append(place)
    return places


def _window_of(outlines: Sequence[BaseGeometry], grid: GeoBox) -> Window | None:
    """Find the rectangle of pixels that holds outlines, as far as it lies in a grid; None where none does."""
    west, south, east, north = shapely.total_bounds(np.array(outlines, dtype=object))
    (left, top), (right, bottom) = ~grid.affine * (west, north), ~grid.affine * (east, south)
    (height, width), row, col = grid.shape, max(0, math.floor(top)), max(0, math.floor(left))
    found = Window(row, col, min(height, math.ceil(bottom)) - row, min(width, math.ceil(right)) - col)
    return found if min(found.height, found.width) > 0 else None


def _burnt(
    outlines: Sequence[BaseGeometry], grid: GeoBox, window: Window
) -> tuple[NDArray[np.bool_], list[NDArray[np.float64]]]:
    """Mark the pixels of a rectangle whose centres lie inside of outlines; give their rings, in its pixels, too."""
    place = grid.affine * Affine.translation(window.col, window.row)
    inside = rasterize(outlines, out_shape=(window.height, window.width), transform=place, dtype="uint8") > 0
    rings = shapely.get_rings(shapely.get_parts(np.array(outlines, dtype=object)))
    points = [np.stack(~place * shapely.get_coordinates(ring).T, axis=-1) for ring in rings]
    return inside, points


def _require_split(model: Model, scene: LabelledScene, folder: Path) -> None:
    """Require that a model saw no pixel that the split of the scene holds out."""
    expected = "expected runs of one split"
    if scene.scene.grid is None:
        record = folder / "training" / RECORD
        own = read_record(record, dict[str, Any], advice=f"remove {folder} to train it again")
        if own.get("parts") != split_fingerprint([scene]):
            raise InputError(f"{folder}: its model was trained on other parts of {scene.name}, {expected}")
        return
    seen = split_raster(model.metadata.footprints, scene.scene.grid)
    if saw := int((is_held_out(scene.seen) & ~is_held_out(seen)).sum()):
        raise InputError(f"{folder}: its model was trained on {saw} pixels that are held out here, {expected}")


def _mapped(model: Model, scene: LabelledScene, places: Sequence[Place], wanted: NDArray[np.bool_]) -> _Maps:
    """Map each region as `coslide.train` maps the pixels that it scores."""
    fair, metadata = is_held_out(scene.seen), model.metadata
    whole = metadata.threshold_of == "scene"  # which is chosen from all of the map
    probability = mapped_where(model, scene, fair if whole else fair & wanted)
    threshold, _ = choose_threshold(metadata, [probability])
    recognised, found = np.zeros(wanted.shape, dtype=bool), []
    for place in places:
        rows = place.window.slices
        given = np.where(place.inside, probability[rows], np.float32(np.nan))
        one = ScoredMap(place.name, given, scene.labels[rows], scene.seen[rows], scene.scene.pixel_size_m, threshold)
        recognised[rows] |= one.recognised
        found.append(score_places(one, place.inside.astype(np.int32), [place.name])[place.name])
    return _Maps(recognised, found)


def _described(
    place: Place,
    scene: LabelledScene,
    scores: dict[str, PlaceScores],
    landslides: tuple[NDArray[np.integer], NDArray[np.integer]],
    *,
    figure: str,
) -> RegionOfStudy:
    """Describe a region; `landslides` are the number of that of each pixel of the scene, and the pixels of each."""
    numbers, pixels = landslides[0][place.window.slices], landslides[1]
    bands = environment_bands(_bands_of(scene.scene))
    valid = place.inside & scene.scene.valid(place.window)
    labels = scene.labels[place.window.slices][place.inside]
    landslide = int((labels == LANDSLIDE).sum())
    there, scored = numbers[place.inside], _scored(place, scene)
    areas_m2 = pixels[np.unique(there[there > 0])] * scene.scene.pixel_size_m**2
    return RegionOfStudy(
        name=place.name,
        rule=place.rule,
        window=place.window,
        area_km2=place.inside.sum() * scene.scene.pixel_size_m**2 / 1e6,
        held_out=float(scored[place.inside].mean()),
        environment=describe_environment(bands, scene.scene.read(place.window, list(bands.values()))[:, valid]),
        landslides=len(areas_m2),
        landslides_scored=len(np.unique(numbers[scored & (numbers > 0)])),
        landslide_share=landslide / max(1, int((labels != NODATA).sum())),
        smallest_m2=float(areas_m2.min()) if len(areas_m2) else None,
        largest_m2=float(areas_m2.max()) if len(areas_m2) else None,
        scores=scores,
        figure=figure,
    )


def _scored(place: Place, scene: LabelledScene) -> NDArray[np.bool_]:
    """Find the pixels of a region that are scored: what a map has no value for is not labelled either."""
    labels, seen = scene.labels[place.window.slices], scene.seen[place.window.slices]
    return np.asarray(place.inside & (labels != NODATA) & is_held_out(seen))


def _pictures(place: Place, scene: LabelledScene, maps: Mapping[str, _Maps]) -> RegionMaps:
    """Read what is drawn of a region."""
    labels, bands = scene.labels[place.window.slices], _bands_of(scene.scene)
    seen = {(band.date, band.channel): band for band in bands if band.quantity == REFLECTANCE}
    first = next((band for band in bands if band.date == "post"), bands[0])
    shown = {words: [seen.get((date, channel)) for channel in ("B4", "B3", "B2")] for date, words in _DATES.items()}
    colours = {words: [band for band in some if band] for words, some in shown.items()}
    colours = {words: some for words, some in colours.items() if len(some) == 3} or {_DATES["post"]: [first] * 3}
    return RegionMaps(
        {words: np.moveaxis(scene.scene.read(place.window, some), 0, -1) for words, some in colours.items()},
        labels == LANDSLIDE,
        labels != NODATA,
        _scored(place, scene),
        {case: own.recognised[place.window.slices] & place.inside for case, own in maps.items()},
        scene.scene.pixel_size_m,
        place.outline,
        scene.credit,
    )


def _bands_of(scene: Scene) -> list[Band]:
    return [*scene.inputs, *scene.diagnostics]
