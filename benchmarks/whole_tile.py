"""How long a whole Sentinel-2 tile takes to map, from cube to inventory, and in how much memory.

    python benchmarks/whole_tile.py [--pixels 10980] [--width 16] [--stride 96] [--folder DIR]

Makes a tile (benchmarks/made_up_tile.py) and its cube, trains EGCN for a few epochs on a small tile of its kind, and
maps the large one with it. Prints the time and the peak memory of the process until the map is whole and until the
inventory is, beside the peak of a process that runs the network alone on tiles in memory. The cubes are kept in the
folder (16 GB for a whole tile). Run it on an idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from made_up_tile import write_tile

SMALL = 1098
NETWORK = """
import sys, time, numpy as np
from coslide.mapping.model import load_model
from coslide.memory import keep_freed_memory, peak_memory_gb
keep_freed_memory()
model = load_model(sys.argv[1])
predict = model.predictors()[0]
tiles = np.random.default_rng(0).normal(size=(8, len(model.metadata.channels), 128, 128)).astype(np.float32)
for _ in range(3):
    predict(tiles)
started = time.perf_counter()
for _ in range(20):
    predict(tiles)
print(peak_memory_gb(), 20 * 8 * 128**2 / 1e6 / (time.perf_counter() - started))
"""
MAP = """
import sys, time
from coslide.pipeline import predict as m
from coslide.memory import keep_freed_memory, peak_memory_gb, restart_peak
keep_freed_memory()
started = time.perf_counter()
real, stages = m.write_inventory_products, []
def noted(*given, **named):
    stages.append((time.perf_counter() - started, peak_memory_gb()))
    restart_peak()
    return real(*given, **named)
m.write_inventory_products = noted
options = m.InferenceOptions(stride=int(sys.argv[4]))
m.predict_scene(sys.argv[1], sys.argv[2], sys.argv[3], options=options, min_area_m2=0)
print(*stages[0], time.perf_counter() - started, peak_memory_gb(since_restart=True))
"""


def main() -> None:
    """Print what was measured."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--pixels", type=int, default=10980)
    words.add_argument("--width", type=int, default=16)
    words.add_argument("--stride", type=int, default=96)
    words.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coslide-benchmark")
    given = words.parse_args()
    small, large = (_cube(given.folder, pixels) for pixels in (SMALL, given.pixels))
    trained = given.folder / f"model-{given.width}"
    if not (trained / "model").exists():
        options = [
            "--recipe",
            "modern",
            "--width",
            str(given.width),
            "--steps",
            "60",
            "--no-baselines",
            "--split",
            "blocks",
        ]
        _coslide("train", str(small), "--out", str(trained), *options)
    model, out = trained / "model", given.folder / "map"
    network_gb, network_rate = _python(NETWORK, str(model))
    print(f"network alone: {network_gb:.2f} GB, {network_rate:.3f} Mpx/s", flush=True)
    map_s, map_gb, all_s, inventory_gb = _python(MAP, str(model), str(large), str(out), str(given.stride))
    found = json.loads((out / "summary.json").read_text())["landslides"]
    mpx = given.pixels**2 / 1e6
    print(f"{mpx:.1f} Mpx, stride {given.stride}: map {map_s:.0f} s ({mpx / map_s:.3f} Mpx/s), peak {map_gb:.2f} GB")
    print(f"inventory of {found} landslides and all files: {all_s - map_s:.0f} s, peak {inventory_gb:.2f} GB")
    print(f"above the network alone: {(max(map_gb, inventory_gb) - network_gb) / 1.073741824:.2f} GiB")


def _cube(folder: Path, pixels: int) -> Path:
    index = folder / f"tile-{pixels}.zarr"
    if not index.exists():
        event = folder / f"tile-{pixels}" / "event.toml"
        _coslide("build", str(event if event.exists() else write_tile(event.parent, pixels)), "--out", str(index))
    return index


def _coslide(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "coslide.cli", *words], check=True)  # noqa: S603


def _python(code: str, *words: str) -> list[float]:
    run = subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return [float(word) for word in run.stdout.split()]


if __name__ == "__main__":
    main()
