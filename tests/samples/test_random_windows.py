"""Windows at random places, and radiometric jitter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.samples.augment import Jitter
from coslide.samples.dataset import RandomWindows, Raster, Tiles
from coslide.samples.light import Shade, encode_light
from coslide.samples.split import Subset
from coslide.windows import Window

SIDE = 16


def raster_of(shape=(64, 48), **options):
    subsets = np.full(shape, Subset.TRAIN, dtype=np.uint8)
    subsets[:, 32:] = Subset.TEST
    inputs = np.ones((3, *shape), dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[40:, :8] = 255  # nodata
    return Raster(inputs, labels, subsets, **options)


def batches_of(tiles, *, steps, seed=0, sampling=None, **augment):
    sampling = {"places": "random", "select": "prevalence", "tile": SIDE, "stride": SIDE, **(sampling or {})}
    optimiser = {"batch": 4, "steps": steps}
    settings = TrainingSettings(seed=seed, sampling=sampling, optimiser=optimiser, augment=augment)
    return RandomWindows(tiles, settings)


def windows(rasters, steps=200, **options):
    batches = batches_of(Tiles(rasters, [[] for _ in rasters]), steps=steps, **options)
    return [draw for number in range(20) for draw in drawn(batches, number)]


def drawn(batches, number):
    batches.set_epoch(number)
    return [draw for batch in batches for draw in batch]


def test_windows_lie_inside_the_raster_around_labelled_training_pixels():
    raster = raster_of()
    found = windows([raster])
    assert len(found) == 800
    inside = np.zeros(raster.labels.shape, dtype=int)
    for draw in found:
        rows, cols = draw.window.slices
        assert (rows.start >= 0, rows.stop <= 64, cols.start >= 0, cols.stop <= 48) == (True,) * 4
        inside[rows, cols] += 1
    assert inside[:, 40:].max() == 0  # half a window reaches at most 8 pixels into what is held out
    assert (inside[:, :32] > 0).all()


def test_every_training_pixel_is_in_the_middle_as_often_as_any_other():
    """A long strip: the middles are spread evenly (Kolmogorov-Smirnov distance of 4000 draws, 1.95 / sqrt(n))."""
    raster = Raster(np.ones((1, 16, 1000), np.float32), np.zeros((16, 1000), np.uint8), np.ones((16, 1000), np.uint8))
    middles = np.sort([draw.window.col + 8 for draw in windows([raster], steps=1000)])
    inner = middles[(middles > 8) & (middles < 992)]
    distance = np.abs(inner - 8 - 984 * np.arange(len(inner)) / len(inner)).max() / 984
    assert distance < 1.95 / np.sqrt(len(inner))


def test_events_are_drawn_by_their_training_pixels():
    small, large = raster_of((64, 48)), raster_of((192, 48))
    share = np.mean([draw.raster for draw in windows([small, large], steps=1000)])
    trained = [int(((r.subsets == Subset.TRAIN) & (r.labels != 255)).sum()) for r in (small, large)]
    assert share == pytest.approx(trained[1] / sum(trained), abs=0.03)


def test_events_are_drawn_alike_where_they_are_balanced():
    small, large = raster_of((64, 48)), raster_of((192, 48))
    nothing = Raster(small.inputs, small.labels, np.full(small.subsets.shape, Subset.TEST, np.uint8))
    found = windows([small, nothing, large], steps=1000, sampling={"balance": "events"})
    assert [np.mean([draw.raster == k for draw in found]) for k in range(3)] == pytest.approx([0.5, 0, 0.5], abs=0.03)


def test_a_share_of_the_windows_holds_a_landslide_anywhere_in_them():
    rare = raster_of((64, 64))
    rare.labels[30, 25] = 1
    rare.labels[20, 40] = 1  # held out
    found = windows([raster_of(), rare], steps=1000, sampling={"landslide_windows": 0.3})
    places = np.array([(30 - draw.window.row, 25 - draw.window.col) for draw in found if draw.raster == 1])
    places = places[((places >= 0) & (places < SIDE)).all(axis=1)]
    by_chance = 0.7 / 2 * SIDE**2 / (64 * 32)
    assert len(places) / len(found) == pytest.approx(0.3 + by_chance, abs=0.04)
    for along in places.T:
        assert np.abs(np.bincount(along, minlength=SIDE) / len(places) - 1 / SIDE).max() < 0.03
    with pytest.raises(InputError, match=r"landslide_windows: found 0\.3, expected 0: no training pixel"):
        windows([raster_of()], sampling={"landslide_windows": 0.3})


def test_windows_are_drawn_and_shown_at_other_scales():
    raster = raster_of((64, 64))
    raster.inputs[:] = np.arange(64)[:, np.newaxis]
    tiles = Tiles([raster], [[]], side_px=SIDE)
    draws = [draw for number in range(5) for draw in drawn(batches_of(tiles, steps=200, zoom=0.3), number)]
    sides = np.array([draw.window.height for draw in draws])
    assert {draw.window.height - draw.window.width for draw in draws} == {0}
    assert (sides.min(), sides.max()) == (round(SIDE * np.exp(-0.3)), round(SIDE * np.exp(0.3)))
    assert np.log(sides / SIDE).mean() == pytest.approx(0, abs=0.03)
    large = next(draw for draw in draws if draw.window.height == sides.max())
    seen, labels = tiles[large]
    assert (seen.shape, labels.shape) == ((3, SIDE, SIDE), (SIDE, SIDE))
    expected = large.window.row + np.floor((np.arange(SIDE) + 0.5) * sides.max() / SIDE)
    np.testing.assert_array_equal(seen[0, :, 0], expected)
    where = raster.subsets[0, large.window.col + np.int64(expected) - large.window.row] == Subset.TRAIN
    np.testing.assert_array_equal(labels[0] != 255, where)


def test_background_in_shade_teaches_nothing():
    raster = raster_of()
    raster.labels[:2, :2] = [[0, 1], [0, 1]]
    raster.inputs[:2] = encode_light(np.float32(1))
    raster.inputs[:2, 0] = encode_light(np.float32([0.2, 0.7]))[:, np.newaxis]  # 0.45 on average
    tiles = Tiles([raster], [[Window(0, 0, SIDE, SIDE)]], shade=Shade([0, 1], 0.5))
    assert tiles[tiles.draws[0]][1][:2, :3].tolist() == [[255, 1, 255], [0, 1, 0]]
    brighter = replace(tiles, shade=Shade([0, 1], 0.4))
    assert brighter[brighter.draws[0]][1][:2, :3].tolist() == [[0, 1, 0], [0, 1, 0]]


def test_an_epoch_depends_on_the_seed_and_its_number_alone():
    tiles = Tiles([raster_of()], [[]])

    def make(seed):
        return batches_of(tiles, steps=40, seed=seed, jitter_gain=0.2)

    first, other = drawn(make(1), 3), make(1)
    drawn(other, 0)
    assert drawn(other, 3) == first != drawn(other, 4)
    assert drawn(make(2), 3) != first


def test_what_a_random_window_shows_of_held_out_pixels_is_nothing():
    tiles = Tiles([raster_of()], [[]])
    draws = [draw for draw in windows([raster_of()]) if draw.window.col + SIDE > 34]
    seen, labels = tiles[draws[0]]
    beyond = 32 - draws[0].window.col
    assert (seen[:, :, beyond:] == 0).all()
    assert (labels[:, beyond:] == 255).all()
    assert (seen[:, :, :beyond] == 1).all()


def test_jitter_varies_a_date_by_its_deviations_and_nothing_else():
    jitter = Jitter([[0, 1]], gain=0.2, offset=0.3, band=0.1)
    tiles = [np.array([[[1.0, 0.0]], [[2.0, 0.0]], [[3.0, 3.0]]], dtype=np.float32) for _ in range(4000)]
    for seed, tile in enumerate(tiles):
        jitter.apply(tile, seed)
    seen = np.stack(tiles)
    assert (seen[:, :2, 0, 1] == 0).all()  # a pixel that the date lacks
    assert (seen[:, 2] == 3).all()
    gains = seen[:, 1, 0, 0] - seen[:, 0, 0, 0]  # gain + N(0, 0.1 sqrt 2)
    assert gains.mean() == pytest.approx(np.exp(0.02), abs=0.02)
    assert gains.std() == pytest.approx(np.sqrt(0.208**2 + 2 * 0.01), rel=0.05)
    assert seen[:, 0, 0, 0].std() == pytest.approx(np.sqrt(0.208**2 + 0.09 + 0.01), rel=0.05)


def test_a_sample_has_the_same_jitter_whichever_process_reads_it():
    tiles = Tiles([raster_of()], [[]], lights=[Jitter([[0]], gain=0.2, offset=0.2, band=0.1)])
    draw = windows([raster_of()], jitter_gain=0.2)[0]
    assert draw.light_seed is not None
    assert torch.equal(tiles[draw][0], tiles[draw][0])
    assert not torch.equal(tiles[draw][0], tiles[draw._replace(light_seed=draw.light_seed + 1)][0])
