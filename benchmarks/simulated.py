"""How long a simulated earthquake takes to make, and what finds its landslides: networks, or methods of single pixels.

    python benchmarks/simulated.py time 12 45
    python benchmarks/simulated.py scores [--difficulty paper] [--size-km 12] [--steps 960] [--seeds 0 1 2]

`time` writes one event of each size in its own process and prints seconds and peak memory. `scores` builds the cube of
one event, trains EGCN and U-Net (width 16, the `modern` recipe) on one part of its blocks, a random forest and a
threshold on spectral change on the same blocks, and scores all of them on the blocks held out. Run it on an idle
machine.
"""

import argparse
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from coslide.config.event import read_event
from coslide.evaluation.scores import Scores
from coslide.memory import peak_memory_gb
from coslide.pipeline.build import build_cube
from coslide.pipeline.train import cube_settings, train
from coslide.simulate.recipe import Recipe
from coslide.simulate.write import simulate_event

_SCORES = ("f1", "precision", "recall", "iou_landslide")


def main() -> None:
    """Print the table that was asked for."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = words.add_subparsers(dest="mode", required=True)
    times = modes.add_parser("time")
    times.add_argument("sizes_km", type=float, nargs="+")
    times.add_argument("--out", type=Path, default=Path("runs/benchmark-simulated"))
    scores = modes.add_parser("scores")
    scores.add_argument("--out", type=Path, default=Path("runs/benchmark-simulated"))
    scores.add_argument("--difficulty", default="paper")
    scores.add_argument("--size-km", type=float, default=12.0)
    scores.add_argument("--steps", type=int, default=None)
    scores.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = words.parse_args()
    if given.mode == "time":
        _time(given.sizes_km, given.out)
    else:
        _score(given)


def _time(sizes_km: list[float], out: Path) -> None:
    print("size_km  seconds  peak_GB")
    for size_km in sizes_km:
        _in_own_process(_time_one, size_km, out)


def _time_one(size_km: float, out: Path) -> None:
    folder = out / f"time-{size_km:g}"
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    simulate_event(folder, Recipe(size_km=size_km))
    print(f"{size_km:<8g} {time.perf_counter() - started:<8.1f} {peak_memory_gb():.2f}", flush=True)


def _score(given: argparse.Namespace) -> None:
    print(f"{given.size_km:g} km, difficulty {given.difficulty}: scores of landslide pixels on held-out blocks")
    print("seed  method         F1     precision  recall  IoU    minutes", flush=True)
    table: dict[str, list[float]] = {}
    for seed in given.seeds:
        recipe = Recipe(size_km=given.size_km, difficulty=given.difficulty, seed=seed)
        folder = given.out / f"{given.difficulty}-{given.size_km:g}-{seed}"
        index = build_cube(read_event(simulate_event(folder / "event", recipe, keep=True)), folder / "index.zarr")
        for network in ("egcn", "unet"):
            started = time.perf_counter()
            metrics = _network(network, index, given.steps)
            minutes = (time.perf_counter() - started) / 60
            rows = {network: metrics.pixels, **metrics.baselines}
            for method, pixels in rows.items():
                _print_row(str(seed), method, [getattr(pixels, name) for name in _SCORES], minutes)
                table.setdefault(method, []).append(pixels.f1)
    for method, found in table.items():
        print(f"median F1 of {method}: {statistics.median(found):.3f}")


def _network(name: str, index: Path, steps: int | None) -> Scores:
    """Score a network, and, with the first one, those of the baselines."""
    settings = cube_settings(index).changed({"optimiser.steps": steps}, network=name)
    out = index.parent / name
    shutil.rmtree(out, ignore_errors=True)
    return train(index, out, settings, compare=name == "egcn")


def _print_row(seed: str, method: str, scores: list[float], minutes: float) -> None:
    f1, precision, recall, iou = scores
    print(f"{seed:<5} {method:<14} {f1:.3f}  {precision:.3f}      {recall:.3f}   {iou:.3f}  {minutes:.1f}", flush=True)


def _in_own_process(work: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
