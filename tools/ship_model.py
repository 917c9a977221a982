"""Put a trained model into the package, with its card.

    python tools/ship_model.py MODEL NAME --unseen DIR/study.json --inventory "EVENT=WHOSE" --limits TEXT --command TEXT

MODEL is a bundle of `coslide train`, and a study is what `coslide study transfer` left of the same recipe. The weights are kept in
half precision where no probability changes by more than `coslide.mapping.half_precision.MOST_LOST` on windows of a cube (--on), or on
seeded random inputs. What a shipped model needs not have is left out, and nothing in it may name a path of a machine.
"""

import argparse
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from coslide.config.records import read_record
from coslide.config.training import TrainingSettings
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.study import NETWORK, ORACLE, OWN, Study
from coslide.io.atomic import whole_output
from coslide.io.paths import file_exists
from coslide.mapping.card import Card, UnseenScores
from coslide.mapping.half_precision import MOST_LOST, half_precision_loss
from coslide.mapping.inputs import require_same_inputs
from coslide.mapping.metadata import BUNDLE, METADATA, load_metadata
from coslide.mapping.model import SHIPPED, load_model, save_model
from coslide.pipeline.scene_predictor import encoder_for
from coslide.pipeline.shipped import CARD, card_of
from coslide.windows import require_tile

LARGEST_MB = 20.0  # all bundles together
WINDOWS = 16  # on which half precision is held against whole
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PATH = re.compile(r"""(^|[^\w./])(~\w*/|/[\w.-]+/|[A-Za-z]:\\)|file:/""")
NOT_OF_THE_RECIPE = ("seed", "split.", "runtime.")


def ship(model, name, *, limits, command, unseen=(), inventories=None, on=None, into=SHIPPED):
    """Write the bundle `name` into the folder of the shipped models, whole or not at all; returns its folder."""
    if not NAME.fullmatch(name):
        raise InputError(f"{name}: found this name, expected small letters and digits, in words joined by -")
    trained = load_model(model)
    metadata = trained.metadata
    if not metadata.credits:
        raise InputError(
            f"{model}: says of no event whom its data are from; add `credit` to its event file, and train again"
        )
    loss = half_precision_loss(trained, _windows(metadata, on) if on else _random_inputs(metadata))
    half = loss <= MOST_LOST
    scores = [one for path in unseen for one in unseen_scores(path, metadata, inventories or {})]
    if odd := set(inventories or {}) - {one.event for one in scores}:
        raise InputError(f"--inventory: found {', '.join(sorted(odd))}, expected events of the studies")
    card = Card(name=name, unseen=scores, limits=limits, command=command, half_precision_loss=loss if half else None)
    metadata = metadata.model_copy(update={"card": card, "samples": {}, "scores": {}})
    _require_no_paths(metadata.model_dump(mode="json"), str(model))
    folder = into / name
    with whole_output(folder, marker=BUNDLE) as part:
        save_model(replace(trained, metadata=metadata), part, half=half)
        (part / CARD).write_text(card_of(load_model(part).metadata), encoding="utf-8")
        others = [one for one in into.iterdir() if one.is_dir() and one.name != name and not one.name.startswith(".")]
        size_mb = sum(file.stat().st_size for one in [part, *others] for file in one.rglob("*")) / 1e6
        if size_mb > LARGEST_MB:
            raise InputError(f"{folder}: all bundles would have {size_mb:.1f} MB, expected {LARGEST_MB:g} MB at most")
    return folder


def unseen_scores(path, metadata, inventories):
    """List what a study tells of each event that was unseen, and how it was measured."""
    study = read_record(path, Study, advice="expected the study.json of coslide study transfer")
    for run in study.runs:
        _require_same_bands(metadata, path.parent / run.name / "model")
    found = []
    for one in study.summaries:
        if one.method != NETWORK or one.case is None:
            continue
        scores = {key: spread.mean for key, spread in one.scores.items()}
        found.append(
            UnseenScores(
                event=one.case,
                inventory=inventories.get(one.case, ""),
                average_precision=scores.get("average_precision"),
                average_precision_interval=_interval(scores, "average_precision"),
                f1=scores[f"{OWN}_f1"],
                f1_interval=_interval(scores, "f1"),
                oracle_f1=scores.get(f"{ORACLE}_f1"),
                measured=_measured(study, one, metadata.settings, path),
            )
        )
    return found


def _require_same_bands(metadata, bundle):
    """Require that a network of a study sees the bands of the model, where its bundle lies beside the study."""
    if file_exists(bundle / METADATA):
        found, own = ({band.name for band in one.bands} for one in (load_metadata(bundle), metadata))
        if found != own:
            apart = ", ".join(sorted(found ^ own))
            raise InputError(f"{bundle}: sees other bands than the model ({apart}), expected a study of the same bands")


def _interval(scores, name):
    ends = [scores.get(f"{name}_{end}") for end in ("low", "high")]
    return None if None in ends else tuple(ends)


def _measured(study, one, settings, path):
    """Say in a sentence how an event was scored, and in what the networks of the study differ from the model."""
    runs = [run for run in study.runs if run.case == one.case]
    bundle = path.parent / runs[0].name / "model"
    others = (
        load_metadata(bundle).events if file_exists(bundle / METADATA) else [Path(name).name for name in runs[0].train]
    )
    own = {**TrainingSettings().dotted(), **settings}
    apart = {
        key: value
        for key, value in runs[0].settings.items()
        if not key.startswith(NOT_OF_THE_RECIPE) and own.get(key) != value
    }
    but = f", but with {', '.join(f'{key} = {value}' for key, value in apart.items())}," if apart else ""
    times = "one training" if one.count == 1 else f"the mean of {one.count} trainings from other seeds"
    return (
        f"{times[0].upper()}{times[1:]} of this recipe{but} on {' and '.join(others)}, without any part of the event; "
        "all of its labelled pixels are scored."
    )


def _random_inputs(metadata):
    shape = (WINDOWS, len(metadata.encoder.names), metadata.tile, metadata.tile)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _windows(metadata, path):
    """Encode windows at random places of a cube."""
    cube = open_cube(path)
    require_same_inputs(metadata, [*cube.inputs, *cube.diagnostics], cube.pixel_size_m, str(path))
    require_tile(cube.shape, metadata.tile)
    encoded = encoder_for(metadata.encoder, cube).encode(cube.read(slice(0, cube.shape[0]), metadata.bands))
    random, side = np.random.default_rng(0), metadata.tile
    places = [
        (random.integers(cube.shape[0] - side + 1), random.integers(cube.shape[1] - side + 1)) for _ in range(WINDOWS)
    ]
    return np.stack([encoded[:, row : row + side, col : col + side] for row, col in places])


def _require_no_paths(content, name, key=""):
    """Require that no text of the metadata is a path of a machine."""
    if isinstance(content, dict | list):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for inner, value in pairs:
            _require_no_paths(value, name, f"{key}.{inner}".lstrip("."))
    elif isinstance(content, str) and PATH.search(content):
        raise InputError(f"{name}: {key}: found {content[:200]!r}, expected no path of a machine")


def _of_event(text):
    event, equals, inventory = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected EVENT=TEXT")
    return event.strip(), inventory.strip()


def main():
    """Read the command line and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="bundle of coslide train")
    parser.add_argument("name", help="by which it will be called for, such as post-rgb")
    parser.add_argument(
        "--unseen", type=Path, action="append", default=[], help="study.json of the same recipe; may be repeated"
    )
    parser.add_argument(
        "--inventory",
        type=_of_event,
        action="append",
        default=[],
        metavar="EVENT=TEXT",
        help="whose landslides an event was scored on",
    )
    parser.add_argument("--limits", required=True, help="what it is not to be used for, and where it fails")
    parser.add_argument("--command", required=True, help="that made the model")
    parser.add_argument(
        "--on", type=Path, help="cube, on windows of which half precision is tried; by default random inputs"
    )
    given = parser.parse_args()
    twice = [event for event, count in Counter(event for event, _ in given.inventory).items() if count > 1]
    if twice:
        parser.error(f"--inventory: found {twice[0]} twice")
    try:
        folder = ship(
            given.model,
            given.name,
            limits=given.limits,
            command=given.command,
            unseen=given.unseen,
            inventories=dict(given.inventory),
            on=given.on,
        )
    except InputError as error:
        sys.exit(f"ship_model: {error}")
    print(folder)


if __name__ == "__main__":
    main()
