"""How the steps tell what they do, without knowing who listens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from coslide.files import whole_output


def _silent(*_: object) -> None:
    pass


class Listener(NamedTuple):
    """Who hears of a step: `say` gets one line per result, `progress` gets (rows done, rows in all) of a map."""

    say: Callable[[str], None] = _silent
    progress: Callable[[int, int], None] = _silent


QUIET = Listener()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Return nothing; writes `content` as indented JSON, whole or not at all."""
    with whole_output(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
