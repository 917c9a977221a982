"""Event files as they are written: values and tables in TOML."""

import datetime as dt
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Write a table, a key a line, with a comment of one line above it; without a name, the keys alone.

    Examples
    --------
    >>> print(table_as_toml("dem", {"path": Path("dem.tif")}, "heights from 10 to 900 m"), end="")
    # heights from 10 to 900 m
    [dem]
    path = "dem.tif"
    """
    head = [f"# {comment}"] if comment else []
    head += [f"[{name}]"] if name else []
    return "\n".join([*head, *(f"{_key(key)} = {as_toml(value)}" for key, value in values.items())]) + "\n"
