"""The pages for people: every command and every block of code is checked, and what can run is run as it stands.

A block that cannot run has a comment before it that says why, ``<!-- not run: needs ... -->``; it is checked as well.
"""

import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from markdown_it import MarkdownIt

import coslide
from coslide import cli
from coslide.config.chips import ChipsConfig
from coslide.config.event import Event, read_event
from coslide.config.factors import Factor
from coslide.config.services import Services
from coslide.pipeline.build import build_cube

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]
LANGUAGES = {"bash", "python", "toml", "text"}
UNMARKED = {"results.md": "hours of trainings"}
"""Pages of which no block runs, and why."""
OTHERS = {"pip", "python3", ".", "gdalbuildvrt", "gdalwarp", ".venv/bin/pre-commit"}
"""Programs of others that pages tell to use."""


class Block(NamedTuple):
    """A block of code of a page, and why it is not run ("" if it is)."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page):
    """List the blocks of a page; one that is indented, without a language, holds commands if it begins like one."""
    not_run = always = UNMARKED.get(page.name, "")
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block" and (
            reason := re.match(r"<!-- not run: (.+?) -->\s*$", token.content, re.DOTALL)
        ):
            not_run = reason[1]
        elif token.type in {"fence", "code_block"}:
            begins = re.match(r"(coslide|make|python3?|sh) ", token.content)
            language = token.info if token.type == "fence" else "bash" if begins else "text"
            yield Block(page, token.map[0] + 1, language, token.content, not_run)
            not_run = always


def spans_of(page):
    """List the commands of coslide that stand in the sentences of a page, in one line each."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for inner in token.children or ():
            if inner.type == "code_inline" and inner.content.startswith("coslide "):
                yield " ".join(inner.content.split())


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks_in(language, *, run=None):
    """List the blocks in a language as parameters of a test; those that run, or do not, if asked."""
    chosen = [block for block in BLOCKS if block.language == language and run in {None, not block.not_run}]
    return pytest.mark.parametrize("block", chosen, ids=str)


def commands_of(text):
    """Split the text of a shell into commands, each a list of words."""
    for line in text.replace("\\\n", " ").splitlines():
        command = []
        for word in shlex.split(re.sub(r"(^|\s)#.*", "", line)):
            if word in {"&&", "|", ";"}:
                yield command
                command = []
            else:
                command.append(word)
        if command:
            yield command


def find_command(words):
    """Find the command of coslide that words begin with: it, its context, and the words that are left."""
    command = typer.main.get_command(cli.app)
    context = typer.Context(command, info_name="coslide")
    words = list(words)
    while words and hasattr(command, "get_command"):
        if words[0].startswith("-"):
            words.pop(0)
            continue
        found = command.get_command(context, words[0])
        assert found is not None, f"coslide has no command {words[0]!r}"
        command, context = found, typer.Context(found, info_name=words.pop(0), parent=context)
    return command, context, words


def options_of(command):
    """List the options of a command, each spelling of them."""
    return {"--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}


def test_every_block_says_what_language_it_is_in():
    assert [f"{block}: {block.language}" for block in BLOCKS if block.language not in LANGUAGES] == []


def test_what_is_not_run_says_why_and_is_followed_by_a_block():
    marks = sum(len(re.findall("^<!-- not run:", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert marks == sum(bool(block.not_run) for block in BLOCKS if block.page.name not in UNMARKED)


@blocks_in("bash")
def test_the_commands_of_a_block_exist_with_their_options(block):
    """Nothing is executed; words in capitals stand for what a reader has."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for program, *words in commands_of(block.text):
        if program == "coslide":
            command, context, rest = find_command(words)
            if rest != ["--help"]:
                command.make_context(context.info_name, rest, parent=context.parent)
        elif program in {"python", "sh"}:
            assert (ROOT / words[0]).is_file(), words[0]
        elif program == "make":
            assert set(words) <= set(targets)
        else:
            assert program in OTHERS, program


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_in_the_sentences_of_a_page_exist_with_their_options(page):
    for text in spans_of(page):
        words = shlex.split(text)[1:]
        if words[0] in {"COMMAND", "--debug"}:
            continue
        command, _, rest = find_command(words)
        unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options_of(command)]
        assert unknown == [], text


@blocks_in("toml")
def test_toml_is_what_coslide_reads(block):
    table = tomllib.loads(block.text)
    if "images" in table:
        ChipsConfig.model_validate({**table, "file": ROOT / "chips.toml", "root": ROOT})
    elif "stac_url" in table:
        Services.model_validate(table)
    elif "cases" in table:
        Factor.model_validate(table)
    else:
        whole = {"name": "part of an event file", "dem": {"path": "dem.tif"}, **table}
        scenes = {"post": {"products": ["a.SAFE"]}, **whole.get("scenes", {})}
        Event.model_validate({**whole, "scenes": scenes, "file": ROOT / "event.toml", "root": ROOT})


@blocks_in("python")
def test_python_compiles_and_the_names_of_coslide_in_it_exist(block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "coslide":
            assert [alias.name for alias in node.names if not hasattr(coslide, alias.name)] == []
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "coslide":
            assert hasattr(coslide, node.attr), node.attr
        if isinstance(node, ast.Call) and getattr(getattr(node.func, "value", None), "id", "") == "coslide":
            called = inspect.signature(getattr(coslide, node.func.attr))
            called.bind(*node.args, **{word.arg: word.value for word in node.keywords})


@pytest.fixture
def world(made_up_event, made_up_cube, made_up_model, event_writer, tmp_path, monkeypatch):
    """A folder to work in that holds what pages speak of: an event, its cube, a run, labels."""
    shutil.copytree(made_up_event.parent, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "area.gpkg", tmp_path / "labelled.gpkg")
    for name in ("index.zarr", "INDEX.zarr", "iburi.zarr", "here.zarr"):
        shutil.copytree(made_up_cube, tmp_path / name)
    for number, name in enumerate(("there.zarr", "nepal.zarr"), start=1):
        (tmp_path / name.removesuffix(".zarr")).mkdir()
        event = event_writer(tmp_path / name.removesuffix(".zarr"), left=575000.0 + 2000 * number)
        build_cube(read_event(event), tmp_path / name)
    shutil.copytree(tmp_path / "nepal.zarr", tmp_path / "unseen.zarr")
    shutil.copytree(tmp_path / "there.zarr", tmp_path / "chi-chi.zarr")
    shutil.copytree(made_up_model, tmp_path / "MODEL")
    for name in ("run", "map"):
        coslide.predict_scene(made_up_model, made_up_cube, tmp_path / name)
        shutil.copytree(made_up_model, tmp_path / name / "model")
        shutil.copytree(made_up_cube, tmp_path / name / "index.zarr")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label(folder):
    """Label a sample as a person would who trusts the map, but for one place in ten."""
    design = json.loads((folder / "sample" / "strata.json").read_text())
    words = [
        "landslide" if (place["stratum"] == 1) != (number % 10 == 0) else "no landslide"
        for number, place in enumerate(design["places"])
    ]
    lines = [f"{place['id']},{word}" for place, word in zip(design["places"], words, strict=True)]
    Path("labels.csv").write_text("\n".join(["id,label", *lines]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    sorted({block.page for block in BLOCKS if block.language == "bash" and not block.not_run}),
    ids=lambda page: page.name,
)
def test_the_commands_of_a_page_run_one_after_the_other(page, world, monkeypatch):
    for owner, name in ((sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    for name in ("CPL_LOG", "TORCH_CPP_LOG_LEVEL", "PYTHONWARNINGS", "DASK_LOGGING__DISTRIBUTED"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for block in BLOCKS:
        if block.page == page and block.language == "bash" and not block.not_run:
            for words in commands_of(block.text):
                assert words[0] == "coslide", f"{block}: only coslide is run; say why this is not"
                if words[1] == "assess":
                    label(Path(words[2]))
                if "--workers" in words:  # processes begin as the one that starts them, which here is pytest
                    subprocess.run([sys.executable, "-m", "coslide.cli", *words[1:]], check=True)  # noqa: S603
                    continue
                monkeypatch.setattr(sys, "argv", words)
                with pytest.raises(SystemExit) as ended:
                    cli.main()
                assert not ended.value.code, f"{block}: {' '.join(words)}"


@pytest.mark.slow
@blocks_in("python", run=True)
def test_python_runs(block, world):
    exec(compile(block.text, str(block), "exec"), {})  # noqa: S102 - it is our own page
