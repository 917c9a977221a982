"""The event file: an earthquake and its inputs, read from TOML and checked before any work starts."""

import datetime as dt
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from coslide.config.schema import (
    DemConfig,
    FaultsConfig,
    GeologyConfig,
    GridConfig,
    InventoryConfig,
    NdviConfig,
    RainConfig,
    ScenesConfig,
    ShakingConfig,
)
from coslide.config.training import StrictModel, TrainingSettings, first_problem
from coslide.errors import InputError

SOURCES = ("grid", "scenes", "ndvi", "dem", "geology", "rain", "shaking", "faults", "inventory")
"""The tables of an event file that decide what is in its cube."""


class Event(StrictModel):
    """An earthquake and its inputs, as described by an event file; every key but `file` is one of the file."""

    file: SkipJsonSchema[Path]
    """The event file."""
    name: str = Field(min_length=1)
    """Name of the earthquake, shown on figures."""
    id: str = ""
    """Catalogue id."""
    time_utc: dt.datetime | None = None
    """Origin time, needed for daily rain."""
    magnitude: float | None = None
    """Moment magnitude."""
    root: Path = Path()
    """Folder of the sources; by default the folder of the event file."""
    credit: str = ""
    """Line that credits the data, printed at the bottom of figures."""
    simulated: bool = False
    """Whether the earthquake never was; the report then warns of it."""
    grid: GridConfig = GridConfig()
    """CRS, pixel size and extent of the grid to map on."""
    scenes: ScenesConfig
    """Satellite scenes; `scenes.post` is required."""
    ndvi: NdviConfig = NdviConfig()
    """NDVI layers."""
    dem: DemConfig
    """Elevation model."""
    geology: GeologyConfig | None = None
    """Geological map."""
    rain: RainConfig | None = None
    """Rain before the event."""
    shaking: ShakingConfig | None = None
    """Peak ground acceleration."""
    faults: FaultsConfig | None = None
    """Fault traces."""
    inventory: InventoryConfig | None = None
    """Mapped landslides, needed to train and to score."""
    training: TrainingSettings = TrainingSettings()
    """How to train on this event: every key of [training](training.md)."""


def read_event(path: Path | str) -> Event:
    """Read the event that a TOML file describes, with every path absolute and every file known to exist.

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

    Examples
    --------
    >>> event = read_event(event_file)
    >>> event.name, event.scenes.post.band_names, event.training.sampling.tile
    ('Made-up earthquake', ['B2', 'B3', 'B4'], 32)
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
        if isinstance(value, tuple):
            return tuple(resolve(item, f"{key}[{i}]") for i, item in enumerate(value))
        return value

    found = {name: resolve(getattr(event, name), name) for name in SOURCES}
    if event.training.split.regions is not None:
        regions = resolve(event.training.split.regions, "training.split.regions")
        split = event.training.split.model_copy(update={"regions": regions})
        found["training"] = event.training.model_copy(update={"split": split})
    return event.model_copy(update=found)


def _source_path(value: Path, key: str, *, root: Path, file: Path) -> Path:
    full = Path(os.path.normpath(root / value))
    if value.is_absolute() or not full.is_relative_to(root):
        raise InputError(f"{file}: {key}: {value} leads out of {root}; expected a path inside it (see root)")
    if not full.exists():
        raise InputError(f"{file}: {key}: {full} does not exist")
    return full
