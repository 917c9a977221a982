"""Studies: many trainings and one table. ``transfer``: each of several events is once the one that nobody has seen."""

import csv
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from coslide.config.records import read_record
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.scores import METRICS, Scores
from coslide.evaluation.study import Run, Study, study_of, study_rows
from coslide.io.atomic import Marker, exclusive_lock, require_replaceable, whole_output, write_json
from coslide.io.outputs import output_folder
from coslide.io.paths import file_exists
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scenes, safe_name
from coslide.pipeline.train import cube_settings, plan_training, train
from coslide.report.page import render
from coslide.samples.footprint import is_held_out
from coslide.samples.split import Subset
from coslide.sources.chips import chips_config, find_chips

State = Literal["to do", "interrupted", "changed", "done"]
_log = logging.getLogger(__name__)

RUN = "run-of-study.json"
_MARKER = Marker(RUN, '"settings"')


def study_transfer(
    events: Sequence[Path | str],
    out: Path | str,
    settings: TrainingSettings | None = None,
    *,
    always: Sequence[Path | str] = (),
    seeds: int = 1,
    resume: bool = False,
) -> Study:
    """Train on all events but one and score the network on that one, for each of them: leave one event out.

    A random forest and a threshold on spectral change are scored beside it by the same protocol. Each training is a run
    as `coslide.train` leaves it, in ``out/EVENT/seed-N``; ``out/study.csv`` has their scores, ``study.md`` a table of
    means and spreads, ``study.json`` all of it.

    Parameters
    ----------
    events
        Cubes with labels, and chips (`docs/chips.md`), each event of which counts as one.
    out
        Folder of the study; it must be new or empty unless `resume` is set.
    settings
        How to train, with ``split.scheme = "events"``. None takes those of the event file of the first event.
    always
        Further events, which always train and are never the unseen one.
    seeds
        How many trainings there are for each event, from ``settings.seed`` on.
    resume
        Go on with a study: runs that are whole, and of the same settings and inputs, are not trained again; runs of
        others are replaced.

    Raises
    ------
    InputError
        If there are fewer than two events, one is given twice or overlaps another, one of `events` has no landslide, or
        as `coslide.train`.

    Examples
    --------
    >>> study_transfer([index], folder / "study")
    Traceback (most recent call last):
    coslide.errors.InputError: found 1 event (Made-up earthquake), expected two or more, each to be once the unseen one
    """
    out = Path(out)
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; use --resume to go on with its study, or another --out")
    runs = plan_transfer(events, settings, always=always, seeds=seeds)
    with output_folder(out), exclusive_lock(out, out):
        carry_out(runs, out)
        return tabulate("transfer", "unseen event", runs, out)


def plan_transfer(
    events: Sequence[Path | str],
    settings: TrainingSettings | None = None,
    *,
    always: Sequence[Path | str] = (),
    seeds: int = 1,
) -> list[Run]:
    """List the trainings of `study_transfer`, and check that each can be done; nothing is written.

    Raises
    ------
    InputError
        As `study_transfer`.
    """
    unseen = [one for path in events for one in _events_of(path)]
    paths = [*unseen, *(one for path in always for one in _events_of(path))]
    scenes = [scene for path in paths for scene in open_labelled_scenes(path)]
    settings = settings or cube_settings(events[0]).changed({"split.scheme": "events"})
    if settings.split.scheme != "events":
        expected = "expected events: each is held out as a whole"
        raise InputError(f"training.split.scheme: found {settings.split.scheme}, {expected}")
    _require_events(paths, scenes, len(unseen))
    inputs = {path: scene.fingerprint for path, scene in zip(paths, scenes, strict=True)}
    runs = []
    for path, (case, folder) in zip(unseen, _names(scenes), strict=False):  # what always trains comes after them
        _log.info(f"unseen: {case}")
        roles = [Subset.TEST if other == path else Subset.TRAIN for other in paths]
        given = [replace(scene, role=role) for scene, role in zip(scenes, roles, strict=True)]
        planned = plan_training(given, settings).scenes
        _require_apart(case, next(scene for scene in planned if scene.role is Subset.TEST))
        for number in range(seeds):
            own = settings.changed(seed=(settings.seed + number * settings.members) % 2**32)
            run = Run(
                name=f"{folder}/seed-{own.seed}",
                case=case,
                seed=own.seed,
                train={other: inputs[other] for other in paths if other != path},
                test_on={path: inputs[path]},
                settings=own.dotted(),
            )
            runs.append(run)
    return runs


def carry_out(runs: Sequence[Run], out: Path) -> None:
    """Train what is missing of the runs of a study, each in its folder of `out`.

    A run that is whole, and of the same settings and inputs, stays; one that was interrupted goes on; one of others is
    replaced.

    Raises
    ------
    InputError
        If a folder holds something else, or as `coslide.train`.
    """
    for number, run in enumerate(runs, start=1):
        folder, state = out / run.name, state_of(run, out)
        what = f"{run.name} ({number} of {len(runs)})"
        if state == "done":
            _log.info(f"{what}: is there")
            continue
        gone = folder.with_name(f".{folder.name}.part")  # half of an old run would pass for something else
        if gone.exists():
            shutil.rmtree(gone)
        _log.info(f"{what}: {'goes on' if state == 'interrupted' else 'starts'}, without {run.case}")
        if state == "changed":
            _log.info(f"{what}: other settings or inputs made what is there; it is trained again")
            folder.rename(gone)
            shutil.rmtree(gone)
        write_json(folder / RUN, run.model_dump(mode="json"))
        settings = TrainingSettings().changed(run.settings)
        train(list(run.train), folder, settings, test_on=list(run.test_on), resume=True)
        write_json(folder / RUN, run.model_copy(update={"done": True}).model_dump(mode="json"))


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
    return "done" if found.done and file_exists(folder / METRICS) else "interrupted"


def tabulate(name: str, case_is: str, runs: Sequence[Run], out: Path) -> Study:
    """Put the scores of all runs into ``study.csv``, ``study.md`` and ``study.json`` of `out`.

    Raises
    ------
    InputError
        If the scores of a run cannot be read, or the files not be written; older ones stay then.
    """
    scored = []
    for run in runs:
        folder = out / run.name
        advice = f"remove {folder} and go on with --resume"
        scored.append((run, read_record(folder / METRICS, Scores, advice=advice)))
    found = study_of(name, case_is, scored)
    rows = [row.model_dump(exclude={"at", "intervals", "average_precision"}) | row.values() for row in found.rows]
    defaults = TrainingSettings().dotted()
    with ExitStack() as stack:  # all take their names when all are whole
        table, text, record = (stack.enter_context(whole_output(out / f"study.{end}")) for end in ("csv", "md", "json"))
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        changed = {key: value for key, value in found.settings.items() if value != defaults[key]}
        page = render("study.md.j2", found=found, table=study_rows(found), changed=changed)
        text.write_text(page, encoding="utf-8")
        record.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return found


def _events_of(path: Path | str) -> list[str]:
    """List what stands for each event at `path`: itself, or ``chips.toml#event`` for each of several."""
    config = chips_config(Path(path))
    names = list(find_chips(config)) if config else []
    if len(names) < 2 or config is None:
        return [str(path)]
    if odd := [name for name in names if set(name) & set(",/#") or not name]:
        raise InputError(f"{config.file}: found the event {odd[0]!r}, expected names without comma, slash or #")
    whole = str(path) if Path(path).exists() else str(path).rpartition("#")[0]
    return [f"{whole}#{name}" for name in names]


def _require_events(paths: Sequence[str], scenes: Sequence[LabelledScene], unseen: int) -> None:
    """Require at least two events, each given once; the first `unseen` of them with landslides."""
    if len(scenes) < 2:
        names = ", ".join(scene.name for scene in scenes)
        raise InputError(f"found {len(scenes)} event ({names}), expected two or more, each to be once the unseen one")
    given = Counter(scene.fingerprint for scene in scenes)
    for number, (path, scene) in enumerate(zip(paths, scenes, strict=True)):
        if given[scene.fingerprint] > 1:
            raise InputError(f"{path}: found {scene.name} twice, expected each event once")
        if number < unseen and not (scene.labels == LANDSLIDE).any():
            raise InputError(f"{path}: has no landslide among its labels, expected some: it is once the unseen event")


def _require_apart(case: str, unseen: LabelledScene) -> None:
    """Require that no labelled pixel of an unseen event lies where another event does."""
    shared = 1 - is_held_out(unseen.seen)[unseen.labels != NODATA].mean()
    if shared:
        found = f"found {100 * shared:.2g} % of its labelled pixels inside other events"
        raise InputError(f"{case}: {found}, expected events that do not overlap; leave one of them out")


def _names(scenes: Sequence[LabelledScene]) -> list[tuple[str, str]]:
    """Name each event, and its folder, so that no two are called alike."""
    names: list[str] = []
    folders: list[str] = []
    for number, scene in enumerate(scenes, start=1):
        name, folder = scene.name or f"event {number}", safe_name(scene.name) or "event"
        while name in names:
            name = f"{name} ({number})"
        while folder in folders:
            folder = f"{folder}-{number}"
        names.append(name)
        folders.append(folder)
    return list(zip(names, folders, strict=True))
