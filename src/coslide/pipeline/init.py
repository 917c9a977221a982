"""``coslide init``: an event file for a folder of files."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coslide.config.event import Event, read_event
from coslide.errors import InputError
from coslide.indices.event_layers import EventScenes, open_event_scenes
from coslide.io.atomic import whole_output
from coslide.pipeline.event_draft import EventDraft, Line
from coslide.pipeline.scene_choice import Ask

_log = logging.getLogger(__name__)
_MODEL_PIXEL_M = 10.0


class WrittenEvent(NamedTuple):
    """The event file that was written, its event, and what each file was taken for."""

    path: Path
    event: Event
    lines: tuple[Line, ...]


def _first(question: str, options: Sequence[str]) -> int:
    return 0


def init_event(folder: Path | str, out: Path | str | None = None, *, ask: Ask = _first) -> WrittenEvent:
    """Write an event file for the files of a folder.

    Parameters
    ----------
    folder
        Holds satellite scenes and an elevation model, and maybe shaking, faults, geology, rain and an inventory.
    out
        The file to write; by default ``event.toml`` in the folder.
    ask
        Asks a person where several files may be meant; by default the first counts, which is the likeliest.

    Raises
    ------
    InputError
        If `out` exists; if the folder holds no scene after the earthquake or no elevation model; or if what was found
        does not go together.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay as they were given
    out = folder / "event.toml" if out is None else Path(os.path.abspath(out))  # noqa: PTH100
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; expected one with the files of an event")
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already; name another file with --out, or remove it")
    draft = EventDraft(folder, ask)
    draft.fill()
    with whole_output(out) as part:
        part.write_text(draft.text(out), encoding="utf-8")
        scenes = open_event_scenes(read_event(part))
        if "inventory" in draft.tables and (size_m := _own_pixel_m(scenes)):
            draft.tables["grid"] = (
                {"pixel_size_m": size_m},
                f"as the scene; {_MODEL_PIXEL_M:g} for a model of coslide",
            )
            part.write_text(draft.text(out), encoding="utf-8")
            scenes = open_event_scenes(read_event(part))
    rows, cols = scenes.grid.shape
    _log.info(f"{cols} x {rows} pixels of {scenes.grid.affine.a:g} m, {scenes.grid.crs}")
    for warning in scenes.warnings:
        _log.info(warning)
    return WrittenEvent(out, read_event(out), (*draft.taken, *draft.left_out))


def _own_pixel_m(scenes: EventScenes) -> float:
    """Find the size of the scene's own pixels; 0 where it is about that of models, or unknown."""
    if not scenes.post.products[0].sensor:
        return 0.0
    finest = min(raster.geobox.affine.a for product in scenes.post.products for raster in product.bands.values())
    return 0.0 if 0.7 < finest / _MODEL_PIXEL_M < 1.4 else float(finest)
