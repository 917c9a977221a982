"""The graph of EISGNN on hand-made features."""

import pytest
import torch

from coslide.networks.graph import neighbours, selected_count


def test_neighbours_are_ordered_by_distance_with_the_node_itself_first():
    line = torch.tensor([0.0, 10.0, 1.0, 5.0, 12.5]).view(1, 5, 1)
    assert neighbours(line, 3)[0].tolist() == [[0, 2, 3], [1, 4, 3], [2, 0, 3], [3, 2, 0], [4, 1, 3]]


def test_neighbours_without_self_leave_the_node_out():
    line = torch.tensor([0.0, 10.0, 1.0, 5.0, 12.5]).view(1, 5, 1)
    assert neighbours(line, 2, include_self=False)[0].tolist() == [[2, 3], [4, 3], [0, 3], [2, 0], [1, 3]]


def test_among_equal_nodes_each_comes_first_for_itself_and_the_rest_follow_by_index():
    same = torch.full((1, 40, 7), 1e3)
    found = neighbours(same, 3)[0].tolist()
    assert found == [[0, 1, 2], [1, 0, 2]] + [[i, 0, 1] for i in range(2, 40)]


def test_nodes_that_are_all_zero_keep_the_order_of_their_indices():
    found = neighbours(torch.zeros(1, 40, 7), 3)[0].tolist()
    assert found == [[0, 1, 2], [1, 0, 2]] + [[i, 0, 1] for i in range(2, 40)]


def test_nodes_far_from_the_origin_are_told_apart():
    place = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    features = 1000 + place.view(1, 64, 1).float() / 100  # squares, as a matrix product needs, would round this off
    found = place[neighbours(features, 2, include_self=False)[0]]
    assert ((found - place[:, None]).abs() <= 2).all()


def test_distances_are_euclidean():
    corner = torch.tensor([[[0.0, 0.0], [3.0, 3.0], [0.0, 5.0]]])  # L1 would choose node 2, and so would the largest
    assert neighbours(corner, 2)[0, 0].tolist() == [0, 1]


@pytest.mark.parametrize(("include_self", "count"), [(True, 3), (False, 2)])
def test_with_fewer_nodes_than_k_all_are_used(include_self, count):
    assert neighbours(torch.randn(2, 3, 4), 8, include_self=include_self).shape == (2, 3, count)


def test_half_precision_nodes_have_neighbours():
    line = torch.tensor([0.0, 10.0, 1.0], dtype=torch.bfloat16).view(1, 3, 1)
    assert neighbours(line, 2)[0].tolist() == [[0, 2], [1, 2], [2, 0]]


def test_a_single_node_without_itself_is_refused():
    with pytest.raises(ValueError, match="found k = 8 and 0 nodes"):
        neighbours(torch.zeros(1, 1, 4), 8, include_self=False)


def test_a_map_in_place_of_nodes_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(batch, node, channel\), found \(1, 2, 3, 4\)"):
        neighbours(torch.zeros(1, 2, 3, 4), 8)


@pytest.mark.parametrize(("k", "factor", "m"), [(8, 0.8, 6), (16, 0.8, 12), (1, 0.2, 1), (3, 0.2, 1), (50, 0.58, 29)])
def test_the_selection_keeps_the_whole_part_of_its_share(k, factor, m):
    assert selected_count(k, factor) == m
