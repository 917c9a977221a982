"""What networks have to be better than: a random forest on single cells, and a threshold on spectral change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.io.executor import available_processors

MISSING = -9999.0  # a forest splits on it like on any other value
_TREES, _LEAF = 100, 3
_CELLS_OF_A_CLASS = 100_000  # that the forest learns from


def fit_forest(values: NDArray[np.float32], truth: NDArray[np.bool_], *, seed: int = 0) -> Any:
    """Return a random forest (scikit-learn) that tells landslide cells by the bands of the cell alone.

    As many background cells as landslide cells are drawn, at most 100 000 of each, so its probabilities are too high
    where landslides are rare: its threshold has to be chosen on cells as they occur.

    Parameters
    ----------
    values
        float32 (cell, band), NaN where a band has no value.
    truth
        True where a cell is landslide, (cell,).
    seed
        Decides cells and trees.

    Raises
    ------
    ValueError
        If the cells are all of one class.
    """
    from sklearn.ensemble import RandomForestClassifier

    if truth.all() or not truth.any():
        raise ValueError("expected landslide and background cells to learn from, found one class only")
    random = np.random.default_rng(seed)
    slides, others = (random.permutation(np.flatnonzero(of_one)) for of_one in (truth, ~truth))
    count = min(len(slides), len(others), _CELLS_OF_A_CLASS)
    chosen = np.concatenate([slides[:count], others[:count]])
    processors = available_processors()
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, n_jobs=processors, random_state=seed)
    return forest.fit(_filled(values[chosen]), truth[chosen])


def forest_probability(forest: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a forest of `fit_forest` makes of cells, float32 (cell,) [0 to 1]; `values` as there."""
    if not len(values):
        return np.zeros(0, dtype=np.float32)
    return np.asarray(forest.predict_proba(_filled(values))[:, 1], dtype=np.float32)


def spectral_change(values: NDArray[np.float32], bands: Sequence[Band]) -> tuple[NDArray[np.float32], str]:
    """Return how much cells have changed as bare ground does, float32 (cell,), NaN where unknown; and what was taken.

    Fresh scars lose their plants: the fall of NDVI where both dates have it, or else the rise of red reflectance, or
    else, without a scene before, the brightness of the scene after the event (mean of its visible bands, or of all).

    Parameters
    ----------
    values
        float32 (cell, band), in the units of the bands.
    bands
        What the columns are.

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
    place = {(band.quantity, band.date, band.channel): i for i, band in enumerate(bands)}
    ndvi_pre, ndvi_post = place.get(("ndvi", "pre", "")), place.get(("ndvi", "post", ""))
    if ndvi_pre is not None and ndvi_post is not None:
        return values[:, ndvi_pre] - values[:, ndvi_post], "fall of NDVI"
    difference = [i for i, band in enumerate(bands) if band.name == "ndvi_difference"]
    if difference:
        return -values[:, difference[0]], "fall of NDVI"
    red_pre, red_post = place.get(("reflectance", "pre", "B4")), place.get(("reflectance", "post", "B4"))
    if red_pre is not None and red_post is not None:
        return values[:, red_post] - values[:, red_pre], "rise of red reflectance"
    after = {
        channel: i for (quantity, date, channel), i in place.items() if (quantity, date) == ("reflectance", "post")
    }
    visible = [after[channel] for channel in ("B2", "B3", "B4") if channel in after]
    if not after:
        return np.full(len(values), np.nan, dtype=np.float32), ""
    return values[:, visible or list(after.values())].mean(axis=1), "brightness after the event"


def as_probability(change: NDArray[np.float32], *, low: float, high: float) -> NDArray[np.float32]:
    """Return a change between `low` and `high` as a number from 0 to 1, so that one way of scoring fits all maps.

    NaN, a change that is not known, becomes 0: a threshold finds nothing there.
    """
    scaled = (change - low) / (high - low) if high > low else np.zeros_like(change)
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1).astype(np.float32)


def _filled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nan_to_num(values, nan=MISSING, posinf=MISSING, neginf=MISSING)
