"""What a labelled sample tells of a map, as typed results: ``assessment.json``."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from coslide.display.overview import Overview, Shown
from coslide.evaluation.pixels import ScoreRecord
from coslide.evaluation.strata import STRATA
from coslide.evaluation.stratified import (
    RATIOS,
    Floats,
    Tally,
    interval,
    labels_needed,
    posterior,
    rates_of,
    standard_errors,
)

ASSESSMENT = "assessment.json"
_OrNone = Annotated[float | None, BeforeValidator(lambda v: None if isinstance(v, float) and math.isnan(v) else v)]


class Estimate(ScoreRecord):
    """A number estimated from a sample; null where there is none, as the precision of a map without landslides."""

    estimate: _OrNone
    """Unbiased, or a ratio of two that are (Stehman 2014)."""
    low: _OrNone
    """Lower end of its 95 % interval."""
    high: _OrNone
    """Upper end."""
    standard_error: _OrNone
    """By the usual formula, which takes a stratum whose labels all agree for certain; the interval does not."""


class StratumLabels(ScoreRecord):
    """Labels in one stratum of the map."""

    name: str
    """`landslide` (mapped), `doubtful` (not far below the threshold), `near` (a mapped landslide) or `background`."""
    pixels: int
    """Pixels of the map."""
    labelled: int
    """Labels that count: landslide or none."""
    landslide: int
    """Those that are landslide."""
    cannot_tell: int
    """Left out: it could not be told."""
    not_labelled: int
    """Left out: no label yet."""
    more_for_f1: int
    """Labels that are missing for an interval of F1 half as wide."""
    more_for_area: int
    """The same for the area."""


class Difference(ScoreRecord):
    """A rate of two maps on the same labels."""

    this: _OrNone
    """Of this map."""
    other: _OrNone
    """Of the other one."""
    difference: _OrNone
    """This less other."""
    low: _OrNone
    """Lower end of the 95 % interval of the difference, of pairs: both maps were judged at the same places."""
    high: _OrNone
    """Upper end."""


class Comparison(ScoreRecord):
    """Two maps on one sample, where both are valid and neither was trained."""

    other: str
    """Folder of the other map."""
    sampled_km2: float
    """Area that both cover."""
    labelled: int
    """Labels there."""
    mapped_km2: Difference
    """Landslide area in the maps; counted, so without an interval."""
    precision: Difference
    """Share of the pixels called landslide that are one."""
    recall: Difference
    """Share of the landslide pixels that were found."""
    f1: Difference
    """Both in one number."""
    overall_accuracy: Difference
    """Share of all pixels that are right."""


class Assessment(Shown, ScoreRecord):
    """How good a map is by a sample that people labelled; ``assessment.json``.

    Examples
    --------
    >>> labels = np.zeros((4, 2, 2), np.int64)  # (stratum, map, label)
    >>> labels[0, 1], labels[1:, 0] = (4, 16), (20, 0)  # 4 of 20 mapped ones are none, and none was missed
    >>> found = assess_tally(Tally(labels, 100 * labels.sum(axis=2)), [(0, 0)] * 4, pixel_km2=1e-4, map_sha256="")
    >>> found.precision.estimate, found.area_km2.estimate, found.area_km2.low < 0.16 < found.area_km2.high
    (0.8, 0.16, True)
    """

    map_sha256: str
    """Hash of the map that was assessed."""
    sampled_km2: float
    """Area that the sample stands for: valid, and not seen in training."""
    mapped_km2: float
    """Landslides of the map in it."""
    area_km2: Estimate
    """Landslides in it by the labels: unbiased, whatever the map."""
    precision: Estimate
    """User's accuracy: share of the pixels called landslide that are one."""
    recall: Estimate
    """Producer's accuracy: share of the landslide pixels that were found."""
    f1: Estimate
    """Both in one number, their harmonic mean."""
    overall_accuracy: Estimate
    """Share of all pixels that are right; high wherever landslides are rare."""
    labelled: int
    """Labels that count: landslide or none."""
    cannot_tell: int
    """Left out: it could not be told."""
    not_labelled: int
    """Left out: no label yet."""
    strata: list[StratumLabels]
    """Stratum by stratum; those without a pixel are left out."""
    comparison: Comparison | None = None
    """With another map, where one was given."""

    def overview(self) -> Overview:
        """Say how good the map is by the labels, and how sure that is."""
        names = {"area_km2": "landslides", "precision": "precision", "recall": "recall", "f1": "F1"}
        facts = {}
        for key, name in names.items():
            one: Estimate = getattr(self, key)
            unit = " km²" if key == "area_km2" else ""
            facts[name] = f"{in_words(one.estimate)}{unit} (95 %: {in_words(one.low)} to {in_words(one.high)})"
        others = {"cannot tell": self.cannot_tell, "open": self.not_labelled}
        left_out = [f"{many} {why}" for why, many in others.items() if many]
        facts |= {
            "the map has": f"{self.mapped_km2:.3g} km² of landslides",
            "labels": ", ".join([f"{self.labelled} that count", *left_out]),
            "stand for": f"{self.sampled_km2:.4g} km² that training did not see",
        }
        rows = [("stratum", "pixels", "labels", "landslide")]
        rows += [(one.name, f"{one.pixels:,}", str(one.labelled), str(one.landslide)) for one in self.strata]
        return Overview("", facts, {"Labels by stratum": rows})

    def line(self) -> str:
        """Write the results in one line for people."""
        words = {"area_km2": "km2 of landslides", "f1": "F1", "precision": "precision", "recall": "recall"}
        found = []
        for name, word in words.items():
            one: Estimate = getattr(self, name)
            number = f"{in_words(one.estimate)} (95 %: {in_words(one.low)} to {in_words(one.high)})"
            found.append(f"{number} {word}" if name == "area_km2" else f"{word} {number}")
        return f"{', '.join(found)}; the map has {self.mapped_km2:.3g} km2"


def in_words(value: float | None) -> str:
    """Write a number as text, or a dash where there is none.

    Examples
    --------
    >>> in_words(0.61234), in_words(12.345), in_words(None)
    ('0.612', '12.3', '-')
    """
    return "-" if value is None else f"{value:.3g}"


def assess_tally(tally: Tally, others: Sequence[tuple[int, int]], *, pixel_km2: float, map_sha256: str) -> Assessment:
    """Estimate area and accuracies of a map, with their intervals.

    Parameters
    ----------
    tally
        What was labelled, of one map, with a row for each of `STRATA`. A stratum with pixels has two labels at least.
    others
        Labels of each stratum that do not count: how often it could not be told, and how many places have none.
    pixel_km2
        Area of a pixel [km2].
    map_sha256
        Of the map.
    """
    there = tally.pixels.sum(axis=1) > 0
    held = Tally(tally.labels[there], tally.pixels[there])
    whole_km2 = float(tally.pixels.sum()) * pixel_km2
    values, errors = rates_of(np.tensordot(held.weights, held.shares, 1)), standard_errors(held)
    drawn = rates_of(posterior(held))
    estimates: dict[str, Any] = {}
    for name in RATIOS:
        scale = whole_km2 if name == "area" else 1.0
        low, high = interval(drawn[name])
        numbers = {"estimate": float(values[name]), "low": low, "high": high, "standard_error": errors[name]}
        estimates[name] = Estimate(**{key: scale * number for key, number in numbers.items()})
    needed = np.zeros((2, len(STRATA)), np.int64)
    needed[:, there] = [labels_needed(held, name) for name in ("f1", "area")]
    rows = [
        StratumLabels(
            name=name,
            pixels=int(tally.pixels[i].sum()),
            labelled=int(tally.labels[i].sum()),
            landslide=int(tally.labels[i, :, 1].sum()),
            cannot_tell=others[i][0],
            not_labelled=others[i][1],
            more_for_f1=int(needed[0, i]),
            more_for_area=int(needed[1, i]),
        )
        for i, name in enumerate(STRATA)
        if there[i]
    ]
    counted = {name: sum(getattr(row, name) for row in rows) for name in ("labelled", "cannot_tell", "not_labelled")}
    mapped_km2 = float(tally.pixels[:, 1].sum()) * pixel_km2
    areas: dict[str, Any] = {"sampled_km2": whole_km2, "mapped_km2": mapped_km2, "area_km2": estimates.pop("area")}
    return Assessment(map_sha256=map_sha256, **areas, **estimates, **counted, strata=rows)


def compare_tally(tally: Tally, other: str, *, pixel_km2: float) -> Comparison:
    """Compare two maps on the same labels.

    Parameters
    ----------
    tally
        What was labelled, of two maps (`coslide.evaluation.stratified.Tally`).
    other
        Folder of the second map.
    pixel_km2
        Area of a pixel [km2].
    """
    there = tally.pixels.sum(axis=1) > 0
    held = Tally(tally.labels[there], tally.pixels[there])

    def both(matrices: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
        pair = matrices.reshape(*matrices.shape[:-2], 2, 2, 2)  # this map, the other one, label
        return rates_of(pair.sum(axis=-2)), rates_of(pair.sum(axis=-3))

    these, others = both(np.tensordot(held.weights, held.shares, 1))
    drawn = both(posterior(held))
    found: dict[str, Any] = {}
    for name in ("precision", "recall", "f1", "overall_accuracy"):
        low, high = interval(drawn[0][name] - drawn[1][name])
        this, that = float(these[name]), float(others[name])
        found[name] = Difference(this=this, other=that, difference=this - that, low=low, high=high)
    one, two = (float(tally.pixels[:, part].sum()) * pixel_km2 for part in ([2, 3], [1, 3]))
    mapped = Difference(this=one, other=two, difference=one - two, low=one - two, high=one - two)
    areas: dict[str, Any] = {"sampled_km2": float(tally.pixels.sum()) * pixel_km2, "mapped_km2": mapped}
    return Comparison(other=other, labelled=int(tally.labels.sum()), **areas, **found)


_RATES = {"precision": "precision", "recall": "recall", "f1": "F1", "overall_accuracy": "overall accuracy"}


def estimate_rows(found: Assessment) -> list[tuple[str, ...]]:
    """Write what was estimated as text: a header, and a row each."""
    rows: list[tuple[str, ...]] = [("estimate", "value", "from", "to (95 %)")]
    for name, word in {"area_km2": "landslide area, km2", **_RATES}.items():
        one: Estimate = getattr(found, name)
        rows.append((word, *map(in_words, (one.estimate, one.low, one.high))))
    return rows


def stratum_rows(found: Assessment) -> list[tuple[str, ...]]:
    """Write the labels of each stratum as text: a header, and a row each."""
    columns = {
        "pixels": "pixels", "labelled": "labelled", "landslide": "landslide", "cannot_tell": "cannot tell",
        "not_labelled": "not yet", "more_for_f1": "more for F1", "more_for_area": "more for area",
    }  # fmt: skip
    rows = [(row.name, *(str(getattr(row, name)) for name in columns)) for row in found.strata]
    return [("stratum", *columns.values()), *rows]


def comparison_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Write a comparison as text: a header, and a row each."""
    rows: list[tuple[str, ...]] = [("rate", "this map", "other map", "difference", "from", "to (95 %)")]
    for name, word in {"mapped_km2": "mapped area, km2", **_RATES}.items():
        one: Difference = getattr(found, name)
        numbers = (one.this, one.other, one.difference, one.low, one.high)
        rows.append((word, *map(in_words, numbers if name in _RATES else (*numbers[:3], None, None))))
    return rows
