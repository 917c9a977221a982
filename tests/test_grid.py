"""The common grid."""

import numpy as np
import pytest
from pyproj import Transformer

from coslide.errors import InputError
from coslide.grid import Extent, common_grid, pixel_size_m

UTM = "EPSG:32654"


def test_the_grid_covers_what_all_extents_share():
    grid = common_grid(
        [Extent("a", UTM, (500000, 0, 500300, 200)), Extent("b", UTM, (500100, -50, 500400, 100))], crs=UTM
    )
    assert grid.boundingbox.bbox == (500100, 0, 500300, 100)


def test_the_edges_are_multiples_of_the_pixel_size():
    grid = common_grid([Extent("a", UTM, (500003, 7, 500298, 193))], crs=UTM, pixel_size_m=20)
    assert all(edge % 20 == 0 for edge in grid.boundingbox.bbox)
    assert pixel_size_m(grid) == 20


def test_row_0_is_the_northernmost():
    assert common_grid([Extent("a", UTM, (500000, 0, 500300, 200))]).affine.f == 200


@pytest.mark.parametrize(("lon", "lat", "code"), [(141.9, 42.7, 32654), (103.8, 33.2, 32648), (175.5, -40.5, 32760)])
def test_the_utm_zone_is_that_of_the_data_north_and_south(lon, lat, code):
    extent = Extent("scene", "EPSG:4326", (lon - 0.05, lat - 0.05, lon + 0.05, lat + 0.05))
    assert common_grid([extent]).crs.to_epsg() == code


def test_every_corner_of_a_scene_in_degrees_lies_on_the_grid():
    bounds = (141.89, 42.68, 141.97, 42.77)
    left, bottom, right, top = common_grid([Extent("scene", "EPSG:4326", bounds)]).boundingbox.bbox
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(*np.meshgrid(bounds[::2], bounds[1::2]))
    assert (x >= left).all()
    assert (x <= right).all()
    assert (y >= bottom).all()
    assert (y <= top).all()


@pytest.mark.parametrize(
    ("crs", "found"),
    [
        ("EPSG:4326", "latitude and longitude"),
        ("EPSG:2263", "US survey foot"),
        ("utm", "such as 'EPSG:32654'"),
    ],
)
def test_a_grid_that_is_not_in_metres_is_refused(crs, found):
    with pytest.raises(InputError, match=rf"grid\.crs: .*{found}"):
        common_grid([Extent("scene", UTM, (500000, 0, 500300, 200))], crs=crs)


def test_extents_that_do_not_overlap_are_named():
    apart = [Extent("scenes.post", UTM, (500000, 0, 500300, 200)), Extent("dem", UTM, (600000, 0, 600300, 200))]
    with pytest.raises(InputError, match="dem: does not overlap scenes.post"):
        common_grid(apart)
