"""Scores of maps against mapped landslides: pixels, objects, calibration, and the baselines beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.evaluation import objects, pixels, probabilities
from coslide.evaluation.pixels import PixelRates, PixelScores, confusion, scores
from coslide.evaluation.probabilities import curve
from coslide.evaluation.scores import PixelScoresAt, PlaceScores, Scores
from coslide.labels import LANDSLIDE, NODATA
from coslide.samples.footprint import is_held_out
from coslide.samples.split import SplitRaster

SIDE_PX = 128  # of the squares that the bootstrap draws and that scores are averaged over
WITH_INTERVALS = ("f1", "precision", "recall", "iou_landslide", "miou", "kappa", "oa")


class Baseline(NamedTuple):
    """A map to compare a network with.

    `probability` is 0 to 1, float32 (row, col), NaN where it was not asked; from `threshold` on a pixel is landslide.
    """

    probability: NDArray[np.float32]
    threshold: float


Baselines = Mapping[str, Baseline]
"""Baselines by their names."""


@dataclass(frozen=True, eq=False)
class ScoredMap:
    """A map and its inventory, all arrays (row, col).

    Attributes
    ----------
    name
        Of the event.
    probability
        0 to 1, NaN where nothing was mapped.
    labels
        0 background, 1 landslide, 255 nodata.
    seen
        What training did with each pixel (`coslide.samples.split.Subset`).
    pixel_size_m
        Side of a pixel [m].
    threshold
        From this probability on a pixel counts as landslide.
    trained_threshold
        The one that is best on the validation set (0.5 without one), where `threshold` is of the scene alone.
    temperature
        With which the map was calibrated; None for landslides without a probability, which is 0 or 1 then.
    baselines
        Other maps of the same area, by their names.
    """

    name: str
    probability: NDArray[np.float32]
    labels: NDArray[np.uint8]
    seen: SplitRaster
    pixel_size_m: float
    threshold: float = 0.5
    trained_threshold: float | None = None
    temperature: float | None = 1.0
    baselines: Baselines = field(default_factory=dict)

    @cached_property
    def where(self) -> NDArray[np.bool_]:
        """The pixels that can be scored: mapped, labelled, and held out from training."""
        return np.asarray(np.isfinite(self.probability) & (self.labels != NODATA) & is_held_out(self.seen))

    @cached_property
    def recognised(self) -> NDArray[np.bool_]:
        """The scored pixels that the map calls landslide."""
        return np.asarray(self.where & (self.probability >= self.threshold))

    @cached_property
    def mapped(self) -> NDArray[np.bool_]:
        """The scored pixels that are landslide in the inventory."""
        return np.asarray(self.where & (self.labels == LANDSLIDE))

    def counts_by(self, groups: NDArray[np.integer], count: int) -> NDArray[np.int64]:
        """Count tp, fp, fn, tn [pixels] of each group of pixels, int64 (group, 4)."""
        return pixels.counts_by(groups, self.recognised, self.mapped, self.where, count=count)

    def block_confusion(self) -> NDArray[np.int64]:
        """Count tp, fp, fn, tn [pixels] of each square of 128 pixels, row by row, int64 (square, 4)."""
        return self.counts_by(*pixels.square_blocks(self.where.shape, SIDE_PX))


def score(
    maps: Sequence[ScoredMap],
    *,
    split: Mapping[str, Any] | None = None,
    learned: Mapping[str, Any] | None = None,
) -> Scores:
    """Score maps on the pixels that training did not see, pooled over the maps.

    Parameters
    ----------
    maps
        One for each event, all of one model.
    split
        How the pixels were held out, as the metadata of the model has it; by default the model was trained elsewhere.
    learned
        ``vital_signs`` and ``samples`` of the model.

    Raises
    ------
    InputError
        If no pixel is left.
    """
    maps = [one for one in maps if one.where.any()]
    if not maps:
        raise InputError("no pixel is left to score: the model was trained on all that is mapped inside the inventory")
    first = maps[0]
    truth = np.concatenate([one.mapped[one.where] for one in maps])
    given = np.concatenate([one.probability[one.where] for one in maps])
    squares = np.concatenate([one.block_confusion() for one in maps])
    content: dict[str, Any] = {
        "pixels": _pixels(squares, first.pixel_size_m) | {"average_precision": None, "roc_auc": None},
        "objects": _objects(maps),
        "calibration": None,
        "curves": None,
        "tiles": _tiles(squares),
        "baselines": {name: _baseline(maps, name, truth) for name in first.baselines if _covers(maps, name)},
        "split": {"scheme": "all", "leak_fraction": 0.0, "scored_pixels": truth.size, **(split or {})},
        **(learned or {}),
    }
    if first.temperature is not None:
        found, table = curve(given, truth), probabilities.reliability(given, truth)
        content["pixels"]["average_precision"] = probabilities.average_precision(found)
        content["pixels"]["roc_auc"] = probabilities.roc_auc(found)
        content["pixels"]["oracle"] = _oracle(given, truth, found)
        if first.trained_threshold is not None:
            content["pixels"]["trained"] = _at(given, truth, first.trained_threshold)
        content["pixels"]["intervals"] |= _interval_of_precision(maps, given, truth, found)
        content["curves"] = probabilities.decimate_curve(found)
        content["calibration"] = {
            "brier": probabilities.brier(given, truth),
            "ece": probabilities.expected_calibration_error(table),
            "threshold": first.threshold,
            "temperature": first.temperature,
            "reliability": table,
        }
    if len(maps) > 1:
        content["events"] = {one.name: _pixels(one.block_confusion(), one.pixel_size_m) for one in maps}
    return Scores.model_validate(content)


def score_places(one: ScoredMap, groups: NDArray[np.integer], names: Sequence[str]) -> dict[str, PlaceScores]:
    """Score each of some places of a map, such as regions or classes of environment.

    Parameters
    ----------
    one
        The map.
    groups
        Number of the place of each pixel, (row, col): 0 for none, or that of a name, from 1 on.
    names
        What the places are called.
    """
    counts = one.counts_by(groups, len(names) + 1)[1:].tolist()
    return {
        name: PlaceScores(**dict(scores(*row)), scored_pixels=sum(row)) for name, row in zip(names, counts, strict=True)
    }


def mean_rates(rows: Sequence[PixelScores]) -> PixelRates | None:
    """Average the scores of tiles or samples; None without one."""
    if not rows:
        return None
    return PixelRates(
        **{name: float(np.mean([getattr(row, name) for row in rows])) for name in PixelRates.model_fields}
    )


def _pixels(squares: NDArray[np.int64], pixel_size_m: float) -> dict[str, Any]:
    total, count = scores(*squares.sum(axis=0).tolist()), int(squares.sum())
    return {
        **dict(total),
        "scored_km2": count * pixel_size_m**2 / 1e6,
        "false_alarm_km2_per_1000_km2": 1000 * total.fp / count,
        "intervals": pixels.bootstrap_intervals(squares, WITH_INTERVALS),
        "interval_blocks": int((squares.sum(axis=1) > 0).sum()),
    }


def _tiles(squares: NDArray[np.int64]) -> dict[str, Any]:
    rows = [scores(*counts) for counts in squares.tolist() if any(counts)]
    with_landslide = [row for row in rows if row.tp + row.fn]
    f1 = [row.f1 for row in with_landslide]
    return {
        "side_px": SIDE_PX,
        "count": len(rows),
        "with_landslide": len(with_landslide),
        "mean": mean_rates(with_landslide),
        "f1_p10_p50_p90": np.percentile(f1, [10, 50, 90]).tolist() if f1 else [],
    }


def _objects(maps: Sequence[ScoredMap]) -> dict[str, Any]:
    size_m = maps[0].pixel_size_m
    matching = objects.pooled_matching([objects.match_objects(one.recognised, one.mapped) for one in maps])
    content: dict[str, Any] = dict(objects.object_counts(matching, pixel_size_m=size_m))
    content["recall_by_size"] = objects.recall_by_size(matching, pixel_size_m=size_m)
    content["size_frequency"] = {
        name: objects.size_frequency(getattr(matching, name).pixels * size_m**2) for name in ("mapped", "recognised")
    }
    if len(maps) == 1:
        one, matched = maps[0], objects.State.MATCHED
        recognised = objects.objects_kept(one.recognised, matching.recognised.state == matched)
        mapped = objects.objects_kept(one.mapped, matching.mapped.state == matched)
        content["boundary"] = objects.boundary_distance(one.recognised, one.mapped, one.where, pixel_size_m=size_m)
        content["boundary_of_matched"] = objects.boundary_distance(recognised, mapped, one.where, pixel_size_m=size_m)
    return content


def _covers(maps: Sequence[ScoredMap], name: str) -> bool:
    """Tell whether a baseline has a value in every scored pixel of all maps: other pixels would be another score."""
    return all(name in one.baselines and np.isfinite(one.baselines[name].probability[one.where]).all() for one in maps)


def _baseline(maps: Sequence[ScoredMap], name: str, truth: NDArray[np.bool_]) -> dict[str, Any]:
    own = []
    for one in maps:
        baseline = one.baselines[name]
        same = np.where(one.where, baseline.probability, np.float32(np.nan))
        own.append(replace(one, probability=same, threshold=baseline.threshold))
    given = np.concatenate([one.probability[one.where] for one in own])
    squares, found = np.concatenate([one.block_confusion() for one in own]), curve(given, truth)
    intervals = pixels.bootstrap_intervals(squares, WITH_INTERVALS)
    return {
        **dict(scores(*squares.sum(axis=0).tolist())),
        "average_precision": probabilities.average_precision(found),
        "threshold": own[0].threshold,
        "intervals": intervals | _interval_of_precision(own, given, truth, found),
        "oracle": _oracle(given, truth, found),
    }


def _oracle(given: NDArray[np.float32], truth: NDArray[np.bool_], found: probabilities.Curve) -> PixelScoresAt | None:
    """Score the pixels at the threshold that is best on them."""
    if not truth.any():
        return None
    return _at(given, truth, probabilities.best_threshold(found))


def _at(given: NDArray[np.float32], truth: NDArray[np.bool_], threshold: float) -> PixelScoresAt:
    return PixelScoresAt(**dict(scores(*confusion(given >= threshold, truth))), threshold=threshold)


def _interval_of_precision(
    maps: Sequence[ScoredMap], given: NDArray[np.float32], truth: NDArray[np.bool_], found: probabilities.Curve
) -> dict[str, tuple[float, float]]:
    """Find the 95 % interval of the average precision; none with fewer than two squares or without landslide."""
    squares, count = [], 0
    for one in maps:
        numbers, own = pixels.square_blocks(one.where.shape, SIDE_PX)
        squares.append(numbers[one.where] + count)
        count += own
    bounds = probabilities.bootstrap_average_precision(given, truth, np.concatenate(squares), found)
    return {} if bounds is None else {"average_precision": bounds}
