"""What was fetched, for which area, and what it becomes in the event file."""

import math
from pathlib import Path
from typing import Any, NamedTuple, Self

from coslide.config.event import Attribution
from coslide.config.records import StrictModel
from coslide.io.atomic import sha256
from coslide.io.http import HTTP, redact_url

Bounds = tuple[float, float, float, float]
"""West, south, east and north, in degrees (WGS 84)."""

_KM_PER_DEGREE = 111.195  # of a sphere of 6371 km


class Fetched(StrictModel):
    """A file that was fetched, as ``manifest.json`` records it."""

    file: str
    """Its path in the folder of the event."""
    address: str
    """Where it comes from, without what may be a secret."""
    bytes: int
    """Its size."""
    sha256: str
    """The SHA-256 of its content."""
    source: str
    """Such as "ShakeMap" or "Sentinel-2 L2A"."""

    @classmethod
    def of(cls, path: Path, folder: Path, *, address: str, source: str) -> Self:
        """Record a file as it lies in `folder`, that of the event; of an address that is a local path, nothing."""
        address = redact_url(address) if address.startswith(HTTP) else ""
        size = path.stat().st_size
        name = path.relative_to(folder).as_posix()
        return cls(file=name, address=address, bytes=size, sha256=sha256(path), source=source)


class Area(NamedTuple):
    """The rectangle to map.

    Attributes
    ----------
    bounds_deg
        West, south, east and north in degrees (WGS 84), on one side of the 180th meridian.
    note
        How it was found, in a line for people.
    """

    bounds_deg: Bounds
    note: str = ""

    @property
    def km2(self) -> float:
        """Compute its area, on a sphere, in km2."""
        west, south, east, north = self.bounds_deg
        height = _KM_PER_DEGREE * math.degrees(math.sin(math.radians(north)) - math.sin(math.radians(south)))
        return height * _KM_PER_DEGREE * (east - west)


class Part(NamedTuple):
    """A source of an event, fetched.

    Attributes
    ----------
    tables
        Tables of the event file and their keys; paths lie in the folder of the event.
    files
        What was fetched for it.
    attributions
        Whom to credit, and by which licence.
    notes
        Lines for people: what was chosen, and what is absent and why.
    """

    tables: dict[str, dict[str, Any]]
    files: tuple[Fetched, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    notes: tuple[str, ...] = ()
