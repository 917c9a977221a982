"""The figure of an event: the scene, the mapped landslides and the recognised ones side by side."""

from pathlib import Path
from textwrap import fill
from typing import NamedTuple, NotRequired, Required, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import rasterio.features
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MultipleLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from odc.geo.geobox import GeoBox

from coslide.io.atomic import whole_output
from coslide.labels import LANDSLIDE, NODATA
from coslide.report.page import round_length

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
Image = npt.NDArray[np.float32]  # (row, col, 3), 0 to 1

_WIDTH_IN, _DPI = 12.0, 200  # 2400 px; text of 9 pt is still 10 px high at a width of 1000 px
_LEFT_IN, _RIGHT_IN, _GAP_IN, _TOP_IN, _SCORES_IN, _BOTTOM_IN = 0.85, 0.15, 0.18, 0.85, 0.3, 1.45
_TALLEST_IN = 9.0
_GAMMA = 0.7  # below 1 brightens the forest, which would be near black

# Told apart by people who are colour-blind: Okabe and Ito (2008), Color universal design, jfly.uni-koeln.de/color.
_YELLOW, _VERMILION, _BLUE = "#F0E442", "#D55E00", "#56B4E9"
_DULL_YELLOW = "#C0B24A"


class Captions(TypedDict):
    """What is written on a figure."""

    title: Required[str]
    scores: NotRequired[dict[str, float] | None]
    credit: NotRequired[str]


class _Layer(NamedTuple):
    mask: BoolArray
    colour: str
    label: str


class _Panel(NamedTuple):
    title: str
    layers: list[_Layer]


class _Scene(NamedTuple):
    image: Image
    known: BoolArray
    affine: Affine  # to km
    recognised: BoolArray
    mapped: BoolArray | None
    unknown: BoolArray
    held_out: BoolArray | None


def scene_figure(
    path: Path,
    *,
    grid: GeoBox,
    rgb: FloatArray,
    recognised: BoolArray,
    mapped: npt.NDArray[np.uint8] | None = None,
    held_out: BoolArray | None = None,
    **captions: Unpack[Captions],
) -> Path:
    """Return the path of a PNG, 2400 pixels wide, that shows an event's scene and landslides side by side.

    The panels are the scene in true colour; the same with the mapped landslides, where there is an inventory; and the
    same with the recognised ones. Where the truth is known and the network was not trained, the last panel tells
    correct, false and missed landslides apart; recognised landslides elsewhere are drawn in one colour of their own.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    grid
        Grid of the arrays, in metres, north up.
    rgb
        Reflectance after the earthquake, red, green, blue, float (3, row, col); NaN where there is none.
    recognised
        Landslides of the model, bool (row, col).
    mapped
        Inventory, uint8 (row, col): 0 background, 1 landslide, 255 outside the mapped area, which is hatched. None
        leaves the middle panel out.
    held_out
        Ground kept from training, bool (row, col), which is outlined. None: the network never saw the event, and the
        truth is known wherever it was mapped.
    title
        Name of the event.
    scores
        ``f1``, ``precision``, ``recall`` and ``iou_landslide`` [0 to 1], as `coslide.evaluation.pixels.scores` gives
        them; None leaves the line out.
    credit
        Who made the data; written at the bottom.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If an array does not have the shape of the grid, or the grid is not in metres.
    InputError
        If the disk is full or the folder cannot be written.

    Notes
    -----
    Grids with more pixels than a panel has dots are reduced: the scene by averaging, landslides so that none is lost,
    which makes the smallest look larger than they are.

    Examples
    --------
    >>> import tempfile
    >>> grid = GeoBox((40, 60), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    >>> scene, none = np.full((3, 40, 60), 0.1), np.zeros((40, 60), bool)
    >>> path = Path(tempfile.mkdtemp()) / "landslides.png"
    >>> scene_figure(path, grid=grid, rgb=scene, recognised=none, title="Nothing moved").name
    'landslides.png'
    """
    _check(grid, {"rgb": rgb, "recognised": recognised, "mapped": mapped, "held_out": held_out})
    scene = _reduced(grid, rgb=rgb, recognised=recognised, mapped=mapped, held_out=held_out)
    panels = [_Panel("After the earthquake", [])]
    if scene.mapped is not None:
        panels.append(_Panel("Mapped landslides", [_Layer(scene.mapped, _YELLOW, "Mapped")]))
    panels.append(_Panel("Recognised landslides", _recognised_layers(scene)))
    figure, axes = _layout(scene, len(panels), top_in=_TOP_IN + (_SCORES_IN if captions.get("scores") else 0))
    for ax, letter, panel in zip(axes, "abc", panels, strict=False):
        _draw(ax, scene, panel)
        ax.set_title(f"({letter}) {panel.title}", fontsize=11, loc="left", pad=5)
        _add_legend(ax, scene, panel)
    _write_captions(figure, grid, captions, held_out=held_out is not None)
    with whole_output(path) as part:
        figure.savefig(part, dpi=_DPI, metadata={"Software": None})  # no version inside: equal inputs, equal bytes
    return path


def _check(grid: GeoBox, arrays: dict[str, npt.NDArray[np.generic] | None]) -> None:
    if grid.crs is None or not grid.crs.projected or grid.crs.units[0] not in {"metre", "meter"}:
        raise ValueError(f"grid: expected a projected CRS in metres, found {grid.crs}")
    for name, array in arrays.items():
        expected = (3, *grid.shape) if name == "rgb" else tuple(grid.shape)
        if array is not None and array.shape != expected:
            raise ValueError(f"{name}: expected shape {expected}, found {array.shape}")


def _reduced(
    grid: GeoBox,
    *,
    rgb: FloatArray,
    recognised: BoolArray,
    mapped: npt.NDArray[np.uint8] | None,
    held_out: BoolArray | None,
) -> _Scene:
    """Return the scene with at most about two pixels for each dot of a panel, and coordinates in km."""
    dots = _DPI * np.array([_TALLEST_IN, _WIDTH_IN / (2 if mapped is None else 3)])
    step = max(1, int((np.array(grid.shape) / (2 * dots)).max()))
    colours = np.stack([_mean_of(band, step) for band in rgb])
    known: BoolArray = np.asarray(np.isfinite(colours).all(axis=0))
    east, south = grid.affine.a * step / 1000, grid.affine.e * step / 1000
    affine = Affine(east, 0, grid.affine.c / 1000, 0, south, grid.affine.f / 1000)
    return _Scene(
        image=_true_colour(colours, known),
        known=known,
        affine=affine,
        recognised=_any_of(recognised, step),
        mapped=None if mapped is None else _any_of(mapped == LANDSLIDE, step),
        unknown=np.zeros((1, 1), bool) if mapped is None else ~_any_of(mapped != NODATA, step),
        held_out=None if held_out is None else _any_of(held_out, step),
    )


def _blocks(band: npt.NDArray[np.generic], step: int) -> npt.NDArray[np.generic]:
    """Return step x step blocks as (row, step, col, step); an incomplete last row or column is left out."""
    rows, cols = band.shape[0] // step, band.shape[1] // step
    return band[: rows * step, : cols * step].reshape(rows, step, cols, step)


def _any_of(mask: BoolArray, step: int) -> BoolArray:
    return mask if step == 1 else np.asarray(_blocks(mask, step).any(axis=(1, 3)))


def _mean_of(band: FloatArray, step: int) -> FloatArray:
    if step == 1:
        return band
    blocks = _blocks(band, step)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / known.sum(axis=(1, 3)))


def _true_colour(rgb: FloatArray, known: BoolArray) -> Image:
    """Return (row, col, 3), 0 to 1: each band from its 2nd to its 98th percentile, brightened; white without data."""
    image = np.ones((*known.shape, 3), np.float32)
    if known.any():
        for k, band in enumerate(rgb):
            low, high = np.percentile(band[known], (2, 98))
            stretched = np.clip((band[known] - low) / max(high - low, 1e-6), 0, 1)
            image[known, k] = stretched**_GAMMA
    return image


def _recognised_layers(scene: _Scene) -> list[_Layer]:
    if scene.mapped is None:
        return [_Layer(scene.recognised, _YELLOW, "Recognised")]
    scored = ~scene.unknown if scene.held_out is None else scene.held_out & ~scene.unknown
    layers = [
        _Layer(scene.recognised & scene.mapped & scored, _YELLOW, "Correct"),
        _Layer(scene.recognised & ~scene.mapped & scored, _VERMILION, "False alarm"),
        _Layer(scene.mapped & ~scene.recognised & scored, _BLUE, "Missed"),
    ]
    unscored = scene.recognised & ~scored
    if unscored.any():
        layers.append(_Layer(unscored, _DULL_YELLOW, "Recognised, not scored"))
    return layers


def _layout(scene: _Scene, panels: int, *, top_in: float) -> tuple[Figure, list[Axes]]:
    rows, cols = scene.recognised.shape
    width = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN - (panels - 1) * _GAP_IN) / panels
    height = min(width * rows / cols, _TALLEST_IN)
    whole = height + top_in + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole), facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, nothing to close
    axes = []
    for k in range(panels):
        left = _LEFT_IN + k * (width + _GAP_IN)
        axes.append(figure.add_axes((left / _WIDTH_IN, _BOTTOM_IN / whole, width / _WIDTH_IN, height / whole)))
    return figure, axes


def _draw(ax: Axes, scene: _Scene, panel: _Panel) -> None:
    rows, cols = scene.recognised.shape
    left, top = scene.affine.c, scene.affine.f
    right, bottom = left + cols * scene.affine.a, top + rows * scene.affine.e
    ax.imshow(_painted(scene, panel.layers), extent=(left, right, bottom, top), interpolation="antialiased")
    for axis, length in ((ax.xaxis, right - left), (ax.yaxis, min(right - left, top - bottom))):
        axis.set_major_locator(MultipleLocator(round_length(length / 2)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
    ax.tick_params(labelsize=9, labelleft=not panel.layers)
    ax.set_xlabel("Easting (km)", fontsize=9)
    if not panel.layers:
        ax.set_ylabel("Northing (km)", fontsize=9)
        _add_scale(ax, right - left)
        return
    unknown = PathPatch(_outline(scene.unknown, scene.affine), facecolor=(1, 1, 1, 0.35), edgecolor="0.3", hatch="///")
    unknown.set_linewidth(0)
    ax.add_patch(unknown)
    if scene.held_out is not None:
        border = PathPatch(_outline(scene.held_out, scene.affine), facecolor="none", edgecolor="white", linewidth=1.3)
        border.set_path_effects([withStroke(linewidth=2.6, foreground="black")])
        ax.add_patch(border)


def _painted(scene: _Scene, layers: list[_Layer]) -> Image:
    if not layers:
        return scene.image
    grey = scene.image.mean(axis=2, keepdims=True)
    light = np.full((*scene.known.shape, 1), 0.75, np.float32)  # colours stand out on a greyer, darker scene
    if scene.held_out is not None:
        light[~scene.held_out] = 0.45  # which side of a frame is held out: the bright one
    image: Image = light * (0.65 * grey + 0.35 * scene.image)
    image[~scene.known] = 1
    for layer in layers:
        image[layer.mask] = 0.1 * image[layer.mask] + 0.9 * np.array(to_rgb(layer.colour), np.float32)
    return image


def _outline(mask: BoolArray, affine: Affine) -> Outline:
    rings = [
        Outline(ring, closed=True)
        for shape, _ in rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=affine)
        for ring in shape["coordinates"]
    ]
    return Outline.make_compound_path(*rings)


def _add_scale(ax: Axes, width_km: float) -> None:
    """Add a bar of a round length below a third of the panel, and an arrow to grid north."""
    length = round_length(width_km / 3)
    label = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    bar = AnchoredSizeBar(
        ax.transData, length, label, "lower left", pad=0.4, borderpad=0.5, sep=4, size_vertical=width_km / 150,
        fontproperties=FontProperties(size=9.5),
    )  # fmt: skip
    bar.patch.set(alpha=0.85, linewidth=0)
    ax.add_artist(bar)
    arrow = {"facecolor": "black", "edgecolor": "white", "width": 4, "headwidth": 12, "headlength": 11}
    north = ax.annotate(
        "N", (0.94, 0.98), (0, -33), xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
        fontsize=11, arrowprops=arrow,
    )  # fmt: skip
    north.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _write_captions(figure: Figure, grid: GeoBox, captions: Captions, *, held_out: bool) -> None:
    width, height = figure.get_size_inches()
    left = _LEFT_IN / width
    title = captions["title"]
    size = min(14.0, 14.0 * 90 / max(len(title), 1))  # about 90 letters fill the width
    figure.text(left, 1 - 0.2 / height, title, fontsize=size, weight="bold", va="top", parse_math=False)
    found = captions.get("scores")
    if found:
        names = {"f1": "F1", "precision": "precision", "recall": "recall", "iou_landslide": "IoU"}
        numbers = "   ".join(f"{name} {found[key]:.2f}" for key, name in names.items())
        where = "Ground not trained on" if held_out else "Mapped ground"
        figure.text(left, 1 - 0.52 / height, f"{where}:   {numbers}", fontsize=11, va="top")
    crs = f"{grid.crs.proj.name} ({grid.crs})" if grid.crs is not None else ""
    footer = ".  ".join(text.rstrip(".") for text in (captions.get("credit", ""), crs) if text)
    figure.text(left, 0.1 / height, fill(footer, 150), fontsize=9, color="0.3", va="bottom", parse_math=False)


def _add_legend(ax: Axes, scene: _Scene, panel: _Panel) -> None:
    handles = [Patch(facecolor=layer.colour, edgecolor="0.3", label=layer.label) for layer in panel.layers]
    if len(handles) == 1:  # the first panel with landslides explains what the next one repeats
        if scene.unknown.any():
            handles.append(Patch(facecolor="white", edgecolor="0.3", hatch="////", label="Not mapped"))
        if scene.held_out is not None:
            handles.append(
                Patch(facecolor="none", edgecolor="black", linewidth=1.6, label="Held out from training (brighter)")
            )
    if handles:
        corner = (ax.get_position().x0, (_BOTTOM_IN - 0.5) / ax.figure.get_figure(root=True).get_size_inches()[1])
        ax.legend(
            handles=handles, loc="upper left", bbox_to_anchor=corner, bbox_transform=ax.figure.transFigure, ncols=2,
            fontsize=9, frameon=False, borderpad=0, borderaxespad=0, columnspacing=1.2, handlelength=1.5,
            handletextpad=0.5,
        )  # fmt: skip
