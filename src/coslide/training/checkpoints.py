"""The folder of a training: what is trained is written down, checkpoints are whole, and only the same goes on."""

import json
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only the error that torch raises for a broken file
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from coslide.errors import InputError
from coslide.io.atomic import whole_output

LAST, BEST, RECORD = "last.ckpt", "best.ckpt", "settings.json"
_PREFIX = "network."  # of the weights in a checkpoint: the network is a part of what Lightning trains


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace the last one only when they are whole.

    Lightning's own way moves a file from the system's temporary folder, which is a copy where that is another disk: a
    kill or a full disk in the middle would cost the training.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` (torch's format) to `path`, whole or not at all."""
        with whole_output(Path(path)) as part:
            torch.save(checkpoint, part)


class MovableCheckpoint(ModelCheckpoint):
    """Checkpoints that know the best epoch again after the folder of a training was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what an earlier run of the same training has kept, wherever it lay then."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {"dirpath": self.dirpath, **{key: here(state_dict[key]) for key in paths}}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best})


def ended_early(checkpoint: Path, patience: int) -> bool:
    """Tell whether a training had ended, before its last epoch, as nothing was gained for `patience` epochs.

    Raises
    ------
    InputError
        If the checkpoint cannot be read.
    """
    states = _load(checkpoint, "callbacks", "meta") if patience else {}
    return any(name.startswith("EarlyStopping") and state["wait_count"] >= patience for name, state in states.items())


def require_unused(folder: Path, *, resume: bool) -> None:
    """Check that a training may use `folder`: it holds no other one, or one that is to be resumed.

    Raises
    ------
    InputError
        If not.
    """
    if (folder / LAST).exists() and not resume:
        raise InputError(f"{folder}: already holds a training; use --resume to go on, or another --out")


def prepare(folder: Path, wanted: dict[str, Any], network: nn.Module, *, resume: bool) -> Path | None:
    """Find the checkpoint to go on from, or None to start; what is trained is written down first.

    Parameters
    ----------
    folder
        Of the training.
    wanted
        What is to be trained: settings, options, number of tiles, fingerprint of the cubes.
    network
        The network to be trained.
    resume
        Go on where there is a checkpoint.

    Raises
    ------
    InputError
        If the folder holds a training and `resume` is not set, or one of other settings, cubes or network, or it
        cannot be read.
    """
    record, checkpoint = folder / RECORD, folder / LAST
    if checkpoint.exists():
        require_unused(folder, resume=resume)
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _broken(folder, error) from None
        for key in (key for key in wanted if found.get(key) != wanted[key]):
            why = {
                "cube": "; the cube has changed since its split was made",
                "parts": "; the area is split in another way than it was",
            }.get(key, "")
            differs = f"found {key} = {found.get(key)!r}, expected {wanted[key]!r} to resume{why}"
            raise InputError(f"{record}: {differs}; use another --out")
        try:
            network.load_state_dict(weights_of(checkpoint))
        except RuntimeError as error:
            differs = " ".join(str(error).split())
            message = f"{checkpoint}: is of another network than {wanted['network']} ({differs}); use another --out"
            raise InputError(message) from None
        return checkpoint
    with whole_output(record) as part:
        part.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    return None


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """Read the weights of the network in a checkpoint, on the CPU: the average where one was kept.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    state = _load(checkpoint, "state_dict", "cpu")
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}


def _load(checkpoint: Path, part: str, device: str) -> dict[str, Any]:
    try:
        return dict(torch.load(checkpoint, map_location=device, weights_only=True)[part])
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, EOFError, UnpicklingError) as error:
        raise _broken(checkpoint.parent, error) from None


def _broken(folder: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{folder}: cannot be resumed ({reason}); use another --out")
