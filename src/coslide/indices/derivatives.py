"""Slope, aspect and curvature of an elevation grid, and the smoothing that whole-metre elevations need first."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from coslide.labels import NO_CLASS

FLAT_CLASS = 1
ASPECT_CLASSES = ("flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW")
_TRUNCATE = 4.0  # sigmas; beyond it a Gaussian holds 6e-5 of its weight
_STRIP_ROWS = 512  # smoothing works in float64 on strips, so that a whole scene needs little more than its own memory


class Derivatives(NamedTuple):
    """The shape of the terrain: three float32 (row, col) arrays.

    Attributes
    ----------
    slope_deg
        Steepest slope in degrees, 0 to below 90.
    aspect_deg
        Direction in which the terrain falls, in degrees clockwise from north, in [0, 360). NaN where exactly flat.
    mean_curvature_per_m
        Mean of the two principal curvatures in 1/m, positive on hilltops and ridges, negative in hollows.
    """

    slope_deg: NDArray[np.float32]
    aspect_deg: NDArray[np.float32]
    mean_curvature_per_m: NDArray[np.float32]


def slope_aspect_curvature(elevation: ArrayLike, pixel_size_m: float) -> Derivatives:
    """Compute slope and aspect in degrees and mean curvature in 1/m, from the 3 x 3 pixels around each.

    With p and q the first derivatives to the east and to the north, weighted as in [1]_, and r, s and t the second
    derivatives (east, mixed, north) of the quadratic that fits the nine pixels best [2]_::

        slope          = atan(sqrt(p² + q²))
        aspect         = azimuth of (-p, -q)
        mean curvature = -((1 + q²) r - 2 p q s + (1 + p²) t) / (2 (1 + p² + q²)^1.5)

    The last is the mean curvature H of differential geometry, 1/R on a sphere of radius R whatever the slope. It is not
    the "curvature" of ArcGIS (`esri_curvature`).

    Parameters
    ----------
    elevation
        Metres, (row, col), row 0 in the north, columns to the east; used as float32.
    pixel_size_m
        Side of the square pixels.

    Returns
    -------
    Derivatives
        Slope, aspect and mean curvature, each float32 of the shape of `elevation`.

    Raises
    ------
    ValueError
        If `elevation` is not two-dimensional or `pixel_size_m` is not positive.

    Notes
    -----
    A pixel is NaN in all three arrays where any of its nine pixels is NaN, and on the outermost ring: read the
    elevation with a margin (`smoothing_margin_px`) and cut it off.

    The centre pixel is subtracted before anything is added up. So the error of float32 stays that of the elevations
    themselves: below 0.5 % of H on a sphere of 2 km radius with pixels of 10 m.

    References
    ----------
    .. [1] Horn (1981), Hill shading and the reflectance map, Proc. IEEE 69, 14-47, doi:10.1109/PROC.1981.11918.
    .. [2] Evans (1980), An integrated system of terrain analysis and slope mapping, Z. Geomorphol. Suppl. 36, 274-295.

    Examples
    --------
    >>> row, col = np.mgrid[:4, :4]
    >>> plane = slope_aspect_curvature(10.0 * row, 10.0)  # falls to the north, 1 in 1
    >>> plane.slope_deg
    array([[nan, nan, nan, nan],
           [nan, 45., 45., nan],
           [nan, 45., 45., nan],
           [nan, nan, nan, nan]], dtype=float32)
    >>> float(plane.aspect_deg[1, 1])
    0.0
    """
    metres = _as_grid(elevation, pixel_size_m)
    found = Derivatives(*(np.empty_like(metres) for _ in range(3)))
    for values in found:
        values[:1] = values[-1:] = values[:, :1] = values[:, -1:] = np.nan
    _derive(metres, np.float32(pixel_size_m), *found)
    return found


def esri_curvature(elevation: ArrayLike, pixel_size_m: float) -> NDArray[np.float32]:
    """Compute the "curvature" of ArcGIS in 1/(100 m): -100 times the Laplacian of the elevation, positive on hilltops.

    From the polynomial of [1]_ through the nine pixels, of which five matter, as [2]_ gives it::

        D = ((west + east) / 2 - centre) / pixel²
        E = ((north + south) / 2 - centre) / pixel²
        curvature = -2 (D + E) 100

    At the top of a sphere of radius R it is 200 / R, twice the mean curvature (in the same unit). On slopes it is more,
    for it is not divided by the slope.

    Parameters
    ----------
    elevation, pixel_size_m
        As for `slope_aspect_curvature`, and so are the errors.

    Returns
    -------
    ndarray of float32
        Same shape. NaN where any of the nine pixels is, and on the outermost ring.

    References
    ----------
    .. [1] Zevenbergen & Thorne (1987), Quantitative analysis of land surface topography, Earth Surf. Process. Landf.
       12, 47-56, doi:10.1002/esp.3290120107.
    .. [2] Moore, Grayson & Ladson (1991), Digital terrain modelling, Hydrol. Process. 5, 3-30,
       doi:10.1002/hyp.3360050103.

    Examples
    --------
    >>> bowl = [[2.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 2.0]]
    >>> float(esri_curvature(bowl, 10.0)[1, 1])  # the Laplacian is 4 m over (10 m)²
    -4.0
    """
    metres = _as_grid(elevation, pixel_size_m)
    centre, side = metres[1:-1, 1:-1], np.float32(pixel_size_m)
    sides = metres[1:-1, :-2], metres[1:-1, 2:], metres[:-2, 1:-1], metres[2:, 1:-1]
    with np.errstate(invalid="ignore"):  # infinite elevations
        west, east, north, south = (values - centre for values in sides)
        corners = metres[:-2, :-2] + metres[:-2, 2:] + metres[2:, :-2] + metres[2:, 2:]
        half, scale = np.float32(0.5), np.float32(-200) / (side * side)
        bend = ((west + east) * half + (north + south) * half) * scale
        bend[~np.isfinite(bend + corners)] = np.nan
    return np.pad(bend, 1, constant_values=np.nan)


def aspect_class(aspect_deg: ArrayLike, slope_deg: ArrayLike, *, flat_below_deg: float = 1.0) -> NDArray[np.uint8]:
    """Classify the aspect of each pixel: 1 flat, 2 N, 3 NE, 4 E, 5 SE, 6 S, 7 SW, 8 W, 9 NW (no unit).

    North is [337.5, 360) and [0, 22.5) degrees; every class owns its lower edge. The classes are those of Table 2 of
    Yang et al. (2023, doi:10.3390/rs15040977).

    Parameters
    ----------
    aspect_deg
        Degrees clockwise from north; NaN where it has none.
    slope_deg
        Degrees, same shape.
    flat_below_deg
        Terrain with less slope is flat, whatever its aspect: there the aspect is that of the noise.

    Returns
    -------
    ndarray of uint8
        255 where the slope is NaN; flat where only the aspect is.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> aspect_class([0.1, 359.9, 22.5, 90.0, np.nan, 90.0], [30.0, 30.0, 30.0, 30.0, 0.0, np.nan])
    array([  2,   2,   3,   4,   1, 255], dtype=uint8)
    """
    aspect, slope = (np.asarray(values, dtype=np.float32) for values in (aspect_deg, slope_deg))
    if aspect.shape != slope.shape:
        raise ValueError(f"slope_deg: found the shape {slope.shape}, expected that of aspect_deg, {aspect.shape}")
    # In float64 the sum is exact and the quotient is whole exactly at the edges of the classes.
    octant = np.floor((aspect.astype(np.float64) + 22.5) / 45.0) % 8
    flat = (slope < flat_below_deg) | np.isnan(aspect)
    classes = np.where(flat, FLAT_CLASS, octant + (FLAT_CLASS + 1))
    return np.where(np.isnan(slope), NO_CLASS, classes).astype(np.uint8)


def smooth(elevation: ArrayLike, sigma_px: float) -> NDArray[np.float32]:
    """Smooth an elevation in metres by a Gaussian that leaves nodata out.

    Normalised convolution [1]_: the weighted mean of the pixels that have an elevation.

    Parameters
    ----------
    elevation
        Metres, (row, col); nodata NaN.
    sigma_px
        Standard deviation in pixels. 0 returns the elevation as it is, as float32.

    Returns
    -------
    ndarray of float32
        Same shape. A pixel that is not finite becomes NaN and changes no other pixel.

    Raises
    ------
    ValueError
        If `elevation` is not two-dimensional or `sigma_px` is negative.

    Notes
    -----
    The kernel ends at 4 sigma (rounded to whole pixels). What lies beyond the border counts as nodata, so pixels nearer
    to it than `smoothing_margin_px` differ from those of a larger grid; all others are equal to the bit.

    References
    ----------
    .. [1] Knutsson & Westin (1993), Normalized and differential convolution, CVPR, 515-523,
       doi:10.1109/CVPR.1993.341081.

    Examples
    --------
    >>> smooth([[0.0, 4.0, 0.0], [0.0, np.nan, 0.0]], 1.0).round(2)
    array([[1.  , 1.36, 1.  ],
           [0.67,  nan, 0.67]], dtype=float32)
    """
    radius = smoothing_margin_px(sigma_px) - 1
    metres = _as_grid(elevation)
    if sigma_px == 0:
        return metres
    smoothed = np.empty_like(metres)
    for top in range(0, metres.shape[0], _STRIP_ROWS):
        first = max(0, top - radius)
        strip = _smooth_strip(metres[first : top + _STRIP_ROWS + radius], sigma_px, radius)
        smoothed[top : top + _STRIP_ROWS] = strip[top - first :][:_STRIP_ROWS]
    return smoothed


def smoothing_margin_px(sigma_px: float) -> int:
    """Compute how many pixels around an area must be read so that terrain indices are exact inside it.

    It is the reach of `smooth` and one pixel for the derivatives. `sigma_px` is that of `smooth`.

    Raises
    ------
    ValueError
        If `sigma_px` is negative or not finite.

    Examples
    --------
    >>> smoothing_margin_px(3.0), smoothing_margin_px(0.0)
    (13, 1)
    """
    if not 0 <= sigma_px < math.inf:
        raise ValueError(f"sigma_px: found {sigma_px}, expected 0 or a positive number")
    return int(_TRUNCATE * sigma_px + 0.5) + 1


def _smooth_strip(metres: NDArray[np.float32], sigma_px: float, radius: int) -> NDArray[np.float64]:
    # float64: sums of 3000 m in float32 would leave steps of 0.2 mm, which curvature sees.
    blur = partial(gaussian_filter, sigma=sigma_px, mode="constant", radius=radius, output=np.float64)
    valid, columns = np.isfinite(metres), np.arange(metres.shape[1])
    total: NDArray[np.float64] = blur(np.where(valid, metres, np.float32(0.0)))
    if not valid.all():
        np.divide(total, blur(valid), out=total, where=valid)
        total[~valid] = np.nan
        return total
    # Without holes the weights are the same, to the bit, in every column away from the sides: a narrow strip has them.
    narrow = valid[:, : 2 * radius + 1]
    weight = blur(narrow)
    middle, last = narrow.shape[1] // 2, columns.size - narrow.shape[1]
    total /= weight[:, np.maximum(np.minimum(columns, middle), columns - last)]
    return total


def _as_grid(elevation: ArrayLike, pixel_size_m: float = 1.0) -> NDArray[np.float32]:
    metres = np.ascontiguousarray(elevation, dtype=np.float32)
    if metres.ndim != 2:
        raise ValueError(f"elevation: found {metres.ndim} dimensions, expected 2 (row, col)")
    if not pixel_size_m > 0:
        raise ValueError(f"pixel_size_m: found {pixel_size_m}, expected a positive number")
    return metres


# error_model="numpy": no test for division by zero in the inner loop. fastmath stays off, it would drop NaN.
_compiled = njit(nogil=True, cache=True, error_model="numpy")


# Written without branches, on rows without their first and last pixel: so the compiler computes eight pixels at once.
@njit(nogil=True, inline="always", error_model="numpy")
def _arctan(x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Compute the arc tangent of x >= 0 [rad] in float32, right to 2 units of the last place.

    Reduced to below tan(pi / 8), then the polynomial of `atanf` in Moshier's Cephes library; NaN stays NaN.
    """
    one = np.float32(1)
    beyond, between = x > np.float32(2.414213562373095), x > np.float32(0.4142135623730950)
    start = np.float32(math.pi / 2) if beyond else (np.float32(math.pi / 4) if between else np.float32(0))
    t = (-one if beyond else (x - one if between else x)) / (x if beyond else (x + one if between else one))
    z = t * t
    tail = np.float32(8.05374449538e-2) * z - np.float32(1.38776856032e-1)
    tail = (tail * z + np.float32(1.99777106478e-1)) * z - np.float32(3.33329491539e-1)
    return start + (tail * z * t + t)


@_compiled
def _derive_row(north, middle, south, side, slope_deg, aspect_deg, curvature):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    # Constants are float32 so that the kernel is not widened to float64.
    zero, one, two, three, four = np.float32(0), np.float32(1), np.float32(2), np.float32(3), np.float32(4)
    half_turn, full_turn = np.float32(180), np.float32(360)
    right_angle, degrees, missing = np.float32(math.pi / 2), np.float32(180 / math.pi), np.float32(np.nan)
    first = one / (np.float32(8) * side)
    second, mixed = one / (three * side * side), one / (four * side * side)
    for j in range(slope_deg.size):
        centre = middle[j + 1]
        nw, n, ne = north[j] - centre, north[j + 1] - centre, north[j + 2] - centre
        w, e = middle[j] - centre, middle[j + 2] - centre
        sw, s, se = south[j] - centre, south[j + 1] - centre, south[j + 2] - centre
        p = ((ne + two * e + se) - (nw + two * w + sw)) * first
        q = ((nw + two * n + ne) - (sw + two * s + se)) * first
        zxx = ((nw + ne) + (w + e) + (sw + se) - two * (n + s)) * second
        zyy = ((nw + sw) + (n + s) + (ne + se) - two * (w + e)) * second
        zxy = ((ne + sw) - (nw + se)) * mixed
        p2, q2 = p * p, q * q
        steep = p2 + q2
        valid = steep - steep == zero  # finite: all nine pixels are in it
        slope_deg[j] = _arctan(math.sqrt(steep)) * degrees if valid else missing
        norm = one + steep
        bend = (one + q2) * zxx - two * p * q * zxy + (one + p2) * zyy
        curvature[j] = -bend / (two * norm * math.sqrt(norm)) if valid else missing
        # The azimuth of (-p, -q): the angle to the nearest of the four axes, unfolded.
        along_x, along_y = abs(p), abs(q)
        angle = _arctan(min(along_x, along_y) / max(along_x, along_y))
        angle = (right_angle - angle if along_x > along_y else angle) * degrees
        angle = half_turn - angle if q > zero else angle
        angle = full_turn - angle if p > zero else angle
        # A tiny negative angle rounds up to 360, which is 0.
        angle = angle if angle < full_turn else zero
        aspect_deg[j] = angle if valid and max(along_x, along_y) > zero else missing


@_compiled
def _derive(z, side, slope_deg, aspect_deg, curvature):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    last = z.shape[1] - 1
    for i in range(1, z.shape[0] - 1):
        inside = slope_deg[i, 1:last], aspect_deg[i, 1:last], curvature[i, 1:last]
        _derive_row(z[i - 1], z[i], z[i + 1], side, *inside)
