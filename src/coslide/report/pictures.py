"""Pictures for a page that stands alone: each as the text of a data address."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from coslide.cube.cube import Cube
from coslide.report.thumbnails import thumbnail

Floats = NDArray[np.float32]

_WIDEST_PX, _SCENE_PX = 1400, 1200
_GAMMA = 0.7  # below 1 brightens forest, which would be near black
_UNKNOWN = (0.85, 0.85, 0.85)
_JPEG_QUALITY = 85

# What a cell of a map of landslides is, by its code; colours of Okabe and Ito (2008), jfly.uni-koeln.de/color.
NOTHING, CORRECT, FALSE_ALARM, MISSED, NOT_SCORED = range(5)
COLOURS = {CORRECT: "#F0E442", FALSE_ALARM: "#D55E00", MISSED: "#56B4E9", NOT_SCORED: "#C0B24A"}
"""Colour of each code of a map."""
_FLAT, _FADE = 0.66, 0.6  # grey of ground without relief; how dark ground beside the frame stays


def composites(cube: Cube, channels: Sequence[str]) -> dict[str, str]:
    """Return pictures of three bands before and after the event, with one stretch, as JPEG addresses by date.

    Parameters
    ----------
    cube
        What `coslide.cube.cube.open_cube` returns.
    channels
        Names of the bands for red, green and blue, such as ``("B4", "B3", "B2")``. A date that lacks one is left out.
    """
    step = max(1, math.ceil(max(cube.grid.shape) / _SCENE_PX))
    found = {
        date: np.stack([thumbnail(cube.array(band), step).image for band in bands], axis=-1)
        for date in ("pre", "post")
        if (bands := cube.reflectance(date, channels))
    }
    if not found:
        return {}
    low, high = np.nanpercentile(np.concatenate([image.reshape(-1, 3) for image in found.values()]), (1, 99), axis=0)
    return {date: _jpeg(_stretched(image, low, high)) for date, image in found.items()}


def probability_picture(probability: Floats) -> str:
    """Return a picture of landslide probability (0 to 1, NaN unknown), dark to bright, as a JPEG address."""
    step = max(1, math.ceil(max(probability.shape) / _WIDEST_PX))
    values = xr.DataArray(probability, dims=("y", "x"))
    small = thumbnail(values, step).image
    colours = colormaps["magma"](np.nan_to_num(small))[..., :3]
    colours[np.isnan(small)] = _UNKNOWN
    return _jpeg(colours, sharp=True)


def landslide_picture(
    codes: NDArray[np.uint8],
    known: NDArray[np.bool_],
    *,
    elevation: xr.DataArray | None = None,
    held_out: NDArray[np.bool_] | None = None,
    pixel_size_m: float,
) -> str:
    """Return what `landslide_colours` makes of its parameters as a JPEG address."""
    colours = landslide_colours(codes, known, elevation=elevation, held_out=held_out, pixel_size_m=pixel_size_m)
    return _jpeg(colours, sharp=True)


def landslide_colours(
    codes: NDArray[np.uint8],
    known: NDArray[np.bool_],
    *,
    elevation: xr.DataArray | None = None,
    held_out: NDArray[np.bool_] | None = None,
    pixel_size_m: float,
) -> NDArray[np.floating]:
    """Return a picture of landslides over the shaded relief: red, green, blue, 0 to 1, (row, col, 3).

    Parameters
    ----------
    codes
        `NOTHING`, `CORRECT`, `FALSE_ALARM`, `MISSED` or `NOT_SCORED`, uint8 (row, col). A pixel of the picture takes
        the commonest code of its cells that is not `NOTHING`, so no landslide is lost.
    known
        Where there is a map, bool (row, col); the rest is grey.
    elevation
        Height in m, (y, x); None leaves the relief flat.
    held_out
        Ground kept from training, bool (row, col): it is framed, and the rest is paler.
    pixel_size_m
        Side of a cell [m].
    """
    step = max(1, math.ceil(max(codes.shape) / _SCENE_PX))
    small, seen = _commonest(codes, step), _any(known, step)
    shade = np.full(small.shape, _FLAT, dtype=np.float32)
    if elevation is not None:
        relief = 0.2 + 0.65 * hillshade(thumbnail(elevation, step).image, pixel_size_m * step)
        shade = np.where(np.isfinite(relief), relief, shade)
    framed = None if held_out is None else _any(held_out, step)
    if framed is not None:
        shade = np.where(framed, shade, 1 - _FADE * (1 - shade))
    colours = np.repeat(shade[..., np.newaxis], 3, axis=-1)
    colours[~seen] = _UNKNOWN
    for code, colour in COLOURS.items():
        colours[small == code] = to_rgb(colour)
    if framed is not None and not framed.all():
        edge = framed & ~ndimage.binary_erosion(framed, border_value=1)
        colours[ndimage.binary_dilation(edge, iterations=1)] = 0
        colours[edge] = 1
    return colours


def hillshade(elevation_m: Floats, pixel_size_m: float) -> Floats:
    """Return how bright ground is under a light from the northwest, 45 degrees high: 0 to 1, flat ground 0.71.

    The cosine between the light and the normal of the surface (Horn 1981, doi:10.1109/PROC.1981.11918), float32
    (row, col), row 0 in the north; NaN where a neighbour is unknown, and everywhere on less than two rows or columns.

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


def size_figure(areas_m2: dict[str, NDArray[np.float64]]) -> str:
    """Return a figure of how many landslides are at least so large, one line for each inventory, as a PNG address.

    Parameters
    ----------
    areas_m2
        Areas in m2 by what the inventory is called.
    """
    figure = Figure(figsize=(5, 3.4), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    for (name, areas), style in zip(areas_m2.items(), ("-", "--", ":"), strict=False):
        ordered = np.sort(areas)[::-1]
        axes.loglog(ordered, np.arange(1, len(ordered) + 1), style, label=f"{name} ({len(ordered)})")
    axes.set(xlabel="area A [m²]", ylabel="landslides of at least A")
    axes.grid(visible=True, which="major", color="0.9")
    axes.legend(frameon=False)
    return figure_picture(figure)


def vital_signs_figure(signs: Mapping[str, Any]) -> str:
    """Draw what each depth has learned and is worth: the spread of its kernels, and the precision lost without it.

    Parameters
    ----------
    signs
        Of one network, as in ``metrics.json``.
    """
    figure = Figure(figsize=(7, 2.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    depths = [str(row["depth"]) for row in signs["depths"]]
    left.bar(depths, [row["kernel_spread"] for row in signs["depths"]], color="#0072B2")
    left.axhline(1, color="0.6", linestyle=":")
    left.set(ylabel="spread of kernels over\ntheir initial one", xlabel="depth")
    lost = {str(row["depth"]): row["ap_lost"] for row in signs["depths"] if row["ap_lost"] is not None}
    if signs["branch_ap_lost"] is not None:
        lost["branch"] = signs["branch_ap_lost"]
    right.bar(list(lost), list(lost.values()), color="#D55E00")
    right.axhline(0, color="0.6", linewidth=0.8)
    most = max([0.05, *(abs(value) for value in lost.values())])  # a thousandth must not look like a loss
    right.set(
        ylabel="average precision lost\nwithout it", xlabel="from this depth down, or 2nd branch", ylim=(-most, most)
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure_picture(figure)


def loss_figure(losses: Sequence[float]) -> str:
    """Return a figure of the training loss of each epoch, as a PNG address."""
    figure = Figure(figsize=(5, 2.6), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    axes.grid(visible=True, color="0.9")
    return figure_picture(figure)


def _commonest(codes: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Return the commonest code above 0 of each block of step x step cells, the lower of two that are as common."""
    if step == 1:
        return codes
    counts = np.stack([_blocks(codes == code, step).sum(axis=(1, 3), dtype=np.int32) for code in COLOURS])
    best = np.array(list(COLOURS), dtype=np.uint8)[counts.argmax(axis=0)]
    return np.where(counts.any(axis=0), best, NOTHING).astype(np.uint8)


def _any(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    return mask if step == 1 else np.asarray(_blocks(mask, step).any(axis=(1, 3)))


def _blocks(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Return blocks as (row, step, col, step); those at the edge are filled up with False."""
    rows, cols = (-length % step for length in mask.shape)
    padded = np.pad(mask, ((0, rows), (0, cols)))
    return padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)


def _stretched(image: Floats, low: NDArray[np.floating], high: NDArray[np.floating]) -> Floats:
    colours = np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1) ** _GAMMA
    colours[np.isnan(image).any(axis=-1)] = _UNKNOWN
    return np.asarray(colours, dtype=np.float32)


def _image(colours: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(255 * colours).astype(np.uint8))


def _jpeg(colours: NDArray[np.floating], *, sharp: bool = False) -> str:
    return _address(_image(colours), "jpeg", **({"subsampling": 0} if sharp else {}))  # colours as fine as brightness


def _address(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=_JPEG_QUALITY, optimize=True, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure_picture(figure: Figure) -> str:
    """Return a figure as a PNG address; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return png_picture(buffer.getvalue())


def png_picture(content: bytes) -> str:
    """Return the content of a PNG file as an address.

    Examples
    --------
    >>> png_picture(b"PNG")
    'data:image/png;base64,UE5H'
    """
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
