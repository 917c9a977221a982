"""The contact sheet of a cube: a small picture of every band, to see at a glance whether the inputs are right."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from coslide.cube.band import REFLECTANCE, Band
from coslide.cube.cube import Cube
from coslide.display.overview import share_text
from coslide.grid import pixel_size_m
from coslide.report.fonts import cut
from coslide.report.images import (
    DISTINCT,
    GREY,
    NODATA,
    TRUE_COLOUR,
    YELLOW,
    Thumbnail,
    save_figure,
    step_of,
    thumbnail,
)

_COLUMNS = 7
_WIDTH_IN, _DPI = 12.0, 200
_LEFT_IN, _GAP_IN, _TOP_IN, _BOTTOM_IN = 0.2, 0.16, 0.95, 0.3
_HEAD_IN, _KEY_IN = 0.56, 0.68  # above a picture, for heading and title, and below it
_PANEL_IN = (_WIDTH_IN - 2 * _LEFT_IN - (_COLUMNS - 1) * _GAP_IN) / _COLUMNS
_TALLEST_IN, _LOWEST_IN = 2.4, 0.5
MOST_CLASSES = 20
"""Of a band with more classes the colours run, and none has a name."""
_LINE_LETTERS = 32  # as many as fit below a picture
HATCH: dict[str, Any] = {"facecolor": NODATA, "hatch": "/////", "edgecolor": GREY, "linewidth": 0}
"""How nodata is drawn: grey alone may be a value too."""

_GROUPS = (
    ("scene_before", "pre", "Scene before the event"),
    ("scene_after", "post", "Scene after the event"),
    ("terrain", "", "Terrain"),
    ("other", "", "Geology, rain and shaking"),
    ("diagnostic", "", "Diagnostics"),
    ("mask", "", "Masks and labels"),
)

Norms = Mapping[tuple[str, str], Normalize]


class _Panel(NamedTuple):
    """A band made small; `colours` is its true colour with two others, (row, col, 4), instead of its own."""

    band: Band
    small: Thumbnail
    colours: Any = None


def contact_sheet(cube: Cube, path: Path) -> Path:
    """Draw a small picture of every band of a cube as a PNG, 2400 pixels wide.

    Each has its name, its unit, the range of its values and the share of valid pixels. Nodata is hatched. The same band
    before and after the event has the same colours, so that change shows.

    Parameters
    ----------
    cube
        An opened cube. It is read in strips, so memory does not grow with its size.
    path
        The file to write; it appears whole or not at all.

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
    Numbers are averaged over blocks of pixels, of classes the most northwestern of a block is shown, and of mapped
    landslides none is lost, which makes the smallest look larger than they are. Colours run from the 2nd to the 98th
    percentile of the picture; those of curvature and of differences are the same on both sides of 0.
    """
    step = step_of(cube.grid.shape, _PANEL_IN * _DPI)
    panels = {band.name: _Panel(band, thumbnail(cube.array(band), step)) for band in cube.bands}
    norms = _norms(panels.values())
    places: list[tuple[_Panel, str] | None] = []
    for key, date, heading in _GROUPS:
        members = [panel for panel in panels.values() if _group(panel.band) == key]
        if shown := [panels[band.name] for band in cube.reflectance(date, TRUE_COLOUR)]:
            members.insert(0, shown[0]._replace(colours=_true_colour(shown, norms)))
        if len(places) % _COLUMNS + len(members) > _COLUMNS:  # a group goes on in a row if all of it fits
            places += [None] * (-len(places) % _COLUMNS)
        places += [(panel, "" if k else heading) for k, panel in enumerate(members)]
    return save_figure(_draw(places, cube, norms), path)


def _group(band: Band) -> str:
    if band.role != "index" or band.kind == "flag":
        return "diagnostic" if band.role == "diagnostic" else "mask"
    return band.group if band.group in {"scene_before", "scene_after", "terrain"} else "other"


def _norms(panels: Collection[_Panel]) -> Norms:
    """Find the numbers at the ends of the colours; a band shares them with that of the other date."""
    found = {}
    for kin in {_kin(panel.band) for panel in panels}:
        members = [panel for panel in panels if _kin(panel.band) == kin]
        found[kin] = norm_of([panel.small.image for panel in members], signed=members[0].band.signed)
    return found


def norm_of(images: Sequence[NDArray[np.float32]], *, signed: bool) -> Normalize:
    """Find the numbers at the ends of the colours of measurements: the 2nd and the 98th percentile of all images.

    Parameters
    ----------
    images
        Of one band, or of the same on two dates, NaN is nodata.
    signed
        Whether 0 is to lie in the middle.

    Examples
    --------
    >>> norm = norm_of([np.linspace(-1, 3, 101, dtype=np.float32)], signed=True)
    >>> round(norm.vmin, 2), round(norm.vmax, 2)
    (-2.92, 2.92)
    """
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    low, high = np.percentile(values, (2, 98)).tolist() if values.size else (0.0, 1.0)
    if signed:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _kin(band: Band) -> tuple[str, str]:
    return band.quantity or band.name, band.channel


def _true_colour(panels: Sequence[_Panel], norms: Norms) -> Any:
    image = np.dstack([np.asarray(norms[_kin(panel.band)](panel.small.image)) for panel in panels])
    valid = np.isfinite(image).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(valid, np.clip(image, 0, 1) ** 0.8, 0), valid], axis=-1)


def _draw(places: Sequence[tuple[_Panel, str] | None], cube: Cube, norms: Norms) -> Figure:
    """Draw panels and the headings above them in rows of seven; None leaves a place free."""
    rows, columns = cube.grid.shape
    height_in = min(max(_PANEL_IN * rows / columns, _LOWEST_IN), _TALLEST_IN)
    row_in = _HEAD_IN + height_in + _KEY_IN
    whole_in = _TOP_IN + math.ceil(len(places) / _COLUMNS) * row_in + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole_in), dpi=_DPI, facecolor="white")  # no pyplot: nothing to close
    _write_header(figure, cube)
    for number, place in enumerate(places):
        if place is None:
            continue
        (panel, heading), (row, column) = place, divmod(number, _COLUMNS)
        left = (_LEFT_IN + column * (_PANEL_IN + _GAP_IN)) / _WIDTH_IN
        top = 1 - (_TOP_IN + row * row_in + _HEAD_IN) / whole_in
        box = (left, top - height_in / whole_in, _PANEL_IN / _WIDTH_IN, height_in / whole_in)
        _draw_panel(figure, figure.add_axes(box), panel, norms)
        figure.text(left, top + (_HEAD_IN - 0.22) / whole_in, heading, fontsize=11, weight="bold", va="center")
    return figure


def _draw_panel(figure: Figure, axes: Axes, panel: _Panel, norms: Norms) -> None:
    band, small, colours = panel
    axes.set(xticks=[], yticks=[])
    axes.patch.set(**HATCH)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.5")
    name = band.name if colours is None else "true colour (B4, B3, B2)"
    axes.set_title(name, fontsize=8.5, loc="left", pad=3, weight="bold", parse_math=False)
    if colours is not None:
        axes.imshow(colours, interpolation="none", aspect="auto")
        _write_below(axes, "same stretch before and after", 0.06)
        return
    classes = bool(band.classes) and len(band.class_names) <= MOST_CLASSES
    named = not classes or sum(len(label) + 1 for label in band.class_names) <= _LINE_LETTERS
    if classes:
        ticks: list[float] = list(range(band.first_class, band.classes + 1))
        labels = list(band.class_names if named else map(str, ticks))
        norm: Normalize = BoundaryNorm(np.arange(ticks[0] - 0.5, ticks[-1] + 1), len(ticks))
    else:
        norm = norms[_kin(band)]
        ticks = np.linspace(float(norm.vmin or 0), float(norm.vmax or 0), 3).tolist()
        labels = [_number(value) for value in ticks]
    drawn = axes.imshow(np.ma.masked_invalid(small.image), colours_of(band), norm, interpolation="none", aspect="auto")
    _, height_in = figure.get_size_inches() * axes.get_position().height
    beside = axes.inset_axes((0, -0.13 / height_in, 1, 0.08 / height_in))
    bar = figure.colorbar(drawn, cax=beside, orientation="horizontal", ticks=ticks)
    bar.ax.set_xticklabels(labels, parse_math=False)
    bar.ax.tick_params(labelsize=5.5 if classes else 6.5, length=0 if classes else 2, width=0.4, pad=1.5)
    if not classes:  # numbers are kept from reaching beyond the picture
        bar.ax.get_xticklabels()[0].set_horizontalalignment("left")
        bar.ax.get_xticklabels()[-1].set_horizontalalignment("right")
    bar.minorticks_off()
    bar.outline.set(linewidth=0.4, color="0.5")
    _write_below(axes, _facts(band, small, named=named), 0.31)


def colours_of(band: Band) -> Colormap | str:
    """Choose the colour map of a band: one colour for each class, or one that runs with a measurement."""
    count = len(band.class_names)
    if not 0 < count <= MOST_CLASSES:
        return "coolwarm" if band.signed else "gray" if band.quantity == REFLECTANCE else "viridis"
    if band.kind == "flag":
        return ListedColormap([GREY, YELLOW])
    if band.kind == "circular":
        turning = colormaps["twilight_shifted"](np.linspace(0, 1, count - 1, endpoint=False))
        return ListedColormap([DISTINCT[10], *turning])
    if band.group == "geology" and count <= len(DISTINCT):
        return ListedColormap(DISTINCT[:count])
    return ListedColormap(colormaps["viridis"](np.linspace(0, 1, count)))


def _facts(band: Band, small: Thumbnail, *, named: bool) -> str:
    """Put into words what was counted; of classes whose names did not fit, what bounds them too."""
    if not small.valid:
        return "no valid pixel"
    valid = "all valid" if small.valid == 1 else f"{share_text(small.valid)} valid"
    if band.kind == "flag":
        what = f"{share_text(small.mean)} {band.class_names[1]}"
    elif band.classes:
        what = f"classes {small.low:.0f} to {small.high:.0f}"
        what = f"class {small.low:.0f} only" if small.low == small.high else what
    else:
        what = f"{_number(small.low)} to {_number(small.high)}{'' if band.unit == '1' else f' {band.unit}'}"
    facts = fill(f"{what}; {valid}", _LINE_LETTERS)
    if not named:
        facts += "\n" + fill(band.definition, _LINE_LETTERS, max_lines=2, placeholder=" …")
    return facts


def _number(value: float) -> str:
    return f"{0.0 + float(f'{value:.3g}'):.6g}".replace("-", "−")


def _write_below(axes: Axes, text: str, below_in: float) -> None:
    axes.annotate(
        text, (0, 0), (0, -72 * below_in), xycoords="axes fraction", textcoords="offset points", fontsize=6.5,
        color="0.25", va="top", parse_math=False,
    )  # fmt: skip


def _write_header(figure: Figure, cube: Cube) -> None:
    height_in, left = figure.get_size_inches()[1], _LEFT_IN / _WIDTH_IN
    title = cut(cube.title, 90) or "Index cube"
    figure.text(left, 1 - 0.2 / height_in, title, fontsize=14, weight="bold", va="top", parse_math=False)
    (rows, columns), side_m = cube.grid.shape, pixel_size_m(cube.grid)
    text = (
        f"{columns} x {rows} pixels of {side_m:g} m, {columns * side_m / 1000:.3g} x {rows * side_m / 1000:.3g} km, "
        f"north up, {cube.grid.crs}; {len(cube.inputs)} inputs of a network.  "
        "Colours span the 2nd to the 98th percentile."
    )
    figure.text(left, 1 - 0.55 / height_in, text, fontsize=9, color="0.25", va="top", parse_math=False)
    patch, corner = Patch(**HATCH, label="nodata"), (1 - left, 1 - 0.15 / height_in)
    figure.legend(handles=[patch], loc="upper right", bbox_to_anchor=corner, frameon=False, fontsize=9, borderpad=0)
