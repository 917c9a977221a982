"""What reaches a scene: light, shadow, clouds, noise, texture and season, each by its size."""

import dataclasses

import numpy as np
import pytest

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.clouds import make_sky
from coslide.simulate.covers import Cover
from coslide.simulate.frame import Frame
from coslide.simulate.light import DIFFUSE_SHARE
from coslide.simulate.recipe import DIFFICULTIES, Recipe
from coslide.simulate.render import View, render_scene, sun_over
from coslide.simulate.spectra import CLOUD

FRAME = Frame(120, 120)
CLEAR = Recipe(seed=1, difficulty="easy")
# Reference radiance, least signal over noise there (Copernicus SentiWiki, table of the MSI; B2 to B12), and sunlight.
RADIANCE = (128.0, 128.0, 108.0, 74.6, 68.23, 66.7, 103.0, 52.39, 4.0, 1.7)
SIGNAL_OVER_NOISE = (154, 168, 142, 117, 89, 105, 174, 72, 100, 100)
SUNLIGHT = (1959.66, 1823.24, 1512.06, 1424.64, 1287.61, 1162.08, 1041.63, 955.32, 245.59, 85.25)
NAMES = [f"B{band[1:]:0>2}" for band in SENTINEL2_BANDS]


@pytest.fixture
def easy(monkeypatch):
    def change(**values):
        monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(**values))

    return change


def _scene(terrain, kind, *, recipe=CLEAR, date="post"):
    cover = kind if isinstance(kind, np.ndarray) else np.full(FRAME.fine.shape, kind, dtype=np.uint8)
    strata = np.full((FRAME.cells, FRAME.cells), 2, dtype=np.uint8)
    scene = dict(render_scene(recipe, terrain, strata=strata, view=View(date, cover, 0)))
    return {name: values if name == "SCL" else values / 1e4 for name, values in scene.items()}


def _at_20_m(values):
    return values.reshape(60, 2, 60, 2).mean(axis=(1, 3))


def _alike(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_noise_has_the_size_that_the_instrument_is_specified_for(plain, easy):
    easy(texture=0.0, noise=20.0)
    scene = _scene(plain, Cover.SNOW)
    for number, name in enumerate(NAMES):
        reference = np.pi * RADIANCE[number] / SUNLIGHT[number]
        expected = 20 * np.sqrt(reference * scene[name].mean()) / SIGNAL_OVER_NOISE[number]
        assert scene[name].std() == pytest.approx(expected, rel=0.08), name


def test_noise_repeats_neither_between_dates_nor_between_bands(plain, easy):
    easy(texture=0.0, noise=20.0)
    pre, post = (_scene(plain, Cover.SNOW, date=date) for date in ("pre", "post"))
    assert abs(_alike(pre["B02"], post["B02"])) < 0.05
    assert abs(_alike(post["B02"], post["B03"])) < 0.05


def test_ground_in_shadow_has_the_light_of_the_sky_alone(plain, easy):
    """A wall 600 m high across the ground; behind it the sun is gone."""
    easy(texture=0.0, noise=0.0)
    height = plain.height_m.copy()
    height[:, 185] += 600  # east of the middle: the sun stands in the south-east
    scene, lit = (_scene(ground, Cover.GRAVEL) for ground in (dataclasses.replace(plain, height_m=height), plain))
    behind = (slice(20, 40), slice(27, 30))  # of 20 m
    for number, name in enumerate(NAMES):
        values, open_ground = (_at_20_m(s[name]) if s[name].shape[0] == 120 else s[name] for s in (scene, lit))
        share = values[behind].mean() / open_ground[behind].mean()
        assert share == pytest.approx(DIFFUSE_SHARE[number], rel=0.05, abs=0.004), name
    assert 0.15 < DIFFUSE_SHARE[0] < 0.30


def test_a_slope_loses_sky_as_it_steepens(plain, easy):
    easy(texture=0.0, noise=0.0)
    slope = np.full_like(plain.slope_deg, 60)
    sun = sun_over(FRAME, View("post", np.zeros((1, 1), np.uint8), 0).time)
    away = np.full_like(slope, (sun.azimuth_deg + 180) % 360)
    steep = dataclasses.replace(plain, slope_deg=np.full_like(slope, 85), aspect_deg=away)
    share = _scene(steep, Cover.GRAVEL)["B02"].mean() / _scene(plain, Cover.GRAVEL)["B02"].mean()
    assert share == pytest.approx(DIFFUSE_SHARE[0] * (1 + np.cos(np.radians(85))) / 2, rel=0.02)


def test_clouds_and_their_shadows_reach_the_bands_and_the_classes(plain):
    recipe = Recipe(seed=2, difficulty="hard")
    sun = sun_over(FRAME, View("post", np.zeros((1, 1), np.uint8), 0).time)
    sky = make_sky(recipe, FRAME, sun, date="post")
    scene, clear = _scene(plain, Cover.GRAVEL, recipe=recipe), _scene(plain, Cover.GRAVEL)
    cloud, veil, shade = (_at_20_m(field[FRAME.inner]) for field in (sky.cloud, sky.veil, sky.shade))
    opaque, dark = cloud > 0.99, (shade > 0.97) & (veil == 0)
    assert opaque.sum() > 5
    assert dark.sum() > 5
    for name in ("B8A", "B11"):
        number = NAMES.index(name)
        assert scene[name][opaque].mean() == pytest.approx(CLOUD[number], abs=0.02)
        assert scene[name][dark].mean() < 0.3 * clear[name].mean()
    assert (scene["SCL"][opaque] == 9).all()
    assert (scene["SCL"][dark] == 3).all()


def test_season_0_shows_the_plants_of_one_day_at_both_dates(plain, easy):
    high = dataclasses.replace(plain, height_m=plain.height_m + 700)  # spring is late there
    found = {}
    for season in (0.0, 1.0):
        easy(season=season, texture=0.0, noise=0.0)
        found[season] = [_scene(high, Cover.BROADLEAF, date=date)["B08"].mean() for date in ("pre", "post")]
    assert found[0.0][1] == pytest.approx(found[0.0][0], rel=1e-3)
    assert found[1.0][1] < 0.97 * found[1.0][0]


def test_texture_grows_with_the_difficulty_and_water_is_smooth(plain, easy):
    spread = {}
    for texture in (0.0, 0.05, 0.10):
        easy(texture=texture, noise=0.0)
        for kind in (Cover.GRAVEL, Cover.WATER):
            red = _scene(plain, kind)["B04"]
            spread[kind, texture] = red.std() / red.mean()
    assert spread[Cover.GRAVEL, 0.0] < 1e-3
    assert spread[Cover.GRAVEL, 0.10] == pytest.approx(2 * spread[Cover.GRAVEL, 0.05], rel=0.05)
    assert spread[Cover.WATER, 0.10] == pytest.approx(spread[Cover.GRAVEL, 0.10] / 4, rel=0.1)


def test_texture_is_rough_over_many_cells_not_only_from_one_to_the_next(plain, easy):
    easy(texture=0.10, noise=0.0)
    red = _scene(plain, Cover.GRAVEL)["B04"]
    blocks = red.reshape(12, 10, 12, 10).mean(axis=(1, 3))
    assert blocks.std() > 3 * red.std() / 10  # independent cells would leave a tenth


def test_texture_is_the_grounds_own_at_both_dates_but_for_a_part(plain, easy):
    easy(texture=0.10, noise=0.0, shift_m=0.0)
    pre, post = (_scene(plain, Cover.GRAVEL, date=date)["B04"] for date in ("pre", "post"))
    fine = [values - _smooth(values) for values in (pre, post)]
    assert 0.3 < _alike(*fine) < 0.9


def test_bands_of_one_part_of_the_spectrum_share_their_texture(plain, easy):
    easy(texture=0.10, noise=0.0)
    scene = _scene(plain, Cover.GRAVEL)
    fine = {name: scene[name] - _smooth(scene[name]) for name in ("B05", "B8A", "B11", "B12")}
    assert _alike(fine["B05"], fine["B8A"]) > 0.99
    assert _alike(fine["B05"], fine["B12"]) < 0.97
    assert _alike(fine["B11"], fine["B12"]) > 0.99


def test_texture_lies_at_one_place_in_bands_of_10_and_of_20_m(plain, easy):
    easy(texture=0.10, noise=0.0)
    scene = _scene(plain, Cover.GRAVEL)
    coarse = _at_20_m(scene["B08"])
    assert _alike(coarse - _smooth(coarse), scene["B8A"] - _smooth(scene["B8A"])) > 0.95


def test_a_scene_does_not_depend_on_how_many_threads_render_it(plain, monkeypatch):
    recipe, found = Recipe(seed=2, difficulty="hard"), []
    monkeypatch.setattr("coslide.simulate.render._STRIP_ROWS", 20)
    for threads in (1, 3):
        monkeypatch.setattr("coslide.simulate.render.available_processors", lambda threads=threads: threads)
        found.append(_scene(plain, Cover.SHRUB, recipe=recipe))
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)


def _smooth(values):
    """Return means over 5 x 5 cells."""
    padded = np.pad(values, 2, mode="edge")
    rows, columns = values.shape
    return sum(padded[i : i + rows, j : j + columns] for i in range(5) for j in range(5)) / 25
