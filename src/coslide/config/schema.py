"""The tables of an event file, one model for each, as pydantic checks them before any work starts.

The docstring of each key is its description in docs/event-file.md.
"""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from coslide.config.fields import MAX_CLASSES, NO_NUMBER, Encoding, Increasing, LayerNames, VectorTable
from coslide.config.records import StrictModel, require, require_file
from coslide.config.sensors import channel_name

SENTINEL2_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")


def _one_of(table: StrictModel, *keys: str) -> str:
    """Find which one of `keys` is given; it must be exactly one."""
    given = [key for key in keys if getattr(table, key) is not None]
    found = f"found {' and '.join(given) or 'none'} of {', '.join(keys)}"
    require(len(given) == 1, f"{found}, expected exactly one of them")
    return given[0]


class BandFile(StrictModel):
    """One band of a scene as a raster."""

    path: Path
    """The raster."""
    band: int | None = Field(default=None, ge=1)
    """Number of the band, from 1, in a raster that holds several."""
    scale: float | None = None
    """As for the scene, for this band alone."""
    offset: float | None = None
    """As for the scene, for this band alone."""
    nodata: float | None = None
    """As for the scene, for this band alone."""
    crs: str | None = None
    """CRS of the raster, where it declares none."""


class SceneConfig(StrictModel):
    """A satellite scene: rasters of its bands, or the products that it consists of."""

    products: tuple[Annotated[str, StringConstraints(pattern=r"^https?://")] | Path, ...] = ()
    """Sentinel-2 L2A products of one date, of as many tiles as needed: SAFE folders, folders of GeoTIFF or COG, STAC
    items (JSON files or http addresses); or products of Landsat 8/9 (Collection 2, level 2) or PlanetScope (surface
    reflectance): a folder or one raster of each. Where tiles overlap, the first one that has a value counts."""
    bands: dict[str, BandFile] | tuple[str, ...] = SENTINEL2_BANDS
    """With `products`: names of the bands to take. Without: a raster for each name. A name is that of Sentinel-2
    (`B4`), a common one (`red`, `nir08`, `swir16`) or a wavelength (`"655 nm"`)."""
    scl: BandFile | None = None
    """The scene classification as a raster, beside `bands` given as rasters. Products bring their own."""
    date: Annotated[dt.date, NO_NUMBER] | None = None
    """When the scene was acquired; by default what the products state."""
    scale: float | None = None
    """Of rasters: reflectance = value * scale + offset. By default what the raster declares."""
    offset: float | None = None
    """Of rasters, in reflectance. By default what the raster declares."""
    nodata: float | None = None
    """Of rasters: the stored value that is nodata. By default what the raster declares."""
    crs: str | None = None
    """CRS of rasters that declare none."""
    boa_offset: Literal["auto"] | float = "auto"
    """With `products`: the number to add to stored values before they are divided by the quantification value, such as
    0 or -1000, where the metadata are wrong. `"auto"` reads it for each band from the metadata."""
    # no data, defective, cloud shadow, clouds, cirrus, snow: in them the surface cannot be seen
    scl_invalid: tuple[Annotated[int, Field(ge=0, le=11)], ...] = (0, 1, 3, 8, 9, 10, 11)
    """Scene classes whose pixels are nodata."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    """Kernel that brings bands to the grid where their pixels do not coincide with it."""

    @model_validator(mode="before")
    @classmethod
    def _fill_bands(cls, values: Any) -> Any:
        bands = values.get("bands") if isinstance(values, dict) else None
        if isinstance(bands, list | tuple):
            return {**values, "bands": [channel_name(name) if isinstance(name, str) else name for name in bands]}
        if not isinstance(bands, dict):
            return values
        named: dict[str, str] = {}
        for name in bands:
            other = named.setdefault(channel_name(name), name)
            require(other == name, f"bands: found {other} and {name}, both of channel {channel_name(name)}")
        bands = {channel: bands[name] for channel, name in named.items()}
        shared = {key: values[key] for key in ("scale", "offset", "nodata", "crs") if key in values}
        own = {name: {"path": band} if isinstance(band, str) else band for name, band in bands.items()}
        filled = {name: {**shared, **band} if isinstance(band, dict) else band for name, band in own.items()}
        scl = values.get("scl")
        return {**values, "bands": filled, "scl": {"path": scl} if isinstance(scl, str) else scl}

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        files, products = isinstance(self.bands, dict), bool(self.products)
        require(self.bands, "bands: found none, expected at least one")
        require(len(set(self.bands)) == len(self.bands), f"bands: found {list(self.bands)}, expected each band once")
        either = 'bands = { B2 = "file", ... } or products = [...] (with bands = ["B2", ...] to choose)'
        require(files != products, f"expected either {either}")
        for key in ("scl", "scale", "offset", "nodata", "crs"):
            without = files or getattr(self, key) is None
            require(without, f"{key}: products bring their own; leave it out (boa_offset may be given)")
        without = products or self.boa_offset == "auto"
        require(without, "boa_offset: found without products; give offset, which is in reflectance")

    @property
    def band_names(self) -> list[str]:
        """The band names in the order of wavelength (B2, B3, ..., B8, B8A, B9, ...)."""
        return sorted(self.bands, key=lambda name: (len(name.rstrip("A")), name))


class ScenesConfig(StrictModel):
    """The scenes after and before the event."""

    post: SceneConfig
    """The scene after the event."""
    pre: SceneConfig | None = None
    """The scene before it, with the same bands."""
    coregister: Literal["auto", "measure", "off"] = "auto"
    """`"auto"` measures the shift between the scenes and removes it where it is above 0.1 pixels and its measurements
    agree, `"measure"` only reports it, `"off"` does neither."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        pre, post = (sorted(scene.bands) for scene in (self.pre or self.post, self.post))
        require(pre == post, f"pre.bands: found {pre}, expected those of post, {post}")


class NdviConfig(StrictModel):
    """Which NDVI layers are inputs of a network."""

    inputs: Literal["both", "difference", "all"] = "both"
    """NDVI layers that networks see: those of both dates, their difference, or all three."""


class DemConfig(StrictModel):
    """The elevation model in metres: one raster, or several tiles of one model."""

    path: Path | tuple[Path, ...]
    """A raster, or a list of tiles of one model (where they overlap, the first one counts)."""
    nodata: float | None = None
    """Value of voids besides the one that the raster declares; -32768, -9999 and NaN are voids anyway."""
    fill_voids_km2: float = Field(default=0.25, ge=0, le=100)
    """Voids up to this area are filled from their rim, and remembered in `dem_void`; larger ones stay nodata."""
    smoothing_sigma_px: float | None = Field(default=None, ge=0, le=50)
    """Gaussian before slope, aspect and curvature; by default 3 if the DEM holds whole metres, else 0."""
    flat_below_deg: float = Field(default=1.0, ge=0)
    """Pixels with less slope have the aspect class "flat"."""
    curvature: Literal["mean", "esri"] = "mean"
    """`"mean"`: mean of the principal curvatures in 1/m. `"esri"`: that of ArcGIS, -100 times the Laplacian."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The tiles, at least one."""
        return self.path if isinstance(self.path, tuple) else (self.path,)

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require(self.paths, "path: found an empty list, expected at least one raster")


class GeologyConfig(VectorTable):
    """The geological map: polygons with the unit in a field, or a raster of codes, and the age of each unit."""

    path: Path
    """Polygons in any vector format, or a raster of codes of units (one band)."""
    field: str | None = None
    """Field of the polygons that holds the unit. Not for rasters."""
    ages: tuple[str | int | tuple[str | int, ...], ...] = Field(min_length=1, max_length=MAX_CLASSES)
    """Units from old to young: the first is class 1. A list in it holds units of the same age."""
    without_age: tuple[str | int, ...] = ()
    """Units without an age (water, ice): their pixels are nodata."""
    fill_gaps_m: float = Field(default=100.0, ge=0, le=10_000)
    """Unmapped pixels up to this far from a unit take the nearest one (slivers between polygons)."""


class PositionColumns(StrictModel):
    """The columns of a table that hold positions."""

    lon: str = "lon"
    """Longitude in degrees (WGS 84)."""
    lat: str = "lat"
    """Latitude in degrees (WGS 84)."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that no column is two things."""
        given = [name for name in self.model_dump().values() if name is not None]
        require(len(set(given)) == len(given), f"found {given}, expected each column once")


class GaugeColumns(PositionColumns):
    """The columns of a rain table."""

    rain: str = "rain"
    """Rain, in `unit`."""
    date: str | None = None
    """Date of daily rain. Without it, each row is the total of a gauge."""
    station: str | None = None
    """Name of the gauge. Without it, a gauge is its position."""
    quality: str | None = None
    """Quality flag, empty in rows that passed quality control, as in GHCN-Daily; all other rows are left out."""


class RainConfig(StrictModel):
    """Rain before the event: gauges (CSV), kriged, or a raster of rainfall."""

    gauges: Path | None = None
    """A CSV table of gauges, which are kriged. Either this or `raster`."""
    raster: Path | None = None
    """A raster of rainfall."""
    unit: Literal["mm", "0.1mm", "cm", "inch"]
    """Unit of the values of either."""
    columns: GaugeColumns = GaugeColumns()
    """Columns of the table of gauges, below."""
    window_days: int = Field(default=10, ge=1, le=3660)
    """Whole days before that of the event; for daily rain, which needs the event's `time_utc`."""
    day_starts_utc_h: float = Field(default=0.0, ge=-24, le=24)
    """When the day of a gauge begins, from 00:00 UTC of its date: -8 for a day that is local at UTC+8."""
    event_day: Literal["share", "drop"] = "share"
    """The day of the event, whose rain fell partly after it: the `"share"` of its hours before it, or `"drop"` it."""
    missing: tuple[float, ...] = ()
    """Values that mean "no measurement" (GSOD: 99.99)."""
    variogram: Literal["spherical", "exponential"] = "spherical"
    """Model for kriging."""
    crs: str | None = None
    """CRS of the raster, where it declares none."""
    nodata: float | None = None
    """Nodata value of the raster, besides the one that it declares."""

    @property
    def path(self) -> Path:
        """The table of gauges or the raster, whichever is given."""
        return self.gauges or self.raster or Path()

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        _one_of(self, "gauges", "raster")


class StationColumns(PositionColumns):
    """The columns of a station table."""

    pga: str = "pga"
    """Peak ground acceleration, in `unit`."""


class ShakingConfig(StrictModel):
    """Peak ground acceleration (PGA), from exactly one of four sources, and the levels that bound its classes."""

    shakemap: Path | None = None
    """A ShakeMap `grid.xml`, which states its units itself."""
    uncertainty: Path | None = None
    """The `uncertainty.xml` beside it, where `grid.xml` has no STDPGA of its own."""
    raster: Path | None = None
    """A raster of PGA, such as `pga_mean.flt` of ShakeMap, which holds ln(g)."""
    raster_std: Path | None = None
    """A raster of the standard deviation of ln PGA, such as `pga_std.flt`."""
    contours: Path | None = None
    """Contour lines or polygons, such as `cont_pga.json`."""
    contour_field: str = "value"
    """Field of the contours that holds the PGA."""
    layer: LayerNames | None = None
    """Layer of the contours, or a list of layers, in a file with several."""
    encoding: Encoding | None = None
    """Encoding of the text of the contours, such as `"GBK"`; by default what their file states."""
    stations: Path | None = None
    """A CSV table of what stations recorded; it is kriged."""
    columns: StationColumns = StationColumns()
    """Columns of the table of stations, below."""
    unit: Literal["g", "%g", "m/s2", "cm/s2", "ln(g)", "ln(%g)"] | None = None
    """Unit of raster, contours or stations; `"ln(g)"` and `"ln(%g)"` are for rasters."""
    crs: str | None = None
    """CRS of the rasters, where they declare none."""
    nodata: float | None = None
    """Nodata value of the rasters, besides the one that they declare."""
    levels_g: Increasing = (0.12, 0.16, 0.20, 0.24, 0.26)
    """Class = how many of these are reached; 0 is a class of its own."""

    @property
    def path(self) -> Path:
        """The source of PGA that is given."""
        return self.shakemap or self.raster or self.contours or self.stations or Path()

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        given = _one_of(self, "shakemap", "raster", "contours", "stations")
        if given == "shakemap":
            require(self.unit is None, "unit: a ShakeMap grid states its own; leave it out")
        else:
            require(self.unit, "unit: missing, and it is required (g, %g, m/s2, cm/s2; ln(g) for a ShakeMap raster)")
        fits = given == "raster" or self.unit not in {"ln(g)", "ln(%g)"}
        require(fits, f"unit: found {self.unit!r}, which is for rasters; expected g, %g, m/s2 or cm/s2")
        require(self.uncertainty is None or given == "shakemap", "uncertainty: goes with shakemap")
        require(self.raster_std is None or given == "raster", "raster_std: goes with raster")
        for key in ("layer", "encoding"):
            require(getattr(self, key) is None or given == "contours", f"{key}: goes with contours")


class FaultChoice(StrictModel):
    """The traces of a file that count: those whose `field` has one of `values`."""

    field: str
    """An attribute of the traces."""
    values: tuple[str | int, ...] = Field(min_length=1)
    """Its values in the traces that count."""


class FaultsConfig(VectorTable):
    """Fault traces, and the edges of the distance classes."""

    path: Path
    """Lines, in any vector format and CRS."""
    select: FaultChoice | None = None
    """The seismogenic fault by an attribute, such as `{ field = "name", values = ["Huya"] }`; by default all traces."""
    ids: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    """Instead of `select`: numbers of features in the file, from 0."""
    edges_km: Increasing = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    """Edges of the distance classes, up to 50 km."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require(self.select is None or self.ids is None, "found select and ids, expected at most one of them")
        found = list(self.edges_km)  # farther faults may lie outside what is read around the grid
        require(found[-1] <= 50, f"edges_km: found {found}, expected edges up to 50 km")


class InventoryConfig(VectorTable):
    """Mapped landslides and the area in which they were mapped."""

    path: Path
    """Landslide polygons, in any vector format and CRS."""
    area: Path | None = None
    """Polygons of the mapped area, outside which pixels are nodata, not background; by default the whole grid."""
    area_layer: LayerNames | None = None
    """Layer of `area`, or a list of layers, in a file with several."""
    area_encoding: Encoding | None = None
    """Encoding of the text of `area`, such as `"GBK"`; by default what its file states."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require_file(self, "area", "area_layer", "area_encoding")


class GridConfig(StrictModel):
    """The grid to map on."""

    crs: str | None = None
    """CRS of the grid, projected and in metres; by default the UTM zone of the data."""
    pixel_size_m: float = Field(default=10.0, ge=0.1, le=1000)
    """Side of a pixel."""
    area: Path | None = None
    """Polygons: only the rectangle around them is mapped; by default all that the sources share."""
    area_layer: LayerNames | None = None
    """Layer of `area`, or a list of layers, in a file with several."""
    area_encoding: Encoding | None = None
    """Encoding of the text of `area`, such as `"GBK"`; by default what its file states."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require_file(self, "area", "area_layer", "area_encoding")
