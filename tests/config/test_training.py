"""Training settings and recipes."""

import pytest

from coslide.config.training import TrainingSettings
from coslide.errors import InputError


def test_the_defaults_are_those_of_the_paper():
    """Yang et al. 2023, Table 3 and section 4.2."""
    found = TrainingSettings()
    assert (found.learning_rate, found.weight_decay, found.poly_power) == (1e-4, 7e-4, 0.9)
    assert (found.epochs, found.batch, found.tile, found.stride) == (70, 4, 128, 96)


def test_the_paper_s_loss_is_its_printed_sum_on_the_thirty_bands_of_its_table():
    """Eq. 24 counts per image, Eq. 26 sums over its pixels; Table 2 is index set (d)."""
    found = TrainingSettings(recipe="paper")
    assert (found.loss_reduction, found.loss_normalise, found.balance_scope) == ("sum", False, "image")
    assert (found.indices, found.encoding, found.flags) == ("d", {}, False)


def test_the_modern_recipe_does_not_decay_what_it_learns():
    """What was measured on both events (docs/training.md): random places, light that varies, no decay."""
    found = TrainingSettings(recipe="modern")
    assert (found.places, found.weight_decay, found.sampling) == ("random", 0, "prevalence")
    assert min(found.jitter_gain, found.jitter_offset, found.jitter_band) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 4, "devices": 3}, "batch 4 cannot be shared by 3 devices"),
        ({"keep": "best"}, "keep = 'best' needs a validation part"),
        ({"patience": 2}, "patience needs a validation part"),
        ({"places": "random"}, "places = 'random' has no tiles to choose by Eq. 27"),
        ({"recipe": "modern", "split": "paper"}, "split = 'paper' divides tiles; expected places = 'tiles'"),
        ({"recipe": "modern", "epochs": 3}, "epochs: found with places = 'random', whose length is told by steps"),
        ({"steps": 3}, "steps: found with places = 'tiles', whose length is told by epochs"),
        ({"recipe": "cpu"}, "recipe = 'cpu': is no longer there; recipe = 'modern' trains in minutes"),
        ({"accumulate": 2}, "accumulate: is no longer there; raise batch"),
        ({"encoding": {"slope": "onehot"}}, "encoding"),
        ({"stride": 200}, "stride 200 is larger than the tile 128"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings().changed(**values)


def test_a_given_value_wins_over_its_recipe():
    assert TrainingSettings(recipe="modern", steps=3).steps == 3


def test_another_recipe_replaces_what_the_first_one_set_but_not_what_was_given():
    changed = TrainingSettings(recipe="modern", seed=5).changed(recipe="paper")
    assert changed == TrainingSettings(seed=5)


def test_none_changes_nothing():
    settings = TrainingSettings(recipe="modern", seed=5)
    assert settings.changed(recipe=None, epochs=None) == settings


def test_a_value_that_is_not_allowed_is_refused_by_name():
    with pytest.raises(InputError, match="split: found 'half', expected"):
        TrainingSettings().changed(split="half")
