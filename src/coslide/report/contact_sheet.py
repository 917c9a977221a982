"""The contact sheet of a cube: a small picture of every band, to see at a glance whether the inputs are right."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.grid import pixel_size_m
from coslide.io.atomic import whole_output
from coslide.report.palette import DISTINCT
from coslide.report.thumbnails import Thumbnail, thumbnail

_COLUMNS = 7
_WIDTH_IN, _DPI = 12.0, 200
_LEFT_IN, _GAP_IN, _TOP_IN, _BOTTOM_IN = 0.2, 0.16, 0.95, 0.3
_HEAD_IN, _KEY_IN = 0.56, 0.68  # above a picture, for heading and title, and below it
_PANEL_IN = (_WIDTH_IN - 2 * _LEFT_IN - (_COLUMNS - 1) * _GAP_IN) / _COLUMNS
_TALLEST_IN, _LOWEST_IN = 2.4, 0.5
_MOST_CLASSES = 20
_LINE_LETTERS = 32  # as many as fit below a picture
_NODATA: dict[str, Any] = {"facecolor": "0.9", "hatch": "/////", "edgecolor": "0.7", "linewidth": 0}

_MASK = ("#4D4D4D", "#F0E442")
_FLAT = "#44AA99"
_HEADINGS = {
    "scene_before": "Scene before the event",
    "scene_after": "Scene after the event",
    "terrain": "Terrain",
    "other": "Ground, rain and shaking",
    "diagnostic": "Diagnostics",
    "mask": "Masks and labels",
}

Limits = Mapping[tuple[str, str], tuple[float, float]]


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
    step = max(1, math.ceil(max(cube.grid.shape) / (_PANEL_IN * _DPI)))
    panels = [_Panel(band, thumbnail(cube.array(band), step)) for band in cube.bands]
    limits = _limits(panels)
    groups = {heading: [panel for panel in panels if _group(panel.band) == key] for key, heading in _HEADINGS.items()}
    for date, key in (("pre", "scene_before"), ("post", "scene_after")):
        names = [band.name for band in cube.reflectance(date, ("B4", "B3", "B2"))]
        if names:
            by_name = {panel.band.name: panel for panel in panels}
            colours = _true_colour([by_name[name] for name in names], limits)
            groups[_HEADINGS[key]].insert(0, by_name[names[0]]._replace(colours=colours))
    figure = _draw({heading: members for heading, members in groups.items() if members}, cube, limits)
    with whole_output(path) as part:
        figure.savefig(part, dpi=_DPI, metadata={"Software": None})  # no version inside: equal inputs, equal bytes
    return path


def _group(band: Band) -> str:
    if band.role != "index" or band.kind == "flag":
        return "diagnostic" if band.role == "diagnostic" else "mask"
    return band.group if band.group in _HEADINGS else "other"


def _limits(panels: Sequence[_Panel]) -> Limits:
    """Find the numbers at the ends of the colours; a band shares them with that of the other date."""
    images: dict[tuple[str, str], list[Any]] = {}
    for band, small, _ in panels:
        images.setdefault(_kin(band), []).append(small.image[np.isfinite(small.image)])
    signed = {_kin(panel.band) for panel in panels if panel.band.signed}
    found = {}
    for kin, parts in images.items():
        values = np.concatenate(parts)
        low, high = (float(number) for number in np.percentile(values, (2, 98))) if values.size else (0.0, 1.0)
        if kin in signed:
            high = max(abs(low), abs(high))
            low = -high
        found[kin] = (low, high) if high > low else (low - 0.5, high + 0.5)
    return found


def _kin(band: Band) -> tuple[str, str]:
    return band.quantity or band.name, band.channel


def _true_colour(panels: Sequence[_Panel], limits: Limits) -> Any:
    layers = []
    for band, small, _ in panels:
        low, high = limits[_kin(band)]
        layers.append((small.image - low) / max(high - low, 1e-6))
    image = np.clip(np.stack(layers, axis=-1), 0, 1) ** 0.8
    valid = np.isfinite(image).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(valid, image, 0), valid], axis=-1)


def _draw(groups: Mapping[str, Sequence[_Panel]], cube: Cube, limits: Limits) -> Figure:
    """Draw the groups in rows of seven pictures; a group goes on in a row if all of it fits."""
    places: list[tuple[_Panel, str] | None] = []
    for heading, members in groups.items():
        if len(places) % _COLUMNS + len(members) > _COLUMNS:
            places += [None] * (-len(places) % _COLUMNS)
        places += [(panel, "" if k else heading) for k, panel in enumerate(members)]
    rows, columns = cube.grid.shape
    height_in = min(max(_PANEL_IN * rows / columns, _LOWEST_IN), _TALLEST_IN)
    row_in = _HEAD_IN + height_in + _KEY_IN
    whole_in = _TOP_IN + math.ceil(len(places) / _COLUMNS) * row_in + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole_in), facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, nothing to close
    _write_header(figure, cube)
    for number, place in enumerate(places):
        if place is None:
            continue
        (panel, heading), (row, column) = place, divmod(number, _COLUMNS)
        left = (_LEFT_IN + column * (_PANEL_IN + _GAP_IN)) / _WIDTH_IN
        top = 1 - (_TOP_IN + row * row_in + _HEAD_IN) / whole_in
        box = (left, top - height_in / whole_in, _PANEL_IN / _WIDTH_IN, height_in / whole_in)
        _draw_panel(figure, figure.add_axes(box), panel, limits)
        figure.text(left, top + (_HEAD_IN - 0.22) / whole_in, heading, fontsize=11, weight="bold", va="center")
    return figure


def _draw_panel(figure: Figure, axes: Axes, panel: _Panel, limits: Limits) -> None:
    band, small, colours = panel
    axes.set(xticks=[], yticks=[])
    axes.patch.set(**_NODATA)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.5")
    name = band.name if colours is None else "true colour (B4, B3, B2)"
    axes.set_title(name, fontsize=8.5, loc="left", pad=3, weight="bold", parse_math=False)
    if colours is not None:
        axes.imshow(colours, interpolation="none", aspect="auto")
        _write_below(axes, "same stretch before and after", 0.06)
        return
    values = np.ma.masked_invalid(small.image)
    style: dict[str, Any] = {"interpolation": "none", "aspect": "auto"}
    _, height_in = figure.get_size_inches() * axes.get_position().height
    beside = axes.inset_axes((0, -0.13 / height_in, 1, 0.08 / height_in))
    labels = band.class_names
    if band.classes and len(labels) <= _MOST_CLASSES:
        codes = list(range(band.first_class, band.classes + 1))
        if sum(len(label) + 1 for label in labels) > _LINE_LETTERS:
            labels = tuple(map(str, codes))
        norm = BoundaryNorm(np.arange(codes[0] - 0.5, codes[-1] + 1), len(codes))
        drawn = axes.imshow(values, cmap=ListedColormap(_class_colours(band)), norm=norm, **style)
        bar = figure.colorbar(drawn, cax=beside, orientation="horizontal", ticks=codes)
        bar.ax.set_xticklabels(labels)
        bar.ax.tick_params(labelsize=5.5, length=0, pad=1.5)
    else:
        low, high = limits[_kin(band)]
        cmap = "coolwarm" if band.signed else "gray" if band.quantity == "reflectance" else "viridis"
        drawn = axes.imshow(values, cmap=cmap, norm=Normalize(low, high), **style)
        ticks = [low, (low + high) / 2, high]
        bar = figure.colorbar(drawn, cax=beside, orientation="horizontal", ticks=ticks)
        bar.ax.set_xticklabels([_number(value) for value in ticks])
        first, _, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        bar.ax.tick_params(labelsize=6.5, length=2, width=0.4, pad=1.5)
    bar.minorticks_off()
    bar.outline.set(linewidth=0.4, color="0.5")
    _write_below(axes, _facts(band, small, named=labels == band.class_names), 0.31)


def _class_colours(band: Band) -> list[tuple[float, ...] | str]:
    count = len(band.class_names)
    if band.kind == "flag":
        return list(_MASK)
    if band.kind == "circular":
        return [_FLAT, *(colormaps["twilight_shifted"](k / (count - 1)) for k in range(count - 1))]
    if band.group == "geology" and count <= len(DISTINCT):
        return list(DISTINCT[:count])
    return [colormaps["viridis"](k / max(count - 1, 1)) for k in range(count)]


def _facts(band: Band, small: Thumbnail, *, named: bool) -> str:
    """Put into words what was counted; of classes whose names did not fit, what bounds them too."""
    if not small.known:
        return "no valid pixel"
    valid = "all valid" if small.known == 1 else f"{_share(small.known)} valid"
    if band.kind == "flag":
        what = f"{_share(small.mean)} {band.class_names[1]}"
    elif band.classes:
        one = small.low == small.high
        what = f"class {small.low:.0f} only" if one else f"classes {small.low:.0f} to {small.high:.0f}"
    else:
        what = f"{_number(small.low)} to {_number(small.high)}{'' if band.unit == '1' else f' {band.unit}'}"
    facts = fill(f"{what}; {valid}", _LINE_LETTERS)
    if not named:
        facts += "\n" + fill(band.definition, _LINE_LETTERS, max_lines=2, placeholder=" …")
    return facts


def _share(share: float) -> str:
    """Write a share in percent; it is neither 0 nor 100 where it is not exactly that."""
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _number(value: float) -> str:
    return f"{0.0 + float(f'{value:.3g}'):.6g}".replace("-", "−")


def _write_below(axes: Axes, text: str, below_in: float) -> None:
    axes.annotate(
        text, (0, 0), (0, -72 * below_in), xycoords="axes fraction", textcoords="offset points", fontsize=6.5,
        color="0.25", va="top", parse_math=False,
    )  # fmt: skip


def _write_header(figure: Figure, cube: Cube) -> None:
    height_in, left = figure.get_size_inches()[1], _LEFT_IN / _WIDTH_IN
    title = shorten(cube.title or "Index cube", 90, placeholder="…")
    figure.text(left, 1 - 0.2 / height_in, title, fontsize=14, weight="bold", va="top", parse_math=False)
    (rows, columns), side_m = cube.grid.shape, pixel_size_m(cube.grid)
    text = (
        f"{columns} x {rows} pixels of {side_m:g} m, {columns * side_m / 1000:.3g} x {rows * side_m / 1000:.3g} km, "
        f"north up, {cube.grid.crs}; {len(cube.inputs)} inputs of a network.  "
        "Colours span the 2nd to the 98th percentile."
    )
    figure.text(left, 1 - 0.55 / height_in, text, fontsize=9, color="0.25", va="top", parse_math=False)
    patch, corner = Patch(**_NODATA, label="nodata"), (1 - left, 1 - 0.15 / height_in)
    figure.legend(handles=[patch], loc="upper right", bbox_to_anchor=corner, frameon=False, fontsize=9, borderpad=0)
