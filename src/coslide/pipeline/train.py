"""From cubes to a trained model and its scores on held-out ground."""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from coslide.config.training import TrainingSettings, first_problem
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.calibration import apply_temperature, fit_temperature
from coslide.evaluation.curves import best_threshold, curve
from coslide.io.atomic import exclusive_lock, report_write_errors, require_replaceable
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.model import BUNDLE, Model, ModelMetadata, channels_of, record_scores, save_model, training_facts
from coslide.mapping.vital_signs import HeldOut, take_vital_signs
from coslide.pipeline.baselines import FOLDER, Baselines, make_baselines, write_baselines
from coslide.pipeline.held_out import held_out_windows
from coslide.pipeline.labelled_scene import PATCH, Area, open_area
from coslide.pipeline.predict import InferenceOptions, predict_array
from coslide.pipeline.results import write_scores
from coslide.pipeline.sample_scores import sample_scores
from coslide.pipeline.scoring import ScoredMap, held_out_scores, score_line
from coslide.pipeline.splits import (
    area_name,
    grounds_of,
    log_split,
    mean_leak,
    require_scorable,
    seen_of,
    tile_counts,
    with_leak_between,
    write_all_splits,
    write_samples,
)
from coslide.pipeline.training_data import Prepared, prepare_tiles
from coslide.samples.footprint import TrainingFootprint, is_held_out
from coslide.samples.order import rounded_steps
from coslide.samples.split import Split, SplitRaster, Subset
from coslide.training.checkpoints import require_unused
from coslide.training.fit import TrainingData, first_network, fit, network_options, with_precision

_log = logging.getLogger(__name__)


SPLITS = "splits"
_CACHE = "tiles"  # inputs of the tiles, while training lasts


class Trained(NamedTuple):
    """A model, the areas it was trained and held out on, and for each its split, what training saw, and other maps.

    Where areas overlap, `seen` says what any of them showed to training.
    """

    model: Model
    areas: list[Area]
    splits: list[Split]
    seen: list[SplitRaster]
    baselines: list[Baselines]


def cube_settings(cube: xr.Dataset) -> TrainingSettings:
    """Return the training settings of the event file that `cube` was built from.

    Raises
    ------
    InputError
        If this version of coslide does not know them.
    """
    try:
        return TrainingSettings.model_validate_json(cube.attrs.get("coslide_training", "{}"))
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
) -> dict[str, Any]:
    """Return the scores, on held-out ground, of a network trained on one or several events.

    Leaves ``out/model`` (bundle), ``out/metrics.json`` with ``metrics.md``, ``figures`` and ``tiles.csv``,
    ``out/splits`` (which cell was in which part), ``out/baselines`` (other methods on the same split) and
    ``out/training`` (checkpoint and logs).

    Parameters
    ----------
    index
        A cube with landslide labels, or several, or folders of Landslide4Sense patches.
    out
        Folder of the run.
    settings
        None takes those of the event file that the first cube was built from.
    test_on
        Cubes that are held out as a whole (``split = "events"``).
    compare
        Also make and score the baselines: a random forest and a threshold on spectral change.
    resume
        Go on with a training that was interrupted.

    Raises
    ------
    InputError
        If a cube has no labels or is smaller than a tile, if there is no landslide to train on or no ground to score,
        if cubes or settings do not go together, if a network cannot be trained, or if `out` holds another training.
    """
    out = Path(out)
    paths = [index] if isinstance(index, str | Path) else list(index)
    areas = [open_area(path) for path in paths]
    if settings is None:
        settings = TrainingSettings() if areas[0].patches else cube_settings(open_cube(paths[0]))
    trained = fit_model(
        areas,
        out,
        settings,
        test_on=[open_area(path) for path in test_on],
        compare=compare,
        resume=resume,
    )
    metadata = trained.model.metadata
    maps = []
    for number, area in enumerate(trained.areas):
        seen, baselines = trained.seen[number], trained.baselines[number]
        if trained.splits[number].test:
            probability = mapped_where(trained.model, area, is_held_out(seen))
            name = _name_among(area, number, trained.areas)
            maps.append(ScoredMap(name, probability, area.labels, seen, area.scene.pixel_size_m, baselines))
    metrics = held_out_scores(maps, threshold=metadata.threshold, temperature=metadata.temperature)
    metrics["split"] |= metadata.split
    metrics |= training_facts(metadata.model_dump())
    write_scores(out, metrics, maps, threshold=metadata.threshold)
    record_scores(out / "model", metrics)
    _log.info(score_line(metrics))
    return metrics


def fit_model(
    areas: Sequence[Area],
    out: Path,
    settings: TrainingSettings,
    *,
    test_on: Sequence[Area] = (),
    compare: bool = True,
    resume: bool = False,
) -> Trained:
    """Return a model trained on the training parts of `areas`; its bundle is left in ``out/model``.

    ``out/splits`` says which cell was in which part, ``out/baselines`` holds what a random forest and a spectral change
    threshold make of the same split.

    Parameters
    ----------
    areas
        Ground with known landslides; each is split as the settings say.
    out
        Folder of the run.
    settings
        How to train.
    test_on
        Events that are held out as a whole, with ``split = "events"``.
    compare
        Also make the baselines.
    resume
        Go on with a training that was interrupted.

    Raises
    ------
    InputError
        As `train`.
    """
    require_replaceable(out / "model", BUNDLE)
    _require_split_by_events(settings, test_on)
    _require_one_cell_size([*areas, *test_on])
    folder = out / "training"
    require_unused(folder, resume=resume)
    with report_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    everything = [*areas, *test_on]
    roles = [Subset.TRAIN] * len(areas) + [Subset.TEST] * len(test_on)
    with exclusive_lock(folder, folder):
        try:
            prepared = prepare_tiles(everything, roles, settings, folder / _CACHE)
            grounds = grounds_of(everything, prepared.splits)
            splits = with_leak_between(everything, prepared.splits, grounds)
            seen = seen_of(everything, splits, grounds)
            log_split(splits, len(prepared.tiles), settings)
            require_scorable(everything, splits, seen)
            made_from = {
                "cube": _hash(area.fingerprint for area in everything),
                "parts": _hash(split.parts for split in splits),
            }
            data = TrainingData(prepared.tiles, prepared.encoder.names, prepared.validation, made_from)
            settings = with_precision(data, settings, folder)  # one for all members
            members = _fit_members(data, settings, folder, resume=resume)
        finally:
            shutil.rmtree(folder / _CACHE, ignore_errors=True)
    write_all_splits(out / SPLITS, everything, splits)
    model = Model(members, _card(everything, splits, grounds, prepared=prepared, settings=settings))
    model = _looked_into(model, held_out_windows(everything, splits, seen, model.metadata), settings)
    model = _calibrated(model, everything, seen)
    if settings.split.by_samples:
        write_samples(out / SPLITS, everything, splits, settings)
        samples = sample_scores(model, everything, splits)
        model = Model(model.networks, model.metadata.model_copy(update={"samples": samples}))
    save_model(model, out / "model")
    baselines: list[Baselines] = [{} for _ in everything]
    if compare:
        baselines = make_baselines(everything, splits, prepared.encoder.bands, seed=settings.seed)
    for number, (area, maps) in enumerate(zip(everything, baselines, strict=True)):
        if area.scene.grid is not None and maps:
            write_baselines((out / FOLDER / area_name(area, number)).with_suffix(".tif"), maps, area.scene.grid)
    return Trained(model, everything, splits, seen, baselines)


def _fit_members(
    data: TrainingData, settings: TrainingSettings, folder: Path, *, resume: bool
) -> tuple[nn.Module, ...]:
    """Train the members: the first in `folder`, others, from other seeds, in folders of it."""
    networks = []
    for number in range(1, settings.members + 1):
        started = time.monotonic()
        own_folder = folder if number == 1 else folder / f"member-{number}"
        network = fit(data, settings_of_member(settings, number), own_folder, resume=resume)
        minutes = (time.monotonic() - started) / 60
        which = f" ({number} of {settings.members})" if settings.members > 1 else ""
        up_to = "up to " if settings.optimiser.patience else ""
        how_long = (
            f"{rounded_steps(settings.optimiser.steps)} steps of {settings.optimiser.batch} windows at random places"
            if settings.sampling.places == "random"
            else f"{settings.optimiser.epochs} epochs of {len(data.tiles)} tiles"
        )
        _log.info(f"trained {settings.network}{which}: {up_to}{how_long} in {minutes:.1f} min")
        networks.append(network)
    return tuple(networks)


def settings_of_member(settings: TrainingSettings, number: int) -> TrainingSettings:
    """Give the member of this number, from 1 on, the seed that it is trained with."""
    return settings.model_copy(update={"seed": (settings.seed + number - 1) % 2**32})


def mapped_where(model: Model, area: Area, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the landslide probability (0 to 1) of the cells of `area` that `where` names, (row, col); NaN elsewhere.

    Patches are mapped one by one, all in single precision.
    """
    options = InferenceOptions(stride=PATCH if area.patches else None, precision="32")
    return np.asarray(predict_array(model, area.scene, options, where=where)[0])


def _require_split_by_events(settings: TrainingSettings, test_on: Sequence[Area]) -> None:
    if settings.split.scheme == "events" and not test_on:
        raise InputError("training.split.scheme: found events, but no event to hold out; expected --test-on INDEX.zarr")
    if test_on and settings.split.scheme != "events":
        raise InputError(
            f"training.split.scheme: found {settings.split.scheme}, expected events where --test-on is given"
        )


def _require_one_cell_size(areas: Sequence[Area]) -> None:
    first = areas[0]
    for area in areas[1:]:
        if area.scene.pixel_size_m != first.scene.pixel_size_m:
            raise InputError(
                f"{area.name}: found pixels of {area.scene.pixel_size_m:g} m, expected {first.scene.pixel_size_m:g} m "
                f"as {first.name} has; build it on such a grid"
            )


def _name_among(area: Area, number: int, areas: Sequence[Area]) -> str:
    """Return what an area is called; with its number where another one is called the same."""
    return area.name if sum(other.name == area.name for other in areas) == 1 else f"{area.name} ({number + 1})"


def _hash(items: Iterable[str | NDArray[np.uint8]]) -> str:
    """Return a hash of texts or arrays; of one text, the text itself."""
    found = list(items)
    if len(found) == 1 and isinstance(found[0], str):
        return found[0]
    return hashlib.sha256(b"\n".join(i.encode() if isinstance(i, str) else i.tobytes() for i in found)).hexdigest()


def _card(
    areas: Sequence[Area],
    splits: Sequence[Split],
    grounds: Sequence[TrainingFootprint | None],
    *,
    prepared: Prepared,
    settings: TrainingSettings,
) -> ModelMetadata:
    trained = [area for area, split in zip(areas, splits, strict=True) if split.train]
    counts = tile_counts(splits)
    given = settings.dotted()
    if settings.split.regions is not None:
        given["split.regions"] = settings.split.regions.name  # not where it lies on this machine
    return ModelMetadata(
        network=settings.network,
        options=network_options(settings, prepared.encoder.names),
        channels=channels_of(prepared.encoder),
        flags=list(prepared.encoder.flags),
        normalise=settings.inputs.normalise,
        optional_bands=prepared.optional_bands,
        members=settings.members,
        tile=settings.sampling.tile,
        pixel_size_m=areas[0].scene.pixel_size_m,
        events=[area.name for area in trained],
        footprints=[footprint for footprint in grounds if footprint is not None],
        events_without_location=[area.name for area in trained if area.scene.grid is None],
        split={
            "scheme": settings.split.scheme,
            "seed": settings.seed,
            "train_tiles": len(prepared.tiles),
            "validation_tiles": counts["validation"],
            "test_tiles": counts["test"],
            "guard_px": settings.split.guard_px,
            "leak_fraction": mean_leak(splits),
        },
        settings=given,
    )


def _looked_into(model: Model, held_out: HeldOut, settings: TrainingSettings) -> Model:
    """Take the vital signs of each member, and say which depth is dead."""
    found = []
    for number, network in enumerate(model.networks, start=1):
        first = first_network(settings_of_member(settings, number), model.metadata.encoder.names)
        found.append(take_vital_signs(network, first, held_out))
        for line in found[-1].warnings():
            _log.info(line)
    return Model(model.networks, model.metadata.model_copy(update={"vital_signs": found}))


def _calibrated(model: Model, areas: Sequence[Area], seen: Sequence[SplitRaster]) -> Model:
    """Return the model with the temperature and threshold that are best on the validation part, where there is one."""
    probabilities, truths = [], []
    for area, parts in zip(areas, seen, strict=True):
        where = (parts == Subset.VALIDATION) & (area.labels != NODATA)
        if where.any():
            found = mapped_where(model, area, where)
            where &= np.isfinite(found)
            probabilities.append(found[where])
            truths.append(area.labels[where] == LANDSLIDE)
    if not probabilities:
        _log.info("no validation part: the threshold stays 0.5 and the probabilities as they are")
        return model
    probability, truth = np.concatenate(probabilities), np.concatenate(truths)
    if not truth.any():
        _log.info(
            "warning: no landslide in the validation part; the threshold stays 0.5, the probabilities as they are"
        )
        return model
    temperature = fit_temperature(probability, truth)
    threshold = best_threshold(curve(apply_temperature(probability, temperature), truth))
    _log.info(f"on {truth.size} validation cells: temperature {temperature:.2f}, threshold {threshold:.3f}")
    metadata = model.metadata.model_copy(update={"temperature": temperature, "threshold": threshold})
    return Model(model.networks, metadata)
