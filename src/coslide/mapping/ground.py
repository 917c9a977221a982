"""Which ground a model has seen, so that no score is taken on it."""

from collections.abc import Iterable

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import box

from coslide.samples.split import Split
from coslide.samples.windows import Window
from coslide.settings import Checked

NEVER_SEEN, TRAINED_ON, HELD_OUT = 0, 1, 2
Bounds = tuple[float, float, float, float]


class Ground(Checked):
    """Ground that trained a model, and ground held out: rectangles (left, bottom, right, top) in `crs`."""

    crs: str
    train: list[Bounds]
    test: list[Bounds]


def ground_of(split: Split, grid: GeoBox) -> Ground:
    """Return where the parts of `split` lie, in the CRS of the `grid` that its windows count cells of."""
    return Ground(crs=str(grid.crs), train=_bounds(split.train_area, grid), test=_bounds(split.test_area, grid))


def seen_ground(ground: Ground, grid: GeoBox) -> NDArray[np.uint8]:
    """Return what training did with each cell of `grid`, uint8 (row, col): 0 never seen, 1 trained on, 2 held out.

    A cell that both parts cover counts as trained on. The grid may be another than that of the training; a cell
    counts by its centre.

    Examples
    --------
    >>> from coslide.grid import Extent, common_grid
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500040, 10))])
    >>> ground = Ground(crs="EPSG:32654", train=[(500000, 0, 500020, 10)], test=[(500010, 0, 500030, 10)])
    >>> seen_ground(ground, grid)
    array([[1, 1, 2, 0]], dtype=uint8)
    """
    parts = np.full(grid.shape, NEVER_SEEN, dtype=np.uint8)
    for value, bounds in ((HELD_OUT, ground.test), (TRAINED_ON, ground.train)):
        boxes = gpd.GeoSeries([box(*b) for b in bounds], crs=ground.crs).to_crs(str(grid.crs))
        if not boxes.empty:
            rasterize(boxes, out=parts, transform=grid.affine, default_value=value)
    return parts


def _bounds(windows: Iterable[Window], grid: GeoBox) -> list[Bounds]:
    found = []
    for window in windows:
        left, top = grid.affine @ (window.col, window.row)
        right, bottom = grid.affine @ (window.col + window.width, window.row + window.height)
        found.append((left, bottom, right, top))
    return found
