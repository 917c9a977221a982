"""A model in the form that other programs run (ONNX), checked against the network that it was made from."""

import importlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit
from torch import Tensor, nn

from coslide.errors import InputError, first_line
from coslide.io.atomic import whole_output
from coslide.io.paths import require_regular_file
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import Predict, load_model, member_files, require_numbers
from coslide.networks.cgblock import fuse

FILE = "model.onnx"
PARITY = 1e-4  # that probabilities may differ by
_SAME_MODEL = 1e-3  # the same on another machine, by which a form that is damaged or of another model is known
_OPSET = 17  # ONNX Runtime runs it since 1.12, of 2022
_DEEPNESS_WHITE = 255.0  # it divides every value by this, of whatever type, before it standardises
_OVERLAP_PERCENT = 25  # coslide map steps by 3/4 of a window

_log = logging.getLogger(__name__)


class _LandslideProbability(nn.Module):
    """A network of two classes as one of landslide probability, (tile, 1, row, col), that takes NaN as missing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = fuse(network)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the probability of encoded tiles, (tile, input, row, col)."""
        logits = self.network(torch.where(x.isnan(), 0.0, x))
        return torch.sigmoid(logits[:, 1:] - logits[:, :1])  # softmax of two classes


def export_onnx(folder: Path | str) -> tuple[list[Path], float]:
    """Write the ONNX form of a model into its bundle, and measure how far its probability is off at most.

    There is a file for each member. It takes encoded tiles of the training's size, float32 (tile, input, row, col),
    any number of them, NaN where a value is missing, and gives the probability of landslide before the temperature,
    float32 (tile, 1, row, col). Encoding and temperature stay in ``model.json``; where QGIS's Deepness can do what
    they say, the file has the metadata that it reads (`deepness_metadata`), else a line says why not.

    Parameters
    ----------
    folder
        A bundle.

    Returns
    -------
    tuple of list of Path and float
        The files, and the largest difference.

    Raises
    ------
    InputError
        If the folder is no bundle, the packages are missing, or the disk is full.
    ValueError
        If ONNX Runtime gives other probabilities than the network, by more than 1e-4.
    """
    folder = Path(folder)
    model = load_model(folder)
    _require_onnx()
    facts = {"inputs": json.dumps(list(model.metadata.encoder.names))}
    if reason := beyond_deepness(model.metadata):
        _log.info(f"{folder / FILE}: not for QGIS's Deepness, which cannot {reason}; coslide map --onnx runs it")
    else:
        facts |= deepness_metadata(model.metadata)
    inputs, tile = len(model.metadata.encoder.names), model.metadata.tile
    tiles = _made_up_tiles(inputs, tile)
    paths, apart = [folder / name for name in member_files(FILE, model.metadata)], 0.0
    for path, network, expected in zip(paths, model.networks, model.predictors(), strict=True):
        content = _exported(network, torch.from_numpy(tiles[:2]), facts)
        predict = _predictor(content, inputs, tile, str(path))
        apart = max(apart, *(_apart(predict, expected, part) for part in (tiles, tiles[:1])))
        if not apart <= PARITY:
            raise ValueError(f"{path}: ONNX Runtime differs from the network by {apart:g}, expected at most {PARITY:g}")
        with whole_output(path) as part:
            part.write_bytes(content)
    return paths, apart


def beyond_deepness(metadata: ModelMetadata) -> str:
    """Say what of a model QGIS's plugin Deepness cannot do; empty where it can do all.

    Parameters
    ----------
    metadata
        Of the model.
    """
    spread = [channel.band.name for channel in metadata.channels if channel.encoding in ("onehot", "circular")]
    if metadata.members > 1:
        return f"average the {metadata.members} members of the model"
    if metadata.tta:
        return "average eight orientations of each window"
    if metadata.threshold_of == "scene":
        return "choose a threshold for each scene"
    if metadata.encoder.light:
        return "see reflectance in the light of each scene"
    if metadata.flags:
        return f"feed the presence of a source as an input (has_{metadata.flags[0]})"
    return f"encode a class map ({spread[0]})" if spread else ""


def deepness_metadata(metadata: ModelMetadata) -> dict[str, str]:
    """Write what QGIS's plugin Deepness needs, so that it recognises the landslides that the model does.

    Deepness divides a value by 255, whatever its type, subtracts a mean and divides by a deviation. Given those of the
    channels over 255, it makes of a raster of the model's bands, in their order and units, what the encoder does. It
    keeps pixels from a threshold on, which is the model's before its temperature.

    Parameters
    ----------
    metadata
        Of a model for which `beyond_deepness` is empty.
    """
    channels = metadata.channels
    found = {
        "model_type": "Segmentor",
        "class_names": {"0": "landslide"},
        "resolution": 100 * metadata.pixel_size_m,  # in cm
        "tile_size": metadata.tile,  # what it reads
        "tiles_size": metadata.tile,  # what its documentation says
        "tiles_overlap": _OVERLAP_PERCENT,
        "standardization_mean": [channel.offset / _DEEPNESS_WHITE for channel in channels],
        "standardization_std": [channel.scale / _DEEPNESS_WHITE for channel in channels],
        "seg_thresh": float(expit(metadata.temperature * logit(metadata.threshold))),
    }
    return {key: json.dumps(value) for key, value in found.items()}


def onnx_predictors(folder: Path) -> list[Predict]:
    """Make for each member the function from encoded tiles (tile, input, row, col) to landslide probability.

    Raises
    ------
    InputError
        If the bundle has no ONNX form, it cannot be read or gives other probabilities than the network, or ONNX Runtime
        is not installed.
    """
    _require_onnx()
    predictors, model = [], load_model(folder)
    inputs, tile = len(model.metadata.encoder.names), model.metadata.tile
    for name, expected in zip(member_files(FILE, model.metadata), model.predictors(), strict=True):
        path = folder / name
        require_regular_file(path)
        try:
            predict = _predictor(path.read_bytes(), inputs, tile, str(path))
            if not (apart := _apart(predict, expected, _made_up_tiles(inputs, tile)[:1])) <= _SAME_MODEL:
                raise ValueError(f"its probabilities differ from the network's by up to {apart:.2g}")
            predictors.append(predict)
        except OSError:
            raise InputError(f"{folder}: has no {path.name}; coslide export makes one") from None
        except Exception as error:  # noqa: BLE001 - the runtime has a class of its own for each thing wrong with a file
            reason = first_line(error)
            raise InputError(f"{path}: cannot be used ({reason}); coslide export makes it again") from None
    return predictors


def _made_up_tiles(inputs: int, side_px: int) -> NDArray[np.float32]:
    return torch.randn(3, inputs, side_px, side_px, generator=torch.Generator().manual_seed(0)).numpy()


def _apart(one: Predict, other: Predict, tiles: NDArray[np.float32]) -> float:
    """Measure the largest difference of two probabilities."""
    return float(np.abs(one(tiles) - other(tiles)).max())


def _exported(network: nn.Module, x: Tensor, facts: dict[str, str]) -> bytes:
    """Record the network as it runs; torch's other exporter, of programs, takes ten times as long for a graph."""
    import onnx

    file: Any = io.BytesIO()
    batch = {"tiles": {0: "tile"}, "probability": {0: "tile"}}
    names: Any = {"input_names": ["tiles"], "output_names": ["probability"], "dynamic_axes": batch}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # sizes are constants in it, as they should be
        torch.onnx.export(_LandslideProbability(network), (x,), file, dynamo=False, opset_version=_OPSET, **names)
    program = onnx.load_from_string(file.getvalue())
    sides = program.graph.output[0].type.tensor_type.shape.dim[2:]
    for side, length in zip(sides, x.shape[2:], strict=True):  # where the exporter lost sight of them
        side.dim_value = length
    onnx.helper.set_model_props(program, facts)
    return bytes(program.SerializeToString())


def _predictor(content: bytes, inputs: int, tile: int, name: str) -> Predict:
    import onnxruntime

    # From memory: a file could name others, whose place it would choose.
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as the network itself: several call at once
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    ends = [(end.type, end.shape[1:]) for end in (*session.get_inputs(), *session.get_outputs())]
    expected = [("tensor(float)", [bands, tile, tile]) for bands in (inputs, 1)]
    if ends != expected:
        raise ValueError(f"takes and gives {ends}, expected {expected}")
    of_tiles = session.get_inputs()[0].name

    def predict(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (probability,) = session.run(None, {of_tiles: np.ascontiguousarray(tiles)})
        except Exception as error:  # noqa: BLE001 - as above, where the file is read
            reason = first_line(error)
            raise InputError(f"{name}: cannot be run ({reason}); coslide export makes it again") from None
        return require_numbers(np.asarray(probability[:, 0], dtype=np.float32), name)

    return predict


def _require_onnx() -> None:
    try:
        for name in ("onnx", "onnxruntime"):
            importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; expected: pip install 'coslide[onnx]'") from None
