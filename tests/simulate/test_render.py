"""Scenes of simulated places: what the detector sees, colours, seasons, light, clouds, noise and what is stored."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.frame import FINE_M, SCENE_TIMES, Frame
from coslide.simulate.landcover import Cover
from coslide.simulate.recipe import DIFFICULTIES, Recipe
from coslide.simulate.render import MTF_AT_NYQUIST, blur_sigma_m, detector, render_scene
from coslide.simulate.sky import DIFFUSE_SHARE, make_sky, sun_over
from coslide.simulate.spectra import CLOUD, green_share, palette

FRAME = Frame(120, 120)
CLEAR = Recipe(seed=1, difficulty="easy")  # without a cloud
# Reference radiance, least signal over noise there (Copernicus SentiWiki, table of the MSI; B2 to B12), and sunlight.
RADIANCE = (128.0, 128.0, 108.0, 74.6, 68.23, 66.7, 103.0, 52.39, 4.0, 1.7)
SIGNAL_OVER_NOISE = (154, 168, 142, 117, 89, 105, 174, 72, 100, 100)
SUNLIGHT = (1959.66, 1823.24, 1512.06, 1424.64, 1287.61, 1162.08, 1041.63, 955.32, 245.59, 85.25)
NAMES = [f"B{band[1:]:0>2}" for band in SENTINEL2_BANDS]

# --- The detector ---


@pytest.mark.parametrize("pixel_m", [10, 20])
def test_waves_two_pixels_long_keep_the_contrast_that_was_measured(pixel_m):
    frequency = 1 / (2 * pixel_m)
    square = np.sinc(frequency * pixel_m)
    gaussian = np.exp(-2 * (np.pi * frequency * blur_sigma_m(pixel_m)) ** 2)
    assert square * gaussian == pytest.approx(MTF_AT_NYQUIST[pixel_m], rel=1e-9)


def _centres_m():
    """Return where fine pixels lie from the edge of the scene."""
    return (np.arange(FRAME.fine_grid.shape[0]) - 2 * FRAME.margin_px + 0.5) * FINE_M


@pytest.mark.parametrize("pixel_m", [10, 20])
@pytest.mark.parametrize("shift_m", [0.0, 3.7, -6.1])
def test_weights_sum_to_1_around_the_place_that_is_seen(pixel_m, shift_m):
    matrix = detector(FRAME, pixel_m, shift_m=shift_m)
    seen_m = (np.arange(1200 // pixel_m) + 0.5) * pixel_m + shift_m
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix @ _centres_m(), seen_m, atol=0.02)
    spread = matrix @ _centres_m() ** 2 - (matrix @ _centres_m()) ** 2
    square, fine = pixel_m**2 / 12, FINE_M**2 / 12
    np.testing.assert_allclose(spread, blur_sigma_m(pixel_m) ** 2 + square + fine, rtol=0.01)


def test_a_weight_is_the_integral_of_the_blurred_square():
    weights, sigma = detector(FRAME, 10, shift_m=1.3).toarray()[4], blur_sigma_m(10)

    def blurred(x):
        return (norm.cdf((x - 41.3) / sigma) - norm.cdf((x - 51.3) / sigma)) / 10

    for number in np.flatnonzero(weights)[::3]:
        left = _centres_m()[number] - FINE_M / 2
        assert weights[number] == pytest.approx(quad(blurred, left, left + FINE_M)[0], abs=1e-4)


# --- The scene ---


def _scene(terrain, kind, *, recipe=CLEAR, date="post", offset_dn=0):
    """Return the stored values of all bands."""
    cover = kind if isinstance(kind, np.ndarray) else np.full(FRAME.fine_grid.shape, kind, dtype=np.uint8)
    strata = np.full((FRAME.side_px, FRAME.side_px), 2, dtype=np.uint8)
    return dict(render_scene(recipe, terrain, strata=strata, cover=cover, date=date, offset_dn=offset_dn))


def _reflectance(terrain, kind, **how):
    scene = _scene(terrain, kind, **how)
    return {name: values if name == "SCL" else values / 1e4 for name, values in scene.items()}


def _at_20_m(values):
    return values.reshape(60, 2, 60, 2).mean(axis=(1, 3))


def _alike(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.fixture
def easy(monkeypatch):
    def change(**values):
        monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(**values))

    return change


def test_a_scene_has_the_bands_of_a_product_at_their_pixels(plain):
    scene = _scene(plain, Cover.MEADOW)
    assert list(scene) == [*NAMES, "SCL"]
    for name, values in scene.items():
        side = 120 if name in {"B02", "B03", "B04", "B08"} else 60
        assert values.shape == (side, side)
        assert values.dtype == (np.uint8 if name == "SCL" else np.uint16)


@pytest.mark.parametrize("kind", [Cover.CONIFER, Cover.GRAVEL, Cover.WATER, Cover.DEBRIS])
def test_level_terrain_has_the_reflectance_of_its_cover(plain, kind):
    scene = _scene(plain, kind, date="pre")
    colours = palette(CLEAR.hardness)
    green = green_share(datetime(2020, 9, 12, tzinfo=UTC), 1500.0)
    for number, band in enumerate(SENTINEL2_BANDS):
        bare, leaf = colours.bare[kind, number], colours.green[kind, number]
        expected = (bare + green * (leaf - bare)) * colours.tint[kind, 1, number]
        found = scene[f"B{band[1:]:0>2}"].mean() / 1e4
        assert found == pytest.approx(expected, rel=0.03, abs=2e-4)  # the texture averages out


def test_an_offset_is_stored_and_nothing_else_changes(plain):
    without, with_it = (_scene(plain, Cover.MEADOW, offset_dn=offset) for offset in (0, -1000))
    for name in without:
        expected = without[name] if name == "SCL" else without[name] + 1000
        np.testing.assert_array_equal(with_it[name], expected)


def test_no_stored_value_is_the_one_for_no_data(plain):
    recipe = CLEAR.model_copy(update={"difficulty": "hard"})
    scene = _scene(plain, Cover.WATER, recipe=recipe)
    assert min(values.min() for values in scene.values()) >= 1


@pytest.mark.parametrize(("axis", "part_of"), [(0, np.cos), (1, np.sin)])
def test_the_scene_before_is_shifted_by_its_misregistration(plain, monkeypatch, axis, part_of):
    """A step between dark and bright land, to the east or to the south: its place is where the bright part begins."""
    monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(shift_m=7.0, texture=0.0, noise=0.0))
    cover = np.full(FRAME.fine_grid.shape, Cover.CONIFER, dtype=np.uint8)
    (cover if axis else cover.T)[FRAME.fine_grid.shape.y // 2 :] = Cover.GRAVEL
    angle = CLEAR.random("shift").uniform(0, 2 * np.pi)
    place = []
    for date in ("pre", "post"):
        red = _scene(plain, cover, date=date)["B04"].mean(axis=axis)
        dark, bright = red[:40].mean(), red[80:].mean()
        place.append(((bright - red) / (bright - dark)).sum())
    # What is seen further east (south) shows the step further west (north).
    assert place[0] - place[1] == pytest.approx(-0.7 * part_of(angle), abs=0.05)


def test_slopes_that_face_the_sun_are_brighter(plain):
    slope = np.full_like(plain.slope_deg, 25)
    sun = sun_over(FRAME, SCENE_TIMES["post"])
    toward = dataclasses.replace(plain, slope_deg=slope, aspect_deg=np.full_like(slope, sun.azimuth_deg))
    away = dataclasses.replace(plain, slope_deg=slope, aspect_deg=np.full_like(slope, (sun.azimuth_deg + 180) % 360))
    bright, dark = (_scene(terrain, Cover.GRAVEL)["B08"].mean() for terrain in (toward, away))
    zenith = np.radians(sun.zenith_deg)
    ratio = np.cos(zenith - np.radians(25)) / np.cos(zenith + np.radians(25))
    assert 0.9 * ratio < bright / dark < ratio  # the light of the sky lessens it


def test_clouds_cover_their_share_and_are_marked(plain):
    recipe = Recipe(seed=2, difficulty="hard")
    sun = sun_over(FRAME, SCENE_TIMES["post"])
    sky = make_sky(recipe, FRAME, sun, date="post")
    assert (sky.cloud[FRAME.inner] > 0).mean() == pytest.approx(0.10, abs=0.01)
    scene = _scene(plain, Cover.CONIFER, recipe=recipe)
    thick = sky.cloud[FRAME.inner].reshape(60, 2, 60, 2).mean(axis=(1, 3)) > 0.7
    assert np.isin(scene["SCL"][thick], (8, 9)).all()
    assert scene["B02"][::2, ::2][thick].mean() > 4000


def test_easy_skies_are_clear():
    sky = make_sky(CLEAR, FRAME, sun_over(FRAME, SCENE_TIMES["pre"]), date="pre")
    assert not any(field.any() for field in sky)


@pytest.mark.parametrize(
    ("kind", "expected"), [(Cover.CONIFER, 4), (Cover.GRAVEL, 5), (Cover.WATER, 6), (Cover.SNOW, 11)]
)
def test_clear_land_is_classified_for_what_it_is(plain, kind, expected):
    classes = _scene(plain, kind)["SCL"]
    assert (classes == expected).mean() > 0.97


def test_noise_grows_with_the_square_root_of_the_signal(plain, monkeypatch):
    monkeypatch.setitem(DIFFICULTIES, "easy", DIFFICULTIES["easy"]._replace(texture=0.0, noise=20.0))
    spread = {}
    for kind in (Cover.WATER, Cover.SNOW):
        values = _scene(plain, kind)["B03"] / 1e4
        spread[kind] = values.std() / np.sqrt(values.mean())
    assert spread[Cover.WATER] == pytest.approx(spread[Cover.SNOW], rel=0.05)


# --- Light, noise and texture ---


def test_noise_has_the_size_that_the_instrument_is_specified_for(plain, easy):
    easy(texture=0.0, noise=20.0)
    scene = _reflectance(plain, Cover.SNOW)
    for number, name in enumerate(NAMES):
        reference = np.pi * RADIANCE[number] / SUNLIGHT[number]
        expected = 20 * np.sqrt(reference * scene[name].mean()) / SIGNAL_OVER_NOISE[number]
        assert scene[name].std() == pytest.approx(expected, rel=0.08), name


def test_noise_repeats_neither_between_dates_nor_between_bands(plain, easy):
    easy(texture=0.0, noise=20.0)
    pre, post = (_reflectance(plain, Cover.SNOW, date=date) for date in ("pre", "post"))
    assert abs(_alike(pre["B02"], post["B02"])) < 0.05
    assert abs(_alike(post["B02"], post["B03"])) < 0.05


def test_a_pixel_in_shadow_has_the_light_of_the_sky_alone(plain, easy):
    """A wall 600 m high and 30 m thick; behind it the sun is gone."""
    easy(texture=0.0, noise=0.0)
    height = plain.height_m.copy()
    height[:, 185:188] += 600  # east of the middle: the sun stands in the south-east
    scene, lit = (
        _reflectance(terrain, Cover.GRAVEL) for terrain in (dataclasses.replace(plain, height_m=height), plain)
    )
    behind = (slice(20, 40), slice(27, 30))  # of 20 m
    for number, name in enumerate(NAMES):
        values, lit_values = (_at_20_m(s[name]) if s[name].shape[0] == 120 else s[name] for s in (scene, lit))
        share = values[behind].mean() / lit_values[behind].mean()
        assert share == pytest.approx(DIFFUSE_SHARE[number], rel=0.05, abs=0.004), name
    assert 0.15 < DIFFUSE_SHARE[0] < 0.30


def test_a_slope_loses_sky_as_it_steepens(plain, easy):
    easy(texture=0.0, noise=0.0)
    slope = np.full_like(plain.slope_deg, 60)
    sun = sun_over(FRAME, SCENE_TIMES["post"])
    away = np.full_like(slope, (sun.azimuth_deg + 180) % 360)
    steep = dataclasses.replace(plain, slope_deg=np.full_like(slope, 85), aspect_deg=away)
    share = _reflectance(steep, Cover.GRAVEL)["B02"].mean() / _reflectance(plain, Cover.GRAVEL)["B02"].mean()
    assert share == pytest.approx(DIFFUSE_SHARE[0] * (1 + np.cos(np.radians(85))) / 2, rel=0.02)


def test_clouds_and_their_shadows_reach_the_bands_and_the_classes(plain):
    recipe = Recipe(seed=2, difficulty="hard")
    sun = sun_over(FRAME, SCENE_TIMES["post"])
    sky = make_sky(recipe, FRAME, sun, date="post")
    scene, clear = _reflectance(plain, Cover.GRAVEL, recipe=recipe), _reflectance(plain, Cover.GRAVEL)
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
        found[season] = [_reflectance(high, Cover.BROADLEAF, date=date)["B08"].mean() for date in ("pre", "post")]
    assert found[0.0][1] == pytest.approx(found[0.0][0], rel=1e-3)
    assert found[1.0][1] < 0.97 * found[1.0][0]


def test_texture_grows_with_the_difficulty_and_water_is_smooth(plain, easy):
    spread = {}
    for texture in (0.0, 0.05, 0.10):
        easy(texture=texture, noise=0.0)
        for kind in (Cover.GRAVEL, Cover.WATER):
            red = _reflectance(plain, kind)["B04"]
            spread[kind, texture] = red.std() / red.mean()
    assert spread[Cover.GRAVEL, 0.0] < 1e-3
    assert spread[Cover.GRAVEL, 0.10] == pytest.approx(2 * spread[Cover.GRAVEL, 0.05], rel=0.05)
    assert spread[Cover.WATER, 0.10] == pytest.approx(spread[Cover.GRAVEL, 0.10] / 4, rel=0.1)


def test_texture_is_rough_over_many_pixels_not_only_from_one_to_the_next(plain, easy):
    easy(texture=0.10, noise=0.0)
    red = _reflectance(plain, Cover.GRAVEL)["B04"]
    blocks = red.reshape(12, 10, 12, 10).mean(axis=(1, 3))
    assert blocks.std() > 3 * red.std() / 10  # independent pixels would leave a tenth


def test_texture_is_the_places_own_at_both_dates_but_for_a_part(plain, easy):
    easy(texture=0.10, noise=0.0, shift_m=0.0)
    pre, post = (_reflectance(plain, Cover.GRAVEL, date=date)["B04"] for date in ("pre", "post"))
    fine = [values - _smooth(values) for values in (pre, post)]
    assert 0.3 < _alike(*fine) < 0.9


def test_bands_of_one_part_of_the_spectrum_share_their_texture(plain, easy):
    easy(texture=0.10, noise=0.0)
    scene = _reflectance(plain, Cover.GRAVEL)
    fine = {name: scene[name] - _smooth(scene[name]) for name in ("B05", "B8A", "B11", "B12")}
    assert _alike(fine["B05"], fine["B8A"]) > 0.99
    assert _alike(fine["B05"], fine["B12"]) < 0.97
    assert _alike(fine["B11"], fine["B12"]) > 0.99


def test_texture_lies_at_one_place_in_bands_of_10_and_of_20_m(plain, easy):
    easy(texture=0.10, noise=0.0)
    scene = _reflectance(plain, Cover.GRAVEL)
    coarse = _at_20_m(scene["B08"])
    assert _alike(coarse - _smooth(coarse), scene["B8A"] - _smooth(scene["B8A"])) > 0.95


def _smooth(values):
    """Return means over 5 x 5 pixels."""
    padded = np.pad(values, 2, mode="edge")
    rows, columns = values.shape
    return sum(padded[i : i + rows, j : j + columns] for i in range(5) for j in range(5)) / 25
