"""The event file of an earthquake whose sources were fetched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coslide.acquisition.records import Part
from coslide.config.writing import event_as_toml, table_as_toml
from coslide.errors import one_line


def event_text(head: Mapping[str, Any], parts: Sequence[Part], *, folder: Path, notes: Sequence[str] = ()) -> str:
    """Write the event file of what was fetched, with where each source comes from above its table.

    Parameters
    ----------
    head
        Name, id, time and magnitude of the earthquake, as keys of `coslide.config.event.Event`.
    parts
        The sources; where two have the same table, its keys are joined. What a part without tables tells, such as why
        there is no rain, stands at the top.
    folder
        Of the event, in which all paths lie.
    notes
        What else to tell at the top, such as how the area was found.

    Examples
    --------
    >>> dem = Part({"dem": {"path": Path("/event/dem.tif")}}, notes=("Copernicus DEM GLO-30: 1 tile",))
    >>> print(event_text({"name": "M 6.6"}, [dem], folder=Path("/event")), end="")
    # Written by coslide fetch; what was chosen, and where it comes from, stands above each table.
    name = "M 6.6"
    <BLANKLINE>
    # Copernicus DEM GLO-30: 1 tile
    [dem]
    path = "dem.tif"
    """
    top = ["Written by coslide fetch; what was chosen, and where it comes from, stands above each table.", *notes]
    tables: dict[str, tuple[dict[str, Any], str]] = {}
    for part in parts:
        addresses = dict.fromkeys(f"from {one.address}" for one in part.attributions if one.address)
        told = [*part.notes, *addresses]
        for name, keys in part.tables.items():
            older, comment = tables.get(name, ({}, ""))
            tables[name] = (older | keys, "\n".join(filter(None, [comment, *told])))
        top += [] if part.tables else told
    credits_of = dict.fromkeys(one for part in parts for one in part.attributions)
    texts = [event_as_toml(_lines(head), tables, folder=folder, comment="\n".join(top))]
    # The brackets of an array of tables are doubled.
    texts += [table_as_toml("[attributions]", one.model_dump(exclude_defaults=True)) for one in credits_of]
    return "\n".join(texts)


def _lines(head: Mapping[str, Any]) -> dict[str, Any]:
    """Make texts of a server fit for a file that people read."""
    return {key: one_line(value) if isinstance(value, str) else value for key, value in head.items()}
