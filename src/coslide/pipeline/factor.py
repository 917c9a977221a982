"""Studies of one factor: its cases are trained with the same seeds on the same splits of one event, and compared."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from coslide import networks
from coslide.config.factors import FACTORS, Factor, read_factor
from coslide.config.original import ORIGINAL
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.study import Protocol, Run, Study
from coslide.io.atomic import exclusive_lock
from coslide.io.outputs import output_folder
from coslide.io.vector import VectorFile
from coslide.pipeline.evaluate import as_vector_file
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scenes, unlike_names
from coslide.pipeline.study import carry_out, require_unused
from coslide.pipeline.study_regions import find_regions
from coslide.pipeline.study_report import report_factor
from coslide.pipeline.train import cube_settings, plan_training
from coslide.pipeline.training_data import split_fingerprint
from coslide.training.fit import network_options

Beside = Literal["blocks", "paper"]
_PAPER_SCHEME = "paper-random"


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

    Examples
    --------
    >>> StudyDesign(seeds=3).protocol
    'blocks'
    """

    settings: TrainingSettings | None = None
    seeds: int = 5
    protocol: Beside = "blocks"
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
    require_unused(out, factor.name, resume=resume)
    runs = plan_factor(factor, index, design)
    (scene,) = plan_training(open_labelled_scenes(index), TrainingSettings().changed(runs[0].settings)).scenes
    polygons = None if regions is None else as_vector_file(regions)
    if polygons is not None:
        find_regions(scene, polygons)  # before hours of training
    with output_folder(out), exclusive_lock(out, out):
        failed = carry_out(runs, out, executor, reuse=[Path(path) for path in reuse])
        done = [run for run in runs if run.name not in failed]
        found = report_factor(factor, done, out, scene=scene, regions=polygons) if done else None
    if found is None or failed:
        name, problem = next(iter(failed.items()))
        others = "; the tables are of the others" if done else ""
        raise InputError(f"{name}: {problem} ({len(failed)} of {len(runs)} trainings failed{others})")
    return found


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
    """List the trainings of `study_factor`, and check that each can be done; nothing is written.

    The runs of one seed come together, so that a study that is stopped has whole comparisons.

    Raises
    ------
    InputError
        As `study_factor`.
    """
    if design.seeds < 1:
        raise InputError(f"seeds: found {design.seeds}, expected at least 1")
    scenes = open_labelled_scenes(index)
    if len(scenes) > 1:
        raise InputError(f"{index}: found {len(scenes)} events, expected one; #EVENT after the path takes one")
    settings = design.settings or cube_settings(index)
    cases = _cases(factor, settings, scenes, original=design.original)
    protocols = _protocols(cases, design.protocol)
    step = max(own.members for own in cases.values())  # members have seeds of their own, which no other run has
    folders = dict(zip(cases, unlike_names(list(cases), otherwise="case"), strict=True))
    splits: dict[str, str] = {}
    runs = []
    for number in range(design.seeds):
        seed = (settings.seed + number * step) % 2**32
        with_baselines: set[str] = set()
        for protocol, (label, case) in product(protocols, cases.items()):
            own = case.changed({"seed": seed, **protocols[protocol]})
            shown = f"{seed} {own.inputs} {own.split} {own.sampling}"
            if shown not in splits:  # that a training set has landslides depends on the seed
                with _naming(label):
                    splits[shown] = _regions_of(plan_training(scenes, own).scenes[0], own)
            run = Run(
                name=f"{folders[label]}/{'' if protocol == 'own' else 'paper-'}seed-{seed}",
                case=label,
                seed=seed,
                train={str(index): scenes[0].fingerprint},
                test_on={},
                settings=own.dotted(),
                regions=splits[shown],
                protocol=protocol,
                baselines=shown not in with_baselines,
            )
            with_baselines.add(shown)
            runs.append(run)
    return runs


def _protocols(cases: Mapping[str, TrainingSettings], protocol: str) -> dict[Protocol, dict[str, Any]]:
    """List the protocols of a study, and what each changes of the settings of a case."""
    if protocol not in get_args(Beside):
        raise InputError(f"protocol: found {protocol}, expected {' or '.join(get_args(Beside))}")
    for label, own in cases.items():
        if protocol == "paper" and own.split.by_samples:
            expected = "expected blocks or regions, to set the paper's protocol beside"
            raise InputError(f"{label}: split.scheme: found {own.split.scheme}, {expected}")
    changes: dict[Protocol, dict[str, Any]] = {"own": {}}
    if protocol == "paper":
        changes["paper"] = {"split.scheme": _PAPER_SCHEME}
    return changes


def _cases(
    factor: Factor, settings: TrainingSettings, scenes: Sequence[LabelledScene], *, original: bool
) -> dict[str, TrainingSettings]:
    """Find the settings of each case; with `original` also those of each network's own paper, where they are known.

    The width is written down, options that are the network's defaults are left out, and a precision that a timed trial
    would choose for each run anew becomes single precision.

    Raises
    ------
    InputError
        If a case cannot be trained, or two are the same.
    """
    if settings.runtime.precision == "auto":
        settings = settings.changed({"runtime.precision": "32"})
    found: dict[str, TrainingSettings] = {}
    for label in factor.cases:
        own = factor.settings_of(label, settings)
        if own.split.scheme == "events":
            raise InputError(f"{label}: split.scheme: found events, expected a split of one event, such as blocks")
        with _naming(label):
            inputs = plan_training(scenes, own).encoder.inputs
            width, defaults = network_options(own, inputs)["width"], networks.default_options(own.network)
        options = {name: value for name, value in own.options.items() if defaults.get(name) != value}
        own = own.changed(width=width, options=options)
        of_paper = own.changed(ORIGINAL.get(own.network, {}))
        further = {f"{label}, own settings": of_paper} if original and of_paper.dotted() != own.dotted() else {}
        for name, one in {label: own, **further}.items():
            if same := [its for its, other in found.items() if its == name or other.dotted() == one.dotted()]:
                raise InputError(f"{factor.name}: found the same in {same[0]} and {name}, expected each case once")
            found[name] = one
    return found


def _regions_of(scene: LabelledScene, settings: TrainingSettings) -> str:
    """Fingerprint the split that a file of regions makes; nothing without one."""
    return "" if settings.split.regions is None else split_fingerprint([scene])


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """Name a case in the line about what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
