"""The folder of a training: what is trained is written down, checkpoints are whole, and only the same goes on."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from coslide.config.records import read_record
from coslide.errors import InputError, first_line
from coslide.io.atomic import whole_output
from coslide.io.paths import file_exists, require_regular_file
from coslide.networks.base import beyond_measure

LAST, BEST, RECORD = "last.ckpt", "best.ckpt", "settings.json"
_LATER = {"optimiser.momentum": 0.0}
"""Settings that trainings of before do not name, and what they were then."""
_NO_NUMBERS = "holds NaN, infinity or numbers beyond any weight, expected numbers"
_DEPTH = 6  # of the state of an optimiser in a checkpoint
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
    states = _load(checkpoint, "callbacks") if patience else {}
    try:
        return any(name.startswith("EarlyStopping") and one["wait_count"] >= patience for name, one in states.items())
    except (AttributeError, LookupError, TypeError) as error:
        raise broken(checkpoint, error) from None


def require_unused(folder: Path, *, resume: bool) -> None:
    """Check that a training may use `folder`: it holds no other one, or one that is to be resumed.

    Raises
    ------
    InputError
        If not.
    """
    if file_exists(folder / LAST) and not resume:
        raise InputError(f"{folder}: already holds a training; use --resume to go on, or another --out")


def prepare(folder: Path, wanted: dict[str, Any], network: nn.Module, *, resume: bool, kept: str = LAST) -> Path | None:
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
    kept
        The checkpoint whose weights count in the end: it has to be whole too.

    Raises
    ------
    InputError
        If the folder holds a training and `resume` is not set, or one of other settings, cubes or network, or it
        cannot be read.
    """
    record, checkpoint = folder / RECORD, folder / LAST
    require_unused(folder, resume=resume)
    if file_exists(checkpoint):
        written = read_record(record, dict[str, Any], advice="use another --out")
        found = _LATER | written
        for key in (key for key in wanted if found.get(key) != wanted[key]):
            why = {
                "cube": "; the cube has changed since its split was made",
                "parts": "; the area is split in another way than it was",
            }.get(key, "")
            differs = f"found {key} = {found.get(key)!r}, expected {wanted[key]!r} to resume{why}"
            raise InputError(f"{record}: {differs}; use another --out")
        for path in (folder / kept, checkpoint):
            try:
                network.load_state_dict(weights_of(path))
            except RuntimeError as error:
                differs = " ".join(str(error).split())
                message = f"{path}: is of another network than {wanted['network']} ({differs}); use another --out"
                raise InputError(message) from None
        if any(map(beyond_measure, _tensors(_load(checkpoint, "optimizer_states")))):
            raise InputError(f"{checkpoint}: the state of the optimiser {_NO_NUMBERS}; use another --out")
        return checkpoint
    with whole_output(record) as part:
        part.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    return None


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """Read the weights of the network in a checkpoint, on the CPU: the average where one was kept.

    Raises
    ------
    InputError
        If it cannot be read, or one holds NaN or infinity.
    """
    state = _load(checkpoint, "state_dict")
    try:
        found = {name.removeprefix(_PREFIX): one for name, one in state.items() if name.startswith(_PREFIX)}
    except AttributeError as error:
        raise broken(checkpoint, error) from None
    for name, tensor in found.items():
        if isinstance(tensor, Tensor) and beyond_measure(tensor):
            advice = "use another --out, with a lower training.optimiser.learning_rate"
            raise InputError(f"{checkpoint}: {name} {_NO_NUMBERS}; {advice}")
    return found


def broken(path: Path, error: Exception) -> InputError:
    """Make the line about a file of a training that it cannot be resumed from."""
    return InputError(f"{path}: cannot be resumed ({first_line(error)[:300]}); use another --out")


def _load(checkpoint: Path, part: str) -> Any:
    """Read a part of a checkpoint, every byte of which is held against its checksum first."""
    require_regular_file(checkpoint)
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        return torch.load(checkpoint, map_location="cpu", weights_only=True)[part]
    except Exception as error:  # noqa: BLE001 - archives, pickles and tensors have each classes of their own
        raise broken(checkpoint, error) from None


def _tensors(content: Any, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Find the tensors in nested lists and dictionaries."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict | list | tuple) and depth:
        for one in content.values() if isinstance(content, dict) else content:
            yield from _tensors(one, depth - 1)
