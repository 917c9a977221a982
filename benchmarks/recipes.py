"""What each thing that a recipe may add is worth by itself: one training for each variant, cube and seed.

    python benchmarks/recipes.py CUBE.zarr [CUBE.zarr ...] [--seeds 10 11] [--epochs 40] [--variants cpu flips ...]

Prints F1, precision and recall at the threshold of the model, and the average precision, which needs none, on held-out
blocks. Seeds for the choice of a recipe must not be those that its scores are reported on.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from coslide.chain.train import cube_settings, train
from coslide.indices.cube import open_cube

CPU: dict[str, Any] = {"recipe": "cpu"}
VARIANTS: dict[str, dict[str, Any]] = {
    "cpu": CPU,
    "average": {**CPU, "average": 0.99},
    "flips": {**CPU, "augment": "flips"},
    "dropout": {**CPU, "band_dropout": 0.1},
    "nodecay": {**CPU, "decay": "weights"},
    "adamw": {**CPU, "optimiser": "adamw", "decay": "weights", "weight_decay": 0.01, "warmup_epochs": 2.0},
    "all": {
        **CPU,
        "optimiser": "adamw",
        "decay": "weights",
        "weight_decay": 0.01,
        "warmup_epochs": 2.0,
        "average": 0.99,
    },
    "warmup": {**CPU, "warmup_epochs": 2.0},
    "eta": {**CPU, "balance_eta": 0.9999},
    "positive": {**CPU, "sampling": "positive"},
    "validated": {**CPU, "validation_fraction": 0.15},
}


def main() -> None:
    """Return nothing; prints the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("cubes", type=Path, nargs="+")
    words.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    words.add_argument("--epochs", type=int, default=40)
    words.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    words.add_argument("--out", type=Path, default=Path("runs/benchmark-recipes"))
    given = words.parse_args()
    print("cube            seed  variant     F1     precision  recall  AP     threshold  minutes", flush=True)
    for seed in given.seeds:
        for variant in given.variants:
            for cube in given.cubes:
                _one(cube, seed, variant, given)


def _one(cube: Path, seed: int, variant: str, given: argparse.Namespace) -> None:
    folder = given.out / f"{cube.stem}-{seed}-{variant}"
    shutil.rmtree(folder, ignore_errors=True)
    settings = cube_settings(open_cube(cube)).changed(**VARIANTS[variant]).changed(seed=seed, epochs=given.epochs)
    started = time.monotonic()
    metrics = train(cube, folder, settings, compare=False)
    minutes = (time.monotonic() - started) / 60
    p, threshold = metrics["pixels"], metrics["calibration"]["threshold"]
    row = f"{p['f1']:.3f}  {p['precision']:.3f}      {p['recall']:.3f}   {p['average_precision']:.3f}  {threshold:.3f}"
    print(f"{cube.stem:<15} {seed:<5} {variant:<11} {row}      {minutes:.1f}", flush=True)


if __name__ == "__main__":
    main()
