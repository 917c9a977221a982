"""The services of a made-up world, on ports of this machine, as a program that is told over its standard input.

A program of its own: GDAL holds the interpreter's lock during some of its requests, and would wait for itself.
"""

import json
import re
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

JSON, _GEOJSON = "application/json", "application/geo+json"
_PUBLISHED = "Mon, 02 May 2022 00:00:00 GMT"
_CONFORMS = [
    f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "collections", "ogcapi-features", "item-search")
]


@dataclass
class Failure:
    """How paths that match a pattern fail, and how often they still do (None: always)."""

    pattern: str
    times: int | None = None
    status: int | None = None
    cut_after: int | None = None
    wait_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request: its path without a query, the query, and what the header says of a part and of a user."""

    method: str
    path: str
    query: dict[str, str]
    part: str
    user: str


class Answer(NamedTuple):
    """What a service answers."""

    body: bytes
    kind: str = JSON
    status: int = 200


class Services:
    """The services on one port: what they hold, how they fail, and what they were asked."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder = folder
        self.items_by_collection, self.events = content["items"], content["events"]
        self.places, self.rain, self.deleted = content["places"], content["rain"], content["deleted"]
        self.page, self.signed, self.hidden = 3, False, set()
        self.asked: list[Asked] = []
        self.sent: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.address = ""
        self.lock, self.closing = threading.Lock(), threading.Event()

    def file(self, path: str) -> Path | None:
        """Find a file; those of the static catalog are those of the API."""
        for mine, other in (("sentinel-2-c1-l2a", "scenes"), ("cop-dem-glo-30", "s3/copernicus-dem-30m")):
            path = path.replace(f"/static/{mine}/", f"/{other}/")
        place = self.folder / path.lstrip("/")
        return place if ".." not in path and place.is_file() else None

    def items(self, collection: str) -> list[dict[str, Any]]:
        """List the items of a collection that are not hidden, as the API gives them."""
        shown = [item for item in self.items_by_collection[collection] if item["id"] not in self.hidden]
        return json.loads(self.filled(shown))

    def filled(self, document: Any) -> bytes:
        """Write a document with the address of this server in it."""
        return json.dumps(document).replace("{base}", self.address).encode()

    def documents(self) -> list[str]:
        """List the documents of the static catalog."""
        names = [(one, item["id"]) for one in self.items_by_collection for item in self.items(one)]
        files = [f"{collection}/{name}/{name}.json" for collection, name in names]
        return ["catalog.json", *(f"{one}/collection.json" for one in self.items_by_collection), *files]

    def first_failure(self, path: str) -> Failure | None:
        """Take a failure that is due for a path."""
        with self.lock:
            for one in self.failures:
                if fnmatch(path, one.pattern) and one.times != 0:
                    one.times = None if one.times is None else one.times - 1
                    return one
        return None

    def note(self, asked: Asked) -> None:
        """Note a request."""
        with self.lock:
            self.asked.append(asked)

    def count(self, path: str, size: int) -> None:
        """Count bytes that are sent."""
        with self.lock:
            self.sent[path] += size

    # --- what it is told ---

    def tell(self, what: str, values: dict[str, Any]) -> Any:
        """Do what a test tells."""
        with self.lock:
            if what == "fail":
                self.failures.insert(0, Failure(**values))
            elif what == "mend":
                self.failures.clear()
            elif what == "forget":
                self.asked.clear()
                self.sent.clear()
            elif what == "hide":
                self.hidden |= set(values["ids"])
            elif what == "asked":
                return [asdict(one) for one in self.asked]
            elif what == "sent":
                return dict(self.sent)
            else:
                self.page, self.signed = values.get("page", self.page), values.get("signed", self.signed)
        return None

    # --- services ---

    def answer(self, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer | None:
        """Answer a request; None where there is no such thing."""
        services = {"comcat": self.comcat, "stac": self.stac, "token": self.token, "ncei": self.ncei}
        room = path.split("/")[1]
        if room in services and not self.file(path):
            return services[room](path, query, body)
        if self.signed and path.endswith(".tif") and query.get("sig") != "made-up":
            return Answer(b"<Error>AuthenticationFailed</Error>", "application/xml", 403)
        return self.static(path)

    def static(self, path: str) -> Answer | None:
        """Give a file, or a document of the static catalog."""
        if file := self.file(path):
            kinds = {"tif": "image/tiff", "xml": "application/xml", "txt": "text/plain", "gz": "application/gzip"}
            return Answer(file.read_bytes(), kinds.get(path.rpartition(".")[2], JSON))
        inner = path.removeprefix("/static/")
        if inner not in self.documents():
            return None
        if inner == "catalog.json":
            links = [_link("child", f"./{one}/collection.json") for one in self.items_by_collection]
            return Answer(json.dumps(_catalog(links)).encode())
        collection, _, name = inner.partition("/")
        if name == "collection.json":
            links = [_link("item", f"./{item['id']}/{item['id']}.json") for item in self.items(collection)]
            return Answer(json.dumps(_collection(collection, [*links, _link("root", "../catalog.json")])).encode())
        (item,) = (one for one in self.items(collection) if f"{one['id']}/{one['id']}.json" == name)
        for asset in item["assets"].values():
            asset["href"] = f"./{asset['href'].rpartition('/')[2]}"
        item["links"] = [_link("root", "../../catalog.json"), _link("collection", "../collection.json")]
        return Answer(json.dumps(item).encode())

    def comcat(self, path: str, query: dict[str, str], _body: dict[str, Any]) -> Answer | None:
        """Answer as the event service of ComCat does."""
        if path != "/comcat/query":
            return None
        if query.get("format") != "geojson":
            return Answer(b"Error 400: Bad Request\n\nonly geojson is made up here", "text/plain", 400)
        if "eventid" in query:
            name = query["eventid"]
            if name == self.deleted:
                return Answer(b"Error 409: Conflict\n\nEvent has been deleted", "text/plain", 409)
            if name not in self.events or name in self.hidden:
                return Answer(b"Error 404: Not Found\n\nNo event", "text/plain", 404)
            return Answer(self.filled(self.events[name]))
        shown = [one for one in self.events.values() if one["id"] not in self.hidden]
        found = [one for one in shown if _listed(one, query)]
        found.sort(key=lambda one: one["properties"]["time"], reverse=query.get("orderby", "time") == "time")
        first = int(query.get("offset", "1")) - 1
        found = found[first : first + int(query.get("limit", "20000"))]
        briefly = [{**one, "properties": {**one["properties"]}} for one in found]
        for one in briefly:
            del one["properties"]["products"]
        metadata = {"generated": 1652700000000, "title": "USGS Earthquakes", "status": 200, "count": len(found)}
        return Answer(self.filled({"type": "FeatureCollection", "metadata": metadata, "features": briefly}))

    def stac(self, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer | None:
        """Answer as a STAC API does, with pages of `page` items."""
        root, inner = f"{self.address}/stac", path.removeprefix("/stac").strip("/")
        if not inner:
            links = [_link("self", root), _link("root", root), _link("data", f"{root}/collections")]
            search = _link("search", f"{root}/search", _GEOJSON)
            links += [{**search, "method": how} for how in ("GET", "POST")]
            return Answer(json.dumps({**_catalog(links), "conformsTo": _CONFORMS}).encode())
        if inner == "search":
            return self._search(query, body)
        parts = inner.split("/")
        if inner == "collections":
            listed = [_collection(one, [_link("root", root)]) for one in self.items_by_collection]
            return Answer(json.dumps({"collections": listed, "links": [_link("root", root)]}).encode())
        if parts[0] != "collections" or parts[1] not in self.items_by_collection:
            return None
        if len(parts) == 2:
            return Answer(json.dumps(_collection(parts[1], [_link("root", root)])).encode())
        (item,) = [one for one in self.items(parts[1]) if one["id"] == parts[-1]] or [None]
        return Answer(json.dumps(item).encode()) if item else None

    def _search(self, query: dict[str, str], body: dict[str, Any]) -> Answer:
        """Find items by collections, box, time and ids, newest first, and link to the next page as it was asked for."""
        wanted = {key: value.split(",") if key in _LISTS else value for key, value in query.items()} | body
        found = [
            item
            for name in wanted.get("collections") or self.items_by_collection
            for item in (self.items(name) if name in self.items_by_collection else [])
            if _is_in(item, wanted)
        ]
        found.sort(key=lambda item: item["properties"]["datetime"], reverse=True)
        first = int(wanted.get("token", 0))
        page = found[first : first + min(self.page, int(wanted.get("limit", self.page)))]
        rest, links = first + len(page), [_link("root", f"{self.address}/stac")]
        if rest < len(found):
            more = {**_link("next", f"{self.address}/stac/search", _GEOJSON), "method": "POST"}
            more["body"] = {**wanted, "token": str(rest)}
            if query:
                asked = "&".join(f"{key}={value}" for key, value in {**query, "token": str(rest)}.items())
                more = {**more, "method": "GET", "href": f"{self.address}/stac/search?{asked}"}
                del more["body"]
            links.append(more)
        counts = {"numberMatched": len(found), "numberReturned": len(page), "links": links}
        document = {"type": "FeatureCollection", "features": page, **counts}
        return Answer(json.dumps(document).encode(), _GEOJSON)

    def token(self, path: str, _query: dict[str, str], _body: dict[str, Any]) -> Answer | None:
        """Give a token for a collection, as Planetary Computer does."""
        if path.removeprefix("/token/") not in self.items_by_collection:
            return None
        return Answer(b'{"msft:expiry": "2099-01-01T00:00:00Z", "token": "se=2099-01-01&sig=made-up"}')

    def ncei(self, _path: str, query: dict[str, str], _body: dict[str, Any]) -> Answer:
        """Answer as the access data service does for daily summaries of stations."""
        needed = {"dataset": "daily-summaries", "format": "csv"}
        if any(query.get(key) != value for key, value in needed.items()) or "stations" not in query:
            return Answer(b'{"errorMessage": "stations, dataset and format are needed"}', JSON, 400)
        factor = 1 if query.get("units") == "metric" else 10
        columns = ["STATION", "DATE", "LATITUDE", "LONGITUDE", "ELEVATION", "NAME", "PRCP", "PRCP_ATTRIBUTES"]
        if query.get("includeStationLocation") not in {"1", "true"}:
            columns = [name for name in columns if name not in {"LATITUDE", "LONGITUDE", "ELEVATION"}]
        if query.get("includeAttributes") != "true":
            columns.remove("PRCP_ATTRIBUTES")
        lines = [",".join(f'"{name}"' for name in columns)]
        for station in query["stations"].split(","):
            days = self.rain.get(station, {})
            lon, lat = self.places.get(station, (0, 0))
            for day, (rain, flag) in sorted(days.items()):
                if query["startDate"] <= day <= query["endDate"]:
                    row = dict.fromkeys(columns, "")
                    row |= {"STATION": station, "DATE": day, "LATITUDE": f"{lat}", "LONGITUDE": f"{lon}"}
                    row |= {"ELEVATION": "1200.0", "NAME": f"MADE UP {station[-4:]}, XX"}
                    row |= {"PRCP": f"{rain * factor:7.1f}", "PRCP_ATTRIBUTES": f",{flag},S,"}
                    lines.append(",".join(f'"{row[name]}"' for name in columns))
        return Answer(("\n".join(lines) + "\n").encode(), "text/csv")


_LISTS = {"collections", "ids", "bbox"}


def _link(rel: str, href: str, kind: str = JSON) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": kind}


def _catalog(links: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Catalog", "id": "made-up", "stac_version": "1.0.0", "description": "Made up", "links": links}


def _collection(name: str, links: list[dict[str, Any]]) -> dict[str, Any]:
    times = {"interval": [["2015-06-27T00:00:00Z", None]]}
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": times}
    known = {"type": "Collection", "id": name, "stac_version": "1.0.0", "description": name, "license": "proprietary"}
    return {**known, "extent": extent, "links": links}


def _listed(event: dict[str, Any], query: dict[str, str]) -> bool:
    """Tell whether a list of earthquakes has one."""
    properties, (lon, lat, _) = event["properties"], event["geometry"]["coordinates"]
    values = {"magnitude": properties["mag"], "longitude": lon, "latitude": lat}
    for name, value in values.items():
        if not float(query.get(f"min{name}", "-999")) <= value <= float(query.get(f"max{name}", "999")):
            return False
    first, last, updated = (_milliseconds(query.get(key)) for key in ("starttime", "endtime", "updatedafter"))
    if updated is not None and properties["updated"] <= updated:
        return False
    return (first is None or properties["time"] >= first) and (last is None or properties["time"] <= last)


def _milliseconds(text: str | None) -> float | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return 1000 * (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _is_in(item: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether an item is among those that are searched for."""
    if wanted.get("ids") and item["id"] not in wanted["ids"]:
        return False
    if wanted.get("bbox"):
        west, south, east, north = map(float, wanted["bbox"])
        left, bottom, right, top = item["bbox"]
        if right < west or left > east or top < south or bottom > north:
            return False
    if not wanted.get("datetime"):
        return True
    first, _, last = wanted["datetime"].partition("/")
    sensed = datetime.fromisoformat(item["properties"]["datetime"])
    after = first in {"", ".."} or sensed >= datetime.fromisoformat(first)
    return after and (last in {"", ".."} or sensed <= datetime.fromisoformat(last))


# --- the server ---


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_):
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16
    disable_nagle_algorithm = True
    services: Services

    def log_message(self, *_):
        """Keep quiet."""

    def do_GET(self):
        self._serve({})

    def do_HEAD(self):
        self._serve({})

    def do_POST(self):
        self._serve(json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}"))

    def _serve(self, body):
        split = urlsplit(self.path)
        query = {key: ",".join(values) for key, values in parse_qs(split.query).items()}
        part = self.headers.get("Range", "")
        user = self.headers.get("Authorization", "")
        self.services.note(Asked(self.command, split.path, query, part, user))
        failure = self.services.first_failure(split.path)
        if failure is not None and failure.wait_s:
            self.services.closing.wait(failure.wait_s)
        if failure is not None and failure.status is not None:
            self._send(Answer(b"made to fail\n", "text/plain", failure.status), split.path, failure.headers, None)
            return
        answer = self.services.answer(split.path, query, body)
        answer = answer or Answer(b"no such thing\n", "text/plain", 404)
        headers, cut = (failure.headers, failure.cut_after) if failure is not None else ({}, None)
        if answer.status == 200 and self.command != "POST":
            answer, own = self._part_of(answer, part)
            headers = own | headers
        self._send(answer, split.path, headers, cut)

    def _part_of(self, answer: Answer, part: str) -> tuple[Answer, dict[str, str]]:
        """Cut out the part of a body that is asked for, where it is still of the same version."""
        tag, size = f'"{sha256(answer.body).hexdigest()[:16]}"', len(answer.body)
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "Last-Modified": _PUBLISHED}
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", part)
        if found is None or not any(found.groups()) or self.headers.get("If-Range", tag) not in {tag, _PUBLISHED}:
            return answer, headers
        if found[1]:
            start, stop = int(found[1]), min(int(found[2] or size) + 1, size)
        else:
            start, stop = max(size - int(found[2]), 0), size
        if start >= size:
            return Answer(b"", "text/plain", 416), headers | {"Content-Range": f"bytes */{size}"}
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(answer.body[start:stop], answer.kind, 206), headers

    def _send(self, answer: Answer, path: str, headers: dict[str, str], cut: int | None) -> None:
        self.send_response(answer.status)
        for key, value in {"Content-Type": answer.kind, "Content-Length": f"{len(answer.body)}", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        body = b"" if self.command == "HEAD" else answer.body[:cut]
        self.services.count(path, len(body))
        self.wfile.write(body)
        if cut is not None and cut < len(answer.body):
            self.wfile.flush()
            self.close_connection = True


def main(folder: Path) -> None:
    """Do what each line of the standard input tells, and answer with a line each, until it ends."""
    content = json.loads((folder / "content.json").read_text(encoding="utf-8"))
    servers: dict[int, tuple[_Server, Services]] = {}
    for line in sys.stdin:
        port, what, values = json.loads(line)
        if what == "open":
            services = Services(folder, content)
            server = _Server(("127.0.0.1", 0), type("_Handler", (_Handler,), {"services": services}))
            port = server.server_port
            services.address = f"http://127.0.0.1:{port}"
            servers[port] = (server, services)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            answer: Any = port
        elif what == "close":
            server, services = servers.pop(port)
            services.closing.set()
            server.shutdown()
            server.server_close()
            answer = None
        elif what == "documents":
            services = servers[port][1]
            answer = {path: services.static(f"/static/{path}").body.decode() for path in services.documents()}
        else:
            answer = servers[port][1].tell(what, values)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
