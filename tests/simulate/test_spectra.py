"""Reflectances differ by rock, by season and by how fresh debris is."""

from datetime import UTC, datetime

import numpy as np
import pytest

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.landcover import Cover
from coslide.simulate.recipe import AGES, DIFFICULTIES
from coslide.simulate.spectra import green_share, palette

PAPER = DIFFICULTIES["paper"]
RED, LAST = SENTINEL2_BANDS.index("B4"), SENTINEL2_BANDS.index("B12")


@pytest.mark.parametrize("cover", [Cover.OUTCROP, Cover.OLD_SCAR, Cover.DEBRIS, Cover.SOIL])
def test_limestone_is_brighter_than_shale(cover):
    tint = palette(PAPER).tint[cover, :, RED]
    assert tint[AGES.index("C2")] > 1.4 * tint[AGES.index("T3")]


def test_red_beds_reflect_relatively_more_in_the_infrared():
    tint = palette(PAPER).tint[Cover.OUTCROP]
    steepness = tint[:, LAST] / tint[:, 0]
    assert steepness.argmax() == AGES.index("P2-T1")
    assert steepness[AGES.index("P2-T1")] > 1.15


def test_rock_does_not_colour_plants_water_snow_or_roads():
    tint = palette(PAPER).tint
    np.testing.assert_array_equal(tint[[Cover.CONIFER, Cover.MEADOW, Cover.WATER, Cover.SNOW, Cover.ROAD]], 1)


def test_debris_lies_on_the_line_from_weathered_to_fresh():
    none, half, full = (palette(PAPER._replace(fresh_debris=share)).bare[Cover.DEBRIS] for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (none + full) / 2, rtol=1e-5)
    assert (full > none).all()


def test_weathered_debris_is_hard_to_tell_from_soil_that_was_bare_before():
    bare = palette(PAPER._replace(fresh_debris=0.0)).bare
    others = bare[[Cover.OUTCROP, Cover.OLD_SCAR, Cover.SOIL]]
    assert np.abs(others / bare[Cover.DEBRIS] - 1).mean(axis=1).max() < 0.15


def test_all_are_reflectances():
    colours = palette(PAPER)
    for values in (colours.bare, colours.green):
        assert values.dtype == np.float32
        assert values.shape == (len(Cover), len(SENTINEL2_BANDS))
        assert (values > 0).all()
        assert (values < 1).all()


def test_half_of_the_leaves_are_out_on_the_hundredth_day_at_1500_m():
    assert green_share(datetime(2022, 4, 10, tzinfo=UTC), 1500.0) == pytest.approx(0.5, abs=0.01)


def test_the_share_of_leaves_is_the_published_equation():
    """Beck et al. (2006), equation 3, with a minimum of 0 and a maximum of 1."""
    day, spring, autumn = 146, 100 + 500 / 30.5, 305 - 500 / 30.5
    expected = 1 / (1 + np.exp(-0.12 * (day - spring))) + 1 / (1 + np.exp(0.10 * (day - autumn))) - 1
    assert green_share(datetime(2022, 5, 26, tzinfo=UTC), 2000.0) == pytest.approx(expected, abs=1e-5)


def test_leaves_come_later_and_go_earlier_higher_up():
    """Hopkins' law: 122 m up, spring is four days later."""
    day = [datetime(2022, 5, day, tzinfo=UTC) for day in (10, 14)]
    assert green_share(day[0], 2000.0) == pytest.approx(green_share(day[1], 2122.0), abs=1e-3)
    autumn = datetime(2022, 10, 20, tzinfo=UTC)
    assert green_share(autumn, 1500.0) > green_share(autumn, 2500.0)
    assert green_share(datetime(2022, 7, 15, tzinfo=UTC), 1500.0) > 0.98
    assert green_share(datetime(2022, 1, 15, tzinfo=UTC), 1500.0) < 0.02


def test_fresh_debris_is_brighter_the_easier_the_event():
    red = [palette(DIFFICULTIES[name]).bare[Cover.DEBRIS, 2] for name in ("hard", "paper", "easy")]
    assert red == sorted(red)
    assert 0.11 < red[0] < red[-1] < 0.2


def test_every_spectrum_is_that_of_its_kind():
    colours = palette(DIFFICULTIES["paper"])
    red, infrared = SENTINEL2_BANDS.index("B4"), SENTINEL2_BANDS.index("B8")
    ndvi = (colours.green[:, infrared] - colours.green[:, red]) / (colours.green[:, infrared] + colours.green[:, red])
    plants = [Cover.CONIFER, Cover.BROADLEAF, Cover.SHRUB, Cover.MEADOW, Cover.CROP]
    assert ndvi[plants].min() > 0.6
    assert np.delete(ndvi, plants).max() < 0.35
    assert ndvi[Cover.WATER] < 0
