"""Which of the scenes that were found are those before and after the event."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from coslide.pipeline.found_scenes import FoundScene, When

Ask = Callable[[str, Sequence[str]], int]
"""Asks which of several is meant, and returns its number from 0."""
_ONE_SCENE = dt.timedelta(hours=13)


class SceneChoice(NamedTuple):
    """The scenes that were chosen, how each is known to be before or after, and the others with the reason."""

    chosen: dict[When, FoundScene]
    left_out: list[tuple[FoundScene, str]]


def choose_scenes(scenes: Sequence[FoundScene], event: dt.datetime | None, ask: Ask) -> SceneChoice:
    """Choose the scenes after and before the event: of each side, the one nearest to it, or the one a person names.

    Dates tell the side where the time of the event is known, else names. Where neither does, the last scene is taken
    for the one after it, and the one before that for the one before.

    Parameters
    ----------
    scenes
        Products of one overpass are joined.
    event
        Its time; None where nothing tells.
    ask
        Asked where there are several.
    """
    sides: dict[When, list[FoundScene]] = {"post": [], "pre": []}
    unclear: list[FoundScene] = []
    for scene in _joined(scenes):
        side = _side(scene, event)
        (sides[side] if side else unclear).append(scene)
    dated = sorted((one for one in unclear if one.day), key=lambda one: one.day or dt.date.min)
    if not sides["post"] and not sides["pre"] and event is None and len(dated) == len(unclear):
        sides, unclear = {"post": dated[-1:], "pre": dated[-2:-1]}, dated[:-2]
    elif not sides["post"] and len(unclear) == 1:
        sides["post"], unclear = unclear, []
    why = "before or after the earthquake? neither its date nor its name tells; put pre or post in its name"
    left_out = [(scene, why) for scene in unclear]
    chosen: dict[When, FoundScene] = {}
    names: dict[When, str] = {"post": "after", "pre": "before"}
    for when, name in names.items():
        found = sorted(sides[when], key=lambda one: one.day or dt.date.min, reverse=when == "pre")
        if not found:
            continue
        options = [f"{one.name} ({one.what})" for one in found]
        chosen[when] = found.pop(
            ask(f"Which scene is the one {name} the earthquake?", options) if len(found) > 1 else 0
        )
        left_out += [(other, f"{other.what}; {chosen[when].name} was taken instead") for other in found]
    return SceneChoice(chosen, left_out)


def from_event(scene: FoundScene, event: dt.datetime | None) -> str:
    """Say in words how far a scene is from the event, and what tells on which side."""
    if scene.day is None or event is None:
        return "by its name" if scene.word else "by its date" if scene.day else "the only scene"
    days = (scene.day - event.date()).days
    return f"{abs(days)} days {'after' if days >= 0 else 'before'} the earthquake"


def _joined(scenes: Sequence[FoundScene]) -> Iterator[FoundScene]:
    """Join the products of one overpass by the same sensor."""
    left = list(scenes)
    while left:
        first = left.pop(0)
        same = [one for one in left if _one_scene(first, one)]
        left = [one for one in left if one not in same]
        channels = tuple(name for name in first.channels if all(name in one.channels for one in same))
        yield first._replace(paths=tuple(path for one in (first, *same) for path in one.paths), channels=channels)


def _one_scene(one: FoundScene, other: FoundScene) -> bool:
    if "bands" in one.keys or "bands" in other.keys or one.sensed is None or other.sensed is None:
        return False
    alike = one.what.partition(",")[0] == other.what.partition(",")[0]
    return alike and abs(one.sensed[0] - other.sensed[0]) <= _ONE_SCENE and one.word == other.word


def _side(scene: FoundScene, event: dt.datetime | None) -> When | None:
    """Tell on which side of the event a scene is: by its time, else by its name."""
    if event is not None and scene.sensed is not None:
        first = scene.sensed[0]
        by_day = first.hour == 12 and first.minute == first.second == 0  # a day without a time
        if not by_day or first.date() != event.date():
            return "post" if first > event else "pre"
    return scene.word or None
