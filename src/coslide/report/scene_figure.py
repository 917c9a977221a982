"""The figure of an event: the scene, the mapped landslides and the recognised ones side by side."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from odc.geo.geobox import GeoBox

from coslide.cube.cube import Cube
from coslide.evaluation.pixels import PixelRates
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report import images
from coslide.report.fonts import cut, wrap
from coslide.report.page import round_length
from coslide.samples.footprint import is_held_out

_WIDTH_IN, _DPI = 12.0, 200  # 2400 px; text of 9 pt is still 10 px high at a width of 1000 px
_LEFT_IN, _RIGHT_IN, _GAP_IN, _TOP_IN, _BOTTOM_IN = 0.85, 0.15, 0.18, 1.05, 1.6
_TALLEST_IN = 9.0
_SCORED = ("Correct", "False alarm", "Missed", "Recognised, not scored")


def scene_figure(path: Path, cube: Cube, found: ProbabilityMap, scores: PixelRates | None = None) -> Path:
    """Draw an event's scene and landslides side by side in a PNG, 2400 pixels wide.

    The panels are the scene in true colour (one band in grey where the cube lacks red, green or blue); the same with
    the mapped landslides, where the cube has labels; and the same with the recognised ones. Where labels are valid and
    the network was not trained, the last panel tells correct, false and missed landslides apart; recognised landslides
    elsewhere are drawn in one colour of their own. Held-out pixels are framed where training saw some of the event.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    cube
        The event, with its title and the credit of its data. What lies outside the mapped area is hatched.
    found
        The map, on the grid of the cube.
    scores
        Written below the title; None leaves the line out.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.

    Notes
    -----
    Grids with more pixels than a panel has dots are reduced: the scene by averaging, landslides so that none is lost,
    which makes the smallest look larger than they are.
    """
    first = next(band for band in cube.inputs if band.date == "post")
    rgb = cube.read(bands=cube.reflectance("post", images.TRUE_COLOUR) or [first] * 3)
    mapped = cube.labels if "landslide" in cube else None
    fair = is_held_out(found.seen)
    held_out = None if fair.all() else fair
    grid, recognised = found.grid, np.asarray(np.nan_to_num(found.probability) >= found.threshold)
    step = images.step_of(grid.shape, int(2 * _DPI * _WIDTH_IN / (2 if mapped is None else 3)))
    (scene,) = images.true_colours([np.stack([images.reduce_blocks(band, step) for band in rgb], axis=-1)], (2, 98))
    valid = np.asarray(np.isfinite(rgb).all(axis=0))
    labelled = np.ones_like(valid) if mapped is None else mapped != NODATA
    landslide = None if mapped is None else mapped == LANDSLIDE
    codes = images.landslide_codes(recognised, landslide, labelled if held_out is None else labelled & held_out)
    words = dict(zip(images.COLOURS, _SCORED, strict=True)) if mapped is not None else {images.NOT_SCORED: "Recognised"}
    panels = [("Recognised landslides", codes, words)]
    if landslide is not None:
        codes = np.where(landslide, images.CORRECT, images.NOTHING).astype(np.uint8)
        panels.insert(0, ("Mapped landslides", codes, {images.CORRECT: "Mapped"}))

    figure, axes = _layout(grid, 1 + len(panels))
    edges = [edge / 1000 for edge in grid.boundingbox.bbox]
    extent = (edges[0], edges[2], edges[1], edges[3])
    axes[0].imshow(scene, extent=extent, interpolation="antialiased")
    _decorate(axes[0], "(a) After the earthquake", edges[2] - edges[0])
    dimmed = 0.75 * (0.65 * scene.mean(axis=2, keepdims=True) + 0.35 * scene)  # colours stand out on it
    for ax, letter, (name, codes, words) in zip(axes[1:], "bc", panels, strict=False):
        colours = images.landslide_colours(codes, valid, dimmed, held_out, step=step)
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
    _write_captions(figure, cube, scores, "Mapped pixels" if held_out is None else "Pixels not trained on")
    return images.save_figure(figure, path)


def _layout(grid: GeoBox, panels: int) -> tuple[Figure, list[Axes]]:
    wide_in = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN - (panels - 1) * _GAP_IN) / panels
    whole_in = min(wide_in * grid.shape[0] / grid.shape[1], _TALLEST_IN) + _TOP_IN + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole_in), dpi=_DPI, facecolor="white")  # no pyplot: nothing to close
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
    """Add a title, a scale bar, and an arrow to grid north."""
    ax.set_title(title, fontsize=11, loc="left")
    add_scale_bar(ax, width_km)
    arrow = {"facecolor": "black", "edgecolor": "white", "width": 4, "headwidth": 12, "headlength": 11}
    place: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "top"}
    behind = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
    ax.annotate("N", (0.94, 0.98), (0, -33), fontsize=11, arrowprops=arrow, bbox=behind, **place)


def add_scale_bar(ax: Axes, width_km: float, *, km: float = 1.0) -> None:
    """Add a bar of a round length, below a third of a panel that is `width_km` wide; its axes count `km` to a km."""
    length = round_length(width_km / 3)
    label = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    drawn = {"borderpad": 0.5, "sep": 4, "size_vertical": km * width_km / 150}
    bar = AnchoredSizeBar(ax.transData, km * length, label, "lower left", **drawn)
    bar.patch.set(alpha=0.85, linewidth=0)
    ax.add_artist(bar)


def _write_captions(figure: Figure, cube: Cube, scores: PixelRates | None, where: str) -> None:
    left, tall = _LEFT_IN / _WIDTH_IN, figure.get_size_inches()[1]
    figure.text(left, 1 - 0.2 / tall, cut(cube.title, 90), fontsize=14, weight="bold", va="top", parse_math=False)
    if scores:
        names = {"f1": "F1", "precision": "precision", "recall": "recall", "iou_landslide": "IoU"}
        numbers = "   ".join(f"{name} {getattr(scores, key):.2f}" for key, name in names.items())
        figure.text(left, 1 - 0.52 / tall, f"{where}:   {numbers}", fontsize=11, va="top")
    crs = cube.grid.crs
    texts = cube.attrs.get("credit", ""), f"{crs.proj.name} ({crs})" if crs else ""
    footer = ". ".join(text.rstrip(".") for text in texts if text)
    figure.text(left, 0.1 / tall, wrap(footer, 150, 4), fontsize=9, color="0.3", va="bottom", parse_math=False)
