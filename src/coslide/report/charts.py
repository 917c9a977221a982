"""Charts of scores, sizes and training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.evaluation.objects import PAPER_SMALLEST_PX
from coslide.evaluation.pixels import PixelScores
from coslide.evaluation.scores import Calibration, NetworkDiagnostics, Scores
from coslide.evaluation.scoring import ScoredMap
from coslide.report import images
from coslide.report.fonts import cut
from coslide.report.page import score_text

_DOTTED: Any = {"color": "0.6", "linestyle": ":"}
_MODEL: Any = {"color": images.MODEL}
_MAPPED_AND_RECOGNISED: Any = ({"color": "0.25", "marker": "s"}, {"color": images.MODEL, "marker": "o"})
_SQUARE_IN = (4.6, 4.6)
_UNIT: Any = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01)}


def score_charts(found: Scores) -> Iterator[tuple[str, str, str, Figure]]:
    """Draw the charts of scores: the name of each, a title, what it shows, and the figure."""
    if (curves := found.curves) and found.calibration:
        pixels, recall = found.pixels, "recall: share of landslide pixels found"
        share = (pixels.tp + pixels.fn) / max(found.split.scored_pixels, 1)
        lines: dict[str, Any] = {
            f"model (AP {score_text(pixels.average_precision, 2)})": (curves.recall, curves.precision),
            f"share of landslide pixels ({share:.3f})": ([0, 1], [share, share]),
        }
        words = {"xlabel": recall, "ylabel": "precision: share of alarms that are right"}
        figure = _curve_chart(found, lines, lambda row: (row.recall, row.precision), words)
        yield "precision_recall", "Precision over recall", "At every threshold.", figure
        yield "reliability", "Reliability", "What a probability is worth.", _reliability(found.calibration)
        roc = curves.false_alarm_rate, curves.recall
        lines = {f"model (AUC {score_text(pixels.roc_auc)})": roc, "chance": ([0, 1], [0, 1])}
        words = {"xlabel": "false alarms: share of background called landslide", "ylabel": recall}
        figure = _curve_chart(found, lines, lambda row: (row.fp / max(row.fp + row.tn, 1), row.recall), words)
        yield "roc", "ROC curve", "False alarms and recall.", figure
    yield "recall_by_size", "Share of mapped landslides found, by their size", "", _recall_by_size(found)
    yield "area_frequency", "Probability density of landslide areas", "", _area_frequency(found)


def _curve_chart(found: Scores, lines: dict[str, Any], place: Callable[[PixelScores], Any], words: Any) -> Figure:
    """Draw the curve of a model and what it is compared with, and model and baselines at their thresholds as points."""
    figure, (axes,) = chart(_SQUARE_IN)
    for (label, line), style in zip(lines.items(), (_MODEL, _DOTTED), strict=True):
        axes.plot(*line, label=label, **style)
    rows = {"model at its threshold": found.pixels, **found.baselines}
    for (name, row), marker, colour in zip(rows.items(), "oss", (images.MODEL, *images.BASELINES), strict=False):
        axes.plot(*place(row), marker, color=colour, label=f"{name} (F1 {row.f1:.2f})")
    axes.set(**_UNIT, **words)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _reliability(calibration: Calibration) -> Figure:
    """Draw how often a probability came true, over the probability, with the number of pixels of each bin below."""
    figure, (above, below) = chart(_SQUARE_IN, 2, sharex=True, height_ratios=(3, 1))
    table = calibration.reliability
    given, share = (np.array(column, np.float64) for column in (table.probability_mean, table.landslide_share))
    filled = np.isfinite(given)
    above.plot([0, 1], [0, 1], label="perfect", **_DOTTED)
    above.plot(given[filled], share[filled], "o-", label=f"model (ECE {calibration.ece:.3f})", **_MODEL)
    above.legend(frameon=False, fontsize=8)
    above.set(**_UNIT, ylabel="share that is landslide")
    centres, width = np.linspace(0, 1, 2 * len(table.pixels) + 1)[1::2], 1 / len(table.pixels)
    below.bar(centres, table.pixels, width=width, edgecolor="white", **_MODEL)
    below.set(yscale="log", xlabel="probability given", ylabel="pixels")
    return figure


def _recall_by_size(found: Scores) -> Figure:
    """Draw the share of mapped landslides that were found, for each size; the paper's smallest is marked."""
    figure, (axes,) = chart((6.5, 3.8))
    rows = found.objects.recall_by_size
    papers = [row.pixels_min == PAPER_SMALLEST_PX for row in rows]
    colours = [images.ORANGE if of_paper else images.MODEL for of_paper in papers]
    names = [f"{row.pixels_min}–{row.pixels_max}" if row.pixels_max else f"≥ {row.pixels_min}" for row in rows]
    bars = axes.bar(names, [row.recall or 0 for row in rows], color=colours, width=0.75)
    axes.bar_label(bars, [f"{row.n_found} of {row.n_mapped}" for row in rows], fontsize=8)
    for smallest in (bar for bar, of_paper in zip(bars.patches, papers, strict=True) if of_paper):
        axes.legend([smallest], ["smallest class of Yang et al. (2023)"], frameon=False, loc="upper left")
    words = {"xlabel": "size of the mapped landslide [pixels]", "ylabel": "share found (half of its pixels)"}
    axes.set(ylim=(0, 1.25), yticks=np.linspace(0, 1, 6), **words)
    return figure


def _area_frequency(found: Scores) -> Figure:
    """Draw the area-frequency curves of the mapped and the recognised landslides: probability density over area."""
    figure, (axes,) = chart((5, 3.8))
    for (name, table), style in zip(found.objects.size_frequency.items(), _MAPPED_AND_RECOGNISED, strict=True):
        _plot_areas(axes, table.model_dump(), label=f"{name} ({sum(table.n)})", **style)
    if axes.lines:
        axes.legend(frameon=False)
    return figure


def error_figure(scored: ScoredMap) -> Figure:
    """Draw a map of landslides found, missed and falsely called on the pixels that are scored; the rest is grey."""
    codes = images.landslide_codes(scored.recognised, scored.mapped, scored.where)
    height, width = (length * scored.pixel_size_m / 1000 for length in codes.shape)
    figure, (axes,) = chart((7, min(9.0, 1.0 + 6.4 * height / width)))
    colours = images.landslide_colours(codes, scored.where, None, step=images.step_of(codes.shape))
    axes.imshow(colours, extent=(0, width, 0, height), interpolation="none")
    axes.grid(visible=False)
    axes.set(xlabel="km", ylabel="km")
    words = dict(zip(images.COLOURS.values(), ("correct", "false alarm", "missed"), strict=False))
    words |= {images.FLAT: "no landslide", images.NODATA: "not scored"}
    handles = [Patch(color=colour, label=label) for colour, label in words.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    return figure


def size_figure(areas_m2: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw how many landslides are at least so large, one line for each inventory.

    Parameters
    ----------
    areas_m2
        Areas in m2 by what the inventory is called.
    """
    figure, (axes,) = chart((5, 3.4))
    styles = _MAPPED_AND_RECOGNISED[-len(areas_m2) :]  # without an inventory the recognised ones only
    for (name, areas), style in zip(areas_m2.items(), styles, strict=True):
        sizes, counts = np.unique(areas, return_counts=True)
        at_least = np.cumsum(counts[::-1])[::-1]
        axes.loglog(sizes, at_least, color=style["color"], label=f"{name} ({len(areas)})")
    axes.set(xlabel="area A [m²]", ylabel="landslides of at least A")
    axes.legend(frameon=False)
    return figure


def summary_figure(summary: Mapping[str, Any], per_km2: NDArray[np.float32], squares: GeoBox, *, title: str) -> Figure:
    """Draw the area-frequency curve of an inventory beside a map of its landslides per km2.

    Parameters
    ----------
    summary
        From `coslide.mapping.attributes.summarise_inventory`.
    per_km2
        Landslides per km2 of the squares of the map, float (row, col), north up; NaN where nothing is valid, in grey.
    squares
        Their grid, in metres.
    title
        Name of the event.
    """
    west, south, east, north = (edge / 1000 for edge in squares.boundingbox.bbox)
    tall = (north - south) / (east - west)
    figure, (sizes, places) = chart((10, float(np.clip(1.4 + 4.2 * tall, 4.2, 9))), 1, 2)
    landslides = f"{summary['landslides']:,} landslides, {summary['area_km2']:.2f} km²"
    name = cut(title, 100)
    lines = f"{name}: {landslides}" if len(name) < 50 else f"{name}\n{landslides}"
    figure.suptitle(f"{lines} on {summary['valid_km2']:.1f} km² of mapped area", parse_math=False)
    _plot_areas(sizes, summary["size_frequency"], marker="o", **_MODEL)
    if sizes.lines:
        median_m2 = summary["area_m2"]["median"]
        sizes.axvline(median_m2, **_DOTTED)
        sizes.text(median_m2, 0.02, f" median {median_m2:,.0f} m²", color="0.35", transform=sizes.get_xaxis_transform())
    else:
        sizes.text(0.5, 0.5, "no landslide", ha="center", va="center", transform=sizes.transAxes)
        sizes.set(xticks=[], yticks=[])
    sizes.set_box_aspect(1)
    sizes.set(title="how large they are")
    highest = max(1.0, float(np.nanmax(per_km2, initial=0)))  # where none is, the map is pale, not half way up
    extent, masked = (west, east, south, north), np.ma.masked_invalid(per_km2)
    shown = places.imshow(masked, extent=extent, cmap="YlOrRd", vmin=0, vmax=highest, interpolation="none")
    places.set_facecolor(images.NODATA)
    places.grid(visible=False)
    places.ticklabel_format(useOffset=False, style="plain")
    places.set(title="where they are", xlabel="east [km]", ylabel="north [km]")
    figure.colorbar(shown, ax=places, label="landslides per km²; grey: nodata", shrink=0.8)
    return figure


def diagnostics_figure(signs: NetworkDiagnostics) -> Figure:
    """Draw what each depth has learned and is worth: the spread of its kernels, and the precision lost without it."""
    figure, (left, right) = chart((7, 2.6), 1, 2)
    left.bar([str(row.depth) for row in signs.depths], [row.kernel_spread for row in signs.depths], **_MODEL)
    left.axhline(1, **_DOTTED)
    left.set(ylabel="spread of kernels over\ntheir initial one", xlabel="depth")
    lost = {str(row.depth): row.ap_lost for row in signs.depths} | {"branch": signs.branch_ap_lost}
    measured = {name: value for name, value in lost.items() if value is not None}
    right.bar(list(measured), list(measured.values()), color=images.VERMILION)
    right.axhline(0, color="0.6", linewidth=0.8)
    most = max([0.05, *map(abs, measured.values())])  # a thousandth must not look like a loss
    words = {"xlabel": "from this depth down, or 2nd branch", "ylabel": "average precision lost\nwithout it"}
    right.set(ylim=(-most, most), **words)
    return figure


def loss_figure(losses: Sequence[float]) -> Figure:
    """Draw the training loss of each epoch."""
    figure, (axes,) = chart((5, 2.6))
    axes.plot(range(1, len(losses) + 1), losses, **_MODEL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    return figure


def chart(size_in: tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Lay out a figure and its axes, row by row, all in one style."""
    figure = Figure(figsize=size_in, dpi=150, layout="constrained")  # no pyplot: nothing global, nothing to close
    found = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in found:
        axes.grid(visible=True, which="major", color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def _plot_areas(axes: Axes, table: Mapping[str, Sequence[float]], **options: Any) -> None:
    """Plot an area-frequency curve (`coslide.evaluation.scores.SizeFrequency`); nothing without landslides."""
    filled = [pair for pair in zip(table["area_m2"], table["density_per_m2"], strict=True) if pair[1]]
    if filled:
        axes.loglog(*zip(*filled, strict=True), markersize=4, **options)
    axes.set(xlabel="area of a landslide [m²]", ylabel="probability density [1/m²]")
