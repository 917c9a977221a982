"""Units of peak ground acceleration (PGA)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

STANDARD_GRAVITY_M_S2 = 9.80665
G_PER_UNIT = {"g": 1.0, "%g": 0.01, "m/s2": 1 / STANDARD_GRAVITY_M_S2, "cm/s2": 0.01 / STANDARD_GRAVITY_M_S2}
LARGEST_RECORDED_G = 5.0  # 4.36 g at IWTH25 on 2008-06-14 is the largest recorded so far (Aoi et al. 2008)
SMALLEST_LN_G = 1e-6  # below it a logarithm is no acceleration that anybody measures
LARGEST_LN_STD = 5.0
"""A standard deviation of ln PGA beyond this (a factor of 148) is none; ground motion models have 0.5 to 0.8."""

_OTHER_NAMES = {
    "pctg": "%g",
    "percentg": "%g",
    "gal": "cm/s2",
    "cm/s^2": "cm/s2",
    "cm/s/s": "cm/s2",
    "m/s^2": "m/s2",
    "m/s/s": "m/s2",
}


def known_unit(text: str) -> str | None:
    """Return the unit of acceleration that `text` names, as a key of `G_PER_UNIT` or ``"ln(...)"`` of one; else None.

    Examples
    --------
    >>> known_unit("pctg"), known_unit("ln(pctg)"), known_unit("cm/s")
    ('%g', 'ln(%g)', None)
    """
    plain = text.lower().replace(" ", "")
    if plain.startswith("ln(") and plain.endswith(")"):
        inner = known_unit(plain[3:-1])
        return f"ln({inner})" if inner else None
    unit = _OTHER_NAMES.get(plain, plain)
    return unit if unit in G_PER_UNIT else None


def in_g(values: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Return accelerations in g, float64 of the shape of `values`.

    Parameters
    ----------
    values
        In `unit`.
    unit
        A key of `G_PER_UNIT`, or ``"ln(...)"`` of one for natural logarithms.

    Notes
    -----
    Logarithms that are too large for any acceleration become infinity.

    Examples
    --------
    >>> in_g([25.0], "%g"), in_g([np.log(0.25)], "ln(g)")
    (array([0.25]), array([0.25]))
    """
    numbers = np.asarray(values, dtype=np.float64)
    if unit.startswith("ln("):
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(numbers) * G_PER_UNIT[unit[3:-1]])
    return np.asarray(numbers * G_PER_UNIT[unit])
