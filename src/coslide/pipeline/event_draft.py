"""An event file in the making: which file of a folder is taken for which key, and what is left out and why."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyogrio
from rasterio.warp import transform_bounds

from coslide.config.schema import SENTINEL2_BANDS
from coslide.config.writing import event_as_toml
from coslide.errors import InputError, one_line
from coslide.indices.ages import age_rank
from coslide.io.raster import raster_extent
from coslide.pipeline.found_files import (
    VECTORS,
    EventFacts,
    Found,
    Kind,
    files_in,
    join_facts,
    look_at_json,
    look_at_raster,
    look_at_table,
    look_at_vector,
    look_at_xml,
)
from coslide.pipeline.found_scenes import RASTERS, SCENE, FoundScene, scenes_in
from coslide.pipeline.scene_choice import Ask, choose_scenes, from_event

_MOST_UNITS = 100
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z"}
_SIDECARS = {".dbf", ".shx", ".prj", ".cpg", ".qpj", ".sbn", ".sbx", ".ovr", ".tfw", ".qml", ".qix"}


class Line(NamedTuple):
    """What one or several files were taken for (empty: left out), their name, and why."""

    purpose: str
    name: str
    why: str


@dataclass
class EventDraft:
    """What was found in a folder, and what of it is taken for what.

    Attributes
    ----------
    folder, ask
        As in `coslide.pipeline.init.init_event`.
    scenes, found, facts
        What is in the folder, and what it tells of the earthquake.
    tables
        The keys of each table, and its comment.
    taken, left_out
        What is told of them.
    """

    folder: Path
    ask: Ask
    scenes: list[FoundScene] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    facts: EventFacts = field(default_factory=EventFacts)
    tables: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    taken: list[Line] = field(default_factory=list)
    left_out: list[Line] = field(default_factory=list)

    def fill(self) -> None:
        """Look at every file of the folder, and choose what each key is made of.

        Raises
        ------
        InputError
            If there is no scene after the earthquake, or no elevation model.
        """
        self._look()
        self._add_scenes()
        self._add_dem()
        self._add_others()

    def _short(self, path: Path) -> str:
        """Name a file as it lies in the folder."""
        return one_line(path.relative_to(self.folder).as_posix())

    def _leave_out(self, path: Path, why: str) -> None:
        self.left_out.append(Line("", self._short(path), one_line(why.removeprefix(f"{path}: "))))

    def _look(self) -> None:
        files = list(files_in(self.folder))
        facts: list[EventFacts] = []
        self.scenes, told = scenes_in(files, self.folder)
        for path, why in told.items():
            if why != SCENE:
                self._leave_out(path, why)
        for path in (path for path in files if path not in told and not _belongs_to_another(path)):
            try:
                found, of_event = _look_at(path)
            except InputError as error:
                self._leave_out(path, str(error))
                continue
            self.found += found
            facts += of_event
            if not found:
                self.taken.append(
                    Line("time_utc", self._short(path), "tells time, magnitude and name of the earthquake")
                )
        self.facts = join_facts(facts)

    def _add_scenes(self) -> None:
        """Choose the scenes, and the bands that both have."""
        chosen, others = choose_scenes(self.scenes, self.facts.time_utc, self.ask)
        self.left_out += [Line("", scene.name, why) for scene, why in others]
        if "post" not in chosen:
            seen = "; ".join(f"{line.name}: {line.why}" for line in self.left_out[:3])
            expected = "expected a product of Sentinel-2 L2A, Landsat or PlanetScope, or rasters of bands"
            seen = f" ({seen})" if seen else ""
            raise InputError(f"{self.folder}: found no scene after the earthquake, {expected}{seen}")
        post, pre = chosen["post"], chosen.get("pre")
        channels = [name for name in post.channels if pre is None or name in pre.channels]
        if not channels and pre is not None:
            self.left_out.append(Line("", pre.name, "no band that the scene after the earthquake has too"))
            chosen, channels = {"post": post}, list(post.channels)
        for when, scene in chosen.items():
            why = f"{scene.what}; {from_event(scene, self.facts.time_utc)}"
            self.tables[f"scenes.{when}"] = (_scene_keys(scene, channels), why)
            self.taken.append(Line(f"scenes.{when}", scene.name, why))

    def _add_dem(self) -> None:
        """Choose the elevation model, or the tiles of one."""
        dems = [one for one in self.found if one.kind == "dem"]
        if not dems:
            expected = "expected a raster of one band with heights in metres"
            raise InputError(f"{self.folder}: found no elevation model, {expected}")
        tiles = _tiles(dems)
        if not tiles:
            self._add("dem", "dem")
            return
        why = f"{len(tiles)} tiles; {tiles[0].why}"
        self.tables["dem"] = ({"path": [one.path for one in tiles]}, why)
        self.taken.append(Line("dem", ", ".join(self._short(one.path) for one in tiles), why))

    def _add_others(self) -> None:
        """Choose all that an event may lack."""
        self._add("geology", "geology")
        gauges = [one for one in self.found if one.kind == "gauges"]
        if self.facts.time_utc is None and any("date" in one.keys.get("columns", {}) for one in gauges):
            for one in gauges:
                self._leave_out(one.path, "daily rain, and nothing tells when the event was; add time_utc and [rain]")
        else:
            self._add("gauges", "rain", "gauges")
        self._add("shakemap", "shaking", "shakemap")
        if "shaking" in self.tables:
            self._add("uncertainty", "shaking", "uncertainty")
            for one in (one for one in self.found if one.kind == "stations"):
                self._leave_out(one.path, "the ShakeMap grid has the shaking")
        else:
            self._add("stations", "shaking", "stations")
        self._add("faults", "faults")
        self._add("inventory", "inventory")
        if "inventory" in self.tables:
            self._add("area", "inventory", "area")
            self.tables["training"] = ({"recipe": "modern"}, "the best that was found; docs/training.md has the others")

    def _add(self, kind: Kind, table: str, key: str = "path") -> None:
        """Take one file of a kind, if there is one, for a key of a table."""
        found = sorted((one for one in self.found if one.kind == kind), key=lambda one: one.merit, reverse=True)
        if not found:
            return
        options = [f"{self._short(one.path)} ({one.why})" for one in found]
        one = found.pop(self.ask(f"Which file is it for [{table}] {key}?", options) if len(found) > 1 else 0)
        for other in found:
            self._leave_out(other.path, f"{other.why}; {self._short(one.path)} was taken instead")
        keys = _geology_keys(one) if kind == "geology" else dict(one.keys)
        if keys is None:
            self._leave_out(one.path, "units of unknown age; add [geology] with field and ages, from old to young")
            return
        own, comment = self.tables.get(table, ({}, one.why))
        more = {f"area_{name}" if kind == "area" else name: value for name, value in keys.items()}
        self.tables[table] = (own | {key: one.path} | more, comment)
        self.taken.append(Line(table if key == "path" else f"{table}.{key}", self._short(one.path), one.why))

    def text(self, out: Path) -> str:
        """Write the event file, with every path relative to it or to ``root``.

        Raises
        ------
        InputError
            If the folder has a name that cannot stand in an event file.
        """
        facts, size = self.facts, ""
        if facts.magnitude is not None and facts.name:
            size = f"M {facts.magnitude:g}, "
        head: dict[str, Any] = facts._asdict() | {"id": one_line(facts.id)}
        head["name"] = one_line(f"{size}{facts.name}" if facts.name else self.folder.name or "event")
        if self.folder != out.parent:
            head["root"] = os.path.relpath(self.folder, out.parent)
            if "${" in head["root"]:
                found = "found ${, which an event file takes for a variable"
                raise InputError(f"{self.folder}: {found}; rename the folder, or leave out --out")
        comment = "Written by coslide init; what tells what a file is stands above each table."
        tables = {name: (keys, one_line(told)) for name, (keys, told) in self.tables.items()}
        return event_as_toml(head, tables, folder=self.folder, comment=comment)


def _look_at(path: Path) -> tuple[list[Found], list[EventFacts]]:
    """Tell what a file is: sources, or what it says of the earthquake."""
    suffix = path.suffix.lower()
    if suffix == ".json" and (facts := look_at_json(path)):
        return [], [facts]
    if suffix == ".xml":
        found, facts = look_at_xml(path)
        return [found], [facts]
    if suffix in RASTERS:
        return [look_at_raster(path)], []
    if suffix in VECTORS:
        return look_at_vector(path), []
    if suffix == ".csv":
        return [look_at_table(path)], []
    raise InputError("an archive; unpack it first" if suffix in _ARCHIVES else "no kind of file that an event has")


def _belongs_to_another(path: Path) -> bool:
    """Tell whether a file goes with another one beside it, as those of a Shapefile."""
    return path.suffix.lower() in _SIDECARS or path.name.lower().endswith(".aux.xml")


def _scene_keys(scene: FoundScene, channels: Sequence[str]) -> dict[str, Any]:
    if "bands" in scene.keys:
        own = {name: scene.keys["bands"][name] for name in channels}
        date = {"date": scene.day} if scene.day else {}
        return {**date, **{key: value for key, value in scene.keys.items() if key != "bands"}, "bands": own}
    usual = set(channels) == set(SENTINEL2_BANDS)
    return {"products": list(scene.paths), **({} if usual else {"bands": list(channels)})}


def _tiles(dems: Sequence[Found]) -> list[Found]:
    """Choose elevation models that are tiles of one: in one folder, side by side; empty if they are no tiles."""
    boxes = []
    for one in dems:
        extent = raster_extent(one.path, "dem")
        boxes.append(transform_bounds(extent.crs, "EPSG:4326", *extent.bounds))
    areas = [(east - west) * (north - south) for west, south, east, north in boxes]
    overlap = max((_shared(a, b) for i, a in enumerate(boxes) for b in boxes[:i]), default=0.0)
    alike = len({(one.path.parent, one.path.suffix, one.merit) for one in dems}) == 1
    return list(dems) if len(dems) > 1 and alike and overlap < 0.1 * min(areas) else []


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _geology_keys(geology: Found) -> dict[str, Any] | None:
    """Choose the field whose values all tell an age, and put them from old to young; None if there is none."""
    keys = {key: value for key, value in geology.keys.items() if key != "fields"}
    for name in geology.keys["fields"]:
        frame = pyogrio.read_dataframe(geology.path, columns=[name], read_geometry=False, layer=keys.get("layer"))
        units = [str(unit) for unit in frame[name].unique()]
        ranks = {unit: rank for unit in units if (rank := age_rank(unit)) is not None}
        if units and len(ranks) == len(units) <= _MOST_UNITS:
            ages = sorted(ranks, key=lambda unit: ranks[unit])
            return {**keys, "field": name, "ages": ages}
    return None
