"""Contours of peak ground acceleration (PGA)."""

import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
from odc.geo.geobox import GeoBox

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.io.vector import VectorFile, read_vector
from coslide.sources.shaking import parse_unit, pga_in_g


def read_contours(shaking: ShakingConfig, to: str | GeoBox) -> gpd.GeoDataFrame:
    """Read contours of peak ground acceleration, with the column ``pga_g`` in g: all lines or all polygons.

    Parameters
    ----------
    shaking
        With `contours`, the field that holds their values, and its unit.
    to
        The CRS to return, or a grid in it.

    Raises
    ------
    InputError
        If the file cannot be read, has no such field, states another unit, mixes lines and polygons or holds something
        else, has values that are not positive or beyond 5 g, or may be a HAZUS shapefile.

    Notes
    -----
    The shapefiles of ``hazus.zip`` are made for loss estimates: their shaking is scaled down by 15 % [1]_. They bear
    the same names and fields as those of ``shape.zip``, but without the one of intensity. So ``pga.shp`` is taken only
    with ``mi.shp`` (or ``mmi.shp``) beside it.

    References
    ----------
    .. [1] Worden, Wald (2016), ShakeMap Manual 3.5, "GIS files", doi:10.5066/F7D21VPQ.
    """
    path, field, unit = shaking.path, shaking.contour_field, str(shaking.unit)
    source = VectorFile.of(path, shaking, "shaking.")
    frame = read_vector(source, to, what="contours of PGA").explode(ignore_index=True)
    if "PARAMVALUE" in frame.columns:
        _refuse_hazus(path)
    if field not in frame.columns:
        raise InputError(f"{path}: has no field {field!r}; found {', '.join(set(frame.columns) - {'geometry'})}")
    stated = {str(text) for text in frame["units"].dropna()} if "units" in frame.columns else set()
    if any(parse_unit(text) != unit for text in stated):
        raise InputError(f"{path}: found units {', '.join(sorted(stated))}, expected {unit!r} as in shaking.unit")
    try:
        pga_g = pga_in_g(str(path), frame[field].astype("float64"), unit, positive=True)
    except (ValueError, TypeError):
        raise InputError(f"{path}: field {field!r} holds something that is no number") from None
    if np.isnan(pga_g).any():
        raise InputError(f"{path}: field {field!r} is empty for some contours, expected numbers")
    kinds = set(frame.geom_type)
    if kinds not in ({"LineString"}, {"Polygon"}):
        raise InputError(f"{path}: found {' and '.join(sorted(kinds))}, expected either lines or polygons")
    return gpd.GeoDataFrame({"pga_g": pga_g}, geometry=frame.geometry, crs=frame.crs)


def _refuse_hazus(path: Path) -> None:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            beside = {Path(name).stem.lower() for name in archive.namelist()}
    else:
        beside = {file.stem.lower() for file in path.parent.glob("*.shp")}
    named = any(name.lower().startswith("hazus") for name in (path.stem, path.parent.name))
    if named or (path.stem.lower() == "pga" and not {"mi", "mmi"} & beside):
        expected = "expected one with mi.shp beside it as in shape.zip, or raster.zip or grid.xml"
        raise InputError(f"{path}: may be one of the HAZUS shapefiles, which are scaled down by 15 %; {expected}")
