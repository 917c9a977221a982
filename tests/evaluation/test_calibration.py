"""Calibration is checked by hand, in closed form and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from coslide.evaluation import pixels
from coslide.evaluation.probabilities import brier, expected_calibration_error, reliability


def ece(probability, mapped, **options):
    return expected_calibration_error(reliability(probability, mapped, **options))


def random_map(seed=0, shape=(200, 210)):
    rng = np.random.default_rng(seed)
    probability = rng.random(shape, dtype=np.float32)
    return probability, rng.random(shape) < probability**2


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_the_expected_calibration_error_is_that_of_torchmetrics(bins):
    probability, mapped = random_map()
    expected = binary_calibration_error(
        torch.from_numpy(probability).double(), torch.from_numpy(mapped).int(), n_bins=bins, norm="l1"
    )
    np.testing.assert_allclose(ece(probability, mapped, bins=bins), float(expected), rtol=0, atol=1e-6)


def test_the_calibration_error_of_one_bin_is_the_difference_of_the_means():
    probability, mapped = random_map()
    expected = abs(probability.mean(dtype=float) - mapped.mean())
    np.testing.assert_allclose(ece(probability, mapped, bins=1), expected, rtol=1e-12)


def test_the_calibration_error_worked_by_hand():
    probability = np.array([0.1, 0.2, 0.6, 0.9])
    mapped = np.array([False, True, True, True])
    # Lower half: mean 0.15 against 1/2; upper half: 0.75 against 1; two pixels each.
    np.testing.assert_allclose(ece(probability, mapped, bins=2), (0.35 + 0.25) / 2, rtol=1e-12)


def test_a_map_that_is_always_right_has_no_error():
    mapped = random_map()[1]
    assert (brier(mapped.astype(float), mapped), ece(mapped.astype(float), mapped)) == (0, 0)


def test_the_brier_score_of_a_constant_is_the_closed_form():
    mapped = np.arange(100) < 30
    # Share s = 0.3, constant c = 0.2: s (1 - c)^2 + (1 - s) c^2.
    np.testing.assert_allclose(brier(np.full(100, 0.2), mapped), 0.3 * 0.8**2 + 0.7 * 0.2**2, rtol=1e-12)


def test_the_brier_score_is_the_mean_squared_difference():
    probability, mapped = random_map()
    np.testing.assert_allclose(
        brier(probability, mapped), np.mean((probability.astype(float) - mapped) ** 2), rtol=1e-12
    )


def test_a_bin_holds_its_lower_edge_and_the_last_one_holds_1():
    table = reliability(np.array([0.0, 0.25, 0.5, 0.75, 1.0]), np.zeros(5, bool), bins=4)
    assert table.pixels == [1, 1, 1, 2]


def test_the_table_gives_mean_and_share_of_each_bin():
    probability, mapped = random_map()
    table = reliability(probability, mapped, bins=4)
    inside = (probability >= 0.25) & (probability < 0.5)
    expected = [inside.sum(), probability[inside].mean(dtype=float), mapped[inside].mean()]
    np.testing.assert_allclose([table.pixels[1], table.probability_mean[1], table.landslide_share[1]], expected)


def test_an_empty_bin_has_no_mean():
    table = reliability(np.array([0.9]), np.array([True]), bins=2)
    assert table.probability_mean == [None, 0.9]


@pytest.mark.parametrize("value", [-0.1, 1.1, np.inf, np.nan])
def test_a_number_that_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match="from 0 to 1"):
        ece(np.array([0.5, value]), np.array([True, True]))


def test_without_any_pixel_there_is_no_score():
    empty = np.zeros(0)
    assert np.isnan([score(empty, empty.astype(bool)) for score in (brier, ece)]).all()


def test_the_size_of_the_pieces_does_not_change_the_scores(monkeypatch):
    probability, mapped = random_map()
    whole = [score(probability, mapped) for score in (brier, ece)]
    monkeypatch.setattr(pixels, "_PIXELS_AT_ONCE", 1000)
    np.testing.assert_allclose([s(probability, mapped) for s in (brier, ece)], whole, rtol=1e-12)


def test_a_mask_that_is_not_bool_is_refused():
    with pytest.raises(TypeError, match="mapped: expected bool, found int64"):
        brier(np.zeros(2), np.zeros(2, np.int64))


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"mapped: expected shape \(2,\), found \(3,\)"):
        brier(np.zeros(2), np.zeros(3, bool))
