"""Tables for the documentation, written from the code: the keys of the models that check them, and the command line.

A page of ``docs/`` marks where a table belongs::

    <!-- keys of coslide.config.schema.DemConfig -->
    <!-- end of keys -->

    <!-- commands of coslide.cli.app -->
    <!-- end of commands -->

and ``python docs/keys.py`` writes what lies between, on every page; a test fails where a page is stale.
"""

import contextlib
import io
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

UNITS = {
    "m": "m", "km": "km", "m2": "m²", "km2": "km²", "px": "pixel", "deg": "degree", "g": "g", "mm": "mm",
    "s": "s", "h": "h", "days": "day", "gb": "GB",
}  # fmt: skip
"""The unit that the last part of a key stands for, as in ``pixel_size_m``."""

_BLOCK = re.compile(r"(<!-- (keys|commands) of (\S+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
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
        rows.append((f"`{key}`", _type(field), default, unit, field.get("description", "")))
    return _table(rows)


def command_sections(app: typer.Typer) -> str:
    """Write every command of a command line as a section: what it does, its arguments and its options.

    Examples
    --------
    >>> app = typer.Typer()
    >>> @app.command()
    ... def cut(side_m: float = typer.Option(10.0, help="Side of a tile.")) -> None:
    ...     "Cut a scene into tiles."
    >>> _ = app.callback()(lambda: None)
    >>> print(command_sections(app))
    ## `coslide cut`
    <BLANKLINE>
    Cut a scene into tiles.
    <BLANKLINE>
    | argument or option | what it is |
    |---|---|
    | `--side-m <float>` | Side of a tile. [default: 10.0] |
    """
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_sections(group, typer.Context(group, info_name="coslide")))


def _sections(group: Any, context: Any) -> list[str]:
    found, before = [], {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context)
        if hasattr(command, "list_commands"):
            found += _sections(command, inner)
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            command.get_help(inner)  # which gives options that are settings their description
        rows = [_option(parameter, inner) for parameter in command.params]
        told = before.setdefault(tuple(rows), name)
        same = f"Arguments and options are those of `{context.command_path} {told}`."
        table = _table([("argument or option", "what it is"), *rows]) if told == name else same
        found.append(f"## `{inner.command_path}`\n\n{command.help}\n\n{table}")
    return found


def _option(parameter: Any, context: Any) -> tuple[str, str]:
    """Write an argument or option, and what it is."""
    usage, text = parameter.get_help_record(context)
    return f"`{usage}`", text


def _table(rows: list[tuple[str, ...]]) -> str:
    """Write rows, the first of which is the header, as a Markdown table without the columns that would be empty."""
    clean = [[" ".join(text.split()).replace("|", r"\|") for text in row] for row in rows]
    columns = [column for column in zip(*clean, strict=True) if set(column[1:]) - {"", "required"}]
    header, *body = zip(*columns, strict=True)
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("| --- ", "|---").replace("--- |", "---|")


def fill_tables(page: str) -> str:
    """Write the tables that a Markdown page marks, and leave the rest of the page as it is.

    Raises
    ------
    ImportError, AttributeError
        If a mark names nothing.
    """
    write = {"keys": keys_table, "commands": command_sections}
    return _BLOCK.sub(lambda mark: f"{mark[1]}\n{write[mark[2]](pkgutil.resolve_name(mark[3]))}\n\n{mark[4]}", page)


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
