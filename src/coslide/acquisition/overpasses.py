"""Overpasses of the satellites: which of them show an area, and which is next."""

import datetime as dt
import logging
import math
import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
import pystac
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.acquisition.catalog import sensed_span
from coslide.acquisition.items import find_band
from coslide.acquisition.records import Area
from coslide.acquisition.windows import read_again
from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.io.resample import resample
from coslide.sources.bands import locate_band
from coslide.sources.safe import ONE_OVERPASS, TILE, baseline_number, finite_number

_log = logging.getLogger(__name__)
_REPEAT = dt.timedelta(days=5)
_OTHER_ORBIT = dt.timedelta(days=30)  # mountains lean another way from there, but the seasons move on too
_MOST_DATES = 6
_LEAST_GAIN = 0.01  # of the area, that a date must add to those before it
_SAMPLE_M = 80.0  # overviews of 20 m have 40, 80, ... m; those of 80 m are a quarter as long, and clouds are larger
_MOST_SAMPLES = 2**22
_M_PER_DEGREE = 111_195.0
_AT_ONCE, _TRIES = 4, 5
_ORBIT = re.compile(r"_R(\d{3})(?=_|$)")
_ORBITS = range(1, 144)
_STRIP = re.compile(r"_S(\d{8}T\d{6})(?=_|$)")
_USUALLY_INVALID: tuple[int, ...] = SceneConfig.model_fields["scl_invalid"].default


class Overpass(NamedTuple):
    """The tiles that a satellite sensed in one overpass.

    Attributes
    ----------
    items
        One for each tile, or for each part of it that was made on its own.
    sensed, last
        When the first of them was sensed, and the last (UTC).
    orbit
        The relative orbit, 1 to 143; None where the catalog does not tell.
    platform
        Such as ``"sentinel-2b"``; may be "".
    """

    items: tuple[pystac.Item, ...]
    sensed: dt.datetime
    last: dt.datetime
    orbit: int | None = None
    platform: str = ""


class Candidate(NamedTuple):
    """An overpass that was considered, and the shares of the area that it shows at all, and shows free of clouds.

    Tiles that their catalog says are all clouds are not looked at: then `seen` is 1.
    """

    overpass: Overpass
    seen: float
    clear: float


class SceneChoice(NamedTuple):
    """The overpasses that were chosen.

    Attributes
    ----------
    overpasses
        One, or several that are put together: a pixel takes the first one that shows it clearly. Their items are those
        that show something of the area.
    clear
        Share of the area that they show, together.
    considered
        All that were looked at, in this order.
    """

    overpasses: tuple[Overpass, ...]
    clear: float
    considered: tuple[Candidate, ...]


class NoClearSceneError(InputError):
    """No scene shows enough of the area. `next_due` is when the next overpass could come, None where nothing tells."""

    def __init__(self, text: str, next_due: dt.datetime | None) -> None:
        super().__init__(text)
        self.next_due = next_due


def group_overpasses(items: Iterable[pystac.Item]) -> list[Overpass]:
    """Group items to overpasses, in the order of time: those of one orbit (or platform) within 13 hours.

    Of a tile, only the items of the highest processing baseline are kept, and of what was made twice the newest.
    Items that do not state a time are left out.
    """
    timed = [(span, item) for item in items if (span := sensed_span(item)) is not None]
    groups: dict[int | str, list[list[pystac.Item]]] = {}
    begun: dict[int | str, dt.datetime] = {}
    for span, item in sorted(timed, key=lambda one: (one[0], one[1].id)):
        key = orbit_of(item) or platform_of(item)
        if key in begun and span[0] - begun[key] <= ONE_OVERPASS:
            groups[key][-1].append(item)
        else:
            groups.setdefault(key, []).append([item])
            begun[key] = span[0]
    found = [_overpass(_newest(tiles)) for parts in groups.values() for tiles in parts]
    return sorted(found, key=lambda overpass: overpass.sensed)


def _overpass(items: Sequence[pystac.Item]) -> Overpass:
    spans = [span for item in items if (span := sensed_span(item)) is not None]
    first, last = min(span[0] for span in spans), max(span[1] for span in spans)
    return Overpass(tuple(items), first, last, orbit_of(items[0]), platform_of(items[0]))


def _newest(items: Sequence[pystac.Item]) -> list[pystac.Item]:
    """Keep, of a tile, the items of the highest processing baseline, and one of each part of it."""
    best: dict[str, float] = {}
    for item in items:
        best[_tile_of(item)] = max(best.get(_tile_of(item), 0.0), _baseline_of(item))
    kept: dict[tuple[str, str], pystac.Item] = {}
    for item in sorted(items, key=lambda item: str(item.properties.get("s2:generation_time") or "")):
        strip = _STRIP.findall(str(item.properties.get("s2:datastrip_id")))
        if _baseline_of(item) == best[_tile_of(item)]:
            kept[_tile_of(item), strip[0] if strip else item.id] = item
    return sorted(kept.values(), key=lambda item: item.id)


def orbit_of(item: pystac.Item) -> int | None:
    """Find the relative orbit of an item, in its properties or in a name of the product; None where nothing tells."""
    stated = item.properties.get("sat:relative_orbit")
    names = (item.properties.get("s2:product_uri"), item.properties.get("title"), item.id)
    found = [stated, *(int(number) for name in names for number in _ORBIT.findall(str(name)))]
    return next((number for number in found if isinstance(number, int) and number in _ORBITS), None)


def platform_of(item: pystac.Item) -> str:
    """Find the name of the satellite, in lower case; "" where nothing tells."""
    return str(item.properties.get("platform") or "").lower()


def _tile_of(item: pystac.Item) -> str:
    names = (item.properties.get(key) for key in ("grid:code", "s2:mgrs_tile"))
    return next(iter(TILE.findall(" ".join(str(name) for name in (*names, item.id)))), item.id)


def _baseline_of(item: pystac.Item) -> float:
    stated = item.properties.get("s2:processing_baseline") or item.properties.get("processing:version")
    return baseline_number(str(stated)) or 0.0


def next_overpass(overpasses: Iterable[Overpass], after: dt.datetime) -> dt.datetime | None:
    """Predict the first overpass after a time, None without any: those of an orbit come every 5 days (two satellites).

    It is reckoned from the newest of each orbit. With a third satellite one may come earlier, with a single one every
    second does not.
    """
    newest = {one.orbit or one.platform: one.sensed for one in sorted(overpasses, key=lambda one: one.sensed)}
    due = [sensed + _REPEAT * max(1, math.floor((after - sensed) / _REPEAT) + 1) for sensed in newest.values()]
    return min(due, default=None)


def _samples(area: Area) -> GeoBox:
    """Spread samples over an area, 80 m apart, or more in a large one."""
    west, south, east, north = area.bounds_deg
    step_m = max(_SAMPLE_M, math.sqrt(area.km2 * 1e6 / _MOST_SAMPLES))
    rows = math.ceil((north - south) * _M_PER_DEGREE / step_m)
    cols = math.ceil((east - west) * _M_PER_DEGREE * math.cos(math.radians((south + north) / 2)) / step_m)
    step = Affine.scale((east - west) / cols, (south - north) / rows)
    return GeoBox((rows, cols), Affine.translation(west, north) @ step, "EPSG:4326")


def _share(marked: NDArray[np.bool_], samples: GeoBox) -> float:
    """Compute the share of the area of samples; those of a row stand for the same area."""
    latitudes = samples.affine.f + samples.affine.e * (np.arange(samples.shape.y) + 0.5)
    return float(np.average(marked.mean(axis=1), weights=np.cos(np.radians(latitudes))))


def _look(overpass: Overpass, samples: GeoBox, scl_invalid: Collection[int]) -> tuple[Candidate, NDArray[np.bool_]]:
    """Find what an overpass shows of an area, with the items alone that show something, and where it is clear."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda item: _classes(item, samples), overpass.items))
    classes = np.zeros(samples.shape, dtype=np.uint8)
    for own in found:
        np.copyto(classes, own, where=classes == 0)
    clear = ~np.isin(classes, [0, *scl_invalid])
    items = tuple(item for item, own in zip(overpass.items, found, strict=True) if own.any())
    seen = overpass._replace(items=items or overpass.items)
    return Candidate(seen, _share(classes > 0, samples), _share(clear, samples)), clear


def _classes(item: pystac.Item, samples: GeoBox) -> NDArray[np.uint8]:
    """Read classes of the scene classification at samples, from overviews; 0 where there is none."""
    _, band = find_band(item, "SCL")

    def read(href: str) -> NDArray[np.uint8]:
        raster = locate_band(band._replace(href=href), of_product=True)
        rows, cols = overlap_slices(raster.geobox, samples, padding=1)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return np.zeros(samples.shape, dtype=np.uint8)
        factor = max(1, round(_SAMPLE_M / abs(raster.geobox.affine.a)))
        shape = tuple(-(-(part.stop - part.start) // factor) for part in (rows, cols))
        values = np.nan_to_num(raster.read(rows, cols, out_shape=shape)).astype(np.uint8)
        place = raster.geobox[rows, cols].zoom_to(shape)
        return resample(place, lambda r, c: values[r, c], samples, how=Resampling.nearest)

    return read_again(band.href, read, tries=_TRIES)


def choose_scene(
    overpasses: Sequence[Overpass],
    area: Area,
    *,
    when: Literal["post", "pre"],
    event_time: dt.datetime,
    min_clear: float,
    orbit: int | None = None,
) -> SceneChoice:
    """Choose the overpass nearest to an earthquake that shows enough of the area, or several that do together.

    Parameters
    ----------
    overpasses
        All that there are, of before and after it.
    area
        What is to be mapped.
    when
        Whether it is to be after the earthquake or before.
    event_time
        When the earthquake was.
    min_clear
        Share of the area that must be shown.
    orbit
        A relative orbit that is preferred, unless another one is 30 days nearer: that of the other scene.

    Raises
    ------
    NoClearSceneError
        If there is none yet, or all together do not show enough.
    InputError
        If a classification cannot be read, and no other overpass will do.

    Notes
    -----
    They are looked at one after the other, the best first, up to the first that shows enough. If none does, up to six
    are put together in this order, those left out that add less than 1 % of the area.
    """
    ranked = sorted(
        (overpass for overpass in overpasses if _is_on_side(overpass, when, event_time)),
        key=lambda overpass: (_cost(overpass, event_time, orbit), overpass.sensed),
    )
    samples, failure = _samples(area), None
    considered: list[Candidate] = []
    together, used = np.zeros(samples.shape, dtype=bool), list[Overpass]()
    for overpass in ranked:
        if _is_overcast(overpass):
            considered.append(Candidate(overpass, 1.0, 0.0))
            continue
        try:
            candidate, clear = _look(overpass, samples, _USUALLY_INVALID)
        except InputError as error:
            failure = failure or error
            _log.warning(f"the scene of {overpass.sensed:%Y-%m-%d %H:%M} UTC is left out: {error}")
            continue
        considered.append(candidate)
        if candidate.clear >= min_clear:
            return SceneChoice((candidate.overpass,), candidate.clear, tuple(considered))
        enough = _share(together, samples) >= min_clear
        if not enough and len(used) < _MOST_DATES and _share(clear & ~together, samples) >= _LEAST_GAIN:
            together |= clear
            used.append(candidate.overpass)
    shown = _share(together, samples)
    if shown >= min_clear:
        return SceneChoice(tuple(used), shown, tuple(considered))
    if failure is not None and not considered:
        raise failure
    raise _no_scene(overpasses, considered, shown, when=when, event_time=event_time, min_clear=min_clear)


def _is_on_side(overpass: Overpass, when: str, event_time: dt.datetime) -> bool:
    return overpass.sensed > event_time if when == "post" else overpass.last < event_time


def _cost(overpass: Overpass, event_time: dt.datetime, orbit: int | None) -> dt.timedelta:
    is_other = orbit is not None and overpass.orbit is not None and overpass.orbit != orbit
    return abs(overpass.sensed - event_time) + (_OTHER_ORBIT if is_other else dt.timedelta())


def _is_overcast(overpass: Overpass) -> bool:
    """Tell whether the catalog says that every tile is all clouds, none of which `_USUALLY_INVALID` lets through."""
    stated = (finite_number(item.properties.get("eo:cloud_cover")) for item in overpass.items)
    return all(cover is not None and cover >= 100 for cover in stated)


def _no_scene(
    overpasses: Sequence[Overpass],
    considered: Sequence[Candidate],
    together: float,
    *,
    when: str,
    event_time: dt.datetime,
    min_clear: float,
) -> NoClearSceneError:
    """Say how much was to be seen, and when the next overpass could come, of an orbit that shows the area."""
    side = "after" if when == "post" else "before"
    found = f"found no scene {side} {event_time:%Y-%m-%d %H:%M} UTC"
    best = max(considered, key=lambda candidate: candidate.clear, default=None)
    if best is not None:
        found = f"found {len(considered)} scenes {side} {event_time:%Y-%m-%d %H:%M} UTC, of which the clearest"
        found += f" ({best.overpass.sensed:%Y-%m-%d}) shows {best.clear:.0%} of the area"
        found += f" and the nearest together {together:.0%}, expected {min_clear:.0%}"
    if when == "pre":
        return NoClearSceneError(f"no clear scene: {found}; take more days before the earthquake", None)
    blind = {candidate.overpass.orbit for candidate in considered if candidate.seen == 0}
    last = max((candidate.overpass.last for candidate in considered), default=event_time)
    due = next_overpass((one for one in overpasses if one.orbit is None or one.orbit not in blind), last)
    hint = f"; the next overpass could come on {due:%Y-%m-%d %H:%M} UTC" if due else ""
    if due and due < _now() - _REPEAT:  # long ago: it was not asked for
        hint = "; take more days after the earthquake, or be content with less"
    return NoClearSceneError(f"no clear scene yet: {found}{hint}", due)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
