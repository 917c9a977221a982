"""Charts of scores, sizes and training."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from coslide.evaluation.objects import PAPER_SMALLEST_PX
from coslide.evaluation.probabilities import CurvePoints
from coslide.evaluation.scores import Calibration, Scores, VitalSigns
from coslide.report import images, palette

_GREY = "0.6"
_SQUARE_IN = (4.6, 4.6)
_UNIT: Any = {"xlim": (-0.01, 1.01), "ylim": (-0.01, 1.01)}


def figure_uri(figure: Figure) -> str:
    """Encode a figure as a PNG data address; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return images.data_uri(buffer.getvalue(), "png")


def score_charts(found: Scores) -> Iterator[tuple[str, str, str, Figure]]:
    """Draw the charts of scores: the name of each, a title, what it shows, and the figure."""
    if found.curves and found.calibration:
        yield "precision_recall", "Precision over recall", "At every threshold.", _precision_recall(found, found.curves)
        yield "reliability", "Reliability", "What a probability is worth.", _reliability(found.calibration)
        yield "roc", "ROC curve", "False alarms and recall.", _roc(found, found.curves)
    yield "recall_by_size", "Share of mapped landslides found, by their size", "", _recall_by_size(found)
    yield "area_frequency", "Probability density of landslide areas", "", _area_frequency(found)


def _precision_recall(found: Scores, curves: CurvePoints) -> Figure:
    """Draw precision over recall of a model at every threshold, with the baselines as points."""
    recall, precision = "recall: share of landslide pixels found", "precision: share of alarms that are right"
    figure, axes = _chart(_SQUARE_IN, **_UNIT, xlabel=recall, ylabel=precision)
    pixels, ap = found.pixels, found.pixels.average_precision
    axes.plot(
        curves.recall, curves.precision, color=palette.MODEL, label="model" if ap is None else f"model (AP {ap:.2f})"
    )
    at = f"at its threshold (F1 {pixels.f1:.2f})"
    axes.plot(pixels.recall, pixels.precision, "o", color=palette.MODEL, label=at)
    for (name, row), colour in zip(found.baselines.items(), palette.BASELINES, strict=False):
        axes.plot(row.recall, row.precision, "s", color=colour, label=f"{name} (F1 {row.f1:.2f})")
    share = (pixels.tp + pixels.fn) / found.split.scored_cells
    axes.axhline(share, color=_GREY, linestyle=":", label=f"share of landslide pixels ({share:.3f})")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _roc(found: Scores, curves: CurvePoints) -> Figure:
    """Draw the ROC curve of a model, with the baselines as points."""
    alarms, recall = "false alarms: share of background called landslide", "recall: share of landslide pixels found"
    figure, axes = _chart(_SQUARE_IN, **_UNIT, xlabel=alarms, ylabel=recall)
    auc = found.pixels.roc_auc
    label = "model" if auc is None else f"model (AUC {auc:.3f})"
    axes.plot(curves.false_alarm_rate, curves.recall, color=palette.MODEL, label=label)
    for (name, row), colour in zip(found.baselines.items(), palette.BASELINES, strict=False):
        axes.plot(row.fp / max(row.fp + row.tn, 1), row.recall, "s", color=colour, label=name)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _reliability(calibration: Calibration) -> Figure:
    """Draw how often a probability came true, over the probability, with the number of pixels of each bin below."""
    figure = Figure(figsize=_SQUARE_IN, dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    table = calibration.reliability
    given, share = (np.array(column, np.float64) for column in (table.probability_mean, table.landslide_share))
    filled = np.isfinite(given)
    above.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
    label = f"model (ECE {calibration.ece:.3f})"
    above.plot(given[filled], share[filled], "o-", color=palette.MODEL, label=label)
    above.legend(frameon=False, fontsize=8)
    _plain(above, **_UNIT, ylabel="share that is landslide")
    centres, width = np.linspace(0, 1, 2 * len(table.pixels) + 1)[1::2], 1 / len(table.pixels)
    below.bar(centres, table.pixels, width=width, color=palette.MODEL, edgecolor="white")
    below.set(yscale="log", xlabel="probability given", ylabel="pixels")
    return figure


def _recall_by_size(found: Scores) -> Figure:
    """Draw the share of mapped landslides that were found, for each size; the paper's smallest is marked."""
    labels = {"xlabel": "size of the mapped landslide [pixels]", "ylabel": "share found (half of its pixels)"}
    figure, axes = _chart((6.5, 3.8), ylim=(0, 1.08), **labels)
    rows = found.objects.recall_by_size
    for number, row in enumerate(rows):
        colour = palette.ORANGE if row.cells_min == PAPER_SMALLEST_PX else palette.MODEL
        bar = axes.bar(number, row.recall or 0, color=colour, width=0.75)
        axes.bar_label(bar, [f"{row.n_found} of {row.n_mapped}"], fontsize=8)
        if row.cells_min == PAPER_SMALLEST_PX:
            axes.legend([bar], ["smallest class of Yang et al. (2023)"], frameon=False, loc="upper left")
    names = [f"{row.cells_min}–{row.cells_max}" if row.cells_max else f"≥ {row.cells_min}" for row in rows]
    axes.set_xticks(range(len(rows)), names)
    return figure


def _area_frequency(found: Scores) -> Figure:
    """Draw the area-frequency curves of the mapped and the recognised landslides: probability density over area."""
    figure, axes = _chart((5, 3.8))
    for (name, table), style in zip(found.objects.size_frequency.items(), ("o-", "s--"), strict=False):
        _plot_areas(axes, table.model_dump(), style, label=f"{name} ({sum(table.n)})")
    if axes.lines:
        axes.legend(frameon=False)
    return figure


def error_figure(recognised: images.Mask, mapped: images.Mask, where: images.Mask, *, pixel_size_m: float) -> Figure:
    """Draw a map of landslides found, missed and falsely called on the pixels that are scored; the rest is grey.

    Parameters
    ----------
    recognised, mapped, where
        Landslides of the model, of the inventory, and the pixels that are scored, bool (row, col).
    pixel_size_m
        Side of a pixel [m].
    """
    codes = images.landslide_codes(recognised & where, mapped, where)
    height, width = mapped.shape[0] * pixel_size_m / 1000, mapped.shape[1] * pixel_size_m / 1000
    figure, axes = _chart((7, min(9.0, 1.0 + 6.4 * height / width)), xlabel="km", ylabel="km")
    colours = images.landslide_colours(codes, where, step=images.step_of(codes.shape))
    axes.imshow(colours, extent=(0, width, 0, height), interpolation="none")
    axes.grid(visible=False)
    words = {images.CORRECT: "found", images.FALSE_ALARM: "false alarm", images.MISSED: "missed"}
    handles = [Patch(color=images.COLOURS[code], label=label) for code, label in words.items()]
    handles.append(Patch(color=palette.NODATA, label="not scored"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def size_figure(areas_m2: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Draw how many landslides are at least so large, one line for each inventory.

    Parameters
    ----------
    areas_m2
        Areas in m2 by what the inventory is called.
    """
    figure, axes = _chart((5, 3.4), xlabel="area A [m²]", ylabel="landslides of at least A")
    for (name, areas), style in zip(areas_m2.items(), ("-", "--", ":"), strict=False):
        ordered = np.sort(areas)[::-1]
        axes.loglog(ordered, np.arange(1, len(ordered) + 1), style, label=f"{name} ({len(ordered)})")
    axes.legend(frameon=False)
    return figure


def summary_figure(
    summary: Mapping[str, Any],
    per_km2: NDArray[np.float32],
    *,
    bounds_km: tuple[float, float, float, float],
    title: str,
) -> Figure:
    """Draw the area-frequency curve of an inventory beside a map of its landslides per km2.

    Parameters
    ----------
    summary
        From `coslide.mapping.summary.summarise_inventory`.
    per_km2
        Landslides per km2 of the squares of the map, float (row, col), north up; NaN where nothing is valid, in grey.
    bounds_km
        West, south, east and north edge of the squares, in the projection [km].
    title
        Name of the event.
    """
    west, south, east, north = bounds_km
    tall = (north - south) / (east - west)
    figure = Figure(figsize=(10, float(np.clip(1.4 + 4.2 * tall, 4.2, 9))), dpi=150, layout="constrained")
    sizes, places = figure.subplots(1, 2)
    landslides = f"{summary['landslides']:,} landslides, {summary['area_km2']:.2f} km²"
    figure.suptitle(f"{title}: {landslides} on {summary['valid_km2']:.1f} km² of mapped area", parse_math=False)
    _plot_areas(sizes, summary["size_frequency"], "o-", color=palette.MODEL)
    if sizes.lines:
        median_m2 = summary["area_m2"]["median"]
        sizes.axvline(median_m2, color=_GREY, linestyle=":")
        sizes.text(median_m2, 0.02, f" median {median_m2:,.0f} m²", color="0.35", transform=sizes.get_xaxis_transform())
    else:
        sizes.text(0.5, 0.5, "no landslide", ha="center", va="center", transform=sizes.transAxes)
    sizes.set_box_aspect(1)
    _plain(sizes, title="how large they are")
    shown = places.imshow(
        np.ma.masked_invalid(per_km2), extent=(west, east, south, north), cmap="YlOrRd", vmin=0, interpolation="none"
    )
    places.set_facecolor(palette.NODATA)
    places.ticklabel_format(useOffset=False, style="plain")
    places.set(title="where they are", xlabel="east [km]", ylabel="north [km]")
    figure.colorbar(shown, ax=places, label="landslides per km²; grey: nodata", shrink=0.8)
    return figure


def vital_signs_figure(signs: VitalSigns) -> Figure:
    """Draw what each depth has learned and is worth: the spread of its kernels, and the precision lost without it."""
    figure = Figure(figsize=(7, 2.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar([str(row.depth) for row in signs.depths], [row.kernel_spread for row in signs.depths], color=palette.MODEL)
    left.axhline(1, color=_GREY, linestyle=":")
    left.set(ylabel="spread of kernels over\ntheir initial one", xlabel="depth")
    lost = {str(row.depth): row.ap_lost for row in signs.depths} | {"branch": signs.branch_ap_lost}
    known = {name: value for name, value in lost.items() if value is not None}
    right.bar(list(known), list(known.values()), color=palette.VERMILION)
    right.axhline(0, color=_GREY, linewidth=0.8)
    most = max([0.05, *map(abs, known.values())])  # a thousandth must not look like a loss
    right.set(xlabel="from this depth down, or 2nd branch", ylim=(-most, most))
    right.set_ylabel("average precision lost\nwithout it")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def loss_figure(losses: Sequence[float]) -> Figure:
    """Draw the training loss of each epoch."""
    figure, axes = _chart((5, 2.6), xlabel="epoch", ylabel="training loss")
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set_ylim(bottom=0)
    return figure


def _chart(size_in: tuple[float, float], **options: Any) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size_in, dpi=150, layout="constrained")  # no pyplot: nothing global, nothing to close
    axes = figure.add_subplot()
    _plain(axes, **options)
    return figure, axes


def _plot_areas(axes: Axes, table: Mapping[str, Sequence[float]], style: str, **options: Any) -> None:
    """Plot an area-frequency curve (`coslide.evaluation.objects.SizeFrequency`); nothing without landslides."""
    filled = [
        (area, density) for area, density in zip(table["area_m2"], table["density_per_m2"], strict=True) if density
    ]
    if filled:
        axes.loglog(*zip(*filled, strict=True), style, markersize=4, **options)
    axes.set(xlabel="area of a landslide [m²]", ylabel="probability density [1/m²]")


def _plain(axes: Axes, **options: Any) -> None:
    axes.grid(visible=True, which="major", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(**options)
