"""Coseismic landslide maps and inventories by EGCN (Yang et al. 2023, doi:10.3390/rs15040977).

- `read_event`, `build_cube`, `open_cube`: from an event file to the index cube (`Cube.to_xarray`: an xarray Dataset);
- `train`, `load_model`: from cubes to a model, scored on held-out pixels, and back from disk;
- `predict`, `predict_scene`, `read_inventory`: from a model to probabilities, map files and polygons (a GeoDataFrame);
- `study_factor`: each case of a factor, such as eight networks, trained with several seeds and compared;
- `study_transfer`: each of several events once as the one that nobody has seen;
- `adapt`: a model for a new event, of which a few tiles are labelled;
- `evaluate`, `write_report`: from a map to scores, and to one page;
- `sample`, `assess`: how good a map is where there is no inventory, from places that people label;
- `run`, `simulate_event`: the whole pipeline, and a synthetic earthquake to try it on;
- `networks`: the networks by name; `progress_to`: where progress is reported. Messages go to the logger ``coslide``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coslide.environment import prepare_environment

if TYPE_CHECKING:
    from coslide import networks as networks
    from coslide.config.event import read_event as read_event
    from coslide.cube.cube import open_cube as open_cube
    from coslide.mapping.inventory import read_inventory as read_inventory
    from coslide.mapping.model import load_model as load_model
    from coslide.pipeline.adapt import adapt as adapt
    from coslide.pipeline.assess import assess as assess
    from coslide.pipeline.build import build_cube as build_cube
    from coslide.pipeline.evaluate import evaluate as evaluate
    from coslide.pipeline.factor import StudyDesign as StudyDesign
    from coslide.pipeline.factor import study_factor as study_factor
    from coslide.pipeline.predict import predict as predict
    from coslide.pipeline.predict import predict_scene as predict_scene
    from coslide.pipeline.report import write_report as write_report
    from coslide.pipeline.run import run as run
    from coslide.pipeline.sample import sample as sample
    from coslide.pipeline.train import train as train
    from coslide.pipeline.transfer import study_transfer as study_transfer
    from coslide.progress import progress_to as progress_to
    from coslide.simulate.write import simulate_event as simulate_event

__version__ = "0.1.0"
prepare_environment()
# Imported on first use: `import coslide` alone stays quick and loads neither torch nor GDAL.
_HOMES = {
    "adapt": "coslide.pipeline.adapt",
    "assess": "coslide.pipeline.assess",
    "build_cube": "coslide.pipeline.build",
    "evaluate": "coslide.pipeline.evaluate",
    "load_model": "coslide.mapping.model",
    "networks": "coslide.networks",
    "open_cube": "coslide.cube.cube",
    "predict": "coslide.pipeline.predict",
    "predict_scene": "coslide.pipeline.predict",
    "progress_to": "coslide.progress",
    "read_event": "coslide.config.event",
    "read_inventory": "coslide.mapping.inventory",
    "run": "coslide.pipeline.run",
    "sample": "coslide.pipeline.sample",
    "simulate_event": "coslide.simulate.write",
    "StudyDesign": "coslide.pipeline.factor",
    "study_factor": "coslide.pipeline.factor",
    "study_transfer": "coslide.pipeline.transfer",
    "train": "coslide.pipeline.train",
    "write_report": "coslide.pipeline.report",
}


__all__ = list(_HOMES)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "networks":
        return import_module("coslide.networks")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'coslide' has no attribute {name!r}")
