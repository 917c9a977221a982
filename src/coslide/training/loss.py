"""The class-balanced focal loss: rare landslide pixels count more, pixels that are already right count less."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coslide.config.training import LossSettings
from coslide.labels import NODATA

PAPER = LossSettings()


def label_counts(targets: Tensor, classes: int) -> Tensor:
    """Count the pixels of each class in each image (Eq. 24), int64 of shape (batch, classes).

    Parameters
    ----------
    targets
        Labels, shape (batch, row, col), any integer dtype. Labels outside 0..classes-1, such as 255 for nodata, are
        not counted.
    classes
        Number of classes.

    Examples
    --------
    >>> label_counts(torch.tensor([[[0, 0, 1, 255]]]), 2).tolist()
    [[2, 1]]
    """
    return torch.stack([(targets == label).sum(dim=(1, 2)) for label in range(classes)], dim=1)


def class_weights(counts: Tensor, eta: float, *, normalise: bool = True) -> Tensor:
    """Weigh each class by its effective number of pixels, w_c = (1 - eta) / (1 - eta^n_c).

    Eq. 24-26 of Yang et al. (2023, doi:10.3390/rs15040977) after Cui et al. (2019, arXiv:1901.05555). At eta = 0 all
    classes weigh the same; towards 1 the weights approach 1 / n_c.

    Parameters
    ----------
    counts
        Pixels of each class n_c, shape (..., classes). A class without pixels is treated as if it had one: its weight
        multiplies nothing, but takes part in the normalisation.
    eta
        In [0, 1).
    normalise
        Scale the weights to sum to the number of classes.

    Returns
    -------
    Tensor
        Weights, shape (..., classes); float64 where `counts` is, otherwise float32.

    Examples
    --------
    A tile of 128 x 128 pixels with one landslide pixel in 29:

    >>> background, landslide = class_weights(torch.tensor([15819, 565]), 0.999).tolist()
    >>> round(landslide / background, 2)
    2.32
    """
    n = counts.clamp_min(1).to(torch.promote_types(counts.dtype, torch.float32))
    log_eta = math.log(eta) if eta > 0 else -math.inf
    weights = (eta - 1) / torch.expm1(n * log_eta)  # expm1: 1 - eta^n loses its digits where eta is near 1
    return weights / weights.sum(dim=-1, keepdim=True) * n.shape[-1] if normalise else weights


class Weighing(NamedTuple):
    """How much each pixel of a batch counts in the loss.

    `weights` is float32 (batch, classes), the weight of each class in each image; `denominator`, a scalar, is what the
    weighted sum over the pixels of the batch is divided by.
    """

    weights: Tensor
    denominator: Tensor


class ClassBalancedFocalLoss(nn.Module):
    r"""The class-balanced focal loss of Eq. 23-26: ``L = sum_n w_{y_n} (1 - p_n)^gamma (-log p_n)``.

    p_n is the softmax probability that pixel n has its true class y_n, and w the weights of `class_weights`. The sum
    runs over the pixels of an image and is averaged over the images of a batch. At gamma = 0 and eta = 0 it is plain
    cross-entropy.

    Parameters
    ----------
    settings
        eta and gamma; which pixels n_c counts (`scope`: those of each ``"image"`` by itself, Eq. 24, or of the whole
        ``"batch"``); the `reduction`: ``"sum"`` over the pixels of an image, averaged over the batch (Eq. 26), or
        ``"mean"`` over all labelled pixels of the batch; and whether the weights are scaled to sum to the number of
        classes (`normalise`).

    Notes
    -----
    Differs from the paper (Yang et al. 2023, doi:10.3390/rs15040977):

    - Only the term of the true class is summed (Eq. 26 omits y), with the minus sign Eq. 23 lacks.
    - eta = 0.999 and gamma = 0.5 are the setting of Cui et al. for large data sets; the paper names neither.

    Which form is used decides whether the network learns where the optimiser's weight decay is coupled, as in Adam. The
    raw weights are near 1e-3; summed over the 16,384 pixels of a tile they leave gradients some 16 times larger than
    the mean with normalised weights does. With that mean, a decay of 7e-4 outgrows the gradient from depth 3 of a U-Net
    downwards, and the kernels there fade to nothing. Counted over a whole training set instead of an image or a batch,
    the weights of both classes would be equal for every published eta.

    Where several processes share a batch, pixels are counted over all of them, and each gives its share of the loss:
    the gradients that `DistributedDataParallel` averages are those of the whole batch in one process.

    For gamma < 1 the slope of (1 - p)^gamma is infinite at p = 1, and 1 - p itself loses its digits well before. Here
    log(1 - p) is the log-sum-exp over the other classes, so value and gradient stay finite and fall to 0.

    Examples
    --------
    >>> loss = ClassBalancedFocalLoss(LossSettings(eta=0, gamma=0, reduction="mean", normalise=True))
    >>> loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)).item()
    0.693
    """

    def __init__(self, settings: LossSettings = PAPER) -> None:
        super().__init__()
        self.settings = settings

    def weigh(self, targets: Tensor, classes: int = 2) -> Weighing:
        """Count the classes of a batch.

        Parameters
        ----------
        targets
            Labels of the whole batch (of this process), shape (batch, row, col), any integer dtype.
        classes
            Number of classes.
        """
        labelled = targets != NODATA
        counts = label_counts(targets.long().where(labelled, -1), classes)
        if self.settings.scope == "batch":
            counts = _over_processes(counts.sum(dim=0, keepdim=True)).expand_as(counts)
        counted = labelled.sum() if self.settings.reduction == "mean" else labelled.flatten(1).any(dim=1).sum()
        denominator = _over_processes(counted).clamp_min(1) / _processes()
        return Weighing(class_weights(counts, self.settings.eta, normalise=self.settings.normalise), denominator)

    def forward(self, logits: Tensor, targets: Tensor, weighing: Weighing | None = None) -> Tensor:
        """Compute the loss, a scalar [nat]; 0 with a zero gradient where no pixel is labelled.

        Parameters
        ----------
        logits
            Shape (batch, classes, row, col), floating point; half precision is computed in single.
        targets
            Labels 0..classes-1 or 255 (nodata), shape (batch, row, col), any integer dtype.
        weighing
            Of these images, as `weigh` gives it for the batch that they are a part of: the losses of the parts then sum
            to that of the batch. By default they are a batch of their own.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        if logits.ndim != 4 or targets.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                "expected logits (batch, classes, row, col) and targets (batch, row, col), "
                f"found {tuple(logits.shape)} and {tuple(targets.shape)}"
            )
        if weighing is None:
            weighing = self.weigh(targets, logits.shape[1])
        labelled = targets != NODATA
        labels = targets.long().where(labelled, 0).unsqueeze(1)  # (batch, 1, row, col)
        log_p = logits.log_softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
        log_p_true = log_p.gather(1, labels).squeeze(1)
        log_p_other = log_p.scatter(1, labels, -math.inf).logsumexp(dim=1)
        weight = weighing.weights.to(log_p.dtype).gather(1, labels.flatten(1)).view_as(log_p_true)
        loss = -weight * (self.settings.gamma * log_p_other).exp() * log_p_true
        return loss.where(labelled, 0).sum() / weighing.denominator


def _processes() -> int:
    """Count the processes that share a batch."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


def _over_processes(counts: Tensor) -> Tensor:
    """Sum `counts` over the processes that share a batch."""
    if _processes() > 1:
        counts = counts.clone()
        torch.distributed.all_reduce(counts)
    return counts
