"""Vector files of any format, brought into the CRS of the grid."""

from pathlib import Path

import geopandas as gpd
import numpy as np
from pyogrio.errors import DataLayerError, DataSourceError

from coslide.errors import InputError


def read_vector(path: Path, crs: str, *, what: str, may_be_empty: bool = False) -> gpd.GeoDataFrame:
    """Return the features of a vector file, reprojected to `crs`, without missing or empty geometries.

    Features so far away that `crs` has no finite coordinates for them are left out.

    Parameters
    ----------
    path
        A file that GDAL opens (GeoPackage, GeoJSON, Shapefile, ...); its first layer is read.
    crs
        The CRS to return.
    what
        What the file holds, for messages ("landslides").
    may_be_empty
        Whether a file without any feature is returned as it is.

    Raises
    ------
    InputError
        If it cannot be read, has no CRS, or holds no feature.
    """
    try:
        frame = gpd.read_file(path)
    except (DataSourceError, DataLayerError) as error:
        raise InputError(f"{path}: cannot be read as a vector file ({str(error).splitlines()[0]})") from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"{path}: has no geometry; expected {what}")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty and not may_be_empty:
        raise InputError(f"{path}: holds no feature; expected {what}")
    if frame.crs is None:
        raise InputError(f"{path}: has no CRS; expected {what} in a known CRS")
    frame = frame.to_crs(crs)
    return frame[np.isfinite(frame.bounds).all(axis=1)]
