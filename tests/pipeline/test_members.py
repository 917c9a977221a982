"""Models of several members, and windows of another size than the training tiles."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch

from coslide.config.training import TrainingSettings
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.mapping.export import export_onnx
from coslide.mapping.model import Model, load_model
from coslide.pipeline.labelled_scene import open_labelled_scene
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.pipeline.train import fit_model, train

SETTINGS = TrainingSettings(
    width=8,
    seed=5,
    sampling={"tile": 32, "stride": 16, "select": "prevalence"},
    split={"block_windows": 2},
    optimiser={"epochs": 1, "batch": 8, "learning_rate": 1e-3},
)


@pytest.fixture(scope="module")
def trained(made_up_cube, tmp_path_factory):
    """The folder of a training of two members."""
    out = tmp_path_factory.mktemp("members")
    train(made_up_cube, out, SETTINGS.changed(members=2), compare=False)
    return out


def alone(model, number):
    return Model(model.networks[number : number + 1], model.metadata.model_copy(update={"members": 1}))


def test_members_are_kept_in_one_bundle_and_differ(trained):
    model = load_model(trained / "model")
    assert {path.name for path in (trained / "model").iterdir()} == {
        "model.json",
        "weights.safetensors",
        "weights-2.safetensors",
    }
    assert model.metadata.members == len(model.networks) == 2
    first, second = (torch.cat([p.flatten() for p in network.parameters()]) for network in model.networks)
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_each_member_is_what_its_seed_alone_gives_on_the_same_split(trained, made_up_cube, tmp_path):
    """The second member has the seed after that of the first; the split stays that of the first."""
    first = fit_model([open_labelled_scene(made_up_cube)], tmp_path, SETTINGS, compare=False)[0]
    for key, tensor in load_model(trained / "model").networks[0].state_dict().items():
        torch.testing.assert_close(tensor, first.networks[0].state_dict()[key], rtol=0, atol=0)
    records = [json.loads((trained / "training" / name / "settings.json").read_text()) for name in ("", "member-2")]
    assert [record["seed"] for record in records] == [5, 6]
    assert records[0]["parts"] == records[1]["parts"]


def test_the_map_is_the_mean_of_the_members_and_the_uncertainty_half_of_what_parts_two(trained, made_up_cube, tmp_path):
    model, area = load_model(trained / "model"), open_labelled_scene(made_up_cube)
    one, two = (predict_array(alone(model, k), area.scene)[0].astype(np.float64) for k in (0, 1))
    folder = predict_scene(trained / "model", made_up_cube, tmp_path)
    with rasterio.open(folder / "probability.tif") as file:
        np.testing.assert_allclose(file.read(1), (one + two) / 2, atol=1e-6)
        assert json.loads(file.tags()["coslide"])["model"]["members"] == 2
    valid = area.scene.valid(slice(None))
    with rasterio.open(folder / "uncertainty.tif") as file:
        spread = file.read(1)
    assert np.nanmax(spread) > 1e-4
    # Blended is what parts the two in each window, so it is at least what parts the blended maps.
    assert (spread[valid] >= np.abs(one - two)[valid] / 2 - 1e-6).all()
    assert gpd.read_parquet(folder / "landslides.parquet").uncertainty_mean.notna().all()
    whole = InferenceOptions(window=112)  # one window covers the scene, so nothing is blended
    one, two = (predict_array(alone(model, k), area.scene, whole)[0].astype(np.float64) for k in (0, 1))
    both = predict_array(model, area.scene, whole)
    np.testing.assert_allclose(both[1][valid], np.abs(one - two)[valid] / 2, atol=1e-5)


def test_scores_are_those_of_the_mean(trained, made_up_cube):
    metrics = json.loads((trained / "metrics.json").read_text())
    model, area = load_model(trained / "model"), open_labelled_scene(made_up_cube)
    mean = np.mean([predict_array(alone(model, k), area.scene)[0] for k in (0, 1)], axis=0)
    with rasterio.open(next((trained / "splits").glob("*.tif"))) as file:
        where = (file.read(1) == 2) & np.isfinite(mean) & (area.labels != 255)
    recognised, mapped = mean[where] >= 0.5, area.labels[where] == 1
    found = metrics["pixels"]
    assert (found["tp"], found["fp"]) == ((recognised & mapped).sum(), (recognised & ~mapped).sum())


@pytest.mark.slow
def test_members_can_be_added_to_a_training(trained, made_up_cube, tmp_path, listening):
    out, said = tmp_path / "run", listening()
    train(made_up_cube, out, SETTINGS, compare=False)
    train(made_up_cube, out, SETTINGS.changed(members=2), compare=False, resume=True)
    assert any("(2 of 2)" in line for line in said)
    for one, two in zip(load_model(out / "model").networks, load_model(trained / "model").networks, strict=True):
        for key, tensor in one.state_dict().items():
            torch.testing.assert_close(tensor, two.state_dict()[key], rtol=0, atol=0)


@pytest.mark.slow
def test_how_maps_are_made_is_changed_without_training_again(made_up_cube, tmp_path, listening):
    out = tmp_path / "run"
    train(made_up_cube, out, SETTINGS, compare=False)
    before, said = load_model(out / "model"), listening()
    train(made_up_cube, out, SETTINGS.changed(tta=True, threshold="scene"), compare=False, resume=True)
    after = load_model(out / "model")
    assert (after.metadata.tta, after.metadata.threshold_of) == (True, "scene")
    assert not any(line.startswith("step ") or "epoch 1 " in line for line in said)
    for one, two in zip(before.networks[0].parameters(), after.networks[0].parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_bundle_that_lacks_a_member_is_refused(trained, tmp_path):
    folder = shutil.copytree(trained / "model", tmp_path / "model")
    (folder / "weights-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights-2\.safetensors: does not fit egcn"):
        load_model(folder)


def test_a_window_larger_than_the_scene_gives_what_the_network_says_of_it(made_up_model, made_up_cube):
    model, scene = load_model(made_up_model), open_labelled_scene(made_up_cube).scene
    assert scene.shape == (100, 100)
    inputs = model.metadata.encoder.encode(scene.read(slice(None), model.metadata.bands))
    around = np.pad(inputs, ((0, 0), (0, 12), (0, 12)), mode="reflect")
    expected = model.predictors()[0](around[None])[0, :100, :100]
    found = predict_array(model, scene, InferenceOptions(window=112))[0]
    valid = scene.valid(slice(None))
    np.testing.assert_allclose(found[valid], expected[valid], atol=1e-6)
    assert np.abs(found - predict_array(model, scene)[0])[valid].max() > 1e-4  # the graph spans more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (InferenceOptions(window=40), "--window: found 40, expected a multiple of 16 for egcn"),
        (InferenceOptions(window=16 * 10**30), "up to 4096"),
        (InferenceOptions(window=0), "--window: found 0, expected a multiple of 16"),
        (InferenceOptions(window=64, stride=65), "--stride: found 65, expected 1 to 64, the side of a window"),
        (
            InferenceOptions(window=64, onnx=True),
            "--window: found 64, expected 32, the tile that its ONNX form is made for",
        ),
    ],
)
def test_a_window_that_the_network_cannot_see_is_refused(made_up_model, made_up_cube, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        predict_scene(made_up_model, made_up_cube, tmp_path, options=options)


@pytest.mark.slow
def test_encodings_and_flags_go_from_training_to_the_map_in_every_view(made_up_cube, tmp_path):
    """The witness encodes by hand: sine and cosine of aspect, PGA itself, a flag for each source."""
    settings = SETTINGS.changed(
        {
            "inputs.encoding": {
                "aspect_class": "circular",
                "pga_class": "continuous",
                "fault_distance_class": "onehot",
            },
            "inputs.flags": True,
        }
    )
    fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    model, cube = load_model(tmp_path / "model"), open_cube(made_up_cube)
    names = list(model.metadata.encoder.names)
    assert {"aspect_class_sin", "aspect_class_cos", "pga", "fault_distance_class_1"} <= set(names)
    assert {"has_scene_before", "has_faults"} <= set(names)
    assert not {"aspect_class", "pga_class", "fault_distance_class", "pre_available"} & set(names)
    scene = cube
    seen = model.metadata.encoder.encode(scene.read(slice(None), model.metadata.bands))
    east = cube.to_xarray()["aspect_class"].values == 4
    np.testing.assert_allclose(seen[names.index("aspect_class_sin")][east], 1, atol=1e-6)
    np.testing.assert_array_equal(
        seen[names.index("has_scene_before")], np.isfinite(cube.to_xarray()["reflectance_pre"].values).any(axis=0)
    )
    channel = model.metadata.channels[[channel.band.name for channel in model.metadata.channels].index("pga")]
    np.testing.assert_allclose(
        seen[names.index("pga")],
        (cube.to_xarray()["pga"].values - channel.offset) / channel.scale,
        rtol=1e-4,
        atol=1e-4,
    )
    found = predict_array(model, scene, InferenceOptions(stride=32, precision="32"))[0]
    expected = model.predictors()[0](np.ascontiguousarray(seen[:, :32, :32])[None])[0]
    valid = scene.valid(slice(0, 32))[:, :32]
    np.testing.assert_allclose(found[:32, :32][valid], expected[valid], atol=1e-5)
    turned = predict_array(model, scene, InferenceOptions(tta=True))
    np.testing.assert_array_equal(np.isfinite(turned[0]), scene.valid(slice(None)))


@pytest.mark.slow
def test_a_model_with_encodings_has_an_onnx_form(made_up_cube, tmp_path):
    settings = SETTINGS.changed({"inputs.encoding": {"aspect_class": "onehot"}})
    fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    _, apart = export_onnx(tmp_path / "model")
    assert apart < 1e-4
