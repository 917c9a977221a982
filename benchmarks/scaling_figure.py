"""The figure of `scaling.py`, and what its tables and the figure select from the points that were measured."""

import math
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image

from coslide.report import images

USUAL = {"tile": 128, "k": 8, "width": 16}
LABELS = {"tile": "side of the tile [pixel]", "k": "k [neighbours]", "width": "width [channels]", "nodes": "nodes"}
NETWORKS = {"egcn": ("EGCN", images.MODEL), "unet": ("U-Net", "0.45")}
PARTS = {
    "step unet": ("U-Net within", "0.45"),
    "rest": ("maps of nodes, copies", images.PINK),
    "edges": ("attention and selection", images.GREEN),
    "patches": ("patches", images.SKY),
    "search": ("search of neighbours", images.VERMILION),
}
FORMS = {"dense": images.VERMILION, "gathered": images.ORANGE, "compiled": images.MODEL}

Row = dict[str, Any]


def along(rows: Sequence[Row], **fixed: object) -> list[Row]:
    """Select the points with these values."""
    return [row for row in rows if fixed.items() <= row.items()]


def axis_of(rows: Sequence[Row], axis: str) -> list[Row]:
    """Select the networks of an axis, in its order, all else as usual."""
    return sorted(
        along(rows, **{name: value for name, value in USUAL.items() if name != axis}), key=lambda row: row[axis]
    )


def crossing(rows: Sequence[Row], kind: str) -> float:
    """Return the nodes from which gathering takes less than the dense form: 0 if always, infinite if never."""
    ratios = [(math.log(row["nodes"]), math.log(row[f"{kind} gathered"] / row[f"{kind} dense"])) for row in rows]
    for (left, above), (right, below) in reversed(list(pairwise(ratios))):
        if above > 0 >= below:
            return math.exp(left + (right - left) * above / (above - below))
    return 0 if ratios[-1][1] <= 0 else math.inf


def draw(networks: list[Row], graphs: list[Row], path: Path) -> None:
    """Draw what networks cost along each axis, and what their parts and the forms of the graph cost by nodes."""
    figure = Figure(figsize=(10.5, 6.4), dpi=100, layout="constrained")
    charts: list[Axes] = list(figure.subplots(2, 3).flat)
    for axes in charts:
        axes.loglog()
        axes.grid(visible=True, which="major", color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes, axis in zip(charts, USUAL, strict=False):
        for (kind, style, words), name in product(
            (("step", "o-", "training step"), ("inference", "s--", "inference")), NETWORKS
        ):
            label, colour = NETWORKS[name]
            draw_line(
                axes, axis_of(networks, axis), (axis, f"{kind} {name}"), style, color=colour, label=f"{label}, {words}"
            )
        finish(axes, axis, f"the network by {axis}")
    for column, (label, colour) in PARTS.items():
        draw_line(charts[3], axis_of(networks, "tile"), ("nodes", column), "o-", color=colour, label=label)
    finish(charts[3], "nodes", "parts of EGCN's training step")
    for axes, kind in zip(charts[4:], ("step", "memory"), strict=True):
        draw_forms(axes, graphs, kind)
    for number, room in ((0, 1), (3, 8), (4, 4)):
        charts[number].set_ylim(top=charts[number].get_ylim()[1] * room)
        charts[number].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path)
    Image.open(path).quantize(64).save(path, optimize=True)


def draw_forms(axes: Axes, rows: list[Row], kind: str) -> None:
    """Draw a training step of each form of a layer, and where gathering begins to cost less than the dense one."""
    channels, k = ([row[name] for row in rows] for name in ("channels", "k"))
    for count, style in ((min(channels), ".-"), (max(channels), ".--")):
        shown = along(rows, channels=count, k=min(k))
        for form, colour in FORMS.items():
            draw_line(axes, shown, ("nodes", f"{kind} {form}"), style, color=colour, label=f"{form}, {count} channels")
        place = crossing(shown, kind)
        if 0 < place < math.inf:
            axes.axvline(place, color="0.6", linestyle=":")
            axes.text(place, 0.01, f" {place:.0f}", color="0.35", fontsize=8, transform=axes.get_xaxis_transform())
    finish(axes, "nodes", f"graph layer, training step, k = {min(k)}")
    if kind == "memory":
        axes.set(ylabel="peak memory [MiB]")


def draw_line(axes: Axes, rows: list[Row], columns: tuple[str, str], style: str, **options: Any) -> None:
    """Draw one column over another."""
    x, y = ([row[column] for row in rows] for column in columns)
    axes.plot(x, y, style, markersize=4, **options)
    axes.set_xticks(x, [str(value) for value in x])


def finish(axes: Axes, axis: str, title: str) -> None:
    """Name the axes and label round numbers."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if axis == "nodes" else (1, 2, 5), numticks=20))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.tick_params(labelsize=8)
    axes.set(xlabel=LABELS[axis], ylabel="thread time [ms a tile]")
    axes.set_title(title, fontsize=10)
