"""Fixtures: a made-up world and a small server of files on this machine, and a guard against all that is beyond it."""

import importlib.util
import os
import re
import socket
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from coslide.io import http
from coslide.simulate.write import simulate_event
from coslide.sources import bands

LOOPBACK = {"localhost", "127.0.0.1", "::1", ""}


def _load(name):
    """Load a module that lies beside this one."""
    spec = importlib.util.spec_from_file_location(f"acquisition_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


made_up, events, worlds = _load("made_up"), _load("events"), _load("world")


@pytest.fixture(scope="session")
def world_content(tmp_path_factory):
    """What the world serves, from one simulated event."""
    event_file = simulate_event(tmp_path_factory.mktemp("world") / "event", made_up.RECIPE)
    content = made_up.make_content(event_file)
    data = Path(os.environ.get("COSLIDE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    real = data / "loma-prieta-1989"
    events.add_events(content, real if real.is_dir() else None)
    content.write(event_file.parents[1] / "served")
    return content


@pytest.fixture(scope="session")
def world_server(world_content):
    """The program that serves it."""
    server = worlds.Server(world_content.event_file.parents[1] / "served")
    yield server
    server.stop()


@pytest.fixture
def world(world_content, world_server, monkeypatch):
    """A server of its own for each test, to which all settings lead; nothing waits before it asks again."""
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.0)
    monkeypatch.setitem(bands._HTTP_OPTIONS, "GDAL_HTTP_RETRY_DELAY", "0.01")
    with worlds.opened(world_server, world_content) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def trap():
    """A proxy that gives nothing and notes what it is asked for: its port, and the first lines."""
    listening, lines = socket.create_server(("127.0.0.1", 0)), []

    def refuse():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    lines.append(connection.recv(4096).split(b"\r\n")[0].decode("latin-1"))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    continue

    threading.Thread(target=refuse, daemon=True).start()
    yield listening.getsockname()[1], lines
    listening.close()


@pytest.fixture(autouse=True)
def guard(monkeypatch, trap):
    """Fail a test that reaches beyond this machine, by a socket of Python or by a library that knows proxies.

    What was asked for is in the list that it gives; a test that wants it empties the list.
    """
    port, lines = trap
    lines.clear()
    for scheme in ("http", "https", "all"):
        for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper()):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "localhost,127.0.0.1,::1")

    def guarded(name):
        real = getattr(socket.socket, name)

        def connect(self, address):
            if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in LOOPBACK:
                lines.append(f"{name} {address[0]}")
                pytest.fail(f"a socket to {address[0]}:{address[1]} was opened")
            return real(self, address)

        monkeypatch.setattr(socket.socket, name, connect)

    guarded("connect")
    guarded("connect_ex")
    look_up = socket.getaddrinfo

    def known(host, *arguments, **options):
        if host is not None and str(host) not in LOOPBACK:
            lines.append(f"getaddrinfo {host}")
            pytest.fail(f"the address of {host} was asked for")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    yield lines
    assert lines == []


class _Handler(SimpleHTTPRequestHandler):
    """Serves files and parts of them; an address may be given an answer of its own, bytes or a function of the path."""

    def __init__(self, *arguments, known, **options):
        self.known = known
        super().__init__(*arguments, **options)

    def do_GET(self):
        self.known.asked.append(self.path)
        own = self.known.answers.get(self.path.partition("?")[0])
        if own is None:
            path = self.known.folder / self.path.partition("?")[0].lstrip("/")
            own = path.read_bytes() if path.is_file() else None
        if callable(own):
            own = own(self.path)
        if own is None:
            self.send_error(404)
            return
        wanted = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        start, stop = (int(wanted[1]), min(int(wanted[2]) + 1, len(own))) if wanted else (0, len(own))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(own)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(own[start:stop])

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def server(tmp_path):
    """A server: `url`, the `folder` whose files it serves, `answers` by path, and the list of what was `asked`."""
    known = SimpleNamespace(folder=tmp_path / "served", asked=[], answers={})
    known.folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, known=known)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        known.url = f"http://127.0.0.1:{running.server_port}"
        yield known
        running.shutdown()
        thread.join()
