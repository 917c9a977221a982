"""Coseismic landslide maps and inventories by EGCN (Yang et al. 2023, doi:10.3390/rs15040977).

- `fetch_event`, `plan_event`: from the id of an earthquake to its inputs and event file, with `FetchOptions` and
  `Services`; `watch_earthquakes`: which can be mapped today;
- `read_event`, `build_cube`, `open_cube`: from an event file to the index cube (`Cube.plot` draws it,
  `Cube.to_xarray` gives an xarray Dataset);
- `train`, `load_model`: from cubes to a model, scored on held-out pixels, and back from disk;
- `predict`, `predict_scene`: from a model to probabilities, and to map files; `read_probability_map` (with `plot` and
  `explore`) and `read_inventory` (a GeoDataFrame) read them;
- `study_factor`: each case of a factor, such as eight networks, trained with several seeds and compared;
- `study_transfer`: each of several events once as the one that nobody has seen;
- `adapt`: a model for a new event, of which a few tiles are labelled;
- `evaluate`, `write_report`: from a map to scores, and to one page;
- `sample`, `assess`: how good a map is where there is no inventory, from places that people label;
- `run`, `simulate_event`: the whole pipeline, and a synthetic earthquake to try it on;
- `networks`: the networks by name; `progress_to`: where progress is reported. Messages go to the logger ``coslide``;
- `Event`, `Cube`, `Model`, `ProbabilityMap`, `Scores`, `Assessment`, `Study`: what these give; a console and a notebook
  show what it is about;
- `Recipe`, `TrainingSettings`, `InferenceOptions`, `StudyDesign`: how to simulate, train, map and study.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coslide.environment import prepare_environment

if TYPE_CHECKING:
    from coslide import networks as networks
    from coslide.config.event import Event as Event
    from coslide.config.event import read_event as read_event
    from coslide.config.fetching import FetchOptions as FetchOptions
    from coslide.config.services import Services as Services
    from coslide.config.training import TrainingSettings as TrainingSettings
    from coslide.cube.cube import Cube as Cube
    from coslide.cube.cube import open_cube as open_cube
    from coslide.evaluation.assessment import Assessment as Assessment
    from coslide.evaluation.scores import Scores as Scores
    from coslide.evaluation.study import Study as Study
    from coslide.mapping.inventory import read_inventory as read_inventory
    from coslide.mapping.model import Model as Model
    from coslide.mapping.model import load_model as load_model
    from coslide.mapping.probability_map import ProbabilityMap as ProbabilityMap
    from coslide.mapping.probability_map import read_probability_map as read_probability_map
    from coslide.pipeline.adapt import adapt as adapt
    from coslide.pipeline.assess import assess as assess
    from coslide.pipeline.build import build_cube as build_cube
    from coslide.pipeline.evaluate import evaluate as evaluate
    from coslide.pipeline.factor import StudyDesign as StudyDesign
    from coslide.pipeline.factor import study_factor as study_factor
    from coslide.pipeline.fetch import fetch_event as fetch_event
    from coslide.pipeline.fetch import plan_event as plan_event
    from coslide.pipeline.predict import predict as predict
    from coslide.pipeline.predict import predict_scene as predict_scene
    from coslide.pipeline.report import write_report as write_report
    from coslide.pipeline.run import run as run
    from coslide.pipeline.sample import sample as sample
    from coslide.pipeline.scene_predictor import InferenceOptions as InferenceOptions
    from coslide.pipeline.train import train as train
    from coslide.pipeline.transfer import study_transfer as study_transfer
    from coslide.pipeline.watch import watch_earthquakes as watch_earthquakes
    from coslide.progress import progress_to as progress_to
    from coslide.report import drawing as drawing
    from coslide.simulate.recipe import Recipe as Recipe
    from coslide.simulate.write import simulate_event as simulate_event

__version__ = "0.1.0"
prepare_environment()
# Imported on first use: `import coslide` alone stays quick and loads neither torch nor GDAL.
_HOMES = {
    "Assessment": "coslide.evaluation.assessment",
    "Cube": "coslide.cube.cube",
    "Event": "coslide.config.event",
    "FetchOptions": "coslide.config.fetching",
    "InferenceOptions": "coslide.pipeline.scene_predictor",
    "Model": "coslide.mapping.model",
    "ProbabilityMap": "coslide.mapping.probability_map",
    "Recipe": "coslide.simulate.recipe",
    "Scores": "coslide.evaluation.scores",
    "Services": "coslide.config.services",
    "Study": "coslide.evaluation.study",
    "StudyDesign": "coslide.pipeline.factor",
    "TrainingSettings": "coslide.config.training",
    "adapt": "coslide.pipeline.adapt",
    "assess": "coslide.pipeline.assess",
    "build_cube": "coslide.pipeline.build",
    "evaluate": "coslide.pipeline.evaluate",
    "fetch_event": "coslide.pipeline.fetch",
    "load_model": "coslide.mapping.model",
    "open_cube": "coslide.cube.cube",
    "plan_event": "coslide.pipeline.fetch",
    "predict": "coslide.pipeline.predict",
    "predict_scene": "coslide.pipeline.predict",
    "progress_to": "coslide.progress",
    "read_event": "coslide.config.event",
    "read_inventory": "coslide.mapping.inventory",
    "read_probability_map": "coslide.mapping.probability_map",
    "run": "coslide.pipeline.run",
    "sample": "coslide.pipeline.sample",
    "simulate_event": "coslide.simulate.write",
    "study_factor": "coslide.pipeline.factor",
    "study_transfer": "coslide.pipeline.transfer",
    "train": "coslide.pipeline.train",
    "watch_earthquakes": "coslide.pipeline.watch",
    "write_report": "coslide.pipeline.report",
}
# `drawing` is for methods such as `Cube.plot`: the one arrow back from what is drawn to the report.
_MODULES = {"networks": "coslide.networks", "drawing": "coslide.report.drawing"}
__all__ = list(_HOMES | {"networks": _MODULES["networks"]})


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'coslide' has no attribute {name!r}")
