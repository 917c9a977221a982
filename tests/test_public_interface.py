"""The public interface as a program and a person meet it: typed, and explained with an example."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import coslide

ROOT = Path(__file__).parents[1]
CONSUMER = ROOT / "tests" / "consumer.py"


def attributes_of_coslide(tree):
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_coslide(node.value)}


def is_coslide(node):
    return isinstance(node, ast.Name) and node.id == "coslide"


@pytest.mark.parametrize("name", [name for name in coslide.__all__ if name != "networks"])
def test_every_public_name_is_explained_with_an_example(name):
    thing = getattr(coslide, name)
    text = inspect.getdoc(thing)
    methods = [method for key, method in vars(thing).items() if key[0] != "_"] if inspect.isclass(thing) else []
    assert ">>> " in " ".join([text, *(inspect.getdoc(method) or "" for method in methods)])


def test_completion_offers_the_public_names_and_nothing_else():
    assert set(dir(coslide)) == set(coslide.__all__)


def test_a_program_for_the_type_checker_uses_every_public_name():
    assert set(coslide.__all__) - attributes_of_coslide(ast.parse(CONSUMER.read_text())) == set()


@pytest.mark.slow
def test_a_strict_type_checker_finds_nothing_to_say_of_a_program_that_uses_coslide(tmp_path):
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", f"--cache-dir={tmp_path}"]
    command = [sys.executable, "-m", "mypy", *options, "--config-file=", str(CONSUMER)]
    env = os.environ | {"MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)  # noqa: S603
    ours = [line for line in done.stdout.splitlines() if "[import-untyped]" not in line and " note: " not in line]
    assert ours == []
    assert done.stderr == ""
