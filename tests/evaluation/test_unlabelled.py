"""What probabilities lead to expect where nobody has labelled anything."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from coslide.evaluation.unlabelled import LOWEST, Expectation


@pytest.fixture(scope="module")
def right():
    """Probabilities that are right, and a truth drawn from them."""
    random = np.random.default_rng(0)
    probability = random.beta(0.08, 1.0, 400_000)
    return probability, random.random(probability.size) < probability


def expectation_of(*pieces):
    found = Expectation()
    for piece in pieces:
        found.add(piece)
    return found


@pytest.mark.slow
def test_probabilities_that_are_right_lead_to_the_best_threshold_and_its_scores(right):
    probability, truth = right
    found = expectation_of(probability)
    every = np.linspace(0.02, 0.98, 97)
    best = max(f1_score(truth, probability >= threshold) for threshold in every)
    called = probability >= found.threshold
    assert f1_score(truth, called) == pytest.approx(best, abs=0.004)
    expected = found.scores(found.threshold)
    assert expected.f1 == pytest.approx(f1_score(truth, called), abs=0.01)
    assert expected.precision == pytest.approx(precision_score(truth, called), abs=0.01)
    assert expected.recall == pytest.approx(recall_score(truth, called), abs=0.01)
    assert expected.landslide_share == pytest.approx(truth.mean(), rel=0.02)
    assert found.threshold == pytest.approx(expected.f1 / 2, abs=1e-3)  # Lipton et al. 2014


def test_a_map_that_is_less_sure_has_a_lower_threshold(right):
    probability, _ = right
    assert expectation_of(probability / 3).threshold < 0.6 * expectation_of(probability).threshold


def test_pieces_and_pixels_without_a_value_change_nothing(right):
    probability = np.float32(right[0])
    whole = expectation_of(probability)
    parts = expectation_of(probability[:1000], np.append(probability[1000:], [np.nan, np.nan]).reshape(2, -1))
    assert parts.threshold == whole.threshold
    assert parts.scores(0.3).f1 == pytest.approx(whole.scores(0.3).f1, rel=1e-9)


def test_scores_at_a_threshold_are_those_of_the_equation():
    probability = np.array([1.0, 0.9, 0.5, 0.25, 0.0, 0.0])
    found = expectation_of(probability).scores(0.5)
    assert (found.precision, found.recall) == pytest.approx((2.4 / 3, 2.4 / 2.65))
    assert (found.f1, found.landslide_share) == pytest.approx((2 * 2.4 / (3 + 2.65), 2.65 / 6))


def test_without_a_pixel_or_a_landslide_nothing_is_expected():
    for pieces in ([], [np.zeros(5)], [np.full(3, np.nan)]):
        assert expectation_of(*pieces).threshold == 0.5
        assert expectation_of(*pieces).scores(0.5) is None


def test_a_map_that_is_unsure_everywhere_does_not_call_everything_landslide():
    unsure = expectation_of(np.random.default_rng(0).normal(0.02, 0.005, 1000).clip(0, 1))
    assert unsure.threshold == LOWEST
    assert unsure.scores(LOWEST).f1 == 0
