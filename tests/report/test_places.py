"""Pictures of places show the pixel that is asked for in the middle of the mark."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from coslide.cube.cube import open_cube
from coslide.report import images
from coslide.report.places import PlacePictures


@pytest.mark.parametrize("place", [(70, 41), (0, 0), (99, 99), (40, 97)])
def test_the_pixel_inside_the_mark_is_the_place_and_nothing_is_drawn_over_it(made_up_cube, place):
    cube = open_cube(made_up_cube)
    row, col = place
    (picture,) = PlacePictures(cube).draw([SimpleNamespace(row=row, col=col)])
    panel = np.asarray(picture)[:, :320]
    bands = cube.reflectance("post", ("B4", "B3", "B2"))
    whole = np.moveaxis(cube.read(bands=bands), 0, -1)
    colours = np.rint(255 * images.stretched(whole, *images.stretch_of([whole])))
    inside = panel[160:165, 160:165].reshape(-1, 3)
    assert (inside == colours[row, col]).all()
    if col + 5 < cube.shape[1]:
        assert (panel[160, 160 + 5 * 5] == colours[row, col + 5]).all()
    if place == (0, 0):
        assert (panel[:150, :150] == np.rint(255 * np.array(to_rgb(images.NODATA)))).all()
