"""Where the sun stands, how it lights slopes, and the shadows that mountains cast."""

from datetime import UTC, datetime

import numpy as np
import pytest

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate.light import DIFFUSE_SHARE, cast_shadow, direct_light, sky_share
from coslide.simulate.sun import Sun, sun_at

CELL_M = 10.0


@pytest.mark.parametrize(
    ("time", "lon", "lat", "zenith", "azimuth"),
    [
        # at the solstices and at an equinox the declination is 23.44, -23.43 and 0.00 degrees
        (datetime(2022, 6, 21, 12, 2, tzinfo=UTC), 0.0, 51.5, 28.06, 180.0),
        (datetime(2021, 12, 21, 11, 58, tzinfo=UTC), 0.0, 51.5, 74.94, 180.0),
        (datetime(2022, 3, 20, 12, 7, 30, tzinfo=UTC), 0.0, 0.0, 0.0, None),
        # the worked example of Reda & Andreas (2004, doi:10.1016/j.solener.2003.12.003): 50.11162, 194.34024
        (datetime(2003, 10, 17, 19, 30, 30, tzinfo=UTC), -105.1786, 39.742476, 50.13, 194.34),
    ],
)
def test_the_sun_stands_where_almanacs_say(time, lon, lat, zenith, azimuth):
    sun = sun_at(time, lon, lat)
    assert sun.zenith_deg == pytest.approx(zenith, abs=0.15)
    if azimuth is not None:
        assert sun.azimuth_deg == pytest.approx(azimuth, abs=0.15)


def test_flat_ground_is_lit_as_flat_ground():
    flat = np.zeros((3, 3), dtype=np.float32)
    np.testing.assert_allclose(direct_light(flat, flat, Sun(40, 150)), 1, rtol=1e-6)
    np.testing.assert_allclose(sky_share(flat), 1)


def test_a_slope_square_to_the_sun_gets_one_over_the_cosine():
    slope, aspect = np.full((1, 1), 35, dtype=np.float32), np.full((1, 1), 150, dtype=np.float32)
    assert direct_light(slope, aspect, Sun(35, 150))[0, 0] == pytest.approx(1 / np.cos(np.radians(35)), rel=1e-5)
    assert direct_light(slope + 30, aspect + 180, Sun(35, 150))[0, 0] == 0


def test_light_on_a_plane_is_the_product_of_its_normal_and_the_sun():
    """The closed form, with the slope and aspect that the terrain kernel gives."""
    x, y = np.meshgrid(np.arange(9) * CELL_M, -np.arange(9) * CELL_M)
    shape = slope_aspect_curvature(0.3 * x - 0.5 * y, CELL_M)
    sun = Sun(50, 230)
    zenith, azimuth = np.radians(sun)
    toward = np.array([np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith)])
    normal = np.array([-0.3, 0.5, 1.0]) / np.sqrt(0.3**2 + 0.5**2 + 1)
    found = direct_light(shape.slope_deg, shape.aspect_deg, sun)[4, 4]
    assert found == pytest.approx(normal @ toward / np.cos(zenith), rel=1e-5)


@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
@pytest.mark.parametrize("zenith", [30, 60])
def test_a_wall_casts_a_shadow_as_long_as_its_height_times_the_tangent(azimuth, zenith):
    ground = np.zeros((101, 101), dtype=np.float32)
    ground[50, :] = ground[:, 50] = 100  # a cross: one arm stands across every direction
    shadow = cast_shadow(ground, CELL_M, Sun(zenith, azimuth))
    lengths = {0: shadow[51:, 10], 180: shadow[49::-1, 10], 90: shadow[10, 49::-1], 270: shadow[10, 51:]}
    expected = 100 * np.tan(np.radians(zenith)) / CELL_M
    assert lengths[azimuth].sum() == pytest.approx(expected, abs=1)
    assert lengths[azimuth][: int(expected) - 1].all()
    assert not shadow[ground > 0].any()


@pytest.mark.parametrize("azimuth", [20, 75, 136, 152, 200, 293])
def test_shadows_are_those_of_a_slow_walk_towards_the_sun(azimuth):
    random = np.random.default_rng(azimuth)
    y, x = np.mgrid[:60, :60]
    ground = sum(
        random.uniform(50, 150) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 40)
        for cx, cy in random.uniform(8, 52, (8, 2))
    ).astype(np.float32)
    sun = Sun(65, azimuth)
    found = cast_shadow(ground, CELL_M, sun)
    differing = found != _walk(ground, sun)
    assert found.any()
    assert differing.mean() < 0.03  # cells at the rim of shadows


def test_a_sun_overhead_casts_no_shadow():
    ground = np.random.default_rng(0).uniform(0, 500, (30, 30)).astype(np.float32)
    assert not cast_shadow(ground, CELL_M, Sun(0, 0)).any()


def test_the_sky_is_bluer_than_the_sun():
    assert list(DIFFUSE_SHARE) == sorted(DIFFUSE_SHARE, reverse=True)


def _walk(ground, sun):
    """Return shadows by following the ray from every cell in steps of a tenth of a cell."""
    azimuth, rise = np.radians(sun.azimuth_deg), CELL_M / np.tan(np.radians(sun.zenith_deg))
    rows, columns = ground.shape
    shadow = np.zeros(ground.shape, dtype=bool)
    for row in range(rows):
        for column in range(columns):
            for step in np.arange(1.0, 60, 0.25):
                r, c = row - step * np.cos(azimuth), column + step * np.sin(azimuth)
                if not (0 <= r < rows - 1 and 0 <= c < columns - 1):
                    break
                i, j = int(r), int(c)
                a, b = r - i, c - j
                near = (1 - a) * (1 - b) * ground[i, j] + (1 - a) * b * ground[i, j + 1]
                near += a * (1 - b) * ground[i + 1, j] + a * b * ground[i + 1, j + 1]
                if near > ground[row, column] + step * rise:
                    shadow[row, column] = True
                    break
    return shadow
