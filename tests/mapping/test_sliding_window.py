"""Blending is checked with predictors of a given answer, and against a whole-array reference in float64."""

import time
import tracemalloc
import weakref

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from coslide.mapping.sliding_window import TilingOptions, predict_rows

SHAPES = [(5, 7), (1, 1), (1, 40), (40, 1), (16, 16), (16, 61), (61, 16), (17, 33), (64, 48), (50, 71), (300, 5)]
GRID = GeoBox((70, 90), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")


def collect(rows):
    return np.concatenate([block for _, block in rows], axis=1)


def predict_scene(*scene, **options):
    (found,) = collect(predict_rows(*scene, **options))
    return found


def random_scene(shape, bands=2, seed=0):
    return np.random.default_rng(seed).random((bands, *shape), dtype=np.float32)


def reader(scene, valid=None):
    valid = np.ones(scene.shape[1:], bool) if valid is None else valid
    return lambda start, stop: (scene[:, start:stop], valid[start:stop])


def first_band(tiles):
    return tiles[:, :1]


def by_place(tiles):
    """Depend on the place inside the tile and on the tile's mean, so that weights and windows matter."""
    size = tiles.shape[-1]
    ramp = np.add.outer(np.arange(size), 3 * np.arange(size)) / (4 * size)
    return ((ramp + tiles.mean(axis=(1, 2, 3))[:, None, None]) / 2)[:, None]


def reference(scene, predict, tile, stride):
    """Blend in float64 with whole arrays and the definition of a weighted mean."""
    _, height, width = scene.shape
    padded = np.pad(scene, ((0, 0), (0, max(tile - height, 0)), (0, max(tile - width, 0))), mode="reflect")
    rows, cols = padded.shape[1:]
    tops = sorted({*range(0, rows - tile + 1, stride), rows - tile})
    lefts = sorted({*range(0, cols - tile + 1, stride), cols - tile})
    weight_1d = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(tile) + 0.5) / tile)
    weight = weight_1d[:, None] * weight_1d[None, :]
    total, weights = np.zeros((rows, cols)), np.zeros((rows, cols))
    for top in tops:
        for left in lefts:
            window = np.s_[top : top + tile, left : left + tile]
            total[window] += weight * predict(padded[:, window[0], window[1]][None])[0, 0]
            weights[window] += weight
    return (total / weights)[:height, :width]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [5, 8, 16])
def test_a_predictor_that_repeats_its_input_gives_the_scene_back_up_to_the_rim(shape, stride):
    """R35: a mosaic of identical tiles is the raster."""
    scene = random_scene(shape)
    probability = predict_scene(reader(scene), first_band, shape, tiling=TilingOptions(16, stride, 3))
    np.testing.assert_allclose(probability, scene[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [5, 8, 16])
def test_blending_equals_the_whole_array_reference(shape, stride):
    scene = random_scene(shape)
    probability = predict_scene(reader(scene), by_place, shape, tiling=TilingOptions(16, stride, 3))
    np.testing.assert_allclose(probability, reference(scene, by_place, 16, stride), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [3, 8])
def test_the_batch_does_not_change_the_result(batch):
    scene = random_scene((50, 71))
    one = predict_scene(reader(scene), by_place, (50, 71), tiling=TilingOptions(16, 8, 1))
    many = predict_scene(reader(scene), by_place, (50, 71), tiling=TilingOptions(16, 8, batch))
    np.testing.assert_allclose(many, one, rtol=0, atol=1e-7)  # the mean of a batch is summed in another order


def test_no_batch_is_larger_than_asked():
    sizes = []

    def predict(tiles):
        sizes.append(len(tiles))
        return first_band(tiles)

    predict_scene(reader(random_scene((16, 71))), predict, (16, 71), tiling=TilingOptions(16, 8, 3))
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_predictor_gives_exactly_the_constant(value):
    """R35: weights sum to 1."""
    probability = predict_scene(
        reader(random_scene((50, 71))),
        lambda tiles: np.full_like(tiles[:, :1], value),
        (50, 71),
        tiling=TilingOptions(16, 5),
    )
    np.testing.assert_array_equal(probability, np.float32(value))


@pytest.mark.parametrize("shape", [(5, 30), (16, 30), (61, 30)])
def test_each_row_is_read_once_and_in_order(shape):
    reads = []

    def read_rows(start, stop):
        reads.extend(range(start, stop))
        return reader(np.zeros((1, *shape), np.float32))(start, stop)

    predict_scene(read_rows, first_band, shape, tiling=TilingOptions(16, 5))
    assert reads == list(range(shape[0]))


def test_blocks_follow_each_other_without_gap_or_overlap():
    blocks = list(predict_rows(reader(random_scene((61, 30))), first_band, (61, 30), tiling=TilingOptions(16, 7)))
    starts = [start for start, _ in blocks]
    assert starts == np.cumsum([0] + [block.shape[1] for _, block in blocks]).tolist()[:-1]


def test_rows_come_out_before_the_scene_is_read_to_its_end():
    last_read = 0

    def read_rows(start, stop):
        nonlocal last_read
        last_read = stop
        return reader(np.zeros((1, 1000, 16), np.float32))(start, stop)

    found = predict_rows(read_rows, first_band, (1000, 16), tiling=TilingOptions(16, 8), block_rows=8)
    next(found)
    found.close()
    assert 16 <= last_read <= 16 + 5 * 8  # two strips in hand, two ready, one being read


def peak_bytes(height):
    rows = predict_rows(
        lambda start, stop: (np.ones((4, stop - start, 500), np.float32), np.ones((stop - start, 500), bool)),
        first_band,
        (height, 500),
        tiling=TilingOptions(16, 8),
    )
    tracemalloc.start()
    for _ in rows:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_height_of_the_scene():
    peak_bytes(100)  # what is allocated once
    assert peak_bytes(5_000) < 1.2 * peak_bytes(500)


@pytest.mark.parametrize("wanted", [(0, 1), (0, 50), (3, 9), (17, 31), (31, 50), (49, 50), (8, 16)])
def test_some_rows_come_out_as_they_would_among_all(wanted):
    """To the bit: blocks of rows may be computed apart, on other machines or after a kill."""
    scene, valid = random_scene((50, 71)), np.random.default_rng(1).random((50, 71)) < 0.9
    options = {"tiling": TilingOptions(16, 7, 3), "block_rows": 11}
    whole = predict_scene(reader(scene, valid), by_place, (50, 71), **options)
    part = list(predict_rows(reader(scene, valid), by_place, (50, 71), rows=wanted, **options))
    assert part[0][0] == wanted[0]
    np.testing.assert_array_equal(collect(part)[0], whole[slice(*wanted)])


def test_any_number_of_threads_gives_the_same_map_to_the_bit():
    scene, valid = random_scene((50, 171)), np.random.default_rng(1).random((50, 171)) < 0.9

    def slow_at_times(tiles):  # so that the second batch is often done before the first
        time.sleep(0.002 * (int(tiles[0, 0, 0, 0] * 1000) % 3))
        return by_place(tiles)

    def mapped(threads, batch):
        sizes = TilingOptions(16, 7, batch, threads)
        return predict_scene(reader(scene, valid), slow_at_times, (50, 171), tiling=sizes)

    alone = mapped(1, 4)
    for threads, batch in ((2, 4), (5, 1), (40, 100)):
        np.testing.assert_array_equal(mapped(threads, batch), alone)


def test_several_layers_are_blended_each_by_itself():
    scene, valid = random_scene((50, 71)), np.ones((50, 71), dtype=bool)
    valid[5:9] = False
    sizes = TilingOptions(16, 7, 3)

    def both(tiles):
        return np.concatenate([by_place(tiles), tiles[:, 1:]], axis=1)

    found = collect(predict_rows(reader(scene, valid), both, (50, 71), layers=2, tiling=sizes))
    np.testing.assert_array_equal(found[0], predict_scene(reader(scene, valid), by_place, (50, 71), tiling=sizes))
    np.testing.assert_allclose(found[1], np.where(valid, scene[1], np.nan), atol=1e-6)


def test_an_error_of_the_reader_is_raised_where_its_rows_would_have_been():
    def read_rows(start, stop):
        if start > 30:
            raise KeyError("the disk failed")
        return reader(np.zeros((1, 100, 20), np.float32))(start, stop)

    found = []
    with pytest.raises(KeyError, match="the disk failed"):
        found.extend(predict_rows(read_rows, first_band, (100, 20), tiling=TilingOptions(16, 8), block_rows=8))
    assert len(found) == 3


def test_pixels_that_are_not_valid_are_nan():
    """R35: masked pixels stay nodata."""
    scene, valid = random_scene((40, 50)), np.ones((40, 50), bool)
    valid[10:30, 20:45] = False
    probability = predict_scene(reader(scene, valid), first_band, (40, 50), tiling=TilingOptions(16, 8))
    np.testing.assert_array_equal(np.isnan(probability), ~valid)


def test_leaving_out_tiles_without_a_valid_pixel_does_not_change_the_others():
    scene, valid = random_scene((80, 90)), np.zeros((80, 90), bool)
    valid[30:50, 37:41] = True
    probability = predict_scene(reader(scene, valid), by_place, (80, 90), tiling=TilingOptions(16, 8))
    np.testing.assert_allclose(probability[valid], reference(scene, by_place, 16, 8)[valid], rtol=0, atol=1e-6)


def test_tiles_without_a_valid_pixel_are_not_predicted():
    count, valid = 0, np.zeros((80, 90), bool)
    valid[0, 0] = True

    def predict(tiles):
        nonlocal count
        count += len(tiles)
        return first_band(tiles)

    predict_scene(reader(random_scene((80, 90)), valid), predict, (80, 90), tiling=TilingOptions(16, 8))
    assert count == 1


def test_the_scene_that_was_read_is_not_changed():
    scene = random_scene((40, 20))
    before = scene.copy()
    predict_scene(reader(scene), first_band, (40, 20), tiling=TilingOptions(16, 8))
    np.testing.assert_array_equal(scene, before)


def test_a_scene_turned_by_180_degrees_gives_the_result_turned():
    scene = random_scene((50, 71))

    def predict(tiles):  # the same for a tile and the turned tile
        return (tiles[:, :1] + tiles.mean(axis=(1, 2, 3), keepdims=True)) / 2

    sizes = TilingOptions(16, 16)  # (50 - 16) and (71 - 16) are no multiples: turn a scene whose windows are symmetric
    scene = scene[:, :48, :64]
    probability = predict_scene(reader(scene), predict, (48, 64), tiling=sizes)
    turned = predict_scene(reader(scene[:, ::-1, ::-1]), predict, (48, 64), tiling=sizes)
    np.testing.assert_allclose(turned, probability[::-1, ::-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (16, 0, 1), (16, 17, 1), (16, 8, 0)])
def test_sizes_that_cannot_cover_a_scene_are_refused(sizes):
    with pytest.raises(ValueError, match="stride <= tile"):
        predict_scene(reader(random_scene((30, 20))), first_band, (30, 20), tiling=TilingOptions(*sizes))


def test_a_scene_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        predict_scene(reader(random_scene((1, 5))), first_band, (0, 5), tiling=TilingOptions())


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"expected .* \(30, 20\), found \(2, 30, 21\)"):
        predict_scene(reader(random_scene((30, 21))), first_band, (30, 20), tiling=TilingOptions(16, 8))


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"predict: expected .* \(1, 1, 16, 16\), found \(1, 2, 16, 16\)"):
        predict_scene(reader(random_scene((16, 16))), lambda tiles: tiles, (16, 16), tiling=TilingOptions(16, 8))


def test_a_probability_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite in the windows from row 0"):
        predict_scene(
            reader(random_scene((16, 16))), lambda tiles: tiles[:, :1] * np.nan, (16, 16), tiling=TilingOptions(16, 8)
        )


def test_each_block_of_a_store_is_read_once_and_let_go_before_the_next():
    """Weak references tell which blocks are still in memory."""
    alive, most, starts = [], [], []

    def read_rows(start, stop):
        most.append(sum(block() is not None for block in alive))
        block = np.full((1, stop - start, 16), start, dtype=np.float32)
        alive.append(weakref.ref(block))
        starts.append(start)
        return block, np.ones((stop - start, 16), dtype=bool)

    list(predict_rows(read_rows, first_band, (100, 16), tiling=TilingOptions(8, 6), block_rows=32))
    assert starts == [0, 32, 64, 96]
    assert max(most) == 0
