"""From the bands of a cube to the inputs of a network: standardised, encoded, and left in files."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band, optional_groups
from coslide.errors import InputError
from coslide.io.atomic import report_write_errors
from coslide.samples.augment import FIRST_DIRECTION, AspectInputs
from coslide.windows import row_strips

Encoding = Literal["continuous", "ordinal", "onehot", "circular"]
ReadRows = Callable[[slice], NDArray[np.float32]]


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

    ``"continuous"``: (value - offset) / scale. ``"ordinal"``: the k-th class of n as k / n, as Yang et al. (2023) stack
    their class maps; north-west is then far from north, though they are neighbours. ``"onehot"``: an input for each.
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
            out[0][np.isnan(out[0])] = 0.0

    @property
    def _inputs(self) -> list[list[Band]]:
        """The inputs of each band."""
        return [_inputs_of(band, how) for band, how in zip(self.bands, self.encodings, strict=True)]


def choose_encodings(bands: Sequence[Band], wanted: Mapping[Any, str]) -> tuple[tuple[Band, ...], tuple[Encoding, ...]]:
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
            chosen.append((band, cast("Encoding", how)))
    return tuple(band for band, _ in chosen), tuple(how for _, how in chosen)


def _inputs_of(band: Band, how: Encoding) -> list[Band]:
    suffixes = {"onehot": range(band.first_class, band.classes + 1), "circular": ("sin", "cos")}.get(how)
    return [replace(band, name=f"{band.name}_{suffix}", measured="") for suffix in suffixes] if suffixes else [band]


@dataclass(frozen=True)
class MappedArray:
    """An array in a file (.npy), of which only what is indexed is read, in whatever process.

    Attributes
    ----------
    path
        What `numpy.save` or `numpy.lib.format.open_memmap` wrote.
    """

    path: Path

    def __getitem__(self, place: Any) -> NDArray[Any]:
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False)[place])


def read_raster(read: ReadRows, path: Path, bands: Sequence[Band], where: NDArray[np.bool_], *, name: str) -> Moments:
    """Copy the bands of an area into the file `path`, and take their moments on the way.

    Parameters
    ----------
    read
        ``read(rows)`` gives rows of the inputs, float32 (band, row, col), NaN where there is no value.
    path
        File to write (.npy, float32).
    bands
        What the inputs are.
    where
        The pixels that count, bool (row, col).
    name
        What the area is called in an error.

    Raises
    ------
    InputError
        If a value is infinite, or the disk is full.
    """
    moments = Moments(bands)
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = _allocated(path, (len(bands), *where.shape))
        for rows in row_strips(where.shape[0]):
            values = read(rows)
            require_finite(values, bands, name)
            stored[:, rows] = values
            moments.add(values, where[rows])
        stored.flush()
    return moments


def encode_raster(path: Path, encoder: Encoder) -> MappedArray:
    """Encode the bands of the file `path` into one beside it, and remove them.

    Raises
    ------
    InputError
        If the disk is full.
    """
    encoded = path.with_suffix(".inputs.npy")
    with report_write_errors(path):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        out = _allocated(encoded, (len(encoder.names), *stored.shape[1:]))
        for rows in row_strips(stored.shape[1]):
            out[:, rows] = encoder.encode(np.array(stored[:, rows]))
        out.flush()
        path.unlink()
    return MappedArray(encoded)


def _allocated(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    """Make a float32 file and take all its space: a full disk met later, through the map, kills the process."""
    found = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return found


def require_finite(values: NDArray[np.float32], bands: Sequence[Band], name: str) -> None:
    """Check that no value (band, row, col) is infinite; NaN, nodata, may occur.

    Raises
    ------
    InputError
        If one is; `name` is what the area is called in it.
    """
    for band, infinite in zip(bands, np.isinf(values).sum(axis=(1, 2)), strict=True):
        if infinite:
            raise InputError(
                f"{name}: band {band.name} is infinite in {infinite} pixels, expected numbers (or nodata); "
                "correct its source and build the cube again"
            )
