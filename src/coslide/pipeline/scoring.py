"""All scores of maps with known truth: pixels, objects, calibration, and the baselines beside them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.evaluation.boundaries import boundary_distance, objects_kept
from coslide.evaluation.calibration import brier, calibration_error, reliability
from coslide.evaluation.curves import average_precision, curve, decimate_curve, roc_auc
from coslide.evaluation.groups import bootstrap_intervals, counts_by, square_blocks
from coslide.evaluation.objects import (
    Matching,
    State,
    match_objects,
    object_scores,
    pooled_matching,
    recall_by_size,
    size_frequency,
)
from coslide.evaluation.pixels import Confusion, confusion, scores
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import Baselines
from coslide.samples.footprint import is_held_out
from coslide.samples.split import SplitRaster

SIDE_PX = 128  # of the squares that the bootstrap draws and that scores are averaged over
WITH_INTERVALS = ("f1", "precision", "recall", "iou_landslide", "miou", "kappa", "oa")
_AVERAGED = ("oa", "miou", "miou_paper", "kappa", "f1", "precision", "recall", "iou_landslide")


class ScoredMap(NamedTuple):
    """A map with known truth, all arrays (row, col).

    `probability` is 0 to 1, NaN where it is not known; `labels` 0 background, 1 landslide, 255 unknown; `seen` what
    training did with each cell (`coslide.samples.split.Subset`); `baselines` are other maps of the same ground.
    """

    name: str
    probability: NDArray[np.float32]
    labels: NDArray[np.uint8]
    seen: SplitRaster
    pixel_size_m: float
    baselines: Baselines

    @property
    def where(self) -> NDArray[np.bool_]:
        """Return the cells that can be scored: mapped, of known truth, and not used in training."""
        return np.asarray(np.isfinite(self.probability) & (self.labels != NODATA) & is_held_out(self.seen))


def held_out_scores(maps: Sequence[ScoredMap], *, threshold: float, temperature: float = 1.0) -> dict[str, Any]:
    """Return the scores of probability maps on the cells that training did not see, pooled over the maps.

    Parameters
    ----------
    maps
        One for each event.
    threshold
        From which probability a cell counts as landslide.
    temperature
        With which the maps were calibrated; it is only written down.

    Returns
    -------
    dict
        ``pixels``, ``objects``, ``calibration``, ``curves``, ``tiles``, ``baselines``, ``split`` and, for several maps,
        ``events``; `docs/metrics.md` names every key.

    Raises
    ------
    InputError
        If no cell is left.
    """
    wheres = [one.where for one in maps]
    if not any(where.any() for where in wheres):
        raise InputError("no pixel is left to score: the model was trained on all mapped pixels inside the inventory")
    maps = [one for one, where in zip(maps, wheres, strict=True) if where.any()]
    wheres = [where for where in wheres if where.any()]
    truth = np.concatenate([one.labels[where] == LANDSLIDE for one, where in zip(maps, wheres, strict=True)])
    given = np.concatenate([one.probability[where] for one, where in zip(maps, wheres, strict=True)])
    blocks = np.concatenate([block_confusion(o, w, threshold=threshold) for o, w in zip(maps, wheres, strict=True)])
    found = curve(given, truth)
    blocks = blocks[blocks.sum(axis=1) > 0]
    pixels = _pixel_scores(blocks, maps[0].pixel_size_m)
    pixels |= {"average_precision": average_precision(found), "roc_auc": roc_auc(found)}
    table = reliability(given, truth)
    metrics: dict[str, Any] = {
        "pixels": pixels,
        "objects": _object_scores(maps, wheres, threshold),
        "calibration": {
            "brier": brier(given, truth),
            "ece": calibration_error(table),
            "threshold": threshold,
            "temperature": temperature,
            "reliability": {
                "pixels": table.pixels.tolist(),
                "probability_mean": _plain(table.probability_mean),
                "landslide_share": _plain(table.landslide_share),
            },
        },
        "curves": decimate_curve(found),
        "tiles": _tile_scores(blocks),
        "baselines": _baseline_scores(maps, wheres),
        "split": {"scheme": "all", "leak_fraction": 0.0, "scored_cells": int(truth.size)},
    }
    if len(maps) > 1:
        metrics["events"] = {
            one.name: _pixel_scores(block_confusion(one, where, threshold=threshold), one.pixel_size_m)
            for one, where in zip(maps, wheres, strict=True)
        }
    cleaned: dict[str, Any] = _without_nan(metrics)
    return cleaned


def scores_by(
    one: ScoredMap, groups: NDArray[np.integer], names: Sequence[str], *, threshold: float
) -> dict[str, dict[str, float]]:
    """Return the pixel scores of each of some places of a map, such as regions or classes of environment.

    Parameters
    ----------
    one
        The map.
    groups
        Number of the place of each cell, (row, col): 0 for none, or that of a name, from 1 on.
    names
        What the places are called.
    threshold
        From which probability a cell counts as landslide.
    """
    recognised, mapped = one.probability >= threshold, one.labels == LANDSLIDE
    counts = counts_by(groups, recognised, mapped, one.where, count=len(names) + 1)[1:]
    found = {name: scores(Confusion(*row)) for name, row in zip(names, counts.tolist(), strict=True)}
    return {name: {**row, "scored_cells": row["tp"] + row["fp"] + row["fn"] + row["tn"]} for name, row in found.items()}


def score_line(metrics: dict[str, Any]) -> str:
    """Return the landslide scores in one line for people."""
    pixels = metrics["pixels"]
    bounds = pixels.get("intervals", {}).get("f1")
    spread = f" (95 %: {bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else ""
    return (
        f"F1 {pixels['f1']:.3f}{spread}, precision {pixels['precision']:.3f}, recall {pixels['recall']:.3f}, "
        f"IoU {pixels['iou_landslide']:.3f} on {metrics['split']['scored_cells']} cells"
        + (" that training did not see" if metrics["split"]["scheme"] != "unknown" else ", seen in training or not")
        + ("" if pixels["tp"] + pixels["fn"] else "; none of them is a mapped landslide, so these scores say nothing")
    )


def block_confusion(one: ScoredMap, where: NDArray[np.bool_], *, threshold: float) -> NDArray[np.int64]:
    """Return tp, fp, fn, tn [pixels] of each square of 128 cells of a map, row by row, int64 (square, 4)."""
    squares, count = square_blocks(where.shape, SIDE_PX)
    return counts_by(squares, one.probability >= threshold, one.labels == LANDSLIDE, where, count=count)


def _pixel_scores(blocks: NDArray[np.int64], pixel_size_m: float) -> dict[str, Any]:
    total = Confusion(*blocks.sum(axis=0).tolist())
    found: dict[str, Any] = dict(scores(total))
    cells = total.tp + total.fp + total.fn + total.tn
    found["scored_km2"] = cells * pixel_size_m**2 / 1e6
    found["false_alarm_km2_per_1000_km2"] = 1000 * total.fp / cells if cells else 0.0
    found["intervals"] = {name: list(pair) for name, pair in bootstrap_intervals(blocks, WITH_INTERVALS).items()}
    found["interval_blocks"] = int((blocks.sum(axis=1) > 0).sum())
    return found


def _tile_scores(blocks: NDArray[np.int64]) -> dict[str, Any]:
    """Return scores averaged over squares, as the paper's seem to be, beside the pooled ones."""
    rows = [scores(Confusion(*counts)) for counts in blocks.tolist()]
    with_landslide = [row for row in rows if row["tp"] + row["fn"]]
    means = (
        {name: float(np.mean([row[name] for row in with_landslide])) for name in _AVERAGED} if with_landslide else {}
    )
    spread = (
        [float(q) for q in np.percentile([row["f1"] for row in with_landslide], [10, 50, 90])] if with_landslide else []
    )
    return {
        "side_px": SIDE_PX,
        "count": len(rows),
        "with_landslide": len(with_landslide),
        "mean": means,
        "f1_p10_p50_p90": spread,
    }


def _object_scores(maps: Sequence[ScoredMap], wheres: Sequence[NDArray[np.bool_]], threshold: float) -> dict[str, Any]:
    pixel_size_m = maps[0].pixel_size_m
    pairs = [(one.probability >= threshold, one.labels == LANDSLIDE, w) for one, w in zip(maps, wheres, strict=True)]
    matchings = [match_objects(recognised, mapped, where) for recognised, mapped, where in pairs]
    matching = pooled_matching(matchings)
    found: dict[str, Any] = dict(object_scores(matching, pixel_size_m=pixel_size_m))
    found["recall_by_size"] = recall_by_size(matching, pixel_size_m=pixel_size_m)
    found["size_frequency"] = {
        name: size_frequency(cells * pixel_size_m**2)
        for name, cells in (("mapped", matching.mapped_cells), ("recognised", matching.recognised_cells))
    }
    if len(maps) == 1:
        recognised, mapped, where = pairs[0]
        found["boundary"] = boundary_distance(recognised, mapped, where, pixel_size_m=pixel_size_m)
        found["boundary_of_matched"] = _of_matched(matchings[0], *pairs[0], pixel_size_m=pixel_size_m)
    return found


def _of_matched(
    matching: Matching,
    recognised: NDArray[np.bool_],
    mapped: NDArray[np.bool_],
    where: NDArray[np.bool_],
    *,
    pixel_size_m: float,
) -> dict[str, float | None]:
    kept = objects_kept(recognised, matching.recognised_state == State.MATCHED, where)
    expected = objects_kept(mapped, matching.mapped_state == State.MATCHED, where)
    return boundary_distance(kept, expected, where, pixel_size_m=pixel_size_m)


def _baseline_scores(maps: Sequence[ScoredMap], wheres: Sequence[NDArray[np.bool_]]) -> dict[str, Any]:
    found = {}
    for name, first in maps[0].baselines.items():
        if not all(_covers(one, where, name) for one, where in zip(maps, wheres, strict=True)):
            continue  # other ground would be another score
        total, truths, given = Confusion(), [], []
        for one, where in zip(maps, wheres, strict=True):
            probability, mapped = one.baselines[name].probability, one.labels == LANDSLIDE
            total += confusion(probability >= first.threshold, mapped, where)
            truths.append(mapped[where])
            given.append(probability[where])
        row = dict(scores(total))
        row |= {"average_precision": average_precision(curve(np.concatenate(given), np.concatenate(truths)))}
        found[name] = {**row, "threshold": first.threshold}
    return found


def _covers(one: ScoredMap, where: NDArray[np.bool_], name: str) -> bool:
    return name in one.baselines and bool(np.isfinite(one.baselines[name].probability[where]).all())


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _without_nan(found: Any) -> Any:
    """Return `found` with None for NaN, which JSON does not know."""
    if isinstance(found, dict):
        return {key: _without_nan(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_without_nan(value) for value in found]
    return None if isinstance(found, float) and np.isnan(found) else found
