"""Scenes of simulated ground: colours, seasons, clouds, noise and what is stored."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.clouds import make_sky
from coslide.simulate.covers import Cover
from coslide.simulate.frame import Frame
from coslide.simulate.recipe import DIFFICULTIES, Recipe
from coslide.simulate.render import View, render_scene, sun_over
from coslide.simulate.spectra import green_share, palette

FRAME = Frame(120, 120)
CLEAR = Recipe(seed=1, difficulty="easy")  # without a cloud


def _strata(value=2):
    return np.full((FRAME.cells, FRAME.cells), value, dtype=np.uint8)


def _cover(kind):
    return np.full(FRAME.fine.shape, kind, dtype=np.uint8)


def _scene(terrain, cover, *, recipe=CLEAR, date="post", offset_dn=0, strata=None):
    strata = _strata() if strata is None else strata
    return dict(render_scene(recipe, terrain, strata=strata, view=View(date, cover, offset_dn)))


def test_a_scene_has_the_bands_of_a_product_at_their_cells(plain):
    scene = _scene(plain, _cover(Cover.MEADOW))
    names = [f"B{band[1:]:0>2}" for band in SENTINEL2_BANDS]
    assert list(scene) == [*names, "SCL"]
    for name, values in scene.items():
        side = 120 if name in {"B02", "B03", "B04", "B08"} else 60
        assert values.shape == (side, side)
        assert values.dtype == (np.uint8 if name == "SCL" else np.uint16)


@pytest.mark.parametrize("kind", [Cover.CONIFER, Cover.GRAVEL, Cover.WATER, Cover.DEBRIS])
def test_flat_ground_has_the_reflectance_of_its_cover(plain, kind):
    scene = _scene(plain, _cover(kind), date="pre")
    colours = palette(CLEAR.hardness)
    green = green_share(datetime(2020, 9, 12, tzinfo=UTC), 1500.0)
    for number, band in enumerate(SENTINEL2_BANDS):
        bare, leaf = colours.bare[kind, number], colours.green[kind, number]
        expected = (bare + green * (leaf - bare)) * colours.tint[kind, 1, number]
        found = scene[f"B{band[1:]:0>2}"].mean() / 1e4
        assert found == pytest.approx(expected, rel=0.03, abs=2e-4)  # the texture averages out


def test_an_offset_is_stored_and_nothing_else_changes(plain):
    without, with_it = (_scene(plain, _cover(Cover.MEADOW), offset_dn=offset) for offset in (0, -1000))
    for name in without:
        expected = without[name] if name == "SCL" else without[name] + 1000
        np.testing.assert_array_equal(with_it[name], expected)


def test_no_stored_value_is_the_one_for_no_data(plain):
    recipe = CLEAR.model_copy(update={"difficulty": "hard"})
    scene = _scene(plain, _cover(Cover.WATER), recipe=recipe)
    assert min(values.min() for values in scene.values()) >= 1


@pytest.mark.parametrize(("axis", "part_of"), [(0, np.cos), (1, np.sin)])
def test_the_scene_before_lies_beside_where_it_says(plain, monkeypatch, axis, part_of):
    """A step between dark and bright ground, to the east or to the south: its place is where the bright part begins."""
    monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(shift_m=7.0, texture=0.0, noise=0.0))
    cover = _cover(Cover.CONIFER)
    (cover if axis else cover.T)[FRAME.fine.shape.y // 2 :] = Cover.GRAVEL
    angle = CLEAR.random("shift").uniform(0, 2 * np.pi)
    place = []
    for date in ("pre", "post"):
        red = _scene(plain, cover, date=date)["B04"].mean(axis=axis)
        dark, bright = red[:40].mean(), red[80:].mean()
        place.append(((bright - red) / (bright - dark)).sum())
    # Ground that is seen further east (south) shows the step further west (north).
    assert place[0] - place[1] == pytest.approx(-0.7 * part_of(angle), abs=0.05)


def test_slopes_that_face_the_sun_are_brighter(plain):
    slope = np.full_like(plain.slope_deg, 25)
    sun = sun_over(FRAME, View("post", _cover(0), 0).time)
    toward = dataclasses.replace(plain, slope_deg=slope, aspect_deg=np.full_like(slope, sun.azimuth_deg))
    away = dataclasses.replace(plain, slope_deg=slope, aspect_deg=np.full_like(slope, (sun.azimuth_deg + 180) % 360))
    bright, dark = (_scene(ground, _cover(Cover.GRAVEL))["B08"].mean() for ground in (toward, away))
    zenith = np.radians(sun.zenith_deg)
    ratio = np.cos(zenith - np.radians(25)) / np.cos(zenith + np.radians(25))
    assert 0.9 * ratio < bright / dark < ratio  # the light of the sky lessens it


def test_clouds_cover_their_share_and_are_marked(plain):
    recipe = Recipe(seed=2, difficulty="hard")
    sun = sun_over(FRAME, View("post", _cover(0), 0).time)
    sky = make_sky(recipe, FRAME, sun, date="post")
    assert (sky.cloud[FRAME.inner] > 0).mean() == pytest.approx(0.10, abs=0.01)
    scene = _scene(plain, _cover(Cover.CONIFER), recipe=recipe)
    thick = sky.cloud[FRAME.inner].reshape(60, 2, 60, 2).mean(axis=(1, 3)) > 0.7
    assert np.isin(scene["SCL"][thick], (8, 9)).all()
    assert scene["B02"][::2, ::2][thick].mean() > 4000


def test_the_shadow_of_a_cloud_lies_away_from_the_sun():
    recipe = Recipe(seed=2, difficulty="hard")
    sun = sun_over(FRAME, View("post", _cover(0), 0).time)
    sky = make_sky(recipe, FRAME, sun, date="post")
    reach = 1200 * np.tan(np.radians(sun.zenith_deg)) / 10
    down = round(reach * np.cos(np.radians(sun.azimuth_deg)))
    right = round(-reach * np.sin(np.radians(sun.azimuth_deg)))
    assert down < 0  # the sun stands in the south-east: shadows fall to the north-west
    assert right < 0
    np.testing.assert_array_equal(sky.shade[:down, :right], sky.cloud[-down:, -right:])


def test_easy_skies_are_clear():
    sky = make_sky(CLEAR, FRAME, sun_over(FRAME, View("pre", _cover(0), 0).time), date="pre")
    assert not any(field.any() for field in sky)


@pytest.mark.parametrize(
    ("kind", "expected"), [(Cover.CONIFER, 4), (Cover.GRAVEL, 5), (Cover.WATER, 6), (Cover.SNOW, 11)]
)
def test_clear_ground_is_classified_for_what_it_is(plain, kind, expected):
    classes = _scene(plain, _cover(kind))["SCL"]
    assert (classes == expected).mean() > 0.97


def test_a_scene_is_the_same_in_strips_of_any_height(plain, monkeypatch):
    cover = np.random.default_rng(0).integers(0, len(Cover), FRAME.fine.shape).astype(np.uint8)
    whole = _scene(plain, cover)
    monkeypatch.setattr("coslide.simulate.render._STRIP_ROWS", 34)
    parts = _scene(plain, cover)
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_noise_grows_with_the_square_root_of_the_signal(plain, monkeypatch):
    monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(texture=0.0, noise=20.0))
    spread = {}
    for kind in (Cover.WATER, Cover.SNOW):
        values = _scene(plain, _cover(kind))["B03"] / 1e4
        spread[kind] = values.std() / np.sqrt(values.mean())
    assert spread[Cover.WATER] == pytest.approx(spread[Cover.SNOW], rel=0.05)


def test_leaves_come_later_and_go_earlier_higher_up():
    """Hopkins' law: 122 m up, spring is four days later."""
    day = [datetime(2022, 5, day, tzinfo=UTC) for day in (10, 14)]
    assert green_share(day[0], 2000.0) == pytest.approx(green_share(day[1], 2122.0), abs=1e-3)
    autumn = datetime(2022, 10, 20, tzinfo=UTC)
    assert green_share(autumn, 1500.0) > green_share(autumn, 2500.0)
    assert green_share(datetime(2022, 7, 15, tzinfo=UTC), 1500.0) > 0.98
    assert green_share(datetime(2022, 1, 15, tzinfo=UTC), 1500.0) < 0.02


def test_fresh_debris_is_brighter_the_easier_the_event():
    red = [palette(DIFFICULTIES[name]).bare[Cover.DEBRIS, 2] for name in ("hard", "paper", "easy")]
    assert red == sorted(red)
    assert 0.11 < red[0] < red[-1] < 0.2


def test_every_spectrum_is_that_of_its_kind():
    colours = palette(DIFFICULTIES["paper"])
    red, infrared = SENTINEL2_BANDS.index("B4"), SENTINEL2_BANDS.index("B8")
    ndvi = (colours.green[:, infrared] - colours.green[:, red]) / (colours.green[:, infrared] + colours.green[:, red])
    plants = [Cover.CONIFER, Cover.BROADLEAF, Cover.SHRUB, Cover.MEADOW, Cover.CROP]
    assert ndvi[plants].min() > 0.6
    assert np.delete(ndvi, plants).max() < 0.35
    assert ndvi[Cover.WATER] < 0
