"""What networks have to be better than: a random forest on single pixels, and a threshold on spectral change."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field

from coslide.config.records import read_record
from coslide.cube.band import REFLECTANCE, Band
from coslide.errors import InputError
from coslide.evaluation.probabilities import best_threshold, curve
from coslide.evaluation.scoring import Baseline, Baselines
from coslide.grid import same_grid
from coslide.io.atomic import write_json
from coslide.io.cog import RasterBands, write_cog
from coslide.io.executor import available_processors
from coslide.io.raster import grid_of, open_raster
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.metadata import ModelMetadata
from coslide.pipeline.labelled_scene import LabelledScene, Scenes, file_name
from coslide.pipeline.scene_predictor import encoder_for
from coslide.progress import report_progress
from coslide.samples.encode import Encoder
from coslide.samples.light import encode_light
from coslide.samples.split import Subset
from coslide.windows import row_strips

Floats = NDArray[np.float32]
Method = Callable[[Floats], Floats]
"""From values, float32 (pixel, band), NaN where a band has none, to probability, float32 (pixel,) [0 to 1]."""

Reader = Callable[[LabelledScene, slice], Floats]
"""Reads rows of a scene, float32 (band, row, col)."""

_log = logging.getLogger(__name__)

_REMOVE = "remove the folder, or train again"
_FOLDER, _THRESHOLDS = "baselines", "thresholds.json"
_Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_PIXELS = 400_000  # training pixels drawn from each area
_MISSING = -9999.0  # a forest splits on it like on any other value
_TREES, _LEAF = 100, 3
_PIXELS_OF_A_CLASS = 100_000  # that the forest learns from
_TAILS = (0.1, 99.9)  # percentiles of change that become 0 and 1


def make_baselines(scenes: Scenes, metadata: ModelMetadata, folder: Path, *, seed: int) -> list[LabelledScene]:
    """Add to split scenes maps of their test sets by a random forest and by a threshold on spectral change.

    Those of scenes with a location are left in ``folder/baselines``, as one GeoTIFF for each scene.

    Both see one pixel at a time. Half of the pixels drawn from the training set teach the forest. Its threshold, and
    that of the change, are chosen on the validation set, as a network's is; without one, on the other half.

    Parameters
    ----------
    scenes
        Split scenes.
    metadata
        Of the model: they see its bands and, where it is fed reflectance in the light of each event, so do they.
    folder
        Of the run.
    seed
        Decides the pixels and the trees.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    random, bands, read = np.random.default_rng(seed), metadata.bands, _reader(metadata.encoder)
    values, truth = _pixels(scenes, Subset.TRAIN, read, random=random)
    order = random.permutation(len(truth))
    taught, other = order[: len(order) // 2], order[len(order) // 2 :]
    methods: dict[str, Method] = {}
    if truth[taught].any() and not truth[taught].all():
        methods["random forest"] = fit_forest(values[taught], truth[taught], seed=seed)
    if change := fit_change(values, bands):
        predict, name = change
        methods[name] = predict
        _log.info(f"baselines: random forest on {len(bands)} bands, and a threshold on the {name}")
    chosen_on = _pixels(scenes, Subset.VALIDATION, read, random=random)
    pixels, labelled = chosen_on if chosen_on[1].any() else (values[other], truth[other])
    thresholds = {name: best_threshold(curve(predict(pixels), labelled)) for name, predict in methods.items()}
    found = []
    for number, scene in enumerate(scenes):
        baselines = {name: Baseline(one, thresholds[name]) for name, one in _maps(scene, read, methods).items()}
        if scene.scene.grid is not None and baselines:
            _write(folder / _FOLDER / f"{file_name(scene, number)}.tif", baselines, scene.scene.grid)
        found.append(replace(scene, baselines=baselines))
    return found


def _write(path: Path, baselines: Baselines, grid: GeoBox) -> None:
    """Write a GeoTIFF with one band for each baseline, 0 to 1, NaN where it was not asked, and their thresholds."""
    maps = [baseline.probability for baseline in baselines.values()]
    write_json(path.with_name(_THRESHOLDS), {name: baseline.threshold for name, baseline in baselines.items()})
    write_cog(path, grid, RasterBands(list(baselines)), lambda rows: np.stack([one[rows] for one in maps]))


def read_baselines(folder: Path, grid: GeoBox) -> Baselines:
    """Read the baselines that a training left beside a map, those on `grid`; none where it is not clear which.

    Raises
    ------
    InputError
        If their files are not what `make_baselines` leaves.
    """
    found = []
    for path in sorted((folder / _FOLDER).glob("*.tif")):
        with open_raster(path) as file:
            if same_grid(grid_of(file), grid):
                chosen = read_record(path.with_name(_THRESHOLDS), dict[str, _Threshold], advice=_REMOVE)
                found.append(_read(file, path, chosen))
    return found[0] if len(found) == 1 else {}


def _read(file: Any, path: Path, thresholds: Mapping[str, float]) -> Baselines:
    """Read the maps of an opened GeoTIFF, one for each threshold."""
    values = file.read()
    between = values.dtype == np.float32 and ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    if not between or sorted(map(str, file.descriptions)) != sorted(thresholds):
        what = f"found bands {', '.join(map(str, file.descriptions))} of {values.dtype}"
        expected = f"expected probabilities from 0 to 1 of {', '.join(sorted(thresholds))}"
        raise InputError(f"{path}: {what}, {expected}; {_REMOVE}")
    return {name: Baseline(one, thresholds[name]) for name, one in zip(file.descriptions, values, strict=True)}


def fit_forest(values: Floats, truth: NDArray[np.bool_], *, seed: int = 0) -> Method:
    """Train a random forest (scikit-learn) to tell landslide pixels by the bands of the pixel alone.

    As many background pixels as landslide pixels are drawn, at most 100 000 of each, so its probabilities are too high
    where landslides are rare: its threshold has to be chosen on pixels as they occur.

    Parameters
    ----------
    values
        float32 (pixel, band), NaN where a band has no value.
    truth
        True where a pixel is landslide, (pixel,).
    seed
        Decides pixels and trees.

    Raises
    ------
    ValueError
        If the pixels are all of one class.
    """
    from sklearn.ensemble import RandomForestClassifier

    random = np.random.default_rng(seed)
    slides, others = (random.permutation(np.flatnonzero(of_one)) for of_one in (truth, ~truth))
    count = min(len(slides), len(others), _PIXELS_OF_A_CLASS)
    chosen = np.concatenate([slides[:count], others[:count]])
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, n_jobs=available_processors(), random_state=seed)
    forest.fit(np.nan_to_num(values[chosen], nan=_MISSING), truth[chosen])

    def predict(pixels: Floats) -> Floats:
        return np.asarray(forest.predict_proba(np.nan_to_num(pixels, nan=_MISSING))[:, 1], dtype=np.float32)

    return predict


def fit_change(values: Floats, bands: Sequence[Band]) -> tuple[Method, str] | None:
    """Scale spectral change to 0 to 1, and name it; None without reflectance.

    The 0.1th percentile of the change of `values` becomes 0, the 99.9th 1; NaN becomes 0, so that a threshold finds
    nothing there. Parameters as for `spectral_change`.
    """
    change, what = spectral_change(values, bands)
    if not np.isfinite(change).any():
        return None
    low, high = np.nanpercentile(change, _TAILS)

    def predict(pixels: Floats) -> Floats:
        change = np.nan_to_num(spectral_change(pixels, bands)[0], nan=low)
        scaled = (change - low) / (high - low) if high > low else np.zeros_like(change)
        return np.clip(scaled, 0, 1).astype(np.float32)

    return predict, what


def spectral_change(values: Floats, bands: Sequence[Band]) -> tuple[Floats, str]:
    """Measure how much pixels have changed as fresh scars do, float32 (pixel,), NaN without a value; and name it.

    Fresh scars lose their plants: the fall of NDVI where both dates have it, or else the rise of red reflectance, or
    else, without a scene before, the brightness of the scene after the event (mean of its visible bands, or of all).

    Parameters
    ----------
    values
        float32 (pixel, band), in the units of the bands.
    bands
        The columns.

    Returns
    -------
    tuple
        The change and its name, such as ``"fall of NDVI"``; an empty name, and NaN, if there is no reflectance at all.

    Examples
    --------
    >>> values = np.array([[0.7, 0.2], [0.6, 0.6]], dtype=np.float32)
    >>> bands = [Band(f"ndvi_{date}", quantity="ndvi", date=date) for date in ("pre", "post")]
    >>> spectral_change(values, bands)
    (array([0.5, 0. ], dtype=float32), 'fall of NDVI')
    """
    column = {(band.quantity, band.date, band.channel): values[:, i] for i, band in enumerate(bands)}
    if {("ndvi", "pre", ""), ("ndvi", "post", "")} <= column.keys():
        return column["ndvi", "pre", ""] - column["ndvi", "post", ""], "fall of NDVI"
    if falls := [-values[:, i] for i, band in enumerate(bands) if band.name == "ndvi_difference"]:
        return falls[0], "fall of NDVI"
    if {(REFLECTANCE, "pre", "B4"), (REFLECTANCE, "post", "B4")} <= column.keys():
        return column[REFLECTANCE, "post", "B4"] - column[REFLECTANCE, "pre", "B4"], "rise of red reflectance"
    after = {channel: own for (kind, date, channel), own in column.items() if (kind, date) == (REFLECTANCE, "post")}
    if not after:
        return np.full(len(values), np.nan, dtype=np.float32), ""
    visible = [after[channel] for channel in ("B2", "B3", "B4") if channel in after]
    return np.mean(visible or list(after.values()), axis=0), "brightness after the event"


def _reader(encoder: Encoder) -> Reader:
    """Choose how values are read: in their units, save reflectance that the network sees in the light of each event."""
    light, found = encoder.light, dict[str, tuple[Floats, Floats]]()  # offset and scale

    def read(scene: LabelledScene, rows: slice) -> Floats:
        values = scene.scene.read(rows, encoder.bands)
        if light:
            if scene.fingerprint not in found:
                found[scene.fingerprint] = encoder_for(encoder, scene.scene).normalisation
            offset, scale = (part[light, np.newaxis, np.newaxis] for part in found[scene.fingerprint])
            values[light] = encode_light((values[light] - offset) / scale)
        return values

    return read


def _maps(scene: LabelledScene, read: Reader, methods: Mapping[str, Method]) -> dict[str, Floats]:
    """Map the test pixels of a scene by each method, NaN elsewhere."""
    height = scene.labels.shape[0]
    maps = {name: np.full(scene.labels.shape, np.nan, dtype=np.float32) for name in methods}
    for rows, where in _labelled(scene, Subset.TEST):
        pixels = read(scene, rows)[:, where].T
        for name, predict in methods.items():
            maps[name][rows][where] = predict(pixels)
        report_progress("baselines", rows.stop, height)
    report_progress("baselines", height, height)
    return maps


def _pixels(
    scenes: Scenes, part: Subset, read: Reader, *, random: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw pixels from a subset: their values (pixel, band) and whether they are landslide."""
    values, truth = [read(scenes[0], slice(0, 0))[:, :, 0].T], [np.zeros(0, dtype=bool)]
    for scene in scenes:
        labelled = int(np.count_nonzero((scene.split.subsets == part) & (scene.labels != NODATA)))
        share = min(1.0, _PIXELS / max(labelled, 1))
        for rows, where in _labelled(scene, part):
            drawn = where & (random.random(where.shape) < share)
            values.append(read(scene, rows)[:, drawn].T)
            truth.append(scene.labels[rows][drawn] == LANDSLIDE)
    return np.concatenate(values), np.concatenate(truth)


def _labelled(scene: LabelledScene, part: Subset) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield strips of a scene with their valid, labelled pixels of `part`; none without such."""
    for rows in row_strips(scene.labels.shape[0]):
        where = (scene.split.subsets[rows] == part) & (scene.labels[rows] != NODATA) & scene.scene.valid(rows)
        if where.any():
            yield rows, where
