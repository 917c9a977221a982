"""The scenes that a satellite takes of the simulated ground: what is stored of each band, and the classification."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pyproj import Transformer

from coslide.config.schema import SENTINEL2_BANDS
from coslide.io.executor import available_processors
from coslide.simulate.acquisition import QUANTIFICATION
from coslide.simulate.clouds import Sky, make_sky
from coslide.simulate.covers import Cover
from coslide.simulate.dates import SCENE_PRE, SCENE_TIMES
from coslide.simulate.frame import CELL_M, CRS, FINE_M, Frame
from coslide.simulate.land import Terrain
from coslide.simulate.light import DIFFUSE_SHARE, cast_shadow, direct_light, sky_share
from coslide.simulate.noise import cell_noise, rough_field
from coslide.simulate.optics import rows_needed, seen_by
from coslide.simulate.recipe import Recipe
from coslide.simulate.safe import NATIVE_M
from coslide.simulate.scl import classify
from coslide.simulate.spectra import CLOUD, Palette, green_share, palette
from coslide.simulate.sun import Sun, sun_at

Floats = NDArray[np.float32]
Stored = NDArray[np.uint16] | NDArray[np.uint8]

# Reference radiances L [W/m2/sr/um] and what the signal must be over the noise there (Drusch et al. 2012,
# doi:10.1016/j.rse.2011.11.026, table 1), and the sunlight outside the atmosphere E [W/m2/um] of Sentinel-2A.
_RADIANCE = (128.0, 128.0, 108.0, 74.5, 68.0, 67.0, 103.0, 52.5, 4.0, 1.5)
_SIGNAL_OVER_NOISE = (154.0, 168.0, 142.0, 117.0, 89.0, 105.0, 174.0, 72.0, 100.0, 100.0)
_SUNLIGHT = (1959.7, 1823.2, 1512.1, 1424.6, 1287.6, 1162.1, 1041.6, 955.3, 245.6, 85.3)
_TEXTURE_RANGE_M = 250.0
# Of texture in patches and from cell to cell at both dates, and of what each part of the spectrum has alone at a date;
# their squares sum to 1.
_TEXTURE_WEIGHTS = (np.float32(0.5), np.float32(0.4), np.float32(0.77))
_SMOOTH_COVERS = (Cover.WATER, Cover.SNOW, Cover.ROAD)  # with a quarter of the texture
_STRIP_ROWS = 240  # of a band, at 10 m


class _Lit(NamedTuple):
    """The ground at one date: cover in fine cells, all else in cells of 10 m."""

    cover: NDArray[np.uint8]
    green: Floats
    direct: Floats
    sky: Floats
    veil: Floats
    strata: NDArray[np.uint8]
    texture: Floats
    seed: int  # of the texture that both dates share
    own_seed: int  # of what differs from date to date


class View(NamedTuple):
    """One pass over the ground.

    Attributes
    ----------
    date
        ``"pre"`` or ``"post"``.
    cover
        `Cover` in uint8 (row, col) on `Frame.fine`.
    offset_dn
        What readers add to stored values before dividing by 10 000: 0 or -1000.
    """

    date: str
    cover: NDArray[np.uint8]
    offset_dn: int

    @property
    def time(self) -> datetime:
        """When the satellite passes."""
        return SCENE_TIMES[self.date]


def sun_over(frame: Frame, time: datetime) -> Sun:
    """Return where the sun stands over the middle of the tile, in degrees."""
    box = frame.tile.boundingbox
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(
        (box.left + box.right) / 2, (box.bottom + box.top) / 2
    )
    return sun_at(time, lon, lat)


def render_scene(
    recipe: Recipe, terrain: Terrain, *, strata: NDArray[np.uint8], view: View
) -> Iterator[tuple[str, Stored]]:
    """Yield the bands of a scene by ESA's names, with their stored values, and then ``SCL``.

    In fine cells, the reflectance of the cover and of the season, with its texture, is lit by the sun and the sky
    (`coslide.simulate.light`) and veiled by clouds; the detector blurs it to its cells (`coslide.simulate.optics`), and
    adds noise that grows with the square root of the signal.

    Parameters
    ----------
    recipe
        Its seed and difficulty. The scene ``"pre"`` lies `Difficulty.shift_m` beside where it says.
    terrain
        The ground.
    strata
        uint8 (row, col) on `Frame.ground`, 1 to 8.
    view
        The pass.

    Yields
    ------
    (str, ndarray)
        Bands are uint16 (row, col) in cells of 10 or 20 m on `Frame.tile`: 10 000 times the reflectance, less the
        offset, at least 1, for 0 is no data. SCL is uint8 in cells of 20 m.
    """
    frame, colours = terrain.frame, palette(recipe.hardness)
    sun = sun_over(frame, view.time)
    sky = make_sky(recipe, frame, sun, date=view.date)
    lit = _light_up(recipe, terrain, strata, view=view, sun=sun, sky=sky)
    shift_m = _shift(recipe) if view.date == "pre" else (0.0, 0.0)
    kept: dict[str, NDArray[np.uint16]] = {}
    for number, band in enumerate(SENTINEL2_BANDS):
        name = f"B{band[1:]:0>2}"
        cell_m = NATIVE_M[name]
        seen = _see(recipe, frame, lit, colours=colours, number=number, cell_m=cell_m, shift_m=shift_m)
        stored = _stored(seen, view.offset_dn)
        if band in {"B3", "B4", "B8", "B11"}:
            kept[band] = stored
        yield name, stored
    reflectance = {band: _reflectance(values, view.offset_dn) for band, values in kept.items()}
    yield "SCL", classify(reflectance, sky, frame)


def _light_up(recipe: Recipe, terrain: Terrain, strata: NDArray[np.uint8], *, view: View, sun: Sun, sky: Sky) -> _Lit:
    direct = direct_light(terrain.slope_deg, terrain.aspect_deg, sun)
    direct[cast_shadow(terrain.height_m, CELL_M, sun)] = 0
    direct *= 1 - sky.shade
    green = green_share(SCENE_PRE, terrain.height_m)
    if view.date == "post":
        green += np.float32(recipe.hardness.season) * (green_share(view.time, terrain.height_m) - green)
    random = recipe.random("texture")
    texture = rough_field(random, direct.shape, CELL_M, range_m=_TEXTURE_RANGE_M, hurst=0.3)
    seed = int(random.integers(2**31))
    own_seed = int(recipe.random(f"texture {view.date}").integers(2**31))
    return _Lit(
        view.cover, green, direct, sky_share(terrain.slope_deg), sky.veil, strata, texture, seed, own_seed
    )  # fmt: skip


def _shift(recipe: Recipe) -> tuple[float, float]:
    angle = recipe.random("shift").uniform(0, 2 * np.pi)
    return recipe.hardness.shift_m * float(np.cos(angle)), recipe.hardness.shift_m * float(np.sin(angle))


def _see(
    recipe: Recipe,
    frame: Frame,
    lit: _Lit,
    *,
    colours: Palette,
    number: int,
    cell_m: int,
    shift_m: tuple[float, float],
) -> Floats:
    """Return the reflectance that band `number` sees, float32 (row, col) on the tile."""
    side = frame.tile_cells * 10 // cell_m
    margin = frame.margin_cells * round(CELL_M / FINE_M)
    left, right = (margin + place for place in rows_needed(0, side, cell_m, shift_m=shift_m[0]))
    seen = np.empty((side, side), dtype=np.float32)
    rho = np.pi * _RADIANCE[number] / _SUNLIGHT[number]
    grain = np.float32(recipe.hardness.noise * np.sqrt(rho) / _SIGNAL_OVER_NOISE[number])
    noise_seed = lit.own_seed + 1000 + number
    step = _STRIP_ROWS * 10 // cell_m

    def strip(first: int) -> None:
        last = min(first + step, side)
        top, bottom = (margin + place for place in rows_needed(first, last, cell_m, shift_m=shift_m[1]))
        fine = _shine(lit, colours, number, window=(top, bottom, left, right), texture=recipe.hardness.texture)
        part = seen_by(fine, cell_m, rows=last - first, columns=side, shift_m=shift_m)
        part += grain * np.sqrt(np.maximum(part, 0)) * cell_noise(noise_seed, part.shape, first_row=first)
        seen[first:last] = part

    with ThreadPoolExecutor(available_processors()) as hands:
        list(hands.map(strip, range(0, side, step)))
    return seen


def _shine(lit: _Lit, colours: Palette, number: int, *, window: tuple[int, int, int, int], texture: float) -> Floats:
    """Return the reflectance of fine cells in one band as it leaves the ground and the clouds."""
    top, bottom, left, right = window
    shape = (bottom - top, right - left)
    place = {"first_row": top, "first_column": left}
    shared, own = _TEXTURE_WEIGHTS[1:]
    grain = shared * cell_noise(lit.seed, shape, **place)
    group = 0 if number < 3 else (1 if number < 8 else 2)  # visible, near and short-wave infrared
    grain += own * cell_noise(lit.own_seed + group, shape, **place)
    rough = np.full(len(Cover), texture, dtype=np.float32)
    rough[list(_SMOOTH_COVERS)] *= 0.25
    found = np.empty(shape, dtype=np.float32)
    light = (np.float32(DIFFUSE_SHARE[number]), np.float32(CLOUD[number]), _TEXTURE_WEIGHTS[0])
    spectra = (colours.bare[:, number].copy(), colours.green[:, number].copy(), colours.tint[:, :, number].copy())
    fields = (lit.green, lit.direct, lit.sky, lit.veil, lit.texture)
    _reflect(lit.cover, fields, lit.strata, spectra, rough, light, (top, left), grain, found)
    return found


@njit(cache=True, nogil=True)
def _reflect(cover, fields, strata, spectra, rough, light, corner, grain, found):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0913, PLR0917
    green, direct, sky, veil, texture = fields
    bare, leaf, tint = spectra
    diffuse, cloud, patches = light
    one = np.float32(1)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            fine_row, fine_column = corner[0] + row, corner[1] + column
            r, c = fine_row // 2, fine_column // 2
            kind = cover[fine_row, fine_column]
            ground = bare[kind] + green[r, c] * (leaf[kind] - bare[kind])
            ground *= tint[kind, strata[r, c] - 1]
            ground *= max(one + rough[kind] * (patches * texture[r, c] + grain[row, column]), np.float32(0.1))
            ground *= (one - diffuse) * direct[r, c] + diffuse * sky[r, c]
            found[row, column] = ground + veil[r, c] * (cloud - ground)


def _stored(reflectance: Floats, offset_dn: int) -> NDArray[np.uint16]:
    values = np.rint(reflectance * np.float32(QUANTIFICATION)) - np.float32(offset_dn)
    return np.asarray(np.clip(values, 1, 65534), dtype=np.uint16)


def _reflectance(stored: NDArray[np.uint16], offset_dn: int) -> Floats:
    return (stored.astype(np.float32) + np.float32(offset_dn)) / np.float32(QUANTIFICATION)
