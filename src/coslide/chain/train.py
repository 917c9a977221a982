"""From a cube to a trained model and its scores on held-out ground."""

import time
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import ValidationError

from coslide.chain.evaluate import held_out_scores, score_line
from coslide.chain.map import predicted_rows
from coslide.errors import InputError
from coslide.files import require_replaceable, write_json
from coslide.grid import cell_size_m
from coslide.indices.cube import Band, cube_grid, input_bands, open_cube, read_inputs, read_labels, read_valid
from coslide.indices.sets import index_set, missing_indices
from coslide.labels import LANDSLIDE
from coslide.listener import QUIET, Listener
from coslide.mapping.bundle import BUNDLE, Card, Model, channels_of, save_model
from coslide.mapping.ground import ground_of, seen_ground
from coslide.mapping.scene import collect
from coslide.samples.dataset import Tiles
from coslide.samples.normalise import fit_normalisation, normalise
from coslide.samples.split import leak_fraction, split_windows
from coslide.samples.windows import cover
from coslide.settings import TrainingSettings, first_problem
from coslide.training.fit import fit, network_options, require_trainable


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
    index: Path | str,
    out: Path | str,
    settings: TrainingSettings | None = None,
    *,
    resume: bool = False,
    listener: Listener = QUIET,
) -> dict[str, Any]:
    """Return the scores, on held-out ground, of a network trained on the cube `index`.

    Leaves ``out/model`` (bundle), ``out/metrics.json`` and ``out/training`` (checkpoint and logs).

    Parameters
    ----------
    index
        A cube with landslide labels.
    out
        Folder of the run.
    settings
        None takes those of the event file that the cube was built from.
    resume
        Go on with a training that was interrupted.
    listener
        Who hears of it.

    Raises
    ------
    InputError
        If the cube has no labels, is smaller than a tile or has no landslide to train on, or `out` holds another
        training.
    """
    out = Path(out)
    cube = open_cube(index)
    model = fit_model(cube, out, settings or cube_settings(cube), resume=resume, listener=listener)
    probability = collect(predicted_rows(model, cube, listener=listener))
    seen = seen_ground(model.card.ground, cube_grid(cube))
    metrics = held_out_scores(probability, read_labels(cube), seen, threshold=model.card.threshold)
    metrics["split"] |= model.card.split
    write_json(out / "metrics.json", metrics)
    listener.say(score_line(metrics))
    return metrics


def fit_model(
    cube: xr.Dataset, out: Path, settings: TrainingSettings, *, resume: bool = False, listener: Listener = QUIET
) -> Model:
    """Return a model trained on the training part of `cube`; its bundle is left in ``out/model``.

    Raises
    ------
    InputError
        As `train`.
    """
    bands = _chosen_bands(cube, settings, listener)
    names = [band.name for band in bands]
    require_trainable(settings, names)
    require_replaceable(out / "model", BUNDLE)
    labels, grid = read_labels(cube), cube_grid(cube)
    split = split_windows(labels, settings)
    leak = leak_fraction(split.train, split.test, labels.shape)
    listener.say(
        f"split {settings.split}: {len(split.train)} training and {len(split.test)} held-out tiles, "
        f"{100 * leak:.1f} % of the held-out tiles' ground leaks into training"
    )
    trained = cover(split.train_area, labels.shape)
    if not (labels[trained] == LANDSLIDE).any():
        raise InputError(f"{out}: the training part holds no landslide; choose another --seed or a larger area")
    inputs = read_inputs(cube, bands=bands)
    normalisation = fit_normalisation(inputs, bands, trained & read_valid(cube))
    aspect = names.index("aspect_class") if "aspect_class" in names else None
    tiles = Tiles(normalise(inputs, normalisation), labels, split.train, aspect=aspect)
    fingerprint = str(cube.attrs["coslide_fingerprint"])
    started = time.monotonic()
    network = fit(tiles, settings, out / "training", bands=names, cube=fingerprint, resume=resume)
    minutes = (time.monotonic() - started) / 60
    listener.say(f"trained {settings.network}: {settings.epochs} epochs of {len(tiles)} tiles in {minutes:.1f} min")
    card = Card(
        network=settings.network,
        options=network_options(settings, names),
        channels=channels_of(bands, normalisation),
        tile=settings.tile,
        cell_size_m=cell_size_m(grid),
        event=str(cube.attrs["title"]),
        ground=ground_of(split, grid),
        split={
            "scheme": settings.split,
            "seed": settings.seed,
            "train_tiles": len(split.train),
            "test_tiles": len(split.test),
            "leak_fraction": leak,
        },
        settings=settings.model_dump(),
    )
    model = Model(network, card)
    save_model(model, out / "model")
    return model


def _chosen_bands(cube: xr.Dataset, settings: TrainingSettings, listener: Listener) -> tuple[Band, ...]:
    """Return the input channels to train on; says which indices of the set the cube lacks."""
    bands = input_bands(cube)
    if settings.indices == "all":
        return bands
    chosen = tuple(index_set(settings.indices, bands))
    if not chosen:
        raise InputError(f"training.indices: the cube has no index of set ({settings.indices})")
    missing = missing_indices(settings.indices, bands)
    note = f"; the cube has no {', '.join(missing)}" if missing else ""
    listener.say(f"indices ({settings.indices}): {len(chosen)} channels{note}")
    return chosen
