"""Regions of a study: what each is like, its landslides, and what every case scores there, as records and as text."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coslide.config.records import StrictModel
from coslide.cube.band import Band
from coslide.evaluation.scores import PlaceScores
from coslide.windows import Window

_WORDS = {
    "elevation": "elevation",
    "slope": "slope",
    "aspect_class": "aspect",
    "stratum_class": "stratum",
    "pga_class": "PGA",
    "rainfall": "rainfall",
    "fault_distance_class": "distance to the fault",
    "ndvi_pre": "NDVI before",
    "ndvi_post": "NDVI after",
}
"""Bands that tell what a region is like, in the order of a table, and what they are called in a figure."""
_SIGNS = {"1": "", "degree": "°"}


class IndexOfRegion(StrictModel):
    """What an index is like in a region: a measurement by its median and range, classes by the commonest of them."""

    index: str
    """Short name, in words."""
    band: str
    """Band of the cube that was read."""
    long_name: str
    """What it is, in words."""
    unit: str
    """Unit of a measurement; `1` for classes and for what has none."""
    median: float | None = None
    """Median over the valid pixels of the region; null for classes."""
    lowest: float | None = None
    """Lowest value; null for classes."""
    highest: float | None = None
    """Highest value; null for classes."""
    capped_at: float | None = None
    """Where values are not told apart any more: it means this or more; null where there is no such bound."""
    main_class: str | None = None
    """Name of the commonest class; null for a measurement."""
    main_share: float | None = None
    """Its share of the valid pixels; null for a measurement."""

    @property
    def text(self) -> str:
        """The values as text: three digits of each, but no finer than a ten thousandth of the largest.

        Examples
        --------
        >>> elevation = {"index": "elevation", "band": "elevation", "long_name": "elevation", "unit": "m"}
        >>> IndexOfRegion(**elevation, median=812.4, lowest=640, highest=1024).text
        '812 m (640 to 1,020)'
        >>> IndexOfRegion(**elevation, median=3.44, lowest=-2.0004, highest=1024).text
        '3.4 m (−2 to 1,020)'
        """
        if self.median is None or self.lowest is None or self.highest is None:
            return f"{self.main_class} ({100 * (self.main_share or 0):.0f} %)"
        most = max(abs(self.lowest), abs(self.highest))
        finest = 4 - math.floor(math.log10(most)) if most else 0
        capped = math.inf if self.capped_at is None else self.capped_at
        median, lowest, highest = (
            f"{'≥ ' if value >= capped else ''}{rounded(round(value, finest))}".replace("-", "−")
            for value in (self.median, self.lowest, self.highest)
        )
        between = f" ({lowest} to {highest})" if lowest != highest else ""
        return f"{median}{_SIGNS.get(self.unit, f' {self.unit}')}{between}"


class RegionOfStudy(StrictModel):
    """A region of a study: where it lies, what it is like, its landslides, and the scores of every case."""

    name: str
    """What it is called."""
    rule: str
    """Why it was chosen, in words."""
    window: Window
    """The rectangle of pixels around it: northernmost row, westernmost column, height and width."""
    area_km2: float
    """Its size."""
    held_out: float
    """Share of its pixels that are scored: valid, labelled, and not seen in training."""
    environment: list[IndexOfRegion]
    """What it is like, by the indices that the cube has; all valid pixels of the region count."""
    landslides: int
    """Mapped landslides (pixels that touch at a side or a corner) with a pixel in it."""
    landslides_scored: int
    """How many of them have a scored pixel."""
    landslide_share: float
    """Share of its labelled pixels that is landslide."""
    smallest_m2: float | None
    """Area of the smallest of these landslides, with what lies beyond the region; null without one."""
    largest_m2: float | None
    """Area of the largest of them, in the same way."""
    scores: dict[str, PlaceScores]
    """Scores of each case on the scored pixels, at the threshold of its model."""
    figure: str
    """The picture, below the folder of the study."""

    @property
    def size(self) -> str:
        """Size and landslides in words."""
        landslide = f"{100 * self.landslide_share:.1f} % landslide"
        if self.smallest_m2 is None or self.largest_m2 is None:
            return f"{rounded(self.area_km2)} km², no landslide"
        sizes = f"the smallest {rounded(self.smallest_m2)} m², the largest {rounded(self.largest_m2)} m²"
        what = f"{self.landslides:,} landslides" if self.landslides > 1 else "1 landslide"
        scored = f" ({self.landslides_scored:,} scored)" if self.landslides_scored < self.landslides else ""
        return f"{rounded(self.area_km2)} km², {landslide}, {what}{scored}: {sizes}"


def environment_bands(bands: Sequence[Band]) -> dict[str, Band]:
    """Find the bands that tell what a region is like, by what they are called in a figure.

    Where a cube keeps the measurement behind classes, that is taken.

    Examples
    --------
    >>> classes = Band("pga_class", kind="ordinal", class_names=("weak", "strong"), measured="pga")
    >>> {words: band.name for words, band in environment_bands([classes, Band("pga", "g")]).items()}
    {'PGA': 'pga'}
    """
    by_name = {band.name: band for band in bands}
    found = {words: by_name[name] for name, words in _WORDS.items() if name in by_name}
    return {words: by_name.get(band.measured, band) for words, band in found.items()}


def describe_environment(bands: dict[str, Band], values: NDArray[np.float32]) -> list[IndexOfRegion]:
    """Describe what a region is like.

    Parameters
    ----------
    bands
        From `environment_bands`.
    values
        Of each of them in the pixels of the region, (band, pixel), NaN where there is none. An index without any value
        is left out.
    """
    found = []
    for (words, band), pixels in zip(bands.items(), values, strict=True):
        valid = pixels[np.isfinite(pixels)]
        own: dict[str, Any] = {
            "index": words,
            "band": band.name,
            "long_name": band.long_name or words,
            "unit": band.unit,
        }
        if valid.size and band.classes:
            classes, counts = np.unique(valid.astype(np.int64), return_counts=True)
            name = band.class_names[int(classes[counts.argmax()]) - band.first_class]
            found.append(IndexOfRegion(**own, main_class=name, main_share=float(counts.max() / valid.size)))
        elif valid.size:
            low, middle, high = (float(of(valid)) for of in (np.min, np.median, np.max))
            cap = band.provenance.get("capped_at_m")
            found.append(IndexOfRegion(**own, median=middle, lowest=low, highest=high, capped_at=cap))
    return found


def region_rows(found: Sequence[RegionOfStudy]) -> list[tuple[str, ...]]:
    """Write what regions are like as text, a column for each of them; the first row are the headings."""
    indices = {index.index: index.long_name for one in found for index in one.environment}
    texts = [{index.index: index.text for index in one.environment} for one in found]
    rows = {
        "chosen by": [one.rule for one in found],
        "size": [f"{rounded(one.area_km2)} km²" for one in found],
        "scored": [f"{100 * one.held_out:.0f} %" for one in found],
        "landslides": [f"{one.landslides:,}" for one in found],
        "of these with a scored pixel": [f"{one.landslides_scored:,}" for one in found],
        "landslide area": [f"{100 * one.landslide_share:.1f} %" for one in found],
        "smallest landslide": [_area(one.smallest_m2) for one in found],
        "largest landslide": [_area(one.largest_m2) for one in found],
        **{long_name: [text.get(words, "–") for text in texts] for words, long_name in indices.items()},
    }
    return [("", *(one.name for one in found)), *((name, *values) for name, values in rows.items())]


def region_score_rows(found: Sequence[RegionOfStudy]) -> list[tuple[str, ...]]:
    """Write the scores of each case as text, a column for each region; the first row are the headings."""
    cases = list(dict.fromkeys(case for one in found for case in one.scores))
    rows = [(case, *(scores_text(one.scores[case]) for one in found)) for case in cases]
    return [("F1 (precision, recall)", *(one.name for one in found)), *rows]


def scores_text(scores: PlaceScores) -> str:
    """Write F1, precision and recall as text; where nothing is mapped, the number of false alarms."""
    if not scores.tp + scores.fn:
        return f"– ({scores.fp:,} false alarms [pixels])"
    return f"{scores.f1:.2f} ({scores.precision:.2f}, {scores.recall:.2f})"


def rounded(value: float) -> str:
    """Write a number as text, in three digits.

    Examples
    --------
    >>> rounded(12345.6), rounded(-0.0012345)
    ('12,300', '-0.00123')
    """
    return f"{0.0 + float(f'{value:.3g}'):,.10g}"


def _area(area_m2: float | None) -> str:
    return "–" if area_m2 is None else f"{rounded(area_m2)} m²"
