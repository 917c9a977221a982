"""Pictures of places: what lies around a pixel before and after the earthquake, and its relief."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.errors import InputError
from coslide.report import images
from coslide.windows import Window

_DATES = {"post": "After", "pre": "Before"}
_SIDE_PX, _ZOOM, _GAP = 64, 5, 8
_MARK, _RIM = (255, 255, 0), (0, 0, 0)


class _Pixel(Protocol):
    @property
    def row(self) -> int:
        """From the north."""

    @property
    def col(self) -> int:
        """From the west."""


class _Panel(NamedTuple):
    bands: list[Band]
    low: images.Floats
    high: images.Floats


class PlacePictures:
    """Draws the surroundings of pixels of a cube: 64 x 64 pixels each, magnified, with a mark around the pixel.

    Parameters
    ----------
    cube
        With a scene that can be drawn in colours, or at least elevation.

    Attributes
    ----------
    panels
        What stands side by side in a picture, from the left.

    Raises
    ------
    InputError
        If it has neither.
    """

    def __init__(self, cube: Cube) -> None:
        self._cube = cube
        self._panels: dict[str, _Panel] = {}
        step = images.step_of(cube.shape)
        for words, channels in images.COMPOSITES.items():
            dates = {date: bands for date in _DATES if (bands := cube.reflectance(date, channels))}
            if self._panels or not dates:
                continue
            for date, bands in dates.items():  # each by itself: light and haze differ
                small = np.stack([images.thumbnail(cube.array(band), step).image for band in bands], axis=-1)
                self._panels[f"{_DATES[date]} ({words})"] = _Panel(bands, *images.stretch_of([small]))
        self._elevation = [band for band in cube.bands if band.name == "elevation"]
        if not self._panels and not self._elevation:
            raise InputError(
                f"{cube.title}: the cube has neither red, green and blue nor elevation to draw places from"
            )

    @property
    def panels(self) -> list[str]:
        """Name what stands side by side in a picture, from the left."""
        return [*self._panels, *(["Relief"] if self._elevation else [])]

    @property
    def side_m(self) -> float:
        """Side of what a picture shows [m]."""
        return _SIDE_PX * self._cube.pixel_size_m

    def draw(self, places: Sequence[_Pixel]) -> Iterator[Image.Image]:
        """Draw the picture of each place, one after the other."""
        for place in places:
            panels = [
                images.stretched(np.moveaxis(self._around(place, panel.bands), 0, -1), panel.low, panel.high)
                for panel in self._panels.values()
            ]
            if self._elevation:
                (metres,) = self._around(place, self._elevation)
                panels.append(images.shaded_relief(metres, self._cube.pixel_size_m))
            yield _side_by_side([_marked(colours) for colours in panels])

    def _around(self, place: _Pixel, bands: Sequence[Band]) -> NDArray[np.float32]:
        """Read the surroundings, (band, row, col); NaN beyond the cube."""
        values = np.full((len(bands), _SIDE_PX, _SIDE_PX), np.nan, np.float32)
        starts = (place.row - _SIDE_PX // 2, place.col - _SIDE_PX // 2)
        first = [max(0, start) for start in starts]
        last = [min(side, start + _SIDE_PX) for start, side in zip(starts, self._cube.shape, strict=True)]
        window = Window(first[0], first[1], last[0] - first[0], last[1] - first[1])
        target = tuple(slice(a - start, b - start) for a, b, start in zip(first, last, starts, strict=True))
        values[(slice(None), *target)] = self._cube.read(window, bands)
        return values


def _marked(colours: NDArray[Any]) -> NDArray[np.uint8]:
    """Magnify a picture, and draw lines towards the pixel that is asked for and around it, none over it."""
    large: NDArray[np.uint8] = np.rint(255 * colours).astype(np.uint8).repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
    start, stop = (_SIDE_PX // 2) * _ZOOM, (_SIDE_PX // 2 + 1) * _ZOOM
    middle = (start + stop) // 2
    for colour, wide, reach in ((_RIM, 2, 1), (_MARK, 1, 0)):
        box = np.zeros(large.shape[:2], bool)
        box[start - wide - 1 : stop + wide + 1, start - wide - 1 : stop + wide + 1] = True
        box[start - 2 + wide : stop + 2 - wide, start - 2 + wide : stop + 2 - wide] = False
        for near, far in ((start - 22, start - 6), (stop + 6, stop + 22)):
            box[near - reach : far + reach, middle - reach : middle + 1 + reach] = True
            box[middle - reach : middle + 1 + reach, near - reach : far + reach] = True
        large[box] = colour
    return large


def _side_by_side(panels: Sequence[NDArray[np.uint8]]) -> Image.Image:
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return Image.fromarray(np.concatenate(parts, axis=1))
