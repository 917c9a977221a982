"""What a simulated earthquake is told: its size, its seed, and how hard its landslides are to find."""

import zlib
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from coslide.config.training import StrictModel

AGES = ("D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3")
"""Strata from old to young: those of Jiuzhaigou (Table 2 of Yang et al. 2023, doi:10.3390/rs15040977)."""


class Difficulty(NamedTuple):
    """How hard it is to see the landslides of a simulated event.

    Attributes
    ----------
    cloud_share_pre, cloud_share_post
        Share of the ground under thick cloud at the two dates.
    haze_share
        Share of the ground under thin cloud, which no classification marks, at each date.
    shift_m
        How far the scene before lies from where it says, in metres; the direction is drawn.
    noise
        Factor on the noise of the sensor.
    texture
        Standard deviation of the brightness within one kind of ground, as a share of its mean.
    season
        How far the plants of the two dates are apart: 0 as if both were of one day, 1 as their dates say.
    fresh_debris
        How much new debris differs from ground that was bare before: 0 not at all, 1 as freshly broken rock does.
    surviving_plants
        Share of the ground in a landslide, or an opening, on which plants stand as before.
    harvested_share
        Share of the fields that are harvested between the dates.
    bare_share
        Share of the slopes that were bare before the earthquake: outcrops, scree and old scars.
    openings_per_km2
        New cuttings and clearings between the dates, for each km2 of the ground.
    snow_m
        How far below the highest summit snow lies at the later date, in metres at a relief of 1600 m, and in
        proportion on other ground; 0 for none.
    map_error_m
        Typical distance between a geological boundary and where the map draws it, in metres.
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
"""What the three words of ``--difficulty`` stand for."""

FULL_RELIEF_M = 1600.0
"""Relief of ground of 12 km and more, in metres, unless the recipe says another."""

_RELIEF_KM = 12.0


class Recipe(StrictModel):
    """All that decides a simulated earthquake; the same recipe gives the same files.

    Attributes
    ----------
    size_km
        Side of the square that the scenes cover; rounded up to whole 60 m.
    seed
        Another seed is another place and another earthquake.
    difficulty
        A name in `DIFFICULTIES`.
    relief_m
        Height of the highest summit above the lowest valley of the tile. The default is 1600 m from 12 km on, and less
        on smaller ground, whose slopes would be cliffs: 600 m on 3 km.
    drainage_per_km
        Length of streams per area, in km per km2: how finely valleys divide the ground.
    landslide_share
        Share of the mapped ground that slides. The default is that of the paper's samples, 1 : 28.

    Examples
    --------
    >>> recipe = Recipe(seed=3)
    >>> int(recipe.random("rain").integers(1000)) == int(recipe.random("rain").integers(1000))
    True
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
            size_km = values.get("size_km", _RELIEF_KM)
            if isinstance(size_km, int | float) and size_km > 0:
                return {**values, "relief_m": round(FULL_RELIEF_M * min(1.0, size_km / _RELIEF_KM) ** 0.7, 1)}
        return values

    @property
    def hardness(self) -> Difficulty:
        """What the word for the difficulty stands for."""
        return DIFFICULTIES[self.difficulty]

    def random(self, part: str) -> np.random.Generator:
        """Return the random numbers of one part, such as ``"rain"``: no other part draws from them."""
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(part.encode())]))
