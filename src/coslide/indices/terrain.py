"""Terrain indices: elevation, slope, aspect class and curvature."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import DemConfig
from coslide.cube.band import Band
from coslide.grid import pixel_size_m, slices_of
from coslide.indices import derivatives
from coslide.labels import NO_CLASS
from coslide.sources.dem import ElevationSource, open_elevation

INTEGER_DEM_SIGMA_PX = 3.0  # the sigma at which curvature from a whole-metre DEM agrees best with the truth


@dataclass(frozen=True, eq=False)
class Terrain:
    """The terrain indices of an elevation model on a grid; a `coslide.cube.layer.LayerGroup`.

    Attributes
    ----------
    bands
        elevation, slope, aspect_class, mean_curvature or esri_curvature, dem_void.
    notes
        Lines for the log.
    """

    bands: tuple[Band, ...]
    notes: tuple[str, ...]
    _grid: GeoBox
    _source: ElevationSource
    _dem: DemConfig
    _sigma_px: float

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return the terrain indices on `window`, each (row, col), by name and in the units of `bands`.

        Parameters
        ----------
        window
            A part of the grid.

        Returns
        -------
        dict of ndarray
            float32, NaN where unknown; `aspect_class` and `dem_void` uint8, 255 where unknown.

        Raises
        ------
        ValueError
            If the window is no part of the grid.

        Notes
        -----
        Smoothing and derivatives see the ground beyond the window and beyond the grid. Where a cell around is unknown,
        so are slope, aspect and curvature; `dem_void` is 255 where the elevation itself is.
        """
        slices_of(window, self._grid)  # refuses what is no part of it
        margin, cell_m = derivatives.smoothing_margin_px(self._sigma_px), pixel_size_m(window)
        metres = self._source.elevation(window.pad(margin))
        smoothed = derivatives.smooth(metres, self._sigma_px)
        ring = slice(margin - 1, 1 - margin or None)  # the derivatives take the last cell of the margin
        smoothed = smoothed[ring, ring]
        shape = derivatives.slope_aspect_curvature(smoothed, cell_m, threads=1)  # strips run side by side already
        aspect = derivatives.aspect_class(shape.aspect_deg, shape.slope_deg, flat_below_deg=self._dem.flat_below_deg)
        inside = (slice(1, -1), slice(1, -1))
        elevation = metres[margin:-margin, margin:-margin]
        found: dict[str, NDArray[Any]] = {"elevation": elevation, "slope": shape.slope_deg[inside]}
        found["aspect_class"] = aspect[inside]
        if self._dem.curvature == "esri":
            found["esri_curvature"] = derivatives.esri_curvature(smoothed, cell_m, threads=1)[inside]
        else:
            found["mean_curvature"] = shape.mean_curvature_per_m[inside]
        void = self._source.void(window)
        void[np.isnan(elevation)] = NO_CLASS
        return {**found, "dem_void": void}


def prepare_terrain(dem: DemConfig, grid: GeoBox) -> Terrain:
    """Return the terrain indices of `dem`, ready to be computed on windows of `grid`.

    The DEM is brought to the grid, in metres, before any derivative is taken. A DEM of whole metres is smoothed first
    by a Gaussian of 3 cells, unless ``dem.smoothing_sigma_px`` says otherwise: its curvature is noise without.

    Parameters
    ----------
    dem
        What the event file says of it.
    grid
        Square cells in metres, north up.

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
        notes += (f"dem: holds whole metres; smoothed by a Gaussian of {sigma_px:g} cells before its derivatives",)
    return Terrain(_bands(dem, source, sigma_px), notes, grid, source, dem, sigma_px)


def _bands(dem: DemConfig, source: ElevationSource, sigma_px: float) -> tuple[Band, ...]:
    plain = {**source.attrs, "integer_source": int(source.integer)}
    smoothed = {**plain, "smoothing_sigma_px": sigma_px}
    void = {**plain, "resampling": "nearest", "filled_up_to_km2": dem.fill_voids_km2}
    if dem.curvature == "esri":
        name, unit = "esri_curvature", "1e-2 m-1"
        long_name = "curvature of ArcGIS: -100 times the Laplacian, positive on hilltops"
    else:
        name, unit, long_name = "mean_curvature", "m-1", "mean curvature, positive on hilltops"
    group = "terrain"
    return (
        Band("elevation", "m", group=group, long_name="elevation, not smoothed", provenance=plain),
        Band("slope", "degree", group=group, long_name="slope (Horn)", provenance=smoothed),
        Band(
            "aspect_class",
            kind="circular",
            class_names=derivatives.ASPECT_CLASSES,
            definition=f"flat below a slope of {dem.flat_below_deg:g} degrees; "
            "the others at 22.5 + 45 k degrees from north",
            group=group,
            long_name="aspect",
            provenance=smoothed,
        ),
        Band(name, unit, group=group, signed=True, long_name=long_name, provenance=smoothed),
        Band(
            "dem_void",
            kind="flag",
            class_names=("no", "yes"),
            first_class=0,
            group=group,
            role="diagnostic",
            long_name="a void of the DEM was filled",
            provenance=void,
        ),
    )
