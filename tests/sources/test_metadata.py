"""Whatever metadata hold, a product is read or refused in one line."""

import importlib.util
import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.io import http
from coslide.io.http import redact_url
from coslide.sources import bands
from coslide.sources.documents import read_document, read_xml
from coslide.sources.products import read_product
from coslide.sources.safe import read_product_metadata

SPEC = importlib.util.spec_from_file_location("safe_files", Path(__file__).with_name("safe_files.py"))
safe_files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(safe_files)

FEW = settings(
    derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD = ["", "\ud800", "\x00", "x" * 5000, "NaN", 10**400, -(10**400), 1e-320, True, None, [], {}, [[{}]], {"a": [1]}]
ANYTHING = st.sampled_from(ODD) | st.text(max_size=9) | st.floats() | st.lists(st.integers(), max_size=2)
SCENE = SceneConfig(products=("https://example.org/item.json",), bands=("B4",))


def one_line(read, *arguments):
    """Call a reader; what it refuses must be one line."""
    said = ""
    try:
        read(*arguments)
    except InputError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1
    assert len(said) <= 2000


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    """A folder with a raster and an item, and the item."""
    folder = tmp_path_factory.mktemp("event")
    red = np.full((120, 120), 1500, dtype=np.uint16)
    safe_files.write_image(folder / "red.tif", red, crs="EPSG:32654", left=600000.0, top=4700040.0, size=10)
    raster = {"scale": 1e-4, "offset": -0.1, "nodata": 0, "spatial_resolution": 10}
    asset = {"href": "red.tif", "roles": ["data"], "eo:bands": [{"name": "B04"}], "raster:bands": [raster], "gsd": 10}
    stated = {"datetime": "2018-09-11T01:26:51Z", "s2:processing_baseline": "05.09", "grid:code": "MGRS-54TWN"}
    stated |= {"s2:product_type": "S2MSI2A", "earthsearch:boa_offset_applied": False}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "collection": "c", "properties": stated}
    return folder, {**item, "links": [], "assets": {"B04": asset}}


def places(value, path=()):
    """List the paths to everything in an item."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inside in inner for place in places(inside, (*path, key)))]


@FEW
@given(data=st.data(), odd=ANYTHING)
def test_an_item_with_anything_in_any_field_is_read_or_refused(event, data, odd):
    folder, item = event
    item = json.loads(json.dumps(item))
    *path, last = data.draw(st.sampled_from([place for place in places(item) if place]))
    table = item
    for key in path:
        table = table[key]
    table[last] = odd
    (folder / "item.json").write_text(json.dumps(item))
    one_line(read_product, folder / "item.json", SCENE, folder)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    values = {"B04": np.full((120, 120), 1500, dtype=np.uint16)}
    return (safe_files.write_safe(tmp_path_factory.mktemp("safe"), values) / "MTD_MSIL2A.xml").read_text()


@FEW
@given(data=st.data(), odd=st.sampled_from(["", "x" * 100_000, "B01_" * 25_000, "NaN", "1e999", "../" * 9, "é\n"]))
def test_metadata_with_anything_in_any_text_or_attribute_are_read_or_refused(tmp_path, metadata, data, odd):
    first, last = data.draw(st.sampled_from(["><", '""'])), None
    starts = [i for i, letter in enumerate(metadata) if letter == first[0] and i > 60]
    start = data.draw(st.sampled_from(starts)) + 1
    last = metadata.find(first[1], start)
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_text(metadata[:start] + odd + metadata[max(last, start) :], encoding="utf-8")
    one_line(read_product_metadata, path)


@FEW
@given(length=st.integers(0, 2000), encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-8-sig"]))
def test_metadata_that_end_early_are_refused_in_any_encoding(tmp_path, metadata, length, encoding):
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_bytes(metadata[:length].encode(encoding))
    with pytest.raises(InputError, match="is not XML"):
        read_xml(path)


def test_metadata_in_utf_16_are_read(tmp_path, metadata):
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_bytes(metadata.replace('encoding="UTF-8"', 'encoding="UTF-16"').encode("utf-16"))
    assert read_product_metadata(path).baseline == "05.09"


@pytest.mark.parametrize(
    "address",
    [
        "http://", "http:///a.json", "http://a b/c.json", "http://[::1", "http://127.0.0.1:99999/a", "http://127.0.0.1:x/a",
        "http://a..b/c.json", "ftp://127.0.0.1/a.json", "file:///etc/hostname", "http://127.0.0.1:9/a b", "http://é/a",
        "http://user:secret@127.0.0.1:9/a.json", "http://user:secret@[::1/a.json", f"http://{'a' * 300}/b.json",
    ],
)  # fmt: skip
def test_odd_addresses_are_refused_without_their_secrets(monkeypatch, address):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.0)
    with pytest.raises(InputError) as caught:
        read_document(address)
    assert "secret" not in str(caught.value)
    assert "secret" not in redact_url(address)


@pytest.fixture
def answering():
    """Start servers that answer each request with `parts`, after pauses; give their address and what was asked."""
    with ExitStack() as stack:

        def start(*parts, pause_s=0.0):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            asked = []

            def answer():
                with suppress(OSError):  # the end of the test closes what it listens to
                    while True:
                        with listening.accept()[0] as connection, suppress(OSError):
                            asked.append(connection.recv(4096))
                            for part in parts:
                                time.sleep(pause_s)
                                connection.sendall(part)

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return f"http://user:word@127.0.0.1:{listening.getsockname()[1]}/item.json", asked

        yield start


@pytest.mark.parametrize(
    "address",
    [
        "http:/user:secret@127.0.0.1:9/i.json", "HTTP://user:secret@h/i.json?k=secret", "ftp://user:secret@h/i.json",
        " http://user:secret@h/i.json", "//user:secret@h/i.json", "/event/user:secret@h/i.json", "s3://user:secret@b/i.json",
        "http:\\\\user:secret@h/i.json", "/vsicurl/http:/user:secret@h/i.json", "/event/http:/user:secret@h:9/i.json",
        "http://user:sec/secret@h/a", "https://secret@h/a",
    ],
)  # fmt: skip
def test_no_error_repeats_the_secret_of_an_address_however_odd(address):
    said = str(InputError(f"event.toml: dem.path: {address}: does not exist"))
    assert "secret" not in said
    assert said.startswith("event.toml: dem.path: ")
    assert said.endswith(": does not exist")


def test_addresses_without_secrets_are_shown_as_they_are():
    said = "http://127.0.0.1:9/tiles/@2x/a.tif: is missing; see https://example.org/a and /data/a@b/c.tif, D:/a?b"
    assert str(InputError(said)) == said
    for path in (r"C:\me@host\dem.tif", "D:/me@host/a?b=c.tif", "write to me@example.org", "/data/a#b@c?d=e.tif"):
        assert str(InputError(f"{path}: is missing")) == f"{path}: is missing"


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([OK + b"Content-Length: 99\r\n\r\n{}"], r"received 2 bytes, expected 99"),
        ([b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n"], "unsupported protocol|missing an"),
        ([b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/a\r\n\r\n"], "unsupported protocol"),
        ([b"nonsense\r\n"], "illegal status line|without sending"),
    ],
)
def test_what_a_server_does_wrong_is_one_line(answering, monkeypatch, parts, reason):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.0)
    with pytest.raises(InputError, match=rf"item\.json: cannot be fetched \(.*({reason})"):
        read_document(answering(*parts)[0])


@pytest.mark.parametrize("head", [OK + b"\r\n", b""])
def test_a_server_that_never_ends_is_given_up(answering, monkeypatch, head):
    """Each byte comes in time, in the head of the answer or after it."""
    monkeypatch.setattr(http, "LONGEST_ANSWER_S", 0.3)
    address, _ = answering(head, *[b"x"] * 40, pause_s=0.05)
    with pytest.raises(InputError, match=r"cannot be fetched \(not whole after 0\.3 s\)"):
        read_document(address)


def test_a_server_of_a_raster_that_never_ends_is_given_up(answering, monkeypatch):
    """A byte comes now and then, for ever; GDAL would wait for half a minute, and ask again."""
    monkeypatch.setitem(bands._HTTP_OPTIONS, "GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setattr(bands, "_SLOWEST_S", 1)
    address, _ = answering(OK, *[b"X"] * 100, pause_s=0.1)
    address = address.replace("item.json", "B04.tif?signature=secret")
    with (
        pytest.raises(InputError, match=r"B04\.tif: cannot be read as a raster \(its server sends nothing, or less"),
        bands.open_band(address, "GTiff"),
    ):
        pass


def test_a_user_in_an_address_is_told_to_its_server(answering):
    address, asked = answering(OK + b"Content-Length: 2\r\n\r\n{}")
    assert read_document(address) == b"{}"
    assert b"Authorization: Basic dXNlcjp3b3Jk" in asked[0]


def test_html_instead_of_an_item_is_named(tmp_path):
    (tmp_path / "item.json").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(InputError, match=r"is not a STAC item \(found HTML or XML\)"):
        read_product(tmp_path / "item.json", SCENE, tmp_path)
