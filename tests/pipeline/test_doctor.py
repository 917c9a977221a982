"""Whether `coslide doctor` sees what is broken, and says what to do."""

import importlib.metadata
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad

from coslide.cli import main
from coslide.pipeline import doctor


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["coslide", "doctor", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def test_this_installation_is_whole(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_LEAST_MEMORY_GB", 0.0)
    monkeypatch.setattr(doctor, "_LEAST_DISK_GB", 0.0)
    code, out, _ = run(monkeypatch, capsys, "--json")
    checks = json.loads(out)
    assert [check for check in checks if check["state"] == "broken"] == []
    assert code == 0
    assert {"coslide", "GDAL", "PROJ", "torch", "torchvision", "models"} <= {check["name"] for check in checks}
    assert all(bool(check["advice"]) == (check["state"] != "ok") for check in checks)


def test_the_known_place_is_where_the_ellipsoid_has_it():
    """A point on the middle meridian of its zone is as far north as that meridian is long, times 0.9996."""
    radius_m, flattening = 6_378_137.0, 1 / 298.257223563
    eccentricity2 = flattening * (2 - flattening)
    longitude, latitude = doctor._PLACE_DEG
    arc_m = quad(
        lambda at: radius_m * (1 - eccentricity2) / (1 - eccentricity2 * np.sin(at) ** 2) ** 1.5,
        0,
        np.radians(latitude),
    )[0]
    assert longitude == 6 * 54 - 183
    assert pytest.approx((500_000.0, 0.9996 * arc_m), abs=1e-3) == doctor._PLACE_M


def test_what_is_broken_is_told_with_the_way_out_and_exit_code_1(monkeypatch, capsys):
    for name in ("_torch", "_bfloat16", "_models"):
        monkeypatch.setattr(doctor, name, lambda: doctor.Check("spared", "ok", ""))
    monkeypatch.setattr(doctor, "_TRAPS", ("rich", "no_such_library"))
    monkeypatch.setattr(doctor, "_PLACE_M", (0.0, 0.0))
    monkeypatch.setattr(doctor, "_DRIVERS", {"GTiff": "GeoTIFF", "NONE": "nothing"})
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: ["rich>=9999", "no-such-library", "x; extra == 'y'"]
    )
    monkeypatch.setattr(doctor, "_memory", lambda: 1 / 0)
    code, out, err = run(monkeypatch, capsys)
    assert code == 1
    assert out.count("broken") == 5
    for text in (
        "pip uninstall rich", "unset PROJ_DATA", "no driver NONE (nothing)", "missing no-such-library",
        "rich 1", "needs >=9999", "ZeroDivisionError", "install again",
    ):  # fmt: skip
        assert text in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("limit", "asked", "state", "advice"),
    [
        ("max 100000", None, "ok", ""),
        ("150000 100000", None, "look", "export OMP_NUM_THREADS=1"),
        ("150000 100000", "1", "ok", ""),
        ("max 100000", "7", "look", "unset OMP_NUM_THREADS"),
    ],
)
def test_threads_are_held_against_the_limit_of_a_container(monkeypatch, tmp_path, limit, asked, state, advice):
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    monkeypatch.setattr("coslide.io.executor.available_processors", lambda: 4)
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": asked} if asked else {})
    found = doctor._processors()
    assert (found.state, advice in found.advice) == (state, True)


@pytest.mark.parametrize(("limit_gb", "state"), [(1, "broken"), (3, "look"), (None, "ok")])
def test_memory_is_that_which_a_container_leaves(monkeypatch, tmp_path, limit_gb, state):
    (tmp_path / "memory.max").write_text("max" if limit_gb is None else str(limit_gb * 10**9 + 10**8))
    (tmp_path / "memory.current").write_text(str(10**8))
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    monkeypatch.setattr(doctor, "_ENOUGH_MEMORY_GB", 4.0 if limit_gb else 0.1)
    monkeypatch.setattr(doctor, "_LEAST_MEMORY_GB", 1.5 if limit_gb else 0.0)
    found = doctor._memory()
    assert found.state == state
    assert ("container limit" in found.found) == (limit_gb is not None)


def test_code_that_is_compiled_anew_each_time_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "coslide-x"))
    assert doctor._compiled_code().state == "look"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert doctor._compiled_code().state == "ok"


@pytest.mark.parametrize(("free_gb", "state"), [(0.5, "broken"), (5, "look"), (50, "ok")])
def test_a_full_disk_is_told(monkeypatch, free_gb, state):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free_gb * 1e9))
    assert doctor._disk().state == state
