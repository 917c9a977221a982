"""What a cube must be like to be read: its coordinates, its attributes, and how its values are stored."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pyproj import CRS
from pyproj.exceptions import CRSError

from coslide.config.event import Attribution
from coslide.config.records import first_problem
from coslide.crs import short_crs
from coslide.cube.band import BAND_DIMENSION, Band
from coslide.errors import InputError

_FARTHEST_M = 1e8
AS_BUILT = "expected a cube as it was built, or a rectangle of it"


def _moment(text: str) -> str:
    if text:
        dt.datetime.fromisoformat(text)
    return text


_Moment = Annotated[str, AfterValidator(_moment)]
_Built = Annotated[str, AfterValidator(lambda text: f"{_moment(text.split()[0] if text.split() else text)}")]


_ATTRIBUTIONS = TypeAdapter(tuple[Attribution, ...])


def read_attributions(attributes: Mapping[str, Any]) -> tuple[Attribution, ...]:
    """Read whom to credit for the sources of a cube from its attributes, none in a cube that has none."""
    return _ATTRIBUTIONS.validate_json(str(attributes.get("attributions") or "[]"))


def _credits(text: str) -> str:
    _ATTRIBUTIONS.validate_json(text)
    return text


class Attributes(BaseModel):
    """What is used of the attributes of a cube."""

    model_config = ConfigDict(strict=True)

    indices: list[str] = Field(default_factory=list)
    title: str = ""
    event_id: str | None = ""
    event_time_utc: _Moment = ""
    credit: str = ""
    attributions: Annotated[str, AfterValidator(_credits)] = "[]"
    coslide_training: str = "{}"
    history: _Built = ""


def attributes_of(attributes: Mapping[str, Any], name: str) -> Attributes:
    """Check the attributes of a cube; `name` is what it is called in an error.

    Raises
    ------
    InputError
        If one has another type than it was written with.
    """
    try:
        return Attributes.model_validate(attributes)
    except ValidationError as error:
        raise InputError(f"{name}: attribute {first_problem(error)[:200]}; {AS_BUILT}") from None


def grid_of(dataset: xr.Dataset, name: str) -> GeoBox:
    """Find the grid whose pixel centres are the coordinates; an attribute would not know that a cube was cut.

    Raises
    ------
    InputError
        If they are not those of square pixels, north up, in a CRS in metres.
    """
    x, y = (_centres(dataset, axis, name) for axis in ("x", "y"))
    steps = [np.diff(x), -np.diff(y)]
    side_m = round(float(np.median(np.concatenate(steps))), 6) if x.size + y.size > 2 else 0.0
    for axis, step in zip(("x", "y"), steps, strict=True):
        if step.size and not (np.abs(step - side_m).max() <= 1e-3 * abs(side_m) and side_m > 0):
            ends = f"{step.min():g} to {step.max():g} m, and {side_m:g} m along both axes together"
            way = "eastwards" if axis == "x" else "southwards"
            raise InputError(f"{name}: {axis} goes {way} in steps of {ends}; expected one step, above 0; {AS_BUILT}")
    if not side_m:
        raise InputError(f"{name}: found a single pixel, whose size nothing tells; {AS_BUILT}")
    west, north = round(x[0] - side_m / 2, 6), round(y[0] + side_m / 2, 6)
    return GeoBox((y.size, x.size), Affine(side_m, 0, west, 0, -side_m, north), _crs_of(dataset, name))


def _centres(dataset: xr.Dataset, axis: str, name: str) -> NDArray[np.float64]:
    found = dataset.coords.get(axis)
    if found is None or found.dims != (axis,) or not found.size or found.dtype.kind not in "fiu":
        raise InputError(f"{name}: found no coordinate {axis} with the centres of its pixels [m]; {AS_BUILT}")
    values = np.asarray(found.values, dtype=np.float64)
    if not (np.abs(values) < _FARTHEST_M).all():
        raise InputError(f"{name}: {axis}: found a coordinate that is no place on Earth [m]; {AS_BUILT}")
    return values


def _crs_of(dataset: xr.Dataset, name: str) -> str:
    """Read the CRS of a cube, which is in metres."""
    wkt = dataset["spatial_ref"].attrs.get("crs_wkt") if "spatial_ref" in dataset else None
    try:
        crs = CRS.from_wkt(str(wkt))
        metric = crs.is_projected and all(axis.unit_name in {"metre", "meter"} for axis in crs.axis_info[:2])
    except CRSError:
        metric = False
    if not metric:
        found = "no spatial_ref with crs_wkt" if wkt is None else f"the CRS {' '.join(str(wkt).split())[:60]!r}"
        raise InputError(f"{name}: found {found}, expected a CRS in metres; {AS_BUILT}")
    return short_crs(str(wkt))


def bands_of(variable: xr.DataArray, name: str) -> Iterator[Band]:
    """Read the bands of a variable from its attributes.

    Raises
    ------
    InputError
        If they are not those of a band, or the values are not stored as it has them.
    """
    name = f"{name}: {variable.name}"
    several = BAND_DIMENSION in variable.dims
    expected = (*((BAND_DIMENSION,) if several else ()), "y", "x")
    if variable.dims != expected:
        raise InputError(f"{name}: found the dimensions {variable.dims}, expected {expected}; {AS_BUILT}")
    if several and BAND_DIMENSION not in variable.indexes:
        raise InputError(f"{name}: found no coordinate {BAND_DIMENSION} with the names of its bands; {AS_BUILT}")
    channels = [str(channel) for channel in variable[BAND_DIMENSION].values] if several else [""]
    if len(set(channels)) < len(channels):
        raise InputError(f"{name}: found the bands {', '.join(channels)}, expected each once; {AS_BUILT}")
    for number, channel in enumerate(channels):
        attrs = dict(variable.attrs)
        try:
            for key in {"valid_share", "value_range"} & attrs.keys() if channel else ():  # counted band by band
                attrs[key] = list(zip(channels, attrs[key], strict=True))[number][1]
            band = Band.from_attributes(str(variable.name), attrs, channel=channel)
            _Counted.model_validate(band.provenance)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
            raise InputError(f"{name}: found other attributes ({problem[:200]}); {AS_BUILT}") from None
        _require_as_stored(variable, band, name)
        yield band


class _Counted(BaseModel):
    """What is used of the provenance of a band."""

    model_config = ConfigDict(allow_inf_nan=False)

    valid_share: float = Field(default=0.0, ge=0, le=1)
    value_range: tuple[float, float] | None = None
    acquired: _Moment = ""
    epicentre_lon_lat: tuple[float, float] | None = None
    source: list[str] = Field(default_factory=list)
    source_sha256: list[str] = Field(default_factory=list)


def _require_as_stored(variable: xr.DataArray, band: Band, name: str) -> None:
    """Check that stored values mean what they meant when they were computed: not packed, the same type and nodata."""
    if variable.dtype != band.dtype:
        raise InputError(f"{name}: found {variable.dtype}, expected {band.dtype}; {AS_BUILT}")
    for key, usual in (("scale_factor", 1), ("add_offset", 0)):
        if (found := variable.attrs.get(key, usual)) != usual:
            raise InputError(f"{name}: found {key} {found}, expected values that are not packed; {AS_BUILT}")
    for key in ("_FillValue", "missing_value"):
        found = variable.attrs.get(key, band.nodata)
        if not np.array_equal(found, band.nodata, equal_nan=band.kind == "continuous"):
            raise InputError(f"{name}: found {key} {found}, expected {band.nodata:g}; {AS_BUILT}")
