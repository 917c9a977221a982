"""A small server of files and answers, and small tiles of Sentinel-2 as Earth Search serves them."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import rasterio
import rasterio.warp
from rasterio.transform import from_origin

COLLECTION = "sentinel-2-c1-l2a"
KEYS = {"coastal": ("B01", 60), "blue": ("B02", 10), "swir16": ("B11", 20), "scl": ("SCL", 20)}
SIDE_M = 9600
BANDS = ("B2", "B11", "SCL")


class Handler(BaseHTTPRequestHandler):
    """Answers from routes, else with files and parts of them."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        state, at = self.server.state, urlsplit(self.path)
        path = unquote(at.path)
        state.asked.append((self.command, self.path, self.headers.get("Range", "")))
        failures = state.failures.get(path, [])
        failure = failures.pop(0) if failures else None
        if isinstance(failure, tuple):
            self.answer(failure[0], b"", failure[1])
        elif path in state.routes:
            found = state.routes[path](parse_qs(at.query))
            self.answer(200, json.dumps(found).encode(), {}, cut=failure == "cut")
        else:
            self.send_file(state.folder / path.lstrip("/"), cut=failure == "cut")

    def send_file(self, path, *, cut):
        if not path.is_file():
            self.answer(404, b"", {})
            return
        content = path.read_bytes()
        if wanted := re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", "")):
            start, stop = int(wanted[1]), min(int(wanted[2] or len(content)) + 1, len(content))
            span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
            self.answer(206, content[start:stop], span, cut=cut)
        else:
            self.answer(200, content, {"Accept-Ranges": "bytes"}, cut=cut)

    def answer(self, status, body, headers, *, cut=False):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        body = b"" if self.command == "HEAD" else body[: len(body) // 2] if cut else body
        self.wfile.write(body)
        self.server.state.sent += len(body)
        self.close_connection = cut or self.close_connection

    def log_message(self, *_):
        """Keep quiet."""


class Server:
    """What a server serves and was asked."""

    def __init__(self, folder):
        self.folder, self.routes, self.failures, self.asked, self.sent, self.url = folder, {}, {}, [], 0, ""

    def forget(self):
        """Begin counting anew."""
        self.asked.clear()
        self.sent = 0


@contextmanager
def serve(folder):
    """Serve a folder while the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.state = Server(folder)
        running.daemon_threads, running.block_on_close = True, False
        running.state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running.state
        finally:
            running.shutdown()
            thread.join()


def serve_api(server, items, *, page=2, media_type="application/geo+json"):
    """Make a server a STAC API with `items`, in pages."""
    conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    root = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "-", "conformsTo": conforms}
    link = {"rel": "search", "href": f"{server.url}/search", "type": media_type}
    root["links"] = [{**link, "method": method} for method in ("GET", "POST")]

    def search(query):
        wanted = query.get("collections", [""])[0].split(",")
        found = [item for item in items if item["collection"] in wanted]
        start = int(query.get("from", ["0"])[0])
        rest = f"{server.url}/search?collections={','.join(wanted)}&from={start + page}"
        links = [{"rel": "next", "href": rest}] if start + page < len(found) else []
        return {"type": "FeatureCollection", "features": found[start : start + page], "links": links}

    server.routes |= {"/": lambda _: root, "/search": search}


def write_cog(path, values, *, epsg, left, top, size):
    """Write a COG with blocks of 128 x 128 pixels and overviews."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    place = {"crs": f"EPSG:{epsg}", "transform": from_origin(left, top, size, size), "height": height, "width": width}
    how = {"driver": "COG", "blocksize": 128, "overview_resampling": "nearest", "compress": "deflate"}
    with rasterio.open(path, "w", count=1, dtype=values.dtype, nodata=0, **place, **how) as file:
        file.write(values, 1)


def write_tile(
    folder, item_id, *, date="2018-09-11T01:26:51Z", tile="54TWN", epsg=32654, left=600000, top=4700040, scl=None,
    orbit=74, baseline="05.09", url="", seed=0, names=("B01", "B02", "B11", "SCL"), **properties,
):  # fmt: skip
    """Write a tile of 9.6 km with bands of random values, and return its item; `scl` is its classification."""
    random = np.random.default_rng(seed)
    scl = np.full((SIDE_M // 20, SIDE_M // 20), 4, np.uint8) if scl is None else scl
    assets = {}
    for key, (name, size) in ((key, file) for key, file in KEYS.items() if file[0] in names):
        side = SIDE_M // size
        values = scl if name == "SCL" else random.integers(1001, 6000, (side, side)).astype(np.uint16)
        if name != "SCL":
            at = np.arange(side) * len(scl) // side
            values[scl[np.ix_(at, at)] == 0] = 0
        write_cog(folder / item_id / f"{name}.tif", values, epsg=epsg, left=left, top=top, size=size)
        said = {"nodata": 0, "data_type": "uint16", "spatial_resolution": size, "scale": 1e-4, "offset": -0.1}
        assets[key] = {
            "href": f"{url}/{item_id}/{name}.tif" if url else f"./{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "raster:bands": [said if name != "SCL" else {"nodata": 0, "data_type": "uint8", "spatial_resolution": 20}],
            "proj:shape": [side, side],
            "proj:transform": [size, 0, left, 0, -size, top],
            "file:size": 1,
            "roles": ["data"],
        }
        if name != "SCL":
            assets[key]["eo:bands"] = [{"name": name}]
    assets["thumbnail"] = {"href": "https://example.invalid/preview.jpg", "roles": ["thumbnail"]}
    corners = rasterio.warp.transform_bounds(f"EPSG:{epsg}", "EPSG:4326", left, top - SIDE_M, left + SIDE_M, top)
    known = {"datetime": date, "platform": "sentinel-2b", "proj:epsg": epsg, "grid:code": f"MGRS-{tile}"}
    known |= {"s2:processing_baseline": baseline, "eo:cloud_cover": 20.0}
    if orbit is not None:
        known["s2:product_uri"] = f"S2B_MSIL2A_20180911T012651_N0509_R{orbit:03}_T{tile}.SAFE"
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": item_id, "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [_ring(*corners)]},
        "bbox": list(corners), "properties": known | properties, "assets": assets,
        "links": [{"rel": "self", "href": f"{url}/{item_id}/item.json"}] if url else [],
    }  # fmt: skip
    (folder / item_id / "item.json").write_text(json.dumps(item))
    return item


def _ring(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def write_catalog(folder, item_files, **more):
    """Write a static catalog with a collection of items, with relative links."""
    document = {"stac_version": "1.0.0", "description": "-"}
    folder.mkdir(parents=True, exist_ok=True)
    links = [{"rel": "item", "href": f"./{file}"} for file in item_files]
    collection = {**document, "type": "Collection", "id": COLLECTION, "license": "other", "extent": {}, "links": links}
    root = {**document, "type": "Catalog", "id": "static", "links": [{"rel": "child", "href": "./collection.json"}]}
    (folder / "collection.json").write_text(json.dumps(collection | more))
    path = Path(folder) / "catalog.json"
    path.write_text(json.dumps(root))
    return path
