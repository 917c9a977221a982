"""The description of a folder of chips: images with masks of landslides, whatever their format, read from TOML."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from coslide.config.fields import Line
from coslide.config.records import StrictModel, first_problem, require
from coslide.config.toml import read_toml, root_of
from coslide.errors import InputError

CHIPS_FILE = "chips.toml"
_ID = "{id}"
RELATIVE = "relative"
_REFLECTANCE = re.compile(r"reflectance_(pre|post)_(\w+)")


def _inside(pattern: str) -> str:
    """Require that a path, or a pattern of paths, leads into the folder that it starts from."""
    parts = Path(os.path.normpath(pattern)).parts
    fits = bool(parts) and not Path(pattern).is_absolute() and parts[0] != ".." and pattern.isprintable()
    require(fits, f"found {pattern!r}, expected a path inside root")
    return Path(*parts).as_posix()


def _with_id(pattern: str) -> str:
    fits = pattern.count(_ID) == 1
    require(fits, f"found {pattern!r}, expected {_ID} in it once, such as images/{_ID}.png")
    return pattern


Pattern = Annotated[str, AfterValidator(_inside), AfterValidator(_with_id)]
Factor = Annotated[float, Field(ge=-1e12, le=1e12)]


class ChipBand(StrictModel):
    """A band of the images of chips."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w{0,63}$")]
    """As in a cube: `reflectance_post_B4`, `slope`, `elevation`."""
    unit: Line = "1"
    """As in a cube (`"1"` for reflectance, `"degree"`, `"m"`), or `"relative"`."""
    scale: Factor = 1.0
    """Value = stored value * scale + offset."""
    offset: Factor = 0.0
    """In the unit of the band."""
    date: Literal["", "pre", "post"] = ""
    """For what a satellite saw before or after the event; a name like `reflectance_post_B4` says it, and what stands in
    the next two."""
    quantity: Line = ""
    """What was seen, such as `"reflectance"`, which is what is `"relative"`."""
    channel: Line = ""
    """Name of the band of the satellite, such as `"B4"`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_name(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        found = _REFLECTANCE.fullmatch(str(values.get("name")))
        seen = {"date": found[1], "channel": found[2]} if found else {}
        if found or values.get("unit") == RELATIVE:
            seen["quantity"] = "reflectance"
        return seen | values

    @property
    def is_reflectance(self) -> bool:
        """Tell whether it is reflectance, which alone has the factor of a chip."""
        return self.quantity == "reflectance"

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        fits = not self.channel or self.name.endswith(f"_{self.channel}")
        require(fits, f"channel: found {self.channel!r}, expected the end of the name {self.name}")


class ChipTable(StrictModel):
    """A table with a line for each chip to take, and the names of its columns."""

    path: Annotated[str, AfterValidator(_inside)]
    """A CSV file with a header."""
    id: str = "id"
    """Column of what stands for `{id}`."""
    event: str | None = None
    """Column of the event of a chip; without it all are of one."""
    row: str | None = None
    """Column of the place in the raster that the chips of an event were cut from, downwards; empty where it is not
    known."""
    col: str | None = None
    """Column of that place to the right."""
    step_px: int = Field(default=1, ge=1, le=4096)
    """What one more in these two columns stands for: 1 where they count pixels, the side of a chip where they count
    chips."""
    bounds: tuple[str, ...] = Field(default=(), max_length=4)
    """Columns of the west, south, east and north end of a chip (degrees, WGS 84; longitudes to 180 or 360). Where all
    chips of an event have them, no map is scored where a model was trained on it."""
    factor: str | None = None
    """Column of what the reflectance of a chip is multiplied by, so that the chips of one raster have one scale."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require((self.row is None) == (self.col is None), "row and col: expected both, or none")
        require(len(self.bounds) in {0, 4}, "bounds: expected the columns of west, south, east and north, or none")
        for key in ("id", "event"):
            column = getattr(self, key)
            fits = column is None or column not in {self.row, self.col, self.factor, *self.bounds}
            require(fits, f"{key}: found {column!r}, which is a column of numbers too")


class ChipsConfig(StrictModel):
    """A folder of chips; every key but `file` is one of its description, `chips.toml`."""

    file: SkipJsonSchema[Path]
    """The description."""
    name: Line = Field(min_length=1)
    """Name of the data set; that of a scene is this name with its event."""
    root: Path = Path()
    """Folder that paths start from and may not leave; by default that of the description. As in an event file, `${VAR}`
    stands for an environment variable."""
    images: Pattern
    """Where the images lie: `images/{id}.png`. PNG, TIFF (`.tif`), HDF5 (`.h5`) or NPY."""
    masks: Pattern
    """Where their masks lie, one for each image."""
    image_dataset: str = ""
    """Of images in HDF5: the data set."""
    mask_dataset: str = ""
    """Of masks in HDF5: the data set."""
    axes: Literal["row col band", "band row col"] = "row col band"
    """Of images in HDF5 or NPY: the order of the axes."""
    bands: tuple[ChipBand, ...] = Field(min_length=1, max_length=64)
    """Bands of an image in their order: names, or tables of the keys below."""
    unit: Line = "1"
    """Unit of bands that have none of their own. `"relative"` is reflectance in one unknown scale for each event."""
    scale: Factor = 1.0
    """Scale of bands that have none of their own."""
    offset: Factor = 0.0
    """Offset of bands that have none of their own."""
    nodata: float | None = None
    """Stored value that is nodata; by default what a TIFF declares. NaN always is."""
    landslide: int = Field(default=1, ge=1, le=65535)
    """Value of landslide in the masks; 0 is background."""
    unlabelled: int | None = Field(default=None, ge=1, le=65535)
    """Value in the masks of pixels that nobody has labelled."""
    pixel_size_m: float = Field(gt=0, le=1e5)
    """Pixel size; cubes that are trained on together have the same."""
    table: ChipTable | None = None
    """A table of the chips. Without one, all files that fit `images` are of one event, and their places not known."""
    events: tuple[str, ...] = ()
    """Events of the table to take; by default all."""
    licence: Line = ""
    """Terms of the data; kept in the metadata of a model."""
    attribution: Line = ""
    """Whom the data are from; kept in the metadata of a model."""

    @model_validator(mode="before")
    @classmethod
    def _fill_bands(cls, values: Any) -> Any:
        bands = values.get("bands") if isinstance(values, dict) else None
        if not isinstance(bands, list):
            return values
        shared = {key: values[key] for key in ("unit", "scale", "offset") if key in values}
        own = [{"name": band} if isinstance(band, str) else band for band in bands]
        return {**values, "bands": [{**shared, **band} if isinstance(band, dict) else band for band in own]}

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        names = [band.name for band in self.bands]
        require(len(set(names)) == len(names), f"bands: found {', '.join(names)}, expected each once")
        fits = self.unlabelled != self.landslide
        require(fits, f"unlabelled: found {self.unlabelled}, which is the value of landslide")
        require(self.table is None or self.table.event or not self.events, "events: goes with table.event")
        for key in ("images", "masks"):
            stored, dataset = getattr(self, key), f"{key[:-1]}_dataset"
            needed, given = stored.lower().endswith((".h5", ".hdf5")), bool(getattr(self, dataset))
            require(needed or not given, f"{dataset}: goes with {key} in HDF5")
            require(given or not needed, f"{dataset}: missing, and {key} in HDF5 need it")

    @property
    def credit(self) -> str:
        """Whom the data are from and their terms, in one line."""
        terms = f" ({self.licence})" if self.licence else ""
        return f"{self.name}: {self.attribution or 'no attribution recorded'}{terms}"


def read_chips_config(path: Path, **given: Any) -> ChipsConfig:
    """Read the description of a folder of chips.

    Parameters
    ----------
    path
        A TOML file.
    **given
        Keys that replace those of the file.

    Raises
    ------
    InputError
        If it cannot be read, a key is unknown, missing or has a wrong value, or keys do not go together.
    """
    table = {**read_toml(path), **given}
    if "file" in table:
        raise InputError(f"{path}: file: unknown key")
    if "scenes" in table:
        raise InputError(f"{path}: is an event file; build its cube (coslide build) and train on that")
    try:
        return ChipsConfig.model_validate({**table, "file": path.absolute(), "root": root_of(table, path)})
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
