"""The metadata of a model: what it is fed, what it was trained on, and by what its map is made; ``model.json``."""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

import coslide
from coslide import networks
from coslide.config.records import StrictModel, first_problem, read_record, require
from coslide.config.sensors import SENTINEL2
from coslide.cube.band import Band, optional_groups
from coslide.errors import InputError
from coslide.evaluation.scores import NetworkDiagnostics, SampleScores, SplitScores
from coslide.io.atomic import Marker
from coslide.io.paths import file_exists
from coslide.labels import NO_CLASS
from coslide.mapping.adaptation import Adaptation
from coslide.mapping.card import Card
from coslide.samples.encode import Encoder, Encoding, Normalisation
from coslide.samples.footprint import TrainingFootprint

CITATION = "Yang et al. 2023, Remote Sens. 15, 977, doi:10.3390/rs15040977"
METADATA = "model.json"
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
    sensors
        What saw the scenes it was trained on, as far as it was recorded; before it was, that was Sentinel-2.
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
    sensors: list[str] = Field(default_factory=lambda: [SENTINEL2])
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


def channels_of(encoder: Encoder) -> list[Channel]:
    """List the channels of an encoder, as the metadata of a model has them."""
    offsets, scales = (part.tolist() for part in encoder.normalisation)
    return [
        Channel(band=band, encoding=how, offset=offset, scale=scale)
        for band, how, offset, scale in zip(encoder.bands, encoder.encodings, offsets, scales, strict=True)
    ]


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
