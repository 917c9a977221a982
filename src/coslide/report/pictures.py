"""Pictures for a page that stands alone: each as the text of a data address."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from coslide.report.thumbnails import thumbnail

Floats = NDArray[np.float32]

_WIDEST_PX, _SCENE_PX = 1400, 1200
_GAMMA = 0.7  # below 1 brightens forest, which would be near black
_UNKNOWN = (0.85, 0.85, 0.85)
_JPEG_QUALITY = 85


def composites(cube: xr.Dataset, bands: Sequence[str]) -> dict[str, str]:
    """Return pictures of three bands before and after the event, with one stretch, as JPEG addresses by variable.

    Parameters
    ----------
    cube
        What `coslide.indices.cube.open_cube` returns.
    bands
        Names of the bands for red, green and blue, such as ``("B4", "B3", "B2")``. A date that lacks one is left out.
    """
    step = _step(cube)
    found = {
        name: np.stack([thumbnail(cube[name].sel(band=band), step).image for band in bands], axis=-1)
        for name in ("reflectance_pre", "reflectance_post")
        if name in cube and set(bands) <= {str(band) for band in cube[name]["band"].values}
    }
    if not found:
        return {}
    low, high = np.nanpercentile(np.concatenate([image.reshape(-1, 3) for image in found.values()]), (1, 99), axis=0)
    return {name: _jpeg(_stretched(image, low, high)) for name, image in found.items()}


def probability_picture(probability: Floats) -> str:
    """Return a picture of landslide probability (0 to 1, NaN unknown), dark to bright, as a PNG address."""
    step = max(1, math.ceil(max(probability.shape) / _WIDEST_PX))
    values = xr.DataArray(probability, dims=("y", "x"))
    small = thumbnail(values, step).image
    colours = colormaps["magma"](np.nan_to_num(small))[..., :3]
    colours[np.isnan(small)] = _UNKNOWN
    return _address(_image(colours), "png")


def size_figure(areas_m2: dict[str, NDArray[np.float64]]) -> str:
    """Return a figure of how many landslides are at least so large, one line for each inventory, as a PNG address.

    Parameters
    ----------
    areas_m2
        Areas in m2 by what the inventory is called.
    """
    figure = Figure(figsize=(7, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    for (name, areas), style in zip(areas_m2.items(), ("-", "--", ":"), strict=False):
        ordered = np.sort(areas)[::-1]
        axes.loglog(ordered, np.arange(1, len(ordered) + 1), style, label=f"{name} ({len(ordered)})")
    axes.set(xlabel="area A [m²]", ylabel="landslides of at least A")
    axes.grid(visible=True, which="major", color="0.9")
    axes.legend(frameon=False)
    return _figure(figure)


def loss_figure(losses: Sequence[float]) -> str:
    """Return a figure of the training loss of each epoch, as a PNG address."""
    figure = Figure(figsize=(7, 2.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    axes.grid(visible=True, color="0.9")
    return _figure(figure)


def file_picture(path: Path) -> str:
    """Return a picture from a file, at most 1400 pixels wide, as a JPEG address."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > _WIDEST_PX:
        image = image.resize((_WIDEST_PX, round(image.height * _WIDEST_PX / image.width)), Image.Resampling.LANCZOS)
    return _address(image, "jpeg")


def _step(cube: xr.Dataset) -> int:
    return max(1, math.ceil(max(cube.sizes["y"], cube.sizes["x"]) / _SCENE_PX))


def _stretched(image: Floats, low: NDArray[np.floating], high: NDArray[np.floating]) -> Floats:
    colours = np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1) ** _GAMMA
    colours[np.isnan(image).any(axis=-1)] = _UNKNOWN
    return np.asarray(colours, dtype=np.float32)


def _image(colours: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(255 * colours).astype(np.uint8))


def _jpeg(colours: NDArray[np.floating]) -> str:
    return _address(_image(colours), "jpeg")


def _address(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _figure(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
