"""Fixtures: a small server of files on this machine."""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest


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
