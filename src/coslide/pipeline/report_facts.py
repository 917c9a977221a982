"""What a report tells of its data, its model and how to cite them."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import coslide
from coslide.cube.band import REFLECTANCE, Band
from coslide.cube.checks import read_attributions
from coslide.cube.cube import Cube
from coslide.indices.index_sets import missing_indices
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report.page import percent, tex

_DATES = {"pre": "scene before", "post": "scene after"}
_SOURCES = {
    "elevation": "terrain model",
    "stratum_class": "geological map",
    "rainfall": "rain",
    "pga": "shaking",
    "fault_distance": "faults",
    "landslide": "inventory",
}
_INDICES = {
    "reflectance_pre": "reflectance before the earthquake",
    "reflectance_post": "reflectance after it",
    "ndvi_pre": "NDVI before it",
    "ndvi_post": "NDVI after it",
    "stratum_class": "strata of a geological map",
    "mean_curvature": "mean curvature",
    "rainfall": "rain before it",
    "aspect_class": "aspect",
    "pga_class": "shaking",
    "fault_distance_class": "distance to faults",
}
PAPER = """@article{yang2023,
  author  = {Yang, Q. and others},
  title   = {A Novel Deep Learning Method for Automatic Recognition of Coseismic Landslides},
  journal = {Remote Sensing},
  volume  = {15},
  pages   = {977},
  year    = {2023},
  doi     = {10.3390/rs15040977}
}"""


def input_rows(cube: Cube) -> list[tuple[str, str, str, str]]:
    """List what a cube was made from: the source, when, what of it, and its files."""
    rows = []
    for date, words in _DATES.items():
        bands = [band for band in cube.bands if (band.date, band.quantity) == (date, REFLECTANCE)]
        if bands:
            missing = percent(1 - min(band.provenance["valid_share"] for band in bands))
            what = f"{', '.join(band.channel for band in bands)}; {missing} cloud, shadow of clouds or no scene"
            rows.append((words, cube.acquired(date)[:10] or "date not recorded", what, _files(bands)))
    for name, words in _SOURCES.items():
        for band in (band for band in cube.bands if band.name == name):
            low, high = band.provenance["value_range"] or (None, None)
            spread = "" if low is None or band.classes else f"{low:.4g} to {high:.4g} {band.unit}, "
            told = f"{spread}on {percent(band.provenance['valid_share'])} of the area"
            map_of = band.provenance.get("shakemap") or ""
            rows.append((words, "–", f"{told}{f'; ShakeMap {map_of}' if map_of else ''}", _files([band])))
    return rows


def credit_rows(cube: Cube) -> list[tuple[str, str, str, str]]:
    """List whom to credit for what a cube was made from: source, licence, credit and address."""
    told = read_attributions(cube.attrs)
    return [(one.source, one.licence or "–", one.text or "–", one.address or "–") for one in told]


def absent_indices(cube: Cube) -> list[str]:
    """List the indices of the method that the cube lacks, in words."""
    return _in_words(cube.bands)


def _in_words(bands: Sequence[Band]) -> list[str]:
    return [_INDICES.get(name, name) for name in missing_indices("d", bands)]


def _files(bands: Sequence[Band]) -> str:
    """Name the first files that bands come from."""
    names = [PurePosixPath(name).name for band in bands for name in band.provenance.get("source", [])]
    names = list(dict.fromkeys(names))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "–"


def model_words(model: ModelMetadata, found: ProbabilityMap | None) -> list[str]:
    """Tell in a few sentences what a model was trained on, how the threshold was chosen, and where its limits are."""
    real = [name for name in model.events if name not in model.simulated]
    events = f"{len(model.events)} event{'s' if len(model.events) > 1 else ''}: {', '.join(model.events)}"
    members = f", the mean of {model.members}" if model.members > 1 else ""
    trained = f"The network ({model.network}{members}) was trained on {events}."
    if model.simulated:
        trained += " All of it is simulated." if not real else f" Simulated: {', '.join(model.simulated)}."
    if model.adapted:
        trained += f" It was then adapted to {model.adapted.event} by {model.adapted.tiles} labelled tiles."
    tiles = model.split.get("train_tiles"), model.split.get("validation_tiles"), model.split.get("test_tiles")
    if all(isinstance(one, int) for one in tiles):
        trained += " Of their tiles of {} pixels {} trained, {} chose, {} were held out.".format(model.tile, *tiles)
    return [trained, _threshold_words(model, found), _limits(model)]


def _threshold_words(model: ModelMetadata, found: ProbabilityMap | None) -> str:
    own = found.threshold if found else model.threshold
    if found and model.threshold_of == "scene":
        return (
            f"The threshold of {own:.2f} was chosen from this map alone, without a label: the F1 that its "
            f"probabilities lead to expect is highest there. It is right only as far as they are."
        )
    if model.split.get("validation_tiles") == 0 and not model.adapted:
        return f"The threshold of {own:.2f} was not chosen: there was no validation part to choose it on."
    where = "labelled tiles" if model.adapted else "validation part"
    return (
        f"The threshold of {own:.2f} is the one with the highest F1 on the {where}; the logits are divided by a "
        f"temperature of {model.temperature:.2f} that was chosen there too. Pixels that chose them are not scored."
    )


def _limits(model: ModelMetadata) -> str:
    """Write the limits of a model in one paragraph."""
    parts = []
    if model.card:
        parts.append(model.card.limits)
    elif len(model.events) == 1:
        parts.append(
            f"It knows one event, {model.events[0]}, its light, its rock and whoever mapped it; what it does elsewhere "
            f"nobody has measured, and it may well be worse."
        )
    if absent := _in_words(model.bands):
        parts.append(f"Of the indices of the method it is not fed {', '.join(absent)}.")
    parts.append(
        f"It sees pixels of {model.pixel_size_m:g} m: what is smaller than a few of them, in deep shadow or under "
        f"cloud is missed or guessed, and bare soil, gravel, clearings and snow may pass for landslides. Scores from "
        f"parts of the same scene say little of another earthquake. Nothing here replaces a look at the place."
    )
    return " ".join(parts)


def bibtex(title: str, owners: Sequence[str]) -> str:
    """Write BibTeX of the paper, of coslide, and of the data, whose credits are taken as they stand."""
    software = (
        "@software{coslide,\n  author  = {{The coslide developers}},\n"
        "  title   = {coslide: coseismic landslide maps and inventories},\n"
        f"  version = {{{coslide.__version__}}}\n}}"
    )
    data = [
        f"@misc{{data{number},\n  title = {{Data of {tex(title)}}},\n  note  = {{{tex(credit)}}}\n}}"
        for number, credit in enumerate(dict.fromkeys(credit for credit in owners if credit), start=1)
    ]
    return "\n\n".join([PAPER, software, *data])
