"""A map at other thresholds: the counts are those of the pixels, one threshold after the other."""

import numpy as np
import pytest

from coslide.evaluation.thresholds import NO_VALUE, levels_of, threshold_table, thresholds_around


@pytest.fixture
def probability():
    random = np.random.default_rng(3)
    values = random.random((60, 70)).astype(np.float32)
    values[:5] = np.round(values[:5], 2)  # on thresholds
    values[10, :20], values[11, :20], values[12, :20] = np.nan, 1, 0
    return values


def test_every_count_is_that_of_comparing_the_pixels(probability):
    random = np.random.default_rng(4)
    mapped, judged = random.random(probability.shape) < 0.2, random.random(probability.shape) < 0.7
    judged &= np.isfinite(probability)
    thresholds = thresholds_around(0.4375)
    table = threshold_table(levels_of(probability, thresholds), thresholds, mapped=mapped, judged=judged)
    assert len(table.thresholds) == 101
    for number, threshold in enumerate(thresholds):
        called = probability >= threshold
        assert table.pixels[number] == np.count_nonzero(called)
        assert table.tp[number] == np.count_nonzero(called & mapped & judged)
        assert table.fp[number] == np.count_nonzero(called & ~mapped & judged)
    assert table.mapped == np.count_nonzero(mapped & judged)
    assert table.judged == np.count_nonzero(judged)


@pytest.mark.parametrize("own", [0.29, 0.437, 1.0, 0.005])
def test_the_own_threshold_is_reached_where_the_map_calls_a_pixel_landslide(probability, own):
    thresholds = thresholds_around(own)
    place = int(np.searchsorted(thresholds, np.float32(own)))
    levels = levels_of(probability, thresholds)
    np.testing.assert_array_equal((levels > place) & (levels != NO_VALUE), probability >= own)


def test_without_an_inventory_only_pixels_are_counted(probability):
    thresholds = thresholds_around(0.5)
    judged = np.isfinite(probability)
    table = threshold_table(levels_of(probability, thresholds), thresholds, mapped=None, judged=judged)
    assert len(table.thresholds) == 100
    assert (table.tp, table.fp, table.mapped) == ([], [], 0)
    assert table.pixels[49] == np.count_nonzero(probability >= 0.5)
