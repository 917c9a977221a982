"""Training settings and recipes."""

import pytest

from coslide.config.training import TrainingSettings
from coslide.errors import InputError


def test_the_defaults_are_those_of_the_paper():
    """Yang et al. 2023, Table 3 and section 4.2."""
    found = TrainingSettings()
    assert (found.optimiser.learning_rate, found.optimiser.weight_decay, found.optimiser.poly_power) == (
        1e-4,
        7e-4,
        0.9,
    )
    assert (found.optimiser.epochs, found.optimiser.batch, found.sampling.tile, found.sampling.stride) == (
        70,
        4,
        128,
        96,
    )


def test_the_paper_s_loss_is_its_printed_sum_on_the_thirty_bands_of_its_table():
    """Eq. 24 counts per image, Eq. 26 sums over its pixels; Table 2 is index set (d)."""
    found = TrainingSettings(recipe="paper")
    assert (found.loss.reduction, found.loss.normalise, found.loss.scope) == ("sum", False, "image")
    assert (found.inputs.indices, found.inputs.encoding, found.inputs.flags) == ("d", {}, False)


def test_the_modern_recipe_does_not_decay_what_it_learns():
    """What was measured on both events (docs/training.md): random places, light that varies, no decay."""
    found = TrainingSettings(recipe="modern")
    assert (found.sampling.places, found.optimiser.weight_decay, found.sampling.select) == ("random", 0, "prevalence")
    assert min(found.augment.jitter_gain, found.augment.jitter_offset, found.augment.jitter_band) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimiser.batch": 4, "runtime.devices": 3}, "optimiser.batch: found 4, expected a multiple of 3 devices"),
        ({"optimiser.keep": "best"}, "optimiser.keep = 'best' needs a validation set"),
        ({"optimiser.patience": 2}, "optimiser.patience needs a validation set"),
        ({"sampling.places": "random"}, "sampling.places = 'random' has no tiles to select"),
        (
            {"recipe": "modern", "split.scheme": "paper"},
            "split.scheme = 'paper' splits tiles; expected sampling.places",
        ),
        (
            {"split.scheme": "paper", "split.guard_px": 2},
            "split.guard_px: samples .* no border to guard; expected 0 with",
        ),
        ({"optimiser.epochs": 3, "optimiser.steps": 3}, "epochs: found 3 with steps = 3, expected one of them"),
        ({"recipe": "cpu"}, "recipe: found 'cpu', expected 'paper', 'modern' or 'transfer'"),
        ({"tile": 64}, "tile: unknown key; expected sampling.tile"),
        ({"sampling.accumulate": 2}, "sampling.accumulate: unknown key"),
        ({"split": "events", "split.scheme": "events"}, "split: found 'events', expected split.scheme"),
        ({"inputs.encoding": {"slope": "onehot"}}, "encoding"),
        ({"sampling.stride": 200}, "sampling.stride: found 200, expected at most the tile, 128"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings().changed(values)


def test_a_given_value_wins_over_its_recipe():
    assert TrainingSettings(recipe="modern", optimiser={"steps": 3}).optimiser.steps == 3


@pytest.mark.parametrize("recipe", ["paper", "modern", "transfer"])
@pytest.mark.parametrize(("given", "other"), [("epochs", "steps"), ("steps", "epochs")])
def test_a_length_replaces_that_of_the_recipe_in_whatever_it_is_counted(recipe, given, other):
    made = TrainingSettings(recipe=recipe, optimiser={given: 3})
    changed = TrainingSettings(recipe=recipe).changed({f"optimiser.{given}": 3})
    for found in (made, changed, changed.changed(seed=1), TrainingSettings.model_validate(changed.model_dump())):
        assert getattr(found.optimiser, given) == 3
        assert getattr(found.optimiser, other) is None


@pytest.mark.parametrize("given", [32, "32"])
def test_a_precision_is_taken_with_and_without_quotation_marks(given):
    assert TrainingSettings().changed({"runtime.precision": given}).runtime.precision == "32"


def test_another_recipe_replaces_what_the_first_one_set_but_not_what_was_given():
    changed = TrainingSettings(recipe="modern", seed=5).changed(recipe="paper")
    assert changed == TrainingSettings(seed=5)


def test_none_changes_nothing():
    settings = TrainingSettings(recipe="modern", seed=5)
    assert settings.changed({"optimiser.epochs": None}, recipe=None) == settings


def test_a_value_that_is_not_allowed_is_refused_by_name():
    with pytest.raises(InputError, match="split.scheme: found 'half', expected"):
        TrainingSettings().changed({"split.scheme": "half"})
