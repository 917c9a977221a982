"""Whatever becomes of the files of a run, what reads them gives one line that names the file."""

import json
import os
import shutil
import signal
from contextlib import contextmanager

import pytest
import rasterio

from coslide.errors import InputError
from coslide.evaluation.scores import read_scores
from coslide.io.raster import grid_of
from coslide.networks.precision import choose_precision
from coslide.pipeline import report
from coslide.pipeline.baselines import read_baselines
from coslide.pipeline.evaluate import evaluate
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.scene_predictor import InferenceOptions

# What GDAL warns of in a file that is cut, the command line does not show.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
LOG = "training/csv/version_0/metrics.csv"
OF_REPORT = (
    "probability.tif", "uncertainty.tif", "landslides.gpkg", "metrics.json", "run.json", "summary.png", LOG,
)  # fmt: skip
OF_EVALUATE = ("probability.tif", "uncertainty.tif", "baselines/1-made-up-earthquake.tif", "baselines/thresholds.json")


def cut(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 3])


def emptied(path):
    path.unlink()
    path.touch()


def text(path):
    path.unlink()
    path.write_text("<html>404 Not Found</html>\n\x00\xff")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


def loop(path):
    path.unlink()
    path.symlink_to(path.name)


def nested(path):
    path.unlink()
    path.write_text('{"a":' * 100_000)


DAMAGES = (cut, emptied, text, fifo, folder, device, link_to_nothing, loop, nested)
HARMLESS = {(LOG, emptied), (LOG, cut)}  # as a training leaves it that was interrupted in its first epoch


@contextmanager
def limited():
    """End what takes longer than ten seconds: reading a FIFO would never end."""

    def late(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(made_up_model, made_up_cube, made_up_event, tmp_path_factory):
    """A run with all files that anything reads back, put together without a training."""
    out = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(made_up_model.parent, out)
    (out / "index.zarr").symlink_to(made_up_cube)
    predict_scene(out / "model", made_up_cube, out, options=InferenceOptions(tta=True, stride=32, precision="32"))
    evaluate(out, made_up_event.parent / "landslides.gpkg")
    (out / "run.json").write_text('{"wall_s": 1.0, "peak_memory_mb": 2, "cpus": 2}')
    return out


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run", symlinks=True, copy_function=os.link)


@pytest.fixture
def undrawn(monkeypatch):
    """Read all that a page shows, and draw nothing, which takes most of the time."""
    monkeypatch.setattr(report, "_scenes", lambda _: {})
    monkeypatch.setattr(report.images, "figure_uri", lambda _: "")


def refusal(path, command, *arguments):
    """Run what must refuse a file; returns its line."""
    with pytest.raises(InputError) as caught, limited():
        command(*arguments)
    line = str(caught.value)
    assert str(path) in line
    assert len(line) < 800
    return line


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", OF_REPORT)
def test_a_page_is_not_made_of_a_damaged_file(run, undrawn, name, damage):
    damage(run / name)
    if (name, damage) in HARMLESS:
        report.write_report(run)
    else:
        refusal(run / name, report.write_report, run)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", OF_EVALUATE)
def test_a_map_beside_damaged_files_is_not_scored(run, made_up_event, name, damage):
    damage(run / name)
    refusal(run / name, evaluate, run, made_up_event.parent / "landslides.gpkg")


@pytest.mark.parametrize("damage", [fifo, link_to_nothing, loop, emptied], ids=lambda one: one.__name__)
def test_a_cube_that_is_no_folder_is_not_taken_for_one_that_is_missing(run, undrawn, damage):
    damage(run / "index.zarr")
    refusal(run / "index.zarr", report.write_report, run)


@pytest.mark.parametrize("damage", [cut, text, fifo, device, nested], ids=lambda one: one.__name__)
def test_a_page_without_a_map_is_not_made_of_a_damaged_model(run, undrawn, damage):
    (run / "probability.tif").unlink()
    shutil.copy(run / "model" / "model.json", run / "copy")
    (run / "copy").replace(run / "model" / "model.json")
    damage(run / "model" / "model.json")
    refusal(run / "model" / "model.json", report.write_report, run)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_a_kept_precision_that_is_no_file_is_named(tmp_path, damage):
    path = tmp_path / "precision.json"
    path.write_text('{"precision": "32"}')
    damage(path)
    refusal(path, lambda: choose_precision(None, 1, 8, gradients=False, what="the map", kept=path))


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda of: of["pixels"].update(f1=float("nan")), "pixels.f1: found nan"),
        (lambda of: of["pixels"].update(f1=1e308), "f1: found 1e+308, expected numbers up to 1e+15"),
        (lambda of: of["curves"]["recall"].pop(), "found lists of"),
        (lambda of: of["calibration"]["reliability"].update(pixels=[]), "calibration.reliability.pixels: found []"),
        (lambda of: of["calibration"]["reliability"]["pixels"].append(1), "found lists of [15, 16] values"),
        (lambda of: of["objects"]["size_frequency"].pop("mapped"), "objects.size_frequency: found"),
        (lambda of: of["objects"]["size_frequency"].update(other=1), "objects.size_frequency.other"),
        (lambda of: of["split"].update(scored_pixels=-1), "split.scored_pixels: found -1"),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused(run, change, message):
    changed(run / "metrics.json", change)
    assert message in refusal(run / "metrics.json", read_scores, run / "metrics.json")


def test_scores_without_a_scored_pixel_or_the_papers_class_of_size_have_a_page(run):
    def change(of):
        of["split"].update(scored_pixels=0)
        of["objects"]["recall_by_size"].clear()

    changed(run / "metrics.json", change)
    report.write_report(run)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"random forest": 0.5}', '{"random forest": NaN, "rise of red reflectance": 0.2}', '{"a": 0.5, "b": 0.5}'],
)
def test_thresholds_that_are_not_of_the_baselines_are_refused(run, text):
    path = run / "baselines" / "thresholds.json"
    path.unlink()
    path.write_text(text)
    with rasterio.open(run / "probability.tif") as file:
        grid = grid_of(file)
    assert "remove the folder" in refusal(path.parent, read_baselines, run, grid)
    shutil.rmtree(path.parent)
    assert read_baselines(run, grid) == {}


def test_scores_are_written_beside_a_folder_of_someone_else(run, made_up_event):
    (run / "figures" / "own.png").mkdir()
    evaluate(run, made_up_event.parent / "landslides.gpkg")
    assert (run / "figures" / "own.png").is_dir()
