"""From the bands of a cube to the inputs of a network: normalised and encoded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import REFLECTANCE, Band, optional_groups
from coslide.errors import InputError
from coslide.samples.augment import FIRST_DIRECTION, AspectInputs
from coslide.samples.light import LightSamples, encode_light

Encoding = Literal["continuous", "light", "ordinal", "onehot", "circular"]


class Normalisation(NamedTuple):
    """Of each band: a network sees ``(value - offset) / scale``. Both are float32 (band,), scale is never 0."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]


class Moments:
    """Mean and deviation of bands, gathered piece by piece (Chan et al. 1983, doi:10.2307/2683386).

    Parameters
    ----------
    bands
        The bands.

    Attributes
    ----------
    count, mean, squares
        For each band the pixels counted, their mean, and the sum of their squared distances from it.

    Examples
    --------
    >>> stratum = Band("stratum_class", kind="ordinal", class_names=("D1", "D2", "C2", "P1"))
    >>> moments = Moments([Band("elevation", "m"), stratum])
    >>> inputs = np.array([[[1.0, 3.0, 99.0]], [[2.0, 4.0, 4.0]]], dtype=np.float32)
    >>> moments.add(inputs, np.array([[True, True, False]]))
    >>> moments.normalisation()
    Normalisation(offset=array([2., 0.], dtype=float32), scale=array([1., 4.], dtype=float32))
    """

    def __init__(self, bands: Sequence[Band]) -> None:
        self.bands = tuple(bands)
        self.count, self.mean, self.squares = (np.zeros(len(bands)) for _ in range(3))

    def add(self, inputs: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
        """Count the pixels of `inputs` (band, row, col) that `where` (row, col) is True for and that have a value."""
        piece = Moments(self.bands)
        for number, band in enumerate(inputs):
            values = band[where & np.isfinite(band)].astype(np.float64)
            if values.size:
                moments = values.size, values.mean(), values.var() * values.size
                piece.count[number], piece.mean[number], piece.squares[number] = moments
        self.merge(piece)

    def merge(self, other: "Moments") -> None:
        """Count what `other` has counted."""
        total = self.count + other.count
        share = other.count / np.maximum(total, 1)
        shift = other.mean - self.mean
        self.squares += other.squares + shift**2 * self.count * share
        self.mean += shift * share
        self.count = total

    def normalisation(self) -> Normalisation:
        """Derive the normalisation.

        A measurement is standardised by its mean and standard deviation. A class map is divided by its number of
        classes, so that the k-th of n becomes k / n on every event, also where the first is called class 0: 0 is left
        to what is missing. A flag stays 0 or 1. A band that is constant or empty is only shifted.
        """
        classes = np.array([band.classes for band in self.bands])
        before = np.array([band.first_class - 1 if band.kind == "ordinal" else 0 for band in self.bands])
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        offset = np.where(classes > 0, before, self.mean).astype(np.float32)
        scale = np.where(classes > 0, classes - before, deviation).astype(np.float32)
        return Normalisation(offset, np.where(scale > 0, scale, np.float32(1)))


class Encoder(NamedTuple):
    """How the bands of a cube become the inputs of a network.

    `bands` are read from the cube, `encodings` tells for each of them how it is fed, and `flags` names the optional
    sources (`coslide.cube.band.Band.group`) whose presence has an input of its own: 1 where the source has a value, 0
    where it has none. `normalisation` is that of the bands.

    ``"continuous"``: (value - offset) / scale. ``"light"``: the same by the dark level and the median of each scene,
    then its logarithm (`coslide.samples.light.encode_light`). ``"ordinal"``: the k-th class of n as k / n, as Yang et
    al. (2023) stack their class maps; north-west is then far from north, though they are neighbours. ``"onehot"``: an
    input for each. ``"circular"``: sine and cosine of the direction of an aspect class, both 0 where it is flat.

    A value that is missing is 0 in each of its inputs. No ordinal or one-hot class is fed so; the mean or median of a
    measurement and flat terrain on the circle are, and a flag tells them apart from it.

    Examples
    --------
    >>> names = ("flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW")
    >>> aspect = Band("aspect_class", kind="circular", class_names=names)
    >>> pga = Band("pga_class", kind="ordinal", class_names=("weak", "strong"), group="shaking", optional=True)
    >>> same = Normalisation(np.zeros(2, np.float32), np.ones(2, np.float32))
    >>> encoder = Encoder((aspect, pga), ("circular", "onehot"), ("shaking",), same)
    >>> encoder.names
    ('aspect_class_sin', 'aspect_class_cos', 'pga_class_1', 'pga_class_2', 'has_shaking')
    >>> east, missing = 4, np.nan
    >>> encoder.encode(np.array([[[east, east]], [[2, missing]]], dtype=np.float32))[:, 0].round(3) + 0
    array([[1., 1.],
           [0., 0.],
           [0., 0.],
           [1., 0.],
           [1., 0.]], dtype=float32)
    """

    bands: tuple[Band, ...]
    encodings: tuple[Encoding, ...]
    flags: tuple[str, ...]
    normalisation: Normalisation

    @property
    def inputs(self) -> tuple[Band, ...]:
        """The inputs of the network, in their order."""
        flags = (Band(f"has_{group}", kind="flag", group=group, optional=True) for group in self.flags)
        return (*(each for of_one in self._inputs for each in of_one), *flags)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the network's inputs, in their order."""
        return tuple(band.name for band in self.inputs)

    @property
    def dates(self) -> list[list[int]]:
        """The numbers of the inputs that a satellite saw on each date, for those dates that there are."""
        seen = [(band.date, number) for number, band in enumerate(self.inputs) if band.kind == "continuous"]
        found = [[number for of, number in seen if of == date] for date in ("pre", "post")]
        return [numbers for numbers in found if numbers]

    @property
    def aspect(self) -> AspectInputs | None:
        """Which inputs must be turned along with the terrain; None where there is no aspect."""
        kinds = [band.kind for band in self.bands]
        if "circular" not in kinds:
            return None
        number = kinds.index("circular")
        first = sum(len(inputs) for inputs in self._inputs[:number])
        return AspectInputs(self.encodings[number], first, self.bands[number].classes)

    @property
    def light(self) -> list[int]:
        """The numbers of the bands that are seen in the light of their own scene."""
        return [number for number, how in enumerate(self.encodings) if how == "light"]

    @property
    def light_inputs(self) -> list[int]:
        """The numbers of the inputs that these bands are."""
        first = np.cumsum([0, *(len(inputs) for inputs in self._inputs)])
        return [int(first[number]) for number in self.light]

    def in_light(self, samples: LightSamples) -> "Encoder":
        """Encode a scene of which `samples` of those bands (`light`) were gathered.

        A band that is the same nearly everywhere is only shifted.
        """
        dark, median = samples.levels()
        offset, scale = (part.copy() for part in self.normalisation)
        offset[self.light] = dark
        scale[self.light] = np.where(median > dark, median - dark, np.float32(1))
        return self._replace(normalisation=Normalisation(offset, scale))

    def encode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode what was read.

        Parameters
        ----------
        values
            (band, row, col), each band in its unit, NaN where it has no value. Where each band becomes one input and
            there is no flag, the result is written over it, since memory is short where whole scenes are mapped.

        Returns
        -------
        ndarray of float32, (input, row, col)
            Never NaN.
        """
        count, groups = len(self.inputs), optional_groups(self.bands)
        found = values if count == len(self.bands) else np.empty((count, *values.shape[1:]), dtype=np.float32)
        *of_bands, flags = np.split(found, np.cumsum([len(inputs) for inputs in self._inputs]))
        for plane, source in zip(flags, self.flags, strict=True):
            plane[...] = np.isfinite(values[groups[source]]).any(axis=0)
        for number, out in enumerate(of_bands):
            self._encode_band(values[number], out, number)
        return found

    def _encode_band(self, values: NDArray[np.float32], out: NDArray[np.float32], number: int) -> None:
        band, how = self.bands[number], self.encodings[number]
        if how == "onehot":
            out[...] = values == np.arange(band.first_class, band.classes + 1)[:, np.newaxis, np.newaxis]
        elif how == "circular":
            angle = (values - FIRST_DIRECTION) * np.float32(2 * math.pi / (band.classes - FIRST_DIRECTION + 1))
            directed = values >= FIRST_DIRECTION  # False where missing
            out[...] = np.where(directed, (np.sin(angle), np.cos(angle)), 0)
        else:
            offset, scale = (part[number] for part in self.normalisation)
            np.subtract(values, offset, out=out[0])
            np.divide(out[0], scale, out=out[0])
            if how == "light":
                out[0] = encode_light(out[0])
            out[0][np.isnan(out[0])] = 0.0

    @property
    def _inputs(self) -> list[list[Band]]:
        """The inputs of each band."""
        return [_inputs_of(band, how) for band, how in zip(self.bands, self.encodings, strict=True)]


def choose_encodings(
    bands: Sequence[Band], wanted: Mapping[Any, str], *, light: bool = False
) -> tuple[tuple[Band, ...], tuple[Encoding, ...]]:
    """Choose for each band how it is fed, and for a class map fed as ``"continuous"`` the measurement behind it.

    Parameters
    ----------
    bands
        Bands to train on, and those that may stand for class maps (`coslide.cube.band.Band.measured`).
    wanted
        Encodings by name of a band; class maps that are not named are ordinal.
    light
        Whether reflectance is seen in the light of its own scene.

    Raises
    ------
    InputError
        If an encoding does not go with its band.

    Examples
    --------
    >>> classes = Band("pga_class", kind="ordinal", class_names=("weak", "strong"), measured="pga")
    >>> bands = [Band("slope", "degree"), classes, Band("pga", "g", role="diagnostic")]
    >>> [(band.name, how) for band, how in zip(*choose_encodings(bands, {"pga_class": "continuous"}))]
    [('slope', 'continuous'), ('pga', 'continuous')]
    >>> [(band.name, how) for band, how in zip(*choose_encodings(bands, {}))]
    [('slope', 'continuous'), ('pga_class', 'ordinal')]
    """
    own = {band.name: band for band in bands}
    classified = {band.measured for band in bands}
    chosen: list[tuple[Band, Encoding]] = []
    for band in bands:
        if band.name in classified:
            continue
        of_classes = {"ordinal": True, "onehot": True, "circular": band.kind == "circular", "continuous": band.measured}
        allowed = [name for name, fits in of_classes.items() if fits] if band.classes else ["continuous"]
        how = wanted.get(band.name, allowed[0])
        if how not in allowed:
            expected = " or ".join(allowed)
            raise InputError(f"training.inputs.encoding: found {how!r} for {band.name}, expected {expected}")
        if how == "continuous" and band.measured:  # where nothing was measured, its classes are all there is
            chosen.append((own[band.measured], "continuous") if band.measured in own else (band, "ordinal"))
        else:
            seen = light and band.quantity == REFLECTANCE and how == "continuous"
            chosen.append((band, "light" if seen else cast("Encoding", how)))
    return tuple(band for band, _ in chosen), tuple(how for _, how in chosen)


def _inputs_of(band: Band, how: Encoding) -> list[Band]:
    suffixes = {"onehot": range(band.first_class, band.classes + 1), "circular": ("sin", "cos")}.get(how)
    return [replace(band, name=f"{band.name}_{suffix}", measured="") for suffix in suffixes] if suffixes else [band]
