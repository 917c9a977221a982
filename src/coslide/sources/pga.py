"""Peak ground acceleration (PGA): its units, and what values it can have."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coslide.errors import InputError

STANDARD_GRAVITY_M_S2 = 9.80665
G_PER_UNIT = {"g": 1.0, "%g": 0.01, "m/s2": 1 / STANDARD_GRAVITY_M_S2, "cm/s2": 0.01 / STANDARD_GRAVITY_M_S2}
LARGEST_RECORDED_G = 5.0  # 4.36 g at IWTH25 on 2008-06-14 is the largest recorded so far (Aoi et al. 2008)
SMALLEST_LN_G = 1e-6  # below it a logarithm is no acceleration that anybody measures
LARGEST_LN_STD = 5.0
"""A standard deviation of ln PGA beyond this (a factor of 148) is none; ground motion models have 0.5 to 0.8."""

_OTHER_NAMES = {
    "pctg": "%g", "percentg": "%g", "gal": "cm/s2", "cm/s^2": "cm/s2", "cm/s/s": "cm/s2", "m/s^2": "m/s2",
    "m/s/s": "m/s2",
}  # fmt: skip


def parse_unit(text: str) -> str | None:
    """Parse a unit of acceleration to a key of `G_PER_UNIT` or ``"ln(...)"`` of one; None where it is no such unit.

    Examples
    --------
    >>> parse_unit("pctg"), parse_unit("ln(pctg)"), parse_unit("cm/s")
    ('%g', 'ln(%g)', None)
    """
    plain = text.lower().replace(" ", "")
    if plain.startswith("ln(") and plain.endswith(")"):
        inner = parse_unit(plain[3:-1])
        return f"ln({inner})" if inner else None
    unit = _OTHER_NAMES.get(plain, plain)
    return unit if unit in G_PER_UNIT else None


def in_g(values: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Convert accelerations to g, float64 of the shape of `values`.

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


def require_pga(name: str, pga_g: NDArray[Any], unit: str, *, least_g: float = 0.0, positive: bool = False) -> None:
    """Check that accelerations are possible ones; NaN passes.

    Parameters
    ----------
    name
        What messages call the source.
    pga_g
        In g.
    unit
        The unit that they were converted from, for the message.
    least_g, positive
        The least value that passes; whether 0 does not.

    Raises
    ------
    InputError
        If they are smaller, or beyond 5 g: then the unit is wrong, or an undeclared value stands for nodata.
    """
    valid = pga_g[~np.isnan(pga_g)]
    if not ((valid >= least_g) & (valid <= LARGEST_RECORDED_G) & (valid > 0 if positive else True)).all():
        expected = "above 0" if positive else f"of {least_g:g} or more"
        raise InputError(
            f"{name}: found PGA from {valid.min():.3g} to {valid.max():.3g} g with unit {unit!r}, expected values "
            f"{expected} and up to {LARGEST_RECORDED_G:g} g (is the unit right, and is nodata declared?)"
        )


def require_ln_std(name: str, ln_std: NDArray[Any]) -> None:
    """Check that values can be standard deviations of ln PGA; NaN passes.

    Raises
    ------
    InputError
        If they are negative or beyond 5.
    """
    valid = ln_std[~np.isnan(ln_std)]
    if not ((valid >= 0) & (valid <= LARGEST_LN_STD)).all():
        found = f"found {valid.min():.3g} to {valid.max():.3g}"
        raise InputError(f"{name}: {found}, expected standard deviations of ln PGA from 0 to {LARGEST_LN_STD:g}")
