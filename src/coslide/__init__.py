"""Coseismic landslide maps and inventories by EGCN (Yang et al. 2023, doi:10.3390/rs15040977).

The steps of the command line, each in one line:

- `read_event`, `build_cube`, `open_cube`: from an event file to the index cube;
- `train`, `load_model`: from a cube to a model and back from disk;
- `predict_scene`, `evaluate`, `run`: from a model to a map, from a map to scores, and the whole chain;
- `networks`: the networks by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coslide import networks
    from coslide.config.event import read_event
    from coslide.cube.cube import open_cube
    from coslide.mapping.model import load_model
    from coslide.pipeline.build import build_cube
    from coslide.pipeline.evaluate import evaluate
    from coslide.pipeline.predict import predict_scene
    from coslide.pipeline.run import run
    from coslide.pipeline.train import train

__version__ = "0.1.0"
__all__ = [
    "build_cube",
    "evaluate",
    "load_model",
    "networks",
    "open_cube",
    "predict_scene",
    "read_event",
    "run",
    "train",
]

# Imported on first use: `import coslide` alone stays quick and loads neither torch nor GDAL.
_HOMES = {
    "build_cube": "coslide.pipeline.build",
    "evaluate": "coslide.pipeline.evaluate",
    "load_model": "coslide.mapping.model",
    "predict_scene": "coslide.pipeline.predict",
    "open_cube": "coslide.cube.cube",
    "read_event": "coslide.config.event",
    "run": "coslide.pipeline.run",
    "train": "coslide.pipeline.train",
}


def __getattr__(name: str) -> Any:
    if name == "networks":
        return import_module("coslide.networks")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'coslide' has no attribute {name!r}")
