"""What an inventory comes to: how many landslides, how much ground, and how large they are."""

from typing import Any

import geopandas as gpd
import numpy as np

from coslide.evaluation.objects import size_frequency


def summary_of(frame: gpd.GeoDataFrame, *, known_km2: float) -> dict[str, Any]:
    """Return number, area [km2] and sizes [m2] of the landslides of an inventory, in plain JSON values.

    Parameters
    ----------
    frame
        Landslides as `coslide.mapping.inventory.vectorize_landslides` gives them.
    known_km2
        How much ground the map says something of [km2].

    Returns
    -------
    dict
        ``landslides``, ``area_km2`` and ``area_geodesic_km2``, ``known_km2``, ``landslides_per_km2`` and
        ``share_of_ground`` (both of the known ground; None where there is none), ``area_m2`` (``smallest``, ``median``,
        ``mean``, ``largest``; None without a landslide) and ``size_frequency``
        (`coslide.evaluation.objects.size_frequency`).

    Examples
    --------
    >>> frame = gpd.GeoDataFrame({"area_m2": [800.0, 1200.0], "area_geodesic_m2": [801.0, 1201.0]})
    >>> found = summary_of(frame, known_km2=4.0)
    >>> found["landslides"], found["area_km2"], found["landslides_per_km2"], found["share_of_ground"]
    (2, 0.002, 0.5, 0.0005)
    >>> found["area_m2"]
    {'smallest': 800.0, 'median': 1000.0, 'mean': 1000.0, 'largest': 1200.0}
    """
    areas_m2 = frame["area_m2"].to_numpy(dtype=np.float64)
    area_km2 = float(areas_m2.sum()) / 1e6
    sizes = [areas_m2.min(), np.median(areas_m2), areas_m2.mean(), areas_m2.max()] if areas_m2.size else [None] * 4
    names = ("smallest", "median", "mean", "largest")
    return {
        "landslides": len(frame),
        "area_km2": area_km2,
        "area_geodesic_km2": float(frame["area_geodesic_m2"].sum()) / 1e6,
        "known_km2": known_km2,
        "landslides_per_km2": len(frame) / known_km2 if known_km2 else None,
        "share_of_ground": area_km2 / known_km2 if known_km2 else None,
        "area_m2": {name: size if size is None else float(size) for name, size in zip(names, sizes, strict=True)},
        "size_frequency": size_frequency(areas_m2),
    }
