"""The tables of a study as text: means and spreads over the seeds, the best marked, and what the paper has beside."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from coslide.config.factors import Factor
from coslide.evaluation.scores import SizeClass
from coslide.evaluation.study import (
    NETWORK,
    ORACLE,
    OWN,
    POOLED,
    SAMPLES,
    TRAINED,
    Protocol,
    Study,
    StudyRow,
    StudySummary,
)

NONE = "–"
_PIXEL_COLUMNS = {
    "oa": ("OA", 4),
    "miou": ("mIoU", 3),
    "miou_paper": ("mIoU of the paper", 4),
    "kappa": ("kappa", 3),
    "f1": ("F1", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
}


class Entry(NamedTuple):
    """A value of a table; the best of its column is set in bold."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """A table: its caption, the heads of its columns, and its rows; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: list[list[Entry]]


class FactorTables(NamedTuple):
    """The tables of a study of one factor; those without a row have nothing to show.

    Attributes
    ----------
    scores
        Of each protocol.
    leak
        What the paper's protocol reports above the study's own.
    paper
        What Yang et al. (2023) report.
    further
        Landslides found by size, what was learned, and what it costs.
    """

    scores: dict[Protocol, Table]
    leak: Table
    paper: Table
    further: list[Table]

    def shown(self) -> list[Table]:
        """List those that have something to show."""
        return [table for table in (*self.scores.values(), self.leak, self.paper, *self.further) if table.rows]


def factor_tables(found: Study, factor: Factor) -> FactorTables:
    """Write the tables of a study of one factor.

    Parameters
    ----------
    found
        The study.
    factor
        What it varies.
    """
    further = [table for table in (_sizes(found), _learned(found), _cost(found)) if table.rows]
    scores = {protocol: _scores(found, protocol) for protocol in found.protocols}
    return FactorTables(scores, _leak(found), _paper(found, factor), further)


def transfer_rows(found: Study, *, brief: bool = False) -> list[tuple[str, ...]]:
    """Write the summaries of `study transfer` as text: a header, and a row each; mean ± deviation of several.

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


def brief_rows(found: Study) -> list[tuple[str, ...]]:
    """Write the scores of each case as a terminal has room for them: a header, and a row each."""
    columns = {"own_f1": "F1", "own_precision": "precision", "own_recall": "recall", "average_precision": "AP"}
    several = len(found.protocols) > 1
    rows = [(found.case_is, *(["protocol"] if several else []), *columns.values())]
    for one in sorted(found.summaries, key=lambda one: one.method != NETWORK):
        if one.case is not None:
            name = one.case if one.method == NETWORK else _baseline(found, one)
            rows.append((name, *([one.protocol] if several else []), *(_mean(one, column) for column in columns)))
    return rows


def of_networks(found: Study, protocol: Protocol) -> dict[str, StudySummary]:
    """List the summaries of the trained networks by case, in the order of the cases."""
    own = (one for one in found.summaries if (one.protocol, one.method) == (protocol, NETWORK))
    return {one.case: one for one in own if one.case is not None}


def _scores(found: Study, protocol: Protocol) -> Table:
    """Write the scores of all cases by one protocol, and of the baselines on the same pixels.

    By the paper's they are as it computes them, averaged over the held-out samples.
    """
    how = OWN if protocol == "own" else SAMPLES
    own, columns = of_networks(found, protocol), {f"{how}_{name}": words for name, words in _PIXEL_COLUMNS.items()}
    if protocol == "own":
        columns |= {"average_precision": ("AP", 3), f"{ORACLE}_f1": ("best F1", 3)}
    best = {name: max(known) for name in columns if (known := [v for one in own.values() if (v := _of(one, name))])}
    best.pop(f"{ORACLE}_f1", None)  # a bound is no result
    parameters = {row.case: row.parameters for row in found.rows if row.method == NETWORK}
    rows = []
    for case, one in own.items():
        entries = [
            Entry(_mean(one, name, digits), _of(one, name) == best.get(name, NONE))
            for name, (_, digits) in columns.items()
        ]
        rows.append([Entry(case), Entry(_millions(parameters[case])), *entries])
    others = [one for one in found.summaries if (one.protocol, protocol) == ("own", "own") and one.method != NETWORK]
    for one in (one for one in others if one.case is not None):
        texts = [_baseline(found, one), NONE, *(_mean(one, key, digits) for key, (_, digits) in columns.items())]
        rows.append([Entry(text) for text in texts])
    heads = (found.case_is, "parameters", *(head for head, _ in columns.values()))
    by_own, by_paper = "Scores on held-out pixels", "Scores as the paper computes them: mean over held-out samples"
    return Table(by_own if protocol == "own" else by_paper, heads, rows)


def _baseline(found: Study, one: StudySummary) -> str:
    """Name a baseline, and the case that it goes with where there are several of it."""
    alone = len({other.case for other in found.summaries if other.method == one.method and other.case}) == 1
    return one.method if alone else f"{one.method}, {one.case}"


def _leak(found: Study) -> Table:
    """Compare what the paper's protocol reports with what the study's own does, for the same cases."""
    rows, ours = [], of_networks(found, "own")
    for case, one in of_networks(found, "paper").items():
        by_paper, by_own = (_rows_of(found, case, protocol) for protocol in ("paper", "own"))
        if case not in ours or not by_own:
            continue
        shares = [statistics.fmean(row.landslide_share for row in some) for some in (by_paper, by_own)]
        seen = statistics.fmean(row.leak_fraction for row in by_paper)
        names = [f"{how}_f1" for how in (SAMPLES, POOLED, OWN)]
        published, fair = _of(one, names[0]), _of(ours[case], names[2])
        gain = NONE if published is None or fair is None else f"{published - fair:+.3f}"
        entries = [*(_mean(one, name) for name in names), _mean(ours[case], names[2]), gain]
        texts = [case, f"{100 * seen:.0f} %", *entries, *(f"{100 * share:.1f} %" for share in shares)]
        rows.append([Entry(text) for text in texts])
    heads = (
        found.case_is,
        "of a held-out sample, seen in training",
        "F1 as published: mean over samples",
        "F1, their pixels pooled",
        "F1, pixels of them that no training sample shows",
        "F1 by the study's own protocol",
        "as published, less that",
        "landslide among the pixels that no training sample shows",
        "landslide among those of the study's own protocol",
    )
    return Table("How much of the paper's score is its protocol", heads, rows)


def _paper(found: Study, factor: Factor) -> Table:
    """Show what Yang et al. (2023) report of the cases that are trained with EGCN here too."""
    rows = []
    for case in dict.fromkeys(run.case for run in found.runs if str(run.settings["network"]).startswith("egcn")):
        if case in factor.paper:
            one = factor.paper[case]
            rows.append([Entry(case), *(Entry(f"{value:.5f}") for value in (one.oa, one.miou, one.kappa, one.f1))])
    caption = "Yang et al. (2023), Tables 6 and 7, for orientation only: of another event, on samples seen in training"
    return Table(caption, (found.case_is, "OA", "mIoU of the paper", "kappa", "F1"), rows)


def _sizes(found: Study) -> Table:
    """Show the share of mapped landslides that each case found, by size; mean over the seeds."""
    rows = _network_rows(found)
    classes = rows[0].sizes if rows else []
    table = []
    for case, own in _by_case(rows).items():
        texts = []
        for i in range(len(classes)):
            shares = [recall for row in own if (recall := row.sizes[i].recall) is not None]
            mapped = statistics.fmean(row.sizes[i].n_mapped for row in own)
            texts.append(f"{_spread(shares, digits=2)} of {mapped:.0f}" if shares else NONE)
        table.append([Entry(case), *map(Entry, texts)])
    heads = (found.case_is, *(_size(one) for one in classes))
    caption = "Share of mapped landslides found, by size in pixels: mean ± deviation over the seeds, of so many a seed"
    return Table(caption, heads, table)


def _learned(found: Study) -> Table:
    """Show what each depth of a network has learned: spread of its kernels over the first one, and its worth."""
    table = []
    for case, own in _by_case(_network_rows(found)).items():
        signs = [one for row in own for one in row.vital_signs]
        if not signs or len(signs[0].depths) < 2:
            continue
        spreads = [[one.depths[i].kernel_spread for one in signs] for i in range(len(signs[0].depths))]
        worth = [[one.depths[i].ap_lost for one in signs] for i in range(1, len(signs[0].depths))]
        branch = [one.branch_ap_lost for one in signs]
        texts = [_average(values) for values in spreads]
        texts += [_average(values, digits=3) for values in [*worth, branch]]
        table.append([Entry(case), *map(Entry, texts)])
    depths = max((len(row) for row in table), default=2) // 2
    heads = (
        found.case_is,
        *(f"spread, depth {i}" for i in range(1, depths + 1)),
        *(f"AP lost without depth {i} and below" for i in range(2, depths + 1)),
        "AP lost without the second branch",
    )
    caption = "What was learned: spread of the kernels over that before training, and average precision lost"
    return Table(caption, heads, [row for row in table if len(row) == len(heads)])


def _cost(found: Study) -> Table:
    """Show the size of each network."""
    table = []
    for case, own in _by_case(_network_rows(found)).items():
        numbers = [own[0].bands, own[0].parameters, own[0].params_table4]
        table.append([Entry(case), *(Entry(NONE if number is None else f"{number:,}") for number in numbers)])
    return Table("Size", (found.case_is, "bands", "parameters", "parameters by Table 4"), table)


def _network_rows(found: Study) -> list[StudyRow]:
    """List the rows of networks by the study's own protocol."""
    return [row for row in found.rows if (row.method, row.protocol) == (NETWORK, "own")]


def _rows_of(found: Study, case: str, protocol: str) -> list[StudyRow]:
    """List the rows of the networks of a case by a protocol."""
    return [row for row in found.rows if (row.method, row.protocol, row.case) == (NETWORK, protocol, case)]


def _by_case(rows: Sequence[StudyRow]) -> dict[str, list[StudyRow]]:
    found: dict[str, list[StudyRow]] = {}
    for row in rows:
        found.setdefault(row.case, []).append(row)
    return found


def _size(one: SizeClass) -> str:
    return f"{one.pixels_min}–{one.pixels_max}" if one.pixels_max else f"≥ {one.pixels_min}"


def _of(one: StudySummary, name: str) -> float | None:
    return one.scores[name].mean if name in one.scores else None


def _mean(one: StudySummary, name: str, digits: int = 3) -> str:
    spread = one.scores.get(name)
    if spread is None:
        return NONE
    return f"{spread.mean:z.{digits}f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.{digits}f}")


def _spread(values: Sequence[float], *, digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def _bounds(one: StudySummary, name: str) -> str:
    """Write the bounds of an interval, which of several seeds are their means."""
    ends = [one.scores.get(f"{name}_{end}") for end in ("low", "high")]
    return " to ".join(f"{end.mean:.2f}" for end in ends if end is not None) or NONE


def _average(values: Sequence[float | None], *, digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):z.{digits}f}" if known else NONE


def _millions(count: int | None) -> str:
    return NONE if count is None else f"{count / 1e6:.2f} M"
