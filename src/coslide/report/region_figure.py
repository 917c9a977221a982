"""The figure of a region of a study: the scene before and after, the mapped landslides, and the map of every case."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from coslide.evaluation.study_regions import RegionOfStudy
from coslide.report import images
from coslide.report.fonts import cut, wrap
from coslide.report.page import percent
from coslide.report.scene_figure import add_scale_bar

_WIDTH_IN, _DPI = 12.0, 200  # 2400 px
_LEFT_IN, _GAP_IN, _BOTTOM_IN = 0.2, 0.14, 0.35
_HEAD_IN, _KEY_IN = 0.3, 0.26  # above a panel, for its title, and below it
_LINE_IN, _TALLEST_IN = 0.2, 6.0
_DIMMED = 0.6  # colours stand out on it, and bare soil is not taken for the grey of what is not scored
_COLUMNS = 4  # of square panels: 550 px each
_TEXT: Any = {"va": "top", "parse_math": False}
_HALO = (withStroke(linewidth=2.6, foreground="white"),)


@dataclass(frozen=True, eq=False)
class RegionMaps:
    """The pictures and maps of a region, all of its window.

    Attributes
    ----------
    scenes
        Red, green and blue, (row, col, 3), NaN nodata, by what is written above them; the last is drawn below the maps.
    landslide, labelled, scored
        Pixels that are mapped landslides, that have a label, and that are scored, bool (row, col).
    recognised
        Landslides of each case, bool (row, col), by its label.
    pixel_size_m
        Side of a pixel [m].
    outline
        Rings around the region, (point, 2) each: columns and rows from the upper left corner of the window [pixels].
    credit
        Whom the data are from.
    """

    scenes: Mapping[str, NDArray[np.float32]]
    landslide: images.Mask
    labelled: images.Mask
    scored: images.Mask
    recognised: Mapping[str, images.Mask]
    pixel_size_m: float
    outline: Sequence[NDArray[np.float64]] = field(default_factory=list)
    credit: str = ""


def region_figure(path: Path, region: RegionOfStudy, maps: RegionMaps) -> Path:
    """Draw a region in a PNG, 2400 pixels wide: its scene, its mapped landslides, and what each case makes of them.

    Above the map of a case stands its F1, below it precision and recall. Maps tell found, missed and false landslides
    apart; what is not scored is grey.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    region
        What its title, its caption and the scores are taken from.
    maps
        What is drawn.

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
    Regions with more pixels than a panel has dots are reduced: the scene by averaging, landslides so that none is lost,
    which makes the smallest look larger than they are.
    """
    shape = maps.landslide.shape
    columns = _columns(len(maps.scenes) + 1 + len(maps.recognised), shape)
    wide_in = (_WIDTH_IN - 2 * _LEFT_IN - (columns - 1) * _GAP_IN) / columns
    step = images.step_of(shape, min(wide_in, _TALLEST_IN) * _DPI)
    reduced = [
        np.stack([images.reduce_blocks(band, step) for band in np.moveaxis(scene, -1, 0)], axis=-1)
        for scene in maps.scenes.values()
    ]
    drawn = [images.true_colours([scene], (2, 98))[0] for scene in reduced]  # each by itself: light and haze differ
    panels = [(name, scene, "") for name, scene in zip(maps.scenes, drawn, strict=True)]
    dimmed = _DIMMED * (0.65 * drawn[-1].mean(axis=2, keepdims=True) + 0.35 * drawn[-1])
    truth = np.where(maps.landslide, images.CORRECT, images.NOTHING).astype(np.uint8)
    panels.append(("Mapped landslides", images.landslide_colours(truth, maps.labelled, dimmed, step=step), ""))
    for case, recognised in maps.recognised.items():
        codes = images.landslide_codes(recognised & maps.scored, maps.landslide, maps.scored)
        panels.append((case, images.landslide_colours(codes, maps.scored, dimmed, step=step), case))

    figure, axes = _layout(region, maps, len(panels), columns=columns)
    height_km, width_km = (side * maps.pixel_size_m / 1000 for side in shape)
    for ax, (name, colours, case) in zip(axes, panels, strict=True):
        beyond_km = [step * side * maps.pixel_size_m / 1000 for side in colours.shape[:2]]  # blocks at the rim too
        ax.imshow(colours, extent=(0, beyond_km[1], height_km - beyond_km[0], height_km), interpolation="antialiased")
        ax.set(xlim=(0, width_km), ylim=(0, height_km), xticks=[], yticks=[])
        for ring in maps.outline:
            x, y = ring.T * maps.pixel_size_m / 1000
            ax.plot(x, height_km - y, color="black", linewidth=1.1, path_effects=_HALO)
        if name in maps.scenes and np.isnan(maps.scenes[name]).all():
            ax.text(0.5, 0.5, "nodata", ha="center", va="center", transform=ax.transAxes)
        _write_around(ax, name, region, case)
    add_scale_bar(axes[0], width_km)
    return images.save_figure(figure, path)


def _columns(panels: int, shape: tuple[int, ...]) -> int:
    """Choose the number of columns: more of tall panels, fewer of wide ones, and rows that are as full as can be."""
    wanted = min(panels, max(2, min(6, round(_COLUMNS * math.sqrt(shape[0] / shape[1])))))
    return math.ceil(panels / math.ceil(panels / wanted))


def _layout(region: RegionOfStudy, maps: RegionMaps, panels: int, *, columns: int) -> tuple[Figure, list[Axes]]:
    """Place panels in rows below title and facts, and above legend and caption."""
    facts = [region.size, "; ".join(f"{one.index} {one.text}" for one in region.environment)]
    above = "\n".join(wrap(line, 170, 3) for line in facts if line)
    below = wrap(_caption(region, maps), 170, 4)
    top_in = 0.62 + _LINE_IN * (above.count("\n") + 1)
    foot_in = 0.15 + _LINE_IN * (below.count("\n") + 1)
    cell_in = (_WIDTH_IN - 2 * _LEFT_IN - (columns - 1) * _GAP_IN) / columns
    rows, cols = maps.landslide.shape
    tall_in = min(cell_in * rows / cols, _TALLEST_IN)
    row_in = _HEAD_IN + tall_in + _KEY_IN
    whole_in = top_in + math.ceil(panels / columns) * row_in + _BOTTOM_IN + foot_in
    figure = Figure(figsize=(_WIDTH_IN, whole_in), dpi=_DPI, facecolor="white")  # no pyplot: nothing to close
    axes = []
    for number in range(panels):
        row, column = divmod(number, columns)
        left_in, down_in = _LEFT_IN + column * (cell_in + _GAP_IN), top_in + row * row_in + _HEAD_IN + tall_in
        box = left_in / _WIDTH_IN, 1 - down_in / whole_in, cell_in / _WIDTH_IN, tall_in / whole_in
        axes.append(figure.add_axes(box, anchor="W"))
    left, text = _LEFT_IN / _WIDTH_IN, _TEXT
    title = cut(f"Region {region.name}: {region.rule}", 105)
    figure.text(left, 1 - 0.16 / whole_in, title, fontsize=13, weight="bold", **text)
    figure.text(left, 1 - 0.48 / whole_in, above, fontsize=9, linespacing=1.45, **text)
    figure.text(left, foot_in / whole_in, below, fontsize=9, color="0.3", linespacing=1.45, **text)
    words = {images.CORRECT: "mapped; in the maps: found", images.MISSED: "missed", images.FALSE_ALARM: "false alarm"}
    colours = {images.COLOURS[code]: name for code, name in words.items()} | {images.NODATA: "not scored"}
    handles = [Patch(facecolor=colour, edgecolor="0.3", label=name) for colour, name in colours.items()]
    where = (left, (foot_in + 0.05) / whole_in)
    look: Any = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "fontsize": 10}
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=where, ncols=len(handles), **look)
    return figure, axes


def _caption(region: RegionOfStudy, maps: RegionMaps) -> str:
    share, why = percent(1 - region.held_out), "seen in training, not mapped or without a value"
    grey = f"Grey in the maps: {share} not scored ({why}); size, landslides and indices are of the whole region"
    grey = grey if region.held_out < 1 else ""
    indices = "Indices: median (lowest to highest), or commonest class (its share)" if region.environment else ""
    small = "Smaller landslides look larger than they are" if max(maps.landslide.shape) > _DPI * _WIDTH_IN else ""
    return ". ".join(text.rstrip(".") for text in (grey, indices, small, maps.credit) if text)


def _write_around(ax: Axes, name: str, region: RegionOfStudy, case: str) -> None:
    """Write what a panel shows above it, with the F1 of a case; and below, precision and recall."""
    for spine in ax.spines.values():
        spine.set(linewidth=0.6, color="0.4")
    text: Any = {"fontsize": 10, "parse_math": False}
    if not case:
        ax.set_title(name, loc="left", pad=4, **text)
        return
    scores = region.scores[case]
    mapped = bool(scores.tp + scores.fn)
    f1 = f"{scores.f1:.2f}" if mapped else "–"
    ax.set_title(f"{cut(name, 30)}  F1 {f1}", loc="left", pad=4, weight="bold", **text)
    rates = f"precision {scores.precision:.2f}, recall {scores.recall:.2f}"
    below = rates if mapped else f"no landslide, {scores.fp:,} pixels of false alarms"
    ax.annotate(
        below, (0, 0), (0, -4), xycoords="axes fraction", textcoords="offset points", fontsize=8.5, color="0.25",
        va="top", parse_math=False,
    )  # fmt: skip
