"""Scores as files: metrics.json for programs; metrics.md, tiles.csv and figures for people."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from coslide.evaluation.objects import PAPER_SMALLEST_PX
from coslide.evaluation.pixels import Confusion, PixelCounts, PixelRates, PixelScores, scores
from coslide.evaluation.scores import METRICS, Scores
from coslide.evaluation.scoring import SIDE_PX, ScoredMap
from coslide.io.atomic import whole_output, write_json
from coslide.report.charts import error_figure, score_charts
from coslide.report.page import render, score_text

_log = logging.getLogger(__name__)

COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "iou_landslide": "IoU",
    "average_precision": "AP",
    "kappa": "kappa",
    "oa": "OA",
    "miou": "mIoU",
    "miou_paper": "mIoU of the paper",
}
"""Scores of a table and their headings."""
FIGURES = "figures"


def write_scores(folder: Path, found: Scores, maps: Sequence[ScoredMap]) -> None:
    """Write ``metrics.json``, ``metrics.md``, ``tiles.csv`` and ``figures/`` into the folder of a run.

    Parameters
    ----------
    folder
        Of a run.
    found
        From `coslide.evaluation.scoring.score`.
    maps
        What was scored.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    write_json(folder / METRICS, found.to_json())
    with whole_output(folder / "metrics.md") as part:
        rates = {column: head for column, head in COLUMNS.items() if column in PixelRates.model_fields}
        numbers = {"side_px": SIDE_PX, "smallest_px": PAPER_SMALLEST_PX}
        text = render("metrics.md.j2", found=found, columns=COLUMNS, rates=rates, **numbers)
        part.write_text(text, encoding="utf-8")
    with whole_output(folder / "tiles.csv") as part:
        pd.concat([_tiles(one) for one in maps]).to_csv(part, index=False, lineterminator="\r\n")
    for old in (folder / FIGURES).glob("*.png"):  # of an earlier evaluation, which may have drawn others
        old.unlink()
    for name, figure in _figures(found, maps):
        with whole_output(folder / FIGURES / f"{name}.png") as part:
            figure.savefig(part, format="png", metadata={"Software": None})
    _log.info(found.line())


def result_rows(found: Scores) -> list[tuple[str, ...]]:
    """Write the scores of the model and of each baseline as text: name, then `COLUMNS`."""
    rows: dict[str, PixelScores] = {"model": found.pixels, **found.baselines}
    return [(name, *(score_text(getattr(row, column, None), 4) for column in COLUMNS)) for name, row in rows.items()]


def _tiles(one: ScoredMap) -> pd.DataFrame:
    """List the squares of a map that have a scored pixel, with their counts and scores."""
    across, rows = -(-one.labels.shape[1] // SIDE_PX), []
    for number, counts in enumerate(one.block_confusion().tolist()):
        if any(counts):
            place = {"row": SIDE_PX * (number // across), "col": SIDE_PX * (number % across)}
            found = scores(Confusion(*counts))
            rates = {key: round(getattr(found, key), 4) for key in ("f1", "precision", "recall", "iou_landslide")}
            rows.append(
                {"event": one.name, **place, **found.model_dump(include=set(PixelCounts.model_fields)), **rates}
            )
    return pd.DataFrame(rows)


def _figures(found: Scores, maps: Sequence[ScoredMap]) -> Iterator[tuple[str, Figure]]:
    yield from ((name, figure) for name, _, _, figure in score_charts(found))
    scored = [one for one in maps if one.where.any()]
    for number, one in enumerate(scored, start=1):
        figure = error_figure(one.recognised, one.mapped, one.where, pixel_size_m=one.pixel_size_m)
        yield "errors" if number == 1 else f"errors_{number}", figure
