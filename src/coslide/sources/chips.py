"""Chips: small images with masks of landslides, in a folder that a TOML file describes."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.config.chips import CHIPS_FILE, ChipsConfig, ChipTable, read_chips_config
from coslide.errors import InputError
from coslide.io.arrays import read_array
from coslide.io.table import read_table
from coslide.labels import LANDSLIDE, NODATA

_LANDSLIDE4SENSE = Path(__file__).with_name("landslide4sense.toml")
_ENDS = ("west", "south", "east", "north")
_UNSAFE = re.compile(r'^\.|[/\\:*?"<>|\x00-\x1f]')  # in an id, which becomes part of a path


class Chip(NamedTuple):
    """A chip: its id and event, its files, and its factor.

    Where they are known, its place (row, col) [pixel] and its bounds (west, south, east, north) [degrees].
    """

    id: str
    event: str
    image: Path
    mask: Path
    place: tuple[int, int] | None = None
    factor: float = 1.0
    bounds: tuple[float, float, float, float] | None = None


def chips_config(path: Path) -> ChipsConfig | None:
    """Read the description of the chips at `path`; None if nothing tells that there are any.

    Parameters
    ----------
    path
        A TOML file, a folder that holds ``chips.toml``, or one of Landslide4Sense as it is published. ``#event`` after
        it takes one event, ``#event,other`` several.

    Raises
    ------
    InputError
        If the description is wrong.
    """
    events: tuple[str, ...] = ()
    if "#" in path.name and not os.path.lexists(path):
        name, _, chosen = path.name.rpartition("#")
        path, events = path.with_name(name) if name else path.parent, tuple(chosen.split(","))
    given = {"events": events} if events else {}
    if path.suffix.lower() == ".toml":
        return read_chips_config(path, **given)
    if os.path.lexists(path / CHIPS_FILE):
        return read_chips_config(path / CHIPS_FILE, **given)
    if not (path / "img").is_dir() or not _matching(path, read_chips_config(_LANDSLIDE4SENSE).images):
        return None
    own = {"root": str(path.absolute()), "name": f"Landslide4Sense chips ({path.absolute().name})"}
    return read_chips_config(_LANDSLIDE4SENSE, **own, **given)


def find_chips(config: ChipsConfig) -> dict[str, list[Chip]]:
    """Find the chips of each event, in the order of the table, or of the numbers in their ids.

    Without events, all are of one that is called ``""``.

    Raises
    ------
    InputError
        If there are none, a file is missing or would lie outside the folder, an image has no mask or a mask no image,
        or the table has an id twice, or does not know an event that is asked for.
    """
    chips = _of_table(config, config.table) if config.table else _of_folder(config)
    _require_inside(config.root, (path for chip in chips for path in (chip.image, chip.mask)))
    events: dict[str, list[Chip]] = {}
    for chip in chips:
        events.setdefault(chip.event, []).append(chip)
    if unknown := [event for event in config.events if event not in events]:
        raise InputError(f"{config.file}: events: found {unknown[0]!r}, expected some of {_some(events)}")
    return {event: events[event] for event in config.events or events}


def read_image(chip: Chip, config: ChipsConfig) -> NDArray[np.float32]:
    """Read the image of a chip as (band, row, col), each band in its unit, reflectance times the factor of the chip.

    Returns
    -------
    ndarray of float32
        NaN where there is no value.

    Raises
    ------
    InputError
        If the file cannot be read, has another number of bands, or a value is infinite.
    """
    values, declared = read_array(chip.image, config.image_dataset)
    picture = chip.image.suffix.lower() in {".png", ".tif", ".tiff"}
    if values.ndim == 2:
        values = values[np.newaxis]
    elif values.ndim == 3 and not picture and config.axes == "row col band":
        values = values.transpose(2, 0, 1)
    expected = f"expected {len(config.bands)} bands, as {config.file.name} lists"
    if values.ndim != 3 or len(values) != len(config.bands) or values.dtype.kind == "b":
        raise InputError(f"{chip.image}: found the shape {values.shape} of {values.dtype}, {expected}")
    nodata = declared if config.nodata is None else config.nodata
    found = np.empty(values.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is infinite, and refused below
        for out, stored, band in zip(found, values, config.bands, strict=True):
            factor = chip.factor if band.is_reflectance else 1.0
            out[...] = (stored.astype(np.float64) * band.scale + band.offset) * factor
            if nodata is not None:
                out[stored == nodata] = np.nan
    if names := [band.name for band, values in zip(config.bands, found, strict=True) if np.isinf(values).any()]:
        raise InputError(
            f"{chip.image}: found infinite values in {_some(names)}, expected numbers, or NaN where there is none"
        )
    return found


def read_mask(chip: Chip, config: ChipsConfig) -> NDArray[np.uint8]:
    """Read the mask of a chip as (row, col): 0 background, 1 landslide, 255 where nobody has labelled.

    Raises
    ------
    InputError
        If the file cannot be read, has several bands, or values other than those that the description names.
    """
    stored = read_array(chip.mask, config.mask_dataset).values
    if 1 in stored.shape and stored.ndim == 3:
        stored = stored.squeeze(axis=stored.shape.index(1))
    if stored.ndim != 2:
        raise InputError(f"{chip.mask}: found the shape {stored.shape}, expected a mask of rows and columns")
    meaning = {0: 0, config.landslide: LANDSLIDE} | ({config.unlabelled: NODATA} if config.unlabelled else {})
    if (other := np.unique(stored[~np.isin(stored, list(meaning))])).size:
        nobody = f", {config.unlabelled} (unlabelled)" if config.unlabelled else ""
        expected = f"expected 0 (background){nobody} and {config.landslide} (landslide) only"
        raise InputError(f"{chip.mask}: found {_some(f'{float(value):g}' for value in other)}, {expected}")
    mask = np.zeros(stored.shape, dtype=np.uint8)
    for value, label in meaning.items():
        mask[stored == value] = label
    return mask


def _of_folder(config: ChipsConfig) -> list[Chip]:
    """List the chips of a folder by the names of their files."""
    images, masks = (_matching(config.root, pattern) for pattern in (config.images, config.masks))
    if not images:
        raise InputError(f"{config.root}: found no file like {config.images}, expected some")
    if alone := sorted(images.keys() ^ masks.keys(), key=_by_numbers):  # a half copied folder would train on half of it
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        (found, lacking, pattern) = ("image", "mask", config.masks)
        if alone[0] not in images:
            found, lacking, pattern = "mask", "image", config.images
        expected = f"expected {pattern.replace('{id}', alone[0])}"
        raise InputError(f"{config.root}: found the {found} of {alone[0]}{more} without {lacking}, {expected}")
    return [Chip(each, "", images[each], masks[each]) for each in sorted(images, key=_by_numbers)]


def _of_table(config: ChipsConfig, table: ChipTable) -> list[Chip]:
    """List the chips of a table; only files of the events that are asked for need to be there."""
    path = config.root / table.path
    _require_inside(config.root, [path])
    ends = dict(zip(_ENDS, table.bounds, strict=False))
    columns = {**ends, "row": table.row, "col": table.col, "factor": table.factor}
    numbers = {key: name for key, name in columns.items() if name is not None}
    names = dict.fromkeys([table.id, *([table.event] if table.event else []), *numbers.values()])
    frame = read_table(path, names, numbers=list(dict.fromkeys(numbers.values())), degrees=bool(ends))
    found: dict[str, Chip] = {}
    for line, row in zip(frame.index, frame.to_dict("records"), strict=True):
        where = f"{path}: line {line}"
        number, event = row[table.id], str(row[table.event] or "") if table.event else ""
        if number is None or _UNSAFE.search(str(number)):
            raise InputError(f"{where}: found {number!r} as {table.id}, expected what {{id}} stands for in a name")
        if number in found:
            raise InputError(f"{where}: found {number} again as {table.id}, expected each once")
        own = {key: row[name] for key, name in numbers.items()}
        factor = own.get("factor", 1.0)
        if not 0 < factor < 1e6:
            raise InputError(f"{where}: found {factor:g} as {table.factor}, expected a number above 0")
        image, mask = (config.root / pattern.replace("{id}", number) for pattern in (config.images, config.masks))
        place, bounds = _place(own, table.step_px, where), _bounds([own[end] for end in ends], where)
        found[number] = Chip(number, event, image, mask, place, factor, bounds)
    if not found:
        raise InputError(f"{path}: found no chip, expected a line for each")
    return list(found.values())


def _place(row: Mapping[str, float], step_px: int, where: str) -> tuple[int, int] | None:
    """Find the place of a chip [pixel]; None if its line has none."""
    given = [row[key] for key in ("row", "col") if key in row]
    if not given or np.isnan(given).all():
        return None
    if not all(0 <= value < 1e6 and value == int(value) for value in given):
        raise InputError(
            f"{where}: found {given[0]:g} and {given[1]:g} as row and col, expected whole numbers, or none"
        )
    return int(given[0]) * step_px, int(given[1]) * step_px


def _bounds(ends: list[float], where: str) -> tuple[float, float, float, float] | None:
    """Check the bounds of a chip [degrees]; None if its line has none."""
    if not ends or np.isnan(ends).all():
        return None
    west, south, east, north = ends
    if west >= 180:  # of 0 to 360, which would lie apart from the same place in -180 to 180
        west, east = west - 360, east - 360
    if not (-180 <= west < east < west + 180 and east <= 180 and -90 <= south < north <= 90):
        found = ", ".join(f"{end:g}" for end in ends)
        expected = "expected west < east and south < north in degrees, not across longitude 180, or none"
        raise InputError(f"{where}: found {found} as bounds, {expected}")
    return west, south, east, north


def _require_inside(root: Path, paths: Iterable[Path]) -> None:
    """Require that no link leads out of the folder of the chips."""
    home = os.path.realpath(root)
    for path in paths:
        if not Path(os.path.realpath(path)).is_relative_to(home):
            raise InputError(f"{path}: leads out of {root} by a link, expected a file inside; copy it there")


def _matching(root: Path, pattern: str) -> dict[str, Path]:
    """Find the files of a pattern by what stands in it for the id; hidden ones are left out (macOS leaves some)."""
    before, after = pattern.split("{id}")
    name = re.compile(f"{re.escape(before)}([^/]+){re.escape(after)}")
    try:
        paths = sorted(root.glob(f"{_escaped(before)}*{_escaped(after)}"))
    except OSError as error:
        raise InputError(f"{root}: cannot be listed ({error.strerror})") from None
    found = ((name.fullmatch(path.relative_to(root).as_posix()), path) for path in paths)
    return {match[1]: path for match, path in found if match and not match[1].startswith(".")}


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _by_numbers(text: str) -> list[tuple[int, str]]:
    """Sort 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _some(names: Iterable[str]) -> str:
    """Join names in one line, the first few of many."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
