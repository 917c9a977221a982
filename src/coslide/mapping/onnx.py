"""A model in the form that other programs run (ONNX), checked against the network that it was made from."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from coslide.errors import InputError
from coslide.files import whole_output
from coslide.mapping.bundle import load_model

FILE = "model.onnx"
PARITY = 1e-4  # that probabilities may differ by


def export_onnx(folder: Path | str) -> tuple[Path, float]:
    """Return the path of the ONNX form of a bundle, left inside it, and how far its probability is off at most.

    It takes normalised tiles of the training's size, float32 (tile, band, row, col), any number of them, and gives
    logits (tile, 2, row, col). Normalisation, threshold and temperature stay in ``model.json``.

    Parameters
    ----------
    folder
        A bundle.

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
    bands, tile = len(model.card.channels), model.card.tile
    x = torch.randn(3, bands, tile, tile, generator=torch.Generator().manual_seed(0))
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        batch = ({0: torch.export.Dim("batch", min=1, max=4096)},)
        program: Any = torch.onnx.export(model.network, (x[:2],), dynamo=True, dynamic_shapes=batch, verbose=False)
        program.save(file)
    predict, expected = _predictor(file.getvalue()), model.predictor()
    apart = max(float(np.abs(predict(part) - expected(part)).max()) for part in (x.numpy(), x[:1].numpy()))
    if not apart <= PARITY:
        raise ValueError(f"{folder}: ONNX Runtime differs from the network by {apart:g}, expected at most {PARITY:g}")
    with whole_output(folder / FILE) as part:
        part.write_bytes(file.getvalue())
    return folder / FILE, apart


def onnx_predictor(folder: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function from normalised tiles (tile, band, row, col) to landslide probability (tile, row, col).

    Raises
    ------
    InputError
        If the bundle has no ONNX form, it cannot be read, or ONNX Runtime is not installed.
    """
    _require_onnx()
    try:
        return _predictor((folder / FILE).read_bytes())
    except OSError:
        raise InputError(f"{folder}: has no {FILE}; coslide export makes one") from None
    except Exception as error:  # noqa: BLE001 - the runtime has a class of its own for each thing wrong with a file
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / FILE}: cannot be read ({reason}); coslide export makes it again") from None


def _predictor(content: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    import onnxruntime

    # From memory: a file could name others, whose place it would choose.
    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(None, {name: np.ascontiguousarray(tiles)})
        return np.asarray(expit(logits[:, 1] - logits[:, 0]), dtype=np.float32)  # softmax of two classes

    return predict


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; expected: pip install 'coslide[onnx]'") from None
