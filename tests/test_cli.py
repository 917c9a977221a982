"""The command line as a person meets it: lines, exit codes, and nothing half-written."""

import errno
import json
import logging
import shutil
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import geopandas as gpd
import pytest

import coslide
from coslide import cli
from coslide.cli import main
from coslide.errors import InputError


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command line; returns its exit code, what it printed, and that on the error channel."""
    for name in ("CPL_LOG", "TORCH_CPP_LOG_LEVEL", "PYTHONWARNINGS", "DASK_LOGGING__DISTRIBUTED"):
        monkeypatch.delenv(name, raising=False)  # and again once the test is over
    for owner, name in ((sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["coslide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def fresh_python(code):
    """Run code in a fresh interpreter, for what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def test_the_steps_run_one_by_one_from_the_command_line(command, made_up_event, made_up_cube, tmp_path):
    run = tmp_path / "run"
    code, out, _ = command("train", made_up_cube, "--out", run, "--seed", 1)
    assert code == 0
    methods = [line.split("  ")[0].strip() for line in out.splitlines()[2:]]
    assert methods == ["model", "random forest", "rise of red reflectance"]
    assert "| random forest |" in (run / "metrics.md").read_text()
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["split"]["seed"] == 1
    assert command("map", run / "model", made_up_cube, "--out", run)[0] == 0
    package = tmp_path / "all.gpkg"
    for name in ("landslides", "area"):
        gpd.read_file(made_up_event.parent / f"{name}.gpkg").to_file(
            package, layer=name, mode="a" if name == "area" else "w"
        )
    words = ["--inventory", package, "--inventory-layer", "landslides", "--area", package, "--area-layer"]
    code, _, err = command("evaluate", run, *words, "none", "--grid", made_up_cube)
    assert (code, "--area-layer: found 'none', expected of its layers: landslides, area" in err) == (2, True)
    code, _, err = command("evaluate", run, *words, "area", "--area-encoding", "none", "--grid", made_up_cube)
    assert (code, "--area-encoding: found 'none', expected an encoding such as GBK" in err) == (2, True)
    code, out, _ = command("evaluate", run, *words, "area", "--grid", made_up_cube, "--json")
    assert code == 0
    assert json.loads(out)["pixels"] == scores["pixels"]


@pytest.mark.slow
def test_a_run_prints_its_scores_and_its_folder(command, made_up_event, made_up_model, tmp_path):
    code, _, err = command("run", made_up_event, "--model", made_up_model, "--out", tmp_path / "run")
    assert code == 0
    assert "F1 0." in err
    assert "peak memory" in err
    assert str(tmp_path / "run") in err


def test_scores_are_printed_as_a_table_for_people(command, made_up_event, made_up_cube, tmp_path):
    shutil.copy(made_up_event.parent / "landslides.gpkg", tmp_path)
    words = ["--inventory", tmp_path / "landslides.gpkg", "--grid", made_up_cube]
    code, out, _ = command("evaluate", tmp_path, *words)
    assert code == 0
    assert "kappa" in out
    assert "1.0000" in out


def test_an_option_wins_over_the_event_file_and_a_random_split_warns_of_its_leak(command, made_up_cube, tmp_path):
    words = ["--split", "paper-random", "--set", "sampling.select=prevalence", "--no-baselines", "--json"]
    code, out, err = command("train", made_up_cube, "--out", tmp_path, *words)
    leak = json.loads(out)["split"]["leak_fraction"]
    assert code == 0
    assert leak > 0.2
    assert f"warning: {100 * leak:.1f} % of the pixels" in err
    assert "As published" in (tmp_path / "metrics.md").read_text()
    assert "better than on a new area" in (tmp_path / "metrics.md").read_text()


@pytest.mark.parametrize("name", [pytest.param("cdcnn", marks=pytest.mark.slow), "egcn-esa"])
def test_another_network_is_trained_and_maps_with_the_options_of_its_card(command, made_up_cube, tmp_path, name):
    words = ["--network", name, "--width", 8, "--epochs", 1, "--no-baselines", "--out", tmp_path]
    assert command("train", made_up_cube, *words)[0] == 0
    metadata = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (metadata["network"], metadata["options"]["width"]) == (name, 8)
    assert ("pre" in metadata["options"]) == (name == "cdcnn")
    assert command("map", tmp_path / "model", made_up_cube, "--out", tmp_path)[0] == 0
    assert (tmp_path / "probability.tif").exists()


def test_a_tile_that_the_network_cannot_take_is_refused_before_training(command, made_up_cube, tmp_path):
    code, _, err = command("train", made_up_cube, "--network", "deepunet", "--out", tmp_path)
    assert code == 2
    assert "tile: found 32, expected a multiple of 64 for deepunet" in err


def test_networks_are_listed_with_what_they_cost(command):
    code, out, _ = command("networks")
    assert code == 0
    assert "38,347,526" in out
    assert "reconstruction, low" in out


def test_networks_are_listed_as_json_for_the_bands_of_a_cube(command, made_up_cube):
    code, out, _ = command("networks", "--cube", made_up_cube, "--json")
    rows = {row["network"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["cdcnn"]["parameters"] > 0
    assert rows["landsnet"]["reconstruction"].startswith("reconstruction")


def test_networks_of_two_dates_tell_what_they_need_to_be_counted(command, monkeypatch):
    monkeypatch.setattr("coslide.networks.names", lambda: ["cdcnn"])
    code, out, _ = command("networks", "--bands", 13)
    assert code == 0
    assert "--cube" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "none.toml", "--out", "x.zarr"], "none.toml: cannot be read"),
        (["run", "none.toml", "--out", "x"], "none.toml: cannot be read"),
        (["train", "none.zarr", "--out", "x"], "none.zarr: not found"),
        (["map", "none", "none.zarr", "--out", "x"], "none: is no model"),
        (["evaluate", "none", "--inventory", "none.gpkg"], "has no probability.tif"),
    ],
)
def test_a_missing_input_is_one_line_and_exit_code_2(command, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert not out
    assert not any(tmp_path.iterdir())


def faulty(error):
    """Make a command that fails with `error`."""

    def fail(*given, **more):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ValueError("no\n\x1b[2Jsense"),
            1,
            "a fault of coslide, not of what you gave: ValueError: no (coslide --debug",
        ),
        (KeyError(), 1, "KeyError (coslide --debug"),
        (MemoryError("Unable to allocate 4 TiB"), 1, "not enough memory (MemoryError: Unable to allocate 4 TiB)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "a.tif"), 1, "a.tif: the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.tif"),
            2,
            "a.tif: cannot be read or written (Permission",
        ),
        (RuntimeError("cannot cache function: no locator available"), 1, "set NUMBA_CACHE_DIR"),
        (InputError("a\n\x1b[2J" + 3000 * "b"), 2, "a \\x1b[2Jbbb"),
        (BrokenPipeError(), 1, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_happens_is_one_line_with_its_exit_code(command, monkeypatch, error, code, message):
    monkeypatch.setattr("coslide.terminal.os.dup2", lambda *given: None)
    monkeypatch.setattr("coslide.networks.cost.table", faulty(error))
    found, out, err = command("networks", "--bands", 4)
    assert found == code
    assert message in err
    assert len(err.splitlines()) == (1 if message else 0)
    assert len(err) <= 2001
    assert "\x1b[2J" not in err
    assert not out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["buidl"], "No such command 'buidl'"),
        (["build"], "Missing argument 'event'; see coslide build --help"),
        (["build", "a.toml", "--out", "b", "--workers", "0"], "'--workers'"),
        (["map", "a", "b", "--out", "c", "--batch", "-1"], "'--batch'"),
        (["map", "a", "b", "--out", "c", "--min-area-m2", "nan"], "'--min-area-m2'"),
        (["networks", "--bands", "1" + 30 * "0"], "'--bands'"),
        (["demo", "--out", "a", "--size-km", "nan"], "--size-km: found nan"),
        (["demo", "--out", "a", "--size-km", "1e308"], "--size-km: found 1e+308"),
        (["demo", "--out", "a", "--seed", "1" + 30 * "0"], "--seed: found 1000"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(command, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not any(tmp_path.iterdir())


def test_without_a_command_it_says_where_to_start(command):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert "coslide init FOLDER" in out
    assert len(out.splitlines()) < 12


def test_only_coslide_speaks(command, monkeypatch):
    def speak(*given, **more):
        warnings.warn("noise", stacklevel=1)
        logging.getLogger("rasterio._env").warning("noise")
        logging.getLogger("coslide").warning("steps\x1b[2J\nand lines")
        return []

    monkeypatch.setattr("coslide.cube.export.write_cogs", speak)
    monkeypatch.setattr("coslide.report.contact_sheet.contact_sheet", speak)
    monkeypatch.setattr("coslide.open_cube", lambda path: SimpleNamespace(contents=list, title="a\x1b[2J\nb", bands=[]))
    code, out, err = command("cube", "none", "--cogs", "none")
    assert code == 0
    assert "noise" not in out + err
    assert "\x1b[2J" not in out + err
    assert r"a\x1b[2J b" in out
    assert err.splitlines()[0] == r"steps\x1b[2J and lines"


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_an_output_channel_may_be_closed(command, monkeypatch, closed):
    monkeypatch.setattr("coslide.networks.cost.table", lambda *given, **more: [])
    monkeypatch.setattr(sys, closed, None)
    assert command("networks")[0] == 0


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["coslide", "--debug", "build", "none.toml", "--out", str(tmp_path / "x")])
    with pytest.raises(coslide.errors.InputError):
        main()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('crs = "EPSG:32654"', 'crs = "EPSG:4326"', "grid.crs: found 'EPSG:4326' (latitude and longitude)"),
        ('id = "made-up"', 'colour = "red"', "colour: unknown key"),
        ("tile = 32", "tile = 128", "smaller than one tile of 128 x 128"),
        ('path = "dem.tif"', 'path = "far.tif"', "does not overlap scenes.post"),
        ('B2 = "post_B2.tif"', 'B2 = "bare.tif"', "bare.tif: has no CRS"),
        ('path = "landslides.gpkg"', 'path = "empty.gpkg"', "empty.gpkg: holds no feature"),
    ],
)
def test_a_bad_event_ends_a_run_with_one_line_and_leaves_nothing(command, made_up_event, tmp_path, old, new, message):
    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    _add_bad_files(folder)
    text = (folder / "event.toml").read_text()
    assert old in text
    (folder / "event.toml").write_text(text.replace(old, new))
    code, _, err = command("run", folder / "event.toml", "--out", tmp_path / "run")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


@pytest.mark.parametrize("step", ["build", "train", "map", "run"])
def test_a_full_disk_is_one_line_and_leaves_no_half_output(
    command, small_disk, step, made_up_event, made_up_cube, made_up_model
):
    out = small_disk(60) / "out"
    inputs = {"build": [made_up_event], "train": [made_up_cube], "map": [made_up_model, made_up_cube]}
    code, _, err = command(step, *inputs.get(step, [made_up_event]), "--out", out)
    assert code == 2
    assert "the disk is full" in err
    assert "Traceback" not in err
    finals = ("last.ckpt", "model", "index.zarr", "probability.tif", "landslides.gpkg")
    assert [path for path in out.rglob("*") if path.name in finals] == []


NO_PRE = """[scenes.pre]
scale = 1e-4
bands = { B2 = "pre_B2.tif", B3 = "pre_B3.tif", B4 = "pre_B4.tif" }
"""


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (("[scenes.pre]", "[scenes.gone]"), ["--model", "MODEL"], "scenes.gone: unknown key"),
        (("[grid]\n", "[grid]\npixel_size_m = 20\n"), ["--model", "MODEL"], "found pixels of 20 m, expected 10 m"),
        ((NO_PRE, ""), ["--model", "MODEL"], "does not fit the model: reflectance_pre_B2, "),
        (("", ""), ["--set", "split.scheme=regions", "--set", "split.regions=none.gpkg"], "none.gpkg"),
        (("", ""), ["--set", "sampling.stride=0"], "sampling.stride: found 0"),
        (("", ""), ["--seed", "-1"], "seed: found -1"),
    ],
)
def test_what_will_not_fit_is_told_before_any_work_and_leaves_no_folder(
    command, monkeypatch, made_up_event, made_up_model, tmp_path, change, words, message
):
    monkeypatch.setattr("coslide.pipeline.build._compute", faulty(AssertionError("work was begun")))
    event = made_up_event.with_name("changed.toml")
    event.write_text(made_up_event.read_text().replace(*change, 1))
    words = [made_up_model if word == "MODEL" else word for word in words]
    code, _, err = command("run", event, "--out", tmp_path / "new" / "run", *words)
    event.unlink()
    assert code == 2, err
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["build", "run", "map", "train", "simulate"])
@pytest.mark.parametrize("stands", ["file", "kernel"])
def test_an_output_that_cannot_be_is_told_before_any_work(
    command, made_up_event, made_up_cube, made_up_model, tmp_path, step, stands
):
    (tmp_path / "file").touch()
    out = {"file": tmp_path / "file", "kernel": "/proc/new/out"}[stands]
    inputs = {"map": [made_up_model, made_up_cube], "train": [made_up_cube], "simulate": []}
    words = [*inputs.get(step, [made_up_event]), *(["--out"] if step != "simulate" else []), out]
    code, _, err = command(step, *words)
    assert code == 2
    assert str(tmp_path / "file" if stands == "file" else "/proc/new") in err
    assert "is a file" in err or "cannot be written" in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_the_demo_makes_its_own_earthquake_and_goes_on_where_it_was(command, tmp_path):
    words = ["demo", "--out", tmp_path / "run", "--size-km", "3.6", "--steps", "3"]
    code, _, err = command(*words)
    assert code == 0
    steps = ("simulated 3.6 x 3.6 km", "31 bands, 360 x 360 pixels", "3 steps of 4 windows", "F1 0.", "report.html")
    for text in steps:
        assert text in err
    assert len(err.strip().splitlines()) < 20  # a line or two for each step, and each tenth of the training
    report = tmp_path / "run" / "report.html"
    assert report.read_text().startswith("<!")
    code, _, err = command(*words)
    assert code == 0
    assert "is this simulation already" in err


def test_a_simulation_tells_what_comes_next(command, monkeypatch, tmp_path):
    made = []

    def pretend(part, recipe):
        made.append(recipe)
        (part / "event.toml").touch()
        return {"landslides": 3, "landslide_share": 0.04}

    monkeypatch.setattr("coslide.simulate.write._write", pretend)
    words = ["--size-km", "9", "--seed", "5", "--difficulty", "hard", "--relief-m", "900", "--drainage-per-km", "3"]
    code, _, err = command("simulate", tmp_path / "event", *words)
    assert code == 0
    assert f"next: coslide run {tmp_path / 'event' / 'event.toml'}" in err
    assert made[0].model_dump() == {
        "size_km": 9, "seed": 5, "difficulty": "hard", "relief_m": 900, "drainage_per_km": 3, "landslide_share": 1 / 29,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size-km", "1"], "--size-km: found 1.0, expected greater than or equal to 3"),
        (["--difficulty", "brutal"], "--difficulty: found 'brutal'"),
        (["--seed", "-1"], "--seed: found -1"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused_in_one_line(command, tmp_path, words, message):
    code, _, err = command("simulate", tmp_path / "event", *words)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "event").exists()


def test_help_and_import_load_no_heavy_library():
    """R40: so that the command line answers in well under a second."""
    loaded = fresh_python("import sys, coslide.cli; print(*[m for m in sys.modules])").split()
    heavy = {"torch", "lightning", "rasterio", "geopandas", "xarray", "numba", "matplotlib", "scipy", "pandas", "numpy"}
    assert not heavy & set(loaded)


def test_every_public_name_of_the_package_is_there():
    assert all(getattr(coslide, name) is not None for name in coslide.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = coslide.nothing


def test_a_cube_is_listed_and_drawn(command, made_up_cube, tmp_path):
    code, out, err = command("cube", made_up_cube, "--out", tmp_path / "sheet.png")
    assert code == 0
    for text in ("reflectance_post_B2", "mean_curvature", "m-1", "dem.tif", "diagnostic", "index"):
        assert text in out
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "sheet.png" in err


def test_the_contents_of_a_cube_come_as_json(command, made_up_cube, tmp_path):
    code, out, _ = command("cube", made_up_cube, "--json", "--out", tmp_path / "sheet.png", "--cogs", tmp_path / "cogs")
    rows = {row["band"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["slope"]["unit"] == "degree"
    assert rows["reflectance_pre_B4"]["valid_share"] < 1
    assert (tmp_path / "cogs" / "slope.tif").exists()


@pytest.mark.parametrize("cluster", [("--workers", "2"), ("--scheduler", "tcp://127.0.0.1:9")])
def test_a_map_looks_at_model_and_cube_before_it_starts_a_cluster(
    command, monkeypatch, made_up_model, tmp_path, cluster
):
    monkeypatch.setattr(cli, "open_executor", lambda **_: pytest.fail("a cluster was started"))
    code, _, err = command("map", made_up_model, tmp_path / "none.zarr", "--out", tmp_path / "map", *cluster)
    assert (code, "none.zarr" in err, (tmp_path / "map").exists()) == (2, True, False)
    code, _, err = command("map", tmp_path / "none", tmp_path / "none.zarr", "--out", tmp_path / "map", *cluster)
    assert (code, "is no model" in err) == (2, True)


@pytest.mark.slow
def test_a_build_by_workers_is_whole(command, made_up_event, tmp_path):
    code, _, err = command("build", made_up_event, "--out", tmp_path / "index.zarr", "--workers", "1")
    assert code == 0
    assert "terrain: elevation, slope" in err
    assert (tmp_path / "index.zarr" / ".zmetadata").exists()


def test_build_does_not_replace_a_folder_of_the_user(command, made_up_event, tmp_path):
    (tmp_path / "thesis.txt").touch()
    code, _, err = command("build", made_up_event, "--out", tmp_path)
    assert code == 2
    assert "holds something else" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def _add_bad_files(folder):
    import geopandas as gpd
    import numpy as np
    import rasterio

    gpd.GeoDataFrame({"n": []}, geometry=[], crs=4326).to_file(folder / "empty.gpkg")
    for name, crs, corner in (("far.tif", "EPSG:4326", (10.0, 50.0)), ("bare.tif", None, (141.9, 42.7))):
        transform = rasterio.transform.from_origin(*corner, 1e-4, 1e-4)
        profile = {"driver": "GTiff", "height": 50, "width": 50, "count": 1, "dtype": "uint16"}
        with rasterio.open(folder / name, "w", crs=crs, transform=transform, **profile) as file:
            file.write(np.ones((50, 50), dtype=np.uint16), 1)


@pytest.mark.slow
def test_several_events_and_their_options_reach_the_training(command, made_up_cube, tmp_path):
    words = ["--validation-fraction", 0.2, "--guard-px", 2, "--sampling", "prevalence", "--no-baselines", "--json"]
    code, out, _ = command("train", made_up_cube, made_up_cube, "--out", tmp_path, *words)
    assert code == 0
    metadata = json.loads((tmp_path / "model" / "model.json").read_text())
    assert metadata["events"] == ["Made-up earthquake"] * 2
    assert list(json.loads(out)["events"]) == ["Made-up earthquake (1)", "Made-up earthquake (2)"]
    assert metadata["settings"]["split.guard_px"] == 2
    assert metadata["split"]["validation_tiles"] > 0
    assert json.loads(out)["baselines"] == {}
    assert not (tmp_path / "baselines").exists()


def test_a_region_file_asks_for_a_split_by_regions(command, made_up_event, made_up_cube, tmp_path):
    code, _, err = command(
        "train", made_up_cube, "--out", tmp_path, "--regions", made_up_event.parent / "area.gpkg", "--epochs", 1
    )
    assert code == 2
    assert "the split leaves nothing to train on" in err


def test_a_form_to_export_must_be_named(command, made_up_model):
    code, _, err = command("export", made_up_model)
    assert code == 2
    assert "no form to write is named; expected --onnx" in err


def test_a_map_without_inventory_is_sampled_and_assessed(command, made_up_cube, made_up_model, tmp_path):
    folder = tmp_path / "map"
    assert command("map", made_up_model, made_up_cube, "--out", folder)[0] == 0
    code, _, err = command("sample", folder, "--n", 40, "--index", made_up_cube)
    assert (code, "40 places of" in err, str(folder / "sample" / "label.html") in err) == (0, True, True)
    labels = tmp_path / "labels.csv"
    ids = [one["id"] for one in json.loads((folder / "sample" / "strata.json").read_text())["places"]]
    labels.write_text("id,label\n" + "".join(f"{one},no landslide\n" for one in ids))
    code, out, _ = command("assess", folder, "--labels", labels, "--other", folder)
    assert (code, "landslide area, km2" in out, "difference" in out) == (0, True, True)
    code, out, _ = command("assess", folder, "--labels", labels, "--json")
    assert (code, json.loads(out)["labelled"], json.loads(out)["comparison"]) == (0, 40, None)
    labels.write_text("id,label\n" + "".join(f"{one},\n" for one in ids))
    code, _, err = command("assess", folder, "--labels", labels)
    assert (code, err.count("\n"), "no place has a label yet" in err) == (2, 1, True)


def test_a_model_is_adapted_and_a_missing_area_is_named(command, made_up_event, made_up_cube, made_up_model, tmp_path):
    folder, out = made_up_event.parent, tmp_path / "adapted"
    given = ("adapt", made_up_model, made_up_cube, "--labels", folder / "landslides.gpkg", "--out", out, "--steps", "0")
    code, _, err = command(*given)
    assert (code, err.strip()) == (
        2,
        "coslide: --area: missing, expected polygons of the labelled area (or --area-layer, a layer of --labels)",
    )
    code, _, err = command(*given, "--labels-layer", "landslides", "--area-layer", "area")
    assert code == 2
    assert "--area-layer: found 'area', expected of its layers: landslides" in err
    code, _, err = command(*given, "--area", folder / "area.gpkg")
    assert code == 0
    assert "labelled tiles of Made-up earthquake" in err
    assert (out / "model.json").exists()


def test_a_study_that_is_only_planned_lists_its_trainings_and_writes_nothing(command, chips_writer, tmp_path):
    places = [f"{event},{row},{col}" for event in ("east", "west") for row in (0, 1) for col in (0, 1)]
    table = 'event = "event"\nrow = "row"\ncol = "col"\nstep_px = 32'
    chips, _ = chips_writer(tmp_path / "chips", places, table=table)
    small = ("--tile", 32, "--stride", 32, "--width", 8, "--set", "split.block_windows=1")
    given = ("study", "transfer", chips, "--out", tmp_path / "out", "--seeds", 2, *small, "--dry-run")
    code, out, _ = command(*given)
    assert code == 0
    assert [line.split() for line in out.splitlines()[2:]] == [
        [f"made-up-chips-{unseen}/seed-{seed}", "to", "do", "Made-up", "chips", f"({unseen})", f"chips.toml#{other}"]
        for unseen, other in (("east", "west"), ("west", "east"))
        for seed in (0, 1)
    ]
    runs = json.loads(command(*given, "--json")[1])
    assert [(run["seed"], run["state"]) for run in runs] == [(0, "to do"), (1, "to do")] * 2
    assert not (tmp_path / "out").exists()


def test_the_line_about_an_option_of_a_study_names_the_help_that_there_is(command):
    code, _, err = command("study", "transfer", "--frob")
    assert (code, err.strip()) == (2, "coslide: No such option: --frob; see coslide study transfer --help")


@pytest.mark.slow
def test_a_study_of_a_factor_is_planned_and_carried_out_by_its_name_or_its_file(command, made_up_cube, tmp_path):
    factor = tmp_path / "two.toml"
    factor.write_text(
        'name = "two"\ntitle = "two networks"\ncases.UNet.network = "unet"\ncases.EGCN = { network = "egcn" }'
    )
    small = ("--seeds", 1, "--steps", 1, "--set", "sampling.positive_share=0.001")
    given = ("study", factor, made_up_cube, "--out", tmp_path / "out", *small)
    code, out, _ = command(*given, "--dry-run")
    assert code == 0
    assert "2 trainings, 2 to do" in out
    assert [line.split()[:3] for line in out.splitlines() if "seed-0" in line] == [
        ["unet/seed-0", "to", "do"],
        ["egcn/seed-0", "to", "do"],
    ]
    code, out, _ = command("study", "attention", *given[2:], "--dry-run", "--json")
    plan = json.loads(out)
    assert [one["run"]["settings"]["network"] for one in plan["runs"]] == ["egcn", "egcn-msa", "egcn-esa"]
    assert not (tmp_path / "out").exists()
    code, out, err = command(*given)
    assert code == 0
    assert "2 trainings, 2 to do: about" in err
    assert [line.split("  ")[0].strip() for line in out.splitlines()[2:5]] == ["UNet", "EGCN", "random forest"]
    code, _, err = command(*given)
    assert (code, "is not empty; use --resume to go on with its study" in err) == (2, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("colours", "No such command 'colours'; see coslide study --help"),
        ("colours.toml", "colours.toml: cannot be read"),
        ("networks", "No such option: --frob; see coslide study networks --help"),
    ],
)
def test_a_study_that_there_is_not_is_refused_in_one_line(command, made_up_cube, tmp_path, name, words):
    odd = ["--frob"] if name == "networks" else []
    code, _, err = command("study", name, made_up_cube, "--out", tmp_path / "out", *odd)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert words in err


def test_the_studies_of_the_paper_are_listed_with_what_they_vary(command):
    out = " ".join(command("study", "--help")[1].split())
    for words in ("networks", "indices", "attention", "neighbours", "selection", "transfer", "TOML file"):
        assert words in out
