"""Mutate small valid inputs of every format that coslide reads, run the command that reads them, and judge what happens.

    python tools/fuzz/fuzz.py --cases 1000 --seed 7 --formats gauges stations

Right is a result that is plausible (and, where it can be known, equal); refused is exit code 2 with one line and
nothing half-written. All else is a fault: its input is kept in a folder with the command that repeats it. The exit
code is 1 if there was one.
"""

import argparse
import collections
import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
from cases import Limits, run_case, warm_up
from corpus import Subject, make_corpus
from mutations import copy_input, mutate

KINDS = (
    "right",
    "refused",
    "traceback",
    "abort",
    "hang",
    "memory",
    "many lines",
    "leftovers",
    "inputs changed",
    "implausible",
    "not made",
)


def main() -> int:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="number of cases")
    parser.add_argument("--seed", type=int, default=0, help="decides all cases")
    parser.add_argument("--formats", nargs="*", default=[], help="only formats that begin so")
    parser.add_argument("--only", type=int, help="only the case of this number")
    parser.add_argument("--limit-s", type=float, default=20, help="wall clock of a case")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for faulty inputs")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "coslide-fuzz", help="folder for valid inputs"
    )
    asked = parser.parse_args()
    limits = Limits(wall_s=asked.limit_s)
    warm_up()
    subjects = make_corpus(asked.work.absolute(), _command_that_must_work)
    subjects = [s for s in subjects if not asked.formats or s.format.startswith(tuple(asked.formats))]
    references = {subject.format: _reference(subject, asked.work.absolute()) for subject in subjects}
    campaign = Campaign(subjects, references, limits=limits, keep=asked.keep.absolute(), formats=asked.formats)
    numbers = range(asked.cases) if asked.only is None else [asked.only]
    started = time.monotonic()
    for number in numbers:
        campaign.case(asked.seed, number)
        if (number + 1) % 100 == 0:
            print(f"{number + 1} cases in {time.monotonic() - started:.0f} s", flush=True)
    print(campaign.table())
    print(
        f"{len(numbers)} cases of seed {asked.seed} in {time.monotonic() - started:.0f} s; faulty inputs in {asked.keep}"
    )
    return int(campaign.faulty)


class Campaign:
    """Cases, and what they came to."""

    def __init__(
        self,
        subjects: list[Subject],
        references: dict[str, dict[str, np.ndarray]],
        *,
        limits: Limits,
        keep: Path,
        formats: list[str],
    ) -> None:
        self.subjects, self.references, self.limits, self.keep, self.formats = (
            subjects,
            references,
            limits,
            keep,
            formats,
        )
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._kept: set[str] = set()

    @property
    def faulty(self) -> bool:
        """Whether there was a fault."""
        return any(kind not in {"right", "refused", "not made"} for _, kind in self.counts)

    def case(self, seed: int, number: int) -> None:
        """Run one case: the same seed and number give the same case."""
        random = Random(f"{seed} {number}")
        subject = random.choice(self.subjects)
        with tempfile.TemporaryDirectory(prefix="coslide-case-") as name:
            folder = Path(name) / "input"
            copy_input(subject.folder, folder)
            victim = random.choice(
                sorted({p for pattern in subject.victims for p in folder.glob(pattern) if p.is_file()})
            )
            what = f"{subject.format}: {victim.relative_to(folder)}"
            try:
                done = mutate(victim, random)
            except Exception as error:  # noqa: BLE001 - what a library cannot write is no case
                print(f"{what}: not made: {error!r}"[:200])
                self.counts[subject.format, "not made"] += 1
                return
            shutil.copytree(folder, folder.parent / "mutated", symlinks=True, ignore=_special_files)
            outcome = run_case(subject, folder, self.references[subject.format], same=done.same, limits=self.limits)
            self.counts[subject.format, outcome.kind] += 1
            key = f"{subject.format}-{outcome.kind}-{outcome.detail.replace(name, '')[:60]}"
            if outcome.is_fault and key not in self._kept:
                self._kept.add(key)
                kept = self.keep / f"{subject.format}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
                print(f"{what}: {done.name}: {outcome.kind}: {outcome.detail[:300]}\n    {kept}", flush=True)
                self._keep(
                    kept,
                    folder.parent,
                    subject,
                    f"{what}: {done.name}: {outcome.kind}: {outcome.detail}",
                    f"--seed {seed} --only {number}",
                )

    def _keep(self, kept: Path, place: Path, subject: Subject, what: str, again: str) -> None:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        shutil.move(place / "mutated", kept / "input")
        shutil.copy(place / "stderr", kept)
        formats = f" --formats {' '.join(self.formats)}" if self.formats else ""
        once, more = " ".join(subject.command), f"python tools/fuzz/fuzz.py {again}{formats}"
        (kept / "case").write_text(f"{what}\n\ncp -r input again && cd again && coslide {once}\n{more}\n")

    def table(self) -> str:
        """Count the outcomes of each format."""
        kinds = [kind for kind in KINDS if any(k == kind for _, k in self.counts)]
        names = sorted({name for name, _ in self.counts})
        rows = [["format", *kinds], *([name, *(str(self.counts[name, kind]) for kind in kinds)] for name in names)]
        rows.append(["all", *(str(sum(self.counts[name, kind] for name in names)) for kind in kinds)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(field.ljust(width) for field, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Name what cannot be copied: a FIFO would never end."""
    return [
        name
        for name in names
        if (Path(folder) / name).exists() and not (Path(folder) / name).is_dir() and not (Path(folder) / name).is_file()
    ]


def _reference(subject: Subject, work: Path) -> dict[str, np.ndarray]:
    """Run the valid input once, unless it was: what it gives, and that it is right."""
    kept = work / "references" / f"{subject.format}.npz"
    if kept.is_file():
        with np.load(kept) as found:
            return dict(found)
    with tempfile.TemporaryDirectory(prefix="coslide-case-") as place:
        folder = Path(place) / "input"
        copy_input(subject.folder, folder)
        outcome = run_case(subject, folder, None, same=False, limits=Limits(wall_s=300))
        if outcome.is_fault or outcome.kind != "right":
            raise SystemExit(f"{subject.format}: the valid input ends as {outcome.kind}: {outcome.detail}")
        shutil.move(Path(place) / "reference.npz", kept)
    return _reference(subject, work)


def _command_that_must_work(words: tuple[str, ...], folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="coslide-case-") as place:
        inside = Path(place) / "input"
        inside.symlink_to(folder)
        outcome = run_case(Subject("", folder, words, (), ""), inside, None, same=False, limits=Limits(wall_s=600))
        if outcome.kind != "right":
            raise SystemExit(f"coslide {' '.join(words)} ends as {outcome.kind}: {outcome.detail}")


if __name__ == "__main__":
    raise SystemExit(main())
