"""The contact sheet of a cube: a small picture of every band, to see at a glance whether the inputs are right."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from coslide.cube.cube import BAND_DIMENSION
from coslide.grid import short_crs
from coslide.io.atomic import whole_output
from coslide.report.thumbnails import Thumbnail, thumbnail

_COLUMNS = 7
_WIDTH_IN, _DPI = 12.0, 200
_LEFT_IN, _GAP_IN, _TOP_IN, _BOTTOM_IN = 0.2, 0.16, 0.95, 0.3
_GROUP_IN, _TITLE_IN, _KEY_IN = 0.36, 0.2, 0.68  # above a group, above a picture, and below it
_PANEL_IN = (_WIDTH_IN - 2 * _LEFT_IN - (_COLUMNS - 1) * _GAP_IN) / _COLUMNS
_TALLEST_IN, _LOWEST_IN = 2.4, 0.5
_MOST_CLASSES = 20
_LINE_LETTERS = 32  # as many as fit below a picture
_UNKNOWN = "0.9"

# Told apart by people who are colour-blind: Okabe and Ito (2008), jfly.uni-koeln.de/color, then Paul Tol's muted set.
_DISTINCT = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#332288", "#999933", "#882255",
    "#44AA99", "#DDCC77",
)  # fmt: skip
_MASK = ("#4D4D4D", "#F0E442")
_FLAT = "#44AA99"


class _Panel(NamedTuple):
    name: str
    group: str
    variable: xr.DataArray
    thumbnail: Thumbnail


class _Place(NamedTuple):
    row: int
    column: int
    panel: _Panel
    heading: str  # above it; empty but for the first picture of a group


class _Key(NamedTuple):
    """How values become colours: class `codes` with `labels`, or a range of numbers without."""

    colours: Colormap
    norm: Normalize
    codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


def contact_sheet(cube: xr.Dataset, path: Path) -> Path:
    """Return the path of a PNG, 2400 pixels wide, with a small picture of every variable and band of a cube.

    Each has its name, its unit, the range of its values and the share of cells that are known. Unknown cells are
    hatched. The same band before and after the event has the same colours, so that change shows.

    Parameters
    ----------
    cube
        An opened cube (`coslide.cube.cube.open_cube`). It is read in strips, so memory does not grow with its size.
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
    Numbers are averaged over blocks of cells, of classes the most northwestern of a block is shown, and of mapped
    landslides none is lost, which makes the smallest look larger than they are. Colours run from the 2nd to the 98th
    percentile of the picture; those of curvature and of differences are the same on both sides of 0.

    Examples
    --------
    >>> import tempfile
    >>> slope = xr.DataArray(np.eye(20, dtype=np.float32), dims=("y", "x"), attrs={"units": "degree"})
    >>> contact_sheet(xr.Dataset({"slope": slope}), Path(tempfile.mkdtemp()) / "bands.png").name
    'bands.png'
    """
    panels = list(_panels(cube))
    figure = _draw(panels, cube)
    with whole_output(path) as part:
        figure.savefig(part, dpi=_DPI, metadata={"Software": None})  # no version inside: equal inputs, equal bytes
    return path


def _panels(cube: xr.Dataset) -> Iterator[_Panel]:
    step = max(1, math.ceil(max(cube.sizes["y"], cube.sizes["x"]) / (_PANEL_IN * _DPI)))
    built = [name for name in cube.attrs.get("indices", ()) if name in cube]
    for name in dict.fromkeys([*built, *map(str, cube.data_vars)]):  # a store lists them by their names
        variable = cube[name]
        if not {"y", "x"} <= set(variable.dims):
            continue
        if BAND_DIMENSION not in variable.dims:
            yield _Panel(name, _group(name, variable), variable, thumbnail(variable, step))
            continue
        for k, band in enumerate(variable[BAND_DIMENSION].values):
            one = variable.isel({BAND_DIMENSION: k})
            yield _Panel(f"{name}_{band}", _group(name, variable), one, thumbnail(one, step))


GROUPS = {
    "Scene before the event": r"reflectance_pre",
    "Scene after the event": r"reflectance_post",
    "Vegetation": r"ndvi",
    "Terrain": r"elevation|slope|aspect|.*curvature",
    "Ground, rain and shaking": r"",
    "To look at, no input of a network": r"",
    "Masks and labels": r"",
}
"""Headings of the sheet in their order, and how the names of the variables under them begin (regular expressions)."""


def _group(name: str, variable: xr.DataArray) -> str:
    """Return the heading of a variable: by its role first, then by its name."""
    by_role = {
        "diagnostic": "To look at, no input of a network",
        "mask": "Masks and labels",
        "label": "Masks and labels",
    }
    if variable.attrs.get("role") in by_role and not name.startswith("ndvi"):
        return by_role[variable.attrs["role"]]
    if name == "pre_available":
        return "Masks and labels"
    named = (heading for heading, pattern in GROUPS.items() if pattern and re.match(pattern, name))
    return next(named, "Ground, rain and shaking")


def _draw(panels: Sequence[_Panel], cube: xr.Dataset) -> Figure:
    """Return the figure: groups in rows of at most seven pictures, side by side where two fit."""
    height_in = min(max(_PANEL_IN * cube.sizes["y"] / max(cube.sizes["x"], 1), _LOWEST_IN), _TALLEST_IN)
    placed, rows = _placed(panels)
    headed = {place.row for place in placed if place.heading}
    tops_in = np.cumsum([_TOP_IN] + [_row_in(row in headed, height_in) for row in range(rows)])
    whole_in = float(tops_in[-1]) + _BOTTOM_IN
    figure = Figure(figsize=(_WIDTH_IN, whole_in), facecolor="white")
    FigureCanvasAgg(figure)  # no pyplot: nothing global, nothing to close
    _write_header(figure, cube, panels)
    for row, column, panel, heading in placed:
        left_in = _LEFT_IN + column * (_PANEL_IN + _GAP_IN)
        low_in = whole_in - float(tops_in[row + 1]) + _KEY_IN
        if heading:
            above_in = low_in + height_in + _TITLE_IN + 0.14
            figure.text(left_in / _WIDTH_IN, above_in / whole_in, heading, fontsize=11, weight="bold", va="center")
        box = (left_in / _WIDTH_IN, low_in / whole_in, _PANEL_IN / _WIDTH_IN, height_in / whole_in)
        _draw_panel(figure, figure.add_axes(box), panel, _limits(panel, panels))
    return figure


def _row_in(headed: bool, height_in: float) -> float:
    return headed * _GROUP_IN + _TITLE_IN + height_in + _KEY_IN


def _placed(panels: Sequence[_Panel]) -> tuple[list[_Place], int]:
    """Return where each picture stands, and how many rows there are. A group goes on in a row if all of it fits."""
    placed: list[_Place] = []
    row, column = 0, 0
    for heading in GROUPS:
        members = sorted((panel for panel in panels if panel.group == heading), key=_date)
        members = _with_true_colour(members, panels)
        if column and column + len(members) > _COLUMNS:
            row, column = row + 1, 0
        for k, panel in enumerate(members):
            if column == _COLUMNS:
                row, column = row + 1, 0
            placed.append(_Place(row, column, panel, "" if k else heading))
            column += 1
    return placed, row + 1


def _date(panel: _Panel) -> int:
    words = panel.name.split("_")
    return 0 if "pre" in words else 1 if "post" in words else 2


def _with_true_colour(members: list[_Panel], panels: Sequence[_Panel]) -> list[_Panel]:
    """Return the members of a group, led by their true colour where they are a scene with red, green and blue."""
    prefix = members[0].name.rpartition("_")[0] if members else ""
    by_name = {panel.name: panel for panel in panels}
    names = [f"{prefix}_{band}" for band in ("B4", "B3", "B2")]
    if not set(names) <= by_name.keys():
        return members
    layers = []
    for name in names:
        low, high = _limits(by_name[name], panels)
        layers.append((by_name[name].thumbnail.image - low) / max(high - low, 1e-6))
    image = np.clip(np.stack(layers, axis=-1), 0, 1) ** 0.8
    known = np.asarray(np.isfinite(image).all(axis=-1))
    alpha = np.where(known, 1, 0)[..., np.newaxis]
    first = by_name[names[0]]
    colour = first.thumbnail._replace(
        image=np.concatenate([np.where(known[..., np.newaxis], image, 0), alpha], axis=-1)
    )
    return [first._replace(name="true colour (B4, B3, B2)", thumbnail=colour), *members]


def _limits(panel: _Panel, panels: Sequence[_Panel]) -> tuple[float, float]:
    """Return the numbers at the ends of the colours, shared with the same band of the other date."""
    words = panel.name.split("_")
    kin = [other for other in panels if _without_date(other.name.split("_")) == _without_date(words)] or [panel]
    values = np.concatenate([other.thumbnail.image[np.isfinite(other.thumbnail.image)] for other in kin])
    if not values.size:
        return 0.0, 1.0
    low, high = (float(number) for number in np.percentile(values, (2, 98)))
    if _diverges(panel.name):
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _without_date(words: list[str]) -> list[str]:
    return [word for word in words if word not in {"pre", "post"}]


def _diverges(name: str) -> bool:
    return "curvature" in name or "difference" in name


def _draw_panel(figure: Figure, axes: Axes, panel: _Panel, limits: tuple[float, float]) -> None:
    axes.set(xticks=[], yticks=[])
    axes.patch.set(facecolor=_UNKNOWN, hatch="/////", edgecolor="0.7", linewidth=0)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.5")
    axes.set_title(panel.name, fontsize=8.5, loc="left", pad=3, weight="bold", parse_math=False)
    image = panel.thumbnail.image
    if image.ndim == 3:
        axes.imshow(image, interpolation="none")
        _write_below(axes, "same stretch before and after", 0.06)
        return
    key = _key(panel, limits)
    axes.imshow(np.ma.masked_invalid(image), cmap=key.colours, norm=key.norm, interpolation="none")
    _draw_key(figure, axes, key)
    _write_below(axes, _facts(panel, key), 0.31)


def _key(panel: _Panel, limits: tuple[float, float]) -> _Key:
    if panel.variable.dtype.kind == "f":
        name = "coolwarm" if _diverges(panel.name) else "gray" if panel.name.startswith("reflectance") else "viridis"
        return _Key(colormaps[name], Normalize(*limits))
    thumbnail = panel.thumbnail
    if not thumbnail.known:
        return _Key(ListedColormap([_FLAT]), Normalize(0, 1))
    attrs = panel.variable.attrs
    last = max(int(attrs.get("classes", 0)), int(thumbnail.high))
    first = 0 if _is_yes_or_no(attrs) or attrs.get("role") == "label" else min(1, int(thumbnail.low))
    codes = tuple(range(first, max(last, 1) + 1))
    if len(codes) > _MOST_CLASSES:
        return _Key(colormaps["viridis"], Normalize(codes[0], codes[-1]))
    labels = _class_names(attrs, codes)
    edges = np.arange(codes[0] - 0.5, codes[-1] + 1)
    return _Key(ListedColormap(_class_colours(panel, len(codes))), BoundaryNorm(edges, len(codes)), codes, labels)


def _class_colours(panel: _Panel, count: int) -> list[tuple[float, ...] | str]:
    attrs = panel.variable.attrs
    if count == 2 and (_is_yes_or_no(attrs) or attrs.get("role") == "label"):
        return list(_MASK)
    if panel.name.startswith("aspect") and count == 9:
        return [_FLAT, *(colormaps["twilight_shifted"](k / 8) for k in range(8))]
    if panel.name.startswith("stratum") and count <= len(_DISTINCT):
        return list(_DISTINCT[:count])
    return [colormaps["viridis"](k / max(count - 1, 1)) for k in range(count)]


def _is_yes_or_no(attrs: dict[str, object]) -> bool:
    said = str(attrs.get("long_name", "")).startswith("1 where ")
    return said or attrs.get("role") == "mask" or attrs.get("classes") == 1


def _class_names(attrs: dict[str, object], codes: tuple[int, ...]) -> tuple[str, ...]:
    """Return what the classes are called where the cube says it (``aspect: 1 flat, 2 N, ...``), else their numbers."""
    if _is_yes_or_no(attrs) and len(codes) == 2:
        return ("no", "yes")
    for text in (str(attrs.get("definition", "")), str(attrs.get("long_name", ""))):
        named = {int(code): name for code, name in re.findall(r"(?:^|[:,;] )(\d+) ([^,;]+)", text)}
        if text.startswith("old to young: "):
            named = dict(enumerate(text.removeprefix("old to young: ").split("; "), start=1))
        if set(codes) <= named.keys():
            return tuple(shorten(named[code], 12, placeholder="…") for code in codes)
    return tuple(str(code) for code in codes)


def _draw_key(figure: Figure, axes: Axes, key: _Key) -> None:
    """Draw the colours and what they stand for below a picture."""
    box, (_, height_in) = axes.get_position(), figure.get_size_inches()
    bar = figure.add_axes((box.x0, box.y0 - 0.13 / height_in, box.width, 0.08 / height_in))
    for spine in bar.spines.values():
        spine.set(linewidth=0.4, color="0.5")
    bar.set_yticks([])
    if key.codes:
        bar.imshow(np.array([key.codes]), cmap=key.colours, norm=key.norm, aspect="auto")
        bar.set_xticks(range(len(key.codes)), key.labels)
        size = 6.5 if sum(len(label) + 1 for label in key.labels) < 27 else 5.5
        bar.tick_params(labelsize=size, length=0, pad=1.5)
        return
    low, high = float(key.norm.vmin or 0), float(key.norm.vmax or 0)
    bar.imshow(np.linspace(0, 1, 256)[np.newaxis], cmap=key.colours, aspect="auto", extent=(low, high, 0, 1))
    bar.set_xticks([low, (low + high) / 2, high], [_number(value) for value in (low, (low + high) / 2, high)])
    first, _, last = bar.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.tick_params(labelsize=6.5, length=2, width=0.4, pad=1.5)


def _facts(panel: _Panel, key: _Key) -> str:
    small, attrs = panel.thumbnail, panel.variable.attrs
    if not small.known:
        return "nothing known"
    known = "all known" if small.known == 1 else f"{_share(small.known)} known"
    unit = str(attrs.get("units", ""))
    what = f"{_number(small.low)} to {_number(small.high)}{'' if unit in {'', '1'} else f' {unit}'}"
    if len(key.codes) == 2 and key.labels[1] != "1":
        what = f"{_share(small.mean)} {key.labels[1]}"
    elif key.codes:
        one = small.low == small.high
        what = f"class {small.low:.0f} only" if one else f"classes {small.low:.0f} to {small.high:.0f}"
    facts = fill(f"{what}; {known}", _LINE_LETTERS)
    if key.codes and key.labels == tuple(map(str, key.codes)) and attrs.get("definition"):
        facts += "\n" + fill(str(attrs["definition"]), _LINE_LETTERS, max_lines=2, placeholder=" …")
    elif panel.group == "Vegetation" and attrs.get("role") == "diagnostic":
        facts += "\nno input of a network"
    return facts


def _share(known: float) -> str:
    """Return a share in percent that says neither 0 nor 100 where it is not."""
    if 0 < known < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < known < 1 else f"{100 * known:.0f} %"


def _number(value: float) -> str:
    return f"{0.0 + float(f'{value:.3g}'):.6g}".replace("-", "−")


def _write_below(axes: Axes, text: str, below_in: float) -> None:
    axes.annotate(
        text, (0, 0), (0, -72 * below_in), xycoords="axes fraction", textcoords="offset points", fontsize=6.5,
        color="0.25", va="top", parse_math=False,
    )  # fmt: skip


def _write_header(figure: Figure, cube: xr.Dataset, panels: Sequence[_Panel]) -> None:
    height_in = figure.get_size_inches()[1]
    left = _LEFT_IN / _WIDTH_IN
    title = shorten(str(cube.attrs.get("title", "")) or "Index cube", 90, placeholder="…")
    figure.text(left, 1 - 0.2 / height_in, title, fontsize=14, weight="bold", va="top", parse_math=False)
    inputs = sum(panel.variable.attrs.get("role") == "index" for panel in panels)
    ground = f"{_ground(cube)}; {inputs} inputs of a network.  Colours span the 2nd to the 98th percentile."
    figure.text(left, 1 - 0.55 / height_in, ground, fontsize=9, color="0.25", va="top", parse_math=False)
    unknown = Patch(facecolor=_UNKNOWN, hatch="/////", edgecolor="0.7", linewidth=0, label="unknown")
    corner = (1 - left, 1 - 0.15 / height_in)
    figure.legend(handles=[unknown], loc="upper right", bbox_to_anchor=corner, frameon=False, fontsize=9, borderpad=0)


def _ground(cube: xr.Dataset) -> str:
    rows, cols = cube.sizes["y"], cube.sizes["x"]
    text = f"{cols} x {rows} cells"
    if cols > 1 and "x" in cube.coords:
        cell_m = abs(float(cube["x"][1] - cube["x"][0]))
        text += f" of {cell_m:g} m, {cols * cell_m / 1000:.3g} x {rows * cell_m / 1000:.3g} km, north up"
    if "spatial_ref" in cube.coords and "crs_wkt" in cube["spatial_ref"].attrs:
        text += f", {short_crs(cube['spatial_ref'].attrs['crs_wkt'])}"
    return text
