"""The figure of an event: the scene, the mapped landslides and the recognised ones side by side."""

from pathlib import Path
from textwrap import fill
from typing import Any, NotRequired, Required, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from odc.geo.geobox import GeoBox

from coslide.evaluation.pixels import PixelRates
from coslide.io.atomic import whole_output
from coslide.labels import LANDSLIDE, NODATA
from coslide.report import images
from coslide.report.page import round_length

_WIDTH_IN, _DPI = 12.0, 200  # 2400 px; text of 9 pt is still 10 px high at a width of 1000 px
_LEFT_IN, _RIGHT_IN, _GAP_IN, _TOP_IN, _BOTTOM_IN = 0.85, 0.15, 0.18, 1.05, 1.6
_TALLEST_IN = 9.0


class Captions(TypedDict):
    """What is written on a figure."""

    title: Required[str]
    scores: NotRequired[PixelRates | None]
    credit: NotRequired[str]


_SCORED = {
    images.CORRECT: "Correct",
    images.FALSE_ALARM: "False alarm",
    images.MISSED: "Missed",
    images.NOT_SCORED: "Recognised, not scored",
}


def scene_figure(
    path: Path,
    *,
    grid: GeoBox,
    rgb: images.Floats,
    recognised: images.Mask,
    mapped: npt.NDArray[np.uint8] | None = None,
    held_out: images.Mask | None = None,
    **captions: Unpack[Captions],
) -> Path:
    """Draw an event's scene and landslides side by side in a PNG, 2400 pixels wide.

    The panels are the scene in true colour; the same with the mapped landslides, where there is an inventory; and the
    same with the recognised ones. Where labels are known and the network was not trained, the last panel tells correct,
    false and missed landslides apart; recognised landslides elsewhere are drawn in one colour of their own.

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
        Pixels kept from training, bool (row, col), which are framed. None: the network never saw the event.
    title
        Name of the event.
    scores
        Written below the title; None leaves the line out.
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
    >>> from affine import Affine
    >>> grid = GeoBox((40, 60), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    >>> scene, none = np.full((3, 40, 60), 0.1), np.zeros((40, 60), bool)
    >>> path = Path(tempfile.mkdtemp()) / "landslides.png"
    >>> scene_figure(path, grid=grid, rgb=scene, recognised=none, title="Nothing moved").name
    'landslides.png'
    """
    _check(grid, {"rgb": rgb, "recognised": recognised, "mapped": mapped, "held_out": held_out})
    step = images.step_of(grid.shape, int(2 * _DPI * _WIDTH_IN / (2 if mapped is None else 3)))
    (scene,) = images.true_colours([np.stack([images.reduce_blocks(band, step) for band in rgb], axis=-1)], (2, 98))
    valid = np.asarray(np.isfinite(rgb).all(axis=0))
    labelled = np.ones_like(valid) if mapped is None else mapped != NODATA
    landslide = None if mapped is None else mapped == LANDSLIDE
    codes = images.landslide_codes(recognised, landslide, labelled if held_out is None else labelled & held_out)
    panels = [("Recognised landslides", codes, _SCORED)]
    if landslide is None:
        panels = [("Recognised landslides", codes, {images.NOT_SCORED: "Recognised"})]
    else:
        codes = np.where(landslide, images.CORRECT, images.NOTHING).astype(np.uint8)
        panels.insert(0, ("Mapped landslides", codes, {images.CORRECT: "Mapped"}))

    figure, axes = _layout(grid, 1 + len(panels))
    edges = [edge / 1000 for edge in grid.boundingbox.bbox]
    extent = (edges[0], edges[2], edges[1], edges[3])
    axes[0].imshow(scene, extent=extent, interpolation="antialiased")
    _decorate(axes[0], "(a) After the earthquake", edges[2] - edges[0])
    dimmed = 0.75 * (0.65 * scene.mean(axis=2, keepdims=True) + 0.35 * scene)  # colours stand out on it
    for ax, letter, (name, codes, words) in zip(axes[1:], "bc", panels, strict=False):
        colours = images.landslide_colours(codes, valid, step=step, background=dimmed, held_out=held_out)
        ax.imshow(colours, extent=extent, interpolation="antialiased")
        drawn = {images.COLOURS[code]: text for code, text in words.items() if (codes == code).any()}
        handles = [Patch(facecolor=colour, edgecolor="0.3", label=text) for colour, text in drawn.items()]
        if not labelled.all():
            unmapped = images.reduce_blocks(~labelled, step, np.all)
            ax.contourf(unmapped, [0.5, 1], colors="none", hatches=["///"], extent=extent, origin="upper")
            handles.append(Patch(facecolor="white", edgecolor="0.3", hatch="////", label="Not mapped"))
        if held_out is not None:
            handles.append(Patch(facecolor="white", edgecolor="black", linewidth=1.6, label="Held out from training"))
        ax.set_title(f"({letter}) {name}", fontsize=11, loc="left")
        spacing: Any = {"borderaxespad": 4, "columnspacing": 1.2, "handlelength": 1.6, "frameon": False}
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0), ncols=2, fontsize=9, **spacing)
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


def _layout(grid: GeoBox, panels: int) -> tuple[Figure, list[Axes]]:
    wide_in = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN - (panels - 1) * _GAP_IN) / panels
    whole_in = min(wide_in * grid.shape[0] / grid.shape[1], _TALLEST_IN) + _TOP_IN + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole_in), facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, nothing to close
    across = {"left": _LEFT_IN / _WIDTH_IN, "right": 1 - _RIGHT_IN / _WIDTH_IN, "wspace": _GAP_IN / wide_in}
    down = {"bottom": _BOTTOM_IN / whole_in, "top": 1 - _TOP_IN / whole_in}
    axes = list(figure.subplots(1, panels, sharex=True, sharey=True, gridspec_kw={**across, **down}))
    kilometres = min(grid.shape) * abs(grid.affine.a) / 1000
    for ax in axes:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MultipleLocator(round_length(kilometres / 2)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        ax.tick_params(labelsize=9)
        ax.set_xlabel("Easting (km)", fontsize=9)
    axes[0].set_ylabel("Northing (km)", fontsize=9)
    return figure, axes


def _decorate(ax: Axes, title: str, width_km: float) -> None:
    """Add a title, a bar of a round length below a third of the panel, and an arrow to grid north."""
    ax.set_title(title, fontsize=11, loc="left")
    length = round_length(width_km / 3)
    label = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    bar = AnchoredSizeBar(ax.transData, length, label, "lower left", borderpad=0.5, sep=4, size_vertical=width_km / 150)
    bar.patch.set(alpha=0.85, linewidth=0)
    ax.add_artist(bar)
    arrow = {"facecolor": "black", "edgecolor": "white", "width": 4, "headwidth": 12, "headlength": 11}
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "top"}
    behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
    ax.annotate("N", (0.94, 0.98), (0, -33), fontsize=11, arrowprops=arrow, bbox=behind, **place)


def _write_captions(figure: Figure, grid: GeoBox, captions: Captions, *, held_out: bool) -> None:
    title, scores = captions["title"], captions.get("scores")
    left, tall = _LEFT_IN / _WIDTH_IN, figure.get_size_inches()[1]
    size = min(14.0, 14.0 * 90 / max(len(title), 1))  # about 90 letters fill the width
    figure.text(left, 1 - 0.2 / tall, title, fontsize=size, weight="bold", va="top", parse_math=False)
    if scores:
        names = {"f1": "F1", "precision": "precision", "recall": "recall", "iou_landslide": "IoU"}
        numbers = "   ".join(f"{name} {getattr(scores, key):.2f}" for key, name in names.items())
        where = "Pixels not trained on" if held_out else "Mapped pixels"
        figure.text(left, 1 - 0.52 / tall, f"{where}:   {numbers}", fontsize=11, va="top")
    crs = f"{grid.crs.proj.name} ({grid.crs})" if grid.crs is not None else ""
    footer = ".  ".join(text.rstrip(".") for text in (captions.get("credit", ""), crs) if text)
    figure.text(left, 0.1 / tall, fill(footer, 150), fontsize=9, color="0.3", va="bottom", parse_math=False)
