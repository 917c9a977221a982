"""From the bands of a cube to the inputs of a network: class maps, directions, and flags for what is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band, optional_groups
from coslide.errors import InputError
from coslide.samples.augment import FIRST_DIRECTION, Directions
from coslide.samples.normalise import Normalisation

Encoding = Literal["continuous", "ordinal", "onehot", "circular"]


class Encoder(NamedTuple):
    """How the bands of a cube become the inputs of a network.

    `bands` are read from the cube, `encodings` tells for each of them how it is fed, and `flags` names the optional
    sources (`coslide.cube.band.Band.group`) whose presence has an input of its own: 1 where the source has a value, 0
    where it has none. `normalisation` is that of the bands.

    ``"continuous"``: (value - offset) / scale. ``"ordinal"``: class k of n as k / n, as Yang et al. (2023) stack their
    class maps; north-west is then far from north, though they are neighbours. ``"onehot"``: an input for each class.
    ``"circular"``: sine and cosine of the direction of an aspect class, both 0 where it is flat.

    A value that is missing is 0 in each of its inputs. No ordinal or one-hot class is fed so; the mean of a measurement
    and flat terrain on the circle are, and a flag tells them apart from it.

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
    def groups(self) -> dict[str, list[int]]:
        """The numbers of the inputs that come from each source which an event may lack, its flag included."""
        return optional_groups(self.inputs)

    @property
    def dates(self) -> list[list[int]]:
        """The numbers of the inputs that a satellite saw on each date, for those dates that there are."""
        found = [
            [number for number, band in enumerate(self.inputs) if band.date == date and band.kind == "continuous"]
            for date in ("pre", "post")
        ]
        return [numbers for numbers in found if numbers]

    @property
    def directions(self) -> Directions | None:
        """Which inputs must be turned along with the terrain; None where there is no aspect."""
        first = 0
        for band, how, inputs in zip(self.bands, self.encodings, self._inputs, strict=True):
            if band.kind == "circular" and how != "continuous":
                return Directions(how, first, band.classes)
            first += len(inputs)
        return None

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
        inputs = self._inputs
        in_place = not self.flags and all(len(of_one) == 1 for of_one in inputs)
        found = values if in_place else np.empty((len(self.names), *values.shape[1:]), dtype=np.float32)
        if self.flags:
            there, groups = np.isfinite(values), optional_groups(self.bands)
            for plane, source in zip(found[-len(self.flags) :], self.flags, strict=True):
                plane[...] = there[groups[source]].any(axis=0)
        first = 0
        for number, of_one in enumerate(inputs):
            self._encode_band(values[number], found[first : first + len(of_one)], number)
            first += len(of_one)
        return found

    def _encode_band(self, values: NDArray[np.float32], out: NDArray[np.float32], number: int) -> None:
        band, how = self.bands[number], self.encodings[number]
        if how == "onehot":
            for k in range(band.classes):
                out[k] = values == k + 1
        elif how == "circular":
            angle = (values - FIRST_DIRECTION) * np.float32(2 * math.pi / (band.classes - FIRST_DIRECTION + 1))
            directed = values >= FIRST_DIRECTION  # False where missing
            out[0] = np.where(directed, np.sin(angle), 0)
            out[1] = np.where(directed, np.cos(angle), 0)
        else:
            offset, scale = (part[number] for part in self.normalisation)
            np.subtract(values, offset, out=out[0])
            np.divide(out[0], scale, out=out[0])
            out[0][np.isnan(out[0])] = 0.0

    @property
    def _inputs(self) -> list[list[Band]]:
        """The inputs of each band."""
        return [_inputs_of(band, how) for band, how in zip(self.bands, self.encodings, strict=True)]


def chosen_encodings(bands: Sequence[Band], wanted: Mapping[Any, str]) -> tuple[tuple[Band, ...], tuple[Encoding, ...]]:
    """Choose for each band how it is fed, and for a class map fed as ``"continuous"`` the measurement behind it.

    Parameters
    ----------
    bands
        Bands to train on, and those that may stand for class maps (`coslide.cube.band.Band.measured`).
    wanted
        Encodings by name of a band; class maps that are not named are ordinal.

    Raises
    ------
    InputError
        If an encoding does not go with its band.

    Examples
    --------
    >>> classes = Band("pga_class", kind="ordinal", class_names=("weak", "strong"), measured="pga")
    >>> bands = [Band("slope", "degree"), classes, Band("pga", "g", role="diagnostic")]
    >>> [(band.name, how) for band, how in zip(*chosen_encodings(bands, {"pga_class": "continuous"}))]
    [('slope', 'continuous'), ('pga', 'continuous')]
    >>> [(band.name, how) for band, how in zip(*chosen_encodings(bands, {}))]
    [('slope', 'continuous'), ('pga_class', 'ordinal')]
    """
    own = {band.name: band for band in bands}
    classified = {band.measured for band in bands}
    chosen: list[tuple[Band, Encoding]] = []
    for band in bands:
        if band.name in classified:
            continue
        how = wanted.get(band.name, "ordinal" if band.classes else "continuous")
        if how == "continuous" and band.measured in own:
            chosen.append((own[band.measured], "continuous"))
        elif how == "continuous" and band.measured:  # nothing was measured here: its classes are all there is
            chosen.append((band, "ordinal"))
        else:
            chosen.append((band, _checked(band, how)))
    return tuple(band for band, _ in chosen), tuple(how for _, how in chosen)


def _checked(band: Band, how: str) -> Encoding:
    of_classes = ["ordinal", "onehot", *["circular"] * (band.kind == "circular"), *["continuous"] * bool(band.measured)]
    allowed = of_classes if band.classes else ["continuous"]
    if how not in allowed:
        raise InputError(f"training.inputs.encoding: found {how!r} for {band.name}, expected {' or '.join(allowed)}")
    return cast("Encoding", how)


def _inputs_of(band: Band, how: Encoding) -> list[Band]:
    suffixes = {"onehot": range(1, band.classes + 1), "circular": ("sin", "cos")}.get(how)
    return [replace(band, name=f"{band.name}_{suffix}", measured="") for suffix in suffixes] if suffixes else [band]
