"""Where a model was trained, so that it is never scored there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import geopandas as gpd
import numpy as np
import rasterio.features
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import AfterValidator, Field
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely import area, box, intersection, make_valid
from shapely.geometry import shape

from coslide.config.records import StrictModel
from coslide.io.cog import RasterBands, write_cog
from coslide.io.qgis import write_raster_style
from coslide.io.shapes import densify
from coslide.samples.split import SplitRaster, Subset
from coslide.windows import Window

_Coordinate = Annotated[float, Field(ge=-1e8, le=1e8)]
_Ring = Annotated[list[tuple[_Coordinate, _Coordinate]], Field(min_length=4)]
Polygons = list[Annotated[list[_Ring], Field(min_length=1)]]
"""Coordinates of a MultiPolygon as GeoJSON has them: rings of (x, y) for each polygon."""
_STEP_M = 1000.0  # then a straight edge is off by 2 cm after reprojection
_COLOURS: dict[int, tuple[int, int, int, int]] = {
    Subset.NONE: (0, 0, 0, 0),
    Subset.TRAIN: (230, 159, 0, 255),
    Subset.TEST: (0, 114, 178, 255),
    Subset.VALIDATION: (0, 158, 115, 255),
    Subset.GUARD: (153, 153, 153, 255),
}


def _require_crs(text: str) -> str:
    try:
        CRS.from_user_input(text)
    except CRSError:
        raise ValueError(f"found {text[:60]!r}, expected a CRS") from None
    return text


class TrainingFootprint(StrictModel):
    """Where training, validation and test pixels of a model lie: polygons in `crs`.

    `train` holds the guard beside held-out pixels too, whose bands training saw and whose labels it did not.
    """

    crs: Annotated[str, AfterValidator(_require_crs)]
    train: Polygons
    test: Polygons
    validation: Polygons = Field(default_factory=list)


def footprint_of(subsets: SplitRaster, grid: GeoBox) -> TrainingFootprint:
    """Outline the subsets of a split in the CRS of its grid.

    Parameters
    ----------
    subsets
        `Subset` of each pixel, uint8 (row, col).
    grid
        Of the pixels.
    """
    seen = np.where(subsets == Subset.GUARD, np.uint8(Subset.TRAIN), subsets)
    found: dict[str, Polygons] = {"train": [], "test": [], "validation": []}
    for outline, subset in rasterio.features.shapes(seen, mask=seen > 0, transform=grid.affine):
        found[Subset(int(subset)).name.lower()].append(outline["coordinates"])
    return TrainingFootprint(crs=str(grid.crs), **found)


def footprint_of_windows(
    subsets: SplitRaster, windows: Sequence[Window], bounds: Sequence[tuple[float, float, float, float]]
) -> TrainingFootprint:
    """Outline the subsets of a raster of which only the bounds of some windows are known, each window as a whole.

    A window of several subsets counts as `split_raster` counts a pixel.

    Parameters
    ----------
    subsets
        `Subset` of each pixel, uint8 (row, col).
    windows, bounds
        The windows, and west, south, east and north of each [degrees].
    """
    found: dict[str, Polygons] = {"train": [], "test": [], "validation": []}
    for window, bound in zip(windows, bounds, strict=True):
        own = {Subset(int(number)) for number in np.unique(subsets[window.slices])}
        own |= {Subset.TRAIN} if Subset.GUARD in own else set()
        chosen = next((one for one in (Subset.TRAIN, Subset.VALIDATION, Subset.TEST) if one in own), None)
        if chosen is not None:
            found[chosen.name.lower()].append([list(box(*bound).exterior.coords)])
    return TrainingFootprint(crs="EPSG:4326", **found)


def seen_elsewhere(
    footprints: Sequence[TrainingFootprint],
    bounds: Sequence[tuple[float, float, float, float]],
    subset: Subset = Subset.TRAIN,
) -> NDArray[np.bool_]:
    """Tell which rectangles, given by west, south, east and north [degrees], overlap with pixels of a subset.

    Examples
    --------
    >>> train = [[list(box(0, 0, 1, 1).exterior.coords)]]
    >>> seen_elsewhere([TrainingFootprint(crs="EPSG:4326", train=train, test=[])], [(0, 0, 2, 2), (1, 0, 2, 1)])
    array([ True, False])
    """
    rectangles = box(*np.array(bounds, dtype=np.float64).T)
    found = np.zeros(len(bounds), dtype=bool)
    for footprint in footprints:
        if getattr(footprint, subset.name.lower()):
            outline = _outlines(footprint, subset.name.lower(), "EPSG:4326").iloc[0]
            found |= area(intersection(rectangles, make_valid(outline))) > 0
    return found


def split_raster(footprints: Sequence[TrainingFootprint], grid: GeoBox) -> SplitRaster:
    """Burn what training did with each pixel of `grid`, uint8 (row, col): 0 never seen, or a `Subset`.

    A pixel in several subsets counts as trained on, or else as validation. The grid may be another than that of the
    training; a pixel counts by its centre.

    Examples
    --------
    >>> from coslide.grid import Extent, common_grid
    >>> from shapely.geometry import box
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500040, 10))])
    >>> train, test = ([list(box(left, 0, left + 20, 10).exterior.coords)] for left in (500000, 500010))
    >>> split_raster([TrainingFootprint(crs="EPSG:32654", train=[train], test=[test])], grid)
    array([[1, 1, 2, 0]], dtype=uint8)
    """
    subsets = np.full(grid.shape, Subset.NONE, dtype=np.uint8)
    for subset in (Subset.TEST, Subset.VALIDATION, Subset.TRAIN):
        for footprint in footprints:
            if getattr(footprint, subset.name.lower()):
                outlines = _outlines(footprint, subset.name.lower(), str(grid.crs))
                rasterio.features.rasterize(outlines, out=subsets, transform=grid.affine, default_value=int(subset))
    return subsets


def _outlines(footprint: TrainingFootprint, subset: str, crs: str) -> gpd.GeoSeries:
    """Bring the outline of a subset, one MultiPolygon, into a CRS."""
    outline = shape({"type": "MultiPolygon", "coordinates": getattr(footprint, subset)})
    if footprint.crs != crs:
        (outline,) = densify(np.array([outline], dtype=object), _STEP_M, name="footprint of the model")
    return gpd.GeoSeries([outline], crs=footprint.crs).to_crs(crs)


def is_held_out(seen: SplitRaster) -> NDArray[np.bool_]:
    """Tell where a score is fair: at pixels that neither trained a model nor chose its threshold.

    Examples
    --------
    >>> is_held_out(np.array([Subset.NONE, Subset.TRAIN, Subset.TEST, Subset.VALIDATION], dtype=np.uint8))
    array([ True, False,  True, False])
    """
    return np.isin(seen, (Subset.NONE, Subset.TEST))


def write_split_raster(path: Path, subsets: SplitRaster, grid: GeoBox, *, fingerprint: str) -> None:
    """Write a raster of the subset of each pixel.

    Parameters
    ----------
    path
        GeoTIFF to write, whole or not at all: uint8, a `Subset` each, with a name and a colour for every number; a
        style for QGIS beside it.
    subsets, grid
        The subsets, uint8 (row, col), and their grid.
    fingerprint
        Of the cube that was split; kept as the tag ``cube``.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    bands = RasterBands(["subset"], dtype="uint8", nodata=int(Subset.NONE), colours=_COLOURS)
    tags = {"cube": fingerprint, **{f"subset_{int(number)}": number.name.lower() for number in Subset}}
    write_cog(path, grid, bands, lambda rows: subsets[np.newaxis, rows], tags=tags)
    seen = [number for number in Subset if number != Subset.NONE]
    write_raster_style(path, {n: _COLOURS[n] for n in seen}, names={n: n.name.lower() for n in seen})
