"""The fault of an earthquake: lines of the user, the rupture of the ShakeMap, or the nearest active fault."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
from numpy.typing import NDArray
from pyproj import CRS
from shapely.errors import GEOSException
from shapely.geometry import LineString

from coslide.acquisition.records import Fetched, Part
from coslide.config.event import Attribution
from coslide.config.services import Services
from coslide.errors import InputError, one_line
from coslide.io.atomic import whole_output
from coslide.io.http import Web, redact_url
from coslide.io.shapes import LINES
from coslide.io.vector import as_text, read_vector
from coslide.sources.documents import read_document

FARTHEST_KM = 50.0
"""No active fault farther from the epicentre is taken for the one that broke."""

_WGS84 = "EPSG:4326"
_SPAN_DEG = 0.5  # of latitude: more than `FARTHEST_KM`
_FIELDS = ("name", "catalog_name", "slip_type")
_RUPTURE = Attribution(
    source="Rupture of the ShakeMap", licence="public domain (U.S. Geological Survey)", text="U.S. Geological Survey"
)
_GEM = Attribution(
    source="GEM Global Active Faults",
    licence="CC BY-SA 4.0 (creativecommons.org/licenses/by-sa/4.0); so is a changed copy of the traces",
    text="Styron, R., and M. Pagani (2020), The GEM Global Active Faults Database, Earthquake Spectra 36, 160-180, "
    "doi:10.1177/8755293020944182; one fault was chosen of it",
)


def fetch_faults(
    web: Web,
    services: Services,
    *,
    epicentre: tuple[float, float],
    rupture: Path | None,
    given: Path | None,
    folder: Path,
) -> Part:
    """Find the fault that broke, and write its trace to ``faults/faults.gpkg`` in the folder of an event.

    Parameters
    ----------
    web, services
        Where active faults are fetched, where neither of the two files tells of one.
    epicentre
        Longitude and latitude in degrees.
    rupture
        The ``rupture.json`` of the ShakeMap; its trace is the top edge of the rupture. A point is no fault.
    given
        Lines of the user, in any vector format and CRS, which come before all else.
    folder
        Of the event.

    Returns
    -------
    Part
        Without tables where no fault is known; its notes tell why.

    Raises
    ------
    InputError
        If `given` cannot be read as lines, or the trace cannot be written.
    """
    if given is not None:
        frame = read_vector(given, _WGS84, what="fault traces as lines", kinds=LINES)[["geometry"]]
        return _part(frame, folder, source="Fault traces", note=f"fault: {len(frame)} traces of {given.name}, as given")
    notes = []
    if rupture is not None:
        try:
            found = _from_rupture(rupture, folder)
        except InputError as error:
            notes.append(str(error))
        else:
            if found is not None:
                return found
            notes.append("the rupture of the ShakeMap has no extent")
    try:
        nearest = _from_gem(web, services, epicentre, folder)
    except InputError as error:
        return Part({}, notes=(*notes, f"no fault: {error}"))
    return nearest._replace(notes=(*notes, *nearest.notes))


def top_edge(ring: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Find the top edge of a ring of a rupture, longitude, latitude and depth of its corners, (corner, 3).

    A ShakeMap writes the top edge along strike, then the bottom edge back, then the first corner again. Of all ways to
    cut the ring in two halves, the edge is the half that lies above the other one; where no depth tells, the first.

    Raises
    ------
    ValueError
        If it has fewer than two corners, or a coordinate is no number.

    Examples
    --------
    >>> top_edge([[142.0, 42.6, 9.0], [142.1, 42.6, 9.0], [142.1, 42.8, 1.0], [142.0, 42.8, 1.0], [142.0, 42.6, 9.0]])
    array([[142.1,  42.8,   1. ],
           [142. ,  42.8,   1. ]])
    """
    flat = [tuple(float(number) for number in (*corner, 0.0)[:3]) for corner in ring]
    corners = np.array(flat[:-1] if len(flat) > 1 and flat[0] == flat[-1] else flat)
    if len(corners) < 2 or not np.isfinite(corners).all() or (np.abs(corners[:, :2]) > (360, 90)).any():
        raise ValueError(f"found a ring of {len(corners)} corners, expected two or more, in degrees")
    count = len(corners)
    lengths = sorted({max(count // 2, 2), max(-(-count // 2), 2)})
    halves = [np.arange(first, first + length) % count for length in lengths for first in range(count)]

    def below(half: NDArray[np.int64]) -> float:
        """Compute how much lower the rest lies, in km, to the metre."""
        rest = np.delete(corners[:, 2], half)
        return round(float(rest.mean() - corners[half, 2].mean()), 3) if rest.size else 0.0

    return corners[max(halves, key=below)]  # the first one of equals


def _from_rupture(path: Path, folder: Path) -> Part | None:
    """Take the top edges of a rupture; None if it is a point."""
    try:
        content = json.loads(read_document(path))
        edges = [top_edge(ring) for ring in _rings(content)]
        reference = one_line(str(content.get("metadata", {}).get("reference") or ""))
        lines = [LineString(edge[:, :2]) for edge in edges]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, GEOSException) as error:
        raise InputError(f"{path.name}: cannot be read as the rupture of a ShakeMap ({error})") from None
    lines = [line for line in lines if line.length > 0]
    if not lines:
        return None
    depths = np.concatenate(edges)[:, 2]
    told = f"{depths.min():.1f} to {depths.max():.1f} km deep" if np.ptp(depths) >= 0.05 else f"{depths[0]:.1f} km deep"
    plural = "s" if len(lines) > 1 else ""
    note = f"fault: top edge of the rupture of the ShakeMap, {len(lines)} segment{plural}, {told}"
    credit = _RUPTURE.model_copy(update={"text": f"{_RUPTURE.text}; {reference}"} if reference else {})
    frame = gpd.GeoDataFrame(geometry=lines, crs=_WGS84)
    return _part(frame, folder, source=_RUPTURE.source, note=note, credit=credit)


def _rings(content: Any) -> Iterator[Any]:
    """Yield the rings of the polygons: those of all segments may be rings of one polygon."""
    for feature in content["features"]:
        geometry = feature["geometry"]
        if geometry["type"] == "MultiPolygon":
            for polygon in geometry["coordinates"]:
                yield from polygon
        elif geometry["type"] == "Polygon":
            yield from geometry["coordinates"]


def _from_gem(web: Web, services: Services, epicentre: tuple[float, float], folder: Path) -> Part:
    """Fetch the active faults, and take the traces of the nearest one."""
    path = folder / "faults" / "active_faults.geojson"
    web.download(services.faults_url, path)
    try:
        traces = read_vector(path, _WGS84, what="active faults", kinds=LINES)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{redact_url(services.faults_url)}: {reason}") from None
    finally:
        path.unlink()
    for field in _FIELDS:
        traces[field] = [as_text(value) for value in traces[field]] if field in traces else ""
    lon_deg, lat_deg = epicentre
    bottom, top = traces.bounds[["miny", "maxy"]].to_numpy().T
    near = traces[(bottom < lat_deg + _SPAN_DEG) & (top > lat_deg - _SPAN_DEG)]
    centred = CRS.from_dict({"proj": "aeqd", "lon_0": lon_deg, "lat_0": lat_deg, "datum": "WGS84"})
    away_km = near.to_crs(centred).distance(gpd.points_from_xy([0.0], [0.0])[0]) / 1000  # exact from the centre
    if away_km.empty or not away_km.min() <= FARTHEST_KM:
        raise InputError(f"{_GEM.source} has none within {FARTHEST_KM:g} km of the epicentre")
    first = near.loc[away_km.idxmin()]
    same = (near["name"] == first["name"]) & (near["catalog_name"] == first["catalog_name"]) & (away_km <= FARTHEST_KM)
    chosen = near[same] if first["name"] else near.loc[[first.name]]
    called = f"{first['name'] or 'without a name'}{f' ({first.slip_type})' if first['slip_type'] else ''}"
    note = f"fault: the nearest active one, {one_line(called)}, {away_km.min():.1f} km from the epicentre"
    return _part(
        chosen[[*_FIELDS, "geometry"]],
        folder,
        source=_GEM.source,
        note=f"{note}; another one may have broken",
        credit=_GEM.model_copy(update={"address": redact_url(services.faults_url)}),
    )


def _part(frame: gpd.GeoDataFrame, folder: Path, *, source: str, note: str, credit: Attribution | None = None) -> Part:
    """Write the traces, and tell what they are."""
    path = folder / "faults" / "faults.gpkg"
    form: dict[str, Any] = {"geometry_type": "MultiLineString", "promote_to_multi": True}
    with whole_output(path) as part:
        options = {"VERSION": "1.2"}  # GDAL before 3.7 warns of 1.4
        pyogrio.write_dataframe(frame, part, layer="faults", driver="GPKG", dataset_options=options, **form)
    file = Fetched.of(path, folder, address=credit.address if credit else "", source=source)
    return Part({"faults": {"path": path}}, (file,), (credit,) if credit else (), (note,))
