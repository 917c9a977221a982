"""Carrying out a study: its runs, one after the other or by the workers of a cluster, and what each of them scores."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

import coslide
from coslide import networks
from coslide.config.records import read_record
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.scores import METRICS, Scores
from coslide.evaluation.study import Run, StudyRow, rows_of
from coslide.io.atomic import Marker, report_write_errors, require_replaceable, write_json
from coslide.io.executor import map_unordered
from coslide.io.paths import file_exists
from coslide.mapping.metadata import METADATA, load_metadata
from coslide.networks.cost import cost
from coslide.pipeline.train import train

State = Literal["to do", "interrupted", "changed", "elsewhere", "done"]
_log = logging.getLogger(__name__)

RUN = "run-of-study.json"
_MARKER = Marker(RUN, '"settings"')


class _Named(BaseModel):
    """What any version of coslide writes into ``study.json``."""

    name: str


def require_unused(out: Path, name: str, *, resume: bool) -> None:
    """Check that the study `name` may use a folder: it is new or empty, or that study is to be gone on with there.

    Raises
    ------
    InputError
        If not.
    """
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; use --resume to go on with its study, or another --out")
    path = out / "study.json"
    if file_exists(path):
        there = read_record(path, _Named, advice=f"remove {path} to write it again")
        if there.name != name:
            raise InputError(f"{out}: holds the study {there.name}, expected {name}; choose another --out")


def carry_out(
    runs: Sequence[Run], out: Path, executor: Executor | None = None, *, reuse: Sequence[Path] = ()
) -> dict[str, str]:
    """Train what is missing of the runs of a study, each in its folder of `out`.

    A run that is whole, and of the same settings and inputs, stays; one that was interrupted goes on; one of others is
    replaced. One that cannot be trained does not keep the others from it.

    Parameters
    ----------
    runs
        From a plan.
    out
        Folder of the study.
    executor
        Trains several at once (`coslide.io.executor.open_executor`); None trains one after the other in this process.
    reuse
        Folders of other studies, whose runs of the same settings and inputs are copied instead of trained.

    Returns
    -------
    dict
        What kept a run from being trained, by its name.

    Raises
    ------
    InputError
        If a folder holds something else, or one to reuse has no run.
    """
    found, missing = whole_runs(reuse), []
    for run in runs:
        state, own = state_of(run, out, found)
        if own is not None:
            _copy(own, run, out)
        if state in ("done", "elsewhere"):
            _log.info(f"{run.name}: is there{f', from {own}' if own else ''}")
        else:
            missing.append(run)
    failed = {}
    for number, (run, problem) in enumerate(_carried_out(missing, out, executor), start=1):
        if problem:
            failed[run.name] = problem
        _log.info(f"{run.name}: {f'failed: {problem}' if problem else 'done'} ({number} of {len(missing)})")
    return failed


def state_of(run: Run, out: Path, found: Mapping[Path, Run] | None = None) -> tuple[State, Path | None]:
    """Tell what there is of a run in the folder of its study; or where else it is, of the runs `found` in others.

    Raises
    ------
    InputError
        If its folder holds something else, or what it holds cannot be read.
    """
    folder = out / run.name
    require_replaceable(folder, _MARKER)
    state: State = "to do"
    if file_exists(folder / RUN):
        there = read_record(folder / RUN, Run, advice=f"remove {folder} to train it again")
        whole = there.does(run) and file_exists(folder / METRICS)
        state = "done" if whole else "interrupted" if run.same_as(there) else "changed"
    if state != "done":
        own = next((path for path, its in (found or {}).items() if its.does(run)), None)
        if own is not None:
            return "elsewhere", own
    return state, None


def whole_runs(folders: Sequence[Path]) -> dict[Path, Run]:
    """List the runs of other studies that are whole, by their folders.

    Raises
    ------
    InputError
        If a folder has none.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        paths = [path for path in sorted(folder.rglob(RUN)) if not path.parent.name.startswith(".")]
        runs = {path.parent: read_record(path, Run, advice="give the folder of a study to --reuse") for path in paths}
        whole = {path: run for path, run in runs.items() if run.done and file_exists(path / METRICS)}
        if not whole:
            raise InputError(f"{folder}: has no run of a study that is whole; expected the folder of a study")
        found |= whole
    return found


def scores_of(runs: Sequence[Run], out: Path) -> tuple[list[Run], list[StudyRow]]:
    """Read the runs of a study as they were finished, the scores of each, and what their networks cost.

    Raises
    ------
    InputError
        If those of a run cannot be read.
    """
    finished, rows = [], []
    for run in runs:
        folder = out / run.name
        advice = f"remove {folder} and go on with --resume"
        finished.append(_finished(run, read_record(folder / RUN, Run, advice=advice)))
        scores = read_record(folder / METRICS, Scores, advice=advice)
        rows += rows_of(run, scores, _cost_of(folder / "model"))
    return finished, rows


def _cost_of(bundle: Path) -> dict[str, int]:
    """Compute what the network of a bundle costs, from its metadata alone; nothing where there is no bundle."""
    if not file_exists(bundle / METADATA):
        return {}
    metadata = load_metadata(bundle)
    bands = len(metadata.encoder.names)
    with torch.device("meta"):
        options: dict[str, Any] = dict(metadata.options)
        found = cost(networks.create(metadata.network, bands, **options), bands, side=metadata.tile)
    return {"parameters": found.parameters, "params_table4": found.params_table4, "bands": bands}


def _carried_out(runs: Sequence[Run], out: Path, executor: Executor | None) -> Iterator[tuple[Run, str]]:
    """Carry out runs, and yield each as it is done with what was wrong with it, if anything."""
    if executor is not None:
        yield from map_unordered(executor, _carry_out, out.absolute(), [_anywhere(run) for run in runs])
        return
    for number, run in enumerate(runs, start=1):
        state, _ = state_of(run, out)
        texts = {"interrupted": "goes on", "changed": "other settings or inputs made what is there; trained again"}
        _log.info(f"{run.name} ({number} of {len(runs)}): {texts.get(state, 'starts')}")
        yield run, _carry_out(out, run)


def _carry_out(out: Path, run: Run) -> str:
    """Train and score one run in its folder of `out`; what was wrong, or nothing."""
    folder, (state, _) = out / run.name, state_of(run, out)
    gone = folder.with_name(f".{folder.name}.part")  # half of an old run would pass for something else
    if gone.exists():
        shutil.rmtree(gone)
    if state == "changed":
        folder.rename(gone)
        shutil.rmtree(gone)
    write_json(folder / RUN, run.model_dump(mode="json"))
    settings = TrainingSettings().changed(run.settings)
    try:
        train(list(run.train), folder, settings, test_on=list(run.test_on), compare=run.baselines, resume=True)
    except InputError as error:
        return str(error)
    made = {"made_with": _versions(), "finished": datetime.now(UTC).date().isoformat()}
    write_json(folder / RUN, run.model_copy(update={"done": True, **made}).model_dump(mode="json"))
    return ""


def _finished(run: Run, record: Run) -> Run:
    """Note when and with what a planned run was finished, as its record has it."""
    return run.model_copy(update={name: getattr(record, name) for name in ("done", "made_with", "finished")})


def _versions() -> str:
    return f"coslide {coslide.__version__}, torch {torch.__version__}"


def _anywhere(run: Run) -> Run:
    """Name the files of a run so that processes in other folders find them."""

    def placed(inputs: dict[str, str]) -> dict[str, str]:
        return {str(Path(path).absolute()): fingerprint for path, fingerprint in inputs.items()}

    regions = run.settings.get("split.regions")
    settings = run.settings | ({"split.regions": str(Path(regions).absolute())} if regions else {})
    return run.model_copy(update={"train": placed(run.train), "test_on": placed(run.test_on), "settings": settings})


def _copy(own: Path, run: Run, out: Path) -> None:
    """Copy a run of another study into the place of `run`, whole or not at all."""
    folder = out / run.name
    gone = folder.with_name(f".{folder.name}.part")
    record = read_record(own / RUN, Run, advice=f"remove {own}")
    with report_write_errors(folder):
        for old in (gone, folder):
            if old.exists():
                shutil.rmtree(old)
        shutil.copytree(own, gone, ignore=lambda path, _: [RUN] if Path(path) == own else [])
    write_json(gone / RUN, _finished(run, record).model_dump(mode="json"))
    with report_write_errors(folder):
        gone.rename(folder)
