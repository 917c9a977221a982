"""The label as a family, against what `rasterize_inventory` returns and the polygons themselves."""

import geopandas as gpd
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from shapely.geometry import Polygon, box

from coslide.config.schema import InventoryConfig
from coslide.errors import InputError
from coslide.indices.landslides import prepare_landslides
from coslide.sources.inventory import rasterize_inventory

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)
LARGE = box(500200, 4699700, 500300, 4699800)


def save(path, geometry):
    gpd.GeoDataFrame({"n": range(len(geometry))}, geometry=geometry, crs=UTM).to_file(path)
    return path


def tiny(count):
    """Return landslides of 2 m, each in a corner of its own pixel."""
    places = [(500001 + 10 * (i % 50), 4699991 - 10 * (i // 50)) for i in range(count)]
    return [box(x, y, x + 2, y + 2) for x, y in places]


def test_the_label_says_how_many_polygons_and_which_were_burnt_by_touch(tmp_path):
    """R38: lost small polygons are burnt again and listed."""
    family = prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", [LARGE, *tiny(3)])), GRID)
    (band,) = family.bands
    assert (band.name, band.dtype, band.role) == ("landslide", "uint8", "label")
    assert (band.provenance["polygons"], band.provenance["polygons_burnt_by_touch"]) == (4, 3)
    assert band.provenance["polygons_burnt_by_touch_ids"] == [1, 2, 3]
    assert "3 of them hold no pixel centre and take the pixels that they touch (number 1, 2, 3)" in family.notes[1]


def test_the_list_of_polygons_burnt_by_touch_is_shortened(tmp_path):
    """R38."""
    family = prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", tiny(150))), GRID)
    attrs = family.bands[0].provenance
    assert attrs["polygons_burnt_by_touch"] == 150
    assert attrs["polygons_burnt_by_touch_ids"] == list(range(100))


def test_the_area_of_the_polygons_and_of_their_pixels_is_noted(tmp_path):
    """R38: 100 m x 104 m of polygon have 100 m x 100 m of pixels."""
    path = save(tmp_path / "l.gpkg", [box(500200, 4699700, 500300, 4699804)])
    (note,) = prepare_landslides(InventoryConfig(path=path), GRID).notes
    assert note == "1 polygons cover 0.0104 km2 of the mapped area, their pixels 0.01 km2"


def test_repaired_polygons_are_noted(tmp_path):
    bowtie = Polygon([(500000, 4699600), (500200, 4699800), (500200, 4699600), (500000, 4699800)])
    family = prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", [bowtie])), GRID)
    assert family.bands[0].provenance["polygons_repaired"] == 1
    assert family.notes[-1] == "1 of them crossed themselves and were repaired"


def test_pixels_outside_the_mapped_area_are_nodata_not_background(tmp_path):
    """R38."""
    area = save(tmp_path / "a.gpkg", [box(500000, 4699600, 500250, 4700000)])
    family = prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", [LARGE]), area=area), GRID)
    label = family.compute(GRID)["landslide"]
    assert (label[:, 25:] == 255).all()
    assert set(np.unique(label[:, :25])) == {0, 1}
    assert "1 polygons cover 0.005 km2 of the mapped area" in family.notes[0]


def test_a_pixel_has_the_same_label_whatever_the_window(tmp_path):
    """R14."""
    path = save(tmp_path / "l.gpkg", [LARGE, *tiny(60)])
    family = prepare_landslides(InventoryConfig(path=path), GRID)
    whole = rasterize_inventory(path, GRID).mask
    for rows, columns in ((slice(0, 1), slice(0, 50)), (slice(13, 40), slice(7, 9)), (slice(0, 40), slice(0, 50))):
        np.testing.assert_array_equal(family.compute(GRID[rows, columns])["landslide"], whole[rows, columns])


def test_what_is_computed_may_be_changed_without_harm(tmp_path):
    family = prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", [LARGE])), GRID)
    family.compute(GRID)["landslide"][:] = 9
    assert (family.compute(GRID)["landslide"] != 9).all()


def test_an_inventory_elsewhere_is_refused(tmp_path):
    with pytest.raises(InputError, match="none of its features overlaps the grid"):
        prepare_landslides(InventoryConfig(path=save(tmp_path / "l.gpkg", [box(0, 0, 1, 1)])), GRID)


@pytest.mark.realdata
def test_the_real_inventory_has_its_area_mapped(data_folder):
    """R38."""
    folder = data_folder / "iburi-2018" / "inventory"
    grid = GeoBox((976, 647), Affine(10, 0, 572840, 0, -10, 4735680), UTM)
    inventory = InventoryConfig(path=folder / "slope_failures.gpkg", area=folder / "interpretation_area.gpkg")
    label = prepare_landslides(inventory, grid).compute(grid[100:600, :])["landslide"]
    assert label.shape == (500, 647)
    assert 0.005 < (label == 1).mean() < 0.3
