"""Factors of a study: what is varied between its trainings. Those of Yang et al. (2023), and files with others."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from coslide.config.records import StrictModel, first_problem, require
from coslide.config.toml import read_toml
from coslide.config.training import TrainingSettings
from coslide.errors import InputError

_LONGEST = 80  # of a name


class PaperScores(StrictModel):
    """Scores of a table of Yang et al. (2023, doi:10.3390/rs15040977): for orientation, as of another event."""

    oa: float
    """Overall accuracy."""
    miou: float
    """What the paper calls mIoU: OA / (2 - OA)."""
    kappa: float
    """Cohen's kappa."""
    f1: float
    """F1 of the landslide class."""


class Factor(StrictModel):
    """What a study varies, case by case; all else is the same in all of its trainings."""

    name: str
    """Of the study."""
    title: str
    """The same in words."""
    case_is: str = "case"
    """What a case is, for the head of a table."""
    cases: dict[str, dict[str, Any]] = Field(min_length=2)
    """Each case, and the settings that it has instead of the study's, as in the `[training]` table of an event file."""
    table: str = ""
    """Where the paper has this study."""
    paper: dict[str, PaperScores] = Field(default_factory=dict)
    """What the paper reports of a case."""

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        texts = [("name", self.name), ("title", self.title), ("case_is", self.case_is)]
        for key, text in [*texts, *(("cases", label) for label in self.cases)]:
            fits = 0 < len(text.strip()) <= _LONGEST and text.isprintable()
            require(fits, f"{key}: found {text[: _LONGEST + 20]!r}, expected a line of 1 to {_LONGEST} characters")
        require(self.name != "transfer", "name: found transfer, which is another study")
        for label, case in self.cases.items():
            require("seed" not in case, f"cases: found seed in {label}, expected none: a study has seeds of its own")
        return self

    def settings_of(self, label: str, settings: TrainingSettings) -> TrainingSettings:
        """Change `settings` as a case has it; options of the network are laid over those that are there.

        Raises
        ------
        InputError
            If the case has an unknown setting, or one that does not go with the others.

        Examples
        --------
        >>> own = FACTORS["neighbours"].settings_of("k = 16", TrainingSettings(options={"heads": 4}))
        >>> own.options
        {'heads': 4, 'k': 16}
        """
        case = self.cases[label]
        options = case.get("options", {})
        if isinstance(options, dict):  # otherwise the settings refuse it
            options = {**settings.options, **options}
        try:
            return settings.changed(**{**case, "options": options})
        except InputError as error:
            raise InputError(f"{label}: {error}") from None


def read_factor(path: Path) -> Factor:
    """Read what a study varies from a TOML file: `name`, `title`, `case_is`, and a table for each of `cases`.

    Raises
    ------
    InputError
        If it cannot be read, has an unknown key or fewer than two cases, or a case has a setting that does not exist.
    """
    try:
        factor = Factor.model_validate(read_toml(path))
        for label in factor.cases:
            factor.settings_of(label, TrainingSettings())
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
    return factor


_NETWORKS = {
    "EGCN": "egcn",
    "U-Net": "unet",
    "AcmixUnet": "acmix-unet",
    "FCN-PP": "fcn-pp",
    "DeepUNet": "deepunet",
    "CDCNN (reconstruction)": "cdcnn",
    "DP-FCN (reconstruction)": "dp-fcn",
    "LandsNet (reconstruction)": "landsnet",
}
_ATTENTION = {"GNN (EGCN)": "egcn", "patch MSA": "egcn-msa", "ESA": "egcn-esa"}
_INDICES = {
    "(a) reflectance": "a",
    "(b) + slope, curvature, aspect": "b",
    "(c) + NDVI": "c",
    "(d) all": "d",
}
_SELECT_FACTORS = (0.2, 0.4, 0.6, 0.8, 1.0)

# Tables 6 and 7: OA, mIoU, Kappa, F1. The row of Table 7 for k = 32 stands for select_factor = 0.8 too.
_EGCN = PaperScores(oa=0.99854, miou=0.99709, kappa=0.97321, f1=0.97396)
_K32 = PaperScores(oa=0.99862, miou=0.99725, kappa=0.97476, f1=0.97547)
_SELECTION = (
    PaperScores(oa=0.99841, miou=0.99683, kappa=0.97138, f1=0.97150),
    PaperScores(oa=0.99858, miou=0.99716, kappa=0.97352, f1=0.97425),
    PaperScores(oa=0.99854, miou=0.99709, kappa=0.97344, f1=0.97418),
    _K32,
    PaperScores(oa=0.99827, miou=0.99654, kappa=0.96889, f1=0.96978),
)

FACTORS = {
    one.name: one
    for one in (
        Factor(
            name="networks",
            title="EGCN and the seven networks that it was compared with",
            case_is="network",
            cases={label: {"network": name} for label, name in _NETWORKS.items()},
            table="Figure 11",
            paper={"EGCN": _EGCN},
        ),
        Factor(
            name="indices",
            title="sets of recognition indices",
            case_is="indices",
            cases={label: {"inputs": {"indices": name}} for label, name in _INDICES.items()},
            table="Table 6",
            paper={
                "(a) reflectance": PaperScores(oa=0.99551, miou=0.99107, kappa=0.92492, f1=0.92723),
                "(b) + slope, curvature, aspect": PaperScores(oa=0.99378, miou=0.98766, kappa=0.90061, f1=0.90382),
                "(c) + NDVI": PaperScores(oa=0.99617, miou=0.99239, kappa=0.93478, f1=0.93675),
                "(d) all": _EGCN,
            },
        ),
        Factor(
            name="attention",
            title="what stands beside the convolution of a block",
            case_is="second branch",
            cases={label: {"network": name} for label, name in _ATTENTION.items()},
            table="Table 7 (b)",
            paper={
                "GNN (EGCN)": _EGCN,
                "patch MSA": PaperScores(oa=0.99830, miou=0.99661, kappa=0.96875, f1=0.96962),
                "ESA": PaperScores(oa=0.99829, miou=0.99660, kappa=0.96932, f1=0.97019),
            },
        ),
        Factor(
            name="neighbours",
            title="neighbours of a node in the graph",
            case_is="neighbours",
            cases={f"k = {k}": {"options": {"k": k}} for k in (8, 16, 32)},
            table="Table 7 (c)",
            paper={
                "k = 8": _EGCN,
                "k = 16": PaperScores(oa=0.99853, miou=0.99707, kappa=0.97322, f1=0.97397),
                "k = 32": _K32,
            },
        ),
        Factor(
            name="selection",
            title="share of 32 neighbours that eic keeps",
            case_is="select_factor",
            cases={f"{share}": {"options": {"k": 32, "select_factor": share}} for share in _SELECT_FACTORS},
            table="Table 7 (d)",
            paper={f"{share}": scores for share, scores in zip(_SELECT_FACTORS, _SELECTION, strict=True)},
        ),
    )
}
"""The studies of the paper, by name."""
