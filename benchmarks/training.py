"""How training scales with threads, alone and beside other programs, and what the loop costs beside the network.

    python benchmarks/training.py [--network egcn] [--width 16] [--bands 30] [--rounds 5] [--precision 32]

Prints the median time of a step with one thread and with as many as there are processors, taking turns, first on the
machine as it is, then with one busy process for each processor; and the step of the whole training loop (tiles from a
file, Lightning, logs, checks) against that of the bare network on one batch in memory. Run it on an idle machine.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

from coslide import networks
from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.io.executor import available_processors
from coslide.memory import keep_freed_memory
from coslide.samples.dataset import MappedArray, Raster, Tiles
from coslide.samples.split import Subset
from coslide.training import fit as fit_module
from coslide.training.loss import ClassBalancedFocalLoss
from coslide.training.module import Training, parts_of, summed_loss
from coslide.windows import Window, windows_in

_SIDE = 800  # pixels of the made-up raster: 64 tiles, 16 steps an epoch
_WARM = 4  # steps that are not counted


def main() -> None:
    """Print the tables."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--network", default="egcn")
    words.add_argument("--width", type=int, default=16)
    words.add_argument("--bands", type=int, default=30)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--precision", default="32", choices=["32", "bf16"])
    given = words.parse_args()
    keep_freed_memory()
    step = _Step(given)
    processors = available_processors()
    print(f"{given.network}, width {given.width}, batch 4, {processors} processors, {given.precision}")
    _compare("idle", step, processors, given.rounds)
    stop = multiprocessing.get_context("spawn").Event()
    busy = [multiprocessing.get_context("spawn").Process(target=_spin, args=(stop,)) for _ in range(processors)]
    for process in busy:
        process.start()
    time.sleep(3)
    _compare("busy", step, processors, given.rounds)
    stop.set()
    for process in busy:
        process.join()
    with tempfile.TemporaryDirectory() as folder:
        loop_s = _loop(_tiles(Path(folder), given.bands), given, Path(folder))
    bare_s = statistics.median(step(processors) for _ in range(4 * given.rounds))
    print(f"loop {loop_s:.3f} s a step, network alone {bare_s:.3f} s: {bare_s / loop_s:.3f}")


class _Step:
    """A training step on one batch in memory, with a number of threads."""

    def __init__(self, given: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.network = networks.create(given.network, given.bands, width=given.width).train()
        self.inputs = torch.randn(4, given.bands, 128, 128)
        self.labels = (torch.rand(4, 128, 128) < 1 / 29).long()
        self.loss, self.precision = ClassBalancedFocalLoss(), given.precision
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-4)

    def __call__(self, threads: int) -> float:
        """Return how long it takes [s]."""
        started = time.perf_counter()
        weighing = self.loss.weigh(self.labels)

        def of(part: slice) -> torch.Tensor:
            own = weighing._replace(weights=weighing.weights[part])
            found: torch.Tensor = self.loss(self.network(self.inputs[part]), self.labels[part], own)
            return found

        with ThreadPoolExecutor(threads) as pool:
            parts = [partial(of, part) for part in parts_of(self.network, 4)]
            self.optimiser.zero_grad()
            summed_loss(self.network, parts, pool, precision=self.precision).backward()
        self.optimiser.step()
        return time.perf_counter() - started


def _compare(name: str, step: _Step, threads: int, rounds: int) -> None:
    step(1), step(threads)
    pairs = [(step(1), step(threads)) for _ in range(rounds)]
    one_s, several_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratios = statistics.quantiles([one / several for one, several in pairs], n=4)
    spread = f"{ratios[0]:.2f} to {ratios[2]:.2f}"
    times = f"one thread {one_s:.3f} s, {threads} threads {several_s:.3f} s"
    print(f"{name}: {times}: {ratios[1]:.2f} times as fast ({spread})")


def _spin(stop: "multiprocessing.synchronize.Event") -> None:  # type: ignore[name-defined]
    while not stop.is_set():
        sum(range(10_000))


def _tiles(folder: Path, bands: int) -> Tiles:
    random = np.random.default_rng(0)
    np.save(folder / "inputs.npy", random.normal(size=(bands, _SIDE, _SIDE)).astype(np.float32))
    labels = (random.random((_SIDE, _SIDE)) < 0.03).astype(np.uint8)
    raster = Raster(MappedArray(folder / "inputs.npy"), labels, np.full(labels.shape, Subset.TRAIN, dtype=np.uint8))
    return Tiles([raster], [windows_in(Window(0, 0, _SIDE, _SIDE), tile=128, stride=96)])


def _loop(tiles: Tiles, given: argparse.Namespace, folder: Path) -> float:
    """Measure the median time [s] from one step to the next inside an epoch."""
    starts: list[tuple[int, float]] = []

    class Timed(Training):
        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
            starts.append((batch_idx, time.perf_counter()))
            return super().training_step(batch, batch_idx)

    settings = TrainingSettings(
        network=given.network, width=given.width, optimiser={"epochs": 2}, runtime={"precision": given.precision}
    )
    data = fit_module.TrainingData(tiles, [Band(f"band{i}") for i in range(given.bands)])
    fit_module.Training = Timed  # type: ignore[misc]
    fit_module.fit(data, settings, folder / "run")
    fit_module.Training = Training  # type: ignore[misc]
    pairs = zip(starts[_WARM:], starts[_WARM + 1 :], strict=False)
    return statistics.median(after - before for (i, before), (j, after) in pairs if j == i + 1)


if __name__ == "__main__":
    main()
