"""TOML as people's editors save it, and as nobody writes it: read within limits, refused in one line."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coslide.errors import InputError
from coslide.io.paths import require_regular_file

_LARGEST_BYTES = 10**6
_DEEPEST = 16  # brackets in each other, and parts of a dotted name; the parser takes ages over thousands
_STRING_OR_COMMENT = re.compile(  # a string may lack its end, and is never looked at twice
    r'"""(?:\\.|(?!""")[^\\])*+(?:""")?|\'{3}(?:(?!\'{3}).)*+(?:\'{3})?|"(?:\\.|[^"\\\n])*+"?|\'[^\'\n]*+\'?|#[^\n]*+',
    re.DOTALL,
)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file in UTF-8, with or without a byte order mark.

    Raises
    ------
    InputError
        If it cannot be read, is larger than 1 MB, not in UTF-8, nested too deeply or not TOML.
    """
    require_regular_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); expected a TOML file") from None
    if len(content) > _LARGEST_BYTES:
        raise InputError(f"{path}: is larger than 1 MB; expected a TOML file")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise InputError(f"{path}: is no text in UTF-8 (UTF-16?); save it in UTF-8")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is no text in UTF-8; save it in UTF-8") from None
    try:
        return parse_toml(text)
    except ValueError as error:
        reason = str(error).split(" for integer string")[0]  # and no advice on how to change Python
        raise InputError(f"{path}: not a TOML file ({reason})") from None


def root_of(table: Mapping[str, Any], path: Path) -> Path:
    """Find the folder that the paths of a TOML file start from: its ``root``, or else the folder of the file.

    In ``root``, ``${VAR}`` stands for an environment variable and ``${VAR:-text}`` for `text` where it is not set.

    Raises
    ------
    InputError
        If a variable without such a text is not set.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            raise InputError(f"{path}: root: ${{{match[1]}}} is not set in the environment")
        return found

    given = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, str(table.get("root", ".")))
    return Path(os.path.normpath(path.absolute().parent / given))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML that people have written.

    Raises
    ------
    ValueError
        If it is none, or nested deeper than any setting.

    Examples
    --------
    >>> parse_toml("grid.pixel_size_m = 10")
    {'grid': {'pixel_size_m': 10}}
    """
    bare = re.sub(r"[^\[\]{}.,=\n]+", "", _STRING_OR_COMMENT.sub("", text))  # the marks alone
    depth = deepest = 0
    for mark in bare:
        depth = max(0, depth + (mark in "[{") - (mark in "]}"))
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or "." * _DEEPEST in bare:
        raise ValueError(f"nested deeper than {_DEEPEST} levels")
    return tomllib.loads(text)
