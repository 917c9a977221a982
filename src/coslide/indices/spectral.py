"""Reflectance and NDVI of the scenes before and after the event."""

from collections.abc import Collection
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import NdviConfig
from coslide.cube.band import REFLECTANCE, YES_NO, Band, Role
from coslide.cube.store import LayerGroup, Store
from coslide.errors import InputError
from coslide.indices.coregister import Shift
from coslide.sources.sentinel2 import SceneReader

RED, NIR = "B4", ("B8", "B8A")
MIN_REFLECTANCE_SUM = 0.001
"""Below it, ten steps of the stored values, NDVI is noise."""

When = Literal["pre", "post"]


def ndvi_roles(inputs: NdviConfig, *, has_pre: bool) -> tuple[Role, Role]:
    """Choose which NDVI bands are inputs of a network (``"index"``) and which are only to look at (``"diagnostic"``).

    Parameters
    ----------
    inputs
        The table of the event file.
    has_pre
        Whether there is a scene before the event. Without one there is no difference, so the NDVI after the event is
        an input in any case.

    Returns
    -------
    tuple of str
        The role of NDVI on each date, and that of its difference.

    Examples
    --------
    >>> ndvi_roles(NdviConfig(inputs="difference"), has_pre=True)
    ('diagnostic', 'index')
    """
    of_dates: Role = "index" if inputs.inputs in {"both", "all"} or not has_pre else "diagnostic"
    return of_dates, "index" if inputs.inputs in {"difference", "all"} else "diagnostic"


def ndvi(red: ArrayLike, nir: ArrayLike) -> NDArray[np.float32]:
    """Compute the normalised difference vegetation index, ``(nir - red) / (nir + red)``, unit 1, from -1 to 1.

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
    red, nir = (np.asarray(values, dtype=np.float32) for values in (red, nir))
    if red.shape != nir.shape:
        raise ValueError(f"nir: found the shape {nir.shape}, expected that of red, {red.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        total = nir + red
        index = np.clip((nir - red) / total, np.float32(-1), np.float32(1))
    index[~(total >= np.float32(MIN_REFLECTANCE_SUM))] = np.nan
    return index


def ndvi_infrared(names: Collection[str]) -> str:
    """Choose the band of the near infrared that NDVI is made of; empty where there is none, or no red.

    Examples
    --------
    >>> ndvi_infrared(["B3", "B4", "B8", "B8A"]), ndvi_infrared(["B4", "B8A"]), ndvi_infrared(["B2", "B8"])
    ('B8', 'B8A', '')
    """
    return next((nir for nir in NIR if nir in names and RED in names), "")


def prepare_scene(
    reader: SceneReader, when: When, *, shift: Shift | None = None, ndvi_role: Role = "index", resampling: str = "none"
) -> LayerGroup:
    """Prepare the indices of one scene: reflectance (1), and NDVI (1) where it has B4 and B8, or B8A in place of that.

    Parameters
    ----------
    reader
        The scene.
    when
        ``"pre"`` or ``"post"``: before or after the event. It ends the names of the bands.
    shift
        What `coslide.indices.coregister.measure_scene_shift` found; the content of the scene is moved by it if it is
        to be applied. None, as for the scene after the event, moves nothing.
    ndvi_role
        Whether NDVI is an input of a network (`ndvi_roles`).
    resampling
        How `reader` resamples. The cube records it of each band, with ``acquired``, ``shift_m`` (by how much the scene
        was moved to the east and to the north) and ``coregistration`` (what was found, in words).

    Returns
    -------
    LayerGroup
        ``reflectance_<when>`` (band, row, col); ``ndvi_<when>``; and for ``"pre"`` the flag ``pre_available``: 1 where
        the scene before the event is valid, else 0, never nodata.

    Raises
    ------
    InputError
        If the scene has no band.

    Notes
    -----
    A pixel that is not clear, or that lacks a value in any band, is NaN in all bands and in NDVI.
    """
    names = tuple(reader.band_names)
    if not names:
        raise InputError(f"scenes.{when}: found no band, expected at least one")
    shift_m = shift.applied_m if shift else (0.0, 0.0)
    shared: dict[str, Any] = {"resampling": resampling, "shift_m": list(shift_m)}
    shared |= {"acquired": reader.acquired} if reader.acquired else {}
    shared |= {"sensor": reader.sensor} if reader.sensor else {}
    shared |= {"coregistration": shift.text} if shift else {}
    group = "scene_before" if when == "pre" else "scene_after"
    common: dict[str, Any] = {"group": group, "optional": when == "pre", "date": when, "provenance": shared}
    seen = {**common, "quantity": REFLECTANCE, "long_name": f"surface reflectance {when}-event"}
    bands = [Band(f"reflectance_{when}_{name}", channel=name, **seen) for name in names]
    notes = [*reader.notes, *([shift.text] if shift else [])]
    if nir := ndvi_infrared(names):
        seen = {**common, "provenance": {**shared, "formula": f"({nir} - {RED}) / ({nir} + {RED})"}}
        bands.append(Band(f"ndvi_{when}", quantity="ndvi", role=ndvi_role, long_name=f"NDVI {when}-event", **seen))
    else:
        notes.append(f"scene {when}: no NDVI, which needs {RED} and {NIR[0]} or {NIR[1]}; found {', '.join(names)}")
    if when == "pre":
        common["provenance"] = {**shared, "resampling": "none"}
        bands.append(Band("pre_available", long_name="every pre-event band has a value", **YES_NO, **common))
    return LayerGroup(tuple(bands), tuple(notes), partial(_compute_scene, reader, when, shift_m))


def prepare_ndvi_difference(store: Store, *, role: Role = "index") -> LayerGroup:
    """Prepare ``ndvi_difference`` (1): NDVI after the event minus NDVI before it, from -2 to 2.

    Parameters
    ----------
    store
        Holds ``ndvi_pre`` and ``ndvi_post``, float32, nodata NaN.
    role
        Whether it is an input of a network (`ndvi_roles`).

    Returns
    -------
    LayerGroup
        One band, NaN where either date is. Negative where vegetation was lost.
    """
    long_name = "NDVI after minus before the event, negative where vegetation was lost"
    made = {"resampling": "none", "formula": "ndvi_post - ndvi_pre"}
    shared: dict[str, Any] = {"group": "scene_before", "optional": True, "date": "post", "provenance": made}
    band = Band("ndvi_difference", signed=True, role=role, long_name=long_name, **shared)
    return LayerGroup((band,), (), partial(_compute_difference, store))


def _compute_scene(
    reader: SceneReader, when: When, shift_m: tuple[float, float], window: GeoBox
) -> dict[str, NDArray[Any]]:
    """Compute reflectance, NDVI and availability on a window; each band is read once."""
    names = list(reader.band_names)
    bands = np.empty((len(names), *window.shape), dtype=np.float32)
    for plane, name in zip(bands, names, strict=True):
        plane[...] = reader.reflectance(name, window, shift_m=shift_m)
    valid = reader.clear(window, shift_m=shift_m) & np.isfinite(bands).all(axis=0)
    bands[:, ~valid] = np.nan
    computed: dict[str, NDArray[Any]] = {f"reflectance_{when}": bands}
    if nir := ndvi_infrared(names):
        computed[f"ndvi_{when}"] = ndvi(bands[names.index(RED)], bands[names.index(nir)])
    if when == "pre":
        computed["pre_available"] = valid.astype(np.uint8)
    return computed


def _compute_difference(store: Store, window: GeoBox) -> dict[str, NDArray[Any]]:
    return {"ndvi_difference": store.read("ndvi_post", window) - store.read("ndvi_pre", window)}
