"""What networks have to be better than: a random forest on single pixels, and a threshold on spectral change."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.io.executor import available_processors

Floats = NDArray[np.float32]
Method = Callable[[Floats], Floats]
"""From values, float32 (pixel, band), NaN where a band has none, to probability, float32 (pixel,) [0 to 1]."""

MISSING = -9999.0  # a forest splits on it like on any other value
_TREES, _LEAF = 100, 3
_PIXELS_OF_A_CLASS = 100_000  # that the forest learns from
_TAILS = (0.1, 99.9)  # percentiles of change that become 0 and 1


class Baseline(NamedTuple):
    """A map to compare a network with.

    `probability` is 0 to 1, float32 (row, col), NaN where it was not asked; from `threshold` on a pixel is landslide.
    """

    probability: Floats
    threshold: float


Baselines = Mapping[str, Baseline]
"""Baselines by their names."""


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

    if truth.all() or not truth.any():
        raise ValueError("expected landslide and background pixels to learn from, found one class only")
    random = np.random.default_rng(seed)
    slides, others = (random.permutation(np.flatnonzero(of_one)) for of_one in (truth, ~truth))
    count = min(len(slides), len(others), _PIXELS_OF_A_CLASS)
    chosen = np.concatenate([slides[:count], others[:count]])
    processors = available_processors()
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, n_jobs=processors, random_state=seed)
    forest.fit(_filled(values[chosen]), truth[chosen])

    def predict(pixels: Floats) -> Floats:
        found = forest.predict_proba(_filled(pixels))[:, 1] if len(pixels) else np.zeros(0)
        return np.asarray(found, dtype=np.float32)

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
    if {("reflectance", "pre", "B4"), ("reflectance", "post", "B4")} <= column.keys():
        return column["reflectance", "post", "B4"] - column["reflectance", "pre", "B4"], "rise of red reflectance"
    after = {channel: own for (kind, date, channel), own in column.items() if (kind, date) == ("reflectance", "post")}
    if not after:
        return np.full(len(values), np.nan, dtype=np.float32), ""
    visible = [after[channel] for channel in ("B2", "B3", "B4") if channel in after]
    return np.mean(visible or list(after.values()), axis=0), "brightness after the event"


def _filled(values: Floats) -> Floats:
    return np.nan_to_num(values, nan=MISSING, posinf=MISSING, neginf=MISSING)
