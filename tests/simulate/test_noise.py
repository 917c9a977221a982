"""Random fields have the statistics they promise, and cell noise depends on its place alone."""

import numpy as np
import pytest
from scipy import stats

from coslide.simulate.noise import cell_noise, rough_field, smooth_field

CELL_M = 10.0


def _random(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("lag_m", [100.0, 300.0, 450.0])
def test_a_smooth_field_forgets_as_a_gaussian_does(lag_m):
    """The closed form of its correlation: exp(-(d / range)²)."""
    field = smooth_field(_random(), (1000, 1000), CELL_M, range_m=300.0).astype(float)
    cells = int(lag_m / CELL_M)
    along = (field[:, cells:] * field[:, :-cells]).mean()
    across = (field[cells:] * field[:-cells]).mean()
    expected = np.exp(-((lag_m / 300.0) ** 2))
    assert (along + across) / 2 == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("field", [smooth_field, rough_field])
def test_a_field_has_mean_0_and_deviation_1(field):
    values = field(_random(), (120, 90), CELL_M, range_m=200.0)
    assert values.shape == (120, 90)
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("hurst", [0.3, 0.8])
def test_the_spectrum_of_a_rough_field_falls_as_its_roughness_says(hurst):
    field = rough_field(_random(), (512, 512), CELL_M, range_m=1e6, hurst=hurst)
    window = np.hanning(512)
    power = np.abs(np.fft.rfft(field * window, axis=1)) ** 2  # a cut through the field loses one power of k
    k = np.arange(257)
    slope = stats.linregress(np.log(k[8:100]), np.log(power.mean(axis=0)[8:100])).slope
    assert slope == pytest.approx(-(2 * hurst + 1), abs=0.2)


def test_cell_noise_is_nearly_normal_and_white():
    noise = cell_noise(5, (700, 700)).astype(float)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    assert noise.std() == pytest.approx(1, abs=0.005)
    assert stats.kurtosis(noise.ravel()) == pytest.approx(-0.3, abs=0.02)  # of the sum of four uniform numbers
    for shifted in (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1]):
        assert shifted.mean() == pytest.approx(0, abs=0.005)


def test_cell_noise_does_not_depend_on_the_window():
    whole = cell_noise(7, (40, 50))
    part = cell_noise(7, (10, 20), first_row=25, first_column=30)
    np.testing.assert_array_equal(part, whole[25:35, 30:50])


def test_another_seed_is_another_noise():
    first, second = cell_noise(1, (300, 300)), cell_noise(2, (300, 300))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_the_same_generator_gives_the_same_field():
    fields = [rough_field(_random(3), (64, 64), CELL_M, range_m=300.0) for _ in range(2)]
    np.testing.assert_array_equal(*fields)
