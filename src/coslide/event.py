"""The event file: an earthquake and its inputs, read from TOML and checked before any work starts."""

import datetime as dt
import itertools
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from coslide.errors import InputError
from coslide.settings import Checked, TrainingSettings, first_problem

MAX_CLASSES = 100
MAX_FAULT_REACH_KM = 50.0  # the grid is widened by this on every side to measure distances
PGA_LEVELS_G = (0.12, 0.16, 0.20, 0.24, 0.26)
FAULT_EDGES_KM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(b - a > 1e-6 for a, b in itertools.pairwise(values))
    if not 0 < len(values) <= MAX_CLASSES or values[0] <= 0 or not rising:
        raise ValueError(f"found {list(values)}, expected 1 to {MAX_CLASSES} rising numbers above 0")
    return values


Rising = Annotated[tuple[float, ...], AfterValidator(_rising)]


def _reachable(values: tuple[float, ...]) -> tuple[float, ...]:
    if values[-1] > MAX_FAULT_REACH_KM:
        raise ValueError(f"found {list(values)}, expected edges up to {MAX_FAULT_REACH_KM:g} km")
    return values


class BandFile(Checked):
    """One band of a scene, as a raster that GDAL opens; None means what the scene, or else the file, says.

    `band` is its number, from 1, in a raster that holds several.
    """

    path: Path
    band: int | None = Field(default=None, ge=1)
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


class Scene(Checked):
    """A satellite scene: reflectance = value * scale + offset; nodata is taken out before.

    `scale`, `offset` and `nodata` hold for every band that does not say its own; where neither does, the raster's own
    metadata holds.
    """

    bands: dict[str, BandFile] = Field(min_length=1)
    date: dt.date | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_bands(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("bands"), dict):
            return values
        shared = {key: values[key] for key in ("scale", "offset", "nodata") if key in values}
        bands = {}
        for name, band in values["bands"].items():
            own = {"path": band} if isinstance(band, str) else band
            bands[name] = {**shared, **own} if isinstance(own, dict) else own
        return {**values, "bands": bands}


class Scenes(Checked):
    """The scenes around the event; the one before it may be missing."""

    post: Scene
    pre: Scene | None = None

    @model_validator(mode="after")
    def _same_bands(self) -> Self:
        if self.pre and set(self.pre.bands) != set(self.post.bands):
            raise ValueError(
                f"pre.bands: found {sorted(self.pre.bands)}, expected those of post, {sorted(self.post.bands)}"
            )
        return self


class Dem(Checked):
    """The elevation model, in metres; `smoothing_sigma_px` None means 3 cells if it holds integers, else 0."""

    path: Path
    nodata: float | None = None
    smoothing_sigma_px: float | None = Field(default=None, ge=0, le=50)
    flat_below_deg: float = Field(default=1.0, ge=0)


class StationColumns(Checked):
    """The columns of a station table: longitude and latitude in degrees (WGS 84), and peak ground acceleration."""

    lon: str = "lon"
    lat: str = "lat"
    pga: str = "pga"


class Shaking(Checked):
    """Peak ground acceleration at stations (CSV) and the levels, in g, that bound its classes."""

    stations: Path
    unit: Literal["g", "%g", "m/s2", "cm/s2"]
    columns: StationColumns = StationColumns()
    levels_g: Rising = PGA_LEVELS_G


class Faults(Checked):
    """Fault traces (any vector format) and the edges, in kilometres, of the distance classes."""

    path: Path
    edges_km: Annotated[Rising, AfterValidator(_reachable)] = FAULT_EDGES_KM


class Inventory(Checked):
    """Mapped landslides (polygons) and the area in which they were mapped; None means the whole grid was."""

    path: Path
    area: Path | None = None


class GridRequest(Checked):
    """The grid to map on: `crs` None means the UTM zone of the data."""

    crs: str | None = None
    cell_size_m: float = Field(default=10.0, ge=0.1, le=1000)


class Event(Checked):
    """An earthquake and its inputs, as described by an event file.

    Attributes
    ----------
    file, root
        The event file, and the folder that all its paths start from.
    name, id, time_utc, magnitude, credit
        What the earthquake is called, its catalogue id, its origin time, moment magnitude, and the line that credits
        the data on figures.
    grid, scenes, dem, shaking, faults, inventory
        The inputs. Only `scenes.post` and `dem` are required; an index whose source is missing is left out.
    training
        How to train on this event.
    """

    file: Path
    root: Path
    name: str = Field(min_length=1)
    id: str = ""
    time_utc: dt.datetime | None = None
    magnitude: float | None = None
    credit: str = ""
    grid: GridRequest = GridRequest()
    scenes: Scenes
    dem: Dem
    shaking: Shaking | None = None
    faults: Faults | None = None
    inventory: Inventory | None = None
    training: TrainingSettings = TrainingSettings()


def read_event(path: Path | str) -> Event:
    """Return the event that a TOML file describes, with every path absolute and every file known to exist.

    Paths in the file start from its ``root`` (default: the folder of the file) and may not leave it. In ``root``,
    ``${VAR}`` stands for an environment variable and ``${VAR:-text}`` for `text` where the variable is not set.

    Parameters
    ----------
    path
        The event file.

    Raises
    ------
    InputError
        If the file is missing or not TOML, a key is unknown, missing or has a wrong value, or a source is missing or
        lies outside ``root``.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected an event file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file ({error})") from None
    file = path.absolute()
    root = Path(os.path.normpath(file.parent / _expand(str(table.get("root", ".")), path)))
    if "file" in table:
        raise InputError(f"{path}: file: unknown key")
    try:
        event = Event.model_validate({**table, "file": file, "root": root})
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
    return _with_absolute_paths(event, path)


def _expand(text: str, path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = os.environ.get(name) or default
        if found is None:
            raise InputError(f"{path}: root: ${{{name}}} is not set in the environment")
        return found

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, text)


def _with_absolute_paths(event: Event, file: Path) -> Event:
    def resolve(value: Any, key: str) -> Any:
        if isinstance(value, Path):
            return _source_path(value, key, root=event.root, file=file)
        if isinstance(value, BaseModel):
            fields = {name: resolve(getattr(value, name), f"{key}.{name}") for name in type(value).model_fields}
            return value.model_copy(update=fields)
        if isinstance(value, dict):
            return {name: resolve(item, f"{key}.{name}") for name, item in value.items()}
        return value

    tables = ("scenes", "dem", "shaking", "faults", "inventory")
    return event.model_copy(update={name: resolve(getattr(event, name), name) for name in tables})


def _source_path(value: Path, key: str, *, root: Path, file: Path) -> Path:
    full = Path(os.path.normpath(root / value))
    if value.is_absolute() or not full.is_relative_to(root):
        raise InputError(f"{file}: {key}: {value} leads out of {root}; expected a path inside it (see root)")
    if not full.exists():
        raise InputError(f"{file}: {key}: {full} does not exist")
    return full
