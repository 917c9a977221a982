"""Catalogs of scenes and elevation: STAC APIs, and static catalogs on a server or on the disk."""

import datetime as dt
import json
import logging
import re
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pystac
from pystac_client import Client, ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning

from coslide.acquisition.records import Bounds
from coslide.config.services import Services
from coslide.errors import InputError, first_line
from coslide.io.http import HTTP, Web, redact_url
from coslide.sources.documents import read_document
from coslide.sources.items import locate_asset
from coslide.sources.safe import Span, finite_number, read_time

_log = logging.getLogger(__name__)
_PAGE = 100
_MOST_DOCUMENTS = 10_000
_S3 = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]*)/(.+)")
_TOKEN = re.compile(r"[!-\"$->@-~]{1,8192}")  # what may follow the ? of an address
# What pystac and its client raise about documents that are none of theirs.
_NOT_STAC = (
    pystac.STACError, pystac.STACTypeError, APIError, NotImplementedError, ValueError, LookupError, TypeError,
    AttributeError,
)  # fmt: skip


class Catalog(NamedTuple):
    """A catalog that was opened.

    Attributes
    ----------
    services
        Which one it is, and where what it lists is read.
    web
        What asks servers.
    client
        Of an API; None for a static catalog.
    """

    services: Services
    web: Web
    client: Client | None

    def search(
        self, collection: str, bounds_deg: Bounds, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> list[pystac.Item]:
        """Find the items of a collection that touch an area.

        Parameters
        ----------
        collection
            Its name.
        bounds_deg
            West, south, east and north.
        start, end
            The first and the last time; None does not bound it.

        Returns
        -------
        list of pystac.Item
            Their addresses are http addresses or absolute paths. They may hold a token (`Services.sas_url`): it is
            good for about an hour, and not to be written anywhere. An item that cannot be used, as one without a time,
            is left out, and the log says so.

        Raises
        ------
        InputError
            If the catalog cannot be read, is none, or has more items there than are read (10,000); or if a local one
            leads out of its folder.
        """
        found = self._walk(collection) if self.client is None else self._ask(collection, bounds_deg, start, end)
        wanted = [
            (place, item)
            for place, item in found
            if item.get("collection") == collection and _touches(item, bounds_deg) and _is_between(item, start, end)
        ]
        token = self._token(collection) if wanted else ""
        items = [self._item(document, place, token) for place, document in wanted]
        return [item for item in items if item is not None]

    def _ask(
        self, collection: str, bounds_deg: Bounds, start: dt.datetime | None, end: dt.datetime | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Let the API search; pages are asked for one after the other."""
        between = "/".join(".." if time is None else f"{_utc(time):%Y-%m-%dT%H:%M:%SZ}" for time in (start, end))
        time = None if start is None and end is None else between
        try:
            with warnings.catch_warnings(action="ignore", category=PystacClientWarning):  # links without a media type
                search = self._api.search(
                    method="GET", collections=[collection], bbox=bounds_deg, datetime=time, limit=_PAGE, max_items=None
                )
            for number, item in enumerate(search.items_as_dicts()):
                _require_few(number, self.services.stac_url)
                links = item.get("links") or []
                own = next((link["href"] for link in links if link.get("rel") == "self"), self.services.stac_url)
                yield (own if own.startswith(HTTP) else self.services.stac_url), item
        except _NOT_STAC as error:
            raise InputError(_no_stac(self.services.stac_url, "STAC API", first_line(error))) from None

    @property
    def _api(self) -> Client:
        if self.client is None:
            raise ValueError("expected an API")
        return self.client

    def _walk(self, collection: str) -> Iterator[tuple[Path | str, dict[str, Any]]]:
        """Read the documents of a static catalog, but not those below other collections; each one once."""
        start, root = _place(self.services.stac_url)
        waiting: deque[Path | str] = deque([start])
        seen: set[Path | str] = {start}
        while waiting:
            place = waiting.popleft()
            document = _read(place, self.web)
            if document.get("type") == "Feature":
                yield place, document
            elif document.get("type") == "Collection" and document.get("id") != collection:
                continue
            else:
                below = [at for at in _links(document, place, root) if at not in seen]
                waiting.extend(dict.fromkeys(below))
                seen.update(below)
                _require_few(len(seen), self.services.stac_url)

    def _token(self, collection: str) -> str:
        """Ask for the token that addresses need; "" where they need none."""
        if self.services.sas_url is None:
            return ""
        address = self.services.sas_url.replace("{collection}", quote(collection, safe=""))
        try:
            token = json.loads(self.web.read(address))["token"]
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{redact_url(address)}: gives no token ({type(error).__name__})") from None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise InputError(f"{redact_url(address)}: gives something else than a token for addresses")
        return token

    def _item(self, document: dict[str, Any], place: Path | str, token: str) -> pystac.Item | None:
        """Take an item whose addresses can be read; None if it is none."""
        name = f"{str(document.get('id'))[:200]!r} of {redact_url(str(place))}"
        try:
            item = pystac.Item.from_dict(document, migrate=False)
            hrefs = {key: str(asset.href) for key, asset in item.assets.items()}
        except _NOT_STAC as error:
            _log.warning(f"item {name} is left out: {first_line(error)}")
            return None
        for key, href in hrefs.items():
            try:
                item.assets[key].href = _signed(self._locate(href, place), token)
            except InputError:
                if isinstance(place, Path):
                    raise
                del item.assets[key]  # such as a picture on another kind of server
        return item

    def _locate(self, href: str, place: Path | str) -> str:
        """Find where an asset is read: at an http address or in the folder of the catalog."""
        if match := _S3.fullmatch(href):
            return self.services.s3_url.replace("{bucket}", match[1]).rstrip("/") + "/" + quote(match[2])
        return str(locate_asset(href, place, _place(self.services.stac_url)[1]))


def open_catalog(services: Services, web: Web) -> Catalog:
    """Open the catalog of `services`, an API or a static one.

    Parameters
    ----------
    services
        Which one.
    web
        What asks servers; it stays open as long as the catalog is used.

    Raises
    ------
    InputError
        If it cannot be read, or is no catalog.

    Notes
    -----
    An API is searched by GET, as every STAC API can be, so that all that is asked of it goes through `web`: its
    retries, limits, proxies and netrc.
    """
    place, _ = _place(services.stac_url)
    root = _read(place, web)
    if root.get("type", "Catalog") not in {"Catalog", "Collection"} or "links" not in root:
        raise InputError(_no_stac(str(place), "STAC API or catalog", f"found type {str(root.get('type'))[:99]!r}"))
    conforms = root.get("conformsTo")
    texts = [str(one) for one in conforms] if isinstance(conforms, list) else []
    if isinstance(place, Path) or not any(re.match(ConformanceClasses.ITEM_SEARCH.pattern, text) for text in texts):
        return Catalog(services, web, None)
    try:
        return Catalog(services, web, Client.open(place, stac_io=_Pages(web)))
    except _NOT_STAC as error:
        raise InputError(_no_stac(place, "STAC API", first_line(error))) from None


class _Pages(StacApiIO):
    """Lets pystac-client read through `Web`."""

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Read a page."""
        if (method or "GET").upper() != "GET" or headers:
            raise InputError(f"{redact_url(href)}: found a next page that is asked for by {method}, expected GET")
        return self._web.read(href, params=parameters).decode()


def _place(stac_url: str) -> tuple[Path | str, Path]:
    """Find a catalog: an address, or a file and the folder that it may not lead out of."""
    if stac_url.lower().startswith(HTTP):
        return stac_url, Path()
    path = Path(stac_url).absolute()
    return path, path.parent


def _read(place: Path | str, web: Web) -> dict[str, Any]:
    name, text = redact_url(str(place)), web.read(place) if isinstance(place, str) else read_document(place)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "found HTML or XML" if text.lstrip().startswith(b"<") else first_line(error)
        raise InputError(_no_stac(name, "STAC document", reason)) from None
    if not isinstance(document, dict):
        raise InputError(_no_stac(name, "STAC document", f"found a {type(document).__name__}"))
    return document


def _links(document: dict[str, Any], place: Path | str, root: Path) -> Iterator[Path | str]:
    """List where the catalogs and items below a catalog are."""
    links = document.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") in {"child", "item"} and isinstance(link.get("href"), str):
            yield locate_asset(link["href"], place, root)


def sensed_span(item: dict[str, Any] | pystac.Item) -> Span | None:
    """Read when an item was sensed, the first and the last time; None where it states none.

    Examples
    --------
    >>> sensed_span({"properties": {"datetime": None}}) is None
    True
    """
    properties = item.properties if isinstance(item, pystac.Item) else item.get("properties")
    stated = properties if isinstance(properties, dict) else {}
    keys = ["datetime"] if stated.get("datetime") is not None else ["start_datetime", "end_datetime"]
    times = [time for key in keys if (time := read_time(stated.get(key))) is not None]
    return (min(times), max(times)) if times else None


def _is_between(item: dict[str, Any], start: dt.datetime | None, end: dt.datetime | None) -> bool:
    if start is None and end is None:
        return True
    if (span := sensed_span(item)) is None:
        _log.warning(f"item {str(item.get('id'))[:200]!r} is left out: it does not state when it was sensed")
        return False
    return (start is None or span[1] >= _utc(start)) and (end is None or span[0] <= _utc(end))


def _touches(item: dict[str, Any], bounds_deg: Bounds) -> bool:
    """Tell whether the box of an item meets bounds; an item without one may."""
    box = item.get("bbox")
    numbers = [finite_number(value) for value in box] if isinstance(box, list) else []
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or len(known) not in {4, 6}:
        return True
    half = len(known) // 2
    (west, south), (east, north) = known[:2], known[half : half + 2]
    in_longitude = bounds_deg[0] <= east and west <= bounds_deg[2]
    if west > east:  # across the 180th meridian
        in_longitude = bounds_deg[2] >= west or bounds_deg[0] <= east
    return in_longitude and bounds_deg[1] <= north and south <= bounds_deg[3]


def _signed(place: str, token: str) -> str:
    return f"{place}?{token}" if token and place.startswith(HTTP) and "?" not in place else place


def _require_few(number: int, name: str) -> None:
    if number >= _MOST_DOCUMENTS:
        expected = f"expected at most {_MOST_DOCUMENTS}; take a smaller area or a shorter time"
        raise InputError(f"{redact_url(name)}: lists {number} items or more there, {expected}")


def _no_stac(place: str, kind: str, reason: str) -> str:
    return f"{redact_url(place)}: is no {kind} ({reason})"


def _utc(time: dt.datetime) -> dt.datetime:
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
