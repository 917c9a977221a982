"""The scenes that a satellite takes of the simulated place: what is stored of each band, and the classification."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numba import njit
from scipy.sparse import csr_array
from scipy.stats import norm

from coslide.config.schema import SENTINEL2_BANDS
from coslide.simulate.fields import rough_field
from coslide.simulate.frame import FINE_M, PIXEL_M, SCENE_TIMES, Codes, Floats, Frame, Terrain
from coslide.simulate.landcover import Cover, doubled
from coslide.simulate.recipe import Recipe
from coslide.simulate.safe import NATIVE_M, QUANTIFICATION, Stored
from coslide.simulate.sky import DIFFUSE_SHARE, Sky, cast_shadow, direct_light, make_sky, sky_share, sun_over
from coslide.simulate.spectra import CLOUD, green_share, palette

MTF_AT_NYQUIST = {10: 0.27, 20: 0.30}
"""Contrast that is left of waves two pixels long, by pixel size in metres; the instrument is specified for 0.15 to 0.30
(Drusch et al. 2012, doi:10.1016/j.rse.2011.11.026)."""

# Reference radiances L [W/m2/sr/um] and what the signal must be over the noise there (Drusch et al. 2012, table 1), and
# the sunlight outside the atmosphere E [W/m2/um] of Sentinel-2A.
_RADIANCE = (128.0, 128.0, 108.0, 74.5, 68.0, 67.0, 103.0, 52.5, 4.0, 1.5)
_SIGNAL_OVER_NOISE = (154.0, 168.0, 142.0, 117.0, 89.0, 105.0, 174.0, 72.0, 100.0, 100.0)
_SUNLIGHT = (1959.7, 1823.2, 1512.1, 1424.6, 1287.6, 1162.1, 1041.6, 955.3, 245.6, 85.3)
_TEXTURE_RANGE_M = 250.0
# Of texture in patches and from pixel to pixel at both dates, and of what each part of the spectrum has alone at a
# date; their squares sum to 1.
_PATCHES, _SHARED, _OWN = np.float32(0.5), np.float32(0.4), np.float32(0.77)
_PARTS = (0, 0, 0, 1, 1, 1, 1, 1, 2, 2)  # visible, near and short-wave infrared
_SMOOTH_COVERS = (Cover.WATER, Cover.SNOW, Cover.ROAD)  # with a quarter of the texture

DARK, SHADOW, PLANTS, BARE, WATER, MAYBE_CLOUD, CLOUDY, SNOW = 2, 3, 4, 5, 6, 8, 9, 11
"""Classes of the SCL of level 2A (0 nodata, 1 saturated, 7 unclassified and 10 cirrus do not occur here)."""

_CLOUD_FROM, _MAYBE_FROM, _SHADOW_FROM = 0.6, 0.25, 0.45
_PLANTS_FROM_NDVI, _WATER_BELOW_B8, _DARK_BELOW_B8 = 0.4, 0.06, 0.045
_SNOW_FROM_NDSI, _SNOW_FROM_B3 = 0.4, 0.25


def render_scene(
    recipe: Recipe, terrain: Terrain, *, strata: Codes, cover: Codes, date: str, offset_dn: int
) -> Iterator[tuple[str, Stored]]:
    """Render the bands of a scene by ESA's names, with their stored values, and then ``SCL``.

    In fine pixels, the reflectance of the land cover and of the season, with its texture, is lit by the sun and the sky
    (`coslide.simulate.sky`) and veiled by clouds; the `detector` blurs it to its pixels, and adds noise that grows with
    the square root of the signal.

    `strata` are 1 to 8 on `Frame.grid`, `cover` is `Cover` on `Frame.fine_grid`. The scene of the `date` ``"pre"`` (not
    ``"post"``) is misregistered by `Difficulty.shift_m`. Bands are uint16 in pixels of 10 or 20 m on `Frame.scene`:
    10 000 times the reflectance, less the offset that readers add, at least 1, for 0 is nodata. SCL is uint8 at 20 m.
    """
    frame, colours, hardness = terrain.frame, palette(recipe.hardness), recipe.hardness
    sun = sun_over(frame, SCENE_TIMES[date])
    sky = make_sky(recipe, frame, sun, date=date)
    direct = direct_light(terrain.slope_deg, terrain.aspect_deg, sun) * (1 - sky.shade)
    direct[cast_shadow(terrain.height_m, PIXEL_M, sun)] = 0
    green = green_share(SCENE_TIMES["pre"], terrain.height_m)
    if date == "post":
        green += np.float32(hardness.season) * (green_share(SCENE_TIMES["post"], terrain.height_m) - green)
    lit = (cover, strata, green, direct, sky_share(terrain.slope_deg), sky.veil)
    rough = np.full(len(Cover), hardness.texture, dtype=np.float32)
    rough[list(_SMOOTH_COVERS)] *= 0.25
    turn = recipe.random("shift").uniform(0, 2 * math.pi)
    east_m, south_m = (hardness.shift_m * part if date == "pre" else 0.0 for part in (math.cos(turn), math.sin(turn)))
    fine = np.empty(cover.shape, dtype=np.float32)
    kept: dict[str, Floats] = {}
    for number, band in enumerate(SENTINEL2_BANDS):
        name = f"B{band[1:]:0>2}"
        if not number or _PARTS[number] != _PARTS[number - 1]:
            grain = _grain(recipe, frame, f"{date} {_PARTS[number]}")
        tint = colours.tint[:, :, number]
        spectra = (colours.bare[:, [number]] * tint, colours.green[:, [number]] * tint, rough)
        _shine(lit, (*spectra, np.float32(DIFFUSE_SHARE[number]), np.float32(CLOUD[number])), grain, fine)
        down, across = (detector(frame, NATIVE_M[name], shift_m=metres) for metres in (south_m, east_m))
        seen: Floats = down @ (across @ fine.T).T
        noise = hardness.noise * math.sqrt(math.pi * _RADIANCE[number] / _SUNLIGHT[number]) / _SIGNAL_OVER_NOISE[number]
        random = recipe.random(f"noise {date} {name}")
        seen += noise * np.sqrt(np.maximum(seen, 0)) * random.standard_normal(seen.shape, dtype=np.float32)
        if band in {"B3", "B4", "B8", "B11"}:
            kept[band] = seen
        yield name, np.clip(np.rint(seen * QUANTIFICATION) - offset_dn, 1, 65534).astype(np.uint16)
    yield "SCL", classify(kept, sky, frame)


def blur_sigma_m(pixel_m: int) -> float:
    """Compute the standard deviation in metres of the Gaussian blur of optics and platform, for bands of `pixel_m`.

    The contrast at the Nyquist frequency is that of a square detector, 2 / pi, times that of a Gaussian blur,
    exp(-(pi sigma / pixel)² / 2)::

        sigma = pixel / pi * sqrt(-2 ln(pi / 2 * MTF))
    """
    return float(pixel_m / np.pi * np.sqrt(-2 * np.log(np.pi / 2 * MTF_AT_NYQUIST[pixel_m])))


def detector(frame: Frame, pixel_m: int, *, shift_m: float = 0.0) -> csr_array:
    """Build the matrix that takes fine pixels of the frame, along one axis, to pixels of a band of the scene.

    The detector is a square, blurred by a Gaussian; a fine pixel counts with the integral of that over its width. Both
    act along each axis alone, so rows and columns can be filtered one after the other.

    What is seen lies `shift_m` along the axis from where the pixel is. The matrix is float32 (pixel, fine pixel); each
    row sums to 1.
    """
    sigma, middle_m = blur_sigma_m(pixel_m), pixel_m / 2 + shift_m
    reach_m = 4 * sigma + pixel_m / 2
    first, last = math.floor((middle_m - reach_m) / FINE_M), math.ceil((middle_m + reach_m) / FINE_M)

    edges = np.arange(first, last + 1) * FINE_M - middle_m
    # The integral of the cumulative normal distribution, at both ends of the square.
    rise, fall = (
        z * norm.cdf(z) + norm.pdf(z) for z in ((edges + half) / sigma for half in (pixel_m / 2, -pixel_m / 2))
    )
    weights = np.diff(rise - fall)
    count = round(frame.scene_px * PIXEL_M / pixel_m)
    starts = round(frame.margin_px * PIXEL_M / FINE_M) + first + np.arange(count) * round(pixel_m / FINE_M)
    columns = (starts[:, None] + np.arange(len(weights))).ravel()
    values = np.tile((weights / weights.sum()).astype(np.float32), count)
    return csr_array((values, columns, np.arange(count + 1) * len(weights)), shape=(count, frame.fine_grid.shape[1]))


def classify(reflectance: Mapping[str, Floats], sky: Sky, frame: Frame) -> Codes:
    """Classify a scene as its SCL does, with the mistakes that such ones make: uint8 (row, col) in pixels of 20 m.

    By thresholds of NDVI, NDSI and brightness as Sen2Cor has them (Louis et al. 2016, Proceedings of the Living Planet
    Symposium, ESA SP-740), and by how much cloud really is there: the rims of clouds and of shadows are missed, haze
    is never seen, and dark slopes may pass for water. `reflectance` has B3, B4, B8 and B11, in pixels of 10 or 20 m.
    """
    b3, b4, b8, b11 = (_at_20_m(reflectance[name], frame) for name in ("B3", "B4", "B8", "B11"))
    cloud, shade = (_at_20_m(values[frame.inner], frame) for values in (sky.cloud, sky.shade))
    ndvi = (b8 - b4) / np.maximum(b8 + b4, 1e-4)
    ndsi = (b3 - b11) / np.maximum(b3 + b11, 1e-4)
    classes = np.full(b3.shape, BARE, dtype=np.uint8)
    classes[ndvi > _PLANTS_FROM_NDVI] = PLANTS
    classes[(ndvi < 0) & (b8 < _WATER_BELOW_B8)] = WATER
    classes[(b8 < _DARK_BELOW_B8) & (ndvi >= 0) & (ndvi <= _PLANTS_FROM_NDVI)] = DARK
    classes[(ndsi > _SNOW_FROM_NDSI) & (b3 > _SNOW_FROM_B3)] = SNOW
    classes[shade > _SHADOW_FROM] = SHADOW
    classes[cloud > _MAYBE_FROM] = MAYBE_CLOUD
    classes[cloud > _CLOUD_FROM] = CLOUDY
    return classes


def _at_20_m(values: Floats, frame: Frame) -> Floats:
    """Average over pixels of 20 m; what is at 20 m stays."""
    side = frame.scene_px // 2
    return np.asarray(values.reshape(side, values.shape[0] // side, side, -1).mean(axis=(1, 3)))


def _grain(recipe: Recipe, frame: Frame, own: str) -> Floats:
    """Draw the texture of fine pixels: in patches and from one to the next at both dates, and that of `own` alone."""
    random, shape = recipe.random("texture"), (frame.side_px, frame.side_px)
    grain = doubled(_PATCHES * rough_field(random, shape, PIXEL_M, range_m=_TEXTURE_RANGE_M, hurst=0.3))
    grain += _SHARED * random.standard_normal(grain.shape, dtype=np.float32)
    grain += _OWN * recipe.random(f"texture {own}").standard_normal(grain.shape, dtype=np.float32)
    return grain


@njit(cache=True, nogil=True)
def _shine(lit, spectra, grain, found):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Compute the reflectance of fine pixels in one band as it leaves the surface and the clouds."""
    cover, strata, green, direct, sky, veil = lit  # land cover in fine pixels, all else in pixels of 10 m
    bare, leaf, rough, diffuse, cloud = spectra
    one = np.float32(1)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            r, c = row // 2, column // 2
            kind, rock = cover[row, column], strata[r, c] - 1
            value = bare[kind, rock] + green[r, c] * (leaf[kind, rock] - bare[kind, rock])
            value *= max(one + rough[kind] * grain[row, column], np.float32(0.1))
            value *= (one - diffuse) * direct[r, c] + diffuse * sky[r, c]
            found[row, column] = value + veil[r, c] * (cloud - value)
