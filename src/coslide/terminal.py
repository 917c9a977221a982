"""What is told in a terminal while a command runs: messages and errors as lines, progress as a bar or lines."""

import errno
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from coslide.errors import InputError, one_line
from coslide.memory import keep_freed_memory

WRONG_USE: Any = typer.BadParameter.__base__  # the error of typer about options, which has no public name
_errors = Console(stderr=True, highlight=False, emoji=False)
_log = logging.getLogger("coslide")
_FIRST_LINE_S, _NEXT_LINE_S = 2.0, 10.0  # of progress, where lines tell it


class _Output:
    """How much is told on the error channel, and the file that all of it goes to."""

    def __init__(self) -> None:
        self.quiet = self.verbose = False
        self.file: logging.FileHandler | None = None
        self.bar: Any = None

    @property
    def level(self) -> int:
        """The least level of messages that are shown."""
        return logging.ERROR if self.quiet else logging.DEBUG if self.verbose else logging.INFO

    def start(self) -> None:
        """Forget what an earlier command was told."""
        if self.file is not None:
            _log.removeHandler(self.file)
            self.file.close()
        self.__init__()  # type: ignore[misc]


_output = _Output()


def show_errors_only(wanted: bool) -> None:
    """Tell nothing but errors, if wanted."""
    _output.quiet |= wanted


def show_debug_messages(wanted: bool) -> None:
    """Tell also what helps to find a fault, if wanted."""
    _output.verbose |= wanted


def log_to(path: Path | None) -> None:
    """Write all that is told, with its time, to the end of a file, too.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    if path is None or _output.file is not None:
        return
    try:
        _output.file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--log: {path}: cannot be written ({reason}); expected a file in a folder that is there"
        ) from None
    _output.file.setFormatter(_Stamped("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(_output.file)
    _log.setLevel(logging.DEBUG)
    _keep(logging.DEBUG, f"coslide {' '.join(sys.argv[1:])}")


class _Stamped(logging.Formatter):
    """Messages in a file: one line each, and the traceback of an error, neither of which steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message, and what belongs to it."""
        record.message = one_line(record.getMessage())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {record.message}"
        if not record.exc_info:
            return line
        lines = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(f"    {' ' * (len(one) - len(one.lstrip()))}{one_line(one)}" for one in lines)])


class _Lines(logging.Handler):
    """Messages of coslide as plain lines on the error channel."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message; those for finding faults with where they come from."""
        name = f"{record.name}: " if record.levelno < logging.INFO else ""
        _print(f"{name}{record.getMessage()}", "dim" if name else "")


def print_line(text: str, style: str = "") -> None:
    """Print a text on the error channel, as one line whatever names are in it, unless only errors are told."""
    if not _output.quiet:
        _print(text, style)
    _keep(logging.INFO, text)


def _keep(level: int, text: str, error: Exception | None = None) -> None:
    """Write a text that is no message into the file that all goes to, with the traceback of an error."""
    if _output.file is not None:
        found = None if error is None else (type(error), error, error.__traceback__)
        _output.file.handle(_log.makeRecord(_log.name, level, "", 0, text, (), found))


def _print(text: str, style: str = "") -> None:
    _errors.print(one_line(text), style=style, markup=False, soft_wrap=True)


@contextmanager
def shown(quiet: str = "") -> Iterator[None]:
    """Show messages as lines, those of the logger `quiet` only from warnings on, and the progress of what is under way.

    Progress is a bar with the time left in a terminal. Elsewhere it is lines, of what takes longer than two seconds.
    """
    from coslide.progress import progress_to

    lines = _Lines(_output.level)
    lines.addFilter(lambda record: record.name != quiet or record.levelno >= logging.WARNING)
    _log.addHandler(lines)
    _log.setLevel(min(_output.level, logging.DEBUG if _output.file else logging.INFO))
    try:
        with _progress_display() as show, progress_to(_timed(show)):
            yield
    except KeyboardInterrupt:
        text = "interrupted; a build goes on where it was, a training with --resume from its last whole epoch"
        print_line(text, style="yellow")
        raise
    finally:
        _log.removeHandler(lines)


Show = Callable[[str, int, int], None]


def _timed(show: Show) -> Show:
    """Pass progress on, and log how long each step took."""
    begun: dict[str, float] = {}

    def timed(name: str, done: int, total: int) -> None:
        started = begun.setdefault(name, time.monotonic())
        if done >= total:
            logging.getLogger("coslide.progress").debug(f"{name} took {time.monotonic() - started:.2f} s")
            begun.pop(name)
        show(name, done, total)

    return timed


@contextmanager
def _progress_display() -> Iterator[Show]:
    if _output.quiet:
        yield lambda name, done, total: None
    elif not _errors.is_terminal:
        yield _ProgressLines().show
    else:
        with _bar() as show:
            yield show


class _ProgressLines:
    """Progress as lines: the first after two seconds of a step, then every ten, and one at its end."""

    def __init__(self) -> None:
        self.name = ""
        self.began = self.next = 0.0
        self.before = 0

    def show(self, name: str, done: int, total: int) -> None:
        """Tell how far a step is, if it is time for a line."""
        now = time.monotonic()
        if name != self.name:
            self.name, self.before, self.began, self.next = name, done, now, now + _FIRST_LINE_S
        told = self.next > self.began + _FIRST_LINE_S
        if done >= total:
            if told:
                _print(f"{name}: done in {_in_words(now - self.began)}")
            self.name = ""
        elif now >= self.next and done > self.before:
            left = (now - self.began) * (total - done) / (done - self.before)
            _print(f"{name}: {100 * done / total:.0f} %, about {_in_words(left)} left")
            self.next = now + _NEXT_LINE_S


@contextmanager
def _bar() -> Iterator[Show]:
    """Draw a bar for the step under way; between steps it tells only that time passes."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Time(ProgressColumn):
        """How far a step is, and the time left; or the time that passed, where nothing tells."""

        def render(self, task: Task) -> Text:
            """Write it beside the bar."""
            if task.total is None:
                return Text(_in_words(task.elapsed or 0.0) if (task.elapsed or 0.0) > _FIRST_LINE_S else "")
            left = "" if task.time_remaining is None else f", {_in_words(task.time_remaining)} left"
            return Text(f"{task.percentage:.0f} %{left}")

    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), Time())
    with Progress(
        *columns, console=_errors, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
    ) as bars:
        _output.bar = bars
        bar, under_way = bars.add_task("working", total=None), ""

        def show(name: str, done: int, total: int) -> None:
            nonlocal bar, under_way
            if done >= total or name != under_way:
                bars.remove_task(bar)
                over = done >= total
                begun = {"total": None} if over else {"total": total, "completed": done}
                bar = bars.add_task("working" if over else one_line(name), **begun)
                under_way = "" if over else name
            if under_way:
                bars.update(bar, completed=done)

        yield show


def ask_which(question: str, options: Sequence[str]) -> int:
    """Let a person choose one of several, of which the first is proposed; return its number from 0.

    Raises
    ------
    InputError
        If the answer is no number of one.
    """
    if _output.bar is not None:
        _output.bar.stop()  # it would draw over the answer
    for number, option in enumerate(options, start=1):
        _print(f"  {number}  {option}")
    chosen: int = typer.prompt(question, default=1, type=int, err=True)
    if not 1 <= chosen <= len(options):
        raise InputError(f"found {chosen}, expected a number from 1 to {len(options)}")
    if _output.bar is not None:
        _output.bar.start()
    return chosen - 1


def _in_words(seconds: float) -> str:
    """Say how long something takes.

    Examples
    --------
    >>> [_in_words(seconds) for seconds in (0.4, 59.6, 125, 3725)]
    ['1 s', '1 min', '2 min 5 s', '1 h 2 min']
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    size, large, small = (60, "min", "s") if whole < 3600 else (3600, "h", "min")
    first, rest = divmod(whole, size)
    rest = rest if size == 60 else rest // 60
    return f"{first} {large}" + (f" {rest} {small}" if rest else "")


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
        text = error.format_message().rstrip(".")
        _tell_error(f"{text}{' See' if text.endswith('?') else '; see'} coslide{of} --help")
    return 2


def _tell_error(text: str, error: Exception | None = None) -> None:
    """Tell an error on the error channel, and in the file that all goes to with its traceback."""
    _print(f"coslide: {text}", "red")
    _keep(logging.ERROR, text, error)


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
    _output.start()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    keep_freed_memory()
    if not debug:
        silence_libraries()
    try:
        code = app(standalone_mode=False, prog_name="coslide")
        sys.stdout.flush()  # what cannot be written shows here, not after the end
    except WRONG_USE as error:
        code = tell_usage(error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except Exception as error:
        if debug:
            _keep(logging.ERROR, error_in_words(error), error)
            raise
        _tell_error(error_in_words(error), error)
        code = 2 if isinstance(error, InputError | PermissionError) else 1
    _output.start()  # closes the file
    sys.exit(code)
