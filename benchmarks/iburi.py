"""Scores, wall time and peak memory of whole runs on the 2018 Iburi earthquake: three seeds, each in its own process.

    python benchmarks/iburi.py [OUT]

A seed decides which blocks are held out, the first weights and the order of the tiles. Prints one line per seed and the
median. Run it on an idle machine.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "iburi-2018" / "event.toml"
SEEDS = (0, 1, 2)
SCORES = ("f1", "precision", "recall", "iou_landslide")


def main() -> None:
    """Print the table."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/benchmark-iburi")
    rows = []
    for seed in SEEDS:
        folder = out / f"seed-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        command = ["coslide", "run", str(EXAMPLE), "--out", str(folder), "--seed", str(seed)]
        subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:]], check=True)  # noqa: S603
        pixels = json.loads((folder / "metrics.json").read_text())["pixels"]
        cost = json.loads((folder / "run.json").read_text())
        rows.append([pixels[name] for name in SCORES] + [cost["wall_s"], cost["peak_memory_mb"]])
    print("seed    F1     precision  recall  IoU    wall_s  peak_MB")
    for name, row in [
        *zip(map(str, SEEDS), rows, strict=True),
        ("median", map(statistics.median, zip(*rows, strict=True))),
    ]:
        f1, precision, recall, iou, wall_s, peak_mb = row
        print(f"{name:<7} {f1:.3f}  {precision:.3f}      {recall:.3f}   {iou:.3f}  {wall_s:<7.0f} {peak_mb:.0f}")


if __name__ == "__main__":
    main()
