"""What a study will take: its trainings, hours from timed steps, and disk."""

import itertools
import math
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from coslide import networks
from coslide.config.records import StrictModel
from coslide.config.training import TrainingSettings
from coslide.cube.band import Band
from coslide.evaluation.study import Run
from coslide.io.executor import available_processors
from coslide.labels import NODATA
from coslide.networks.precision import mixed_precision, one_thread
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scenes
from coslide.pipeline.study import State, state_of, whole_runs
from coslide.pipeline.train import plan_training
from coslide.samples.dataset import ROUNDS, Raster, Tiles
from coslide.samples.split import Subset, select_tiles
from coslide.training.fit import TrainingData, first_network, loaders
from coslide.training.module import Training
from coslide.windows import Window

_TIMED = 3  # steps, after one that warms up
_STATES = 4  # numbers that a checkpoint and a bundle keep of each weight, the two moments of Adam among them
_BESIDE = 5e6  # bytes of maps, figures and logs of a run
_FORWARD = 1 / 3  # of a step: the backward pass takes twice as long
_BLENDED = 4  # times that a mapped pixel is predicted: windows overlap by half


class PlannedRun(StrictModel):
    """A training of a study, what there is of it, and what it will take; nulls where it is there."""

    run: Run
    """The training."""
    state: State
    """What there is of it."""
    steps: int | None = None
    """Updates of the weights, of all members."""
    step_s: float | None = None
    """Time of a step by itself [s]: of a GPU, or of one core of a CPU."""
    scoring_s: float | None = None
    """The same of the map of its held-out pixels."""
    disk_bytes: float | None = None
    """What its folder will take."""


class Plan(StrictModel):
    """The plan of a study."""

    runs: list[PlannedRun]
    """All its trainings."""
    hours: float
    """Hours that those take which are not there yet, on all cores of this machine, or its GPU."""
    disk_gb: float
    """What they will take on the disk [GB]."""
    free_gb: float
    """What is free there [GB]."""

    def line(self) -> str:
        """Write the plan in one line for people."""
        states = Counter(one.state for one in self.runs)
        to_do = len(self.runs) - states["done"] - states["elsewhere"]
        took = f"about {self.hours:.1f} hours" if self.hours >= 1 else f"about {60 * self.hours:.0f} minutes"
        disk = f"{self.disk_gb:.1f} GB of disk ({self.free_gb:.0f} GB are free)"
        replaced = (
            f", {states['changed']} of which replace runs of other settings or inputs" if states["changed"] else ""
        )
        return f"{len(self.runs)} trainings, {to_do} to do{replaced}: {took} on this machine alone, {disk}"


class _Cost(NamedTuple):
    steps: int
    step_s: float
    scoring_s: float
    disk_bytes: float


def plan_of(runs: Sequence[Run], out: Path, index: Path | str, *, reuse: Sequence[Path] = ()) -> Plan:
    """Estimate what the runs of a study of one event will take, by timing a few steps of each network.

    Parameters
    ----------
    runs
        From `coslide.pipeline.factor.plan_factor`.
    out
        Folder of the study, which need not be there.
    index
        The cube.
    reuse
        As for `coslide.pipeline.study.carry_out`.

    Raises
    ------
    InputError
        If a folder of `out` holds something else, or one to reuse has no run.

    Notes
    -----
    On a CPU the steps of one core are timed and shared out to all; other programs make it slower. Baselines are not in
    it, and a run that was interrupted counts in full. Every seed of a case is taken to need what its first one does.
    """
    scenes, found = open_labelled_scenes(index), whole_runs(reuse)
    costs: dict[str, _Cost] = {}
    planned = []
    for run in runs:
        state, _ = state_of(run, out, found)
        key, cost = f"{run.protocol} {run.case}", dict[str, Any]()
        if state not in ("done", "elsewhere"):
            if key not in costs:
                costs[key] = _cost(scenes, TrainingSettings().changed(run.settings))
            cost = costs[key]._asdict()
        planned.append(PlannedRun(run=run, state=state, **cost))
    cores = 1 if torch.cuda.is_available() else available_processors()
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    work_s = sum((one.steps or 0) * (one.step_s or 0) + (one.scoring_s or 0) for one in planned)
    return Plan(
        runs=planned,
        hours=work_s / 3600 / cores,
        disk_gb=sum(one.disk_bytes or 0 for one in planned) / 1e9,
        free_gb=shutil.disk_usage(place).free / 1e9,
    )


def _cost(scenes: Sequence[LabelledScene], settings: TrainingSettings) -> _Cost:
    """Estimate what a training takes."""
    plan = plan_training(scenes, settings)
    inputs, tile = plan.encoder.inputs, settings.sampling.tile
    step_s, parameters = _timed(settings, inputs)
    held_out = sum(int(((one.split.subsets == Subset.TEST) & (one.labels != NODATA)).sum()) for one in plan.scenes)
    windows = _BLENDED * (8 if settings.tta else 1) * settings.members * held_out / tile**2
    return _Cost(
        steps=settings.members * _steps(plan.scenes, settings),
        step_s=step_s,
        scoring_s=windows * _FORWARD * step_s / settings.optimiser.batch,
        disk_bytes=settings.members * 4 * parameters * (_STATES + bool(settings.optimiser.average)) + _BESIDE,
    )


def _steps(scenes: Sequence[LabelledScene], settings: TrainingSettings) -> int:
    """Count the steps of a training."""
    optimiser, sampling = settings.optimiser, settings.sampling
    if sampling.places == "tiles":
        samples = sum(len(select_tiles(one.split, one.labels, settings, name=one.name)) for one in scenes)
        of_epoch = math.ceil(samples / optimiser.batch)
    elif optimiser.steps is not None:
        of_epoch = math.ceil(optimiser.steps / ROUNDS)
    else:
        trained = sum(int(((one.split.subsets == Subset.TRAIN) & (one.labels != NODATA)).sum()) for one in scenes)
        of_epoch = math.ceil(trained / sampling.tile**2 / optimiser.batch)
    return of_epoch * (optimiser.epochs or math.ceil((optimiser.steps or 0) / of_epoch))


def _timed(settings: TrainingSettings, inputs: Sequence[Band]) -> tuple[float, int]:
    """Time a step of training [s] on made-up tiles, from cutting them to the new weights, and count the parameters."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, side = first_network(settings, inputs).to(device), settings.sampling.tile
    random, shape = np.random.default_rng(0), (2 * side, 2 * side)
    values = random.standard_normal((len(inputs), *shape), dtype=np.float32)
    raster = Raster(values, (random.random(shape) < 0.05).astype(np.uint8), np.full(shape, Subset.TRAIN, np.uint8))
    windows = [Window(0, 0, side, side)] * settings.optimiser.batch
    batches, _ = loaders(TrainingData(Tiles([raster], [windows], side_px=side), inputs), settings)
    training = Training(network, settings, total_steps=1)
    update: Any = training.configure_optimizers()
    endless = itertools.chain.from_iterable(itertools.repeat(batches))
    clock, times = (time.thread_time if device.type == "cpu" else time.perf_counter), []
    with one_thread(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*trainer. reference is not registered.*")  # nothing is logged here
        for _ in range(_TIMED + 1):
            started = clock()
            batch = [part.to(device) for part in next(endless)]
            with mixed_precision("32" if settings.runtime.precision == "32" else "bf16", device.type):
                loss = training.training_step((batch[0], batch[1]), 0)
            update["optimizer"].zero_grad()
            torch.autograd.backward(loss)
            update["optimizer"].step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(clock() - started)
    return float(np.median(times[1:])), networks.parameter_count(network)
