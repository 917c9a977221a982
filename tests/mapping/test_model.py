"""Model bundles and the footprints they remember."""

import json
import shutil

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from safetensors.torch import load_file, save_file
from shapely.geometry import box

from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.indices.index_sets import index_set
from coslide.mapping.inputs import require_same_inputs
from coslide.mapping.model import load_model, save_model
from coslide.samples.footprint import TrainingFootprint, footprint_of, is_held_out, split_raster, write_split_raster
from coslide.samples.split import Subset


@pytest.fixture
def bundle(made_up_model, tmp_path):
    return shutil.copytree(made_up_model, tmp_path / "model")


def changed_metadata(bundle, **values):
    metadata = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps({**metadata, **values}))


def test_a_saved_model_predicts_the_same_to_the_bit(bundle, tmp_path):
    model = load_model(bundle)
    again = load_model(save_model(model, tmp_path / "again"))
    tiles = np.random.default_rng(0).normal(size=(2, len(model.metadata.channels), 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(model.predictors()[0](tiles), again.predictors()[0](tiles))
    assert again.metadata == model.metadata


def test_probability_is_the_softmax_of_the_landslide_class(bundle):
    model = load_model(bundle)
    tiles = np.random.default_rng(0).normal(size=(1, len(model.metadata.channels), 32, 32)).astype(np.float32)
    with torch.no_grad():
        background, landslide = model.networks[0](torch.from_numpy(tiles))[0].double().numpy()
    np.testing.assert_allclose(model.predictors()[0](tiles)[0], 1 / (1 + np.exp(background - landslide)), atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_network_predicts_the_same_to_the_bit_with_any_number_of_torch_threads_and_leaves_it_as_it_was(
    bundle, threads
):
    model = load_model(bundle)
    predict = model.predictors()[0]
    tiles = np.random.default_rng(0).normal(size=(8, len(model.metadata.channels), 32, 32)).astype(np.float32)
    expected, before = predict(tiles), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(predict(tiles), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_bundle_holds_no_pickle(bundle):
    assert sorted(path.name for path in bundle.iterdir()) == ["model.json", "weights.safetensors"]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bundle_format": 1}, "bundle_format: found 1, expected.* 5; if another version wrote it, train again"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"options": {"width": 16}}, "does not fit egcn"),
        ({"network": "none"}, "network none: unknown"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(bundle, values, message):
    changed_metadata(bundle, **values)
    with pytest.raises(InputError, match=message):
        load_model(bundle)


def test_broken_weights_are_refused(bundle):
    (bundle / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="weights.safetensors: does not fit"):
        load_model(bundle)


def refusal(metadata, cube):
    scene = cube
    with pytest.raises(InputError) as caught:
        require_same_inputs(metadata, scene.inputs, scene.pixel_size_m, "cube")
    return str(caught.value)


def without(cube, *names):
    return Cube(cube.to_xarray().drop_vars(names))


def with_attribute(cube, variable, **changes):
    dataset = cube.to_xarray().copy()
    dataset[variable].attrs = {**dataset[variable].attrs, **changes}
    return Cube(dataset)


def test_a_cube_with_other_bands_units_or_pixels_is_refused(bundle, made_up_cube):
    cube = open_cube(made_up_cube)
    metadata = load_model(bundle).metadata
    assert require_same_inputs(metadata, cube.bands, 10.0, "cube") == []
    assert "cube: does not fit the model: slope is missing" in refusal(metadata, without(cube, "slope"))
    feet = with_attribute(cube, "elevation", units="ft")
    assert "elevation has unit 'ft' instead of unit 'm'" in refusal(metadata, feet)
    classes = with_attribute(cube, "pga_class", definition="levels 0.5 g")
    assert "pga_class has unit '1' and 5 ordinal classes (levels 0.5 g) instead of" in refusal(metadata, classes)
    assert "found pixels of 10 m, expected 20 m" in refusal(metadata.model_copy(update={"pixel_size_m": 20.0}), cube)


def test_only_channels_that_a_model_was_trained_to_miss_may_be_absent(bundle, made_up_cube):
    cube = open_cube(made_up_cube)
    metadata = load_model(bundle).metadata.model_copy(update={"optional_bands": ["pga_class"]})
    assert require_same_inputs(metadata, without(cube, "pga_class").bands, 10.0, "cube") == ["pga_class"]
    assert "slope is missing" in refusal(metadata, without(cube, "pga_class", "slope"))
    assert "pga_class has" in refusal(metadata, with_attribute(cube, "pga_class", definition="levels 0.5 g"))


def test_the_metadata_names_every_channel_of_the_cube_in_order(bundle, made_up_cube):
    expected = [band for band in open_cube(made_up_cube).inputs if band.name != "pre_available"]  # not in Table 2
    metadata = load_model(bundle).metadata
    assert set(metadata.bands) == set(expected)
    assert list(metadata.bands) == index_set("d", expected)


def rectangle(left, bottom, right, top):
    return [list(box(left, bottom, right, top).exterior.coords)]


def test_the_footprint_on_the_grid_of_the_training_is_the_split_itself(made_up_cube):
    """Every part by its number, with a hole and a slanted border; the guard counts as seen."""
    grid = open_cube(made_up_cube).grid
    subsets = np.zeros(grid.shape, dtype=np.uint8)
    subsets[:40, :50], subsets[40:70, :50], subsets[70:80, :50] = Subset.TRAIN, Subset.TEST, Subset.VALIDATION
    subsets[10:20, 10:20], subsets[30:40, :50] = Subset.NONE, Subset.GUARD
    rows, cols = np.mgrid[: grid.shape[0], : grid.shape[1]]
    subsets[(cols > 50) & (rows > cols)] = Subset.TEST
    expected = np.where(subsets == Subset.GUARD, Subset.TRAIN, subsets)
    np.testing.assert_array_equal(split_raster([footprint_of(subsets, grid)], grid), expected)


def test_pixels_that_one_event_trained_on_are_not_held_out_by_another(made_up_cube):
    grid = open_cube(made_up_cube).grid
    train, test = np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=np.uint8)
    train[:20], test[:30] = Subset.TRAIN, Subset.TEST
    seen = split_raster([footprint_of(train, grid), footprint_of(test, grid)], grid)
    assert (seen[:20] == Subset.TRAIN).all()
    assert (seen[20:30] == Subset.TEST).all()
    np.testing.assert_array_equal(is_held_out(seen)[:, 0], np.arange(grid.shape[0]) >= 20)


def test_the_split_raster_explains_its_numbers(made_up_cube, tmp_path):
    grid = open_cube(made_up_cube).grid
    subsets = np.random.default_rng(0).integers(0, 5, grid.shape).astype(np.uint8)
    write_split_raster(tmp_path / "split.tif", subsets, grid, fingerprint="abc")
    with rasterio.open(tmp_path / "split.tif") as file:
        np.testing.assert_array_equal(file.read(1), subsets)
        assert file.tags()["cube"] == "abc"
        assert file.tags()["subset_2"] == "test"
        assert file.colormap(1)[1] != file.colormap(1)[2]
        assert file.crs.to_epsg() == 32654
        assert file.transform.almost_equals(grid.affine)


def test_the_footprint_is_found_on_another_grid_and_not_far_away():
    footprints = [TrainingFootprint(crs="EPSG:32654", train=[rectangle(500000, 4699600, 500500, 4700000)], test=[])]
    coarse = GeoBox((30, 30), Affine(20, 0, 499900, 0, -20, 4700100), "EPSG:32654")
    assert (split_raster(footprints, coarse) == 1).sum() == 25 * 20
    far = GeoBox((30, 30), Affine(20, 0, 600000, 0, -20, 4700100), "EPSG:32654")
    assert not split_raster(footprints, far).any()
    x, y = Transformer.from_crs("EPSG:32654", "EPSG:32655", always_xy=True).transform(500250, 4699800)
    neighbour_zone = GeoBox((100, 100), Affine(20, 0, x - 1000, 0, -20, y + 1000), "EPSG:32655")
    assert 490 < (split_raster(footprints, neighbour_zone) == 1).sum() < 510


def test_a_long_edge_of_a_footprint_is_straight_in_its_own_crs():
    """100 km long: 1 m off in the middle in the neighbouring zone, if only its ends were transformed."""
    footprint = TrainingFootprint(crs="EPSG:32654", train=[rectangle(500000, 4650000, 600000, 4700000)], test=[])
    x, y = Transformer.from_crs("EPSG:32654", "EPSG:32655", always_xy=True).transform(550000, 4700000)
    grid = GeoBox((20, 20), Affine(10, 0, x - 100, 0, -10, y + 100), "EPSG:32655")
    centres = np.meshgrid(x - 95 + 10 * np.arange(20), y + 95 - 10 * np.arange(20))
    _, northing = Transformer.from_crs("EPSG:32655", "EPSG:32654", always_xy=True).transform(*centres)
    np.testing.assert_array_equal(split_raster([footprint], grid) == 1, northing < 4700000)


def in_channel(**values):
    return lambda metadata: metadata["channels"][0].update(values)


def in_all(**values):
    return lambda metadata: metadata.update(values)


def of_footprint(**values):
    return lambda metadata: metadata["footprints"][0].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_channel(scale=float("nan")), "channels.0.scale: found nan"),
        (in_channel(scale=0), "channels.0.scale: found 0"),
        (in_channel(scale=1e38), "channels.0.scale: found 1e"),
        (in_channel(offset=float("inf")), "channels.0.offset: found inf"),
        (in_channel(encoding="circular"), "found the encoding circular"),
        (in_all(tile=10**9), "tile: found 1000000000"),
        (in_all(tile=33), "tile: found 33, expected a multiple of 16"),
        (in_all(threshold=2), "threshold: found 2"),
        (in_all(temperature=0), "temperature: found 0"),
        (in_all(members=10**9), "members: found 1000000000"),
        (in_all(options={"width": 10**6}), "options.width: found more than 4096"),
        (in_all(options={"width": 4096}), "weights.safetensors: does not fit egcn"),
        (in_all(options={"depth": 3}), "network egcn: unknown option depth"),
        (in_all(network="x" * 5000), "network xxx"),
        (in_all(flags=["rain"]), "flags: found rain"),
        (in_all(channels=[]), "channels: found"),
        (in_all(split={"scheme": 7}), "split or samples: scheme: found 7"),
        (of_footprint(crs="EPSG:0"), "footprints.0.crs: found 'EPSG:0', expected a CRS"),
        (of_footprint(train=[[[[0, 0], [1, 1]]]]), "footprints.0.train.0.0: found"),
        (of_footprint(train=[[[[0, 0], [1, float("nan")], [1, 0], [0, 0]]]]), "footprints.0.train.0.0.1.1: found nan"),
    ],
)
def test_metadata_that_claim_what_cannot_be_are_refused_in_a_line(bundle, change, message):
    metadata = json.loads((bundle / "model.json").read_text())
    change(metadata)
    (bundle / "model.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError) as caught:
        load_model(bundle)
    assert message in str(caught.value)
    assert str(bundle) in str(caught.value)
    assert len(str(caught.value)) < 800


def rewritten(change):
    def write(path):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return write


def first_of(tensors):
    return next(iter(tensors.values()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "does not fit egcn"),
        (lambda path: path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:]), "does not fit egcn"),
        (lambda path: torch.save({"a": torch.zeros(3)}, path), "does not fit egcn"),
        (lambda path: path.unlink(), "does not fit egcn"),
        (rewritten(lambda tensors: tensors.popitem()), "is missing"),
        (rewritten(lambda tensors: tensors.update(more=torch.zeros(1))), "more is unknown"),
        (rewritten(lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(7)})), "F32 [7], expected ["),
        (rewritten(lambda tensors: tensors.update({k: v.double() for k, v in tensors.items()})), "is F64 ["),
        (rewritten(lambda tensors: first_of(tensors).fill_(float("nan"))), "holds NaN or infinity"),
        (rewritten(lambda tensors: first_of(tensors).fill_(1e38)), "holds NaN or infinity, or beyond 1e+30"),
    ],
    ids=[
        "cut",
        "a huge header",
        "pickle",
        "gone",
        "a tensor less",
        "one more",
        "shape",
        "dtype",
        "NaN",
        "1e38",
    ],
)
def test_damaged_weights_are_refused_in_a_line(bundle, damage, message):
    damage(bundle / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: [^\n]*$") as caught:
        load_model(bundle)
    assert message in str(caught.value)


def test_weights_beyond_what_can_be_computed_with_make_no_map(bundle):
    rewritten(lambda tensors: [one.mul_(1e25) for one in tensors.values() if one.is_floating_point()])(
        bundle / "weights.safetensors"
    )
    model = load_model(bundle)
    tiles = np.ones((1, len(model.metadata.channels), 32, 32), np.float32)
    with pytest.raises(InputError, match="the model: gives nan as probability, expected 0 to 1"):
        model.predictors()[0](tiles)
