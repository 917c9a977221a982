"""The instruments that look for faults: that they would see one, and what they find now."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

HERE = Path(__file__).parents[1] / "tools" / "fuzz"


@pytest.fixture
def instrument(monkeypatch):
    """Import a module of the instruments by its name."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module


def script(name, *words):
    """Run an instrument; returns what it printed, which must tell of no fault."""
    command = [sys.executable, HERE / name, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_a_seed_gives_the_same_mutation_again(instrument, made_up_event, tmp_path):
    mutations = instrument("mutations")
    changed = []
    for _ in range(2):
        random = Random("1 6")  # noqa: S311 - no secret
        path = shutil.copy(made_up_event, tmp_path)
        changed.append((mutations.mutate(Path(path), random).name, Path(path).read_bytes()))
    assert changed[0] == changed[1]
    assert changed[0][1] != made_up_event.read_bytes()


@pytest.mark.parametrize(
    ("ended", "errors", "verdict", "kind"),
    [
        (0, "", "", "right"),
        (2, "coslide: a.csv: found 1, expected 2\n", "", "refused"),
        (0, "", "slope from 0 to 95", "implausible"),
        (0, "ERROR 1: of a library\n", "", "many lines"),
        (2, "coslide: a\nb\n", "", "many lines"),
        (2, "coslide: " + 3000 * "9", "", "many lines"),
        (2, "", "", "many lines"),
        (1, "coslide: a\n", "", "traceback"),
        (2, "Traceback (most recent call last):\n  File x\nKeyError: 1\n", "", "traceback"),
        (-11, "", "", "abort"),
        ("time", "", "", "hang"),
        ("memory", "", "", "memory"),
    ],
)
def test_what_a_command_did_is_told_apart(instrument, ended, errors, verdict, kind):
    assert instrument("cases").judge(ended, {"stderr": errors, "verdict": verdict})[0] == kind


def test_a_result_that_should_be_the_same_and_a_layer_that_should_not_change_are_compared(instrument):
    corpus, cases = instrument("corpus"), instrument("cases")
    subject = corpus.Subject("gauges", HERE, ("build",), (), touched=("rainfall",))
    expected = {"rainfall": np.full(4, 50.0), "slope": np.full(4, 10.0)}
    other_rain, other_slope = expected | {"rainfall": np.full(4, 60.0)}, expected | {"slope": np.full(4, 11.0)}
    assert cases.implausible(subject, expected, expected, same=True) == ""
    assert cases.implausible(subject, other_rain, expected, same=False) == ""
    assert "rainfall differs in 100 %" in cases.implausible(subject, other_rain, expected, same=True)
    assert "slope differs" in cases.implausible(subject, other_slope, expected, same=False)
    assert "rainfall from" in cases.implausible(subject, {"rainfall": np.array([-5.0])}, {}, same=False)


@pytest.mark.slow
def test_no_mutated_input_of_any_format_ends_in_a_fault(tmp_path):
    printed = script("fuzz.py", "--cases", 300, "--keep", tmp_path / "faults", "--work", tmp_path / "inputs")
    assert "300 cases of seed 0" in printed


@pytest.mark.slow
@pytest.mark.parametrize("step", ["build", "train", "map", "run"])
def test_an_interrupted_step_goes_on_and_ends_as_if_it_had_not_been(step):
    assert "0 faults" in script("kill.py", "--kills", 3, "--steps", step)
