"""Terrain indices: elevation, slope, aspect class and curvature."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import DemConfig
from coslide.cube.band import YES_NO, Band
from coslide.cube.store import LayerGroup
from coslide.grid import pixel_size_m, slices_of
from coslide.indices import derivatives
from coslide.labels import NO_CLASS
from coslide.sources.dem import ElevationSource, open_elevation

INTEGER_DEM_SIGMA_PX = 3.0  # the sigma at which curvature from a whole-metre DEM agrees best with the truth
_CURVATURES = {
    "mean": ("m-1", "mean curvature, positive on hilltops"),
    "esri": ("1e-2 m-1", "curvature of ArcGIS: -100 times the Laplacian, positive on hilltops"),
}


def prepare_terrain(dem: DemConfig, grid: GeoBox) -> LayerGroup:
    """Prepare elevation, slope, aspect class, curvature and filled voids of `dem` on windows of `grid`.

    The DEM is brought to the grid, in metres, before any derivative is taken. A DEM of whole metres is smoothed first
    by a Gaussian of 3 pixels, unless ``dem.smoothing_sigma_px`` is given: its curvature is noise without.

    Parameters
    ----------
    dem
        Its table of the event file.
    grid
        Square pixels in metres, north up.

    Raises
    ------
    InputError
        As `coslide.sources.dem.open_elevation`.
    """
    asked_px = dem.smoothing_sigma_px
    margin_px = derivatives.smoothing_margin_px(INTEGER_DEM_SIGMA_PX if asked_px is None else asked_px)
    source = open_elevation(dem, grid, margin_px=margin_px)
    sigma_px = asked_px if asked_px is not None else INTEGER_DEM_SIGMA_PX if source.integer else 0.0
    notes = source.notes
    if asked_px is None and source.integer:
        notes += (f"dem: holds whole metres; smoothed by a Gaussian of {sigma_px:g} pixels before its derivatives",)
    compute = partial(_compute, grid=grid, source=source, dem=dem, sigma_px=sigma_px)
    return LayerGroup(_bands(dem, source, sigma_px), notes, compute)


def _compute(
    window: GeoBox, *, grid: GeoBox, source: ElevationSource, dem: DemConfig, sigma_px: float
) -> dict[str, NDArray[Any]]:
    """Compute the terrain indices on `window`, each (row, col).

    Smoothing and derivatives see the terrain beyond the window and beyond the grid. Beside nodata, slope, aspect and
    curvature are nodata too; `dem_void` is nodata where the elevation itself is.
    """
    slices_of(window, grid)  # refuses what is no part of it
    margin, side_m = derivatives.smoothing_margin_px(sigma_px), pixel_size_m(window)
    metres = source.elevation(window.pad(margin))
    smoothed = derivatives.smooth(metres, sigma_px)
    ring = slice(margin - 1, 1 - margin or None)  # the derivatives take the last pixel of the margin
    smoothed = smoothed[ring, ring]
    shape = derivatives.slope_aspect_curvature(smoothed, side_m)
    aspect = derivatives.aspect_class(shape.aspect_deg, shape.slope_deg, flat_below_deg=dem.flat_below_deg)
    curvature = derivatives.esri_curvature(smoothed, side_m) if dem.curvature == "esri" else shape.mean_curvature_per_m
    inside = (slice(1, -1), slice(1, -1))
    elevation, void = metres[margin:-margin, margin:-margin], source.void(window)
    void[np.isnan(elevation)] = NO_CLASS
    return {
        "elevation": elevation,
        "slope": shape.slope_deg[inside],
        "aspect_class": aspect[inside],
        f"{dem.curvature}_curvature": curvature[inside],
        "dem_void": void,
    }


def _bands(dem: DemConfig, source: ElevationSource, sigma_px: float) -> tuple[Band, ...]:
    plain = {**source.attrs, "integer_source": int(source.integer)}
    void = {**plain, "resampling": "nearest", "filled_up_to_km2": dem.fill_voids_km2}
    smoothed: dict[str, Any] = {"group": "terrain", "provenance": {**plain, "smoothing_sigma_px": sigma_px}}
    flat = f"flat below a slope of {dem.flat_below_deg:g} degrees; the others at 22.5 + 45 k degrees from north"
    aspect = {"kind": "circular", "class_names": derivatives.ASPECT_CLASSES, "definition": flat, **smoothed}
    unit, curvature = _CURVATURES[dem.curvature]
    filled = "a void of the DEM was filled"
    return (
        Band("elevation", "m", group="terrain", long_name="elevation, not smoothed", provenance=plain),
        Band("slope", "degree", long_name="slope (Horn)", **smoothed),
        Band("aspect_class", long_name="aspect", **aspect),
        Band(f"{dem.curvature}_curvature", unit, signed=True, long_name=curvature, **smoothed),
        Band("dem_void", group="terrain", role="diagnostic", long_name=filled, provenance=void, **YES_NO),
    )
