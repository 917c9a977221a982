"""Leave one event out: each of several events is once the one that nobody has seen."""

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.study import Run, Study
from coslide.io.atomic import exclusive_lock
from coslide.io.outputs import output_folder
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scenes, unlike_names
from coslide.pipeline.study import carry_out, require_unused
from coslide.pipeline.study_report import report_transfer
from coslide.pipeline.train import cube_settings, plan_training
from coslide.samples.footprint import is_held_out
from coslide.samples.split import Subset
from coslide.sources.chips import chips_config, find_chips

_log = logging.getLogger(__name__)


def study_transfer(
    events: Sequence[Path | str],
    out: Path | str,
    settings: TrainingSettings | None = None,
    *,
    always: Sequence[Path | str] = (),
    seeds: int = 1,
    executor: Executor | None = None,
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
    executor
        Trains several at once (`coslide.io.executor.open_executor`).
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
    require_unused(out, "transfer", resume=resume)
    runs = plan_transfer(events, settings, always=always, seeds=seeds)
    with output_folder(out), exclusive_lock(out, out):
        failed = carry_out(runs, out, executor)
        if failed:
            name, problem = next(iter(failed.items()))
            raise InputError(f"{name}: {problem} ({len(failed)} of {len(runs)} trainings failed)")
        return report_transfer(runs, out)


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
    for number, scene in enumerate(scenes, start=1):
        name = scene.name or f"event {number}"
        while name in names:
            name = f"{name} ({number})"
        names.append(name)
    return list(zip(names, unlike_names([scene.name for scene in scenes], otherwise="event"), strict=True))
