"""What an event file may say of each source: the tables that pydantic checks before any work starts."""

import datetime as dt
import itertools
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from coslide.config.training import StrictModel

MAX_CLASSES = 100
MAX_FAULT_REACH_KM = 50.0  # the grid is widened by this on every side to measure distances
PGA_LEVELS_G = (0.12, 0.16, 0.20, 0.24, 0.26)
FAULT_EDGES_KM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SENTINEL2_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
SCL_INVALID = (0, 1, 3, 8, 9, 10, 11)
"""Scene classes that are no view of the ground: no data, defective, cloud shadow, clouds, cirrus, snow."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://")]
PgaUnit = Literal["g", "%g", "m/s2", "cm/s2", "ln(g)", "ln(%g)"]
RainUnit = Literal["mm", "0.1mm", "cm", "inch"]


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(b - a > 1e-6 for a, b in itertools.pairwise(values))
    if not 0 < len(values) <= MAX_CLASSES or values[0] <= 0 or not rising:
        raise ValueError(f"found {list(values)}, expected 1 to {MAX_CLASSES} rising numbers above 0")
    return values


Rising = Annotated[tuple[float, ...], AfterValidator(_rising)]


def _reachable(values: tuple[float, ...]) -> tuple[float, ...]:
    if values[-1] > MAX_FAULT_REACH_KM:
        raise ValueError(f"found {list(values)}, expected edges up to {MAX_FAULT_REACH_KM:g} km")
    return values


def _one_of(table: StrictModel, *keys: str) -> str:
    """Return which one of `keys` is given; it must be exactly one."""
    given = [key for key in keys if getattr(table, key) is not None]
    if len(given) != 1:
        raise ValueError(f"found {' and '.join(given) or 'none'} of {', '.join(keys)}, expected exactly one of them")
    return given[0]


class BandFile(StrictModel):
    """One band of a scene, as a raster that GDAL opens; None means what the scene, or else the file, says.

    `band` is its number, from 1, in a raster that holds several; `crs` counts only where the file declares none.
    """

    path: Path
    band: int | None = Field(default=None, ge=1)
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: str | None = None


class SceneConfig(StrictModel):
    """A satellite scene: the rasters of its bands, or the Sentinel-2 L2A products that it is made of.

    Attributes
    ----------
    bands
        With `products`: the names of the bands to take (default: the ten at 10 and 20 m). Without: a raster for each
        name.
    products
        Sentinel-2 L2A products, of one date, of as many tiles as needed: SAFE folders, folders of GeoTIFF or COG, or
        STAC items (local JSON files or http addresses). Where tiles overlap, the first one that has a value counts.
    scl
        The scene classification as a raster, beside `bands` given as rasters. Products bring their own.
    date
        When it was acquired; None takes what the products say.
    scale, offset, nodata
        Reflectance = value * scale + offset; nodata is taken out before. They hold for every raster of `bands` that
        does not say its own; where neither does, the raster's own metadata holds. Not with `products`.
    crs
        Of the rasters of `bands` that declare none. Not with `products`.
    boa_offset
        With `products`: the number to add to stored values before they are divided by the quantification value.
        ``"auto"`` reads it for each band from the metadata.
    scl_invalid
        Scene classes whose cells are taken for unknown.
    resampling
        How bands are brought to the cells of the grid where theirs do not coincide with them.
    """

    bands: dict[str, BandFile] | tuple[str, ...] = SENTINEL2_BANDS
    products: tuple[Url | Path, ...] = ()
    scl: BandFile | None = None
    date: dt.date | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: str | None = None
    boa_offset: Literal["auto"] | float = "auto"
    scl_invalid: tuple[Annotated[int, Field(ge=0, le=11)], ...] = SCL_INVALID
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"

    @model_validator(mode="before")
    @classmethod
    def _fill_bands(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("bands"), dict):
            return values
        shared = {key: values[key] for key in ("scale", "offset", "nodata", "crs") if key in values}
        bands = {}
        for name, band in values["bands"].items():
            own = {"path": band} if isinstance(band, str) else band
            bands[name] = {**shared, **own} if isinstance(own, dict) else own
        return {**values, "bands": bands}

    @model_validator(mode="after")
    def _files_or_products(self) -> Self:
        if not self.bands:
            raise ValueError("bands: found none, expected at least one")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands: found {list(self.bands)}, expected each band once")
        if isinstance(self.bands, dict) == bool(self.products):
            raise ValueError(
                'expected either bands = { B2 = "file", ... } or products = [...] (with bands = ["B2", ...] to choose)'
            )
        if self.products:
            extra = [key for key in ("scl", "scale", "offset", "nodata", "crs") if getattr(self, key) is not None]
            if extra:
                raise ValueError(f"{extra[0]}: products bring their own; leave it out (boa_offset may be given)")
        elif self.boa_offset != "auto":
            raise ValueError("boa_offset: found without products; give offset, which is in reflectance")
        return self

    @property
    def band_names(self) -> list[str]:
        """The band names in the order of wavelength (B2, B3, ..., B8, B8A, B9, ...)."""
        return sorted(self.bands, key=lambda name: (len(name.rstrip("A")), name))


class ScenesConfig(StrictModel):
    """The scenes around the event; the one before it may be missing.

    `coregister` says what is done with a shift between them: ``"auto"`` measures and removes it where it is above 0.1
    cells and its measurements agree, ``"measure"`` only reports it, ``"off"`` does neither.
    """

    post: SceneConfig
    pre: SceneConfig | None = None
    coregister: Literal["auto", "measure", "off"] = "auto"

    @model_validator(mode="after")
    def _same_bands(self) -> Self:
        if self.pre and set(self.pre.bands) != set(self.post.bands):
            raise ValueError(
                f"pre.bands: found {sorted(self.pre.bands)}, expected those of post, {sorted(self.post.bands)}"
            )
        return self


class NdviConfig(StrictModel):
    """Which of the NDVI layers are inputs of a network: those of both dates, their difference, or all three."""

    inputs: Literal["both", "difference", "all"] = "both"


class DemConfig(StrictModel):
    """The elevation model, in metres: one raster, or several tiles of one model.

    Attributes
    ----------
    path
        A raster, or a list of tiles that are laid side by side (where they overlap, the first one counts).
    nodata
        The value that means "void"; None takes what the raster declares.
    fill_voids_km2
        Voids up to this area are filled from their rim, and remembered; larger ones stay unknown.
    smoothing_sigma_px
        Gaussian, in cells of the grid, before slope, aspect and curvature; None means 3 if the DEM holds integers,
        else 0.
    flat_below_deg
        Ground with less slope has the aspect class "flat".
    curvature
        ``"mean"``: mean of the principal curvatures in 1/m. ``"esri"``: that of ArcGIS, -100 times the Laplacian.
    """

    path: Path | tuple[Path, ...]
    nodata: float | None = None
    fill_voids_km2: float = Field(default=0.25, ge=0, le=100)
    smoothing_sigma_px: float | None = Field(default=None, ge=0, le=50)
    flat_below_deg: float = Field(default=1.0, ge=0)
    curvature: Literal["mean", "esri"] = "mean"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The tiles, at least one."""
        return self.path if isinstance(self.path, tuple) else (self.path,)

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.paths:
            raise ValueError("path: found an empty list, expected at least one raster")
        return self


class GeologyConfig(StrictModel):
    """The geological map: polygons with the unit in a field, or a raster of codes, and the age of each unit.

    Attributes
    ----------
    path
        Polygons in any vector format, or a raster whose values are codes of units.
    field
        The field of the polygons that holds the unit. Not for rasters.
    ages
        The units from old to young: the first is class 1. An entry may be a list of units of the same age.
    without_age
        Units that have none (water, ice): their cells are unknown.
    fill_gaps_m
        Unmapped ground up to this far from a unit takes the nearest one (slivers between polygons).
    """

    path: Path
    field: str | None = None
    ages: tuple[str | int | tuple[str | int, ...], ...] = Field(min_length=1, max_length=MAX_CLASSES)
    without_age: tuple[str | int, ...] = ()
    fill_gaps_m: float = Field(default=100.0, ge=0, le=10_000)


class GaugeColumns(StrictModel):
    """The columns of a rain table: longitude and latitude in degrees (WGS 84), rain, and for daily rain the date.

    `station` names the gauge of a row; without it, a gauge is its position. `quality`, if given, is a column that is
    empty in rows that passed quality control, as in GHCN-Daily; all other rows are left out.
    """

    lon: str = "lon"
    lat: str = "lat"
    rain: str = "rain"
    date: str | None = None
    station: str | None = None
    quality: str | None = None


class RainConfig(StrictModel):
    """Rain before the event: gauges (CSV), kriged, or a raster of rainfall.

    Attributes
    ----------
    gauges, raster
        Exactly one of them.
    unit
        Of the values of either.
    columns
        Of the table of gauges. With `columns.date`, rows are daily and summed over the window; without, each row is
        the total of a gauge.
    window_days
        Whole days before that of the event. For daily rain only, which needs the event's `time_utc`.
    day_starts_utc_h
        When the day of a gauge begins, in hours from 00:00 UTC of its date: -8 for a day that is local at UTC+8.
    event_day
        The day of the event, whose rain fell partly after it: ``"share"`` the part of it before, or ``"drop"`` it.
    missing
        Values that mean "no measurement" (GSOD: 99.99).
    variogram
        Model for kriging.
    crs, nodata
        Of the raster, where it does not declare them.
    """

    gauges: Path | None = None
    raster: Path | None = None
    unit: RainUnit
    columns: GaugeColumns = GaugeColumns()
    window_days: int = Field(default=10, ge=1, le=3660)
    day_starts_utc_h: float = Field(default=0.0, ge=-24, le=24)
    event_day: Literal["share", "drop"] = "share"
    missing: tuple[float, ...] = ()
    variogram: Literal["spherical", "exponential"] = "spherical"
    crs: str | None = None
    nodata: float | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _one_of(self, "gauges", "raster")
        return self


class StationColumns(StrictModel):
    """The columns of a station table: longitude and latitude in degrees (WGS 84), and peak ground acceleration."""

    lon: str = "lon"
    lat: str = "lat"
    pga: str = "pga"


class ShakingConfig(StrictModel):
    """Peak ground acceleration (PGA), from one of four sources, and the levels, in g, that bound its classes.

    Attributes
    ----------
    shakemap
        A ShakeMap ``grid.xml``; it says its units itself.
    uncertainty
        The ``uncertainty.xml`` beside it, where ``grid.xml`` has no STDPGA of its own.
    raster
        A raster of PGA, such as ``pga_mean.flt`` of ShakeMap, which holds ln(g).
    raster_std
        A raster of the standard deviation of ln PGA, such as ``pga_std.flt``.
    contours
        Contour lines or polygons, such as ``cont_pga.json``, with the PGA in the field `contour_field`.
    stations
        A CSV table of what stations recorded, with `columns`; it is kriged.
    unit
        Of raster, contours and stations. ``"ln(g)"`` and ``"ln(%g)"`` are for rasters.
    crs, nodata
        Of the rasters, where they do not declare them.
    levels_g
        Class = how many of these are reached.
    """

    shakemap: Path | None = None
    uncertainty: Path | None = None
    raster: Path | None = None
    raster_std: Path | None = None
    contours: Path | None = None
    contour_field: str = "value"
    stations: Path | None = None
    columns: StationColumns = StationColumns()
    unit: PgaUnit | None = None
    crs: str | None = None
    nodata: float | None = None
    levels_g: Rising = PGA_LEVELS_G

    @model_validator(mode="after")
    def _one_source_with_its_unit(self) -> Self:
        given = _one_of(self, "shakemap", "raster", "contours", "stations")
        if given == "shakemap" and self.unit is not None:
            raise ValueError("unit: a ShakeMap grid says its own; leave it out")
        if given != "shakemap" and self.unit is None:
            raise ValueError("unit: missing, and it is required (g, %g, m/s2, cm/s2; ln(g) for a ShakeMap raster)")
        if given != "raster" and (self.unit or "").startswith("ln"):
            raise ValueError(f"unit: found {self.unit!r}, which is for rasters; expected g, %g, m/s2 or cm/s2")
        if self.uncertainty is not None and given != "shakemap":
            raise ValueError("uncertainty: goes with shakemap")
        if self.raster_std is not None and given != "raster":
            raise ValueError("raster_std: goes with raster")
        return self


class FaultChoice(StrictModel):
    """Which traces of a file count: those whose `field` has one of `values`."""

    field: str
    values: tuple[str | int, ...] = Field(min_length=1)


class FaultsConfig(StrictModel):
    """Fault traces (any vector format) and the edges, in kilometres, of the distance classes.

    `select` takes the seismogenic fault by an attribute, `ids` by the numbers of its features in the file, from 0; give
    one of them, or neither for all traces.
    """

    path: Path
    select: FaultChoice | None = None
    ids: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    edges_km: Annotated[Rising, AfterValidator(_reachable)] = FAULT_EDGES_KM

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.select is not None and self.ids is not None:
            raise ValueError("found select and ids, expected at most one of them")
        return self


class InventoryConfig(StrictModel):
    """Mapped landslides (polygons) and the area in which they were mapped; None means the whole grid was."""

    path: Path
    area: Path | None = None


class GridConfig(StrictModel):
    """The grid to map on: `crs` None means the UTM zone of the data, `area` (polygons) None all ground they cover."""

    crs: str | None = None
    pixel_size_m: float = Field(default=10.0, ge=0.1, le=1000)
    area: Path | None = None
