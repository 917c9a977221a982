"""Leave one event out: what trains, what is unseen, and a table that says what the runs say."""

import csv
import json
import shutil
import statistics
import warnings

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.pixels import confusion, scores
from coslide.evaluation.probabilities import average_precision, curve
from coslide.evaluation.scores import read_scores
from coslide.evaluation.study import Run, Study
from coslide.evaluation.study_tables import transfer_rows
from coslide.mapping.model import load_model
from coslide.mapping.probability_map import choose_threshold
from coslide.pipeline.labelled_scene import open_labelled_scenes
from coslide.pipeline.scene_predictor import predict_array
from coslide.pipeline.study import RUN, carry_out, state_of
from coslide.pipeline.transfer import plan_transfer, study_transfer
from coslide.report.page import render
from coslide.tables import print_study

SETTINGS = TrainingSettings(
    network="unet",
    width=8,
    threshold="scene",
    inputs={"normalise": "event"},
    sampling={"tile": 32, "stride": 32, "select": "prevalence"},
    split={"scheme": "events", "block_windows": 1, "validation_fraction": 0.25},
    optimiser={"steps": 2, "learning_rate": 1e-3},
)
EVENTS = ("east", "north", "west")
TABLE = 'event = "event"\nrow = "row"\ncol = "col"\nstep_px = 32\nfactor = "factor"'


@pytest.fixture(scope="module")
def chips(chips_writer, tmp_path_factory):
    """Chips of three events, 160 x 160 pixels each, of different brightness."""
    places = [f"{name},{i},{j},{k}" for k, name in enumerate(EVENTS, start=1) for i in (0, 1) for j in (0, 1)]
    table, folder = TABLE.replace("32", "80"), tmp_path_factory.mktemp("chips")
    return chips_writer(folder, places, side=80, table=table, keys='unit = "relative"\n')[0]


@pytest.fixture(scope="module")
def study(chips, tmp_path_factory):
    """The folder of a study of the three events with two seeds, and what it found."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:  # figures are others' business, and most of the time
        patch.setattr("coslide.pipeline.evaluate.score_charts", lambda _: [])
        patch.setattr("coslide.pipeline.evaluate.save_figure", lambda *_: None)
        patch.setattr("coslide.pipeline.baselines._TREES", 10)
        return out, study_transfer([chips], out, SETTINGS, seeds=2)


def test_every_event_is_the_unseen_one_once_for_each_seed_and_nothing_leaks(study):
    out, found = study
    assert [(run.name, run.seed) for run in found.runs] == [
        (f"made-up-chips-{event}/seed-{seed}", seed) for event in EVENTS for seed in (0, 1)
    ]
    for run, event in zip(found.runs, [event for event in EVENTS for _ in (0, 1)], strict=True):
        assert [path.rpartition("#")[2] for path in run.test_on] == [event]
        assert [path.rpartition("#")[2] for path in run.train] == [name for name in EVENTS if name != event]
        metadata = load_model(out / run.name / "model").metadata
        assert metadata.events == [f"Made-up chips ({name})" for name in EVENTS if name != event]
        assert metadata.settings["seed"] == run.seed
        assert read_scores(out / run.name / "metrics.json").split.leak_fraction == 0
    assert {row.scored_pixels for row in found.rows} == {160 * 160}


def test_the_table_has_the_scores_of_each_run_and_of_a_count_on_its_map(study, chips):
    """The witness maps the unseen event with the bundle of the run, and counts pixels."""
    out, found = study
    assert Study.model_validate_json((out / "study.json").read_bytes()) == found
    for run in found.runs:
        own = {row.method: row for row in found.rows if row.run == run.name}
        assert set(own) == {"network", "random forest", "brightness after the event"}  # there is one date alone
        written = read_scores(out / run.name / "metrics.json")
        baseline = written.baselines["brightness after the event"]
        assert own["brightness after the event"].at["own"].f1 == baseline.f1
        assert own["random forest"].at["oracle"].f1 == written.baselines["random forest"].oracle.f1
        network, pixels = own["network"], written.pixels
        assert (network.average_precision, network.intervals.get("f1")) == (
            pixels.average_precision,
            pixels.intervals.get("f1"),
        )
        model = load_model(out / run.name / "model")
        assert set(network.intervals) == {"f1", "average_precision"}
        (scene,) = open_labelled_scenes(next(iter(run.test_on)))
        mapped, truth = predict_array(model, scene.scene)[0], scene.labels == 1
        for scored in network.at.values():
            counted = scores(*confusion(mapped >= scored.threshold, truth))
            assert scored.f1 == pytest.approx(counted.f1, abs=5e-3)  # windows lie elsewhere in a map of the test set
        assert network.at["trained"].threshold == model.metadata.threshold
        assert network.at["own"].threshold == pytest.approx(choose_threshold(model.metadata, [mapped])[0], abs=0.02)
        assert network.at["oracle"].f1 >= network.at["own"].f1
        assert network.average_precision == pytest.approx(average_precision(curve(mapped, truth)), abs=5e-3)


def test_means_and_spreads_are_those_of_the_seeds_and_then_of_the_events(study):
    out, found = study
    with (out / "study.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "network"]
    assert len(rows) == 6
    means = []
    for event in EVENTS:
        case = f"Made-up chips ({event})"
        f1 = [float(row["own_f1"]) for row in rows if row["case"] == case]
        (one,) = [one for one in found.summaries if (one.case, one.method) == (case, "network")]
        assert (one.count, one.scores["own_f1"].mean) == (2, statistics.fmean(f1))
        assert one.scores["own_f1"].deviation == pytest.approx(statistics.stdev(f1))
        means.append(statistics.fmean(f1))
    (every,) = [one for one in found.summaries if (one.case, one.method) == (None, "network")]
    assert every.scores["own_f1"].mean == pytest.approx(statistics.fmean(means))
    assert every.scores["own_f1"].deviation == pytest.approx(statistics.stdev(means))
    text = (out / "study.md").read_text(encoding="utf-8")
    assert f"{statistics.fmean(means):.3f} ± {statistics.stdev(means):.3f}" in text
    (first, *_) = found.rows
    bounds = [statistics.fmean(row.intervals["f1"][i] for row in found.rows[::3][:2]) for i in (0, 1)]
    assert f"| {first.case} | network |" in text
    assert f" | {bounds[0]:.2f} to {bounds[1]:.2f} | " in text
    assert "It is a bound, not a result" in text
    assert "from its probabilities on the unseen event alone" in text
    assert "*trained F1* is at the one that was chosen on its training events, as were those of the other" in text


def test_a_table_without_a_validation_set_says_at_what_threshold_it_is(study):
    found = study[1]
    settings = found.settings | {"split.validation_fraction": 0.0}
    content = {"table": transfer_rows(found), "changed": {}}
    text = render("transfer.md.j2", found=found.model_copy(update={"settings": settings}), **content)
    assert "alone, without a label; *trained F1* is at 0.5, **as no validation set was kept" in text
    assert "chosen on its training events" not in text
    settings["threshold"] = "validation"
    text = render("transfer.md.j2", found=found.model_copy(update={"settings": settings}), **content)
    assert "the network's is 0.5, those of the others were chosen on training pixels" in text


def test_the_table_in_a_terminal_fits_and_calls_the_bound_one(study, capsys):
    found = study[1]
    print_study(found, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0].strip() == "unseen event"
    for word in ("AP", "F1", "F1 95 %", "oracle F1"):
        assert f" {word} " in f"{lines[1]} "
    assert "a bound, not a result" in lines[-1]
    assert "…" not in "".join(lines)
    print_study(found, as_json=True)
    assert Study.model_validate_json(capsys.readouterr().out) == found


def test_what_is_there_is_not_trained_again_and_what_is_missing_or_changed_is(study, chips, monkeypatch):
    out, found = study
    trained = []
    monkeypatch.setattr("coslide.pipeline.study.train", lambda *given, **_: trained.append(given[1].parent.name))
    before = (out / "study.json").read_bytes()
    with pytest.raises(InputError, match="is not empty; use --resume to go on with its study"):
        study_transfer([chips], out, SETTINGS, seeds=2)
    assert study_transfer([chips], out, SETTINGS, seeds=2, resume=True).rows == found.rows
    assert trained == []
    assert (out / "study.json").read_bytes() == before
    runs = plan_transfer([chips], SETTINGS.changed({"optimiser.steps": 3}), seeds=2)
    assert {state_of(run, out)[0] for run in runs} == {"changed"}
    runs = plan_transfer([f"{chips}#east"], SETTINGS, always=[f"{chips}#north"])
    assert [[path.partition("#")[2] for path in part] for run in runs for part in (run.test_on, run.train)] == [
        ["east"],
        ["north"],
    ]
    runs = plan_transfer([f"{chips}#east", f"{chips}#north"], SETTINGS)
    assert [state_of(run, out)[0] for run in runs] == ["changed", "changed"]  # neither trains on the west any more
    metrics = out / found.runs[0].name / "metrics.json"
    whole = metrics.read_bytes()
    metrics.write_text("{")
    with pytest.raises(InputError, match=r"metrics.json: .*; remove .*seed-0 and go on with --resume"):
        study_transfer([chips], out, SETTINGS, seeds=2, resume=True)
    metrics.unlink()
    assert [state_of(run, out)[0] for run in found.runs] == ["interrupted"] + 5 * ["done"]
    metrics.write_bytes(whole)
    record = out / found.runs[0].name / RUN  # of a run that was stopped while its figures were drawn
    whole = record.read_text()
    record.write_text(whole.replace('"done": true', '"done": false'))
    assert state_of(found.runs[0], out)[0] == "interrupted"
    record.write_text(whole)
    assert (out / "study.json").read_bytes() == before


def test_an_input_that_changed_is_trained_on_again_in_the_place_of_the_old_run(study, chips, monkeypatch):
    out, found = study
    folder, text = out / found.runs[0].name, chips.read_text()
    trained, kept = [], shutil.copytree(folder, out.parent / "kept")
    monkeypatch.setattr("coslide.pipeline.study.train", lambda *given, **_: trained.append(sorted(folder.iterdir())))
    try:
        chips.write_text(text.replace('unit = "relative"', 'unit = "relative"\nscale = 2'))
        changed = plan_transfer([chips], SETTINGS)[:1]
        assert [state_of(run, out)[0] for run in changed] == ["changed"]
        carry_out(changed, out)
        assert trained == [[folder / RUN]]  # all of the old run is gone
    finally:
        chips.write_text(text)
        shutil.rmtree(folder)
        shutil.move(kept, folder)
    with pytest.raises(InputError, match="is a folder that holds something else"):
        (out / "other").mkdir()
        (out / "other" / "mine.txt").touch()
        state_of(found.runs[0].model_copy(update={"name": "other"}), out)


def test_a_replacement_that_is_interrupted_goes_on(tmp_path, monkeypatch):
    """The first file that goes may be the one that tells whose folder it is."""
    run = Run(
        name="a/seed-0",
        case="a",
        seed=0,
        train={"b": "1"},
        test_on={"a": "2"},
        settings={"split.scheme": "events"},
        done=True,
    )
    folder, trained = tmp_path / run.name, []
    folder.mkdir(parents=True)
    (folder / RUN).write_text(run.model_dump_json())
    (folder / "figure.png").touch()

    def stop(path, remove=shutil.rmtree):
        (path / RUN).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("coslide.pipeline.study.train", lambda *given, **_: trained.append(sorted(folder.iterdir())))
    changed = run.model_copy(update={"train": {"b": "3"}, "done": False})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", stop)
        carry_out([changed], tmp_path)
    assert state_of(changed, tmp_path)[0] == "to do"
    carry_out([changed], tmp_path)
    assert trained == [[folder / RUN]]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_run_has_the_settings_that_were_asked_for(chips):
    settings = SETTINGS.changed({"recipe": "modern", "optimiser.epochs": 3, "members": 2, "seed": 5})
    runs = plan_transfer([chips], settings, seeds=2)
    assert [run.seed for run in runs[:2]] == [5, 7]  # members have seeds of their own, which no other run has
    assert TrainingSettings().changed(runs[1].settings) == settings.changed(seed=7)
    assert json.loads(runs[1].model_dump_json())["settings"]["optimiser.epochs"] == 3


def test_what_no_study_can_be_made_of_is_refused_in_one_line(chips, tmp_path):
    out = tmp_path / "out"

    def refused(events, match, settings=SETTINGS):
        with pytest.raises(InputError, match=match):
            study_transfer(events, out, settings)
        assert not out.exists()

    refused([f"{chips}#east"], r"found 1 event \(Made-up chips \(east\)\), expected two or more")
    refused([chips, f"{chips}#west"], r"#west: found Made-up chips \(west\) twice, expected each event once")
    refused([chips], "found blocks, expected events", SETTINGS.changed({"split.scheme": "blocks"}))
    refused([chips], "found global, expected event", SETTINGS.changed({"inputs.normalise": "global"}))


def test_an_event_without_landslides_or_one_that_overlaps_another_is_refused(chips_writer, tmp_path):
    """The second event lies half inside the first."""
    places = [f"{name},{i},{j},1" for name in ("a", "b") for i in (0, 1) for j in (0, 1)]
    table = f'{TABLE}\nbounds = ["west", "south", "east", "north"]'
    chips, stored = chips_writer(tmp_path / "chips", places, table=table, keys='unit = "relative"\n')
    lines = ["id,event,row,col,factor,west,south,east,north"]
    for number, place in enumerate(places, start=1):
        event, row, col, _ = place.split(",")
        west, south = 10 + 0.01 * (int(col) + (event == "b")), 45 - 0.01 * int(row)
        lines.append(f"{number},{place},{west},{south},{west + 0.01},{south + 0.01}")
    (chips.parent / "chips.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"\(a\): found 50 % of its labelled pixels inside other events"):
        study_transfer([chips], tmp_path / "out", SETTINGS)
    for number in (5, 6, 7, 8):
        (chips.parent / "lab" / f"{number}.png").unlink()
        empty = np.zeros_like(stored[str(number)][1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            profile = {"count": 1, "height": 32, "width": 32, "dtype": "uint8", "driver": "PNG"}
            with rasterio.open(chips.parent / "lab" / f"{number}.png", "w", **profile) as file:
                file.write(empty, 1)
    with pytest.raises(InputError, match="#b: has no landslide among its labels, expected some"):
        study_transfer([chips], tmp_path / "out", SETTINGS)
    (chips.parent / "chips.csv").write_text("\n".join(lines).replace(",b,", ",b#1,"))
    with pytest.raises(InputError, match="found the event 'b#1', expected names without comma, slash or #"):
        study_transfer([chips], tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_an_event_that_always_trains_needs_no_landslide(chips_writer, tmp_path):
    places, keys = [f"{name},{i},{j},1" for name in EVENTS for i in (0, 1) for j in (0, 1)], 'unit = "relative"\n'
    chips, _ = chips_writer(tmp_path, places, side=80, form=".npy", table=TABLE.replace("32", "80"), keys=keys)
    for number in (9, 10, 11, 12):
        np.save(tmp_path / "lab" / f"{number}.npy", np.zeros((80, 80), np.uint8))
    runs = plan_transfer([f"{chips}#east", f"{chips}#north"], SETTINGS, always=[f"{chips}#west"])
    assert [run.case for run in runs] == ["Made-up chips (east)", "Made-up chips (north)"]
    with pytest.raises(InputError, match="#west: has no landslide among its labels, expected some: it is once"):
        plan_transfer([chips], SETTINGS)
