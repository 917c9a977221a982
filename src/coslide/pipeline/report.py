"""From the folder of a run to a page for people: `report.html`."""

import csv
import datetime as dt
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import coslide
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.grid import pixel_size_m, same_grid
from coslide.io.atomic import whole_output
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.inventory import object_areas_m2
from coslide.mapping.model import BUNDLE
from coslide.mapping.probability_map import ProbabilityMap, read_probability_map
from coslide.mapping.vital_signs import DEAD_BELOW
from coslide.report.page import Page, Picture, Section, Table, html_page, percent
from coslide.report.pictures import (
    COLOURS,
    CORRECT,
    FALSE_ALARM,
    MISSED,
    NOT_SCORED,
    composites,
    landslide_picture,
    loss_figure,
    png_picture,
    probability_picture,
    size_figure,
    vital_signs_figure,
)
from coslide.report.score_sections import score_sections
from coslide.samples.footprint import is_held_out

_log = logging.getLogger(__name__)


_TRUE, _FALSE = ("B4", "B3", "B2"), ("B8", "B4", "B3")
_SIMULATED = (
    "Simulated ground: this earthquake never was. The page shows that the chain works; its scores say nothing about "
    "how well landslides of a real earthquake are found."
)
_NOTHING_TO_FIND = (
    "None of the scored ground is a mapped landslide, so the scores below say nothing about how well landslides are "
    "found."
)
_UNCHECKED = (
    "Nothing here was checked in the field. Bare ground, clearings, gravel and the edges of clouds can look like "
    "landslides; what cloud or shadow hides is missed."
)
_FILES = {
    "index.zarr": "scenes, relief and inputs",
    "probability.tif": "map, sizes and their areas",
    "metrics.json": "scores",
    "model": "network and settings",
    "training": "course of the training",
    "run.json": "time and memory",
}


class _Run(NamedTuple):
    """What lies in the folder of a run; None and empty for what does not."""

    folder: Path
    cube: Cube | None
    found: ProbabilityMap | None
    mapped: NDArray[np.uint8] | None
    metrics: dict[str, Any]
    metadata: dict[str, Any]
    cost: dict[str, Any]
    title: str

    @property
    def attrs(self) -> dict[str, Any]:
        """Return what the cube says of the event; nothing without a cube."""
        return {} if self.cube is None else self.cube.attrs


def write_report(folder: Path | str) -> Path:
    """Return the path of ``report.html`` in the folder of a run: one file, without a network.

    Scenes, map, scores, sizes, inputs and how it all came about, from what `coslide.run` left. What is missing, such as
    scores where there is no inventory, is left out, and the page says so.

    Parameters
    ----------
    folder
        It holds at least ``index.zarr`` or ``probability.tif``.

    Raises
    ------
    InputError
        If both are missing, a file cannot be read, cube and map lie on different grids, or the page cannot be written.
    """
    run = _read(Path(folder))
    page = Page(
        title=run.title,
        lead=_lead(run),
        warnings=list(_warnings(run)),
        sections=[section for part in _PARTS for section in part(run)],
        credit=str(run.attrs.get("credit", "")),
    )
    path = run.folder / "report.html"
    with whole_output(path) as part:
        part.write_text(html_page(page), encoding="utf-8")
    _log.info(f"report: {path}")
    return path


def _read(folder: Path) -> _Run:
    index, probability = folder / "index.zarr", folder / "probability.tif"
    if not index.is_dir() and not probability.is_file():
        raise InputError(f"{folder}: has neither index.zarr nor probability.tif; expected the folder of a run")
    cube = open_cube(index) if index.is_dir() else None
    found = read_probability_map(folder) if probability.is_file() else None
    if cube is not None and found is not None:
        _require_one_grid(folder, cube.grid, found.grid)
    title = folder.resolve().name
    if cube is not None:
        title = cube.title
    elif found is not None:
        title = found.metadata.event or title
    metrics = _json(folder / "metrics.json")
    if metrics and not {"pixels", "calibration", "split"} <= metrics.keys():
        raise InputError(f"{folder / 'metrics.json'}: lacks what coslide evaluate writes; evaluate again")
    model = folder if BUNDLE.is_in(folder) else folder / "model"
    return _Run(
        folder=folder,
        cube=cube,
        found=found,
        mapped=cube.labels if cube is not None and "landslide" in cube else None,
        metrics=metrics,
        metadata=_json(model / BUNDLE.file),
        cost=_json(folder / "run.json"),
        title=title,
    )


def _require_one_grid(folder: Path, cube: GeoBox, found: GeoBox) -> None:
    if not same_grid(cube, found):
        raise InputError(
            f"{folder}: found index.zarr with {cube.shape.y} x {cube.shape.x} cells ({cube.crs}) and probability.tif "
            f"with {found.shape.y} x {found.shape.x} ({found.crs}), expected one grid; map again"
        )


def _json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is not what coslide writes (JSON); run again")
    return found


def _warnings(run: _Run) -> Iterator[str]:
    if run.attrs.get("simulated"):
        yield _SIMULATED
    if run.metrics and not run.metrics["pixels"]["tp"] + run.metrics["pixels"]["fn"]:
        yield _NOTHING_TO_FIND


def _lead(run: _Run) -> str:
    when = _when(run.attrs)
    if run.found is None:
        return f"{when}No map of landslides has been made yet."
    side_m = pixel_size_m(run.found.grid)
    areas_m2 = _inventory_m2(run.folder, run.found)
    known = np.count_nonzero(np.isfinite(run.found.probability))
    text = (
        f"{when}On {known * side_m**2 / 1e6:.1f} km² of mapped ground {len(areas_m2)} landslides were recognised, "
        f"which cover {areas_m2.sum() / 1e6:.2f} km²."
    )
    if not run.metrics:
        return f"{text} There is no inventory to score them against."
    pixels, split = run.metrics["pixels"], run.metrics["split"]
    if not pixels["tp"] + pixels["fn"]:
        return text
    where = "" if split["scheme"] == "unknown" else " that training did not see"
    return (
        f"{text} Where the inventory can judge them, on {split['scored_cells'] * side_m**2 / 1e6:.1f} km²{where}, F1 "
        f"is {pixels['f1']:.2f}: {percent(pixels['recall'])} of the landslide cells were found, and "
        f"{percent(pixels['precision'])} of the cells called landslide are one."
    )


def _when(attrs: dict[str, Any]) -> str:
    """Return time and magnitude of the earthquake in a sentence, as far as the cube knows them."""
    time, magnitude = attrs.get("event_time_utc"), attrs.get("event_magnitude")
    words = [f"magnitude {magnitude:.1f}"] if isinstance(magnitude, int | float) else []
    if time:
        moment = dt.datetime.fromisoformat(str(time)).astimezone(dt.UTC)
        words.append(f"{moment.day} {moment:%B %Y, %H:%M} UTC")
    text = ", ".join(words)
    return f"{text[0].upper()}{text[1:]}. " if text else ""


def _inventory_m2(folder: Path, found: ProbabilityMap) -> NDArray[np.float64]:
    """Return the areas of the landslides that are delivered; of those in the map where there is no inventory."""
    path = folder / "landslides.gpkg"
    if not path.is_file():
        return object_areas_m2(_recognised(found), pixel_size_m(found.grid))
    frame = read_vector(path, str(found.grid.crs), what="landslide polygons", may_be_empty=True)
    return np.asarray(frame.get("area_m2", frame.geometry.area), dtype=np.float64)


def _recognised(found: ProbabilityMap) -> NDArray[np.bool_]:
    return np.asarray(np.nan_to_num(found.probability) >= found.threshold)


def _judged(run: _Run, found: ProbabilityMap) -> NDArray[np.bool_]:
    """Return where a map can be held against what was mapped: known, and not trained on."""
    judged = np.isfinite(found.probability) & is_held_out(found.seen)
    return np.asarray(judged if run.mapped is None else judged & (run.mapped != NODATA))


def _scenes(run: _Run) -> Iterator[Section]:
    if run.cube is None:
        return
    width_km = run.cube.grid.shape.x * pixel_size_m(run.cube.grid) / 1000
    for title, bands, words in (
        ("Before and after", _TRUE, "true colour"),
        ("In the near infrared", _FALSE, "false colour; plants are red"),
    ):
        found = composites(run.cube, bands)
        names = {"pre": "before", "post": "after"}
        pictures = [
            Picture(
                address,
                f"Scene {names[name]} the earthquake, {words}",
                f"{names[name].capitalize()}: {words}.",
                width_km=width_km,
            )
            for name, address in found.items()
        ]
        if pictures:
            yield Section(title, "Both dates have the same stretch; grey is unknown (cloud, or no data).", pictures)


def _maps(run: _Run) -> Iterator[Section]:
    found = run.found
    if found is None:
        return
    recognised, judged = _recognised(found), _judged(run, found)
    codes = np.where(recognised, NOT_SCORED, 0).astype(np.uint8)
    legend, pictures = [(COLOURS[NOT_SCORED], "recognised")], []
    if run.mapped is not None:
        landslide = run.mapped == LANDSLIDE
        codes[recognised & landslide & judged] = CORRECT
        codes[recognised & ~landslide & judged] = FALSE_ALARM
        codes[~recognised & landslide & judged] = MISSED
        legend = [(COLOURS[CORRECT], "correct"), (COLOURS[FALSE_ALARM], "false alarm"), (COLOURS[MISSED], "missed")]
        if (codes == NOT_SCORED).any():
            legend.append((COLOURS[NOT_SCORED], "recognised, not scored"))
        of_mapping = np.where(landslide, CORRECT, 0).astype(np.uint8)
        pictures.append(_map(run, of_mapping, "Mapped landslides", [(COLOURS[CORRECT], "mapped")]))
    pictures.append(_map(run, codes, "Recognised landslides", legend))
    note = f"North is up. {_place(found.grid)} Light on the relief comes from the northwest."
    if not is_held_out(found.seen).all():
        note += " Framed: ground held out from training. Only there the map can be judged; the rest is paler."
    yield Section("Landslides", note, pictures)
    picture = Picture(
        probability_picture(found.probability),
        "Map of landslide probability",
        f"Black 0, yellow 1; from {found.threshold:.2f} on a cell counts as landslide. Grey: not mapped.",
        width_km=_width_km(found),
    )
    yield Section("Probability", "", [picture])


def _map(run: _Run, codes: NDArray[np.uint8], title: str, legend: list[tuple[str, str]]) -> Picture:
    found = run.found
    if found is None:
        raise ValueError("expected a map to draw")
    elevation = run.cube.to_xarray()["elevation"] if run.cube is not None and "elevation" in run.cube else None
    held_out = is_held_out(found.seen)
    address = landslide_picture(
        codes,
        np.isfinite(found.probability),
        elevation=elevation,
        held_out=None if held_out.all() else held_out,
        pixel_size_m=pixel_size_m(found.grid),
    )
    labels = ", ".join(label for _, label in legend)
    alt = f"{title} on the shaded relief: {labels}"
    return Picture(address, alt, f"{title}.", legend, _width_km(found))


def _width_km(found: ProbabilityMap) -> float:
    return float(found.grid.shape.x * pixel_size_m(found.grid) / 1000)


def _place(grid: GeoBox) -> str:
    left, bottom, right, top = (edge / 1000 for edge in grid.boundingbox.bbox)
    name = grid.crs.proj.name if grid.crs is not None else "no CRS"
    return f"{name}: east {left:.1f} to {right:.1f} km, north {bottom:.1f} to {top:.1f} km."


def _scores(run: _Run) -> Iterator[Section]:
    if run.metrics:
        yield from score_sections(run.metrics)


def _sizes(run: _Run) -> Iterator[Section]:
    found, mapped = run.found, run.mapped
    if found is None:
        return
    side_m = pixel_size_m(found.grid)
    judged = _judged(run, found)
    inventories = {}
    if mapped is not None:
        inventories["mapped"] = object_areas_m2((mapped == LANDSLIDE) & judged, side_m)
    else:
        judged |= np.isfinite(found.probability)  # nothing is compared, so all ground counts
    inventories["recognised"] = object_areas_m2(_recognised(found) & judged, side_m)
    if any(len(areas) for areas in inventories.values()):
        where = "everywhere" if mapped is None else "on the ground that is scored"
        picture = Picture(size_figure(inventories), "How many landslides are at least so large")
        note = f"Landslides {where}, as patches of touching cells: how many are at least so large."
        columns = ("landslides", "number", "area [km²]", "median [m²]", "largest [m²]")
        rows = [
            (name, len(areas), f"{areas.sum() / 1e6:.2f}", f"{np.median(areas):.0f}", f"{areas.max():.0f}")
            for name, areas in inventories.items()
            if len(areas)
        ]
        yield Section("Sizes", note, [picture], Table(columns, rows, frozenset(columns[1:])))


def _summary(run: _Run) -> Iterator[Section]:
    path = run.folder / "summary.png"
    if run.found is not None and path.is_file():
        address = png_picture(path.read_bytes())
        picture = Picture(address, "Area-frequency curve of the landslides, and a map of their number per km²")
        yield Section("The inventory", "All landslides that are delivered, trained on or not.", [picture])


def _caveats(run: _Run) -> Iterator[Section]:
    if run.found is None:
        return
    side_m = pixel_size_m(run.found.grid)
    fineness = (
        f"The map has cells of {side_m:g} m: landslides of a few cells are uncertain, and neighbours that touch count "
        "as one. Areas are as seen from above; on a slope of 30° the ground itself is 15 % larger."
    )
    points = [_UNCHECKED, fineness]
    unknown = 1 - np.isfinite(run.found.probability).mean()
    if unknown >= 0.001:
        points.append(f"{percent(unknown)} of the area has no scene or no terrain, and is not mapped.")
    leak = run.metrics.get("split", {}).get("leak_fraction", 0.0)
    if leak:
        points.append(
            f"{percent(leak)} of the ground of the held-out tiles was also trained on: the scores are better than on "
            "new ground."
        )
    events = run.metadata.get("events", [run.title])
    if run.title not in events:
        points.append(f"The model was trained on another event: {', '.join(events)}.")
    yield Section("Before you use this map", points=points)


def _training(run: _Run) -> Iterator[Section]:
    losses: dict[int, float] = {}
    logs = run.folder.glob("training/csv/version_*/metrics.csv")
    for log in sorted(logs, key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.parent.name)]):
        with log.open(encoding="utf-8", newline="") as file:  # a training that was resumed has several
            for row in csv.DictReader(file):
                if row.get("loss_epoch"):  # no such column where the first epoch was interrupted
                    losses[int(row["epoch"])] = float(row["loss_epoch"])
    if losses:
        picture = Picture(loss_figure([losses[epoch] for epoch in sorted(losses)]), "Training loss of each epoch")
        yield Section("Training", "", [picture])


def _vital_signs(run: _Run) -> Iterator[Section]:
    for number, signs in enumerate(run.metadata.get("vital_signs", []), start=1):
        dead = [str(row["depth"]) for row in signs["depths"] if row["kernel_spread"] < DEAD_BELOW]
        member = f", member {number}" if len(run.metadata["vital_signs"]) > 1 else ""
        ap = signs["average_precision"]
        whole = "none of them with a landslide" if ap is None else f"average precision {ap:.2f} with the whole network"
        alive = f"Dead: depth {', '.join(dead)}." if dead else "No depth is dead."
        note = f"On {signs['windows']} held-out windows, {whole}. {alive}"
        alt = "Bars of the spread of kernels at each depth, and of the average precision lost without it"
        yield Section(f"What each depth has learned{member}", note, [Picture(vital_signs_figure(signs), alt, "")])


def _inputs(run: _Run) -> Iterator[Section]:
    if run.cube is None:
        return
    rows = [
        (
            row["band"],
            row["unit"],
            percent(row["valid_share"]),
            "–" if row["smallest"] is None else f"{row['smallest']:.4g} to {row['largest']:.4g}",
            _names(row["source"]),
        )
        for row in run.cube.contents()
        if row["role"] == "index"
    ]
    columns = ("band", "unit", "known", "range", "source")
    yield Section("What the network saw", table=Table(columns, rows, frozenset({"known"})))


def _names(sources: list[str]) -> str:
    """Return what the files of an index are called; the first of many."""
    names = list(dict.fromkeys(Path(source).name for source in sources))
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "") if names else "–"


def _provenance(run: _Run) -> Iterator[Section]:
    metadata, cost = run.metadata, run.cost
    rows = [("coslide", coslide.__version__), ("cube", str(run.attrs.get("history", "–")))]
    if metadata:
        rows.append(("network", f"{metadata.get('network', '–')} ({_listed(metadata.get('options', {}))})"))
        rows.append(("training", _listed(metadata.get("settings", {}), leave_out=("network", "options", "width"))))
        rows.append(("model written by", f"coslide {metadata.get('coslide_version', '–')}"))
        rows.append(("method", str(metadata.get("citation", "–"))))
    if cost:
        rows.append(("time", f"{cost.get('wall_s', 0) / 60:.1f} min on {cost.get('cpus', '–')} processors"))
        rows.append(("peak memory", f"{cost.get('peak_memory_mb', 0) / 1000:.1f} GB"))
    yield Section("How it came about", table=Table(("what", "value"), rows))


def _listed(values: dict[str, Any], leave_out: tuple[str, ...] = ()) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items() if name not in leave_out)


def _missing(run: _Run) -> Iterator[Section]:
    points = [f"{name}: {what}" for name, what in _FILES.items() if not (run.folder / name).exists()]
    if run.cube is not None and not run.cube.acquired("pre"):
        points.append("a scene before the earthquake")
    if run.cube is not None and run.mapped is None:
        points.append("an inventory to compare with")
    if points:
        yield Section("Not in this folder", "What this page would otherwise show.", points=points)


_PARTS = (_scenes, _maps, _summary, _scores, _sizes, _caveats, _training, _vital_signs, _inputs, _provenance, _missing)
