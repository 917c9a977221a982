"""Elevation around an area, against rasterio on whole tiles."""

import datetime as dt
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from coslide.acquisition.elevation import OceanError, plan_dem, write_dem
from coslide.acquisition.records import Area
from coslide.config.schema import DemConfig
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.grid import Extent, common_grid
from coslide.sources.dem import open_elevation

SERVICES = Services()
AREA = Area((141.7, 42.6, 142.3, 42.9))


def write_tile(folder, *, west, south, cols=120, rows=120, name=None, seed=0, dtype="float32"):
    """Write a tile of one degree as Copernicus has them: its pixels are shifted by half of one northwest."""
    wide, high = 1 / cols, 1 / rows
    transform = Affine(wide, 0, west - wide / 2, 0, -high, south + 1 + high / 2)
    random = np.random.default_rng(int(100 * (west + 200) + south) + seed)
    values = random.uniform(0, 900, (rows, cols)).astype(dtype)
    name = name or f"Copernicus_DSM_COG_10_N{south:02}_00_E{west:03}_00_DEM"
    path = folder / f"{name}.tif"
    layout = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate", "crs": "EPSG:4326"}
    shape = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": dtype}
    with rasterio.open(path, "w", transform=transform, **shape, **layout) as file:
        file.write(values, 1)
    return path


def item_of(path, *, key="data", href=None):
    item = pystac.Item(path.stem, None, None, dt.datetime(2021, 4, 22, tzinfo=dt.UTC), {})
    item.add_asset(key, pystac.Asset(href or str(path)))
    return item


def catalog_of(*items):
    """A stand-in for a catalog, which remembers what it was asked."""
    asked = []

    def search(collection, bounds_deg, start, end):
        asked.append((collection, bounds_deg, start, end))
        return list(items)

    return SimpleNamespace(search=search, asked=asked)


@pytest.fixture
def tiles(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    return [write_tile(folder, west=west, south=42) for west in (141, 142)]


def test_windows_hold_the_stored_values_of_the_tiles_and_the_reader_takes_them(tiles, tmp_path):
    plan = plan_dem(catalog_of(*map(item_of, tiles)), SERVICES, AREA)
    part = write_dem(plan, tmp_path / "event")
    paths = part.tables["dem"]["path"]
    assert [path.name for path in paths] == [path.name for path in tiles]
    for path, tile in zip(paths, tiles, strict=True):
        with rasterio.open(path) as window, rasterio.open(tile) as whole:
            values, own = window.read(1), whole.read(1)
            col, row = (round(number) for number in ~whole.transform @ (window.transform.c, window.transform.f))
            height, width = values.shape
            np.testing.assert_array_equal(values, own[row : row + height, col : col + width])
            assert (window.dtypes, window.nodata, window.crs) == (whole.dtypes, whole.nodata, whole.crs)
    # The cube is made from the same; here the rim is but two pixels, at which a spline still feels the end of the data.
    grid = common_grid([Extent("area", "EPSG:4326", AREA.bounds_deg)], pixel_size_m=1000)
    found, expected = (
        open_elevation(DemConfig(path=tuple(own)), grid, margin_px=0).elevation(grid) for own in (paths, tiles)
    )
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=0.1)  # of 900 m of noise


def test_a_rim_of_a_kilometre_is_fetched_too(tiles, tmp_path):
    area = Area((141.4, 42.4, 141.6, 42.6))
    catalog = catalog_of(item_of(tiles[0]))
    (path,) = write_dem(plan_dem(catalog, SERVICES, area), tmp_path).tables["dem"]["path"]
    to_metres = Transformer.from_crs("EPSG:4326", "EPSG:32654", always_xy=True)
    with rasterio.open(path) as window:
        left, _, right, top = window.bounds
    corners = [to_metres.transform(*place) for place in ((left, 42.5), (141.4, 42.5), (141.6, 42.5), (right, 42.5))]
    assert 1000 < corners[1][0] - corners[0][0] < 2500
    assert 1000 < corners[3][0] - corners[2][0] < 2500
    assert 1000 < (top - 42.6) * 111_000 < 2500
    ((collection, bounds, start, end),) = catalog.asked
    assert collection == "cop-dem-glo-30"
    assert (start, end) == (None, None)
    assert bounds[0] < 141.4 - 0.012
    assert bounds[3] > 42.609


def test_the_plan_counts_the_compressed_blocks_that_are_read(tiles):
    (tile,) = tiles[:1]
    with rasterio.open(tile) as whole:
        sizes = {
            (row, col): int(whole.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
            for row in range(4)
            for col in range(4)
        }
    everything = plan_dem(catalog_of(item_of(tile)), SERVICES, Area((141.0, 42.0, 142.0, 43.0)))
    assert everything.bytes == sum(sizes.values())
    # The middle lies in the blocks of rows and columns 32 to 95.
    middle = plan_dem(catalog_of(item_of(tile)), SERVICES, Area((141.4, 42.4, 141.6, 42.6)))
    assert middle.bytes == sum(sizes[row, col] for row in (1, 2) for col in (1, 2))


def test_what_is_there_is_not_read_again_and_another_window_is(tiles, tmp_path):
    plan = plan_dem(catalog_of(item_of(tiles[0])), SERVICES, Area((141.4, 42.4, 141.6, 42.6)))
    first = write_dem(plan, tmp_path)
    known = {one.file: one for one in first.files}
    wider = plan_dem(catalog_of(item_of(tiles[0])), SERVICES, Area((141.3, 42.4, 141.6, 42.6)))
    kept = shutil.move(tiles[0], tmp_path / "elsewhere.tif")
    assert write_dem(plan, tmp_path, known=known) == first
    for other, knows in ((wider, known), (plan, {}), (plan, None)):
        with pytest.raises(InputError, match="cannot be read as a raster"):
            write_dem(other, tmp_path, known=knows)
    shutil.move(kept, tiles[0])
    # The same window of another file is read, and a file that was damaged fetched anew.
    other = write_tile(tiles[0].parent, west=141, south=42, name="other", seed=7)
    item = item_of(other)
    item.id = tiles[0].stem
    elsewhere = plan_dem(catalog_of(item), SERVICES, Area((141.4, 42.4, 141.6, 42.6)))
    listed = {one.file: one.model_copy(update={"address": "https://example.org/a.tif"}) for one in first.files}
    (again,) = write_dem(elsewhere, tmp_path, known=listed).files
    assert (again.file, again.sha256 == first.files[0].sha256) == (first.files[0].file, False)
    write_dem(plan, tmp_path)
    (path,) = first.tables["dem"]["path"]
    path.write_bytes(path.read_bytes()[:2000])
    assert write_dem(plan, tmp_path, known=known) == first


def test_tiles_of_different_widths_above_50_degrees_are_one_model(tmp_path):
    tiles = [write_tile(tmp_path, west=20, south=49), write_tile(tmp_path, west=20, south=50, cols=80)]
    area = Area((20.3, 49.8, 20.7, 50.2))
    part = write_dem(plan_dem(catalog_of(*map(item_of, tiles)), SERVICES, area), tmp_path / "event")
    grid = common_grid([Extent("area", "EPSG:4326", area.bounds_deg)], pixel_size_m=500)
    read = open_elevation(DemConfig(path=tuple(part.tables["dem"]["path"])), grid, margin_px=0)
    assert np.isfinite(read.elevation(grid)).all()


def test_a_model_in_another_crs_is_cut_as_well(tmp_path):
    tile = tmp_path / "utm.tif"
    values = np.arange(100 * 100, dtype=np.int16).reshape(100, 100)
    shape = {"driver": "GTiff", "height": 100, "width": 100, "count": 1, "dtype": "int16"}
    place = {"crs": "EPSG:32654", "transform": Affine(500, 0, 560000, 0, -500, 4760000)}
    with rasterio.open(tile, "w", **shape, **place) as file:
        file.write(values, 1)
    plan = plan_dem(catalog_of(item_of(tile)), SERVICES, Area((141.9, 42.7, 142.0, 42.8)))
    assert not any("no elevation" in note for note in plan.notes)
    (path,) = write_dem(plan, tmp_path).tables["dem"]["path"]
    with rasterio.open(path) as window:
        assert window.crs == "EPSG:32654"
        assert 20 < window.width < 30
        col, row = (round(number) for number in ~place["transform"] @ (window.transform.c, window.transform.f))
        assert window.read(1)[0, 0] == values[row, col]


def test_only_sea_is_refused(tiles):
    with pytest.raises(OceanError, match=r"found no elevation within longitude 10.00 to 10.50.*only sea"):
        plan_dem(catalog_of(), SERVICES, Area((10.0, 0.0, 10.5, 0.5)))
    with pytest.raises(OceanError):  # a catalog may answer with a neighbour
        plan_dem(catalog_of(*map(item_of, tiles)), SERVICES, Area((144.0, 42.0, 145.0, 42.5)))


def test_absent_tiles_are_told(tiles):
    plan = plan_dem(catalog_of(item_of(tiles[0])), SERVICES, AREA)
    assert any("no elevation on 51% of the area" in note and "Armenia" in note for note in plan.notes)
    whole = plan_dem(catalog_of(*map(item_of, tiles)), SERVICES, AREA)
    assert not any("no elevation" in note for note in whole.notes)


def test_names_of_items_and_paths_do_not_become_paths(tiles, tmp_path):
    item = item_of(tiles[0])
    item.id = '../../evil"\n'
    part = write_dem(plan_dem(catalog_of(item), SERVICES, AREA), tmp_path / "event")
    assert [path.parent for path in part.tables["dem"]["path"]] == [tmp_path / "event" / "dem"]
    told = f"{part.files}{part.attributions}{part.notes}"
    assert str(tmp_path) not in told
    with rasterio.open(part.tables["dem"]["path"][0]) as file:
        assert str(tmp_path) not in str(file.tags())


def test_an_item_without_heights_is_named(tiles):
    item = item_of(tiles[0], key="one")
    item.add_asset("two", pystac.Asset("b.tif"))
    with pytest.raises(InputError, match="found the assets one, two, expected data"):
        plan_dem(catalog_of(item), SERVICES, AREA)


def test_the_notice_of_the_owners_goes_with_it(tiles, tmp_path):
    (credit,) = write_dem(plan_dem(catalog_of(item_of(tiles[0])), SERVICES, AREA), tmp_path).attributions
    assert credit.text.startswith("produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014 and © Airbus")
    assert "liability" in credit.text


def test_a_secret_of_an_address_is_told_to_its_server_alone(tiles, tmp_path, server):
    shutil.copy(tiles[0], server.folder / "tile.tif")
    item = item_of(tiles[0], href=f"{server.url}/tile.tif?sig=SECRET")
    part = write_dem(plan_dem(catalog_of(item), SERVICES, AREA), tmp_path / "event")
    (path,) = part.tables["dem"]["path"]
    assert part.files[0].address == f"{server.url}/tile.tif"
    assert "SECRET" not in str(part)
    assert b"SECRET" not in path.read_bytes()
    assert any("SECRET" in asked for asked in server.asked)
    (server.folder / "tile.tif").unlink()
    item.assets["data"].href = f"{server.url}/other.tif?sig=SECRET"
    with pytest.raises(InputError) as raised:
        plan_dem(catalog_of(item), SERVICES, AREA)
    assert "SECRET" not in str(raised.value)


@pytest.mark.realdata
def test_a_real_elevation_model_comes_out_as_it_went_in(data_folder, tmp_path):
    tile = data_folder / "iburi-2018" / "dem" / "AW3D30_DSM.tif"
    part = write_dem(plan_dem(catalog_of(item_of(tile)), SERVICES, Area((141.91, 42.70, 141.95, 42.74))), tmp_path)
    (path,) = part.tables["dem"]["path"]
    with rasterio.open(path) as window, rasterio.open(tile) as whole:
        expected = whole.read(1, window=whole.window(*window.bounds).round_offsets().round_lengths())
        np.testing.assert_array_equal(window.read(1), expected)
        assert (window.dtypes, window.nodata) == (("int16",), -32768)
    assert Path(path).stat().st_size == part.files[0].bytes
