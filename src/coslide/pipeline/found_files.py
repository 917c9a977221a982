"""What the files of a folder are (elevation, lines, polygons, tables, shaking), by their content and their names."""

import csv
import datetime as dt
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyogrio

from coslide.errors import InputError
from coslide.io.paths import require_regular_source
from coslide.io.raster import open_raster
from coslide.sources.documents import read_xml
from coslide.sources.safe import read_time

Kind = Literal["dem", "faults", "inventory", "area", "geology", "shakemap", "uncertainty", "stations", "gauges"]
VECTORS = {".gpkg", ".geojson", ".json", ".shp", ".fgb", ".kml", ".gml", ".parquet"}
_DEEPEST, _MOST_ENTRIES = 6, 20_000
_MADE_BY_COSLIDE = {"model.json", "metrics.json", "run.json", "probability.tif"}
_SIDE_PX = 256  # of the reduced raster that is looked at
_HEIGHTS_M = (-500.0, 9000.0)
_LEAST_RELIEF_M = 3.0

# Words of names, without endings; what the people of this field call their files in English and Japanese.
_NAMES: dict[str, tuple[str, ...]] = {
    "dem": ("dem", "dsm", "dtm", "srtm", "aw3d", "alos", "glo30", "nasadem", "fabdem", "elev", "height", "標高"),
    "no dem": ("slope", "aspect", "hillshade", "curv", "prob", "rain", "precip", "pga", "vs30", "mask", "geol", "lith"),
    "faults": ("fault", "rupture", "断層"),
    "inventory": ("landslide", "slide", "failure", "scar", "inventory", "崩壊", "滑坡"),
    "no inventory": ("possible", "potential", "deposit", "suscept", "old", "relict", "deep"),
    "area": ("area", "aoi", "extent", "boundary", "interpretation", "mapped", "範囲"),
    "geology": ("geol", "lith", "strat", "地質"),
}
_UNITS_OF_PGA = (
    ("%g", r"percent_?g|pct_?g|%\s?g"), ("cm/s2", r"cm[_/ ]?s-?2|gal\b"), ("m/s2", r"m[_/ ]?s-?2"),
    ("g", r"(?:_|\(|\b)g\b"),
)  # fmt: skip
_UNITS_OF_RAIN = (("0.1mm", r"0\.1\s?mm|tenth"), ("mm", r"mm\b"), ("cm", r"cm\b"), ("inch", r"inch|\bin\b"))
_COLUMNS = {
    "lon": r"lon(gitude)?|lng", "lat": r"lat(itude)?", "pga": r"pga.*", "rain": r"(rain|prcp|precip).*",
    "date": r"date|day", "station": r"station.*|gauge.*|id", "quality": r"q_?flag|quality",
}  # fmt: skip


class Found(NamedTuple):
    """A file and what it is taken for.

    Attributes
    ----------
    kind
        The table of the event file, or the key in it, that it is for.
    path
        The file.
    why
        What tells, in words.
    keys
        Other keys of that table.
    merit
        Of several, the one with most counts.
    """

    kind: Kind
    path: Path
    why: str
    keys: Mapping[str, Any] = {}
    merit: float = 0.0


class EventFacts(NamedTuple):
    """What files tell of the earthquake itself; None and empty where none does."""

    name: str = ""
    id: str = ""
    time_utc: dt.datetime | None = None
    magnitude: float | None = None
    simulated: bool = False


def counted(number: int, what: str) -> str:
    """Say how many there are: ``1 polygon``, ``8,235 polygons``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def named(path: Path, what: str) -> bool:
    """Tell whether one of the words for `what` is in a name."""
    return any(word in path.stem.lower() for word in _NAMES[what])


def files_in(folder: Path) -> Iterator[Path]:
    """List the files in a folder and those below it, without hidden ones and what coslide made.

    A folder that is one source (SAFE) is listed as it is, and what is in it is not.

    Raises
    ------
    InputError
        If the folder cannot be listed, or holds too many entries to be that of one event.
    """
    left = _MOST_ENTRIES

    def walk(inside: Path, depth: int) -> Iterator[Path]:
        nonlocal left
        try:
            entries = sorted(inside.iterdir())
        except OSError as error:
            raise InputError(f"{inside}: cannot be listed ({error.strerror})") from None
        left -= len(entries)
        if left < 0:
            raise InputError(f"{folder}: holds more than {_MOST_ENTRIES:,} files; name the folder of one event")
        if inside != folder and {path.name for path in entries} & _MADE_BY_COSLIDE:
            return
        for path in entries:
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())
            if path.name.startswith(".") or leads_out or path.suffix == ".zarr":
                continue
            if not path.is_dir() or is_safe(path):
                yield path
            elif depth < _DEEPEST:
                yield from walk(path, depth + 1)

    return walk(folder, 0)


def is_safe(path: Path) -> bool:
    """Tell whether a folder is a Sentinel-2 product in the SAFE format."""
    return path.is_dir() and (path.suffix.upper() == ".SAFE" or (path / "GRANULE").is_dir())


def look_at_raster(path: Path) -> Found:
    """Tell whether a raster is an elevation model: one band of heights in metres.

    Raises
    ------
    InputError
        If it is none, and why; or if it cannot be read or has no CRS.
    """
    with open_raster(path) as dataset:
        if dataset.count != 1:
            raise InputError(f"{dataset.count} bands that nothing names")
        shape = tuple(min(side, _SIDE_PX) for side in dataset.shape)
        values = np.ma.filled(dataset.read(1, out_shape=shape, masked=True).astype(np.float32), np.nan)
        size, whole = f"{dataset.width} x {dataset.height} pixels", np.dtype(dataset.dtypes[0])
    values[~(np.abs(values + 0.0) < 30_000)] = np.nan
    values = values[np.isfinite(values) & (values > -9999)]
    if named(path, "no dem") and not named(path, "dem"):
        raise InputError("a raster of something else than elevation, by its name")
    if not values.size:
        raise InputError("no value in it")
    low, high = np.percentile(values, [0.5, 99.5])
    if not (_HEIGHTS_M[0] <= low and high <= _HEIGHTS_M[1]) or whole == np.uint8:
        raise InputError(f"values from {low:g} to {high:g} are no heights in metres")
    if high - low < _LEAST_RELIEF_M or (not named(path, "dem") and whole == np.uint16):
        raise InputError(f"one band of values from {low:.3g} to {high:.3g}, and no name that tells what it is")
    by = "its name and " if named(path, "dem") else ""
    return Found("dem", path, f"{by}heights from {low:.0f} to {high:.0f} m, {size}", merit=10.0 * named(path, "dem"))


def look_at_vector(path: Path) -> list[Found]:
    """Tell what the layers of a vector file are, by the kind of their geometry and their names.

    Raises
    ------
    InputError
        If no layer is a source, and why; or if it cannot be read.
    """
    try:
        require_regular_source(path)
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        several = len(layers) > 1
        looked = [_look_at_layer(path, pyogrio.read_info(path, layer=layer), layer, several) for layer in layers]
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError):
        raise InputError("no vector file, or not whole") from None
    if not (found := [one for one in looked if isinstance(one, Found)]):
        raise InputError("; ".join(dict.fromkeys(str(one) for one in looked)) or "no layer with geometry")
    return found


def _look_at_layer(path: Path, info: dict[str, Any], layer: str, several: bool) -> Found | str:
    """Tell what a layer is; a text says why it is nothing."""
    kind, count, fields = str(info["geometry_type"]), int(info["features"]), [str(name) for name in info["fields"]]
    name = Path(f"{path.stem} {layer}" if several else path.stem)
    keys = {"layer": layer} if several else {}
    if "LineString" in kind and named(name, "faults"):
        choose = "; all count, unless select names the seismogenic one" if count > 1 else ""
        return Found("faults", path, f"{counted(count, 'line')}, by its name{choose}", keys, merit=count)
    if "Polygon" not in kind:
        return "lines; no name tells that they are faults" if "Line" in kind else f"geometry of type {kind}"
    if named(name, "geology"):
        return Found(
            "geology", path, f"{counted(count, 'polygon')}, by its name", {**keys, "fields": fields}, merit=count
        )
    slides, area = named(name, "inventory"), named(name, "area")
    if area and (not slides or count <= 3):
        return Found("area", path, f"{counted(count, 'polygon')}, by its name", keys, merit=-count)
    if slides:
        doubt = 1e6 * named(name, "no inventory")
        return Found("inventory", path, f"{counted(count, 'polygon')}, by its name", keys, merit=count - doubt)
    return f"{counted(count, 'polygon')}; no name tells what they are"


def look_at_table(path: Path) -> Found:
    """Tell whether a CSV table holds rain gauges or what stations recorded, by its columns.

    Raises
    ------
    InputError
        If it is neither, lacks a unit, or cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError("cannot be read as a table in UTF-8") from None
    columns = {
        key: next((name for name in header if re.fullmatch(form, name.strip().lower())), "")
        for key, form in _COLUMNS.items()
    }
    columns = {key: name for key, name in columns.items() if name}
    if not {"lon", "lat"} <= columns.keys() or not {"pga", "rain"} & columns.keys():
        raise InputError("a table without columns of longitude, latitude and PGA or rain")
    kind: Kind = "stations" if "pga" in columns else "gauges"
    what, units = ("pga", _UNITS_OF_PGA) if kind == "stations" else ("rain", _UNITS_OF_RAIN)
    texts = (columns[what].lower().removeprefix("pga"), path.stem.lower())
    unit = next((unit for text in texts for unit, form in units if re.search(form, text)), None)
    if unit is None:
        raise InputError(f"a table of {what} whose unit neither its column nor its name tells; add it with its unit")
    wanted = ("lon", "lat", "pga") if kind == "stations" else ("lon", "lat", "rain", "date", "station", "quality")
    own = {key: columns[key] for key in wanted if key in columns and columns[key] != key}
    if kind == "gauges":  # which of these columns there are is not known without a word
        own |= {key: columns[key] for key in ("date", "station", "quality") if key in columns}
    keys = {"unit": unit, **({"columns": own} if own else {})}
    return Found(kind, path, f"columns {', '.join(columns.values())}; unit {unit}", keys)


def look_at_xml(path: Path) -> tuple[Found, EventFacts]:
    """Tell whether an XML file is a ShakeMap grid or its uncertainty, and what it says of the earthquake.

    Raises
    ------
    InputError
        If it is neither, or cannot be read.
    """
    root = read_xml(path)
    if not root.tag.endswith("shakemap_grid"):
        raise InputError("XML of another kind than a ShakeMap grid")
    event = root.find("{*}event")
    about = dict(event.attrib) if event is not None else {}
    fields = {field.get("name", "").strip().upper() for field in root.findall("{*}grid_field")}
    words = (about.get("event_description", ""), about.get("event_id", ""))
    scenario = root.get("shakemap_event_type", "").upper() == "SCENARIO"
    facts = EventFacts(*words, _time(about.get("event_timestamp", "")), _number(about.get("magnitude")), scenario)
    if "PGA" in fields:
        return Found("shakemap", path, "a ShakeMap grid with PGA"), facts
    if "STDPGA" in fields:
        return Found("uncertainty", path, "a ShakeMap grid with the uncertainty of PGA"), facts
    raise InputError("a ShakeMap grid without PGA")


def look_at_json(path: Path) -> EventFacts | None:
    """Read what the rupture of a ShakeMap says of the earthquake; None of other JSON."""
    if path.stat().st_size > 10**7:
        return None
    try:
        about = json.loads(path.read_bytes())["metadata"]
        facts = EventFacts(
            str(about["locstring"]), str(about.get("id", "")), _time(str(about["time"])), _number(about.get("mag"))
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts


def join_facts(found: Sequence[EventFacts]) -> EventFacts:
    """Take each fact from the first that states it."""
    none = EventFacts()
    return EventFacts(
        *(next((own for own in values if own), least) for *values, least in zip(*found, none, strict=True))
    )


def _time(text: str) -> dt.datetime | None:
    return read_time(text.removesuffix("UTC").strip())


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and -5 <= number <= 12 else None
