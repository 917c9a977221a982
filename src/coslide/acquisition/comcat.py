"""The earthquake catalogue ComCat: what is known of an earthquake, and the files of its preferred ShakeMap."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from coslide.acquisition.records import Fetched, Part
from coslide.config.event import Attribution
from coslide.config.records import first_problem
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io.http import MissingError, Parameters, Web, redact_url

_ID = re.compile(r"(?=\w*\d)[A-Za-z][A-Za-z0-9_]{3,63}")
_FILES = ("grid.xml", "uncertainty.xml", "rupture.json")
_LICENCE = "public domain (U.S. Geological Survey)"
_CREDIT = "ShakeMap: U.S. Geological Survey, doi:10.5066/F7W957B2"


class NoShakeMapError(InputError):
    """An earthquake has no ShakeMap, or none yet."""


class _Content(BaseModel):
    url: str


class _Product(BaseModel):
    code: str = ""
    source: str = ""
    status: str = ""
    weight: int = Field(default=0, alias="preferredWeight")
    updated_ms: int = Field(default=0, alias="updateTime")
    properties: dict[str, Any] = {}
    contents: dict[str, _Content] = {}


class _Properties(BaseModel):
    mag: float | None = None
    place: str | None = None
    title: str | None = None
    time: int
    status: str = ""
    products: dict[str, list[_Product]] = {}


class _Geometry(BaseModel):
    coordinates: Annotated[list[float | None], Field(min_length=2)]


class _Feature(BaseModel):
    id: str
    properties: _Properties
    geometry: _Geometry


class _Features(BaseModel):
    features: list[_Feature]


class ShakeMapFiles(NamedTuple):
    """The files of a ShakeMap.

    Attributes
    ----------
    version
        Its version, status and time, as the catalogue states them.
    contents
        The address of each file by its name.
    """

    version: str
    contents: Mapping[str, str]


class Earthquake(NamedTuple):
    """An earthquake of the catalogue.

    Attributes
    ----------
    id, title
        Its id, and such as "M 6.6 - 27 km E of Tomakomai, Japan".
    time_utc
        Origin time.
    magnitude
        The preferred one; None where none is known.
    lon_deg, lat_deg
        The epicentre.
    shakemap
        Its preferred ShakeMap; None where there is none.
    """

    id: str
    title: str
    time_utc: dt.datetime
    magnitude: float | None
    lon_deg: float
    lat_deg: float
    shakemap: ShakeMapFiles | None

    @property
    def place(self) -> str:
        """Give the place alone, without the magnitude."""
        return self.title.partition(" - ")[2] or self.title


def is_event_id(text: str) -> bool:
    """Tell whether a text can be the id of an earthquake, such as "us2000h8ty", and is no path.

    Examples
    --------
    >>> is_event_id("us2000h8ty"), is_event_id("event"), is_event_id("event1.toml"), is_event_id("../us2000h8ty")
    (True, False, False, False)
    """
    return _ID.fullmatch(text) is not None


def require_event_id(text: str) -> None:
    """Require that a text can be the id of an earthquake.

    Raises
    ------
    InputError
        If it cannot.
    """
    if not is_event_id(text):
        raise InputError(f"found {text!r}, expected the id of an earthquake, such as us2000h8ty")


def find_earthquake(web: Web, services: Services, event_id: str) -> Earthquake:
    """Look up an earthquake by its id.

    Raises
    ------
    InputError
        If the catalogue knows none, has deleted it, cannot be reached or answers with something else.
    """
    require_event_id(event_id)
    where = f"{services.comcat_url.rstrip('/')}/query"
    try:
        text = web.read(where, params={"eventid": event_id, "format": "geojson"})
    except MissingError:
        advice = "look for it in the catalogue's pages, or list recent ones: coslide watch --min-magnitude 6"
        raise InputError(f"{event_id}: {redact_url(where)} knows no such earthquake; {advice}") from None
    except InputError as error:
        if "HTTP 409" in str(error):
            raise InputError(f"{event_id}: was deleted from the catalogue ({redact_url(where)})") from None
        raise
    return _earthquake(_parse(where, text, _Feature))


def list_earthquakes(web: Web, services: Services, *, min_magnitude: float, since: dt.datetime) -> list[Earthquake]:
    """List earthquakes from `since` on, the newest first; what is told of them holds no ShakeMap.

    Raises
    ------
    InputError
        If the catalogue cannot be reached or answers with something else.
    """
    where = f"{services.comcat_url.rstrip('/')}/query"
    start = f"{since:%Y-%m-%dT%H:%M:%S}"
    asked: Parameters = {"format": "geojson", "minmagnitude": min_magnitude, "starttime": start, "orderby": "time"}
    try:
        text = web.read(where, params=asked)
    except MissingError:  # 204 or 404 by what the FDSN specification allows for "nothing"
        return []
    return [_earthquake(feature) for feature in _parse(where, text, _Features).features]


def fetch_shakemap(web: Web, earthquake: Earthquake, folder: Path) -> Part:
    """Download the ShakeMap of an earthquake: its grid, and the uncertainty and the rupture where it has them.

    Parameters
    ----------
    web
        What asks.
    earthquake
        With a ShakeMap.
    folder
        That of the event; the files go into ``shakemap`` in it.

    Raises
    ------
    NoShakeMapError
        If it has none.
    InputError
        If a file cannot be fetched.
    """
    shakemap = require_shakemap(earthquake)
    paths, files = {}, []
    for name in (name for name in _FILES if name in shakemap.contents):
        path = paths[name] = folder / "shakemap" / name
        got = web.download(shakemap.contents[name], path)
        files.append(Fetched(file=f"shakemap/{name}", source="ShakeMap", **got._asdict()))
    keys = {"shakemap": paths["grid.xml"]}
    if "uncertainty.xml" in paths:
        keys["uncertainty"] = paths["uncertainty.xml"]
    credit = Attribution(source="ShakeMap", licence=_LICENCE, text=_CREDIT, address=files[0].address)
    return Part({"shaking": keys}, tuple(files), (credit,), (f"ShakeMap {shakemap.version}",))


def require_shakemap(earthquake: Earthquake) -> ShakeMapFiles:
    """Require that an earthquake has a ShakeMap.

    Raises
    ------
    NoShakeMapError
        If it has none.
    """
    if earthquake.shakemap is None:
        age = dt.datetime.now(dt.UTC) - earthquake.time_utc
        advice = "the first comes within an hour, run again then" if age.days < 1 else "give --bounds"
        raise NoShakeMapError(f"{earthquake.id}: has no ShakeMap{' yet' if age.days < 1 else ''}; {advice}")
    return earthquake.shakemap


def _parse(where: str, text: bytes, kind: type[Any]) -> Any:
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        found = "HTML" if text.lstrip()[:1] == b"<" else first_problem(error)[:300]
        raise InputError(f"{redact_url(where)}: found {found}, expected the GeoJSON of ComCat") from None


def _earthquake(feature: _Feature) -> Earthquake:
    about, (lon, lat, *_) = feature.properties, feature.geometry.coordinates
    if lon is None or lat is None or not (abs(lon) <= 360 and abs(lat) <= 90):
        raise InputError(f"{feature.id}: found the epicentre {lon}, {lat}, expected longitude and latitude")
    time = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=about.time)
    title = about.title or f"M {about.mag:.1f} - {about.place}"
    found = _preferred(about.products.get("shakemap", []))
    return Earthquake(feature.id, title, time, about.mag, (lon + 180) % 360 - 180, lat, found)


def _preferred(products: Iterable[_Product]) -> ShakeMapFiles | None:
    """Choose the ShakeMap of the contributor that counts most, and of its versions the newest."""
    newest: dict[tuple[str, str], _Product] = {}
    for product in sorted(products, key=lambda product: product.updated_ms):
        newest[product.source, product.code] = product
    usable = [one for one in newest.values() if one.status.upper() != "DELETE" and _contents(one)]
    if not usable:
        return None
    best = max(usable, key=lambda one: (one.weight, one.updated_ms))
    told = best.properties
    made = dt.datetime.fromtimestamp(best.updated_ms / 1000, dt.UTC)
    version = f"{best.source}{best.code} version {told.get('version', 'not stated')}"
    version += f" ({told.get('map-status', 'no status')}, {made:%Y-%m-%dT%H:%M:%SZ})"
    return ShakeMapFiles(version, _contents(best))


def _contents(product: _Product) -> dict[str, str]:
    """List the files of use by their names; empty where there is no grid."""
    named = {name.removeprefix("download/"): one.url for name, one in product.contents.items()}
    return {name: named[name] for name in _FILES if name in named} if "grid.xml" in named else {}
