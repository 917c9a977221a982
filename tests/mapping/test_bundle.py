"""Model bundles and the ground they remember."""

import json
import shutil

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from coslide.errors import InputError
from coslide.indices.cube import cube_grid, input_bands, open_cube
from coslide.mapping.bundle import load_model, require_same_inputs, save_model
from coslide.mapping.ground import Ground, ground_of, seen_ground
from coslide.samples.split import Split
from coslide.samples.windows import Window, cover


@pytest.fixture
def bundle(made_up_model, tmp_path):
    return shutil.copytree(made_up_model, tmp_path / "model")


def changed_card(bundle, **values):
    card = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps({**card, **values}))


def test_a_saved_model_predicts_the_same_to_the_bit(bundle, tmp_path):
    model = load_model(bundle)
    again = load_model(save_model(model, tmp_path / "again"))
    tiles = np.random.default_rng(0).normal(size=(2, len(model.card.channels), 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(model.predictor()(tiles), again.predictor()(tiles))
    assert again.card == model.card


def test_probability_is_the_softmax_of_the_landslide_class(bundle):
    model = load_model(bundle)
    tiles = np.random.default_rng(0).normal(size=(1, len(model.card.channels), 32, 32)).astype(np.float32)
    with torch.no_grad():
        background, landslide = model.network(torch.from_numpy(tiles))[0].double().numpy()
    np.testing.assert_allclose(model.predictor()(tiles)[0], 1 / (1 + np.exp(background - landslide)), atol=1e-6)


def test_a_bundle_holds_no_pickle(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bundle_format": 2}, "bundle_format: found 2"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"options": {"width": 16}}, "does not fit egcn"),
        ({"network": "none"}, "network none: unknown"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(bundle, values, message):
    changed_card(bundle, **values)
    with pytest.raises(InputError, match=message):
        load_model(bundle)


def test_broken_weights_are_refused(bundle):
    (bundle / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="weights.safetensors: does not fit"):
        load_model(bundle)


def test_a_cube_with_other_channels_units_or_cells_is_refused(bundle, made_up_cube):
    cube = open_cube(made_up_cube)
    card = load_model(bundle).card
    require_same_inputs(card, cube, "cube")
    with pytest.raises(InputError, match="cube: does not fit the model: slope is missing"):
        require_same_inputs(card, cube.assign_attrs(indices=[n for n in cube.attrs["indices"] if n != "slope"]), "cube")
    feet = cube.copy()
    feet["elevation"].attrs = {**feet["elevation"].attrs, "units": "ft"}
    with pytest.raises(InputError, match="elevation has unit 'ft' instead of unit 'm'"):
        require_same_inputs(card, feet, "cube")
    classes = cube.copy()
    classes["pga_class"].attrs = {**classes["pga_class"].attrs, "definition": "levels 0.5 g"}
    with pytest.raises(InputError, match=r"pga_class has unit '1' and 5 classes \(levels 0.5 g\) instead of"):
        require_same_inputs(card, classes, "cube")
    with pytest.raises(InputError, match="found cells of 10 m, expected 20 m"):
        require_same_inputs(card.model_copy(update={"cell_size_m": 20.0}), cube, "cube")


def test_the_card_names_every_channel_of_the_cube_in_order(bundle, made_up_cube):
    assert load_model(bundle).card.bands == input_bands(open_cube(made_up_cube))


def test_seen_ground_on_the_grid_of_the_training_is_the_split_itself(made_up_cube):
    grid = cube_grid(open_cube(made_up_cube))
    train, test = [Window(0, 0, 40, 50)], [Window(40, 0, 30, 50)]
    seen = seen_ground(ground_of(Split([], [], train, test), grid), grid)
    np.testing.assert_array_equal(seen == 1, cover(train, grid.shape))
    np.testing.assert_array_equal(seen == 2, cover(test, grid.shape))


def test_ground_that_both_parts_cover_was_trained_on(made_up_cube):
    grid = cube_grid(open_cube(made_up_cube))
    both = [Window(0, 0, 40, 50)]
    assert set(np.unique(seen_ground(ground_of(Split([], [], both, both), grid), grid))) == {0, 1}


def test_seen_ground_is_found_on_another_grid_and_not_far_away():
    ground = Ground(crs="EPSG:32654", train=[(500000, 4699600, 500500, 4700000)], test=[])
    coarse = GeoBox((30, 30), Affine(20, 0, 499900, 0, -20, 4700100), "EPSG:32654")
    assert (seen_ground(ground, coarse) == 1).sum() == 25 * 20
    far = GeoBox((30, 30), Affine(20, 0, 600000, 0, -20, 4700100), "EPSG:32654")
    assert not seen_ground(ground, far).any()
    x, y = Transformer.from_crs("EPSG:32654", "EPSG:32655", always_xy=True).transform(500250, 4699800)
    neighbour_zone = GeoBox((100, 100), Affine(20, 0, x - 1000, 0, -20, y + 1000), "EPSG:32655")
    assert 490 < (seen_ground(ground, neighbour_zone) == 1).sum() < 510
