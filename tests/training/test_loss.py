"""The loss against its equation written as a loop, published ratios and torch's cross-entropy."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from coslide.config.training import LossSettings
from coslide.training.loss import ClassBalancedFocalLoss, class_weights, label_counts


@pytest.fixture
def logits():
    return 2 * torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def targets():
    labels = torch.randint(0, 3, (3, 5, 6), generator=torch.Generator().manual_seed(1))  # class 3 has no pixel
    labels[0, :2] = 255
    return labels


def reference_weights(labels, classes, settings):
    weights = []
    for c in range(classes):
        n = max(1, sum(1 for label in labels.ravel() if label == c))
        weights.append((1 - settings["eta"]) / (1 - settings["eta"] ** n))
    return [w * classes / sum(weights) for w in weights] if settings["normalise"] else weights


def reference(logits, targets, settings):
    """Return the loss by Eq. 22-26, pixel by pixel."""
    total, known, images = 0.0, 0, int((targets.numpy() != 255).any(axis=(1, 2)).sum())
    for image, labels in zip(logits.numpy(), targets.numpy(), strict=True):
        counted = labels if settings["scope"] == "image" else targets.numpy()
        weights = reference_weights(counted, len(image), settings)
        for row, col in np.ndindex(labels.shape):
            if labels[row, col] == 255:
                continue
            powers = np.exp(image[:, row, col])
            p = powers[labels[row, col]] / powers.sum()
            total += weights[labels[row, col]] * (1 - p) ** settings["gamma"] * -math.log(p)
            known += 1
    return total / (known if settings["reduction"] == "mean" else images)


@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("eta", "gamma"), [(0.9, 0.5), (0.9, 2.0), (0.0, 1.0)])
def test_the_loss_equals_its_equation_written_as_a_loop(logits, targets, scope, reduction, normalise, eta, gamma):
    settings = {"eta": eta, "gamma": gamma, "scope": scope, "reduction": reduction, "normalise": normalise}
    found = ClassBalancedFocalLoss(LossSettings(**settings))(logits, targets).item()
    assert found == pytest.approx(reference(logits, targets, settings), rel=1e-6)  # weights are float32


def test_without_balance_and_focus_it_is_cross_entropy(logits, targets):
    found = ClassBalancedFocalLoss(LossSettings(eta=0.0, gamma=0.0, reduction="mean", normalise=True))(logits, targets)
    torch.testing.assert_close(found, F.cross_entropy(logits, targets, ignore_index=255))


LANDSLIDE, BACKGROUND = 565, 16384 - 565  # a tile at 1:28


@pytest.mark.parametrize(
    ("eta", "image", "batch", "everything"),
    [(0.99, 1.00, 1.00, 1.00), (0.999, 2.32, 1.12, 1.00), (0.9999, 14.5, 4.94, 1.00), (0.99999, 26.0, 21.0, 1.05)],
)
def test_weights_have_the_ratios_of_their_scope(eta, image, batch, everything):
    counts = torch.tensor([[BACKGROUND, LANDSLIDE]]) * torch.tensor([[1], [4], [522]])
    background, landslide = class_weights(counts, eta).unbind(1)
    assert (landslide / background).tolist() == pytest.approx([image, batch, everything], rel=6e-3)


def test_weights_sum_to_the_number_of_classes():
    assert class_weights(torch.tensor([10, 3000, 7]), 0.999).sum().item() == pytest.approx(3)


def test_a_class_without_pixels_weighs_as_if_it_had_one():
    assert class_weights(torch.tensor([0, 500]), 0.999, normalise=False)[0].item() == pytest.approx(1)


def test_weights_keep_their_digits_where_eta_is_near_one():
    found = class_weights(torch.tensor([1000]), 1 - 1e-7, normalise=False).item()
    exact = class_weights(torch.tensor([1000.0], dtype=torch.float64), 1 - 1e-7, normalise=False).item()
    assert (found, exact) == (pytest.approx(exact, rel=1e-6), pytest.approx(1e-3, rel=1e-3))


def test_nodata_pixels_are_not_counted(targets):
    assert label_counts(targets, 4)[0].sum().item() == 18


def test_what_is_predicted_at_nodata_pixels_does_not_matter(logits, targets):
    loss, other = ClassBalancedFocalLoss(), logits.clone()
    other[0, :, :2] = 50 * torch.randn(4, 2, 6, dtype=torch.float64)
    assert loss(other, targets) == loss(logits, targets)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_labels_may_have_any_integer_type(logits, targets, dtype):
    loss = ClassBalancedFocalLoss()
    assert loss(logits, targets.to(dtype)) == loss(logits, targets)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("scope", ["batch", "image"])
def test_a_batch_without_valid_pixels_costs_nothing_and_moves_nothing(logits, reduction, scope):
    logits.requires_grad_()
    loss = ClassBalancedFocalLoss(LossSettings(reduction=reduction, scope=scope))(logits, torch.full((3, 5, 6), 255))
    loss.backward()
    assert (loss.item(), logits.grad.abs().max().item()) == (0.0, 0.0)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("margin", [0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("label", [0, 1])
def test_loss_and_gradient_are_finite_however_sure_the_network_is(classes, margin, label):
    logits = torch.zeros(1, classes, 1, 1)
    logits[:, 0] = margin  # label 0: p = 1 to the last digit; label 1: as wrong as can be
    logits.requires_grad_()
    loss = ClassBalancedFocalLoss(LossSettings(gamma=0.5))(logits, torch.full((1, 1, 1), label))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_the_focus_keeps_its_digits_where_p_rounds_to_one():
    """At a margin of 20 in float32, 1 - p rounds to 0; the loss is q^0.5 q with q = e^-20 (to first order)."""
    logits = torch.tensor([20.0, 0.0]).view(1, 2, 1, 1)
    found = ClassBalancedFocalLoss(LossSettings(eta=0.0, gamma=0.5, normalise=True))(
        logits.double(), torch.zeros(1, 1, 1, dtype=torch.uint8)
    )
    assert found.item() == pytest.approx(math.exp(-30), rel=1e-6)


def test_the_gradient_is_that_of_the_finite_difference(logits, targets):
    loss = ClassBalancedFocalLoss(LossSettings(eta=0.9))
    assert torch.autograd.gradcheck(lambda x: loss(x, targets[:1, 1:3]), logits[:1, :, 1:3].requires_grad_())


def test_half_precision_logits_are_computed_in_single(logits, targets):
    half = logits.bfloat16()
    loss = ClassBalancedFocalLoss()
    torch.testing.assert_close(loss(half, targets), loss(half.float(), targets))


def test_weights_of_a_batch_are_the_same_for_each_of_its_images(targets):
    weights = ClassBalancedFocalLoss(LossSettings(scope="batch")).weigh(targets, 4).weights
    assert torch.equal(weights, weights[:1].expand(3, 4))


def test_targets_that_do_not_fit_the_logits_are_refused(logits, targets):
    with pytest.raises(ValueError, match=r"found \(3, 4, 5, 6\) and \(3, 6, 5\)"):
        ClassBalancedFocalLoss()(logits, targets.transpose(1, 2))


@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_losses_of_the_parts_of_a_batch_sum_to_that_of_the_batch(logits, targets, scope, reduction):
    loss = ClassBalancedFocalLoss(LossSettings(eta=0.9, scope=scope, reduction=reduction))
    whole = loss.weigh(targets, 4)
    parts = [
        loss(logits[part], targets[part], whole._replace(weights=whole.weights[part]))
        for part in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts), loss(logits, targets))


def test_the_printed_sum_outweighs_the_decay_that_a_mean_is_smaller_than():
    """At a tile of 1:28, Eq. 26 leaves gradients 17 times larger than the mean with normalised weights."""
    logits = torch.zeros(4, 2, 128, 128, requires_grad=True)
    targets = (torch.rand(4, 128, 128, generator=torch.Generator().manual_seed(0)) < 1 / 29).long()
    sizes = []
    for options in ({}, {"scope": "batch", "reduction": "mean", "normalise": True}):
        (gradient,) = torch.autograd.grad(ClassBalancedFocalLoss(LossSettings(**options))(logits, targets), logits)
        sizes.append(gradient.norm())
    assert float(sizes[0] / sizes[1]) == pytest.approx(17, rel=0.15)
