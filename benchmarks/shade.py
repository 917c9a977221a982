"""How many pixels of each brightness an inventory calls landslide: whoever maps by a satellite sees few in shade.

    python benchmarks/shade.py INDEX.zarr chips.toml ...

Brightness is the mean of the reflectance after the event, of each band above its dark level in medians of the event
(`coslide.samples.light`).
"""

import sys
from pathlib import Path

import numpy as np

from coslide.cube.band import REFLECTANCE
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import open_labelled_scenes
from coslide.samples.light import LightSamples

EDGES = (0.3, 0.6, 1.0, 1.5, 2.5)


def main() -> None:
    """Print a row for each event."""
    ends = [f"below {EDGES[0]}", *(f"to {edge}" for edge in EDGES[1:]), f"above {EDGES[-1]}"]
    print(f"| event | landslide | {' | '.join(ends)} |")
    print("|---" * (len(ends) + 2) + "|")
    for scene in (scene for path in sys.argv[1:] for scene in open_labelled_scenes(Path(path))):
        bands = [band for band in scene.scene.inputs if (band.quantity, band.date) == (REFLECTANCE, "post")]
        values, valid = scene.scene.read(slice(None), bands), scene.scene.valid(slice(None))
        samples = LightSamples(len(bands), scene.scene.shape)
        samples.add(values, valid)
        dark, median = (level[:, None, None] for level in samples.levels())
        brightness = ((values - dark) / (median - dark)).mean(axis=0)
        where = valid & (scene.labels != NODATA) & np.isfinite(brightness)
        place = np.digitize(brightness[where], EDGES)
        slid = scene.labels[where] == LANDSLIDE
        shares = [f"{100 * slid[place == number].mean():.1f} %" for number in range(len(ends))]
        print(f"| {scene.name} | {100 * slid.mean():.1f} % | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
