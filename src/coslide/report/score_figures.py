"""Figures of scores for people who would rather look: curves, reliability, recall by size, areas, errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from coslide.evaluation.objects import PAPER_SMALLEST_CELLS
from coslide.report.pictures import COLOURS, CORRECT, FALSE_ALARM, MISSED, NOTHING, landslide_colours

_MODEL, _OTHER, _GREY = "#0072B2", ("#E69F00", "#CC79A7"), "0.6"  # Okabe and Ito (2008)
_SQUARE_IN = (4.6, 4.6)


def precision_recall_figure(metrics: Mapping[str, Any]) -> Figure:
    """Return precision over recall of a model at every threshold, with the baselines as points.

    Parameters
    ----------
    metrics
        As `coslide.evaluate` returns them, with ``curves``.
    """
    figure = Figure(figsize=_SQUARE_IN, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    curves, pixels = metrics["curves"], metrics["pixels"]
    share = (pixels["tp"] + pixels["fn"]) / max(sum(pixels[key] for key in ("tp", "fp", "fn", "tn")), 1)
    name = "model" if pixels["average_precision"] is None else f"model (AP {pixels['average_precision']:.2f})"
    axes.plot(curves["recall"], curves["precision"], color=_MODEL, label=name)
    at = f"at its threshold (F1 {pixels['f1']:.2f})"
    axes.plot(pixels["recall"], pixels["precision"], "o", color=_MODEL, label=at)
    for (other, row), colour in zip(metrics["baselines"].items(), _OTHER, strict=False):
        axes.plot(row["recall"], row["precision"], "s", color=colour, label=f"{other} (F1 {row['f1']:.2f})")
    axes.axhline(share, color=_GREY, linestyle=":", label=f"share of landslide cells ({share:.3f})")
    _labelled(axes, "recall: share of landslide cells found", "precision: share of alarms that are right")
    return figure


def roc_figure(metrics: Mapping[str, Any]) -> Figure:
    """Return the ROC curve of a model, with the baselines as points; `metrics` as for `precision_recall_figure`."""
    figure = Figure(figsize=_SQUARE_IN, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    curves, auc = metrics["curves"], metrics["pixels"]["roc_auc"]
    axes.plot(
        curves["false_alarm_rate"],
        curves["recall"],
        color=_MODEL,
        label="model" if auc is None else f"model (AUC {auc:.3f})",
    )
    for (other, row), colour in zip(metrics["baselines"].items(), _OTHER, strict=False):
        alarms = row["fp"] / max(row["fp"] + row["tn"], 1)
        axes.plot(alarms, row["recall"], "s", color=colour, label=other)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    _labelled(axes, "false alarms: share of background called landslide", "recall: share of landslide cells found")
    return figure


def reliability_figure(metrics: Mapping[str, Any]) -> Figure:
    """Return how often a probability came true, over the probability, with the number of cells of each bin below."""
    figure = Figure(figsize=_SQUARE_IN, dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    table = metrics["calibration"]["reliability"]
    bins = len(table["pixels"])
    points = [
        (given, share)
        for given, share in zip(table["probability_mean"], table["landslide_share"], strict=True)
        if given is not None
    ]
    above.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="as it says")
    above.plot(*zip(*points, strict=True), "o-", color=_MODEL, label=f"model (ECE {metrics['calibration']['ece']:.3f})")
    _labelled(above, "", "share that is landslide")
    below.bar((np.arange(bins) + 0.5) / bins, table["pixels"], width=1 / bins, color=_MODEL, edgecolor="white")
    below.set(yscale="log", xlabel="probability given", ylabel="cells")
    return figure


def size_recall_figure(metrics: Mapping[str, Any]) -> Figure:
    """Return the share of mapped landslides that were found, for each size; the paper's smallest is marked."""
    rows = metrics["objects"]["recall_by_size"]
    figure = Figure(figsize=(6.5, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        colour = _OTHER[0] if row["cells_min"] == PAPER_SMALLEST_CELLS else _MODEL
        axes.bar(number, row["recall"] or 0, color=colour, width=0.75)
        axes.text(
            number, (row["recall"] or 0) + 0.01, f"{row['n_found']} of {row['n_mapped']}", ha="center", fontsize=8
        )
    names = [f"{r['cells_min']}–{r['cells_max']}" if r["cells_max"] else f"≥ {r['cells_min']}" for r in rows]
    axes.set_xticks(range(len(rows)), names)
    axes.set(xlabel="size of the mapped landslide [cells]", ylabel="share found (half of its cells)", ylim=(0, 1.08))
    axes.legend(
        handles=[Patch(color=_OTHER[0], label="smallest class of Yang et al. (2023)")], frameon=False, loc="upper left"
    )
    _plain(axes)
    return figure


def area_figure(metrics: Mapping[str, Any]) -> Figure:
    """Return the area-frequency curves of the mapped and the recognised landslides: probability density over area."""
    figure = Figure(figsize=(5, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for (name, table), style in zip(metrics["objects"]["size_frequency"].items(), ("o-", "s--"), strict=False):
        filled = [(a, d) for a, d in zip(table["area_m2"], table["density_per_m2"], strict=True) if d > 0]
        if filled:
            axes.loglog(*zip(*filled, strict=True), style, label=f"{name} ({sum(table['n'])})", markersize=4)
            axes.legend(frameon=False)
    axes.set(xlabel="area of a landslide [m²]", ylabel="probability density [1/m²]")
    _plain(axes)
    return figure


def error_figure(
    recognised: NDArray[np.bool_], mapped: NDArray[np.bool_], where: NDArray[np.bool_], *, pixel_size_m: float
) -> Figure:
    """Return a map of landslides found, missed and falsely called on the ground that is scored; the rest is grey.

    Parameters
    ----------
    recognised, mapped, where
        Landslides of the model, of the inventory, and the cells that are scored, bool (row, col).
    pixel_size_m
        Side of a cell [m].
    """
    codes = np.full(mapped.shape, NOTHING, dtype=np.uint8)
    for code, cells in (
        (CORRECT, recognised & mapped),
        (FALSE_ALARM, recognised & ~mapped),
        (MISSED, ~recognised & mapped),
    ):
        codes[cells & where] = code
    colours = landslide_colours(codes, where, pixel_size_m=pixel_size_m)
    height, width = mapped.shape[0] * pixel_size_m / 1000, mapped.shape[1] * pixel_size_m / 1000
    figure = Figure(figsize=(7, min(9.0, 1.0 + 6.4 * height / width)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(colours, extent=(0, width, 0, height), interpolation="none")
    words = {CORRECT: "found", FALSE_ALARM: "false alarm", MISSED: "missed"}
    handles = [Patch(color=COLOURS[code], label=label) for code, label in words.items()]
    figure.legend(
        handles=[*handles, Patch(color="0.85", label="not scored")], loc="outside upper center", ncols=4, frameon=False
    )
    axes.set(xlabel="km", ylabel="km")
    return figure


def _labelled(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(visible=True, which="major", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
