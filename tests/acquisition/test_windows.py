"""Windows of rasters on servers: what is read, what is written, and what an item that lists them means."""

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import from_bounds

from coslide.acquisition import items
from coslide.acquisition.items import folder_name, plan_item, write_item
from coslide.acquisition.records import Area
from coslide.acquisition.windows import plan_window, write_window
from coslide.config.schema import SceneConfig
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io import http
from coslide.io.atomic import sha256
from coslide.sources import bands as raster_bands
from coslide.sources.sentinel2 import open_scene

SPEC = importlib.util.spec_from_file_location("small_server", Path(__file__).with_name("small_server.py"))
small_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(small_server)

AREA = Area((142.2300, 42.3950, 142.2700, 42.4200))
SERVICES = Services(tries=3, at_once=2)
NAMES = ("B1", "B2", "B11", "SCL")
SIGNED = "sig=hush"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.01)
    monkeypatch.setitem(raster_bands._HTTP_OPTIONS, "GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setitem(raster_bands._HTTP_OPTIONS, "GDAL_HTTP_MAX_RETRY", "1")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two tiles, one in the north and one whose corner is no multiple of 60 m, as in the south."""
    folder = tmp_path_factory.mktemp("archive")
    scl = np.random.default_rng(3).integers(0, 12, (480, 480)).astype(np.uint8)
    small_server.write_tile(folder, "north", scl=scl)
    small_server.write_tile(folder, "odd", scl=scl, left=600000 + 20, top=4700040 - 20)
    return folder


@pytest.fixture
def server(archive):
    with small_server.serve(archive) as running:
        yield running


def item_in(folder, name="north", url="", query=""):
    """Take an item as a search finds it: its addresses are absolute."""
    document = json.loads((folder / name / "item.json").read_text())
    for key, asset in document["assets"].items():
        if key != "thumbnail":
            file = f"{name}/{asset['href'].removeprefix('./')}"
            asset["href"] = f"{url}/{file}{query}" if url else str(folder / file)
    return pystac.Item.from_dict(document, migrate=False)


def window_of(path, area=AREA):
    """Read the least window of whole 60 m pixels of a raster that holds an area, by another way than coslide's."""
    with rasterio.open(path) as file:
        size, left, top = file.transform.a, file.transform.c, file.transform.f
        to_utm = Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
        west, south, east, north = area.bounds_deg
        x, y = to_utm.transform(*np.meshgrid(np.linspace(west, east, 99), np.linspace(south, north, 99)))
        low, high = np.floor((x.min() - left) / 60), np.ceil((x.max() - left) / 60)
        upper, lower = np.floor((top - y.max()) / 60), np.ceil((top - y.min()) / 60)
        bounds = left + 60 * low, top - 60 * lower, left + 60 * high, top - 60 * upper
        return file.read(1, window=from_bounds(*bounds, file.transform)), bounds, size


def write(item, tmp_path, area=AREA, names=NAMES, **more):
    plan = plan_item(item, area, names, tries=3)
    folder = tmp_path / "scenes" / "post"
    files = sorted(
        write_item(plan, folder, root=tmp_path, source="Sentinel-2 L2A", services=SERVICES, **more),
        key=lambda one: one.file,
    )
    return plan, folder / folder_name(item.id), files


# --- What is written ---


@pytest.mark.parametrize("name", ["north", "odd"])
@pytest.mark.parametrize("remote", [False, True])
def test_windows_hold_the_stored_values_on_the_lattice_of_the_tile(tmp_path, archive, server, name, remote):
    """R10: the witness is rasterio, reading the part of the whole raster."""
    plan, folder, files = write(item_in(archive, name, server.url if remote else ""), tmp_path)
    assert plan.files == ("B01.tif", "B02.tif", "B11.tif", "SCL.tif")
    for file in plan.files:
        expected, bounds, _ = window_of(archive / name / file)
        with rasterio.open(folder / file) as found, rasterio.open(archive / name / file) as whole:
            more = np.subtract(bounds, found.bounds) * (1, 1, -1, -1)
            assert more.min() >= 0  # one pixel of 60 m is read beyond what is needed
            assert more.max() <= 60
            assert np.mod(np.subtract(found.bounds[:2], whole.bounds[:2]), 60).tolist() == [0, 0]
            at = from_bounds(*found.bounds, whole.transform)
            np.testing.assert_array_equal(found.read(1), whole.read(1, window=at))
            assert (found.dtypes, found.nodata, found.crs) == (whole.dtypes, whole.nodata, whole.crs)
        assert expected.size
    assert {file.file for file in files} == {f"scenes/post/{name}/{file}" for file in (*plan.files, "item.json")}
    assert all(file.sha256 == sha256(tmp_path / file.file) for file in files)


def test_all_bands_of_an_item_have_the_same_bounds(tmp_path, archive):
    plan, folder, _ = write(item_in(archive), tmp_path)
    bounds = set()
    for file in plan.files:
        with rasterio.open(folder / file) as found:
            bounds.add(tuple(found.bounds))
    assert len(bounds) == 1


def test_reflectance_of_the_windows_is_that_of_the_whole_product(tmp_path, archive, server):
    """R8, R14: offsets, nodata and classes come out the same, through the reader of local scenes."""
    _, folder, _ = write(item_in(archive, url=server.url), tmp_path)
    scenes = [
        open_scene(SceneConfig(products=(place / "item.json",), bands=("B1", "B2", "B11")), root=place)
        for place in (folder, archive / "north")
    ]
    with rasterio.open(folder / "B02.tif") as file:
        grid = GeoBox(file.shape, file.transform, "EPSG:32654")
    for name in ("B1", "B2", "B11"):
        found, expected = (scene.reflectance(name, grid[12:-12, 12:-12]) for scene in scenes)
        np.testing.assert_array_equal(found, expected)
        assert np.isnan(expected).any()
    np.testing.assert_array_equal(*(scene.clear(grid) for scene in scenes))
    assert scenes[0].acquired == "2018-09-11"
    assert scenes[0].products[0].baseline == "05.09"


def test_the_item_says_what_the_catalog_says_but_where_its_files_lie(tmp_path, archive, server):
    item = item_in(archive, url=server.url)
    item.add_link(pystac.Link("parent", "https://example.invalid/?sig=hush"))
    item.properties |= {"proj:shape": [960, 960], "earthsearch:boa_offset_applied": True}
    item.assets["blue"].extra_fields["alternate"] = {"s3": {"href": "s3://elsewhere/B02.tif"}}
    _, folder, _ = write(item, tmp_path)
    found = json.loads((folder / "item.json").read_text())
    assert found["links"] == []
    assert set(found["assets"]) == {"coastal", "blue", "swir16", "scl"}
    blue = found["assets"]["blue"]
    with rasterio.open(folder / "B02.tif") as file:
        assert (blue["proj:shape"], blue["proj:transform"]) == (list(file.shape), list(file.transform)[:6])
    assert blue["href"] == "./B02.tif"
    assert blue["raster:bands"] == item.assets["blue"].extra_fields["raster:bands"]
    assert not {"file:size", "alternate"} & set(blue)
    assert found["properties"] == {k: v for k, v in item.properties.items() if k != "proj:shape"}
    assert (found["id"], found["bbox"], found["collection"]) == (item.id, item.bbox, item.collection_id)


def test_an_item_of_pixels_and_offsets_that_its_metadata_alone_state_brings_them(tmp_path, archive, server):
    """As at Planetary Computer."""
    item = item_in(archive, url=server.url)
    for key in ("blue", "scl"):
        del item.assets[key].extra_fields["raster:bands"]
    metadata = (
        '<a xmlns="x"><PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE><PROCESSING_BASELINE>05.09</PROCESSING_BASELINE>'
        "<BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>"
        '<BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET></a>'
    )
    (archive / "MTD.xml").write_text(metadata)
    item.assets["product-metadata"] = pystac.Asset(f"{server.url}/MTD.xml?{SIGNED}", roles=["metadata"])
    _, folder, files = write(item, tmp_path, names=("B2", "SCL"))
    assert (folder / "MTD_MSIL2A.xml").read_text() == metadata
    assert [file.address for file in files if file.file.endswith(".xml")] == [f"{server.url}/MTD.xml"]
    scene = open_scene(SceneConfig(products=(folder / "item.json",), bands=("B2",)), root=folder)
    assert round(scene.products[0].rasters["B2"].offset / scene.products[0].rasters["B2"].scale) == -1000


@pytest.mark.parametrize("item_id", ["../../evil", "a/b", "..", "/etc", "", "a\x00b", "ü" * 300, "x" * 300, ".hidden"])
def test_whatever_an_item_is_called_its_folder_is_one_folder(tmp_path, archive, item_id):
    item = item_in(archive)
    item.id = item_id
    _, _, files = write(item, tmp_path, names=("SCL",))
    for file in files:
        assert len(Path(file.file).parts) == 4
        assert (tmp_path / file.file).resolve().is_relative_to(tmp_path / "scenes" / "post")
    assert len({folder_name(name) for name in ("a/b", "a_b", "a b", "a//b")}) == 4


def test_a_signature_is_in_no_file_no_record_and_no_message(tmp_path, archive, server, caplog):
    with caplog.at_level(logging.DEBUG):
        _, folder, files = write(item_in(archive, url=server.url, query=f"?{SIGNED}"), tmp_path, names=("B2", "SCL"))
        lost = item_in(archive, url=server.url, query=f"?{SIGNED}")
        lost.assets["blue"].href = f"{server.url}/north/no.tif?{SIGNED}"
        with pytest.raises(InputError) as caught:
            write(lost, tmp_path)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("coslide")]
    told = " ".join([*lines, str(caught.value), *(str(file) for file in files)])
    assert "hush" not in told
    assert all(b"hush" not in path.read_bytes() for path in folder.rglob("*"))
    assert f"{server.url}/north/no.tif" in str(caught.value)


# --- What is read ---


def test_the_bytes_of_a_plan_are_those_that_the_server_sends(tmp_path, archive, server):
    plan = plan_item(item_in(archive, url=server.url), AREA, NAMES)
    planned_by = len(server.asked)
    server.forget()
    list(write_item(plan, tmp_path, root=tmp_path, source="-", services=Services(at_once=1)))
    blocks = [plan.windows[key][1].bytes for key in plan.windows]
    assert plan.bytes == sum(blocks)
    # GDAL reads pieces of 16 kB; it holds the first one, and may read it once more in another thread.
    assert plan.bytes - len(blocks) * 16384 <= server.sent <= plan.bytes + len(blocks) * 3 * 16384
    whole = sum((archive / "north" / file).stat().st_size for file in plan.files)
    assert plan.bytes < 0.5 * whole
    assert planned_by <= 2 * len(blocks)


def test_blocks_that_a_raster_does_not_store_count_nothing(tmp_path):
    profile = {"height": 1024, "width": 1024, "count": 1, "dtype": "uint16", "crs": "EPSG:32654", "nodata": 0}
    profile |= {"tiled": True, "blockxsize": 128, "blockysize": 128, "sparse_ok": True}
    transform = rasterio.transform.from_origin(600000, 4700040, 10, 10)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", transform=transform, **profile) as file:
        file.write(np.ones((128, 128), np.uint16), 1, window=rasterio.windows.Window(0, 0, 128, 128))
    window = plan_window(str(tmp_path / "a.tif"), (142.0, 42.3, 142.5, 42.6))
    assert window.bytes == 128 * 128 * 2
    write_window(window, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.read(1).sum() == 128 * 128


def test_what_was_fetched_is_not_read_again(tmp_path, archive, monkeypatch):
    _, folder, files = write(item_in(archive), tmp_path)
    with rasterio.open(folder / "B02.tif", "r+") as file:  # not what was fetched
        file.write(file.read() + 1)
    (folder / "B11.tif").unlink()
    read = []
    monkeypatch.setattr(items, "write_window", lambda *at, **how: read.append(at[1].name) or write_window(*at, **how))
    _, _, again = write(item_in(archive), tmp_path, known={file.file: file for file in files})
    assert again == files
    assert sorted(read) == ["B02.tif", "B11.tif"]


def test_the_file_of_another_area_is_read_again(tmp_path, archive):
    _, _, files = write(item_in(archive), tmp_path)
    other = Area((142.24, 42.40, 142.25, 42.41))
    _, folder, again = write(item_in(archive), tmp_path, area=other, known={file.file: file for file in files})
    assert {file.sha256 for file in files}.isdisjoint(file.sha256 for file in again)
    with rasterio.open(folder / "B02.tif") as file:
        assert file.width < 120


@pytest.mark.parametrize("failure", [(429, {"Retry-After": "0"}), (503, {}), "cut"])
@pytest.mark.parametrize("fine", [0, 2])
def test_a_server_that_is_busy_or_cuts_an_answer_short_is_asked_again(tmp_path, archive, server, failure, fine):
    """Also where it refuses the first request, whose answer GDAL would keep."""
    name = f"B02-{failure}-{fine}".replace("/", "").replace(" ", "")[:12] + ".tif"
    (archive / name).write_bytes((archive / "north" / "B02.tif").read_bytes())
    server.failures[f"/{name}"] = [None] * fine + [failure] * 4
    window = plan_window(f"{server.url}/{name}", AREA.bounds_deg, lattice_m=60, tries=3)
    write_window(window, tmp_path / "b.tif", tries=3)
    assert window.href == f"{server.url}/{name}"
    assert not server.failures[f"/{name}"]
    with rasterio.open(tmp_path / "b.tif") as found, rasterio.open(archive / name) as whole:
        at = from_bounds(*found.bounds, whole.transform)
        np.testing.assert_array_equal(found.read(1), whole.read(1, window=at))


def test_what_a_server_does_not_have_is_asked_for_once_and_leaves_nothing(tmp_path, archive, server):
    item = item_in(archive, url=server.url)
    item.assets["blue"].href = f"{server.url}/north/gone.tif"
    with pytest.raises(InputError, match=rf"{server.url}/north/gone\.tif: cannot be read as a raster .*404"):
        write(item, tmp_path)
    assert sum("gone" in path for _, path, _ in server.asked) == 1
    plan = plan_item(item_in(archive, url=server.url), AREA, ("B2",))
    key, (name, window) = next(iter(plan.windows.items()))
    window = window._replace(href=f"{server.url}/north/also-gone.tif")
    asked = {"source": "-", "services": SERVICES}
    with pytest.raises(InputError, match="404"):
        next(write_item(plan._replace(windows={key: (name, window)}), tmp_path / "x", root=tmp_path, **asked))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- Where ---


def test_an_area_elsewhere_is_not_overlapped(archive):
    for bounds in ((142.5, 42.4, 142.6, 42.5), (10.0, 42.4, 10.1, 42.5), (142.2, -42.5, 142.3, -42.4)):
        plan = plan_item(item_in(archive), Area(bounds), NAMES)
        assert (plan.overlaps, plan.bytes, plan.files) == (False, 0, ())


def test_windows_are_cut_at_the_edge_of_the_tile(tmp_path, archive):
    plan, folder, _ = write(item_in(archive), tmp_path, area=Area((142.0, 42.42, 142.25, 42.6)))
    assert plan.overlaps
    with rasterio.open(folder / "B02.tif") as found, rasterio.open(archive / "north" / "B02.tif") as whole:
        assert (found.bounds.left, found.bounds.top) == (whole.bounds.left, whole.bounds.top)


def test_a_band_that_an_item_lacks_is_named(archive):
    with pytest.raises(InputError, match="item north: has no band B3; found B1, B2, B11, SCL"):
        plan_item(item_in(archive), AREA, ("B3",))


def test_of_several_assets_of_a_band_that_with_the_smallest_pixels_is_taken(archive):
    item = item_in(archive)
    item.assets["B02_20m"] = pystac.Asset(str(archive / "north" / "B11.tif"))
    item.assets["B02_10m"] = item.assets.pop("blue")
    assert items.find_band(item, "B2")[0] == "B02_10m"
