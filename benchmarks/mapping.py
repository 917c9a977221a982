"""How fast a scene is mapped: blending, reading and writing with a network that costs nothing, and a real one.

    python benchmarks/mapping.py [--side 4096] [--bands 14] [--network-side 1024] [--landslides 100000]

Prints megapixels per second of mapping a made-up cube in a Zarr store with a network that hands on a band (tile 128,
stride 96), beside reading the same store and writing the same rows in strips; of EGCN (width 16) on a scene, over what
the network does on batches in memory; the pixels computed for each one delivered; and how long 100 000 landslides take
to be made into polygons with all attributes. Run it on an idle machine.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide import networks
from coslide.io.atomic import ResumableRaster
from coslide.io.executor import available_processors, prefetch
from coslide.mapping.attributes import LandslideContext
from coslide.mapping.inventory import vectorize_landslides
from coslide.mapping.sliding_window import TilingOptions, predict_rows
from coslide.memory import keep_freed_memory, peak_memory_gb, restart_peak
from coslide.networks.cgblock import fuse
from coslide.windows import window_starts


def main() -> None:
    """Print one line for each measurement."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--side", type=int, default=4096)
    words.add_argument("--bands", type=int, default=14)
    words.add_argument("--network-side", type=int, default=1024)
    words.add_argument("--landslides", type=int, default=100_000)
    given = words.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        _free_network(Path(folder), given.side, given.bands)
    _real_network(given.network_side, 30)
    _inventory(given.landslides)


def _free_network(folder: Path, side: int, bands: int) -> None:
    store = zarr.open_array(
        folder / "inputs.zarr", mode="w", shape=(bands, side, side), chunks=(1, 512, side), dtype="f4"
    )
    random = np.random.default_rng(0)
    for band in range(bands):
        store[band] = random.normal(size=(side, side)).astype(np.float32)

    def read(start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return np.asarray(store[:, start:stop]), np.ones((stop - start, side), dtype=bool)

    def mapped() -> None:
        sizes = TilingOptions(128, 96, 8)
        rows = predict_rows(read, lambda windows: windows[:, :1], (side, side), tiling=sizes, block_rows=512)
        target = ResumableRaster(folder / "map", (side, side), key=str(time.perf_counter()))
        with prefetch(rows) as made:
            for start, block in made:
                target.write(start, block)

    def copied() -> None:
        target = ResumableRaster(folder / "copy", (side, side), key=str(time.perf_counter()))
        for start in range(0, side, 512):
            target.write(start, read(start, min(start + 512, side))[0][:1])

    mapped()  # compiled once
    restart_peak()
    map_s, copy_s = _in_turns(mapped, copied)
    print(
        f"free network, {side} x {side} x {bands}: {side**2 / 1e6 / map_s:.1f} Mpx/s, {map_s / copy_s:.2f} x the time "
        f"of reading and writing in strips, peak {peak_memory_gb(since_restart=True):.2f} GB",
        flush=True,
    )


def _real_network(side: int, bands: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # of each thread that gives tiles to the network, as in a map
    threads = available_processors()
    network = fuse(networks.create("egcn", bands, width=16).eval())
    scene = np.random.default_rng(0).normal(size=(bands, side, side)).astype(np.float32)

    @torch.inference_mode()
    def predict(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        torch.set_num_threads(1)
        return network(torch.from_numpy(tiles)).softmax(dim=1)[:, 1:].numpy()

    for tile, stride in ((128, 64), (128, 96), (256, 192), (512, 384)):
        if tile > side:
            continue
        batch = max(1, 8 * 128**2 // tile**2)
        tiles = np.ascontiguousarray(scene[np.newaxis, :, :tile, :tile].repeat(batch, axis=0))
        count = len(window_starts(side, tile, stride)) ** 2
        tiling = TilingOptions(tile, stride, batch, threads)

        def alone(tiles: NDArray[np.float32] = tiles, batches: int = -(-count // batch)) -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(predict, [tiles] * batches))

        def read(start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            return scene[:, start:stop], np.ones((stop - start, side), dtype=bool)

        def mapped(tiling: TilingOptions = tiling) -> None:
            list(predict_rows(read, predict, (side, side), tiling=tiling))

        resident_s, map_s = _in_turns(alone, mapped)
        resident_s *= count / batch / -(-count // batch)
        print(
            f"egcn, width 16, window {tile}, stride {stride}: {side**2 / 1e6 / map_s:.3f} Mpx/s, "
            f"{resident_s / map_s:.2f} of the network alone, {count * tile**2 / side**2:.2f} pixels computed "
            "for each one delivered",
            flush=True,
        )


def _in_turns(*works: Callable[[], object]) -> list[float]:
    """Return the median time of each [s]; they take turns, for the machine is not always as fast."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(3):
        for found, work in zip(times, works, strict=True):
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
    return [statistics.median(found) for found in times]


def _inventory(landslides: int) -> None:
    side = int(np.sqrt(landslides) * 33)
    random = np.random.default_rng(0)
    probability = np.full((side, side), 0.1, dtype=np.float32)
    for number in range(landslides):
        row, col = 33 * (number // int(np.sqrt(landslides))), 33 * (number % int(np.sqrt(landslides)))
        height, width = random.integers(3, 25, 2)
        if row + 32 <= side:
            probability[row : row + height, col : col + width] = 0.9
    bands = {name: random.random((side, side)).astype(np.float32) for name in ("elevation", "slope", "pga")}
    context = LandslideContext(lambda place, name: bands[name].ravel()[place] if name in bands else None)
    grid = GeoBox((side, side), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    restart_peak()
    started = time.perf_counter()
    frame = vectorize_landslides(probability, grid, context=context)
    seconds = time.perf_counter() - started
    peak_gb = peak_memory_gb(since_restart=True)
    print(f"{len(frame)} landslides on {side} x {side} pixels: {seconds:.1f} s, peak {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
