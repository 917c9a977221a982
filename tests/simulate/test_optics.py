"""The blur of a detector has the shape that its equation says."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from coslide.simulate.optics import MTF_AT_NYQUIST, blur_sigma_m, rows_needed, seen_by, weights_along

FINE_M = 5.0


@pytest.mark.parametrize("cell_m", [10, 20])
def test_waves_two_cells_long_keep_the_contrast_that_was_measured(cell_m):
    frequency = 1 / (2 * cell_m)
    square = np.sinc(frequency * cell_m)
    gaussian = np.exp(-2 * (np.pi * frequency * blur_sigma_m(cell_m)) ** 2)
    assert square * gaussian == pytest.approx(MTF_AT_NYQUIST[cell_m], rel=1e-9)


@pytest.mark.parametrize("cell_m", [10, 20])
@pytest.mark.parametrize("shift_m", [0.0, 3.7, -6.1])
def test_weights_sum_to_1_around_the_place_that_is_seen(cell_m, shift_m):
    first, weights = weights_along(cell_m, shift_m=shift_m)
    places = (first + np.arange(len(weights)) + 0.5) * FINE_M
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert (weights * places).sum() == pytest.approx(cell_m / 2 + shift_m, abs=0.02)
    spread = (weights * (places - cell_m / 2 - shift_m) ** 2).sum()
    square, fine = cell_m**2 / 12, FINE_M**2 / 12
    assert spread == pytest.approx(blur_sigma_m(cell_m) ** 2 + square + fine, rel=0.01)


def test_a_weight_is_the_integral_of_the_blurred_square():
    first, weights = weights_along(10, shift_m=1.3)
    sigma = blur_sigma_m(10)

    def blurred(x):
        return (norm.cdf((x - 1.3) / sigma) - norm.cdf((x - 11.3) / sigma)) / 10

    for number in (0, 3, len(weights) // 2):
        left = (first + number) * FINE_M
        assert weights[number] == pytest.approx(quad(blurred, left, left + FINE_M)[0], abs=1e-4)


def test_even_ground_is_seen_as_it_is():
    top, bottom = rows_needed(0, 6, 20)
    fine = np.full((bottom - top, bottom - top), 0.37, dtype=np.float32)
    np.testing.assert_allclose(seen_by(fine, 20, rows=6, columns=6), 0.37, rtol=1e-5)


@pytest.mark.parametrize("cell_m", [10, 20])
def test_a_ramp_is_seen_where_it_lies_and_a_shift_moves_it(cell_m):
    shift = (4.0, -7.0)
    (left, right), (top, bottom) = (rows_needed(0, 8, cell_m, shift_m=each) for each in shift)
    y, x = np.meshgrid(*((np.arange(a, b) + 0.5) * FINE_M for a, b in ((top, bottom), (left, right))), indexing="ij")
    seen = seen_by((2 * x + 3 * y).astype(np.float32), cell_m, rows=8, columns=8, shift_m=shift)
    centre = (np.arange(8) + 0.5) * cell_m
    expected = 2 * (centre + shift[0])[None, :] + 3 * (centre + shift[1])[:, None]
    np.testing.assert_allclose(seen, expected, atol=0.2)


def test_a_window_is_seen_as_part_of_the_whole():
    top, bottom = rows_needed(0, 12, 10)
    fine = np.random.default_rng(0).random((bottom - top, bottom - top)).astype(np.float32)
    whole = seen_by(fine, 10, rows=12, columns=12)
    first, last = rows_needed(4, 9, 10)
    part = seen_by(fine[first - top : last - top], 10, rows=5, columns=12)
    np.testing.assert_array_equal(part, whole[4:9])


def test_the_wrong_window_is_refused():
    with pytest.raises(ValueError, match="expected"):
        seen_by(np.zeros((10, 10), dtype=np.float32), 10, rows=5, columns=5)
