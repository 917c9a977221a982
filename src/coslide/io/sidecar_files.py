"""The files that a source consists of: the one that is named, and those that are read with it."""

from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

_SAME_STEM = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".hdr", ".tfw", ".jgw", ".j2w", ".wld", ".blw")
_APPENDED = (".aux.xml", ".msk")
_BESIDE = {"pga.shp": ("mi.shp", "mmi.shp")}  # of a ShakeMap; they tell its files from those of HAZUS


def with_sidecar_files(path: Path) -> tuple[Path, ...]:
    """Find the files beside `path` that decide what is read from it; `path` comes first, each comes once.

    Attributes and CRS of a Shapefile lie in files of their own, the header of a ``.flt`` too; any raster may have its
    nodata value in an ``.aux.xml``; a VRT reads other rasters.

    Parameters
    ----------
    path
        A source, as an event file names it.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("faults.shp", "faults.dbf", "other.dbf"):
    ...     (folder / name).touch()
    >>> [file.name for file in with_sidecar_files(folder / "faults.shp")]
    ['faults.shp', 'faults.dbf']
    """
    found = [path]
    names = [path.with_suffix(suffix) for suffix in _SAME_STEM]
    names += [path.with_name(path.name + suffix) for suffix in _APPENDED]
    names += [path.with_name(name) for name in _BESIDE.get(path.name.lower(), ())]
    found += [name for name in names if name.is_file()]
    if path.suffix.lower() == ".vrt":
        found += [file for part in _parts_of(path) for file in with_sidecar_files(part)]
    return tuple(dict.fromkeys(found))


def _parts_of(vrt: Path) -> list[Path]:
    try:
        with rasterio.open(vrt) as dataset:
            return [Path(name) for name in dataset.files if Path(name) != vrt and Path(name).is_file()]
    except RasterioError:
        return []  # whoever reads it says so
