"""The event file: an earthquake and its inputs, read from TOML and checked before any work starts."""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from coslide.config import schema
from coslide.config.fields import NO_NUMBER, Line
from coslide.config.records import StrictModel, first_problem, require
from coslide.config.toml import read_toml, root_of
from coslide.config.training import TrainingSettings
from coslide.display.overview import Overview, Shown
from coslide.errors import InputError
from coslide.io.paths import require_regular_source

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # not the letter of a drive

_LONGEST_CREDIT = 80  # of a source, in a line that credits several


def _in_utc(time: dt.datetime) -> dt.datetime:
    require(1900 <= time.year <= 2200, f"found the year {time.year}, expected 1900 to 2200")
    return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)


class Attribution(StrictModel):
    """Whom to credit for a source, and by which licence it may be used."""

    source: Line = Field(min_length=1)
    """What it is of, such as `Sentinel-2 L2A`."""
    licence: Line = ""
    """Its licence."""
    text: Line = ""
    """The credit as its owner asks for it."""
    address: Line = ""
    """Where it comes from."""


class Event(Shown, StrictModel):
    """An earthquake and its inputs, as described by an event file; every key but `file` is one of the file.

    Examples
    --------
    >>> from coslide import read_event
    >>> read_event(event_file)
    <Event 'Made-up earthquake'>
      id         made-up
      sources    scene after, scene before, DEM, shaking, faults
      absent     geology, rain
      inventory  mapped landslides
      file       ...event.toml
      credit     made up
    """

    file: SkipJsonSchema[Path]
    """The event file."""
    name: Line = Field(min_length=1)
    """Name of the earthquake, shown on figures."""
    id: Line = ""
    """Catalogue id."""
    time_utc: Annotated[dt.datetime, NO_NUMBER, AfterValidator(_in_utc)] | None = None
    """Origin time, needed for daily rain."""
    magnitude: float | None = Field(default=None, ge=-5, le=12)
    """Moment magnitude."""
    root: Path = Path()
    """Folder of the sources; by default the folder of the event file."""
    credit: Line = ""
    """Line that credits the data, printed at the bottom of figures. By default made of the attributions: the text of
    each, or its source where the text has more than 80 characters."""
    attributions: tuple[Attribution, ...] = ()
    """Whom to credit for each source, and by which licence; listed in the report."""
    simulated: bool = False
    """Whether the earthquake never was; the report then warns of it."""
    grid: schema.GridConfig = schema.GridConfig()
    """CRS, pixel size and extent of the grid to map on."""
    scenes: schema.ScenesConfig
    """Satellite scenes; `scenes.post` is required."""
    ndvi: schema.NdviConfig = schema.NdviConfig()
    """NDVI layers."""
    dem: schema.DemConfig
    """Elevation model."""
    geology: schema.GeologyConfig | None = None
    """Geological map."""
    rain: schema.RainConfig | None = None
    """Rain before the event."""
    shaking: schema.ShakingConfig | None = None
    """Peak ground acceleration."""
    faults: schema.FaultsConfig | None = None
    """Fault traces."""
    inventory: schema.InventoryConfig | None = None
    """Mapped landslides, needed to train and to score."""
    training: TrainingSettings = TrainingSettings()
    """How to train on this event: every key of [training](training.md)."""

    @property
    def credit_line(self) -> str:
        """The line that credits the data: `credit`, else made of the attributions."""
        short = (one.text if 0 < len(one.text) <= _LONGEST_CREDIT else one.source for one in self.attributions)
        return self.credit or "; ".join(dict.fromkeys(short))

    def overview(self) -> Overview:
        """Say which earthquake it is, and which of its sources there are."""
        there = {
            "scene after": True,
            "scene before": self.scenes.pre is not None,
            "DEM": True,
            "geology": self.geology is not None,
            "rain": self.rain is not None,
            "shaking": self.shaking is not None,
            "faults": self.faults is not None,
        }
        facts = {
            "id": self.id,
            "time": f"{self.time_utc:%Y-%m-%d %H:%M} UTC" if self.time_utc else "",
            "magnitude": "" if self.magnitude is None else f"{self.magnitude:g}",
            "sources": ", ".join(name for name, given in there.items() if given),
            "absent": ", ".join(name for name, given in there.items() if not given),
            "inventory": "mapped landslides" if self.inventory else "none",
            "simulated": "yes, it never was" if self.simulated else "",
            "file": str(self.file),
            "credit": self.credit_line,
        }
        return Overview(self.name, facts, {})


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
    table = read_toml(path)
    file = path.absolute()
    root = root_of(table, path)
    if "file" in table:
        raise InputError(f"{path}: file: unknown key")
    try:
        event = Event.model_validate({**table, "file": file, "root": root})
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
    return _with_absolute_paths(event, path)


def _require_there(full: Path, given: Path) -> None:
    """Require that a path exists; `given` is what the event file says."""
    try:
        there = full.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputError(f"{full}: cannot be looked at ({error.strerror})") from None
    if not there and (address := _ADDRESS.match(given.as_posix())):
        found = f"{address[0]}/{given.as_posix()[address.end() :]}"  # a path has lost the second slash
        raise InputError(f"found the address {found}; expected a file, so fetch it first")
    if not there:
        raise InputError(f"{full} does not exist")


def _with_absolute_paths(event: Event, file: Path) -> Event:
    def resolve(value: Any, key: str) -> Any:
        if isinstance(value, Path):
            full = Path(os.path.normpath(event.root / value))
            if value.is_absolute() or not full.is_relative_to(event.root):
                root = f"{event.root}; expected a path inside it (see root)"
                raise InputError(f"{file}: {key}: {value} leads out of {root}")
            try:
                _require_there(full, value)
                require_regular_source(full)
            except InputError as error:
                raise InputError(f"{file}: {key}: {error}") from None
            return full
        if isinstance(value, BaseModel):
            found = {name: (old, resolve(old, f"{key}.{name}")) for name, old in value}
            return value.model_copy(update={name: new for name, (old, new) in found.items() if new != old})
        if isinstance(value, dict):
            return {name: resolve(item, f"{key}.{name}") for name, item in value.items()}
        if isinstance(value, tuple):
            return tuple(resolve(item, f"{key}[{i}]") for i, item in enumerate(value))
        return value

    own = {name: value for name, value in event if name not in {"file", "root"}}
    return event.model_copy(update={name: resolve(value, name) for name, value in own.items()})
