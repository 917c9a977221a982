"""Pictures of the map lie where their pixels lie, and levels are not mixed."""

import base64
import io

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import Transformer

from coslide.report import web_pictures
from coslide.report.web_pictures import NO_VALUE, OUTSIDE, level_picture, picture

GRIDS = [
    GeoBox((200, 150), Affine(10, 0, 572800, 0, -10, 4735700), "EPSG:32654"),
    GeoBox((200, 150), Affine(10, 0, 819800, 0, -10, 8000000), "EPSG:32760"),  # the 180th meridian runs through it
]


def decoded(found):
    content = base64.b64decode(found["uri"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)))


def colour_at(found, grid, col, row):
    """What is drawn where a place of the grid lies in the world of web maps."""
    lon, lat = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True).transform(*(grid.affine @ (col, row)))
    west, north, east, south = found["bounds"]
    u, v = (lon + 180) / 360, 0.5 - np.arcsinh(np.tan(np.radians(lat))) / (2 * np.pi)
    u += round((west - u) + 0.5 * (east - west))  # a turn of the globe
    image = decoded(found)
    return image[int((v - north) / (south - north) * image.shape[0]), int((u - west) / (east - west) * image.shape[1])]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_picture_lies_where_it_should(grid):
    colours, shown = np.zeros((200, 150, 3), np.float32), np.ones((200, 150), bool)
    colours[40:60, 30:50] = (1, 0.5, 0)
    shown[150:] = False
    found = picture(colours, shown, grid, step=1)
    assert found["uri"].startswith("data:image/webp;base64,")
    np.testing.assert_allclose(colour_at(found, grid, 40, 50), (255, 128, 0, 255), atol=20)
    np.testing.assert_allclose(colour_at(found, grid, 100, 50), (0, 0, 0, 255), atol=20)
    assert colour_at(found, grid, 40, 175)[3] == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_levels_are_those_of_the_pixels_and_nothing_between(grid):
    levels = np.random.default_rng(0).choice(np.array([1, 60, 101, NO_VALUE], np.uint8), (200, 150))
    found = level_picture(levels, grid)
    image = decoded(found)
    assert image.ndim == 2
    assert set(np.unique(image)) <= {OUTSIDE, 1, 60, 101, NO_VALUE}
    for row, col in np.random.default_rng(1).integers((2, 2), (198, 148), (40, 2)):
        there = levels[row - 1 : row + 2, col - 1 : col + 2]  # a pixel of the picture is a bit wider or narrower
        assert colour_at(found, grid, col + 0.5, row + 0.5) in there


def test_a_large_map_keeps_its_smallest_landslide(monkeypatch):
    monkeypatch.setattr(web_pictures, "WIDEST_PX", 50)
    levels = np.ones((200, 150), np.uint8)
    levels[100, 70], levels[:20, :20] = 90, NO_VALUE
    image = decoded(level_picture(levels, GRIDS[0]))
    assert max(image.shape) <= 50
    assert (image == 90).any()
    assert (image == NO_VALUE).any()


def test_a_picture_is_of_its_place_whatever_the_step():
    grid = GeoBox((7, 5), Affine(10, 0, 572800, 0, -10, 4735700), "EPSG:32654")
    whole, small = (
        picture(np.zeros((a, b, 3)), np.ones((a, b), bool), grid, step=s) for a, b, s in ((7, 5, 1), (2, 2, 4))
    )
    np.testing.assert_allclose(whole["bounds"][:2], small["bounds"][:2], atol=1e-7)
    assert small["bounds"][2] - small["bounds"][0] == pytest.approx(
        (whole["bounds"][2] - whole["bounds"][0]) * 8 / 5, rel=0.2
    )
