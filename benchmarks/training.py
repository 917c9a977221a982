"""How much of the training loop is not the network: samples per second of the loop over those of a resident batch.

    python benchmarks/training.py [--network egcn] [--width 16] [--bands 30] [--rounds 3]

Each round trains a few epochs on tiles read from a file, as `coslide train` does (loader, Lightning, logs, checks),
then takes the same number of steps with the same network on one batch that stays in memory. Prints the medians of the
time of a step and their ratio. Run it on an idle machine.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from coslide import networks
from coslide.memory import keep_freed_memory
from coslide.samples.dataset import Draw, MappedArray, Raster, Tiles
from coslide.samples.split import Part
from coslide.samples.windows import Window, windows_in
from coslide.settings import TrainingSettings
from coslide.training import fit as fit_module
from coslide.training.module import Training

_SIDE = 800  # cells of the made-up raster: 64 tiles, 16 steps an epoch
_WARM = 4  # steps that are not counted


def main() -> None:
    """Return nothing; prints one line for each round and the ratio of the medians."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--network", default="egcn")
    words.add_argument("--width", type=int, default=16)
    words.add_argument("--bands", type=int, default=30)
    words.add_argument("--epochs", type=int, default=2)
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    keep_freed_memory()
    settings = TrainingSettings(network=given.network, width=given.width, epochs=given.epochs)
    loops, residents = [], []
    with tempfile.TemporaryDirectory() as folder:
        tiles = _tiles(Path(folder), given.bands)
        for number in range(given.rounds):
            loops.append(_loop(tiles, settings, Path(folder) / str(number), given.bands))
            residents.append(_resident(tiles, settings, given.bands))
            rates = [settings.batch / seconds for seconds in (loops[-1], residents[-1])]
            print(f"round {number}: loop {rates[0]:.2f}, resident {rates[1]:.2f} samples/s", flush=True)
    loop, resident = statistics.median(loops), statistics.median(residents)
    print(f"{given.network}, width {given.width}: loop / resident = {resident / loop:.3f}")


def _tiles(folder: Path, bands: int) -> Tiles:
    random = np.random.default_rng(0)
    np.save(folder / "inputs.npy", random.normal(size=(bands, _SIDE, _SIDE)).astype(np.float32))
    labels = (random.random((_SIDE, _SIDE)) < 0.03).astype(np.uint8)
    raster = Raster(MappedArray(folder / "inputs.npy"), labels, np.full(labels.shape, Part.TRAIN, dtype=np.uint8))
    return Tiles([raster], [windows_in(Window(0, 0, _SIDE, _SIDE), tile=128, stride=96)])


def _loop(tiles: Tiles, settings: TrainingSettings, folder: Path, bands: int) -> float:
    """Return the median time [s] from one step to the next inside an epoch."""
    starts: list[tuple[int, float]] = []

    class Timed(Training):
        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
            starts.append((batch_idx, time.perf_counter()))
            return super().training_step(batch, batch_idx)

    fit_module.Training = Timed  # type: ignore[misc]
    fit_module.fit(tiles, settings, folder, bands=[f"band{i}" for i in range(bands)])
    fit_module.Training = Training  # type: ignore[misc]
    pairs = zip(starts[_WARM:], starts[_WARM + 1 :], strict=False)
    return statistics.median(after - before for (i, before), (j, after) in pairs if j == i + 1)


def _resident(tiles: Tiles, settings: TrainingSettings, bands: int) -> float:
    """Return the median time [s] of a step on one batch that stays in memory."""
    torch.manual_seed(0)
    network = networks.create(settings.network, bands, width=settings.width or 16).train()
    training = Training(network, settings, total_steps=10_000)
    found = training.configure_optimizers()
    optimiser = found["optimizer"]
    inputs, labels = (torch.stack(part) for part in zip(*(tiles[Draw(i)] for i in range(settings.batch)), strict=True))
    times = []
    for _ in range(_WARM + settings.epochs * len(tiles) // settings.batch):
        started = time.perf_counter()
        optimiser.zero_grad()
        training._loss(network(inputs), labels).backward()  # noqa: SLF001 - the loss that is trained with
        optimiser.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[_WARM:])


if __name__ == "__main__":
    main()
