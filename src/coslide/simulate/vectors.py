"""Vector files that are the same to the byte whenever they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import pyogrio

_WRITTEN = "2022-05-16T00:00:00.000Z"  # what GeoPackage notes as the time of the last change


def write_gpkg(table: gpd.GeoDataFrame, path: Path) -> Path:
    """Return the GeoPackage that holds `table`, with one layer named as the file; the same table, the same bytes.

    A file that is there is replaced; GDAL alone would leave traces of it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.unlink(missing_ok=True)
    with _fixed_date():
        table.to_file(path, driver="GPKG", layer=path.stem, index=False)
    return path


@contextmanager
def _fixed_date() -> Iterator[None]:
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
