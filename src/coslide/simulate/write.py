"""A simulated earthquake, from its recipe to a folder of files in the formats that real ones come in."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

import coslide
from coslide.io.atomic import Marker, whole_output, write_json
from coslide.progress import report_progress
from coslide.simulate.acquisition import Acquisition
from coslide.simulate.changes import Covers, make_covers
from coslide.simulate.dates import EVENT_TIME, SCENE_TIMES
from coslide.simulate.dem import write_dem
from coslide.simulate.frame import TILE, Frame, centres_m, frame_of
from coslide.simulate.ground_motion import Shaking, make_shaking
from coslide.simulate.hazard import failure_probability
from coslide.simulate.land import Terrain
from coslide.simulate.landcover import old_scar_share
from coslide.simulate.rain import Rain, make_rain, write_gauges
from coslide.simulate.recipe import AGES, Recipe
from coslide.simulate.render import View, render_scene, sun_over
from coslide.simulate.rupture import Rupture, make_rupture
from coslide.simulate.safe import write_safe
from coslide.simulate.shakemap import SEISMOGENIC, levels_g, write_fault, write_shakemap
from coslide.simulate.slides import place_landslides, write_inventory
from coslide.simulate.strata import make_strata, write_geology
from coslide.simulate.terrain import make_terrain

_log = logging.getLogger(__name__)


SIMULATION = Marker("simulation.json", "coslide_simulation")

_STEPS = ("terrain", "strata, shaking, rain", "landslides", "maps", "land cover", "scene before", "scene after")
_BASELINES = {"pre": "02.14", "post": "04.00"}
_SMALL_M2 = 1104  # 11 cells: 92 % of the paper's landslides are smaller

_EVENT = """\
# A simulated earthquake, written by coslide {version}; simulation.json says how. No score on it is one on the Earth.
name = "Simulated earthquake (seed {seed}, {difficulty})"
id = "simulated-{difficulty}-{seed}"
time_utc = {time:%Y-%m-%dT%H:%M:%SZ}
magnitude = {magnitude:.1f}
credit = "Simulated by coslide: no real place, no real earthquake."
simulated = true

[scenes.post]
products = ["{post}"]

[scenes.pre]
products = ["{pre}"]

[dem]
path = "dem.tif"

[geology]
path = "geology.gpkg"
field = "age"
ages = {ages}

[rain]
gauges = "gauges.csv"
unit = "mm"
columns = {{ station = "station", lon = "lon", lat = "lat", date = "date", rain = "rain_mm" }}

[shaking]
shakemap = "grid.xml"
levels_g = {levels_g} # so that all classes occur here

[faults]
path = "faults.geojson"
select = {{ field = "name", values = ["{fault}"] }}

[inventory]
path = "landslides.gpkg"
area = "mapped_area.gpkg"

[training]
recipe = "modern"
split.block_windows = 2
split.test_fraction = 0.33
"""


class _Event(NamedTuple):
    """All of a simulated earthquake but what covers the ground."""

    recipe: Recipe
    terrain: Terrain
    rupture: Rupture
    strata: NDArray[np.uint8]
    shaking: Shaking
    rain: Rain
    slides: gpd.GeoDataFrame
    scars: gpd.GeoDataFrame


def simulate(folder: Path | str, recipe: Recipe | None = None, *, keep: bool = False) -> Path:
    """Return the event file of a simulated earthquake, written with all its sources into `folder`.

    Two Sentinel-2 products (SAFE), ``dem.tif``, ``geology.gpkg``, ``gauges.csv``, ``grid.xml`` (ShakeMap),
    ``faults.geojson``, ``landslides.gpkg`` with ``mapped_area.gpkg``, ``event.toml``, and ``simulation.json``: the
    recipe and what came of it. The same recipe gives the same files, to the byte.

    Parameters
    ----------
    folder
        A new or empty folder, or an earlier simulation, which is replaced.
    recipe
        None takes the defaults.
    keep
        Leave an earlier simulation of the same recipe and version as it is.

    Raises
    ------
    InputError
        If the folder holds something else or cannot be written. Nothing half-written is left.
    """
    folder, recipe = Path(folder), recipe or Recipe()
    record = {"coslide_simulation": coslide.__version__, "recipe": recipe.model_dump()}
    if keep and _holds(folder, record):
        _log.info(f"{folder}: is this simulation already")
        return folder / "event.toml"
    started = time.monotonic()
    with whole_output(folder, marker=SIMULATION) as part:
        part.mkdir()
        truth = _write(part, recipe)
        write_json(part / SIMULATION.file, {**record, "truth": truth})
    _log.info(
        f"{folder}: simulated {recipe.size_km:g} x {recipe.size_km:g} km, {truth['landslides']} landslides on "
        f"{100 * truth['landslide_share']:.1f} % of the ground, in {time.monotonic() - started:.0f} s"
    )
    return folder / "event.toml"


def _holds(folder: Path, record: dict[str, Any]) -> bool:
    path = folder / SIMULATION.file
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return all(found.get(key) == value for key, value in record.items())


def _write(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Write all files but the record, and return what is true of them."""
    steps = _reported_steps()
    event = _happen(recipe, steps)
    next(steps)
    names = {date: _acquisition(event.terrain.frame, date).name for date in _BASELINES}
    _write_maps(folder, event, names)
    next(steps)
    covers = make_covers(
        recipe,
        event.terrain,
        strata=event.strata,
        slides=list(event.slides.geometry),
        scars=list(event.scars.geometry),
    )
    for date, cover in (("pre", covers.pre), ("post", covers.post)):
        next(steps)
        seen = _acquisition(event.terrain.frame, date)
        bands = render_scene(recipe, event.terrain, strata=event.strata, view=View(date, cover, seen.offset_dn))
        write_safe(folder, bands, seen, event.terrain.frame.tile)
    next(steps, None)
    return _truth(event, covers)


def _reported_steps() -> Iterator[str]:
    """Yield the names of the steps; report each when it begins, and the end."""
    for number, step in enumerate(_STEPS):
        report_progress(f"simulate: {step}", number, len(_STEPS))
        yield step
    report_progress("simulate", len(_STEPS), len(_STEPS))


def _happen(recipe: Recipe, steps: Iterator[str]) -> _Event:
    """Return the earthquake: the ground, what shakes and wets it, and what slides."""
    next(steps)
    frame = frame_of(recipe.size_km)
    rupture, terrain = make_rupture(recipe, frame), make_terrain(recipe, frame)
    next(steps)
    strata = make_strata(recipe, terrain, rupture)
    shaking = make_shaking(recipe, frame, rupture, terrain.slope_deg)
    rain = make_rain(recipe, frame, terrain.height_m)
    next(steps)
    x, y = centres_m(frame.ground)
    fault_m = 1000 * rupture.trace_distance_km(x[None, :], y[:, None])
    probability = failure_probability(
        recipe, terrain, strata=strata, pga_g=shaking.pga_g, rain_mm=rain.total_mm, fault_m=fault_m
    )
    slides = place_landslides(recipe, terrain, probability)
    scars = place_landslides(_long_before(recipe), terrain, probability)
    return _Event(recipe, terrain, rupture, strata, shaking, rain, slides, scars)


def _long_before(recipe: Recipe) -> Recipe:
    """Return the recipe of the landslides that left the old scars: other ones on the same slopes."""
    other = int(recipe.random("scars").integers(2**32))
    return recipe.model_copy(update={"seed": other, "landslide_share": old_scar_share(recipe)})


def _acquisition(frame: Frame, date: str) -> Acquisition:
    time_utc = SCENE_TIMES[date]
    sun = sun_over(frame, time_utc)
    return Acquisition(
        sensed=time_utc,
        tile=TILE,
        baseline=_BASELINES[date],
        sun_zenith_deg=sun.zenith_deg,
        sun_azimuth_deg=sun.azimuth_deg,
    )


def _write_maps(folder: Path, event: _Event, products: dict[str, str]) -> None:
    recipe, frame = event.recipe, event.terrain.frame
    write_dem(folder / "dem.tif", recipe, event.terrain)
    write_geology(folder / "geology.gpkg", recipe, frame, event.strata)
    write_gauges(folder / "gauges.csv", recipe, event.rain)
    write_shakemap(folder / "grid.xml", recipe, event.shaking)
    write_fault(folder / "faults.geojson", recipe, event.rupture)
    write_inventory(folder / "landslides.gpkg", folder / "mapped_area.gpkg", event.slides, frame)
    text = _EVENT.format(
        version=coslide.__version__,
        seed=recipe.seed,
        difficulty=recipe.difficulty,
        time=EVENT_TIME,
        magnitude=event.rupture.magnitude,
        ages=json.dumps(AGES),
        levels_g=json.dumps(levels_g(recipe, event.shaking)),
        fault=SEISMOGENIC,
        **products,
    )
    (folder / "event.toml").write_text(text, encoding="utf-8")


def _truth(event: _Event, covers: Covers) -> dict[str, Any]:
    """Return what is true of an event, for the record: counts, shares of the tile, and ranges in it."""
    frame = event.terrain.frame
    tile = shapely.box(*frame.tile.boundingbox.bbox)
    slides = event.slides.geometry.to_numpy()
    slides = slides[shapely.intersects(slides, tile)]
    ranges = {
        "height_m": event.terrain.height_m,
        "slope_deg": event.terrain.slope_deg,
        "pga_g": event.shaking.pga_g,
        "rain_mm": event.rain.total_mm,
    }
    return {
        "magnitude": round(event.rupture.magnitude, 2),
        "landslides": len(slides),
        "landslide_share": float(shapely.area(shapely.intersection(slides, tile)).sum() / tile.area),
        "share_below_1104_m2": float((shapely.area(slides) < _SMALL_M2).mean()),
        "changed_share": covers.shares,
        "strata_share": dict(zip(AGES, _shares(event.strata[frame.inner]), strict=True)),
        "ranges": {name: _range(values[frame.inner]) for name, values in ranges.items()},
    }


def _shares(strata: NDArray[np.uint8]) -> list[float]:
    return [float(share) for share in np.bincount(strata.ravel(), minlength=len(AGES) + 1)[1:] / strata.size]


def _range(values: NDArray[np.float32]) -> dict[str, float]:
    found = np.percentile(values, [0, 50, 100])
    return {name: round(float(value), 3) for name, value in zip(("from", "median", "to"), found, strict=True)}
