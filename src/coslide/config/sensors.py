"""What satellites see: the channels that bands are named by, and the sensors that are read besides Sentinel-2.

A sensor is one record of this file. Its facts are those of the Landsat 8-9 Collection 2 Level 2 Science Product Guide
(USGS, LSDS-1619) and of Planet's specifications of PlanetScope scenes (item type PSScene).
"""

import re
from typing import NamedTuple

SENTINEL2 = "Sentinel-2 (10 m)"
_FARTHEST_NM = 40.0
_WAVELENGTH = re.compile(r"(\d+(?:\.\d+)?)\s?(nm|um|µm|μm)", re.IGNORECASE)
_FILL, _SHADOW, _CLEAR, _HAZE, _CLOUD, _CIRRUS, _SNOW, _WATER = 0, 3, 7, 8, 9, 10, 11, 6  # of the scene classification


class Channel(NamedTuple):
    """A channel: its name in an event file and a cube (of Sentinel-2), its common name, and the middle of it."""

    name: str
    common: str
    wavelength_nm: float


# Common names are those of STAC (extension eo); wavelengths those of Sentinel-2A.
CHANNELS = (
    Channel("B1", "coastal", 443), Channel("B2", "blue", 492), Channel("B3", "green", 560), Channel("B4", "red", 665),
    Channel("B5", "rededge071", 704), Channel("B6", "rededge075", 741), Channel("B7", "rededge078", 783),
    Channel("B8", "nir", 833), Channel("B8A", "nir08", 865), Channel("B9", "nir09", 945),
    Channel("B11", "swir16", 1614), Channel("B12", "swir22", 2202),
)  # fmt: skip


def channel_name(text: str) -> str:
    """Name the channel that a band is: of a common name or a wavelength; another text stays as it is.

    Raises
    ------
    ValueError
        If it is a wavelength that is farther than 40 nm from every channel.

    Examples
    --------
    >>> [channel_name(text) for text in ("red", "NIR08", "655 nm", "1.61 um", "B4", "SAR")]
    ['B4', 'B8A', 'B4', 'B11', 'B4', 'SAR']
    """
    common = {channel.common: channel.name for channel in CHANNELS} | {"rededge": "B5"}
    if (match := _WAVELENGTH.fullmatch(text.strip())) is None:
        return common.get(text.strip().lower(), text)
    middle = float(match[1]) * (1.0 if match[2].lower() == "nm" else 1000.0)
    nearest = min(CHANNELS, key=lambda channel: abs(channel.wavelength_nm - middle))
    if abs(nearest.wavelength_nm - middle) > _FARTHEST_NM:
        raise ValueError(f"found {text!r}, expected a wavelength within {_FARTHEST_NM:g} nm of one of Sentinel-2")
    return nearest.name


class Flag(NamedTuple):
    """A flag of a mask: the number of the band that holds it, its bit, and the class of the scene classification."""

    number: int
    bit: int
    scl: int


class Mask(NamedTuple):
    """What tells, in flags, where a scene shows the surface; the first flag that is set decides the class.

    Attributes
    ----------
    file
        Name of its raster, with the groups of `Sensor.raster` in braces.
    flags
        The flags. A pixel of class 0 is beyond the scene.
    otherwise
        The class where no flag is set.
    """

    file: str
    flags: tuple[Flag, ...]
    otherwise: int


class SensorBand(NamedTuple):
    """A band of a sensor: its channel, the middle of it, and where it is: the group `band` of a name, and a number."""

    channel: str
    wavelength_nm: float
    file: str = ""
    number: int = 1


class Sensor(NamedTuple):
    """A sensor and the form of its products.

    Attributes
    ----------
    name
        With the size of its pixels.
    raster
        The names of rasters that hold bands, with the groups ``scene`` (what the rasters of a product share), ``date``,
        maybe ``time``, and ``band`` where each band has a raster of its own.
    bands
        By the names that they have in an event file.
    scale, offset
        Reflectance (1) = stored value * scale + offset.
    mask
        Where its scenes show the surface.
    """

    name: str
    raster: re.Pattern[str]
    bands: tuple[SensorBand, ...]
    scale: float
    offset: float
    mask: Mask


_PLANET = r"(?P<scene>(?P<date>20\d{6})_(?P<time>\d{6})_(?:\d\d_)?[0-9a-z]{4})_3B_AnalyticMS_SR"
_PLANET_MASK = Mask(
    "{scene}_3B_udm2{clip}.tif",
    # Bit 0 of the eighth band, udm1, is what lies beyond the scene; the bands before it hold 0 or 1.
    (
        Flag(8, 0, _FILL), Flag(6, 0, _CLOUD), Flag(5, 0, _HAZE), Flag(4, 0, _CIRRUS), Flag(3, 0, _SHADOW),
        Flag(2, 0, _SNOW), Flag(1, 0, _CLEAR),
    ),
    _HAZE,
)  # fmt: skip

SENSORS = (
    Sensor(
        "Landsat 8/9 (30 m)",
        re.compile(
            r"(?P<scene>LC0[89]_L2S[PR]_\d{6}_(?P<date>20\d{6})_\d{8}_02_(?:T1|T2|RT))_SR_B(?P<band>[1-7])\.TIF", re.I
        ),
        (
            SensorBand("B1", 443, "1"), SensorBand("B2", 482, "2"), SensorBand("B3", 561, "3"),
            SensorBand("B4", 655, "4"), SensorBand("B8A", 865, "5"), SensorBand("B11", 1609, "6"),
            SensorBand("B12", 2201, "7"),
        ),
        2.75e-5,
        -0.2,
        Mask(
            "{scene}_QA_PIXEL.TIF",
            (
                Flag(1, 0, _FILL), Flag(1, 3, _CLOUD), Flag(1, 4, _SHADOW), Flag(1, 1, _HAZE), Flag(1, 2, _CIRRUS),
                Flag(1, 5, _SNOW), Flag(1, 7, _WATER),
            ),
            _CLEAR,
        ),
    ),
    Sensor(
        "PlanetScope, 4 bands (3 m)",
        re.compile(_PLANET + r"(?:_harmonized)?(?P<clip>(?:_clip)?)\.tif", re.IGNORECASE),
        (
            SensorBand("B2", 485, number=1), SensorBand("B3", 545, number=2), SensorBand("B4", 630, number=3),
            SensorBand("B8", 820, number=4),
        ),
        1e-4,
        0.0,
        _PLANET_MASK,
    ),
    Sensor(
        "PlanetScope, 8 bands (3 m)",
        re.compile(_PLANET + r"_8b(?:_harmonized)?(?P<clip>(?:_clip)?)\.tif", re.IGNORECASE),
        (
            SensorBand("B1", 443, number=1), SensorBand("B2", 490, number=2), SensorBand("B3", 565, number=4),
            SensorBand("B4", 665, number=6), SensorBand("B5", 705, number=7), SensorBand("B8A", 865, number=8),
        ),
        1e-4,
        0.0,
        _PLANET_MASK,
    ),
)  # fmt: skip


def sensor_of(name: str) -> tuple[Sensor, re.Match[str]] | None:
    """Find the sensor among whose products a raster of this name is; None for others.

    Examples
    --------
    >>> sensor, match = sensor_of("LC08_L2SP_107030_20180911_20200830_02_T1_SR_B4.TIF")
    >>> sensor.name, match["scene"], match["band"]
    ('Landsat 8/9 (30 m)', 'LC08_L2SP_107030_20180911_20200830_02_T1', '4')
    """
    for sensor in SENSORS:
        if match := sensor.raster.fullmatch(name):
            return sensor, match
    return None
