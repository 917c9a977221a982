"""What the environment of the process decides for the libraries, put in order before the first of them is imported."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

# Where another program keeps the data of its GDAL and PROJ, whose versions are others, and what it wants of them: they
# would read files in another way (half a pixel apart, without sidecar files) or print what nobody asked for.
_OF_OTHER_PROGRAMS = (
    "PROJ_LIB", "PROJ_DATA", "PROJ_AUX_DB", "PROJ_NETWORK", "PROJ_DEBUG",
    "GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_PYTHON_DRIVER_PATH", "OGR_DRIVER_PATH", "GDAL_CONFIG_FILE", "GDAL_SKIP",
    "OGR_SKIP", "GDAL_DISABLE_READDIR_ON_OPEN", "GDAL_PAM_ENABLED", "GDAL_GEOREF_SOURCES", "GTIFF_POINT_GEO_IGNORE",
    "OSR_DEFAULT_AXIS_MAPPING_STRATEGY", "OGR_CT_FORCE_TRADITIONAL_GIS_ORDER", "OGR_CT_OP_SELECTION", "SHAPE_ENCODING",
    "CPL_DEBUG", "CPL_TIMESTAMP",
)  # fmt: skip


def prepare_environment() -> None:
    """Let the libraries use the data that they bring, and find a place for compiled code; called at ``import coslide``.

    Variables by which another program (conda, QGIS, PostGIS) points its own GDAL and PROJ to its data are unset, where
    the libraries that coslide uses come as wheels with data of their own. Where neither the installation nor the
    user's cache can be written, numba keeps its code in a private temporary folder until the process ends. ONNX Runtime
    (1.32) reports each start to its maker unless it is told not to, so it is told. Processes that are started later
    inherit all of it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if _brings_data("rasterio"):
        for name in _OF_OTHER_PROGRAMS:
            os.environ.pop(name, None)
    if not _can_keep_compiled_code():
        with suppress(OSError):  # not even a temporary folder: numba says so once it is needed
            folder = tempfile.mkdtemp(prefix="coslide-")  # readable and writable by this user alone
            os.environ["NUMBA_CACHE_DIR"] = folder
            atexit.register(_remove, folder, os.getpid())


def _brings_data(library: str) -> bool:
    found = find_spec(library)
    return found is not None and any((Path(str(found.origin)).parent / "proj_data").glob("proj.db"))


def _can_keep_compiled_code() -> bool:
    """Tell whether numba can write into one of the places that it tries: as it was told, beside the code, the cache."""
    package = Path(__file__).parent
    if "NUMBA_CACHE_DIR" in os.environ and _can_write(Path(os.environ["NUMBA_CACHE_DIR"])):
        return True
    caches = [path / "__pycache__" for path in package.iterdir() if (path / "__init__.py").is_file()]
    if all(os.access(path if path.exists() else path.parent, os.W_OK | os.X_OK) for path in caches):
        return True
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111, it does not raise
    return cache.is_absolute() and _can_write(cache / "numba")  # without a home "~" stays as it is


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not by a copy of the process
        shutil.rmtree(folder, ignore_errors=True)
