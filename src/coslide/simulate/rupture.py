"""The fault that breaks in a simulated earthquake: a curved, dipping surface that comes up in or beside the tile."""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from shapely import LineString, Polygon

from coslide.simulate.frame import Frame
from coslide.simulate.recipe import Recipe

Floats = NDArray[np.float32]

# log10 of length along strike and of width down dip in km = a + b M, for the rupture below ground: Wells and
# Coppersmith (1994), Table 2A, "RLD" and "RW".
_LENGTH = {"reverse": (-2.42, 0.58), "strike-slip": (-2.57, 0.62)}
_WIDTH = {"reverse": (-1.61, 0.41), "strike-slip": (-0.76, 0.27)}

_VERTEX_M = 250.0
_OFF_CENTRE = 0.35  # of half the tile, at most this far passes the trace from its middle ...
_FARTHEST_M = 4000.0  # ... and no farther than this
_OFF_ALONG = 0.15  # of the length, at most this far is the middle of the rupture from where it passes the tile
_BENDS = ((1.0, 0.020), (0.30, 0.020), (0.11, 0.015))  # wavelength as a share of the length, amplitude of wavelength


@dataclass(frozen=True)
class Rupture:
    """A rupture whose surface follows the bends of its trace, with the same dip everywhere.

    Attributes
    ----------
    style
        ``"reverse"`` (with some slip along strike) or ``"strike-slip"``.
    magnitude
        Moment magnitude.
    strike_deg, dip_deg, rake_deg
        Strike clockwise from grid north; the fault dips to the right of it.
    length_km, width_km
        Along strike, and down dip from the upper edge.
    top_km
        Depth of the upper edge: rock above it is displaced, but radiates little.
    middle_m
        Easting and northing of the middle of the trace, had it no bends.
    bends
        (amplitude_m, wavelength_m, phase) of each.
    hypocentre_m
        Easting and northing above the hypocentre.
    hypocentre_km
        Its depth.
    """

    style: str
    magnitude: float
    strike_deg: float
    dip_deg: float
    rake_deg: float
    length_km: float
    width_km: float
    top_km: float
    middle_m: tuple[float, float]
    bends: tuple[tuple[float, float, float], ...]
    hypocentre_m: tuple[float, float]
    hypocentre_km: float

    @property
    def trace(self) -> LineString:
        """Where the fault meets the surface, along the length of the rupture, in the CRS of the frame."""
        along = self._stations_m()
        return LineString(self._places(along, self._bend_m(along)))

    @property
    def projection(self) -> Polygon:
        """The rupture seen from above, in the CRS of the frame."""
        along = self._stations_m()
        bend = self._bend_m(along)
        reach = 1000 * self.width_km * math.cos(math.radians(self.dip_deg))
        near = bend + 1000 * self.top_km / math.tan(math.radians(self.dip_deg))
        ring = np.concatenate([self._places(along, near), self._places(along[::-1], (near + reach)[::-1])])
        return Polygon(ring)

    def side(self, x_m: ArrayLike, y_m: ArrayLike) -> NDArray[np.float64]:
        """Return how far places lie from the line of the trace, across strike, in metres.

        Parameters
        ----------
        x_m, y_m
            Coordinates in the CRS of the frame; broadcast against each other.

        Returns
        -------
        ndarray of float64
            Positive over the hanging wall (to the right of strike), negative over the footwall. The line goes on, with
            its bends, beyond the ends of the trace. Measured at right angles to the strike, so a little more than the
            shortest distance where the line bends.
        """
        along, across = self._along_across(x_m, y_m)
        return across - self._bend_m(along)

    def distance_km(self, x_m: ArrayLike, y_m: ArrayLike) -> Floats:
        """Return the Joyner-Boore distance in km: to the surface projection of the rupture, 0 above it.

        Parameters
        ----------
        x_m, y_m
            Coordinates in the CRS of the frame; broadcast against each other.
        """
        return _distance_km(np.asarray(self.projection.exterior.coords), x_m, y_m, closed=True)

    def trace_distance_km(self, x_m: ArrayLike, y_m: ArrayLike) -> Floats:
        """Return the distance to the trace in km; arguments as for `distance_km`."""
        return _distance_km(np.asarray(self.trace.coords), x_m, y_m, closed=False)

    def _axes(self) -> tuple[float, float]:
        strike = math.radians(self.strike_deg)
        return math.sin(strike), math.cos(strike)

    def _along_across(self, x_m: ArrayLike, y_m: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return distances in metres along strike and to its right, from the middle."""
        sine, cosine = self._axes()
        dx = np.asarray(x_m, dtype=np.float64) - self.middle_m[0]
        dy = np.asarray(y_m, dtype=np.float64) - self.middle_m[1]
        return dx * sine + dy * cosine, dx * cosine - dy * sine

    def _places(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        sine, cosine = self._axes()
        x, y = along * sine + across * cosine, along * cosine - across * sine
        return np.stack([self.middle_m[0] + x, self.middle_m[1] + y], axis=-1)

    def _stations_m(self) -> NDArray[np.float64]:
        count = math.ceil(1000 * self.length_km / _VERTEX_M) + 1
        return np.linspace(-500 * self.length_km, 500 * self.length_km, count)

    def _bend_m(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        bend = np.zeros_like(along)
        for amplitude, wavelength, phase in self.bends:
            bend += amplitude * np.sin(along * (2 * np.pi / wavelength) + phase)
        return bend


def make_rupture(recipe: Recipe, frame: Frame) -> Rupture:
    """Return the rupture of a simulated earthquake: magnitude 6.3 to 6.8, reverse or strike-slip.

    Length and width are the medians for the magnitude [1]_. The trace crosses the tile, a few km from its middle.

    Parameters
    ----------
    recipe
        Its `seed` decides all but the place.
    frame
        Where the tile lies.

    References
    ----------
    .. [1] Wells, Coppersmith (1994), New empirical relationships among magnitude, rupture length, rupture width,
       rupture area, and surface displacement, BSSA 84, 974-1002, doi:10.1785/BSSA0840040974, Table 2A.
    """
    random = recipe.random("rupture")
    reverse = bool(random.random() < 0.6)
    style = "reverse" if reverse else "strike-slip"
    magnitude = round(float(random.uniform(6.3, 6.8)), 1)
    length, width = rupture_size_km(magnitude, style)
    strike = float(random.uniform(0, 360))
    dip = float(random.uniform(40, 60) if reverse else random.uniform(75, 86))
    rake = float(random.uniform(50, 80) if reverse else random.choice([0.0, 180.0]))
    top = float(random.uniform(0.5, 2.5))
    box = frame.tile.boundingbox
    off = float(random.uniform(-1, 1)) * min(_OFF_CENTRE * (box.right - box.left) / 2, _FARTHEST_M)
    along = float(random.uniform(-_OFF_ALONG, _OFF_ALONG)) * 1000 * length
    sine, cosine = math.sin(math.radians(strike)), math.cos(math.radians(strike))
    middle = (
        (box.left + box.right) / 2 + along * sine + off * cosine,
        (box.bottom + box.top) / 2 + along * cosine - off * sine,
    )
    down = float(random.uniform(0.5, 0.8)) * width
    across = 1000 * (down * math.cos(math.radians(dip)) + top / math.tan(math.radians(dip)))
    start = float(random.uniform(-0.3, 0.3)) * 1000 * length
    return Rupture(
        style=style,
        magnitude=magnitude,
        strike_deg=strike,
        dip_deg=dip,
        rake_deg=rake,
        length_km=length,
        width_km=width,
        top_km=top,
        middle_m=middle,
        bends=_draw_bends(random, 1000 * length),
        hypocentre_m=(middle[0] + start * sine + across * cosine, middle[1] + start * cosine - across * sine),
        hypocentre_km=top + down * math.sin(math.radians(dip)),
    )


def rupture_size_km(magnitude: float, style: str) -> tuple[float, float]:
    """Return length along strike and width down dip in km, the medians of Wells and Coppersmith (1994).

    Parameters
    ----------
    magnitude
        Moment magnitude.
    style
        ``"reverse"`` or ``"strike-slip"``.

    Examples
    --------
    >>> rupture_size_km(6.5, "reverse")
    (22.4, 11.3)
    """
    (a, b), (c, d) = _LENGTH[style], _WIDTH[style]
    return 10 ** (a + b * magnitude), 10 ** (c + d * magnitude)


def _draw_bends(random: np.random.Generator, length_m: float) -> tuple[tuple[float, float, float], ...]:
    drawn = []
    for wavelength, amplitude in _BENDS:
        metres = wavelength * length_m * float(random.uniform(0.8, 1.2))
        drawn.append((amplitude * metres, metres, float(random.uniform(0, 2 * math.pi))))
    return tuple(drawn)


def _distance_km(vertices: NDArray[np.float64], x_m: ArrayLike, y_m: ArrayLike, *, closed: bool) -> Floats:
    shape = np.broadcast_shapes(np.shape(x_m), np.shape(y_m))
    x, y = (np.broadcast_to(np.asarray(values, dtype=np.float64), shape) for values in (x_m, y_m))
    if len(shape) != 2:
        x, y = x.reshape(1, -1), y.reshape(1, -1)
    found = np.empty(x.shape, dtype=np.float32)
    _measure(np.ascontiguousarray(vertices) / 1000, (x, y), closed, found)
    return found.reshape(shape)


@njit(cache=True, nogil=True)
def _measure(vertices, places_m, closed, found):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    x_m, y_m = places_m
    columns = x_m.shape[1]
    x, y, nearest, inside = np.empty(columns), np.empty(columns), np.empty(columns), np.empty(columns, dtype=np.bool_)
    for row in range(x_m.shape[0]):
        x[:], y[:], nearest[:], inside[:] = x_m[row] / 1000, y_m[row] / 1000, np.inf, False
        for k in range(vertices.shape[0] - 1):
            ax, ay = vertices[k, 0], vertices[k, 1]
            bx, by = vertices[k + 1, 0] - ax, vertices[k + 1, 1] - ay
            per_square = 1 / (bx * bx + by * by)
            for column in range(columns):  # innermost, so that the processor takes several at once
                px, py = x[column] - ax, y[column] - ay
                share = (px * bx + py * by) * per_square
                share = 0.0 if share < 0.0 else share
                share = 1.0 if share > 1.0 else share
                dx, dy = px - share * bx, py - share * by
                square = dx * dx + dy * dy
                nearest[column] = square if square < nearest[column] else nearest[column]
            if closed:
                for column in range(columns):
                    px, py = x[column] - ax, y[column] - ay
                    inside[column] ^= (py < 0) != (py < by) and px < bx * py / by
        for column in range(columns):
            found[row, column] = 0.0 if inside[column] else math.sqrt(nearest[column])
