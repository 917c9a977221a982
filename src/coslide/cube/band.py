"""The record of a band of a cube, written into the cube as CF attributes and read from there."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from coslide.labels import NO_CLASS

BAND_DIMENSION = "band"
REFLECTANCE = "reflectance"

Kind = Literal["continuous", "ordinal", "circular", "flag"]
Role = Literal["index", "diagnostic", "mask", "label"]
Date = Literal["", "pre", "post"]


YES_NO: dict[str, Any] = {"kind": "flag", "class_names": ("no", "yes"), "first_class": 0}
"""What the flags have in common."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Band:
    """One band of a cube. Two bands are equal if they have the same name and their values mean the same.

    Attributes
    ----------
    name
        Unique in the cube (``reflectance_post_B2``, ``slope``).
    unit
        A UDUNITS string; ``"1"`` for reflectance and classes.
    kind
        ``"continuous"``: a measurement, stored as float32, nodata NaN. The others are classes, stored as uint8, nodata
        255. ``"ordinal"``: classes that rise. ``"circular"``: the first class has no direction, the others go clockwise
        from north in equal steps. ``"flag"``: no (0) and yes (1).
    class_names
        Of the classes, from `first_class` on; empty for a measurement.
    first_class
        Number of the first class.
    definition
        What bounds the classes, in words (``levels 0.12, 0.16 g``).
    group
        The source that the band comes from: with it, all bands of the group are missing.
    optional
        Whether an event may lack that source.
    date
        ``"pre"`` or ``"post"`` for what a satellite saw before or after the event.
    quantity
        What was seen on each of the two dates (``reflectance``), by which bands of two dates are paired.
    channel
        Name of the band in the ``band`` dimension of its variable, where that has one (``B2``).
    measured
        Name of the band whose values were classified.
    signed
        Whether 0 lies in the middle of what is measured, as for a difference or a curvature.
    role
        ``"index"`` (input of a network), ``"diagnostic"`` (to look at, no input), ``"mask"`` or ``"label"``.
    long_name
        What it is, in words.
    provenance
        What else the cube records: source, resampling, share of valid pixels and range, as JSON holds it. It belongs
        to a cube, so a model does not keep it.

    Examples
    --------
    >>> shaking = Band("pga_class", kind="ordinal", class_names=("below 0.1 g", "0.1 g and more"), first_class=0)
    >>> shaking.classes, shaking.dtype, shaking.attributes()["flag_meanings"]
    (1, 'uint8', 'below_0.1_g 0.1_g_and_more')
    """

    name: str
    unit: str = "1"
    _: KW_ONLY
    kind: Kind = "continuous"
    class_names: tuple[str, ...] = ()
    first_class: int = 1
    definition: str = ""
    group: str = field(default="", compare=False)
    optional: bool = field(default=False, compare=False)
    date: Date = field(default="", compare=False)
    quantity: str = field(default="", compare=False)
    channel: str = field(default="", compare=False)
    measured: str = field(default="", compare=False)
    signed: bool = field(default=False, compare=False)
    role: Role = field(default="index", compare=False)
    long_name: str = field(default="", compare=False)
    provenance: Annotated[dict[str, Any], Field(exclude=True)] = field(default_factory=dict, compare=False, repr=False)

    @property
    def classes(self) -> int:
        """Number of the last class, which is that of the classes above 0; 0 for a measurement."""
        return self.first_class + len(self.class_names) - 1 if self.class_names else 0

    @property
    def dtype(self) -> str:
        """Type of the stored values."""
        return "float32" if self.kind == "continuous" else "uint8"

    @property
    def nodata(self) -> float:
        """Stored value of a pixel without a value."""
        return np.nan if self.kind == "continuous" else NO_CLASS

    @property
    def variable(self) -> str:
        """Name of the variable of the cube that holds the band."""
        return self.name.removesuffix(f"_{self.channel}") if self.channel else self.name

    def attributes(self) -> dict[str, Any]:
        """Build the attributes of the variable, as CF has them; where it has several bands, they share them."""
        own = {key: value for key in _RECORDED if (value := getattr(self, key))}
        required = {"role": self.role, "kind": self.kind, "long_name": self.long_name, "units": self.unit}
        if self.class_names:
            # CF separates meanings by blanks, and allows letters, digits and few signs in them.
            words = [re.sub(r"[^\w.+@-]+", "_", name).strip("_") or "_" for name in self.class_names]
            numbers = list(range(self.first_class, self.classes + 1))
            own |= {"class_names": list(self.class_names), "flag_values": numbers, "flag_meanings": " ".join(words)}
        return {**required, **own, **self.provenance}

    @classmethod
    def from_attributes(cls, variable: str, attributes: Mapping[str, Any], *, channel: str = "") -> "Band":
        """Read what `attributes` wrote.

        Raises
        ------
        KeyError, ValueError
            If the attributes are not those of a band.
        """
        rest = {key: value for key, value in attributes.items() if key not in _NOT_RECORDED}
        own = {key: rest.pop(key) for key in ("role", "kind", "long_name", *_RECORDED) if key in rest}
        if "flag_values" in rest:
            own["first_class"] = rest.pop("flag_values")[0]
        name = f"{variable}_{channel}" if channel else variable
        return cls(name, str(attributes["units"]), **own, channel=channel, provenance=rest)


_NOT_RECORDED = {"units", "flag_meanings", "_FillValue", "_CRS"}
_RECORDED = ("class_names", "definition", "group", "optional", "date", "quantity", "measured", "signed")


def by_variable(bands: Sequence[Band]) -> dict[str, list[Band]]:
    """Group bands by the variable of the cube that holds them, in their order."""
    return {name: [band for band in bands if band.variable == name] for name in (band.variable for band in bands)}


def sensors_of(bands: Iterable[Band]) -> list[str]:
    """List the sensors that saw the bands, as far as it is recorded of them.

    Examples
    --------
    >>> sensors_of([Band("slope"), Band("ndvi_post", date="post", provenance={"sensor": "Landsat 8/9 (30 m)"})])
    ['Landsat 8/9 (30 m)']
    """
    return sorted({band.provenance["sensor"] for band in bands if "sensor" in band.provenance})


def optional_groups(bands: Sequence[Band]) -> dict[str, list[int]]:
    """Find the numbers of the bands that come from each source which an event may lack.

    Examples
    --------
    >>> pre = {"group": "scene_before", "optional": True}
    >>> optional_groups([Band("reflectance_pre_B2", **pre), Band("slope", group="terrain"), Band("ndvi_pre", **pre)])
    {'scene_before': [0, 2]}
    """
    groups: dict[str, list[int]] = {}
    for number, band in enumerate(bands):
        if band.optional:
            groups.setdefault(band.group, []).append(number)
    return groups


def band_mismatch(found: Sequence[Band], expected: Sequence[Band]) -> str:
    """Describe what `found` lacks of the bands `expected`, or has in another meaning; empty if nothing.

    What it has besides, and its order, do not matter: bands are picked by name.

    Examples
    --------
    >>> slope, aspect = Band("slope", "degree"), Band("aspect_class", kind="circular", class_names=("flat", "N"))
    >>> band_mismatch([slope], [slope, aspect])
    'aspect_class is missing'
    >>> band_mismatch([Band("slope", "1")], [slope])
    "slope has unit '1' instead of unit 'degree'"
    """
    own = {band.name: band for band in found}
    missing = [band.name for band in expected if band.name not in own]
    parts = [f"{', '.join(missing)} is missing"] if missing else []
    parts += [
        f"{band.name} has {_meaning(own[band.name])} instead of {_meaning(band)}"
        for band in expected
        if band.name in own and own[band.name] != band
    ]
    return "; ".join(parts)


def _meaning(band: Band) -> str:
    bounds = band.definition or ", ".join(band.class_names)
    return f"unit {band.unit!r}" + (f" and {band.classes} {band.kind} classes ({bounds})" if band.classes else "")


def class_by_edges(values: ArrayLike, edges: Sequence[float], *, lowest: int) -> NDArray[np.uint8]:
    """Classify values, uint8 of the same shape: `lowest` plus the number of edges that it reaches.

    Parameters
    ----------
    values
        Measurements of 0 or more, any shape and unit.
    edges
        Rising numbers in the same unit; a value equal to an edge reaches it.
    lowest
        Class of a value below the first edge.

    Returns
    -------
    ndarray of uint8
        255 where a value is NaN.

    Raises
    ------
    ValueError
        If a value is negative, or the edges do not rise or are too many for uint8.

    Notes
    -----
    Compared as float32, so that 0.26 reaches the edge 0.26 in whichever of the two precisions it is stored.

    Examples
    --------
    >>> class_by_edges([0.05, 0.12, 0.3, np.nan], (0.12, 0.16), lowest=0)
    array([  0,   1,   2, 255], dtype=uint8)
    """
    limits = np.asarray(edges, dtype=np.float32)
    if limits.ndim != 1 or lowest + limits.size >= NO_CLASS or (np.diff(limits) <= 0).any():
        raise ValueError(f"edges: found {tuple(edges)}, expected fewer than {NO_CLASS - lowest} ascending numbers")
    measured = np.asarray(values, dtype=np.float32)
    if (measured < 0).any():
        raise ValueError(f"values: found {measured[measured < 0].min():g}, expected 0 or more")
    classes = np.asarray(np.digitize(measured, limits) + lowest, dtype=np.uint8)
    classes[np.isnan(measured)] = NO_CLASS
    return classes


def edge_classes(edges: Sequence[float], unit: str, *, lowest: int, what: str) -> dict[str, Any]:
    """Describe, for their `Band`, the classes that `class_by_edges` numbers; `what` names the edges.

    Examples
    --------
    >>> edge_classes((1000.0, 2500.0), "m", lowest=1, what="edges")["class_names"]
    ('below 1000 m', '1000 to 2500 m', '2500 m and more')
    """
    between = [f"{low:g} to {high:g} {unit}" for low, high in itertools.pairwise(edges)]
    return {
        "kind": "ordinal",
        "class_names": (f"below {edges[0]:g} {unit}", *between, f"{edges[-1]:g} {unit} and more"),
        "first_class": lowest,
        "definition": f"{what} {', '.join(f'{edge:g}' for edge in edges)} {unit}",
    }
