"""A study: many trainings of one kind, what each of them scores, and their table, as records."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field

from coslide.config.records import StrictModel
from coslide.config.training import TrainingSettings
from coslide.display.overview import Overview, Shown
from coslide.evaluation.comparison import Comparison
from coslide.evaluation.pixels import PixelRates
from coslide.evaluation.scores import (
    BaselineScores,
    MapScores,
    NetworkDiagnostics,
    Scores,
    SizeClass,
)
from coslide.evaluation.study_regions import RegionOfStudy

Protocol = Literal["own", "paper"]
NETWORK = "network"
OWN, ORACLE, TRAINED = "own", "oracle", "trained"
SAMPLES, POOLED = "samples", "pooled"
_INTERVALS = ("f1", "average_precision")


class Run(StrictModel):
    """A training of a study, and all that decides its result."""

    name: str
    """Its folder in that of the study."""
    case: str
    """What it stands for among the trainings of the study: a network, an index set, or the event that is unseen."""
    seed: int
    """Seed of the training."""
    train: dict[str, str]
    """What it trains on: each path, and the fingerprint of what is there."""
    test_on: dict[str, str]
    """What it holds out as a whole, in the same way."""
    settings: dict[str, Any]
    """All settings of the training, by their dotted names."""
    regions: str = ""
    """Fingerprint of the split that the file `split.regions` makes, where there is one."""
    protocol: Protocol = "own"
    """`own`, as the settings of the study have it, or that of the `paper` beside it."""
    baselines: bool = True
    """Whether the baselines are made and scored on its split too."""
    done: bool = False
    """Whether all of its folder was written."""
    made_with: str = ""
    """Versions of coslide and torch that finished it."""
    finished: str = ""
    """Day on which it was finished (UTC), as in 2026-11-29."""

    @property
    def scheme(self) -> str:
        """How its pixels were held out: `split.scheme` of its settings."""
        return str(self.settings["split.scheme"])

    def same_as(self, other: Self) -> bool:
        """Tell whether both have the same settings and inputs, wherever these lie.

        A setting that one of them lacks, as it is newer, counts as its default. A file of regions is known by the split
        that it makes, wherever it lies.
        """
        defaults = TrainingSettings().dotted()
        mine, its = (
            (
                defaults | run.settings | {"split.regions": run.regions},
                *(list(part.values()) for part in (run.train, run.test_on)),
            )
            for run in (self, other)
        )
        return mine == its

    def does(self, other: Self) -> bool:
        """Tell whether this run is whole, and has all that `other` asks for."""
        return self.done and self.same_as(other) and self.baselines >= other.baselines


class ThresholdScores(PixelRates):
    """Pixel scores at one threshold."""

    threshold: float
    """From this probability on a pixel counts as landslide."""


class StudyRow(StrictModel):
    """Scores of one method in one run, on the held-out pixels."""

    case: str
    """As in a run."""
    protocol: Protocol
    """As in a run."""
    scheme: str
    """How the pixels were held out: `split.scheme` of the settings."""
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
    on the scored pixels themselves, which is a bound and no result. Of the paper's protocol also `samples`, the mean
    over the held-out samples as it was published, and `pooled`, all pixels of them together: training saw some."""
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
    parameters: int | None = None
    """Learned numbers of the network; null for a baseline."""
    params_table4: int | None = None
    """The measure of the paper's Table 4 (`coslide.networks.cost`)."""
    bands: int | None = None
    """Bands that the network is fed."""
    sizes: list[SizeClass] = Field(default_factory=list)
    """Landslides found by the network, by their size."""
    vital_signs: list[NetworkDiagnostics] = Field(default_factory=list)
    """What each member of the network has learned."""

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
    """As in a row; null for all: then each is its mean over the seeds, and counts alike."""
    protocol: Protocol
    """As in a row."""
    method: str
    """As in a row."""
    count: int
    """Seeds, or events."""
    scores: dict[str, Spread]
    """By the names of the columns of study.csv."""


class Study(Shown, StrictModel):
    """All that a study found; ``study.json``.

    Examples
    --------
    >>> run = Run(name="egcn/seed-0", case="egcn", seed=0, train={"index.zarr": ""}, test_on={}, settings={})
    >>> study_of([run], [], name="networks", title="Networks on one event", case_is="the network")
    <Study 'Networks on one event'>
      varies  the network
      cases   egcn
      seeds   0
      runs    0 of 1 done
    """

    name: str
    """Of the study, such as `transfer`."""
    title: str
    """The same in words."""
    case_is: str
    """What it varies, in words."""
    event: str = ""
    """What all of it is trained and scored on, where that is one event."""
    settings: dict[str, Any]
    """Settings that all runs share, by their dotted names."""
    runs: list[Run] = Field(min_length=1)
    """The trainings."""
    rows: list[StudyRow]
    """Their scores."""
    summaries: list[StudySummary]
    """The same over the seeds, and then over the cases, for methods that all of them have."""
    comparisons: list[Comparison] = Field(default_factory=list)
    """Each pair of cases of one factor, by the first protocol."""
    regions: list[RegionOfStudy] = Field(default_factory=list)
    """Regions whose maps were drawn, with the scores of the first seed there."""

    def overview(self) -> Overview:
        """Say what the study varies, how far it is, and how its cases score."""
        done = sum(run.done for run in self.runs)
        rows = [("case", "protocol", "method", "F1", "deviation", "AP")]
        for one in self.summaries:
            f1, ranked = one.scores.get(f"{OWN}_f1"), one.scores.get("average_precision")
            deviation = "" if f1 is None or f1.deviation is None else f"{f1.deviation:.3f}"
            numbers = ["" if found is None else f"{found.mean:.3f}" for found in (f1, ranked)]
            rows.append((one.case or "all", one.protocol, one.method, numbers[0], deviation, numbers[1]))
        facts = {
            "varies": self.case_is,
            "event": self.event,
            "cases": ", ".join(dict.fromkeys(run.case for run in self.runs)),
            "seeds": ", ".join(map(str, dict.fromkeys(run.seed for run in self.runs))),
            "runs": f"{done} of {len(self.runs)} done",
        }
        return Overview(self.title, facts, {"Scores, means over the seeds": rows})

    @property
    def protocols(self) -> list[Protocol]:
        """The protocols of its runs, its own first."""
        return list(dict.fromkeys(run.protocol for run in self.runs))


def study_of(
    runs: Sequence[Run], rows: Sequence[StudyRow], *, name: str, title: str, case_is: str, event: str = ""
) -> Study:
    """Put the rows of a study into one record, with their means and spreads.

    Parameters
    ----------
    runs
        The runs.
    rows
        From `rows_of`, of all runs.
    name, title, case_is, event
        As in `Study`.
    """
    first = runs[0].settings
    shared = {key: value for key, value in first.items() if all(run.settings.get(key) == value for run in runs)}
    return Study(
        name=name,
        title=title,
        case_is=case_is,
        event=event,
        settings=shared,
        runs=list(runs),
        rows=list(rows),
        summaries=_summaries(rows),
    )


def rows_of(run: Run, scores: Scores, cost: Mapping[str, int] | None = None) -> list[StudyRow]:
    """List the scores of a run, of the network first.

    Parameters
    ----------
    run
        The run.
    scores
        What its ``metrics.json`` has.
    cost
        `parameters`, `params_table4` and `bands` of its network, where they are known.
    """
    methods: dict[str, MapScores | BaselineScores] = {NETWORK: scores.pixels}
    methods |= scores.baselines if run.baselines else {}
    own = scores.calibration.threshold if scores.calibration else 0.5
    pixels, found = scores.pixels, []
    common: dict[str, Any] = {
        "case": run.case,
        "protocol": run.protocol,
        "scheme": run.scheme,
        "seed": run.seed,
        "run": run.name,
        "scored_pixels": scores.split.scored_pixels,
        "landslide_share": (pixels.tp + pixels.fn) / max(scores.split.scored_pixels, 1),
        "interval_blocks": pixels.interval_blocks,
        "leak_fraction": scores.split.leak_fraction,
    }
    of_network = {
        **(cost or {}),
        "sizes": scores.objects.recall_by_size,
        "vital_signs": scores.vital_signs,
    }
    for method, one in methods.items():
        at = {OWN: _at(one, one.threshold if isinstance(one, BaselineScores) else own)}
        if isinstance(one, MapScores) and one.trained is not None:
            at[TRAINED] = _at(one.trained, one.trained.threshold)
        if method == NETWORK and scores.samples is not None:
            at |= {SAMPLES: _at(scores.samples.mean, own)} if scores.samples.mean else {}
            at[POOLED] = _at(scores.samples.pooled, own)
        if one.oracle is not None:
            at[ORACLE] = _at(one.oracle, one.oracle.threshold)
        intervals = {name: one.intervals[name] for name in _INTERVALS if name in one.intervals}
        own_part = common | (of_network if method == NETWORK else {})
        ranked = one.average_precision
        found.append(StudyRow(**own_part, method=method, average_precision=ranked, at=at, intervals=intervals))
    return found


def _at(one: PixelRates, threshold: float) -> ThresholdScores:
    return ThresholdScores(threshold=threshold, **{name: getattr(one, name) for name in PixelRates.model_fields})


def _summaries(rows: Sequence[StudyRow]) -> list[StudySummary]:
    """Average the rows of each case and method, and then these of each method that all cases have."""
    of_case: dict[tuple[str, Protocol, str], list[dict[str, float | None]]] = {}
    for row in rows:
        of_case.setdefault((row.case, row.protocol, row.method), []).append(row.values())
    found = [_summary(case, protocol, method, values) for (case, protocol, method), values in of_case.items()]
    cases = {(case, protocol): None for case, protocol, _ in of_case}
    for protocol, method in dict.fromkeys(key[1:] for key in of_case):
        own = [one for one in found if (one.protocol, one.method) == (protocol, method)]
        if len(own) == sum(its == protocol for _, its in cases) > 1:
            means = [{name: spread.mean for name, spread in one.scores.items()} for one in own]
            found.append(_summary(None, protocol, method, means))
    return found


def _summary(
    case: str | None, protocol: Protocol, method: str, values: Sequence[Mapping[str, float | None]]
) -> StudySummary:
    """Find mean and spread of each score; over all cases none of the bounds of intervals, which are of other pixels."""
    without = () if case is not None else tuple(f"{name}_" for name in _INTERVALS)
    scores = {}
    for name in values[0]:
        given = [one.get(name) for one in values]
        known = [value for value in given if value is not None]
        if len(known) == len(given) and not name.startswith(without):
            deviation = statistics.stdev(known) if len(known) > 1 else None
            scores[name] = Spread(mean=statistics.fmean(known), deviation=deviation)
    return StudySummary(case=case, protocol=protocol, method=method, count=len(values), scores=scores)
