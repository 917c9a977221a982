"""A simulated earthquake is read by the readers of real ones, and is the same whenever and however it is made."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

import coslide.simulate.write as writing
from coslide.config.event import read_event
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.indices.event_layers import open_event_scenes
from coslide.indices.index_sets import index_set, missing_indices
from coslide.io.atomic import sha256
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.build import build_cube
from coslide.simulate.frame import frame_of
from coslide.simulate.recipe import Recipe
from coslide.simulate.write import simulate_event

RECIPE = Recipe(size_km=3, seed=1)


@pytest.fixture(scope="module")
def event_file(tmp_path_factory):
    return simulate_event(tmp_path_factory.mktemp("simulated") / "event", RECIPE)


@pytest.fixture(scope="module")
def cube(event_file, tmp_path_factory):
    return open_cube(build_cube(read_event(event_file), tmp_path_factory.mktemp("cube") / "index.zarr"))


@pytest.fixture(scope="module")
def truth(event_file):
    return json.loads((event_file.parent / "simulation.json").read_text())["truth"]


def test_every_index_of_the_paper_can_be_built_from_it(cube):
    assert len(index_set("d", cube.inputs)) == 30
    assert missing_indices("d", cube.inputs) == []
    assert {row["band"] for row in cube.contents()} >= {
        "rainfall_variance",
        "pga_ln_std",
        "fault_distance",
        "landslide",
    }


def test_the_grid_of_its_cube_is_the_scene(event_file):
    assert open_event_scenes(read_event(event_file)).grid == frame_of(RECIPE.size_km, RECIPE.seed).scene


def test_only_clouds_and_their_shadows_are_nodata(cube):
    valid = cube.valid()
    assert 0.75 < valid.mean() < 1
    assert np.isfinite(cube.to_xarray()["elevation"].to_numpy()).all()
    assert np.isfinite(cube.to_xarray()["rainfall"].to_numpy()).all()
    assert (cube.to_xarray()["stratum_class"].to_numpy() <= 8).all()


def test_the_labels_are_the_inventory_to_the_pixel(cube, event_file):
    grid = frame_of(RECIPE.size_km, RECIPE.seed).scene
    slides = read_vector(event_file.parent / "landslides.gpkg", str(grid.crs), what="landslides")
    expected = rasterize(slides.geometry, out_shape=grid.shape, transform=grid.affine, dtype=np.uint8)
    found = cube.labels
    valid = found != NODATA  # where no cloud hides it
    assert (found[valid] >= expected[valid]).all()  # what holds no centre is burnt by touch
    assert (found[valid] == LANDSLIDE).sum() == pytest.approx(expected[valid].sum(), rel=0.05)


def test_the_share_that_slides_and_their_sizes_are_those_of_the_recipe(cube, truth):
    assert truth["landslide_share"] == pytest.approx(RECIPE.landslide_share, rel=0.03)
    labels = cube.labels
    assert (labels[labels != NODATA] == LANDSLIDE).mean() == pytest.approx(RECIPE.landslide_share, rel=0.1)
    assert 0.88 < truth["share_below_1104_m2"] < 0.96


def test_landslides_lost_their_plants_and_nothing_else_on_average_did(cube):
    change = cube.to_xarray()["ndvi_difference"].to_numpy()
    slid = cube.labels == LANDSLIDE
    valid = np.isfinite(change)
    assert np.median(change[slid & valid]) < np.median(change[~slid & valid]) - 0.1


def test_landslides_lie_on_steeper_terrain(cube):
    slid = cube.labels == LANDSLIDE
    slope = cube.to_xarray()["slope"].to_numpy()
    assert slope[slid].mean() > slope[~slid].mean() + 3


def test_the_two_products_have_the_baselines_of_their_dates(event_file):
    names = sorted(path.name for path in event_file.parent.glob("*.SAFE"))
    assert ["_N0214_" in names[0], "_N0400_" in names[1]] == [True, True]
    red = [next(event_file.parent.glob(f"{name}/GRANULE/*/IMG_DATA/R10m/*_B04_10m.jp2")) for name in names]
    with rasterio.open(red[0]) as pre, rasterio.open(red[1]) as post:
        assert post.read(1).min() > 1000 > pre.read(1).min() > 0  # an offset of -1000 is to be added to the later one


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes_on_one_thread(event_file, tmp_path, monkeypatch):
    monkeypatch.setattr("coslide.simulate.safe.available_processors", lambda: 1)
    again = simulate_event(tmp_path / "again", RECIPE).parent
    first = event_file.parent
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert files == [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert [str(name) for name in files if sha256(first / name) != sha256(again / name)] == []


@pytest.mark.slow
def test_another_seed_is_another_earthquake(event_file, tmp_path):
    other = simulate_event(tmp_path / "other", RECIPE.model_copy(update={"seed": 2})).parent
    for name in ("dem.tif", "geology.gpkg", "gauges.csv", "grid.xml", "faults.geojson", "landslides.gpkg"):
        assert sha256(other / name) != sha256(event_file.parent / name), name


def test_an_earlier_simulation_is_kept_only_where_its_recipe_is_the_same(tmp_path, monkeypatch):
    made = []

    def pretend(part: Path, recipe: Recipe):
        made.append(recipe.seed)
        (part / "event.toml").write_text("")
        return {"landslides": 1, "landslide_share": 0.1}

    monkeypatch.setattr(writing, "_write", pretend)
    for seed in (1, 1, 2):
        simulate_event(tmp_path / "event", Recipe(seed=seed), keep=True)
    assert made == [1, 2]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        simulate_event(tmp_path, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(writing, "make_terrain", fail)
    with pytest.raises(RuntimeError):
        simulate_event(tmp_path / "event", RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_of_an_earlier_simulation_is_one_line(tmp_path):
    (tmp_path / "simulation.json").write_text('{"coslide_simulation": "1')
    with pytest.raises(InputError, match=r"simulation\.json: is not valid JSON; remove the folder$"):
        simulate_event(tmp_path, RECIPE, keep=True)
