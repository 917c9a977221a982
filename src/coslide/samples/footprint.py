"""Which ground a model has seen, so that no score is taken on it."""

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field
from shapely.geometry import mapping, shape
from shapely.ops import unary_union

from coslide.config.training import StrictModel
from coslide.io.atomic import whole_output
from coslide.samples.split import SplitRaster, Subset

Ring = list[tuple[float, float]]
_COLOURS = {
    Subset.NONE: (0, 0, 0, 0),
    Subset.TRAIN: (230, 159, 0, 255),
    Subset.TEST: (0, 114, 178, 255),
    Subset.VALIDATION: (0, 158, 115, 255),
    Subset.GUARD: (153, 153, 153, 255),
}


class TrainingFootprint(StrictModel):
    """Ground that trained a model, chose its threshold, and was held out: polygons (rings of x, y) in `crs`.

    `train` holds the ground beside held-out ground too, whose bands training saw and whose labels it did not.
    """

    crs: str
    train: list[list[Ring]]
    test: list[list[Ring]]
    validation: list[list[Ring]] = Field(default_factory=list)


def footprint_of(parts: SplitRaster, grid: GeoBox) -> TrainingFootprint:
    """Return where the parts of a split lie, in the CRS of the `grid` of its cells.

    Parameters
    ----------
    parts
        `Subset` of each cell, uint8 (row, col).
    grid
        The grid of the cells.
    """
    seen = np.where(parts == Subset.GUARD, Subset.TRAIN, parts).astype(np.uint8)
    found: dict[int, list[list[Ring]]] = {Subset.TRAIN: [], Subset.TEST: [], Subset.VALIDATION: []}
    for outline, part in rasterio.features.shapes(seen, mask=seen > 0, transform=grid.affine):
        found[int(part)].append(mapping(shape(outline))["coordinates"])
    return TrainingFootprint.model_validate(
        {"crs": str(grid.crs), **{name: found[Subset[name.upper()]] for name in ("train", "test", "validation")}}
    )


def split_raster(grounds: Sequence[TrainingFootprint], grid: GeoBox) -> SplitRaster:
    """Return what training did with each cell of `grid`, uint8 (row, col): 0 never seen, or a `Subset`.

    A cell that several parts cover counts as trained on, or else as validation. The grid may be another than that of
    the training; a cell counts by its centre.

    Examples
    --------
    >>> from coslide.grid import Extent, common_grid
    >>> from shapely.geometry import box
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500040, 10))])
    >>> train, test = ([list(box(left, 0, left + 20, 10).exterior.coords)] for left in (500000, 500010))
    >>> split_raster([TrainingFootprint(crs="EPSG:32654", train=[train], test=[test])], grid)
    array([[1, 1, 2, 0]], dtype=uint8)
    """
    parts = np.full(grid.shape, Subset.NONE, dtype=np.uint8)
    for part, name in ((Subset.TEST, "test"), (Subset.VALIDATION, "validation"), (Subset.TRAIN, "train")):
        for ground in grounds:
            polygons = [shape({"type": "Polygon", "coordinates": rings}) for rings in getattr(ground, name)]
            outlines = gpd.GeoSeries([unary_union(polygons)] if polygons else [], crs=ground.crs).to_crs(str(grid.crs))
            if not outlines.empty:
                rasterio.features.rasterize(outlines, out=parts, transform=grid.affine, default_value=int(part))
    return parts


def is_held_out(seen: SplitRaster) -> NDArray[np.bool_]:
    """Return where a score is fair: on ground that neither trained a model nor chose its threshold.

    Examples
    --------
    >>> is_held_out(np.array([Subset.NONE, Subset.TRAIN, Subset.TEST, Subset.VALIDATION], dtype=np.uint8))
    array([ True, False,  True, False])
    """
    return np.asarray((seen != Subset.TRAIN) & (seen != Subset.VALIDATION) & (seen != Subset.GUARD))


def write_split_raster(path: Path, parts: SplitRaster, grid: GeoBox, *, fingerprint: str) -> Path:
    """Return the path of a raster that says which cell was in which part of a split.

    Parameters
    ----------
    path
        GeoTIFF to write, whole or not at all: uint8, a `Subset` each, with a name and a colour for every number.
    parts, grid
        The parts, uint8 (row, col), and their grid.
    fingerprint
        Of the cube that was split; kept as the tag ``cube``.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "compress": "DEFLATE", "nodata": int(Subset.NONE)}
    size = {"height": grid.shape[0], "width": grid.shape[1], "crs": str(grid.crs), "transform": grid.affine}
    with whole_output(path) as part, rasterio.open(part, "w", **profile, **size) as file:
        file.write(parts, 1)
        file.write_colormap(1, {int(number): colour for number, colour in _COLOURS.items()})
        file.update_tags(cube=fingerprint, **{f"part_{int(number)}": number.name.lower() for number in Subset})
    return path
