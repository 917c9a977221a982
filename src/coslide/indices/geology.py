"""The stratum index: the age of the ground, in classes from old to young."""

import itertools
import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import GeologyConfig
from coslide.cube.band import Band
from coslide.cube.layer import LayerGroup, cut
from coslide.grid import pixel_size_m
from coslide.io.vector import quote_list
from coslide.labels import NO_CLASS
from coslide.sources.geology import WITHOUT_AGE, StratumMap, read_strata, units_by_age

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
    notes = _notes(geology, strata, gaps=(before, after), without_age=float(np.mean(codes == WITHOUT_AGE)))
    codes[codes == WITHOUT_AGE] = NO_CLASS
    classes = units_by_age(geology)
    names = tuple(" = ".join(units) for units in classes)
    provenance = {
        "resampling": f"pixel centres; gaps up to {geology.fill_gaps_m:g} m from the nearest unit",
        "share_unmapped": before,
        "share_unmapped_after_filling": after,
        "share_overlapping": strata.overlap,
    }
    band = Band(
        "stratum_class",
        kind="ordinal",
        class_names=names,
        definition=f"old to young: {'; '.join(names)}",
        group="geology",
        optional=True,
        long_name=f"stratum by age, classes 1 (oldest) to {len(classes)}",
        provenance=provenance,
    )
    return LayerGroup((band,), notes, partial(cut, grid, {"stratum_class": codes}))


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
    for block, inner in _blocks(codes.shape, margin):
        gap = codes[block] == NO_CLASS
        if gap[inner].any() and not gap.all():
            filled[block][inner] = _filled(codes[block], gap, inner, reach=reach_m / pixel_size_m)
    return filled


def _filled(
    codes: NDArray[np.uint8], gap: NDArray[np.bool_], inner: tuple[slice, slice], *, reach: float
) -> NDArray[np.uint8]:
    from scipy.ndimage import distance_transform_edt

    distance, (rows, columns) = distance_transform_edt(gap, return_indices=True)
    near = distance[inner] <= reach + 1e-9
    nearest = codes[rows[inner], columns[inner]]
    return np.where(near, nearest, np.uint8(NO_CLASS))  # a pixel with a code is its own nearest


def _blocks(shape: tuple[int, ...], margin: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield blocks that cover `shape`, each with `margin` around it, and where in it the block without margin is."""
    side = max(_BLOCK, 2 * margin)
    rows, columns = ([_widened(start, side, margin, size) for start in range(0, size, side)] for size in shape)
    for (row, inner_row), (column, inner_column) in itertools.product(rows, columns):
        yield (row, column), (inner_row, inner_column)


def _widened(start: int, side: int, margin: int, size: int) -> tuple[slice, slice]:
    first = max(0, start - margin)
    outer = slice(first, min(size, start + side + margin))
    return outer, slice(start - first, min(size, start + side) - first)


def _notes(
    geology: GeologyConfig, strata: StratumMap, *, gaps: tuple[float, float], without_age: float
) -> tuple[str, ...]:
    named = {unit for units in units_by_age(geology) for unit in units}
    absent = [unit for units in units_by_age(geology) for unit in units if unit not in strata.units]
    unmapped, left = (f"{gap:.2%} of the grid" for gap in gaps)
    notes = [
        f"not on the grid: {quote_list(absent) or 'none'} of the {len(named)} units with an age",
        f"{unmapped} is not mapped, {left} after filling gaps up to {geology.fill_gaps_m:g} m",
    ]
    if without_age:
        notes.append(f"{without_age:.2%} of the grid has a unit without age (nodata)")
    if strata.overlap:
        notes.append(f"units of different age overlap on {strata.overlap:.2%} of the grid; the youngest counts")
    if strata.repaired:
        notes.append(f"{strata.repaired} polygons crossed themselves and were repaired")
    if strata.empty:
        notes.append(f"{strata.empty} polygons enclose no area and are left out")
    return tuple(notes)
