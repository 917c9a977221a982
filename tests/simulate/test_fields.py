"""Random fields have the statistics they promise."""

import numpy as np
import pytest
from scipy import stats

from coslide.simulate.fields import coarse_field, rough_field, smooth_field
from coslide.simulate.frame import Frame, centres_m

PIXEL_M = 10.0


def _random(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("lag_m", [100.0, 300.0, 450.0])
def test_a_smooth_field_forgets_as_a_gaussian_does(lag_m):
    """The closed form of its correlation: exp(-(d / range)²)."""
    field = smooth_field(_random(), (1000, 1000), PIXEL_M, range_m=300.0).astype(float)
    pixels = int(lag_m / PIXEL_M)
    along = (field[:, pixels:] * field[:, :-pixels]).mean()
    across = (field[pixels:] * field[:-pixels]).mean()
    expected = np.exp(-((lag_m / 300.0) ** 2))
    assert (along + across) / 2 == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("field", [smooth_field, rough_field])
def test_a_field_has_mean_0_and_deviation_1(field):
    values = field(_random(), (120, 90), PIXEL_M, range_m=200.0)
    assert values.shape == (120, 90)
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("hurst", [0.3, 0.8])
def test_the_spectrum_of_a_rough_field_falls_by_its_hurst_exponent(hurst):
    field = rough_field(_random(), (512, 512), PIXEL_M, range_m=1e6, hurst=hurst)
    window = np.hanning(512)
    power = np.abs(np.fft.rfft(field * window, axis=1)) ** 2  # a cut through the field loses one power of k
    k = np.arange(257)
    slope = stats.linregress(np.log(k[8:100]), np.log(power.mean(axis=0)[8:100])).slope
    assert slope == pytest.approx(-(2 * hurst + 1), abs=0.2)


def test_opposite_edges_of_a_field_do_not_resemble_each_other():
    fields = [smooth_field(_random(seed), (200, 200), PIXEL_M, range_m=300.0) for seed in range(8)]
    alike = [np.corrcoef(field[:, 0], field[:, -1])[0, 1] for field in fields]
    assert abs(np.mean(alike)) < 0.4


def test_the_same_generator_gives_the_same_field_and_another_seed_another():
    fields = [rough_field(_random(seed), (64, 64), PIXEL_M, range_m=300.0) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(*fields[:2])
    assert abs(np.corrcoef(fields[0].ravel(), fields[2].ravel())[0, 1]) < 0.9


def test_a_coarse_field_is_exact_where_it_is_linear():
    frame = Frame(120, 60)
    field = coarse_field(frame.grid, 100.0, lambda x, y: 2e-3 * x - 1e-3 * y)
    x, y = centres_m(frame.grid)
    np.testing.assert_allclose(field.at(frame.grid), 2e-3 * x - 1e-3 * y[:, None], rtol=1e-6)
