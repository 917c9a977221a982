"""Chips of one event, pasted into one raster with gaps, which is read like a cube."""

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coslide.config.chips import RELATIVE, ChipBand, ChipsConfig
from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.labels import NODATA
from coslide.progress import report_progress
from coslide.sources.chips import Chip, find_chips, read_image, read_mask
from coslide.windows import Window

_GAP_PX = 64  # between chips whose places are not known, at least
_SQUARE_PX = 128  # side of the squares that intervals draw: each chip begins with one, so that none is cut needlessly
_MOST_PIXELS = 2**28
_CACHE_BYTES = 2**27  # of decoded chips: two rows of them
_GROUPS = {"post": "scene_after", "pre": "scene_before"}


class Mosaic:
    """The chips of one event at their places; where none lies, the raster has no value.

    All files are read once when it is made, so that what is wrong with one is found then; later, what a window touches.

    Parameters
    ----------
    chips
        The chips; with a place each, or none. Then they are laid out with gaps, in their order.
    config
        What describes them.
    name
        What the event is called.

    Attributes
    ----------
    inputs
        The bands; one in an unknown scale has unit 1 like reflectance.
    relative
        Whether there is such a band.
    placed
        Whether it is known where the chips lie to each other.
    windows
        Where each chip lies, by its id.
    bounds
        West, south, east and north of each chip [degrees], in the same order; None unless all are known.
    labels
        The masks, uint8 (row, col): 0 background, 1 landslide, 255 not labelled, no value or no chip.
    fingerprint
        A hash of all values, places and bounds.

    Raises
    ------
    InputError
        If some chips have a place and some have none, two overlap, they differ in size, the raster would be too large,
        or as `read_image` and `read_mask`.
    """

    grid = None
    diagnostics: tuple[Band, ...] = ()

    def __init__(self, chips: Sequence[Chip], config: ChipsConfig, name: str) -> None:
        self._chips, self._config, self.name = chips, config, name
        self.inputs = tuple(_band_of(band) for band in config.bands)
        self.relative = any(band.unit == RELATIVE for band in config.bands)
        self.pixel_size_m = config.pixel_size_m
        self.placed = chips[0].place is not None
        self._side = read_mask(chips[0], config).shape
        self.windows = dict(zip((chip.id for chip in chips), self._places(), strict=True))
        known = [chip.bounds for chip in chips if chip.bounds is not None]
        self.bounds = known if len(known) == len(chips) else None
        self._at = self._cells()
        ends = np.array([(w.row + w.height, w.col + w.width) for w in self.windows.values()]).max(axis=0)
        self.shape = int(ends[0]), int(ends[1])
        if self.shape[0] * self.shape[1] > _MOST_PIXELS:
            found = f"found places {self.shape[0]} x {self.shape[1]} pixels apart"
            raise InputError(f"{name}: {found}, expected at most {_MOST_PIXELS} pixels in all; split the event")
        of_chip = 4 * len(self.inputs) * math.prod(self._side)
        self._decoded = functools.lru_cache(max(4, _CACHE_BYTES // of_chip))(self._decode)
        self._valid = np.zeros(self.shape, dtype=np.bool_)
        self.labels = np.full(self.shape, NODATA, dtype=np.uint8)
        self.fingerprint = self._read_all()

    @property
    def block_rows(self) -> int:
        """How many rows are decoded together."""
        return int(self._side[0])

    def read(self, window: Window | slice, bands: Sequence[Band] | None = None) -> NDArray[np.float32]:
        """Read bands of a rectangle, or of rows, into a new array, float32 (band, row, col).

        NaN where there is no value or no chip, and in all of a band that the chips do not have. By default `inputs`.
        """
        wanted = self.inputs if bands is None else tuple(bands)
        own = [(i, self.inputs.index(band)) for i, band in enumerate(wanted) if band in self.inputs]
        into, numbers = [i for i, _ in own], [number for _, number in own]
        (top, bottom), (left, right) = self._bounds(window)
        values = np.full((len(wanted), bottom - top, right - left), np.nan, dtype=np.float32)
        for number, place in self._touching(top, bottom, left, right) if own else ():
            rows = slice(max(top, place.row), min(bottom, place.row + place.height))
            cols = slice(max(left, place.col), min(right, place.col + place.width))
            image = self._decoded(number)[numbers]
            inside = image[
                :, rows.start - place.row : rows.stop - place.row, cols.start - place.col : cols.stop - place.col
            ]
            values[into, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = inside
        return values

    def valid(self, window: Window | slice) -> NDArray[np.bool_]:
        """Read, as (row, col), which pixels have a value in all bands but those that are optional, seen before."""
        (top, bottom), (left, right) = self._bounds(window)
        return self._valid[top:bottom, left:right]

    def _bounds(self, window: Window | slice) -> tuple[tuple[int, int], tuple[int, int]]:
        rows, cols = (window, slice(None)) if isinstance(window, slice) else window.slices
        (top, bottom, _), (left, right, _) = rows.indices(self.shape[0]), cols.indices(self.shape[1])
        return (top, max(top, bottom)), (left, max(left, right))

    def _touching(self, top: int, bottom: int, left: int, right: int) -> Iterator[tuple[int, Window]]:
        """Find the chips that a rectangle touches: their numbers and places."""
        (height, width), places = self._side, list(self.windows.values())
        for i in range(top // height - 1, -(-bottom // height)):
            for j in range(left // width - 1, -(-right // width)):
                number = self._at.get((i, j))
                if number is not None:
                    place = places[number]
                    if (
                        top < place.row + height
                        and place.row < bottom
                        and left < place.col + width
                        and place.col < right
                    ):
                        yield number, place

    def _places(self) -> list[Window]:
        """Place each chip, from the north-west corner of what they cover."""
        height, width = self._side
        given = [chip.place for chip in self._chips if chip.place is not None]
        if given and len(given) < len(self._chips):
            chip = next(chip for chip in self._chips if chip.place is None)
            raise InputError(f"{self.name}: found no place of {chip.id}, expected one for each chip, or for none")
        if not given:
            across = math.ceil(math.sqrt(len(self._chips)))
            down, right = (-(-(side + _GAP_PX) // _SQUARE_PX) * _SQUARE_PX for side in self._side)
            given = [(i // across * down, i % across * right) for i in range(len(self._chips))]
        top, left = min(row for row, _ in given), min(col for _, col in given)
        return [Window(row - top, col - left, height, width) for row, col in given]

    def _cells(self) -> dict[tuple[int, int], int]:
        """Find the number of the chip whose corner lies in each square of their size; no square holds two."""
        height, width = self._side
        found: dict[tuple[int, int], int] = {}
        places = list(self.windows.values())
        for number, place in enumerate(places):
            row, col = place.row // height, place.col // width
            for square in ((row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if square in found:
                    other = places[found[square]]
                    if abs(other.row - place.row) < height and abs(other.col - place.col) < width:
                        names = f"{self._chips[found[square]].id} and {self._chips[number].id}"
                        how = "if row and col count chips, table.step_px is the side of one"
                        raise InputError(f"{self.name}: the chips {names} overlap, expected places side by side; {how}")
            found[row, col] = number
        return found

    def _decode(self, number: int) -> NDArray[np.float32]:
        chip = self._chips[number]
        image = read_image(chip, self._config)
        if image.shape[1:] != self._side:
            rows, cols = image.shape[1:]
            expected = f"expected {self._side[0]} x {self._side[1]} as the first mask"
            raise InputError(f"{chip.image}: found {rows} x {cols} pixels, {expected}")
        return image

    def _read_all(self) -> str:
        """Read every chip once: its labels and where it has values; and hash all of it."""
        needed = [i for i, band in enumerate(self.inputs) if not band.optional]
        about = f"{self.inputs} {self.relative} {self.pixel_size_m} {self.windows} {self.bounds}"
        digest = hashlib.sha256(about.encode())
        for number, (chip, place) in enumerate(zip(self._chips, self.windows.values(), strict=True)):
            image, mask = self._decode(number), read_mask(chip, self._config)
            if mask.shape != self._side:
                expected = f"expected {self._side[0]} x {self._side[1]} as the first"
                raise InputError(f"{chip.mask}: found {mask.shape[0]} x {mask.shape[1]} pixels, {expected}")
            valid = np.isfinite(image[needed]).all(axis=0)
            self._valid[place.slices] = valid
            self.labels[place.slices] = np.where(valid, mask, np.uint8(NODATA))
            digest.update(image.tobytes() + mask.tobytes())
            if number % 50 == 49 or number + 1 == len(self._chips):
                report_progress("reading chips", number + 1, len(self._chips))
        return digest.hexdigest()


def open_mosaics(config: ChipsConfig) -> list[Mosaic]:
    """Open the chips of each event that a description takes.

    Raises
    ------
    InputError
        As `coslide.sources.chips.find_chips` and `Mosaic`.
    """
    events = find_chips(config)
    return [
        Mosaic(chips, config, f"{config.name} ({event})" if event else config.name) for event, chips in events.items()
    ]


def _band_of(band: ChipBand) -> Band:
    """Describe a band of chips as one of a cube."""
    unit = "1" if band.unit == RELATIVE else band.unit
    seen: dict[str, Any] = {"date": band.date, "quantity": band.quantity, "channel": band.channel}
    return Band(band.name, unit, group=_GROUPS.get(band.date, "terrain"), optional=band.date == "pre", **seen)
