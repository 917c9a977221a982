"""What a study varies: the five of the paper, and files of one's own."""

from pathlib import Path

import pytest

from coslide import networks
from coslide.config.factors import FACTORS, read_factor
from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.indices.index_sets import INDEX_SETS

EXAMPLES = Path(__file__).parents[2] / "examples" / "studies"
TOML = """
name = "readings"
title = "readings of Eq. 5"
case_is = "reading"

[cases."GATv2"]

[cases."as printed"]
options.attn_order = "eq5"
optimiser.steps = 3
"""


def test_the_five_studies_are_those_of_the_paper():
    base = TrainingSettings()
    found = {name: [one.settings_of(label, base) for label in one.cases] for name, one in FACTORS.items()}
    assert [own.network for own in found["networks"]] == [
        "egcn", "unet", "acmix-unet", "fcn-pp", "deepunet", "cdcnn", "dp-fcn", "landsnet",
    ]  # fmt: skip
    assert [own.inputs.indices for own in found["indices"]] == list(INDEX_SETS)
    assert [own.network for own in found["attention"]] == ["egcn", "egcn-msa", "egcn-esa"]
    assert [own.options for own in found["neighbours"]] == [{"k": 8}, {"k": 16}, {"k": 32}]
    shares = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert [own.options for own in found["selection"]] == [{"k": 32, "select_factor": share} for share in shares]


@pytest.mark.parametrize("name", FACTORS)
def test_a_case_changes_nothing_but_what_is_varied(name):
    base = TrainingSettings(recipe="modern", seed=3)
    allowed = {"networks": "network", "attention": "network", "indices": "inputs.indices"}.get(name, "options")
    for label in FACTORS[name].cases:
        own = FACTORS[name].settings_of(label, base)
        changed = {key for key, value in own.dotted().items() if value != base.dotted()[key]}
        assert changed <= {allowed}


def test_reconstructions_are_called_so():
    for label, case in FACTORS["networks"].cases.items():
        assert label.endswith("(reconstruction)") == bool(networks.spec(case["network"]).reconstruction)


def test_what_the_paper_reports_is_as_consistent_as_its_rounding():
    """Its mIoU is OA / (2 - OA) in all rows; each row is of a case that is there."""
    rows = [(factor, label, one) for factor in FACTORS.values() for label, one in factor.paper.items()]
    assert len(rows) == 1 + 4 + 3 + 3 + 5
    for factor, label, one in rows:
        assert label in factor.cases
        assert one.miou == pytest.approx(one.oa / (2 - one.oa), abs=3e-5)
        assert one.kappa < one.f1


def test_a_file_names_cases_and_what_they_change(tmp_path):
    path = tmp_path / "readings.toml"
    path.write_text(TOML)
    factor = read_factor(path)
    own = factor.settings_of("as printed", TrainingSettings(options={"k": 16}))
    assert (own.options, own.optimiser.steps, own.optimiser.epochs) == ({"k": 16, "attn_order": "eq5"}, 3, None)
    assert factor.settings_of("GATv2", own) == own


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_studies_of_networks_that_can_be_made(path):
    factor = read_factor(path)
    for label in factor.cases:
        own = factor.settings_of(label, TrainingSettings())
        networks.create(own.network, 30, width=8, **own.options)
    assert len(factor.cases) > 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('case_is = "reading"', 'unit = "reading"', "unit: unknown key"),
        ("optimiser.steps", "optimizer.steps", "as printed: training settings: optimizer: unknown key"),
        ("optimiser.steps = 3", "optimiser.steps = 0", "as printed: training settings: optimiser.steps: found 0"),
        ('options.attn_order = "eq5"', "options = 3", "as printed: training settings: options: found 3"),
        ('[cases."GATv2"]', "", r"cases: found .*, expected .*at least 2"),
        ('"GATv2"', '"a\\nb"', "cases: found 'a\\\\nb', expected a line of 1 to 80 characters"),
        ("title =", "title", "not a TOML file"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "readings.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read_factor(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
