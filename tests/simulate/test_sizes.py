"""The law of landslide areas against scipy's inverse gamma distribution."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import invgamma, kstest

from coslide.simulate.sizes import SMALLEST_M2, size_law

LAW = size_law(0.92, 4e5)
WITNESS = invgamma(1.4, loc=200.0, scale=LAW.scale_m2)
CUT = WITNESS.cdf(4e5)


def test_the_share_below_an_area_is_that_of_scipy_cut_off_at_the_largest():
    areas = np.geomspace(210, 4e5, 50)
    np.testing.assert_allclose(LAW.share_below(areas), WITNESS.cdf(areas) / CUT, rtol=1e-9)


def test_the_quantiles_are_those_of_scipy():
    shares = np.linspace(0.001, 0.999, 60)
    np.testing.assert_allclose(LAW.area_m2(shares), WITNESS.ppf(shares * CUT), rtol=1e-9)


@pytest.mark.parametrize("largest_m2", [3e3, 5e4, 4e5])
def test_the_mean_is_the_integral_of_the_density(largest_m2):
    law = size_law(0.92, largest_m2)
    witness = invgamma(1.4, loc=200.0, scale=law.scale_m2)
    parts = [200.0, 400.0, 1000.0, *np.geomspace(2e3, largest_m2, 6)]
    moments = (quad(lambda a: a * witness.pdf(a), low, high)[0] for low, high in itertools.pairwise(parts))
    np.testing.assert_allclose(law.mean_m2(), sum(moments) / witness.cdf(largest_m2), rtol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.92, 0.95])
@pytest.mark.parametrize("largest_m2", [4e3, 4e5])
def test_as_many_landslides_are_small_as_asked_for(share, largest_m2):
    np.testing.assert_allclose(size_law(share, largest_m2).share_below(1104.0), share, rtol=1e-9)


def test_large_landslides_thin_out_with_the_power_of_malamud():
    areas = np.array([2e4, 4e4])
    density = np.diff(1 - LAW.share_below([[a, 1.01 * a] for a in areas]), axis=1)[:, 0] / (0.01 * areas)
    np.testing.assert_allclose(np.log(density[1] / density[0]) / np.log(2), -2.4, atol=0.03)


def test_drawn_areas_follow_the_law_and_stay_in_its_limits():
    areas = LAW.draw(np.random.default_rng(1), 20_000)
    assert kstest(areas, lambda a: WITNESS.cdf(a) / CUT).pvalue > 0.01
    assert areas.min() > SMALLEST_M2
    assert areas.max() <= 4e5


def test_the_ends_of_the_law_are_its_limits():
    np.testing.assert_allclose(LAW.share_below([0.0, 200.0, 4e5, 1e9]), [0, 0, 1, 1])
    np.testing.assert_allclose(LAW.area_m2([0.0, 1.0]), [200.0, 4e5])


@pytest.mark.parametrize(("share", "largest_m2"), [(0.0, 1e5), (1.0, 1e5), (0.9, 1104.0)])
def test_a_law_that_cannot_be_is_refused(share, largest_m2):
    with pytest.raises(ValueError, match="found"):
        size_law(share, largest_m2)
