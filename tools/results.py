"""Write the tables of studies into docs/results.md, between its marks, so that no number is copied by hand.

    python tools/results.py FOLDER

FOLDER holds the studies by the names that the marks have: ``<!-- scores of s-networks -->`` to ``<!-- end -->``. What a
mark may ask for: scores, comparisons, against (the first case), sizes, learned, leak. A study that is not in FOLDER
keeps what the page has.
"""

import re
import sys
from pathlib import Path

from coslide.config.factors import FACTORS, Factor
from coslide.evaluation.study import Study
from coslide.evaluation.study_tables import Table, factor_tables

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
MARKS = re.compile(r"<!-- (\w+) of ([\w-]+) -->\n.*?<!-- end -->\n", re.DOTALL)
PIXEL_SIZE_M = 10


def written(table: Table) -> str:
    """Write a table as Markdown."""
    rows = [[f"**{entry.text}**" if entry.best else entry.text for entry in row] for row in table.rows]
    lines = [table.head, ["---"] * len(table.head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comparisons(found: Study) -> str:
    """List the differences that are shown, and say of how many pairs none is."""
    shown = [f"- {one.sentence(found.event, PIXEL_SIZE_M)}" for one in found.comparisons if one.shown]
    rest = [one for one in found.comparisons if not one.shown]
    if rest:
        widest = max(max(abs(one.low), abs(one.high)) for one in rest)
        of = f"{len(rest)} of {len(found.comparisons)} pairs no" if shown else f"none of {len(rest)} pairs a"
        shown.append(f"- Of {of} difference in F1 can be shown; their 95 % intervals reach to {widest:.3f} at most.")
    return "\n".join(shown) + "\n"


def against_first(found: Study) -> str:
    """Write how each case differs from the first, whether that is shown or not."""
    first = found.runs[0].case
    lines = [["", f"F1 less that of {first}", "95 % interval", "p after Holm's correction"]]
    lines.append(["---"] * 4)
    for one in found.comparisons:
        if first in (one.first, one.second):
            other, sign = (one.second, -1) if one.first == first else (one.first, 1)
            low, high = sorted((sign * one.low, sign * one.high))
            difference = f"{sign * one.difference:+z.3f}"
            lines.append([other, difference, f"{low:+z.3f} to {high:+z.3f}", f"{one.p_corrected:.3f}"])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(folder: Path) -> None:
    """Replace what stands between the marks."""

    def replaced(match: re.Match[str]) -> str:
        what, name = match.groups()
        path = folder / name / "study.json"
        if not path.exists():
            print(f"{name}: is not in {folder}; what the page has stays")
            return match.group(0)
        found = Study.model_validate_json(path.read_bytes())
        factor = FACTORS.get(found.name) or Factor(name="other", title=found.title, cases={"a": {}, "b": {}})
        tables = factor_tables(found, factor)
        further = dict(zip(("sizes", "learned"), tables.further, strict=False))
        texts = {"scores": tables.scores["own"], "leak": tables.leak, **further}
        listed = {"comparisons": comparisons, "against": against_first}
        text = listed[what](found) if what in listed else written(texts[what])
        return f"<!-- {what} of {name} -->\n{text}<!-- end -->\n"

    PAGE.write_text(MARKS.sub(replaced, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
