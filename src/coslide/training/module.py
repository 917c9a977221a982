"""One training step, as Lightning runs it.

On a CPU threads share a batch: each computes the gradients of some of its tiles with one of torch's threads. Operations
of a network of 16 channels are too small for two cores to share. With two threads inside each operation, a training
step takes longer than with one as soon as another program runs; two halves of a batch in two Python threads, with one
of torch's each, have nothing to wait for.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import BinaryF1Score

from coslide.config.training import OptimiserSettings, TrainingSettings
from coslide.errors import InputError
from coslide.io.executor import available_processors
from coslide.labels import NODATA
from coslide.networks.precision import mixed_precision, one_thread
from coslide.progress import report_progress
from coslide.training.loss import ClassBalancedFocalLoss

_log = logging.getLogger(__name__)
_PAPER = OptimiserSettings()
_LINES = 10  # of progress in the log of a training
_STEPS_BETWEEN_CHECKS = 50  # on a GPU, where looking at the loss stops the queue
TILES_PER_PART = 2  # of one, the convolutions of the lower depths take a third longer; of two, a twentieth


class Start(NamedTuple):
    """A trained network that a training begins with and holds on to.

    The loss then has the penalty ``penalty / 2 * sum((w - w0)^2)`` over all weights w, which were w0 in `network`
    (L2-SP: Li et al. 2018, arXiv:1802.01483), and batch statistics stay those of `network`: it is trained as it is
    applied, and a few tiles cannot move them.
    """

    network: nn.Module
    penalty: float = 0.0


class Training(lightning.LightningModule):
    """A network with its loss, optimiser and schedule (Yang et al. 2023, Table 3).

    On a CPU the parts of a batch are computed in threads (`summed_loss`). Logs ``loss``, ``class_ratio``
    (what a landslide pixel weighs against a background pixel) and, where there is a validation part, ``val_loss`` and
    ``val_f1``.

    Parameters
    ----------
    network
        Gives logits (batch, 2, row, col).
    settings
        Rates and the parameters of the loss.
    total_steps
        Steps of the whole training; the learning rate reaches 0 after the last.
    start
        The trained network that `network` holds on to, where it was not made anew.
    """

    def __init__(
        self, network: nn.Module, settings: TrainingSettings, *, total_steps: int, start: Start | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self._settings = settings
        self._total_steps = total_steps
        self._loss = ClassBalancedFocalLoss(settings.loss)
        self._f1 = BinaryF1Score(ignore_index=NODATA)
        self._pool: ThreadPoolExecutor | None = None
        self._penalty = start.penalty if start else 0.0
        self._first_weights = [parameter.detach().clone() for parameter in start.network.parameters()] if start else []
        self.begun = False

    def on_fit_start(self) -> None:
        """Start clock and threads; processes that share the batch share the processors too."""
        self._started, self._first = time.monotonic(), self.trainer.global_step
        self._first_weights = [weights.to(self.device) for weights in self._first_weights]
        self._pool = ThreadPoolExecutor(max(1, available_processors() // self._settings.runtime.devices))

    def on_train_start(self) -> None:
        """Note that all states of a checkpoint were taken over."""
        self.begun = True

    def close(self) -> None:
        """Let the threads go, however the training ended."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def on_train_epoch_start(self) -> None:
        """Seed what a network draws by seed and epoch alone, so that a resumed run repeats it."""
        torch.manual_seed(self._settings.seed + (self.current_epoch << 32))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of one batch of tiles (batch, input, row, col) and labels (batch, row, col).

        Raises
        ------
        InputError
            If it is no number any more.
        """
        inputs, labels = batch
        weighing = self._loss.weigh(labels)
        if self._first_weights:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

        def loss_of(part: slice) -> Tensor:
            own = weighing._replace(weights=weighing.weights[part])
            found: Tensor = self._loss(self.network(inputs[part]), labels[part], own)
            return found

        if self._pool is None or inputs.device.type != "cpu":
            loss = loss_of(slice(None))
        else:
            losses = [partial(loss_of, part) for part in parts_of(self.network, len(inputs))]
            loss = summed_loss(self.network, losses, self._pool, precision=self._settings.runtime.precision)
        if self._penalty:
            pairs = zip(self.network.parameters(), self._first_weights, strict=True)
            loss = loss + self._penalty / 2 * torch.stack([(now - first).square().sum() for now, first in pairs]).sum()
        if (loss.device.type == "cpu" or batch_idx % _STEPS_BETWEEN_CHECKS == 0) and not torch.isfinite(loss):
            raise InputError(
                f"the training diverged in epoch {self.current_epoch}: the loss is {loss.item()}, expected a number; "
                f"lower training.optimiser.learning_rate (found {self._settings.optimiser.learning_rate:g})"
            )
        several = self._settings.runtime.devices > 1
        self.log("loss", loss, on_step=True, on_epoch=True, batch_size=len(inputs), sync_dist=several)
        ratio = (weighing.weights[:, 1] / weighing.weights[:, 0]).mean()
        self.log("class_ratio", ratio, on_step=False, on_epoch=True, batch_size=len(inputs), sync_dist=several)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Report a step, and log a line for every tenth of them with the loss and the time left."""
        if not self.trainer.is_global_zero:
            return
        done, steps = self.trainer.global_step, self._total_steps
        report_progress("training", done, steps)
        if done * _LINES // steps > (done - 1) * _LINES // steps:
            left_min = (time.monotonic() - self._started) / max(1, done - self._first) * (steps - done) / 60
            loss = float(self.trainer.callback_metrics.get("loss_step", float("nan")))
            _log.info(f"step {done} of {steps}, loss {loss:.4f}, {left_min:.1f} min left")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch of the validation part."""
        inputs, labels = batch
        with mixed_precision(self._settings.runtime.precision if inputs.device.type == "cpu" else "32"):
            logits = self.network(inputs).float()
        self.log("val_loss", self._loss(logits, labels), on_epoch=True, batch_size=len(inputs), sync_dist=True)
        self._f1.update(logits.softmax(dim=1)[:, 1], labels)
        self.log("val_f1", self._f1, on_epoch=True, batch_size=len(inputs))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser and its schedule, stepped once per step of the optimiser."""
        settings = self._settings.optimiser
        kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
            "sgd": partial(torch.optim.SGD, momentum=settings.momentum),
        }
        groups: list[dict[str, Any]] = [{"params": [*self.network.parameters()]}]
        if settings.decay == "weights":  # factors, norms and biases do not decay
            several, single = ([p for p in groups[0]["params"] if (p.ndim > 1) is kept] for kept in (True, False))
            groups = [{"params": several}, {"params": single, "weight_decay": 0.0}]
        optimiser = kinds[settings.name](groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = LambdaLR(optimiser, partial(rate_factor, total_steps=self._total_steps, settings=settings))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate_factor(step: int, total_steps: int, settings: OptimiserSettings = _PAPER) -> float:
    """Compute the share of the initial learning rate that holds at a step.

    ``"poly"`` is (1 - step / total_steps)^power, the schedule of Yang et al. (2023, doi:10.3390/rs15040977) with the
    power that DeepLab made common (Chen et al. 2018, arXiv:1606.00915); ``"cosine"`` is (1 + cos(pi step /
    total_steps)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts). Over the first warm-up steps
    the share is multiplied with (step + 1) / (warmup_steps + 1).

    Parameters
    ----------
    step
        Steps done, >= 0. From `total_steps` on the factor is 0.
    total_steps
        Steps of the whole training, >= 1.
    settings
        Shape of the schedule, power and warm-up.

    Examples
    --------
    >>> [round(rate_factor(step, 100), 3) for step in (0, 50, 99, 100, 101)]
    [1.0, 0.536, 0.016, 0.0, 0.0]
    >>> [round(rate_factor(step, 100, OptimiserSettings(schedule="cosine")), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    >>> rising = OptimiserSettings(poly_power=0, warmup_steps=3)
    >>> [round(rate_factor(step, 100, rising), 2) for step in (0, 1, 2, 3)]
    [0.25, 0.5, 0.75, 1.0]
    """
    done = min(step, total_steps) / total_steps
    cosine = (1 + math.cos(math.pi * done)) / 2
    fall = (1 - done) ** settings.poly_power if settings.schedule == "poly" else cosine
    return float(min(1.0, (step + 1) / (settings.warmup_steps + 1)) * fall)


def parts_of(network: nn.Module, count: int) -> list[slice]:
    """Divide a batch of `count` tiles into the parts that are computed by themselves.

    They depend on the batch alone, not on the number of threads, so that sums are made in the same order anywhere. A
    network that normalises over the batch, and not by the statistics of an earlier training, takes it whole.

    Examples
    --------
    >>> parts_of(nn.Conv2d(1, 1, 1), 5)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    whole = any(isinstance(module, nn.BatchNorm2d) and module.training for module in network.modules())
    size = count if whole else TILES_PER_PART
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def summed_loss(
    network: nn.Module, parts: Sequence[Callable[[], Tensor]], pool: ThreadPoolExecutor, *, precision: str
) -> Tensor:
    """Sum the losses of the parts of a batch; the gradients are computed along with them, in the threads of `pool`.

    Parameters
    ----------
    network
        Whose parameters get gradients.
    parts
        Each computes the loss of its part, a scalar.
    pool
        Threads of this process.
    precision
        ``"bf16"``: under automatic mixed precision; ``"32"``: not.

    Returns
    -------
    Tensor
        A scalar whose backward pass gives the gradients that were computed already, so that whatever wraps it (gradient
        hooks, scaling) works as for any other loss.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def gradients(part: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        with one_thread(), torch.enable_grad():
            with mixed_precision(precision):
                loss = part()
            return loss.detach(), *torch.autograd.grad(loss, parameters, materialize_grads=True)

    # added part by part in their order, whichever is done first
    total, *found = (sum(several[1:], several[0]) for several in zip(*pool.map(gradients, parts), strict=True))
    products = [one.flatten().dot(gradient.flatten()) for one, gradient in zip(parameters, found, strict=True)]
    weighed = torch.stack(products).sum()
    loss: Tensor = total + (weighed - weighed.detach())  # the total, with the gradients that were found
    return loss
