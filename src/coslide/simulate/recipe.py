"""The recipe of a simulated earthquake: its size, its seed, and how hard its landslides are to find."""

import zlib
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from coslide.config.records import StrictModel

CREDIT = "Simulated by coslide: no real place, no real earthquake."
"""Stands in cubes and models for whom the data are from."""

AGES = ("D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3")
"""Strata from old to young: those of Jiuzhaigou (Table 2 of Yang et al. 2023, doi:10.3390/rs15040977)."""


class Difficulty(NamedTuple):
    """How hard it is to see the landslides of a simulated event.

    Shares of the area: `cloud_share_pre` and `_post` under thick cloud, `haze_share` under thin cloud, which no
    classification marks, at each date; `bare_share` of the slopes that were bare before: outcrops, scree and old scars;
    `surviving_plants` of a landslide, cutting or clearing, on which plants stand as before; `harvested_share` of the
    fields, between the dates. `openings_per_km2` are new cuttings and clearings between the dates.

    `shift_m` is the misregistration of the scene before, in a direction that is drawn, `noise` a factor on the noise of
    the sensor, `texture` the standard deviation of the brightness within one land cover, as a share of its mean.
    `season` is how far apart the phenology of the two dates is, from 0, as on one day, to 1, as dated; `fresh_debris`
    the colour of new debris between weathered ground (0) and freshly broken rock (1). Snow lies `snow_m` below the
    highest summit at the later date, at a relief of 1600 m and in proportion. `map_error_m` is the standard deviation
    of geological boundaries on the map.
    """

    cloud_share_pre: float
    cloud_share_post: float
    haze_share: float
    shift_m: float
    noise: float
    texture: float
    season: float
    fresh_debris: float
    surviving_plants: float
    harvested_share: float
    bare_share: float
    openings_per_km2: float
    snow_m: float
    map_error_m: float


DIFFICULTIES = {
    "easy": Difficulty(0.0, 0.0, 0.0, 1.0, 0.5, 0.06, 0.3, 1.0, 0.05, 0.1, 0.02, 0.5, 0.0, 10.0),
    "paper": Difficulty(0.02, 0.03, 0.05, 4.0, 1.0, 0.12, 1.0, 0.6, 0.15, 0.5, 0.06, 30.0, 150.0, 40.0),
    "hard": Difficulty(0.06, 0.10, 0.15, 7.0, 2.0, 0.18, 1.0, 0.25, 0.30, 0.8, 0.12, 60.0, 350.0, 80.0),
}
"""The three levels of ``--difficulty``."""

FULL_RELIEF_M, _FULL_SIZE_KM = 1600.0, 12.0


class Recipe(StrictModel):
    """All that decides a simulated earthquake; the same recipe gives the same files.

    `size_km` is the side of the square that the scenes cover, rounded up to whole 60 m. Another `seed` is another place
    (of 16 that lie apart) and another earthquake. `relief_m` is the height of the highest summit above the lowest
    valley: by default 1600 m from 12 km on and less on a smaller area, whose slopes would be cliffs. `drainage_per_km`
    is the length of streams per area, in km per km2: how finely valleys divide the terrain. `landslide_share` of the
    mapped area slides, by default that of the paper's samples, 1 : 28.

    Examples
    --------
    >>> Recipe(size_km=3.6, difficulty="easy").relief_m
    688.8
    """

    size_km: float = Field(default=12.0, ge=3, le=100)
    seed: int = Field(default=0, ge=0, lt=2**32)
    difficulty: Literal["easy", "paper", "hard"] = "paper"
    relief_m: float = Field(default=0.0, ge=200, le=4000)  # filled in below where it is not given
    drainage_per_km: float = Field(default=2.5, ge=0.5, le=6)
    landslide_share: float = Field(default=1 / 29, gt=0, le=0.15)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_relief(cls, values: Any) -> Any:
        if isinstance(values, dict) and "relief_m" not in values:
            size_km = values.get("size_km", _FULL_SIZE_KM)
            if isinstance(size_km, int | float) and size_km > 0:
                return {**values, "relief_m": round(FULL_RELIEF_M * min(1.0, size_km / _FULL_SIZE_KM) ** 0.7, 1)}
        return values

    @property
    def hardness(self) -> Difficulty:
        """The settings of its difficulty."""
        return DIFFICULTIES[self.difficulty]

    def random(self, part: str) -> np.random.Generator:
        """Start the random numbers of one part, such as ``"rain"``, which no other part draws from."""
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(part.encode())]))
