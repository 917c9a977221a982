"""Maps as pictures: true colour, shaded relief, and landslides or their probability over it, and all colours."""

import base64
import io
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import block_reduce

from coslide.io.atomic import whole_output
from coslide.labels import NO_CLASS
from coslide.report.fonts import fit_fonts

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
MEAN = partial(np.nanmean, dtype=np.float64)
Codes = NDArray[np.uint8]

WIDEST_PX = 1200  # of a picture in a page
TRUE_COLOUR = ("B4", "B3", "B2")
COMPOSITES = {"true colour": TRUE_COLOUR, "false colour, plants are red": ("B8", "B4", "B3")}
"""Bands that are drawn in red, green and blue; where one composite is drawn, it is the first that a scene has."""
_GAMMA = 0.7  # below 1 brightens forest, which would be near black
_JPEG_QUALITY = 85
FLAT = "0.66"
"""Grey of terrain without relief."""
_FADE = 0.6  # how dark what lies outside the frame stays
_STRIP_ROWS = 512

# Told apart by people who are colour-blind: Okabe and Ito (2008), Color universal design, jfly.uni-koeln.de/color;
# then Paul Tol's muted set.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PINK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"
DISTINCT = (
    ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PINK, "#332288", "#999933", "#882255", "#44AA99", "#DDCC77",
)  # fmt: skip
"""Colours of classes without an order."""
MODEL, BASELINES = BLUE, (ORANGE, PINK)
PROBABILITY = ("#FEE0B6", ORANGE, "#B35806")
"""Classes of landslide probability, from the least to the most sure, and the ends of its colour map."""
OUTLINE = "#783200"
"""Outlines of landslide polygons."""
NODATA = "#D9D9D9"
NOTHING, CORRECT, FALSE_ALARM, MISSED, NOT_SCORED = range(5)
"""Codes of a map of landslides."""
COLOURS = dict(enumerate((YELLOW, VERMILION, SKY, "#C0B24A"), start=CORRECT))
"""Colour of each code but `NOTHING`."""
_PROBABILITY = LinearSegmentedColormap.from_list("probability", PROBABILITY)


def reduce_blocks(values: NDArray[Any], step: int, how: Callable[..., Any] = MEAN) -> NDArray[Any]:
    """Reduce each block of step x step pixels to one; blocks at the right and bottom edge may have fewer.

    Parameters
    ----------
    values
        (row, col); NaN is nodata.
    step
        Side of a block [pixels].
    how
        `MEAN`, or a function of numpy such as ``np.nanmax`` or ``np.any``.

    Examples
    --------
    >>> reduce_blocks(np.array([[1, np.nan, np.nan], [3, 5, np.nan]]), 2)
    array([[ 3., nan]])
    """
    if step == 1:
        return values
    numbers = values.dtype.kind == "f"
    beyond = np.nan if numbers else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a block without a value is NaN
        found: NDArray[Any] = block_reduce(values, step, how, cval=beyond)  # type: ignore[no-untyped-call]
    return found.astype(values.dtype) if numbers else found


class Thumbnail(NamedTuple):
    """A band made small, and what was counted on the whole of it.

    Attributes
    ----------
    image
        float32 (row, col), NaN is nodata.
    low, high, mean
        Of the valid pixels, in the band's unit; NaN where there is none.
    valid
        Share of the pixels that are valid, 0 to 1.
    """

    image: NDArray[np.float32]
    low: float
    high: float
    mean: float
    valid: float


def thumbnail(variable: xr.DataArray, step: int) -> Thumbnail:
    """Make a band `step` times smaller, in its own unit, strip by strip.

    Parameters
    ----------
    variable
        A variable of a cube with the dimensions y and x, as stored.
    step
        Side of the block of pixels that becomes one.

    Notes
    -----
    Numbers are averaged over the valid pixels of a block. Of classes, whose mean means nothing, the most northwestern
    is taken; of labels the highest, so that no landslide is lost. NaN is nodata, and so is the fill value of integers:
    what the variable declares, or 255.

    Examples
    --------
    >>> thumbnail(xr.DataArray(np.array([[1.0, np.nan], [3.0, 5.0]], np.float32), dims=("y", "x")), 2)
    Thumbnail(image=array([[3.]], dtype=float32), low=1.0, high=5.0, mean=3.0, valid=0.75)
    """
    fill, whole = variable.attrs.get("_FillValue", NO_CLASS), variable.dtype.kind != "f"
    label = variable.attrs.get("role") == "label"
    rows = step * max(1, _STRIP_ROWS // step)
    images, lows, highs, total, count = [], [], [], 0.0, 0
    for top in range(0, variable.sizes["y"], rows):
        stored = variable.isel(y=slice(top, top + rows)).values
        strip = np.where(stored == fill, np.float32(np.nan), stored.astype(np.float32)) if whole else stored
        finite = np.isfinite(strip)
        lows.append(strip.min(where=finite, initial=np.inf))
        highs.append(strip.max(where=finite, initial=-np.inf))
        total += float(strip.sum(where=finite, dtype=np.float64))
        count += int(finite.sum())
        classes = whole and not label
        images.append(strip[::step, ::step] if classes else reduce_blocks(strip, step, np.nanmax if label else MEAN))
    image = np.concatenate(images)
    if not count:
        return Thumbnail(image, np.nan, np.nan, np.nan, 0.0)
    return Thumbnail(image, float(min(lows)), float(max(highs)), total / count, count / variable.size)


def landslide_codes(recognised: Mask, mapped: Mask | None, judged: Mask) -> Codes:
    """Tell landslides apart that are found, false and missed, uint8 (row, col); `NOT_SCORED` where none can judge.

    Parameters
    ----------
    recognised, mapped
        Landslides of the model and of the inventory, bool (row, col); None without an inventory.
    judged
        Pixels that can be scored, bool (row, col).
    """
    codes = np.where(recognised, NOT_SCORED, NOTHING).astype(np.uint8)
    if mapped is not None:
        codes[recognised & mapped & judged] = CORRECT
        codes[recognised & ~mapped & judged] = FALSE_ALARM
        codes[~recognised & mapped & judged] = MISSED
    return codes


def landslide_colours(
    codes: Codes, valid: Mask, background: Floats | None, held_out: Mask | None = None, *, step: int
) -> Floats:
    """Draw landslides over a picture: red, green, blue, 0 to 1, (row, col, 3).

    Parameters
    ----------
    codes
        `NOTHING`, `CORRECT`, `FALSE_ALARM`, `MISSED` or `NOT_SCORED`, uint8 (row, col). A pixel of the picture takes
        the commonest code of its pixels that is not `NOTHING`, so no landslide is lost.
    valid
        Where there is a map, bool (row, col); the rest is grey.
    background
        Picture to draw on, of the size of the result; None for flat grey.
    held_out
        Pixels kept from training, bool (row, col): they are framed, and the rest is paler.
    step
        Side of the block of pixels that becomes one of the picture (`step_of`).
    """
    small = _commonest(codes, step)
    colours = np.full((*small.shape, 3), float(FLAT), np.float32) if background is None else background.copy()
    framed = None if held_out is None else reduce_blocks(held_out, step, np.any)
    if framed is not None:
        colours[~framed] = 1 - _FADE * (1 - colours[~framed])
    colours[~reduce_blocks(valid, step, np.any)] = to_rgb(NODATA)
    for code, colour in COLOURS.items():
        colours[small == code] = to_rgb(colour)
    if framed is not None and not framed.all():
        edge = framed & ~ndimage.binary_erosion(framed, border_value=1)
        colours[ndimage.binary_dilation(edge)] = 0
        colours[edge] = 1
    return colours


def probability_colours(probability: Floats, background: Floats, *, step: int) -> Floats:
    """Draw landslide probability (0 to 1, NaN nodata) over a picture, which shines through where it is low.

    Parameters as for `landslide_colours`.
    """
    small = reduce_blocks(probability, step)
    valid = np.isfinite(small)
    given = np.where(valid, small, 0)[..., np.newaxis]
    colours = (1 - given) * background + given * _PROBABILITY(given[..., 0])[..., :3]
    colours[~valid] = to_rgb(NODATA)
    return np.asarray(colours, np.float32)


def shaded_relief(elevation: Floats, pixel_size_m: float) -> Floats:
    """Draw the terrain under a light from the northwest, (row, col, 3), 0 to 1; flat grey where it is nodata.

    Parameters
    ----------
    elevation
        Height in m, (row, col), NaN nodata, already reduced to the size of the picture.
    pixel_size_m
        Side of a pixel of the picture [m].
    """
    relief = 0.2 + 0.65 * hillshade(elevation, pixel_size_m)
    shade = np.where(np.isfinite(relief), relief, float(FLAT)).astype(np.float32)
    return np.repeat(shade[..., np.newaxis], 3, axis=-1)


def hillshade(elevation_m: Floats, pixel_size_m: float) -> Floats:
    """Compute how bright terrain is under a light from the northwest, 45 degrees high: 0 to 1, flat terrain 0.71.

    The cosine between the light and the normal of the surface (Horn 1981, doi:10.1109/PROC.1981.11918), float32
    (row, col), row 0 in the north; NaN where a neighbour is nodata, and everywhere on less than two rows or columns.

    Examples
    --------
    >>> hillshade(np.zeros((2, 2), np.float32), 10.0)
    array([[0.71, 0.71],
           [0.71, 0.71]], dtype=float32)
    """
    if min(elevation_m.shape) < 2:
        return np.full(elevation_m.shape, np.nan, dtype=np.float32)
    south, east = np.gradient(elevation_m, pixel_size_m)
    half = math.sqrt(0.5)  # the light comes from (-1/2, 1/2, sqrt(1/2)) in x, y, z; the normal is (-east, south, 1)
    cosine = (0.5 * east + 0.5 * south + half) / np.sqrt(1 + east**2 + south**2)
    return np.asarray(np.clip(cosine, 0, 1), dtype=np.float32)


def true_colours(scenes: Sequence[Floats], tails: tuple[float, float] = (1, 99)) -> list[Floats]:
    """Stretch pictures of three bands alike, each (row, col, 3), to 0 to 1, brightened; grey where a band has no value.

    Parameters
    ----------
    scenes
        Red, green, blue reflectance, (row, col, 3), NaN nodata.
    tails
        Percentiles of each band over all pictures that become 0 and 1.
    """
    low, high = stretch_of(scenes, tails)
    return [stretched(scene, low, high) for scene in scenes]


def stretch_of(scenes: Sequence[Floats], tails: tuple[float, float] = (1, 99)) -> tuple[Floats, Floats]:
    """Find the values of three bands that become 0 and 1 (`true_colours`), each (3,); NaN of a band without a value."""
    values = np.concatenate([scene.reshape(-1, 3) for scene in scenes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a band without a value
        low, high = np.nanpercentile(values, tails, axis=0)
    return low, high


def stretched(scene: Floats, low: Floats, high: Floats) -> Floats:
    """Stretch a picture, (row, col, 3), from `low` and `high` (`stretch_of`) to 0 to 1, brightened; grey is nodata."""
    colours = np.clip((scene - low) / np.maximum(high - low, 1e-6), 0, 1) ** _GAMMA
    colours[np.isnan(colours).any(axis=-1)] = to_rgb(NODATA)
    return colours.astype(np.float32)


def step_of(shape: Sequence[int], widest_px: float = WIDEST_PX) -> int:
    """Find the side of the blocks that reduce a map to at most `widest_px` pixels along its longer side."""
    return max(1, math.ceil(max(shape) / widest_px))


def jpeg_uri(colours: Floats, *, sharp: bool = False) -> str:
    """Encode a picture, (row, col, 3), 0 to 1, as a JPEG data address; `sharp` keeps colours as fine as brightness."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.rint(255 * colours).astype(np.uint8))
    image.save(buffer, "jpeg", quality=_JPEG_QUALITY, optimize=True, **({"subsampling": 0} if sharp else {}))
    return data_uri(buffer.getvalue(), "jpeg")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG, whole or not at all; equal figures give equal bytes."""
    fit_fonts(figure)
    with whole_output(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})  # no version inside
    return path


def figure_uri(figure: Figure) -> str:
    """Encode a figure as a PNG data address; equal figures give equal bytes."""
    fit_fonts(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return data_uri(buffer.getvalue(), "png")


def data_uri(content: bytes, kind: str) -> str:
    """Encode a picture file as a data address.

    Examples
    --------
    >>> data_uri(b"PNG", "png")
    'data:image/png;base64,UE5H'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _commonest(codes: Codes, step: int) -> Codes:
    """Find the commonest code above 0 of each block of step x step pixels, the lower of two that are as common."""
    counts = np.stack([reduce_blocks((codes == code).astype(np.int32), step, np.sum) for code in COLOURS])
    best = np.array(list(COLOURS), dtype=np.uint8)[counts.argmax(axis=0)]
    return np.where(counts.any(axis=0), best, NOTHING).astype(np.uint8)
