"""Reflectance in the light of its scene: the levels, the encoding, and light laid over a sample."""

import numpy as np
import pytest

from coslide.cube.band import Band
from coslide.samples import relight
from coslide.samples.light import LightSamples, decode_light, encode_light
from coslide.samples.relight import Relighting

BANDS = [
    Band("slope"),
    *(
        Band(f"reflectance_{date}_{channel}", date=date, channel=channel, quantity="reflectance")
        for date in ("pre", "post")
        for channel in ("B4", "B2")
    ),
]
LIGHT = [1, 2, 3, 4]


def test_haze_and_light_of_a_scene_change_nothing_that_a_network_sees():
    random = np.random.default_rng(0)
    surface = random.gamma(2, 0.04, (2, 50, 60)).astype(np.float32)
    seen = []
    for gain, haze in ((1, 0), (0.4, 0.05), (3, 12)):
        samples = LightSamples(2, surface.shape[1:])
        scene = np.float32(gain) * surface + np.float32(haze)
        samples.add(scene, np.ones((50, 60), bool))
        dark, median = (level[:, None, None] for level in samples.levels())
        seen.append(encode_light((scene - dark) / (median - dark)))
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-3)
    np.testing.assert_allclose(seen[2], seen[0], atol=1e-3)


def test_levels_are_percentiles_of_the_valid_pixels_whatever_strips_they_are_read_in():
    random = np.random.default_rng(1)
    values, valid = random.normal(size=(2, 3000, 1400)).astype(np.float32), random.random((3000, 1400)) < 0.7
    values[1, ::2] = np.nan
    values[1, 1000:] += 1
    found = []
    for height in (3000, 700, 127):
        samples = LightSamples(2, valid.shape)
        for row in range(0, 3000, height):
            samples.add(values[:, row : row + height], valid[row : row + height])
        found.append(np.stack(samples.levels()))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    own = np.percentile(values[0][valid][::5], (1, 50))  # 4.2 million pixels are more than it keeps
    np.testing.assert_allclose(found[0][:, 0], own, rtol=1e-6)


def test_a_few_valid_pixels_of_a_large_scene_are_enough():
    samples, valid = LightSamples(1, (8000, 8000)), np.zeros((100, 8000), bool)
    valid[50:55, 3001:3007] = True
    samples.add(np.where(valid, np.float32(0.1), np.float32(np.nan))[np.newaxis], valid)
    assert samples.levels()[1] == np.float32(0.1)


def test_a_band_without_values_has_no_levels():
    samples = LightSamples(1, (2, 2))
    samples.add(np.full((1, 2, 2), np.nan, np.float32), np.ones((2, 2), bool))
    assert [level.tolist() for level in samples.levels()] == [[0], [0]]


def lit(chance=1.0, seed=0, value=1.5):
    tile = np.full((5, 64, 64), encode_light(np.float32(value)), np.float32)
    tile[0], tile[1:3, :8] = 7, 0  # slope; pixels without a scene before
    Relighting.of(BANDS, LIGHT, chance=chance).apply(tile, seed)
    return tile


def test_what_is_not_reflectance_or_not_there_is_not_lit():
    tile = lit()
    assert (tile[0] == 7).all()
    assert (tile[1:3, :8] == 0).all()
    assert (tile[1:3, 8:] != 0).all()


def test_a_share_of_the_samples_is_lit_anew():
    before = lit(chance=0.0)
    changed = [not np.array_equal(lit(chance=0.3, seed=seed), before) for seed in range(300)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)


def test_light_is_that_of_the_equation(monkeypatch):
    """Without gain, haze and noise, each pixel has sky + (1 - sky) cos(i) / cos(z), by the normal of its slope."""
    for name in ("_GAIN", "_BAND_GAIN", "_HAZE", "_BAND_HAZE", "_NOISE"):
        monkeypatch.setattr(relight, name, 0.0)
    for name, both in {"_SKY": 0.1, "_STRENGTH": 1.0, "_SUN_DEG": 30.0}.items():
        monkeypatch.setattr(relight, name, (both, both))
    random = np.random.default_rng((0, 1))
    random.random()
    down, along = relight._made_up_slopes((64, 64), random)
    found = decode_light(lit(value=1.0))[3:]
    normal = np.stack([-along, -down, np.ones_like(along)]) / np.sqrt(1 + down**2 + along**2)
    away = np.inf
    for azimuth in np.radians(np.arange(0, 360, 0.25)):  # that of the sun was drawn
        sun = [np.cos(np.radians(30)) * np.cos(azimuth), np.cos(np.radians(30)) * np.sin(azimuth), 0.5]
        facing = np.maximum(np.tensordot(sun, normal, 1) / 0.5, 0)
        skies = 0.1 * np.array([0.7, 1.3])[:, None, None]
        away = min(away, float(np.abs(found - (skies + (1 - skies) * facing)).max()))
    assert away < 0.02


def test_made_up_terrain_is_as_steep_as_asked_in_all_directions():
    random = np.random.default_rng(3)
    slopes = np.array([relight._made_up_slopes((64, 64), random) for _ in range(200)])
    steep = np.sqrt((slopes**2).sum(axis=1).mean(axis=(1, 2)))
    assert (steep > 0.299).all()
    assert (steep < 0.751).all()
    assert np.mean(slopes[:, 0] ** 2) == pytest.approx(np.mean(slopes[:, 1] ** 2), rel=0.1)
    sunlight = relight._sunlight((np.zeros((2, 2)), np.zeros((2, 2))), random)
    np.testing.assert_allclose(sunlight, 1)
