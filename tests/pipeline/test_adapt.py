"""A model adapted to a few labelled tiles: it learns them, keeps what it knew, and tells what they were worth."""

import inspect
import json

import geopandas as gpd
import numpy as np
import pytest
import torch
from shapely.geometry import box
from torch import nn

from coslide.cli import adapt as command
from coslide.config.training import TrainingSettings
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.mapping.adaptation import (
    BeforeAndAfter,
    TilePixels,
    calibrated,
    compare,
    held_out_tiles,
    labelled_tiles,
)
from coslide.mapping.model import load_model
from coslide.pipeline import adapt as module
from coslide.pipeline.adapt import adapt
from coslide.pipeline.evaluate import evaluate
from coslide.pipeline.predict import predict, predict_scene
from coslide.pipeline.train import train
from coslide.pipeline.training_data import further_inputs
from coslide.samples.footprint import split_raster
from coslide.samples.split import Subset
from coslide.training.module import Start, Training

TILE = 32
STEPS = 4  # of which each is an epoch


def squares(path, cube, places, *, side=TILE):
    """Write squares of pixels, given by their first row and column, as polygons."""
    shapes = []
    for row, col in places:
        (left, top), (right, bottom) = cube.grid.affine * (col, row), cube.grid.affine * (col + side, row + side)
        shapes.append(box(left, bottom, right, top))
    gpd.GeoDataFrame(geometry=shapes, crs=str(cube.grid.crs)).to_file(path)
    return path


@pytest.fixture(scope="module")
def cube(made_up_cube):
    return open_cube(made_up_cube)


@pytest.fixture(scope="module")
def files(cube, tmp_path_factory):
    """Labels that contradict the model: two tiles in the south-west are landslide but for a corner."""
    folder = tmp_path_factory.mktemp("labels")
    labels = squares(folder / "labels.gpkg", cube, [(40, 10), (40, 42)], side=30)
    return labels, squares(folder / "area.gpkg", cube, [(40, 10), (40, 42)])


@pytest.fixture(scope="module")
def bundle(made_up_model, tmp_path_factory):
    """The folder of a model whose recipe takes large steps, so that few of them are enough."""
    return changed(made_up_model, tmp_path_factory.mktemp("bundle"), **{"optimiser.learning_rate": 0.003})


def changed(bundle, folder, *, content=None, **settings):
    """Copy a bundle with other metadata."""
    (folder / "weights.safetensors").write_bytes((bundle / "weights.safetensors").read_bytes())
    old = json.loads((bundle / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(old | (content or {}) | {"settings": old["settings"] | settings}))
    return folder


@pytest.fixture(scope="module")
def adapted(bundle, made_up_cube, files, tmp_path_factory):
    """The folder of an adapted model."""
    out = tmp_path_factory.mktemp("adapted") / "model"
    adapt(bundle, made_up_cube, files[0], out, area=files[1], steps=STEPS)
    return out


def test_it_learns_the_labelled_tiles_and_keeps_the_rest_closer_with_the_penalty(
    bundle, made_up_cube, files, adapted, cube, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PENALTY", 1000.0)
    held = adapt(bundle, made_up_cube, files[0], tmp_path / "held", area=files[1], steps=STEPS)
    old, new, held = (predict(one, cube).values for one in (load_model(bundle), load_model(adapted), held))
    labelled = np.zeros(cube.shape, dtype=bool)
    labelled[40:72, 10:74] = True
    elsewhere = ~labelled & np.isfinite(old)
    assert new[labelled].mean() > old[labelled].mean() + 0.02
    assert np.abs(held - old)[elsewhere].mean() < 0.5 * np.abs(new - old)[elsewhere].mean()


def test_the_penalty_is_half_its_strength_times_the_squared_distance_from_the_old_weights():
    network = nn.Conv2d(1, 2, 1)
    settings = TrainingSettings(width=8)
    batch = torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    losses = []
    for start in (None, Start(network, 6.0)):
        moved = nn.Conv2d(1, 2, 1)
        moved.load_state_dict({name: tensor + 1 for name, tensor in network.state_dict().items()})
        training = Training(moved, settings, total_steps=1, start=start)
        training.log = lambda *_, **__: None
        losses.append(training.training_step(batch, 0))
    torch.testing.assert_close(losses[1] - losses[0], torch.tensor(3.0 * 4))


def test_batch_statistics_stay_while_a_trained_network_is_trained_on():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    training = Training(network, TrainingSettings(width=8), total_steps=1, start=Start(network))
    training.log = lambda *_, **__: None
    before = network[1].running_mean.clone()
    training.training_step((torch.rand(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)), 0).backward()
    assert torch.equal(network[1].running_mean, before)
    assert network[1].weight.grad is not None


def test_no_step_leaves_the_map_of_the_old_model_to_the_bit(bundle, made_up_cube, files, cube, tmp_path):
    adapt(bundle, made_up_cube, files[0], tmp_path / "same", area=files[1], steps=0)
    old, same = load_model(bundle), load_model(tmp_path / "same")
    np.testing.assert_array_equal(predict(same, cube).values, predict(old, cube).values)
    record = same.metadata.adapted
    assert (record.steps, record.tiles, record.held_out_tiles) == (0, 2, 0)
    assert same.metadata.model_copy(update={"adapted": None}) == old.metadata


def test_windows_are_neither_turned_nor_lit_anew_and_the_map_is_made_without_tta(
    bundle, made_up_cube, files, adapted, tmp_path
):
    """One scene has one sun: what the recipe of the old model varied for other events stays out of it."""
    (folder := tmp_path / "old").mkdir()
    varied = changed(bundle, folder, content={"tta": True}, **{"augment.flips": True})
    adapt(varied, made_up_cube, files[0], tmp_path / "new", area=files[1], steps=STEPS)
    expected, found = load_model(adapted), load_model(tmp_path / "new")
    assert not found.metadata.tta
    for old, new in zip(expected.networks[0].parameters(), found.networks[0].parameters(), strict=True):
        torch.testing.assert_close(new, old)


def test_it_is_fed_further_indices_of_the_cube_and_begins_with_the_map_it_had(
    made_up_cube, made_up_event, cube, files, tmp_path
):
    settings = TrainingSettings(network="unet", width=8, inputs={"indices": ["reflectance_post"]}).changed(
        {"sampling.tile": TILE, "sampling.stride": TILE, "optimiser.epochs": 1, "split.block_windows": 1}
    )
    train(made_up_cube, tmp_path / "run", settings, compare=False)
    old = tmp_path / "run" / "model"
    given = {"area": files[1], "indices": ["slope", "reflectance_pre"]}
    same = adapt(old, made_up_cube, files[0], tmp_path / "same", steps=0, **given)
    before = predict(load_model(old), cube).values
    np.testing.assert_allclose(predict(load_model(tmp_path / "same"), cube).values, before, atol=1e-6)
    names = [band.name for band in same.metadata.bands]
    assert names == [
        *(f"reflectance_post_B{n}" for n in (2, 3, 4)),
        "slope",
        *(f"reflectance_pre_B{n}" for n in (2, 3, 4)),
    ]
    assert same.metadata.adapted.indices == given["indices"]
    slope = cube.to_xarray()["slope"].values[cube.valid()]
    offset, scale = (part[3] for part in same.metadata.encoder.normalisation)
    assert (offset, scale) == (pytest.approx(np.nanmean(slope), rel=1e-4), pytest.approx(np.nanstd(slope), rel=1e-3))
    new = adapt(old, made_up_cube, files[0], tmp_path / "new", steps=STEPS, **given)
    (first,) = [p for p in new.networks[0].parameters() if p.ndim == 4 and p.shape[1] == len(names)]
    assert first[:, 3:].abs().max() > 0


@pytest.mark.parametrize(
    ("known", "inputs", "index", "message"),
    [
        (["reflectance_post_B2"], {}, "reflectance_post", r"not fed yet \(reflectance_post_B2\)"),
        ([], {}, "ndvi", r"expected an index of the cube \(.*slope"),
        (["pga"], {"encoding": {"pga_class": "continuous"}}, "pga_class", r"not fed yet \(pga\)"),
        ([], {"flags": True}, "pre_available", r"not fed yet \(by its flags\)"),
    ],
)
def test_an_index_that_the_cube_lacks_or_the_model_knows_is_refused(cube, known, inputs, index, message):
    bands = {band.name: band for band in [*cube.inputs, *cube.diagnostics]}
    with pytest.raises(InputError, match=f"--indices: found {index}, .*{message}"):
        further_inputs(cube, [index], TrainingSettings(inputs=inputs), [bands[name] for name in known])


def test_the_bundle_tells_from_what_and_on_what_it_was_adapted(bundle, adapted, cube):
    old, metadata = load_model(bundle).metadata, load_model(adapted).metadata
    record = metadata.adapted
    assert (record.event, record.tiles, record.held_out_tiles, record.steps) == ("Made-up earthquake", 2, 0, STEPS)
    assert record.learning_rate == old.settings["optimiser.learning_rate"]
    assert len(record.model_sha256) == 64
    assert metadata.channels == old.channels
    assert (metadata.split["scheme"], metadata.split["leak_fraction"]) == ("regions", 0.0)
    assert metadata.temperature == old.temperature
    assert metadata.settings == old.settings


def test_pixels_of_labelled_tiles_count_as_seen_and_no_others_more(bundle, adapted, cube):
    old, new = (split_raster(load_model(path).metadata.footprints, cube.grid) for path in (bundle, adapted))
    labelled = np.zeros(cube.shape, dtype=bool)
    labelled[40:72, 10:74] = True
    assert (new[labelled] == Subset.TRAIN).all()
    np.testing.assert_array_equal(new[~labelled], old[~labelled])


def test_the_adapted_model_maps_and_is_evaluated(adapted, made_up_cube, made_up_event, cube, tmp_path):
    predict_scene(adapted, made_up_cube, tmp_path)
    found = evaluate(tmp_path, made_up_event.parent / "landslides.gpkg", grid=made_up_cube)
    seen = split_raster(load_model(adapted).metadata.footprints, cube.grid)
    assert found.split.scheme == "regions"
    assert found.split.scored_pixels == (cube.valid() & (seen != Subset.TRAIN)).sum()


def test_an_adaptation_resumed_after_a_kill_ends_as_an_uninterrupted_one(
    bundle, made_up_cube, files, adapted, tmp_path, monkeypatch
):
    def killed(self, batch, batch_idx):
        if self.current_epoch == 2:
            raise RuntimeError("killed")
        return real(self, batch, batch_idx)

    real, out = Training.training_step, tmp_path / "cut"
    monkeypatch.setattr(Training, "training_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        adapt(bundle, made_up_cube, files[0], out, area=files[1], steps=STEPS)
    assert [path.name for path in tmp_path.iterdir()] == [".cut.training.part"]
    monkeypatch.setattr(Training, "training_step", real)
    with pytest.raises(InputError, match="already holds a training; use --resume to go on"):
        adapt(bundle, made_up_cube, files[0], out, area=files[1], steps=STEPS)
    resumed = adapt(bundle, made_up_cube, files[0], out, area=files[1], steps=STEPS, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]
    for name, tensor in load_model(adapted).networks[0].state_dict().items():
        torch.testing.assert_close(resumed.networks[0].state_dict()[name], tensor, rtol=0, atol=1e-6)


def test_what_cannot_be_adapted_is_refused_before_anything_is_written(bundle, made_up_cube, files, cube, tmp_path):
    labels, area = files
    far, empty = tmp_path / "far.gpkg", tmp_path / "empty.gpkg"
    squares(far, cube, [(5000, 5000)])
    squares(empty, cube, [(0, 0)])
    (tmp_path / "other").mkdir()
    other = changed(bundle, tmp_path / "other")
    text = (other / "model.json").read_text().replace('"reflectance_post_B2"', '"reflectance_post_B12"')
    (other / "model.json").write_text(text)
    there = {path.name for path in tmp_path.iterdir()}
    for model, given, of, out, message in (
        (bundle, far, area, "new", "far.gpkg: none of its features overlaps the grid"),
        (bundle, labels, far, "new", "far.gpkg: none of its features overlaps the grid"),
        (bundle, empty, area, "new", "empty.gpkg: found no landslide inside the labelled area"),
        (other, labels, area, "new", "does not fit the model: .*reflectance_post_B12"),
        (bundle, labels, area, "other", "other: exists already"),
    ):
        with pytest.raises(InputError, match=message):
            adapt(model, made_up_cube, given, tmp_path / out, area=of)
    assert {path.name for path in tmp_path.iterdir()} == there


def test_the_command_takes_as_many_steps_as_the_function():
    steps = (inspect.signature(one).parameters["steps"].default for one in (command, adapt))
    assert len(set(steps)) == 1


def test_of_ten_tiles_some_are_held_out_and_give_the_temperature(bundle, made_up_cube, cube, tmp_path):
    """Tiles of 32 pixels would not fit ten times, so the model's tile is called 16."""
    content, settings = {"tile": 16, "footprints": []}, {"sampling.tile": 16, "sampling.stride": 16}
    (tmp_path / "model").mkdir()
    model = changed(bundle, tmp_path / "model", content=content, **settings)
    places = [(row, col) for row in (10, 40, 70) for col in (10, 30, 50, 70)]
    labels = squares(tmp_path / "labels.gpkg", cube, places, side=8)
    area = squares(tmp_path / "area.gpkg", cube, places, side=16)
    metadata = adapt(model, made_up_cube, labels, tmp_path / "new", area=area, steps=1).metadata
    assert (metadata.adapted.tiles, metadata.adapted.held_out_tiles) == (12, 2)
    assert (metadata.adapted.scores.tiles, metadata.adapted.scores.pixels) == (2, 2 * 16**2)
    assert metadata.temperature != 1
    seen = split_raster(metadata.footprints, cube.grid)
    assert (seen == Subset.VALIDATION).sum() == 2 * 16**2
    assert (seen == Subset.TRAIN).sum() == 10 * 16**2


def pixels(shift, *, count=4, fair=True):
    """Tiles whose landslides the old model gives 0.3, and the adapted one `shift` more."""
    truth = np.arange(100) < 20
    before = np.where(truth, 0.3, 0.1).astype(np.float32)
    return [TilePixels(before, before + np.float32(shift) * truth, truth, np.full(100, fair)) for _ in range(count)]


def test_a_tile_has_the_pixels_of_its_own_part_of_the_area_alone():
    """A part that lies in the corner of an L is in the box of the L, too."""
    area = np.zeros((60, 60), dtype=bool)
    area[:60, :20] = area[40:, :60] = area[5:25, 30:50] = True
    labelled = area & (np.arange(60) != 10)
    tiles = labelled_tiles(area, labelled, tile=20)
    np.testing.assert_array_equal(tiles > 0, labelled)
    apart = tiles[5:25, 30:50]
    assert len(np.unique(apart)) == 1
    assert not np.isin(tiles[:, :20], apart).any()
    assert sorted(np.unique(tiles)) == list(range(tiles.max() + 1))
    everywhere = np.ones((4, 4), dtype=bool)
    assert np.unique(labelled_tiles(everywhere, everywhere, tile=2)).tolist() == [1, 2, 3, 4]


def test_neither_the_tile_of_most_landslides_nor_that_of_least_is_held_out():
    for count in (10, 13, 18, 25):
        held_out = held_out_tiles(list(range(count, 0, -1)))
        assert held_out[0] > 1
        assert held_out[-1] < count - 1


def test_a_temperature_is_not_fitted_on_what_the_old_model_was_trained_on():
    assert calibrated(pixels(0.5, fair=False), 3.0, 0.2, held_out=2)["temperature"] == 3.0


def test_of_fewer_than_four_tiles_there_is_no_interval():
    found = compare(pixels(0.5, count=3), 0.5, held_out=3)
    assert (found.before_interval, found.after_interval, found.gain_interval) == (None, None, None)


def test_a_tile_is_scored_at_the_threshold_of_the_others():
    found = compare(pixels(0.5), 0.5, held_out=4)
    assert (found.before, found.after, found.gain_interval) == (0.0, 1.0, (1.0, 1.0))
    assert "labels helped" in found.line()
    own = pixels(0.5)
    own[0] = own[0]._replace(after=np.where(own[0].truth, 0.2, 0.1).astype(np.float32))
    assert compare(own, 0.5, held_out=1).after == 0  # its own threshold would be 0.2
    assert compare(own, 0.5, held_out=0).tiles == 4


def test_pixels_that_the_old_model_was_trained_on_are_not_scored():
    assert compare(pixels(0.5, fair=False), 0.5, held_out=4) is None
    assert compare([*pixels(0.5), *pixels(0.5, fair=False)], 0.5, held_out=8).tiles == 4


def test_the_fewer_tiles_the_closer_the_threshold_is_to_the_old_one():
    """Without a temperature the best threshold is that of the landslides, 0.8."""
    found = [calibrated(pixels(0.5, count=count), 1.0, 0.2, held_out=0)["threshold"] for count in (1, 4, 16)]
    assert 0.2 < found[0] < found[1] < found[2] <= 0.8
    assert calibrated(pixels(0.5), 3.0, 0.2, held_out=0)["temperature"] == 3.0
    assert calibrated(pixels(0.5), 3.0, 0.2, held_out=2)["temperature"] < 1  # the two classes lie apart


@pytest.mark.parametrize(
    ("tiles", "gain", "words"),
    [
        (4, (0.1, 0.3), "labels helped"),
        (4, (-0.3, -0.1), "keep the old model"),
        (4, (-0.1, 0.3), "do not tell"),
        (3, None, "too few tiles to tell"),
    ],
)
def test_what_is_said_of_more_labels_goes_by_the_interval_of_the_gain(tiles, gain, words):
    scores = {"before": 0.4, "before_interval": (0.3, 0.5), "after": 0.6, "after_interval": None}
    assert words in BeforeAndAfter(tiles=tiles, pixels=9, gain_interval=gain, **scores).line()
