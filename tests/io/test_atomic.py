"""Outputs that appear whole or not at all, and rows of a map that outlive the process that makes it."""

import errno
import hashlib
import os
import re
import resource
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from coslide.errors import InputError
from coslide.io.atomic import (
    Marker,
    link_or_copy,
    report_write_errors,
    sha256,
    whole_output,
    write_json,
)
from coslide.io.resumable import ResumableRaster


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "scores.txt"
    with whole_output(path) as part:
        part.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"


def test_an_error_leaves_the_old_file_and_no_half(tmp_path):
    path = tmp_path / "scores.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="broken"), whole_output(path) as part:
        part.write_text("new")
        raise RuntimeError("broken")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("scores.txt", "old")]


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "model"
    for text in ("old", "new"):
        with whole_output(path, marker=Marker("model.json", "key")) as part:
            part.mkdir()
            (part / "model.json").write_text(f"key {text}")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (path / "model.json").read_text() == "key new"


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(InputError, match="is a folder that holds something else"),
        whole_output(tmp_path, marker=Marker("thesis.txt", "coslide")),
    ):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_replacement_killed_between_its_two_steps_is_undone(tmp_path):
    path = tmp_path / "model"
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "model.json").touch()
    with pytest.raises(RuntimeError), whole_output(path, marker=Marker("model.json", "key")):
        raise RuntimeError("broken")
    assert [p.name for p in path.iterdir()] == ["model.json"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "notes").touch()
    with (
        pytest.raises(InputError, match="is a file or a link"),
        whole_output(tmp_path / "notes", marker=Marker("a", "b")),
    ):
        pass


def test_a_read_only_disk_is_one_line_for_the_user(tmp_path, monkeypatch):
    def read_only(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(InputError, match="cannot be written .Read-only"), whole_output(tmp_path / "a" / "b" / "c.txt"):
        pass


def test_a_file_that_is_rewritten_in_the_same_size_gets_a_new_hash(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = sha256(path)
    path.write_text("two")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert (first, sha256(path)) == tuple(hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))


def test_the_hash_of_a_folder_changes_with_any_of_its_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    first = sha256(tmp_path)
    (tmp_path / "b").write_text("c")
    assert sha256(tmp_path) != first


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_is_linked_where_the_file_system_has_links_and_copied_elsewhere(tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    (tmp_path / "layer" / "0").mkdir(parents=True)
    (tmp_path / "layer" / "0" / "0.0").write_text("x")
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    link_or_copy(tmp_path / "layer", tmp_path / "new")
    assert (tmp_path / "new" / "0" / "0.0").read_text() == "x"
    assert (tmp_path / "new" / "0" / "0.0").samefile(tmp_path / "layer" / "0" / "0.0") == links


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "cube.zarr"
    with whole_output(path) as part:
        name = part.name
        part.mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "left over").touch()
    with whole_output(path) as part:
        assert not part.exists()
        part.mkdir()
    assert not any(path.iterdir())


def test_a_folder_that_still_grows_while_it_is_removed_is_removed_in_the_end(tmp_path):
    """Writers with threads of their own add files for a moment after they have failed."""

    def grow(folder):
        for i in range(200):
            with suppress(OSError):
                (folder / str(i)).touch()

    with pytest.raises(RuntimeError, match="broken"), whole_output(tmp_path / "cube.zarr") as part:
        part.mkdir()
        writer = threading.Thread(target=grow, args=[part])
        writer.start()
        raise RuntimeError("broken")
    writer.join()
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_one_line_for_the_user(tmp_path):
    with pytest.raises(InputError, match="the disk is full"), whole_output(tmp_path / "a.bin") as part:
        part.touch()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["absolute", "relative"])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the quota of the disk is used up"),
        (errno.EFBIG, "larger than a file may be here"),
        (errno.EACCES, r"cannot be written \(Permission denied\); choose another place"),
        (errno.EROFS, r"cannot be written \(Read-only file system\); choose another place"),
        (errno.ENAMETOOLONG, r"cannot be written \(File name too long\); choose a shorter name"),
    ],
)
def test_what_keeps_an_output_from_being_written_is_said_as_it_is(tmp_path, monkeypatch, number, said, place):
    monkeypatch.chdir(tmp_path)
    path = Path("a.bin") if place == "relative" else tmp_path / "a.bin"
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: .*{said}"), report_write_errors(path):
        raise OSError(number, os.strerror(number), str(tmp_path / ".a.part.bin"))


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_the_error_of_an_input_beside_the_output_is_not_said_of_the_output(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = Path("map") if place == "relative" else tmp_path / "map"
    with pytest.raises(PermissionError), report_write_errors(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "dem.tif"))


def test_a_full_disk_elsewhere_is_said_of_that_place(tmp_path):
    with pytest.raises(InputError, match="^/elsewhere/tmp1: the disk is full"), report_write_errors(tmp_path / "map"):
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere/tmp1")


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_a_name_that_is_too_long_is_one_line_for_the_user(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = Path(f"{'a' * 300}.json") if place == "relative" else tmp_path / f"{'a' * 300}.json"
    with pytest.raises(InputError, match="File name too long.*choose a shorter name"):
        write_json(path, {})


def test_a_path_below_a_file_is_one_line_for_the_user(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), whole_output(tmp_path / "file" / "scores.txt"):
        pass


def test_a_disk_that_really_fills_leaves_nothing_behind(small_disk):
    folder = small_disk(256)
    with pytest.raises(InputError, match="the disk is full"), whole_output(folder / "a.bin") as part:
        part.write_bytes(bytes(2**20))
    assert not any(folder.iterdir())


def test_a_file_that_may_not_grow_is_told_from_another_error_of_a_library_that_hides_the_cause(tmp_path):
    """As with SQLite and torch beyond a quota, or 4 GB on a FAT disk, whatever is free."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, allowed[1]))
    try:
        with pytest.raises(InputError, match="larger than a file may be"), whole_output(tmp_path / "a.gpkg") as part:
            part.write_bytes(bytes(2**21))
            raise RuntimeError("failed to commit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    with pytest.raises(RuntimeError, match="failed to commit"), whole_output(tmp_path / "a.gpkg") as part:
        part.write_bytes(bytes(2**21))
        raise RuntimeError("failed to commit")
    assert not list(tmp_path.iterdir())


def test_rows_written_in_any_order_are_found_again(tmp_path):
    rows = np.random.default_rng(0).random((2, 30, 7), dtype=np.float32)
    store = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a")
    for start, stop in ((20, 30), (0, 5), (5, 9)):
        store.write(start, rows[:, start:stop])
    again = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a")
    assert again.missing() == [(9, 20)]
    for part in (slice(20, 30), slice(0, 9)):
        np.testing.assert_array_equal(again.read(part), rows[:, part])


def test_rows_of_another_map_are_thrown_away(tmp_path):
    ResumableRaster(tmp_path / "rows", (30, 7), key="a").write(0, np.ones((1, 30, 7), np.float32))
    for shape, layers, key in (((30, 7), 1, "b"), ((7, 30), 1, "a"), ((30, 7), 2, "a"), ((30, 7), 1, "a")):
        store = ResumableRaster(tmp_path / "rows", shape, layers=layers, key=key)
        assert store.missing() == [(0, shape[0])]
        assert len([*(tmp_path / "rows").iterdir()]) == 1


def test_a_store_whose_making_was_killed_is_completed(tmp_path):
    """The disk space is reserved after the file has its name."""
    ResumableRaster(tmp_path / "rows", (30, 7))
    (path,) = (tmp_path / "rows").iterdir()
    whole = path.stat().st_size
    os.truncate(path, 100)
    store = ResumableRaster(tmp_path / "rows", (30, 7))
    assert (path.stat().st_size, store.missing()) == (whole, [(0, 30)])


@pytest.mark.parametrize(("start", "shape"), [(25, (2, 10, 7)), (0, (1, 5, 7)), (0, (2, 5, 8))])
def test_rows_that_do_not_fit_are_refused(tmp_path, start, shape):
    with pytest.raises(ValueError, match="expected rows of a map of 2 x 30 x 7"):
        ResumableRaster(tmp_path / "rows", (30, 7), layers=2).write(start, np.ones(shape, np.float32))


@pytest.mark.parametrize("damage", ["cut", "a value", "a mark", "NaN", "of another version"])
def test_rows_that_are_damaged_are_computed_again(tmp_path, damage):
    store = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a")
    store.write(0, np.random.default_rng(0).random((2, 30, 7), dtype=np.float32))
    assert store.missing() == []
    (path,) = (tmp_path / "rows").iterdir()
    content = np.frombuffer(path.read_bytes(), np.uint32).copy()
    if damage == "cut":
        content = content[: 30 + 7 * 30 + 7 * 12]  # of the second layer
    elif damage == "a value":
        content[30 + 7 * 12] ^= 1
    elif damage == "NaN":
        content[30:].view(np.float32)[:] = np.nan
    else:
        content[12 if damage == "a mark" else slice(0, 30)] = 1
    path.write_bytes(content.tobytes())
    again = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a").missing()
    expected = {"cut": [(12, 30)], "a value": [(12, 13)], "a mark": [(12, 13)]}
    assert again == expected.get(damage, [(0, 30)])
