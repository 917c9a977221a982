"""From the bands of a cube to the inputs of a network: class maps, directions, and flags for what is missing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from coslide.cube.cube import Band
from coslide.errors import InputError
from coslide.samples.band_groups import band_groups
from coslide.samples.dihedral import DIRECTIONS, FIRST_DIRECTION, Directions
from coslide.samples.normalise import Normalisation

Encoding = Literal["continuous", "ordinal", "onehot", "circular"]
ASPECT = "aspect_class"
MEASURED = {"pga_class": "pga", "fault_distance_class": "fault_distance"}
"""What was measured behind a class map: the band that ``"continuous"`` takes instead, where the cube has it."""
_DATES = {"pre": ("reflectance_pre_", "ndvi_pre"), "post": ("reflectance_post_", "ndvi_post", "ndvi_difference")}


class Encoder(NamedTuple):
    """How the bands of a cube become the inputs of a network.

    `bands` are read from the cube, `encodings` says for each of them how it is fed, and `flags` names the sources (of
    `coslide.samples.band_groups.band_groups`) whose presence is told by an input of its own: 1 where the source has a
    value, 0 where it has none. `normalisation` is that of the bands.

    ``"continuous"``: (value - offset) / scale. ``"ordinal"``: class k of n as k / n, as Yang et al. (2023) stack their
    class maps; north-west is then far from north, though they are neighbours. ``"onehot"``: an input for each class.
    ``"circular"``: sine and cosine of the direction of an aspect class, both 0 where it is flat.

    A value that is missing is 0 in each of its inputs. No ordinal or one-hot class is fed so; the mean of a measurement
    and flat terrain on the circle are, and a flag tells them apart from it.

    Examples
    --------
    >>> aspect, pga = Band("aspect_class", "1", 9), Band("pga_class", "1", 2)
    >>> same = Normalisation(np.zeros(2, np.float32), np.ones(2, np.float32))
    >>> encoder = Encoder((aspect, pga), ("circular", "onehot"), ("shaking",), same)
    >>> encoder.names
    ('aspect_sin', 'aspect_cos', 'pga_class_1', 'pga_class_2', 'has_shaking')
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
    def names(self) -> tuple[str, ...]:
        """List the names of the network's inputs, in their order."""
        names = [name for band, how in self._both() for name in _inputs_of(band, how)]
        return (*names, *(f"has_{source}" for source in self.flags))

    @property
    def groups(self) -> dict[str, list[int]]:
        """Find the inputs that come from each source which an event may lack, its flag included."""
        found = {
            source: [i for number in numbers for i in self._places[number]]
            for source, numbers in band_groups([band.name for band in self.bands]).items()
        }
        first_flag = len(self.names) - len(self.flags)
        return {
            source: [*inputs, first_flag + self.flags.index(source)] if source in self.flags else inputs
            for source, inputs in found.items()
        }

    @property
    def dates(self) -> list[list[int]]:
        """Find the inputs that a satellite saw on each date, for those dates that there are."""
        found = [
            [i for number, band in enumerate(self.bands) if band.name.startswith(starts) for i in self._places[number]]
            for starts in _DATES.values()
        ]
        return [inputs for inputs in found if inputs]

    @property
    def directions(self) -> Directions | None:
        """Tell which inputs must be turned along with the terrain; None where there is no aspect."""
        for number, (band, how) in enumerate(self._both()):
            if band.name == ASPECT and how != "continuous":
                return Directions(how, self._places[number][0])
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
        places = self._places
        in_place = not self.flags and all(len(inputs) == 1 for inputs in places)
        found = values if in_place else np.empty((len(self.names), *values.shape[1:]), dtype=np.float32)
        if self.flags:
            there = np.isfinite(values)
            groups = band_groups([band.name for band in self.bands])
            for plane, source in zip(found[-len(self.flags) :], self.flags, strict=True):
                plane[...] = there[groups[source]].any(axis=0)
        for number, (band, how) in enumerate(self._both()):
            out = found[places[number][0] : places[number][-1] + 1]
            self._encode_band(values[number], out, number=number, band=band, how=how)
        return found

    def _encode_band(
        self, values: NDArray[np.float32], out: NDArray[np.float32], *, number: int, band: Band, how: Encoding
    ) -> None:
        if how == "onehot":
            for k in range(band.classes):
                out[k] = values == k + 1
        elif how == "circular":
            angle = (values - FIRST_DIRECTION) * np.float32(2 * math.pi / DIRECTIONS)
            directed = values >= FIRST_DIRECTION  # False where missing
            out[0] = np.where(directed, np.sin(angle), 0)
            out[1] = np.where(directed, np.cos(angle), 0)
        else:
            shift, scale = (part[number] for part in self.normalisation)
            np.subtract(values, shift, out=out[0])
            np.divide(out[0], scale, out=out[0])
            out[0][np.isnan(out[0])] = 0.0

    def _both(self) -> list[tuple[Band, Encoding]]:
        return list(zip(self.bands, self.encodings, strict=True))

    @property
    def _places(self) -> list[list[int]]:
        """Find the inputs of each band."""
        places, first = [], 0
        for band, how in self._both():
            count = len(_inputs_of(band, how))
            places.append(list(range(first, first + count)))
            first += count
        return places


def chosen_encodings(bands: Sequence[Band], wanted: Mapping[Any, str]) -> tuple[tuple[Band, ...], tuple[Encoding, ...]]:
    """Choose for each band how it is fed, and for a class map fed as ``"continuous"`` the measurement behind it.

    Parameters
    ----------
    bands
        Bands to train on, and those that may stand for class maps (`MEASURED`).
    wanted
        Encodings by name of a band; class maps that are not named are ordinal.

    Raises
    ------
    InputError
        If an encoding does not go with its band.

    Examples
    --------
    >>> bands = [Band("slope", "degree"), Band("pga_class", "1", 5), Band("pga", "g")]
    >>> [(band.name, how) for band, how in zip(*chosen_encodings(bands, {"pga_class": "continuous"}))]
    [('slope', 'continuous'), ('pga', 'continuous')]
    >>> [(band.name, how) for band, how in zip(*chosen_encodings(bands, {}))]
    [('slope', 'continuous'), ('pga_class', 'ordinal')]
    """
    own = {band.name: band for band in bands}
    chosen: list[tuple[Band, Encoding]] = []
    for band in bands:
        if band.name in MEASURED.values():
            continue
        how = wanted.get(band.name, "ordinal" if band.classes else "continuous")
        measured = own.get(MEASURED.get(band.name, ""))
        if how == "continuous" and measured is not None:
            chosen.append((measured, "continuous"))
        elif how == "continuous" and band.name in MEASURED:  # nothing was measured here: its classes are all there is
            chosen.append((band, "ordinal"))
        else:
            chosen.append((band, _checked(band, how)))
    return tuple(band for band, _ in chosen), tuple(how for _, how in chosen)


def _checked(band: Band, how: str) -> Encoding:
    circular, measured = band.name == ASPECT, band.name in MEASURED
    of_classes = ["ordinal", "onehot", *["circular"] * circular, *["continuous"] * measured]
    allowed = of_classes if band.classes else ["continuous"]
    for encoding in get_args(Encoding):
        if encoding == how and how in allowed:
            found: Encoding = encoding
            return found
    raise InputError(f"training.inputs.encoding: found {how!r} for {band.name}, expected {' or '.join(allowed)}")


def _inputs_of(band: Band, how: Encoding) -> list[str]:
    if how == "onehot":
        return [f"{band.name}_{k + 1}" for k in range(band.classes)]
    if how == "circular":
        return ["aspect_sin", "aspect_cos"]
    return [band.name]
