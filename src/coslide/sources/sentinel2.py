"""Sentinel-2 bands as reflectance on the grid."""

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.errors import InputError
from coslide.event import BandFile, Scene
from coslide.sources.raster import open_raster, warp_onto

RESAMPLING = Resampling.bilinear
MAX_PLAUSIBLE_REFLECTANCE = 3.0  # sun glint and fresh snow on sunlit slopes stay below it


def band_names(scene: Scene) -> list[str]:
    """Return the band names of `scene` in the order of wavelength (B2, B3, ..., B8, B8A, B9, ...).

    Examples
    --------
    >>> bands = {name: {"path": "b.tif"} for name in ("B11", "B8A", "B8", "B2")}
    >>> band_names(Scene.model_validate({"bands": bands}))
    ['B2', 'B8', 'B8A', 'B11']
    """
    return sorted(scene.bands, key=lambda name: (len(name.rstrip("A")), name))


def read_reflectance(scene: Scene, grid: GeoBox) -> NDArray[np.float32]:
    """Return the reflectance (1) of every band of `scene` on `grid`, in the order of `band_names`.

    Reflectance is ``value * scale + offset``. What the event file says of a band goes before what the raster declares.

    Returns
    -------
    ndarray of float32, (band, row, col)
        NaN where the band has no value. A dark, corrected reflectance may be slightly negative; it is kept.

    Raises
    ------
    InputError
        If a raster cannot be read or lacks a CRS, holds several bands and none is named, its scale is 0, or
        the result is not a reflectance (median above 3), which means that the scale is missing.
    """
    return np.stack([_read_band(scene.bands[name], grid) for name in band_names(scene)])


def _read_band(band: BandFile, grid: GeoBox) -> NDArray[np.float32]:
    number = _band_number(band)
    scale, offset = _scale_and_offset(band, number)
    values = warp_onto(band.path, grid, resampling=RESAMPLING, nodata=band.nodata, band=number)
    values *= np.float32(scale)
    values += np.float32(offset)
    known = values[np.isfinite(values)]
    if known.size and np.median(known) > MAX_PLAUSIBLE_REFLECTANCE:
        raise InputError(
            f"{band.path}: found a median of {np.median(known):.4g}, expected reflectance between 0 and 1; "
            "give its scale (0.0001 for Sentinel-2 L2A) in the event file"
        )
    return values


def _band_number(band: BandFile) -> int:
    with open_raster(band.path) as dataset:
        if band.band is None and dataset.count > 1:
            raise InputError(
                f'{band.path}: holds {dataset.count} bands; say which, as in {{ path = "{band.path.name}", band = 1 }}'
            )
        if band.band is not None and band.band > dataset.count:
            raise InputError(f"{band.path}: found band = {band.band}, expected at most {dataset.count}")
    return band.band or 1


def _scale_and_offset(band: BandFile, number: int) -> tuple[float, float]:
    with open_raster(band.path) as dataset:
        scale = dataset.scales[number - 1] if band.scale is None else band.scale
        offset = dataset.offsets[number - 1] if band.offset is None else band.offset
    if scale == 0:
        raise InputError(f"{band.path}: found scale 0, expected the factor from stored value to reflectance")
    return float(scale), float(offset)
