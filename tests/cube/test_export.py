"""The bands of a cube as GeoTIFF files."""

import json

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo import cog_validate

from coslide.cube.cube import open_cube
from coslide.cube.export import write_cogs
from coslide.errors import InputError


@pytest.fixture(scope="module")
def cube(made_up_cube):
    return open_cube(made_up_cube)


@pytest.fixture(scope="module")
def folder(cube, tmp_path_factory):
    return write_cogs(cube, tmp_path_factory.mktemp("cogs") / "indices")


def test_every_band_is_a_valid_cog_that_equals_the_cube(cube, folder):
    """R32: the COG passes rio-cogeo's validation, and Zarr and COG are equal."""
    for row in cube.contents():
        path = folder / f"{row['band']}.tif"
        valid, errors, _ = cog_validate(path)
        assert valid, errors
        variable = cube.to_xarray()[row["variable"]]
        expected = variable.sel(band=row["band"].split("_")[-1]) if "band" in variable.dims else variable
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), expected.values)
            assert file.transform == cube.grid.affine


def test_a_file_says_what_it_holds_and_where_it_comes_from(cube, folder):
    """R32: name, unit, dtype, nodata, source file with its SHA-256 and date in the tags."""
    with rasterio.open(folder / "slope.tif") as file:
        tags = file.tags()
        assert file.descriptions == ("slope",)
        assert file.units == ("degree",)
        assert np.isnan(file.nodata)
        assert tags["source"] == "dem.tif"
        assert tags["source_sha256"] == cube.to_xarray()["slope"].attrs["source_sha256"][0]
        assert "GDAL" in tags["libraries"]
    with rasterio.open(folder / "aspect_class.tif") as file:
        assert file.dtypes == ("uint8",)
        assert file.nodata == 255
    with rasterio.open(folder / "reflectance_post_B2.tif") as file:
        assert "acquired" not in file.tags()  # the made-up event does not know it


def test_the_stac_item_lists_every_file_with_its_unit(cube, folder):
    """R32: the same in the STAC item."""
    item = pystac.Item.from_file(folder / "item.json")
    assert set(item.assets) == {row["band"] for row in cube.contents()}
    assert item.assets["slope"].extra_fields["raster:bands"][0]["unit"] == "degree"
    assert (
        item.assets["slope"].extra_fields["coslide:source_sha256"]
        == cube.to_xarray()["slope"].attrs["source_sha256"][0]
    )
    assert item.properties["proj:code"] == "EPSG:32654"
    west, south, east, north = item.bbox
    assert 141 < west < east < 143
    assert 42 < south < north < 44


def test_the_overviews_of_classes_hold_classes_only(cube, folder):
    with rasterio.open(folder / "aspect_class.tif") as file:
        small = file.read(1, out_shape=(25, 25))
    assert set(np.unique(small)) <= set(np.unique(cube.to_xarray()["aspect_class"].values))


def test_an_older_folder_is_replaced_but_never_something_else(cube, folder, tmp_path):
    assert json.loads((write_cogs(cube, folder) / "item.json").read_text())["properties"]["coslide:cube"]
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is a folder that holds something else"):
        write_cogs(cube, tmp_path)
