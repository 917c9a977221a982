"""The tables of keys in the documentation."""

import runpy
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SCRIPT = runpy.run_path(str(DOCS / "keys.py"))
fill_tables, keys_table = SCRIPT["fill_tables"], SCRIPT["keys_table"]


class Tile(BaseModel):
    path: Path | None = None


class Sampling(BaseModel, use_attribute_docstrings=True):
    side_px: int = Field(128, ge=16, le=512)
    """Side of a
    tile."""
    kind: Literal["tiles", "random"] = "tiles"
    share: float = Field(0.01, gt=0, lt=1, json_schema_extra={"unit": "1"})
    names: list[str | int] = Field(description="What | names.")
    tile: Tile | None = None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_code(page):
    text = page.read_text()
    assert fill_tables(text) == text, "refresh it: python docs/keys.py"


def test_a_table_tells_type_bounds_default_and_unit_of_each_key():
    assert keys_table(Sampling).splitlines() == [
        "| key | type | default | unit | what it is |",
        "|---|---|---|---|---|",
        "| `side_px` | integer from 16 to 512 | `128` | pixel | Side of a tile. |",
        '| `kind` | `"tiles"`, `"random"` | `"tiles"` |  |  |',
        "| `share` | number above 0 below 1 | `0.01` | 1 |  |",
        r"| `names` | list of (text or integer) | required |  | What \| names. |",
        "| `tile` | table |  |  |  |",
    ]


def test_columns_that_would_be_empty_are_left_out():
    assert keys_table(Tile).splitlines() == ["| key | type |", "|---|---|", "| `path` | path |"]


def test_what_stands_around_a_mark_is_kept_and_a_wrong_mark_is_an_error():
    page = "a\n<!-- keys of coslide.config.schema.NdviConfig -->\nold\n<!-- end of keys -->\nb\n"
    filled = fill_tables(page)
    assert "old" not in filled
    assert filled.startswith("a\n<!-- keys of")
    assert filled.endswith("-->\nb\n")
    assert "`inputs`" in filled
    with pytest.raises(AttributeError):
        fill_tables(page.replace("NdviConfig", "NoConfig"))
