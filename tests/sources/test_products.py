"""Products of Sentinel-2: what their metadata say, in each of the forms that they come in."""

import importlib.util
import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from stactools.sentinel2.stac import create_item

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.sources.sentinel2 import open_scene

SPEC = importlib.util.spec_from_file_location("safe_files", Path(__file__).with_name("safe_files.py"))
safe_files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(safe_files)

LEFT, TOP = 600000.0, 4700040.0
GRID = GeoBox((120, 120), Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32654")
BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
CLEAR = np.full((60, 60), 4, dtype=np.uint8)
RED = np.full((120, 120), 1500, dtype=np.uint16)


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves files and parts of them, as GDAL asks for them."""

    def do_GET(self):
        wanted = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        if wanted is None:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture
def server(tmp_path):
    """The address at which the files of `tmp_path` are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=tmp_path)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def stored():
    """Stored values of all bands, with pixels that mean nothing."""
    random = np.random.default_rng(0)
    bands = {}
    for name, size in safe_files.NATIVE_M.items():
        side = 1200 // size
        bands[name] = random.integers(1001, 6000, (side, side)).astype(np.uint16)
        bands[name][2, 3], bands[name][4, 5] = 0, 65535
    bands["SCL"] = random.integers(0, 12, (60, 60)).astype(np.uint8)
    return bands


def scene_of(*products, bands=("B4",), **keys):
    return SceneConfig.model_validate({"products": products, "bands": bands, **keys})


def read(*products, root, **keys):
    return open_scene(scene_of(*products, **keys), root=root).products


def stored_offsets(product):
    return {name: round(raster.offset / raster.scale, 6) for name, raster in product.bands.items()}


def write_item(path, assets, *, version="1.0.0", **properties):
    """Write a STAC item as a catalogue would serve it."""
    item = {
        "type": "Feature",
        "stac_version": version,
        "id": path.stem,
        "geometry": None,
        "properties": {"datetime": "2018-09-11T01:26:51Z", **properties},
        "links": [],
        "assets": assets,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item))
    return path


def red_file(folder, name="red.tif", values=RED):
    safe_files.write_image(folder / name, values, crs="EPSG:32654", left=LEFT, top=TOP, size=10)
    return name


def coarse_file(folder):
    safe_files.write_image(folder / "coarse.tif", RED[::2, ::2], crs="EPSG:32654", left=LEFT, top=TOP, size=20)
    return "coarse.tif"


# --- SAFE folders ---


@pytest.mark.parametrize(("baseline", "offset"), [("02.14", 0), ("04.00", -1000), ("05.09", -1000)])
def test_the_offset_is_what_the_metadata_of_the_baseline_say(tmp_path, baseline, offset):
    """R1: no list of offsets before 04.00 means 0."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline=baseline)
    (product,) = read(safe, root=tmp_path)
    assert stored_offsets(product) == {"B4": offset}
    assert (product.baseline, product.tile, product.acquired) == (baseline, "54TWN", "2018-09-11")


def test_offsets_land_on_their_bands_and_id_8_is_b8a(tmp_path, stored):
    """R2, R3: band ids count B1 to B8, B8A, B9 to B12; the classification has none."""
    safe = safe_files.write_safe(tmp_path, stored, offsets=[-100 * i for i in range(13)])
    (product,) = read(safe, root=tmp_path, bands=("B1", *BANDS, "B9"))
    ids = {"B1": 0, "B2": 1, "B3": 2, "B4": 3, "B5": 4, "B6": 5, "B7": 6, "B8": 7, "B8A": 8, "B9": 9, "B11": 11}
    assert stored_offsets(product) == {name: -100 * number for name, number in {**ids, "B12": 12}.items()}
    assert (product.rasters["SCL"].scale, product.rasters["SCL"].offset) == (1.0, 0.0)


def test_bands_are_those_that_stactools_finds(tmp_path, stored):
    """A second witness of what the metadata of a SAFE folder mean."""
    safe = safe_files.write_safe(tmp_path, stored)
    (product,) = read(safe, root=tmp_path, bands=("B1", *BANDS, "B9"))
    item = create_item(str(safe))
    stated = {asset.href: asset.extra_fields.get("raster:bands", [{}])[0] for asset in item.assets.values()}
    assert len(product.rasters) == 13
    for name, raster in product.rasters.items():
        expected = (1, 0) if name == "SCL" else (stated[raster.href]["scale"], stated[raster.href]["offset"])
        assert (raster.scale, raster.offset) == expected
    tile = item.properties["grid:code"].removeprefix("MGRS-")
    assert (product.baseline, product.tile) == (item.properties["s2:processing_baseline"], tile)
    assert product.acquired == item.datetime.date().isoformat()


def test_the_quantification_value_is_read(tmp_path):
    """R9: 20000 instead of the usual 10000; here stactools alone is wrong."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, quantification=20000)
    assert create_item(str(safe)).assets["red"].extra_fields["raster:bands"][0]["scale"] == 1e-4
    found = open_scene(scene_of(safe), root=tmp_path).reflectance("B4", GRID)
    np.testing.assert_allclose(found, 500 / 20000, atol=1e-8)


def test_the_name_of_a_safe_folder_does_not_matter(tmp_path):
    """And folders above it that look like bands do not either."""
    safe = safe_files.write_safe(tmp_path / "a_B02_10m", {"B04": RED, "SCL": CLEAR})
    renamed = safe.rename(safe.parent / "before")
    (product,) = read(renamed, root=tmp_path)
    assert product.bands["B4"].href.endswith("_B04_10m.jp2")


@pytest.mark.parametrize("renamed", ["S2A_MSIL2A_20180911.SAFE", "scene"])
def test_l1c_is_refused_by_its_product_type(tmp_path, renamed):
    """R7: whatever the folder is called."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED}, short="1C").rename(tmp_path / renamed)
    with pytest.raises(InputError, match="found product type S2MSI1C, expected S2MSI2A .*Sen2Cor"):
        read(safe, root=tmp_path)


def test_l1c_is_refused_in_a_folder_and_as_an_item(tmp_path):
    """R7: in the other forms too."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED}, short="1C")
    folder = tmp_path / "folder"
    red_file(folder, "B04.tif")
    shutil.copy(safe / "MTD_MSIL1C.xml", folder / "MTD_MSIL1C.xml")
    asset = {"href": red_file(tmp_path), "raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
    item = write_item(tmp_path / "item.json", {"B04": asset}, **{"s2:product_type": "S2MSI1C"})
    for product in (folder, item):
        with pytest.raises(InputError, match="found product type S2MSI1C"):
            read(product, root=tmp_path)


def test_a_safe_folder_may_hold_geotiff(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, suffix=".tif")
    np.testing.assert_allclose(open_scene(scene_of(safe), root=tmp_path).reflectance("B4", GRID), 0.05, atol=1e-7)


def test_the_finest_raster_of_a_band_is_taken(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    image = next(safe.rglob("*_B04_10m.jp2"))
    coarse = image.parent.parent / "R20m" / image.name.replace("10m", "20m")
    safe_files.write_image(coarse, RED[::2, ::2], crs="EPSG:32654", left=LEFT, top=TOP, size=20)
    listed = f"<IMAGE_FILE>{coarse.relative_to(safe).with_suffix('')}</IMAGE_FILE>"
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("<IMAGE_FILE>", f"{listed}<IMAGE_FILE>", 1))
    (product,) = read(safe, root=tmp_path)
    assert product.bands["B4"].href == str(image)


def test_xml_with_entities_is_refused(tmp_path):
    """Before any parser expands them."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    path = safe / "MTD_MSIL2A.xml"
    bomb = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    path.write_text(path.read_text().replace('encoding="UTF-8"?>', f'encoding="UTF-8"?>{bomb}', 1))
    with pytest.raises(InputError, match=r"MTD_MSIL2A\.xml: found a DTD or entities"):
        read(safe, root=tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("<IMAGE_FILE>", "<IMAGE_FILE>GRANULE/../../../", "leads out of it"),
        ("BOA_QUANTIFICATION_VALUE", "OTHER", "found no BOA_QUANTIFICATION_VALUE"),
        (">10000</BOA_Q", ">inf</BOA_Q", "found BOA_QUANTIFICATION_VALUE 'inf'"),
        ('band_id="3"', 'band_id="13"', r"no offset \(BOA_ADD_OFFSET\) of B4.*give boa_offset"),
        ('band_id="3">-1000', 'band_id="2">-900', "no offset .* of B4"),
        ("BOA_ADD_OFFSET_VALUES_LIST", "OTHER", None),
        ("<Datatake ", "<Other ", "is not XML"),
        ("IMAGE_FILE", "OTHER", "found no band"),
    ],
)
def test_broken_metadata_end_in_one_line(tmp_path, old, new, problem):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    path = safe / "MTD_MSIL2A.xml"
    path.write_text(path.read_text().replace(old, new))
    if problem is None:  # where the list stands does not matter
        assert stored_offsets(read(safe, root=tmp_path)[0]) == {"B4": -1000}
        return
    with pytest.raises(InputError, match=problem) as caught:
        read(safe, root=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_baseline_that_has_offsets_must_list_them(tmp_path):
    """R1: 0 is only assumed for baselines before 04.00."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, offsets=[], baseline="04.00")
    with pytest.raises(InputError, match=r"no offset .* of B4, and its processing baseline is 04\.00; give boa_offset"):
        read(safe, root=tmp_path)


def test_an_incomplete_product_is_named(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    with pytest.raises(InputError, match="has no band B8A; found B4, SCL"):
        read(safe, root=tmp_path, bands=("B4", "B8A"))
    with pytest.raises(InputError, match="bands: found 'B13'"):
        read(safe, root=tmp_path, bands=("B13",))
    next(safe.rglob("*_B04_10m.jp2")).unlink()
    with pytest.raises(InputError, match=r"_B04_10m\.jp2: cannot be read as a raster"):
        read(safe, root=tmp_path)
    (safe / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(InputError, match=r"found no MTD_MSIL2A\.xml, expected .*manifest\.safe"):
        read(safe, root=tmp_path)


@pytest.mark.parametrize("baseline", ["99.99", "", "N9999"])
@pytest.mark.parametrize("form", ["safe", "folder", "item"])
def test_a_product_made_at_home_has_no_offset_where_none_existed_when_it_was_made(tmp_path, baseline, form):
    """R1: later ones without a list of offsets need boa_offset, in each form, and with it nothing of the offsets."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="02.14")
    metadata = safe / "MTD_MSIL2A.xml"
    safe_files.edit(metadata, ">02.14<", f">{baseline}<")
    safe_files.edit(metadata, "_N0214_", "_N9999_")
    product = safe
    if form == "folder":
        product = metadata.rename(tmp_path / metadata.name).parent / "folder"
        red_file(product, "B04.tif")
        metadata = (tmp_path / metadata.name).rename(product / metadata.name)
    if form == "item":
        link = {"href": str(metadata.relative_to(tmp_path))}
        product = write_item(tmp_path / "a.json", {"B04": {"href": red_file(tmp_path)}, "product_metadata": link})
    assert stored_offsets(read(product, root=tmp_path)[0]) == {"B4": 0}
    safe_files.edit(metadata, "(<GENERATION_TIME>)2018", r"\g<1>2023")
    with pytest.raises(InputError, match=r"no offset .* of B4, and .*; give boa_offset"):
        read(product, root=tmp_path)
    for given in (0, -1000):
        assert stored_offsets(read(product, root=tmp_path, boa_offset=given)[0]) == {"B4": given}
    safe_files.edit(metadata, "psd-14", "psd-13")
    assert stored_offsets(read(product, root=tmp_path)[0]) == {"B4": 0}


def test_offsets_that_a_product_made_at_home_lists_count(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="05.09")
    safe_files.edit(safe / "MTD_MSIL2A.xml", ">05.09<", ">99.99<")
    assert stored_offsets(read(safe, root=tmp_path)[0]) == {"B4": -1000}


def test_the_tags_of_early_versions_of_sen2cor_are_read(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="02.04")
    metadata = safe / "MTD_MSIL2A.xml"
    safe_files.edit(metadata, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    safe_files.edit(metadata, "IMAGE_FILE>", "IMAGE_FILE_2A>")
    safe_files.edit(metadata, "Granule>", "Granules>")
    safe_files.edit(metadata, "<Granule ", "<Granules ")
    assert stored_offsets(read(safe, root=tmp_path)[0]) == {"B4": 0}


def test_a_safe_folder_without_manifest_is_read_by_its_metadata(tmp_path):
    """As other programs leave it; what cannot be one says what it lacks."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    expected = open_scene(scene_of(safe), root=tmp_path).reflectance("B4", GRID)
    (safe / "manifest.safe").unlink()
    scene = open_scene(scene_of(safe), root=tmp_path)
    np.testing.assert_array_equal(scene.reflectance("B4", GRID), expected)
    assert any("manifest.safe" in note for note in scene.notes)
    with pytest.raises(InputError, match=rf"found no band, expected .*manifest\.safe.*; name {safe.name} in it"):
        read(tmp_path, root=tmp_path)
    (safe / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(InputError, match=r"found no MTD_MSIL2A\.xml, expected .*manifest\.safe"):
        read(safe, root=tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="expected an unpacked SAFE folder"):
        read(tmp_path / "a.zip", root=tmp_path)


# --- All forms are one ---


def test_all_forms_give_the_same_bits(tmp_path, stored, server):
    """R8, R1: SAFE, folders of GeoTIFF and STAC items, local and over http, of both versions of STAC."""
    safe = safe_files.write_safe(tmp_path, stored)
    tagged, plain = tmp_path / "tagged", tmp_path / "plain"
    shared = {"crs": "EPSG:32654", "left": LEFT, "top": TOP}
    assets, newer = {}, {}
    for name, values in stored.items():
        size = safe_files.NATIVE_M[name]
        tags = {} if name == "SCL" else {"scale": 1e-4, "offset": -0.1}
        safe_files.write_image(
            tagged / f"T54TWN_20180911T012651_{name}_{size}m.tif", values, size=size, **shared, **tags
        )
        safe_files.write_image(plain / f"{name}.tif", values, size=size, **shared)
        href = f"./plain/{name}.tif"
        assets[name] = {"href": href, "raster:bands": [tags]}
        newer[name] = {"href": href, "bands": [{"name": name, **{f"raster:{key}": tags[key] for key in tags}}]}
    shutil.copy(safe / "MTD_MSIL2A.xml", plain)
    local = write_item(tmp_path / "item.json", assets)
    write_item(tmp_path / "newer.json", newer, version="1.1.0")
    forms = [safe, tagged, plain, local, tmp_path / "newer.json", f"{server}/item.json", f"{server}/newer.json"]
    scenes = [open_scene(scene_of(form, bands=BANDS), root=tmp_path) for form in forms]
    for name in BANDS:
        first = scenes[0].reflectance(name, GRID)
        assert np.isnan(first).any()
        assert np.nanmax(first) <= 0.6
        for scene in scenes[1:]:
            np.testing.assert_array_equal(scene.reflectance(name, GRID), first)
    for scene in scenes[1:]:
        np.testing.assert_array_equal(scene.clear(GRID), scenes[0].clear(GRID))
        assert scene.acquired == "2018-09-11"
        assert scene.lattice() == scenes[0].lattice()
    assert len(scenes[0].files) == 1 + 11
    assert len(scenes[2].files) == 1 + 11
    assert scenes[3].files[0] == local
    assert (scenes[3].remote, scenes[5].files) == ((), ())
    assert scenes[5].remote[0] == f"{server}/item.json"
    assert len(scenes[5].remote) == 12


def test_an_item_that_stactools_wrote_is_read(tmp_path):
    """R1: DN 500 without and 1500 with offset are the same reflectance."""
    for baseline, value in (("02.14", 500), ("05.09", 1500)):
        values = np.full((120, 120), value, dtype=np.uint16)
        safe = safe_files.write_safe(tmp_path / baseline, {"B04": values, "SCL": CLEAR}, baseline=baseline)
        item = create_item(str(safe), asset_href_prefix=safe.name)
        for key in list(item.assets):
            if "reflectance" not in (item.assets[key].roles or []) and key != "scl":
                del item.assets[key]
        path = safe.parent / "item.json"
        path.write_text(json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False)))
        found = open_scene(scene_of(path), root=tmp_path).reflectance("B4", GRID)
        np.testing.assert_allclose(found, 0.05, atol=1e-8)


# --- Folders ---


def test_a_folder_that_states_nothing_of_its_values_is_refused_unless_the_offset_is_given(tmp_path):
    """R6: nothing is assumed without a word."""
    red_file(tmp_path / "a", "post_B4.tif")
    with pytest.raises(InputError, match=r"post_B4\.tif has no scale .*MTD_MSIL2A\.xml.*boa_offset"):
        read(tmp_path / "a", root=tmp_path)
    found = open_scene(scene_of(tmp_path / "a", boa_offset=-1000), root=tmp_path).reflectance("B4", GRID)
    np.testing.assert_allclose(found, 0.05, atol=1e-8)


@pytest.mark.parametrize(
    "name", ["B4.tif", "B04.TIF", "post_B4.tiff", "T54TWN_20180911T012651_B04_10m.jp2", "b04_10m.tif", "x-B04-clip.tif"]
)
def test_bands_of_a_folder_are_told_by_their_names(tmp_path, name):
    red_file(tmp_path / "a", name) if not name.endswith("TIF") else red_file(tmp_path / "a", "B04.tif")
    (tmp_path / "a" / "readme_B04.txt").write_text("not a raster")
    (product,) = read(tmp_path / "a", root=tmp_path, boa_offset=0)
    assert list(product.bands) == ["B4"]
    assert product.acquired == ("2018-09-11" if "2018" in name else "")


def test_two_rasters_of_one_band_are_refused_and_none_too(tmp_path):
    red_file(tmp_path / "a", "one_B04.tif")
    red_file(tmp_path / "a", "two_B04.tif")
    with pytest.raises(InputError, match=r"found one_B04\.tif and two_B04\.tif for B4"):
        read(tmp_path / "a", root=tmp_path, boa_offset=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: found no band"):
        read(tmp_path / "empty", root=tmp_path)


def test_float_rasters_of_a_folder_are_reflectance(tmp_path):
    red_file(tmp_path / "a", "B04.tif", np.full((120, 120), 0.05, dtype=np.float32))
    found = open_scene(scene_of(tmp_path / "a"), root=tmp_path).reflectance("B4", GRID)
    np.testing.assert_allclose(found, 0.05, atol=1e-8)


@pytest.mark.parametrize("name", ["B04.tif", "B04.jp2"])
def test_what_only_calls_itself_geotiff_or_jpeg_2000_is_not_opened(tmp_path, name):
    """A VRT leads to any file or address; its content, not its name, makes GDAL take it for one."""
    red_file(tmp_path, "secret.tif")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text(
        '<VRTDataset rasterXSize="120" rasterYSize="120"><SRS>EPSG:32654</SRS>'
        "<GeoTransform>600000, 10, 0, 4700040, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match=rf"{name}: cannot be read as a raster"):
        read(tmp_path / "a", root=tmp_path, boa_offset=0)


# --- STAC items ---


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("red", {"eo:bands": [{"name": "red", "common_name": "red"}]}),
        ("red", {"eo:bands": [{"name": "B04", "common_name": "red"}]}),
        ("B04", {}),
        ("B04_10m", {"bands": [{"name": "B04", "eo:common_name": "red"}]}),
        ("anything", {"eo:bands": [{"name": "B04"}]}),
    ],
)
def test_bands_go_by_the_names_of_the_catalogues(tmp_path, key, fields):
    """Earth Search, its collection 1, Planetary Computer, Copernicus Data Space; beside what is no band."""
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
    assets = {
        "visual": {"href": "tci.tif", "eo:bands": [{"name": "B04"}, {"name": "B03"}, {"name": "B02"}], **said},
        "thumbnail": {"href": "s3://elsewhere/preview.jpg", "roles": ["thumbnail"]},
        "red-jp2": {"href": "s3://elsewhere/B04.jp2", "eo:bands": [{"name": "B04"}], **said},
        "B04_20m": {"href": coarse_file(tmp_path), **said},
        key: {"href": red_file(tmp_path), **said, **fields},
    }
    item = write_item(tmp_path / "item.json", assets, **{"grid:code": "MGRS-54TWN"})
    (product,) = read(item, root=tmp_path)
    assert product.bands["B4"].href == str(tmp_path / "red.tif")
    assert product.tile == "54TWN"


@pytest.mark.parametrize(
    ("name", "band"),
    [("coastal", "B1"), ("rededge1", "B5"), ("rededge2", "B6"), ("rededge3", "B7"), ("nir", "B8"), ("nir08", "B8A")],
)
def test_common_names_stand_for_their_bands(tmp_path, name, band):
    said = {"raster:bands": [{"scale": 1e-4, "offset": 0}], "eo:bands": [{"name": name, "common_name": "rededge"}]}
    item = write_item(tmp_path / "item.json", {name: {"href": red_file(tmp_path), **said}})
    assert list(read(item, root=tmp_path, bands=(band,))[0].bands) == [band]


def test_a_band_of_an_asset_with_several_is_told_by_its_place(tmp_path):
    values = np.stack([RED, RED + 100])
    path = tmp_path / "both.tif"
    profile = {
        "count": 2,
        "height": 120,
        "width": 120,
        "dtype": "uint16",
        "crs": "EPSG:32654",
        "transform": GRID.affine,
    }
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(values)
    said = {"eo:bands": [{"name": "B03"}, {"name": "B04"}], "raster:bands": [{"scale": 1e-4, "offset": 0}] * 2}
    item = write_item(tmp_path / "item.json", {"reflectance": {"href": "both.tif", **said}})
    found = open_scene(scene_of(item), root=tmp_path).reflectance("B4", GRID)
    np.testing.assert_allclose(found, 0.16, atol=1e-8)


def test_an_item_without_a_scale_is_refused_unless_the_offset_is_given(tmp_path):
    """R1, R6: a scale is never assumed; nor is an offset where the baseline asks for one."""
    item = write_item(tmp_path / "item.json", {"B04": {"href": red_file(tmp_path)}})
    with pytest.raises(InputError, match=r"/red\.tif has no scale .*boa_offset"):
        read(item, root=tmp_path)
    assert stored_offsets(read(item, root=tmp_path, boa_offset=-1000)[0]) == {"B4": -1000}
    said = {"B04": {"href": "red.tif", "raster:bands": [{"scale": 1e-4}]}}
    item = write_item(tmp_path / "item.json", said, **{"s2:processing_baseline": "05.09"})
    with pytest.raises(
        InputError, match=r"a scale and no offset .* its processing baseline is 05\.09; give boa_offset"
    ):
        read(item, root=tmp_path)
    item = write_item(tmp_path / "item.json", said, **{"s2:processing_baseline": "02.14"})
    assert stored_offsets(read(item, root=tmp_path)[0]) == {"B4": 0}


def test_scale_and_offset_come_from_the_product_metadata_that_an_item_links_to(tmp_path):
    """As at Planetary Computer, whose items say neither."""
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, offsets=[-100 * i for i in range(13)])
    assets = {
        "B04": {"href": red_file(tmp_path), "eo:bands": [{"name": "B04"}]},
        "product-metadata": {"href": f"{safe.name}/MTD_MSIL2A.xml", "roles": ["metadata"]},
    }
    product = read(write_item(tmp_path / "item.json", assets), root=tmp_path)[0]
    assert stored_offsets(product) == {"B4": -300}
    assert safe / "MTD_MSIL2A.xml" in product.files


def test_an_offset_that_earth_search_applied_is_not_applied_again(tmp_path):
    """R6: its items go on saying -0.1."""
    assets = {"red": {"href": red_file(tmp_path), "raster:bands": [{"scale": 1e-4, "offset": -0.1}]}}
    item = write_item(tmp_path / "item.json", assets, **{"earthsearch:boa_offset_applied": True})
    assert stored_offsets(read(item, root=tmp_path)[0]) == {"B4": 0}


@pytest.mark.parametrize(
    "href",
    [
        "../outside.tif",
        "/etc/hostname",
        "s3://bucket/B04.tif",
        "file:///etc/hostname",
        "/vsicurl/http://127.0.0.1/B04.tif",
        "/vsizip/a.zip/B04.tif",
        "<VRTDataset/>",
        "http://127.0.0.1/a b.tif",
        "NETCDF:red.tif:band",
    ],
)
def test_items_lead_nowhere_but_to_files_beside_them_and_to_http(tmp_path, href):
    root = tmp_path / "event"
    red_file(tmp_path, "outside.tif")
    item = write_item(root / "item.json", {"B04": {"href": href, "raster:bands": [{"scale": 1e-4, "offset": 0}]}})
    with pytest.raises(InputError, match="leads out of it|expected a file beside it or http"):
        read(item, root=root)


@pytest.mark.parametrize("href", ["file:///etc/hostname", "s3://bucket/B04.tif", "ftp://127.0.0.1/B04.tif", "a b.tif"])
def test_remote_items_lead_to_http_only(tmp_path, server, href):
    write_item(tmp_path / "item.json", {"B04": {"href": href, "raster:bands": [{"scale": 1e-4, "offset": 0}]}})
    with pytest.raises(InputError, match=r"item\.json: found the address .*expected a file beside it or http"):
        read(f"{server}/item.json", root=tmp_path)


def test_what_cannot_be_fetched_is_one_line(tmp_path, server):
    for address in (f"{server}/missing.json", "http://127.0.0.1:9/item.json"):
        with pytest.raises(InputError, match=rf"{address}: cannot be fetched \(") as caught:
            read(address, root=tmp_path)
        assert "\n" not in str(caught.value)
    write_item(tmp_path / "item.json", {"B04": {"href": "no.tif", "raster:bands": [{"scale": 1e-4, "offset": 0}]}})
    with pytest.raises(InputError, match=rf"{server}/no\.tif: cannot be read as a raster") as caught:
        read(f"{server}/item.json", root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keys", [("B04", "red"), ("red", "B04")])
@pytest.mark.parametrize("stated", [{}, {"gsd": 10}])
def test_of_two_assets_of_a_band_the_one_with_the_smaller_pixels_is_read(tmp_path, keys, stated):
    """Their metadata do not tell: nothing is stated, or the size of the instrument's pixels for both."""
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}], **stated}
    fine, coarse = ({"href": make(tmp_path), **said} for make in (red_file, coarse_file))
    (product,) = read(write_item(tmp_path / "item.json", dict(zip(keys, (fine, coarse), strict=True))), root=tmp_path)
    assert Path(product.bands["B4"].href).name == "red.tif"


def test_two_assets_of_a_band_that_cannot_be_told_apart_are_named(tmp_path):
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}], "gsd": 10}
    assets = {"FRE_B4": {"href": red_file(tmp_path), "eo:bands": [{"name": "B4"}], **said}}
    assets["SRE_B4"] = {**assets["FRE_B4"], "href": red_file(tmp_path, "other.tif")}
    with pytest.raises(InputError, match=r"item\.json: found .*red\.tif and .*other\.tif for B4, expected one of them"):
        read(write_item(tmp_path / "item.json", assets), root=tmp_path)


def test_two_assets_of_a_band_that_are_one_raster_are_read_by_what_either_states(tmp_path):
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
    assets = {"B04": {"href": red_file(tmp_path), **said}, "red": {"href": "red.tif"}}
    (product,) = read(write_item(tmp_path / "item.json", assets), root=tmp_path)
    assert stored_offsets(product) == {"B4": -1000}


def test_what_may_be_a_secret_in_an_address_is_not_shown(tmp_path, server):
    """A signature in a query lets anybody read; it belongs in no log and no record."""
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
    write_item(tmp_path / "item.json", {"B04": {"href": f"{red_file(tmp_path)}?signature=secret", **said}})
    scene = open_scene(scene_of(f"{server}/item.json?token=secret"), root=tmp_path)
    np.testing.assert_allclose(scene.reflectance("B4", GRID), 0.05, atol=1e-7)
    assert scene.remote == (f"{server}/item.json", f"{server}/red.tif")
    assert "secret" not in " ".join(scene.notes)
    write_item(tmp_path / "item.json", {"B04": {"href": "no.tif?signature=secret", **said}})
    for item in (f"{server}/item.json?token=secret", f"{server}/no.json?token=secret"):
        with pytest.raises(InputError) as caught:
            read(item, root=tmp_path)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "FeatureCollection", "features": []}', "\xff", "[" * 99999])
def test_what_is_no_item_is_refused(tmp_path, text):
    path = tmp_path / "item.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"item\.json: is not a STAC item"):
        read(path, root=tmp_path)


def test_what_is_no_product_is_refused(tmp_path):
    red_file(tmp_path)
    with pytest.raises(InputError, match=r"red\.tif: is no product; expected an unpacked SAFE folder"):
        read(tmp_path / "red.tif", root=tmp_path)


def test_an_item_made_with_pystac_is_read(tmp_path):
    day = pystac.utils.str_to_datetime("2018-09-11T01:26:51Z")
    item = pystac.Item("x", geometry=None, bbox=None, datetime=day, properties={})
    said = {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 1600}]}
    item.add_asset("B04", pystac.Asset(red_file(tmp_path), extra_fields=said))
    (tmp_path / "item.json").write_text(json.dumps(item.to_dict()))
    (product,) = read(tmp_path / "item.json", root=tmp_path)
    assert product.bands["B4"].invalid == (0, 1600, 65535)


# --- Several products ---


def test_of_one_tile_the_highest_baseline_is_kept(tmp_path):
    """Reprocessed products lie beside the old ones in many archives."""
    old = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="02.14")
    new = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="05.09")
    other = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, baseline="02.14", tile="54TXN")
    _, found, notes = open_scene(scene_of(old, new, other), root=tmp_path)
    assert [product.name for product in found] == [str(new), str(other)]
    assert any(f"{old}: left out, tile 54TWN" in note for note in notes)


def test_products_of_two_days_are_refused(tmp_path):
    one = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    other = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR}, date="2018-09-16", tile="54TXN")
    with pytest.raises(InputError, match="of 2018-09-11 01:26 and .* of 2018-09-16 01:26 UTC, expected one day"):
        read(one, other, root=tmp_path)


def said_at(path, tile, **times):
    said = {"B04": {"href": "red.tif", "raster:bands": [{"scale": 1e-4, "offset": 0}]}}
    return write_item(path, said, **{"s2:mgrs_tile": tile, **times})


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ({"datetime": "2021-03-01T23:59:52Z"}, {"datetime": "2021-03-02T00:00:06Z"}, True),
        ({"datetime": "2021-03-02T08:59:52+09:00"}, {"datetime": "2021-03-02T00:00:06Z"}, True),
        ({"datetime": None, "start_datetime": "2021-03-01T23:58:00Z", "end_datetime": "2021-03-02T00:03:00Z"},
         {"datetime": "2021-03-02T00:04:06Z"}, True),
        ({"datetime": "2021-03-01T00:00:00Z"}, {"datetime": "2021-03-01T23:59:52Z"}, True),
        ({"datetime": "2021-03-01T00:00:00Z"}, {"datetime": "2021-03-02T00:00:00Z"}, False),
        ({"datetime": "2021-03-01T23:59:52Z"}, {"datetime": "2021-03-02T23:59:41Z"}, False),
        ({"datetime": "2021-03-02T00:00:06Z"}, {"datetime": "2021-03-02T23:59:52Z"}, False),
    ],
)  # fmt: skip
def test_tiles_of_one_overpass_are_one_scene_also_across_midnight(tmp_path, one, other, together):
    red_file(tmp_path)
    items = [said_at(tmp_path / "a.json", "57LXK", **one), said_at(tmp_path / "b.json", "57LXJ", **other)]
    if not together:
        with pytest.raises(InputError, match=r"products: found .* expected one day"):
            read(*items, root=tmp_path)
        return
    for keys in ({}, {"date": "2021-03-01"}):
        assert open_scene(scene_of(*items, **keys), root=tmp_path).acquired == "2021-03-01"
    with pytest.raises(InputError, match="date: found 2021-03-04"):
        read(*items, root=tmp_path, date="2021-03-04")


def test_names_of_a_folder_that_are_of_two_days_are_refused(tmp_path):
    folder, late = tmp_path / "a", "T57LXK_20210302T000006_B03_10m.tif"
    red_file(folder, "T57LXK_20210301T235952_B04_10m.tif")
    red_file(folder, late)
    keys = {"bands": ("B3", "B4"), "boa_offset": 0}
    assert [read(tmp_path / "a", root=tmp_path, date=day, **keys)[0].acquired for day in ("2021-03-01", "2021-03-02")]
    (tmp_path / "a" / "T57LXK_20210302T000006_B03_10m.tif").rename(
        tmp_path / "a" / "T57LXK_20210306T000006_B03_10m.tif"
    )
    with pytest.raises(InputError, match="expected one day"):
        read(tmp_path / "a", root=tmp_path, **keys)


def test_the_date_of_the_event_file_must_be_that_of_the_products(tmp_path):
    safe = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    assert open_scene(scene_of(safe, date="2018-09-11"), root=tmp_path).acquired == "2018-09-11"
    with pytest.raises(InputError, match="date: found 2018-09-12, but .* was acquired on 2018-09-11"):
        read(safe, root=tmp_path, date="2018-09-12")


def test_a_classification_is_there_for_all_products_or_for_none(tmp_path):
    one = safe_files.write_safe(tmp_path, {"B04": RED, "SCL": CLEAR})
    other = safe_files.write_safe(tmp_path, {"B04": RED}, tile="54TXN")
    with pytest.raises(InputError, match=rf"{other}: has no scene classification"):
        read(one, other, root=tmp_path)
