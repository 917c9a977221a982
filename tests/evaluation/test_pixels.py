"""Scores are checked against torchmetrics and the numbers printed in the paper."""

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as witness

from coslide.evaluation.pixels import Confusion, confusion, scores

KEYS = ["tp", "fp", "fn", "tn", "oa", "miou", "miou_paper", "kappa", "f1", "precision", "recall", "iou_landslide"]


def random_masks(share, seed=0, shape=(60, 70)):
    rng = np.random.default_rng(seed)
    mapped = rng.random(shape) < share
    return np.where(rng.random(shape) < 0.8, mapped, rng.random(shape) < share), mapped


@pytest.mark.parametrize(("name", "expected"), [("f1", 0.9738), ("kappa", 0.9731), ("miou", 0.9737), ("oa", 0.99854)])
def test_the_confusion_of_the_published_map_gives_its_published_scores(name, expected):
    published = Confusion(tp=2716, fp=74, fn=72, tn=97138)  # Yang et al. 2023, Table 7, in 1e-5 of the pixels
    np.testing.assert_allclose(getattr(scores(*published), name), expected, atol=5e-5)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("oa", witness.binary_accuracy),
        ("kappa", witness.binary_cohen_kappa),
        ("f1", witness.binary_f1_score),
        ("precision", witness.binary_precision),
        ("recall", witness.binary_recall),
        ("iou_landslide", witness.binary_jaccard_index),
    ],
)
def test_scores_are_those_of_torchmetrics(name, metric, share):
    predicted, mapped = random_masks(share)
    expected = metric(torch.from_numpy(predicted).int(), torch.from_numpy(mapped).int())
    np.testing.assert_allclose(getattr(scores(*confusion(predicted, mapped)), name), float(expected), rtol=2e-6)


def test_the_mean_iou_is_that_of_torchmetrics_over_both_classes():
    predicted, mapped = random_masks(0.1)
    expected = witness.multiclass_jaccard_index(
        torch.from_numpy(predicted).int(), torch.from_numpy(mapped).int(), num_classes=2, average="macro"
    )
    np.testing.assert_allclose(scores(*confusion(predicted, mapped)).miou, float(expected), rtol=2e-6)


def test_the_paper_s_mean_iou_is_the_iou_of_both_classes_pooled():
    found = scores(tp=31, fp=7, fn=11, tn=151)
    np.testing.assert_allclose(found.miou_paper, (31 + 151) / (2 * 200 - (31 + 151)), rtol=1e-15)


def test_counts_are_those_of_torchmetrics():
    predicted, mapped = random_masks(0.3)
    (tn, fp), (fn, tp) = witness.binary_confusion_matrix(
        torch.from_numpy(predicted).int(), torch.from_numpy(mapped).int()
    ).tolist()
    assert confusion(predicted, mapped) == Confusion(tp, fp, fn, tn)


def test_only_the_pixels_asked_for_are_counted():
    predicted, mapped = random_masks(0.3)
    where = np.random.default_rng(5).random(mapped.shape) < 0.4
    assert confusion(predicted, mapped, where=where) == confusion(predicted[where], mapped[where])


def test_the_counts_of_two_parts_add_up_to_those_of_the_whole():
    predicted, mapped = random_masks(0.3)
    parts = [confusion(predicted[part], mapped[part]) for part in (np.s_[:20], np.s_[20:])]
    assert np.sum(parts, axis=0).tolist() == list(confusion(predicted, mapped))


def test_the_keys_are_those_of_metrics_json():
    assert list(scores(1, 1, 1, 1).model_dump()) == KEYS


def test_every_score_is_a_plain_number():
    predicted, mapped = random_masks(0.3)
    assert {type(value) for _, value in scores(*confusion(predicted, mapped))} == {int, float}


def test_counts_beyond_32_bits_keep_kappa_exact():
    large = scores(tp=4 * 10**9, fp=10**9, fn=10**9, tn=94 * 10**9)
    small = scores(tp=4, fp=1, fn=1, tn=94)
    np.testing.assert_allclose(large.kappa, small.kappa, rtol=1e-15)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Confusion(0, 0, 0, 0), dict.fromkeys(KEYS, 0)),
        (Confusion(0, 0, 3, 7), {"precision": 0, "recall": 0, "f1": 0, "iou_landslide": 0, "oa": 0.7, "kappa": 0}),
        (Confusion(0, 3, 0, 7), {"precision": 0, "recall": 0, "f1": 0, "iou_landslide": 0, "oa": 0.7, "kappa": 0}),
        (
            Confusion(0, 0, 0, 10),
            {"precision": 0, "recall": 0, "f1": 0, "iou_landslide": 0, "oa": 1, "kappa": 0, "miou": 0.5},
        ),
        (Confusion(10, 0, 0, 0), {"precision": 1, "recall": 1, "f1": 1, "iou_landslide": 1, "kappa": 0, "miou": 0.5}),
    ],
)
def test_a_score_without_anything_to_divide_by_is_zero(counts, expected):
    found = scores(*counts)
    assert found.model_dump(include=set(expected)) == expected


def test_a_map_worse_than_chance_has_a_negative_kappa():
    assert scores(tp=0, fp=5, fn=5, tn=0).kappa == -1


@pytest.mark.parametrize("name", ["predicted", "mapped", "where"])
def test_a_mask_that_is_not_bool_is_refused(name):
    arrays = {key: np.zeros((2, 2), bool) for key in ("predicted", "mapped", "where")}
    arrays[name] = np.full((2, 2), 255, np.uint8)
    with pytest.raises(TypeError, match=f"{name}: expected bool, found uint8"):
        confusion(arrays["predicted"], arrays["mapped"], where=arrays["where"])


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"predicted: expected shape \(2, 2\), found \(2, 1\)"):
        confusion(np.zeros((2, 1), bool), np.zeros((2, 2), bool))
