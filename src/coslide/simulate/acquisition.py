"""One pass of Sentinel-2A over the tile of a simulated earthquake, and the names that ESA would give what it saw."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from coslide.sources.safe import FIRST_BASELINE_WITH_OFFSET

QUANTIFICATION = 10_000
_OFFSET_DN = -1000
_PROCESSING = timedelta(hours=3)  # from the pass to the product
_CYCLE_ORBITS, _CYCLE_DAYS = 143, 10
_KNOWN_PASS, _KNOWN_ORBIT, _KNOWN_RELATIVE = datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC), 38058, 23
_EPOCH = datetime(1950, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """When and how Sentinel-2A sees the ground, and how ESA processes it.

    Attributes
    ----------
    sensed
        Time of the pass; it knows its time zone.
    tile
        Of the grid of Sentinel-2, such as ``"59SLV"``.
    baseline
        Of the processing, such as ``"04.00"``; from that one on, stored values have an offset.
    sun_zenith_deg, sun_azimuth_deg
        Where the sun stands at the middle of the tile; azimuth from north, clockwise.
    relative_orbit
        1 to 143. The default is the one that passes over the place of `coslide.simulate.frame`.
    view_zenith_deg, view_azimuth_deg
        Where the satellite stands.

    Raises
    ------
    ValueError
        If the time knows no time zone, or the tile, baseline or orbit is none.

    Examples
    --------
    >>> noon = datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC)
    >>> seen = Acquisition(sensed=noon, tile="59SLV", baseline="04.00", sun_zenith_deg=24.6, sun_azimuth_deg=130.0)
    >>> seen.name
    'S2A_MSIL2A_20220515T233651_N0400_R130_T59SLV_20220516T023651.SAFE'
    >>> seen.offset_dn
    -1000
    """

    sensed: datetime
    tile: str
    baseline: str
    sun_zenith_deg: float
    sun_azimuth_deg: float
    relative_orbit: int = 130
    view_zenith_deg: float = 3.0
    view_azimuth_deg: float = 104.0

    def __post_init__(self) -> None:
        if self.sensed.tzinfo is None:
            raise ValueError(f"sensed: found {self.sensed}, expected a time with its time zone")
        if not re.fullmatch(r"\d{2}[A-Z]{3}", self.tile):
            raise ValueError(f"tile: found {self.tile!r}, expected one such as '59SLV'")
        if not re.fullmatch(r"\d{2}\.\d{2}", self.baseline):
            raise ValueError(f"baseline: found {self.baseline!r}, expected one such as '04.00'")
        if not 1 <= self.relative_orbit <= _CYCLE_ORBITS:
            raise ValueError(f"relative_orbit: found {self.relative_orbit}, expected 1 to {_CYCLE_ORBITS}")

    @property
    def offset_dn(self) -> int:
        """What is added to a stored value before it is divided by 10000 [DN]: 0 before baseline 04.00, then -1000."""
        return _OFFSET_DN if self.baseline >= FIRST_BASELINE_WITH_OFFSET else 0

    @property
    def centre(self) -> str:
        """Where the names and metadata have the processing centre: ``"SIMU"``, which no real one is called."""
        return "SIMU"

    @property
    def generated(self) -> datetime:
        """When the product was made, hours after the pass."""
        return self.sensed + _PROCESSING

    @property
    def absolute_orbit(self) -> int:
        """Number of the orbit since launch: of those with the relative orbit, the one that is nearest in time.

        Counted from a product of 5 October 2022 (orbit 38058, relative orbit 23); 143 orbits take 10 days.
        """
        days = (self.sensed - _KNOWN_PASS).total_seconds() / timedelta(days=1).total_seconds()
        about = _KNOWN_ORBIT + days * _CYCLE_ORBITS / _CYCLE_DAYS
        first = _KNOWN_ORBIT + self.relative_orbit - _KNOWN_RELATIVE
        return first + _CYCLE_ORBITS * round((about - first) / _CYCLE_ORBITS)

    @property
    def reflectance_conversion(self) -> float:
        """Square of the mean distance of the sun over that of the day (1).

        U = 1 / (1 - 0.01673 cos(0.0172 (t - 2)))^2, t in days since 1950 (Sentinel-2 L1C definition, ESA).
        """
        day = (self.sensed - _EPOCH).days
        return 1 / (1 - 0.01673 * math.cos(0.0172 * (day - 2))) ** 2

    @property
    def name(self) -> str:
        """Name of the product, with ``.SAFE``."""
        baseline = self.baseline.replace(".", "")
        parts = (compact(self.sensed), f"N{baseline}", f"R{self.relative_orbit:03d}", f"T{self.tile}")
        return f"S2A_MSIL2A_{'_'.join(parts)}_{compact(self.generated)}.SAFE"

    @property
    def datatake_id(self) -> str:
        """Identifier of the datatake."""
        return f"GS2A_{compact(self.sensed)}_{self.absolute_orbit:06d}_N{self.baseline}"

    @property
    def datastrip_id(self) -> str:
        """Identifier of the datastrip."""
        return f"S2A_OPER_MSI_L2A_{self.datastrip_folder}_N{self.baseline}"

    @property
    def datastrip_folder(self) -> str:
        """Name of the folder of the datastrip."""
        return f"DS_{self.centre}_{compact(self.generated)}_S{compact(self.sensed)}"

    @property
    def granule_id(self) -> str:
        """Identifier of the granule."""
        orbit_tile = f"A{self.absolute_orbit:06d}_T{self.tile}"
        return f"S2A_OPER_MSI_L2A_TL_{self.centre}_{compact(self.generated)}_{orbit_tile}_N{self.baseline}"

    @property
    def granule_folder(self) -> str:
        """Name of the folder of the granule."""
        return f"L2A_T{self.tile}_A{self.absolute_orbit:06d}_{compact(self.sensed)}"

    def image(self, band: str, cell_m: int) -> str:
        """Return the path of a band in the product, without suffix.

        Examples
        --------
        >>> at = datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC)
        >>> seen = Acquisition(sensed=at, tile="59SLV", baseline="04.00", sun_zenith_deg=24.6, sun_azimuth_deg=130.0)
        >>> seen.image("B04", 10).rpartition("/")[2]
        'T59SLV_20220515T233651_B04_10m'
        """
        file = f"T{self.tile}_{compact(self.sensed)}_{band}_{cell_m}m"
        return f"GRANULE/{self.granule_folder}/IMG_DATA/R{cell_m}m/{file}"


def compact(time: datetime) -> str:
    """Return a time in UTC as the names of products have it.

    Examples
    --------
    >>> compact(datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC))
    '20220515T233651'
    """
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S}"


def iso(time: datetime) -> str:
    """Return a time in UTC as the metadata of products have it, with milliseconds.

    Examples
    --------
    >>> iso(datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC))
    '2022-05-15T23:36:51.000Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"
