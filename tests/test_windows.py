"""Windows over a raster."""

import pytest

from coslide.errors import InputError
from coslide.windows import Window, cover, window_starts, windows_in


def test_windows_start_at_the_bottom_left_and_run_to_the_right_then_up():
    """R33: origin order."""
    found = windows_in(Window(0, 0, 224, 224), tile=128, stride=96)
    assert [(w.row, w.col) for w in found] == [(96, 0), (96, 96), (0, 0), (0, 96)]


@pytest.mark.parametrize("shape", [(128, 128), (129, 300), (500, 225), (417, 416)])
def test_every_pixel_lies_in_a_window_and_every_window_inside(shape):
    """R33: the last row and column are covered."""
    windows = windows_in(Window(0, 0, *shape), tile=128, stride=96)
    assert cover(windows, shape).all()
    assert all(w.row >= 0 and w.col >= 0 and w.row + 128 <= shape[0] and w.col + 128 <= shape[1] for w in windows)


def test_a_raster_of_the_papers_window_count_has_that_many():
    """1085 = 31 x 35 windows of 128 at stride 96 fill 3008 x 3392 pixels (networks: A12)."""
    assert len(windows_in(Window(0, 0, 3008, 3392), tile=128, stride=96)) == 1085


def test_an_area_smaller_than_a_tile_is_refused():
    with pytest.raises(InputError, match="127 x 300 pixels, smaller than one tile of 128 x 128"):
        windows_in(Window(0, 0, 127, 300), tile=128, stride=96)


def test_a_stride_beyond_the_tile_is_a_programming_error():
    with pytest.raises(ValueError, match="stride 200"):
        window_starts(500, 128, 200)
