"""One training step, as Lightning runs it."""

from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import BinaryF1Score

from coslide.errors import InputError
from coslide.labels import UNKNOWN
from coslide.settings import TrainingSettings
from coslide.training.loss import ClassBalancedFocalLoss, class_ratio
from coslide.training.schedule import poly_schedule

_STEPS_BETWEEN_CHECKS = 50  # on a GPU, where looking at the loss stops the queue


class Training(lightning.LightningModule):
    """A network with its loss, optimiser and the poly schedule (Yang et al. 2023, section 4.2).

    Logs ``loss``, ``class_ratio`` (what a landslide pixel weighs against a background pixel) and, where there is a
    validation part, ``val_loss`` and ``val_f1``.

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
        self._loss = ClassBalancedFocalLoss(
            eta=settings.balance_eta, gamma=settings.focal_gamma, scope=settings.balance_scope
        )
        self._f1 = BinaryF1Score(ignore_index=UNKNOWN)

    def on_train_epoch_start(self) -> None:
        """Return nothing; what a network draws depends on seed and epoch alone, so a resumed run repeats it."""
        torch.manual_seed(self._settings.seed + (self.current_epoch << 32))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of tiles (batch, band, row, col) and labels (batch, row, col).

        Raises
        ------
        InputError
            If it is no number any more.
        """
        inputs, labels = batch
        loss: Tensor = self._loss(self.network(inputs), labels)
        if (loss.device.type == "cpu" or batch_idx % _STEPS_BETWEEN_CHECKS == 0) and not torch.isfinite(loss):
            raise InputError(
                f"the training diverged in epoch {self.current_epoch}: the loss is {loss.item()}, expected a number; "
                f"lower training.learning_rate (found {self._settings.learning_rate:g})"
            )
        told: dict[str, Any] = {"batch_size": len(inputs), "on_epoch": True, "sync_dist": self._settings.devices > 1}
        self.log("loss", loss, prog_bar=True, on_step=True, **told)
        self.log("class_ratio", class_ratio(self._loss.weights(labels, 2)), on_step=False, **told)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Return nothing; counts one batch of the validation part."""
        inputs, labels = batch
        logits = self.network(inputs)
        self.log("val_loss", self._loss(logits, labels), on_epoch=True, batch_size=len(inputs), sync_dist=True)
        self._f1.update(logits.softmax(dim=1)[:, 1], labels)
        self.log("val_f1", self._f1, prog_bar=True, on_epoch=True, batch_size=len(inputs))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and its schedule, stepped once per step of the optimiser."""
        settings = self._settings
        kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
        optimiser = kind(self._groups(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        warmup_steps = round(settings.warmup_epochs * self._total_steps / settings.epochs)
        schedule = poly_schedule(optimiser, self._total_steps, power=settings.poly_power, warmup_steps=warmup_steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters that decay and, if only weights do, those that don't: factors, norms and biases."""
        parameters = list(self.network.parameters())
        if self._settings.decay == "all":
            return [{"params": parameters}]
        weights = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        return [{"params": weights}, {"params": others, "weight_decay": 0.0}]
