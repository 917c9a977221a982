"""A model in the form that other programs run (ONNX), checked against the network that it was made from."""

import importlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.io.paths import require_regular_file
from coslide.mapping.model import Predict, load_metadata, load_model, member_files, require_numbers

FILE = "model.onnx"
PARITY = 1e-4  # that probabilities may differ by


def export_onnx(folder: Path | str) -> tuple[list[Path], float]:
    """Write the ONNX form of a model into its bundle, and measure how far its probability is off at most.

    There is a file for each member. It takes encoded tiles of the training's size, float32 (tile, input, row, col),
    any number of them, and gives logits (tile, 2, row, col). Encoding, threshold and temperature stay in
    ``model.json``.

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
    inputs, tile = len(model.metadata.encoder.names), model.metadata.tile
    x = torch.randn(3, inputs, tile, tile, generator=torch.Generator().manual_seed(0))
    tiles = x.numpy()
    paths, apart = [folder / name for name in member_files(FILE, model.metadata)], 0.0
    for path, network, expected in zip(paths, model.networks, model.predictors(), strict=True):
        content = _exported(network, x[:2])
        predict = _predictor(content, inputs, tile)
        apart = max(apart, *(float(np.abs(predict(part) - expected(part)).max()) for part in (tiles, tiles[:1])))
        if not apart <= PARITY:
            raise ValueError(f"{path}: ONNX Runtime differs from the network by {apart:g}, expected at most {PARITY:g}")
        with whole_output(path) as part:
            part.write_bytes(content)
    return paths, apart


def onnx_predictors(folder: Path) -> list[Predict]:
    """Make for each member the function from encoded tiles (tile, input, row, col) to landslide probability.

    Raises
    ------
    InputError
        If the bundle has no ONNX form, it cannot be read, or ONNX Runtime is not installed.
    """
    _require_onnx()
    predictors, metadata = [], load_metadata(folder)
    for path in (folder / name for name in member_files(FILE, metadata)):
        require_regular_file(path)
        try:
            predictors.append(_predictor(path.read_bytes(), len(metadata.encoder.names), metadata.tile))
        except OSError:
            raise InputError(f"{folder}: has no {path.name}; coslide export makes one") from None
        except Exception as error:  # noqa: BLE001 - the runtime has a class of its own for each thing wrong with a file
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: cannot be read ({reason}); coslide export makes it again") from None
    return predictors


def _exported(network: nn.Module, x: torch.Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        batch = ({0: torch.export.Dim("batch", min=1, max=4096)},)
        program: Any = torch.onnx.export(network, (x,), dynamo=True, dynamic_shapes=batch, verbose=False)
        program.save(file)
    return file.getvalue()


def _predictor(content: bytes, inputs: int, tile: int) -> Predict:
    import onnxruntime

    # From memory: a file could name others, whose place it would choose.
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as the network itself: several call at once
    session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    ends = [(end.type, end.shape[1:]) for end in (*session.get_inputs(), *session.get_outputs())]
    expected = [("tensor(float)", [bands, tile, tile]) for bands in (inputs, 2)]
    if ends != expected:
        raise ValueError(f"takes and gives {ends}, expected {expected}")
    name = session.get_inputs()[0].name

    def predict(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (logits,) = session.run(None, {name: np.ascontiguousarray(tiles)})
        except Exception as error:  # noqa: BLE001 - as above, where the file is read
            reason = str(error).splitlines()[0]
            raise InputError(f"the ONNX form cannot be run ({reason}); coslide export makes it again") from None
        found = np.asarray(expit(logits[:, 1] - logits[:, 0]), dtype=np.float32)  # softmax of two classes
        return require_numbers(found)

    return predict


def _require_onnx() -> None:
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; expected: pip install 'coslide[onnx]'") from None
