"""A simulated earthquake, from its recipe to a folder of files in the formats that real ones come in."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely

import coslide
from coslide.config.records import read_record
from coslide.io.atomic import Marker, whole_output, write_json
from coslide.io.outputs import output_folder
from coslide.progress import report_progress
from coslide.simulate.changes import make_covers
from coslide.simulate.documents import render
from coslide.simulate.fields import NODES_M, coarse_field
from coslide.simulate.frame import EVENT_TIME, SCENE_TIMES, Codes, Floats, Frame, Polygons, frame_of
from coslide.simulate.geology import SEISMOGENIC, make_rupture, make_strata, write_faults, write_geology
from coslide.simulate.landcover import ROCK_SHARE
from coslide.simulate.landslides import SMALL_M2, place_landslides, write_inventory
from coslide.simulate.rain import make_rain, write_gauges
from coslide.simulate.recipe import AGES, CREDIT, Recipe
from coslide.simulate.render import render_scene
from coslide.simulate.safe import Acquisition, write_safe
from coslide.simulate.shaking import levels_g, make_shakemap, make_shaking, write_shakemap
from coslide.simulate.sky import sun_over
from coslide.simulate.stability import Causes, failure_probability
from coslide.simulate.terrain import make_terrain, write_dem

_log = logging.getLogger(__name__)

SIMULATION = Marker("simulation.json", "coslide_simulation")

_STEPS = ("terrain", "strata, shaking, rain", "landslides", "maps", "land cover", "scene before", "scene after")
_RANGE = ("from", "median", "to")
_BASELINES = {"pre": "02.14", "post": "04.00"}


def simulate_event(folder: Path | str, recipe: Recipe | None = None, *, keep: bool = False) -> Path:
    """Write a simulated earthquake with all its sources into `folder` (new, empty or an earlier one); return its event.

    Two Sentinel-2 products (SAFE), ``dem.tif``, ``geology.gpkg``, ``gauges.csv``, ``grid.xml`` (ShakeMap),
    ``faults.geojson``, ``landslides.gpkg`` with ``mapped_area.gpkg``, ``event.toml``, and ``simulation.json``: the
    recipe and what came of it. The same recipe gives the same files, to the byte; `keep` leaves an earlier simulation
    of the same recipe and version as it is.

    Raises
    ------
    InputError
        If the folder holds something else or cannot be written. Nothing half-written is left.

    Examples
    --------
    >>> from coslide.simulate.recipe import Recipe
    >>> simulate_event(folder / "event", Recipe(size_km=3)).name
    'event.toml'
    """
    folder, recipe = Path(folder), recipe or Recipe()
    record = {"coslide_simulation": coslide.__version__, "recipe": recipe.model_dump()}
    if keep and SIMULATION.is_in(folder):
        found = read_record(folder / SIMULATION.file, dict[str, Any], advice="remove the folder")
        if found.items() >= record.items():
            _log.info(f"{folder}: is this simulation already")
            return folder / "event.toml"
    started = time.monotonic()
    with output_folder(folder.parent), whole_output(folder, marker=SIMULATION) as part:
        part.mkdir()
        truth = _write(part, recipe)
        write_json(part / SIMULATION.file, {**record, "truth": truth})
    _log.info(
        f"{folder}: simulated {recipe.size_km:g} x {recipe.size_km:g} km, {truth['landslides']} landslides on "
        f"{100 * truth['landslide_share']:.1f} % of the area, in {time.monotonic() - started:.0f} s"
    )
    return folder / "event.toml"


def _write(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Write all files but the record, and return what is true of them."""
    _report("terrain")
    frame = frame_of(recipe.size_km, recipe.seed)
    rupture, terrain = make_rupture(recipe, frame), make_terrain(recipe, frame)
    _report("strata, shaking, rain")
    strata, rain = make_strata(recipe, terrain, rupture), make_rain(recipe, frame, terrain.height_m)
    shaking = make_shaking(recipe, frame, rupture, terrain.slope_deg)
    _report("landslides")
    fault_m = 1000 * coarse_field(frame.grid, NODES_M, rupture.trace_distance_km).at(frame.grid)
    causes = Causes(strata, pga_g=shaking.pga_g, rain_mm=rain.total_mm, fault_m=fault_m)
    probability = failure_probability(recipe, terrain, causes)
    # The landslides of the old scars: other ones on the same slopes.
    share = (1 - ROCK_SHARE) * recipe.hardness.bare_share
    other = {"seed": int(recipe.random("scars").integers(2**32)), "landslide_share": share}
    slides, scars = (place_landslides(each, terrain, probability) for each in (recipe, recipe.model_copy(update=other)))
    _report("maps")
    write_dem(folder / "dem.tif", recipe, terrain)
    write_geology(folder / "geology.gpkg", recipe, frame, strata)
    write_gauges(folder / "gauges.csv", recipe, rain)
    nodes = make_shakemap(recipe, shaking)
    write_shakemap(folder / "grid.xml", recipe, shaking, nodes)
    write_faults(folder / "faults.geojson", recipe, rupture)
    write_inventory(folder / "landslides.gpkg", folder / "mapped_area.gpkg", slides, frame)
    scenes = {}
    for date, baseline in _BASELINES.items():
        sun = {f"sun_{name}": angle for name, angle in sun_over(frame, SCENE_TIMES[date])._asdict().items()}
        scenes[date] = Acquisition(sensed=SCENE_TIMES[date], tile=frame.tile, baseline=baseline, **sun)
    fixed = {"version": coslide.__version__, "time": EVENT_TIME, "ages": AGES, "fault": SEISMOGENIC, "credit": CREDIT}
    levels = levels_g(shaking, nodes)
    text = render("event.toml", recipe=recipe, rupture=rupture, scenes=scenes, levels_g=levels, **fixed)
    (folder / "event.toml").write_text(text, encoding="utf-8")
    _report("land cover")
    slid, scarred = (table.geometry.to_numpy() for table in (slides, scars))
    covers = make_covers(recipe, terrain, strata=strata, slides=slid, scars=scarred)
    for (date, seen), cover in zip(scenes.items(), (covers.pre, covers.post), strict=True):
        _report("scene before" if date == "pre" else "scene after")
        bands = render_scene(recipe, terrain, strata=strata, cover=cover, date=date, offset_dn=seen.offset_dn)
        write_safe(folder, bands, seen, frame.scene)
    report_progress("simulate", len(_STEPS), len(_STEPS))
    fields = {"height_m": terrain.height_m, "slope_deg": terrain.slope_deg, "pga_g": shaking.pga_g}
    truth = _truth(frame, strata=strata, slides=slid, fields={**fields, "rain_mm": rain.total_mm})
    return {"magnitude": rupture.magnitude, **truth, "changed_share": covers.shares}


def _report(step: str) -> None:
    report_progress(f"simulate: {step}", _STEPS.index(step), len(_STEPS))


def _truth(frame: Frame, *, strata: Codes, slides: Polygons, fields: dict[str, Floats]) -> dict[str, Any]:
    """Collect what is true of an event, for the record: counts, shares of the scene, and ranges in it."""
    slides = slides[shapely.intersects(slides, frame.scene_box)]
    slid_m2 = shapely.area(shapely.intersection(slides, frame.scene_box)).sum()
    inner = strata[frame.inner]
    found = {name: np.percentile(values[frame.inner], [0, 50, 100]).round(3) for name, values in fields.items()}
    return {
        "landslides": len(slides),
        "landslide_share": float(slid_m2 / frame.scene_box.area),
        "share_below_1104_m2": float((shapely.area(slides) < SMALL_M2).mean()),
        "strata_share": {age: float((inner == number).mean()) for number, age in enumerate(AGES, start=1)},
        "ranges": {name: dict(zip(_RANGE, each.tolist(), strict=True)) for name, each in found.items()},
    }
