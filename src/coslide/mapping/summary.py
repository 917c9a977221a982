"""What an inventory comes to: how many landslides, how large they are, and how dense they lie."""

import math
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.evaluation.objects import size_frequency

SQUARE_M = 1000.0
_SIZES = {"smallest": "min", "median": "median", "mean": "mean", "largest": "max"}


def summarise_inventory(frame: gpd.GeoDataFrame, *, valid_km2: float) -> dict[str, Any]:
    """Count the landslides of an inventory and their areas [km2] and sizes [m2], in plain JSON values.

    Parameters
    ----------
    frame
        Landslides as `coslide.mapping.inventory.vectorize_landslides` gives them.
    valid_km2
        Area in which the map has a value [km2].

    Returns
    -------
    dict
        ``landslides``, ``area_km2`` and ``area_geodesic_km2``, ``valid_km2``, ``landslides_per_km2`` and
        ``landslide_share`` (both of the valid area; None where there is none), ``area_m2`` (``smallest``, ``median``,
        ``mean``, ``largest``; None without a landslide) and ``size_frequency``
        (`coslide.evaluation.objects.size_frequency`).

    Examples
    --------
    >>> frame = gpd.GeoDataFrame({"area_m2": [800.0, 1200.0], "area_geodesic_m2": [801.0, 1201.0]})
    >>> found = summarise_inventory(frame, valid_km2=4.0)
    >>> found["landslides"], found["area_km2"], found["landslides_per_km2"], found["landslide_share"]
    (2, 0.002, 0.5, 0.0005)
    >>> found["area_m2"]
    {'smallest': 800.0, 'median': 1000.0, 'mean': 1000.0, 'largest': 1200.0}
    """
    area_km2 = float(frame["area_m2"].sum()) / 1e6
    return {
        "landslides": len(frame),
        "area_km2": area_km2,
        "area_geodesic_km2": float(frame["area_geodesic_m2"].sum()) / 1e6,
        "valid_km2": valid_km2,
        "landslides_per_km2": len(frame) / valid_km2 if valid_km2 else None,
        "landslide_share": area_km2 / valid_km2 if valid_km2 else None,
        "area_m2": {name: float(frame["area_m2"].agg(how)) if len(frame) else None for name, how in _SIZES.items()},
        "size_frequency": size_frequency(frame["area_m2"].to_numpy(dtype=np.float64)).model_dump(),
    }


def count_density(
    frame: gpd.GeoDataFrame, valid: NDArray[np.bool_], grid: GeoBox
) -> tuple[NDArray[np.float32], GeoBox]:
    """Count landslides per km2 and the share of the area that slid [0 to 1], float32 (2, row, col), on their own grid.

    A landslide counts where a point inside it lies, with all its area. Squares are of 1 km, and both numbers are those
    of the valid area of a square; NaN where nothing is valid.

    Parameters
    ----------
    frame
        Landslides as `coslide.mapping.inventory.vectorize_landslides` gives them, in the CRS of `grid`.
    valid
        Where the map has a value, bool (row, col).
    grid
        The grid of the map, north up.

    Examples
    --------
    >>> grid = GeoBox((100, 150), Affine(10, 0, 0, 0, -10, 1000), "EPSG:32648")
    >>> frame = gpd.GeoDataFrame({"area_m2": [500.0]}, geometry=[shapely.box(1200, 500, 1220, 525)], crs=32648)
    >>> density, _ = count_density(frame, np.ones((100, 150), dtype=bool), grid)
    >>> density[:, 0].tolist()  # the second square is cut in half by the edge of the map
    [[0.0, 2.0], [0.0, 0.001]]
    """
    pixel_m = abs(grid.affine.a)
    shape = tuple(math.ceil(length * pixel_m / SQUARE_M) for length in valid.shape)
    squares = GeoBox(shape, Affine(SQUARE_M, 0, grid.affine.c, 0, -SQUARE_M, grid.affine.f), grid.crs)
    bins = [np.arange(length + 1) for length in shape]
    rows, columns = ((np.arange(length) * pixel_m // SQUARE_M).astype(np.int64) for length in valid.shape)
    valid_m2 = np.zeros(shape)
    for row, pixels in zip(rows, valid, strict=True):
        valid_m2[row] += np.bincount(columns, pixels, minlength=shape[1]) * pixel_m**2
    points = shapely.get_coordinates(shapely.point_on_surface(frame.geometry.to_numpy()))
    x, y = ~squares.affine * points.T
    number, area_m2 = (np.histogram2d(y, x, bins, weights=weights)[0] for weights in (None, frame["area_m2"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.stack([number / (valid_m2 / 1e6), area_m2 / valid_m2])
    found[:, valid_m2 == 0] = np.nan
    return found.astype(np.float32), squares
