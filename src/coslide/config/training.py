"""How a network is trained: every number that may be set, with the paper's as defaults (Yang et al. 2023, Table 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from coslide.config.fields import Encoding, LayerNames, Precision
from coslide.config.recipes import RECIPES
from coslide.config.records import StrictModel, first_problem, require, require_file
from coslide.errors import InputError

ClassMap = Literal["stratum_class", "aspect_class", "pga_class", "fault_distance_class"]


class InputSettings(StrictModel):
    """Which bands of the cube the network is fed, and how."""

    indices: Literal["all", "a", "b", "c", "d"] | Annotated[list[str], Field(min_length=1)] = "d"
    """`all` indices of the cube, a set of the paper's Table 6 (d is Table 2 whole, 30 bands), or a list of names:
    `reflectance_post` for all of its bands, `reflectance_post_B4` for one."""
    encoding: dict[ClassMap, Literal["continuous", "ordinal", "onehot", "circular"]] = Field(default_factory=dict)
    """How class maps are fed, by name: `ordinal` as the paper stacks them and where nothing is given, `onehot`,
    `circular` (aspect), or `continuous` (the PGA or the distance behind the classes)."""
    flags: bool = False
    """An input for each source that an event may lack, 1 where it has a value and 0 elsewhere."""
    bands: Literal["common", "all"] = "common"
    """Of several events: the bands that all of them have, or all, those that an event lacks as nodata."""
    normalise: Literal["global", "event"] = "global"
    """Reflectance by its mean and deviation over all training pixels, or each `event` by its own light and haze (the
    logarithm of how far it is above the event's dark level, in medians); other bands always by the former."""


class SplitSettings(StrictModel):
    """Which part of the events is held out, and how."""

    scheme: Literal["blocks", "paper", "paper-random", "regions", "events"] = "blocks"
    """`blocks`, `regions` or whole `events` are held out; `paper` and `paper-random` are the published protocol, whose
    overlapping samples leak into training."""
    regions: Path | None = None
    """Polygons to hold out, with `regions`; a column `part` may set `train`, `validation` or `test`."""
    regions_layer: LayerNames | None = None
    """Layer of them, or list of layers, in a file with several."""
    regions_encoding: Encoding | None = None
    """Encoding of their text, such as `"GBK"`; by default what their file states."""
    test_side: Literal["north", "south", "east", "west"] = "east"
    """Side of the area that is held out with `regions` where no polygons are given."""
    block_windows: int = Field(default=4, ge=1, le=10**6)
    """Side of a block in windows: about tile + (block_windows - 1) * stride pixels."""
    test_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Share of the blocks, tiles or rows that is held out."""
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training blocks that chooses weights, threshold and temperature instead."""
    guard_px: int = Field(default=0, ge=0, le=10**6)
    """Width of the guard beside held-out pixels, whose labels are neither trained on nor scored."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the keys go together."""
        require_file(self, "regions", "regions_layer", "regions_encoding")

    @property
    def by_samples(self) -> bool:
        """Tell whether the paper's overlapping samples are split, and not pixels."""
        return self.scheme in {"paper", "paper-random"}


class SamplingSettings(StrictModel):
    """Which windows of the training pixels the network is fed."""

    tile: int = Field(default=128, ge=16, le=4096)
    """Side of a tile in pixels."""
    stride: int = Field(default=96, ge=1, le=4096)
    """Step between tiles in pixels."""
    places: Literal["tiles", "random"] = "tiles"
    """The same tiles in every epoch, or windows of their size at random places."""
    select: Literal["positive", "prevalence"] = "positive"
    """Tiles with more landslide than `positive_share` (Eq. 27), or all as they come."""
    positive_share: float = Field(default=0.01, ge=0, lt=1)
    """The ratio of Eq. 27."""
    balance: Literal["pixels", "events"] = "pixels"
    """At random places, as many windows of each event as it has training pixels, or of all events alike."""
    landslide_windows: float = Field(default=0.0, ge=0, le=1)
    """At random places, share of the windows that are drawn around a landslide, which lies anywhere in them."""
    shade: float = Field(default=0.0, ge=0, le=1)
    """Background darker than this teaches nothing: what slid there, nobody saw. In medians of the event above its dark
    level after the event; needs `inputs.normalise = "event"`."""


class LossSettings(StrictModel):
    """Class-balanced focal loss (`coslide.training.loss`)."""

    gamma: float = Field(default=0.5, ge=0, le=100)
    """Focusing exponent."""
    eta: float = Field(default=0.999, ge=0, lt=1)
    """`eta` of the effective number of pixels of a class."""
    scope: Literal["batch", "image"] = "image"
    """What the pixels of a class are counted over."""
    reduction: Literal["sum", "mean"] = "sum"
    """Sum over the pixels of an image (Eq. 26), or mean over those of a batch."""
    normalise: bool = False
    """Scale the class weights to sum to 2."""


class OptimiserSettings(StrictModel):
    """How the weights are updated, for how long, and which are kept."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` (weight decay is part of the gradient), `adamw` (decoupled) or `sgd` (part of the gradient too)."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """With `sgd`, the share of the last direction that is added to the gradient; the rate of now multiplies the sum."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1000)
    """Largest learning rate."""
    weight_decay: float = Field(default=7e-4, ge=0, le=1000)
    """Weight decay."""
    decay: Literal["all", "weights"] = "all"
    """All parameters decay, or the weights of convolutions and matrices only."""
    schedule: Literal["poly", "cosine"] = "poly"
    """How the learning rate falls."""
    poly_power: float = Field(default=0.9, ge=0, le=1000)
    """Power of `poly`: (1 - step / steps) ** poly_power."""
    warmup_steps: int = Field(default=0, ge=0, le=10**9)
    """Steps over which the learning rate rises in a line first."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the moving average of the weights, which is kept; 0 for none."""
    batch: int = Field(default=4, ge=1, le=10**6)
    """Samples of a step, over all devices together."""
    epochs: int | None = Field(default=70, ge=1, le=10**6)
    """Passes over the tiles, or over as many windows at random places as would cover the training pixels once."""
    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Length in steps instead, rounded up to full epochs: at random places an epoch is then a twentieth of it."""
    keep: Literal["last", "best"] = "last"
    """Last weights, or those of the best F1 on validation."""
    patience: int = Field(default=0, ge=0, le=10**6)
    """Epochs without a better F1 on validation after which training ends; 0 for never."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_default_length(cls, values: Any) -> Any:
        in_steps = isinstance(values, dict) and values.get("steps") is not None
        return {"epochs": None, **values} if in_steps else values

    def model_post_init(self, context: Any, /) -> None:
        """Check that the length is given once, and momentum to an optimiser that has it."""
        found = f"epochs: found {self.epochs} with steps = {self.steps}"
        require((self.epochs is None) != (self.steps is None), f"{found}, expected one of them")
        found = f"momentum: found {self.momentum:g} with name = '{self.name}'"
        require(self.name == "sgd" or not self.momentum, f"{found}, expected name = 'sgd' with it")

    @property
    def chooses(self) -> str:
        """The setting by which the validation set decides when training ends or what is kept; empty if none does."""
        return "keep = 'best'" if self.keep == "best" else "patience" if self.patience else ""


class AugmentSettings(StrictModel):
    """How samples are varied."""

    flips: bool = False
    """Mirror and turn each tile at random, and its aspect classes with it."""
    jitter_gain: float = Field(default=0.0, ge=0, le=1000)
    """Standard deviation of the gain of each date, in standardised units."""
    jitter_offset: float = Field(default=0.0, ge=0, le=1000)
    """Standard deviation of the offset of each date, in standardised units."""
    jitter_band: float = Field(default=0.0, ge=0, le=1000)
    """Standard deviation of the offset of each band, in standardised units."""
    band_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Chance that a tile is fed without a source that another event may lack."""
    zoom: float = Field(default=0.0, ge=0, le=1)
    """Largest change of the scale of a window at random places, as a logarithm: 0.2 shows landslides at 0.82 to 1.22 of
    their size."""
    relight: float = Field(default=0.0, ge=0, le=1)
    """Chance that another sun, sky and haze are laid over a tile, with the shade of a made-up terrain; needs
    `inputs.normalise = "event"`."""


class RuntimeSettings(StrictModel):
    """What computes a training."""

    precision: Precision = "32"
    """`auto` is bfloat16 where a device has it, on a CPU where a timed trial is faster."""
    devices: int = Field(default=1, ge=1, le=1024)
    """GPUs, or processes of a CPU, that share each batch."""


class TrainingSettings(StrictModel):
    """All settings of a training, in groups; the defaults are the paper's.

    Examples
    --------
    >>> settings = TrainingSettings(recipe="modern", optimiser={"steps": 100})
    >>> settings.optimiser.steps, settings.loss.reduction, settings.sampling.tile
    (100, 'mean', 128)
    """

    recipe: Literal["paper", "modern", "transfer"] = "paper"
    """`paper` (as published), `modern` (the best found for the rest of an event; minutes on two cores) or `transfer`
    (for events that nobody has labelled)."""
    network: str = "egcn"
    """Network to train (`coslide networks` lists them)."""
    width: int | None = Field(default=None, ge=8, le=8192)
    """Channels at full resolution; None is the original's on a GPU and a quarter on a CPU."""
    options: dict[str, bool | int | float | str | list[int]] = Field(default_factory=dict)
    """Other options of the network by name, such as `k = 16` for EGCN."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the split, the first weights and the order of the tiles."""
    members: int = Field(default=1, ge=1, le=1000)
    """Networks to train, from seeds on, and average; the map then has their standard deviation."""
    tta: bool = False
    """Average eight orientations of each window wherever the model is applied: to choose its threshold, to score and to
    map."""
    threshold: Literal["validation", "scene"] = "validation"
    """From which probability on a pixel is landslide: that with the best F1 on the validation set, or on each scene the
    one whose F1 its own probabilities lead to expect highest, which needs no label of it."""
    inputs: InputSettings = InputSettings()
    split: SplitSettings = SplitSettings()
    sampling: SamplingSettings = SamplingSettings()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    augment: AugmentSettings = AugmentSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for group, model in _GROUPS.items():
            for key in values.keys() & model.model_fields.keys() - cls.model_fields.keys():
                raise ValueError(f"{key}: unknown key; expected {group}.{key}")
        recipe = values.get("recipe", "paper")
        return _grouped(_over(_dotted(RECIPES[recipe]), _dotted(values))) if recipe in RECIPES else values

    def model_post_init(self, context: Any, /) -> None:
        """Check that the settings go together."""
        split, optimiser, devices = self.split, self.optimiser, self.runtime.devices
        stride, tile, places = self.sampling.stride, self.sampling.tile, self.sampling.places
        expected = f"expected at most the tile, {tile}: pixels between tiles would be lost"
        require(stride <= tile, f"sampling.stride: found {stride}, {expected}")
        if places == "random":
            fits = self.sampling.select == "prevalence"
            require(fits, "sampling.places = 'random' has no tiles to select; expected select = 'prevalence'")
            fits, scheme = not split.by_samples, split.scheme
            require(fits, f"split.scheme = '{scheme}' splits tiles; expected sampling.places = 'tiles'")
        of_random = {
            "sampling.balance": self.sampling.balance == "events",
            "sampling.landslide_windows": self.sampling.landslide_windows > 0,
            "augment.zoom": self.augment.zoom > 0,
        }
        for key, given in of_random.items():
            expected = "expected sampling.places = 'random' with it"
            require(places == "random" or not given, f"{key}: found it with sampling.places = '{places}', {expected}")
        for key, value in {"augment.relight": self.augment.relight, "sampling.shade": self.sampling.shade}.items():
            fits = self.inputs.normalise == "event" or not value
            require(fits, f"{key}: found {value:g}, expected inputs.normalise = 'event' with it")
        for key, odd in {"tta": self.tta, "threshold": self.threshold == "scene"}.items():
            value = getattr(self, key)
            why = "the samples of the paper's protocol are scored one by one"
            require(not (split.by_samples and odd), f"{key}: found {value} with split.scheme = '{split.scheme}': {why}")
        fits = not (split.by_samples and split.guard_px)
        expected = f"expected 0 with {split.scheme}"
        require(fits, f"split.guard_px: samples that overlap have no border to guard; {expected}")
        expected = f"expected a multiple of {devices} devices"
        require(optimiser.batch % devices == 0, f"optimiser.batch: found {optimiser.batch}, {expected}")
        validated = split.validation_fraction or (split.scheme == "regions" and split.regions)
        expected = "expected split.validation_fraction above 0"
        require(validated or not optimiser.chooses, f"optimiser.{optimiser.chooses} needs a validation set; {expected}")

    def dotted(self) -> dict[str, Any]:
        """List all settings by their dotted names, as JSON holds them."""
        return _dotted(self.model_dump(mode="json"))

    def changed(self, values: Mapping[str, Any] | None = None, /, **groups: Any) -> Self:
        """Replace some of these settings, in a copy; a value of None is not given and changes nothing.

        A new recipe replaces every value that is as the old recipe sets it; values given beside it win over it.

        Parameters
        ----------
        values, **groups
            By dotted name, such as ``{"loss.gamma": 1}``, or by name, groups as dictionaries.

        Raises
        ------
        InputError
            If a name is unknown or a value is not allowed.

        Examples
        --------
        >>> settings = TrainingSettings(seed=3).changed({"optimiser.steps": 5}, recipe="modern")
        >>> settings.seed, settings.sampling.places, settings.optimiser.steps
        (3, 'random', 5)
        """
        given = {key: value for key, value in {**_dotted(groups), **(values or {})}.items() if value is not None}
        kept = _dotted(self.model_dump(exclude_unset=True))
        if "recipe" in given:
            old = _dotted(RECIPES[self.recipe])
            kept = {key: value for key, value in kept.items() if value != old.get(key)}
        try:
            return type(self).model_validate(_grouped(_over(kept, given)))
        except ValidationError as error:
            raise InputError(f"training settings: {first_problem(error)}") from None


def describe_settings() -> dict[str, str]:
    """Describe all settings by their dotted names: what each is, and its default.

    Examples
    --------
    >>> describe_settings()["sampling.stride"]
    'Step between tiles in pixels; default 96.'
    """
    groups = {group: model.model_fields for group, model in _GROUPS.items()}
    found = {}
    for name, field in _dotted({**TrainingSettings.model_fields, **groups}).items():
        text = " ".join((field.description or "").rstrip(".").replace("`", "").split())
        found[name] = f"{text}; default {field.get_default(call_default_factory=True)}."
    return found


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the values of groups by dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        grouped = key in _GROUPS and isinstance(inner, Mapping)
        found |= {f"{key}.{name}": each for name, each in inner.items()} if grouped else {key: inner}
    return found


def _over(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what is given over values of dotted names: a length in epochs replaces one in steps, and the other way."""
    lengths = {"optimiser.epochs", "optimiser.steps"}
    replaced = lengths if any(given.get(name) is not None for name in lengths) else set()
    return {**{name: value for name, value in values.items() if name not in replaced}, **given}


def _grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put values of dotted names into their groups."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".", maxsplit=3)  # deeper than any
        inner = found
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise InputError(f"training settings: {group}: found {inner!r}, expected {key}")
        inner[name] = value
    return found


_GROUPS = {name: type(value) for name, value in TrainingSettings.model_construct() if isinstance(value, StrictModel)}
