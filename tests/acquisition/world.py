"""A made-up world on this machine: services whose failures are switched on, and that tell what they were asked."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coslide.config.services import Services


class Server:
    """The program that serves; it is told a line, and answers a line."""

    def __init__(self, folder: Path) -> None:
        program = Path(__file__).with_name("services.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, str(program), str(folder)]
        self._process = subprocess.Popen(command, text=True, **pipes)  # noqa: S603 - it lies beside this file
        self._lock = threading.Lock()

    def tell(self, port: int, what: str, **values: Any) -> Any:
        """Tell what to do, and return the answer."""
        with self._lock:
            self._process.stdin.write(json.dumps([port, what, values]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """Stop it."""
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@dataclass
class World:
    """Services on a port of this machine.

    Attributes
    ----------
    content
        What is served, and what it was made from.
    """

    content: Any
    server: Server
    port: int

    @property
    def address(self) -> str:
        """Where all is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ids(self) -> Any:
        """Ids of earthquakes: simulated, narrow, no_shakemap, ocean, dateline, deleted, small, late, ...."""
        return self.content.ids

    @property
    def scenes(self) -> Any:
        """Scenes: clear_post, old_baseline, east_cloudy, west_cloudy, all_cloudy, other_orbit, clear_pre."""
        return self.content.scenes

    @property
    def event_file(self) -> Path:
        """The event file of the simulated earthquake that all is made from."""
        return self.content.event_file

    @property
    def bounds_deg(self) -> tuple[float, float, float, float]:
        """West, south, east and north of an area that all scenes cover."""
        return self.content.bounds_deg

    # --- where it is ---

    @property
    def settings(self) -> dict[str, str]:
        """Settings that lead to this world, by the keys of `Services`."""
        paths = {
            "comcat_url": "/comcat", "stac_url": "/stac", "s3_url": "/s3/{bucket}", "gauges_url": "/ncei/data/v1",
            "gauges_list_url": "/ghcn/ghcnd-inventory.txt", "chirps_url": "/chirps",
            "faults_url": "/gem/gem_active_faults_harmonized.geojson",
        }  # fmt: skip
        return {key: self.address + path for key, path in paths.items()} | {"tries": "3", "timeout_s": "30"}

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables of the environment."""
        return {f"COSLIDE_{key.upper()}": value for key, value in self.settings.items()}

    @property
    def services(self) -> Services:
        """The same as a record."""
        return Services.model_validate(self.settings)

    def services_with(self, **settings: str) -> Services:
        """Give the services with other settings, such as ``stac_url=world.static_url``."""
        return Services.model_validate(self.settings | settings)

    @property
    def static_url(self) -> str:
        """The static catalog of the same items."""
        return f"{self.address}/static/catalog.json"

    @property
    def token_url(self) -> str:
        """Where tokens for assets are given; they are needed after `sign`."""
        return f"{self.address}/token/{{collection}}"

    # --- how it fails ---

    def fail(
        self,
        pattern: str,
        *,
        times: int | None = None,
        status: int | None = None,
        cut_after: int | None = None,
        wait_s: float = 0.0,
        **headers: str,
    ) -> None:
        """Let paths fail: with a status, cut after some bytes of the body, or late. The newest of a path counts.

        Parameters
        ----------
        pattern
            Of paths, without a query, as for `fnmatch`.
        times
            How often; None for always.
        headers
            Of the answer, with ``_`` for ``-``, as in ``Retry_After="0"``.
        """
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        how = {"times": times, "status": status, "cut_after": cut_after, "wait_s": wait_s, "headers": named}
        self.server.tell(self.port, "fail", pattern=pattern, **how)

    def mend(self) -> None:
        """Let nothing fail any more."""
        self.server.tell(self.port, "mend")

    def hide(self, *ids: str) -> None:
        """Hide items from the catalogs, and earthquakes from ComCat."""
        self.server.tell(self.port, "hide", ids=ids)

    def sign(self) -> None:
        """Give rasters only with the token of ``/token/{collection}``."""
        self.server.tell(self.port, "set", signed=True)

    def set_page(self, items: int) -> None:
        """Let a page of the STAC API have no more items than this (3), however many are asked for."""
        self.server.tell(self.port, "set", page=items)

    # --- what it was asked ---

    @property
    def asked(self) -> list[Any]:
        """All requests in order, with method, path, query, part (the header Range) and user (Authorization)."""
        return [SimpleNamespace(**one) for one in self.server.tell(self.port, "asked")]

    @property
    def sent(self) -> Counter[str]:
        """Bytes of bodies that were sent, by path."""
        return Counter(self.server.tell(self.port, "sent"))

    def requests(self, pattern: str = "*") -> int:
        """Count the requests for paths that match a pattern."""
        return sum(fnmatch(one.path, pattern) for one in self.asked)

    def bytes_sent(self, pattern: str = "*") -> int:
        """Sum the bytes of bodies that were sent for paths that match a pattern."""
        return sum(size for path, size in self.sent.items() if fnmatch(path, pattern))

    def forget(self) -> None:
        """Forget what was asked and sent."""
        self.server.tell(self.port, "forget")

    # --- what it holds ---

    def items(self, collection: str) -> list[dict[str, Any]]:
        """List all items of a collection, as the API gives them."""
        return json.loads(json.dumps(self.content.items[collection]).replace("{base}", self.address))

    def size(self, path: str) -> int:
        """Size of a file that is served at a path, in bytes."""
        return len(self.content.files[path])

    def write_catalog(self, folder: Path) -> Path:
        """Write the static catalog with its rasters into a folder, and return its ``catalog.json``."""
        for path, text in self.server.tell(self.port, "documents").items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        rooms = {"/scenes/": "sentinel-2-c1-l2a/", "/s3/copernicus-dem-30m/": "cop-dem-glo-30/"}
        for path, data in self.content.files.items():
            for room, collection in rooms.items():
                file = folder / path.replace(room, collection, 1)
                if path.startswith(room) and file.parent.is_dir():
                    file.write_bytes(data)
        return folder / "catalog.json"

    def chirps_mm(self, day: date) -> float:
        """Rain of a day by CHIRPS: the mean of the simulated gauges."""
        return self.content.chirps_mm(f"{day}")


@contextmanager
def opened(server: Server, content: Any) -> Iterator[World]:
    """Open a world while the block lasts, on a port of its own: GDAL keeps what it has read of an address."""
    world = World(content, server, server.tell(0, "open"))
    yield world
    server.tell(world.port, "close")
