"""The figure of an inventory: how large its landslides are, and how dense they lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

_COLOUR, _UNKNOWN = "#0072B2", "0.85"


def summary_figure(
    summary: Mapping[str, Any],
    per_km2: NDArray[np.float32],
    *,
    bounds_km: tuple[float, float, float, float],
    title: str,
) -> Figure:
    """Return the area-frequency curve of an inventory beside a map of its landslides per km2.

    Parameters
    ----------
    summary
        As `coslide.mapping.summary.summarise_inventory` gives it.
    per_km2
        Landslides per km2 of the squares of the map, float (row, col), north up; NaN where nothing is known, in grey.
    bounds_km
        West, south, east and north edge of the squares, in the projection [km].
    title
        What the event is called.
    """
    west, south, east, north = bounds_km
    tall = (north - south) / (east - west)
    figure = Figure(figsize=(10, float(np.clip(1.4 + 4.2 * tall, 4.2, 9))), dpi=150, layout="constrained")
    sizes, places = figure.subplots(1, 2)
    found = f"{summary['landslides']:,} landslides, {summary['area_km2']:.2f} km²"
    figure.suptitle(f"{title}: {found} on {summary['valid_km2']:.1f} km² of valid area")
    _sizes(sizes, summary)
    shown = places.imshow(
        np.ma.masked_invalid(per_km2), extent=(west, east, south, north), cmap="YlOrRd", vmin=0, interpolation="none"
    )
    places.set_facecolor(_UNKNOWN)
    places.ticklabel_format(useOffset=False, style="plain")
    places.set(title="where they are", xlabel="east [km]", ylabel="north [km]")
    figure.colorbar(shown, ax=places, label="landslides per km²; grey: unknown", shrink=0.8)
    return figure


def _sizes(axes: Axes, summary: Mapping[str, Any]) -> None:
    table = summary["size_frequency"]
    filled = [(a, d) for a, d in zip(table["area_m2"], table["density_per_m2"], strict=True) if d > 0]
    if filled:
        axes.loglog(*zip(*filled, strict=True), "o-", color=_COLOUR, markersize=4)
        axes.axvline(summary["area_m2"]["median"], color="0.6", linestyle=":")
        axes.annotate(
            f"median {summary['area_m2']['median']:,.0f} m²",
            (summary["area_m2"]["median"], 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color="0.35",
        )
    else:
        axes.text(0.5, 0.5, "no landslide", ha="center", va="center", transform=axes.transAxes)
    axes.set(title="how large they are", xlabel="area of a landslide [m²]", ylabel="probability density [1/m²]")
    axes.set_box_aspect(1)
    axes.grid(visible=True, which="major", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
