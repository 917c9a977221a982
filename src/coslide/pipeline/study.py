"""Carrying out a study: its runs, one after the other or by the workers of a cluster, and what each of them scores."""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal

import torch

from coslide import networks
from coslide.config.records import read_record
from coslide.config.training import TrainingSettings
from coslide.evaluation.scores import METRICS, Scores
from coslide.evaluation.study import Run, StudyRow, rows_of
from coslide.io.atomic import Marker, require_replaceable, write_json
from coslide.io.executor import map_unordered
from coslide.io.paths import file_exists
from coslide.mapping.metadata import METADATA, load_metadata
from coslide.networks.cost import cost
from coslide.pipeline.train import train

State = Literal["to do", "interrupted", "changed", "done"]
_log = logging.getLogger(__name__)

RUN = "run-of-study.json"
_MARKER = Marker(RUN, '"settings"')


def carry_out(runs: Sequence[Run], out: Path, executor: Executor | None = None, *, reuse: Sequence[Path] = ()) -> None:
    """Train what is missing of the runs of a study, each in its folder of `out`.

    A run that is whole, and of the same settings and inputs, stays; one that was interrupted goes on; one of others is
    replaced.

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

    Raises
    ------
    InputError
        If a folder holds something else, or as `coslide.train`.
    """
    found = {path: run for folder in reuse for path, run in _runs_in(folder)} if reuse else {}
    missing = []
    for run in runs:
        state = state_of(run, out)
        own = next((path for path, its in found.items() if its.does(run)), None) if state != "done" else None
        if own is not None:
            _copy(own, run, out)
            state = "done"
        if state == "done":
            _log.info(f"{run.name}: is there{f', from {own}' if own else ''}")
        else:
            missing.append(run)
    if executor is None:
        for number, run in enumerate(missing, start=1):
            _log.info(f"{run.name} ({number} of {len(missing)}): {_what(state_of(run, out))}")
            _carry_out(out, run)
        return
    for number, (run, _) in enumerate(map_unordered(executor, _carry_out, out.absolute(), _anywhere(missing)), start=1):
        _log.info(f"{run.name}: done ({number} of {len(missing)})")


def state_of(run: Run, out: Path) -> State:
    """Tell what there is of a run in the folder of its study.

    Raises
    ------
    InputError
        If its folder holds something else, or what it holds cannot be read.
    """
    folder = out / run.name
    require_replaceable(folder, _MARKER)
    if not file_exists(folder / RUN):
        return "to do"
    found = read_record(folder / RUN, Run, advice=f"remove {folder} to train it again")
    if not run.same_as(found):
        return "changed"
    whole = found.does(run) and file_exists(folder / METRICS)
    return "done" if whole else "interrupted"


def scores_of(runs: Sequence[Run], out: Path) -> list[StudyRow]:
    """Read the scores of all runs of a study, and what their networks cost.

    Raises
    ------
    InputError
        If those of a run cannot be read.
    """
    rows = []
    for run in runs:
        folder = out / run.name
        advice = f"remove {folder} and go on with --resume"
        scores = read_record(folder / METRICS, Scores, advice=advice)
        record = read_record(folder / RUN, Run, advice=advice)
        rows += rows_of(run.model_copy(update={"minutes": record.minutes}), scores, _cost_of(folder / "model"))
    return rows


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


def _carry_out(out: Path, run: Run) -> None:
    """Train and score one run in its folder of `out`."""
    folder, state = out / run.name, state_of(run, out)
    gone = folder.with_name(f".{folder.name}.part")  # half of an old run would pass for something else
    if gone.exists():
        shutil.rmtree(gone)
    if state == "changed":
        folder.rename(gone)
        shutil.rmtree(gone)
    write_json(folder / RUN, run.model_dump(mode="json"))
    settings, started = TrainingSettings().changed(run.settings), time.monotonic()
    train(list(run.train), folder, settings, test_on=list(run.test_on), compare=run.baselines, resume=True)
    minutes = None if state == "interrupted" else (time.monotonic() - started) / 60
    write_json(folder / RUN, run.model_copy(update={"done": True, "minutes": minutes}).model_dump(mode="json"))


def _what(state: State) -> str:
    texts = {"interrupted": "goes on", "changed": "other settings or inputs made what is there; it is trained again"}
    return texts.get(state, "starts")


def _anywhere(runs: Sequence[Run]) -> list[Run]:
    """Name the inputs of runs so that processes in other folders find them."""

    def placed(inputs: dict[str, str]) -> dict[str, str]:
        return {str(Path(path).absolute()): fingerprint for path, fingerprint in inputs.items()}

    return [run.model_copy(update={"train": placed(run.train), "test_on": placed(run.test_on)}) for run in runs]


def _runs_in(folder: Path) -> Iterator[tuple[Path, Run]]:
    """List the runs of a study that are whole, and where they lie."""
    for path in sorted(folder.rglob(RUN)):
        found = read_record(path, Run, advice="give the folder of a study to --reuse")
        if file_exists(path.parent / METRICS):
            yield path.parent, found


def _copy(own: Path, run: Run, out: Path) -> None:
    """Copy a run of another study into the place of `run`, whole or not at all."""
    folder = out / run.name
    gone = folder.with_name(f".{folder.name}.part")
    for old in (gone, folder):
        if old.exists():
            shutil.rmtree(old)
    shutil.copytree(own, gone)
    found = read_record(own / RUN, Run, advice=f"remove {own}")
    write_json(gone / RUN, run.model_copy(update={"done": True, "minutes": found.minutes}).model_dump(mode="json"))
    gone.rename(folder)
