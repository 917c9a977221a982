"""Studies of one factor: its cases are trained with the same seeds on the same splits of one event, and compared."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Literal, NamedTuple

from coslide.config.factors import FACTORS, Factor, read_factor
from coslide.config.original import ORIGINAL
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.study import Run, Study
from coslide.io.atomic import exclusive_lock
from coslide.io.outputs import output_folder
from coslide.io.vector import VectorFile
from coslide.pipeline.evaluate import as_vector_file
from coslide.pipeline.labelled_scene import open_labelled_scenes, unlike_names
from coslide.pipeline.study import carry_out
from coslide.pipeline.study_regions import find_regions
from coslide.pipeline.study_report import report_factor
from coslide.pipeline.train import cube_settings, plan_training
from coslide.training.fit import network_options

Protocol = Literal["blocks", "paper"]
_log = logging.getLogger(__name__)

PAPER_SCHEME = "paper-random"


class StudyDesign(NamedTuple):
    """How a study of one factor is made.

    Attributes
    ----------
    settings
        How to train; what the cases vary is changed in it. None takes those of the event file of the cube.
    seeds
        How many trainings there are of each case, from ``settings.seed`` on. Runs of one seed have the same split.
    protocol
        ``"paper"``: train each case by the paper's protocol too, whose overlapping samples leak into training, and show
        how much of the score that is.
    original
        Train each network with the optimiser and loss of its own paper too, where they are known.
    """

    settings: TrainingSettings | None = None
    seeds: int = 5
    protocol: Protocol = "blocks"
    original: bool = False


_DEFAULT = StudyDesign()


def study_factor(
    factor: Factor | Path | str,
    index: Path | str,
    out: Path | str,
    *,
    design: StudyDesign = _DEFAULT,
    regions: Path | str | VectorFile | None = None,
    reuse: Sequence[Path | str] = (),
    executor: Executor | None = None,
    resume: bool = False,
) -> Study:
    """Train each case of a factor with several seeds on one event, and compare their scores.

    Each training is a run as `coslide.train` leaves it, in ``out/CASE/seed-N``. ``out/study.csv`` has their scores,
    ``study.md`` and ``study.tex`` their tables, ``figures`` their figure and the pictures of regions, ``study.json``
    all of it.

    Parameters
    ----------
    factor
        What is varied: a study of the paper (``"networks"``, ``"indices"``, ``"attention"``, ``"neighbours"``,
        ``"selection"``), a TOML file of your own (`docs/studies.md`), or one that was read.
    index
        A cube with labels.
    out
        Folder of the study; it must be new or empty unless `resume` is set.
    design
        Settings, seeds and protocol.
    regions
        Polygons to draw all maps of; by default three squares are chosen.
    reuse
        Folders of other studies, whose runs of the same settings and inputs are copied instead of trained.
    executor
        Trains several at once (`coslide.io.executor.open_executor`).
    resume
        Go on with a study: runs that are whole, and of the same settings and inputs, are not trained again; runs of
        others are replaced.

    Raises
    ------
    InputError
        If there is no such study, a case cannot be trained on the cube, or as `coslide.train`.

    Examples
    --------
    >>> study_factor("colours", index, folder / "study")
    Traceback (most recent call last):
    coslide.errors.InputError: study colours: unknown; expected networks, indices, attention, ... or a TOML file
    """
    out = Path(out)
    factor = factor_of(factor)
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; use --resume to go on with its study, or another --out")
    runs = plan_factor(factor, index, design)
    (scene,) = plan_training(open_labelled_scenes(index), TrainingSettings().changed(runs[0].settings)).scenes
    polygons = None if regions is None else as_vector_file(regions)
    if polygons is not None:
        find_regions(scene, polygons)  # before hours of training
    with output_folder(out), exclusive_lock(out, out):
        carry_out(runs, out, executor, reuse=[Path(path) for path in reuse])
        return report_factor(factor, runs, out, scene=scene, regions=polygons)


def factor_of(given: Factor | Path | str) -> Factor:
    """Look up a study of the paper by its name, or read the file of another.

    Raises
    ------
    InputError
        If there is none, or the file is not that of a factor.
    """
    if isinstance(given, Factor):
        return given
    if str(given) in FACTORS:
        return FACTORS[str(given)]
    if Path(given).suffix.lower() != ".toml":
        raise InputError(f"study {given}: unknown; expected {', '.join(FACTORS)} or a TOML file")
    return read_factor(Path(given))


def plan_factor(factor: Factor, index: Path | str, design: StudyDesign = _DEFAULT) -> list[Run]:
    """List the trainings of `study_factor`, and check that each case can be trained; nothing is written.

    The runs of one seed come together, so that a study that is stopped has whole comparisons.

    Raises
    ------
    InputError
        As `study_factor`.
    """
    scenes = open_labelled_scenes(index)
    settings = design.settings or cube_settings(index)
    cases = _cases(factor, settings, original=design.original)
    schemes = [settings.split.scheme, *([PAPER_SCHEME] if design.protocol == "paper" else [])]
    if settings.split.scheme == "events":
        raise InputError("training.split.scheme: found events, expected a split of one event, such as blocks")
    if len(scenes) > 1:
        raise InputError(f"{index}: found {len(scenes)} events, expected one; #EVENT after the path takes one")
    for label, own in cases.items():
        planned = [plan_training(scenes, own.changed({"split.scheme": scheme})) for scheme in schemes]
        cases[label] = own.changed(width=network_options(own, planned[0].encoder.inputs)["width"])
    fingerprint, runs = {str(index): scenes[0].fingerprint}, []
    for number in range(design.seeds):
        seed = (settings.seed + number * settings.members) % 2**32
        split_of: set[str] = set()
        for scheme, (label, case), folder in _each(schemes, cases):
            own = case.changed({"seed": seed, "split.scheme": scheme})
            shown = f"{scheme} {own.inputs} {own.split} {own.sampling}"
            run = Run(
                name=f"{folder}/{'' if scheme == schemes[0] else 'paper-'}seed-{seed}",
                case=label,
                seed=seed,
                train=fingerprint,
                test_on={},
                settings=own.dotted(),
                baselines=shown not in split_of,
            )
            split_of.add(shown)
            runs.append(run)
    return runs


def _each(
    schemes: Sequence[str], cases: Mapping[str, TrainingSettings]
) -> list[tuple[str, tuple[str, TrainingSettings], str]]:
    """List each case with its folder, by each protocol."""
    folders = unlike_names(list(cases), otherwise="case")
    return [(scheme, *one) for scheme in schemes for one in zip(cases.items(), folders, strict=True)]


def _cases(factor: Factor, settings: TrainingSettings, *, original: bool) -> dict[str, TrainingSettings]:
    """Find the settings of each case; with `original` also those of each network's own paper, where they are known.

    A precision that a timed trial would choose for each run anew becomes single precision.

    Raises
    ------
    InputError
        If settings do not go together, or two cases are the same.
    """
    if settings.runtime.precision == "auto":
        settings = settings.changed({"runtime.precision": "32"})
    found: dict[str, TrainingSettings] = {}
    for label in factor.cases:
        own = factor.settings_of(label, settings)
        of_paper = own.changed(ORIGINAL.get(own.network, {}))
        further = {f"{label}, own settings": of_paper} if original and of_paper.dotted() != own.dotted() else {}
        for name, one in {label: own, **further}.items():
            if same := [its for its, other in found.items() if other.dotted() == one.dotted()]:
                raise InputError(f"{factor.name}: found the same settings in {same[0]} and {name}, expected each once")
            found[name] = one
    return found
