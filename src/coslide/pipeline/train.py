"""From cubes to a trained model and its scores on held-out pixels."""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from coslide.config.records import first_problem
from coslide.config.training import TrainingSettings
from coslide.cube.band import sensors_of
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature, best_threshold, curve, fit_temperature
from coslide.evaluation.scores import NetworkDiagnostics, Scores
from coslide.evaluation.scoring import ScoredMap, score
from coslide.io.atomic import exclusive_lock, require_replaceable
from coslide.io.outputs import output_folder
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.diagnostics import diagnose_network
from coslide.mapping.metadata import BUNDLE, ModelMetadata, channels_of
from coslide.mapping.model import Model, record_scores, save_model
from coslide.mapping.probability_map import choose_threshold
from coslide.pipeline.baselines import make_baselines
from coslide.pipeline.evaluate import write_scores
from coslide.pipeline.labelled_scene import LabelledScene, Scenes, open_labelled_scenes, split_scenes, write_splits
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.pipeline.training_data import choose_inputs, held_out_windows, prepare_tiles, sample_scores
from coslide.samples.encode import Encoder
from coslide.samples.footprint import is_held_out
from coslide.samples.split import Subset
from coslide.sources.chips import chips_config
from coslide.training.checkpoints import require_unused
from coslide.training.fit import TrainingData, first_network, fit, network_options, require_trainable, with_precision
from coslide.training.module import Start

_log = logging.getLogger(__name__)


_CACHE = "tiles"  # inputs of the tiles, while training lasts


def cube_settings(index: Path | str) -> TrainingSettings:
    """Read the training settings of the event file that a cube was built from; for chips, the defaults.

    Raises
    ------
    InputError
        If this version of coslide does not know them.
    """
    if chips_config(Path(index)):
        return TrainingSettings()
    try:
        return TrainingSettings.model_validate_json(open_cube(index).attrs.get("coslide_training", "{}"))
    except ValidationError as error:
        raise InputError(f"training settings of the cube: {first_problem(error)}; build it again") from None


def train(
    index: Path | str | Sequence[Path | str],
    out: Path | str,
    settings: TrainingSettings | None = None,
    *,
    test_on: Sequence[Path | str] = (),
    compare: bool = True,
    resume: bool = False,
) -> Scores:
    """Train a network on one or several events, and score it on held-out pixels.

    Leaves ``out/model`` (bundle), ``out/metrics.json`` with ``metrics.md``, ``figures`` and ``tiles.csv``,
    ``out/splits`` (the subset of each pixel), ``out/baselines`` (other methods on the same split) and
    ``out/training`` (checkpoint and logs).

    Parameters
    ----------
    index
        A cube with landslide labels, or several; or chips (`docs/chips.md`), of which ``#event`` after their path
        takes one event.
    out
        Folder of the run.
    settings
        None takes those of the event file that the first cube was built from.
    test_on
        Cubes or chips that are held out as a whole (``split.scheme = "events"``).
    compare
        Also make and score the baselines: a random forest and a threshold on spectral change.
    resume
        Go on with a training that was interrupted.

    Raises
    ------
    InputError
        If a cube has no labels or is smaller than a tile, if there is no landslide to train on or no pixel to score,
        if cubes or settings do not go together, if a network cannot be trained, or if `out` holds another training.

    Examples
    --------
    >>> scores = train(index, folder / "run", compare=False)
    >>> 0 <= scores.pixels.f1 <= 1, (folder / "run" / "model" / "model.json").exists()
    (True, True)
    """
    out = Path(out)
    paths = [index] if isinstance(index, str | Path) else list(index)
    scenes = [scene for path in paths for scene in open_labelled_scenes(path)]
    settings = settings or cube_settings(paths[0])
    scenes += [replace(scene, role=Subset.TEST) for path in test_on for scene in open_labelled_scenes(path)]
    model, scenes = fit_model(scenes, out, settings, compare=compare, resume=resume)
    metadata, names, maps = model.metadata, Counter(scene.name for scene in scenes), []
    for number, scene in enumerate(scenes, start=1):
        if scene.split.test:
            name = scene.name if names[scene.name] == 1 else f"{scene.name} ({number})"
            mapped = mapped_where(model, scene, is_held_out(scene.seen))
            own = (scene.labels, scene.seen, scene.scene.pixel_size_m)
            chosen, _ = choose_threshold(metadata, [mapped])
            trained = metadata.threshold if metadata.threshold_of == "scene" else None
            maps.append(ScoredMap(name, mapped, *own, chosen, trained, metadata.temperature, scene.baselines))
    found = score(maps, split=metadata.split, learned=metadata.learned)
    write_scores(out, found, maps)
    record_scores(out / "model", found)
    return found


def fit_model(
    scenes: Scenes, out: Path, settings: TrainingSettings, *, compare: bool = True, resume: bool = False
) -> tuple[Model, list[LabelledScene]]:
    """Train a model on the training sets of `scenes`, and leave its bundle in ``out/model``.

    ``out/splits`` has the subset of each pixel, ``out/baselines`` what a random forest and a spectral change threshold
    make of the same split.

    Parameters
    ----------
    scenes
        Scenes with labels; each is split by `settings`, or held out as a whole, by its role.
    out
        Folder of the run.
    settings
        How to train.
    compare
        Also make the baselines.
    resume
        Go on with a training that was interrupted.

    Returns
    -------
    tuple
        The model, and the scenes with their splits and baselines.

    Raises
    ------
    InputError
        As `train`.
    """
    require_replaceable(out / "model", BUNDLE)
    folder = out / "training"
    require_unused(folder, resume=resume)
    with output_folder(folder), exclusive_lock(folder, folder):
        try:
            scenes, split, unfitted, optional_bands = plan_training(scenes, settings)
            data, encoder = prepare_tiles(scenes, unfitted, settings, folder / _CACHE)
            settings = with_precision(data, settings, folder)  # one for all members
            members = fit_members(data, settings, folder, resume=resume)
        finally:
            shutil.rmtree(folder / _CACHE, ignore_errors=True)
    write_splits(out / "splits", scenes, settings)
    model = Model(tuple(members), _metadata(scenes, encoder, settings, split | {"train_tiles": len(data.tiles)}))
    model = _changed(model, optional_bands=optional_bands, vital_signs=_diagnostics(model, scenes, settings))
    model = _changed(model, **_calibration(model, scenes))
    if settings.split.by_samples:
        model = _changed(model, samples=sample_scores(model, scenes).model_dump())
    save_model(model, out / "model")
    if compare:
        scenes = make_baselines(scenes, model.metadata, out, seed=settings.seed)
    return model, scenes


class Plan(NamedTuple):
    """What a training will be: the split scenes, the record of their split, and what a network is fed of them.

    The encoder does not normalise yet. A model may lack the optional bands.
    """

    scenes: list[LabelledScene]
    split: dict[str, Any]
    encoder: Encoder
    optional_bands: list[str]


def plan_training(scenes: Scenes, settings: TrainingSettings) -> Plan:
    """Check that `settings` can be trained on `scenes`; split them and choose the bands. Nothing is written.

    Raises
    ------
    InputError
        As `train`.
    """
    _require_together(scenes, settings)
    encoder, optional_bands = choose_inputs(scenes, settings)
    require_trainable(settings, encoder.inputs)
    return Plan(*split_scenes(scenes, settings), encoder, optional_bands)


def fit_members(
    data: TrainingData, settings: TrainingSettings, folder: Path, *, resume: bool, start: Sequence[Start] = ()
) -> list[nn.Module]:
    """Train the members: the first in `folder`, others, from other seeds, in folders of it.

    Parameters
    ----------
    data, settings, folder, resume
        As for `coslide.training.fit.fit`.
    start
        What each of them begins with, where they were trained before.

    Raises
    ------
    InputError
        As `coslide.training.fit.fit`.
    """
    optimiser, networks = settings.optimiser, []
    length = f"{optimiser.steps} steps of {optimiser.batch}" if optimiser.steps else f"{optimiser.epochs} epochs of"
    samples = f"tiles ({len(data.tiles)})" if settings.sampling.places == "tiles" else "windows at random places"
    up_to = "up to " if optimiser.patience else ""
    for number, own in enumerate(_settings_of_members(settings), start=1):
        started = time.monotonic()
        place = folder if number == 1 else folder / f"member-{number}"
        networks.append(fit(data, own, place, resume=resume, start=start[number - 1] if start else None))
        which = f" ({number} of {settings.members})" if settings.members > 1 else ""
        took_min = (time.monotonic() - started) / 60
        _log.info(f"trained {settings.network}{which}: {up_to}{length} {samples} in {took_min:.1f} min")
    return networks


def _settings_of_members(settings: TrainingSettings) -> list[TrainingSettings]:
    """Give each member the seed that it is trained with."""
    return [settings.model_copy(update={"seed": (settings.seed + i) % 2**32}) for i in range(settings.members)]


def mapped_where(model: Model, scene: LabelledScene, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Predict the landslide probability (0 to 1) of the pixels `where`, (row, col); NaN elsewhere.

    In single precision.
    """
    return np.asarray(predict_array(model, scene.scene, InferenceOptions(precision="32"), where=where)[0])


def _require_together(scenes: Scenes, settings: TrainingSettings) -> None:
    """Check that the scenes to train on and those to hold out as a whole go together."""
    scheme = settings.split.scheme
    held_out = any(scene.role is Subset.TEST for scene in scenes)
    if scheme == "events" and not held_out:
        raise InputError("training.split.scheme: found events, but no event to hold out; expected --test-on INDEX.zarr")
    if held_out and scheme != "events":
        raise InputError(f"training.split.scheme: found {scheme}, expected events where --test-on is given")
    given = Counter(scene.fingerprint for scene in scenes if scene.scene.grid is None)
    first = scenes[0]
    for other in scenes:
        if given[other.fingerprint] > 1:  # of others, the footprints tell
            raise InputError(f"{other.name}: is given twice, to train on or to hold out; expected it once")
        if other.relative and settings.inputs.normalise == "global":
            why = f"{other.name} has bands in a scale of its own (unit relative)"
            raise InputError(f"training.inputs.normalise: found global, expected event: {why}")
        if (size_m := other.scene.pixel_size_m) != (expected_m := first.scene.pixel_size_m):
            why = f"expected {expected_m:g} m as {first.name} has; build it on such a grid"
            raise InputError(f"{other.name}: found pixels of {size_m:g} m, {why}")


def _changed(model: Model, **values: Any) -> Model:
    return replace(model, metadata=model.metadata.model_copy(update=values))


def _metadata(scenes: Scenes, encoder: Encoder, settings: TrainingSettings, split: dict[str, Any]) -> ModelMetadata:
    trained = [scene for scene in scenes if scene.split.train]
    given = settings.dotted()
    if settings.split.regions is not None:
        given["split.regions"] = settings.split.regions.name  # not where it lies on this machine
    return ModelMetadata(
        network=settings.network,
        options=network_options(settings, encoder.inputs),
        channels=channels_of(encoder),
        flags=list(encoder.flags),
        members=settings.members,
        tta=settings.tta,
        threshold_of=settings.threshold,
        tile=settings.sampling.tile,
        pixel_size_m=scenes[0].scene.pixel_size_m,
        events=[scene.name for scene in trained],
        simulated=[scene.name for scene in trained if scene.simulated],
        sensors=sensors_of(band for scene in trained for band in scene.scene.inputs),
        footprints=[scene.footprint for scene in scenes if scene.footprint is not None],
        events_without_location=[scene.name for scene in trained if scene.footprint is None],
        split=split,
        settings=given,
        credits=sorted({scene.credit for scene in trained if scene.credit}),
    )


def _diagnostics(model: Model, scenes: Scenes, settings: TrainingSettings) -> list[NetworkDiagnostics]:
    """Diagnose the network of each member, and log which depth is dead."""
    held_out, inputs = held_out_windows(scenes, model.metadata), model.metadata.encoder.inputs
    firsts = [first_network(own, inputs) for own in _settings_of_members(settings)]
    found = [diagnose_network(*pair, held_out) for pair in zip(model.networks, firsts, strict=True)]
    for line in (line for one in found for line in one.warnings()):
        _log.info(line)
    return found


def _calibration(model: Model, scenes: Scenes) -> dict[str, float]:
    """Choose the temperature and threshold that are best on the validation set, where there is one.

    The temperature stays 1 where each scene has a threshold of its own.
    """
    probability, truth = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool)
    for scene in scenes:
        where = (scene.seen == Subset.VALIDATION) & (scene.labels != NODATA)
        if where.any():
            mapped = mapped_where(model, scene, where)
            where = np.isfinite(mapped)
            probability = np.append(probability, mapped[where])
            truth = np.append(truth, scene.labels[where] == LANDSLIDE)
    if not truth.any():
        why = "warning: no landslide in the validation set" if truth.size else "no validation set"
        _log.info(f"{why}: the threshold stays 0.5 and the probabilities as they are")
        return {}
    # how sure a network is of its own events says little of another; what is chosen on each scene needs that
    temperature = 1.0 if model.metadata.threshold_of == "scene" else fit_temperature(probability, truth)
    threshold = best_threshold(curve(apply_temperature(probability, temperature), truth))
    _log.info(f"on {truth.size} validation pixels: temperature {temperature:.2f}, threshold {threshold:.3f}")
    return {"temperature": temperature, "threshold": threshold}
