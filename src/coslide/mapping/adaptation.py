"""A model adapted to an event of which a few tiles are labelled: its record, its threshold, and what it gained."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.special
from numpy.typing import NDArray
from pydantic import Field

from coslide.config.records import StrictModel
from coslide.evaluation.pixels import bootstrap_intervals, confusion, scores
from coslide.evaluation.probabilities import best_threshold, curve, fit_temperature
from coslide.labels import label_objects

LEAST_TILES = 10  # of which some are held out
_FOLDS, _THIRD = 5, 2  # every fifth tile by its landslides, from the third on: neither the most nor the least of them
_PRIOR_TILES = 2  # the old threshold counts as one that was chosen on so many tiles
_TELLING = 4  # tiles, below which a bootstrap over them says nothing
_SURE = 1e-6
Interval = tuple[float, float]


class BeforeAndAfter(StrictModel):
    """F1 of landslide pixels on labelled tiles, with the bounds that hold 95 % of a bootstrap over the tiles.

    Attributes
    ----------
    tiles, pixels
        What was scored: tiles that the adapted model was not trained on; where none was held out, all labelled tiles.
    before, before_interval
        Of the model that was adapted, at its own threshold.
    after, after_interval
        Of the adapted model, each tile at the threshold that the others give; None where no tile was held out.
    gain_interval
        Of the difference, both models on the same tiles.
    """

    tiles: int
    pixels: int
    before: float
    before_interval: Interval | None
    after: float | None = None
    after_interval: Interval | None = None
    gain_interval: Interval | None = None

    def line(self) -> str:
        """Say in one line what the labels were worth, and whether more would help."""
        before = f"F1 {self.before:.2f}{_words(self.before_interval)} before"
        if self.after is None:
            why = f"; too few to hold some out: label at least {LEAST_TILES} tiles to learn whether more would help"
            return f"on all {self.tiles} labelled tiles, {before}{why if self.tiles < LEAST_TILES else ''}"
        found = f"on {self.tiles} held-out tiles, {before} and {self.after:.2f}{_words(self.after_interval)} now"
        if self.gain_interval is None:
            return f"{found}; too few tiles to tell whether more labels would help"
        gain = f"{found}, a gain of {self.after - self.before:+.2f}{_words(self.gain_interval)}"
        if self.gain_interval[0] > 0:
            return f"{gain}: labels helped, and more may"
        if self.gain_interval[1] < 0:
            return f"{gain}: the labels made it worse; keep the old model, or label many more"
        return f"{gain}: these tiles do not tell whether more labels would help"


class Adaptation(StrictModel):
    """What a model was adapted from, and on what.

    Attributes
    ----------
    model_sha256
        Of the bundle that it was adapted from.
    event
        What it was adapted to; the last of the model's footprints tells where the labelled area lies.
    indices
        Indices that it is fed and the old model was not.
    tiles, held_out_tiles, labelled_km2
        Labelled tiles, those of them that were not trained on, and the labelled area.
    steps, learning_rate, penalty
        Of the training; `penalty` is that on the distance from the old weights.
    scores
        On labelled tiles; None where the old model was trained on all of them.
    """

    model_sha256: str
    event: str
    indices: list[str] = Field(default_factory=list)
    tiles: int
    held_out_tiles: int
    labelled_km2: float
    steps: int
    learning_rate: float
    penalty: float
    scores: BeforeAndAfter | None = None


class TilePixels(NamedTuple):
    """The labelled pixels of a tile.

    `before` and `after` are what the two models give, 0 to 1, float32 (pixel,), before any temperature; `truth` tells
    which pixels are landslide, and `fair` which the old model was not trained on.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    truth: NDArray[np.bool_]
    fair: NDArray[np.bool_]

    def fair_alone(self) -> "TilePixels":
        """Leave out the pixels that the old model was trained on."""
        fair = self.fair
        return TilePixels(self.before[fair], self.after[fair], self.truth[fair], fair[fair])


def labelled_tiles(area: NDArray[np.bool_], labelled: NDArray[np.bool_], *, tile: int) -> NDArray[np.int32]:
    """Cut the labelled area into rectangles of about a tile, each connected part of it from its own corner.

    Parameters
    ----------
    area
        The area, (row, col).
    labelled
        Its pixels that are valid; a rectangle without any is no tile.
    tile
        Side of a tile in pixels.

    Returns
    -------
    ndarray of int32, (row, col)
        The number of the tile that a labelled pixel is of, from 1 on; 0 elsewhere.

    Examples
    --------
    >>> area = np.zeros((4, 8), dtype=bool)
    >>> area[:2, :4] = area[3, 5:7] = True
    >>> labelled_tiles(area, area, tile=2)
    array([[1, 1, 2, 2, 0, 0, 0, 0],
           [1, 1, 2, 2, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 3, 3, 0]], dtype=int32)
    """
    parts, found = label_objects(area).astype(np.int32), np.zeros(area.shape, dtype=np.int32)
    for part, place in enumerate(scipy.ndimage.find_objects(parts), start=1):
        counts = [max(1, round((one.stop - one.start) / tile)) for one in place]
        rows, cols = (np.arange(n) * count // n for n, count in zip(parts[place].shape, counts, strict=True))
        numbers = found.max() + 1 + rows[:, np.newaxis] * counts[1] + cols
        own = (parts[place] == part) & labelled[place]  # the box of a part may hold pixels of others
        found[place][own] = numbers[own]
    taken = np.unique(found[found > 0])
    return np.where(found > 0, np.searchsorted(taken, found) + 1, 0).astype(np.int32)


def held_out_tiles(landslides: Sequence[int]) -> list[int]:
    """Choose the tiles to hold out, by how many landslide pixels each has; none of fewer than ten.

    Every fifth in the order of falling counts is held out, from the third on and without the last; none where the third
    has no landslide.

    Examples
    --------
    >>> held_out_tiles([0, 0, 90, 0, 50, 70, 0, 0, 10, 0]), held_out_tiles([3, 2, 1])
    ([4, 6], [])
    """
    order = np.argsort(-np.array(landslides), kind="stable")
    if len(order) < LEAST_TILES or not landslides[order[_THIRD]]:
        return []
    return sorted(order[_THIRD:-1:_FOLDS].tolist())


def calibrated(tiles: Sequence[TilePixels], temperature: float, threshold: float, *, held_out: int) -> dict[str, float]:
    """Choose temperature and threshold of an adapted model.

    Parameters
    ----------
    tiles
        All labelled tiles; the first `held_out` of them were not trained on.
    temperature, threshold
        Of the model that was adapted.
    held_out
        How many. Without a pixel of them that the old model was not trained on either, the temperature stays: on what
        it was trained on, a network is too sure.

    Returns
    -------
    dict
        ``temperature`` and ``threshold``. The threshold is that of the highest F1 on all tiles, drawn towards the old
        one (as a logit before temperatures) as if that had been chosen on two tiles.
    """
    chosen = _threshold(tiles, uncalibrated(threshold, temperature))
    fair = [one.fair_alone() for one in tiles[:held_out]]
    if any(one.truth.size for one in fair):
        temperature = fit_temperature(*_joined(fair))
    return {"temperature": temperature, "threshold": _expit(_logit(chosen) / temperature)}


def uncalibrated(threshold: float, temperature: float) -> float:
    """Tell which threshold on the probabilities before a temperature is the same as `threshold` after it."""
    return threshold if temperature == 1 else _expit(_logit(threshold) * temperature)


def compare(tiles: Sequence[TilePixels], threshold: float, *, held_out: int) -> BeforeAndAfter | None:
    """Score the old model and, on held-out tiles, the adapted one beside it.

    Parameters
    ----------
    tiles
        All labelled tiles; the first `held_out` of them were not trained on.
    threshold
        Of the old model, before its temperature.
    held_out
        How many. Each of these is scored at the threshold that all other tiles give: it has not chosen its own. With
        none the old model alone is scored, on all tiles.

    Returns
    -------
    BeforeAndAfter or None
        None if the old model was trained on all that would be scored.
    """
    numbers = [number for number, one in enumerate(tiles[: held_out or None]) if one.fair.any()]
    if not numbers:
        return None
    scored = [tiles[number].fair_alone() for number in numbers]
    before = np.array([confusion(one.before >= threshold, one.truth) for one in scored])
    found = {
        "tiles": len(scored),
        "pixels": int(before.sum()),
        "before": _f1(before),
        "before_interval": _bounds(before),
    }
    if not held_out:
        return BeforeAndAfter.model_validate(found)
    own = [_threshold([*tiles[:number], *tiles[number + 1 :]], threshold) for number in numbers]
    after = np.array([confusion(one.after >= at, one.truth) for one, at in zip(scored, own, strict=True)])
    found |= {"after": _f1(after), "after_interval": _bounds(after), "gain_interval": _gain(before, after)}
    return BeforeAndAfter.model_validate(found)


def _joined(tiles: Sequence[TilePixels]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.concatenate([one.after for one in tiles]), np.concatenate([one.truth for one in tiles])


def _threshold(tiles: Sequence[TilePixels], old: float) -> float:
    count = sum(bool(one.truth.any()) for one in tiles)
    if not count:
        return old
    best, share = best_threshold(curve(*_joined(tiles))), count / (count + _PRIOR_TILES)
    return _expit(share * _logit(best) + (1 - share) * _logit(old))


def _gain(before: NDArray[np.int64], after: NDArray[np.int64], replicates: int = 1000) -> Interval | None:
    """Find the bounds that hold 95 % of the differences of F1, tiles drawn with replacement, the same for both."""
    count = len(before)
    if count < _TELLING:
        return None
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=replicates)
    differences = [_f1(draw @ after) - _f1(draw @ before) for draw in times[:, np.newaxis]]
    low, high = np.percentile(differences, (2.5, 97.5)).tolist()
    return low, high


def _bounds(counts: NDArray[np.int64]) -> Interval | None:
    return bootstrap_intervals(counts, ["f1"]).get("f1") if len(counts) >= _TELLING else None


def _f1(counts: NDArray[np.int64]) -> float:
    return scores(*counts.sum(axis=0).tolist()).f1


def _logit(probability: float) -> float:
    return float(scipy.special.logit(min(max(probability, _SURE), 1 - _SURE)))


def _expit(logit: float) -> float:
    return float(min(max(scipy.special.expit(logit), _SURE), 1 - _SURE))


def _words(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
