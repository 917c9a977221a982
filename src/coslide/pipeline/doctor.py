"""``coslide doctor``: what is installed, whether it works, and what to do where it does not."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import coslide
from coslide.errors import first_line, one_line
from coslide.progress import report_progress

State = Literal["ok", "look", "broken"]
_REINSTALL = "install again: pip install -c constraints.txt torch, then pip install -c constraints.txt -e ."
# torchvision has no build for the CPU build of torch, and breaks lightning; the others bring it.
_TRAPS = ("torchvision", "timm", "segmentation_models_pytorch", "torchgeo")
_DRIVERS = {"GTiff": "GeoTIFF", "COG": "maps", "JP2OpenJPEG": "Sentinel-2 products", "GPKG": "inventories"}
_PLACE_DEG, _PLACE_M = (141.0, 42.7), (500_000.0, 4_727_501.1825)  # on the middle meridian of UTM zone 54 north
_CGROUP = Path("/sys/fs/cgroup")
_ENOUGH_MEMORY_GB, _LEAST_MEMORY_GB = 4.0, 1.5
_ENOUGH_DISK_GB, _LEAST_DISK_GB = 10.0, 1.0


class Check(NamedTuple):
    """What was found of one part of an installation.

    Attributes
    ----------
    name
        The part.
    state
        ``"ok"``; ``"look"``: it works, and could be better; ``"broken"``.
    found
        What was found.
    advice
        What to do; empty where there is nothing.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def check_installation() -> list[Check]:
    """Check all parts of an installation; whatever is broken, the others are checked."""
    checks = {
        "coslide": _versions, "libraries": _libraries, "torchvision": _traps, "torch": _torch, "GDAL": _gdal,
        "PROJ": _proj, "processors": _processors, "bfloat16": _bfloat16, "GPU": _gpu, "memory": _memory,
        "compiled code": _compiled_code, "disk": _disk, "models": _models,
    }  # fmt: skip
    found = []
    for number, (name, check) in enumerate(checks.items()):
        report_progress("checking", number, len(checks))
        found.append(_carried_out(name, check))
    report_progress("checking", len(checks), len(checks))
    return found


def _carried_out(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - what is broken may fail in any way
        return Check(name, "broken", one_line(f"{type(error).__name__}: {first_line(error)}"), _REINSTALL)


def _versions() -> Check:
    found = f"{coslide.__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    fits = (3, 11) <= sys.version_info < (3, 14)
    return Check("coslide", "ok" if fits else "broken", found, "" if fits else "use Python 3.11 to 3.13")


def _libraries() -> Check:
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in importlib.metadata.requires("coslide") or ()]
    missing, old, there = [], [], 0
    for one in (one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})):
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(one.name)
            continue
        there += 1
        if not one.specifier.contains(version, prereleases=True):
            old.append(f"{one.name} {version} (needs {one.specifier})")
    if missing or old:
        found = "; ".join(filter(None, [f"missing {', '.join(missing)}" if missing else "", ", ".join(old)]))
        return Check("libraries", "broken", found, _REINSTALL)
    onnx = "" if find_spec("onnxruntime") else '; onnxruntime is not (pip install "coslide[onnx]" for coslide export)'
    return Check("libraries", "ok", f"all {there} are there{onnx}")


def _traps() -> Check:
    there = [name for name in _TRAPS if find_spec(name) is not None]
    if there:
        names = " ".join(name.replace("_", "-") for name in there)
        return Check("torchvision", "broken", f"{names} is there, which breaks lightning", f"pip uninstall {names}")
    return Check("torchvision", "ok", "is not there, which is right: it would break lightning")


def _torch() -> Check:
    import lightning
    import torch

    convolved = torch.nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3))
    if not bool((convolved == 9).all()):
        return Check("torch", "broken", f"{torch.__version__} computes a convolution wrongly", _REINSTALL)
    build = "CPU build" if torch.version.cuda is None else f"build for CUDA {torch.version.cuda}"
    return Check("torch", "ok", f"{torch.__version__}, {build}; lightning {lightning.__version__}")


def _gdal() -> Check:
    import pyogrio
    import rasterio

    with rasterio.Env() as env:
        there = {*env.drivers(), *pyogrio.list_drivers()}
    missing = [f"{name} ({use})" for name, use in _DRIVERS.items() if name not in there]
    vectors = ".".join(map(str, pyogrio.__gdal_version__))
    found = (
        f"{rasterio.__gdal_version__} in rasterio {rasterio.__version__}, {vectors} in pyogrio {pyogrio.__version__}"
    )
    if missing:
        advice = "use the wheels of PyPI: pip install --force-reinstall rasterio pyogrio"
        return Check("GDAL", "broken", f"{found}; no driver {', '.join(missing)}", advice)
    return Check("GDAL", "ok", found)


def _proj() -> Check:
    """Transform a known place by pyproj and by GDAL, which bring data of their own."""
    import pyproj
    from rasterio.warp import transform

    by_pyproj = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32654", always_xy=True).transform(*_PLACE_DEG)
    by_gdal = [axis[0] for axis in transform("EPSG:4326", "EPSG:32654", *([value] for value in _PLACE_DEG))]
    off_m = max(abs(a - b) for place in (by_pyproj, by_gdal) for a, b in zip(place, _PLACE_M, strict=True))
    found = f"{pyproj.proj_version_str} in pyproj {pyproj.__version__}, data in {pyproj.datadir.get_data_dir()}"
    if not off_m < 0.01:
        advice = "unset PROJ_DATA and PROJ_LIB, then pip install --force-reinstall pyproj rasterio"
        return Check("PROJ", "broken", f"{found}; a known place comes out {off_m:g} m off", advice)
    return Check("PROJ", "ok", f"{found}; a known place is right to {off_m:.0e} m")


def _processors() -> Check:
    from coslide.io.executor import available_processors

    usable, asked, quota = available_processors(), os.environ.get("OMP_NUM_THREADS"), _cpu_quota()
    found = f"{usable} of {os.cpu_count()} may be used"
    found += f", container limit {quota:g}" if quota is not None else ""
    found += f", OMP_NUM_THREADS={asked}" if asked else ""
    best = max(1, min(usable, int(quota or usable)))
    if quota is not None and quota < usable and asked != str(best):
        return Check("processors", "look", found, f"export OMP_NUM_THREADS={best}, or threads wait for each other")
    if asked and asked.isdigit() and int(asked) != best:
        return Check("processors", "look", found, f"unset OMP_NUM_THREADS, unless {asked} is what you want")
    return Check("processors", "ok", found)


def _cpu_quota() -> float | None:
    """Read how many processors a container may use; None where nothing limits it."""
    with suppress(OSError, ValueError, IndexError):
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((_CGROUP / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((_CGROUP / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return None if quota_us <= 0 else quota_us / period_us
    return None


def _bfloat16() -> Check:
    """Time a small network in both precisions, as mapping and training do before they choose one."""
    from coslide import networks
    from coslide.networks.precision import try_precisions

    chosen, times = try_precisions(networks.create("unet", bands=4, width=8), 4, 64, gradients=False)
    how = "is used where a trial shows that it is faster" if chosen == "bf16" else "is not faster here, so not used"
    return Check("bfloat16", "ok", f"{how} (a small network took {times})")


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        return Check("GPU", "ok", f"{about.name}, {about.total_memory / 1e9:.0f} GB")
    if not Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi") is None:
        return Check("GPU", "ok", "none, and none is needed")
    if torch.version.cuda is None:
        return Check(
            "GPU", "look", "one of NVIDIA, and torch is a CPU build", "install a CUDA build of torch to use it"
        )
    return Check("GPU", "look", "one of NVIDIA, which torch cannot use", "update its driver (nvidia-smi shows it)")


def _memory() -> Check:
    total_gb, free_gb, limit_gb = _memory_gb()
    limit = f", container limit {limit_gb:.1f} GB" if limit_gb is not None else ""
    found = f"{free_gb:.1f} of {total_gb:.1f} GB free{limit}"
    if free_gb < _LEAST_MEMORY_GB:
        return Check("memory", "broken", found, f"free some: a run takes about {_LEAST_MEMORY_GB:g} GB at least")
    if free_gb < _ENOUGH_MEMORY_GB:
        return Check("memory", "look", found, "enough for small events; close other programs for large ones")
    return Check("memory", "ok", found)


def _memory_gb() -> tuple[float, float, float | None]:
    """Read the memory [GB] that there is, that is free within the limit of a container, and that limit."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    for limit_file, used_file in (
        ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):  # fmt: skip
        with suppress(OSError, ValueError):  # "max": no limit
            limit = int((_CGROUP / limit_file).read_text(encoding="ascii"))
            used = int((_CGROUP / used_file).read_text(encoding="ascii"))
            if limit < total:
                return total / 1e9, min(free, limit - used) / 1e9, limit / 1e9
    return total / 1e9, free / 1e9, None


def _compiled_code() -> Check:
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if folder.name.startswith("coslide-") and folder.parent == Path(tempfile.gettempdir()):
        advice = "set NUMBA_CACHE_DIR to a folder that you can write"
        return Check("compiled code", "look", "is compiled anew each time, as no folder for it can be written", advice)
    place = folder if "NUMBA_CACHE_DIR" in os.environ else "beside the code or in the cache of the user"
    return Check("compiled code", "ok", f"is kept {'in ' if isinstance(place, Path) else ''}{place}")


def _disk() -> Check:
    free_gb = {str(place): shutil.disk_usage(place).free / 1e9 for place in (Path.cwd(), Path(tempfile.gettempdir()))}
    least = min(free_gb.values())
    found = ", ".join(f"{free:.1f} GB free in {place}" for place, free in free_gb.items())
    if least < _LEAST_DISK_GB:
        return Check("disk", "broken", found, "free some space, or run in another folder (TMPDIR for temporary files)")
    if least < _ENOUGH_DISK_GB:
        return Check("disk", "look", found, "a cube takes up to a few GB, and a study much more")
    return Check("disk", "ok", found)


def _models() -> Check:
    from coslide.mapping.model import load_model
    from coslide.pipeline.shipped import shipped_models

    models = shipped_models()
    for one in models:
        load_model(one.folder)  # whole, and fit for their networks
    names = ", ".join(one.name for one in models)
    return Check(
        "models", "ok" if models else "broken", names or "none came with coslide", "" if models else _REINSTALL
    )
