"""What covers the ground at the two dates: landslides, and all that changes without one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from coslide.simulate.built import Fields, build_villages, divide_fields, lay_roads
from coslide.simulate.covers import Cover
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.land import River, Terrain
from coslide.simulate.landcover import BANK_SHARE, burn, doubled, natural_cover, northness, river_shapes
from coslide.simulate.noise import cell_noise, smooth_field
from coslide.simulate.openings import open_ground
from coslide.simulate.recipe import FULL_RELIEF_M, Recipe

Covers8 = NDArray[np.uint8]

PLANTS = (Cover.CONIFER, Cover.BROADLEAF, Cover.SHRUB, Cover.MEADOW)
_FIELD_USES = ((0.6, Cover.CROP), (0.82, Cover.MEADOW), (0.92, Cover.SOIL), (1.0, Cover.STUBBLE))
_SWAY, _SWAY_M = 0.8, 400.0  # how far a river moves, as a share of its width, and over what length it does so
_MOVING_FROM_M = 12.0  # width of the rivers that move
_SNOW_SIDE_M, _SNOW_UNEVEN_M, _SNOW_HOLDS_DEG = 90.0, 50.0, 48.0
_STRIP_ROWS = 1024


class Covers(NamedTuple):
    """What covers the ground before and after the earthquake: `Cover` in uint8 (row, col) on `Frame.fine`.

    `shares` says, by name, which share of the tile each kind of change covers.
    """

    pre: Covers8
    post: Covers8
    shares: dict[str, float]


def make_covers(
    recipe: Recipe, terrain: Terrain, *, strata: Covers8, slides: Sequence[Polygon], scars: Sequence[Polygon]
) -> Covers:
    """Return what covers the ground at the two dates.

    Between them fields are harvested and sown, rivers move in their beds, roads are cut into slopes and forest is
    cleared, snow falls on the summits, and the landslides take the plants off. Of the plants on landslides, cuttings
    and clearings, `Difficulty.surviving_plants` are left standing. Ground that slides does nothing else: it is debris,
    or as before.

    Parameters
    ----------
    recipe
        Its seed and difficulty.
    terrain
        The ground.
    strata
        uint8 (row, col) on `Frame.ground`, 1 to 8.
    slides, scars
        Outlines of the earthquake's landslides, and of those long before it, in the CRS of the frame.
    """
    frame = terrain.frame
    pre = natural_cover(recipe, terrain, strata, scars)
    post = pre.copy()
    fields, roads = divide_fields(recipe, terrain), lay_roads(terrain)
    roofs = build_villages(recipe, terrain, [*river_shapes(terrain).water, *roads])
    for cover, use in zip((pre, post), _field_uses(recipe, fields), strict=True):
        _lay_fields(cover, fields, use)
        burn(cover, roads, Cover.ROAD, frame)
        burn(cover, roofs, Cover.ROOF, frame)
    shares = {"fields": _changed_share(pre, post, frame)}
    _move_rivers(recipe, terrain, post)
    shares["rivers"] = _changed_share(pre, post, frame) - sum(shares.values())
    _lay_bare(recipe, terrain, covers=(pre, post), shapes=open_ground(recipe, terrain), kind=Cover.CUT)
    _lay_snow(recipe, terrain, post)
    _lay_bare(recipe, terrain, covers=(pre, post), shapes=slides, kind=Cover.DEBRIS)
    for name, kind in (("openings", Cover.CUT), ("snow", Cover.SNOW), ("debris", Cover.DEBRIS)):
        shares[name] = float((_tile(post, frame) == kind).mean())
    return Covers(pre, post, shares)


def _tile(cover: Covers8, frame: Frame) -> Covers8:
    rows, columns = (slice(2 * part.start, 2 * part.stop) for part in frame.inner)
    return cover[rows, columns]


def _changed_share(pre: Covers8, post: Covers8, frame: Frame) -> float:
    return float((_tile(pre, frame) != _tile(post, frame)).mean())


def _field_uses(recipe: Recipe, fields: Fields) -> tuple[Covers8, Covers8]:
    """Return what each parcel carries at the two dates: crops are harvested, bare parcels sown."""
    random = recipe.random("uses")
    edges, kinds = zip(*_FIELD_USES, strict=True)
    pre = np.array(kinds, dtype=np.uint8)[np.searchsorted(edges, random.random(fields.parcels))]
    post = pre.copy()
    changes = random.random(fields.parcels) < recipe.hardness.harvested_share
    after_harvest = np.where(random.random(fields.parcels) < 0.5, np.uint8(Cover.STUBBLE), np.uint8(Cover.SOIL))
    crop, bare = pre == Cover.CROP, (pre == Cover.SOIL) | (pre == Cover.STUBBLE)
    post[changes & crop] = after_harvest[changes & crop]
    post[changes & bare] = Cover.CROP
    return pre, post


def _lay_fields(cover: Covers8, fields: Fields, use: Covers8) -> None:
    """Put the parcels on the fine cells that carry plants; rivers and their banks stay."""
    if not fields.parcels:
        return
    for top in range(0, cover.shape[0], _STRIP_ROWS):
        part = cover[top : top + _STRIP_ROWS]
        parcel = doubled(fields.parcel[top // 2 : (top + _STRIP_ROWS) // 2])
        where = (parcel >= 0) & (part != Cover.WATER) & (part != Cover.GRAVEL)
        part[where] = use[parcel[where]]


def _move_rivers(recipe: Recipe, terrain: Terrain, post: Covers8) -> None:
    """Move the wider rivers in their beds: gravel where water was, and water where gravel, plants or fields were."""
    frame, random = terrain.frame, recipe.random("rivers move")
    moving = [river for river in terrain.rivers if river.width_m >= _MOVING_FROM_M]
    lines = {river: _swayed(river, random, terrain) for river in moving}
    water = [lines.get(river, river.line).buffer(river.width_m / 2) for river in terrain.rivers]
    left = [river.line.buffer(river.width_m / 2 + CELL_M / 4) for river in moving]
    allowed = doubled(terrain.valley_floor)
    allowed |= (post == Cover.GRAVEL) | (post == Cover.WATER)
    allowed &= (post != Cover.ROAD) & (post != Cover.ROOF)
    bed = post.copy()
    burn(bed, left, Cover.GRAVEL, frame)
    burn(bed, [*water, *_links(terrain, lines)], Cover.WATER, frame)
    np.copyto(post, bed, where=allowed)


def _swayed(river: River, random: np.random.Generator, terrain: Terrain) -> LineString:
    """Return the line of a river, moved sideways by a smoothly varying part of its width; off the floor, less."""
    step_m = 20.0
    steps = max(1, round(river.line.length / step_m))
    points = shapely.get_coordinates(
        shapely.line_interpolate_point(river.line, np.linspace(0, 1, steps + 1), normalized=True)
    )
    sigma = _SWAY_M / step_m / 4
    noise = gaussian_filter1d(random.standard_normal(len(points)), sigma)
    noise *= _SWAY * river.width_m * np.sqrt(2 * sigma * np.sqrt(np.pi))  # the deviation of smoothed white noise
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-6)
    aside = np.column_stack([-along[:, 1], along[:, 0]])
    columns, rows = ~terrain.frame.ground.affine * (points + noise[:, None] * aside).T
    last = terrain.frame.cells - 1
    on_floor = terrain.valley_floor[
        np.clip(np.floor(rows), 0, last).astype(int), np.clip(np.floor(columns), 0, last).astype(int)
    ]
    reach = BANK_SHARE * river.width_m  # so far its banks go
    noise = np.where(on_floor, noise, np.clip(noise, -reach, reach))
    return LineString(points + noise[:, None] * aside)


def _links(terrain: Terrain, lines: dict[River, LineString]) -> list[BaseGeometry]:
    """Return the water that rivers take across the old bed of one that has moved away from their mouth."""
    links = []
    for river in terrain.rivers:
        mouth = shapely.get_point(river.line, -1)
        end = shapely.get_point(lines.get(river, river.line), -1)
        for other, line in lines.items():
            if other is not river and other.line.distance(mouth) < other.width_m:
                links.append(shapely.shortest_line(end, line).buffer(river.width_m / 2))
    return links


def _lay_snow(recipe: Recipe, terrain: Terrain, post: Covers8) -> None:
    """Lay snow on the summits: lower on north slopes, in patches, and none on the steepest rock."""
    if not recipe.hardness.snow_m:
        return
    scale = np.float32(recipe.relief_m / FULL_RELIEF_M)
    depth_m = recipe.hardness.snow_m * scale
    line_m = terrain.height_m[terrain.frame.inner].max() - np.float32(depth_m)
    above = terrain.height_m - line_m
    above += scale * np.float32(_SNOW_SIDE_M) * northness(terrain.aspect_deg, terrain.slope_deg)
    random = recipe.random("snow")
    above += scale * np.float32(_SNOW_UNEVEN_M) * smooth_field(random, above.shape, CELL_M, range_m=120.0)
    lies = (above > 0) & (terrain.slope_deg < _SNOW_HOLDS_DEG)
    post[doubled(lies)] = Cover.SNOW


def _lay_bare(
    recipe: Recipe, terrain: Terrain, *, covers: tuple[Covers8, Covers8], shapes: Sequence[BaseGeometry], kind: Cover
) -> None:
    """Turn the ground in `shapes` into `kind` at the later date; in patches the plants stand as before.

    Openings (`Cover.CUT`) are laid in plants only, debris on everything.
    """
    pre, post = covers
    side = terrain.frame.cells
    inside = np.zeros(post.shape, dtype=np.uint8)
    burn(inside, shapes, 1, terrain.frame)
    patches = smooth_field(recipe.random(f"survivors {kind.name}"), (side, side), CELL_M, range_m=20.0)
    least = np.float32(norm.ppf(1 - recipe.hardness.surviving_plants))
    seed = int(recipe.random(f"stems {kind.name}").integers(2**31))
    for top in range(0, post.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        before, part = pre[rows], post[rows]
        field = doubled(patches[top // 2 : (top + _STRIP_ROWS) // 2])
        field = np.float32(0.8) * field + np.float32(0.6) * cell_noise(seed, field.shape, first_row=top)
        plants = np.isin(before, PLANTS)
        where = (inside[rows] == 1) & (plants if kind == Cover.CUT else True)
        part[where] = np.where((field > least) & plants, before, np.uint8(kind))[where]
