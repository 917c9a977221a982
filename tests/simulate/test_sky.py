"""Where the sun stands, how it lights slopes, the shadows of mountains, and clouds and haze at both dates."""

from datetime import UTC, datetime

import numpy as np
import pytest

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate.frame import Frame
from coslide.simulate.recipe import DIFFICULTIES, Recipe
from coslide.simulate.sky import DIFFUSE_SHARE, Sun, cast_shadow, direct_light, make_sky, sky_share, sun_at

PIXEL_M = 10.0
PROMISED_DEG = 0.02

# --- The sun ---


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
def test_it_stands_where_a_full_ephemeris_has_it(time, lon, lat, zenith, azimuth):
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


# --- Light and shadow ---


def test_level_terrain_is_lit_as_level_terrain():
    flat = np.zeros((3, 3), dtype=np.float32)
    np.testing.assert_allclose(direct_light(flat, flat, Sun(40, 150)), 1, rtol=1e-6)
    np.testing.assert_allclose(sky_share(flat), 1)


def test_a_slope_square_to_the_sun_gets_one_over_the_cosine():
    slope, aspect = np.full((1, 1), 35, dtype=np.float32), np.full((1, 1), 150, dtype=np.float32)
    assert direct_light(slope, aspect, Sun(35, 150))[0, 0] == pytest.approx(1 / np.cos(np.radians(35)), rel=1e-5)
    assert direct_light(slope + 30, aspect + 180, Sun(35, 150))[0, 0] == 0


def test_light_on_a_plane_is_the_product_of_its_normal_and_the_sun():
    """The closed form, with the slope and aspect that the terrain kernel gives."""
    x, y = np.meshgrid(np.arange(9) * PIXEL_M, -np.arange(9) * PIXEL_M)
    shape = slope_aspect_curvature(0.3 * x - 0.5 * y, PIXEL_M)
    sun = Sun(50, 230)
    zenith, azimuth = np.radians(sun)
    toward = np.array([np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith)])
    normal = np.array([-0.3, 0.5, 1.0]) / np.sqrt(0.3**2 + 0.5**2 + 1)
    found = direct_light(shape.slope_deg, shape.aspect_deg, sun)[4, 4]
    assert found == pytest.approx(normal @ toward / np.cos(zenith), rel=1e-5)


@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
@pytest.mark.parametrize("zenith", [30, 60])
def test_a_wall_casts_a_shadow_as_long_as_its_height_times_the_tangent(azimuth, zenith):
    height = np.zeros((101, 101), dtype=np.float32)
    height[50, :] = height[:, 50] = 100  # a cross: one arm stands across every direction
    shadow = cast_shadow(height, PIXEL_M, Sun(zenith, azimuth))
    lengths = {0: shadow[51:, 10], 180: shadow[49::-1, 10], 90: shadow[10, 49::-1], 270: shadow[10, 51:]}
    expected = 100 * np.tan(np.radians(zenith)) / PIXEL_M
    assert lengths[azimuth].sum() == pytest.approx(expected, abs=1)
    assert lengths[azimuth][: int(expected) - 1].all()
    assert not shadow[height > 0].any()


@pytest.mark.parametrize("azimuth", [20, 75, 152, 293])
def test_shadows_are_those_of_a_slow_walk_towards_the_sun(azimuth):
    random = np.random.default_rng(azimuth)
    y, x = np.mgrid[:60, :60]
    height = sum(
        random.uniform(50, 150) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 40)
        for cx, cy in random.uniform(8, 52, (8, 2))
    ).astype(np.float32)
    sun = Sun(65, azimuth)
    found = cast_shadow(height, PIXEL_M, sun)
    differing = found != _walk(height, sun)
    assert found.any()
    assert differing.mean() < 0.03  # pixels at the rim of shadows


def test_a_sun_overhead_casts_no_shadow():
    height = np.random.default_rng(0).uniform(0, 500, (30, 30)).astype(np.float32)
    assert not cast_shadow(height, PIXEL_M, Sun(0, 0)).any()


def test_the_sky_is_bluer_than_the_sun():
    assert list(DIFFUSE_SHARE) == sorted(DIFFUSE_SHARE, reverse=True)


def _walk(height, sun):
    """Follow the ray from every pixel in steps of a quarter of a pixel."""
    azimuth, rise = np.radians(sun.azimuth_deg), PIXEL_M / np.tan(np.radians(sun.zenith_deg))
    rows, columns = height.shape
    shadow = np.zeros(height.shape, dtype=bool)
    for row in range(rows):
        for column in range(columns):
            for step in np.arange(1.0, 60, 0.25):
                r, c = row - step * np.cos(azimuth), column + step * np.sin(azimuth)
                if not (0 <= r < rows - 1 and 0 <= c < columns - 1):
                    break
                i, j = int(r), int(c)
                a, b = r - i, c - j
                near = (1 - a) * (1 - b) * height[i, j] + (1 - a) * b * height[i, j + 1]
                near += a * (1 - b) * height[i + 1, j] + a * b * height[i + 1, j + 1]
                if near > height[row, column] + step * rise:
                    shadow[row, column] = True
                    break
    return shadow


# --- Clouds ---

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
        assert veil[hazy].max() < 0.25  # the surface shows through


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
        pixels = round(1200 * np.tan(np.radians(zenith)) / 10)
        np.testing.assert_array_equal(sky.shade[:-pixels], sky.cloud[pixels:])  # sun in the south: to the north
        assert not sky.shade[-pixels:].any()
