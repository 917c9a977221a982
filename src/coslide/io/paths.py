"""Files before they are opened: whether reading them comes to an end, and which others belong to them."""

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coslide.errors import InputError

_SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix", ".sbn", ".sbx", ".idm", ".ind")
_MAPINFO = (".tab", ".dat", ".map", ".id", ".mif", ".mid")  # GDAL takes the place of any raster from a .tab too
_GML = (".gfs", ".xsd")
_RASTER = (".hdr", ".ige", ".rrd", ".aux", ".wld", ".clr", ".stx", ".met", ".imd", ".rpb", ".aux.xml", ".ovr", ".msk")
_SUFFIXES = {*_SHAPEFILE, *_MAPINFO, *_GML, *_RASTER}
SQLITE_HEAD = b"SQLite format 3\x00"
_SQLITE_LOGS = ("-wal", "-journal")  # a -shm only says where to look in the -wal
_BESIDE = {"pga.shp": ("mi.shp", "mmi.shp")}  # of a ShakeMap; they tell its files from those of HAZUS
_KERNEL = (Path("/proc"), Path("/sys"))  # their files look like others, but some never end
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_VRT_SOURCE = re.compile(rb"<Source(?:Filename|Dataset)([^>]*)>([^<]*)</")


def require_regular_file(*paths: Path) -> None:
    """Require of each path that reading it comes to an end; one that cannot be looked at is left to its reader.

    Parameters
    ----------
    *paths
        Files that are about to be opened. Links are followed.

    Raises
    ------
    InputError
        If one is a folder, FIFO, device or socket, a file of ``/proc`` or ``/sys``, or may not be read.

    Examples
    --------
    >>> require_regular_file(Path("/dev/zero"))
    Traceback (most recent call last):
    coslide.errors.InputError: /dev/zero: is a device; expected a file
    """
    for path in paths:
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            continue
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "")
        if not kind and any(path.resolve().is_relative_to(folder) for folder in _KERNEL):
            kind = "a file of the kernel"
        if kind:
            raise InputError(f"{path}: is {kind}; expected a file")
        if not os.access(path, os.R_OK):
            raise InputError(f"{path}: may not be read (permission denied); expected a file that you may read")


def file_exists(path: Path) -> bool:
    """Tell whether an earlier command left a file at `path`; False where there is nothing.

    Raises
    ------
    InputError
        If something else is there, a link to nothing too, or it cannot be looked at.

    Examples
    --------
    >>> file_exists(Path("/dev/null"))
    Traceback (most recent call last):
    coslide.errors.InputError: /dev/null: is a device; expected a file
    """
    require_regular_file(path)
    return _exists(path, "file")


def folder_exists(path: Path) -> bool:
    """Tell whether an earlier command left a folder at `path`; False where there is nothing.

    Raises
    ------
    InputError
        As `file_exists`.
    """
    there = _exists(path, "folder")
    if there and not path.is_dir():
        raise InputError(f"{path}: is no folder; expected one, or remove it")
    return there


def _exists(path: Path, kind: str) -> bool:
    try:
        there = path.exists()
        if path.is_symlink() and not there:
            raise InputError(f"{path}: is a link to nothing; expected a {kind}, or remove it")
    except OSError as error:
        raise InputError(f"{path}: cannot be looked at ({error.strerror}); expected a {kind}") from None
    return there


def require_regular_source(path: Path) -> None:
    """Require, before GDAL opens a source, that reading it and the files that belong to it comes to an end.

    Parameters
    ----------
    path
        A file, or a folder that is one source (FileGDB, an ESRI grid): then the files in it.

    Raises
    ------
    InputError
        As `require_regular_file`, by the first file that is none.
    """
    if path.is_dir():
        require_regular_file(*(inside for inside in _listed(path) if not inside.is_dir()))
    else:
        list(_named_files(path, set()))


def require_regular_folder(folder: Path) -> None:
    """Require of all files in a folder, and in those below it, that reading them comes to an end.

    Raises
    ------
    InputError
        As `require_regular_file`, by the first file that is none.
    """
    for inside, _, _ in os.walk(folder):
        with os.scandir(inside) as entries:
            require_regular_file(*(Path(one.path) for one in entries if not (one.is_file() or one.is_dir())))


def with_sidecar_files(path: Path) -> tuple[Path, ...]:
    """Find the files that decide what is read from `path`; it comes first, each comes once.

    They are those of the same name with a suffix that one of the formats uses, whatever its case (attributes and CRS of
    a Shapefile, data of a MapInfo table, what an editor has not yet merged into a GeoPackage, nodata and place of a
    raster); those that GDAL lists for a raster; and what a VRT reads, with what belongs to it.

    Parameters
    ----------
    path
        A source, as an event file names it; a folder stands for all that is in it.

    Raises
    ------
    InputError
        As `require_regular_file`, by the first file that is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("faults.shp", "faults.DBF", "other.dbf"):
    ...     (folder / name).touch()
    >>> [file.name for file in with_sidecar_files(folder / "faults.shp")]
    ['faults.shp', 'faults.DBF']
    """
    if path.is_dir():
        return (path,)
    named = list(_named_files(path, set()))
    return tuple(dict.fromkeys([*named, *(file for one in named for file in _files_of_raster(one))]))


def database_logs(path: Path) -> list[Path]:
    """List the files beside a SQLite database in which changes stand that are not merged; an empty one holds none.

    Raises
    ------
    InputError
        As `require_regular_file`.
    """
    logs = [log for ending in _SQLITE_LOGS if (log := path.with_name(path.name + ending)).exists()]
    require_regular_file(*logs)
    return [log for log in logs if log.stat().st_size]


def read_head(path: Path) -> bytes:
    """Read the first 1024 bytes of a file, by which GDAL tells formats; none of a folder or what does not exist."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(1024)


def _named_files(path: Path, seen: set[Path]) -> Iterator[Path]:
    """Find a file, those beside it and the sources of a VRT, by their names alone; each is checked."""
    if path in seen:
        return
    seen.add(path)
    require_regular_file(path)
    yield path
    for other in _beside(path):
        require_regular_file(other)
        yield other
    if b"<VRTDataset" in read_head(path):
        for options, name in _VRT_SOURCE.findall(path.read_bytes()):
            source = Path(os.fsdecode(name).strip())
            source = path.parent / source if re.search(rb"relativeToVRT\s*=\s*[\"']1", options) else source
            if source.is_file() or (source.exists() and not source.is_dir()):
                yield from _named_files(Path(os.path.normpath(source)), seen)


def _beside(path: Path) -> list[Path]:
    """List the files beside `path` that belong to it by their names, in the order of the names."""
    stem, name, suffix = path.stem.lower(), path.name.lower(), path.suffix.lower().lstrip(".")
    suffixes = _SUFFIXES | ({f".{suffix}w", f".{suffix[0]}{suffix[-1]}w"} if suffix else set())  # world files
    wanted = {base + ending for base in (stem, name) for ending in suffixes} | set(_BESIDE.get(name, ()))
    others = sorted(one for one in _listed(path.parent) if one.name.lower() in wanted and one.name != path.name)
    return [*database_logs(path), *(one for one in others if one.exists() and not one.is_dir())]


def _listed(folder: Path) -> list[Path]:
    """List a folder; what cannot be listed is left to whoever reads it."""
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _files_of_raster(path: Path) -> list[Path]:
    """Ask GDAL which files make up a raster; none where it is no raster, or a text that may name other places."""
    import rasterio
    from rasterio.errors import RasterioError

    if read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"{", SQLITE_HEAD)):
        return []
    with suppress(RasterioError), warnings.catch_warnings():  # whoever reads it reports what is wrong
        warnings.simplefilter("ignore")
        with rasterio.open(path) as dataset:
            return [Path(name) for name in dataset.files if Path(name).is_file()]
    return []
