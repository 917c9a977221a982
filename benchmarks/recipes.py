"""What each thing that a recipe may add is worth by itself: one training for each variant, cube and seed.

    python benchmarks/recipes.py CUBE.zarr [CUBE.zarr ...] [--seeds 10 11] [--steps 960] [--variants modern flips ...]

Prints F1, precision and recall at the threshold of the model, and the average precision, which needs none, on held-out
blocks. Seeds for the choice of a recipe must not be those that its scores are reported on.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from coslide.pipeline.train import cube_settings, train

MODERN: dict[str, Any] = {"recipe": "modern"}
UNET: dict[str, Any] = {"network": "unet", "options": {"norm": "channel_ln", "activation": "gelu"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "modern": MODERN,
    "poly": {**MODERN, "optimiser.schedule": "poly", "optimiser.average": 0.0},
    "flips": {**MODERN, "augment.flips": True},
    "no-dropout": {**MODERN, "augment.band_dropout": 0.0},
    "no-jitter": {**MODERN, "augment.jitter_gain": 0.0, "augment.jitter_offset": 0.0, "augment.jitter_band": 0.0},
    "strong-jitter": {
        **MODERN,
        "augment.jitter_gain": 0.35,
        "augment.jitter_offset": 0.35,
        "augment.jitter_band": 0.15,
    },
    "decay": {**MODERN, "optimiser.weight_decay": 7e-4},
    "circular": {**MODERN, "inputs.encoding": {"aspect_class": "circular"}, "inputs.flags": True},
    "onehot": {
        **MODERN,
        "inputs.encoding": dict.fromkeys(("stratum_class", "pga_class", "fault_distance_class"), "onehot"),
        "inputs.flags": True,
    },
    "continuous": {
        **MODERN,
        "inputs.encoding": {"pga_class": "continuous", "fault_distance_class": "continuous"},
        "inputs.flags": True,
    },
    "unet": {**MODERN, **UNET},
    "avg": {**MODERN, "options": {"down_mode": "avg"}},
    "paper": {"recipe": "paper", "width": 16},
}


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("cubes", type=Path, nargs="+")
    words.add_argument("--seeds", type=int, nargs="+", default=[10, 11])
    words.add_argument("--steps", type=int, default=960)
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
    settings = cube_settings(cube).changed({**VARIANTS[variant], "optimiser.steps": given.steps, "seed": seed})
    started = time.monotonic()
    metrics = train(cube, folder, settings, compare=False)
    minutes = (time.monotonic() - started) / 60
    p, threshold = metrics.pixels, metrics.calibration.threshold
    row = f"{p.f1:.3f}  {p.precision:.3f}      {p.recall:.3f}   {p.average_precision:.3f}  {threshold:.3f}"
    print(f"{cube.stem:<15} {seed:<5} {variant:<11} {row}      {minutes:.1f}", flush=True)


if __name__ == "__main__":
    main()
