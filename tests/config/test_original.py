"""The settings of the original papers."""

import pytest

from coslide import networks
from coslide.config.original import ORIGINAL
from coslide.config.training import LossSettings, TrainingSettings

EXPOSURE = {f"optimiser.{name}" for name in ("batch", "epochs", "steps", "keep", "patience")}


@pytest.mark.parametrize("recipe", ["paper", "modern", "transfer"])
@pytest.mark.parametrize("name", ORIGINAL)
def test_the_settings_of_every_original_are_valid_on_every_recipe_and_all_arrive(name, recipe):
    assert name in networks.names()
    found = TrainingSettings(recipe=recipe, network=name).changed(ORIGINAL[name]).dotted()
    assert ORIGINAL[name].items() <= found.items()


@pytest.mark.parametrize("name", ORIGINAL)
def test_no_original_changes_the_length_of_a_training_or_the_windows_it_is_shown(name):
    assert {key.partition(".")[0] for key in ORIGINAL[name]} <= {"optimiser", "loss", "augment"}
    assert not EXPOSURE & ORIGINAL[name].keys()
    assert {"optimiser.name", "optimiser.learning_rate"} <= ORIGINAL[name].keys()


def test_originals_can_follow_one_another():
    """Momentum does not stay where the next original has Adam."""
    found = TrainingSettings(recipe="modern").changed(ORIGINAL["deepunet"]).changed(ORIGINAL["egcn"])
    assert (found.optimiser.name, found.optimiser.momentum, found.loss) == ("adam", 0, LossSettings())
