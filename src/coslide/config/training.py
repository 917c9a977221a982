"""How a network is trained and a scene is mapped: every number that may be set, with the paper's as defaults."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from coslide.errors import InputError

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "modern": {
        "indices": "all",
        "sampling": "prevalence",
        "places": "random",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "average": 0.99,
        "loss_reduction": "mean",
        "loss_normalise": True,
        "balance_scope": "batch",
        "jitter_gain": 0.2,
        "jitter_offset": 0.2,
        "jitter_band": 0.1,
        "band_dropout": 0.1,
        "precision": "auto",
    },
}
"""What each recipe changes of the defaults of `TrainingSettings`; `docs/training.md` says why."""


ClassMap = Literal["stratum_class", "aspect_class", "pga_class", "fault_distance_class"]


_GONE = {
    "recipe = 'cpu'": "recipe = 'modern' trains in minutes on a CPU",
    "accumulate": "raise batch, which is computed in parts",
    "warmup_epochs": "use warmup_steps",
}


class StrictModel(BaseModel):
    """What is read from a file: unknown keys, NaN and infinity are refused, and it cannot change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class TrainingSettings(StrictModel):
    """All that a training run can be told; the defaults are the paper's (Yang et al. 2023, Table 3).

    Attributes
    ----------
    recipe
        ``"paper"`` or ``"modern"``: where the numbers that are not given come from (`RECIPES`).
    network
        Name in `coslide.networks.names`.
    width
        Channels at full resolution. None means those of the original on a GPU (64 for EGCN) and a quarter on a CPU.
    indices
        ``"all"``: every index of the cube. ``"a"`` to ``"d"``: the sets of the paper's Table 6
        (`coslide.indices.index_sets`), as far as the cube has them; (d) is Table 2 whole, 30 bands.
    encoding
        How class maps are fed, by name (`coslide.samples.encode.Encoder`): ``"ordinal"``, as the paper stacks them and
        where nothing is said, ``"onehot"``, ``"circular"`` (aspect), or ``"continuous"``: what was measured instead
        (PGA, distance to faults), where the cube has it.
    flags
        An input for each source that an event may lack, which tells where it has a value.
    options
        Other options of the network by name, such as ``{"k": 16}`` for EGCN.
    bands
        Of several events: ``"common"``, the channels that all of them have, or ``"all"``, with what an event lacks fed
        as missing.
    normalise
        ``"global"``: one mean and deviation of each channel over all training ground. ``"event"``: each event, one to
        map too, by those of all its valid cells (no label is involved).
    tile, stride
        Side of a training tile and step between tiles [pixel].
    places, steps
        ``"tiles"``: the network sees the same tiles in every epoch. ``"random"``: windows of the size of a tile at
        random places of the training part, in `steps` batches in all (rounded up to a multiple of a twentieth).
    sampling
        ``"positive"``: only tiles whose share of landslide cells is above `positive_share` train (Eq. 27).
        ``"prevalence"``: all of them, with and without landslides as the scene has them.
    positive_share
        The ratio of Eq. 27, 0 to 1.
    split
        ``"blocks"``: whole spatial blocks are held out. ``"regions"``: the polygons of `regions`, or one side of the
        area, are held out. ``"events"``: whole events are. ``"paper"``: the samples of the paper's protocol, those that
        overlap in the same set as far as halving allows; ``"paper-random"``: the same samples at random. Neighbouring
        samples overlap, so with both of them held-out pixels leak into training.
    regions, test_side
        For ``"regions"``: a vector file of held-out polygons (a column ``part`` may say ``train``, ``validation`` or
        ``test`` of each); without one, the side ("north", "south", "east", "west") that `test_fraction` is cut from.
    block_windows
        Side of a block, in windows: a block is about ``tile + (block_windows - 1) * stride`` cells wide.
    test_fraction
        Share of the blocks (or tiles, rows, columns) that is held out, between 0 and 1.
    validation_fraction
        Share of the training blocks (or tiles) that chooses weights, threshold and temperature instead; 0 for none,
        as in the paper.
    guard_px
        Training cells within this distance of ground that is held out belong to no part [cells]: training may see their
        bands, never their labels, and they are not scored.
    seed
        Decides the split, the initial weights and the order of the tiles.
    members
        Networks that are trained on the same split, each from its own first weights and order of the tiles (seeds from
        `seed` on). The map is their mean, and says how far they lie apart.
    epochs, batch
        Passes over fixed tiles; samples of a step, over all devices together.
    optimiser, learning_rate, weight_decay, decay
        ``"adam"`` (weight decay is coupled: part of the gradient) or ``"adamw"`` (decoupled); which parameters decay:
        ``"all"``, or ``"weights"`` of convolutions and matrices only.
    schedule, poly_power, warmup_steps
        How the rate falls: ``"poly"``, as ``(1 - step / steps) ** poly_power``, or ``"cosine"``; over how many steps it
        rises in a line first.
    average
        Decay of the moving average of the weights per step, 0 to 1; the average is kept. 0 keeps the weights as such.
    focal_gamma, balance_eta, balance_scope, loss_reduction, loss_normalise
        Class-balanced focal loss (`coslide.training.loss`): focusing exponent, eta of the effective number, whether
        classes are counted per ``"image"`` or per ``"batch"``, whether the loss is the ``"sum"`` over the pixels of an
        image (Eq. 26) or the ``"mean"`` over those of a batch, and whether the class weights are scaled to sum to 2.
    augment
        ``"none"`` (the paper says nothing) or ``"flips"``: each tile is mirrored and turned at random, and its aspect
        classes with it.
    jitter_gain, jitter_offset, jitter_band
        Light that varies from sample to sample (`coslide.samples.augment.Jitter`), in standardised units; 0 for none.
    band_dropout
        Chance, for each tile and each source that another event may lack, that the tile is seen without it.
    keep
        ``"last"`` weights, or the ``"best"`` on the validation part (highest F1).
    patience
        Training ends when F1 on the validation part has not risen for so many epochs; 0: never early.
    precision
        ``"32"``, ``"bf16"``, ``"16"`` (GPUs only), or ``"auto"``: bfloat16 where a device computes it, on a CPU where
        a timed trial shows that it is faster.
    devices
        Processes (CPUs) or GPUs that share each batch.
    """

    recipe: Literal["paper", "modern"] = "paper"
    network: str = "egcn"
    width: int | None = Field(default=None, ge=8)
    indices: Literal["all", "a", "b", "c", "d"] = "d"
    encoding: dict[ClassMap, Literal["continuous", "ordinal", "onehot", "circular"]] = Field(default_factory=dict)
    flags: bool = False
    options: dict[str, bool | int | float | str | list[int]] = Field(default_factory=dict)
    bands: Literal["common", "all"] = "common"
    normalise: Literal["global", "event"] = "global"
    tile: int = Field(default=128, ge=16)
    stride: int = Field(default=96, ge=1)
    places: Literal["tiles", "random"] = "tiles"
    steps: int = Field(default=960, ge=1)
    sampling: Literal["positive", "prevalence"] = "positive"
    positive_share: float = Field(default=0.01, ge=0, lt=1)
    split: Literal["blocks", "paper", "paper-random", "regions", "events"] = "blocks"
    regions: Path | None = None
    test_side: Literal["north", "south", "east", "west"] = "east"
    block_windows: int = Field(default=4, ge=1)
    test_fraction: float = Field(default=0.5, gt=0, lt=1)
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)
    guard_px: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    members: int = Field(default=1, ge=1)
    epochs: int = Field(default=70, ge=1)
    batch: int = Field(default=4, ge=1)
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=7e-4, ge=0)
    decay: Literal["all", "weights"] = "all"
    schedule: Literal["poly", "cosine"] = "poly"
    poly_power: float = Field(default=0.9, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    average: float = Field(default=0.0, ge=0, lt=1)
    focal_gamma: float = Field(default=0.5, ge=0)
    balance_eta: float = Field(default=0.999, ge=0, lt=1)
    balance_scope: Literal["batch", "image"] = "image"
    loss_reduction: Literal["sum", "mean"] = "sum"
    loss_normalise: bool = False
    augment: Literal["none", "flips"] = "none"
    jitter_gain: float = Field(default=0.0, ge=0)
    jitter_offset: float = Field(default=0.0, ge=0)
    jitter_band: float = Field(default=0.0, ge=0)
    band_dropout: float = Field(default=0.0, ge=0, lt=1)
    keep: Literal["last", "best"] = "last"
    patience: int = Field(default=0, ge=0)
    precision: Literal["auto", "32", "bf16", "16"] = "32"
    devices: int = Field(default=1, ge=1)

    @property
    def by_samples(self) -> bool:
        """Tell whether the paper's samples are divided, which overlap, and not pixels."""
        return self.split in {"paper", "paper-random"}

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for old, successor in _GONE.items():
            if old in values or old == f"recipe = {values.get('recipe')!r}":
                raise ValueError(f"{old}: is no longer there; {successor}")
        recipe = values.get("recipe", "paper")
        return {**RECIPES.get(recipe, {}), **values} if isinstance(recipe, str) else values

    @model_validator(mode="after")
    def _stride_leaves_no_gap(self) -> Self:
        if self.stride > self.tile:
            raise ValueError(f"stride {self.stride} is larger than the tile {self.tile}: ground between tiles is lost")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.places == "random" and self.sampling == "positive":
            raise ValueError("places = 'random' has no tiles to choose by Eq. 27; expected sampling = 'prevalence'")
        if self.places == "random" and self.by_samples:
            raise ValueError(f"split = '{self.split}' divides tiles; expected places = 'tiles' (recipe 'paper' has it)")
        unused, used = ("epochs", "steps") if self.places == "random" else ("steps", "epochs")
        if getattr(self, unused) != type(self).model_fields[unused].default:
            raise ValueError(f"{unused}: found with places = '{self.places}', whose length is told by {used}")
        if self.batch % self.devices:
            raise ValueError(f"batch {self.batch} cannot be shared by {self.devices} devices; expected a multiple")
        chooses = "keep = 'best'" if self.keep == "best" else "patience" if self.patience else ""
        if chooses and not self.validation_fraction and not (self.split == "regions" and self.regions):
            raise ValueError(f"{chooses} needs a validation part; expected validation_fraction above 0")
        return self

    def changed(self, **values: Any) -> Self:
        """Return these settings with some values replaced; a value of None is not given and changes nothing.

        A new ``recipe`` replaces every value that is as the old recipe sets it; values given beside it win over it.

        Raises
        ------
        InputError
            If a value is not allowed.

        Examples
        --------
        >>> TrainingSettings(seed=3).changed(recipe="modern", steps=5).model_dump(include={"seed", "places", "steps"})
        {'places': 'random', 'steps': 5, 'seed': 3}
        """
        given = {key: value for key, value in values.items() if value is not None}
        kept = self.model_dump(include=self.model_fields_set)
        if "recipe" in given:
            kept = {key: value for key, value in kept.items() if value != RECIPES[self.recipe].get(key)}
        try:
            return type(self).model_validate({**kept, **given})
        except ValidationError as error:
            raise InputError(f"training settings: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """Return the first problem that pydantic found, as ``key: found ..., expected ...`` in one line.

    Parameters
    ----------
    error
        What validation raised.

    Examples
    --------
    >>> try:
    ...     TrainingSettings(epochs=0)
    ... except ValidationError as error:
    ...     first_problem(error)
    'epochs: found 0, expected: input should be greater than or equal to 1'
    """
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"{key}: unknown key"
    elif first["type"] == "missing":
        text = f"{key}: missing, and it is required"
    elif first["type"] == "value_error":
        text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    elif first["type"] == "json_invalid":
        text = "is not valid JSON"
    else:
        message = first["msg"][0].lower() + first["msg"][1:]
        text = f"{key}: found {first['input']!r}, expected: {message}"
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
