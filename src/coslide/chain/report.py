"""From the folder of a run to a page for people: `report.html`."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import coslide
from coslide.chain.evaluate import Map, read_map
from coslide.errors import InputError
from coslide.files import whole_output
from coslide.grid import cell_size_m
from coslide.indices.cube import contents, open_cube, read_labels
from coslide.labels import LANDSLIDE, UNKNOWN
from coslide.listener import QUIET, Listener
from coslide.mapping.bundle import BUNDLE
from coslide.mapping.ground import TRAINED_ON
from coslide.mapping.inventory import object_areas_m2
from coslide.report.page import Page, Picture, Section, Table, html_page, percent, score
from coslide.report.pictures import composites, file_picture, loss_figure, probability_picture, size_figure

_TRUE, _FALSE = ("B4", "B3", "B2"), ("B8", "B4", "B3")
_SCORES = (
    ("f1", "F1", "precision and recall in one number (their harmonic mean); 1 is perfect"),
    ("precision", "precision", "share of the cells called landslide that are one"),
    ("recall", "recall", "share of the landslide cells that were found"),
    ("iou_landslide", "IoU", "cells found, over cells found, missed or falsely called"),
    ("oa", "overall accuracy", "share of all cells that are right; high wherever landslides are rare"),
    ("kappa", "kappa", "agreement beyond chance"),
)
_SIMULATED = (
    "Simulated ground: this earthquake never was. The page shows that the chain works; its scores say nothing about "
    "how well landslides of a real earthquake are found."
)


def write_report(folder: Path | str, *, listener: Listener = QUIET) -> Path:
    """Return the path of ``report.html`` in the folder of a run: one file, without a network.

    Scenes, map, scores, sizes, inputs and how it all came about, from what `coslide.run` left. What is missing, such as
    scores where there is no inventory, is left out.

    Parameters
    ----------
    folder
        It holds at least ``index.zarr`` and ``probability.tif``.
    listener
        Who hears of it.

    Raises
    ------
    InputError
        If one of them is missing or cannot be read, or the page cannot be written.
    """
    folder = Path(folder)
    cube, found = open_cube(folder / "index.zarr"), read_map(folder)
    metrics, cost = _json(folder / "metrics.json"), _json(folder / "run.json")
    mapped = read_labels(cube) if "landslide" in cube else None
    simulated = str(cube.attrs.get("event_id", "")).startswith("simulated")
    page = Page(
        title=str(cube.attrs["title"]),
        lead=_lead(found, metrics),
        warnings=[_SIMULATED] if simulated else [],
        sections=[
            *_scenes(cube),
            *_maps(folder, found),
            *_scores(metrics),
            *_sizes(found, mapped),
            *_training(folder),
            _inputs(cube),
            _provenance(cube, folder, cost),
        ],
        credit=str(cube.attrs.get("credit", "")),
    )
    path = folder / "report.html"
    with whole_output(path) as part:
        part.write_text(html_page(page), encoding="utf-8")
    listener.say(f"report: {path}")
    return path


def _json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: is not JSON; run again") from None
    return found


def _lead(found: Map, metrics: dict[str, Any]) -> str:
    cell_km2 = cell_size_m(found.grid) ** 2 / 1e6
    known = np.isfinite(found.probability)
    areas = object_areas_m2(_recognised(found), cell_size_m(found.grid))
    text = (
        f"On {known.sum() * cell_km2:.1f} km² of mapped ground {len(areas)} landslides were recognised, which cover "
        f"{areas.sum() / 1e6:.2f} km²."
    )
    if not metrics:
        return f"{text} There is no inventory to score them against."
    pixels, split = metrics["pixels"], metrics["split"]
    where = "" if split["scheme"] == "unknown" else " that training did not see"
    return (
        f"{text} Where the inventory can judge them, on {split['scored_cells'] * cell_km2:.1f} km²{where}, F1 is "
        f"{pixels['f1']:.2f}: {percent(pixels['recall'])} of the landslide cells were found, and "
        f"{percent(pixels['precision'])} of the cells called landslide are one."
    )


def _recognised(found: Map) -> NDArray[np.bool_]:
    return np.asarray(np.nan_to_num(found.probability) >= found.threshold)


def _scenes(cube: xr.Dataset) -> Iterator[Section]:
    for title, bands, words in (
        ("Before and after", _TRUE, "true colour"),
        ("In the near infrared", _FALSE, "false colour; plants are red"),
    ):
        found = composites(cube, bands)
        names = {"reflectance_pre": "before", "reflectance_post": "after"}
        pictures = [
            Picture(address, f"Scene {names[name]} the earthquake, {words}", f"{names[name].capitalize()}: {words}.")
            for name, address in found.items()
        ]
        if pictures:
            yield Section(title, "Both dates have the same stretch; grey is unknown (cloud, or no data).", pictures)


def _maps(folder: Path, found: Map) -> Iterator[Section]:
    if (folder / "landslides.png").is_file():
        picture = Picture(
            file_picture(folder / "landslides.png"), "Map of the scene, the mapped and the recognised landslides"
        )
        note = "Framed and brighter: ground held out from training. Only there the map can be judged."
        yield Section("Landslides", note if (found.seen == TRAINED_ON).any() else "", [picture])
    picture = Picture(
        probability_picture(found.probability),
        "Map of landslide probability",
        f"Black 0, yellow 1; from {found.threshold:.2f} on a cell counts as landslide. Grey: not mapped.",
    )
    yield Section("Probability", "", [picture])


def _scores(metrics: dict[str, Any]) -> Iterator[Section]:
    if not metrics:
        return
    pixels, split, calibration = metrics["pixels"], metrics["split"], metrics["calibration"]
    rows = [(label, score(pixels, name), meaning) for name, label, meaning in _SCORES]
    if calibration:
        error = "mean distance between the probability given and how often it came true; 0 is perfect"
        rows.append(("calibration error", score(calibration, "ece"), error))
    note = (
        f"Landslide cells: {pixels['tp']} found, {pixels['fn']} missed, {pixels['fp']} false alarms. Split "
        f"{split['scheme']}: {percent(split['leak_fraction'])} of the held-out tiles' ground was seen in training. "
        "Held-out ground lies beside the ground of training; on another earthquake expect less."
    )
    table = Table(("score", "value", "what it means"), rows, frozenset({"value"}))
    yield Section("Scores on ground that training did not see", note, table=table)


def _sizes(found: Map, mapped: NDArray[np.uint8] | None) -> Iterator[Section]:
    side_m = cell_size_m(found.grid)
    judged = np.isfinite(found.probability) & (found.seen != TRAINED_ON)
    where = "everywhere"
    inventories = {}
    if mapped is not None:
        judged &= mapped != UNKNOWN
        where = "on the ground that is scored"
        inventories["mapped"] = object_areas_m2((mapped == LANDSLIDE) & judged, side_m)
    inventories["recognised"] = object_areas_m2(_recognised(found) & judged, side_m)
    if any(len(areas) for areas in inventories.values()):
        picture = Picture(size_figure(inventories), "How many landslides are at least so large")
        note = f"Landslides {where}, as patches of touching cells: how many are at least so large."
        yield Section("Sizes", note, [picture])


def _training(folder: Path) -> Iterator[Section]:
    logs = sorted(folder.glob("training/csv/version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    losses: dict[int, float] = {}
    for log in logs:  # a training that was resumed has several
        with log.open(encoding="utf-8", newline="") as file:
            losses |= {int(row["epoch"]): float(row["loss_epoch"]) for row in csv.DictReader(file) if row["loss_epoch"]}
    if losses:
        picture = Picture(loss_figure([losses[epoch] for epoch in sorted(losses)]), "Training loss of each epoch")
        yield Section("Training", "", [picture])


def _inputs(cube: xr.Dataset) -> Section:
    rows = [
        (
            row["band"],
            row["unit"],
            percent(row["valid_share"]),
            "–" if row["smallest"] is None else f"{row['smallest']:.4g} to {row['largest']:.4g}",
            ", ".join(dict.fromkeys(Path(name).name for name in row["source"][:1])) or "–",
        )
        for row in contents(cube)
        if row["role"] == "index"
    ]
    columns = ("band", "unit", "known", "range", "source")
    return Section("What the network saw", table=Table(columns, rows, frozenset({"known"})))


def _provenance(cube: xr.Dataset, folder: Path, cost: dict[str, Any]) -> Section:
    card = _json(folder / BUNDLE.file) if BUNDLE.is_in(folder) else _json(folder / "model" / BUNDLE.file)
    rows = [("coslide", coslide.__version__), ("cube", str(cube.attrs.get("history", "–")))]
    if card:
        settings = card.get("settings", {})
        told = ", ".join(
            f"{name} {settings[name]}" for name in ("recipe", "epochs", "batch", "seed") if name in settings
        )
        options = ", ".join(f"{name} {value}" for name, value in card.get("options", {}).items())
        rows += [("network", f"{card.get('network', '–')} ({options})"), ("training", told)]
        rows.append(("method", str(card.get("citation", "–"))))
    if cost:
        rows.append(("time", f"{cost['wall_s'] / 60:.1f} min on {cost['cpus']} processors"))
        rows.append(("peak memory", f"{cost['peak_memory_mb'] / 1000:.1f} GB"))
    return Section("How it came about", table=Table(("what", "value"), rows))
