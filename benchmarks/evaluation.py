"""How long a large map takes to score: pixels, curves, bootstrap, landslides one by one, calibration.

    python benchmarks/evaluation.py [--side 6600] [--landslides 20000]

Makes a map of 43.6 million pixels with 20 000 mapped landslides, of which most are recognised, somewhat moved and
frayed, and false alarms; scores it once and prints seconds and peak memory, and the slowest steps. Run it on an idle
machine.
"""

import argparse
import cProfile
import pstats
import time

import numpy as np
from scipy import ndimage

from coslide.evaluation.scoring import ScoredMap, score
from coslide.memory import peak_memory_gb, restart_peak


def main() -> None:
    """Print the time, the memory and the profile."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--side", type=int, default=6600)
    words.add_argument("--landslides", type=int, default=20_000)
    given = words.parse_args()
    one = _made_up(given.side, given.landslides)
    restart_peak()
    profile = cProfile.Profile()
    started = time.perf_counter()
    found = profile.runcall(score, [one])
    seconds = time.perf_counter() - started
    objects = found.objects
    counts = f"{objects.n_mapped} mapped and {objects.n_recognised} recognised landslides"
    cost = f"{seconds:.1f} s, peak {peak_memory_gb(since_restart=True):.2f} GB"
    print(f"{given.side} x {given.side} pixels, {counts}, F1 {found.pixels.f1:.3f}: {cost}")
    pstats.Stats(profile).sort_stats("cumulative").print_stats("coslide", 12)


def _made_up(side: int, landslides: int) -> ScoredMap:
    random = np.random.default_rng(0)
    mapped, found = (np.zeros((side, side), dtype=bool) for _ in range(2))
    sizes = np.clip(random.pareto(1.4, landslides) * 30, 8, 5000)
    for row, col, size in zip(*random.integers(0, side - 80, (2, landslides)), sizes, strict=True):
        height = int(np.sqrt(size) * random.uniform(1, 2)) + 1
        width = int(size / height) + 1
        mapped[row : row + height, col : col + width] = True
        if random.random() < 0.8:
            down, right = random.integers(-1, 2, 2)
            found[max(0, row + down) : row + down + height, max(0, col + right) : col + right + width] = True
    for row, col in random.integers(0, side - 10, (landslides // 4, 2)):
        found[row : row + 4, col : col + 5] = True
    noise = random.normal(0, 0.1, (side, side)).astype(np.float32)
    probability = ndimage.uniform_filter(found.astype(np.float32), 3) + noise
    seen = np.zeros((side, side), dtype=np.uint8)
    return ScoredMap("made up", np.clip(probability, 0, 1), mapped.astype(np.uint8), seen, 10.0)


if __name__ == "__main__":
    main()
