"""What a page says about scores: the table with the baselines, how sure they are, curves, landslides one by one."""

from collections.abc import Iterator, Mapping
from typing import Any

from coslide.report.page import Picture, Section, Table, percent, score
from coslide.report.pictures import figure_picture
from coslide.report.score_figures import (
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    size_recall_figure,
)

_SCORES = (
    ("f1", "F1", "precision and recall in one number (their harmonic mean); 1 is perfect"),
    ("precision", "precision", "share of the cells called landslide that are one"),
    ("recall", "recall", "share of the landslide cells that were found"),
    ("iou_landslide", "IoU", "cells found, over cells found, missed or falsely called"),
    ("average_precision", "average precision", "mean precision over all thresholds; 1 is perfect"),
    ("oa", "overall accuracy", "share of all cells that are right; high wherever landslides are rare"),
    ("kappa", "kappa", "agreement beyond chance"),
)


def score_sections(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """Return the sections of a page about scores.

    Parameters
    ----------
    metrics
        As `coslide.evaluate` returns them; parts that are missing or empty are left out.
    """
    yield _table(metrics)
    pictures = []
    if metrics.get("curves"):
        pictures = [
            Picture(figure_picture(precision_recall_figure(metrics)), "Precision over recall", "At every threshold."),
            Picture(figure_picture(reliability_figure(metrics)), "Reliability", "What a probability is worth."),
            Picture(figure_picture(roc_figure(metrics)), "ROC curve", "False alarms and recall."),
        ]
    if pictures:
        yield Section("Curves", "The same ground; squares are the baselines at their thresholds.", pictures)
    if metrics.get("objects"):
        yield _objects(metrics)


def _table(metrics: Mapping[str, Any]) -> Section:
    pixels, split, calibration = metrics["pixels"], metrics["split"], metrics["calibration"]
    baselines = metrics.get("baselines", {})
    intervals = pixels.get("intervals", {})
    rows = []
    for name, label, meaning in _SCORES:
        low, high = intervals.get(name, (None, None))
        spread = "–" if low is None else f"{low:.2f} to {high:.2f}"
        others = (score(row, name) for row in baselines.values())
        rows.append((label, score(pixels, name), spread, *others, meaning))
    if calibration:
        error = "mean distance between the probability given and how often it came true; 0 is perfect"
        rows.append(("calibration error", score(calibration, "ece"), "–", *("–" for _ in baselines), error))
    columns = ("score", "value", "95 % interval", *baselines, "what it means")
    return Section(_title(split), _note(pixels, split, baselines), table=Table(columns, rows, frozenset(columns[1:-1])))


def _title(split: Mapping[str, Any]) -> str:
    return "Scores" if split["scheme"] == "unknown" else "Scores on ground that training did not see"


def _note(pixels: Mapping[str, Any], split: Mapping[str, Any], baselines: Mapping[str, Any]) -> str:
    note = f"Landslide cells: {pixels['tp']} found, {pixels['fn']} missed, {pixels['fp']} false alarms. "
    if split["scheme"] == "unknown":
        note += "What the map was made from is not known, so the scores may count ground that training saw."
    elif split["scheme"] == "all":
        note += "The model was trained elsewhere; all mapped ground is scored."
    else:
        note += (
            f"Split {split['scheme']}: {percent(split['leak_fraction'])} of the held-out tiles' ground was seen in "
            "training. Held-out ground lies beside the ground of training; on another earthquake expect less."
        )
    if pixels.get("intervals"):
        note += f" Intervals: {pixels['interval_blocks']} blocks of ground, drawn again 1000 times."
    if baselines:
        note += f" Beside the model: {' and '.join(baselines)}, which see one cell at a time, on the same ground."
    return note


def _objects(metrics: Mapping[str, Any]) -> Section:
    found = metrics["objects"]
    picture = Picture(figure_picture(size_recall_figure(metrics)), "Share of mapped landslides found, by their size")
    note = (
        f"Of {found['n_mapped']} mapped landslides {found['n_found']} were found (half of their cells or more). By "
        f"their outlines, {found['n_matched']} are matched one to one, {found['n_split']} recognised in parts and "
        f"{found['n_merged']} together with others. Of {found['n_recognised']} recognised landslides, "
        f"{found['n_false_without_overlap']} touch no mapped one."
    )
    return Section("Landslides one by one", note, [picture])
