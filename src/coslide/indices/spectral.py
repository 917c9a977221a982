"""Reflectance and NDVI of the scenes before and after the event."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import NdviConfig
from coslide.cube.band import Band
from coslide.cube.layer import LayerGroup
from coslide.errors import InputError
from coslide.grid import slices_of
from coslide.indices.coregister import Shift

RED, NIR = "B4", "B8"
MIN_REFLECTANCE_SUM = 0.001
"""Below it, ten steps of the stored values, NDVI is noise."""

When = Literal["pre", "post"]
Role = Literal["index", "diagnostic"]


class SceneLike(Protocol):
    """What a scene must offer to become indices: its bands on any window of the grid."""

    @property
    def band_names(self) -> Sequence[str]:
        """Names of the bands in the order of wavelength."""
        ...

    @property
    def acquired(self) -> str:
        """The day on which the scene was taken, as ``"2018-09-11"``; empty if not known."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the log: what was found in the files of the scene."""
        ...

    def reflectance(
        self, name: str, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)
    ) -> NDArray[np.float32]:
        """Return the reflectance (1) of a band as float32 (row, col), NaN where unknown.

        The content is moved by `shift_m` to the east and to the north.
        """
        ...

    def clear(self, window: GeoBox, *, shift_m: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.bool_]:
        """Return False, as (row, col), where something hides the ground, such as a cloud; `shift_m` as above."""
        ...


class NdviRoles(NamedTuple):
    """The roles of the NDVI layers: those of the dates (`date`) and that of their `difference`."""

    date: Role
    difference: Role


def ndvi_roles(inputs: NdviConfig, *, has_pre: bool) -> NdviRoles:
    """Return which NDVI layers are inputs of a network (``"index"``) and which are only to look at (``"diagnostic"``).

    Parameters
    ----------
    inputs
        The table of the event file.
    has_pre
        Whether there is a scene before the event. Without one there is no difference, so the NDVI after the event is
        an input whatever the table says.

    Examples
    --------
    >>> ndvi_roles(NdviConfig(inputs="difference"), has_pre=True)
    NdviRoles(date='diagnostic', difference='index')
    """
    return NdviRoles(
        date="index" if inputs.inputs in {"both", "all"} or not has_pre else "diagnostic",
        difference="index" if inputs.inputs in {"difference", "all"} else "diagnostic",
    )


def ndvi(red: ArrayLike, nir: ArrayLike) -> NDArray[np.float32]:
    """Return the normalised difference vegetation index, ``(nir - red) / (nir + red)``, unit 1, from -1 to 1.

    Parameters
    ----------
    red, nir
        Reflectance, same shape; computed as float32.

    Returns
    -------
    ndarray of float32
        Same shape. NaN where either is not finite, or where their sum is below 0.001: so dark, the quotient is noise.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Atmospheric correction leaves slightly negative reflectances, mostly red over dense forest. They are legal, and the
    quotient is then beyond 1; it is clipped to 1 (or -1), which is what it means.

    References
    ----------
    Rouse et al. (1974), Monitoring vegetation systems in the Great Plains with ERTS, NASA SP-351, 309-317.

    Examples
    --------
    >>> ndvi([0.02, 0.2, -0.01, 0.0, np.nan], [0.38, 0.2, 0.3, 0.0, 0.3])
    array([0.9, 0. , 1. , nan, nan], dtype=float32)
    """
    red, nir = (np.ascontiguousarray(values, dtype=np.float32) for values in (red, nir))
    if red.shape != nir.shape:
        raise ValueError(f"nir: found the shape {nir.shape}, expected that of red, {red.shape}")
    index = np.empty(red.shape, dtype=np.float32)
    _divide(red.reshape(-1), nir.reshape(-1), index.reshape(-1))
    return index


def prepare_scene(
    reader: SceneLike,
    when: When,
    *,
    grid: GeoBox,
    shift: Shift | None = None,
    ndvi_role: Role = "index",
    attrs: Mapping[str, Any] | None = None,
) -> LayerGroup:
    """Return the family of the indices of one scene: reflectance (1), and NDVI (1) where it has B4 and B8.

    Parameters
    ----------
    reader
        The scene.
    when
        ``"pre"`` or ``"post"``: before or after the event. It ends the names of the variables.
    grid
        The grid that windows are parts of.
    shift
        What `coslide.indices.coregister.coregistration` found; the content of the scene is moved by it if it is to be
        applied. None, as for the scene after the event, moves nothing.
    ndvi_role
        Whether NDVI is an input of a network, as `ndvi_roles` says.
    attrs
        What else each variable says of itself: provenance, ``resampling``. The family adds ``acquired``, ``shift_m``
        (by how much the scene was moved to the east and to the north) and ``coregistration`` (what was found, in words;
        where it was looked for).

    Returns
    -------
    Family
        ``reflectance_<when>`` (band, row, col); ``ndvi_<when>``; and for ``"pre"`` the class map ``pre_available``: 1
        where the scene before the event is known, else 0, never unknown.

    Raises
    ------
    InputError
        If the scene has no band.

    Notes
    -----
    A cell that is not clear, or that lacks a value in any band, is NaN in all bands and in NDVI.
    """
    names = tuple(reader.band_names)
    if not names:
        raise InputError(f"scenes.{when}: found no band, expected at least one")
    shift_m = shift.applied_m if shift else (0.0, 0.0)
    shared = {**(attrs or {}), "shift_m": list(shift_m)}
    if reader.acquired:
        shared["acquired"] = reader.acquired
    if shift:
        shared["coregistration"] = shift.text
    group, optional = ("scene_before", True) if when == "pre" else ("scene_after", False)
    common: dict[str, Any] = {"group": group, "optional": optional, "date": when}
    bands = [
        Band(
            f"reflectance_{when}_{name}",
            channel=name,
            quantity="reflectance",
            long_name=f"surface reflectance {when}-event",
            provenance=shared,
            **common,
        )
        for name in names
    ]
    notes = [*reader.notes, *([shift.text] if shift else [])]
    if RED in names and NIR in names:
        bands.append(
            Band(
                f"ndvi_{when}",
                quantity="ndvi",
                role=ndvi_role,
                long_name=f"NDVI {when}-event",
                provenance={**shared, "formula": f"({NIR} - {RED}) / ({NIR} + {RED})"},
                **common,
            )
        )
    else:
        notes.append(f"scene {when}: no NDVI, which needs {RED} and {NIR}; found {', '.join(names)}")
    if when == "pre":
        bands.append(
            Band(
                "pre_available",
                kind="flag",
                class_names=("no", "yes"),
                first_class=0,
                long_name="every pre-event band has a value",
                provenance={**shared, "resampling": "none"},
                **common,
            )
        )
    return _SceneFamily(reader, when, grid, shift_m, tuple(bands), tuple(notes))


def prepare_ndvi_difference(
    read_pre: Callable[[GeoBox], NDArray[np.float32]],
    read_post: Callable[[GeoBox], NDArray[np.float32]],
    *,
    role: Role = "index",
    attrs: Mapping[str, Any] | None = None,
) -> LayerGroup:
    """Return the family of ``ndvi_difference`` (1): NDVI after the event minus NDVI before it, from -2 to 2.

    Parameters
    ----------
    read_pre, read_post
        Return the NDVI of a date on a window, float32 (row, col), NaN where unknown.
    role
        Whether it is an input of a network, as `ndvi_roles` says.
    attrs
        What else the variable says of itself.

    Returns
    -------
    Family
        One variable, NaN where either date is. Negative where vegetation was lost.
    """
    own = {"resampling": "none", **(attrs or {}), "formula": "ndvi_post - ndvi_pre"}
    band = Band(
        "ndvi_difference",
        group="scene_before",
        optional=True,
        date="post",
        signed=True,
        role=role,
        long_name="NDVI after minus before the event, negative where vegetation was lost",
        provenance=own,
    )
    return _DifferenceFamily(read_pre, read_post, (band,))


@dataclass(frozen=True)
class _SceneFamily:
    reader: SceneLike
    when: When
    grid: GeoBox
    shift_m: tuple[float, float]
    bands: tuple[Band, ...]
    notes: tuple[str, ...]

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return reflectance, NDVI and availability on a window; each band is read once."""
        slices_of(window, self.grid)  # raises where it is no part
        names = [band.channel for band in self.bands if band.channel]
        bands = np.empty((len(names), *window.shape), dtype=np.float32)
        for plane, name in zip(bands, names, strict=True):
            plane[...] = self.reader.reflectance(name, window, shift_m=self.shift_m)
        _keep_complete(bands, np.ascontiguousarray(self.reader.clear(window, shift_m=self.shift_m)))
        computed: dict[str, NDArray[Any]] = {f"reflectance_{self.when}": bands}
        if RED in names and NIR in names:
            computed[f"ndvi_{self.when}"] = ndvi(bands[names.index(RED)], bands[names.index(NIR)])
        if self.when == "pre":
            computed["pre_available"] = (~np.isnan(bands[0])).view(np.uint8)
        return computed


@dataclass(frozen=True)
class _DifferenceFamily:
    read_pre: Callable[[GeoBox], NDArray[np.float32]]
    read_post: Callable[[GeoBox], NDArray[np.float32]]
    bands: tuple[Band, ...]
    notes: tuple[str, ...] = ()

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return the NDVI difference on a window."""
        return {"ndvi_difference": np.subtract(self.read_post(window), self.read_pre(window), dtype=np.float32)}


def _divide_cells(red, nir, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    one, least = np.float32(1), np.float32(MIN_REFLECTANCE_SUM)
    for i in range(red.size):
        total = nir[i] + red[i]
        # A NaN is not at least anything; infinite by infinite is NaN.
        index[i] = min(max((nir[i] - red[i]) / total, -one), one) if total >= least else np.float32(np.nan)


def _keep_complete_rows(bands, clear):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    known = np.empty(clear.shape[1], dtype=np.bool_)
    for i in range(clear.shape[0]):
        known[:] = clear[i]
        for k in range(bands.shape[0]):  # band by band, as they lie in memory
            for j in range(known.size):
                known[j] &= math.isfinite(bands[k, i, j])
        for k in range(bands.shape[0]):
            for j in range(known.size):
                if not known[j]:
                    bands[k, i, j] = np.float32(np.nan)


# Strips are computed in threads already: nogil, not parallel. fastmath stays off, it would drop NaN.
_divide = njit(nogil=True, cache=True, error_model="numpy")(_divide_cells)
_keep_complete = njit(nogil=True, cache=True, error_model="numpy")(_keep_complete_rows)
