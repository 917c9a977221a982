"""What a model is fed: whether a scene has it, and how it is said in words."""

import logging
from collections.abc import Collection, Sequence

from coslide.cube.band import Band, band_mismatch, sensors_of
from coslide.errors import InputError
from coslide.mapping.metadata import ModelMetadata

_log = logging.getLogger(__name__)


def require_same_inputs(metadata: ModelMetadata, bands: Sequence[Band], pixel_size_m: float, name: str) -> list[str]:
    """Check that a model can be applied to a scene, and name the bands that it lacks and the model can do without.

    Parameters
    ----------
    metadata
        Of the model.
    bands, pixel_size_m
        What the scene has.
    name
        What it is called in an error.

    Raises
    ------
    InputError
        If the model cannot be applied: another band is missing, or units, classes or pixel size differ.
    """
    if text := inputs_mismatch(metadata, bands, pixel_size_m):
        raise InputError(f"{name}: does not fit the model: {text}")
    return missing_bands(metadata, bands)


def inputs_mismatch(metadata: ModelMetadata, bands: Sequence[Band], pixel_size_m: float) -> str:
    """Describe what keeps a model from being applied to a scene; empty if nothing does. Parameters as above."""
    missing = missing_bands(metadata, bands)
    parts = [band_mismatch(bands, [band for band in metadata.bands if band.name not in missing])]
    if pixel_size_m != metadata.pixel_size_m:
        parts.append(
            f"found pixels of {pixel_size_m:g} m, expected {metadata.pixel_size_m:g} m as it was trained: "
            f"build the cube with grid.pixel_size_m = {metadata.pixel_size_m:g} in its event file"
        )
    return "; ".join(filter(None, parts))


def warn_of_another_sensor(metadata: ModelMetadata, bands: Sequence[Band], name: str) -> None:
    """Log a warning where a scene was seen by another sensor than those that a model was trained on."""
    other = [sensor for sensor in sensors_of(bands) if sensor not in metadata.sensors]
    if other and metadata.sensors:
        trained = f"the model was trained on {' and '.join(metadata.sensors)}"
        advice = "what it learned may not hold; coslide sample and coslide assess tell how good the map is"
        _log.warning(f"warning: {name}: seen by {' and '.join(other)}, {trained}: {advice}")


def missing_bands(metadata: ModelMetadata, bands: Sequence[Band]) -> list[str]:
    """Name the bands that a scene lacks and a model was trained to do without."""
    there = {band.name for band in bands}
    return [name for name in metadata.optional_bands if name not in there]


def bands_in_words(bands: Sequence[Band], optional: Collection[str] = ()) -> str:
    """Say in words what bands a model needs: those of each date by their short names, others by their source.

    Parameters
    ----------
    bands
        Of the model.
    optional
        Names of those that it can do without.

    Examples
    --------
    >>> seen = {"date": "post", "quantity": "reflectance", "group": "scene_after"}
    >>> red, green = (Band(f"reflectance_post_{name}", channel=name, **seen) for name in ("B4", "B3"))
    >>> bands_in_words([red, green, Band("slope", group="terrain"), Band("pga_class", group="shaking")], ["pga_class"])
    'post B4 B3, terrain; if there: shaking'
    """
    needed, spare = ([band for band in bands if (band.name in optional) is kept] for kept in (False, True))
    parts = [_by_source(needed), f"if there: {_by_source(spare)}" if spare else ""]
    return "; ".join(filter(None, parts))


def _by_source(bands: Sequence[Band]) -> str:
    """List bands by their source, as in ``post B4 B3 ndvi, terrain``."""
    found: dict[str, list[str]] = {}
    for band in bands:
        names = found.setdefault(band.date or band.group or band.name, [])
        if band.date and band.kind != "flag":
            names.append(band.channel or band.quantity or band.name)
    order = sorted(found, key=lambda source: ("post", "pre").index(source) if source in ("post", "pre") else 2)
    return ", ".join(" ".join([source, *found[source]]) for source in order)
