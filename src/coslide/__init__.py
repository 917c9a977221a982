"""Coseismic landslide maps and inventories by EGCN (Yang et al. 2023, doi:10.3390/rs15040977).

The steps of the command line, each in one line:

- `read_event`, `build_cube`, `open_cube`: from an event file to the index cube;
- `train`, `load_model`: from a cube to a model and back from disk;
- `map_scene`, `evaluate`, `run`: from a model to a map, from a map to scores, and the whole chain;
- `networks`: the networks by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coslide import networks
    from coslide.chain.evaluate import evaluate
    from coslide.chain.map import map_scene
    from coslide.chain.run import run
    from coslide.chain.train import train
    from coslide.event import read_event
    from coslide.indices.build import build_cube
    from coslide.indices.cube import open_cube
    from coslide.mapping.bundle import load_model

__version__ = "0.1.0"
__all__ = [
    "build_cube",
    "evaluate",
    "load_model",
    "map_scene",
    "networks",
    "open_cube",
    "read_event",
    "run",
    "train",
]

# Imported on first use: `import coslide` alone stays quick and loads neither torch nor GDAL.
_HOMES = {
    "build_cube": "coslide.indices.build",
    "evaluate": "coslide.chain.evaluate",
    "load_model": "coslide.mapping.bundle",
    "map_scene": "coslide.chain.map",
    "open_cube": "coslide.indices.cube",
    "read_event": "coslide.event",
    "run": "coslide.chain.run",
    "train": "coslide.chain.train",
}


def __getattr__(name: str) -> Any:
    if name == "networks":
        return import_module("coslide.networks")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'coslide' has no attribute {name!r}")
