"""Training a network on tiles, resumable after a kill at any moment."""

import json
import logging
import math
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only the error that torch raises for a broken file
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader

from coslide import networks
from coslide.errors import InputError
from coslide.files import unwritable_is_named, whole_output
from coslide.samples.dataset import Order, Tiles
from coslide.settings import TrainingSettings
from coslide.training.module import Training

CPU_SHARE = 4  # of the channels of the original, a CPU trains one in so many


def network_options(settings: TrainingSettings, bands: Sequence[str]) -> dict[str, Any]:
    """Return the options to create the network of `settings` with, for a cube whose bands have these names.

    A width of None becomes that of the original on a GPU and a quarter of it on a CPU. A network that compares two
    dates is told which bands are before and after the event. The settings' own `options` win over both.

    Raises
    ------
    InputError
        If there is no such network, or it compares two dates and the bands are all of one.
    """
    return {**networks.date_options(settings.network, bands), **_own_options(settings)}


def require_trainable(settings: TrainingSettings, bands: Sequence[str] | None = None) -> None:
    """Return nothing if the network of `settings` exists, takes its options and can be fed tiles of its size.

    Parameters
    ----------
    settings
        What to train.
    bands
        Names of the bands of its input; None where they are not known yet.

    Raises
    ------
    InputError
        If not.
    """
    with torch.device("meta"):
        if bands is None:  # the number by which networks that compare two dates know the dates themselves
            network = networks.create(settings.network, 30, **_own_options(settings))
        else:
            network = networks.create(settings.network, len(bands), **network_options(settings, bands))
    multiple = int(getattr(network, "size_multiple", 1))
    if settings.tile % multiple:
        raise InputError(f"tile: found {settings.tile}, expected a multiple of {multiple} for {settings.network}")
    if settings.tile == multiple and any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise InputError(  # of one tile alone, the smallest map would be one pixel, which has no variance
            f"tile: found {settings.tile}, expected at least {2 * multiple} to train {settings.network}"
        )


def fit(
    tiles: Tiles,
    settings: TrainingSettings,
    folder: Path,
    *,
    bands: Sequence[str],
    cube: str = "",
    resume: bool = False,
) -> nn.Module:
    """Return the network trained on `tiles`, in evaluation mode; the last epoch's weights, on the CPU.

    After every epoch the whole state is written to ``folder/last.ckpt``. The order of the tiles depends on the seed and
    the epoch alone, so a resumed run repeats the interrupted epoch and ends as an uninterrupted one.

    Parameters
    ----------
    tiles
        The training tiles.
    settings
        Network, rates, epochs and seed.
    folder
        For checkpoint, settings and logs (CSV and TensorBoard).
    bands
        Names of the input channels.
    cube
        Fingerprint of the cube that the tiles come from; a training is only resumed on the same.
    resume
        Continue from ``last.ckpt`` where there is one.

    Raises
    ------
    InputError
        If the network needs bands that are not there; if `folder` holds another training and `resume` is not set; if
        `resume` is set and its settings differ or its checkpoint cannot be read; if the weights are no longer numbers;
        or if the disk is full.
    SystemExit
        With code 143 if the process is asked to end (SIGTERM); the last whole epoch is kept.
    KeyboardInterrupt
        On Ctrl-C; the last whole epoch is kept.
    """
    options = network_options(settings, bands)
    record = {**settings.model_dump(), **options, "bands": len(bands), "tiles": len(tiles), "cube": cube}
    checkpoint = _prepare(folder, record, resume=resume)
    lightning.seed_everything(settings.seed, verbose=False)
    network = networks.create(settings.network, len(bands), **options)
    steps = settings.epochs * math.ceil(len(tiles) / settings.batch)
    order = Order(len(tiles), seed=settings.seed, augment=settings.augment == "flips")
    with unwritable_is_named(folder), _lightning_notes_hidden():
        trainer = lightning.Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=settings.epochs,
            deterministic=True,
            enable_model_summary=False,
            log_every_n_steps=1,
            logger=[CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="tensorboard")],
            plugins=[_WholeCheckpoints()],
            callbacks=[
                _Bar(),
                ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False),
            ],
        )
        loader = DataLoader(tiles, batch_size=settings.batch, sampler=order)
        training = Training(network, settings, total_steps=steps)
        try:
            trainer.fit(training, loader, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None  # Lightning would end with code 0, as if it had finished
        except SystemExit:
            raise KeyboardInterrupt from None  # what Lightning makes of Ctrl-C
    if not all(torch.isfinite(parameter).all() for parameter in network.parameters()):
        raise InputError(f"{folder}: the training diverged (weights are no numbers); lower the learning rate")
    return network.cpu().eval()


def _own_options(settings: TrainingSettings) -> dict[str, Any]:
    width = settings.width
    if width is None:
        original = networks.entry(settings.network).width
        width = original if torch.cuda.is_available() else original // CPU_SHARE
    return {"width": width, **settings.options}


def _prepare(folder: Path, wanted: dict[str, Any], *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, or None to start; what is trained is written down first."""
    record = folder / "settings.json"
    checkpoint = folder / "last.ckpt"
    if checkpoint.exists():
        if not resume:
            raise InputError(f"{folder}: already holds a training; use --resume to go on, or another --out")
        found = _written_down(record, checkpoint)
        changed = [key for key in wanted if found.get(key) != wanted[key]]
        if changed:
            key = changed[0]
            raise InputError(
                f"{record}: found {key} = {found.get(key)!r}, expected {wanted[key]!r} to resume; use another --out"
            )
        return checkpoint
    with whole_output(record) as part:
        part.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    return None


def _written_down(record: Path, checkpoint: Path) -> dict[str, Any]:
    """Return the settings of a training, with its checkpoint known to be readable."""
    try:
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        torch.load(checkpoint, map_location="meta", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{record.parent}: cannot be resumed ({reason}); use another --out") from None
    return found


class _Bar(RichProgressBar):
    """Epoch, loss, speed and time left, on the error channel: standard output belongs to the results."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        """Return what the bar shows beside the speed: the losses, without the number of the log folder."""
        shown = super().get_metrics(*args)
        return {name: value for name, value in shown.items() if name != "v_num"}


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace the last one only when they are whole.

    Lightning's own way moves a file from the system's temporary folder, which is a copy where that is another disk: a
    kill or a full disk in the middle would cost the training.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Return nothing; writes `checkpoint` (torch's format) to `path`, whole or not at all."""
        with whole_output(Path(path)) as part:
            torch.save(checkpoint, part)


@contextmanager
def _lightning_notes_hidden() -> Iterator[None]:
    """Hide what Lightning says of devices and services; its errors and other warnings are shown."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Tiles lie in memory; loader processes would only copy them.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # The folder of a training holds its settings before the first checkpoint.
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            # A run may be moved between two trainings.
            warnings.filterwarnings("ignore", message="The dirpath has changed from")
            # Lightning and torch disagree about a private class of torch's; nothing to be done here.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)
