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
from coslide.evaluation.study_regions import RegionOfStudy
from coslide.evaluation.study_tables import factor_tables, transfer_rows
from coslide.io.atomic import whole_output
from coslide.io.table import read_table
from coslide.io.vector import VectorFile
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
    finished, rows = scores_of(runs, out)
    found = study_of(finished, rows, name="transfer", title="leave one event out", case_is="unseen event")
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
    finished, rows = scores_of(runs, out)
    words = {"name": factor.name, "title": factor.title, "case_is": factor.case_is, "event": scene.name or "the event"}
    found = study_of(finished, rows, **words)
    comparisons, why_not = _comparisons(found, out)
    drawn = _regions(finished, scene, out, regions)
    found = found.model_copy(update={"comparisons": comparisons, "regions": drawn})
    tables = factor_tables(found, factor)
    content = {
        "found": found,
        "factor": factor,
        "scene": scene,
        **tables._asdict(),
        "comparisons": [one.sentence(found.event, scene.scene.pixel_size_m) for one in comparisons],
        "why_not": why_not,
        "changed": _changed(found),
        "varied": _varied(found),
    }
    for old in (out / "figures").glob("scores*.png"):  # of an earlier call, which may have had another protocol
        old.unlink()
    for protocol in found.protocols:
        name = "scores" if protocol == "own" else f"scores-{protocol}"
        save_figure(study_figure(found, protocol), out / "figures" / f"{name}.png")
    latex = render("factor.tex.j2", found=found, tables=tables.shown())
    _write(found, out, {"study.md": render("factor.md.j2", **content), "study.tex": latex})
    return found


def _regions(runs: Sequence[Run], scene: LabelledScene, out: Path, regions: VectorFile | None) -> list[RegionOfStudy]:
    """Draw the regions by the runs that have the split of the first; none where that cannot be done."""

    def split_of(run: Run) -> list[object]:
        tiling = ("sampling.tile", "sampling.stride")
        parts = {key: value for key, value in run.settings.items() if key.startswith("split.") or key in tiling}
        return [run.seed, run.regions, parts]

    alike = {run.case: out / run.name for run in runs if split_of(run) == split_of(runs[0])}
    try:
        return draw_regions(alike, scene, out, regions=regions)
    except InputError as error:  # after hours of training this must not cost the tables
        _log.warning(f"warning: no regions are drawn: {error}")
        return []


def _comparisons(found: Study, out: Path) -> tuple[list[Comparison], str]:
    """Compare the cases of a study by its first protocol; where they cannot be, tell why."""
    tables: dict[str, dict[int, pd.DataFrame]] = {}
    for run in found.runs:
        if run.protocol == "own":
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


def _varied(found: Study) -> list[str]:
    """List the settings, but for the seed, that differ between the runs of the study's own protocol."""
    own = [run.settings for run in found.runs if run.protocol == "own"]
    return [key for key in own[0] if key != "seed" and any(one.get(key) != own[0][key] for one in own)]


def _changed(found: Study) -> dict[str, object]:
    """List the settings that all runs share and that are not the defaults, and the network."""
    defaults = TrainingSettings().dotted()
    return {key: value for key, value in found.settings.items() if value != defaults[key] or key == "network"}
