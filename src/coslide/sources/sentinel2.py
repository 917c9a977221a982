"""Satellite scenes as reflectance on windows of the grid."""

import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.config.schema import SceneConfig
from coslide.config.sensors import SENTINEL2
from coslide.crs import utm_zone
from coslide.errors import InputError
from coslide.grid import Extent, overlap_slices
from coslide.io.http import HTTP, redact_url
from coslide.io.raster import require_exact, require_few_pixels
from coslide.io.resample import resample
from coslide.sources.bands import Band, BandRaster, locate_band, open_band
from coslide.sources.products import read_product
from coslide.sources.safe import Product, Span, baseline_number, require_one_overpass

TILE_LATTICE_M = 60.0
MAX_PLAUSIBLE_REFLECTANCE = 3.0  # sun glint and fresh snow on sunlit slopes stay below it
LEAST_PLAUSIBLE_REFLECTANCE = -0.02  # dark, corrected surfaces may lie slightly below 0
MAX_IMPLAUSIBLE_SHARE = 0.05
SCALE_HINT = "give its scale (0.0001 for Sentinel-2 L2A) in the event file"
_OVERPASS = dt.timedelta(hours=1)
_CLASSES = range(1, 12)
_FILL_CLASSES = (0, 255)
_GLANCE_PX = 512  # side of the reduced image that is checked where a raster holds overviews
_SAMPLES, _SAMPLE_PX = 4, 64  # else: windows along each side, and their side


class SceneReader(NamedTuple):
    """A scene, ready to be read window by window, from several threads and processes.

    Attributes
    ----------
    scene
        Its table of the event file.
    products
        What it consists of; the first one that has a value counts.
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
        """The ISO date of the scene, empty where neither the event file nor a product states it."""
        return str(self.scene.date or next((product.acquired for product in self.products if product.acquired), ""))

    @property
    def days(self) -> tuple[dt.date, dt.date] | None:
        """The first and the last day of the scene, mostly the same; None where nothing states them."""
        if self.scene.date is not None:
            return self.scene.date, self.scene.date
        spans = [product.sensed for product in self.products if product.sensed is not None]
        return (min(first for first, _ in spans).date(), max(last for _, last in spans).date()) if spans else None

    @property
    def sensor(self) -> str:
        """What acquired the scene, with the size of its pixels; empty where nothing tells."""
        return " and ".join(sorted({product.sensor for product in self.products if product.sensor}))

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that are read, with their metadata files."""
        return tuple(dict.fromkeys(file for product in self.products for file in product.files))

    @property
    def remote(self) -> tuple[str, ...]:
        """The http addresses that are read, without what may be a secret in them (user, query)."""
        items = [product.name for product in self.products]
        rasters = [redact_url(raster.href) for product in self.products for raster in product.rasters.values()]
        return tuple(dict.fromkeys(place for place in [*items, *rasters] if place.startswith(HTTP)))

    @property
    def remote_metadata(self) -> tuple[str, ...]:
        """What is known beforehand of each raster that is read over http: its address and what metadata state of it."""
        return tuple(
            repr((product.acquired, product.baseline, name, raster._replace(href=redact_url(raster.href))))
            for product in self.products
            for name, raster in product.rasters.items()
            if raster.href.startswith(HTTP)
        )

    def extents(self) -> list[Extent]:
        """Intersect, for each product, the footprints of its bands.

        Raises
        ------
        InputError
            If they share nothing.
        """
        return [_shared_extent(product) for product in self.products]

    def lattice(self) -> GeoBox | None:
        """Find a pixel of the lattice of 60 m that all bands of the first product fit in; None for other rasters.

        It has a corner where the coarsest band has one: at multiples of 60 m in the north, but not in the south.
        """
        coarsest = max((own.geobox for own in self.products[0].rasters.values()), key=lambda own: own.transform.a)
        if not self.scene.products or utm_zone(str(coarsest.crs)) is None:
            return None
        x, y = coarsest.affine.c, coarsest.affine.f
        return GeoBox((1, 1), Affine(TILE_LATTICE_M, 0, x, 0, -TILE_LATTICE_M, y), coarsest.crs)

    def reflectance(
        self, name: str, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)
    ) -> NDArray[np.float32]:
        """Read the reflectance (1) of a band on `window`.

        Parameters
        ----------
        name
            One of `band_names`.
        window
            A part of the grid.
        shift_m
            By how much (east, north), in metres, the content of the scene is moved; that and a change of pixel size
            are one resampling.

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
        Reflectance = (stored value + offset / scale) * scale, in float32, after nodata values are taken out and before
        anything is resampled; so products with and without an offset give the same bits. A pixel is NaN where the
        raster pixel that holds its centre has no value; others without one are left out of the kernel.
        """
        kernel = Resampling[self.scene.resampling]
        return _mosaic([product.bands[name] for product in self.products], window, kernel, shift_m)

    def clear(self, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.bool_]:
        """Find where the scene shows the surface: True but for the classes in ``scl_invalid`` and pixels without one.

        Parameters
        ----------
        window
            A part of the grid.
        shift_m
            As in `reflectance`.

        Returns
        -------
        ndarray of bool, (row, col)
            True everywhere if the scene has no classification. Classes come from the nearest raster pixel.

        Raises
        ------
        InputError
            If a raster cannot be read.
        """
        classes = self.classes(window, shift_m=shift_m)
        if classes is None:
            return np.ones(window.shape, dtype=bool)
        return np.isin(classes, np.setdiff1d(_CLASSES, self.scene.scl_invalid))

    def classes(self, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32] | None:
        """Read the scene classification (SCL) on `window`, from the nearest raster pixel; None if the scene has none.

        Parameters
        ----------
        window
            A part of the grid.
        shift_m
            As in `reflectance`.

        Returns
        -------
        ndarray of float32, (row, col), or None
            NaN where it has no value.

        Raises
        ------
        InputError
            If a raster cannot be read.
        """
        rasters = [product.rasters["SCL"] for product in self.products if "SCL" in product.rasters]
        return _mosaic(rasters, window, Resampling.nearest, shift_m) if rasters else None

    def check_radiometry(self, grid: GeoBox) -> None:
        """Check at a glance that values can be reflectance, and those of the classification classes.

        Parameters
        ----------
        grid
            Only values on it are checked: overviews, or windows spread over it.

        Raises
        ------
        InputError
            If more than 5 % of the values of a band lie below -0.02, as where an offset was subtracted twice, or its
            median lies above 3, as without a scale; if a value of the classification is no class; or if a raster has
            more pixels on the grid than are read.
        """
        sentinel2 = bool(self.scene.products)
        for raster in [product.rasters["SCL"] for product in self.products if "SCL" in product.rasters]:
            classes = np.unique(_glance(raster, grid))
            if (other := np.setdiff1d(classes, [*_CLASSES, *_FILL_CLASSES])).size:
                found = f"found the class {other[0]:g}, expected those of the scene classification (SCL), 0 to 11"
                raise InputError(f"{redact_url(raster.href)}: {found} (255: no data)")
        for raster in [raster for product in self.products for raster in product.bands.values()]:
            name, values = redact_url(raster.href), _glance(raster, grid)
            low = (values < LEAST_PLAUSIBLE_REFLECTANCE).sum() / max(values.size, 1)
            if low > MAX_IMPLAUSIBLE_SHARE:
                found = f"found {low:.0%} of its values below reflectance {LEAST_PLAUSIBLE_REFLECTANCE:g}"
                offset_dn, key = raster.offset / raster.scale, "boa_offset" if sentinel2 else "offset"
                hint = f"was the offset ({offset_dn:g} in stored values) subtracted before? give {key} (0 if so)"
                raise InputError(f"{name}: {found}, expected at most {MAX_IMPLAUSIBLE_SHARE:.0%}; {hint}")
            if values.size and (median := np.median(values)) > MAX_PLAUSIBLE_REFLECTANCE:
                hint = "check the scale in its metadata" if sentinel2 else SCALE_HINT
                expected = f"expected reflectance between 0 and 1; {hint}"
                raise InputError(f"{name}: found a median of {median:.4g}, {expected}")


def open_scene(scene: SceneConfig, *, root: Path) -> SceneReader:
    """Open the products of `scene` in the order of the event file, or its rasters; each raster is opened once here.

    Parameters
    ----------
    scene
        Its paths are absolute.
    root
        The folder of the event: hrefs of local STAC items may not leave it.

    Raises
    ------
    InputError
        If a product cannot be read, is not L2A, lacks a band or what turns its values into reflectance; if products
        are of several days, or of another day than `scene.date`; or if only some have a scene classification.

    Notes
    -----
    Of products of one tile, those of the highest processing baseline are kept. In a product, 0 (no data) and 65535
    (saturated) are nodata, and so is the nodata value of its metadata [1]_. An offset is never applied to the
    classification. What the event file states of a raster precedes what the raster declares.

    References
    ----------
    .. [1] Sentinel-2 Products Specification Document (ESA, S2-PDGS-TAS-DI-PSD), special values of the L2A product.
    """
    if isinstance(scene.bands, dict):
        own = {name: scene.bands[name] for name in scene.band_names} | ({"SCL": scene.scl} if scene.scl else {})
        data = {b.path: tuple(c.band for c in own.values() if c.path == b.path and c.band) for b in own.values()}
        bands = [
            Band(k, str(b.path), b.band, b.scale, b.offset, b.nodata, b.crs, data=data[b.path]) for k, b in own.items()
        ]
        rasters = {band.name: locate_band(band, of_product=False) for band in bands}
        return SceneReader(scene, (Product("scene", rasters),), ())
    found = [read_product(address, scene, root) for address in scene.products]
    require_one_overpass([(product.name, product.sensed) for product in found], "products")
    days = {day: product for product in found if product.sensed for day in _days(product.sensed)}
    if scene.date is not None and days and scene.date not in days:
        other = next(iter(days.values()))
        raise InputError(f"date: found {scene.date}, but {other.name} was acquired on {other.acquired}")
    newest = {product.tile: product.baseline for product in sorted(found, key=_rank)}
    kept = [product for product in found if not product.tile or product.baseline == newest[product.tile]]
    notes = [_describe(product, scene) for product in kept]
    for old in (product for product in found if product not in kept):
        higher = f"is there with processing baseline {newest[old.tile]}, this one has {old.baseline or 'none'}"
        notes.append(f"{old.name}: left out, tile {old.tile} {higher}")
    safe = [Path(product.name) for product in kept if (Path(product.name) / "GRANULE").is_dir()]
    partial = [folder for folder in safe if not (folder / "manifest.safe").is_file()]
    notes += [f"{folder}: has no manifest.safe; its images are those that its metadata list" for folder in partial]
    without = [product.name for product in kept if "SCL" not in product.rasters]
    if 0 < len(without) < len(kept):
        raise InputError(f"{without[0]}: has no scene classification (SCL), and other products of the scene have one")
    if without:
        notes.append("no scene classification (SCL): clouds, shadows and snow are not masked")
    return SceneReader(scene, tuple(kept), tuple(notes))


def _rank(product: Product) -> float:
    """Order by processing baseline; what was made elsewhere (99.99) states none that could be compared."""
    return baseline_number(product.baseline) or 0.0


def _days(sensed: Span) -> list[dt.date]:
    """List the days that may name a scene: an overpass lasts minutes, and its other tiles may lie beyond midnight."""
    first, last = ((time + sign * _OVERPASS).date() for time, sign in zip(sensed, (-1, 1), strict=True))
    return [first + dt.timedelta(days) for days in range((last - first).days + 1)]


def _describe(product: Product, scene: SceneConfig) -> str:
    bands = list(product.bands.values())
    offsets = ", ".join(f"{offset:g}" for offset in sorted({round(band.offset / band.scale, 3) for band in bands}))
    scales = ", ".join(f"{scale:g}" for scale in sorted({band.scale for band in bands}))
    origin = "of its metadata" if scene.boa_offset == "auto" else "of the event file"
    if product.sensor != SENTINEL2:
        return f"{product.name}: {product.sensor}, {product.acquired}, offset {bands[0].offset:g}, scale {scales}"
    return (
        f"{product.name}: tile {product.tile or 'unknown'}, {product.acquired or 'no date'}, "
        f"baseline {product.baseline or 'unknown'}, offset {offsets} {origin}, scale {scales}"
    )


def _mosaic(
    rasters: Sequence[BandRaster], window: GeoBox, kernel: Resampling, shift_m: tuple[float, float]
) -> NDArray[np.float32]:
    """Take, at each pixel, the value of the first raster that has one."""
    out = np.full(window.shape, np.nan, dtype=np.float32)
    for raster in rasters:
        require_exact(redact_url(raster.href), raster.geobox.crs, str(window.crs))
        missing = np.isnan(out)
        if missing.any():
            np.copyto(out, resample(raster.geobox, raster.read, window, how=kernel, shift_m=shift_m), where=missing)
    return out


def _shared_extent(product: Product) -> Extent:
    """Intersect the extents of all bands of a product, in the CRS of its first band."""
    first, *others = product.bands.values()
    box = first.geobox.boundingbox
    for raster in others:
        own = raster.geobox.boundingbox
        box &= own if own.crs == box.crs else own.to_crs(str(box.crs), resolution=own.span_x / 20)
        if box.left >= box.right or box.bottom >= box.top:
            raise InputError(f"{raster.href}: does not overlap {first.href}, a band of the same scene")
    return Extent(product.name, str(box.crs), box.bbox)


def _glance(raster: BandRaster, grid: GeoBox) -> NDArray[np.float32]:
    """Read some of the valid values of a raster on `grid`, spread over it."""
    rows, cols = overlap_slices(raster.geobox, grid)
    require_few_pixels(redact_url(raster.href), (rows.stop - rows.start, cols.stop - cols.start))
    with open_band(raster.href, raster.driver) as dataset:
        reduced = bool(dataset.overviews(raster.number))
    if reduced:
        shape = tuple(min(part.stop - part.start, _GLANCE_PX) for part in (rows, cols))
        parts = [raster.read(rows, cols, out_shape=shape)]
    else:
        parts = [raster.read(*part) for part in itertools.product(_samples(rows), _samples(cols))]
    return np.concatenate([part[np.isfinite(part)] for part in parts])


def _samples(part: slice) -> list[slice]:
    """Spread windows over a part of an axis; take all of it where it is short."""
    size = part.stop - part.start
    if size <= _SAMPLES * _SAMPLE_PX:
        return [part]
    starts = part.start + np.linspace(0, size - _SAMPLE_PX, _SAMPLES).astype(int)
    return [slice(int(start), int(start) + _SAMPLE_PX) for start in starts]
