"""How long an index cube takes to build, in how much memory, and how that compares with the bytes that must move.

    python benchmarks/cube.py [pieces] [2088] [6600] [10980] [--folder DIR]

`pieces` measures the terrain kernel, the distance to faults and kriging by themselves; a number builds the cube of a
made-up tile of so many pixels a side, from files on the disk to the Zarr store, in a process of its own, three times.
Everything but 10980 if nothing is named. The files are made first (benchmarks/made_up_tile.py) and kept in the folder.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import edt
import numpy as np
import rasterio
import zarr
from made_up_tile import CRS, LEFT, TOP, write_tile
from numba import njit, prange
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import LineString

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.indices.geology import fault_distance
from coslide.indices.kriging import fit_kriging, krige_coarse

TURNS = 3
TARGETS = {2088: "12 s", 6600: "90 s and 6 GiB", 10980: "12 GiB"}
PIXELS = 6600
REACH_M = 6000.0


@njit(parallel=True, cache=True)
def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for i in prange(source.shape[0]):
        target[i] = source[i]


def seconds(work: Callable[[], object]) -> float:
    """Return the median time of `work` over the turns [s]; one more goes before them."""
    work()
    times = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_bandwidth() -> float:
    """Return how fast memory is copied by all processors, read and written bytes together [B/s]."""
    source = np.ones((4000, 25_000), dtype=np.float32)
    target = np.zeros_like(source)
    return 2 * source.nbytes / seconds(lambda: _copy(source, target))


def pieces(bandwidth: float) -> None:
    """Print the time of each step that has a target of its own, at 6600 x 6600."""
    random = np.random.default_rng(0)
    metres = np.cumsum(random.normal(0, 1, (PIXELS, PIXELS)), axis=0).astype(np.float32)
    terrain_s = seconds(lambda: slope_aspect_curvature(metres, 10.0))
    _say("slope, aspect and curvature", terrain_s, 4 * metres.nbytes / bandwidth, f"asked: {1.3 * 0.45:.2f} s")

    left, bottom = LEFT, TOP - 10 * PIXELS
    grid = GeoBox.from_bbox((left, bottom, left + 10 * PIXELS, TOP), crs=CRS, resolution=10)
    ends = random.uniform((left, bottom), (left + 10 * PIXELS, TOP), (12, 2, 2))
    traces = [LineString(pair) for pair in ends]
    distance_s = seconds(lambda: fault_distance(traces, grid, reach_m=REACH_M))
    wide = grid.pad(int(REACH_M / 10) + 1)
    away = rasterize(
        traces, wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True, dtype=np.uint8
    )
    away = away.astype(bool)  # what edt is fastest with
    edt_s = seconds(lambda: edt.edt(away, anisotropy=(10, 10), parallel=0))
    floor_s = 5 * away.size / bandwidth
    _say(
        "distance to 12 faults",
        distance_s,
        floor_s,
        f"edt alone {edt_s:.2f} s, ratio {distance_s / edt_s:.2f}, asked: 1.30",
    )

    for pixels in (PIXELS, 10980):
        place = GeoBox.from_bbox((left, TOP - 10 * pixels, left + 10 * pixels, TOP), crs=CRS, resolution=10)
        x, y = random.uniform(left, left + 10 * pixels, 30), random.uniform(TOP - 10 * pixels, TOP, 30)
        rain = 60 + 20 * np.sin(x / 9000) + random.normal(0, 3, 30)
        krige_s = seconds(lambda: _krige_in_strips(place, x, y, rain))  # noqa: B023
        _say(f"kriging of 30 gauges, {pixels} x {pixels}", krige_s, 4 * pixels**2 / bandwidth, "asked: 2 s")


def _krige_in_strips(grid: GeoBox, x: np.ndarray, y: np.ndarray, rain: np.ndarray) -> None:
    from coslide.io.executor import available_processors

    field = krige_coarse(grid, fit_kriging(x, y, rain))
    windows = [(row, min(row + 1024, grid.shape.y)) for row in range(0, grid.shape.y, 1024)]
    with ThreadPoolExecutor(available_processors()) as threads:
        list(threads.map(lambda rows: field.at(grid[slice(*rows), :]).shape, windows))


def whole(pixels: int, folder: Path, bandwidth: float) -> None:
    """Print time and peak memory of building the cube of a tile, and what each part took in the median turn."""
    sources = folder / f"tile-{pixels}"
    event = sources / "event.toml"
    if not event.exists():
        event = write_tile(sources, pixels)
    turns = []
    for _ in range(TURNS):
        out = folder / "index.zarr"
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        command = [sys.executable, "-m", "coslide.cli", "build", str(event), "--out", str(out)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603
        turns.append((time.perf_counter() - start, lines))
    wall_s, lines = sorted(turns)[TURNS // 2]
    peak_gb = max(float(found) for found in re.findall(r"peak memory ([\d.]+) GB", lines))
    floor_s = _bytes_to_move(sources, out) / bandwidth
    channels = json.loads((out / ".zattrs").read_text())["indices"]
    print(f"{pixels} x {pixels} ({pixels**2 / 1e6:.1f} Mpx), {len(channels)} variables")
    _say("  whole build", wall_s, floor_s, f"peak {peak_gb / 1.073741824:.1f} GiB, asked: {TARGETS.get(pixels, '-')}")
    for part, found_s, found_gb in re.findall(r"^(\w+): .* in ([\d.]+) s, peak memory ([\d.]+) GB", lines, re.M):
        print(f"    {part:18s} {found_s:>6s} s {found_gb:>5s} GB")


def _bytes_to_move(sources: Path, out: Path) -> int:
    """Return the bytes of all rasters, once read, and of the cube, once written."""
    total = 0
    for path in sources.rglob("*.tif"):
        with rasterio.open(path) as file:
            total += file.width * file.height * np.dtype(file.dtypes[0]).itemsize
    return total + sum(array.nbytes for _, array in zarr.open_group(out, mode="r").arrays())


def _say(what: str, found_s: float, floor_s: float, note: str) -> None:
    print(f"{what:44s} {found_s:7.2f} s (floor {floor_s:.3f} s); {note}", flush=True)


def main() -> None:
    """Run what is named on the command line."""
    arguments = sys.argv[1:]
    folder = Path(tempfile.gettempdir()) / "coslide-benchmark"
    if "--folder" in arguments:
        place = arguments.index("--folder")
        folder = Path(arguments[place + 1])
        del arguments[place : place + 2]
    folder.mkdir(parents=True, exist_ok=True)
    bandwidth = copy_bandwidth()
    print(f"copy bandwidth {bandwidth / 1e9:.1f} GB/s")
    for name in arguments or ["pieces", "2088", "6600"]:
        if name == "pieces":
            pieces(bandwidth)
        else:
            whole(int(name), folder, bandwidth)


if __name__ == "__main__":
    main()
