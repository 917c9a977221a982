"""What a terminal shows while a command runs: messages, progress, a log; and what comes next."""

import contextlib
import io
import logging
import os
import pty
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from coslide import terminal
from coslide.cli import app, main
from coslide.errors import InputError
from coslide.next_steps import STEPS, tell_what_comes_next
from coslide.progress import report_progress


@pytest.fixture
def output(monkeypatch):
    """The error channel of a command, as text, that begins anew."""
    text = io.StringIO()
    monkeypatch.setattr(terminal, "_errors", Console(file=text, width=100))
    terminal._output.start()
    yield text
    terminal._output.start()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; `now` is what it shows."""
    shown = SimpleNamespace(now=0.0)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: shown.now)
    return shown


def report_at(clock, *steps):
    for now, done in steps:
        clock.now = now
        report_progress("mapping", done, 100)


def test_a_step_of_less_than_two_seconds_is_silent_without_a_terminal(output, clock):
    with terminal.shown():
        report_at(clock, (0, 0), (1.0, 50), (1.9, 100))
    assert output.getvalue() == ""


def test_a_long_step_is_told_every_ten_seconds_with_the_time_left_and_at_its_end(output, clock):
    with terminal.shown():
        report_at(clock, (0, 0), (2.5, 10), (3, 12), (12, 40), (13, 50), (25, 80), (30, 100))
    assert output.getvalue().splitlines() == [
        "mapping: 10 %, about 22 s left",
        "mapping: 50 %, about 13 s left",
        "mapping: 80 %, about 6 s left",
        "mapping: done in 30 s",
    ]


def test_a_step_that_goes_on_where_an_earlier_one_stopped_does_not_count_what_was_there(output, clock):
    with terminal.shown():
        report_at(clock, (0, 50), (10, 60))
    assert output.getvalue() == "mapping: 60 %, about 40 s left\n"


def test_quiet_tells_errors_alone_and_verbose_tells_how_long_steps_took(output, clock):
    log = logging.getLogger("coslide.x")
    terminal.show_errors_only(True)
    with terminal.shown():
        report_at(clock, (0, 0), (20, 50))
        log.warning("warning")
        terminal.print_line("made: a")
        log.error("an error")
    assert output.getvalue() == "an error\n"
    terminal._output.start()
    terminal.show_debug_messages(True)
    with terminal.shown():
        log.debug("detail")
        report_at(clock, (20, 0), (21.5, 100))
    assert output.getvalue().splitlines()[1:] == ["coslide.x: detail", "coslide.progress: mapping took 1.50 s"]


def test_a_log_holds_all_messages_with_their_time_and_no_control_character(output, tmp_path):
    terminal.log_to(tmp_path / "log.txt")
    terminal.show_errors_only(True)
    with terminal.shown():
        logging.getLogger("coslide.x").info("one\x1b[2J\nline")
        logging.getLogger("coslide.x").debug("detail")
    terminal.print_line("made: a")
    terminal._output.start()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO) coslide", line) for line in lines)
    assert [line.split(": ", 1)[1] for line in lines[1:]] == [r"one\x1b[2J line", "detail", "made: a"]
    assert output.getvalue() == ""


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["coslide", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("place", ["before", "after"])
def test_options_of_coslide_stand_before_or_after_the_command(monkeypatch, capsys, tmp_path, place):
    shared, command = ["--log", tmp_path / "log.txt", "--quiet"], ["study", "transfer", "none.zarr", "--out", "x"]
    words = [*shared, *command] if place == "before" else [*command, *shared]
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    log = (tmp_path / "log.txt").read_text()
    assert "ERROR coslide: none.zarr" in log
    assert "Traceback (most recent call last):" in log
    assert "InputError" in log


def test_a_log_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "networks", "--log", tmp_path / "none" / "log.txt")
    assert code == 2
    assert "--log: " in err
    assert "expected a file in a folder that is there" in err


@pytest.mark.parametrize(
    ("words", "near"),
    [(["buidl"], "'build'"), (["study", "netwroks"], "'networks'"), (["build", "a", "--uot", "b"], "--out")],
)
def test_a_wrong_word_is_answered_with_the_nearest(monkeypatch, capsys, words, near):
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2
    assert near in err
    assert len(err.splitlines()) == 1


def test_every_command_has_its_next_step_and_every_next_step_a_command():
    """Those of `coslide study` share one."""
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names | {"study"} == STEPS.keys()


def test_the_next_command_names_files_so_that_it_can_be_pasted(output, tmp_path):
    folder = tmp_path / "my event"
    (folder / "index.zarr" / "landslide").mkdir(parents=True)
    tell_what_comes_next("build", {"event": folder / "event.toml", "out": folder / "index.zarr"})
    made, then = output.getvalue().splitlines()
    assert made == f"made: {folder / 'index.zarr'}"
    assert shlex.split(then) == [
        "next:", "coslide", "train", f"{folder}/index.zarr", "--out", f"{folder}/index-run",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "given", "files", "expected"),
    [
        ("build", {"out": "index.zarr"}, ["index.zarr/valid/"], "coslide map index.zarr --out index-map"),
        ("train", {"out": "r", "index": ["a.zarr", "b"]}, ["r/model/", "a.zarr/valid/"], "map r/model a.zarr --out r"),
        ("train", {"out": "r", "index": ["chips.toml"]}, ["r/model/"], "coslide map r/model INDEX.zarr"),
        ("map", {"out": "m", "place": ["post-rgb", "a.zarr"]}, ["m/landslides.gpkg"], "sample m --index a.zarr"),
        ("sample", {"folder": "m", "out": None}, ["m/sample/label.html"], "assess m --labels m/sample/sample.gpkg"),
        ("init", {"folder": "files", "out": None}, ["files/event.toml"], "run files/event.toml --out files-run"),
        ("init", {"folder": "/data/files", "out": "my.toml"}, ["my.toml"], "run my.toml --out my-run"),
        ("init", {"folder": ".", "out": None}, ["event.toml"], "run event.toml --out run"),
        ("study transfer", {"out": "s", "dry_run": True}, [], ""),
        ("models", {"as_json": True}, [], ""),
        ("models", {"as_json": False}, [], "coslide map NAME INDEX.zarr"),
    ],
)  # fmt: skip
def test_what_comes_next_is_told_where_something_was_made(output, tmp_path, command, given, files, expected):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    with contextlib.chdir(tmp_path):
        tell_what_comes_next(command, given)
    assert expected in output.getvalue()
    assert bool(output.getvalue()) == bool(expected)


def test_a_person_is_asked_which_of_several_is_meant(output, monkeypatch):
    monkeypatch.setattr("typer.prompt", lambda *given, **more: 2)
    assert terminal.ask_which("Which?", ["a\x1b[2J", "b"]) == 1
    assert output.getvalue().splitlines() == [r"1  a\x1b[2J", "2  b"]
    with pytest.raises(InputError, match="found 2, expected a number from 1 to 1"):
        terminal.ask_which("Which?", ["a"])


def test_the_start_page_names_commands_that_there_are():
    out = CliRunner().invoke(app, []).output
    named = re.findall(r"^  coslide (\w+)", out, re.MULTILINE)
    assert named == ["demo", "run", "init", "run", "doctor"]
    assert set(named) <= STEPS.keys()


@pytest.mark.parametrize(
    ("shell", "words", "answer"),
    [("bash", "coslide bui", "build"), ("bash", "coslide build --quie", "--quiet"), ("zsh", "coslide stud", '"study"')],
)
def test_shells_complete_commands_and_options(shell, words, answer):
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_TYPER_COMPLETE_ARGS": words}
    command = [sys.executable, "-c", "from coslide.cli import main; main()"]
    environment = {**os.environ, **asked, "_COSLIDE_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)  # noqa: S603
    assert answer in done.stdout


def test_a_terminal_shows_a_bar_and_a_pipe_no_control_character(monkeypatch):
    """In a terminal of its own, as a person has it."""
    code = """if True:
        import time
        from coslide import progress, terminal
        with terminal.shown():
            for done in range(4):
                progress.report_progress("mapping", done, 4)
                time.sleep(0.05)
            time.sleep(0.4)
            terminal.print_line("between")
            progress.report_progress("mapping", 4, 4)
    """
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=child, env=environment) as process:  # noqa: S603
        os.close(child)
        seen = b""
        try:
            while part := os.read(parent, 65536):
                seen += part
        except OSError:  # the other side has closed
            pass
    os.close(parent)
    assert process.returncode == 0
    assert re.search(rb"mapping .*75 %, \d s left", seen)
    assert b"between" in seen
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert piped.stderr == "between\n"
