"""Another process edits a GeoPackage, as QGIS does, with Python's own sqlite3."""

import subprocess
import sys
from contextlib import contextmanager

import geopandas as gpd
import pytest
from shapely.geometry import box

from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.io.databases import as_saved
from coslide.io.paths import with_sidecar_files
from coslide.io.vector import holds_layers, read_vector

CRS = "EPSG:32654"
EDITOR = """
import os, sqlite3, sys
edit = sqlite3.connect(sys.argv[1], isolation_level=None)
edit.execute(f"pragma journal_mode = {sys.argv[2]}")
edit.execute("pragma cache_size = 1"), edit.execute("pragma cache_spill = 1")
for (name,) in edit.execute("select name from sqlite_master where type = 'trigger'").fetchall():
    edit.execute(f'drop trigger "{name}"')
for statement in sys.argv[4:]:
    edit.execute(statement).fetchall()
print("done", flush=True)
if sys.argv[3] == "crash":
    os._exit(0)
sys.stdin.readline()
"""
DELETE = "delete from units where fid > 2"


@contextmanager
def edited(path, mode, end, *statements):
    arguments = [sys.executable, "-c", EDITOR, str(path), mode, end, *statements]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as editor:  # noqa: S603
        assert editor.stdout.readline() == "done\n"
        yield
        editor.communicate("\n")


def squares(path, count=5):
    shapes = [box(10 * i, 0, 10 * i + 5, 5) for i in range(count)]
    table = gpd.GeoDataFrame({"name": ["x" * 3000] * count}, geometry=shapes, crs=CRS)
    table.to_file(path, layer="units", engine="pyogrio", driver="GPKG")
    return path


def files_in(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def count(path):
    return len(read_vector(path, CRS, what="units"))


@pytest.mark.parametrize(
    ("mode", "end", "statements", "right"),
    [
        ("wal", "wait", [DELETE], 2),
        ("wal", "crash", [DELETE], 2),
        ("wal", "wait", ["begin", DELETE], 5),
        ("delete", "crash", ["begin", "update units set name = 'y'", DELETE], 5),
    ],
)
def test_what_was_saved_is_read_and_nothing_is_changed(tmp_path, mode, end, statements, right):
    path = squares(tmp_path / "units.gpkg")
    with edited(path, mode, end, *statements):
        before = files_in(tmp_path)
        assert holds_layers(path)
        assert count(path) == right
        assert files_in(tmp_path) == before


def test_what_an_editor_saved_is_part_of_the_source(tmp_path):
    path = squares(tmp_path / "units.gpkg")
    assert with_sidecar_files(path) == (path,)
    with edited(path, "wal", "wait", DELETE):
        assert [file.name for file in with_sidecar_files(path)] == ["units.gpkg", "units.gpkg-wal"]
    assert with_sidecar_files(path) == (path,)


def test_a_package_that_is_written_all_the_time_is_refused(tmp_path, monkeypatch):
    path, clock = squares(tmp_path / "units.gpkg"), iter(range(1000))
    (tmp_path / "units.gpkg-wal").write_bytes(b"x")
    monkeypatch.setattr("coslide.io.databases._state", lambda _: next(clock))
    monkeypatch.setattr("coslide.io.databases._PAUSE_S", 0)
    with pytest.raises(InputError, match=r"units\.gpkg: is written by another program all the time"), as_saved(path):
        pass


@pytest.mark.parametrize(
    ("mode", "statements"),
    [("wal", [DELETE]), ("wal", ["select * from units"]), ("delete", ["begin immediate", DELETE])],
)
def test_an_output_that_another_program_has_open_is_refused_before_the_block(tmp_path, monkeypatch, mode, statements):
    monkeypatch.setattr("coslide.io.databases._PATIENCE_S", 0)
    path = squares(tmp_path / "units.gpkg")
    with edited(path, mode, "wait", *statements):
        before = files_in(tmp_path)
        refused = pytest.raises(InputError, match=r"units\.gpkg: is open in another program; close it")
        with refused, whole_output(path):
            pytest.fail("the block began")
        assert files_in(tmp_path) == before


def test_an_output_that_is_opened_meanwhile_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("coslide.io.databases._PATIENCE_S", 0)
    path = squares(tmp_path / "units.gpkg")
    with pytest.raises(InputError, match="is open in another program"), whole_output(path) as part:
        squares(part, count=9)
        editor = edited(path, "wal", "wait", DELETE)
        editor.__enter__()
    assert count(path) == 2
    editor.__exit__(None, None, None)
    assert [file.name for file in tmp_path.iterdir()] == ["units.gpkg"]


@pytest.mark.parametrize("there", [True, False])
def test_an_output_takes_the_place_of_what_a_crash_left_too(tmp_path, there):
    path = squares(tmp_path / "units.gpkg")
    with edited(path, "wal", "crash", DELETE):
        pass
    assert (tmp_path / "units.gpkg-wal").exists()
    if not there:
        path.unlink()
    with whole_output(path) as part:
        squares(part, count=9)
    assert count(path) == 9
    assert [file.name for file in tmp_path.iterdir()] == ["units.gpkg"]


def test_the_journal_of_a_killed_attempt_is_removed(tmp_path):
    (tmp_path / ".units.part.gpkg-journal").write_bytes(b"old")
    with whole_output(tmp_path / "units.gpkg") as part:
        assert list(tmp_path.iterdir()) == []
        squares(part)
