"""Run a command of coslide in a forked child of this process, within limits, and judge what it did.

This process has imported everything, so that a case takes a fraction of a second.
"""

import contextlib
import io
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
from corpus import Subject

ENDED_BY_MEMORY, ENDED_BY_TIME = "memory", "time"
LINE_LIMIT = 2000
RANGES = {
    "elevation": (-500, 9000), "slope": (0, 90), "aspect_class": (0, 255), "rainfall": (0, 20_000), "pga": (0, 20), "pga_ln_std": (0, 10),
    "fault_distance": (0, 60_000), "rainfall_variance": (0, 1e9),
}  # fmt: skip

TOLERANCE = {"fault_distance": 15.0}  # a trace is as long as the pixels of 10 m that it touches


class Outcome(NamedTuple):
    """What a case came to: right, refused, or the kind of fault; and the line or lines that tell."""

    kind: str
    detail: str
    seconds: float

    @property
    def is_fault(self) -> bool:
        """Whether coslide must be mended."""
        return self.kind not in {"right", "refused"}


class Limits(NamedTuple):
    """What a case may use."""

    wall_s: float = 20.0
    memory_mb: int = 3000


def warm_up() -> None:
    """Import all that commands import while they run."""
    import importlib
    import pkgutil

    import coslide

    for module in pkgutil.walk_packages(coslide.__path__, "coslide."):
        importlib.import_module(module.name)
    for name in ("matplotlib.pyplot", "pyogrio", "skimage.registration", "sklearn.ensemble", "xarray", "zarr"):
        importlib.import_module(name)


def run_case(
    subject: Subject, folder: Path, reference: dict[str, np.ndarray] | None, *, same: bool, limits: Limits
) -> Outcome:
    """Run the command of a subject in a folder that was mutated.

    Parameters
    ----------
    reference
        What the valid input gave; None if this is the valid input. It is then kept in `folder`/../reference.npz.
    same
        Whether the result must be that of the valid input.
    """
    before = _listing(folder)
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _in_child(subject, folder, reference, same)
    ended = _wait(child, limits)
    seconds = time.monotonic() - started
    printed = {name: (folder.parent / name).read_text("utf-8", "replace") for name in ("stdout", "stderr", "verdict")}
    kind, detail = judge(ended, printed)
    if kind == "refused":
        left = _left_behind(before, _listing(folder))
        if left:
            kind, detail = "leftovers", f"{', '.join(left[:5])} after: {detail}"
    elif kind == "right" and (lost := _changed_inputs(subject, before, _listing(folder))):
        kind, detail = "inputs changed", ", ".join(lost[:5])
    return Outcome(kind, detail, seconds)


def _in_child(subject: Subject, folder: Path, reference: dict[str, np.ndarray] | None, same: bool) -> None:
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    (folder.parent / "verdict").write_text("")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 1
    try:
        code = command(subject.command)
        if code == 0:
            verdict = _verdict(subject, folder, reference, same)
            (folder.parent / "verdict").write_text(verdict)
    except BaseException:  # noqa: BLE001 - whatever it is, it is to be told
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _is_refused(cube: Path) -> bool:
    from coslide import open_cube
    from coslide.errors import InputError
    from coslide.report.contact_sheet import contact_sheet

    try:
        contact_sheet(open_cube(cube), cube.parents[1] / "out.png")
    except InputError:
        return True
    return False


def _verdict(subject: Subject, folder: Path, reference: dict[str, np.ndarray] | None, same: bool) -> str:
    if subject.result == "own cube" and reference is not None and _is_refused(folder / "index.zarr"):
        return ""  # what was damaged in an output is kept, but whoever reads it is told
    try:
        found = results_of(subject, folder, folder.parent / "stdout")
    except Exception as error:  # noqa: BLE001 - of any library
        return f"the result cannot be read: {error!r}"
    if reference is None:
        np.savez(folder.parent / "reference.npz", **found)
        return ""
    return implausible(subject, found, reference, same=same)


def command(words: tuple[str, ...]) -> int:
    """Run a command line in this process; returns its exit code."""
    from coslide import cli, terminal

    # Messages are not what is judged: lines on the error channel that are no messages are.
    terminal._Lines.emit = lambda *_: None
    sys.argv = ["coslide", *words]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def _wait(child: int, limits: Limits) -> int | str:
    """Wait for a child, and end it beyond the limits; returns its exit code, minus a signal, or the limit."""
    until = time.monotonic() + limits.wall_s
    reason = None
    while True:
        found, status, _ = os.wait4(child, os.WNOHANG)
        if found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            return reason or os.waitstatus_to_exitcode(status)
        if reason is None:
            if time.monotonic() > until:
                reason = ENDED_BY_TIME
            elif _resident_mb(child) > limits.memory_mb:
                reason = ENDED_BY_MEMORY
            if reason:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def _resident_mb(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0


TOLD = re.compile(r"(made|next): |[\w ]+: (\d+ %|done in )")
"""What a command tells beside messages and errors: what it made, what comes next, and how far it is."""


def judge(ended: int | str, printed: dict[str, str]) -> tuple[str, str]:
    """Tell apart what a command did, from how it ended and what it printed."""
    errors = [line for line in printed["stderr"].splitlines() if line.strip() and not TOLD.match(line)]
    last = errors[-1] if errors else ""
    if ended == ENDED_BY_TIME:
        return "hang", last
    if ended == ENDED_BY_MEMORY:
        return "memory", last
    if isinstance(ended, int) and ended < 0:
        return "abort", f"{signal.Signals(-ended).name}: {last}"
    if "Traceback (most recent call last)" in printed["stderr"]:
        return "traceback", f"{_where(printed['stderr'])} {last}"
    if ended == 0:
        if printed["verdict"]:
            return "implausible", printed["verdict"]
        return ("many lines", f"beside the result: {errors[0]}") if errors else ("right", "")
    if ended != 2:
        return "traceback", f"exit code {ended}: {last}"
    if len(errors) != 1 or len(errors[0]) > LINE_LIMIT:
        return (
            "many lines",
            f"{len(errors)} lines, the longest of {max(map(len, errors), default=0)}: {errors[0][:200] if errors else ''}",
        )
    return "refused", last


def _where(text: str) -> str:
    """Name the last line of coslide in a traceback."""
    own = [line.strip() for line in text.splitlines() if "/coslide/" in line and line.strip().startswith("File")]
    return own[-1].partition("/coslide/")[2] if own else ""


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """List all files with size and time, the hidden remains of an interrupted build left out."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if ".part" not in name:
            state = path.lstat()
            found[name] = (0, 0) if path.is_dir() and not path.is_symlink() else (state.st_size, state.st_mtime_ns)
    return found


def _left_behind(before: dict, after: dict) -> list[str]:
    gone = [f"{name} gone" for name in before if name not in after]
    changed = [f"{name} changed" for name, state in after.items() if name in before and before[name] != state]
    return gone + changed + [name for name in after if name not in before and name.split("/")[0] not in {"out", "run"}]


def _changed_inputs(subject: Subject, before: dict, after: dict) -> list[str]:
    words = subject.command
    own = words[words.index("--out") + 1] if "--out" in words else "run"
    others = [name for name in {*before, *after} if not name.startswith(own)]
    return sorted(
        f"{name} {'changed' if name in before else 'new'}" for name in others if before.get(name) != after.get(name)
    )


# --- what came out ---


def results_of(subject: Subject, folder: Path, stdout: Path) -> dict[str, np.ndarray]:
    """Read what a command wrote, as arrays by name."""
    if subject.result in {"cube", "own cube"}:
        import xarray

        path = folder / ("index.zarr" if subject.result == "own cube" else "out.zarr")
        with xarray.open_zarr(path, consolidated=False, mask_and_scale=False, decode_times=False) as cube:
            return {
                str(name): np.asarray(cube[name])
                for name in [*cube.data_vars, "x", "y"]
                if cube[name].dtype.kind in "fiu"
            }
    if subject.result == "map":
        import rasterio

        with rasterio.open(folder / "out" / "probability.tif") as file:
            return {"probability": file.read(1), "transform": np.array(file.transform[:6])}
    if subject.result == "json":
        return dict(numbers(json.loads(stdout.read_text())))
    return {}


def numbers(content: object, name: str = "") -> list[tuple[str, np.ndarray]]:
    """List all numbers inside a JSON document by their names."""
    if isinstance(content, dict):
        return [found for key, part in content.items() for found in numbers(part, f"{name}.{key}".replace("/", "|"))]
    if isinstance(content, list):
        return [found for i, part in enumerate(content) for found in numbers(part, f"{name}.{i}")]
    return [(name, np.array(float(content)))] if isinstance(content, int | float) else []


def implausible(subject: Subject, found: dict[str, np.ndarray], reference: dict[str, np.ndarray], *, same: bool) -> str:
    """Say what cannot be right in a result; an empty text if nothing."""
    for name, (low, high) in RANGES.items():
        values = found.get(name, np.empty(0))
        values = values[np.isfinite(values)]
        values = values[~np.isin(values, (-9999.0, 255.0))] if values.size else values
        if values.size and (values.min() < low or values.max() > high):
            return f"{name} from {values.min():.6g} to {values.max():.6g}"
    if "valid" in found and not (found["valid"] == 1).any():
        return "no pixel is valid"
    kept = [name for name in reference if same or (subject.touched and not name.startswith(subject.touched))]
    for name in kept:
        if name not in found:
            return f"{name} is missing"
        if found[name].shape != reference[name].shape:
            return f"{name} has the shape {found[name].shape}, expected {reference[name].shape}"
        near = np.isclose(found[name], reference[name], rtol=1e-3, atol=TOLERANCE.get(name, 2e-4), equal_nan=True)
        if near.mean() < 0.95:
            return f"{name} differs in {100 * (1 - near.mean()):.3g} % of its values"
    return ""


def quiet() -> contextlib.AbstractContextManager:
    """Keep what is printed meanwhile from the terminal."""
    return contextlib.redirect_stdout(io.StringIO())
