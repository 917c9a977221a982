"""The area to map, from the shaking of an earthquake."""

import numpy as np

from coslide.acquisition.records import Area
from coslide.errors import InputError
from coslide.io.raster import CoarseRaster

_LEVELS_PER_G = 100


def area_of_shaking(pga_g: CoarseRaster, *, least_g: float, largest_km2: float, name: str) -> Area:
    """Find the rectangle around all shaking of a PGA or more.

    Parameters
    ----------
    pga_g
        PGA in g, as a ShakeMap has it; NaN is nodata.
    least_g
        The PGA that landslides are looked for from [g].
    largest_km2
        Where the rectangle is larger, the PGA is raised in steps of 0.01 g until it is not.
    name
        What messages call the ShakeMap.

    Returns
    -------
    Area
        In degrees, to the centres of the outermost pixels that reach the PGA, and half a pixel beyond.

    Raises
    ------
    InputError
        If nothing reaches the PGA, or the rectangle lies across the 180th meridian.
    """
    strongest = float(np.nanmax(pga_g.values))
    if strongest < least_g:
        found = f"found at most {strongest:.3g} g"
        raise InputError(f"{name}: {found}, expected {least_g:g} g somewhere; give --pga-g or --bounds")
    whole = level = _rectangle(pga_g, least_g)
    used_g = least_g
    while level.km2 > largest_km2 and used_g + 1 / _LEVELS_PER_G <= strongest:
        used_g = round(used_g * _LEVELS_PER_G + 1) / _LEVELS_PER_G
        level = _rectangle(pga_g, used_g)
    note = f"PGA of {used_g:.2f} g or more: {level.km2:,.0f} km2"
    if used_g > least_g:
        note += f" (that of {least_g:g} g is {whole.km2:,.0f} km2, more than {largest_km2:,.0f})"
    west, _, east, _ = level.bounds_deg
    if east > 180 or west < -180:
        across = f"the area of {note} lies across the 180th meridian"
        raise InputError(f"{name}: {across}; map each side alone: --bounds WEST SOUTH EAST NORTH")
    return Area(level.bounds_deg, note)


def area_of_bounds(bounds_deg: tuple[float, float, float, float], *, largest_km2: float) -> Area:
    """Take the area that a user gives.

    Raises
    ------
    InputError
        If it is larger than `largest_km2`.
    """
    area = Area(bounds_deg, "the bounds that were given")
    if area.km2 > largest_km2:
        found = f"found {area.km2:,.0f} km2"
        raise InputError(
            f"--bounds: {found}, expected {largest_km2:,.0f} km2 or less; give smaller ones or --largest-km2"
        )
    return area._replace(note=f"{area.note}: {area.km2:,.0f} km2")


def _rectangle(pga_g: CoarseRaster, least_g: float) -> Area:
    """Find the rectangle around all pixels that reach a PGA."""
    with np.errstate(invalid="ignore"):
        reached = pga_g.values >= least_g
    rows, cols = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    affine = pga_g.geobox.affine
    west, north = affine * (int(cols[0]), int(rows[0]))
    east, south = affine * (int(cols[-1]) + 1, int(rows[-1]) + 1)
    turns = -360.0 if west >= 180 else 360.0 if east <= -180 else 0.0
    return Area((west + turns, max(south, -90.0), east + turns, min(north, 90.0)))
