"""The estimators against published examples and brute force, and their intervals against known truth."""

import numpy as np
import pytest
from scipy import ndimage

from coslide.evaluation.assessment import assess_tally, compare_tally
from coslide.evaluation.strata import allocate, draw_places, strata_of
from coslide.evaluation.stratified import (
    RATIOS,
    Tally,
    interval,
    labels_needed,
    posterior,
    rates_of,
    spread,
    standard_errors,
)


def estimates(tally):
    return {name: float(rate) for name, rate in rates_of(np.tensordot(tally.weights, tally.shares, 1)).items()}


def olofsson():
    """Deforestation and all else in the example of Olofsson et al. (2014), tables 8 and 9; strata are map classes."""
    counts = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped_ha = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    labels, pixels = np.zeros((4, 2, 2), np.int64), np.zeros((4, 2), np.int64)
    for row, mapped in enumerate((1, 0, 0, 0)):
        labels[row, mapped] = counts[row, 1:].sum(), counts[row, 0]
        pixels[row, mapped] = mapped_ha[row]
    return Tally(labels, pixels)


def test_area_and_accuracies_are_those_of_olofsson_and_others():
    tally = olofsson()
    found, error = estimates(tally), standard_errors(tally)
    assert found["area"] * 1e7 == pytest.approx(235_086, abs=0.5)
    assert 1.96 * error["area"] * 1e7 == pytest.approx(68_418, rel=1e-4)
    for name, value, within in (("precision", 0.88, 0.07), ("recall", 0.75, 0.21)):
        assert (found[name], 1.96 * error[name]) == pytest.approx((value, within), abs=0.005)


@pytest.mark.parametrize(
    ("word", "name", "value", "error"),
    [
        ("A", "area", 0.35, 0.082), ("C", "area", 0.20, 0.064),
        ("B", "precision", 0.574, 0.125), ("B", "recall", 0.794, 0.117),
    ],
)  # fmt: skip
def test_strata_may_differ_from_the_classes_of_the_map_as_in_stehman(word, name, value, error):
    """The example of Stehman (2014), table 1 and pages 4932 to 4936: four strata of ten labels each."""
    mapped = ["AAAAAAABBB", "ABBBBBBBBB", "BBCCCCCCBB", "DDDDDDDDDD"]
    true = ["AAAAACBABC", "ABBBBBAABB", "CCCCCDDBBA", "DDDDDDDCCB"]
    labels = np.zeros((4, 2, 2), np.int64)
    for stratum, (rows, cols) in enumerate(zip(mapped, true, strict=True)):
        for row, col in zip(rows, cols, strict=True):
            labels[stratum, int(row == word), int(col == word)] += 1
    tally = Tally(labels, labels.sum(axis=2) * np.array([4000, 3000, 2000, 1000])[:, np.newaxis])
    assert estimates(tally)[name] == pytest.approx(value, abs=0.0006)
    assert standard_errors(tally)[name] == pytest.approx(error, abs=0.0006)


def made_up_population(seed=0):
    """Shares (stratum, map, label) and pixels (stratum, map) of a map whose strata are not its classes."""
    random = np.random.default_rng(seed)
    pixels = np.array([[100, 900], [1500, 500], [6500, 500]])
    rates = random.uniform(0.1, 0.6, (3, 2))
    true = np.rint(pixels * rates).astype(np.int64)
    return np.stack([pixels - true, true], axis=-1), pixels


def test_standard_errors_are_the_spread_of_many_samples():
    entries, pixels = made_up_population()
    random, sizes = np.random.default_rng(1), (150, 150, 200)
    drawn, errors = [], []
    for _ in range(1500):
        labels = [random.multivariate_hypergeometric(row.ravel(), n) for row, n in zip(entries, sizes, strict=True)]
        tally = Tally(np.stack(labels).reshape(3, 2, 2), pixels)
        drawn.append(list(estimates(tally).values()))
        errors.append(list(standard_errors(tally).values()))
    truth = list(rates_of(entries.sum(axis=0)).values())
    np.testing.assert_allclose(np.mean(drawn, axis=0), truth, rtol=0.01)
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(drawn, axis=0), rtol=0.07)


def test_intervals_of_many_labels_are_those_of_the_usual_formula():
    entries, pixels = made_up_population()
    labels = entries // 4
    tally = Tally(labels, 1000 * pixels)
    drawn, errors = rates_of(posterior(tally)), standard_errors(tally)
    for name, value in estimates(tally).items():
        low, high = interval(drawn[name])
        assert (high - low) / (2 * 1.96 * errors[name]) == pytest.approx(1, abs=0.06)
        assert (low + high) / 2 == pytest.approx(value, abs=0.1 * errors[name] + 0.005)


def test_a_stratum_labelled_to_the_last_pixel_leaves_no_doubt():
    entries, pixels = made_up_population()
    for low, high in (interval(rate) for rate in rates_of(posterior(Tally(entries, pixels))).values()):
        assert high - low < 1e-9
    assert max(standard_errors(Tally(entries, pixels)).values()) == 0
    assert labels_needed(Tally(entries, pixels), "f1").tolist() == [0, 0, 0]


def test_a_stratum_without_a_landslide_among_its_labels_is_not_taken_for_certain():
    labels = np.zeros((2, 2, 2), np.int64)
    labels[0, 1], labels[1, 0] = (10, 40), (100, 0)
    tally = Tally(labels, np.array([[0, 5_000], [95_000, 0]]))
    assert standard_errors(tally)["area"] < 0.004
    low, high = interval(rates_of(posterior(tally))["area"])
    assert low < 0.04
    assert high > 0.045
    assert labels_needed(tally, "area")[1] > 100


def test_so_many_labels_more_make_the_interval_half_as_wide():
    tally = olofsson()
    for name in ("f1", "area"):
        more = labels_needed(tally, name)
        shares = (tally.labels + 0.25 * (tally.pixels > 0)[..., np.newaxis]) / (tally.sizes + 0.5)[:, None, None]
        part = tally.weights * spread(shares, tally.weights, name)
        before, after = ((part**2 / sizes).sum() for sizes in (tally.sizes, tally.sizes + more))
        assert after / before == pytest.approx(0.25, rel=0.01)


def made_up_event(side=600):
    """A probability map as networks make them, too sure and a little off, and landslides that it finds in part."""
    random = np.random.default_rng(0)
    field = ndimage.gaussian_filter(random.normal(size=(side, side)), 3)
    rank = field.ravel().argsort().argsort().reshape(side, side) / field.size
    logit = 90 * (rank - 0.965) + random.normal(0, 0.5, rank.shape)
    probability = (1 / (1 + np.exp(-np.clip(logit, -30, 30)))).astype(np.float32)
    truth = random.random(rank.shape) < 0.003 + 0.75 / (1 + np.exp(-np.clip(0.6 * logit, -30, 30)))
    return probability, truth


def test_95_of_100_intervals_hold_the_truth():
    """500 samples of 200 places, each assessed as `coslide.assess` does, against what is known of every pixel."""
    probability, truth = made_up_event()
    mapped = probability >= 0.5
    strata = strata_of(probability, np.ones(truth.shape, bool), threshold=0.5, doubtful_from=0.125, near_px=5)
    pixels = np.bincount(strata.ravel(), minlength=5)[1:]
    means = np.bincount(strata.ravel(), probability.ravel(), 5)[1:] / pixels
    sizes = allocate(pixels, means, 200)
    assert sizes.sum() == 200
    known = rates_of(np.bincount(2 * mapped.ravel() + truth.ravel(), minlength=4).reshape(2, 2) / truth.size)
    assert 0.5 < known["f1"] < 0.7
    by_map = np.stack([np.where(np.arange(4) == 0, 0, pixels), np.where(np.arange(4) == 0, pixels, 0)], axis=-1)
    random, places = np.random.default_rng(2), [np.flatnonzero(strata == number) for number in range(1, 5)]
    held = dict.fromkeys(RATIOS, 0)
    for seed in range(500):
        labels = np.zeros((4, 2, 2), np.int64)
        for i, (there, size) in enumerate(zip(places, sizes, strict=True)):
            true = int(truth.ravel()[random.choice(there, size, replace=False)].sum())
            labels[i, int(i == 0)] = size - true, true
        drawn = rates_of(posterior(Tally(labels, by_map), seed))
        for name in RATIOS:
            low, high = interval(drawn[name])
            held[name] += low <= known[name] <= high
    assert {name: count for name, count in held.items() if not 465 <= count <= 485} == {}


def test_a_comparison_is_of_pairs_and_agrees_with_each_map_alone():
    random = np.random.default_rng(3)
    labels = random.integers(1, 20, (4, 4, 2))
    pixels = labels.sum(axis=2) * 500
    pair = Tally(labels, pixels)
    one = Tally(labels.reshape(4, 2, 2, 2).sum(axis=2), pixels.reshape(4, 2, 2).sum(axis=2))
    two = Tally(labels.reshape(4, 2, 2, 2).sum(axis=1), pixels.reshape(4, 2, 2).sum(axis=1))
    found = compare_tally(pair, "other", pixel_km2=1e-4)
    alone = [assess_tally(tally, [(0, 0)] * 4, pixel_km2=1e-4, map_sha256="") for tally in (one, two)]
    for name in ("precision", "recall", "f1", "overall_accuracy"):
        difference = getattr(found, name)
        assert (difference.this, difference.other) == pytest.approx([getattr(a, name).estimate for a in alone])
        assert difference.low < difference.difference < difference.high
    assert (found.mapped_km2.this, found.mapped_km2.other) == pytest.approx([a.mapped_km2 for a in alone])


def test_two_maps_that_agree_differ_by_nothing_however_few_the_labels():
    labels = np.zeros((4, 4, 2), np.int64)
    labels[0, 3], labels[1:, 0] = (3, 7), (9, 1)
    found = compare_tally(Tally(labels, labels.sum(axis=2) * 100), "other", pixel_km2=1e-4)
    assert (found.f1.difference, found.f1.low, found.f1.high) == (0, 0, 0)


def test_a_map_without_landslides_has_an_area_but_no_precision():
    labels = np.zeros((4, 2, 2), np.int64)
    labels[3, 0] = 38, 2
    pixels = np.zeros((4, 2), np.int64)
    pixels[3, 0] = 10_000
    found = assess_tally(Tally(labels, pixels), [(0, 0)] * 4, pixel_km2=1e-4, map_sha256="")
    assert found.area_km2.estimate == pytest.approx(0.05)
    assert (found.precision.estimate, found.precision.low) == (None, None)
    assert (found.recall.estimate, found.f1.estimate) == (0, 0)
    assert [row.name for row in found.strata] == ["background"]


def test_labels_go_where_f1_is_decided_and_none_is_left_out():
    sizes = allocate(np.array([2_000, 2_000, 10_000, 86_000]), np.array([0.7, 0.25, 0.03, 0.0]), 200)
    assert sizes.sum() == 200
    assert sizes.min() == 20
    assert sizes[0] > 20
    assert sizes[3] == sizes.max()
    assert allocate(np.array([3, 0, 50, 10_000]), np.array([0.7, 0, 0.03, 0.0]), 100)[:2].tolist() == [3, 0]
    assert allocate(np.array([0, 0, 0, 40]), np.zeros(4), 40).tolist() == [0, 0, 0, 40]


def test_a_tenth_more_labels_leave_no_stratum_with_fewer():
    random = np.random.default_rng(0)
    for _ in range(300):
        pixels = (10 ** random.uniform(0, 6, 4)).astype(np.int64)
        pixels[3] += 2000
        rates, n = random.uniform(0, 1, 4) ** random.uniform(1, 8, 4), int(random.integers(40, 300))
        assert (allocate(pixels, rates, -(-11 * n // 10)) >= allocate(pixels, rates, n)).all()


def test_neyman_needs_fewer_labels_than_any_other_shares():
    pixels, rates = np.array([2_000, 2_000, 10_000, 86_000]), np.array([0.7, 0.25, 0.05, 0.02])
    shares = np.zeros((4, 2, 2))
    shares[0, 1], shares[1:, 0] = (0.3, 0.7), np.stack([1 - rates[1:], rates[1:]], axis=-1)
    weights = pixels / pixels.sum()
    part = weights * spread(shares, weights, "f1")
    sizes = allocate(pixels, rates, 400)
    best = (part**2 / sizes).sum()
    for one in range(4):
        for other in range(4):
            moved = sizes.copy()
            moved[one], moved[other] = moved[one] + 5, moved[other] - 5
            if one != other and moved.min() >= 40:
                assert (part**2 / moved).sum() > best


def test_places_are_of_their_stratum_none_twice_and_a_larger_sample_holds_the_smaller():
    probability, _ = made_up_event(100)
    strata = strata_of(probability, probability < 0.99, threshold=0.5, doubtful_from=0.1, near_px=3)
    small, large = (draw_places(strata, np.full(4, size), seed=7) for size in (10, 20))
    assert np.bincount(strata.ravel()[small], minlength=5).tolist() == [0, 10, 10, 10, 10]
    assert len(set(small)) == 40
    assert set(small) <= set(large)
    assert set(draw_places(strata, np.full(4, 10), seed=8)) != set(small)
    assert (np.diff(strata.ravel()[large].astype(int)) != 0).sum() > 30  # mixed, so that the order tells nothing
