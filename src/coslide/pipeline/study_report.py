"""What a study leaves behind: ``study.csv``, ``study.md``, ``study.tex``, ``study.json`` and figures."""

import csv
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from coslide.config.factors import Factor
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.comparison import COLUMNS, Comparison, compare, squares_of
from coslide.evaluation.scores import TILES
from coslide.evaluation.study import Run, Study, study_of
from coslide.evaluation.study_tables import factor_tables, transfer_rows
from coslide.io.atomic import whole_output
from coslide.io.table import read_table
from coslide.io.vector import VectorFile
from coslide.mapping.metadata import load_metadata
from coslide.pipeline.labelled_scene import LabelledScene
from coslide.pipeline.study import scores_of
from coslide.pipeline.study_regions import draw_regions
from coslide.report.images import save_figure
from coslide.report.page import render
from coslide.report.study_figure import study_figure

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_NO_COLUMNS = {"at", "intervals", "average_precision", "sizes", "vital_signs"}  # of study.csv, where they are not flat


def report_transfer(runs: Sequence[Run], out: Path) -> Study:
    """Put the scores of the runs of `study transfer` into the files of a study.

    Raises
    ------
    InputError
        If the scores of a run cannot be read, or the files not be written; older ones stay then.
    """
    found = study_of(runs, scores_of(runs, out), name="transfer", title="leave one event out", case_is="unseen event")
    content = {"found": found, "table": transfer_rows(found), "changed": _changed(found)}
    _write(found, out, {"study.md": render("transfer.md.j2", **content)})
    return found


def report_factor(
    factor: Factor, runs: Sequence[Run], out: Path, *, scene: LabelledScene, regions: VectorFile | None = None
) -> Study:
    """Put the scores of the runs of a study of one factor into its files, and draw them and the maps of some regions.

    Parameters
    ----------
    factor
        What was varied.
    runs
        Its runs; those of the first seed come first.
    out
        Folder of the study.
    scene
        The scene, split as the first run has it.
    regions
        Polygons to draw all maps of; by default some tiles are chosen.

    Raises
    ------
    InputError
        As `report_transfer`.
    """
    found = study_of(runs, scores_of(runs, out), name=factor.name, title=factor.title, case_is=factor.case_is)
    comparisons, why_not = _comparisons(found, out)
    first = {run.case: out / run.name for run in runs if (run.seed, run.protocol) == (runs[0].seed, runs[0].protocol)}
    drawn = draw_regions(first, scene, out, regions=regions)
    found = found.model_copy(update={"comparisons": comparisons, "regions": drawn})
    size_m = load_metadata(out / runs[0].name / "model").pixel_size_m
    sentences = [one.sentence(scene.name, size_m) for one in comparisons]
    tables = factor_tables(found, factor)
    content = {"found": found, "factor": factor, "comparisons": sentences, "why_not": why_not, **tables._asdict()}
    pages = {
        "study.md": render("factor.md.j2", **content, changed=_changed(found)),
        "study.tex": render("factor.tex.j2", found=found, tables=tables.shown()),
    }
    for number, protocol in enumerate(found.protocols):
        name = f"scores-{protocol}" if number else "scores"
        save_figure(study_figure(found, protocol), out / "figures" / f"{name}.png")
    _write(found, out, pages)
    return found


def _comparisons(found: Study, out: Path) -> tuple[list[Comparison], str]:
    """Compare the cases of a study by its first protocol; where they cannot be, tell why."""
    tables: dict[str, dict[int, pd.DataFrame]] = {}
    for run in found.runs:
        if run.protocol == found.protocols[0]:
            tables.setdefault(run.case, {})[run.seed] = read_table(
                out / run.name / TILES, COLUMNS, numbers=COLUMNS[1:], degrees=False
            )
    try:
        compared = compare(squares_of(tables))
    except InputError as error:  # after hours of training this must not cost the tables
        _log.warning(f"warning: no comparisons: {error}")
        return [], f"None was made: {error}."
    return compared, ""


def _write(found: Study, out: Path, pages: Mapping[str, str]) -> None:
    """Write the files of a study; all take their names when all are whole."""
    rows = [row.model_dump(exclude=_NO_COLUMNS) | row.values() for row in found.rows]
    with ExitStack() as stack:
        table, record = (stack.enter_context(whole_output(out / f"study.{end}")) for end in ("csv", "json"))
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        record.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for name, text in pages.items():
            stack.enter_context(whole_output(out / name)).write_text(text, encoding="utf-8")


def _changed(found: Study) -> dict[str, object]:
    """List the settings that all runs share and that are not the defaults."""
    defaults = TrainingSettings().dotted()
    return {key: value for key, value in found.settings.items() if value != defaults[key]}
