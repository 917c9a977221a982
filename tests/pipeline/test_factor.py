"""A study of one factor: the same splits and windows for all cases, runs that are kept, and what they are put into."""

import csv
import json
import shutil
import statistics

import geopandas
import numpy as np
import pytest
import rasterio

import coslide.pipeline.study
from coslide.config.factors import FACTORS, Factor
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.scores import read_scores
from coslide.evaluation.study import Study
from coslide.io.executor import open_executor
from coslide.mapping.metadata import load_metadata
from coslide.pipeline.factor import StudyDesign, plan_factor, study_factor
from coslide.pipeline.study import RUN, state_of, whole_runs
from coslide.pipeline.study_cost import plan_of
from coslide.pipeline.study_regions import draw_regions
from coslide.tables import print_plan, print_study

FACTOR = Factor(
    name="two",
    title="two networks | of 100 %",
    case_is="network",
    cases={"U-Net": {"network": "unet"}, "EGCN": {"network": "egcn"}},
    table="Figure 11",
    paper=FACTORS["networks"].paper,
)
SETTINGS = TrainingSettings(
    width=8,
    sampling={"tile": 32, "stride": 24, "positive_share": 0.001},
    split={"block_windows": 1},
    optimiser={"steps": 2, "learning_rate": 1e-3},
)
DESIGN = StudyDesign(SETTINGS, seeds=2, protocol="paper")


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Figures of single runs are others' business, and most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coslide.pipeline.evaluate.score_charts", lambda _: [])
        patch.setattr("coslide.pipeline.evaluate.save_figure", lambda *_: None)
        patch.setattr("coslide.pipeline.baselines._TREES", 10)
        patch.setattr("coslide.pipeline.study_report.draw_regions", lambda *_, **__: [])
        yield


@pytest.fixture(scope="module")
def study(made_up_cube, tmp_path_factory):
    """The folder of a study of two networks with two seeds by both protocols, and what it found."""
    out = tmp_path_factory.mktemp("study")
    return out, study_factor(FACTOR, made_up_cube, out, design=DESIGN)


def test_runs_of_one_seed_have_the_same_split_and_as_many_updates(study):
    out, found = study
    assert [run.name for run in found.runs] == [
        f"{case}/{protocol}seed-{seed}" for seed in (0, 1) for protocol in ("", "paper-") for case in ("u-net", "egcn")
    ]
    for first, second in zip(found.runs[::2], found.runs[1::2], strict=True):
        splits = [next((out / run.name / "splits").glob("*.tif")) for run in (first, second)]
        masks = [rasterio.open(path).read(1) for path in splits]
        assert (masks[0] == masks[1]).all()
        tiles = [(out / run.name / "tiles.csv").read_text() for run in (first, second)]
        assert tiles[0].splitlines()[0] == tiles[1].splitlines()[0]
        logs = [next((out / run.name / "training").rglob("metrics.csv")) for run in (first, second)]
        assert len({len(path.read_text().splitlines()) for path in logs}) == 1
        assert {key for key, value in first.settings.items() if value != second.settings[key]} == {"network"}
    assert {row.leak_fraction for row in found.rows if row.protocol == "own"} == {0}
    assert all(row.leak_fraction > 0 for row in found.rows if row.protocol == "paper")


def test_baselines_are_made_once_for_each_split(study):
    out, found = study
    made = {run.name for run in found.runs if (out / run.name / "baselines").exists()}
    assert made == {run.name for run in found.runs if run.case == "U-Net"}
    assert {row.case for row in found.rows if row.method != "network"} == {"U-Net"}


def test_the_table_has_the_scores_of_each_run_and_the_size_of_its_network(study):
    out, found = study
    with (out / "study.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["run"], row["method"]): row for row in csv.DictReader(file)}
    for run in found.runs:
        row, written = rows[run.name, "network"], read_scores(out / run.name / "metrics.json")
        for name in ("oa", "miou", "miou_paper", "kappa", "f1", "precision", "recall"):
            assert float(row[f"own_{name}"]) == getattr(written.pixels, name)
        weights = (out / run.name / "model" / "weights.safetensors").stat().st_size / 4
        assert 0 < weights / int(row["parameters"]) - 1 < 0.2  # with the header and the moments of norms
        assert int(row["bands"]) == len(load_metadata(out / run.name / "model").channels)
        if run.protocol == "paper":
            assert float(row["samples_f1"]) == written.samples.mean.f1
            assert float(row["pooled_f1"]) == written.samples.pooled.f1
        else:
            assert row["samples_f1"] == ""


def test_the_page_has_means_leak_and_the_paper_s_numbers_with_their_warning(study):
    out, found = study
    text = (out / "study.md").read_text(encoding="utf-8")
    for case in ("U-Net", "EGCN"):
        f1 = [row.at["own"].f1 for row in found.rows if (row.case, row.protocol) == (case, "own")
              and row.method == "network"]  # fmt: skip
        assert f"{statistics.fmean(f1):.3f} ± {statistics.stdev(f1):.3f}" in text
    assert "0.97396" in text
    assert "another event" in text
    assert "How much of the paper's score is its protocol" in text
    assert "random forest" in text
    assert Study.model_validate_json((out / "study.json").read_bytes()) == found
    assert (out / "figures" / "scores.png").exists()


def test_the_tables_for_latex_are_balanced_and_escaped(study):
    text = (study[0] / "study.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") > 3
    assert text.count("{") == text.count("}")
    assert r"two networks \textbar{} of 100 \%" in text
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = table[table.index("{") + 1 : table.index("}")]
        body = table[: table.index(r"\bottomrule")]
        assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {len(columns) - 1}


@pytest.mark.slow
def test_what_is_there_is_kept_and_a_study_beside_takes_the_same_runs(study, made_up_cube, tmp_path, monkeypatch):
    out, found = study
    trained = []
    monkeypatch.setattr("coslide.pipeline.study.train", lambda *given, **_: trained.append(given[1]))
    with pytest.raises(InputError, match="is not empty; use --resume"):
        study_factor(FACTOR, made_up_cube, out, design=DESIGN)
    assert study_factor(FACTOR, made_up_cube, out, design=DESIGN, resume=True).rows == found.rows
    assert {one.state for one in plan_of(found.runs, tmp_path, made_up_cube, reuse=[out]).runs} == {"elsewhere"}
    again = study_factor(FACTOR, made_up_cube, tmp_path / "beside", design=DESIGN, reuse=[out])
    assert (again.rows, again.summaries, trained) == (found.rows, found.summaries, [])
    assert (tmp_path / "beside" / "study.csv").read_bytes() == (out / "study.csv").read_bytes()
    runs = plan_factor(FACTOR, made_up_cube, DESIGN._replace(settings=SETTINGS.changed({"optimiser.steps": 3})))
    assert {state_of(run, tmp_path / "beside")[0] for run in runs[:2]} == {"changed"}
    assert "2 of which replace runs" in plan_of(runs[:2], tmp_path / "beside", made_up_cube).line()
    with pytest.raises(InputError, match="holds the study two, expected other; choose another --out"):
        study_factor(FACTOR.model_copy(update={"name": "other"}), made_up_cube, out, design=DESIGN, resume=True)
    with pytest.raises(InputError, match="none: has no run of a study that is whole"):
        study_factor(FACTOR, made_up_cube, tmp_path / "new", design=DESIGN, reuse=[tmp_path / "none"])


def test_half_a_copy_of_a_run_is_no_run(study, tmp_path):
    out, _ = study
    shutil.copytree(out / "egcn" / "seed-0", tmp_path / "egcn" / ".seed-0.part")
    with pytest.raises(InputError, match="has no run of a study that is whole"):
        whole_runs([tmp_path])
    shutil.copytree(out / "egcn" / "seed-1", tmp_path / "egcn" / "seed-1")
    assert [run.name for run in whole_runs([tmp_path]).values()] == ["egcn/seed-1"]


def test_a_kept_run_without_baselines_is_no_substitute_for_one_with_them(study, made_up_cube, tmp_path):
    """That of EGCN was made second; as the first case it needs the baselines."""
    out, _ = study
    other = Factor(name="other", title="other", cases={"EGCN": {"network": "egcn"}, "U-Net": {"network": "unet"}})
    runs = plan_factor(other, made_up_cube, StudyDesign(SETTINGS, seeds=1))
    assert [run.baselines for run in runs] == [True, False]
    assert [state_of(run, tmp_path, whole_runs([out]))[0] for run in runs] == ["to do", "elsewhere"]


@pytest.mark.slow
def test_baselines_that_a_run_was_not_asked_for_are_left_out(study, made_up_cube, tmp_path):
    """The copied run of U-Net has some, but the forest is to be listed once."""
    out, _ = study
    other = Factor(name="other", title="other", cases={"DP": {"network": "dp-fcn"}, "U-Net": {"network": "unet"}})
    found = study_factor(other, made_up_cube, tmp_path, design=StudyDesign(SETTINGS, seeds=1), reuse=[out])
    assert (tmp_path / "u-net" / "seed-0" / "baselines").exists()
    assert {row.case for row in found.rows if row.method == "random forest"} == {"DP"}


@pytest.mark.slow
def test_one_training_that_fails_does_not_keep_the_others_from_their_table(made_up_cube, tmp_path, monkeypatch):
    def train(paths, folder, settings, **options):
        if settings.network == "egcn":
            raise InputError("the training diverged")
        return real(paths, folder, settings, **options)

    real, design = coslide.pipeline.study.train, StudyDesign(SETTINGS, seeds=1)
    monkeypatch.setattr("coslide.pipeline.study.train", train)
    failed = r"egcn/seed-0: the training diverged \(1 of 2 trainings failed; the tables are of the others"
    with pytest.raises(InputError, match=failed):
        study_factor(FACTOR, made_up_cube, tmp_path, design=design)
    found = Study.model_validate_json((tmp_path / "study.json").read_bytes())
    assert [run.name for run in found.runs] == ["u-net/seed-0"]
    monkeypatch.setattr("coslide.pipeline.study.train", real)
    assert len(study_factor(FACTOR, made_up_cube, tmp_path, design=design, resume=True).runs) == 2


@pytest.mark.slow
def test_a_study_may_vary_its_split_and_is_then_not_compared(made_up_cube, tmp_path, monkeypatch):
    """Squares that are held out differ; regions are those of the first case."""
    monkeypatch.setattr("coslide.pipeline.study_report.draw_regions", draw_regions)
    cases = {"blocks": {}, "east": {"split": {"scheme": "regions"}}}
    factor = Factor(name="split", title="how pixels are held out", cases=cases)
    found = study_factor(factor, made_up_cube, tmp_path, design=StudyDesign(SETTINGS.changed(network="unet"), seeds=1))
    assert [run.scheme for run in found.runs] == ["blocks", "regions"]
    assert [run.baselines for run in found.runs] == [True, True]
    assert found.comparisons == []
    assert {case for region in found.regions for case in region.scores} == {"blocks"}
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "None was made: " in text
    assert "cases differ in split.scheme and in nothing else" in text


def test_a_split_by_polygons_is_known_by_what_it_holds_out(made_up_event, made_up_cube, tmp_path):
    polygons = tmp_path / "regions.gpkg"
    frame = geopandas.read_file(made_up_event.parent / "area.gpkg")
    west, south, east, north = frame.total_bounds

    def runs(share):
        frame.clip((west, south, west + share * (east - west), north)).to_file(polygons)
        settings = SETTINGS.changed({"split.scheme": "regions", "split.regions": str(polygons)})
        return plan_factor(FACTOR, made_up_cube, StudyDesign(settings, seeds=1))

    half, again, less = runs(0.5), runs(0.5), runs(0.4)
    moved = half[0].model_copy(update={"settings": half[0].settings | {"split.regions": "elsewhere.gpkg"}})
    assert half[0].same_as(again[0])
    assert half[0].same_as(moved)
    assert not half[0].same_as(less[0])


@pytest.mark.slow
def test_options_that_are_defaults_make_no_other_run(made_up_cube):
    """So that `neighbours` and `attention` share EGCN with `networks`."""
    design = StudyDesign(SETTINGS.changed({"sampling.tile": 32}), seeds=1)
    first = plan_factor(FACTORS["neighbours"], made_up_cube, design)[0]
    assert first.case == "k = 8"
    assert first.same_as(plan_factor(FACTOR, made_up_cube, design)[1])
    k32, share = (plan_factor(FACTORS[name], made_up_cube, design) for name in ("neighbours", "selection"))
    assert k32[2].same_as(share[3])


def test_members_of_different_cases_share_no_seed(made_up_cube):
    factor = Factor(name="members", title="members", cases={"one": {}, "three": {"members": 3}})
    runs = plan_factor(factor, made_up_cube, StudyDesign(SETTINGS, seeds=2))
    assert [run.seed for run in runs] == [0, 0, 3, 3]


@pytest.mark.slow
def test_workers_of_a_cluster_find_the_same(study, made_up_cube, tmp_path):
    """One run of the study again, in another process."""
    _, found = study
    design = StudyDesign(SETTINGS, seeds=1)
    with open_executor(count=1) as executor:
        again = study_factor(FACTOR, made_up_cube, tmp_path / "beside", design=design, executor=executor)
    mine = [row.at for row in again.rows if row.method == "network"]
    assert mine == [row.at for row in found.rows if (row.method, row.protocol, row.seed) == ("network", "own", 0)]


@pytest.mark.slow
def test_the_plan_counts_trainings_steps_and_disk_and_writes_nothing(study, made_up_cube, tmp_path, capsys):
    out, _ = study
    runs = plan_factor(FACTOR, made_up_cube, DESIGN)
    plan = plan_of(runs, tmp_path / "none", made_up_cube)
    assert (len(plan.runs), {one.state for one in plan.runs}) == (8, {"to do"})
    steps = [-(-2 // tiles) * tiles for tiles in _steps_of_an_epoch(out, runs[:4])]
    assert [one.steps for one in plan.runs] == 2 * steps  # of another seed as of the first
    assert plan.hours > 0
    assert not (tmp_path / "none").exists()
    taken = [sum(path.stat().st_size for path in (out / run.name).rglob("*") if path.is_file()) for run in runs]
    weights = [one.disk_bytes - 5e6 for one in plan.runs]
    assert 0.5 < np.sum(weights) / np.sum(taken) < 1.5
    assert {one.state for one in plan_of(runs, out, made_up_cube).runs} == {"done"}
    print_plan(plan, as_json=False)
    assert "8 trainings, 8 to do" in capsys.readouterr().out
    print_plan(plan, as_json=True)
    assert json.loads(capsys.readouterr().out)["runs"][0]["state"] == "to do"


def _steps_of_an_epoch(out, runs):
    tiles = [load_metadata(out / run.name / "model").split["train_tiles"] for run in runs]
    return [-(-count // SETTINGS.optimiser.batch) for count in tiles]


def test_epochs_over_tiles_are_counted_as_training_counts_them(study, made_up_cube, tmp_path):
    settings = SETTINGS.changed({"optimiser.epochs": 3, "sampling.positive_share": 0.001, "optimiser.batch": 2})
    (run, *_) = plan_factor(FACTOR, made_up_cube, StudyDesign(settings, seeds=1))
    (one, *_) = plan_of([run], tmp_path, made_up_cube).runs
    tiles = load_metadata(study[0] / "u-net" / "seed-0" / "model").split["train_tiles"]
    assert one.steps == 3 * -(-tiles // 2)


def test_the_table_in_a_terminal_fits(study, capsys):
    print_study(study[1], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "…" not in "".join(lines)
    assert "study.md says which differences are sure" in lines[-1]


def test_settings_of_a_network_s_own_paper_are_further_cases(made_up_cube):
    """Those of EGCN are the paper's; of U-Net no learning rate is known."""
    runs = plan_factor(FACTOR, made_up_cube, StudyDesign(SETTINGS, seeds=1, original=True))
    assert [run.case for run in runs] == ["U-Net", "EGCN", "EGCN, own settings"]
    assert [run.settings["optimiser.learning_rate"] for run in runs] == [1e-3, 1e-3, 1e-4]
    assert {run.settings["optimiser.steps"] for run in runs} == {2}
    as_published = SETTINGS.changed({"optimiser.learning_rate": 1e-4})
    runs = plan_factor(FACTOR, made_up_cube, StudyDesign(as_published, seeds=1, original=True))
    assert [run.case for run in runs] == ["U-Net", "EGCN"]


def test_widths_are_written_down_and_a_trial_chooses_no_precision(made_up_cube):
    settings = TrainingSettings(sampling=SETTINGS.sampling, split=SETTINGS.split, runtime={"precision": "auto"})
    factor = Factor(name="two", title="two", cases={"DP-FCN": {"network": "dp-fcn"}, "U-Net": {"network": "unet"}})
    runs = plan_factor(factor, made_up_cube, StudyDesign(settings, seeds=1))
    assert [run.settings["width"] for run in runs] == [8, 16]
    assert {run.settings["runtime.precision"] for run in runs} == {"32"}


def test_what_no_study_can_be_made_of_is_refused_in_one_line(made_up_cube, tmp_path):
    out = tmp_path / "out"

    def refused(match, factor=FACTOR, index=made_up_cube, **design):
        with pytest.raises(InputError, match=match):
            study_factor(factor, index, out, design=StudyDesign(**{"settings": SETTINGS, "seeds": 1, **design}))
        assert not out.exists()

    refused("study colours: unknown; expected networks, indices, attention", "colours")
    refused("colours.toml: cannot be read", tmp_path / "colours.toml")
    refused("seeds: found 0, expected at least 1", seeds=0)
    refused("protocol: found Paper, expected blocks or paper", protocol="Paper")
    by_samples = SETTINGS.changed({"split.scheme": "paper-random"})
    refused(
        "U-Net: split.scheme: found paper-random, expected blocks or regions", settings=by_samples, protocol="paper"
    )
    refused("found events, expected a split of one event", settings=SETTINGS.changed({"split.scheme": "events"}))
    random = {"sampling.places": "random", "sampling.select": "prevalence"}
    refused("split.scheme = 'paper-random' splits tiles", settings=SETTINGS.changed(random), protocol="paper")
    same = Factor(name="same", title="same", cases={"one": {"network": "unet"}, "two": {"network": "unet"}})
    refused("same: found the same in one and two, expected each case once", same)
    unknown = Factor(name="k", title="k", cases={"a": {"network": "unet", "options": {"k": 8}}, "b": {}})
    refused("a: network unet: unknown option k", unknown)


def test_a_run_that_was_interrupted_goes_on(study, made_up_cube, tmp_path):
    out, found = study
    shutil.copytree(out / "u-net" / "seed-0", tmp_path / "u-net" / "seed-0")
    record = tmp_path / "u-net" / "seed-0" / RUN
    record.write_text(record.read_text().replace('"done": true', '"done": false'))
    assert state_of(found.runs[0], tmp_path)[0] == "interrupted"
    design = StudyDesign(SETTINGS, seeds=1)
    again = study_factor(FACTOR, made_up_cube, tmp_path, design=design, reuse=[out / "egcn"], resume=True)
    assert [run.done for run in again.runs] == [True, True]
    assert again.rows[0].at == found.rows[0].at
