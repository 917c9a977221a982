"""Rows of a map that outlive the process that makes it."""

import numpy as np
import pytest

from coslide.io.resumable_raster import ResumableRaster


def test_rows_written_in_any_order_are_found_again(tmp_path):
    rows = np.random.default_rng(0).random((2, 30, 7), dtype=np.float32)
    store = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a")
    for start, stop in ((20, 30), (0, 5), (5, 9)):
        store.write(start, rows[:, start:stop])
    again = ResumableRaster(tmp_path / "rows", (30, 7), layers=2, key="a")
    assert again.missing() == [(9, 20)]
    for part in (slice(20, 30), slice(0, 9)):
        np.testing.assert_array_equal(again.read(part), rows[:, part])


@pytest.mark.parametrize("name", ["map.json", "rows.bin", "done.bin"])
def test_a_store_that_lacks_a_file_is_made_anew(tmp_path, name):
    ResumableRaster(tmp_path / "rows", (30, 7)).write(0, np.ones((1, 30, 7), np.float32))
    (tmp_path / "rows" / name).unlink()
    assert ResumableRaster(tmp_path / "rows", (30, 7)).missing() == [(0, 30)]


@pytest.mark.parametrize(("start", "shape"), [(25, (2, 10, 7)), (0, (1, 5, 7)), (0, (2, 5, 8))])
def test_rows_that_do_not_fit_are_refused(tmp_path, start, shape):
    with pytest.raises(ValueError, match="expected rows of a map of 2 x 30 x 7"):
        ResumableRaster(tmp_path / "rows", (30, 7), layers=2).write(start, np.ones(shape, np.float32))
