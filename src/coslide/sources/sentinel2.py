"""Sentinel-2 scenes as reflectance on windows of the grid."""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.grid import Extent, Lattice, utm_zone
from coslide.io.footprint import same_crs
from coslide.io.raster import require_exact
from coslide.io.resample import resample
from coslide.sources.bands import BandRaster, open_band, redact_url
from coslide.sources.products import Product, read_products

TILE_LATTICE_M = 60.0
MAX_PLAUSIBLE_REFLECTANCE = 3.0  # sun glint and fresh snow on sunlit slopes stay below it
LEAST_PLAUSIBLE_REFLECTANCE = -0.02  # dark, corrected ground may lie slightly below 0
MAX_IMPLAUSIBLE_SHARE = 0.05
SCALE_HINT = "give its scale (0.0001 for Sentinel-2 L2A) in the event file"
_LOOK_PX = 512  # side of the reduced image that is looked at where a raster holds overviews
_SAMPLES, _SAMPLE_PX = 4, 64  # else: windows along each side, and their side


class SceneReader(NamedTuple):
    """A scene, ready to be read window by window, from several threads and processes.

    Attributes
    ----------
    scene
        What the event file says.
    products
        What it is made of; the first one that has a value counts.
    notes
        Lines for the log.
    """

    scene: SceneConfig
    products: tuple[Product, ...]
    notes: tuple[str, ...]

    @property
    def band_names(self) -> list[str]:
        """The band names in the order of wavelength."""
        return self.scene.band_names

    @property
    def acquired(self) -> str:
        """The ISO date of the scene, empty where neither the event file nor a product says it."""
        known = [product.acquired for product in self.products if product.acquired]
        return str(self.scene.date or (known[0] if known else ""))

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that are read, with their metadata files."""
        return tuple(dict.fromkeys(file for product in self.products for file in product.files))

    @property
    def remote(self) -> tuple[str, ...]:
        """The http addresses that are read, without what may be a secret in them (user, query)."""
        items = [product.name for product in self.products if product.name.startswith(("http://", "https://"))]
        rasters = [redact_url(raster.href) for product in self.products for raster in product.rasters if raster.remote]
        return tuple(dict.fromkeys(items + rasters))

    @property
    def remote_metadata(self) -> tuple[str, ...]:
        """What is known beforehand of each raster that is read over http: its address and what its metadata say."""
        return tuple(
            repr((product.acquired, product.baseline, band, raster._replace(href=redact_url(raster.href))))
            for product in self.products
            for band, raster in [*product.bands.items(), *([("SCL", product.scl)] if product.scl else [])]
            if raster.remote
        )

    def extents(self) -> list[Extent]:
        """Return, for each product, the ground that its bands share.

        Raises
        ------
        InputError
            If they share none.
        """
        return [_shared_ground(product) for product in self.products]

    def lattice(self) -> Lattice | None:
        """Return the lattice of 60 m that the cells of all bands of the first product fit in; None for other rasters.

        It has a corner where the coarsest band has one: at multiples of 60 m in the north, but not in the south.
        """
        first = self.products[0]
        coarsest = max(first.rasters, key=lambda raster: raster.transform.a)
        if not first.sentinel2 or utm_zone(coarsest.crs) is None:
            return None
        return Lattice(coarsest.crs, coarsest.transform.c, coarsest.transform.f, TILE_LATTICE_M)

    def reflectance(
        self, name: str, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)
    ) -> NDArray[np.float32]:
        """Return the reflectance (1) of a band on `window`.

        Parameters
        ----------
        name
            One of `band_names`.
        window
            A part of the grid.
        shift_m
            By how much (east, north), in metres, the content of the scene is moved; that and a change of cell size are
            one resampling.

        Returns
        -------
        ndarray of float32, (row, col)
            NaN where the band has no value: no data, saturated, or beyond the scene. Clouds are not taken out
            (`clear`). Values may be slightly below 0.

        Raises
        ------
        InputError
            If a raster cannot be read.

        Notes
        -----
        Reflectance = (stored value + offset / scale) * scale, in float32, after values that mean nothing are taken out
        and before anything is resampled; so products with and without an offset give the same bits. A cell is NaN
        where the raster cell that holds its centre has no value; others without one are left out of the kernel.
        """
        how = Resampling[self.scene.resampling]
        rasters = (product.bands[name] for product in self.products)
        return _mosaic(rasters, window, how, shift_m, read=_reflectance)

    def clear(self, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.bool_]:
        """Return where the scene shows the ground: True but for the classes in ``scl_invalid`` and cells without one.

        Parameters
        ----------
        window
            A part of the grid.
        shift_m
            As in `reflectance`.

        Returns
        -------
        ndarray of bool, (row, col)
            True everywhere if the scene has no classification. Classes come from the nearest raster cell.

        Raises
        ------
        InputError
            If a raster cannot be read.
        """
        rasters = [product.scl for product in self.products if product.scl is not None]
        if not rasters:
            return np.ones(window.shape, dtype=bool)
        classes = _mosaic(iter(rasters), window, Resampling.nearest, shift_m, read=_classes)
        usable = np.ones(256, dtype=bool)
        usable[[0, *self.scene.scl_invalid]] = False
        clear: NDArray[np.bool_] = usable[classes]
        return clear

    def check_radiometry(self, grid: GeoBox) -> None:
        """Return nothing if what is seen at a glance can be reflectance.

        Parameters
        ----------
        grid
            Only ground on it is looked at: overviews, or windows spread over it.

        Raises
        ------
        InputError
            If more than 5 % of the values of a band lie below -0.02, as where an offset was subtracted twice, or its
            median lies above 3, as without a scale.
        """
        for product in self.products:
            for raster in product.bands.values():
                known = _glance(raster, grid)
                if known.size:
                    _require_plausible(known, raster, sentinel2=product.sentinel2)


def open_scene(scene: SceneConfig, *, root: Path) -> SceneReader:
    """Return `scene` ready to be read; the metadata of its products and the heads of its rasters are read here.

    Parameters
    ----------
    scene
        Its paths are absolute.
    root
        The folder of the event.

    Raises
    ------
    InputError
        As `coslide.sources.products.read_products`.
    """
    found = read_products(scene, root=root)
    return SceneReader(scene, found.products, found.notes)


def _mosaic(
    rasters: Iterator[BandRaster],
    window: GeoBox,
    how: Resampling,
    shift_m: tuple[float, float],
    *,
    read: Any,
) -> NDArray[Any]:
    """Return the values of the first raster that has one."""
    out: NDArray[Any] | None = None
    for raster in rasters:
        require_exact(redact_url(raster.href), raster.crs, str(window.crs))
        if out is not None and not (missing := _missing(out)).any():
            break
        values = resample(raster.footprint, functools.partial(read, raster), window, how=how, shift_m=shift_m)
        if out is None:
            out = values
        else:
            out[missing] = values[missing]
    if out is None:
        raise ValueError("rasters: found none, expected at least one")
    return out


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = np.isnan(values) if values.dtype.kind == "f" else values == 0
    return missing


def _stored(raster: BandRaster, rows: slice, cols: slice, **options: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return stored values, and where they mean nothing."""
    if rows.start == rows.stop or cols.start == cols.stop:
        return np.empty((0, 0), dtype=raster.dtype), np.empty((0, 0), dtype=bool)
    with open_band(raster.href, raster.driver) as dataset:
        values = dataset.read(raster.number, window=((rows.start, rows.stop), (cols.start, cols.stop)), **options)
    nothing = np.zeros(values.shape, dtype=bool)
    for value in raster.invalid:
        nothing |= values == value
    return values, nothing


def _reflectance(raster: BandRaster, rows: slice, cols: slice, **options: Any) -> NDArray[np.float32]:
    stored, nothing = _stored(raster, rows, cols, **options)
    values = stored.astype(np.float32)  # before the offset: unsigned integers would wrap
    if raster.offset:
        values += np.float32(raster.offset / raster.scale)
    if raster.scale != 1:
        values *= np.float32(raster.scale)
    values[nothing] = np.nan
    return values


def _classes(raster: BandRaster, rows: slice, cols: slice) -> NDArray[np.uint8]:
    stored, nothing = _stored(raster, rows, cols)
    nothing |= ~((stored >= 0) & (stored <= 255))
    return np.where(nothing, 0, stored).astype(np.uint8)


def _shared_ground(product: Product) -> Extent:
    """Return the ground that all bands of a product cover, in the CRS of its first band."""
    first, *others = product.bands.values()
    left, bottom, right, top = first.bounds
    for raster in others:
        bounds = raster.bounds
        if not same_crs(raster.crs, first.crs):
            to_first = Transformer.from_crs(raster.crs, first.crs, always_xy=True)
            bounds = to_first.transform_bounds(*bounds, densify_pts=21)
        left, bottom = max(left, bounds[0]), max(bottom, bounds[1])
        right, top = min(right, bounds[2]), min(top, bounds[3])
        if left >= right or bottom >= top:
            raise InputError(f"{raster.href}: does not overlap {first.href}, a band of the same scene")
    return Extent(product.name, first.crs, (left, bottom, right, top))


def _glance(raster: BandRaster, grid: GeoBox) -> NDArray[np.float32]:
    """Return some of the known values of a raster on `grid`, spread over it."""
    to_raster = Transformer.from_crs(str(grid.crs), raster.crs, always_xy=True)
    west, south, east, north = to_raster.transform_bounds(*grid.boundingbox.bbox, densify_pts=21)
    corners = [~raster.transform * (x, y) for x in (west, east) for y in (south, north)]
    cols, rows = (
        slice(int(np.clip(min(at), 0, size)), int(np.ceil(np.clip(max(at), 0, size))))
        for at, size in zip(zip(*corners, strict=True), raster.shape[::-1], strict=True)
    )
    with open_band(raster.href, raster.driver) as dataset:
        reduced = bool(dataset.overviews(raster.number))
    if reduced:
        shape = tuple(max(min(part.stop - part.start, _LOOK_PX), 1) for part in (rows, cols))
        looks = [_reflectance(raster, rows, cols, out_shape=shape)]
    else:
        looks = [_reflectance(raster, *part) for part in itertools.product(_samples(rows), _samples(cols))]
    values = np.concatenate([look.ravel() for look in looks])
    known: NDArray[np.float32] = values[np.isfinite(values)]
    return known


def _samples(part: slice) -> list[slice]:
    """Return windows spread over a part of an axis, all of it where it is short."""
    size = part.stop - part.start
    if size <= _SAMPLES * _SAMPLE_PX:
        return [part]
    starts = part.start + np.linspace(0, size - _SAMPLE_PX, _SAMPLES).astype(int)
    return [slice(int(start), int(start) + _SAMPLE_PX) for start in starts]


def _require_plausible(known: NDArray[np.float32], raster: BandRaster, *, sentinel2: bool) -> None:
    name, key = redact_url(raster.href), "boa_offset" if sentinel2 else "offset"
    low = float((known < LEAST_PLAUSIBLE_REFLECTANCE).mean())
    if low > MAX_IMPLAUSIBLE_SHARE:
        raise InputError(
            f"{name}: found {low:.0%} of its values below reflectance {LEAST_PLAUSIBLE_REFLECTANCE:g}, expected at "
            f"most {MAX_IMPLAUSIBLE_SHARE:.0%}; was the offset ({raster.offset / raster.scale:g} in stored values) "
            f"subtracted before? give {key} (0 if so)"
        )
    median = float(np.median(known))
    if median > MAX_PLAUSIBLE_REFLECTANCE:
        hint = "check the scale in its metadata" if sentinel2 else SCALE_HINT
        raise InputError(f"{name}: found a median of {median:.4g}, expected reflectance between 0 and 1; {hint}")
