"""What becomes of the ground of each area in a training: its parts, what leaks between them, and their files."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.labels import NODATA
from coslide.pipeline.labelled_scene import Area
from coslide.samples.footprint import TrainingFootprint, footprint_of, is_held_out, split_raster, write_splits
from coslide.samples.paper_split import landslide_share, numbered_samples
from coslide.samples.split import Split, SplitRaster, Subset, leak_fraction
from coslide.windows import Window

_log = logging.getLogger(__name__)


def grounds_of(areas: Sequence[Area], splits: Sequence[Split]) -> list[TrainingFootprint | None]:
    """Return where the parts of each area lie; None where nobody knows."""
    grids = (area.scene.grid for area in areas)
    return [
        None if grid is None else footprint_of(split.parts, grid) for split, grid in zip(splits, grids, strict=True)
    ]


def with_leak_between(
    areas: Sequence[Area], splits: Sequence[Split], grounds: Sequence[TrainingFootprint | None]
) -> list[Split]:
    """Return the splits with what one event shows to training of the held-out ground of another, where they overlap."""
    found = []
    for number, (area, split) in enumerate(zip(areas, splits, strict=True)):
        grid = area.scene.grid
        others = [ground for i, ground in enumerate(grounds) if ground is not None and i != number]
        if grid is not None and others and split.test:
            seen = split_raster(others, grid) == Subset.TRAIN
            leak = split.leak_fraction + leak_fraction(seen, split.test, split.parts == Subset.TEST)
            split = split._replace(leak_fraction=min(1.0, leak))  # noqa: PLW2901 - the same split, measured again
        found.append(split)
    return found


def log_split(splits: Sequence[Split], trained: int, settings: TrainingSettings) -> None:
    """Return nothing; says how many tiles each part has, and warns of a leak.

    Parameters
    ----------
    splits
        Of all areas.
    trained
        How many tiles train: those of the training part that were selected.
    settings
        Which name the scheme.
    """
    counts = tile_counts(splits)
    leak = mean_leak(splits)
    _log.info(
        f"split {settings.split.scheme}: {trained} training, {counts['validation']} validation and "
        f"{counts['test']} held-out tiles, {100 * leak:.1f} % of the held-out tiles' ground leaks into training"
    )
    if leak:
        _log.info(
            f"warning: {100 * leak:.1f} % of the ground of a held-out tile, on average, was seen in training; that "
            "ground is not scored, and what is scored lies beside it, so the scores are better than on new ground"
        )


def tile_counts(splits: Iterable[Split]) -> dict[str, int]:
    """Return how many tiles the parts ``train``, ``validation`` and ``test`` have over all areas."""
    splits = list(splits)
    return {name: sum(len(getattr(split, name)) for split in splits) for name in ("train", "validation", "test")}


def mean_leak(splits: Iterable[Split]) -> float:
    """Return the mean leak [0 to 1] of all held-out tiles; 0 where there is none."""
    leaks = [split.leak_fraction for split in splits for _ in split.test]
    return float(np.mean(leaks)) if leaks else 0.0


def write_samples(folder: Path, areas: Sequence[Area], splits: Sequence[Split], settings: TrainingSettings) -> None:
    """Write the numbered samples of each area (CSV): number, part, first row and column, share of landslide.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    for number, (area, split) in enumerate(zip(areas, splits, strict=True)):
        samples = numbered_samples(area.blocks or [Window(0, 0, *area.labels.shape)], settings)
        part_of = {window: name for name in ("train", "validation", "test") for window in getattr(split, name)}
        lines = [
            f"{i},{part_of.get(window, 'unused')},{window.row},{window.col},{share:.5f}"
            for i, window in enumerate(samples, start=1)
            for share in [landslide_share(area.labels[window.slices])]
        ]
        with whole_output(folder / f"{area_name(area, number)}-samples.csv") as part:
            part.write_text("\n".join(["sample,part,row,col,landslide_share", *lines]) + "\n", encoding="utf-8")


def write_all_splits(folder: Path, areas: Sequence[Area], splits: Sequence[Split]) -> None:
    """Write the part of each pixel of each area, of patches the part of each patch (CSV).

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    for number, (area, split) in enumerate(zip(areas, splits, strict=True)):
        name = folder / area_name(area, number)
        if area.scene.grid is not None:
            write_splits(name.with_suffix(".tif"), split.parts, area.scene.grid, fingerprint=area.fingerprint)
            continue
        blocks = area.blocks or []
        lines = [
            f"{patch},{Subset(int(split.parts[b.row, b.col])).name.lower()}"
            for patch, b in zip(area.patches, blocks, strict=True)
        ]
        with whole_output(name.with_suffix(".csv")) as part:
            part.write_text("\n".join(["patch,part", *lines]) + "\n", encoding="utf-8")


def area_name(area: Area, number: int) -> str:
    """Return the name of the files about `area`, the one of this number: from its name, safe on every disk."""
    words = re.sub(r"[^a-z0-9]+", "-", area.name.lower()).strip("-")[:60]
    return f"{number + 1}-{words}" if words else f"{number + 1}"


def seen_of(
    areas: Sequence[Area], splits: Sequence[Split], grounds: Sequence[TrainingFootprint | None]
) -> list[SplitRaster]:
    """Return what training does with each cell of each area, wherever areas overlap."""
    placed = [ground for ground in grounds if ground is not None]
    if len(areas) == 1:
        return [splits[0].parts]
    return [
        split.parts if area.scene.grid is None else split_raster(placed, area.scene.grid)
        for area, split in zip(areas, splits, strict=True)
    ]


def require_scorable(areas: Sequence[Area], splits: Sequence[Split], seen: Sequence[SplitRaster]) -> None:
    """Return nothing if a cell is left to score.

    Raises
    ------
    InputError
        If all held-out ground of known truth was seen in training.
    """
    triples = zip(areas, splits, seen, strict=True)
    if not any((is_held_out(s) & (a.labels != NODATA)).any() for a, split, s in triples if split.test):
        raise InputError(
            "no cell is left to score: all held-out ground of known truth was seen in training; hold out other ground"
        )
