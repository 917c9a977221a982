"""Land cover at the two dates: landslides, and all that changes without one."""

from typing import NamedTuple

import numpy as np
import shapely
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from coslide.simulate import landcover
from coslide.simulate.fields import smooth_field
from coslide.simulate.frame import PIXEL_M, Codes, River, Terrain
from coslide.simulate.landcover import BANK_SHARE, PLANTS, Cover, Shapes, burn, doubled, northness
from coslide.simulate.recipe import FULL_RELIEF_M, Recipe

_USE_EDGES, _USES = (0.6, 0.82, 0.92), (Cover.CROP, Cover.MEADOW, Cover.SOIL, Cover.STUBBLE)
_SWAY, _SWAY_M, _STEP_M = 0.8, 400.0, 20.0  # how far a river moves, in its widths, and over what length it does so
_MOVING_FROM_M = 12.0  # width of the rivers that move
_SNOW_SIDE_M, _SNOW_UNEVEN_M, _SNOW_HOLDS_DEG = 90.0, 50.0, 48.0


class Covers(NamedTuple):
    """Land cover before and after the earthquake: `Cover` in uint8 (row, col) on `Frame.fine_grid`.

    `shares` tells, by name, which share of the scene each kind of change covers.
    """

    pre: Codes
    post: Codes
    shares: dict[str, float]


def make_covers(recipe: Recipe, terrain: Terrain, *, strata: Codes, slides: Shapes, scars: Shapes) -> Covers:
    """Make the land cover of the two dates.

    Between them fields are harvested and sown, rivers move in their beds, roads are cut into slopes and forest is
    cleared, snow falls on the summits, and the landslides take the plants off. Of the plants on landslides, cuttings
    and clearings, `Difficulty.surviving_plants` are left standing. What slides does nothing else: it is debris, or as
    before. `slides` and `scars` are the outlines of the earthquake's landslides, and of those long before it.
    """
    frame = terrain.frame
    pre = landcover.natural_cover(recipe, terrain, strata, scars)
    post = pre.copy()
    parcel, roads = doubled(landcover.divide_fields(recipe, terrain)), landcover.lay_roads(terrain)
    roofs = landcover.build_villages(recipe, terrain, [*landcover.river_water(terrain), *roads])
    farmed = (parcel >= 0) & ~np.isin(pre, (Cover.WATER, Cover.GRAVEL))
    for cover, use in zip((pre, post), _field_uses(recipe, parcel.max() + 1), strict=True):
        cover[farmed] = use[parcel[farmed]]
        burn(cover, roads, Cover.ROAD, frame)
        burn(cover, roofs, Cover.ROOF, frame)
    inner = tuple(slice(2 * part.start, 2 * part.stop) for part in frame.inner)
    shares = {"fields": float((pre != post)[inner].mean())}
    _move_rivers(recipe, terrain, post)
    shares["rivers"] = float((pre != post)[inner].mean()) - shares["fields"]
    _lay_bare(recipe, terrain, covers=(pre, post), shapes=landcover.open_slopes(recipe, terrain), kind=Cover.CUT)
    _lay_snow(recipe, terrain, post)
    _lay_bare(recipe, terrain, covers=(pre, post), shapes=slides, kind=Cover.DEBRIS)
    for name, kind in (("openings", Cover.CUT), ("snow", Cover.SNOW), ("debris", Cover.DEBRIS)):
        shares[name] = float((post[inner] == kind).mean())
    return Covers(pre, post, shares)


def _field_uses(recipe: Recipe, parcels: int) -> tuple[Codes, Codes]:
    """Draw what each parcel carries at the two dates: crops are harvested, bare parcels sown."""
    random = recipe.random("uses")
    pre = np.array(_USES, dtype=np.uint8)[np.digitize(random.random(parcels), _USE_EDGES)]
    changes = random.random(parcels) < recipe.hardness.harvested_share
    harvested = np.where(random.random(parcels) < 0.5, np.uint8(Cover.STUBBLE), np.uint8(Cover.SOIL))
    sown = np.where(pre == Cover.MEADOW, pre, np.uint8(Cover.CROP))
    return pre, np.where(changes, np.where(pre == Cover.CROP, harvested, sown), pre)


def _move_rivers(recipe: Recipe, terrain: Terrain, post: Codes) -> None:
    """Move the wider rivers in their beds: gravel where water was, and water where gravel, plants or fields were."""
    frame, random = terrain.frame, recipe.random("rivers move")
    moving = [river for river in terrain.rivers if river.width_m >= _MOVING_FROM_M]
    lines = {river: _swayed(river, random, terrain) for river in moving}
    water = [lines.get(river, river.line).buffer(river.width_m / 2) for river in terrain.rivers]
    left = [river.line.buffer(river.width_m / 2 + PIXEL_M / 4) for river in moving]
    allowed = doubled(terrain.valley_floor) | np.isin(post, (Cover.GRAVEL, Cover.WATER))
    allowed &= ~np.isin(post, (Cover.ROAD, Cover.ROOF))
    bed = post.copy()
    burn(bed, left, Cover.GRAVEL, frame)
    burn(bed, [*water, *_links(terrain, lines)], Cover.WATER, frame)
    np.copyto(post, bed, where=allowed)


def _swayed(river: River, random: np.random.Generator, terrain: Terrain) -> LineString:
    """Move the line of a river sideways by a smoothly varying part of its width; off the floor, less."""
    shares = np.linspace(0, 1, max(1, round(river.line.length / _STEP_M)) + 1)
    points = shapely.get_coordinates(shapely.line_interpolate_point(river.line, shares, normalized=True))
    sigma = _SWAY_M / _STEP_M / 4
    noise = gaussian_filter1d(random.standard_normal(len(points)), sigma)
    noise *= _SWAY * river.width_m * np.sqrt(2 * sigma * np.sqrt(np.pi))  # the deviation of smoothed white noise
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    aside = np.column_stack([-along[:, 1], along[:, 0]])
    on_floor = terrain.valley_floor[terrain.frame.pixels_at(points + noise[:, None] * aside)]
    reach = BANK_SHARE * river.width_m  # so far its banks go
    return LineString(points + np.where(on_floor, noise, np.clip(noise, -reach, reach))[:, None] * aside)


def _links(terrain: Terrain, lines: dict[River, LineString]) -> list[BaseGeometry]:
    """Outline the water that rivers take across the old bed of one that has moved away from their mouth."""
    links = []
    for river in terrain.rivers:
        mouth, end = (shapely.get_point(line, -1) for line in (river.line, lines.get(river, river.line)))
        for other, line in lines.items():
            if other is not river and other.line.distance(mouth) < other.width_m:
                links.append(shapely.shortest_line(end, line).buffer(river.width_m / 2))
    return links


def _lay_snow(recipe: Recipe, terrain: Terrain, post: Codes) -> None:
    """Lay snow on the summits: lower on north slopes, in patches, and none on the steepest rock."""
    if not recipe.hardness.snow_m:
        return
    patches = smooth_field(recipe.random("snow"), terrain.height_m.shape, PIXEL_M, range_m=120.0)
    above_m = terrain.height_m - terrain.height_m[terrain.frame.inner].max()
    lower_m = recipe.hardness.snow_m + _SNOW_SIDE_M * northness(terrain) + _SNOW_UNEVEN_M * patches
    above_m += recipe.relief_m / FULL_RELIEF_M * lower_m
    post[doubled((above_m > 0) & (terrain.slope_deg < _SNOW_HOLDS_DEG))] = Cover.SNOW


def _lay_bare(recipe: Recipe, terrain: Terrain, *, covers: tuple[Codes, Codes], shapes: Shapes, kind: Cover) -> None:
    """Turn what lies in `shapes` into `kind` at the later date; in patches the plants stand as before.

    Openings (`Cover.CUT`) are laid in plants only, debris on everything.
    """
    pre, post = covers
    outlined = np.zeros(post.shape, dtype=np.uint8)
    burn(outlined, shapes, 1, terrain.frame)
    rows, columns = np.nonzero(outlined)
    random = recipe.random(f"survivors {kind.name}")
    patches = smooth_field(random, terrain.height_m.shape, PIXEL_M, range_m=20.0)[rows // 2, columns // 2]
    field = 0.8 * patches + 0.6 * random.standard_normal(len(rows), dtype=np.float32)
    before: Codes = pre[rows, columns]
    plants = np.isin(before, PLANTS)
    survives = plants & (field > norm.ppf(1 - recipe.hardness.surviving_plants))
    laid = np.where(survives, before, np.uint8(kind))
    post[rows, columns] = np.where(plants, laid, post[rows, columns]) if kind == Cover.CUT else laid
