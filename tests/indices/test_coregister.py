"""Shifts are known here by construction: fractal terrain moved in Fourier space, or a function rendered elsewhere."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.testing import assert_allclose
from odc.geo.geobox import GeoBox
from scipy.ndimage import fourier_shift, gaussian_filter, shift

from coslide.errors import InputError
from coslide.grid import slices_of
from coslide.indices.coregister import ChipShift, _agreed, measure_scene_shift, measure_shift
from coslide.indices.spectral import prepare_scene

PIXEL_M = 10.0
FINE = 2  # terrain is made on half pixels and averaged, so that it is sampled as coarsely as a sensor does it


def grid_of(rows, cols):
    return GeoBox((rows, cols), Affine(PIXEL_M, 0, 300000, 0, -PIXEL_M, 3700000), "EPSG:32648")


def fractal(size, random, power=1.2):
    """Return random terrain with a spectrum that falls with the frequency as that of real terrain does, periodic."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    terrain = np.fft.ifft2(np.fft.fft2(random.normal(size=(size, size))) / frequency**power).real
    return (terrain - terrain.mean()) / terrain.std()


def pair(size, *, east_px, north_px, seed=0, slides=0.0, clouds=0.0, sun=0.0, noise=0.0):
    """Return the scenes before and after; the one before lies so much to the east and north of the one after."""
    random = np.random.default_rng(seed)
    terrain = fractal((size + 32) * FINE, random)
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(terrain), (-north_px * FINE, east_px * FINE))).real

    def sampled(fine):
        whole = size + 32
        return 0.15 + 0.04 * fine.reshape(whole, FINE, whole, FINE).mean(axis=(1, 3))[16:-16, 16:-16]

    before, after = sampled(moved), sampled(terrain)
    if sun:
        shade = gaussian_filter(random.normal(size=after.shape), 20)
        after = 0.8 * after * (1 + sun * shade / shade.std())
    for share, bright, roughness in ((slides, 0.3, 0.02), (clouds, 0.6, 0.1)):
        blobs = fractal(size, random, power=1.7)
        after = np.where(blobs > np.quantile(blobs, 1 - share), bright + roughness * blobs, after) if share else after
    return tuple(scene + noise * random.normal(size=scene.shape) for scene in (before, after))


class Held:
    """A scene held in an array, on the grid already."""

    acquired = ""
    sensor = ""
    notes = ()

    def __init__(self, values, grid, *, names=("B2", "B4", "B8"), cloudy=None):
        self.values, self.grid, self.band_names = values.astype(np.float32), grid, names
        self.cloudy = np.zeros(grid.shape, bool) if cloudy is None else cloudy
        self.asked = set()

    def reflectance(self, name, window, *, shift_m=(0.0, 0.0)):
        assert shift_m == (0.0, 0.0)
        self.asked.add(name)
        return self.values[slices_of(window, self.grid)]

    def clear(self, window, *, shift_m=(0.0, 0.0)):
        assert shift_m == (0.0, 0.0)
        return ~self.cloudy[slices_of(window, self.grid)]


class Rendered:
    """A scene that is a function of the place, displaced by so many metres to the east and to the north."""

    acquired = "2017-07-29"
    sensor = "Sentinel-2 (10 m)"
    notes = ()
    band_names = ("B4", "B8")

    def __init__(self, displaced_m=(0.0, 0.0), seed=5):
        random = np.random.default_rng(seed)
        direction = random.uniform(0, 2 * np.pi, 80)
        length_m = np.exp(random.uniform(np.log(45), np.log(900), 80))
        self.waves = 2 * np.pi / length_m * np.array([np.cos(direction), np.sin(direction)])
        self.phase = random.uniform(0, 2 * np.pi, 80)
        self.size = 0.002 * (length_m / 45) ** 0.7
        self.displaced_m = displaced_m

    def reflectance(self, name, window, *, shift_m=(0.0, 0.0)):
        rows, cols = np.indices(window.shape) + 0.5
        x, y = window.affine.c + window.affine.a * cols, window.affine.f + window.affine.e * rows
        x, y = (v - v0 - a - b for v, v0, a, b in zip((x, y), (3e5, 3.7e6), self.displaced_m, shift_m, strict=True))
        total = np.full(window.shape, 0.2)
        for east, north, phase, size in zip(*self.waves, self.phase, self.size, strict=True):
            total += size * np.cos(east * x + north * y + phase)
        return total.astype(np.float32)

    def clear(self, window, *, shift_m=(0.0, 0.0)):
        return np.ones(window.shape, bool)


@pytest.mark.parametrize("size", [256, 128])
@pytest.mark.parametrize(("east_px", "north_px"), [(0.0, 0.0), (0.5, -0.25), (-1.37, 0.81), (3.2, 4.1)])
def test_a_chip_shows_its_shift_to_a_thirtieth_of_a_pixel(size, east_px, north_px):
    found = measure_shift(*pair(size, east_px=east_px, north_px=north_px))
    assert_allclose((found.east_px, found.north_px), (-east_px, -north_px), atol=1 / 30)
    assert found.match > 0.9


CHANGES = {
    "landslides": {"slides": 0.03},
    "another sun": {"sun": 0.2},
    "clouds nobody masked": {"clouds": 0.15},
    "noise": {"noise": 0.01},
    "all of it": {"slides": 0.03, "sun": 0.2, "clouds": 0.15, "noise": 0.005},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_in_the_scene_moves_the_shift_by_less_than_a_twentieth_of_a_pixel(changes):
    grid = grid_of(512, 512)
    before, after = pair(512, east_px=0.62, north_px=-0.35, seed=1, **changes)
    found = measure_scene_shift(Held(before, grid), Held(after, grid), grid)
    assert_allclose((found.dx_m, found.dy_m), (-6.2, 3.5), atol=0.5)
    assert found.applied
    assert found.chips >= 4


@pytest.mark.parametrize("seed", range(4))
def test_clouds_and_landslides_weigh_little_in_a_single_chip(seed):
    """Edges count by their direction: bright clouds would drown the terrain."""
    found = measure_shift(*pair(256, east_px=0.62, north_px=-0.35, seed=seed, clouds=0.15, slides=0.03))
    assert_allclose((found.east_px, found.north_px), (-0.62, 0.35), atol=0.2)


@pytest.mark.parametrize(("east_m", "north_m"), [(6.0, 0.0), (0.0, 6.0), (-4.0, 2.5)])
def test_a_scene_displaced_to_the_east_coincides_with_the_other_once_it_is_read_with_its_shift(east_m, north_m):
    """The sign: what is measured is what `shift_m` takes."""
    grid = grid_of(200, 220)
    pre, post = Rendered(displaced_m=(east_m, north_m)), Rendered()
    found = measure_scene_shift(pre, post, grid)
    assert_allclose((found.dx_m, found.dy_m), (-east_m, -north_m), atol=0.5)
    window = grid[20:40, 30:60]
    read = {
        scene: prepare_scene(reader, scene, shift=moved).compute(window)[f"reflectance_{scene}"][0]
        for scene, reader, moved in (("pre", pre, found), ("post", post, None))
    }
    displaced = pre.reflectance("B8", window)
    assert np.abs(read["pre"] - read["post"]).max() < 0.1 * np.abs(displaced - read["post"]).max()


def test_the_line_for_the_log_says_where_the_scene_lay():
    found = measure_scene_shift(Rendered(displaced_m=(6.0, -3.0)), Rendered(), grid_of(200, 220))
    assert found.text.startswith("co-registration: the scene before the event lies +6.0 m east and -3.0 m north of ")
    assert found.text.endswith("(4 of 4 chips, spread 0.0 m); removed")


def test_a_shift_below_a_tenth_of_a_pixel_is_left_alone():
    found = measure_scene_shift(Rendered(displaced_m=(0.5, 0.5)), Rendered(), grid_of(200, 220))
    assert_allclose((found.dx_m, found.dy_m), (-0.5, -0.5), atol=0.25)
    assert not found.applied
    assert found.applied_m == (0.0, 0.0)


def test_a_shift_above_a_pixel_is_removed_with_a_warning():
    found = measure_scene_shift(Rendered(displaced_m=(14.0, 0.0)), Rendered(), grid_of(200, 220))
    assert found.applied
    assert found.applied_m == (found.dx_m, found.dy_m)
    assert found.text.startswith("warning: ")


def test_a_shift_above_five_pixels_is_not_believed():
    found = measure_scene_shift(Rendered(displaced_m=(40.0, 40.0)), Rendered(), grid_of(200, 220))
    assert_allclose((found.dx_m, found.dy_m), (-40, -40), atol=1)
    assert not found.applied
    assert found.text.startswith("warning: ")
    assert "not believed" in found.text


def test_scenes_of_different_places_are_left_alone():
    found = measure_scene_shift(Rendered(seed=1), Rendered(seed=2), grid_of(200, 220))
    assert not found.applied
    assert found.chips == 0
    assert "not measured" in found.text


def test_a_few_chips_that_lie_off_the_others_do_not_move_the_shift():
    chips = [ChipShift(east, 0.0, 0.8) for east in (0.4, 0.45, 0.5, 0.55, 0.6)]
    found = _agreed([*chips, *[ChipShift(2.0, 3.0, 0.8)] * 2], PIXEL_M, apply=True)
    assert (found.dx_m, found.dy_m, found.chips, found.applied) == (5.0, 0.0, 5, True)


@pytest.mark.parametrize(("count", "applied"), [(9, False), (36, True)])
def test_a_shift_that_chance_could_make_of_scattered_chips_is_not_removed(count, applied):
    """A third of a pixel from chips that scatter by a fifth: believed of 36 of them, not of 9."""
    scatter = np.resize([-0.3, -0.2, 0.2, 0.3, 0.0, 0.2, -0.2, 0.25, -0.25], count)
    chips = [ChipShift(0.33 + away, 0.0, 0.8) for away in scatter]
    found = _agreed(chips, PIXEL_M, apply=True)
    assert found.applied is applied
    assert ("its parts scatter as much" in found.text) is not applied


def test_chips_that_do_not_agree_leave_the_scene_where_it_is():
    chips = [ChipShift(east, 0.0, 0.9) for east in (-1.0, -0.4, 0.2, 0.8, 1.4)]
    found = _agreed(chips, PIXEL_M, apply=True)
    assert found.spread_m == pytest.approx(6.0)
    assert not found.applied
    assert "do not agree" in found.text


@pytest.mark.parametrize(("match", "applied"), [(0.8, True), (0.4, False)])
def test_fewer_than_four_chips_must_match_well(match, applied):
    assert _agreed([ChipShift(0.5, 0.0, match)], PIXEL_M, apply=True).applied is applied


def test_clouds_and_nodata_are_no_structure():
    """Chips with a tenth or more nodata are left out; in the others the rim of a hole does not pull the shift found."""
    grid = grid_of(512, 512)
    before, after = pair(512, east_px=0.5, north_px=0.5, seed=2)
    holes = fractal(512, np.random.default_rng(3), power=1.7)
    cloudy = holes > np.quantile(holes, 0.92)
    before = np.where(np.roll(cloudy, 9, axis=1), np.nan, before)
    after = np.where(cloudy, 0.9, after)
    found = measure_scene_shift(Held(before, grid), Held(after, grid, cloudy=cloudy), grid)
    assert_allclose((found.dx_m, found.dy_m), (-5.0, -5.0), atol=0.5)
    assert 0 < found.chips < 9


def test_a_scene_under_clouds_is_not_measured():
    grid = grid_of(200, 200)
    before, after = pair(200, east_px=0.5, north_px=0.5)
    found = measure_scene_shift(Held(before, grid), Held(after, grid, cloudy=np.ones((200, 200), bool)), grid)
    assert (found.chips, found.applied) == (0, False)


def test_a_ramp_across_a_chip_does_not_pull_the_shift_to_nothing():
    before, after = (scene + np.linspace(0, 10, 128) for scene in pair(128, east_px=3.5, north_px=0.5))
    found = measure_shift(before, after)
    assert_allclose((found.east_px, found.north_px), (-3.5, -0.5), atol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_holes_in_the_same_place_do_not_pull_the_shift_to_nothing(seed):
    before, after = (scene + np.linspace(0, 3, 256) for scene in pair(256, east_px=0.5, north_px=0.5, seed=seed))
    random = np.random.default_rng(seed)
    hole = gaussian_filter(random.normal(size=(256, 256)), 1.5)
    hole = hole > np.quantile(hole, 0.92)
    before[hole] = after[hole] = np.nan
    found = measure_shift(before, after)
    assert_allclose((found.east_px, found.north_px), (-0.5, -0.5), atol=1 / 30)


def test_a_scene_that_covers_little_of_the_grid_is_looked_for_with_more_chips():
    grid = grid_of(200, 1800)
    before, after = np.full(grid.shape, np.nan), np.random.default_rng(0).uniform(0.1, 0.2, grid.shape)
    before[:, -420:], after[:, -420:] = (scene[:200] for scene in pair(420, east_px=0.5, north_px=0.0, seed=2))
    found = measure_scene_shift(Held(before, grid), Held(after, grid), grid)
    assert_allclose((found.dx_m, found.dy_m), (-5.0, 0.0), atol=0.5)
    assert found.chips >= 4


def test_uniform_or_nodata_pixels_have_no_shift():
    terrain = pair(64, east_px=0, north_px=0)[0]
    assert measure_shift(terrain, np.full((64, 64), 0.2)) is None
    assert measure_shift(np.full((64, 64), np.nan), terrain) is None


def test_chips_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"found the shapes \(64, 64\) and \(64, 60\)"):
        measure_shift(np.zeros((64, 64)), np.zeros((64, 60)))


def test_a_grid_too_small_for_two_chips_is_not_measured():
    grid = grid_of(90, 400)
    found = measure_scene_shift(Rendered(displaced_m=(6.0, 0.0)), Rendered(), grid)
    assert (found.chips, found.applied) == (0, False)


@pytest.mark.parametrize(
    ("names", "expected"), [(("B2", "B4", "B8", "B11"), "B8"), (("B2", "B4", "B11"), "B4"), (("B2", "B3"), "B3")]
)
def test_the_band_compared_is_b8_or_b4_or_the_longest(names, expected):
    grid = grid_of(100, 100)
    before, after = pair(100, east_px=0.3, north_px=0.0)
    pre, post = Held(before, grid, names=names), Held(after, grid, names=names)
    measure_scene_shift(pre, post, grid)
    assert pre.asked == post.asked == {expected}


def test_scenes_without_a_band_in_common_are_refused_in_one_line():
    grid = grid_of(100, 100)
    terrain = pair(100, east_px=0, north_px=0)[0]
    with pytest.raises(InputError, match=r"scenes: found the bands B2 in pre and B3 in post, expected one in both"):
        measure_scene_shift(Held(terrain, grid, names=("B2",)), Held(terrain, grid, names=("B3",)), grid)


def test_measure_reports_a_shift_without_removing_it():
    grid = grid_of(200, 220)
    pre, post = Rendered(displaced_m=(6.0, 0.0)), Rendered()
    found = measure_scene_shift(pre, post, grid, apply=False)
    assert found.dx_m == pytest.approx(-6.0, abs=0.5)
    assert found.applied_m == (0.0, 0.0)
    assert found.text.endswith("only measured")


@pytest.mark.realdata
def test_the_scenes_of_a_real_event_fit_better_once_the_shift_is_removed(data_folder):
    """Snow, another sun, 43 % without data: still a shift below two pixels, and their correlation rises."""
    scenes = []
    for when in ("pre", "post"):
        with rasterio.open(data_folder / "iburi-2018" / "sentinel2" / f"{when}_B4.tif") as file:
            values = file.read(1).astype(np.float32)
            scenes.append(np.where(values == file.nodata, np.nan, values * 1e-4))
    grid = grid_of(*scenes[0].shape)  # pixels as they are stored, taken for 10 m
    found = measure_scene_shift(*(Held(values, grid, names=("B4",)) for values in scenes), grid)
    assert found.applied
    assert found.chips >= 4
    assert np.hypot(found.dx_m, found.dy_m) < 2 * PIXEL_M
    pre, post = (values[450:930, 30:830] for values in scenes)  # both have data
    both = np.isfinite(pre) & np.isfinite(post)
    moved = shift(np.nan_to_num(pre), (-found.dy_m / PIXEL_M, found.dx_m / PIXEL_M), order=3, mode="nearest")
    before, after = (np.corrcoef(values[both], post[both])[0, 1] for values in (pre, moved))
    assert after > before + 0.01
