"""Curves over all thresholds, temperature, counts by place and intervals; the witness is scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as witness

from coslide.evaluation.pixels import Confusion, bootstrap_intervals, confusion, counts_by, scores, square_blocks
from coslide.evaluation.probabilities import (
    STEPS,
    apply_temperature,
    average_precision,
    best_threshold,
    bootstrap_average_precision,
    curve,
    decimate_curve,
    fit_temperature,
    roc_auc,
)
from coslide.evaluation.scoring import Baseline, ScoredMap, score
from coslide.samples.split import Subset


def rare_landslides(count=20_000, seed=0):
    """Probabilities in steps of the curve, so that scikit-learn sees the same ties."""
    random = np.random.default_rng(seed)
    truth = random.random(count) < 0.04
    probability = expit(random.normal(np.where(truth, 0.5, -2.5), 1.2))
    return np.floor(probability * STEPS) / STEPS, truth


def test_areas_under_the_curves_are_those_of_scikit_learn():
    probability, truth = rare_landslides()
    found = curve(probability, truth)
    assert average_precision(found) == pytest.approx(witness.average_precision_score(truth, probability), abs=1e-12)
    assert roc_auc(found) == pytest.approx(witness.roc_auc_score(truth, probability), abs=1e-12)


def test_every_point_of_the_curve_is_the_confusion_at_its_threshold():
    probability, truth = rare_landslides(2000)
    found = curve(probability.astype(np.float32), truth)
    for k in (0, 1, 5000, STEPS - 1, STEPS):
        counts = confusion(probability >= found.threshold[k], truth)
        assert (found.tp[k], found.fp[k]) == (counts.tp, counts.fp)
        expected = scores(*counts)
        assert found.precision[k] == pytest.approx(expected.precision if counts.tp + counts.fp else 1)
        assert found.recall[k] == pytest.approx(expected.recall)


def test_the_best_threshold_has_the_highest_f1_of_all():
    probability, truth = rare_landslides(3000)
    best = scores(*confusion(probability >= best_threshold(curve(probability, truth)), truth)).f1
    every = [scores(*confusion(probability >= t, truth)).f1 for t in np.unique(probability[probability > 0])]
    assert best == pytest.approx(max(every), abs=1e-12)


@pytest.mark.parametrize("truth", [np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)])
def test_without_a_landslide_areas_are_nan_and_the_threshold_stays(truth):
    found = curve(np.full(truth.size, 0.3), truth)
    assert np.isnan(average_precision(found))
    assert np.isnan(roc_auc(found))
    assert best_threshold(found) == 0.5
    assert len(decimate_curve(found).recall) >= 1


def test_with_landslides_alone_the_precision_is_1_and_no_roc_is_drawn():
    found = curve(np.array([0.2, 0.9]), np.array([True, True]))
    assert average_precision(found) == 1
    assert np.isnan(roc_auc(found))


def test_the_thinned_curve_runs_from_end_to_end():
    probability, truth = rare_landslides()
    found = decimate_curve(curve(probability, truth), 100)
    assert 50 <= len(found.recall) <= 100
    assert found.recall[-1] == 1
    assert found.threshold == sorted(found.threshold, reverse=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found_again(temperature):
    """Truth is drawn by the probabilities themselves; the map is made too sure or not sure enough by a known factor."""
    random = np.random.default_rng(1)
    true = expit(random.normal(-2, 2, 200_000))
    truth = random.random(true.size) < true
    given = apply_temperature(true, 1 / temperature)
    assert fit_temperature(given, truth) == pytest.approx(temperature, rel=0.03)


def test_a_temperature_keeps_order_ends_and_gaps():
    probability = np.array([0.0, 0.2, np.nan, 0.5, 0.9, 1.0], dtype=np.float32)
    found = apply_temperature(probability, 2.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[[0, 3, 5]], [0, 0.5, 1])
    assert np.isnan(found[2])
    np.testing.assert_allclose(found[1], expit(np.log(0.25) / 2), rtol=1e-6)
    assert apply_temperature(probability, 1.0) is probability


@pytest.mark.parametrize("truth", [np.ones(3, dtype=bool), np.zeros(3, dtype=bool), np.zeros(0, dtype=bool)])
def test_one_class_alone_gives_no_temperature(truth):
    assert fit_temperature(np.full(truth.size, 0.4), truth) == 1


def test_counts_by_place_are_the_confusion_of_each_place():
    random = np.random.default_rng(2)
    groups = random.integers(0, 7, (90, 70))
    predicted, mapped, where = (random.random((90, 70)) < share for share in (0.2, 0.1, 0.8))
    found = counts_by(groups, predicted, mapped, where, count=8)
    for number in range(8):
        expected = confusion(predicted, mapped, where & (groups == number))
        assert Confusion(*found[number].tolist()) == expected


def test_a_place_outside_the_numbers_is_refused():
    one = np.ones(2, dtype=bool)
    with pytest.raises(ValueError, match="expected numbers from 0 to 2, found 0 to 3"):
        counts_by(np.array([0, 3]), one, one, one, count=3)


def test_squares_cover_a_raster_and_are_numbered_row_by_row():
    squares, count = square_blocks((5, 7), 3)
    assert count == 6
    assert squares[:3, :3].tolist() == [[0] * 3] * 3
    assert (squares[4, 6], squares[0, 6]) == (5, 2)


def test_intervals_of_a_share_are_those_of_the_binomial_law():
    """Blocks of one pixel, each right with chance 0.9: the interval of the accuracy is known in closed form."""
    random = np.random.default_rng(3)
    right = random.random(4000) < 0.9
    counts = np.zeros((4000, 4), dtype=np.int64)
    counts[right, 3], counts[~right, 1] = 1, 1
    low, high = bootstrap_intervals(counts, ["oa"], replicates=4000)["oa"]
    share, half = right.mean(), 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 4000)
    assert low == pytest.approx(share - half, abs=0.1 * half)
    assert high == pytest.approx(share + half, abs=0.1 * half)


def test_alike_pixels_of_a_block_do_not_narrow_the_interval():
    random = np.random.default_rng(4)
    blocks = random.integers(0, 20, (30, 4))
    narrow, wide = (bootstrap_intervals(blocks * k, ["f1"])["f1"] for k in (1, 100))
    assert narrow == wide


def test_blocks_without_a_scored_pixel_take_no_part_and_one_block_has_no_interval():
    counts = np.array([[5, 1, 2, 90], [3, 4, 1, 80], [0, 0, 0, 0]])
    assert bootstrap_intervals(counts, ["f1"]) == bootstrap_intervals(counts[:2], ["f1"])
    assert bootstrap_intervals(counts[1:], ["f1"]) == {}


def test_intervals_of_the_average_precision_are_those_of_areas_computed_one_by_one():
    """The witness draws the blocks by itself and lets scikit-learn compute the area of each replicate."""
    probability, truth = rare_landslides(6000)
    blocks = np.sort(np.random.default_rng(4).integers(0, 12, truth.size)) * 3  # of some numbers there is no pixel
    low, high = bootstrap_average_precision(probability, truth, blocks, curve(probability, truth))
    random, areas = np.random.default_rng(0), []
    for times in random.multinomial(12, np.full(12, 1 / 12), size=1000):
        weights = times[blocks // 3]
        areas.append(witness.average_precision_score(truth, probability, sample_weight=weights))
    assert (low, high) == pytest.approx(tuple(np.percentile(areas, (2.5, 97.5))), abs=2e-3)


def test_one_block_has_no_interval():
    probability, truth = rare_landslides(100)
    found = curve(probability, truth)
    assert bootstrap_average_precision(probability, truth, np.zeros(100, dtype=int), found) is None


def test_the_oracle_is_the_best_f1_that_any_threshold_gives_to_the_map_and_to_each_baseline():
    probability, truth = (array.reshape(100, 200) for array in rare_landslides())
    worse = np.clip(probability + np.random.default_rng(1).normal(0, 0.1, truth.shape), 0, 1).astype(np.float32)
    seen = np.zeros(truth.shape, dtype=np.uint8)
    seen[:, :10] = Subset.TRAIN
    baselines = {"worse": Baseline(worse, 0.3)}
    given = (probability.astype(np.float32), truth.astype(np.uint8), seen, 10.0)
    found = score([ScoredMap("made up", *given, baselines=baselines)])
    for own, scored, threshold in ((found.pixels, probability, 0.5), (found.baselines["worse"], worse, 0.3)):
        values, mapped = scored[:, 10:], truth[:, 10:]
        every = [scores(*confusion(values >= t, mapped)).f1 for t in np.linspace(0.002, 1, 500)]
        assert own.oracle.f1 >= max(every)
        assert own.oracle.f1 == scores(*confusion(values >= own.oracle.threshold, mapped)).f1
        assert own.f1 == scores(*confusion(values >= threshold, mapped)).f1
        assert own.intervals["f1"][0] <= own.f1 <= own.intervals["f1"][1]
        assert own.intervals["average_precision"][0] <= own.average_precision <= own.intervals["average_precision"][1]


def test_without_a_landslide_there_is_no_oracle():
    flat = np.full((40, 40), 0.3, dtype=np.float32)
    found = score([ScoredMap("made up", flat, np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8), 10.0)])
    assert found.pixels.oracle is None
