"""Object scores are checked against drawings, loops written from the definitions, and all pairs of boundary pixels."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from coslide.evaluation.objects import (
    State,
    boundary_distance,
    match_objects,
    object_counts,
    objects_kept,
    pooled_matching,
    recall_by_size,
    size_frequency,
)
from coslide.evaluation.scoring import ScoredMap, score
from coslide.labels import label_objects

U, M, S, G = State.UNMATCHED, State.MATCHED, State.SPLIT, State.MERGED
NOTHING = np.zeros((4, 5), bool)
SOME = np.arange(20).reshape(4, 5) == 7


def draw(*rows):
    """Return the recognised (r), mapped (m) and both (b) pixels of a drawing."""
    pixels = np.array([list(row) for row in rows])
    return np.isin(pixels, ["r", "b"]), np.isin(pixels, ["m", "b"])


def states(*rows):
    matching = match_objects(*draw(*rows))
    return sorted(matching.mapped.state.tolist()), sorted(matching.recognised.state.tolist())


def blobs(seed, shape=(60, 60)):
    """Return masks whose landslides are matched, split, merged, missed and false, and the scored pixels."""
    rng = np.random.default_rng(seed)
    mapped, recognised = (ndimage.gaussian_filter(rng.normal(size=shape), 1.3) for _ in range(2))
    where = rng.random(shape) < 0.97
    return (0.75 * mapped + 0.25 * recognised > 0.15) & where, (mapped > 0.17) & where, where


def scored_objects(recognised, mapped, where):
    """Score a map of which some pixels are not labelled."""
    labels = np.where(where, mapped, 255).astype(np.uint8)
    seen = np.zeros(labels.shape, np.uint8)
    return score([ScoredMap("event", recognised.astype(np.float32), labels, seen, pixel_size_m=10)]).objects


def rows_of_pixels(*sizes, found=()):
    """Return a map with one landslide of each size, and the first pixels of some recognised."""
    mapped, recognised = (np.zeros((2 * len(sizes), max(sizes)), bool) for _ in range(2))
    for k, size in enumerate(sizes):
        mapped[2 * k, :size] = True
    for k, size in enumerate(found):
        recognised[2 * k, :size] = True
    return match_objects(recognised, mapped)


@pytest.mark.parametrize(
    ("drawing", "mapped", "recognised"),
    [
        (["mbbbr"], [M], [M]),
        (["mmbb"], [U], [U]),  # half of the mapped one is not more than half
        (["rrbb"], [U], [U]),
        (["mm.rr"], [U], [U]),
        (["bbmbb"], [S], [S, S]),
        (["bbmbb", "....r"], [S], [S, S]),  # a part may reach out, here with a third of its pixels
        (["bbmmmmbb"], [U], [U, U]),  # the parts hold only half
        (["bbbbm"], [M], [M]),  # one part of enough pixels is a match
        (["bbmmmmmbb", "........r", "........r"], [U], [U, U]),
        (["bbrbb"], [G, G], [G]),
        (["bbrrrrbb"], [U, U], [U]),
        (["bbrrbb", "....mm"], [U, U], [U]),  # half of one is outside: a union needs two
        (["bbbbmb"], [M], [M, U]),  # a crumb in a matched landslide is not a part
        (["bbbbrb"], [M, U], [M]),
    ],
)
def test_a_drawn_landslide_has_the_state_of_the_definitions(drawing, mapped, recognised):
    assert states(*drawing) == (sorted(mapped), sorted(recognised))


def test_pixels_that_touch_at_a_corner_are_one_landslide():
    matching = match_objects(*draw("b..", ".b.", "..m"))
    assert (matching.mapped.pixels.tolist(), matching.recognised.pixels.tolist()) == ([3], [2])
    assert matching.mapped.state.tolist() == [M]


def test_a_landslide_with_less_than_half_of_its_pixels_in_a_union_is_not_merged():
    # Of the mapped landslide on the right one pixel of four lies in the recognised one.
    matching = match_objects(*draw("bbrbbbrbmmm"))
    assert sorted(matching.mapped.state.tolist()) == [U, G, G]
    assert matching.recognised.state.tolist() == [G]


def test_of_a_landslide_that_reaches_beyond_the_scored_pixels_only_the_part_inside_counts():
    recognised, mapped = draw("bbmmmm", "......", "....rr")
    where = np.array([[True, True, True, False, False, False]] * 3)
    found = scored_objects(recognised, mapped, where)
    assert (found.n_mapped, found.n_recognised, found.n_matched) == (1, 1, 1)
    assert found.matched_iou_mean == pytest.approx(2 / 3)


def test_a_landslide_connected_only_beyond_the_scored_pixels_counts_as_two():
    recognised, mapped = draw("bmb")
    found = scored_objects(recognised, mapped, np.array([[True, False, True]]))
    assert (found.n_mapped, found.n_matched) == (2, 2)


def reference(recognised, mapped):
    """Return the states of both maps, from the definitions: sets of pixels, and loops over all pairs."""
    sets = [
        [set(zip(*np.nonzero(labels == k + 1), strict=True)) for k in range(labels.max())]
        for labels in (label_objects(recognised), label_objects(mapped))
    ]

    def most(part, whole):
        return len(part & whole) / len(part) > 0.5

    state = {(m, k): U for m in range(2) for k in range(len(sets[m]))}
    for (a, one), (b, other) in product(enumerate(sets[0]), enumerate(sets[1])):
        if most(one, other) and most(other, one):
            state[0, a] = state[1, b] = M
    for m, name in ((1, S), (0, G)):
        for k, whole in enumerate(sets[m]):
            parts = [a for a, part in enumerate(sets[1 - m]) if most(part, whole)]
            union = set().union(*(sets[1 - m][a] for a in parts))
            if state[m, k] == M or len(parts) < 2 or not most(whole, union):
                continue
            for key in [(m, k), *((1 - m, a) for a in parts)]:
                assert state[key] == U, "the states exclude each other"
                state[key] = name
    covered = [[len(one & set().union(*sets[1 - m])) for one in sets[m]] for m in range(2)]
    iou = [len(a & b) / len(a | b) for b in sets[1] for a in sets[0] if most(a, b) and most(b, a)]
    return [[state[m, k] for k in range(len(sets[m]))] for m in range(2)], covered, iou


@pytest.mark.parametrize("seed", range(5))
def test_states_are_those_of_loops_over_sets_of_pixels(seed):
    recognised, mapped, _ = blobs(seed)
    expected, covered, iou = reference(recognised, mapped)
    if seed < 3:
        assert set(expected[0]) == set(expected[1]) == {U, M, S, G}, "the masks must show every state"
    found = match_objects(recognised, mapped)
    assert [found.recognised.state.tolist(), found.mapped.state.tolist()] == expected
    assert [found.recognised.covered_pixels.tolist(), found.mapped.covered_pixels.tolist()] == covered
    np.testing.assert_allclose(found.matched_iou, iou, rtol=1e-15)
    assert found.mapped.pixels.sum() == np.count_nonzero(mapped)


def test_exchanged_maps_exchange_the_states():
    recognised, mapped, _ = blobs(0)
    one, other = match_objects(recognised, mapped), match_objects(mapped, recognised)
    exchanged = np.array([U, M, G, S], np.uint8)
    assert exchanged[one.mapped.state].tolist() == other.recognised.state.tolist()
    assert exchanged[one.recognised.state].tolist() == other.mapped.state.tolist()


def test_scores_follow_from_a_drawing():
    recognised, mapped = draw(
        "bbbm..bbmbb",
        "...........",
        "bbrbb.mm.rr",
        "...........",
        "rrrr.....mb",
        ".........r.",
        "...........",
        "bb.........",
    )
    found = object_counts(match_objects(recognised, mapped), pixel_size_m=20)
    assert found.model_dump() == {
        "n_mapped": 7,
        "n_matched": 2,
        "n_split": 1,
        "n_merged": 2,
        "n_missed": 2,
        "n_recognised": 8,
        "n_split_parts": 2,
        "n_merging": 1,
        "n_false": 3,
        "n_false_without_overlap": 2,
        "n_found": 6,
        "share_found": 6 / 7,
        "object_precision": 2 / 8,
        "object_recall": 2 / 7,
        "object_f1": 4 / 15,
        "matched_iou_mean": (0.75 + 1) / 2,
        "missed_area_m2": 4 * 400.0,
        "false_area_m2": 8 * 400.0,
    }


def test_the_counts_add_up():
    recognised, mapped, _ = blobs(1)
    n = object_counts(match_objects(recognised, mapped), pixel_size_m=10)
    assert n.n_mapped == n.n_matched + n.n_split + n.n_merged + n.n_missed
    assert n.n_recognised == n.n_matched + n.n_split_parts + n.n_merging + n.n_false
    assert n.n_mapped == label_objects(mapped).max()
    assert n.n_recognised == label_objects(recognised).max()


def test_a_landslide_is_found_from_half_of_its_pixels_on():
    matching = rows_of_pixels(10, 10, 10, found=(4, 5, 6))
    assert object_counts(matching, pixel_size_m=10).n_found == 2
    assert recall_by_size(matching, pixel_size_m=10)[1].n_found == 2


def test_landslides_of_several_maps_are_pooled_in_their_order():
    one, other = match_objects(*blobs(0)[:2]), match_objects(*blobs(1)[:2])
    both = pooled_matching([one, other])
    for pooled, parts in zip(both[:2], zip(one[:2], other[:2], strict=True), strict=True):
        for name in pooled._fields:
            np.testing.assert_array_equal(getattr(pooled, name), np.concatenate([getattr(p, name) for p in parts]))
    np.testing.assert_array_equal(both.matched_iou, [*one.matched_iou, *other.matched_iou])
    counts = [object_counts(matching, pixel_size_m=10).n_split for matching in (one, other, both)]
    assert counts[2] == counts[0] + counts[1]


@pytest.mark.parametrize(
    ("recognised", "mapped", "n_mapped", "n_recognised"),
    [
        (SOME, NOTHING, 0, 1),
        (NOTHING, SOME, 1, 0),
        (NOTHING, NOTHING, 0, 0),
        (np.zeros((0, 0), bool), np.zeros((0, 0), bool), 0, 0),
    ],
)
def test_maps_without_landslides_have_defined_scores(recognised, mapped, n_mapped, n_recognised):
    matching = match_objects(recognised, mapped)
    found = object_counts(matching, pixel_size_m=10)
    counts = {"n_mapped": n_mapped, "n_missed": n_mapped, "n_recognised": n_recognised, "n_false": n_recognised}
    counts |= {"n_false_without_overlap": n_recognised, "matched_iou_mean": None}
    counts |= {"missed_area_m2": 100 * n_mapped, "false_area_m2": 100 * n_recognised}
    assert found.model_dump() == dict.fromkeys(type(found).model_fields, 0) | counts
    assert [row.n_mapped for row in recall_by_size(matching, pixel_size_m=10)] == [n_mapped, 0, 0, 0, 0, 0, 0]
    assert {row.recall for row in recall_by_size(matching, pixel_size_m=10)} == ({0, None} if n_mapped else {None})
    assert {value for _, value in boundary_distance(recognised, mapped, np.ones_like(mapped), pixel_size_m=10)} == {
        None
    }


def test_every_score_is_a_plain_number():
    matching = match_objects(*blobs(0)[:2])
    assert {type(value) for _, value in object_counts(matching, pixel_size_m=10)} == {int, float}
    values = {type(value) for row in recall_by_size(matching, pixel_size_m=10) for _, value in row}
    assert values == {int, float, type(None)}


@pytest.mark.parametrize("function", [match_objects, partial(boundary_distance, where=NOTHING, pixel_size_m=10)])
@pytest.mark.parametrize("name", ["recognised", "mapped"])
def test_a_mask_of_another_type_or_shape_is_refused(function, name):
    masks = {"recognised": NOTHING, "mapped": NOTHING}
    with pytest.raises(TypeError, match=f"{name}: expected bool, found uint8"):
        function(**masks | {name: np.full((4, 5), 255, np.uint8)})
    with pytest.raises(ValueError, match=r"expected shape \(4, .\), found \(4, .\)"):
        function(**masks | {name: np.zeros((4, 1), bool)})


def test_8_and_11_pixels_are_in_one_size_class_and_7_and_12_are_not():
    rows = recall_by_size(rows_of_pixels(7, 8, 11, 12, 24, 200, 900, found=(4, 5, 2, 12)), pixel_size_m=10)
    assert [(row.pixels_min, row.pixels_max) for row in rows] == [
        (1, 7),
        (8, 11),
        (12, 24),
        (25, 49),
        (50, 99),
        (100, 199),
        (200, None),
    ]
    assert [row.n_mapped for row in rows] == [1, 2, 2, 0, 0, 0, 2]
    assert [row.n_found for row in rows] == [1, 1, 1, 0, 0, 0, 0]
    assert [row.n_matched for row in rows] == [1, 1, 1, 0, 0, 0, 0]
    assert [row.recall for row in rows] == [1, 0.5, 0.5, None, None, None, 0]


def test_a_size_class_says_its_areas():
    row = recall_by_size(rows_of_pixels(9), pixel_size_m=20)[1]
    assert (row.area_min_m2, row.area_max_m2) == (8 * 400.0, 11 * 400.0)
    assert recall_by_size(rows_of_pixels(9), pixel_size_m=20)[-1].area_max_m2 is None


def test_found_and_matched_differ_where_a_landslide_is_recognised_in_parts():
    recognised = np.arange(9)[None] != 4
    row = recall_by_size(match_objects(recognised, np.ones((1, 9), bool)), pixel_size_m=10)[1]
    assert (row.n_found, row.n_matched) == (1, 0)


def test_the_density_of_areas_integrates_to_one_and_counts_all():
    areas = np.random.default_rng(0).lognormal(7, 1.5, 5000)
    curve = size_frequency(areas)
    width = np.subtract(curve.area_max_m2, curve.area_min_m2)
    np.testing.assert_allclose(np.sum(curve.density_per_m2 * width), 1, rtol=1e-12)
    assert sum(curve.n) == 5000
    np.testing.assert_array_equal(curve.n, np.histogram(areas, [*curve.area_min_m2, curve.area_max_m2[-1]])[0])


def test_the_density_of_a_power_law_is_its_mean_over_the_bin():
    exponent, n = 1.4, 200_000  # p(A) falls with the power 2.4, as the tail of Malamud et al. 2004
    areas = 100 * (1 - (np.arange(n) + 0.5) / n) ** (-1 / exponent)
    curve = size_frequency(areas)
    low, high = (np.array(edges[:10]) for edges in (curve.area_min_m2, curve.area_max_m2))
    expected = ((low / 100) ** -exponent - (high / 100) ** -exponent) / (high - low)
    np.testing.assert_allclose(curve.density_per_m2[:10], expected, rtol=1e-3)


def test_an_area_on_an_edge_is_in_the_bin_above_it():
    edges = [10.0 ** (k / 5) for k in range(-10, 35)]
    curve = size_frequency(edges)
    assert curve.area_min_m2 == edges
    assert set(curve.n) == {1}
    # One by one, so that the outermost bins are those of every edge, however its logarithm is rounded.
    assert [size_frequency([edge]).area_min_m2 for edge in edges] == [[edge] for edge in edges]
    below = np.nextafter(edges, 0)
    assert [size_frequency([area]).area_max_m2 for area in below] == [[edge] for edge in edges]


def test_two_inventories_share_their_bins_and_have_empty_ones_in_between():
    one, other = size_frequency([130.0, 2.0e6]), size_frequency([90.0, 1.3e4])
    assert set(other.area_min_m2[1:]) < set(one.area_min_m2)
    assert (one.n[0], one.n[-1], sum(one.n)) == (1, 1, 2)
    assert one.area_m2[0] == pytest.approx(10**2.1, rel=1e-12)


def test_an_inventory_without_landslides_has_an_empty_curve():
    curve = size_frequency([])
    assert all(values == [] for _, values in curve)


@pytest.mark.parametrize("area", [0, -1, math.nan, math.inf])
def test_an_area_that_is_none_is_refused(area):
    with pytest.raises(ValueError, match="areas_m2: expected finite areas above 0"):
        size_frequency([100, area])


def boundary_pixels(mask, where):
    """Return the boundary pixels, one by one."""
    rows, columns = mask.shape
    return [
        (r, c)
        for r, c in np.argwhere(mask & where).tolist()
        if any(
            0 <= y < rows and 0 <= x < columns and where[y, x] and not mask[y, x]
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
        )
    ]


@pytest.mark.parametrize("seed", range(3))
def test_boundary_distances_are_those_of_all_pairs_of_boundary_pixels(seed):
    recognised, mapped, where = blobs(seed, shape=(40, 60))
    recognised[:, :25] &= False  # far from some mapped ones
    pairs_m = cdist(boundary_pixels(recognised, where), boundary_pixels(mapped, where)) * 10
    one, other = pairs_m.min(axis=1), pairs_m.min(axis=0)
    expected = {
        "recognised_to_mapped_mean_m": one.mean(),
        "mapped_to_recognised_mean_m": other.mean(),
        "symmetric_mean_m": (one.mean() + other.mean()) / 2,
        "median_m": np.median([*one, *other]),
        "p95_m": np.percentile([*one, *other], 95),
    }
    found = boundary_distance(recognised, mapped, where, pixel_size_m=10)
    assert found.model_dump() == pytest.approx(expected, rel=1e-12)


def test_a_larger_square_around_a_square_lies_as_far_away_as_it_is_larger():
    recognised, mapped = np.zeros((2, 30, 30), bool)
    recognised[5:25, 5:25] = mapped[8:22, 8:22] = True
    found = boundary_distance(recognised, mapped, np.ones((30, 30), bool), pixel_size_m=10)
    assert found.mapped_to_recognised_mean_m == 30
    assert found.p95_m > found.median_m == 30  # corners are farther


def test_equal_maps_have_no_distance():
    recognised, _, where = blobs(0)
    assert {value for _, value in boundary_distance(recognised, recognised, where, pixel_size_m=10)} == {0}


def test_the_rim_of_the_grid_and_the_border_of_the_scored_pixels_make_no_boundary():
    full = np.ones((6, 6), bool)
    assert boundary_distance(full, full, full, pixel_size_m=10).median_m is None
    half = np.arange(6)[None].repeat(6, axis=0) < 3
    assert boundary_distance(half, half, full, pixel_size_m=10).median_m == 0
    assert boundary_distance(half, half, half, pixel_size_m=10).median_m is None


def test_the_boundaries_of_chosen_landslides_can_be_compared_alone():
    recognised, mapped = draw(".......", ".bbb.r.", ".bbb...", ".......")
    matching = match_objects(recognised, mapped)
    kept = objects_kept(recognised, matching.recognised.state == M)
    np.testing.assert_array_equal(kept, mapped)
    where = np.ones_like(mapped)
    assert boundary_distance(recognised, mapped, where, pixel_size_m=10).recognised_to_mapped_mean_m > 0
    assert boundary_distance(kept, mapped, where, pixel_size_m=10).recognised_to_mapped_mean_m == 0


def test_chosen_landslides_are_those_of_the_matching():
    recognised, mapped, _ = blobs(2)
    matching = match_objects(recognised, mapped)
    chosen = objects_kept(mapped, matching.found)
    assert label_objects(chosen).max() == np.count_nonzero(matching.found)
    assert np.count_nonzero(chosen) == matching.mapped.pixels[matching.found].sum()
