"""One training step, as Lightning runs it."""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from coslide.settings import TrainingSettings
from coslide.training.loss import ClassBalancedFocalLoss
from coslide.training.schedule import poly_schedule


class Training(lightning.LightningModule):
    """A network with its loss, Adam and the poly schedule (Yang et al. 2023, section 4.2).

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

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of tiles (batch, band, row, col) and labels (batch, row, col)."""
        inputs, labels = batch
        loss: Tensor = self._loss(self.network(inputs), labels)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(inputs))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam with coupled L2 on all parameters, and its schedule, stepped once per batch."""
        settings = self._settings
        adam = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = poly_schedule(adam, self._total_steps, power=settings.poly_power)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
