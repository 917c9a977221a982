"""Output in a terminal: messages as lines, progress as a bar, results as tables."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from coslide.errors import one_line

if TYPE_CHECKING:
    from coslide.evaluation.scores import Scores

_errors = Console(stderr=True, highlight=False, emoji=False)


class _Lines(logging.Handler):
    """Messages of coslide as plain lines on the error channel."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        print_line(record.getMessage())


def print_line(text: str, style: str = "") -> None:
    """Print a text on the error channel, as one line whatever names are in it."""
    _errors.print(one_line(text), style=style, markup=False, soft_wrap=True)


@contextmanager
def shown(quiet: str = "") -> Iterator[None]:
    """Show messages as lines, those of the logger `quiet` only from warnings on, and a bar for what is under way."""
    from rich.progress import Progress

    from coslide.progress import progress_to

    bars = Progress(console=_errors, transient=True, disable=not _errors.is_terminal)
    bar = bars.add_task("")

    def show(name: str, done: int, total: int) -> None:
        bars.start()
        bars.update(bar, description=name, completed=done, total=total)
        if done >= total:
            bars.stop()

    logger, lines = logging.getLogger("coslide"), _Lines()
    lines.addFilter(lambda record: record.name != quiet or record.levelno >= logging.WARNING)
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        with progress_to(show):
            yield
    except KeyboardInterrupt:
        text = "interrupted; a build goes on where it was, a training with --resume from its last whole epoch"
        print_line(text, style="yellow")
        raise
    finally:
        bars.stop()
        logger.removeHandler(lines)


def print_scores(found: "Scores", *, as_json: bool) -> None:
    """Print scores as a table, or as JSON."""
    if as_json:
        return _print_json(found.to_json())
    from coslide.pipeline.evaluate import COLUMNS, result_rows

    title = "Scores" if found.split.scheme == "unknown" else "Scores on held-out pixels"
    return _print_table(["method", *COLUMNS.values()], result_rows(found), title=title)


def print_contents(bands: Sequence[Mapping[str, Any]], title: str, *, as_json: bool) -> None:
    """Print the bands of a cube as a table, or as JSON."""
    if as_json:
        return _print_json(bands)
    rows = []
    for band in bands:
        ends = ["" if end is None else f"{end:.4g}" for end in (band["smallest"], band["largest"])]
        first, *more = band["source"] or [""]
        source = f"{Path(first).name} +{len(more)}" if more else Path(first).name
        rows.append((band["band"], band["role"], band["unit"], f"{100 * band['valid_share']:.1f} %", *ends, source))
    head = ("band", "role", "unit", "valid", "from", "to", "source")
    return _print_table(head, rows, right=("valid", "from", "to"), title=title)


def print_networks(networks: Sequence[Mapping[str, Any]], bands: int, *, as_json: bool) -> None:
    """Print the networks with their sizes as a table, or as JSON."""
    if as_json:
        return _print_json(networks)
    caption = (
        "Table 4: weights and elements of feature maps, as the paper counts. Reconstruction: built from what is\n"
        "known of a network whose paper could not be read; low confidence: from little more than its title."
    )
    rows = []
    for network in networks:
        numbers, note = ("", "", ""), "which bands are before and after? --cube"
        if network["parameters"] is not None:
            table4, multiply_adds = network["params_table4"] / 1e6, network["multiply_adds"] / 1e9
            numbers = (f"{network['parameters']:,}", f"{table4:.2f} M", f"{multiply_adds:.2f} G")
            note = network["reconstruction"].split(":")[0]
        rows.append((network["network"], str(network["width"]), *numbers, note))
    right = ("width", "parameters", "Table 4", "multiply-adds")
    title = f"{bands} bands, 2 classes, a tile of 128 x 128"
    return _print_table(("network", *right, ""), rows, right=right, title=title, caption=caption)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, title: str, right: Sequence[str] = (), caption: str = ""
) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(name, justify="right" if name in right else "left", no_wrap=name != head[-1]) for name in head]
    table = Table(*columns, title=Text(one_line(title)), caption=caption, box=None)
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)  # where no terminal tells its width
