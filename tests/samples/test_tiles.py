"""What a network is fed with: normalisation, orientations and order."""

import copy

import numpy as np
import pytest
import torch

from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.indices.derivatives import aspect_class, slope_aspect_curvature
from coslide.samples.augment import AspectInputs, apply_dihedral, turn_aspect
from coslide.samples.dataset import Raster, TileBatches, Tiles, TileSample
from coslide.samples.encode import Encoder, Moments
from coslide.samples.rasters import MappedArray
from coslide.samples.split import Subset
from coslide.windows import Window


def tiles_of(inputs, labels, windows, *, subsets=None, **options):
    subsets = np.full(labels.shape, Subset.TRAIN, dtype=np.uint8) if subsets is None else subsets
    return Tiles([Raster(inputs, labels, subsets)], [windows], **options)


def numbered(count, groups=0):
    """Tiles that are told apart by their column."""
    raster = Raster(np.zeros((2, 1, count), np.float32), np.zeros((1, count), np.uint8), np.ones((1, count), np.uint8))
    return Tiles([raster], [[Window(0, col, 1, 1) for col in range(count)]], groups=[[k] for k in range(groups)])


def batches_of(tiles, size, *, seed=0, in_order=False, **augment):
    settings = TrainingSettings(seed=seed, optimiser={"batch": size}, augment=augment)
    return TileBatches(tiles, settings, in_order=in_order)


def fed(inputs, where=None, names="ab"):
    """What a network sees of measurements, and their normalisation over the pixels that count."""
    bands = tuple(Band(name, "m") for name in names[: len(inputs)])
    moments = Moments(bands)
    moments.add(inputs, np.ones(inputs.shape[1:], dtype=bool) if where is None else where)
    encoder = Encoder(bands, ("continuous",) * len(bands), (), moments.normalisation())
    return encoder.encode(inputs.copy()), encoder.normalisation


def test_measurements_have_mean_0_and_deviation_1_on_the_training_pixels():
    inputs = np.random.default_rng(0).normal(300, 40, (2, 50, 60)).astype(np.float32)
    where = np.zeros((50, 60), dtype=bool)
    where[:, :30] = True
    seen, _ = fed(inputs, where)
    np.testing.assert_allclose(seen[:, where].mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(seen[:, where].std(1), 1, atol=1e-5)


def test_held_out_pixels_do_not_move_the_normalisation():
    inputs = np.random.default_rng(0).normal(0, 1, (1, 20, 20)).astype(np.float32)
    where = np.zeros((20, 20), dtype=bool)
    where[:10] = True
    _, before = fed(inputs, where)
    inputs[:, 10:] += 1000
    _, after = fed(inputs, where)
    assert before.offset == after.offset


def test_a_missing_value_is_fed_as_the_mean():
    inputs = np.array([[[1.0, 3.0, np.nan]]], dtype=np.float32)
    seen, _ = fed(inputs)
    assert seen[0, 0].tolist() == [-1, 1, 0]


@pytest.mark.parametrize("values", [np.full((1, 4, 4), 7.0), np.full((1, 4, 4), np.nan)])
def test_a_constant_or_empty_channel_becomes_0(values):
    inputs = values.astype(np.float32)
    seen, _ = fed(inputs)
    assert (seen == 0).all()


@pytest.mark.parametrize("orientation", range(8))
def test_turned_aspect_classes_are_those_of_the_turned_terrain(orientation):
    """The witness is the terrain kernel itself, run on the turned elevation."""
    rows, cols = np.mgrid[:40, :40]
    elevation = (50 * np.sin(rows / 7) + 40 * np.cos(cols / 5 + rows / 11)).astype(np.float32)

    def classes(z):
        terrain = slope_aspect_curvature(np.ascontiguousarray(z), 10.0)
        return aspect_class(terrain.aspect_deg, terrain.slope_deg)

    expected = classes(apply_dihedral(elevation, orientation))
    found = turn_aspect(apply_dihedral(classes(elevation), orientation), orientation, last=9)
    assert (found == expected).mean() > 0.995  # at a class edge, the edge itself may fall on the other side


def test_the_eight_views_of_a_tile_are_all_different():
    tile = np.arange(9).reshape(3, 3)
    assert len({apply_dihedral(tile, orientation).tobytes() for orientation in range(8)}) == 8


def test_a_tile_and_its_labels_turn_together():
    inputs = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    labels = (inputs[0] > 1).astype(np.uint8)
    tiles = tiles_of(inputs, labels, [Window(8, 16, 32, 32)])
    for orientation in range(8):
        x, y = tiles[TileSample(0, Window(8, 16, 32, 32), orientation)]
        assert torch.equal(y, (x[0] > 1).long())


def test_a_turned_tile_leaves_the_raster_as_it_was():
    inputs = np.full((1, 32, 32), 3 / 9, dtype=np.float32)
    tiles = tiles_of(
        inputs, np.zeros((32, 32), dtype=np.uint8), [Window(0, 0, 32, 32)], aspect=AspectInputs("ordinal", 0, 9)
    )
    x, _ = tiles[tiles.draws[0]._replace(orientation=1)]
    np.testing.assert_allclose(x, 9 / 9)  # north-east turned left once is north-west
    np.testing.assert_allclose(inputs, 3 / 9)


def test_an_epoch_sees_every_tile_once_in_an_order_of_its_own():
    batches = batches_of(numbered(20), 3, seed=3, flips=True)
    epochs = []
    for epoch in (0, 1, 0):
        batches.sampler.set_epoch(epoch)
        epochs.append(list(batches))
    assert len(batches) == len(epochs[0]) == 7
    assert sorted(draw.window.col for batch in epochs[0] for draw in batch) == list(range(20))
    assert epochs[0] == epochs[2] != epochs[1]


def test_without_augmentation_no_tile_is_turned_and_nothing_dropped():
    draws = [draw for batch in batches_of(numbered(20, groups=2), 4, seed=3) for draw in batch]
    assert {(draw.orientation, draw.dropped, draw.light_seed, draw.counts) for draw in draws} == {(0, (), None, True)}


def test_groups_are_dropped_as_often_as_asked_each_by_itself():
    batches = batches_of(numbered(4000, groups=2), 8, band_dropout=0.25)
    draws = [draw for batch in batches for draw in batch]
    for group in (0, 1):
        assert np.mean([group in draw.dropped for draw in draws]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([draw.dropped == (0, 1) for draw in draws]) == pytest.approx(0.0625, abs=0.02)


def test_a_dropped_group_is_seen_as_the_mean_and_nothing_else_changes():
    inputs = np.ones((3, 16, 16), dtype=np.float32)
    tiles = tiles_of(inputs, np.zeros((16, 16), dtype=np.uint8), [Window(0, 0, 16, 16)], groups=[[0, 2], [1]])
    seen, _ = tiles[tiles.draws[0]._replace(dropped=(0,))]
    assert [float(channel.mean()) for channel in seen] == [0, 1, 0]
    assert (inputs == 1).all()


@pytest.mark.parametrize("sampler", [batches_of(numbered(7), 4, seed=1), batches_of(numbered(7), 4, in_order=True)])
def test_two_processes_share_every_batch_and_fillers_do_not_count(sampler, monkeypatch):
    """Seven tiles in batches of four: the last has three, so one process gets a filler."""
    whole = list(sampler)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("coslide.samples.dataset._place_among_processes", lambda rank=rank: (rank, 2))
        shares.append(list(sampler))
    for batch, first, second in zip(whole, *shares, strict=True):
        assert [draw for draw in first + second if draw.counts] == batch
        assert len(first) == len(second)
    assert sum(not draw.counts for draw in shares[0][-1] + shares[1][-1]) == 1


def test_the_labels_of_a_filler_are_nodata():
    tiles = tiles_of(np.ones((1, 16, 16), np.float32), np.ones((16, 16), np.uint8), [Window(0, 0, 16, 16)])
    assert (tiles[tiles.draws[0]._replace(counts=False)][1] == 255).all()


def test_a_training_tile_shows_neither_labels_nor_inputs_of_held_out_pixels():
    """The left half trains; beyond lie a guard column, whose bands may be seen, validation and test pixels."""
    subsets = np.full((16, 16), Subset.TRAIN, dtype=np.uint8)
    subsets[:, 8], subsets[:, 9:12], subsets[:, 12:] = Subset.GUARD, Subset.VALIDATION, Subset.TEST
    inputs, labels = np.ones((2, 16, 16), dtype=np.float32), np.ones((16, 16), dtype=np.uint8)
    seen, truth = tiles_of(inputs, labels, [Window(0, 0, 16, 16)], subsets=subsets)[TileSample(0, Window(0, 0, 16, 16))]
    assert (seen[:, :, :9] == 1).all()
    assert (seen[:, :, 9:] == 0).all()
    assert (truth[:, :8] == 1).all()
    assert (truth[:, 8:] == 255).all()
    seen, truth = tiles_of(inputs, labels, [Window(0, 0, 16, 16)], subsets=subsets, subset=Subset.VALIDATION)[
        TileSample(0, Window(0, 0, 16, 16))
    ]
    assert (seen == 1).all()
    assert (truth[0] != 255).numpy().nonzero()[0].tolist() == [9, 10, 11]


def test_tiles_of_two_events_come_from_their_own_rasters():
    subsets = np.full((16, 16), Subset.TRAIN, dtype=np.uint8)
    rasters = [Raster(np.full((1, 16, 16), k, np.float32), np.zeros((16, 16), np.uint8), subsets) for k in (1, 2)]
    window = Window(0, 0, 16, 16)
    tiles = Tiles(rasters, [[window], [window, window]])
    assert [float(tiles[draw][0].mean()) for draw in tiles.draws] == [1, 2, 2]


def test_a_mapped_array_goes_to_another_process_without_its_data(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100_000))
    mapped = MappedArray(tmp_path / "a.npy")
    for array in (mapped, copy.deepcopy(mapped)):  # a process that is started gets a copy
        np.testing.assert_array_equal(array[7:9], [7, 8])
        assert vars(array) == {"path": tmp_path / "a.npy"}


def test_moments_of_pieces_are_those_of_the_whole():
    """Any cut gives the mean and deviation of numpy, over pixels that count and have a value."""
    random = np.random.default_rng(0)
    inputs = random.normal(1e4, 3, (2, 50, 40)).astype(np.float32)
    inputs[1, random.random((50, 40)) < 0.3] = np.nan
    where = random.random((50, 40)) < 0.6
    bands = [Band("a", "m"), Band("b", "m")]
    pieces, merged = Moments(bands), Moments(bands)
    for rows in (slice(0, 7), slice(7, 7), slice(7, 50)):
        pieces.add(inputs[:, rows], where[rows])
    for cols in (slice(0, 21), slice(21, 40)):
        half = Moments(bands)
        half.add(inputs[:, :, cols], where[:, cols])
        merged.merge(half)
    for found in (pieces.normalisation(), merged.normalisation()):
        values = [channel[where].astype(np.float64) for channel in inputs]
        np.testing.assert_allclose(found.offset, [np.nanmean(v) for v in values], rtol=1e-7)
        np.testing.assert_allclose(found.scale, [np.nanstd(v) for v in values], rtol=1e-6)
