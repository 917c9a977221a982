"""The project of QGIS beside a map, its pictures and what lies around; QGIS itself opens one in a slow test."""

import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from defusedxml.ElementTree import fromstring
from odc.geo.geobox import GeoBox
from PIL import Image
from scipy.ndimage import map_coordinates

from coslide.config.event import read_event
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.io.cog import RasterBands, write_cog
from coslide.io.qgis import ProjectLayer, write_project
from coslide.mapping.probability_map import read_probability_map
from coslide.pipeline.context import _levels, shaking_contours, write_context
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.qgis import _hillshade, write_map_project, write_pictures
from coslide.report import images
from coslide.samples.footprint import is_held_out

TOOL = Path(__file__).parents[2] / "tools" / "qgis_picture.py"
PICTURES = ("scene_after.tif", "scene_before.tif", "hillshade.tif")


@pytest.fixture(scope="module")
def mapped(made_up_event, made_up_model, made_up_cube, tmp_path_factory):
    """The folder of a map with the project that `coslide run` writes."""
    folder = predict_scene(made_up_model, made_up_cube, tmp_path_factory.mktemp("map"))
    cube, found = open_cube(made_up_cube), read_probability_map(folder)
    write_map_project(folder, cube, found, read_event(made_up_event))
    return folder


def project_of(path):
    with zipfile.ZipFile(path) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.date_time) == (f"{path.stem}.qgs", (1980, 1, 1, 0, 0, 0))
        return fromstring(archive.read(f"{path.stem}.qgs"))


def test_the_project_has_every_layer_of_the_folder_in_the_order_that_people_look_at_them(mapped):
    project = project_of(mapped / "landslides.qgz")
    tree = [
        (group.get("name"), layer.get("name"), layer.get("checked") == "Qt::Checked")
        for group in project.find("layer-tree-group")
        for layer in group
    ]
    assert tree == [
        ("Landslides", "Mapped landslides", True),
        ("Landslides", "Recognised landslides", True),
        ("Landslides", "Mapped area", False),
        ("Landslides", "Held-out area", True),
        ("Earthquake", "Faults", True),
        ("Earthquake", "Shaking", False),
        ("Map", "Probability", False),
        ("Map", "Density", False),
        ("Pictures", "Scene after", True),
        ("Pictures", "Scene before", False),
        ("Pictures", "Terrain", True),
    ]
    sources = [layer.findtext("datasource") for layer in project.iter("maplayer")]
    assert all(source.startswith("./") for source in sources)  # the folder can be moved
    files = {source.removeprefix("./").partition("|")[0] for source in sources}
    shown = {path.name for path in mapped.iterdir() if path.suffix in {".tif", ".gpkg"}}
    assert files == shown
    assert project.findtext("title") == "Made-up earthquake"


def test_where_only_the_cube_is_known_the_project_has_no_layer_of_the_event(mapped, made_up_cube, tmp_path):
    folder = shutil.copytree(mapped, tmp_path / "map")
    write_map_project(folder, open_cube(made_up_cube), read_probability_map(folder))
    names = {layer.findtext("layername") for layer in project_of(folder / "landslides.qgz").iter("maplayer")}
    assert not names & {"Mapped landslides", "Mapped area", "Faults"}
    assert {"Held-out area", "Shaking"} <= names


def test_a_title_from_a_file_stays_text_and_equal_projects_are_equal_bytes(tmp_path):
    grid = GeoBox((2, 3), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    layers = [ProjectLayer("Hills & <b>", '"', "hills.tif", "", "Terrain", shown=True)]
    title = "</title><script>\x01\ud800 & 能登"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_project(tmp_path / name / "c.qgz", layers, grid, title=title)
    project = project_of(tmp_path / "a" / "c.qgz")
    assert project.findtext("title") == project.get("projectname") == "</title><script> & 能登"
    assert [one.findtext("layername") for one in project.iter("maplayer")] == ["Hills & <b>"]
    assert (tmp_path / "a" / "c.qgz").read_bytes() == (tmp_path / "b" / "c.qgz").read_bytes()


def test_a_crs_without_a_code_comes_as_wkt(tmp_path):
    grid = GeoBox((2, 3), Affine(10, 0, 0, 0, -10, 0), "+proj=tmerc +lon_0=141.5 +ellps=GRS80 +units=m")
    write_project(tmp_path / "c.qgz", [], grid, title="")
    srs = project_of(tmp_path / "c.qgz").find("projectCrs/spatialrefsys")
    assert srs.findtext("authid") == ""
    assert "141.5" in srs.findtext("wkt")


def test_scenes_are_stretched_alike_and_have_no_value_where_the_cube_has_none(mapped, made_up_cube):
    cube = open_cube(made_up_cube)
    values = {}
    for date in ("post", "pre"):
        bands = cube.reflectance(date, ("B4", "B3", "B2"))
        values[date] = np.moveaxis(cube.read(bands=bands), 0, -1)
    expected = images.true_colours(list(values.values()))  # as in the report
    for name, date, colours in zip(PICTURES, values, expected, strict=False):
        valid = np.isfinite(values[date]).all(axis=-1)
        with rasterio.open(mapped / name) as file:
            found, mask = np.moveaxis(file.read(), 0, -1), file.read_masks(1)
            assert file.profile["compress"] == "jpeg"
            assert file.tags()["credit"] == "made up"
        np.testing.assert_array_equal(mask == 255, valid)
        assert 0.3 < valid.mean() <= 1
        assert np.abs(found[valid] - 255.0 * colours[valid]).mean() < 8
    assert valid.mean() < 0.8  # the scene before lacks the north


def test_the_terrain_drawn_in_pieces_is_that_drawn_at_once(made_up_cube):
    cube = open_cube(made_up_cube)
    elevation = [band for band in cube.bands if band.name == "elevation"]
    whole = images.shaded_relief(cube.read(bands=elevation)[0], 10.0)[..., 0]
    pieces = [_hillshade(cube, elevation, slice(top, min(top + 40, 100))) for top in (0, 40, 80)]
    drawn, opacity = np.concatenate(pieces, axis=1)
    np.testing.assert_array_equal(opacity == 255, np.isfinite(cube.read(bands=elevation)[0]))
    np.testing.assert_array_equal(drawn[opacity == 255], np.rint(255 * whole)[opacity == 255])


def test_pictures_of_an_earlier_map_do_not_outlive_their_scene(made_up_cube, tmp_path):
    for name in PICTURES:
        (tmp_path / name).write_bytes(b"of an earlier map")
    cube = open_cube(made_up_cube)
    bands = [band for band in cube.bands if band.date != "pre"]
    lacking = SimpleNamespace(
        bands=bands,
        shape=cube.shape,
        grid=cube.grid,
        attrs=cube.attrs,
        pixel_size_m=10.0,
        reflectance=lambda date, channels: cube.reflectance(date, channels) if date == "post" else [],
        array=cube.array,
        read=cube.read,
    )
    write_pictures(tmp_path, lacking)
    assert {path.name for path in tmp_path.iterdir()} == {"scene_after.tif", "hillshade.tif"}


def test_a_picture_that_does_not_read_back_is_refused(tmp_path):
    grid, reads = GeoBox((600, 600), Affine(10, 0, 0, 0, -10, 0), "EPSG:32648"), []

    def read(rows):
        reads.append(rows)
        bright = 200 if len(reads) <= 2 else 20  # the second time, other values than were written
        return np.full((4, rows.stop - rows.start, 600), bright, np.uint8)

    bands = RasterBands(["red", "green", "blue", "alpha"], dtype="uint8", picture=True)
    with pytest.raises(OSError, match="do not read back"):
        write_cog(tmp_path / "a.tif", grid, bands, read)
    assert list(tmp_path.iterdir()) == []


def test_the_held_out_area_and_the_inventory_are_drawn_as_they_are(mapped, made_up_event):
    path, found = mapped / "context.gpkg", read_probability_map(mapped)
    (held_out,) = gpd.read_file(path, layer="held_out").geometry
    assert held_out.area == 100 * np.count_nonzero(is_held_out(found.seen))
    drawn = gpd.read_file(path, layer="mapped")
    given = gpd.read_file(made_up_event.parent / "landslides.gpkg").to_crs(drawn.crs)
    assert drawn.number.tolist() == [*range(1, 13)]
    np.testing.assert_allclose(drawn.area, given.area, rtol=1e-6)
    (trace,) = gpd.read_file(path, layer="faults").geometry
    (expected,) = gpd.read_file(made_up_event.parent / "faults.geojson").to_crs(drawn.crs).geometry
    assert trace.length == pytest.approx(expected.length, rel=1e-6)


def test_faults_far_around_are_cut(mapped, made_up_event, made_up_cube, tmp_path, monkeypatch):
    monkeypatch.setattr("coslide.pipeline.context._AROUND_M", 1000.0)
    cube = open_cube(made_up_cube)
    write_context(tmp_path, cube, read_probability_map(mapped), read_event(made_up_event))
    (near,) = gpd.read_file(tmp_path / "context.gpkg", layer="faults").geometry
    (whole,) = gpd.read_file(mapped / "context.gpkg", layer="faults").geometry
    reach = shapely.box(*cube.grid.boundingbox.bbox).buffer(1000, join_style="mitre")
    assert 0 < near.length < whole.length
    assert near.length == pytest.approx(whole.intersection(reach).length)


def test_each_layer_around_has_its_style_in_the_file(mapped):
    names = [name for name, kind in pyogrio.list_layers(mapped / "context.gpkg") if kind is not None]
    assert names == ["mapped", "mapped_area", "held_out", "faults", "shaking"]
    styles = pyogrio.read_dataframe(mapped / "context.gpkg", layer="layer_styles")
    assert styles.f_table_name.tolist() == names
    colours = [
        fromstring(style).findall(".//layer//Option[@name='line_color']")[-1].get("value") for style in styles.styleQML
    ]
    assert len(set(colours)) == len(names)


def cube_of(pga_g):
    """Make what contours need of a cube: the band, (row, col), on 10 m pixels."""
    grid = GeoBox(pga_g.shape, Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    dataset = xr.Dataset({"pga": (("y", "x"), pga_g)})

    class Made(SimpleNamespace):
        def __contains__(self, name):
            return name in dataset

    return Made(grid=grid, shape=pga_g.shape, to_xarray=lambda: dataset)


@pytest.mark.parametrize("shape", [(90, 70), (1300, 900)])  # the larger is made smaller first
def test_shaking_has_the_value_of_its_line_wherever_the_line_goes(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]] / max(shape)
    pga_g = (0.2 + 0.1 * rows + 0.05 * columns**2).astype(np.float32)
    pga_g[:5, :5] = np.nan
    lines = shaking_contours(cube_of(pga_g))
    assert 3 <= lines.pga_g.nunique() <= 10
    for level_g, line in zip(lines.pga_g, lines.geometry, strict=True):
        x, y = np.array(line.coords).T
        places = (3700000 - y) / 10 - 0.5, (x - 300000) / 10 - 0.5
        found = map_coordinates(pga_g, places, order=1, mode="nearest")
        np.testing.assert_allclose(found[np.isfinite(found)], level_g, atol=5e-4)


def test_lines_of_shaking_are_few_and_round():
    assert _levels(0.031, 0.049) == [0.035, 0.04, 0.045]
    assert _levels(0.12, 0.61) == [0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]
    assert _levels(0.2, 2.3) == [0.5, 1.0, 1.5, 2.0]
    assert _levels(0.3001, 0.3004) == []
    assert shaking_contours(cube_of(np.full((9, 9), np.nan, np.float32))).empty


def test_a_map_with_nothing_around_has_no_file_of_it(mapped, made_up_cube, tmp_path):
    folder, cube = shutil.copytree(mapped, tmp_path / "map"), open_cube(made_up_cube)
    found = read_probability_map(folder)
    elsewhere = SimpleNamespace(seen=np.zeros(cube.shape, np.uint8), grid=found.grid)  # trained on another event
    bare = cube_of(np.full(cube.shape, np.nan, np.float32))
    assert write_context(folder, bare, elsewhere) == []
    assert not (folder / "context.gpkg").exists()


def test_a_context_that_another_program_has_open_is_told_before_anything_is_computed(
    mapped, made_up_model, made_up_cube, tmp_path
):
    folder = shutil.copytree(mapped, tmp_path / "map")
    summary = (folder / "summary.json").stat().st_mtime_ns
    with closing(sqlite3.connect(folder / "context.gpkg", isolation_level=None)) as editor:
        editor.execute("begin immediate")
        with pytest.raises(InputError, match=r"context\.gpkg: is open in another program"):
            predict_scene(made_up_model, made_up_cube, folder)
    assert (folder / "summary.json").stat().st_mtime_ns == summary


@pytest.fixture(scope="module")
def sent(mapped, tmp_path_factory):
    """The map in a folder of another name, without the cube, as someone gets it by mail."""
    return shutil.copytree(mapped, tmp_path_factory.mktemp("other") / "a folder")


@pytest.mark.slow
def test_qgis_opens_every_layer_where_the_folder_was_sent_to(in_qgis, sent, made_up_cube):
    found = in_qgis(TOOL, sent / "landslides.qgz", sent / "drawn.png")
    assert (found["title"], found["crs"], found["errors"]) == ("Made-up earthquake", "EPSG:32654", [])
    assert found["view"] == list(open_cube(made_up_cube).grid.boundingbox.bbox)
    layers = found["layers"]
    assert len(layers) == 11
    assert all(layer["valid"] and layer["about"] and layer["crs"] == "EPSG:32654" for layer in layers)
    assert {Path(layer["source"].partition("|")[0]).parent for layer in layers} == {sent}
    renderers = {layer["name"]: layer["renderer"] for layer in layers}
    assert renderers["Recognised landslides"] == "graduatedSymbol"
    assert renderers["Probability"] == renderers["Density"] == "singlebandpseudocolor"
    assert renderers["Scene after"] == "multibandcolor"
    assert [layer["name"] for layer in layers if layer["labels"]] == ["Shaking"]


@pytest.mark.slow
def test_qgis_draws_landslides_and_outlines_where_they_are_over_the_scene(in_qgis, sent, made_up_cube):
    shown = in_qgis(TOOL, sent / "landslides.qgz", sent / "all.png")["view"]
    under = in_qgis(TOOL, sent / "landslides.qgz", sent / "scene.png", "Scene after") and pixels(sent / "scene.png")
    drawn = pixels(sent / "all.png")

    def colours_at(image, x, y):
        size = image.shape[1] / (shown[2] - shown[0])
        rows, columns = ((shown[3] - np.asarray(y)) * size).astype(int), ((np.asarray(x) - shown[0]) * size).astype(int)
        inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
        return image[rows[inside], columns[inside]].astype(int)

    with rasterio.open(sent / "scene_after.tif") as file:
        x, y = file.xy([20, 50], [20, 60])
        expected = np.moveaxis(file.read(), 0, -1)[[20, 50], [20, 60]]
    np.testing.assert_allclose(colours_at(under, x, y), expected, atol=2)
    outlines = gpd.read_file(sent / "context.gpkg", layer="mapped").geometry.boundary.explode()
    places = [line.interpolate(along_m) for line in outlines for along_m in np.arange(0, line.length, 5)]
    off = np.abs(colours_at(drawn, [place.x for place in places], [place.y for place in places]) - (86, 180, 233))
    assert (off.max(axis=-1) < 40).mean() > 0.9
    landslides = gpd.read_parquet(sent / "landslides.parquet")
    inner = landslides.representative_point()
    free = np.array([outlines.distance(point).min() > 4 for point in inner])
    assert free.sum() > 100
    classes = np.digitize(landslides.probability_mean[free], (0.6, 0.8), right=True)
    fill, share = np.array([(254, 224, 182), (230, 159, 0), (179, 88, 6)])[classes], 140 / 255
    before, after = (colours_at(image, inner.x[free], inner.y[free]) for image in (under, drawn))
    off = np.abs(after - (share * fill + (1 - share) * before)).max(axis=-1)
    assert (off < 4).mean() > 0.95  # the rest lies under the dashes around the held-out area


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))
