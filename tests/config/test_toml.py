"""Event files as editors of all systems save them, and as nobody writes them."""

import codecs
import time

import pytest

from coslide.config.event import read_event
from coslide.config.toml import parse_toml, read_toml
from coslide.config.training import TrainingSettings
from coslide.errors import InputError


@pytest.mark.parametrize(
    "content", [codecs.BOM_UTF8 + b'a = "\xc3\xa9"', b'a = "\xc3\xa9"\r\n', b"a = '\xc3\xa9' # [[["]
)
def test_a_file_of_any_editor_in_utf_8_is_read(tmp_path, content):
    (tmp_path / "event.toml").write_bytes(content)
    assert read_toml(tmp_path / "event.toml") == {"a": "é"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('name = "a"'.encode("utf-16"), "is no text in UTF-8"),
        ('name = "a"'.encode("utf-16-le"), "is no text in UTF-8"),
        (b'name = "a"\nid = "\xe9"', "line 2 is no text in UTF-8"),
        (b"a = " + b"[" * 500, "nested deeper"),
        (b"a = " + b"{a=" * 500, "nested deeper"),
        (b"a." * 100_000 + b"a = 1", "nested deeper"),
        (b"[" + b'"a" . ' * 100_000 + b"a]", "nested deeper"),
        (b'"\\' * 400_000, "not a TOML file"),
        (b"a = " + b"1" * 5000, "Exceeds the limit (4300 digits))"),
        (b"\n".join(b"k%d = 1" % i for i in range(200_000)), "larger than 1 MB"),
    ],
)
def test_a_file_that_nobody_writes_is_refused_at_once(tmp_path, content, message):
    (tmp_path / "event.toml").write_bytes(content)
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        read_event(tmp_path / "event.toml")
    assert time.monotonic() - started < 5
    assert message in str(refused.value)


def test_brackets_and_dots_in_strings_and_comments_are_no_depth():
    text = f'a = "{"[" * 50}" # {"[" * 50}\nb = \'{"." * 50}\'\nc = """{"{" * 50}"""\nd = [{", ".join(["1.5"] * 50)}]'
    assert list(parse_toml(text)) == ["a", "b", "c", "d"]


def test_a_name_is_one_line_wherever_it_is_shown(made_up_event):
    text = made_up_event.read_text().replace("Made-up earthquake", r"Made-up\n\u001b[2Jearthquake " + "x" * 3000)
    path = made_up_event.with_name("named.toml")
    path.write_text(text)
    name = read_event(path).name
    path.unlink()
    assert name.startswith(r"Made-up \x1b[2Jearthquake xx")
    assert len(name) == 2000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("magnitude = 1e308", "magnitude: found 1e+308"),
        ("time_utc = 0001-01-01T00:00:00+14:00", "time_utc: found the year 1, expected 1900 to 2200"),
        (f'rain = {{ raster = "{"x" * 300}", unit = "mm" }}', "File name too long"),
    ],
)
def test_a_value_out_of_this_world_is_refused(made_up_event, line, message):
    path = made_up_event.with_name("odd.toml")
    path.write_text(f"{line}\n{made_up_event.read_text()}")
    with pytest.raises(InputError) as refused:
        read_event(path)
    path.unlink()
    assert message in str(refused.value)


@pytest.mark.parametrize("name", ["optimiser.epochs", "optimiser.batch", "members", "width", "sampling.tile", "seed"])
def test_a_setting_has_an_end(name):
    with pytest.raises(InputError, match=f"{name}: found 10000"):
        TrainingSettings().changed({name: 10**30})


def test_a_setting_cannot_lie_deeper_than_any():
    with pytest.raises(InputError, match="unknown key|expected"):
        TrainingSettings().changed({"a." * 50_000 + "a": 1})
