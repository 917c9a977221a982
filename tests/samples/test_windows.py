"""Windows, blocks and the split."""

import numpy as np
import pytest

from coslide.errors import InputError
from coslide.samples.split import blocks_of, leak_fraction, split_windows
from coslide.samples.windows import Window, cover, window_starts, windows_in
from coslide.settings import TrainingSettings


def test_windows_start_at_the_bottom_left_and_run_to_the_right_then_up():
    """R33: origin order."""
    found = windows_in(Window(0, 0, 224, 224), tile=128, stride=96)
    assert [(w.row, w.col) for w in found] == [(96, 0), (96, 96), (0, 0), (0, 96)]


@pytest.mark.parametrize("shape", [(128, 128), (129, 300), (500, 225), (417, 416)])
def test_every_cell_lies_in_a_window_and_every_window_inside(shape):
    """R33: the last row and column are covered."""
    windows = windows_in(Window(0, 0, *shape), tile=128, stride=96)
    assert cover(windows, shape).all()
    assert all(w.row >= 0 and w.col >= 0 and w.row + 128 <= shape[0] and w.col + 128 <= shape[1] for w in windows)


def test_a_raster_of_the_papers_window_count_has_that_many():
    """1085 = 31 x 35 windows of 128 at stride 96 fill 3008 x 3392 cells (networks: A12)."""
    assert len(windows_in(Window(0, 0, 3008, 3392), tile=128, stride=96)) == 1085


def test_an_area_smaller_than_a_tile_is_refused():
    with pytest.raises(InputError, match="127 x 300 cells, smaller than one tile of 128 x 128"):
        windows_in(Window(0, 0, 127, 300), tile=128, stride=96)


def test_a_stride_beyond_the_tile_is_a_programming_error():
    with pytest.raises(ValueError, match="stride 200"):
        window_starts(500, 128, 200)


@pytest.mark.parametrize("shape", [(976, 647), (416, 416), (128, 2000), (831, 1249)])
def test_blocks_cover_the_raster_once_and_hold_a_tile(shape):
    times = np.zeros(shape, dtype=int)
    for block in blocks_of(shape, tile=128, block_px=224):
        times[block.slices] += 1
        assert min(block.height, block.width) >= 128
    assert (times == 1).all()


def labels_with_landslides(shape, seed=0):
    random = np.random.default_rng(seed)
    gradient = np.linspace(0, 0.2, shape[1])
    return (random.random(shape) < gradient).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_block_split_shares_no_cell(seed):
    """R34."""
    labels = labels_with_landslides((976, 647))
    split = split_windows(labels, TrainingSettings(block_windows=2, test_fraction=0.33, seed=seed))
    assert not (cover(split.train, labels.shape) & cover(split.test, labels.shape)).any()
    assert leak_fraction(split.train, split.test, labels.shape) == 0


@pytest.mark.parametrize(("fraction", "held_out"), [(0.5, 6), (0.33, 4), (0.25, 3), (0.75, 9), (0.01, 1), (0.99, 11)])
def test_the_wanted_share_of_blocks_is_held_out(fraction, held_out):
    labels = labels_with_landslides((976, 647))
    split = split_windows(labels, TrainingSettings(block_windows=2, test_fraction=fraction))
    assert (len(split.test_area), len(split.train_area)) == (held_out, 12 - held_out)


def test_blocks_with_many_and_with_few_landslides_are_held_out_alike():
    labels = labels_with_landslides((1040, 2080))
    for seed in range(10):
        split = split_windows(labels, TrainingSettings(block_windows=2, seed=seed))
        share = [np.mean([labels[b.slices].mean() for b in area]) for area in (split.train_area, split.test_area)]
        assert abs(share[0] - share[1]) < 0.01


def test_the_seed_decides_the_split():
    labels = labels_with_landslides((976, 647))
    found = [split_windows(labels, TrainingSettings(block_windows=2, seed=seed)).test_area for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_a_random_split_of_the_papers_windows_leaks_nearly_half_of_the_held_out_ground():
    """R34: the leak of the paper's way is printed; half of 31 x 35 windows at random share 46 % of their ground."""
    labels = np.zeros((3008, 3392), dtype=np.uint8)
    split = split_windows(labels, TrainingSettings(split="paper-random"))
    assert (len(split.train), len(split.test)) == (543, 542)
    assert leak_fraction(split.train, split.test, labels.shape) == pytest.approx(0.46, abs=0.01)


def test_the_leak_fraction_of_a_shared_column_is_its_share_of_the_window():
    assert leak_fraction([Window(0, 0, 8, 8)], [Window(0, 6, 8, 8)], (8, 16)) == pytest.approx(2 / 8)


def test_windows_and_blocks_without_a_known_cell_are_left_out():
    labels = np.full((976, 647), 255, dtype=np.uint8)
    labels[:, :400] = 0
    split = split_windows(labels, TrainingSettings(block_windows=2, test_fraction=0.33))
    assert len(split.train_area) + len(split.test_area) == 8
    assert all((labels[w.slices] != 255).any() for w in split.train + split.test)


def test_an_area_of_one_block_cannot_be_split():
    with pytest.raises(InputError, match=r"holds 1 block.*lower training.block_windows"):
        split_windows(np.zeros((300, 300), dtype=np.uint8), TrainingSettings())
