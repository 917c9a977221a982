"""A model bundle: the weights of a network and all that is needed to apply it, as safetensors and JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from safetensors.torch import save_file
from torch import nn

import coslide
from coslide import networks
from coslide.config.records import StrictModel, first_problem, read_record, require
from coslide.cube.band import Band, optional_groups
from coslide.errors import InputError, first_line
from coslide.evaluation.scores import NetworkDiagnostics, SampleScores, Scores, SplitScores
from coslide.io.atomic import Marker, whole_output, write_json
from coslide.io.paths import file_exists, folder_exists
from coslide.labels import NO_CLASS
from coslide.mapping.adaptation import Adaptation
from coslide.mapping.card import Card
from coslide.mapping.weights import in_half, read_tensors, require_tensors
from coslide.networks.cgblock import fuse
from coslide.networks.precision import mixed_precision, one_thread
from coslide.samples.encode import Encoder, Encoding, Normalisation
from coslide.samples.footprint import TrainingFootprint

CITATION = "Yang et al. 2023, Remote Sens. 15, 977, doi:10.3390/rs15040977"
WEIGHTS, METADATA = "weights.safetensors", "model.json"
SHIPPED = Path(coslide.__file__).parent / "models"
"""Where the models lie that come with coslide, each in a folder of its name."""

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
BUNDLE = Marker(METADATA, "bundle_format")
MOST_MEMBERS = 1000


class Channel(StrictModel):
    """A band that a model is fed, how it is fed, and its normalisation; in its own light, that is of each scene."""

    band: Band
    encoding: Encoding
    offset: float = Field(ge=-1e12, le=1e12)
    scale: float = Field(ge=1e-12, le=1e12)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        measured = not self.band.classes
        kinds = {"continuous": measured, "light": measured, "circular": self.band.kind == "circular"}
        fits = kinds.get(self.encoding, bool(self.band.classes))
        require(fits, f"{self.band.name}: found the encoding {self.encoding}, which does not go with it")
        require(self.band.classes < NO_CLASS, f"{self.band.name}: found {self.band.classes} classes, expected fewer")
        return self


class ModelMetadata(StrictModel):
    """All that a bundle holds of its model beside the weights; written as ``model.json``.

    Attributes
    ----------
    network, options, channels, flags
        The network to create, the bands that it is fed, in this order, and the sources whose presence is an input of
        its own (`coslide.samples.encode.Encoder`).
    optional_bands
        Names of bands that the model was trained to do without: a cube may lack them.
    members
        How many networks the model is made of, trained on the same split from other first weights; its probability is
        the mean of theirs.
    tta
        Whether the probability is the mean over eight orientations of each window (`coslide map` may say otherwise).
    tile, pixel_size_m
        Side of a training tile in pixels, and pixel size.
    threshold, temperature
        From which probability on a pixel is landslide (`threshold_of` the validation set, or of each scene alone), and
        what the logit of the map is divided by before.
    events, footprints, events_without_location, split
        Names of the events it was trained on, where, those of them that have no known location, and how they were
        split.
    simulated
        Names of those of them that are simulated (`coslide simulate`).
    settings
        The training settings.
    vital_signs
        What each member has learned (`coslide.mapping.diagnostics`).
    samples
        Scores of the paper's protocol, where the model was trained by it (`pipeline.training_data.sample_scores`).
    scores
        Of the model on held-out pixels, with the split they belong to; empty until it was scored.
    adapted
        From which model and on what it was adapted, where it was (`coslide adapt`).
    card
        What a model that comes with coslide tells of itself; None for others.
    credits
        Whom the data of these events are from, and their terms.
    coslide_version, licence, citation
        What wrote the bundle, the terms of the weights, and whom to cite.
    """

    bundle_format: Literal[5] = 5
    network: str
    options: dict[str, bool | int | float | str | list[int]]
    channels: list[Channel] = Field(min_length=1)
    flags: list[str] = Field(default_factory=list)
    optional_bands: list[str] = Field(default_factory=list)
    members: int = Field(default=1, ge=1, le=MOST_MEMBERS)
    tta: bool = False
    tile: int = Field(ge=1, le=networks.LARGEST_OPTION)
    pixel_size_m: float = Field(gt=0)
    threshold: float = Field(default=0.5, gt=0, le=1)
    threshold_of: Literal["validation", "scene"] = "validation"
    temperature: float = Field(default=1.0, ge=1e-6, le=1e6)
    events: list[str]
    simulated: list[str] = Field(default_factory=list)
    footprints: list[TrainingFootprint]
    events_without_location: list[str] = Field(default_factory=list)
    split: dict[str, Any]
    settings: dict[str, Any]
    credits: list[str] = Field(default_factory=list)
    vital_signs: list[NetworkDiagnostics] = Field(default_factory=list)
    samples: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    adapted: Adaptation | None = None
    card: Card | None = None
    coslide_version: str = coslide.__version__
    licence: str = "Apache-2.0"
    citation: str = CITATION

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, value in self.options.items():
            numbers = value if isinstance(value, list) else [value]
            within = len(numbers) <= networks.LARGEST_OPTION and all(
                isinstance(one, str) or abs(one) <= networks.LARGEST_OPTION for one in numbers
            )
            require(within, f"options.{name}: found more than {networks.LARGEST_OPTION}, which no network has")
        names = [channel.band.name for channel in self.channels]
        require(len(set(names)) == len(names), f"channels: found a band twice in {', '.join(names)}")
        unknown = set(self.flags) - optional_groups(self.bands).keys()
        try:
            SplitScores.model_validate({"scheme": "all", "leak_fraction": 0.0, "scored_pixels": 0, **self.split})
            if self.samples:
                SampleScores.model_validate(self.samples)
        except ValidationError as error:
            raise ValueError(f"split or samples: {first_problem(error)}") from None
        require(not unknown, f"flags: found {', '.join(sorted(unknown))}, expected sources of optional bands")
        return self

    @property
    def bands(self) -> tuple[Band, ...]:
        """List the bands that the model is fed."""
        return tuple(channel.band for channel in self.channels)

    @property
    def name(self) -> str:
        """Give the name of a model that comes with coslide; empty for others."""
        return self.card.name if self.card else ""

    @property
    def learned(self) -> dict[str, Any]:
        """Pick what `metrics.json` repeats: ``vital_signs`` and, if there are any, ``samples``."""
        return self.model_dump(include={"vital_signs", "samples"} if self.samples else {"vital_signs"})

    @property
    def encoder(self) -> Encoder:
        """Tell how bands become the inputs of the network."""
        offset, scale = np.array([(channel.offset, channel.scale) for channel in self.channels], dtype=np.float32).T
        encodings = tuple(channel.encoding for channel in self.channels)
        return Encoder(self.bands, encodings, tuple(self.flags), Normalisation(offset, scale))


@dataclass(frozen=True)
class Model:
    """The trained networks of a model, in evaluation mode, and its metadata: one network, or several members."""

    networks: tuple[nn.Module, ...]
    metadata: ModelMetadata

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


def channels_of(encoder: Encoder) -> list[Channel]:
    """List the channels of an encoder, as the metadata of a model has them."""
    offsets, scales = (part.tolist() for part in encoder.normalisation)
    return [
        Channel(band=band, encoding=how, offset=offset, scale=scale)
        for band, how, offset, scale in zip(encoder.bands, encoder.encodings, offsets, scales, strict=True)
    ]


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


def load_metadata(folder: Path) -> ModelMetadata:
    """Read the metadata of a bundle; its weights are not read.

    Raises
    ------
    InputError
        If the folder is no bundle, or its metadata has an unknown or missing key.
    """
    if not file_exists(folder / METADATA):
        expected = "expected a bundle, or a name that coslide models lists"
        raise InputError(f"{folder}: is no model (it has no {METADATA}); {expected}")
    return read_record(folder / METADATA, ModelMetadata, advice="if another version wrote it, train again")
