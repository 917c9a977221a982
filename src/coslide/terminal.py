"""What a person sees in a terminal: messages as lines, progress as a bar, results as tables."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from coslide.evaluation.scores import Scores

_PIPED_WIDTH = 120  # where no terminal tells its width

error_console = Console(stderr=True, highlight=False)


class _Lines(logging.Handler):
    """Messages of coslide as plain lines on the error channel."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        error_console.print(record.getMessage(), markup=False, soft_wrap=True)


@contextmanager
def shown(quiet: Sequence[str] = ()) -> Iterator[None]:
    """Show messages as lines, those of the loggers `quiet` only from warnings on, and a bar for what is under way."""
    from rich.progress import Progress

    from coslide.progress import progress_to

    bars = Progress(console=error_console, transient=True, disable=not error_console.is_terminal)
    bar = bars.add_task("")

    def show(name: str, done: int, total: int) -> None:
        bars.start()
        bars.update(bar, description=name, completed=done, total=total)
        if done >= total:
            bars.stop()

    logger, lines = logging.getLogger("coslide"), _Lines()
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with progress_to(show):
            yield
    except KeyboardInterrupt:
        error_console.print(
            "interrupted; a build goes on where it was, a training with --resume from its last whole epoch",
            style="yellow",
        )
        raise
    finally:
        bars.stop()
        logger.removeHandler(lines)
        for name in quiet:
            logging.getLogger(name).setLevel(logging.NOTSET)


def print_scores(found: "Scores", *, as_json: bool) -> None:
    """Print scores as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    from rich.table import Table

    from coslide.pipeline.results import COLUMNS, result_rows

    title = "Scores" if found.split.scheme == "unknown" else "Scores on held-out pixels"
    table = Table("method", *COLUMNS.values(), title=title, box=None)
    for row in result_rows(found):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def print_contents(rows: list[dict[str, Any]], title: str) -> None:
    """Print the bands of a cube as a table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=None, header_style="bold")
    for name in ("band", "role", "unit", "valid", "from", "to", "source"):
        table.add_column(name, justify="right" if name in {"valid", "from", "to"} else "left", no_wrap=name != "source")
    for row in rows:
        numbers = ("", "") if row["smallest"] is None else (f"{row['smallest']:.4g}", f"{row['largest']:.4g}")
        first, *more = row["source"] or [""]
        source = f"{Path(first).name} +{len(more)}" if more else Path(first).name
        table.add_row(
            row["band"], row["role"], row["unit"], f"{100 * row['valid_share']:.1f} %", *numbers, escape(source)
        )
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def print_networks(rows: list[dict[str, Any]], bands: int) -> None:
    """Print the networks with their sizes as a table."""
    from rich.table import Table

    title = f"{bands} bands, 2 classes, a tile of 128 x 128"
    caption = (
        "Table 4: weights and elements of feature maps, as the paper counts. Reconstruction: built from what is\n"
        "known of a network whose paper could not be read; low confidence: from little more than its title."
    )
    columns = Table(title=title, caption=caption, box=None)
    for name in ("network", "width", "parameters", "Table 4", "multiply-adds"):
        columns.add_column(name, justify="left" if name == "network" else "right")
    columns.add_column("")
    for row in rows:
        if row["parameters"] is None:
            numbers, note = ("", "", ""), "which bands are before and after? --cube"
        else:
            table4, multiply_adds = row["params_table4"] / 1e6, row["multiply_adds"] / 1e9
            numbers = (f"{row['parameters']:,}", f"{table4:.2f} M", f"{multiply_adds:.2f} G")
            note = row["reconstruction"].split(":")[0]
        columns.add_row(row["network"], str(row["width"]), *numbers, note)
    Console().print(columns)
