"""A model bundle: the weights of a network and all that is needed to apply it, as safetensors and JSON."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

import coslide
from coslide import networks
from coslide.display.overview import Overview, Shown
from coslide.errors import InputError, first_line
from coslide.evaluation.scores import Scores
from coslide.io.atomic import whole_output, write_json
from coslide.io.paths import file_exists, folder_exists
from coslide.mapping.metadata import BUNDLE, METADATA, ModelMetadata, load_metadata
from coslide.mapping.weights import in_half, read_tensors, require_tensors
from coslide.networks.cgblock import fuse
from coslide.networks.precision import mixed_precision, one_thread

WEIGHTS = "weights.safetensors"
SHIPPED = Path(coslide.__file__).parent / "models"
"""Where the models lie that come with coslide, each in a folder of its name."""

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, repr=False)
class Model(Shown):
    """The trained networks of a model, in evaluation mode, and its metadata: one network, or several members.

    Attributes
    ----------
    networks
        Of torch, one for each member.
    metadata
        What the model is fed, what it was trained on, and by what its map is made.

    Examples
    --------
    >>> from coslide import load_model
    >>> load_model(bundle)
    <Model 'egcn'>
      network     egcn, 1 member of ... parameters
      input       12 bands: scene before 3, scene after 3, terrain 4, ...
      tile        32 x 32 pixels of 10 m
      threshold   ...
      trained on  Made-up earthquake
    """

    networks: tuple[nn.Module, ...]
    metadata: ModelMetadata

    def overview(self) -> Overview:
        """Say what the model is, what it is fed, and how good it is on what it has not seen."""
        about = self.metadata
        parameters = sum(one.numel() for one in self.networks[0].parameters())
        counts = Counter(band.group or "other" for band in about.bands)
        groups = ", ".join(f"{group.replace('_', ' ')} {count}" for group, count in counts.items())
        lacked = [band.group.replace("_", " ") for band in about.bands if band.name in about.optional_bands]
        chosen = "" if about.threshold_of == "validation" else "; of each scene by itself where it maps"
        simulated = " (simulated)" if set(about.events) <= set(about.simulated) else ""
        pixels = about.scores.get("pixels", {})
        low, high = pixels.get("intervals", {}).get("f1", (None, None))
        spread = "" if low is None else f" (95 %: {low:.2f} to {high:.2f})"
        several = "s" if about.members > 1 else ""
        facts = {
            "network": f"{about.network}, {about.members} member{several} of {parameters:,} parameters",
            "input": f"{len(about.bands)} bands: {groups}",
            "optional": ", ".join(dict.fromkeys(lacked)),
            "tile": f"{about.tile} x {about.tile} pixels of {about.pixel_size_m:g} m",
            "threshold": f"{about.threshold:.3g}{chosen}",
            "trained on": f"{', '.join(about.events)}{simulated}",
            "held out": f"F1 {pixels['f1']:.3f}{spread}" if pixels else "",
            "limits": about.card.limits if about.card else "",
        }
        return Overview(about.name or about.network, facts, {})

    def predictors(self, precision: str = "32", *, name: str = "the model") -> list[Predict]:
        """Make for each member the function from encoded tiles (tile, input, row, col) to landslide probability.

        The probability is float32 (tile, row, col). Networks run on a GPU where there is one; else in one thread of
        torch's, in ``"32"`` or ``"bf16"``: several threads may call at once. `name` is what a line calls the model.
        """
        return [_predictor(network, precision, name) for network in self.networks]


def _predictor(network: nn.Module, precision: str, name: str) -> Predict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fused = fuse(network).to(device)

    @torch.inference_mode()
    def predict(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_thread(), mixed_precision(precision, device.type):
            logits = fused(torch.from_numpy(tiles).to(device))
            return require_numbers(np.asarray(logits.float().softmax(dim=1)[:, 1].cpu()), name)

    return predict


def require_numbers(probability: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Give back a probability if all of it is one, 0 to 1; `name` is what a line calls the model.

    Raises
    ------
    InputError
        If the network gave something else: NaN, as one does whose weights, or inputs, are beyond what it can compute
        with.
    """
    if not ((probability >= 0) & (probability <= 1)).all():
        bad = probability[~((probability >= 0) & (probability <= 1))][0]
        reason = "its weights or normalisation are broken"
        raise InputError(f"{name}: gives {bad:g} as probability, expected 0 to 1: {reason}; train again")
    return probability


def save_model(model: Model, folder: Path, *, half: bool = False) -> Path:
    """Write a model as a bundle, whole or not at all.

    Parameters
    ----------
    model, folder
        The model, and its place.
    half
        Keep its weights in half precision (float16): half as many bytes, and about three digits of each; what that
        changes is told by `coslide.mapping.half_precision`.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    with whole_output(folder, marker=BUNDLE) as part:
        part.mkdir()
        for name, network in zip(member_files(WEIGHTS, model.metadata), model.networks, strict=True):
            state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
            save_file({key: in_half(tensor) if half else tensor for key, tensor in state.items()}, part / name)
        (part / METADATA).write_text(model.metadata.model_dump_json(indent=2), encoding="utf-8")
    return folder


def record_scores(folder: Path, metrics: Scores) -> None:
    """Write the scores of a model into its metadata.

    Parameters
    ----------
    folder
        The bundle.
    metrics
        As `coslide.evaluate` returns them: pixels, calibration and split are kept.

    Raises
    ------
    InputError
        If the folder is no bundle or cannot be written.
    """
    metadata, content = load_metadata(folder), metrics.to_json()
    kept = {key: content[key] for key in ("pixels", "calibration", "split")}
    write_json(folder / METADATA, metadata.model_dump() | {"scores": kept})


def find_model(model: Path | str) -> Path:
    """Find the folder of a model: `model`, or that of the model of this name that comes with coslide.

    A folder on disk wins over a name.
    """
    own = SHIPPED / Path(model).name
    shipped = str(model) == own.name and not folder_exists(Path(model)) and file_exists(own / METADATA)
    return own if shipped else Path(model)


def load_model(folder: Path | str) -> Model:
    """Load the model of a bundle, its networks in evaluation mode on the CPU. Nothing is unpickled.

    Parameters
    ----------
    folder
        The bundle, or the name of a model that comes with coslide.

    Raises
    ------
    InputError
        If the folder is no bundle, its metadata has an unknown or missing key, or weights and network do not fit.

    Examples
    --------
    >>> model = load_model(bundle)
    >>> model.metadata.network, model.metadata.tile, len(model.metadata.bands)
    ('egcn', 32, 12)
    """
    folder = find_model(folder)
    metadata = load_metadata(folder)
    paths = [folder / name for name in member_files(WEIGHTS, metadata)]
    with torch.device("meta"):  # takes no memory, whatever the options claim
        outline = _network_of(metadata, folder)
    for path in paths:
        require_tensors(path, outline.state_dict(), metadata.network)
    loaded = []
    for path in paths:
        network = _network_of(metadata, folder)
        network.load_state_dict(read_tensors(path))
        loaded.append(network.eval())
    return Model(tuple(loaded), metadata)


def _network_of(metadata: ModelMetadata, folder: Path) -> nn.Module:
    options: dict[str, Any] = dict(metadata.options)
    try:
        network = networks.create(metadata.network, len(metadata.encoder.names), **options)
    except (InputError, RuntimeError, ArithmeticError) as error:
        raise InputError(f"{folder / METADATA}: {first_line(error)[:300]}; train again") from None
    multiple = int(getattr(network, "size_multiple", 1))
    if metadata.tile % multiple:
        expected = f"expected a multiple of {multiple} for {metadata.network}"
        raise InputError(f"{folder / METADATA}: tile: found {metadata.tile}, {expected}; train again")
    return network


def member_files(first: str, metadata: ModelMetadata) -> list[str]:
    """Name the files of the members: `first`, and the same with ``-2``, ``-3``, ... before the suffix.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> member_files("model.onnx", SimpleNamespace(members=3))
    ['model.onnx', 'model-2.onnx', 'model-3.onnx']
    """
    path = Path(first)
    return [first, *(f"{path.stem}-{number}{path.suffix}" for number in range(2, metadata.members + 1))]
