"""Output in a terminal: messages and errors as lines, progress as a bar, results as tables."""

import errno
import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

from coslide.errors import InputError, one_line
from coslide.memory import keep_freed_memory

if TYPE_CHECKING:
    from coslide.evaluation.assessment import Assessment
    from coslide.evaluation.scores import Scores
    from coslide.evaluation.study import Run, Study
    from coslide.pipeline.shipped import ShippedModel
    from coslide.pipeline.study_cost import Plan

_WRONG_USE: Any = typer.BadParameter.__base__  # the error of typer about options, which has no public name
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


def print_assessment(found: "Assessment", *, as_json: bool) -> None:
    """Print what the labels of a sample tell of a map as tables, or as JSON."""
    if as_json:
        return _print_json(found.model_dump(mode="json"))
    from coslide.evaluation.assessment import comparison_rows, estimate_rows, stratum_rows

    title = f"{found.labelled} labels for {found.sampled_km2:.4g} km2, of which {found.mapped_km2:.4g} km2 are mapped"
    head, *rows = estimate_rows(found)
    _print_table(head, rows, right=head[1:], title=title)
    head, *rows = stratum_rows(found)
    _print_table(head, rows, right=head[1:], title="Labels; more: for an interval half as wide")
    if found.comparison is not None:
        head, *rows = comparison_rows(found.comparison)
        title = f"Compared with {found.comparison.other} on {found.comparison.labelled} labels"
        _print_table(head, rows, right=head[1:], title=title)
    return None


def print_study(found: "Study", *, as_json: bool) -> None:
    """Print the table of a study, or all of it as JSON."""
    if as_json:
        return _print_json(found.model_dump(mode="json"))
    from coslide.evaluation.study_tables import brief_rows, transfer_rows

    transfer = found.name == "transfer"
    head, *rows = transfer_rows(found, brief=True) if transfer else brief_rows(found)
    caption = "Oracle: at the threshold that is best on the scored pixels; a bound, not a result."
    words = caption if transfer else "Mean ± deviation over the seeds; study.md says which differences are sure."
    return _print_table(head, rows, right=head[1 + transfer :], title=f"Study: {found.title}", caption=words)


def print_runs(runs: Sequence[tuple["Run", str]], *, as_json: bool) -> None:
    """Print the trainings of a study and the state of each as a table, or as JSON."""
    if as_json:
        return _print_json([{**run.model_dump(mode="json"), "state": state} for run, state in runs])
    rows = [(run.name, state, run.case, ", ".join(Path(path).name for path in run.train)) for run, state in runs]
    return _print_table(("run", "state", "unseen", "trains on"), rows, title=f"{len(runs)} trainings")


def print_plan(plan: "Plan", *, as_json: bool) -> None:
    """Print the plan of a study as a table, or as JSON."""
    if as_json:
        return _print_json(plan.model_dump(mode="json"))
    rows = [
        (one.run.name, one.state, f"{one.steps or ''}", f"{one.step_s:.2f} s" if one.step_s else "")
        for one in plan.runs
    ]
    head = ("run", "state", "steps", "a step alone")
    return _print_table(head, rows, right=head[2:], title=plan.line())


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


def print_models(models: Sequence["ShippedModel"], *, as_json: bool) -> None:
    """Print the models that come with coslide as a table, or as JSON."""
    if as_json:
        return _print_json([one.entry() for one in models])
    from coslide.pipeline.shipped import model_rows

    head, *rows = model_rows(models)
    caption = "Unseen events had no part in a training; F1 is at the own threshold of a model. coslide models NAME"
    title, wrapped = "Models that come with coslide", ("bands", "unseen events")
    return _print_table(head, rows, right=("size",), wrapped=wrapped, title=title, caption=caption)


def print_model(model: "ShippedModel", *, as_json: bool) -> None:
    """Print the card of a model, or what `print_models` tells of it as JSON."""
    from coslide.pipeline.shipped import card_of

    if as_json:
        return _print_json(model.entry())
    return typer.echo(card_of(model.metadata), nl=False)


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
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str,
    right: Sequence[str] = (),
    wrapped: Sequence[str] = (),
    caption: str = "",
) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    wrapped = [*wrapped, head[-1]]
    columns = [Column(name, justify="right" if name in right else "left", no_wrap=name not in wrapped) for name in head]
    table = Table(*columns, title=Text(one_line(title)), caption=caption, box=None)
    for row in rows:
        table.add_row(*(Text(one_line(text)) for text in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)  # where no terminal tells its width


def silence_libraries() -> None:
    """Let nothing but coslide speak: no warnings of libraries, here or in processes that are started."""
    logging.getLogger().addHandler(logging.NullHandler())  # without any, Python prints warnings
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.unraisablehook = _ignore
    threading.excepthook = _ignore
    quiet = {"CPL_LOG": os.devnull, "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    for name, value in {**quiet, "DASK_LOGGING__DISTRIBUTED": "critical"}.items():
        os.environ.setdefault(name, value)


def _ignore(_: object) -> None:
    """Say nothing of an error in a thread or a destructor: what it breaks is told where it is missed."""


def tell_usage(error: Any) -> int:
    """Tell what is wrong with the options, in one line, or give the help where there are none."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        of, context = "", error.ctx
        while context and context.parent:
            of, context = f" {context.info_name}{of}", context.parent
        print_line(f"coslide: {error.format_message().rstrip('.')}; see coslide{of} --help", style="red")
    return 2


def error_in_words(error: Exception) -> str:
    """Say what happened: wrong input, a machine that has not enough, or a fault of coslide."""
    if isinstance(error, InputError):
        return str(error)
    text = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return f"not enough memory ({text}); free some, or map a smaller area, or use smaller windows or batches"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{error.filename or 'output'}: the disk is full; free some space and run again"
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: cannot be read or written ({error.strerror})"
    if "no locator available" in text:
        return "compiled code can be kept nowhere; set NUMBA_CACHE_DIR to a folder that can be written"
    return f"a fault of coslide, not of what you gave: {text} (coslide --debug ... shows where)"


def run_to_its_end(app: typer.Typer) -> NoReturn:
    """Run a command line, and end the process with the exit code of what happened.

    Whatever it is, it is told in one line: wrong input and wrong options with exit code 2, what went wrong otherwise
    with 1, an interruption with 130. Who reads the output may stop reading (``| head``): that is silent.
    """
    debug = "--debug" in sys.argv
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    keep_freed_memory()
    if not debug:
        silence_libraries()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # what cannot be written shows here, not after the end
    except _WRONG_USE as error:
        code = tell_usage(error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except Exception as error:
        if debug:
            raise
        print_line(f"coslide: {error_in_words(error)}", style="red")
        code = 2 if isinstance(error, InputError | PermissionError) else 1
    sys.exit(code)
