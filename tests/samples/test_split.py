"""Blocks, the split and the tiles taken from it."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.samples.split import (
    Split,
    Subset,
    blocks_of,
    leak_fraction,
    select_tiles,
    shown_to_training,
    split_windows,
)
from coslide.windows import Window, cover, windows_in


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
def test_a_block_split_shares_no_pixel(seed):
    """R34."""
    labels = labels_with_landslides((976, 647))
    split = split_windows(labels, TrainingSettings(seed=seed, split={"block_windows": 2, "test_fraction": 0.33}))
    assert not (cover(split.train, labels.shape) & cover(split.test, labels.shape)).any()
    assert split.leak_fraction == 0


def blocks_in(split, part):
    """How many of the 12 blocks of 976 x 647 pixels belong to a subset, found from the raster of subsets."""
    blocks = blocks_of((976, 647), tile=128, block_px=224)
    return sum((split.subsets[block.slices] == part).all() for block in blocks)


@pytest.mark.parametrize(("fraction", "held_out"), [(0.5, 6), (0.33, 4), (0.25, 3), (0.75, 9), (0.01, 1), (0.99, 11)])
def test_the_wanted_share_of_blocks_is_held_out(fraction, held_out):
    labels = labels_with_landslides((976, 647))
    split = split_windows(labels, TrainingSettings(split={"block_windows": 2, "test_fraction": fraction}))
    assert (blocks_in(split, Subset.TEST), blocks_in(split, Subset.TRAIN)) == (held_out, 12 - held_out)


def test_blocks_with_many_and_with_few_landslides_are_held_out_alike():
    labels = labels_with_landslides((1040, 2080))
    for seed in range(10):
        split = split_windows(labels, TrainingSettings(seed=seed, split={"block_windows": 2}))
        share = [labels[split.subsets == part].mean() for part in (Subset.TRAIN, Subset.TEST)]
        assert abs(share[0] - share[1]) < 0.01


def test_the_seed_decides_the_split():
    labels = labels_with_landslides((976, 647))
    found = [split_windows(labels, TrainingSettings(seed=seed, split={"block_windows": 2})).test for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def paper_labels():
    """1085 = 31 x 35 windows, a landslide in all but those of the lowest row."""
    labels = np.zeros((3008, 3392), dtype=np.uint8)
    labels[:2880:8, ::8] = 1  # 1/64 of the pixels
    return labels


@pytest.mark.parametrize(("split", "leak"), [("paper-random", 0.46), ("paper", 0.03)])
def test_the_papers_samples_leak_nearly_half_at_random_and_little_where_overlapping_ones_stay_together(split, leak):
    """R34: the leak is printed; half of 31 x 35 windows at random share 46 % of their pixels."""
    found = split_windows(paper_labels(), TrainingSettings(split={"scheme": split}, sampling={"select": "prevalence"}))
    assert (len(found.train), len(found.test)) == (543, 542)
    assert found.leak_fraction == pytest.approx(leak, abs=0.015)


@pytest.mark.parametrize("split", ["paper", "paper-random"])
def test_eq_27_holds_for_both_sets_since_it_comes_before_the_split(split):
    labels = paper_labels()
    found = split_windows(labels, TrainingSettings(split={"scheme": split}))
    shares = [(labels[window.slices] == 1).mean() for window in found.train + found.test]
    assert min(shares) > 0.01
    kept = [w for w in windows_in(Window(0, 0, *labels.shape), tile=128, stride=96) if labels[w.slices].mean() > 0.01]
    assert len(kept) < 1085
    assert sorted(found.train + found.test) == sorted(kept)
    assert len(found.test) == round(len(kept) / 2)


def test_samples_that_hang_together_and_fit_are_in_one_set():
    """Three groups of three or four that overlap, far from each other: what is held out lies in one place."""
    labels = np.full((128, 2000), 255, dtype=np.uint8)
    for left in (0, 768, 1536):
        labels[:, left : left + 224] = 1
    settings = TrainingSettings(split={"scheme": "paper", "test_fraction": 0.34}, sampling={"select": "prevalence"})
    for seed in range(5):
        found = split_windows(labels, settings.changed(seed=seed))
        inner = [w.col for w in found.test]
        assert max(inner) - min(inner) <= 3 * 96


def test_the_leak_fraction_of_a_shared_column_is_its_share_of_the_window():
    assert leak_fraction(cover([Window(0, 0, 8, 8)], (8, 16)), [Window(0, 6, 8, 8)]) == pytest.approx(2 / 8)


def test_windows_and_blocks_without_a_labelled_pixel_are_left_out():
    labels = np.full((976, 647), 255, dtype=np.uint8)
    labels[:, :400] = 0
    split = split_windows(labels, TrainingSettings(split={"block_windows": 2, "test_fraction": 0.33}))
    assert blocks_in(split, Subset.TRAIN) + blocks_in(split, Subset.TEST) == 8
    assert all((labels[w.slices] != 255).any() for w in split.train + split.test)


def test_an_area_of_one_block_cannot_be_split():
    with pytest.raises(InputError, match=r"holds 1 block.*lower training.split.block_windows"):
        split_windows(np.zeros((300, 300), dtype=np.uint8), TrainingSettings())


def test_too_few_blocks_for_a_validation_part_are_refused_by_number():
    settings = TrainingSettings(split={"block_windows": 2, "validation_fraction": 0.1})
    with pytest.raises(InputError, match=r"holds 2 block.*expected at least 3 .*one to choose the threshold"):
        split_windows(np.zeros((224, 448), dtype=np.uint8), settings)


def test_validation_blocks_are_taken_from_the_training_blocks():
    labels = labels_with_landslides((976, 647))
    settings = TrainingSettings(seed=3, split={"block_windows": 2, "test_fraction": 0.33})
    plain = split_windows(labels, settings)
    split = split_windows(labels, settings.changed({"split.validation_fraction": 0.25}))
    assert (blocks_in(split, Subset.TEST), blocks_in(split, Subset.VALIDATION), blocks_in(split, Subset.TRAIN)) == (
        4,
        2,
        6,
    )
    np.testing.assert_array_equal(split.subsets == Subset.TEST, plain.subsets == Subset.TEST)
    windows = [cover(of_one, labels.shape) for of_one in (split.train, split.validation, split.test)]
    assert (np.sum(windows, axis=0) <= 1).all()
    assert split.leak_fraction == 0


@pytest.mark.parametrize("guard_px", [1, 20])
def test_no_training_pixel_lies_nearer_to_held_out_pixels_than_the_guard(guard_px):
    """The witness finds the nearest held-out pixel of each training pixel with a tree of points."""
    labels = labels_with_landslides((976, 647))
    settings = TrainingSettings(
        split={"block_windows": 2, "test_fraction": 0.33, "validation_fraction": 0.25, "guard_px": guard_px}
    )
    subsets = split_windows(labels, settings).subsets
    trained = np.argwhere(subsets == Subset.TRAIN)
    for held_out in (Subset.TEST, Subset.VALIDATION):
        nearest, _ = cKDTree(np.argwhere(subsets == held_out)).query(trained)
        assert nearest.min() > guard_px
    assert (
        cKDTree(np.argwhere(subsets == Subset.TEST)).query(np.argwhere(subsets == Subset.VALIDATION))[0].min()
        > guard_px
    )
    assert (subsets == Subset.GUARD).any()


@pytest.mark.parametrize(
    ("side", "held_out"),
    [("north", np.s_[:400, :]), ("south", np.s_[-400:, :]), ("west", np.s_[:, :300]), ("east", np.s_[:, -300:])],
)
def test_a_side_of_the_area_is_held_out(side, held_out):
    settings = TrainingSettings(split={"scheme": "regions", "test_side": side, "test_fraction": 0.5})
    split = split_windows(np.zeros((800, 600), dtype=np.uint8), settings)
    expected = np.full((800, 600), Subset.TRAIN)
    expected[held_out] = Subset.TEST
    np.testing.assert_array_equal(split.subsets, expected)
    assert split.leak_fraction == 0


def test_a_side_narrower_than_a_tile_is_refused():
    with pytest.raises(InputError, match="a share of 0.1 in the east is 60 of 600 pixels, expected at least one tile"):
        split_windows(
            np.zeros((800, 600), dtype=np.uint8), TrainingSettings(split={"scheme": "regions", "test_fraction": 0.1})
        )


def test_windows_across_the_border_of_a_region_show_training_nothing_of_it():
    """A slanted border: tiles cross it, yet no pixel of the test set is shown, so the leak is exactly 0."""
    rows, cols = np.mgrid[:400, :400]
    regions = np.where(rows + cols > 420, Subset.TEST, Subset.TRAIN).astype(np.uint8)
    split = split_windows(
        np.zeros((400, 400), np.uint8), TrainingSettings(split={"scheme": "regions"}), regions=regions
    )
    crossing = [w for w in split.train if (regions[w.slices] == Subset.TEST).any()]
    assert crossing
    assert not (cover(split.train, (400, 400)) & shown_to_training(split.subsets) & (regions == Subset.TEST)).any()
    assert split.leak_fraction == 0


def test_an_event_as_a_whole_trains_or_is_held_out():
    labels = labels_with_landslides((500, 500))
    settings = TrainingSettings(split={"scheme": "events", "block_windows": 1, "validation_fraction": 0.2})
    train = split_windows(labels, settings)
    test = split_windows(labels, settings, role=Subset.TEST)
    assert set(np.unique(train.subsets)) == {Subset.TRAIN, Subset.VALIDATION}
    assert set(np.unique(test.subsets)) == {Subset.TEST}
    assert (not train.test, not test.train, not test.validation) == (True, True, True)


def labels_with_shares(*landslide_pixels):
    labels = np.zeros((16, 16 * len(landslide_pixels)), dtype=np.uint8)
    for i, count in enumerate(landslide_pixels):
        tile = np.zeros(256, dtype=np.uint8)
        tile[:count] = 1
        labels[:, 16 * i : 16 * (i + 1)] = tile.reshape(16, 16)
    return labels


def test_eq_27_keeps_the_tiles_with_more_landslide_than_the_ratio(caplog):
    """Of 256 pixels, 25.6 are a tenth: 25 are less, 26 more; the share before and after is that of the pixels."""
    caplog.set_level("INFO")
    labels = labels_with_shares(0, 25, 26, 200)
    windows = [Window(0, 16 * i, 16, 16) for i in range(4)]
    split = Split(np.full(labels.shape, Subset.TRAIN, dtype=np.uint8), windows, [], [], 0.0)
    rules = {"tile": 16, "stride": 16, "positive_share": 0.1}
    assert select_tiles(split, labels, TrainingSettings(sampling=rules), name="valley") == windows[2:]
    assert "valley: 2 of 4 training tiles have more than 10 % landslide (Eq. 27) and are kept" in caplog.text
    assert f"cover {100 * 226 / 512:.1f} % of them and {100 * 251 / 1024:.1f} % of all" in caplog.text
    everything = TrainingSettings(sampling={**rules, "select": "prevalence"})
    assert select_tiles(split, labels, everything, name="valley") == windows


def test_unlabelled_pixels_and_other_subsets_do_not_count_for_eq_27():
    labels = labels_with_shares(30)
    subsets = np.full(labels.shape, Subset.TRAIN, dtype=np.uint8)
    subsets[:2] = Subset.TEST  # 30 landslide pixels lie in the first two rows
    split = Split(subsets, [Window(0, 0, 16, 16)], [], [], 0.0)
    assert not select_tiles(split, labels, TrainingSettings(sampling={"tile": 16, "stride": 16}), name="valley")
