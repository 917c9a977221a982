"""One training step, as Lightning runs it."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import BinaryF1Score

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.io.executor import available_processors
from coslide.labels import NODATA
from coslide.networks.precision import mixed_precision
from coslide.training.loss import ClassBalancedFocalLoss, class_ratio
from coslide.training.parallel import parts_of, summed_loss
from coslide.training.schedule import rate_factor

_STEPS_BETWEEN_CHECKS = 50  # on a GPU, where looking at the loss stops the queue


class Training(lightning.LightningModule):
    """A network with its loss, optimiser and schedule (Yang et al. 2023, Table 3).

    On a CPU the parts of a batch are computed in threads (`coslide.training.parallel`). Logs ``loss``, ``class_ratio``
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
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings, *, total_steps: int) -> None:
        super().__init__()
        self.network = network
        self._settings = settings
        self._total_steps = total_steps
        self._loss = ClassBalancedFocalLoss(settings.loss)
        self._f1 = BinaryF1Score(ignore_index=NODATA)
        self._pool: ThreadPoolExecutor | None = None

    def on_fit_start(self) -> None:
        """Start the threads; processes that share the batch share the processors too."""
        self._pool = ThreadPoolExecutor(max(1, available_processors() // self._settings.runtime.devices))

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

        def loss_of(part: slice) -> Tensor:
            own = weighing._replace(weights=weighing.weights[part])
            found: Tensor = self._loss(self.network(inputs[part]), labels[part], own)
            return found

        if self._pool is None or inputs.device.type != "cpu":
            loss = loss_of(slice(None))
        else:
            losses = [partial(loss_of, part) for part in parts_of(self.network, len(inputs))]
            loss = summed_loss(self.network, losses, self._pool, precision=self._settings.runtime.precision)
        if (loss.device.type == "cpu" or batch_idx % _STEPS_BETWEEN_CHECKS == 0) and not torch.isfinite(loss):
            raise InputError(
                f"the training diverged in epoch {self.current_epoch}: the loss is {loss.item()}, expected a number; "
                f"lower training.optimiser.learning_rate (found {self._settings.optimiser.learning_rate:g})"
            )
        shared: dict[str, Any] = {
            "batch_size": len(inputs),
            "on_epoch": True,
            "sync_dist": self._settings.runtime.devices > 1,
        }
        self.log("loss", loss, prog_bar=True, on_step=True, **shared)
        self.log("class_ratio", class_ratio(weighing.weights), on_step=False, **shared)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch of the validation part."""
        inputs, labels = batch
        with mixed_precision(self._settings.runtime.precision if inputs.device.type == "cpu" else "32"):
            logits = self.network(inputs).float()
        self.log("val_loss", self._loss(logits, labels), on_epoch=True, batch_size=len(inputs), sync_dist=True)
        self._f1.update(logits.softmax(dim=1)[:, 1], labels)
        self.log("val_f1", self._f1, prog_bar=True, on_epoch=True, batch_size=len(inputs))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimiser and its schedule, stepped once per step of the optimiser."""
        settings = self._settings.optimiser
        kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
        weights = [p for p in self.network.parameters() if p.ndim > 1 or settings.decay == "all"]
        groups: list[dict[str, Any]] = [{"params": weights}]
        if settings.decay == "weights":  # factors, norms and biases do not decay
            others = [p for p in self.network.parameters() if p.ndim <= 1]
            groups.append({"params": others, "weight_decay": 0.0})
        optimiser = kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = LambdaLR(optimiser, partial(rate_factor, total_steps=self._total_steps, settings=settings))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
