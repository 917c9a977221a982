"""The sun stands where published examples and almanacs say, to the accuracy that is promised."""

from datetime import UTC, datetime

import pytest

from coslide.simulate.sun import sun_at

PROMISED_DEG = 0.02


def test_zenith_and_azimuth_are_those_of_the_published_example_of_spa():
    """Reda & Andreas (2004, doi:10.1016/j.solener.2003.12.003), table A5.1; its elevation has no refraction."""
    sun = sun_at(datetime(2003, 10, 17, 19, 30, 30, tzinfo=UTC), -105.1786, 39.742476)
    assert sun.zenith_deg == pytest.approx(90 - 39.872046, abs=PROMISED_DEG)
    assert sun.azimuth_deg == pytest.approx(194.340241, abs=PROMISED_DEG)


@pytest.mark.parametrize(
    ("time", "declination"),
    [
        (datetime(1992, 10, 13, tzinfo=UTC), -7.78507),  # Meeus, Astronomical Algorithms, example 25.a
        (datetime(2022, 3, 20, 15, 33, tzinfo=UTC), 0.0),  # equinoxes of 2022
        (datetime(2022, 9, 23, 1, 4, tzinfo=UTC), 0.0),
        (datetime(2022, 6, 21, 9, 14, tzinfo=UTC), 23.438),  # solstice
    ],
)
def test_at_the_pole_the_zenith_distance_is_the_complement_of_the_declination(time, declination):
    assert sun_at(time, 0.0, 90.0).zenith_deg == pytest.approx(90 - declination, abs=0.01)


@pytest.mark.parametrize(
    ("time", "lon", "lat", "zenith", "azimuth"),
    [  # PyEphem 4 without refraction, whose sun is that of VSOP87; near perihelion and aphelion, and at a pass
        (datetime(2022, 1, 4, 12, tzinfo=UTC), 0.0, 36.0, 58.7055, 178.6695),
        (datetime(2022, 7, 4, 15, tzinfo=UTC), 0.0, 36.0, 40.0422, 263.1730),
        (datetime(2020, 9, 12, 23, 36, 51, tzinfo=UTC), 166.85, 36.08, 36.3479, 148.8002),
    ],
)
def test_it_stands_where_a_full_ephemeris_says(time, lon, lat, zenith, azimuth):
    sun = sun_at(time, lon, lat)
    assert sun.zenith_deg == pytest.approx(zenith, abs=PROMISED_DEG)
    assert sun.azimuth_deg == pytest.approx(azimuth, abs=PROMISED_DEG)


def test_the_same_instant_is_the_same_whatever_its_time_zone():
    local = datetime.fromisoformat("2022-05-16T10:36:51+11:00")
    assert sun_at(local, 169.0, 36.0) == sun_at(local.astimezone(UTC), 169.0, 36.0)


def test_it_rises_in_the_east_and_sets_in_the_west():
    morning, evening = (sun_at(datetime(2022, 5, 15, hour, tzinfo=UTC), 0.0, 36.0) for hour in (8, 16))
    assert 60 < morning.azimuth_deg < 120
    assert 240 < evening.azimuth_deg < 300
