"""Fault traces."""

from pathlib import Path

from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from coslide.errors import InputError
from coslide.sources.vector import read_vector


def read_traces(path: Path, grid: GeoBox) -> list[BaseGeometry]:
    """Return the fault traces of a vector file as lines in the CRS of `grid` (metres).

    All traces are returned, also those outside the grid: a fault beyond the edge still counts for distances inside.

    Raises
    ------
    InputError
        If the file cannot be read, has no CRS, holds no feature, or holds something other than lines.
    """
    frame = read_vector(path, str(grid.crs), what="fault traces")
    kinds = set(frame.geometry.geom_type)
    if not kinds <= {"LineString", "MultiLineString"}:
        raise InputError(f"{path}: found {', '.join(sorted(kinds))}, expected fault traces as lines")
    return list(frame.geometry)
