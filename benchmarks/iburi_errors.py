"""Where the errors of the runs of `iburi.py` lie: near mapped outlines, on deposits, on north-facing slopes.

    python benchmarks/iburi_errors.py [OUT]

Counts pixels that training did not see. Prints, per seed: the share of false alarms within one pixel of a mapped
landslide and on a mapped deposit (beside the share of all background that deposits cover), and the recall on slopes
that face NW, N or NE and on all others.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from coslide.config.event import read_event
from coslide.cube.cube import open_cube
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.probability_map import read_probability_map
from coslide.samples.footprint import is_held_out
from coslide.sources.inventory import rasterize_polygons

EXAMPLE = Path(__file__).parents[1] / "examples" / "iburi-2018" / "event.toml"
NORTHERLY = (2, 3, 9)  # aspect classes N, NE, NW


def main() -> None:
    """Print the table."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/benchmark-iburi")
    event = read_event(EXAMPLE)
    deposits_file = event.inventory.path.with_name("deposits.gpkg")
    print("seed    near outline  on deposit (background)  recall N  recall other")
    for folder in sorted(out.glob("seed-*")):
        found, cube = read_probability_map(folder), open_cube(folder / "index.zarr")
        labels = cube.labels
        scored = (labels != NODATA) & is_held_out(found.seen) & np.isfinite(found.probability)
        recognised = scored & (np.nan_to_num(found.probability) >= found.threshold)
        mapped, background = scored & (labels == LANDSLIDE), scored & (labels != LANDSLIDE)
        deposit = rasterize_polygons(read_vector(deposits_file, str(found.grid.crs), what="deposits"), found.grid) == 1
        north = np.isin(cube.to_xarray()["aspect_class"].values, NORTHERLY)
        false_alarm = recognised & background
        near = binary_dilation(labels == LANDSLIDE)
        print(
            f"{folder.name}  {near[false_alarm].mean():.2f}          "
            f"{deposit[false_alarm].mean():.2f} ({deposit[background].mean():.2f})"
            f"              {recognised[mapped & north].mean():.2f}      {recognised[mapped & ~north].mean():.2f}"
        )


if __name__ == "__main__":
    main()
