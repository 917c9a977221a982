"""From labels of a sample to area and accuracies of a map, with their intervals; no inventory is needed."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.errors import InputError
from coslide.evaluation.assessment import ASSESSMENT, Assessment, Comparison, assess_tally, compare_tally
from coslide.evaluation.strata import STRATA
from coslide.evaluation.stratified import Tally
from coslide.grid import same_grid
from coslide.io.atomic import write_json
from coslide.io.paths import file_exists
from coslide.io.table import read_table
from coslide.io.vector import VectorFile, as_text, quote_list, read_vector
from coslide.mapping.probability_map import PROBABILITY, ProbabilityMap, read_probability_map
from coslide.pipeline.sample import DESIGN, LABELS, PAGE, POINTS, SampleDesign, read_design, strata_of_design
from coslide.samples.footprint import is_held_out

_log = logging.getLogger(__name__)

_LEAST = 2  # labels of a stratum: one has no spread


class _Labelled(NamedTuple):
    """A sample with the label of each place, "" where there is none yet, and the stratum of each pixel of the map."""

    design: SampleDesign
    words: Mapping[str, str]
    strata: NDArray[np.uint8]

    @property
    def pixel_km2(self) -> float:
        """Give the area of a pixel [km2]."""
        return self.design.pixel_size_m**2 / 1e6

    @property
    def left_out(self) -> list[tuple[int, int]]:
        """Count in each stratum where it could not be told, and where nobody has looked yet."""
        found = [(one.stratum, self.words[one.id]) for one in self.design.places]
        return [(found.count((number, LABELS[2])), found.count((number, ""))) for number, _ in enumerate(STRATA, 1)]

    def tally(self, classes: NDArray[np.integer[Any] | np.bool_], where: NDArray[np.bool_], *, many: int = 2) -> Tally:
        """Count labels and pixels by stratum and by the class of the map, (row, col), one of `many`, on `where`."""
        entries = (self.strata[where] - np.int64(1)) * many + classes[where]
        pixels = np.bincount(entries, minlength=len(STRATA) * many).reshape(len(STRATA), many)
        labels = np.zeros((*pixels.shape, 2), np.int64)
        for one in self.design.places:
            word = self.words[one.id]
            if where[one.row, one.col] and word in LABELS[:2]:
                labels[one.stratum - 1, int(classes[one.row, one.col]), int(word == LABELS[0])] += 1
        return Tally(labels, pixels)


def assess(
    folder: Path | str,
    labels: Path | str,
    *,
    sample: Path | str | None = None,
    other: Path | str | None = None,
) -> Assessment:
    """Estimate the landslide area and how good a map is from the labels of its sample, without an inventory.

    Leaves ``assessment.json`` in the folder; `coslide.write_report` shows it.

    Parameters
    ----------
    folder
        Of the map that `coslide.sample` was given.
    labels
        ``sample.gpkg`` with its column ``label`` filled in, or ``labels.csv`` of the page: ``landslide``,
        ``no landslide`` or ``cannot tell``; empty where nobody has looked yet. Only the first two count.
    sample
        Folder of the sample, where it is not ``folder/sample``.
    other
        Folder of another map on the same grid, to compare with on the same labels.

    Returns
    -------
    Assessment
        What ``assessment.json`` holds; `docs/assessment.md` describes every key.

    Raises
    ------
    InputError
        If a file is missing or cannot be read, labels are of another map, places are missing or twice, a label is
        another word, a stratum has fewer than two labels that count, or the other map shares no labelled place.

    Examples
    --------
    >>> import geopandas as gpd
    >>> from coslide import predict_scene, sample
    >>> drawn = sample(predict_scene(bundle, index, folder / "map"), n=40, index=index)
    >>> table = gpd.read_file(drawn / "sample.gpkg", layer="sample").assign(label="no landslide")
    >>> table[["id", "label"]].to_csv(folder / "labels.csv", index=False)
    >>> assess(folder / "map", folder / "labels.csv").area_km2.estimate
    0.0
    """
    folder, labels = Path(folder), Path(labels)
    home = folder / "sample" if sample is None else Path(sample)
    if not file_exists(home / DESIGN):
        raise InputError(f"{home / DESIGN}: not found; draw a sample first (coslide sample), or name it by --sample")
    found = read_probability_map(folder)
    design = read_design(home / DESIGN, folder / PROBABILITY)
    labelled = _Labelled(design, _read_labels(labels, design, found), strata_of_design(design, found, home / DESIGN))
    mapped = np.asarray(found.probability >= design.threshold)
    tally = labelled.tally(mapped, labelled.strata > 0)
    _require_labels(labelled, tally, labelled.strata > 0, str(labels))
    result = assess_tally(tally, labelled.left_out, pixel_km2=labelled.pixel_km2, map_sha256=design.map_sha256)
    if other is not None:
        result = result.model_copy(update={"comparison": _compare(labelled, mapped, found.grid, Path(other))})
    write_json(folder / ASSESSMENT, result.model_dump(mode="json"))
    _log.info(result.line())
    return result


def _read_labels(path: Path, design: SampleDesign, found: ProbabilityMap) -> dict[str, str]:
    """Read the label of each place, "" where there is none yet."""
    if path.suffix.lower() == ".csv":
        table = read_table(path, ["id", "label"], numbers=[], degrees=False)
    else:
        frame = read_vector(VectorFile(path), str(found.grid.crs), what="labelled places")
        if missing := [name for name in ("id", "label") if name not in frame]:
            raise InputError(f"{path}: has no column {missing[0]!r}; expected {POINTS} of coslide sample with labels")
        table = frame[["id", "label"]]
    ids, wanted = [as_text(value) for value in table["id"]], {one.id for one in design.places}
    begin = f"{design.map_sha256[:6]}-"
    if foreign := [one for one in ids if one not in wanted]:
        whose = "no place of this sample" if foreign[0].startswith(begin) else "of another map"
        raise InputError(f"{path}: found id {foreign[0]!r}, {whose}; expected those of the sample, as in {begin}12-34")
    if len(ids) > len(set(ids)):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise InputError(f"{path}: has id {twice!r} {ids.count(twice)} times, expected once")
    if missing := sorted(wanted - set(ids)):
        raise InputError(f"{path}: lacks {len(missing)} of {len(wanted)} places, such as {missing[0]!r}; expected all")
    words = [as_text(value).lower() for value in table["label"]]
    if others := {word for word in words if word and word not in LABELS}:
        raise InputError(f"{path}: found label {quote_list(others, most=3)}, expected {', '.join(LABELS)} or nothing")
    if not any(words):
        raise InputError(f"{path}: no place has a label yet; give labels on {PAGE} or in {POINTS}")
    return dict(zip(ids, words, strict=True))


def _require_labels(labelled: _Labelled, tally: Tally, part: NDArray[np.bool_], where: str) -> None:
    """Require enough labels that count in each stratum that has pixels in `part`; `where` begins the line."""
    places = [one for one in labelled.design.places if part[one.row, one.col] and labelled.words[one.id]]
    looked_at = Counter(STRATA[one.stratum - 1] for one in places)
    for name, counted, pixels in zip(STRATA, tally.sizes, tally.pixels.sum(axis=1), strict=True):
        least = min(_LEAST, pixels)
        if counted < least:
            advice = "label more places, or draw more (--n)"
            if looked_at[name] == pixels:
                advice = f"someone has looked at all {pixels} pixels of it, so too few can be told"
            counting = f"found {counted} in stratum {name!r} that are {' or '.join(LABELS[:2])}"
            raise InputError(f"{where}: {counting}, expected at least {least}; {advice}")


def _compare(labelled: _Labelled, mapped: NDArray[np.bool_], grid: GeoBox, other: Path) -> Comparison:
    """Compare with another map, on the pixels that both may be judged on: there the sample is random too."""
    second = read_probability_map(other)
    if not same_grid(second.grid, grid):
        raise InputError(f"{other / PROBABILITY}: lies on another grid than the map; expected two maps of one cube")
    shared = (labelled.strata > 0) & np.isfinite(second.probability) & is_held_out(second.seen)
    classes = 2 * mapped + (second.probability >= second.threshold)
    tally = labelled.tally(classes, shared, many=4)
    _require_labels(labelled, tally, shared, f"{other}: on the pixels that both maps can be judged on")
    return compare_tally(tally, str(other), pixel_km2=labelled.pixel_km2)
