"""How large landslides are: the inverse-gamma law of landslide inventories."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gamma, gammaincc, gammainccinv

SHAPE = 1.40  # rho: areas of large landslides thin out as A^-2.4, in all three inventories of Malamud et al. (2004)
SMALLEST_M2 = 200.0  # two cells of 10 m: nobody maps less on a scene of that cell
SMALL_M2 = 1104.0  # 11 cells and less: "small" in Yang et al. (2023, doi:10.3390/rs15040977)

Areas = NDArray[np.float64]


@dataclass(frozen=True)
class SizeLaw:
    """Three-parameter inverse-gamma law of landslide areas, cut off at a largest area.

    With x = A - s, [1]_ gives the density::

        p(A) = (a / x)^(rho + 1) exp(-a / x) / (a Γ(rho))

    Attributes
    ----------
    scale_m2
        a, in m2: where the density turns from its exponential rise to its power-law fall.
    largest_m2
        No landslide is larger.
    smallest_m2
        s, in m2: no landslide is smaller. (In [1]_ s is slightly negative, for inventories without such a limit.)
    shape
        rho, no unit.

    References
    ----------
    .. [1] Malamud, Turcotte, Guzzetti & Reichenbach (2004), Landslide inventories and their statistical properties,
       Earth Surf. Process. Landf. 29, 687-711, doi:10.1002/esp.1064.
    """

    scale_m2: float
    largest_m2: float
    smallest_m2: float = SMALLEST_M2
    shape: float = SHAPE

    def share_below(self, area_m2: ArrayLike) -> Areas:
        """Return the share of landslides (no unit, 0 to 1) that are smaller than `area_m2`."""
        within = np.clip(np.asarray(area_m2, dtype=np.float64), self.smallest_m2, self.largest_m2)
        return np.asarray(self._below(within) / self._below(np.float64(self.largest_m2)), dtype=np.float64)

    def area_m2(self, share: ArrayLike) -> Areas:
        """Return the area in m2 below which a `share` (0 to 1) of the landslides are: the quantile."""
        whole = np.asarray(share, dtype=np.float64) * self._below(np.float64(self.largest_m2))
        return np.asarray(self.smallest_m2 + self.scale_m2 / gammainccinv(self.shape, whole), dtype=np.float64)

    def mean_m2(self) -> float:
        """Return the mean area of a landslide in m2.

        ∫ x p dx up to the largest x is a Γ(rho - 1, a / x) / Γ(rho), with the upper incomplete gamma function.
        """
        reach = self.scale_m2 / (self.largest_m2 - self.smallest_m2)
        partial = gammaincc(self.shape - 1, reach) * gamma(self.shape - 1) / gamma(self.shape)
        return float(self.smallest_m2 + self.scale_m2 * partial / self._below(np.float64(self.largest_m2)))

    def draw(self, random: np.random.Generator, count: int) -> Areas:
        """Return `count` areas in m2, drawn by the law."""
        return self.area_m2(random.random(count))

    def _below(self, area_m2: Areas | np.float64) -> Areas:
        with np.errstate(divide="ignore"):  # the smallest area itself: a / 0, and nothing below it
            return np.asarray(gammaincc(self.shape, self.scale_m2 / (area_m2 - self.smallest_m2)))


def size_law(small_share: float, largest_m2: float) -> SizeLaw:
    """Return the law by which a share of `small_share` of landslides has less than 1104 m2 and none over `largest_m2`.

    Parameters
    ----------
    small_share
        No unit, between 0 and 1. Yang et al. (2023) count 0.92.
    largest_m2
        In m2, over 1104.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> law = size_law(0.92, 4e5)
    >>> float(law.share_below(1104.0).round(6)), float(law.area_m2(0.5).round(-1))
    (0.92, 370.0)
    """
    if not 0 < small_share < 1:
        raise ValueError(f"small_share: found {small_share}, expected a share between 0 and 1")
    if not largest_m2 > SMALL_M2:
        raise ValueError(f"largest_m2: found {largest_m2}, expected more than {SMALL_M2}")

    def excess(scale_m2: float) -> float:
        return float(SizeLaw(scale_m2, largest_m2).share_below(SMALL_M2)) - small_share

    return SizeLaw(float(brentq(excess, 1e-3, 100 * largest_m2, xtol=1e-9)), largest_m2)
