"""The label: which pixels were mapped as landslides."""

from functools import partial

from odc.geo.geobox import GeoBox

from coslide.config.schema import InventoryConfig
from coslide.cube.band import YES_NO, Band
from coslide.cube.store import LayerGroup, cut
from coslide.grid import pixel_size_m
from coslide.labels import LANDSLIDE
from coslide.sources.inventory import inventory_files, rasterize_inventory

_MOST_NUMBERS = 100  # of polygons burnt by touch that the cube lists


def prepare_landslides(inventory: InventoryConfig, grid: GeoBox) -> LayerGroup:
    """Rasterize the label ``landslide`` on `grid`: 0 background, 1 landslide, nodata 255 (no unit).

    Parameters
    ----------
    inventory
        The polygons, and the area in which they were mapped.
    grid
        In metres, square pixels.

    Raises
    ------
    InputError
        As `coslide.sources.inventory.rasterize_inventory`.

    Notes
    -----
    Outside the mapped area nobody looked, so a pixel there is nodata, not background.
    """
    source, area = inventory_files(inventory)
    labels = rasterize_inventory(source, grid, area=area)
    burnt_m2 = int((labels.mask == LANDSLIDE).sum()) * pixel_size_m(grid) ** 2
    drawn, burnt = (f"{area_m2 / 1e6:.4g} km2" for area_m2 in (labels.area_m2, burnt_m2))
    notes = [f"{labels.polygons} polygons cover {drawn} of the mapped area, their pixels {burnt}"]
    if labels.touched:
        first = ", ".join(str(number) for number in labels.touched[:5])
        notes.append(
            f"{len(labels.touched)} of them hold no pixel centre and take the pixels that they touch (number {first})"
        )
    if labels.repaired:
        notes.append(f"{labels.repaired} of them crossed themselves and were repaired")
    if labels.empty:
        notes.append(f"{labels.empty} of them enclose no area and are left out")
    provenance = {
        "resampling": "pixel centres; polygons without one by touch",
        "polygons": labels.polygons,
        "polygons_burnt_by_touch": len(labels.touched),
        "polygons_burnt_by_touch_ids": list(labels.touched[:_MOST_NUMBERS]),
        "polygons_repaired": labels.repaired,
    }
    shared = {**YES_NO, "class_names": ("background", "landslide"), "group": "inventory", "optional": True}
    band = Band("landslide", role="label", long_name="mapped landslides", provenance=provenance, **shared)
    return LayerGroup((band,), tuple(notes), partial(cut, grid, {"landslide": labels.mask}))
