"""Scores as files: metrics.json for programs, metrics.md, tiles.csv and figures for people."""

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coslide.evaluation.objects import PAPER_SMALLEST_CELLS
from coslide.evaluation.pixels import Confusion, scores
from coslide.io.atomic import whole_output, write_json
from coslide.labels import LANDSLIDE
from coslide.pipeline.scoring import SIDE_PX, ScoredMap, block_confusion
from coslide.report.score_figures import (
    area_figure,
    error_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    size_recall_figure,
)

COLUMNS = ("f1", "precision", "recall", "iou_landslide", "average_precision", "kappa", "oa", "miou", "miou_paper")
HEADS = ("F1", "precision", "recall", "IoU", "AP", "kappa", "OA", "mIoU", "mIoU of the paper")
FIGURES = "figures"


def write_scores(folder: Path, metrics: dict[str, Any], maps: Sequence[ScoredMap], *, threshold: float) -> None:
    """Return nothing; leaves ``metrics.json``, ``metrics.md``, ``tiles.csv`` and ``figures/`` in `folder`.

    Parameters
    ----------
    folder
        Of a run.
    metrics
        As `coslide.pipeline.scoring.held_out_scores` gives them.
    maps
        What they are of.
    threshold
        From which probability a cell counts as landslide.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    write_json(folder / "metrics.json", metrics)
    with whole_output(folder / "metrics.md") as part:
        part.write_text("\n".join(_lines(metrics)) + "\n", encoding="utf-8")
    with whole_output(folder / "tiles.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["event", "row", "col", "tp", "fp", "fn", "tn", "f1", "precision", "recall", "iou_landslide"])
        table.writerows(_tile_rows(maps, threshold))
    for old in (folder / FIGURES).glob("*.png"):  # of an earlier evaluation, which may have drawn others
        old.unlink()
    for name, figure in _figures(metrics, maps, threshold):
        with whole_output(folder / FIGURES / f"{name}.png") as part:
            figure.savefig(part, format="png", metadata={"Software": None})


def result_rows(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the scores of the model and of each baseline as text: name, then `COLUMNS`."""
    rows = {"model": metrics["pixels"], **metrics["baselines"]}
    return [(name, *(_number(row.get(column)) for column in COLUMNS)) for name, row in rows.items()]


def _lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Return the lines of metrics.md."""
    pixels, split = metrics["pixels"], metrics["split"]
    yield "# Scores"
    yield ""
    yield _where(split, pixels)
    yield ""
    yield from _table(("method", *HEADS), result_rows(metrics))
    if pixels["intervals"]:
        yield from (
            "",
            f"95 % intervals, {pixels['interval_blocks']} blocks of {SIDE_PX} x {SIDE_PX} cells drawn 1000 times:",
            "",
        )
        bounds = [(name, f"{_number(low)} to {_number(high)}") for name, (low, high) in pixels["intervals"].items()]
        yield from _table(("score", "interval"), bounds)
    yield from _sample_lines(metrics)
    yield ""
    cells = ("tp", "found"), ("fn", "missed"), ("fp", "false alarms"), ("tn", "rightly left alone")
    yield f"Cells: {', '.join(f'{pixels[key]} {what}' for key, what in cells)}."
    yield f"False alarms cover {pixels['false_alarm_km2_per_1000_km2']:.2f} km2 in 1000 km2."
    yield from _object_lines(metrics["objects"])
    yield from _calibration_lines(metrics["calibration"])
    for key, title in (("events", "Events"), ("regions", "Regions"), ("classes", "Classes of environment")):
        if metrics.get(key):
            rows = [
                (name, *(_number(row.get(c)) for c in COLUMNS if c != "average_precision"))
                for name, row in metrics[key].items()
            ]
            heads = [head for column, head in zip(COLUMNS, HEADS, strict=True) if column != "average_precision"]
            yield from ("", f"## {title}", "")
            yield from _table((title.split()[0].lower(), *heads), rows)


def _where(split: dict[str, Any], pixels: dict[str, Any]) -> str:
    ground = f"On {split['scored_cells']} cells ({pixels['scored_km2']:.2f} km2)"
    if split["scheme"] == "unknown":
        return f"{ground}, seen in training or not: what the map was made from is not known."
    if split["scheme"] == "all":
        return f"{ground} of an event that training did not see."
    leak = 100 * split["leak_fraction"]
    warning = " **Such scores are better than on new ground.**" if leak else ""
    kept_apart = f"Split: {split['scheme']}; {leak:.1f} % of the held-out tiles' ground leaks into training."
    return f"{ground} that training did not see. {kept_apart}{warning}"


def _sample_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Give the scores of the paper's protocol, beside those of pixels that training did not see."""
    if found := metrics.get("samples"):
        yield from (
            "",
            f"As published: {found['count']} held-out samples, each scored by itself, also where training saw a pixel:",
            "",
        )
        heads, columns = zip(
            *((h, c) for h, c in zip(HEADS, COLUMNS, strict=True) if c in found["pooled"]), strict=True
        )
        rows = [
            (name, *(_number(found[key].get(column)) for column in columns))
            for name, key in (("mean of the samples", "mean"), ("pooled", "pooled"))
        ]
        yield from _table(("", *heads), rows)


def _object_lines(objects: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Landslides, one by one", "")
    yield (
        f"Of {objects['n_mapped']} mapped: {objects['n_matched']} matched one to one, {objects['n_split']} in parts, "
        f"{objects['n_merged']} together with others, {objects['n_missed']} missed; {objects['n_found']} have half of "
        "their cells recognised. "
        f"Of {objects['n_recognised']} recognised: {objects['n_false']} false, {objects['n_false_without_overlap']} of "
        "them without a single mapped cell."
    )
    for key, what in (("boundary", "all landslides"), ("boundary_of_matched", "matched landslides")):
        distances = objects.get(key, {})
        if distances.get("median_m") is not None:
            median_m, p95_m = distances["median_m"], distances["p95_m"]
            yield f"Outlines of {what} lie {median_m:.0f} m apart (median; 95 %: {p95_m:.0f} m)."
    yield ""
    rows = sorted(
        objects["recall_by_size"], key=lambda row: row["cells_min"] != PAPER_SMALLEST_CELLS
    )  # the paper's smallest class first
    sizes = [f"{r['cells_min']} to {r['cells_max']}" if r["cells_max"] else f"{r['cells_min']} or more" for r in rows]
    cells = [
        (size, str(r["n_mapped"]), str(r["n_found"]), _number(r["recall"])) for size, r in zip(sizes, rows, strict=True)
    ]
    yield from _table(("size [cells]", "mapped", "found", "recall"), cells)


def _calibration_lines(calibration: dict[str, Any]) -> Iterator[str]:
    if calibration:
        yield from ("", "## Probabilities", "")
        yield (
            f"Brier score {_number(calibration['brier'])}, calibration error (ECE) {_number(calibration['ece'])}; "
            f"threshold {_number(calibration['threshold'])}, temperature {_number(calibration['temperature'])}."
        )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(text.replace('|', '/') for text in row)} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _tile_rows(maps: Sequence[ScoredMap], threshold: float) -> Iterator[list[Any]]:
    for one in maps:
        across = math.ceil(one.labels.shape[1] / SIDE_PX)
        for number, row in enumerate(block_confusion(one, one.where, threshold=threshold).tolist()):
            if any(row):
                found = scores(Confusion(*row))
                place = [SIDE_PX * (number // across), SIDE_PX * (number % across)]
                named = [round(found[name], 4) for name in ("f1", "precision", "recall", "iou_landslide")]
                yield [one.name, *place, *row, *named]


def _figures(metrics: dict[str, Any], maps: Sequence[ScoredMap], threshold: float) -> Iterator[tuple[str, Figure]]:
    if metrics["curves"]:
        yield "precision_recall", precision_recall_figure(metrics)
        yield "roc", roc_figure(metrics)
        yield "reliability", reliability_figure(metrics)
    yield "recall_by_size", size_recall_figure(metrics)
    yield "area_frequency", area_figure(metrics)
    names = itertools.chain(["errors"], (f"errors_{number}" for number in itertools.count(2)))
    for name, one in zip(names, (one for one in maps if one.where.any()), strict=False):
        recognised = np.asarray(one.probability >= threshold)
        yield name, error_figure(recognised, one.labels == LANDSLIDE, one.where, pixel_size_m=one.pixel_size_m)
