"""Landslide polygons from a probability map, with their attributes, and the files they are delivered in."""

import errno
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import rasterio.features
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.io.paths import require_regular_file
from coslide.io.qgis import write_layer_style
from coslide.labels import label_objects
from coslide.mapping.attributes import Landslide, LandslideContext, describe_landslides, measure_shapes

FloatArray = NDArray[np.floating]
Labels = NDArray[np.int32]

_LAYER = "landslides"
PACKAGE = f"{_LAYER}.gpkg"


def label_landslides(
    probability: FloatArray, *, pixel_size_m: float, threshold: float = 0.5, min_area_m2: float = 0.0
) -> Labels:
    r"""Label the pixels of each landslide by its number, int32 (row, col), 0 where there is none.

    Landslides are objects of pixels with ``probability >= threshold`` that touch at a side or a corner::

        \  |  /
        -- x --      8-connected
        /  |  \

    Parameters
    ----------
    probability
        Landslide probability [0 to 1], float (row, col); NaN (not valid) is never landslide.
    pixel_size_m
        Side of a pixel [m].
    threshold
        Above 0 and at most 1.
    min_area_m2
        Smaller objects are left out [m2].

    Returns
    -------
    ndarray
        Numbers 1, 2, ... in the order of each landslide's first pixel, rows from the top, columns from the left. They
        depend on the objects that are kept only, not on the machine or the labelling library.

    Raises
    ------
    ValueError
        If the threshold is not in (0, 1], the map is not two-dimensional or the pixel size is not above 0.

    Examples
    --------
    >>> probability = np.array([[0.9, 0.1, 0.1, 0.8], [0.2, 0.7, 0.1, 0.3], [0.6, 0.1, np.nan, 0.5]])
    >>> label_landslides(probability, pixel_size_m=10)
    array([[1, 0, 0, 2],
           [0, 1, 0, 0],
           [1, 0, 0, 3]], dtype=int32)
    >>> label_landslides(probability, pixel_size_m=10, min_area_m2=200)
    array([[1, 0, 0, 0],
           [0, 1, 0, 0],
           [1, 0, 0, 0]], dtype=int32)
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold: expected a probability above 0 and at most 1, found {threshold}")
    if probability.ndim != 2:
        raise ValueError(f"probability: expected (row, col), found {probability.ndim} dimensions")
    if not pixel_size_m > 0:
        raise ValueError(f"pixel_size_m: expected a length above 0, found {pixel_size_m}")
    labels = label_objects(probability >= threshold)
    where = np.flatnonzero(labels)
    found, _ = pd.factorize(labels.ravel()[where])  # 0, 1, 2, ... in the order of first pixels
    kept = np.bincount(found) >= min_area_m2 / pixel_size_m**2 - 1e-9
    numbers: Labels = labels.view(np.int32) if labels.itemsize == 4 else labels.astype(np.int32)
    numbers.ravel()[where] = np.where(kept, kept.cumsum(), 0)[found]
    return numbers


def vectorize_landslides(
    probability: FloatArray,
    grid: GeoBox,
    *,
    threshold: float = 0.5,
    min_area_m2: float = 0.0,
    context: LandslideContext | None = None,
) -> gpd.GeoDataFrame:
    """Draw the landslides of a probability map as polygons in the CRS of the grid, one row each.

    Parameters
    ----------
    probability
        Landslide probability [0 to 1], float (row, col); NaN (not valid) is never landslide.
    grid
        Grid of the map, in metres, with square pixels.
    threshold
        A pixel is landslide from this probability on; above 0 and at most 1.
    min_area_m2
        Smaller landslides are left out [m2].
    context
        What else is known; columns of what is not are empty.

    Returns
    -------
    GeoDataFrame
        The columns of `Landslide`, among them ``id`` (int32, as `label_landslides` numbers them), ``area_m2`` (pixels
        x area of a pixel) and ``area_geodesic_m2`` (the same area on the ellipsoid, free of the scale error of the
        projection; Karney 2013, doi:10.1007/s00190-012-0578-z); and ``geometry``: valid
        MultiPolygons along the edges of the pixels, with holes. Without any landslide the frame is empty and has the
        same columns, dtypes and CRS.

    Raises
    ------
    ValueError
        If the map and the grid differ in shape, the grid is not in metres, or `label_landslides` refuses a number.

    Examples
    --------
    >>> from affine import Affine
    >>> grid = GeoBox((2, 3), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    >>> frame = vectorize_landslides(np.array([[0.9, 0.1, 0.1], [0.2, 0.7, 0.1]]), grid)
    >>> frame[["id", "area_m2", "probability_mean", "probability_max"]]
       id  area_m2  probability_mean  probability_max
    0   1    200.0               0.8              0.9
    """
    if probability.shape != tuple(grid.shape):
        raise ValueError(f"probability: expected the shape of the grid {tuple(grid.shape)}, found {probability.shape}")
    if grid.crs is None or not grid.crs.projected or grid.crs.units[0] not in {"metre", "meter"}:
        raise ValueError(f"grid: expected a projected CRS in metres, found {grid.crs}")
    pixel_size_m = abs(grid.affine.a)
    labels = label_landslides(probability, pixel_size_m=pixel_size_m, threshold=threshold, min_area_m2=min_area_m2)
    geometry = _outlines(labels, grid)
    columns = {
        "id": np.arange(1, len(geometry) + 1, dtype=np.int32),
        "area_m2": np.bincount(labels.ravel(), minlength=1)[1:] * pixel_size_m**2,
        "area_geodesic_m2": _geodesic_area_m2(geometry, grid),
        **measure_shapes(geometry),
        **describe_landslides(labels, probability, context or LandslideContext()),
    }
    columns["height_to_length"] = np.asarray(columns["relief_m"]) / columns["length_m"]
    ordered = {name: np.asarray(columns[name]) for name in Landslide.model_fields}
    return gpd.GeoDataFrame(ordered, geometry=geometry, crs=str(grid.crs))


def write_inventory(
    frame: gpd.GeoDataFrame, folder: Path, *, metadata: Mapping[str, str] | None = None
) -> tuple[Path, Path]:
    """Write the inventory as a GeoPackage and a GeoParquet file.

    Parameters
    ----------
    frame
        Landslides as `vectorize_landslides` gives them; may be empty.
    folder
        Takes ``landslides.gpkg`` (layer "landslides", with a style for QGIS beside it) and ``landslides.parquet``; each
        appears whole or not at all.
    metadata
        What the GeoPackage records of the layer: the event, the model, the credit.

    Returns
    -------
    tuple of Path
        GeoPackage, GeoParquet.

    Raises
    ------
    InputError
        If the disk is full, the folder cannot be written, or another program has the older GeoPackage open.
    OSError
        If the GeoPackage does not hold what was written although the disk has room.

    Examples
    --------
    >>> import tempfile
    >>> from affine import Affine
    >>> grid = GeoBox((2, 3), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    >>> paths = write_inventory(vectorize_landslides(np.zeros((2, 3)), grid), Path(tempfile.mkdtemp()))
    >>> paths[0].name, len(gpd.read_file(paths[0], layer="landslides")), len(gpd.read_parquet(paths[1]))
    ('landslides.gpkg', 0, 0)
    """
    package, parquet = folder / PACKAGE, folder / f"{_LAYER}.parquet"
    with whole_output(package) as part:
        about = dict(metadata or {})  # an empty frame has no type of geometry to infer
        options = {"layer_metadata": about, "dataset_options": {"VERSION": "1.2"}}  # GDAL before 3.7 warns of 1.4
        pyogrio.write_dataframe(frame, part, layer=_LAYER, geometry_type="MultiPolygon", **options)
        style = files("coslide.mapping").joinpath("style.qml").read_text(encoding="utf-8")
        write_layer_style(part, _LAYER, style, about="landslides by their mean probability")
        found = pyogrio.read_info(part, layer=_LAYER, force_feature_count=True)["features"]
        if found != len(frame):
            raise OSError(errno.EIO, f"expected {len(frame)} landslides in the file, found {found}", str(package))
    with whole_output(parquet) as part:
        frame.to_parquet(part, index=False, compression="zstd")
    return package, parquet


def read_inventory(folder: Path | str) -> gpd.GeoDataFrame:
    """Read the landslides of a map: polygons with the columns of `docs/inventory.md`.

    Parameters
    ----------
    folder
        Of the map, with its ``landslides.parquet``.

    Raises
    ------
    InputError
        If it holds none.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> landslides = read_inventory(predict_scene(bundle, index, folder / "map"))
    >>> landslides.crs.to_epsg(), bool((landslides["area_m2"] > 0).all())
    (32654, True)
    """
    path = Path(folder) / "landslides.parquet"
    require_regular_file(path)
    if not path.exists():
        raise InputError(f"{path}: not found; expected the folder of a map (coslide map writes one)")
    return gpd.read_parquet(path)


def object_areas_m2(mask: NDArray[np.bool_], pixel_size_m: float) -> NDArray[np.float64]:
    """Compute the area in m2 of each object in `mask`, bool (row, col): pixels that touch, at a corner or a side.

    Examples
    --------
    >>> object_areas_m2(np.array([[True, False, True], [True, False, False]]), 10.0)
    array([200., 100.])
    """
    pixels = np.bincount(label_objects(mask).ravel())[1:]
    return np.asarray(pixels * float(pixel_size_m) ** 2, dtype=np.float64)


def _outlines(labels: Labels, grid: GeoBox) -> NDArray[np.object_]:
    """Trace a MultiPolygon for each of the labels 1, 2, ...

    The pieces of an object that meet only at a corner are traced one by one (4-connected) and collected: traced in
    one go, the outline touches itself and is not valid.
    """
    traced = rasterio.features.shapes(labels, mask=labels > 0, connectivity=4, transform=grid.affine)
    found = [(number, shapely.geometry.shape(shape)) for shape, number in traced]
    pieces = pd.DataFrame(found, columns=["id", "piece"]).sort_values("id", kind="stable")
    return np.asarray(shapely.multipolygons(pieces["piece"], indices=pieces["id"].astype(np.int64) - 1))


def _geodesic_area_m2(geometry: NDArray[np.object_], grid: GeoBox) -> NDArray[np.float64]:
    crs = pyproj.CRS.from_user_input(str(grid.crs))
    geod: Any = crs.get_geod()
    degrees = gpd.GeoSeries(geometry, crs=crs).to_crs(crs.geodetic_crs)
    oriented = shapely.orient_polygons(degrees.to_numpy())  # holes count as negative areas
    return np.array([geod.geometry_area_perimeter(shape)[0] for shape in oriented], dtype=np.float64)
