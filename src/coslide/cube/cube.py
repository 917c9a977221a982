"""The index cube: a Zarr store with one variable per index, all on one grid, opened and read here."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import coslide
from coslide.cube.band import BAND_DIMENSION, REFLECTANCE, Band
from coslide.cube.checks import AS_BUILT, attributes_of, bands_of, grid_of
from coslide.cube.store import COUNTED
from coslide.cube.stored import open_dataset, open_group, require_arrays
from coslide.display.overview import Overview, Row, Shown, grid_text, share_text
from coslide.errors import InputError
from coslide.grid import pixel_size_m
from coslide.labels import NODATA
from coslide.windows import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CUBE_FORMAT = 3
EVERYWHERE = slice(None)
Picture = str | Sequence[str]
"""What `Cube.plot` draws in one picture."""
_ROWS = 512  # read at once


class Cube(Shown):
    """An opened index cube; `open_cube` gives one.

    Parameters
    ----------
    dataset
        With the variables and attributes that `coslide build` writes, values as stored (no masking, no scaling); it may
        be cut or strided.
    name
        What the cube is called in an error.

    Attributes
    ----------
    bands
        All bands in the order of building: inputs of a network, diagnostics, masks and labels.
    grid
        Where the pixels lie, by the coordinates x and y and the CRS.

    Raises
    ------
    InputError
        If the coordinates are not those of a grid of square pixels, north up, or a variable is not as it was written.

    Examples
    --------
    >>> from coslide import open_cube
    >>> cube = open_cube(index)
    >>> cube
    <Cube 'Made-up earthquake'>
      size    100 x 100 pixels of 10 m (1 x 1 km), EPSG:32654
      before  63 % of the pixels
      after   94 % of the pixels
      bands   13 inputs of a network: scene after 3, scene before 4, terrain 4, shaking 1, faults 1; 4 to look at
      labels  mapped landslides
      credit  made up
    >>> [band.name for band in cube.inputs if band.group == "terrain"][:2]
    ['elevation', 'slope']
    >>> cube.read(bands=cube.inputs[:2]).shape  # (band, row, col), each in its own unit
    (2, 100, 100)
    """

    def __init__(self, dataset: xr.Dataset, name: str = "cube") -> None:
        self._dataset = dataset
        self.grid = grid_of(dataset, name)
        wanted = dict.fromkeys(attributes_of(dataset.attrs, name).indices)
        names = [variable for variable in wanted if variable in dataset]
        self._name, self._missing = name, sorted(wanted - dict.fromkeys(names).keys())
        self.bands = tuple(band for variable in names for band in bands_of(dataset[variable], name))
        self._by_name = {band.name: band for band in self.bands}

    def __contains__(self, name: str) -> bool:
        """Tell whether the cube has a band of this name."""
        return name in self._by_name

    @property
    def inputs(self) -> tuple[Band, ...]:
        """The bands that are inputs of a network."""
        return tuple(band for band in self.bands if band.role == "index")

    @property
    def diagnostics(self) -> tuple[Band, ...]:
        """The bands to look at, such as what was measured behind class maps; a network may ask for them."""
        return tuple(band for band in self.bands if band.role == "diagnostic")

    @property
    def shape(self) -> tuple[int, int]:
        """Size (row, col) in pixels."""
        return self.grid.shape.y, self.grid.shape.x

    @property
    def pixel_size_m(self) -> float:
        """Side of a pixel [m]."""
        return pixel_size_m(self.grid)

    @property
    def attrs(self) -> dict[str, Any]:
        """What is recorded of the event and of the build."""
        return self._dataset.attrs

    @property
    def title(self) -> str:
        """Name of the event."""
        return str(self.attrs.get("title", ""))

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides the values, and of where they lie."""
        missing = f" without {self._missing}" if self._missing else ""
        text = f"{self.attrs.get('coslide_fingerprint')} {self.grid.affine[:6]} {tuple(self.grid.shape)}{missing}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def summary(self) -> str:
        """One line: number of inputs, size in pixels, and share of valid pixels."""
        rows, columns = self.grid.shape
        return f"{len(self.inputs)} bands, {rows} x {columns} pixels, {self.valid().mean():.0%} valid"

    @property
    def block_rows(self) -> int:
        """How many rows are stored, and decoded, together."""
        return int(self._dataset["valid"].encoding.get("chunks", (_ROWS,))[0])

    @property
    def date(self) -> dt.datetime:
        """The day of the scene after the event; where that is not recorded, when the cube was built."""
        found = dt.datetime.fromisoformat(self.acquired("post") or str(self.attrs["history"]).split()[0])
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)

    def reflectance(self, date: str, channels: Sequence[str]) -> list[Band]:
        """Find the bands of the scene of a date by their channels, such as B4; none if it lacks one of them."""
        found = {band.channel: band for band in self.bands if band.date == date and band.quantity == REFLECTANCE}
        return [found[channel] for channel in channels] if found.keys() >= set(channels) else []

    def acquired(self, date: str) -> str:
        """Read the day on which the scene of a date, ``"pre"`` or ``"post"``, was acquired; empty if not recorded."""
        days = (str(band.provenance.get("acquired", "")) for band in self.bands if band.date == date)
        return next(days, "")

    def read(self, window: Window | slice = EVERYWHERE, bands: Sequence[Band] | None = None) -> NDArray[np.float32]:
        """Read bands, each in its own unit.

        Parameters
        ----------
        window
            A rectangle of pixels, or a slice of rows, from the north.
        bands
            Which bands, in which order; all `inputs` by default.

        Returns
        -------
        ndarray of float32, (band, row, col)
            NaN where a band has no value, and in all of a band that the cube does not have with this meaning.
        """
        wanted = self.inputs if bands is None else bands
        shape = self._dataset["valid"].isel(_place(window)).shape
        values = np.full((len(wanted), *shape), np.nan, dtype=np.float32)
        for plane, band in zip(values, wanted, strict=True):
            if self._by_name.get(band.name) == band:
                stored = self._stored(band.name, window)
                plane[...] = stored
                plane[stored == band.nodata] = np.nan
                if infinite := np.count_nonzero(np.isinf(plane)):
                    found = f"is infinite in {infinite} pixels, expected numbers (or nodata)"
                    raise InputError(f"{self._name}: band {band.name} {found}; correct its source and build it again")
        return values

    def array(self, band: Band) -> xr.DataArray:
        """Give a band, (y, x), read lazily and as it is stored: class maps as uint8, 255 where there is no class."""
        variable = self._dataset[band.variable]
        return variable.sel({BAND_DIMENSION: band.channel}) if band.channel else variable

    def _stored(self, name: str, window: Window | slice) -> NDArray[Any]:
        return np.asarray(self.array(self._by_name[name]).isel(_place(window)).values)

    def read_pixels(self, name: str, place: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Read a band in some pixels, float32 (pixel,) in its unit; None if the cube does not have it.

        Parameters
        ----------
        name
            Of the band.
        place
            Number of each pixel in the raveled (row, col) grid; in any order.

        Returns
        -------
        ndarray or None
            NaN where there is no value.
        """
        band = self._by_name.get(name)
        if band is None:
            return None
        rows, columns = (xr.DataArray(numbers, dims="pixel") for numbers in np.unravel_index(place, self.shape))
        stored = self.array(band).isel(y=rows, x=columns).values
        return np.where(stored == band.nodata, np.float32(np.nan), stored)

    def valid(self, window: Window | slice = EVERYWHERE) -> NDArray[np.bool_]:
        """Read, as (row, col), which pixels can be mapped: the scene after the event and the DEM have a value there."""
        return np.asarray(self._stored("valid", window) == 1)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The mapped landslides, (row, col): 0 background, 1 landslide, 255 not mapped or not valid.

        Raises
        ------
        InputError
            If the cube was built without an inventory.
        """
        if "landslide" not in self:
            raise InputError(
                f"{self._name}: has no landslide labels; add [inventory] to the event file and build it again"
            )
        return np.where(self.valid(), self._stored("landslide", EVERYWHERE), np.uint8(NODATA))

    def contents(self) -> list[dict[str, Any]]:
        """List the bands as they were counted when the cube was built.

        Returns
        -------
        list of dict
            ``band``, ``variable``, ``valid_share`` (of all pixels, 0 to 1), ``smallest`` and ``largest`` (None where no
            pixel has a value), ``role``, ``unit``, ``long_name`` and ``source`` (files and addresses).
        """
        rows = []
        for band in self.bands:
            smallest, largest = band.provenance["value_range"] or (None, None)
            counted = {"valid_share": band.provenance["valid_share"], "smallest": smallest, "largest": largest}
            described = {"role": band.role, "unit": band.unit, "long_name": band.long_name}
            source = band.provenance.get("source", [])
            rows.append({"band": band.name, "variable": band.variable, **counted, **described, "source": source})
        return rows

    @overload
    def plot(self, picture: Picture = "post", /, *, ax: "Axes | None" = None) -> "Axes": ...
    @overload
    def plot(self, picture: Picture, another: Picture, /, *more: Picture) -> "list[Axes]": ...
    def plot(self, *pictures: Picture, ax: "Axes | None" = None) -> "Axes | list[Axes]":
        """Draw the cube, by default in true colour as it was after the earthquake.

        Parameters
        ----------
        pictures
            What to draw, one or several side by side: ``"post"`` or ``"pre"`` for true colour after or before the
            earthquake (one band in grey, where red, green or blue is missing), the name of a band, or three names as
            red, green and blue.
        ax
            Matplotlib axes to draw one picture in; by default a new figure of pyplot is made.

        Returns
        -------
        matplotlib Axes, or a list of them for several pictures
            In metres of the CRS of the cube, so that polygons in that CRS can be drawn on top; labelled in km.

        Raises
        ------
        InputError
            If the cube lacks a band or the scene, or `ax` is given for several pictures.

        Notes
        -----
        The cube is read in strips and made smaller than 1000 pixels: numbers are averaged, of mapped landslides none
        is lost. Colours run from the 2nd to the 98th percentile. Nodata is grey, and hatched
        where colours are those of a measurement or of classes.

        Examples
        --------
        >>> cube = open_cube(index)
        >>> ax = cube.plot()
        >>> ax.get_title(loc="left")
        'true colour after the earthquake'
        >>> axes = cube.plot("pre", "slope", ["reflectance_post_B4", "reflectance_post_B3", "reflectance_post_B2"])
        >>> len(axes)
        3
        """
        axes = coslide.drawing.plot_cube(self, pictures or ["post"], ax)
        return axes if len(pictures) > 1 else axes[0]

    def thumbnail(self) -> str:
        """Draw a small cube in true colour, as the data address of a JPEG; empty where that would take long."""
        return coslide.drawing.thumbnail_of(self)

    def overview(self) -> Overview:
        """Say what the cube holds, from what was counted when it was built; no pixel is read."""
        counts = Counter(band.group or "other" for band in self.inputs)
        groups = ", ".join(f"{group.replace('_', ' ')} {count}" for group, count in counts.items())
        further = [f"{len(self.diagnostics)} to look at"] if self.diagnostics else []
        facts = {
            "size": grid_text(self.shape, self.pixel_size_m, self.grid.crs),
            "before": self._scene_in_words("pre"),
            "after": self._scene_in_words("post"),
            "bands": "; ".join([f"{len(self.inputs)} inputs of a network: {groups}", *further]),
            "labels": "mapped landslides" if "landslide" in self else "none",
            "credit": str(self.attrs.get("credit", "")),
        }
        return Overview(self.title, facts, {"All bands": [_HEADINGS, *map(_described, self.bands)]})

    def _scene_in_words(self, date: str) -> str:
        """Say when a scene was acquired, and how much of the grid it covers; empty where there is none."""
        seen = [band.provenance for band in self.bands if band.date == date and band.quantity]
        counted = [one["valid_share"] for one in seen if one.get(COUNTED) == list(self.shape)]  # not so of a cut cube
        covers = f"{share_text(min(counted))} of the pixels" if counted else ""
        return ", ".join(filter(None, (self.acquired(date), covers)))

    def to_xarray(self) -> xr.Dataset:
        """Give the data set, read lazily; values are as stored (no masking, no scaling)."""
        return self._dataset


def open_cube(path: Path | str) -> Cube:
    """Open the index cube of a Zarr folder; values are read as they are needed.

    Raises
    ------
    InputError
        If there is no such folder, it is no cube of this format, or it was changed so that it is none any more.

    Examples
    --------
    >>> cube = open_cube(index)
    >>> cube.summary
    '13 bands, 100 x 100 pixels, 94% valid'
    >>> cube.to_xarray()["slope"].dims
    ('y', 'x')
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: not found; expected an index cube (coslide build writes one)")
    group = open_group(path)
    found = group.attrs.get("coslide_cube_format")
    if found is None:
        raise InputError(f"{path}: is no index cube, or not a whole one; coslide build writes one")
    if found != CUBE_FORMAT:
        raise InputError(f"{path}: found cube format {found}, expected {CUBE_FORMAT}; build it again")
    require_arrays(path, group)
    cube = Cube(open_dataset(path, group, attributes_of(group.attrs.asdict(), str(path)).indices), str(path))
    if "valid" not in cube or not cube.attrs.get("history"):
        raise InputError(f"{path}: found no mask valid, or no history; {AS_BUILT}")
    for band in cube.bands:
        if missing := sorted({"valid_share", "value_range"} - band.provenance.keys()):
            raise InputError(f"{path}: {band.variable}: found no attribute {missing[0]}; {AS_BUILT}")
    return cube


_HEADINGS = ("band", "unit", "valid", "smallest", "largest", "what it is")


def _described(band: Band) -> Row:
    """Describe a band as it was counted when the cube was built, under `_HEADINGS`."""
    share, span = band.provenance.get("valid_share"), band.provenance.get("value_range") or ()
    unit = f"{band.classes} classes" if band.classes > 1 else "" if band.unit == "1" else band.unit
    numbers = [f"{number:.4g}" for number in span] or ["", ""]
    return (band.name, unit, "" if share is None else share_text(share), *numbers, band.long_name)


def _place(window: Window | slice) -> dict[str, slice]:
    rows, columns = (window, EVERYWHERE) if isinstance(window, slice) else window.slices
    return {"y": rows, "x": columns}
