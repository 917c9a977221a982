"""Which satellite scenes the files of a folder are: products, rasters of bands, rasters that name their bands."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from coslide.config.schema import SENTINEL2_BANDS, SceneConfig
from coslide.config.sensors import CHANNELS, channel_name, sensor_of
from coslide.errors import InputError
from coslide.io.raster import open_raster
from coslide.pipeline.found_files import is_safe
from coslide.sources.products import read_product
from coslide.sources.safe import FIRST_OFFSETS, Span, plain_band
from coslide.sources.sensors import sensor_products

When = Literal["pre", "post"]
RASTERS = {".tif", ".tiff", ".jp2", ".img", ".vrt"}
_KNOWN = {channel.name for channel in CHANNELS}
_SWIR = {"swir1": "B11", "swir2": "B12", "near_infrared": "B8"}
_BAND = re.compile(
    r"(?<![A-Za-z0-9])(B(?:0?[1-9]|1[0-2]|8A)|SCL|coastal|blue|green|red|rededge\d*|nir(?:08)?|swir\d+)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(20\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])(?!\d)")
_WORDS: dict[str, When] = {
    "pre": "pre", "before": "pre", "prior": "pre", "preevent": "pre", "presismic": "pre",
    "post": "post", "after": "post", "postevent": "post", "postsismic": "post",
}  # fmt: skip
_REFLECTANCE_AT_MOST = 3.0
_SENTINEL2_SCALE = 1e-4
SCENE = "scene"
"""Stands for what belongs to a scene."""


class FoundScene(NamedTuple):
    """A scene, or one product of it.

    Attributes
    ----------
    paths
        What it consists of.
    what
        What it is, in words.
    channels
        Its bands.
    keys
        Its table of an event file, but for products and bands that are chosen.
    sensed
        When it was acquired; None where nothing tells. A day without a time is its noon.
    word
        Whether its name says before or after; empty where it does not.
    """

    paths: tuple[Path, ...]
    what: str
    channels: tuple[str, ...]
    keys: dict[str, Any]
    sensed: Span | None
    word: When | Literal[""]

    @property
    def name(self) -> str:
        """What lines call it."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0].name}{more}"

    @property
    def day(self) -> dt.date | None:
        """The first day on which it was acquired."""
        return self.sensed[0].date() if self.sensed else None


def scenes_in(files: Sequence[Path], root: Path) -> tuple[list[FoundScene], dict[Path, str]]:
    """Find the scenes among files, and why other rasters and folders are none.

    Returns
    -------
    tuple of list and dict
        The scenes; and for each path that belongs to one `SCENE`, or why it is none. What may be something
        else, such as an elevation model, is in neither.
    """
    scenes: list[FoundScene] = []
    told: dict[Path, str] = {}
    for path in (path for path in files if is_safe(path)):
        _try(partial(_product, path, root), path, scenes, told)
    for path, rasters in _sensor_rasters(files):
        _try(partial(_product, path, root), path, scenes, told)
        told |= dict.fromkeys(rasters, told[path])
    rest = [path for path in files if path.suffix.lower() in RASTERS and path not in told]
    for group in _by_name(rest).values():
        if len(group) > 1 or not {"SCL"} >= set(group):
            first = next(iter(group.values()))
            _try(partial(_of_rasters, group, root), first, scenes, told)
            told |= dict.fromkeys(group.values(), told[first])
    for path in (path for path in rest if path not in told):
        channels = named_bands(path)
        if len(channels) > 1:
            _try(partial(_of_bands, path, channels, root), path, scenes, told)
    return scenes, told


def _try(describe: Any, path: Path, scenes: list[FoundScene], told: dict[Path, str]) -> None:
    try:
        scenes.append(describe())
        told[path] = SCENE
    except InputError as error:
        told[path] = str(error).removeprefix(f"{path}: ")


def _sensor_rasters(files: Sequence[Path]) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Find products of other sensors: what names each in an event file, and all files that begin with its name."""
    for folder in sorted({path.parent for path in files if sensor_of(path.name)}):
        products = sensor_products(folder)
        for (sensor, _), rasters in products.items():
            first, match = next(iter(rasters.items()))
            own = tuple(path for path in files if path.parent == folder and path.name.startswith(match["scene"]))
            per_band = "band" in sensor.raster.groupindex
            yield (folder if len(products) == 1 and per_band else folder / first), own


def _product(path: Path, root: Path) -> FoundScene:
    """Describe a product by what its reader finds; of the usual bands those that it has."""
    names: tuple[str, ...] = SENTINEL2_BANDS
    while True:
        try:
            product = read_product(path, SceneConfig(products=(path,), bands=names), root)
            break
        except InputError as error:
            lacks = re.search(r"has no band (\w+);", str(error))
            names = tuple(name for name in names if lacks is None or name != lacks[1])
            if lacks is None or not names:
                raise
    what = f"{product.sensor}, {product.acquired}" + ("" if "SCL" in product.rasters else ", without a cloud mask")
    return FoundScene((path,), what, names, {}, product.sensed, _word(path, root))


def _by_name(rasters: Iterable[Path]) -> dict[tuple[Path, str], dict[str, Path]]:
    """Group rasters whose names differ by the band alone: its name and its raster, of those with the finest pixels."""
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in rasters:
        if (matches := list(_BAND.finditer(path.stem))) and _channel(matches[-1][1]):
            match = matches[-1]
            rest = re.sub(r"_[126]0m\b", "", path.stem[: match.start()] + "*" + path.stem[match.end() :])
            groups.setdefault((path.parent, rest), {}).setdefault(_channel(match[1]), path)
    return groups


def _channel(text: str) -> str:
    plain = _SWIR.get(text.lower()) or channel_name(plain_band(text))
    return plain if plain in _KNOWN | {"SCL"} else ""


def named_bands(path: Path) -> dict[str, int]:
    """Read which bands of a raster are which channels: by descriptions, wavelengths, or as red, green and blue."""
    try:
        with open_raster(path) as dataset:
            descriptions = [text or "" for text in dataset.descriptions]
            waves = [dataset.tags(number, ns="IMAGERY").get("CENTRAL_WAVELENGTH_UM", "") for number in dataset.indexes]
            colours = list(dataset.colorinterp)
    except (InputError, rasterio.errors.RasterioError):
        return {}
    found: dict[str, int] = {}
    light = {ColorInterp.red: "B4", ColorInterp.green: "B3", ColorInterp.blue: "B2"}
    for number, (text, wave, colour) in enumerate(zip(descriptions, waves, colours, strict=True), start=1):
        match = _BAND.search(text)
        channel = _channel(match[1]) if match else ""
        try:
            channel = channel or _channel(channel_name(f"{wave or text} um" if wave else text))
        except ValueError:
            channel = ""
        channel = channel or light.get(colour, "")
        if channel and channel != "SCL":
            found.setdefault(channel, number)
    return found


def _of_rasters(group: dict[str, Path], root: Path) -> FoundScene:
    bands = {channel: path for channel, path in group.items() if channel != "SCL"}
    paths = tuple(bands.values())
    if not bands:
        raise InputError("a scene classification without bands")
    scale, how = _scale(paths)
    sensed = _span(paths[0], root)
    if scale.get("scale") == _SENTINEL2_SCALE and sensed and sensed[0] >= FIRST_OFFSETS:
        how += "; Sentinel-2 has offset = -0.1 from 25 January 2022 on, where it was not applied before"
    keys: dict[str, Any] = {**scale, "bands": bands, **({"scl": group["SCL"]} if "SCL" in group else {})}
    what = f"rasters of {', '.join(sorted(bands))}{how}"
    return FoundScene(paths, what, tuple(bands), keys, sensed, _word(paths[0], root))


def _of_bands(path: Path, channels: dict[str, int], root: Path) -> FoundScene:
    scale, how = _scale((path,))
    keys: dict[str, Any] = {**scale, "bands": {name: {"path": path, "band": n} for name, n in channels.items()}}
    what = f"one raster with the bands {', '.join(channels)}{how}"
    return FoundScene((path,), what, tuple(channels), keys, _span(path, root), _word(path, root))


def _scale(paths: Sequence[Path]) -> tuple[dict[str, float], str]:
    """Find what turns stored values into reflectance where the rasters do not say it: by how large the values are."""
    highest, dtype, declared = 0.0, "", False
    for path in paths:
        with open_raster(path) as dataset:
            shape = tuple(min(side, 256) for side in dataset.shape)
            values = dataset.read(1, out_shape=shape, masked=True).compressed()
            values = values[np.isfinite(values)]
            highest = max(highest, float(np.percentile(values, 99)) if values.size else 0.0)
            dtype, declared = dataset.dtypes[0], declared or (dataset.scales[0], dataset.offsets[0]) != (1.0, 0.0)
    if declared or highest <= _REFLECTANCE_AT_MOST:
        return {}, ""
    if dtype == "uint8":
        return {"scale": round(1 / 255, 7)}, "; a picture in 8 bits, whose scale is not known: taken as value / 255"
    return {"scale": _SENTINEL2_SCALE}, f"; values up to {highest:.0f}, taken for reflectance x 10 000"


def _span(path: Path, root: Path) -> Span | None:
    """Read a date in the name of a file, or of the folders around it."""
    for text in reversed(path.relative_to(root).parts):
        if match := _DATE.search(text):
            noon = dt.datetime(int(match[1]), int(match[2]), int(match[3]), 12, tzinfo=dt.UTC)
            return noon, noon
    return None


def _word(path: Path, root: Path) -> When | Literal[""]:
    """Find whether a name, or that of a folder around it, says before or after."""
    for text in reversed(path.relative_to(root).with_suffix("").parts):
        found = {_WORDS[word] for word in re.split(r"[^a-z0-9]+", text.lower()) if word in _WORDS}
        if len(found) == 1:
            return found.pop()
    return ""
