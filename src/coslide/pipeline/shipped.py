"""The models that come with coslide: what there is, what each tells of itself, and which fits a scene best."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.io.paths import file_exists
from coslide.mapping.inputs import bands_in_words, inputs_mismatch, missing_bands
from coslide.mapping.metadata import METADATA, ModelMetadata, load_metadata
from coslide.mapping.model import SHIPPED
from coslide.report.page import render

CARD = "CARD.md"


class ShippedModel(NamedTuple):
    """A model that comes with coslide: its folder and its metadata."""

    folder: Path
    metadata: ModelMetadata

    @property
    def name(self) -> str:
        """Give the name by which it is called for: that of its folder."""
        return self.folder.name

    @property
    def size_mb(self) -> float:
        """Sum the sizes of its files [MB]."""
        return sum(file.stat().st_size for file in self.folder.iterdir()) / 1e6

    @property
    def unseen_f1(self) -> float | None:
        """Average F1 over the events that were unseen; None where there is none."""
        scores = [one.f1 for one in self.metadata.card.unseen] if self.metadata.card else []
        return statistics.fmean(scores) if scores else None

    def entry(self) -> dict[str, Any]:
        """List what `coslide models --json` tells of it."""
        metadata = self.metadata
        card = metadata.card.model_dump(mode="json", exclude={"name"}) if metadata.card else {}
        own = metadata.model_dump(
            mode="json",
            include={"network", "members", "pixel_size_m", "optional_bands", "events", "credits", "licence"},
        )
        return {
            "name": self.name,
            **own,
            "bands": [band.name for band in metadata.bands],
            "needs": bands_in_words(metadata.bands, metadata.optional_bands),
            "trained_on": trained_on(metadata),
            "size_mb": round(self.size_mb, 2),
            "folder": str(self.folder),
            **card,
        }


def shipped_models() -> list[ShippedModel]:
    """List the models that come with coslide by their names.

    Raises
    ------
    InputError
        If one of them is damaged.
    """
    return [ShippedModel(one, load_metadata(one)) for one in sorted(SHIPPED.iterdir()) if file_exists(one / METADATA)]


def shipped_model(name: str) -> ShippedModel:
    """Find a model that comes with coslide by its name.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    models = {model.name: model for model in shipped_models()}
    if name not in models:
        raise InputError(f"{name}: is no model that comes with coslide; expected {', '.join(models)}")
    return models[name]


def model_rows(models: Sequence[ShippedModel]) -> list[tuple[str, ...]]:
    """Write what there is of models as text: a header, and a row each."""
    rows: list[tuple[str, ...]] = [
        ("name", "network", "trained on", "bands", "unseen events", "size", "weights"),
    ]
    for one in models:
        metadata = one.metadata
        needs = bands_in_words(metadata.bands, metadata.optional_bands)
        members = f" x {metadata.members}" if metadata.members > 1 else ""
        network, size = metadata.network + members, f"{one.size_mb:.1f} MB"
        rows.append((one.name, network, trained_on(metadata), needs, _scores_in_words(one), size, metadata.licence))
    return rows


def trained_on(metadata: ModelMetadata) -> Literal["real", "simulated", "real and simulated"]:
    """Tell what events a model was trained on."""
    if not metadata.simulated:
        return "real"
    return "simulated" if set(metadata.simulated) == set(metadata.events) else "real and simulated"


def card_of(metadata: ModelMetadata) -> str:
    """Write the card of a model as Markdown: all of it stands in its metadata.

    Parameters
    ----------
    metadata
        Of a model with a `coslide.mapping.card.Card`.
    """
    defaults = TrainingSettings().dotted()
    changed = {name: value for name, value in metadata.settings.items() if value != defaults.get(name)}
    needs = bands_in_words(metadata.bands, metadata.optional_bands)
    return render("card.md.j2", model=metadata, needs=needs, trained_on=trained_on(metadata), changed=changed)


class Choice(NamedTuple):
    """The shipped model that was chosen, and why, in a line."""

    folder: Path
    why: str


def choose_model(bands: Sequence[Band], pixel_size_m: float, name: str) -> Choice:
    """Choose the shipped model that fits a cube best.

    Of those whose bands the cube has, with pixels of the same size: one that was trained on real events before one that
    was not, then the one with the best F1 on unseen events, then the one that sees most bands.

    Parameters
    ----------
    bands, pixel_size_m
        What the cube has that is to be mapped.
    name
        What it is called in an error.

    Raises
    ------
    InputError
        If none fits.
    """
    models, given = shipped_models(), [band for band in bands if band.role in {"index", "diagnostic"}]
    problems = {one.name: inputs_mismatch(one.metadata, given, pixel_size_m) for one in models}
    fitting = [one for one in models if not problems[one.name]]
    if not fitting:
        each = "; ".join(f"{model}: {problem}" for model, problem in problems.items())
        raise InputError(f"{name}: fits no model that comes with coslide ({each}); name another, or train one")

    def merit(one: ShippedModel) -> tuple[bool, float, int]:
        seen = len(one.metadata.bands) - len(missing_bands(one.metadata, given))
        return trained_on(one.metadata) != "simulated", one.unseen_f1 or 0.0, seen

    best = max(fitting, key=merit)
    lacks = set(missing_bands(best.metadata, given))
    sees = bands_in_words([band for band in best.metadata.bands if band.name not in lacks])
    scores = _scores_in_words(best)
    why = f"{len(fitting)} fit {name}; it was trained on {trained_on(best.metadata)} events, and sees {sees}"
    return Choice(best.folder, f"model {best.name}: of those that come with coslide {why}; on unseen events: {scores}")


def require_own_folder(folder: Path) -> None:
    """Require that a bundle, into which something is to be written, is none of those that come with coslide.

    Raises
    ------
    InputError
        If it is one.
    """
    if folder.resolve().is_relative_to(SHIPPED.resolve()):
        advice = f"copy it first (cp -r '{folder}' .) and name the copy"
        raise InputError(f"{folder}: comes with coslide, and nothing is written into it; {advice}")


def _scores_in_words(one: ShippedModel) -> str:
    """Write the scores on unseen events as text, as in ``F1 0.47, AP 0.61 (3 events)``."""
    if one.unseen_f1 is None or one.metadata.card is None:
        return "not measured"
    unseen = one.metadata.card.unseen
    precisions = [score.average_precision for score in unseen if score.average_precision is not None]
    text = f"F1 {one.unseen_f1:.2f}" + (f", AP {statistics.fmean(precisions):.2f}" if precisions else "")
    return f"{text} ({unseen[0].event if len(unseen) == 1 else f'mean of {len(unseen)} events'})"
