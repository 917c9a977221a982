"""Training a network on tiles, resumable after a kill at any moment."""

import logging
import math
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.data import DataLoader

from coslide import networks
from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.io.atomic import report_write_errors
from coslide.networks.precision import CHOSEN, choose_precision
from coslide.samples.dataset import RandomWindows, TileBatches, Tiles
from coslide.training import checkpoints
from coslide.training.checkpoints import MovableCheckpoint, WholeCheckpoints
from coslide.training.interrupt import EndsBetweenBatches
from coslide.training.module import Start, Training

_log = logging.getLogger(__name__)


CPU_SHARE = 4  # of the channels of the original, a CPU trains one in so many
_LOADERS = 4  # processes that read tiles while a GPU computes


def network_options(settings: TrainingSettings, bands: Sequence[Band] | None) -> dict[str, Any]:
    """Collect the options to create the network of `settings` with, for these inputs.

    A width of None becomes that of the original on a GPU and a quarter of it on a CPU. A network that compares two
    dates is told which bands are before and after the event, where the bands are known. The settings' own `options` win
    over both.

    Raises
    ------
    InputError
        If there is no such network, or it compares two dates and the bands are all of one.
    """
    share = 1 if torch.cuda.is_available() else CPU_SHARE
    width = settings.width or networks.spec(settings.network).width // share
    dates = {} if bands is None else networks.date_options(settings.network, bands)
    return {**dates, "width": width, **settings.options}


def require_trainable(settings: TrainingSettings, bands: Sequence[Band] | None = None) -> None:
    """Check that the network of `settings` exists, takes its options and can be fed tiles of its size.

    Parameters
    ----------
    settings
        What to train.
    bands
        Its inputs; None where they are not known yet.

    Raises
    ------
    InputError
        If not.
    """
    count = 30 if bands is None else len(bands)  # of 30, networks that compare two dates know the dates themselves
    with torch.device("meta"):
        network = networks.create(settings.network, count, **network_options(settings, bands))
    tile, multiple = settings.sampling.tile, int(getattr(network, "size_multiple", 1))
    if tile % multiple:
        raise InputError(f"tile: found {tile}, expected a multiple of {multiple} for {settings.network}")
    if tile == multiple and any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        # of one tile alone, the smallest map would be one pixel, which has no variance
        raise InputError(f"tile: found {tile}, expected at least {2 * multiple} to train {settings.network}")


class TrainingData(NamedTuple):
    """What a network is trained on.

    Attributes
    ----------
    tiles
        The training tiles.
    inputs
        What the network is fed.
    validation
        Tiles of the validation part, scored after every epoch; None where there is no such part.
    fingerprints
        Of what the tiles come from (``cube``, ``parts``): a training is only resumed on the same.
    """

    tiles: Tiles
    inputs: Sequence[Band]
    validation: Tiles | None = None
    fingerprints: Mapping[str, str] = MappingProxyType({})


def fit(
    data: TrainingData, settings: TrainingSettings, folder: Path, *, resume: bool = False, start: Start | None = None
) -> nn.Module:
    """Train a network; it is returned in evaluation mode, on the CPU.

    After every epoch the whole state is written to ``folder/last.ckpt``. What is drawn depends on seed and epoch alone,
    so a resumed run repeats the interrupted epoch and ends as an uninterrupted one. What an epoch of windows at random
    places is, `RandomWindows` says.

    Parameters
    ----------
    data
        The tiles, and what they show.
    settings
        Network, rates, epochs or steps, and seed.
    folder
        For checkpoint, settings and logs (CSV and TensorBoard).
    resume
        Continue from ``last.ckpt`` where there is one.
    start
        A trained network of these settings and inputs to begin with; by default a new one is made.

    Raises
    ------
    InputError
        If the network needs bands that are not there; if `folder` holds another training and `resume` is not set; if
        `resume` is set and its settings, cubes, split or network differ or its checkpoint cannot be read; if the loss
        or the weights are no longer numbers; if there are fewer devices, or they lack the precision; or if the disk is
        full.
    SystemExit
        With code 143 if the process is asked to end (SIGTERM); the last whole epoch is kept.
    KeyboardInterrupt
        On Ctrl-C; the last whole epoch is kept.
    """
    if settings.runtime.precision == "16" and not torch.cuda.is_available():
        raise InputError("training.runtime.precision: found 16, which needs a GPU; expected 32, bf16 or auto on a CPU")
    settings = with_precision(data, settings, folder)
    network = first_network(settings, data.inputs)
    if start is not None:
        network.load_state_dict(start.network.state_dict())
    # A file of regions is known by the split that it makes, wherever it lies; how many members there are, and how maps
    # are made by them, is no matter of any one of them, so more can be added later and the rest changed.
    apart = ("split.regions", "members", "tta", "threshold")
    record = {name: value for name, value in settings.dotted().items() if not name.startswith(apart)}
    record |= network_options(settings, data.inputs) | {**data.fingerprints}
    record |= {"bands": len(data.inputs), "tiles": len(data.tiles)}
    kept = checkpoints.BEST if settings.optimiser.keep == "best" else checkpoints.LAST
    checkpoint = checkpoints.prepare(folder, record, network, resume=resume, kept=kept)
    loader, held_out = loaders(data, settings)
    optimiser = settings.optimiser
    epochs = math.ceil(optimiser.steps / len(loader)) if optimiser.steps else optimiser.epochs or 0
    training = Training(network, settings, total_steps=epochs * len(loader), start=start)
    interrupt = EndsBetweenBatches()
    with report_write_errors(folder), _lightning_notes_hidden(), interrupt.listening():
        trainer = _trainer(data, settings, folder, epochs=epochs)
        trainer.callbacks.append(interrupt)  # type: ignore[attr-defined]
        try:
            if checkpoint is None or not checkpoints.ended_early(checkpoint, optimiser.patience):
                trainer.fit(training, loader, held_out, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None  # Lightning would end with code 0, as if it had finished
        except SystemExit:
            raise KeyboardInterrupt from None  # what Lightning makes of Ctrl-C
        except ProcessRaisedException as error:
            raise _as_raised(error) from None
        except Exception as error:
            if checkpoint is None or training.begun or isinstance(error, InputError | OSError):
                raise
            raise checkpoints.broken(checkpoint, error) from error  # a state that Lightning cannot take over
        finally:
            training.close()
    network.load_state_dict(checkpoints.weights_of(folder / kept))
    return network.eval()


def first_network(settings: TrainingSettings, inputs: Sequence[Band]) -> nn.Module:
    """Make the network with the weights that a training with these settings and inputs begins with."""
    lightning.seed_everything(settings.seed, verbose=False)
    return networks.create(settings.network, len(inputs), **network_options(settings, inputs))


def loaders(data: TrainingData, settings: TrainingSettings) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Make what feeds training and, where there is one, the validation part; parameters as for `fit`."""
    batches = (RandomWindows if settings.sampling.places == "random" else TileBatches)(data.tiles, settings)
    # On a CPU, processes that load would take the cores that compute; a tile is a copy from a mapped file.
    gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"num_workers": _LOADERS if gpu else 0, "persistent_workers": gpu, "pin_memory": gpu}
    loader = DataLoader(data.tiles, batch_sampler=batches, **options)
    if data.validation is None:
        return loader, None
    in_order = TileBatches(data.validation, settings, in_order=True)
    return loader, DataLoader(data.validation, batch_sampler=in_order, **options)


def _trainer(data: TrainingData, settings: TrainingSettings, folder: Path, *, epochs: int) -> lightning.Trainer:
    """Make what runs a training, and keeps checkpoints, their average and logs."""
    runtime, optimiser, gpus = settings.runtime, settings.optimiser, torch.cuda.device_count()
    if gpus and runtime.devices > gpus:
        raise InputError(f"training.runtime.devices: found {runtime.devices}, expected at most {gpus}, all GPUs")
    # Every checkpoint at the end of an epoch, after its validation: what is resumed begins with the next epoch.
    whole_epochs: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    callbacks: list[Callback] = [MovableCheckpoint(folder, filename="last", save_top_k=1, **whole_epochs)]
    if data.validation is not None:  # before the last one, which is to know which epoch was the best
        callbacks.insert(0, MovableCheckpoint(folder, filename="best", monitor="val_f1", mode="max", **whole_epochs))
    if optimiser.average:
        callbacks.append(EMAWeightAveraging(decay=optimiser.average))
    if optimiser.patience:
        callbacks.append(EarlyStopping("val_f1", mode="max", patience=optimiser.patience))
    return lightning.Trainer(
        accelerator="gpu" if gpus else "cpu",
        devices=runtime.devices,
        strategy="ddp_spawn" if runtime.devices > 1 else "auto",
        use_distributed_sampler=False,  # `Batches` shares the tiles
        # on a CPU `Training` sees to the precision, in each of its threads
        precision=f"{runtime.precision}-mixed" if gpus and runtime.precision != "32" else "32-true",  # type: ignore[arg-type]
        max_epochs=epochs,
        deterministic=True,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=[CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="tensorboard")],
        plugins=[WholeCheckpoints()],
        callbacks=callbacks,
    )


def with_precision(data: TrainingData, settings: TrainingSettings, folder: Path) -> TrainingSettings:
    """Decide the precision of settings that leave it open; a training that is resumed keeps the one that it began with.

    Raises
    ------
    InputError
        If the kept choice cannot be read.
    """
    if settings.runtime.precision != "auto":
        return settings
    if torch.cuda.is_available():
        return settings.changed({"runtime.precision": "bf16" if torch.cuda.is_bf16_supported() else "16"})
    network, tile = first_network(settings, data.inputs), settings.sampling.tile
    chosen = choose_precision(network, len(data.inputs), tile, gradients=True, what="training", kept=folder / CHOSEN)
    return settings.changed({"runtime.precision": chosen})


def _as_raised(error: ProcessRaisedException) -> Exception:
    """Return the error of one of several processes as one process would raise it; only its text is handed on."""
    last = str(error).strip().splitlines()[-1]
    name = f"{InputError.__module__}.{InputError.__qualname__}: "
    return InputError(last.removeprefix(name)) if last.startswith(name) else error


@contextmanager
def _lightning_notes_hidden() -> Iterator[None]:
    """Hide what Lightning says of devices and services; its errors and other warnings are shown."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    hidden = (
        ".*does not have many workers.*",  # tiles lie in a file that is mapped into memory; processes would copy them
        "Checkpoint directory .* exists and is not empty",  # it holds the settings before the first checkpoint
        "You defined a `validation_step` but have no `val_dataloader`",  # there may be no validation subset
        ".*isinstance.treespec, LeafSpec.*",  # Lightning and torch disagree about a private class of torch's
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="|".join(hidden))
            yield
    finally:
        logger.setLevel(level)
