"""What another program's environment, or a home that is missing, may not change."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coslide import environment
from coslide.environment import prepare_environment


@pytest.fixture(autouse=True)
def _environment_is_put_back(monkeypatch):
    """Remember variables that are set or unset here."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(environment.atexit, "register", lambda *call: None)


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "GTIFF_POINT_GEO_IGNORE"])
def test_what_another_program_tells_gdal_and_proj_is_unset(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, str(tmp_path))
    prepare_environment()
    assert name not in os.environ


def test_where_the_libraries_bring_no_data_their_variables_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    prepare_environment()
    assert os.environ["PROJ_DATA"] == str(tmp_path)


@pytest.mark.slow
def test_onnx_runtime_reports_to_nobody():
    """It would ask a proxy for its maker's server, as soon as it is imported."""
    pytest.importorskip("onnxruntime")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(20)
        proxy = f"http://127.0.0.1:{trap.getsockname()[1]}"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        code = "import coslide, onnxruntime, time; time.sleep(15)"
        asking = subprocess.Popen([sys.executable, "-c", code], env=os.environ | proxies)  # noqa: S603
        try:
            with pytest.raises(TimeoutError):
                trap.accept()
        finally:
            assert asking.wait(60) == 0


@pytest.fixture
def read_only(monkeypatch):
    """Pretend that nothing beside the code can be written, as for a user of an installation of root's."""
    monkeypatch.setattr(environment.os, "access", lambda path, mode: False)


@pytest.mark.parametrize("home", ["/proc/nohome", "~"])
def test_without_a_place_for_compiled_code_it_lies_in_a_folder_that_others_cannot_enter(monkeypatch, read_only, home):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(environment.os.path, "expanduser", lambda path: path.replace("~", home))
    prepare_environment()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    environment._remove(str(folder), os.getpid() + 1)
    assert folder.is_dir()
    environment._remove(str(folder), os.getpid())
    assert not folder.exists()


def test_compiled_code_lies_where_the_user_says_or_in_the_cache_of_the_user(monkeypatch, read_only, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare_environment()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    prepare_environment()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "own")


def test_without_even_a_temporary_folder_the_import_goes_on(monkeypatch, read_only):
    def refuse(**given):
        raise FileNotFoundError

    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr(environment.tempfile, "mkdtemp", refuse)
    prepare_environment()
    assert "NUMBA_CACHE_DIR" not in os.environ
