"""A study: many trainings of one kind, what each of them scores, and their table, as records and as text."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from pydantic import Field

from coslide.config.records import StrictModel
from coslide.evaluation.scores import BaselineScores, MapScores, PixelScoresAt, Scores

NETWORK = "network"
OWN, ORACLE, TRAINED = "own", "oracle", "trained"
_RATES = ("f1", "precision", "recall", "iou_landslide")
_INTERVALS = ("f1", "average_precision")


class Run(StrictModel):
    """A training of a study, and all that decides its result."""

    name: str
    """Its folder in that of the study."""
    case: str
    """What the study varies: the event that is unseen."""
    seed: int
    """Seed of the training."""
    train: dict[str, str]
    """What it trains on: each path, and the fingerprint of what is there."""
    test_on: dict[str, str]
    """What it holds out as a whole, in the same way."""
    settings: dict[str, Any]
    """All settings of the training, by their dotted names."""
    done: bool = False
    """Whether all of its folder was written."""

    def same_as(self, other: Self) -> bool:
        """Tell whether both have the same settings and inputs, wherever these lie."""
        mine, its = (
            (run.settings, *(list(part.values()) for part in (run.train, run.test_on))) for run in (self, other)
        )
        return mine == its


class ThresholdScores(StrictModel):
    """Pixel scores at one threshold."""

    threshold: float
    """From this probability on a pixel counts as landslide."""
    f1: float
    """F1 of the landslide class."""
    precision: float
    """Share of the pixels called landslide that are one."""
    recall: float
    """Share of the landslide pixels that were found."""
    iou_landslide: float
    """IoU of the landslide class."""


class StudyRow(StrictModel):
    """Scores of one method in one run, on the held-out pixels."""

    case: str
    """What the study varies: the event that was unseen."""
    seed: int
    """Seed of the training."""
    run: str
    """Folder of the run in that of the study; its metrics.json has every score."""
    method: str
    """`network`, `random forest`, or what of two dates, or of one, was given a threshold."""
    average_precision: float | None
    """Area under the precision-recall curve; null without landslide."""
    at: dict[str, ThresholdScores]
    """Scores by how the threshold was chosen: `own` on the validation set (without one, as `metrics.json` tells), or
    with `threshold = "scene"` from the map alone, and `trained` on the validation set then (0.5 without one); `oracle`
    on the scored pixels themselves, which is a bound and no result."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals of `f1` at the own threshold and of `average_precision` (bootstrap over squares of 128 pixels)."""
    scored_pixels: int
    """Pixels that were scored."""
    landslide_share: float
    """Share of them that is landslide: the precision of a map that calls everything one."""
    interval_blocks: int
    """Squares that the bootstrap drew."""
    leak_fraction: float
    """Mean share of a held-out tile that training saw."""

    def values(self) -> dict[str, float | None]:
        """List the scores by flat names, such as ``own_f1``."""
        rates = {f"{how}_{name}": value for how, scores in self.at.items() for name, value in scores}
        bounds = {
            f"{name}_{end}": self.intervals.get(name, (None, None))[i]
            for name in _INTERVALS
            for i, end in enumerate(("low", "high"))
        }
        return {"average_precision": self.average_precision, **rates, **bounds}


class Spread(StrictModel):
    """A score over several runs or events."""

    mean: float
    """Mean."""
    deviation: float | None
    """Standard deviation between them (n - 1); null for one."""


class StudySummary(StrictModel):
    """Scores of one method on one case over the seeds, or over all cases."""

    case: str | None
    """The event that was unseen; null for all: then each is its mean over the seeds, and counts alike."""
    method: str
    """As in a row."""
    count: int
    """Seeds, or events."""
    scores: dict[str, Spread]
    """By the names of the columns of study.csv."""


class Study(StrictModel):
    """All that a study found; ``study.json``."""

    name: str
    """Of the study, such as `transfer`."""
    case_is: str
    """What it varies, in words."""
    settings: dict[str, Any]
    """Settings that all runs share, by their dotted names."""
    runs: list[Run] = Field(min_length=1)
    """The trainings."""
    rows: list[StudyRow]
    """Their scores."""
    summaries: list[StudySummary]
    """The same over the seeds, and then over the cases, for methods that all of them have."""


def study_of(name: str, case_is: str, runs: Sequence[tuple[Run, Scores]]) -> Study:
    """Put the scores of the runs of a study into one table.

    Parameters
    ----------
    name, case_is
        As in `Study`.
    runs
        Each run and its scores.
    """
    rows = [row for run, scores in runs for row in _rows(run, scores)]
    first = runs[0][0].settings
    shared = {key: value for key, value in first.items() if all(run.settings.get(key) == value for run, _ in runs)}
    plain = [run for run, _ in runs]
    return Study(name=name, case_is=case_is, settings=shared, runs=plain, rows=rows, summaries=_summaries(rows))


def _rows(run: Run, scores: Scores) -> list[StudyRow]:
    """List the scores of a run, of the network first."""
    methods: dict[str, MapScores | BaselineScores] = {NETWORK: scores.pixels}
    methods |= scores.baselines
    own = scores.calibration.threshold if scores.calibration else 0.5
    pixels = scores.pixels
    common: dict[str, Any] = {
        "case": run.case,
        "seed": run.seed,
        "run": run.name,
        "scored_pixels": scores.split.scored_pixels,
        "landslide_share": (pixels.tp + pixels.fn) / max(scores.split.scored_pixels, 1),
        "interval_blocks": pixels.interval_blocks,
        "leak_fraction": scores.split.leak_fraction,
    }
    found = []
    for method, one in methods.items():
        at = {OWN: _at(one, one.threshold if isinstance(one, BaselineScores) else own)}
        if isinstance(one, MapScores) and one.trained is not None:
            at[TRAINED] = _at(one.trained, one.trained.threshold)
        if one.oracle is not None:
            at[ORACLE] = _at(one.oracle, one.oracle.threshold)
        intervals = {name: one.intervals[name] for name in _INTERVALS if name in one.intervals}
        row = StudyRow(**common, method=method, average_precision=one.average_precision, at=at, intervals=intervals)
        found.append(row)
    return found


def _at(one: MapScores | BaselineScores | PixelScoresAt, threshold: float) -> ThresholdScores:
    return ThresholdScores(threshold=threshold, **{name: getattr(one, name) for name in _RATES})


def _summaries(rows: Sequence[StudyRow]) -> list[StudySummary]:
    """Average the rows of each case and method, and then these of each method that all cases have."""
    of_case: dict[tuple[str, str], list[dict[str, float | None]]] = {}
    for row in rows:
        of_case.setdefault((row.case, row.method), []).append(row.values())
    found = [_summary(case, method, values) for (case, method), values in of_case.items()]
    cases, methods = ({key[i]: None for key in of_case} for i in (0, 1))
    for method in methods:
        own = [one for one in found if one.method == method and one.case is not None]
        if len(own) == len(cases) > 1:
            means = [{name: spread.mean for name, spread in one.scores.items()} for one in own]
            found.append(_summary(None, method, means, without=[f"{name}_" for name in _INTERVALS]))
    return found


def _summary(
    case: str | None, method: str, values: Sequence[Mapping[str, float | None]], *, without: Iterable[str] = ()
) -> StudySummary:
    """Find mean and spread of each score; of names that begin as `without`, none: bounds of other pixels."""
    scores = {}
    for name in values[0]:
        given = [one.get(name) for one in values]
        known = [value for value in given if value is not None]
        if len(known) == len(given) and not name.startswith(tuple(without)):
            deviation = statistics.stdev(known) if len(known) > 1 else None
            scores[name] = Spread(mean=statistics.fmean(known), deviation=deviation)
    return StudySummary(case=case, method=method, count=len(values), scores=scores)


def study_rows(found: Study, *, brief: bool = False) -> list[tuple[str, ...]]:
    """Write the summaries of a study as text: a header, and a row each; mean ± deviation where there are several.

    `brief` leaves out what a terminal has no room for.
    """
    columns = {
        "average_precision": "AP",
        "AP": "AP 95 %",
        f"{OWN}_f1": "F1",
        "F1": "F1 95 %",
        f"{OWN}_precision": "precision",
        f"{OWN}_recall": "recall",
        f"{OWN}_iou_landslide": "IoU",
        f"{OWN}_threshold": "threshold",
        **({f"{TRAINED}_f1": "trained F1"} if any(TRAINED in row.at for row in found.rows) else {}),
        f"{ORACLE}_f1": "oracle F1",
    }
    if brief:
        left_out = {f"{TRAINED}_f1"}
        columns = {n: head for n, head in columns.items() if n not in left_out and (head == "AP" or "F1" in head)}
    rows: list[tuple[str, ...]] = [(found.case_is, "method", *columns.values())]
    for one in found.summaries:
        bounds = {short: _bounds(one, name) for short, name in (("AP", "average_precision"), ("F1", "f1"))}
        values = [bounds.get(name) or _mean(one, name) for name in columns]
        rows.append((f"all {one.count}, mean" if one.case is None else one.case, one.method, *values))
    return rows


def _mean(one: StudySummary, name: str) -> str:
    spread = one.scores.get(name)
    if spread is None:
        return "–"
    return f"{spread.mean:.3f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.3f}")


def _bounds(one: StudySummary, name: str) -> str:
    """Write the bounds of an interval, which of several seeds are their means."""
    ends = [one.scores.get(f"{name}_{end}") for end in ("low", "high")]
    return " to ".join(f"{end.mean:.2f}" for end in ends if end is not None) or "–"
