"""Terrain indices: elevation, slope, aspect class and curvature."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import DemConfig
from coslide.cube.band import YES_NO, Band
from coslide.cube.store import LayerGroup
from coslide.grid import pixel_size_m
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
    sigma_px = dem.smoothing_sigma_px
    margin_px = derivatives.smoothing_margin_px(INTEGER_DEM_SIGMA_PX if sigma_px is None else sigma_px)
    source = open_elevation(dem, grid, margin_px=margin_px)
    notes = source.notes
    if sigma_px is None:
        sigma_px = INTEGER_DEM_SIGMA_PX if source.integer else 0.0
        smoothed = f"dem: holds whole metres; smoothed by a Gaussian of {sigma_px:g} pixels before its derivatives"
        notes += (smoothed,) if source.integer else ()
    return LayerGroup(_bands(dem, source, sigma_px), notes, partial(_compute, source, dem, sigma_px))


def _compute(source: ElevationSource, dem: DemConfig, sigma_px: float, window: GeoBox) -> dict[str, NDArray[Any]]:
    """Compute the terrain indices on `window`, each (row, col).

    Smoothing and derivatives see the terrain beyond the window and beyond the grid. Beside nodata, slope, aspect and
    curvature are nodata too; `dem_void` is nodata where the elevation itself is.
    """
    margin, side_m = derivatives.smoothing_margin_px(sigma_px), pixel_size_m(window)
    metres = source.elevation(window.pad(margin))
    ring = slice(margin - 1, 1 - margin or None)  # the derivatives take the last pixel of the margin
    smoothed = derivatives.smooth(metres, sigma_px)[ring, ring]
    shape = derivatives.slope_aspect_curvature(smoothed, side_m)
    aspect = derivatives.aspect_class(shape.aspect_deg, shape.slope_deg, flat_below_deg=dem.flat_below_deg)
    curvature = derivatives.esri_curvature(smoothed, side_m) if dem.curvature == "esri" else shape.mean_curvature_per_m
    elevation, void = metres[margin:-margin, margin:-margin], source.void(window)
    void[np.isnan(elevation)] = NO_CLASS
    return {
        "elevation": elevation,
        "slope": shape.slope_deg[1:-1, 1:-1],
        "aspect_class": aspect[1:-1, 1:-1],
        f"{dem.curvature}_curvature": curvature[1:-1, 1:-1],
        "dem_void": void,
    }


def _bands(dem: DemConfig, source: ElevationSource, sigma_px: float) -> tuple[Band, ...]:
    plain = {**source.attrs, "integer_source": int(source.integer)}
    void = {**plain, "resampling": "nearest", "filled_up_to_km2": dem.fill_voids_km2}
    smoothed: dict[str, Any] = {"group": "terrain", "provenance": {**plain, "smoothing_sigma_px": sigma_px}}
    flat = f"flat below a slope of {dem.flat_below_deg:g} degrees; the others at 22.5 + 45 k degrees from north"
    aspect = {"kind": "circular", "class_names": derivatives.ASPECT_CLASSES, "definition": flat, **smoothed}
    unit, curvature = _CURVATURES[dem.curvature]
    flag: dict[str, Any] = {"role": "diagnostic", "long_name": "a void of the DEM was filled", **YES_NO}
    return (
        Band("elevation", "m", group="terrain", long_name="elevation, not smoothed", provenance=plain),
        Band("slope", "degree", long_name="slope (Horn)", **smoothed),
        Band("aspect_class", long_name="aspect", **aspect),
        Band(f"{dem.curvature}_curvature", unit, signed=True, long_name=curvature, **smoothed),
        Band("dem_void", group="terrain", provenance=void, **flag),
    )
