"""Models that come with coslide: how one gets in, what it tells of itself, and which is taken for a scene."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from safetensors.torch import load_file
from typer.testing import CliRunner

import coslide
from coslide.cli import app
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.study import Run, Spread, Study, StudySummary
from coslide.io.atomic import write_json
from coslide.mapping.half_precision import half_precision_loss
from coslide.mapping.metadata import load_metadata
from coslide.mapping.model import find_model, load_model
from coslide.mapping.probability_map import read_probability_map
from coslide.pipeline.predict import open_to_map, predict_scene
from coslide.pipeline.run import run
from coslide.pipeline.scene_predictor import InferenceOptions
from coslide.pipeline.shipped import CARD, card_of, choose_model, model_rows, shipped_models, trained_on

ROOT = Path(__file__).parents[2]
SIMULATED = ["Made-up earthquake"]
TOLD = {"limits": "Not where snow lies.", "command": "coslide train east.zarr west.zarr --out runs/made-up"}


@pytest.fixture(scope="module")
def tool():
    """The module that ships models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("ship_model")


@pytest.fixture(scope="module")
def study(made_up_model, tmp_path_factory):
    """The study.json of two events, each once unseen, by the recipe of the made-up model but for its length."""
    settings = load_metadata(made_up_model).settings | {"optimiser.epochs": 2, "split.scheme": "events"}
    pairs = {"East": {"data/west.zarr": ""}, "West": {"data/east.zarr": ""}}
    runs = [
        Run(name=f"{case}/{seed}", case=case, seed=seed, train=train, test_on={}, settings=settings)
        for case, train in pairs.items()
        for seed in (0, 1)
    ]
    scores = {"average_precision": 0.6, "own_f1": 0.5, "oracle_f1": 0.55, "f1_low": 0.4, "f1_high": 0.6}
    summaries = [
        StudySummary(
            case=case,
            protocol="own",
            method=method,
            count=2,
            scores={key: Spread(mean=x, deviation=0.1) for key, x in scores.items()},
        )
        for case in ("East", "West", None)
        for method in ("network", "random forest")
    ]
    path = tmp_path_factory.mktemp("study") / "study.json"
    found = Study(
        name="transfer",
        title="each event unseen once",
        case_is="unseen event",
        settings={},
        runs=runs,
        rows=[],
        summaries=summaries,
    )
    path.write_text(found.model_dump_json())
    return path


@pytest.fixture(scope="module")
def shelf(tool, study, made_up_model, tmp_path_factory):
    """A folder of shipped models with one in it, `made-up`."""
    into = tmp_path_factory.mktemp("package") / "models"
    scored = shutil.copytree(made_up_model, into.parent / "scored")
    write_json(scored / "model.json", json.loads((scored / "model.json").read_text()) | {"scores": {"pixels": {}}})
    tool.ship(scored, "made-up", unseen=[study], inventories={"East": "mapped by us"}, into=into, **TOLD)
    return into


@pytest.fixture
def shipped(monkeypatch, tmp_path, shelf):
    """Let coslide find its models in a folder, by default the shelf, and work in an empty folder."""

    def found_in(folder):
        for module in ("mapping.model", "pipeline.shipped"):
            monkeypatch.setattr(f"coslide.{module}.SHIPPED", folder)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found_in(shelf)
    return found_in


def command(*words):
    """Run a command line; returns what it printed, or the error that ended it."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exception if isinstance(done.exception, InputError) else done.stdout


def put(folder, name, of, *, bands=None, f1=None, **values):
    """Put the metadata of a model into a folder of models: with the first `bands` alone, and F1 on an unseen event."""
    content = json.loads((of / "model.json").read_text()) | values
    content["channels"] = content["channels"][:bands]
    unseen = [] if f1 is None else [{"event": "North", "f1": f1, "measured": "so"}]
    content["card"] = {"name": name, "unseen": unseen, "limits": "none", "command": "none"}
    (folder / name).mkdir(parents=True)
    (folder / name / "model.json").write_text(json.dumps(content))


def test_a_shipped_model_is_the_trained_one_in_half_precision(shipped, tool, made_up_model, shelf):
    whole, half = load_model(made_up_model), load_model("made-up")
    kept = load_file(shelf / "made-up" / "weights.safetensors")
    assert {str(tensor.dtype) for tensor in kept.values()} == {"torch.float16"}
    assert {str(tensor.dtype) for tensor in half.networks[0].state_dict().values()} == {"torch.float32"}
    tiles = np.random.default_rng(0).standard_normal((16, len(whole.metadata.encoder.names), 32, 32), dtype=np.float32)
    apart = np.abs(whole.predictors()[0](tiles) - half.predictors()[0](tiles)).max()
    assert half.metadata.card.half_precision_loss == pytest.approx(apart, rel=1e-3)
    assert 0 < apart <= tool.MOST_LOST
    assert half.metadata.threshold == whole.metadata.threshold
    assert half.metadata.footprints == whole.metadata.footprints  # or it would be scored where it was trained
    assert (half.metadata.scores, half.metadata.samples) == ({}, {})


def test_the_loss_of_half_precision_is_that_of_the_probability_after_the_temperature(made_up_model):
    model = load_model(made_up_model)
    tiles = np.random.default_rng(1).standard_normal((2, len(model.metadata.encoder.names), 32, 32), dtype=np.float32)
    plain = half_precision_loss(model, tiles)
    sharp = type(model)(model.networks, model.metadata.model_copy(update={"temperature": 0.1}))
    assert half_precision_loss(sharp, tiles) > 2 * plain
    next(iter(model.networks[0].parameters())).data[...] = 1e6
    with pytest.raises(InputError, match="holds 1e.06, but half precision holds 65504 at most"):
        half_precision_loss(model, tiles)


def test_windows_of_a_cube_may_decide_whether_half_precision_will_do(tool, made_up_model, made_up_cube, tmp_path):
    folder = tool.ship(made_up_model, "of-a-cube", on=made_up_cube, into=tmp_path, **TOLD)
    assert 0 < load_metadata(folder).card.half_precision_loss <= tool.MOST_LOST


def test_weights_stay_as_they_are_where_half_precision_would_change_the_map(tool, made_up_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "MOST_LOST", 0.0)
    folder = tool.ship(made_up_model, "whole", into=tmp_path, **TOLD)
    assert load_metadata(folder).card.half_precision_loss is None
    expected = load_model(made_up_model).networks[0].state_dict()
    for name, tensor in load_model(folder).networks[0].state_dict().items():
        assert (tensor == expected[name]).all()


@pytest.mark.parametrize(
    ("name", "given", "patched", "message"),
    [
        ("Made Up", {}, {}, "Made Up: found this name"),
        ("../up", {}, {}, "found this name"),
        (
            "new",
            {"command": "coslide train /home/me/east.zarr"},
            {},
            "card.command: found .*, expected no path of a machine",
        ),
        ("new", {"limits": "see ~/notes/limits.md"}, {}, "card.limits: found"),
        ("new", {"inventories": {"North": "us"}}, {}, "--inventory: found North, expected events of the studies"),
        ("new", {}, {"LARGEST_MB": 0.05}, "all bundles would have .* MB, expected 0.05 MB at most"),
    ],
)
def test_what_may_not_be_shipped_is_refused_and_leaves_nothing(
    tool, made_up_model, tmp_path, monkeypatch, name, given, patched, message
):
    for constant, value in patched.items():
        monkeypatch.setattr(tool, constant, value)
    with pytest.raises(InputError, match=message):
        tool.ship(made_up_model, name, into=tmp_path / "models", **{**TOLD, **given})
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file()]


def test_the_scores_of_networks_that_saw_other_bands_are_not_shipped(tool, study, made_up_model, tmp_path):
    path = Path(shutil.copy(study, tmp_path))
    put(tmp_path / "East" / "0", "model", made_up_model)
    tool.ship(made_up_model, "same", unseen=[path], into=tmp_path / "models", **TOLD)
    put(tmp_path / "West" / "1", "model", made_up_model, bands=11)
    message = r"West/1/model: sees other bands than the model \(.*\), expected a study of the same bands"
    with pytest.raises(InputError, match=message):
        tool.ship(made_up_model, "other", unseen=[path], into=tmp_path / "models", **TOLD)


def test_the_tool_ends_with_a_line_where_it_refuses(tool, made_up_model, monkeypatch):
    words = ["ship_model", made_up_model, "Made Up", "--limits", "none", "--command", "none", "--inventory", "East=us"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit, match=r"ship_model: Made Up: found this name, expected small letters"):
        tool.main()


def test_a_model_that_credits_nobody_is_not_shipped(tool, made_up_model, tmp_path):
    bundle = shutil.copytree(made_up_model, tmp_path / "model")
    write_json(bundle / "model.json", json.loads((bundle / "model.json").read_text()) | {"credits": []})
    with pytest.raises(InputError, match="says of no event whom its data are from"):
        tool.ship(bundle, "new", into=tmp_path / "models", **TOLD)


def test_the_card_has_what_the_study_found_and_is_made_of_the_metadata_alone(shipped, shelf):
    metadata = load_metadata(shelf / "made-up")
    first, second = metadata.card.unseen
    assert (first.event, first.inventory, second.inventory) == ("East", "mapped by us", "")
    assert (first.average_precision, first.f1, first.oracle_f1) == (0.6, 0.5, 0.55)
    assert (first.f1_interval, first.average_precision_interval) == ((0.4, 0.6), None)
    assert first.measured == (
        "The mean of 2 trainings from other seeds of this recipe, but with optimiser.epochs = 2, on west.zarr, "
        "without any part of the event; all of its labelled pixels are scored."
    )
    card = (shelf / "made-up" / CARD).read_text()
    assert card == card_of(metadata) == command("models", "made-up")
    for text in (
        "| East | mapped by us | 0.60 | 0.50 (0.40 to 0.60) | 0.55 |",
        "Not where snow lies.",
        "    coslide train east.zarr west.zarr --out runs/made-up",
        "| optimiser.learning_rate | 0.001 |",
        "- Made-up earthquake\n\nmade up\n",
        "Weights: Apache-2.0.",
        "trained on real events.",
    ):
        assert text in card
    assert "| seed |" not in card  # as the default is


def test_the_list_names_what_each_model_needs_and_what_it_scored(shipped, shelf):
    (entry,) = json.loads(command("models", "--json"))
    assert entry["needs"].startswith("post B2 B3 B4, pre B2 B3 B4")
    assert (entry["trained_on"], entry["unseen"][1]["f1"], entry["limits"]) == ("real", 0.5, "Not where snow lies.")
    assert entry["size_mb"] == pytest.approx(
        sum(f.stat().st_size for f in (shelf / "made-up").iterdir()) / 1e6, abs=0.01
    )
    head, row = model_rows(shipped_models())
    assert dict(zip(head, row, strict=True))["unseen events"] == "F1 0.50, AP 0.60 (mean of 2 events)"
    assert "F1 0.50, AP 0.60" in command("models")
    assert json.loads(command("models", "made-up", "--json")) == entry
    assert "no: is no model that comes with coslide; expected made-up" in str(command("models", "no"))


def chosen_for(cube):
    opened = open_cube(cube)
    return choose_model(opened.bands, opened.pixel_size_m, "scene")


@pytest.mark.parametrize(
    ("models", "chosen"),
    [
        ({"few": {"bands": 3, "f1": 0.9}, "more": {"bands": 6, "f1": 0.1}}, "few"),
        ({"few": {"bands": 3, "f1": 0.4}, "more": {"bands": 6, "f1": 0.4}}, "more"),
        ({"a": {"f1": 0.3}, "b": {"f1": 0.4}, "c": {}}, "b"),
        ({"made": {"simulated": SIMULATED, "f1": 0.9}, "real": {"bands": 3}}, "real"),
        ({"made": {"simulated": SIMULATED, "events": ["us", *SIMULATED], "f1": 0.9}, "real": {"bands": 3}}, "made"),
        ({"made": {"simulated": SIMULATED}}, "made"),
        ({"coarse": {"pixel_size_m": 20.0, "f1": 0.9}, "fine": {"bands": 3}}, "fine"),
    ],
)
def test_the_model_is_taken_that_fits_best(shipped, tmp_path, made_up_model, made_up_cube, models, chosen):
    for name, values in models.items():
        put(tmp_path / "models", name, made_up_model, **values)
    shipped(tmp_path / "models")
    found = chosen_for(made_up_cube)
    assert found.folder.name == chosen
    fitting = sum("pixel_size_m" not in values for values in models.values())
    assert found.why.startswith(
        f"model {chosen}: of those that come with coslide {fitting} fit scene; it was trained on "
    )


def test_bands_that_a_scene_lacks_do_not_count_for_a_model_that_can_do_without(
    shipped, tmp_path, made_up_model, made_up_cube
):
    put(tmp_path / "models", "five", made_up_model, bands=5)
    put(tmp_path / "models", "six", made_up_model, bands=3)
    path = tmp_path / "models" / "six" / "model.json"
    content = json.loads(path.read_text())
    content["optional_bands"] = [f"thermal{number}" for number in range(3)]
    for name in content["optional_bands"]:
        content["channels"].append({"band": {"name": name}, "encoding": "continuous", "offset": 0, "scale": 1})
    path.write_text(json.dumps(content))
    shipped(tmp_path / "models")
    assert chosen_for(made_up_cube).folder.name == "five"
    shutil.rmtree(tmp_path / "models" / "five")
    assert ", and sees pre B2 B3 B4; " in chosen_for(made_up_cube).why


def test_where_none_fits_a_line_says_what_each_lacks(shipped, tmp_path, made_up_model, made_up_cube):
    put(tmp_path / "models", "coarse", made_up_model, pixel_size_m=20.0)
    put(tmp_path / "models", "infrared", made_up_model)
    path = tmp_path / "models" / "infrared" / "model.json"
    path.write_text(path.read_text().replace("reflectance_post_B4", "reflectance_post_B8"))
    shipped(tmp_path / "models")
    message = (
        r"index.zarr: fits no model that comes with coslide \(coarse: found pixels of 10 m, expected 20 m as it was "
        r"trained: build the cube with grid.pixel_size_m = 20 in its event file; infrared: reflectance_post_B8 is "
        r"missing\); name another, or train one"
    )
    with pytest.raises(InputError, match=message):
        predict_scene(None, made_up_cube, tmp_path / "map")
    assert not (tmp_path / "map").exists()


def test_a_map_without_a_model_is_that_of_the_one_that_fits_and_names_it(
    shipped, made_up_cube, shelf, tmp_path, assert_same_map
):
    assert command("map", made_up_cube, "--out", "chosen") == ""
    predict_scene("made-up", made_up_cube, "named")
    assert_same_map(Path("chosen"), Path("named"))
    with rasterio.open("chosen/probability.tif") as file:
        assert file.tags()["model"] == "made-up"
        assert json.loads(file.tags()["coslide"])["model"]["card"]["limits"] == "Not where snow lies."
    assert json.loads(Path("chosen/summary.json").read_text())["model"] == "made-up"
    assert "made-up, which comes with coslide" in coslide.write_report("chosen").read_text()


def test_a_folder_of_that_name_wins(shipped, made_up_model, shelf, made_up_cube):
    assert find_model("made-up") == shelf / "made-up"
    assert find_model("other") == Path("other")
    assert find_model("./made-up") == Path("made-up")
    shutil.copytree(made_up_model, "made-up")
    assert find_model("made-up") == Path("made-up")
    options = {"options": InferenceOptions(), "min_area_m2": 0.0}
    assert open_to_map("made-up", made_up_cube, Path("map"), **options)[1].metadata.card is None


def test_an_adapted_model_does_not_carry_the_card_of_the_old_one(shipped, made_up_cube, made_up_event, tmp_path):
    labels, area = (made_up_event.parent / name for name in ("landslides.gpkg", "area.gpkg"))
    adapted = coslide.adapt("made-up", made_up_cube, labels, tmp_path / "adapted", area=area, steps=0)
    assert adapted.metadata.card is None
    assert adapted.metadata.adapted is not None


def test_a_run_takes_a_shipped_model_by_name_and_checks_it_before_it_builds(shipped, shelf, made_up_event, tmp_path):
    put(tmp_path / "models", "coarse", shelf / "made-up", pixel_size_m=20.0)
    shutil.copy(shelf / "made-up" / "weights.safetensors", tmp_path / "models" / "coarse")
    shipped(tmp_path / "models")
    with pytest.raises(InputError, match=r"event.toml: does not fit the model: found pixels of 10 m, expected 20 m"):
        run(made_up_event, tmp_path / "run", model="coarse")


@pytest.mark.slow
def test_a_run_of_an_event_without_an_inventory_takes_the_model_that_fits(
    shipped, shelf, made_up_event, tmp_path, listen
):
    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    text = (folder / made_up_event.name).read_text(encoding="utf-8")
    event = folder / "unlabelled.toml"
    event.write_text(text.partition("[inventory]")[0], encoding="utf-8")
    put(tmp_path / "coarse", "coarse", shelf / "made-up", pixel_size_m=20.0)
    shipped(tmp_path / "coarse")
    with pytest.raises(InputError, match=r"unlabelled.toml: fits no model that comes with coslide \(coarse: "):
        run(event, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # found before the cube is built
    shipped(shelf)
    with listen() as messages:
        out = run(event, tmp_path / "run")
    (line,) = [line for line in messages if line.startswith("model made-up: of those that come with coslide 1 fit ")]
    assert line.endswith("; on unseen events: F1 0.50, AP 0.60 (mean of 2 events)")
    error = command("run", event, "--out", tmp_path / "other", "--steps", 5)
    assert f"{event}: has no [inventory] to train on; add one, or leave out optimiser.steps" in str(error)
    assert read_probability_map(out).metadata.model.name == "made-up"
    assert not (out / "model").exists()
    assert not (out / "metrics.json").exists()


def test_nothing_is_exported_into_a_shipped_model_and_the_advice_works(shipped, shelf, monkeypatch):
    written = []
    monkeypatch.setattr("coslide.mapping.export.export_onnx", lambda folder: (written.append(folder), ([], 0.0))[1])
    own = shelf / "made-up"
    for name in ("made-up", own):
        error = str(command("export", name, "--onnx"))
        assert error.startswith(f"{own}: comes with coslide, and nothing is written into it; copy it first")
    assert not written
    advice = error.partition("(")[2].partition(")")[0]
    subprocess.run(advice, shell=True, check=True)  # noqa: S602 - as a person would
    command("export", "made-up", "--onnx")
    assert written == [Path("made-up")]


@pytest.mark.parametrize(
    ("events", "simulated", "found"),
    [(["a"], [], "real"), (["a"], ["a"], "simulated"), (["a", "b"], ["a"], "real and simulated")],
)
def test_a_model_tells_whether_it_was_trained_on_simulated_events(made_up_model, events, simulated, found):
    metadata = load_metadata(made_up_model).model_copy(update={"events": events, "simulated": simulated})
    assert trained_on(metadata) == found


def test_wheel_and_source_archive_carry_the_models(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "src/coslide/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    bundle = tmp_path / "src" / "coslide" / "models" / "made-up"
    bundle.mkdir(parents=True)
    for name in (names := ("model.json", "weights.safetensors", CARD)):
        (bundle / name).touch()
    build = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)  # noqa: S603
    (wheel,), (source,) = (list((tmp_path / "dist").glob(f"*.{end}")) for end in ("whl", "tar.gz"))
    for archive, before in ((wheel, ""), (source, f"{source.name.removesuffix('.tar.gz')}/src/")):
        shutil.unpack_archive(archive, tmp_path / archive.stem, "zip" if archive == wheel else "gztar")
        for name in names:
            assert (tmp_path / archive.stem / f"{before}coslide/models/made-up/{name}").is_file()


def test_what_is_in_the_package_is_whole_and_small(tool):
    """Of the repository itself, whatever models it has."""
    own = shipped_models()
    for one in own:
        assert load_model(one.name).metadata.name == one.name
        assert (one.folder / CARD).read_text() == card_of(one.metadata)
        tensors = [tensor for path in one.folder.glob("*.safetensors") for tensor in load_file(path).values()]
        size = 4 if one.metadata.card.half_precision_loss is None else 2
        assert {tensor.dtype.itemsize for tensor in tensors if tensor.is_floating_point()} == {size}
        tool._require_no_paths(one.metadata.model_dump(mode="json"), one.name)
    assert sum(one.size_mb for one in own) <= tool.LARGEST_MB
