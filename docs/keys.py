"""Tables of keys for the documentation, written from the models that check those keys.

A page of ``docs/`` marks where a table belongs::

    <!-- keys of coslide.config.schema.DemConfig -->
    <!-- end of keys -->

and ``python docs/keys.py`` writes what lies between, on every page; a test fails where a page is stale.
"""

import json
import pkgutil
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

UNITS = {
    "m": "m", "km": "km", "m2": "m²", "km2": "km²", "px": "pixel", "deg": "degree", "g": "g", "mm": "mm",
    "s": "s", "h": "h", "days": "day", "gb": "GB",
}  # fmt: skip
"""The unit that the last part of a key stands for, as in ``pixel_size_m``."""

_BLOCK = re.compile(r"(<!-- keys of (\S+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
_TYPES = {"string": "text", "boolean": "true or false", "object": "table", "date-time": "date and time"}


def keys_table(model: type[BaseModel]) -> str:
    """Write the keys of a model as a Markdown table: key, type, default, unit and what it is.

    Parameters
    ----------
    model
        Descriptions are those of its fields. The unit follows from the name of a key (`UNITS`), unless the field gives
        one as ``json_schema_extra={"unit": ...}``. A field that is a model is a "table", to be documented by itself.

    Returns
    -------
    str
        Columns that would be empty are left out, as is "default" where every key is required.

    Examples
    --------
    >>> from pydantic import Field
    >>> class Window(BaseModel):
    ...     side_px: int = Field(128, ge=16, description="Side of the window.")
    ...     kernel: str = Field(description="Its kernel.")
    >>> print(keys_table(Window))
    | key | type | default | unit | what it is |
    |---|---|---|---|---|
    | `side_px` | integer from 16 | `128` | pixel | Side of the window. |
    | `kernel` | text | required |  | Its kernel. |
    """
    schema = model.model_json_schema()
    rows = [("key", "type", "default", "unit", "what it is")]
    for key, field in schema["properties"].items():
        default = "required" if key in schema.get("required", []) else _default(field)
        unit = field.get("unit", UNITS.get(key.rpartition("_")[2], "") if "_" in key else "")
        text = " ".join(field.get("description", "").split()).replace("|", r"\|")
        rows.append((f"`{key}`", _type(field), default, unit, text))
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) - {"", "required"}]
    header, *body = zip(*columns, strict=True)
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("| --- ", "|---").replace("--- |", "---|")


def fill_tables(page: str) -> str:
    """Write the tables that a Markdown page marks, and leave the rest of the page as it is.

    Raises
    ------
    ImportError, AttributeError
        If a mark names no model.
    """
    return _BLOCK.sub(lambda mark: f"{mark[1]}\n{keys_table(pkgutil.resolve_name(mark[2]))}\n\n{mark[3]}", page)


def _type(field: dict[str, Any]) -> str:
    """Describe the values that a JSON schema allows, in the words of a TOML file."""
    if "anyOf" in field:
        kinds = [_type(part) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        item = _type(field["items"])
        return f"list of ({item})" if re.search(", | or ", item) else f"list of {item}"
    kind = field.get("format", field.get("type", "object"))
    words = [_TYPES.get(kind, kind)]
    return " ".join(words + [f"{word} {field[key]:g}" for key, word in _BOUNDS.items() if key in field])


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None or isinstance(value, dict) else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.md")):
        path.write_text(fill_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
