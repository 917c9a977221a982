"""Clouds, haze and shadows hide what the difficulty says, and differ between the dates."""

import numpy as np
import pytest

from coslide.simulate.clouds import make_sky
from coslide.simulate.frame import Frame
from coslide.simulate.recipe import DIFFICULTIES, Recipe
from coslide.simulate.sun import Sun

FRAME = Frame(240, 120)
HARD = Recipe(seed=4, difficulty="hard")
SUN = Sun(35.5, 151.9)


@pytest.fixture(scope="module")
def skies():
    return {date: make_sky(HARD, FRAME, SUN, date=date) for date in ("pre", "post")}


@pytest.mark.parametrize(("date", "share"), [("pre", 0.06), ("post", 0.10)])
def test_each_date_has_its_own_share_of_cloud(skies, date, share):
    assert (skies[date].cloud[FRAME.inner] > 0).mean() == pytest.approx(share, abs=0.002)


def test_the_clouds_of_the_two_dates_have_nothing_to_do_with_each_other(skies):
    first, second = (sky.cloud[FRAME.inner] > 0 for sky in skies.values())
    assert (first & second).mean() < 0.4 * min(first.mean(), second.mean())


def test_haze_veils_its_share_and_is_no_cloud(skies):
    for sky in skies.values():
        veil, cloud = sky.veil[FRAME.inner], sky.cloud[FRAME.inner]
        hazy = (veil > 0) & (cloud == 0)
        assert 0.05 < hazy.mean() <= 0.15 + 0.002
        assert veil[hazy].max() < 0.25  # the ground shows through


def test_no_haze_leaves_the_clouds_alone(monkeypatch):
    monkeypatch.setitem(DIFFICULTIES, "hard", DIFFICULTIES["hard"]._replace(haze_share=0.0))
    sky = make_sky(HARD, FRAME, SUN, date="post")
    np.testing.assert_allclose(sky.veil, sky.cloud, atol=1e-6)


def test_clouds_are_opaque_within_and_thin_at_their_rims(skies):
    cloud = skies["post"].cloud[FRAME.inner]
    under = cloud[cloud > 0]
    assert (under > 0.95).mean() > 0.05
    assert (under < 0.5).mean() > 0.02


def test_a_cloud_and_its_haze_hide_more_than_either(skies):
    sky = skies["post"]
    assert (sky.veil >= sky.cloud - 1e-6).all()
    assert sky.veil.max() <= 1


def test_the_higher_the_sun_the_nearer_the_shadow():
    low, high = (make_sky(HARD, FRAME, Sun(zenith, 180.0), date="post") for zenith in (40.0, 20.0))
    for sky, zenith in ((low, 40.0), (high, 20.0)):
        cells = round(1200 * np.tan(np.radians(zenith)) / 10)
        np.testing.assert_array_equal(sky.shade[:-cells], sky.cloud[cells:])  # sun in the south: to the north
        assert not sky.shade[-cells:].any()
