"""Rasters as Cloud-Optimised GeoTIFFs."""

import datetime as dt
import errno
import json
import os
import shutil

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from jsonschema import Draft7Validator
from odc.geo.geobox import GeoBox
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from rio_cogeo import cog_validate
from shapely.geometry import shape

from coslide.errors import InputError
from coslide.io.cog import RasterBands, write_cog, write_item

GRID = GeoBox((70, 90), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")


def written(folder, grid=GRID, **tags):
    """The path of a map of random pixels, and the map."""
    probability = np.random.default_rng(1).random(grid.shape, dtype=np.float32)
    probability[:20, :30] = np.nan
    path = folder / "probability.tif"
    write_cog(path, grid, RasterBands(["landslide probability"]), lambda rows: probability[np.newaxis, rows], tags=tags)
    return path, probability


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    grid = GeoBox((1100, 700), GRID.affine, GRID.crs)
    return written(tmp_path_factory.mktemp("map"), grid, MODEL="egcn")


def test_what_is_written_reads_back_bit_for_bit(large):
    with rasterio.open(large[0]) as file:
        np.testing.assert_array_equal(file.read(1), large[1])


def test_the_map_is_a_valid_cog_with_overviews(large):
    valid, errors, warnings = cog_validate(large[0], strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])


def test_an_overview_averages_the_valid_pixels(large):
    with rasterio.open(large[0], overview_level=0) as file:
        np.testing.assert_allclose(file.read(1)[50, 50], np.nanmean(large[1][100:102, 100:102]), rtol=1e-6)


def test_the_map_carries_its_grid_nodata_and_tags(large):
    with rasterio.open(large[0]) as file:
        found = (file.crs.to_epsg(), file.transform, np.isnan(file.nodata), file.tags()["MODEL"], file.descriptions)
    assert found == (32648, GRID.affine, True, "egcn", ("landslide probability",))


def test_nothing_but_the_map_is_left_in_the_folder_even_after_a_killed_run(tmp_path):
    (tmp_path / ".probability.part.work").mkdir()
    (tmp_path / ".probability.part.work" / "plain.tif").write_text("half")
    written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["probability.tif"]


def test_a_grid_without_crs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="with a CRS"):
        written(tmp_path, GeoBox((2, 2), GRID.affine, None))


def damaging(copy):
    """Return a copy that loses a row without an error, as GDAL does on a disk that fills at the end."""

    def copy_and_damage(source, target, **options):
        copy(source, target, **options)
        with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            rows = file.read(1)
            rows[33] = 0
            file.write(rows, 1)

    return copy_and_damage


def test_a_map_that_does_not_read_back_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(rasterio.shutil, "copy", damaging(rasterio.shutil.copy))
    with pytest.raises(OSError, match="rows 0 to 69 do not read back"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_map_that_does_not_read_back_while_little_is_free_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(rasterio.shutil, "copy", damaging(rasterio.shutil.copy))

    def allocate(file, offset, size):
        if size > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(InputError, match=r"probability\.tif: the disk is full"):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_where_free_space_is_not_known_is_no_full_disk(tmp_path, monkeypatch):
    """As some network disks answer."""
    monkeypatch.setattr(rasterio.shutil, "copy", damaging(rasterio.shutil.copy))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=0, free=0))
    with pytest.raises(OSError, match="do not read back"):
        written(tmp_path)


def test_a_disk_that_really_fills_is_named_and_left_empty(small_disk):
    disk = small_disk(3072)
    with pytest.raises(InputError, match="the disk is full"):
        written(disk, GeoBox((1000, 1000), GRID.affine, GRID.crs))
    assert list(disk.iterdir()) == []


def test_several_bands_have_names_units_and_overviews_of_their_own(tmp_path):
    values = np.random.default_rng(2).random((2, 600, 600), dtype=np.float32)
    grid = GeoBox((600, 600), GRID.affine, GRID.crs)
    write_cog(tmp_path / "a.tif", grid, RasterBands(["rain", "pga"], ["mm", "g"]), lambda rows: values[:, rows])
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.descriptions, file.units, file.overviews(2)) == (("rain", "pga"), ("mm", "g"), [2])


def test_classes_keep_their_colours_and_their_overviews_hold_classes_only(tmp_path):
    values = np.random.default_rng(3).choice(np.array([1, 9], dtype=np.uint8), (1, 600, 600))
    bands = RasterBands(["class"], dtype="uint8", nodata=255, colours={1: (230, 159, 0, 255)})
    write_cog(tmp_path / "a.tif", GeoBox((600, 600), GRID.affine, GRID.crs), bands, lambda rows: values[:, rows])
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as file:
        assert set(np.unique(file.read(1))) == {1, 9}
        assert file.colormap(1)[1] == (230, 159, 0, 255)
        assert file.nodata == 255


@pytest.mark.parametrize(("west_m", "parts"), [(500000, 1), (775000, 2)])
def test_an_item_is_valid_also_across_the_180th_meridian(tmp_path, west_m, parts):
    grid = GeoBox((70, 900), Affine(10, 0, west_m, 0, -10, 3700000), "EPSG:32660")
    date = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    write_item(tmp_path, grid, name="a", date=date, properties={}, assets={"a.tif": {"title": "a"}})
    item = json.loads((tmp_path / "item.json").read_text())
    schemas = get_local_schema_cache()
    wanted = next(schema for address, schema in schemas.items() if address.endswith("json-schema/item.json"))
    registry = Registry().with_resources([(address, Resource.from_contents(one)) for address, one in schemas.items()])
    assert list(Draft7Validator(wanted, registry=registry).iter_errors(item)) == []
    outline = shape(item["geometry"])
    assert len(shapely.get_parts(outline)) == parts
    assert outline.area < 0.02
    west, _, east, _ = item["bbox"]
    assert (west > east) == (parts == 2)


def test_a_raster_of_classes_with_colours_is_a_valid_cog(tmp_path):
    grid = GeoBox((1100, 700), GRID.affine, GRID.crs)
    bands = RasterBands(["subset"], dtype="uint8", nodata=0, colours={1: (230, 159, 0, 255)})
    write_cog(tmp_path / "a.tif", grid, bands, lambda rows: np.ones((1, 1100, 700), np.uint8)[:, rows])
    assert cog_validate(tmp_path / "a.tif", strict=True, quiet=True) == (True, [], [])
