"""Interrupt build, train, map and run at random moments, go on, and compare with what was not interrupted.

    python tools/fuzz/kill.py --kills 50 --seed 1 --steps build map

Each step is killed (SIGKILL), interrupted (Ctrl-C) and terminated (SIGTERM) at random moments; it meets a file that
may not grow, a full disk and a disk that cannot be written (the last two only where mounting is allowed); and two
processes write the same at once. After each: what lies under a final name is whole, the same command goes on, and its
result is that of a run without interruption. The exit code is 1 if one was not.
"""

import argparse
import collections
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
import safetensors.numpy
import xarray
from cases import command, numbers, warm_up
from corpus import write_event

WAIT_S = 600
# Single precision: a trial of bfloat16 may choose otherwise each time.
SETTINGS = ("--epochs", "3", "--set", "runtime.precision=32")
WINDOWS = ("--window", "32", "--stride", "8", "--batch", "1", "--precision", "32")
AREA, PIXEL_M2 = "area in pixels", 100.0
PIXELS = 3  # whose probability is the threshold to 2e-5 may fall on either side of it


class Step(NamedTuple):
    """A command, what is there before it, and what it writes."""

    name: str
    words: tuple[str, ...]
    out: str
    resume: tuple[str, ...] = ("--resume",)


STEPS = (
    Step("build", ("build", "event.toml", "--out", "index.zarr"), "index.zarr", ()),
    Step("train", ("train", "index.zarr", "--out", "out", "--no-baselines", *SETTINGS), "out"),
    Step("map", ("map", "model", "index.zarr", "--out", "out", *WINDOWS), "out"),
    Step("run", ("run", "event.toml", "--out", "out", *SETTINGS), "out"),
)


class Ended(NamedTuple):
    """How a process ended: its exit code (minus a signal) and what it printed on the error channel."""

    code: int
    lines: list[str]


def start(words: tuple[str, ...], folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Start a command in a forked child whose working folder is `folder`; returns its process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 1
    try:
        os.chdir(folder)
        file = os.open(folder / f"log.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        prepare()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = command(words)
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - whatever it is, it is to be told
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(child: int, folder: Path) -> Ended:
    """Wait for a process, and take what it printed."""
    until = time.monotonic() + WAIT_S
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    log = folder / f"log.{child}"
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    log.unlink(missing_ok=True)
    return Ended(os.waitstatus_to_exitcode(status), [line for line in lines if line.strip()])


# --- what came out ---


def results(folder: Path) -> dict[str, object]:
    """Read what a command wrote, under names that a comparison can tell apart; whatever is not whole raises."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = str(path.relative_to(folder))
        if (
            any(part.startswith(".") for part in path.relative_to(folder).parts)
            or "training" in name
            or not path.is_file()
        ):
            continue
        if path.suffix == ".tif" and path.name != "density.tif":
            with rasterio.open(path) as file:
                found[name] = file.read()
        elif path.suffix == ".safetensors":
            found |= {f"{name} {key}": value for key, value in safetensors.numpy.load_file(path).items()}
        elif path.suffix in {".gpkg", ".parquet"}:
            parquet = path.suffix == ".parquet"
            layers = [""] if parquet else pyogrio.list_layers(path)[:, 0]
            frames = [gpd.read_parquet(path) if parquet else gpd.read_file(path, layer=layer) for layer in layers]
            found[f"{name} {AREA}"] = sum(one.geometry.area.sum() for one in frames if "geometry" in one) / PIXEL_M2
        elif path.name == "metrics.json":
            found |= {f"{name} {key}": value for key, value in numbers(json.loads(path.read_text())["pixels"])}
        elif path.suffix == ".json":
            json.loads(path.read_text())
    for cube in [folder, *folder.glob("*.zarr")]:
        if (cube / ".zgroup").exists():
            with xarray.open_zarr(cube, consolidated=False, mask_and_scale=False) as opened:
                found |= {f"{cube.name} {key}": np.asarray(opened[key]) for key in opened.data_vars if opened[key].ndim}
    return found


def difference(found: dict[str, object], expected: dict[str, object]) -> str:
    """Say what differs; an empty text if nothing."""
    if missing := expected.keys() - found.keys():
        return f"{sorted(missing)[0]} is missing"
    for name, value in expected.items():
        one, other = np.asarray(found[name]), np.asarray(value)
        if one.shape != other.shape:
            return f"{name}: {one.shape}, expected {other.shape}"
        tolerance = 0 if ".zarr" in name else PIXELS if AREA in name else 2e-5
        if one.dtype.kind in "fiu" and not np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True):
            return f"{name} differs by {np.nanmax(np.abs(one.astype(float) - other.astype(float))):.3g}"
    return ""


# --- the interruptions ---


class Trial:
    """The interruptions of one step: each begins in a copy of what the step needs, and ends with a comparison."""

    def __init__(self, step: Step, inputs: Path, random: Random) -> None:
        self.step, self.inputs, self.random = step, inputs, random
        self.faults: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.duration_s = 0.0
        with self.folder() as folder:
            started = time.monotonic()
            ended = wait(start(step.words, folder), folder)
            self.duration_s = time.monotonic() - started
            if ended.code:
                raise SystemExit(f"{step.name}: ends with {ended.code} uninterrupted: {ended.lines[-1:]}")
            self.expected = results(folder / step.out)
            self.largest = max(path.stat().st_size for path in (folder / step.out).rglob("*") if path.is_file())
            self.bytes = sum(path.stat().st_size for path in (folder / step.out).rglob("*") if path.is_file())

    @contextlib.contextmanager
    def folder(self, place: Path | None = None) -> Iterator[Path]:
        """Give a new folder with the inputs of the step."""
        with tempfile.TemporaryDirectory(prefix="coslide-kill-", dir=place) as name:
            folder = Path(name) / "input"
            shutil.copytree(self.inputs, folder)
            yield folder

    def signalled(self, number: int) -> None:
        """Send a signal at a random moment, and go on."""
        what = signal.Signals(number).name
        with self.folder() as folder:
            child = start(self.step.words, folder)
            moment = self.random.uniform(0, self.duration_s)
            time.sleep(moment)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            ended = wait(child, folder)
            self.told(what, ended, {0, -number, 130, 143}, f"after {moment:.2f} s")
            self.goes_on(what, folder, f"{what} after {moment:.2f} s")

    def limited(self) -> None:
        """Let no file grow beyond a random size: what a quota does."""
        limit = int(self.random.uniform(0.02, 1.0) * self.largest)

        def prepare() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        with self.folder() as folder:
            ended = wait(start(self.step.words, folder, prepare), folder)
            self.told("no file above a size", ended, {0, 2}, f"{limit} bytes")
            self.goes_on("no file above a size", folder, f"file limit of {limit} bytes")

    def full_disk(self, mounted: Path) -> None:
        """Write to a disk with too little space; what it holds then is whole."""
        size_kb = max(16, int(self.random.uniform(0.05, 1.2) * self.bytes / 1024))
        with _mounted(mounted, f"size={size_kb}k"), self.folder() as folder:
            words = tuple(
                str(mounted / self.step.out) if word == self.step.out and i else word
                for i, word in enumerate(self.step.words)
            )
            ended = wait(start(words, folder), folder)
            self.told("full disk", ended, {0, 2}, f"{size_kb} kB")
            self.whole("full disk", mounted / self.step.out, f"{size_kb} kB")

    def read_only(self, mounted: Path) -> None:
        """Write to a disk that cannot be written."""
        with _mounted(mounted, "ro,size=1m"), self.folder() as folder:
            words = tuple(
                str(mounted / self.step.out) if word == self.step.out and i else word
                for i, word in enumerate(self.step.words)
            )
            self.told("read-only disk", wait(start(words, folder), folder), {2}, "")

    def two_writers(self) -> None:
        """Start two processes that write the same: one at least succeeds, the other says so or succeeds too."""
        with self.folder() as folder:
            first = start(self.step.words, folder)
            time.sleep(self.random.uniform(0, self.duration_s / 2))
            second = start(self.step.words, folder)
            ended = [wait(child, folder) for child in (first, second)]
            for one in ended:
                self.told("two writers", one, {0, 2}, "")
            if all(one.code for one in ended):
                self.faults.append(f"{self.step.name}: two writers: neither succeeded: {ended[0].lines[-1:]}")
            self.goes_on("two writers", folder, "two writers")

    def told(self, what: str, ended: Ended, allowed: set[int], where: str) -> None:
        """Check the exit code, and that a refusal is one line."""
        self.counts[what] += 1
        errors = [line for line in ended.lines if line.startswith("coslide:")]
        trace = any("Traceback" in line for line in ended.lines)
        if ended.code not in allowed or trace or (ended.code == 2 and len(errors) != 1):
            told = [line for line in ended.lines if "coslide/" in line][-1:] + ended.lines[-1:]
            self.faults.append(f"{self.step.name}: {what} {where}: exit code {ended.code}: {told}")

    def whole(self, what: str, out: Path, where: str) -> None:
        """Check that what lies under a final name can be read."""
        try:
            results(out)
        except Exception as error:  # noqa: BLE001 - of any library
            self.faults.append(f"{self.step.name}: {what} {where}: half-written: {error!r}"[:300])

    def goes_on(self, what: str, folder: Path, where: str) -> None:
        """Run the command again, and compare with the uninterrupted one."""
        self.whole(what, folder / self.step.out, where)
        ended = wait(start((*self.step.words, *self.step.resume), folder), folder)
        if ended.code:
            self.faults.append(f"{self.step.name}: {where}: cannot go on, exit code {ended.code}: {ended.lines[-1:]}")
            return
        if different := difference(results(folder / self.step.out), self.expected):
            self.faults.append(f"{self.step.name}: {where}: {different}")
        hidden = [
            path.name
            for path in [*folder.iterdir(), *(folder / self.step.out).iterdir()]
            if path.name.startswith(".") and ".z" not in path.suffix
        ]
        if left := [name for name in hidden if ".part" in name or name.endswith(".old")]:
            self.faults.append(f"{self.step.name}: {where}: left behind: {left}")


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system for the length of the block."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)  # noqa: S607
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def may_mount(folder: Path) -> bool:
    """Tell whether small file systems can be mounted here."""
    try:
        with _mounted(folder, "size=16k"):
            return os.geteuid() == 0
    except (OSError, subprocess.CalledProcessError):
        return False


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=10, help="kills of each step; other interruptions are a fifth as many"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--steps", nargs="*", default=[step.name for step in STEPS], help="build, train, map, run")
    asked = parser.parse_args()
    warm_up()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="coslide-kill-") as name:
        place = Path(name)
        mounted = place / "disk" if may_mount(place / "disk") else None
        for step in [step for step in STEPS if step.name in asked.steps]:
            started = time.monotonic()
            trial = Trial(step, _inputs_of(step, place), Random(f"{asked.seed} {step.name}"))
            _interrupt(trial, asked.kills, mounted)
            faults += trial.faults
            counts = ", ".join(f"{n} x {what}" for what, n in trial.counts.items())
            print(
                f"{step.name} ({trial.duration_s:.1f} s): {counts}: {len(trial.faults)} faults in {time.monotonic() - started:.0f} s",
                flush=True,
            )
            print("".join(f"    {fault}\n" for fault in trial.faults), end="", flush=True)
    return int(bool(faults))


def _interrupt(trial: Trial, kills: int, mounted: Path | None) -> None:
    for _ in range(kills):
        trial.signalled(signal.SIGKILL)
    for _ in range(max(1, kills // 5)):
        trial.signalled(signal.SIGINT)
        trial.signalled(signal.SIGTERM)
        trial.limited()
        trial.two_writers()
        if mounted is not None:
            trial.full_disk(mounted)
    if mounted is not None:
        trial.read_only(mounted)


def _inputs_of(step: Step, place: Path) -> Path:
    """Make what a step needs: an event, for `train` and `map` its cube, for `map` a model too."""
    folder = place / f"{step.name}-inputs"
    folder.mkdir()
    write_event(folder)
    if step.name in {"train", "map"}:
        _must(STEPS[0].words, folder)
    if step.name == "map":
        _must(("train", "index.zarr", "--out", "trained", "--no-baselines"), folder)
        shutil.move(folder / "trained" / "model", folder / "model")
        shutil.rmtree(folder / "trained")
    return folder


def _must(words: tuple[str, ...], folder: Path) -> None:
    ended = wait(start(words, folder), folder)
    if ended.code:
        raise SystemExit(f"coslide {' '.join(words)}: {ended.lines[-1:]}")


if __name__ == "__main__":
    raise SystemExit(main())
