"""What is read from servers is asked again where that may help, limited, and whole before it takes its name."""

import base64
import datetime as dt
import email.utils
import gzip
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from coslide.errors import InputError
from coslide.io import http
from coslide.io.http import MissingError, Web

BODY = bytes(range(256)) * 800  # 204,800 bytes


class Answer(NamedTuple):
    """What a server answers: the body is cut where `cut` says."""

    body: bytes = b""
    status: int = 200
    headers: dict = {}  # noqa: RUF012 - never written to
    cut: int | None = None


class Server:
    """A server that gives its answers in order, the last one again and again, and notes the requests."""

    def __init__(self):
        self.answers, self.asked, self.lock = [Answer(b"{}")], [], threading.Lock()
        self.respond = None
        handler = type("_Handler", (_Handler,), {"server_of": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads, self.http.block_on_close = True, False
        self.http.handle_error = lambda *_: None  # clients that hang up are what is tested
        self.port, self.scheme = self.http.server_port, "http"
        options = {"kwargs": {"poll_interval": 0.01}, "daemon": True}
        self.thread = threading.Thread(target=self.http.serve_forever, **options)

    def answer(self, *answers):
        self.answers = list(answers)

    def take(self, request):
        with self.lock:
            self.asked.append(request)
            if self.respond is not None:
                return self.respond(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def address(self, path="a.json", user=""):
        return f"{self.scheme}://{user}127.0.0.1:{self.port}/{path}"

    def headers(self, name):
        return [request.headers.get(name) for request in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server_of: Server

    def do_GET(self):
        answer = self.server_of.take(self)
        self.send_response(answer.status)
        for name, value in {"Content-Length": len(answer.body), **answer.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer.body[: answer.cut])

    do_CONNECT = do_GET  # noqa: N815 - the name of the base class

    def log_message(self, *_):
        """Keep quiet."""


def with_ranges(body, version='"one"', cut=None):
    """Answer as a server that knows ranges and versions does."""

    def respond(request):
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if found is None or request.headers.get("If-Range", version) != version:
            return Answer(body, 200, {"ETag": version}, cut)
        start = int(found[1])
        if start >= len(body):
            return Answer(b"", 416, {"Content-Range": f"bytes */{len(body)}"})
        place = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "ETag": version}
        return Answer(body[start:], 206, place, cut)

    return respond


def in_turn(*responds):
    """Give the answer of one after the other, and then of the last."""
    left = list(responds)

    def respond(request):
        return (left.pop(0) if len(left) > 1 else left[0])(request)

    return respond


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is needed to make a certificate")
    path = tmp_path_factory.mktemp("certificate") / "own.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", path, "-out", f"{path}.crt", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)  # noqa: S603
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path, certificate):
    """No proxies and no netrc, no waiting, and one certificate to trust: reading all of a machine takes long."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.0)


@pytest.fixture
def start():
    """Start a server."""
    running = []

    def begin(certificate=None):
        server = Server()
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
            server.scheme = "https"
        server.thread.start()
        running.append(server)
        return server

    yield begin
    for server in running:
        server.http.shutdown()
        server.http.server_close()
        server.thread.join()


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def web():
    with Web(timeout_s=2, tries=3) as opened:
        yield opened


@pytest.fixture
def waits(monkeypatch):
    """The times that are waited, without waiting."""
    found = []
    monkeypatch.setattr(http.time, "sleep", found.append)
    return found


# --- asking again ---


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_asked_again(web, server, status):
    server.answer(Answer(status=status), Answer(status=status), Answer(b"{}"))
    assert web.read(server.address()) == b"{}"
    assert len(server.asked) == 3


def test_what_does_not_pass_is_given_up_after_the_last_try(web, server):
    server.answer(Answer(status=503))
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1:\d+/a\.json: cannot be fetched \(HTTP 503 Service"):
        web.read(server.address())
    assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "error"), [(404, MissingError), (410, MissingError), (204, MissingError)])
def test_what_is_not_there_is_not_asked_for_again(web, server, tmp_path, status, error):
    server.answer(Answer(status=status))
    for read in (web.read, lambda address: web.download(address, tmp_path / "a.json")):
        with pytest.raises(error, match=rf"its server has no such thing, HTTP {status}"):
            read(server.address())
    assert len(server.asked) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [400, 401, 403, 409, 416, 451])
def test_what_a_server_refuses_is_not_asked_for_again(web, server, status):
    server.answer(Answer(status=status))
    with pytest.raises(InputError, match=rf"cannot be fetched \(HTTP {status}"):
        web.read(server.address())
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_the_seconds_that_a_server_asks_for_are_waited(web, server, waits, status):
    server.answer(Answer(status=status, headers={"Retry-After": "7"}), Answer(b"{}"))
    assert web.read(server.address()) == b"{}"
    assert waits == [7]


def test_the_date_that_a_server_names_is_waited_for(web, server, waits):
    then = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=50), usegmt=True)
    server.answer(Answer(status=503, headers={"Retry-After": then}), Answer(b"{}"))
    web.read(server.address())
    assert 45 < waits[0] <= 50


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 1970", "9" * 20]
)
def test_a_time_to_wait_that_is_none_is_not_waited(web, server, waits, text):
    server.answer(Answer(status=503, headers={"Retry-After": text}), Answer(b"{}"))
    assert web.read(server.address()) == b"{}"
    assert waits == [0]


@pytest.mark.parametrize("text", ["121", "86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_asks_to_wait_long_is_left_and_the_user_told(web, server, waits, text):
    server.answer(Answer(status=429, headers={"Retry-After": text}))
    with pytest.raises(InputError, match=r"a\.json: its server asks to come back in \d+ s; run again then"):
        web.read(server.address())
    assert len(server.asked) == 1
    assert waits == []


def test_without_a_time_each_wait_is_about_twice_the_one_before(server, waits, monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 1.0)
    server.answer(*[Answer(status=500)] * 4, Answer(b"{}"))
    with Web(tries=5) as web:
        web.read(server.address())
    for wait, about in zip(waits, (1, 2, 4, 8), strict=True):
        assert 0.75 * about <= wait <= 1.25 * about


def test_a_server_that_is_silent_is_given_up(start):
    server = start()
    server.respond = lambda _: time.sleep(0.5) or Answer(b"{}")
    with Web(timeout_s=0.05, tries=2) as web, pytest.raises(InputError, match="ReadTimeout: its server is silent"):
        web.read(server.address())


def test_a_server_that_is_not_there_is_named(web, start):
    server = start()
    address = server.address()
    server.http.socket.close()
    with pytest.raises(InputError, match=r"a\.json: cannot be fetched \(.*refused"):
        web.read(address)


def test_a_name_that_is_unknown_is_not_asked_for_again(web, waits):
    with pytest.raises(InputError, match="no server of this name is known: .*; is this machine on line?"):
        web.read("http://no-such-name.invalid/a.json")
    assert waits == []


# --- documents ---


def test_a_document_that_is_cut_is_read_again(web, server):
    server.answer(Answer(BODY, cut=1000), Answer(BODY))
    assert web.read(server.address()) == BODY


def test_a_document_that_is_too_large_is_refused(web, server):
    server.answer(Answer(BODY))
    assert web.read(server.address(), largest_bytes=len(BODY)) == BODY
    with pytest.raises(InputError, match=r"a\.json: is larger than 0\.195 MB"):
        web.read(server.address(), largest_bytes=len(BODY) - 1)


def test_documents_that_are_compressed_are_unpacked_and_limited_by_what_comes_out(web, server):
    packed = gzip.compress(bytes(10**7))
    server.answer(Answer(packed, headers={"Content-Encoding": "gzip"}))
    assert "gzip" in (web.read(server.address()) and server.asked[0].headers["Accept-Encoding"])
    with pytest.raises(InputError, match="is larger than"):
        web.read(server.address(), largest_bytes=10**6)


def test_a_document_that_is_not_what_it_says_is_one_line(web, server):
    server.answer(Answer(b"no gzip", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(InputError, match=r"a\.json: cannot be fetched \("):
        web.read(server.address())


def test_a_query_goes_to_the_server_and_into_no_message(web, server):
    server.answer(Answer(b"{}"), Answer(status=403))
    web.read(server.address(), params={"eventid": "us1", "minmagnitude": 6.5})
    assert server.asked[0].path == "/a.json?eventid=us1&minmagnitude=6.5"
    with pytest.raises(InputError) as caught:
        web.read(server.address("a.json?signature=secret"))
    assert "secret" not in str(caught.value)


# --- files ---


def test_a_file_is_whole_and_its_record_tells_no_secret(web, server, tmp_path):
    server.answer(Answer(BODY))
    done = web.download(server.address("a.tif?signature=secret", "me:word@"), tmp_path / "deep" / "a.tif")
    assert done == (server.address("a.tif"), len(BODY), sha256(BODY).hexdigest())
    assert (tmp_path / "deep" / "a.tif").read_bytes() == BODY
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.tif"]


@pytest.mark.parametrize("cut", [1, 1000, 150_000])
def test_a_file_that_is_cut_goes_on_where_it_was_cut(web, server, tmp_path, cut):
    server.respond = in_turn(with_ranges(BODY, cut=cut), with_ranges(BODY))
    assert web.download(server.address(), tmp_path / "a.tif").bytes == len(BODY)
    assert (tmp_path / "a.tif").read_bytes() == BODY
    assert server.headers("Range") == [None, f"bytes={cut}-"]
    assert server.headers("If-Range") == [None, '"one"']


def test_a_file_that_has_changed_begins_anew(web, server, tmp_path):
    server.respond = in_turn(with_ranges(BODY, cut=1000), with_ranges(BODY[::-1], '"two"'))
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("tag", [None, 'W/"one"'])
def test_a_file_whose_version_is_not_told_begins_anew(web, server, tmp_path, tag):
    headers = {} if tag is None else {"ETag": tag}
    server.answer(Answer(BODY, headers=headers, cut=1000), Answer(BODY, headers=headers))
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY
    assert server.headers("Range") == [None, None]


def test_an_interrupted_run_is_completed_by_the_next(web, server, tmp_path):
    server.respond = with_ranges(BODY, cut=1000)
    with pytest.raises(InputError, match=r"a\.json: cannot be fetched"):
        web.download(server.address(), tmp_path / "a.tif")
    assert not (tmp_path / "a.tif").exists()
    server.asked.clear()
    server.respond = with_ranges(BODY)
    web.download(server.address(), tmp_path / "a.tif")
    assert server.headers("Range") == ["bytes=3000-"]  # 1000 at each of three tries
    assert (tmp_path / "a.tif").read_bytes() == BODY


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_a_part_that_is_whole_or_too_long_is_fetched_anew(web, server, tmp_path, extra):
    (tmp_path / ".a.tif.part").write_bytes(BODY + extra)
    (tmp_path / ".a.tif.tag").write_text('"one"')
    server.respond = with_ranges(BODY)
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY
    assert server.headers("Range") == [f"bytes={len(BODY) + len(extra)}-", None]


def test_a_server_that_sends_another_part_than_asked_for_is_not_believed(web, server, tmp_path):
    (tmp_path / ".a.tif.part").write_bytes(BODY[:1000])
    (tmp_path / ".a.tif.tag").write_text('"one"')
    place = {"Content-Range": f"bytes 500-{len(BODY) - 1}/{len(BODY)}", "ETag": '"one"'}
    server.respond = in_turn(lambda _: Answer(BODY[500:], 206, place), with_ranges(BODY))
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY


def test_a_part_never_stands_beside_the_tag_of_another_version(web, server, tmp_path, monkeypatch):
    """The run ends just after the tag was written."""
    (tmp_path / ".a.tif.part").write_bytes(BODY[:1000])
    (tmp_path / ".a.tif.tag").write_text('"one"')
    write = Path.write_text

    def killed(path, *arguments, **options):
        write(path, *arguments, **options)
        raise KeyboardInterrupt

    server.respond = with_ranges(BODY[::-1], '"two"')
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "write_text", killed)
        web.download(server.address(), tmp_path / "a.tif")
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY[::-1]


def test_a_file_that_is_too_large_is_refused(web, server, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_LARGEST_FILE_BYTES", 100_000)
    server.answer(Answer(BODY))
    with pytest.raises(InputError, match="is larger than"):
        web.download(server.address(), tmp_path / "a.tif")
    assert not (tmp_path / "a.tif").exists()


def test_a_file_that_was_there_stays_until_the_new_one_is_whole(web, server, tmp_path):
    (tmp_path / "a.tif").write_bytes(b"old")
    server.answer(Answer(BODY, cut=1000))
    with pytest.raises(InputError):
        web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == b"old"
    server.answer(Answer(BODY))
    web.download(server.address(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == BODY


def test_a_disk_that_is_full_is_told(web, server, small_disk):
    folder = small_disk(64)
    server.answer(Answer(BODY))
    with pytest.raises(InputError, match=r"a\.tif: .*(space|full)"):
        web.download(server.address(), folder / "a.tif")
    assert not (folder / "a.tif").exists()
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_asked(web, server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written"):
        web.download(server.address(), tmp_path / "file" / "a.tif")
    assert server.asked == []


SCRIPT = """
import sys
from pathlib import Path
from coslide.io.http import Web
with Web() as web:
    web.download(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_run_that_is_killed_leaves_nothing_under_the_name_of_the_file(web, server, tmp_path):
    sent, end = threading.Event(), threading.Event()

    def half(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(BODY)))
        request.send_header("ETag", '"one"')
        request.end_headers()
        request.wfile.write(BODY[:100_000])
        request.wfile.flush()
        sent.set()
        end.wait(20)
        return Answer(status=500)

    server.respond = half
    path, part = tmp_path / "a.tif", tmp_path / ".a.tif.part"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, server.address(), path], stderr=subprocess.DEVNULL) as run:  # noqa: S603
        assert sent.wait(20)
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    end.set()
    assert not path.exists()
    begun = part.stat().st_size
    server.respond = with_ranges(BODY)
    web.download(server.address(), path)
    assert path.read_bytes() == BODY
    assert server.headers("Range")[-1] == f"bytes={begun}-"


def test_several_threads_download_at_once(server, tmp_path):
    seen = set()

    def respond(request):
        if request.path in seen:
            return with_ranges(request.path.encode() * 1000)(request)
        seen.add(request.path)
        return Answer(status=503)

    server.respond = respond
    with Web(tries=3) as web, ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(web.download, server.address(f"{n}.tif"), tmp_path / f"{n}.tif") for n in range(24)]
        assert [job.result().bytes for job in jobs] == [1000 * len(f"/{n}.tif") for n in range(24)]
    assert all((tmp_path / f"{n}.tif").read_bytes() == f"/{n}.tif".encode() * 1000 for n in range(24))
    assert len(list(tmp_path.iterdir())) == 24


# --- certificates, proxies, users ---


def test_a_certificate_that_is_trusted_is_no_obstacle(web, start, certificate):
    assert web.read(start(certificate).address()) == b"{}"


def test_a_certificate_that_nobody_vouches_for_is_named_with_a_remedy(start, certificate, monkeypatch, waits):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    with Web() as web, pytest.raises(InputError) as caught:
        web.read(start(certificate).address())
    said = str(caught.value)
    assert "cannot be fetched (its certificate is not trusted: self-signed certificate" in said
    assert "where your network has a certificate of its own, name it in SSL_CERT_FILE" in said
    assert waits == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named(start, monkeypatch, scheme):
    proxy = start()
    proxy.answer(Answer(status=407))
    monkeypatch.setenv(f"{scheme}_proxy", proxy.address("", "me:word@"))
    with Web(tries=2) as web, pytest.raises(InputError, match=r"a\.json: cannot be fetched \(.*407") as caught:
        web.read(f"{scheme}://example.org/a.json")
    assert "word" not in str(caught.value)
    assert proxy.headers("Proxy-Authorization")[0] == f"Basic {base64.b64encode(b'me:word').decode()}"


def test_a_proxy_that_answers_is_used(web, start, monkeypatch):
    proxy = start()
    monkeypatch.setenv("http_proxy", proxy.address(""))
    with Web() as behind:
        assert behind.read("http://example.org/a.json") == b"{}"
    assert proxy.asked[0].path == "http://example.org/a.json"


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(path))
    return path


BASIC = f"Basic {base64.b64encode(b'me:secret').decode()}"


@pytest.mark.usefixtures("netrc")
def test_a_user_of_netrc_is_told_to_its_server_and_to_nobody_else(server, tmp_path, caplog):
    server.answer(Answer(BODY), Answer(status=403))
    with caplog.at_level("DEBUG"), Web() as web:
        done = web.download(server.address(), tmp_path / "a.tif")
        with pytest.raises(InputError) as caught:
            web.read(server.address())
    assert server.headers("Authorization") == [BASIC, BASIC]
    secrets = ("secret", BASIC.split()[1])
    assert not [one for one in secrets for text in (str(done), str(caught.value), caplog.text) if one in text]


@pytest.mark.usefixtures("netrc")
def test_a_user_in_the_address_comes_before_that_of_netrc(server):
    with Web() as web:
        web.read(server.address(user="you:word@"))
    assert server.headers("Authorization") == [f"Basic {base64.b64encode(b'you:word').decode()}"]


@pytest.mark.parametrize("text", ["machine 127.0.0.1 login me pass secret\n", "secret\n", "\x80machine"])
def test_a_netrc_that_cannot_be_read_is_named_without_what_it_holds(netrc, text):
    netrc.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"netrc: cannot be read") as caught:
        Web()
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("netrc")
def test_a_server_that_sends_elsewhere_sends_no_user_along(server, start):
    """Another port is another server; the same one is told again."""
    other = start()
    own, away = ({"Location": one.address("b.json")} for one in (server, other))
    server.answer(Answer(status=302, headers=own), Answer(status=302, headers=away))
    with Web() as web:
        assert web.read(server.address()) == b"{}"
    assert server.headers("Authorization") == [BASIC, BASIC]
    assert other.headers("Authorization") == [None]


def test_a_server_that_sends_round_in_circles_is_given_up(web, server):
    server.answer(Answer(status=302, headers={"Location": server.address()}))
    with pytest.raises(InputError, match=r"a\.json: cannot be fetched \(Exceeded maximum allowed redirects"):
        web.read(server.address())
    assert len(server.asked) < 30


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/a", "file:///etc/hostname"])
def test_a_server_that_sends_to_something_else_is_not_followed(web, server, location):
    server.answer(Answer(status=302, headers={"Location": location}))
    with pytest.raises(InputError, match=r"a\.json: cannot be fetched \(.*protocol"):
        web.read(server.address())
    assert len(server.asked) == 1
