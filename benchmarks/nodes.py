"""Which mapped landslides the nodes of EGCN's graph can see at each depth.

    python benchmarks/nodes.py INDEX.zarr ...

At depth d a map has a pixel for each 2^(d - 1) x 2^(d - 1) of the scene (max pooling), and a node takes one pixel of
every patch of 16 x 16 of the scene: the north-western one ("nearest"). So a node of depth 1 shows one pixel in 256.
Printed is the share of landslides, by size, of which at least one pixel lies in what a node takes, averaged over all
256 phases that the windows may have.
"""

import itertools
import sys

import numpy as np

from coslide.labels import LANDSLIDE, label_objects
from coslide.pipeline.labelled_scene import open_labelled_scenes

PATCH = 16
SIZES = ((1, 7), (8, 11), (12, 24), (25, 49), (50, 99), (100, 199), (200, 10**9))


def phases_seen(rows: np.ndarray, cols: np.ndarray, side: int) -> int:
    """Count the phases, of 256, in which a square of `side` pixels at the corner of a patch meets one of the pixels."""
    seen = np.zeros((PATCH, PATCH), dtype=bool)
    for i in range(side):
        for j in range(side):
            seen[(rows - i) % PATCH, (cols - j) % PATCH] = True
    return int(seen.sum())


def main(paths: list[str]) -> None:
    """Print a table for each event."""
    for path in paths:
        (scene,) = open_labelled_scenes(path)
        numbers = label_objects(scene.labels == LANDSLIDE)
        rows, cols = np.nonzero(numbers)
        order = np.argsort(numbers[rows, cols], kind="stable")
        rows, cols = rows[order], cols[order]
        counts = np.bincount(numbers[rows, cols])[1:]
        starts = np.concatenate([[0], np.cumsum(counts)])
        print(f"{scene.name}: {len(counts)} landslides")
        shares = np.array(
            [
                [phases_seen(rows[a:b], cols[a:b], 2**d) / PATCH**2 for d in range(5)]
                for a, b in itertools.pairwise(starts)
            ]
        )
        for low, high in SIZES:
            own = (counts >= low) & (counts <= high)
            if own.any():
                texts = "  ".join(f"{100 * share:5.1f} %" for share in shares[own].mean(axis=0))
                size = f"{low}-{high}" if high < 10**9 else f">= {low}"
                print(f"{size:>9} pixels, {own.sum():5d} landslides, depth 1 to 5: {texts}")
        print(f"      all: {'  '.join(f'{100 * share:5.1f} %' for share in shares.mean(axis=0))}")


if __name__ == "__main__":
    main(sys.argv[1:])
