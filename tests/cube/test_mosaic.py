"""Chips as one raster with gaps: what a window reads, where nothing is, what may be split how."""

import numpy as np
import pytest

from coslide.config.training import TrainingSettings
from coslide.cube import mosaic as module
from coslide.cube.band import Band
from coslide.cube.cube import open_cube
from coslide.cube.mosaic import open_mosaics
from coslide.errors import InputError
from coslide.evaluation.scoring import SIDE_PX
from coslide.pipeline.labelled_scene import open_labelled_scenes, split_scenes
from coslide.samples.split import Subset, split_windows
from coslide.sources.chips import chips_config
from coslide.windows import Window

PLACES = ["a,3,5", "a,3,6", "a,4,6", "a,6,5", "b,0,0"]  # counted in chips; of a: 4 x 2, with gaps
OF_CHIPS = 'event = "event"\nrow = "row"\ncol = "col"\nstep_px = 32\nfactor = "factor"'


@pytest.fixture(scope="module")
def chips(chips_writer, tmp_path_factory):
    """The description of chips of two events, the stored arrays, and the first event as a mosaic."""
    path, stored = chips_writer(
        tmp_path_factory.mktemp("chips"), [f"{one},{2**i}" for i, one in enumerate(PLACES)], table=OF_CHIPS
    )
    return path, stored, open_mosaics(chips_config(path))[0]


@pytest.fixture(scope="module")
def whole(chips):
    """What the raster of the first event must be: values, and labels."""
    values, labels = np.full((3, 128, 64), np.nan, np.float32), np.full((128, 64), 255, np.uint8)
    for number, (row, col) in enumerate([(0, 0), (0, 32), (32, 32), (96, 0)]):
        image, mask = chips[1][str(number + 1)]
        values[:, row : row + 32, col : col + 32] = image * 2.0**number
        labels[row : row + 32, col : col + 32] = mask
    return values, labels


def test_chips_of_one_raster_lie_at_their_places_times_their_factor_with_nothing_between(chips, whole):
    values, labels = whole
    mosaic = chips[2]
    assert mosaic.shape == (128, 64)
    np.testing.assert_array_equal(mosaic.read(slice(None)), values)
    np.testing.assert_array_equal(mosaic.labels, labels)
    np.testing.assert_array_equal(mosaic.valid(slice(None)), labels != 255)
    assert mosaic.name == "Made-up chips (a)"


def test_any_window_is_the_same_part_of_the_whole(chips, whole):
    values, _ = whole
    random = np.random.default_rng(0)
    for _ in range(50):
        row, col = random.integers(0, (128, 64))
        window = Window(int(row), int(col), int(random.integers(1, 129 - row)), int(random.integers(1, 65 - col)))
        np.testing.assert_array_equal(chips[2].read(window), values[:, *window.slices])
        np.testing.assert_array_equal(chips[2].valid(window), np.isfinite(values[0])[window.slices])
    np.testing.assert_array_equal(chips[2].read(slice(30, 100)), values[:, 30:100])


def test_a_window_decodes_the_chips_that_it_touches_and_keeps_them(chips, monkeypatch):
    read = []

    def listen(chip, config, read_image=module.read_image):
        read.append(chip.id)
        return read_image(chip, config)

    monkeypatch.setattr(module, "read_image", listen)
    mosaic = open_mosaics(chips_config(chips[0]))[0]
    read.clear()
    mosaic.read(Window(33, 40, 20, 10))
    assert read == ["3"]
    mosaic.read(Window(31, 40, 20, 10))
    assert read == ["3", "2"]
    mosaic.read(Window(64, 0, 32, 64))
    mosaic.read(slice(None), [])
    assert read == ["3", "2"]


def test_bands_are_those_of_a_cube_and_others_have_no_value(chips, made_up_cube):
    cube = {band.name: band for band in open_cube(made_up_cube).inputs}
    for band in chips[2].inputs:
        other = cube[band.name]
        assert band == other
        for key in ("group", "optional", "date", "quantity", "channel", "variable"):
            assert getattr(band, key) == getattr(other, key)
    red, slope = chips[2].inputs[0], cube["slope"]
    found = chips[2].read(slice(0, 32), [slope, red, Band(red.name, "m")])
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_array_equal(found[1, :, :32], chips[1]["1"][0][0])


@pytest.mark.parametrize(
    ("places", "step", "found"),
    [
        (["a,0,0", "a,0,1"], 1, "the chips 1 and 2 overlap, expected places side by side; if row and col count chips"),
        (["a,40,40", "a,9,71"], 1, "the chips 1 and 2 overlap"),
        (["a,0,0", "a,,"], 32, "found no place of 2, expected one for each chip, or for none"),
        (["a,0,0", "a,99999,99999"], 32, "expected at most 268435456 pixels in all; split the event"),
    ],
)
def test_places_that_cannot_be_are_refused(chips_writer, tmp_path, places, step, found):
    path, _ = chips_writer(tmp_path, places, table=OF_CHIPS.replace("32", str(step)))
    with pytest.raises(InputError) as caught:
        open_mosaics(chips_config(path))
    assert found in str(caught.value)


def test_chips_that_touch_by_pixels_of_any_place_are_no_overlap(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,40,40", "a,8,71", "a,60,72"], table=OF_CHIPS.replace("32", "1"))
    (mosaic,) = open_mosaics(chips_config(path))
    assert mosaic.shape == (84, 64)
    np.testing.assert_array_equal(mosaic.read(Window(52, 32, 32, 32)), stored["3"][0])


def test_a_chip_of_another_size_is_refused(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,0,0", "a,0,1"], table=OF_CHIPS, form=".npy")
    np.save(tmp_path / "img" / "2.npy", stored["2"][0].transpose(1, 2, 0)[:30])
    with pytest.raises(InputError, match=r"2\.npy: found 30 x 32 pixels, expected 32 x 32 as the first mask"):
        open_mosaics(chips_config(path))


def test_what_is_known_of_chips_is_hashed(chips_writer, tmp_path):
    prints = set()
    for number, (lines, keys) in enumerate([
        (["a,0,0", "a,0,1"], ""), (["a,0,0", "a,1,0"], ""), (["a,0,0", "a,0,1,2"], ""),
        (["a,0,0", "a,0,1"], "scale = 2\n"), (["a,0,0", "a,0,1"], 'unit = "relative"\n'),
    ]):  # fmt: skip
        path, _ = chips_writer(tmp_path / str(number), lines, keys=keys, table=OF_CHIPS)
        prints.add(open_mosaics(chips_config(path))[0].fingerprint)
    assert len(prints) == 5


def test_chips_without_places_lie_apart_and_are_only_split_by_event(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a"] * 5, table="")
    (scene,) = open_labelled_scenes(path)
    assert scene.labels.shape == (128 + 32, 256 + 32)  # two rows of three chips of 32
    for number, window in scene.scene.windows.items():
        np.testing.assert_array_equal(scene.scene.read(window), stored[number][0])
    assert (scene.labels != 255).sum() == 5 * 32 * 32
    settings = TrainingSettings(sampling={"tile": 16, "stride": 16, "select": "prevalence"}, split={"block_windows": 1})
    with pytest.raises(
        InputError, match="nobody knows which chips of Made-up chips are neighbours, so they are held out"
    ):
        split_scenes([scene], settings)


@pytest.mark.parametrize("side", [16, 64, 72, 128])
def test_a_chip_without_place_lies_in_one_square_of_the_intervals_away_from_others(chips_writer, tmp_path, side):
    """What two squares share would be drawn as if independent."""
    path, _ = chips_writer(tmp_path, ["a"] * 4, side=side, table="")
    windows = list(open_mosaics(chips_config(path))[0].windows.values())
    squares = [
        {(row // SIDE_PX, col // SIDE_PX) for row in (w.row, w.row + side - 1) for col in (w.col, w.col + side - 1)}
        for w in windows
    ]
    assert [len(own) for own in squares] == [1] * 4
    assert len(set.union(*squares)) == 4
    assert all(max(abs(a.row - b.row), abs(a.col - b.col)) >= side + 64 for a in windows for b in windows if a is not b)


def test_the_bounds_of_chips_are_hashed(chips_writer, tmp_path):
    bounds = f'{OF_CHIPS}\nbounds = ["west", "south", "east", "north"]'
    path, _ = chips_writer(tmp_path, ["a,0,0"], table=bounds)
    prints = set()
    for west in (10, 11):
        (tmp_path / "chips.csv").write_text(
            f"id,event,row,col,factor,west,south,east,north\n1,a,0,0,1,{west},1,{west + 1},2"
        )
        prints.add(open_mosaics(chips_config(path))[0].fingerprint)
    assert len(prints) == 2


def test_where_a_scene_before_has_no_value_labels_stay_and_elsewhere_they_do_not(chips_writer, tmp_path):
    path, stored = chips_writer(tmp_path, ["a,0,0"], form=".npy", table="")
    path.write_text(path.read_text().replace("reflectance_post_B2", "reflectance_pre_B4"))
    image, mask = stored["1"]
    values = image.transpose(1, 2, 0).astype(np.float32)
    values[0, :, 0], values[1, :, 2] = np.nan, np.nan
    np.save(tmp_path / "img" / "1.npy", values)
    (mosaic,) = open_mosaics(chips_config(path))
    expected = mask.copy()
    expected[0] = 255
    np.testing.assert_array_equal(mosaic.labels, expected)
    assert np.isnan(mosaic.read(slice(1, 2))[2]).all()


def test_blocks_and_guards_of_chips_keep_training_from_what_is_held_out(chips_writer, tmp_path):
    """A split through chips that touch: with windows across the borders, nothing leaks into what is scored."""
    places = [f"a,{row},{col}" for row in range(4) for col in range(4) if (row, col) != (1, 2)]
    path, _ = chips_writer(tmp_path, places, table=OF_CHIPS)
    (scene,) = open_labelled_scenes(path)
    settings = TrainingSettings(
        sampling={"tile": 24, "stride": 20, "select": "prevalence"}, split={"block_windows": 2, "guard_px": 6}
    )
    split = split_windows(scene.labels, settings)
    assert split.leak_fraction == 0
    train, test = (np.argwhere(split.subsets == subset) for subset in (Subset.TRAIN, Subset.TEST))
    distances = np.sqrt(((train[:, None] - test[None, ::7]) ** 2).sum(axis=2))
    assert distances.min() > 6
    assert all((scene.labels[window.slices] != 255).any() for window in (*split.train, *split.test))
    random = split_windows(scene.labels, settings.changed({"split.scheme": "paper", "split.guard_px": 0}))
    assert random.leak_fraction > 0.01
