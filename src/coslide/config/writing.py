"""Event files as they are written: values and tables in TOML."""

import datetime as dt
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coslide.errors import one_line

_ORDER = ("grid", "scenes", "scenes.post", "scenes.pre", "dem", "geology", "rain", "shaking", "faults", "inventory")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(value: Any) -> str:
    r"""Write a value as TOML has it: texts, numbers, dates, and lists and tables of them on one line.

    Examples
    --------
    >>> print(as_toml({"path": 'a "b"\n.tif', "band 1": [1, 2.5e-05, True]}))
    { path = "a \"b\"\n.tif", "band 1" = [1, 2.5e-05, true] }
    """
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {as_toml(own)}' for key, own in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, str | Path):  # what JSON escapes, TOML does too, but for one character
        text = value.as_posix() if isinstance(value, Path) else value
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else as_toml(name)


def table_as_toml(name: str, values: Mapping[str, Any], comment: str = "") -> str:
    """Write a table, a key a line, with a comment above it, line by line; without a name, the keys alone.

    Examples
    --------
    >>> print(table_as_toml("dem", {"path": Path("dem.tif")}, "heights from 10 to 900 m"), end="")
    # heights from 10 to 900 m
    [dem]
    path = "dem.tif"
    """
    head = [f"# {one_line(line)}" for line in comment.split("\n") if comment]
    head += [f"[{name}]"] if name else []
    return "\n".join([*head, *(f"{_key(key)} = {as_toml(value)}" for key, value in values.items())]) + "\n"


def event_as_toml(
    head: Mapping[str, Any], tables: Mapping[str, tuple[Mapping[str, Any], str]], *, folder: Path, comment: str
) -> str:
    """Write an event file: the keys without a table, then the tables in their order, a blank line between.

    Parameters
    ----------
    head
        Name, id and so on; what is None, False or empty is left out.
    tables
        Keys and comment of each table. Paths lie in `folder`, and are written as they lie there.
    folder
        What paths start from.
    comment
        What stands at the top.

    Examples
    --------
    >>> tables = {"faults": ({"path": Path("/data/f.gpkg")}, ""), "dem": ({"path": Path("/data/dem.tif")}, "heights")}
    >>> print(event_as_toml({"name": "A", "id": ""}, tables, folder=Path("/data"), comment="By hand"), end="")
    # By hand
    name = "A"
    <BLANKLINE>
    # heights
    [dem]
    path = "dem.tif"
    <BLANKLINE>
    [faults]
    path = "f.gpkg"
    """
    given = {key: value for key, value in head.items() if value not in ("", None, False)}
    parts = [table_as_toml("", given, comment)]
    for name in sorted(tables, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)):
        keys, told = tables[name]
        parts.append(table_as_toml(name, _relative(keys, folder), told))
    return "\n".join(parts)


def _relative(value: Any, folder: Path) -> Any:
    """Put paths as they lie in a folder, in all that holds some."""
    if isinstance(value, Path):
        return value.relative_to(folder)
    if isinstance(value, Mapping):
        return {key: _relative(own, folder) for key, own in value.items()}
    return [_relative(one, folder) for one in value] if isinstance(value, list | tuple) else value
