"""Chips of Landslide4Sense: images of 14 bands, and masks of landslides, as HDF5 files in a folder.

The data set (IARAI 2022; Ghorbanzadeh et al., arXiv:2206.00515; CC BY 4.0) has chips of 128 x 128 pixels of about
10 m, without a place on Earth: Sentinel-2 after the event, slope and elevation.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError, first_line
from coslide.io.paths import require_regular_file

SIDE = 128

# B10 (cirrus) shows that this is reflectance at the top of the atmosphere; B8A is not among the bands.
CHANNELS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12")
"""The bands of the satellite."""

BANDS = (*((f"reflectance_post_{band}", "1") for band in CHANNELS), ("slope", "degree"), ("elevation", "m"))
"""Name and unit of each band, as in an index cube."""

MEANS = (
    1111.81236406, 824.63171476, 663.41636217, 445.17289745, 645.8582926, 1547.73508126, 1960.44401001, 1941.32229668,
    674.07572865, 9.04787384, 1113.98338755, 519.90397929, 20.29228266, 772.83144788,
)  # fmt: skip
"""What each band was divided by: stored value x mean = reflectance x 10 000, degrees or metres, in whole numbers."""

_FACTORS = np.array(MEANS) / [10_000.0 if unit == "1" else 1.0 for _, unit in BANDS]


class Chips(NamedTuple):
    """The files of a folder, in the order of their numbers (2 before 10), images and masks side by side.

    A folder with masks has one for each image.
    """

    images: list[Path]
    masks: list[Path]


def is_chip_folder(folder: Path) -> bool:
    """Tell a folder of this data set by its names: ``image_<number>.h5`` in it or in its folder ``img``.

    False too if it is no folder, or cannot be listed.
    """
    try:
        return any(_number(path, "image") is not None for place in (folder / "img", folder) for path in _listed(place))
    except InputError:
        return False


def find_chips(folder: Path) -> Chips:
    """Find the images of a folder and their masks, in the order of their numbers.

    Parameters
    ----------
    folder
        Holds ``img/image_<number>.h5``, or these files without the folder ``img``, and may hold
        ``mask/mask_<number>.h5``.

    Raises
    ------
    InputError
        If there is no such folder, it cannot be listed or has no images; if images lie both in it and in ``img``, two
        files have the same number, or an HDF5 file has another name; if there are masks, but not one for each image; or
        if a mask has no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not found; expected a folder of Landslide4Sense with img/image_1.h5 and others")
    inner = _numbered(folder / "img", "image")
    images = inner or _numbered(folder, "image")
    if not images:
        raise InputError(f"{folder}: found no images, expected image_1.h5 and others in it or in its folder img")
    if inner and any(_number(path, "image") is not None for path in _listed(folder)):
        raise InputError(f"{folder}: found images in it and in its folder img, expected them in one place")
    masks = _numbered(folder / "mask", "mask")
    if masks and (alone := sorted(images.keys() ^ masks.keys())):  # a half copied folder would train on half of it
        number, more = alone[0], f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        name, what = (images[number].name, "mask") if number in images else (masks[number].name, "image")
        expected = f"expected {what}_{number}.h5 for it, or no masks at all"
        raise InputError(f"{folder}: found {name}{more} without {what}, {expected}")
    order = sorted(images)
    return Chips([images[number] for number in order], [masks[number] for number in order if masks])


def read_image(path: Path) -> NDArray[np.float32]:
    """Read an image as (band, row, col): reflectance (1), slope (degrees) and elevation (m), in the order of `BANDS`.

    Parameters
    ----------
    path
        An HDF5 file with the data set ``img``, (row, col, band).

    Returns
    -------
    ndarray of float32, (14, 128, 128)
        Reflectance at the top of the atmosphere. NaN where the file has NaN.

    Raises
    ------
    InputError
        If the file cannot be read, has no such data set inside itself, or one of another shape; or if its values are no
        numbers, or infinite.
    """
    stored = _read(path, "img", shape=(SIDE, SIDE, len(BANDS)))
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is too large for float32 becomes infinite, and is refused below
        values = (stored.astype(np.float64) * _FACTORS).astype(np.float32)
    if (infinite := np.isinf(values)).any():
        names = _some([BANDS[band][0] for band in np.unique(np.nonzero(infinite)[2])])
        found = f"{int(infinite.sum())} infinite values in {names}"
        raise InputError(f"{path}: img: found {found}, expected numbers, or NaN where there is none")
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask as (row, col): 0 background, 1 landslide.

    Parameters
    ----------
    path
        An HDF5 file with the data set ``mask``, (row, col).

    Returns
    -------
    ndarray of uint8, (128, 128)

    Raises
    ------
    InputError
        If the file cannot be read, has no such data set inside itself, or one of another shape; or if its values are
        not 0 and 1.
    """
    stored = _read(path, "mask", shape=(SIDE, SIDE))
    if (other := np.unique(stored[~np.isin(stored, (0, 1))])).size:
        found = _some([f"{float(value):g}" for value in other])
        raise InputError(f"{path}: mask: found {found}, expected 0 (background) and 1 (landslide) only")
    return stored.astype(np.uint8)


def _read(path: Path, name: str, *, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read the numbers of the data set `name` as stored; its shape and type are checked before.

    Its values must lie in this file: HDF5 has three ways to make another file look like a part.
    """
    import h5py

    require_regular_file(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; expected an HDF5 file with the data set {name!r}")
    try:
        with h5py.File(path, "r") as file:
            if (link := file.get(name, getlink=True)) is None:
                raise InputError(f"{path}: found {_some(sorted(file)) or 'nothing'}, expected the data set {name!r}")
            data = file[name] if isinstance(link, h5py.HardLink) else None
            if data is None or (isinstance(data, h5py.Dataset) and (data.external or data.is_virtual)):
                raise InputError(f"{path}: {name}: found values elsewhere, expected a data set in the file itself")
            if not isinstance(data, h5py.Dataset):
                raise InputError(f"{path}: {name}: found a {type(data).__name__.lower()}, expected a data set")
            if data.shape != shape:
                raise InputError(f"{path}: {name}: found the shape {data.shape}, expected {shape}")
            if data.dtype.kind not in ("fiub" if name == "mask" else "fiu"):
                raise InputError(f"{path}: {name}: found values of type {data.dtype}, expected numbers")
            return np.asarray(data[()])
    # A damaged file makes h5py raise any of these, by where the damage is.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({first_line(error)})") from None


def _numbered(folder: Path, stem: str) -> dict[int, Path]:
    """List the files ``<stem>_<number>.h5`` of a folder by number; none if there is no such folder.

    Another name of an HDF5 file is an error: passed over in silence, nobody would miss its chip.
    """
    found: dict[int, Path] = {}
    for path in sorted(_listed(folder)):
        if (number := _number(path, stem)) is None:
            raise InputError(f"{path}: found an HDF5 file of this name, expected only {stem}_1.h5 and others beside it")
        if number in found:
            raise InputError(f"{folder}: found {found[number].name} and {path.name}, expected each number once")
        found[number] = path
    return found


def _listed(folder: Path) -> list[Path]:
    """List the HDF5 files of a folder, without hidden ones: macOS leaves ``._image_1.h5`` beside a copy."""
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from None
    return [path for path in paths if path.suffix == ".h5" and not path.name.startswith(".")]


def _number(path: Path, stem: str) -> int | None:
    match = re.fullmatch(rf"{stem}_([0-9]{{1,9}})\.h5", path.name)
    return int(match[1]) if match else None


def _some(names: list[str]) -> str:
    """Join names in one line, the first few of many."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
