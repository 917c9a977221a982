"""Products of the simulation, read by coslide, stactools and GDAL."""

import dataclasses
import datetime as dt
import struct

import numpy as np
import pytest
import rasterio
from affine import Affine
from defusedxml.ElementTree import parse
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds
from stactools.sentinel2.stac import create_item

import coslide.simulate.safe
from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.simulate.frame import SCENE_TIMES, Frame
from coslide.simulate.safe import NATIVE_M, Acquisition, write_safe
from coslide.sources.sentinel2 import open_scene

FRAME = Frame(scene_px=120)
TILE = FRAME.tile
GRID = FRAME.scene
PRE = Acquisition(sensed=SCENE_TIMES["pre"], tile=TILE, baseline="02.14", sun_zenith_deg=38.25, sun_azimuth_deg=151.5)
POST = dataclasses.replace(PRE, sensed=SCENE_TIMES["post"], baseline="04.00", sun_zenith_deg=21.75)
BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")


@pytest.fixture(scope="module")
def bands():
    """Stored values of all bands, the extremes among them, in an order that is not that of a product."""
    random = np.random.default_rng(0)
    made = {}
    for name, pixel_m in reversed(NATIVE_M.items()):
        made[name] = random.integers(1001, 65535, (1200 // pixel_m,) * 2).astype(np.uint16)
        made[name][2, 3], made[name][4, 5], made[name][5, 5] = 0, 65535, 65534
    made["SCL"] = random.integers(0, 12, (60, 60)).astype(np.uint8)
    return made


@pytest.fixture(scope="module")
def product(tmp_path_factory, bands):
    """The later product. Tests leave it as it is."""
    return write_safe(tmp_path_factory.mktemp("safe"), bands.items(), POST, GRID)


def scene_of(product):
    return open_scene(SceneConfig.model_validate({"products": [product], "bands": BANDS}), root=product.parent)


def tags_of(path):
    """Return the texts of each element name of a document."""
    found = {}
    for element in parse(path, forbid_dtd=True).iter():
        found.setdefault(element.tag.rpartition("}")[2], []).append((element.text or "").strip())
    return found


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- Read by others ---


@pytest.mark.parametrize(
    ("seen", "offset"), [(PRE, 0), (POST, -1000), (dataclasses.replace(POST, baseline="05.09"), -1000)]
)
def test_coslide_reads_what_was_written(tmp_path, bands, seen, offset):
    scene = scene_of(write_safe(tmp_path, bands.items(), seen, GRID))
    assert scene.acquired == str(seen.sensed.date())
    (found,) = scene.products
    assert (found.baseline, found.tile) == (seen.baseline, TILE)
    assert seen.offset_dn == offset
    for name in BANDS:
        raster = found.bands[name]
        assert (raster.scale, round(raster.offset / raster.scale, 6)) == (1e-4, offset)
        stored = bands[f"B{name[1:]:0>2}"]
        grid = GRID.zoom_out(NATIVE_M[f"B{name[1:]:0>2}"] / 10)
        valid = (stored != 0) & (stored != 65535)
        reflectance = scene.reflectance(name, grid)
        np.testing.assert_array_equal(np.isfinite(reflectance), valid)
        np.testing.assert_allclose(reflectance[valid], (stored[valid] + float(offset)) / 10000, rtol=2e-7, atol=2e-7)
    classes = bands["SCL"].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(scene.clear(GRID), ~np.isin(classes, [0, 1, 3, 8, 9, 10, 11]))
    assert scene.lattice() == GeoBox((1, 1), Affine(60, 0, GRID.affine.c, 0, -60, GRID.affine.f), GRID.crs)


def test_stactools_reads_time_angles_and_shares_of_classes(product, bands):
    item = create_item(str(product))
    classes = bands["SCL"].ravel()
    valid = classes[classes > 0]
    expected = {
        "eo:cloud_cover": np.isin(valid, [8, 9, 10]).mean(),
        "eo:snow_cover": (valid == 11).mean(),
        "s2:nodata_pixel_percentage": (classes == 0).mean(),
        "s2:water_percentage": (valid == 6).mean(),
        "s2:vegetation_percentage": (valid == 4).mean(),
    }
    assert {key: item.properties[key] for key in expected} == pytest.approx(
        {key: 100 * share for key, share in expected.items()}, abs=1e-5
    )
    assert item.datetime == POST.sensed
    assert item.properties["view:sun_azimuth"] == 151.5
    assert item.properties["view:sun_elevation"] == pytest.approx(90 - 21.75)
    assert item.properties["grid:code"] == f"MGRS-{TILE}"
    assert len(item.assets) == 13 + 5
    bounds = transform_bounds(str(GRID.crs), "EPSG:4326", *GRID.boundingbox.bbox)
    assert item.bbox == pytest.approx(bounds, abs=2e-6)
    for asset in item.assets.values():
        assert (product.parent / asset.href).is_file()
    with rasterio.open(item.assets["swir16"].href) as file:
        assert item.assets["swir16"].extra_fields["proj:transform"] == list(file.transform)[:6]
        assert item.assets["swir16"].extra_fields["proj:shape"] == list(file.shape)


def test_gdal_takes_it_for_a_product_of_esa(product, bands):
    """Its driver finds the bands by the metadata and places them by the positions in MTD_TL.xml."""
    names = {10: ["B4", "B3", "B2", "B8"], 20: ["B5", "B6", "B7", "B8A", "B11", "B12"], 60: ["B1", "B9"]}
    for pixel_m, expected in names.items():
        with rasterio.open(f"SENTINEL2_L2A:{product}/MTD_MSIL2A.xml:{pixel_m}m:EPSG_32659") as file:
            assert file.transform == GRID.affine * Affine.scale(pixel_m / 10)
            assert (
                file.tags()["CLOUD_COVERAGE_ASSESSMENT"]
                == tags_of(product / "MTD_MSIL2A.xml")["Cloud_Coverage_Assessment"][0]
            )
            found = {
                file.tags(index)["BANDNAME"]: file.read(index)
                for index in file.indexes
                if "BANDNAME" in file.tags(index)
            }
        assert set(expected) <= set(found)
        for name in expected:
            np.testing.assert_array_equal(found[name], bands[f"B{name[1:]:0>2}"])


def test_each_image_is_lossless_and_lies_where_its_pixels_are(product, bands):
    for name, values in bands.items():
        (path,) = product.rglob(f"*_{name}_{NATIVE_M[name]}m.jp2")
        assert path.parent.name == f"R{NATIVE_M[name]}m"
        with rasterio.open(path) as file:
            assert (file.driver, file.dtypes[0], file.crs.to_epsg()) == ("JP2OpenJPEG", values.dtype, 32659)
            assert file.transform == GRID.affine * Affine.scale(NATIVE_M[name] / 10)
            np.testing.assert_array_equal(file.read(1), values)


def test_large_images_have_the_tiles_of_esa(tmp_path, caplog):
    """1024 pixels at 10 m, 640 at 20 m, 192 at 60 m, by marker SIZ of the codestream (ISO 15444-1, A.5.1)."""
    grid = Frame(scene_px=1320).scene
    large = {name: np.zeros((13200 // NATIVE_M[name],) * 2, np.uint16) for name in ("B04", "B05", "B09")}
    product = write_safe(tmp_path, large.items(), POST, grid)
    for name, side in {"B04": 1024, "B05": 640, "B09": 192}.items():
        (path,) = product.rglob(f"*_{name}_*.jp2")
        content = path.read_bytes()
        width, height, _, _, *tile = struct.unpack_from(">6I", content, content.index(b"\xff\x4f\xff\x51") + 8)
        assert (height, width) == large[name].shape
        assert tile == [side, side]
    assert caplog.records == []


# --- The documents ---


def test_the_manifest_lists_every_other_file(product):
    listed = [element.get("href") for element in parse(product / "manifest.safe", forbid_dtd=True).iter("fileLocation")]
    assert {href.removeprefix("./") for href in listed} | {"manifest.safe"} == set(files_of(product))
    assert len(listed) == len(set(listed))


def test_names_are_those_of_the_naming_convention(product):
    """ESA: S2A_MSIL2A_<pass>_N<baseline>_R<orbit>_T<tile>_<made>.SAFE, and the same words inside."""
    sensed = f"{SCENE_TIMES['post']:%Y%m%dT%H%M%S}"
    made = f"{SCENE_TIMES['post'] + dt.timedelta(hours=3):%Y%m%dT%H%M%S}"
    assert product.name == f"S2A_MSIL2A_{sensed}_N0400_R130_T{TILE}_{made}.SAFE"
    metadata = tags_of(product / "MTD_MSIL2A.xml")
    assert metadata["PRODUCT_URI"] == [product.name]
    assert metadata["IMAGE_FILE"][0].endswith(f"/IMG_DATA/R10m/T{TILE}_{sensed}_B02_10m")
    assert [path.rpartition("/")[2].split("_")[2] for path in metadata["IMAGE_FILE"]] == list(NATIVE_M)
    (granule,) = (product / "GRANULE").iterdir()
    assert granule.name == f"L2A_T{TILE}_A{POST.absolute_orbit:06d}_{sensed}"
    (strip,) = (product / "DATASTRIP").iterdir()
    assert strip.name == f"DS_SIMU_{made}_S{sensed}"


def test_offsets_are_listed_from_baseline_04_00_on(tmp_path, product, bands):
    red = {"B04": bands["B04"]}
    before = tags_of(write_safe(tmp_path, red.items(), PRE, GRID) / "MTD_MSIL2A.xml")
    after = tags_of(product / "MTD_MSIL2A.xml")
    assert "BOA_ADD_OFFSET_VALUES_LIST" not in before
    assert after["BOA_ADD_OFFSET"] == ["-1000"] * 13
    assert before["BOA_QUANTIFICATION_VALUE"] == after["BOA_QUANTIFICATION_VALUE"] == ["10000"]


def test_the_granule_gives_size_and_position_of_each_resolution(product):
    (path,) = product.rglob("MTD_TL.xml")
    found = tags_of(path)
    assert found["NROWS"] == found["NCOLS"] == ["120", "60", "20"]
    assert (found["ULX"], found["ULY"]) == (["300000"] * 3, ["4000020"] * 3)
    assert (found["XDIM"], found["YDIM"]) == (["10", "20", "60"], ["-10", "-20", "-60"])
    assert found["HORIZONTAL_CS_NAME"] == ["WGS84 / UTM zone 59N"]


def test_the_product_is_marked_as_simulated(product):
    assert "Simulated" in (product / "INSPIRE.xml").read_text("utf-8")
    assert tags_of(next(product.rglob("MTD_DS.xml")))["PROCESSING_CENTER"] == ["SIMU"]


# --- The pass ---


@pytest.mark.parametrize(
    ("sensed", "relative", "absolute"),
    [("2018-07-21T05:37:21Z", 62, 16075), ("2022-10-05T11:54:11Z", 23, 38058), ("2023-06-25T23:46:21Z", 73, 41826)],
)
def test_the_orbit_is_that_of_real_products(sensed, relative, absolute):
    """Of Sentinel-2A: T43MDV, T29UNU and T01WCP."""
    seen = dataclasses.replace(PRE, sensed=dt.datetime.fromisoformat(sensed), relative_orbit=relative)
    assert seen.absolute_orbit == absolute


# --- Writing ---


def test_the_same_values_are_the_same_bytes_whatever_the_processors(tmp_path, product, bands, monkeypatch):
    for processors in (1, 3):
        monkeypatch.setattr(coslide.simulate.safe, "available_processors", lambda count=processors: count)
        again = write_safe(tmp_path / str(processors), ((name, bands[name]) for name in NATIVE_M), POST, GRID)
        assert files_of(again) == files_of(product)


def test_a_product_is_whole_or_not_there(tmp_path, bands):
    def broken():
        yield "B04", bands["B04"]
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_safe(tmp_path, broken(), POST, GRID)
    assert list(tmp_path.iterdir()) == []
    write_safe(tmp_path, [("B04", bands["B04"])], POST, GRID)
    assert [path.name for path in tmp_path.iterdir()] == [POST.name]
    with pytest.raises(InputError, match="holds something else"):
        write_safe(tmp_path, [("B04", bands["B04"])], POST, GRID)


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("B10", np.zeros((20, 20), np.uint16), "bands: found 'B10'"),
        ("B05", np.zeros((120, 120), np.uint16), r"B05: found uint16 \(120, 120\), expected uint16 \(60, 60\)"),
        ("B04", np.zeros((120, 120), np.float32), "B04: found float32"),
        ("SCL", np.zeros((60, 60), np.uint16), "SCL: found uint16"),
    ],
)
def test_bands_that_no_product_has_are_refused(tmp_path, name, values, problem):
    with pytest.raises(ValueError, match=problem):
        write_safe(tmp_path, [(name, values)], POST, GRID)
    assert list(tmp_path.iterdir()) == []


def test_pixels_other_than_10_m_are_refused(tmp_path, bands):
    with pytest.raises(ValueError, match="expected 10 m, north up"):
        write_safe(tmp_path, bands.items(), POST, GRID.zoom_out(2))
