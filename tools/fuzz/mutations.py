"""What happens to files: at random, from a seed, to one file of a valid input.

A mutation that keeps the meaning (`SAME`) must give the result of the valid input, or be refused; so must one that no
reader may take for a valid file (`SAME` too: a raster that was cut off has no right value of its own). What any other
one should give is not known: the result must then only be plausible.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

Change = Callable[[Path, Random], None]

TEXT = {
    ".toml",
    ".csv",
    ".json",
    ".geojson",
    ".xml",
    ".kml",
    ".hdr",
    ".prj",
    ".cpg",
    ".safe",
    ".zattrs",
    ".zarray",
    ".zgroup",
}
NUMBERS = (
    "nan", "inf", "-inf", "1e400", "-1", "0", "1e30", "-1e30", "", "0x10", "true", "1_0", "9" * 5000, "1,5", "١٢",
    "null", '"text"', "[]", "{}", "1e-320", "2147483648", "-9999", "18446744073709551616", "2018-02-30",
)  # fmt: skip
WORDS = (
    "", "x" * 100_000, "../../../etc/passwd", "/dev/zero", "[bold]x[/bold]", "%s{0}", "null", "名前", "\u202e", "a\\nb",
    "EPSG:0", "EPSG:4326", "nan", "http://127.0.0.1:9/x", "${HOME}", "..", ".", "\\u0000", "🏔", "/vsicurl/http://127.0.0.1:9/x",
)  # fmt: skip


class Mutation(NamedTuple):
    """A change of a file, whether it is for such a file, and whether the result must then be that of the valid file."""

    name: str
    change: Change
    fits: Callable[[Path], bool]
    same: bool = False


def is_text(path: Path) -> bool:
    """Tell whether a file is read as text."""
    return path.suffix.lower() in TEXT or path.name in TEXT


def _has(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes


def _any(_: Path) -> bool:
    return True


def _self_checking(path: Path) -> bool:
    """Tell whether what was cut off cannot be a whole file: not so for lines of text."""
    return path.suffix.lower() not in {".csv", ".toml", ".hdr", ".prj", ".cpg", ".txt", ".md"}


# --- any file ---


def _flip(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 3, 20))):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def _flip_head(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 2, 5))):
        content[random.randrange(min(len(content), 512))] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
    path.write_bytes(content)


def _truncate(path: Path, random: Random) -> None:
    size = path.stat().st_size
    os.truncate(path, random.choice((random.randrange(size + 1), size // 2, max(0, size - 1 - random.randrange(64)))))


def _zero_block(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    start = random.randrange(len(content) or 1)
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def _garbage(path: Path, random: Random) -> None:
    path.write_bytes(random.randbytes(random.choice((1, 100, 5000))))


def _link(path: Path, target: Path | str) -> None:
    path.unlink()
    path.symlink_to(target)


def _link_to_itself_elsewhere(path: Path, _: Random) -> None:
    moved = path.with_name(f"moved{path.suffix}")
    path.rename(moved)
    path.symlink_to(moved.name)


def _folder_instead(path: Path, _: Random) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path, _: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _sidecar(path: Path, random: Random) -> None:
    """Put a stray file beside it, as other programs leave them."""
    names = (
        f"{path.name}.aux.xml",
        f"{path.stem}.tfw",
        f"{path.name}.ovr",
        f"{path.name}.msk",
        f"{path.name}-wal",
        f"{path.stem}.prj",
    )
    beside = path.with_name(random.choice(names))
    if not beside.exists():
        beside.write_bytes(random.choice((b"", b"<PAMDataset>", random.randbytes(200), b"1\n0\n0\n-1\n0\n0\n")))


_SAME_OR_REFUSED = True
_FILES = [
    Mutation("bytes flipped", _flip, _any),
    Mutation("bytes of the head changed", _flip_head, lambda path: path.stat().st_size > 0),
    Mutation("cut off", _truncate, lambda path: not _self_checking(path)),
    Mutation("cut off", _truncate, _self_checking, _SAME_OR_REFUSED),
    Mutation("block of zeros", _zero_block, _any),
    Mutation("emptied", lambda path, _: os.truncate(path, 0), _any, _SAME_OR_REFUSED),
    Mutation("doubled", lambda path, _: path.write_bytes(2 * path.read_bytes()), _any),
    Mutation("garbage", _garbage, _any, _SAME_OR_REFUSED),
    Mutation("deleted", lambda path, _: path.unlink(), _any, _SAME_OR_REFUSED),
    Mutation("a folder instead", _folder_instead, _any, _SAME_OR_REFUSED),
    Mutation("a FIFO instead", _fifo, _any, _SAME_OR_REFUSED),
    Mutation("a link to nothing", lambda path, _: _link(path, "nowhere"), _any, _SAME_OR_REFUSED),
    Mutation("a link to itself", lambda path, _: _link(path, path.name), _any, _SAME_OR_REFUSED),
    Mutation("a link to /dev/zero", lambda path, _: _link(path, "/dev/zero"), _any, _SAME_OR_REFUSED),
    Mutation("a link to the file", _link_to_itself_elsewhere, _any, _SAME_OR_REFUSED),
    Mutation("a stray file beside", _sidecar, _any, False),
]

# --- text ---


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text("utf-8", "surrogateescape")), "utf-8", "surrogateescape")


def _replace_one(path: Path, random: Random, pattern: str, values: tuple[str, ...]) -> None:
    text = path.read_text("utf-8", "replace")
    found = list(re.finditer(pattern, text))
    if found:
        match = random.choice(found)
        path.write_text(text[: match.start()] + random.choice(values) + text[match.end() :])


def _lines(path: Path, random: Random) -> None:
    lines = path.read_text("utf-8", "replace").splitlines(keepends=True) or [""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.choice(("delete", "double", "swap", "insert"))
    if kind == "delete":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines.insert(
            at, random.choice(("\0\n", "garbage\n", ",,,,,,\n", "é\n", "# comment\n", "[[x]]\n", "<x>\n", "}\n"))
        )
    path.write_text("".join(lines))


def _document_type(path: Path, _: Random) -> None:
    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    _edit(path, lambda text: re.sub(r"(<\?xml[^>]*\?>)?", lambda found: found[0] + entity, text, count=1))


_TEXTS = [
    Mutation("byte order mark", lambda path, _: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()), is_text, True),
    Mutation("CRLF", lambda path, _: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")), is_text, True),
    Mutation("UTF-16", lambda path, _: path.write_bytes(path.read_text("utf-8").encode("utf-16")), is_text, True),
    Mutation("spaces at the end", lambda path, _: _edit(path, lambda text: text + "\n \n\n"), is_text, True),
    Mutation("a number changed", lambda path, r: _replace_one(path, r, r"-?\d+(\.\d+)?([eE]-?\d+)?", NUMBERS), is_text),
    Mutation("a word changed", lambda path, r: _replace_one(path, r, r"[A-Za-z_][\w.:/-]*", WORDS), is_text),
    Mutation("a text changed", lambda path, r: _replace_one(path, r, r'(?<=")[^"\n]*(?=")', WORDS), is_text),
    Mutation("lines moved", _lines, is_text),
    Mutation("another encoding", lambda path, _: path.write_bytes(b"\xff\xe9" + path.read_bytes()), is_text),
    Mutation("document type", _document_type, _has(".xml", ".kml"), True),
]

# --- JSON, TOML, CSV ---

VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "text",
    "\0",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "x" * 10000,
)


def _places(value: object, way: tuple = ()) -> list[tuple]:
    """List the ways to all values inside a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in ((*way, key), *_places(part, (*way, key)))]


def _change_json(path: Path, random: Random) -> None:
    content = json.loads(path.read_text("utf-8-sig"))
    places = _places(content)
    if not places:
        return
    *way, last = random.choice(places)
    holder = content
    for key in way:
        holder = holder[key]
    kind = random.choice(("value", "value", "delete", "key"))
    if kind == "value":
        holder[last] = random.choice(VALUES)
    elif kind == "delete" or isinstance(holder, list):
        del holder[last]
    else:
        holder[random.choice(WORDS)] = holder.pop(last)
    path.write_text(json.dumps(content))


def _other_json(path: Path, random: Random) -> None:
    depth = 100_000
    path.write_text(
        random.choice(
            ("[" * depth, "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "null", "[]", "1", '"x"')
        )
    )


def _same_json(path: Path, random: Random) -> None:
    content = json.loads(path.read_text("utf-8-sig"))
    path.write_text(json.dumps(content, indent=random.choice((None, 7)), sort_keys=True), "utf-8")


TOML_VALUES = (
    "1", "-1", "0", "1e999", "nan", "inf", "true", '""', '"x"', '"/"', '"."', '".."', "[]", "{}", "[[]]", '[""]', "[1]", "{ a = 1 }",
    "2018-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "00:00:00", '"dem.tif"', '"event.toml"', '"EPSG:4978"',
    '"EPSG:2193"', '"EPSG:32601"', '"+proj=longlat"', '"""\na\nb"""', '"' + "x" * 5000 + '"', "99999999999999999999", "[nan]", "[0, 0]",
    '"event"', '"/dev/zero"', '"faults.geojson"', '"points.geojson"', '"stations.csv"', "[3, 1]", "0.1", "1000", '{ path = "dem.tif", band = 7 }',
)  # fmt: skip


def _change_toml(path: Path, random: Random) -> None:
    _replace_one(path, random, r"(?<== )[^\n#,{}\[\]]+", TOML_VALUES)


def _toml_keys(path: Path, random: Random) -> None:
    keys = (
        "pixel_size_m", "smoothing_sigma_px", "nodata", "scale", "offset", "crs", "unit", "levels_g", "fill_voids_km2", "area", "date", "select",
        "edges_km", "columns", "products", "resampling", "time_utc", "magnitude", "root", "credit", "name", "id", "curvature", "stations", "path",
    )  # fmt: skip
    lines = path.read_text().splitlines()
    lines.insert(random.randrange(len(lines) + 1), f"{random.choice(keys)} = {random.choice(TOML_VALUES)}")
    path.write_text("\n".join(lines) + "\n")


def _csv_rows(path: Path, change: Callable[[int, list[str]], list[str]], *, by: str = ",") -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(by.join(change(i, row)) for i, row in enumerate(rows)) + "\n")


def _columns_moved(path: Path, random: Random) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    order = random.sample(range(len(rows[0])), len(rows[0]))
    path.write_text("\n".join(",".join(row[i] for i in order) for row in rows) + "\n")


def _rows_moved(path: Path, random: Random) -> None:
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *random.sample(rows, len(rows))]) + "\n")


def _column_of(path: Path, random: Random) -> None:
    """Give every row of one column the same odd value."""
    at, value = random.randrange(3), random.choice(NUMBERS)
    _csv_rows(path, lambda i, row: row if i == 0 else [*row[:at], value, *row[at + 1 :]])


_csv = _has(".csv")
_json = lambda path: path.suffix.lower() in {".json", ".geojson"} or path.name in {".zattrs", ".zarray", ".zgroup"}  # noqa: E731
_toml = _has(".toml")
_STRUCTURED = [
    Mutation("a value of JSON changed", _change_json, _json),
    Mutation("a value of JSON changed", _change_json, _json),
    Mutation("another document", _other_json, _json),
    Mutation("JSON in another order", _same_json, _json, True),
    Mutation("a value of TOML changed", _change_toml, _toml),
    Mutation("a value of TOML changed", _change_toml, _toml),
    Mutation("a value of TOML changed", _change_toml, _toml),
    Mutation("a key of TOML added", _toml_keys, _toml),
    Mutation("a key of TOML added", _toml_keys, _toml),
    Mutation(
        "comma after rows", lambda path, _: _csv_rows(path, lambda i, row: row if i == 0 else [*row, ""]), _csv, True
    ),
    Mutation("comma after all", lambda path, _: _csv_rows(path, lambda _, row: [*row, ""]), _csv, True),
    Mutation("numbered rows", lambda path, _: _csv_rows(path, lambda i, row: [str(i) if i else "", *row]), _csv, True),
    Mutation(
        "rows without a name", lambda path, _: _csv_rows(path, lambda i, row: [str(i), *row] if i else row), _csv, True
    ),
    Mutation("quotes", lambda path, _: _csv_rows(path, lambda _, row: [f'"{field}"' for field in row]), _csv, True),
    Mutation("spaces", lambda path, _: _csv_rows(path, lambda _, row: [f" {field} " for field in row]), _csv, True),
    Mutation("semicolons", lambda path, _: _csv_rows(path, lambda _, row: row, by=";"), _csv, True),
    Mutation("tabs", lambda path, _: _csv_rows(path, lambda _, row: row, by="\t"), _csv, True),
    Mutation(
        "decimal commas",
        lambda path, _: _csv_rows(path, lambda _, row: [f.replace(".", ",") for f in row], by=";"),
        _csv,
        True,
    ),
    Mutation("columns moved", _columns_moved, _csv, True),
    Mutation("rows moved", _rows_moved, _csv, True),
    Mutation("a column of one value", _column_of, _csv),
    Mutation("no header", lambda path, _: _edit(path, lambda text: text.partition("\n")[2]), _csv, True),
    Mutation("a title before", lambda path, _: _edit(path, lambda text: "Title of the table\n" + text), _csv, True),
    Mutation(
        "units below the header",
        lambda path, _: _edit(path, lambda text: text.replace("\n", "\ndeg,deg,mm\n", 1)),
        _csv,
        True,
    ),
]


def mutations_of(path: Path) -> list[Mutation]:
    """List the mutations that a file may suffer, those of its format more often than those of any file."""
    from formats import OF_FORMATS

    own = [m for m in (*_STRUCTURED, *OF_FORMATS) if m.fits(path)]
    files = [m for m in (*_FILES, *_TEXTS) if m.fits(path)]
    return files + own * max(1, len(files) // max(1, len(own)))


def mutate(path: Path, random: Random) -> Mutation:
    """Change a file at random; returns what was done."""
    mutation = random.choice(mutations_of(path))
    mutation.change(path, random)
    return mutation


def copy_input(folder: Path, to: Path) -> None:
    """Copy a valid input to where it may be mutated."""
    shutil.copytree(folder, to, symlinks=True)
