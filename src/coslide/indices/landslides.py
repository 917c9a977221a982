"""The label: which cells were mapped as landslides."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import InventoryConfig
from coslide.cube.band import Band
from coslide.cube.layer import LayerGroup
from coslide.grid import pixel_size_m, slices_of
from coslide.labels import BACKGROUND, LANDSLIDE
from coslide.sources.inventory import Labels, read_inventory

_MOST_NUMBERS = 100  # of polygons burnt by touch that the cube lists


@dataclass(frozen=True)
class _Landslides:
    grid: GeoBox
    mask: NDArray[np.uint8]
    bands: tuple[Band, ...]
    notes: tuple[str, ...]

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return the values on `window`, a part of the grid; the caller may change them."""
        return {"landslide": self.mask[slices_of(window, self.grid)].copy()}


def prepare_landslides(inventory: InventoryConfig, grid: GeoBox) -> LayerGroup:
    """Return the family of the label ``landslide`` on `grid`: 0 background, 1 landslide, 255 unknown (no unit).

    Parameters
    ----------
    inventory
        The polygons, and the area in which they were mapped.
    grid
        In metres, square cells.

    Raises
    ------
    InputError
        As `coslide.sources.inventory.read_inventory`.

    Notes
    -----
    Outside the mapped area nobody looked, so a cell there is unknown, not background.
    """
    labels = read_inventory(inventory.path, grid, area=inventory.area)
    provenance = {
        "resampling": "cell centres; polygons without one by touch",
        "polygons": labels.polygons,
        "polygons_burnt_by_touch": len(labels.touched),
        "polygons_burnt_by_touch_ids": list(labels.touched[:_MOST_NUMBERS]),
        "polygons_repaired": labels.repaired,
    }
    band = Band(
        "landslide",
        kind="flag",
        class_names=("background", "landslide"),
        first_class=BACKGROUND,
        group="inventory",
        optional=True,
        role="label",
        long_name="mapped landslides",
        provenance=provenance,
    )
    return _Landslides(grid, labels.mask, (band,), _notes(labels, pixel_size_m(grid)))


def _notes(labels: Labels, cell_m: float) -> tuple[str, ...]:
    burnt_m2 = int((labels.mask == LANDSLIDE).sum()) * cell_m**2
    drawn, burnt = (f"{area_m2 / 1e6:.4g} km2" for area_m2 in (labels.area_m2, burnt_m2))
    notes = [f"{labels.polygons} polygons cover {drawn} of the mapped ground, their cells {burnt}"]
    if labels.touched:
        notes.append(
            f"{len(labels.touched)} hold no cell centre and are burnt by touch, first those numbered "
            f"{', '.join(str(number) for number in labels.touched[:5])}"
        )
    if labels.repaired:
        notes.append(f"{labels.repaired} crossed themselves and were repaired")
    if labels.empty:
        notes.append(f"{labels.empty} enclose no ground and are left out")
    return tuple(notes)
