"""A program that uses each public name, for the type checker: it is read, never run."""

from pathlib import Path
from typing import assert_type

import geopandas as gpd
import xarray as xr
from folium import Map
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import coslide


def explore(event_file: Path) -> coslide.Cube:
    event: coslide.Event = coslide.read_event(event_file)
    index: Path = coslide.build_cube(event, "index.zarr")
    cube = coslide.open_cube(index)
    assert_type(cube, coslide.Cube)
    assert_type(cube.plot(), Axes)
    assert_type(cube.plot("pre", ax=cube.plot()), Axes)
    assert_type(cube.plot("pre", "slope", ["reflectance_post_B8"] * 3), list[Axes])
    assert_type(cube.to_xarray(), xr.Dataset)
    return cube


def learn(index: Path, event: coslide.Event) -> coslide.Scores:
    settings: coslide.TrainingSettings = event.training.changed({"optimiser.steps": 60})
    scores = coslide.train(index, "run", settings)
    assert_type(scores, coslide.Scores)
    assert_type(scores.plot("reliability"), Figure)
    adapted = coslide.adapt("run/model", index, "labels.gpkg", "adapted", area="area.gpkg")
    assert_type(adapted, coslide.Model)
    network = coslide.networks.create("egcn", bands=4, width=8)
    assert_type(network, nn.Module)
    return scores


def map_it(cube: coslide.Cube, model: str) -> coslide.ProbabilityMap:
    options = coslide.InferenceOptions(tta=True)
    assert_type(coslide.predict(coslide.load_model(model), cube, options), xr.DataArray)
    folder: Path = coslide.predict_scene(model, "index.zarr", "map", options=options)
    found = coslide.read_probability_map(folder)
    assert_type(found, coslide.ProbabilityMap)
    assert_type(found.plot(), Axes)
    assert_type(found.explore(coslide.read_inventory(folder), tiles=None), Map)
    return found


def judge(folder: Path) -> coslide.Assessment:
    with coslide.progress_to(lambda _name, _done, _total: None):
        drawn: Path = coslide.sample(folder, n=100)
    assessment = coslide.assess(folder, drawn / "sample.gpkg", other="other")
    assert_type(assessment, coslide.Assessment)
    assert_type(coslide.evaluate(folder, "landslides.gpkg"), coslide.Scores)
    assert_type(coslide.write_report(folder), Path)
    return assessment


def compare(indices: list[str]) -> list[coslide.Study]:
    design = coslide.StudyDesign(seeds=2)
    factor = coslide.study_factor("networks", indices[0], "study", design=design)
    return [factor, coslide.study_transfer(indices, "transfer")]


def start() -> Path:
    services = coslide.Services(stac_url="catalog/catalog.json")
    plan = coslide.plan_event("us2000h8ty", coslide.FetchOptions(min_clear=0.5), services)
    lines: list[str] = [line.chosen for line in coslide.fetch_event("us2000h8ty", "event", services=services).lines]
    assert len(lines) == len(plan.lines)
    ready: list[str] = [one.id for one in coslide.watch_earthquakes("watch") if one.state == "ready"]
    assert ready
    event_file = coslide.simulate_event("event", coslide.Recipe(size_km=3))
    return coslide.run(event_file, "run")


def table() -> gpd.GeoDataFrame:
    return coslide.read_inventory("run")
