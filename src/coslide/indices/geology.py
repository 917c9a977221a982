"""The stratum index: the age of the rock, in classes from old to young."""

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import GeologyConfig
from coslide.cube.band import Band
from coslide.cube.store import LayerGroup, cut
from coslide.grid import pixel_size_m
from coslide.io.vector import quote_list
from coslide.labels import NO_CLASS
from coslide.sources.geology import WITHOUT_AGE, read_strata, units_by_age

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
        f"not on the grid: {quote_list(absent) or 'none'} of the {len(named)} units with an age",
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
    described["long_name"] = f"stratum by age, classes 1 (oldest) to {len(names)}"
    shared: dict[str, Any] = {"group": "geology", "optional": True, "provenance": provenance}
    band = Band("stratum_class", kind="ordinal", **described, **shared)
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
    from scipy.ndimage import distance_transform_edt

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
