"""The area to map."""

import numpy as np
import pyproj
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from coslide.acquisition.area import area_of_bounds, area_of_shaking
from coslide.acquisition.records import Area
from coslide.errors import InputError
from coslide.io.raster import CoarseRaster
from coslide.sources.shaking import read_shakemap

STEP = 0.1


def shaking(values, west=100.0, north=40.0):
    values = np.asarray(values, np.float32)
    return CoarseRaster(values, GeoBox(values.shape, Affine(STEP, 0, west, 0, -STEP, north), "EPSG:4326"))


def cone(size=41, top_g=0.5):
    """Shaking that falls by 0.01 g from one pixel to the next, in rings."""
    rows, cols = np.indices((size, size)) - size // 2
    return np.maximum(top_g - 0.01 * np.maximum(np.abs(rows), np.abs(cols)), 0.0)


def area_of(values, least_g=0.1, largest_km2=1e9, **place):
    return area_of_shaking(shaking(values, **place), least_g=least_g, largest_km2=largest_km2, name="grid.xml")


def test_the_area_of_bounds_is_that_of_the_ellipsoid_but_for_its_flattening():
    for bounds in ((141.0, 42.0, 142.5, 43.0), (-71.0, -34.0, -70.0, -32.5), (10.0, -0.5, 11.0, 0.5)):
        west, south, east, north = bounds
        lons = np.concatenate([np.linspace(west, east, 99), np.linspace(east, west, 99)])
        lats = np.repeat([south, north], 99)
        expected, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(lons, lats)
        assert Area(bounds).km2 == pytest.approx(abs(expected) / 1e6, rel=0.007)


def test_the_rectangle_reaches_around_every_pixel_of_the_pga_and_no_further():
    values = np.zeros((20, 30))
    values[5, 7], values[12, 20], values[3, 2] = 0.1, 0.3, np.nan
    assert area_of(values).bounds_deg == pytest.approx((100.7, 38.7, 102.1, 39.5))


def test_where_the_rectangle_is_too_large_the_pga_is_raised_as_little_as_possible():
    area = area_of(cone(), least_g=0.4, largest_km2=10_000)
    assert area.km2 <= 10_000
    by_hand = [g for g in np.arange(40, 51) / 100 if area_of(cone(), least_g=g - 1e-6).km2 <= 10_000]
    assert area.bounds_deg == area_of(cone(), least_g=by_hand[0] - 1e-6).bounds_deg
    assert area.note.startswith(f"PGA of {by_hand[0]:.2f} g or more: ")
    assert "(that of 0.4 g is " in area.note


def test_an_earthquake_that_shook_too_little_is_refused():
    with pytest.raises(InputError, match=r"grid\.xml: found at most 0\.5 g, expected 0\.6 g somewhere"):
        area_of(cone(), least_g=0.6)


def test_an_area_across_the_180th_meridian_is_refused_and_one_beyond_it_is_turned():
    with pytest.raises(InputError, match="lies across the 180th meridian; map each side alone: --bounds"):
        area_of(cone(), west=178.0)
    west, _, east, _ = area_of(cone(), west=181.0).bounds_deg
    assert (west, east) == pytest.approx((-179.0, -174.9))


def test_bounds_that_are_given_are_taken_unless_they_are_too_large():
    assert area_of_bounds((141.0, 42.0, 142.0, 43.0), largest_km2=10_000).bounds_deg == (141.0, 42.0, 142.0, 43.0)
    with pytest.raises(InputError, match=r"--bounds: found 18,\d+ km2, expected 10,000 km2 or less"):
        area_of_bounds((141.0, 42.0, 143.0, 43.0), largest_km2=10_000)


@pytest.mark.realdata
def test_the_area_of_a_real_shakemap_holds_every_node_of_the_pga(data_folder):
    """Loma Prieta 1989, against the nodes as they are printed."""
    path = data_folder / "loma-prieta-1989" / "grid.xml"
    lines = path.read_text().partition("<grid_data>")[2].partition("</grid_data>")[0].split()
    nodes = np.array(lines, dtype=float).reshape(49 * 29, -1)
    pga_g = read_shakemap(path).pga_g
    for least_g in (0.1, 0.3):
        west, south, east, north = area_of_shaking(pga_g, least_g=least_g, largest_km2=1e9, name="x").bounds_deg
        shaken = nodes[nodes[:, 2] >= 100 * least_g]
        lon, lat = shaken[:, 0], shaken[:, 1]
        beyond = lon.min() - west, east - lon.max(), lat.min() - south, north - lat.max()
        assert beyond == pytest.approx([0.0125] * 4, abs=1e-3)  # half a spacing
