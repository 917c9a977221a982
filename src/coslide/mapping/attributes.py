"""Attributes of the landslides of a map, and what they come to: number, sizes, and density."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from coslide.config.records import StrictModel
from coslide.evaluation.objects import size_frequency

DIRECTIONS = ("", "flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW")  # of aspect classes 0 (nodata) to 9
SQUARE_M = 1000.0
_SIZES = {"smallest": "min", "median": "median", "mean": "mean", "largest": "max"}


class Landslide(StrictModel, use_attribute_docstrings=True):
    """Columns of an inventory, a row for each landslide; the tables of the documentation are written from here."""

    id: int
    """1, 2, ... from the north, row by row"""
    area_m2: float
    """in the projection, as seen from above"""
    area_geodesic_m2: float
    """on the ellipsoid, as seen from above"""
    perimeter_m: float
    """of the outline along the pixels, holes included: longer than that of a smooth line"""
    length_m: float
    """long side of the smallest rectangle around it, turned freely"""
    width_m: float
    """short side of that rectangle"""
    probability_mean: float
    """mean of its pixels"""
    probability_max: float
    """largest of its pixels"""
    probability_p10: float
    """probability that a tenth of its pixels do not exceed"""
    uncertainty_mean: float
    """mean standard deviation of the probability, where the map has one"""
    relief_m: float
    """highest less lowest pixel"""
    height_to_length: float
    """relief over length"""
    slope_mean_deg: float
    """mean slope"""
    slope_max_deg: float
    """largest slope"""
    aspect: str
    """commonest of flat, N, NE, E, SE, S, SW, W, NW"""
    stratum: int
    """commonest class of the geological map, 1 the oldest"""
    pga_g: float
    """mean peak ground acceleration"""
    fault_distance_m: float
    """smallest distance to a fault trace"""
    touches_nodata: bool
    """it lies beside a pixel without a value or at the edge of the map, and may go on there"""
    scene_before: str
    """when the scene before the earthquake was acquired"""
    scene_after: str
    """when the scene after the earthquake was acquired"""


class LandslideContext(NamedTuple):
    """What is known beside the probability.

    `sample_cube` gives the values of a band of the cube at pixels, by their numbers in the raveled map and its name, or
    None if the cube lacks it; `spread` is the standard deviation of the probability, float (row, col); `before` and
    `after` are the dates of the scenes, empty where there is none.
    """

    sample_cube: Callable[[NDArray[np.int64], str], NDArray[np.floating] | None] = lambda _place, _name: None
    spread: NDArray[np.floating] | None = None
    before: str = ""
    after: str = ""


def describe_landslides(
    labels: NDArray[np.int32], probability: NDArray[np.floating], context: LandslideContext
) -> dict[str, Any]:
    """Compute the attributes of `Landslide` that come from the pixels of each landslide, as columns.

    Parameters
    ----------
    labels
        Number of the landslide of each pixel, from 1 on, 0 where there is none, int32 (row, col).
    probability
        Landslide probability [0 to 1], (row, col), NaN where the map is not valid.
    context
        What else is known. NaN does not count in a mean; columns of what is not known are empty.
    """
    place = np.flatnonzero(labels)
    landslide = labels.ravel()[place]
    count = int(landslide.max(initial=0))

    def grouped(values: NDArray[Any] | None) -> Any:
        return pd.Series(np.full(len(place), np.nan) if values is None else values, dtype=np.float64).groupby(landslide)

    def commonest(name: str) -> NDArray[np.int64]:
        """Count classes from 1 on; of two that are as common, the lower one counts, and 0 where there is none."""
        values = context.sample_cube(place, name)
        classes = np.nan_to_num(np.zeros(len(place)) if values is None else values).astype(np.int64)
        counts = np.zeros((count, int(classes.max(initial=0)) + 1), dtype=np.int64)
        np.add.at(counts, (landslide[classes > 0] - 1, classes[classes > 0]), 1)
        return np.asarray(counts.argmax(axis=1))

    elevation, slope, pga, fault_distance = (
        grouped(context.sample_cube(place, name)) for name in ("elevation", "slope", "pga", "fault_distance")
    )
    likely = grouped(probability.ravel()[place])
    nodata = ndimage.maximum_filter(~np.isfinite(probability), size=3, mode="constant", cval=1)
    return {
        "probability_mean": likely.mean(),
        "probability_max": likely.max(),
        "probability_p10": likely.quantile(0.1, interpolation="lower"),
        "uncertainty_mean": grouped(None if context.spread is None else context.spread.ravel()[place]).mean(),
        "relief_m": elevation.max() - elevation.min(),
        "slope_mean_deg": slope.mean(),
        "slope_max_deg": slope.max(),
        "aspect": np.array(DIRECTIONS, dtype=object)[commonest("aspect_class")],
        "stratum": commonest("stratum_class").astype(np.int32),
        "pga_g": pga.mean(),
        "fault_distance_m": fault_distance.min(),
        "touches_nodata": grouped(nodata.ravel()[place]).max() > 0,
        "scene_before": np.full(count, context.before, dtype=object),
        "scene_after": np.full(count, context.after, dtype=object),
    }


def measure_shapes(geometry: NDArray[np.object_]) -> dict[str, NDArray[np.float64]]:
    """Measure perimeter, length and width of polygons [m], as columns.

    Length and width are the sides of the smallest rectangle, turned freely, around a landslide.

    Examples
    --------
    >>> {name: float(sides[0]) for name, sides in measure_shapes(np.array([shapely.box(0, 0, 30, 10)])).items()}
    {'perimeter_m': 80.0, 'length_m': 30.0, 'width_m': 10.0}
    """
    corners = shapely.get_coordinates(shapely.oriented_envelope(geometry)).reshape(-1, 5, 2)  # closed
    sides = np.hypot(*np.moveaxis(np.diff(corners[:, :3], axis=1), -1, 0))
    return {"perimeter_m": shapely.length(geometry), "length_m": sides.max(axis=1), "width_m": sides.min(axis=1)}


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
    rows, columns = (np.ceil(np.arange(length) * SQUARE_M / pixel_m).astype(np.int64) for length in shape)
    valid_m2 = np.add.reduceat(np.add.reduceat(valid, rows, dtype=np.int64), columns, axis=1) * pixel_m**2
    points = shapely.get_coordinates(shapely.point_on_surface(frame.geometry.to_numpy()))
    x, y = ~squares.affine * points.T
    number, area_m2 = (np.histogram2d(y, x, bins, weights=weights)[0] for weights in (None, frame["area_m2"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.stack([number / (valid_m2 / 1e6), area_m2 / valid_m2])
    found[:, valid_m2 == 0] = np.nan
    return found.astype(np.float32), squares
