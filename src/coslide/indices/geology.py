"""The geological indices: the stratum, in classes of age from old to young, and the distance to the nearest fault."""

import itertools
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt
from shapely import clip_by_rect, total_bounds
from shapely.geometry.base import BaseGeometry

from coslide.config.schema import FaultsConfig, GeologyConfig
from coslide.cube.band import Band, class_by_edges, edge_classes
from coslide.cube.store import LayerGroup, cut
from coslide.grid import pixel_size_m
from coslide.io.vector import quote_list
from coslide.labels import NO_CLASS
from coslide.sources.geology import WITHOUT_AGE, read_strata, read_traces, units_by_age

_BLOCK = 512  # side, in pixels, of what is filled at once: the distance transform takes 40 bytes for each pixel


def prepare_stratum(geology: GeologyConfig, grid: GeoBox) -> LayerGroup:
    """Compute the index ``stratum_class`` on `grid`: 1 to n from old to young, nodata 255 (no unit).

    Parameters
    ----------
    geology
        The map and the ages of its units.
    grid
        In metres, square pixels.

    Raises
    ------
    InputError
        As `coslide.sources.geology.read_strata`.

    Notes
    -----
    The stratum is recognition index "stratum" of Table 2 of Yang et al. (2023, doi:10.3390/rs15040977), whose eight
    classes are D1, D2, C2, P1, P2-T1, T1, T2, T3. Gaps near a unit are filled (`fill_gaps`). Units without
    age, and gaps farther away, are 255.
    """
    strata = read_strata(geology, grid)
    codes = fill_gaps(strata.codes, pixel_size_m=pixel_size_m(grid), reach_m=geology.fill_gaps_m)
    before, after = (float(np.mean(array == NO_CLASS)) for array in (strata.codes, codes))
    without_age = float(np.mean(codes == WITHOUT_AGE))
    codes[codes == WITHOUT_AGE] = NO_CLASS
    ages = units_by_age(geology)
    named = [unit for units in ages for unit in units]
    absent = [unit for unit in named if unit not in strata.units]
    reach = f"gaps up to {geology.fill_gaps_m:g} m"
    notes = [
        f"{len(named) - len(absent)} of the {len(named)} units with an age lie on the grid"
        + (f", not {quote_list(absent)}" if absent else ""),
        f"{before:.2%} of the grid is not mapped, {after:.2%} of the grid after filling {reach}",
    ]
    if without_age:
        notes.append(f"{without_age:.2%} of the grid has a unit without age (nodata)")
    if strata.overlap:
        notes.append(f"units of different age overlap on {strata.overlap:.2%} of the grid; the youngest counts")
    if strata.repaired:
        notes.append(f"{strata.repaired} polygons crossed themselves and were repaired")
    if strata.empty:
        notes.append(f"{strata.empty} polygons enclose no area and are left out")
    provenance = {
        "resampling": f"pixel centres; {reach} from the nearest unit",
        "share_unmapped": before,
        "share_unmapped_after_filling": after,
        "share_overlapping": strata.overlap,
    }
    names = tuple(" = ".join(units) for units in ages)
    described: dict[str, Any] = {"class_names": names, "definition": f"old to young: {'; '.join(names)}"}
    shared: dict[str, Any] = {"group": "geology", "optional": True, "provenance": provenance}
    long_name = f"stratum by age, classes 1 (oldest) to {len(names)}"
    band = Band("stratum_class", kind="ordinal", long_name=long_name, **described, **shared)
    return LayerGroup((band,), tuple(notes), partial(cut, grid, {"stratum_class": codes}))


def fill_gaps(codes: NDArray[np.uint8], *, pixel_size_m: float, reach_m: float) -> NDArray[np.uint8]:
    """Fill each gap pixel (255) with the code of the nearest pixel that has one, up to `reach_m` away.

    Parameters
    ----------
    codes
        uint8 (row, col); 255 is a gap, every other value is kept.
    pixel_size_m
        Side of a pixel.
    reach_m
        Largest distance between the centres of the two pixels.

    Returns
    -------
    ndarray of uint8
        A new array; 255 is left where no code is within reach.

    Notes
    -----
    Works in blocks, so it takes little memory beside the two arrays. Which of several equally near pixels counts is not
    defined, but is always the same.

    Examples
    --------
    >>> fill_gaps(np.array([[1, 255, 255, 255, 255, 7]], dtype=np.uint8), pixel_size_m=10, reach_m=15)
    array([[  1,   1, 255, 255,   7,   7]], dtype=uint8)
    """
    filled = codes.copy()
    margin = min(math.floor(reach_m / pixel_size_m + 1e-9), max(codes.shape))
    if margin == 0:
        return filled
    side, reach_px = max(_BLOCK, 2 * margin), reach_m / pixel_size_m
    for place in itertools.product(*(range(0, size, side) for size in codes.shape)):
        first = [max(0, start - margin) for start in place]
        block = tuple(slice(low, start + side + margin) for low, start in zip(first, place, strict=True))
        inner = tuple(slice(start - low, start - low + side) for low, start in zip(first, place, strict=True))
        gap = codes[block] == NO_CLASS
        if gap[inner].any() and not gap.all():
            distance, nearest = distance_transform_edt(gap, return_indices=True)
            near = distance <= reach_px + 1e-9  # a pixel with a code is its own nearest
            filled[block][inner] = np.where(near, codes[block][tuple(nearest)], np.uint8(NO_CLASS))[inner]
    return filled


def prepare_fault_distance(faults: FaultsConfig, grid: GeoBox) -> LayerGroup:
    """Compute ``fault_distance_class`` (1 to n, an index) and ``fault_distance`` (metres) on `grid`.

    Parameters
    ----------
    faults
        The traces, which of them count, and the edges of the classes.
    grid
        In metres, square pixels.

    Raises
    ------
    InputError
        As `coslide.sources.geology.read_traces`.

    Notes
    -----
    Distances are looked for as far as the last edge, and are that edge beyond it. A grid without any fault in reach has
    the last class everywhere, which a note tells.
    """
    traces = read_traces(faults, grid)
    edges_m = tuple(1000.0 * edge for edge in faults.edges_km)
    distance_m = fault_distance(traces.lines, grid, reach_m=edges_m[-1])
    classes = class_by_edges(distance_m, edges_m, lowest=1)
    notes = [f"{len(traces.lines)} of {traces.features} features are taken for traces"]
    if traces.pointlike:
        notes.append(f"{traces.pointlike} features without length are left out")
    if (nearest_m := distance_m.min()) >= edges_m[-1]:
        notes.append(f"no trace lies within {edges_m[-1]:g} m of the grid: every pixel is in the last class")
    else:
        notes.append(f"the nearest pixel lies {nearest_m:.0f} m from a trace")
    name, method = "distance to the nearest fault trace", {"resampling": "Euclidean distance on the grid"}
    shared: dict[str, Any] = {"group": "faults", "optional": True}
    classed = {**shared, "measured": "fault_distance", **edge_classes(edges_m, "m", lowest=1, what="edges")}
    capped = {**shared, "role": "diagnostic", "provenance": {**method, "capped_at_m": edges_m[-1]}}
    bands = (
        Band(
            "fault_distance_class", long_name=f"{name}, classes 1 to {len(edges_m) + 1}", provenance=method, **classed
        ),
        Band("fault_distance", "m", long_name=f"{name}, capped at {edges_m[-1]:g} m", **capped),
    )
    compute = partial(cut, grid, {"fault_distance_class": classes, "fault_distance": distance_m})
    return LayerGroup(bands, tuple(notes), compute)


def fault_distance(traces: Iterable[BaseGeometry], grid: GeoBox, *, reach_m: float) -> NDArray[np.float32]:
    """Compute the distance in metres from each pixel centre to the nearest fault trace, at most `reach_m`.

    The traces are burnt into a grid that is larger by `reach_m` on all sides, so a fault beside the grid counts as much
    as one inside it; then an exact Euclidean distance transform (edt).

    Parameters
    ----------
    traces
        Lines in the CRS of the grid; empty ones are skipped.
    grid
        Target grid, axes along x and y, in metres.
    reach_m
        Distances are looked for up to here. Larger ones become `reach_m`, also where there is no fault at all: give the
        last edge of the classes.

    Returns
    -------
    ndarray of float32
        (row, col) of the grid, between 0 and `reach_m`, never NaN.

    Notes
    -----
    A trace is as wide as the pixels that it touches, which have distance 0. The error is therefore at most half the
    diagonal of a pixel, 7.1 m on a grid of 10 m.

    Examples
    --------
    >>> from shapely import LineString
    >>> grid = GeoBox.from_bbox((0, 0, 50, 20), crs="EPSG:32654", resolution=10)
    >>> fault_distance([LineString([(5, -90), (5, 90)])], grid, reach_m=35.0)
    array([[ 0., 10., 20., 30., 35.],
           [ 0., 10., 20., 30., 35.]], dtype=float32)
    """
    transform = grid.affine
    around = grid.pad(1).boundingbox.buffered(reach_m)  # a pixel more than what is within reach
    near = [part for trace in traces if not (part := clip_by_rect(trace, *around.bbox)).is_empty]
    if not near:
        return np.full(grid.shape, reach_m, dtype=np.float32)
    (west, south, east, north), box = total_bounds(near), grid.boundingbox
    columns = math.ceil(max(box.left - west, east - box.right, 0.0) / abs(transform.a)) + 1
    rows = math.ceil(max(box.bottom - south, north - box.top, 0.0) / abs(transform.e)) + 1
    wide = grid.pad(columns, rows)
    # Pixels are one byte either way, but edt is faster with a mask than with labels.
    away = rasterize(
        near, out_shape=wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True, dtype=np.uint8
    ).view(bool)
    # parallel=0: all processors.
    distance_m: NDArray[np.float32] = edt.edt(away, anisotropy=(abs(transform.e), abs(transform.a)), parallel=0)
    return np.minimum(distance_m[rows:-rows, columns:-columns], np.float32(reach_m))
