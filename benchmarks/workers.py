"""How well the workers of a dask cluster share the mapping of a scene.

    python benchmarks/workers.py INDEX.zarr MODEL [--counts 1 2] [--block-rows 512]

Maps the scene with so many worker processes of this machine, each of which computes one block of rows at a time in
one thread, and in this process with a thread for each processor. Prints the time until the rows are there, starting the
workers apart, the efficiency over the first count, and whether the maps are the same to the bit. Run it on an idle
machine; a scene should have many more blocks than there are workers.
"""

import argparse
import tempfile
import time
from concurrent.futures import Executor
from pathlib import Path

from coslide.io.executor import map_unordered, open_executor
from coslide.memory import keep_freed_memory
from coslide.pipeline import predict as pipeline
from coslide.pipeline.predict import predict_scene


def main() -> None:
    """Print a line for each number of workers."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("index", type=Path)
    words.add_argument("model", type=Path)
    words.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    words.add_argument("--block-rows", type=int, default=512)
    given = words.parse_args()
    keep_freed_memory()
    pipeline._BLOCK_ROWS = given.block_rows  # noqa: SLF001 - those of a real map are for larger scenes
    with tempfile.TemporaryDirectory() as folder:
        alone_s, expected = _mapped(given.index, given.model, Path(folder) / "here", executor=None)
        print(f"in this process: {alone_s:.1f} s", flush=True)
        first_s = 0.0
        for count in given.counts:
            out = Path(folder) / str(count)
            with open_executor(count=count) as executor:
                list(map_unordered(executor, _warm, None, range(count)))  # torch is imported
                seconds, found = _mapped(given.index, given.model, out, executor=executor)
            first_s = first_s or seconds * given.counts[0]
            print(
                f"{count} workers: {seconds:.1f} s, efficiency {first_s / (count * seconds):.2f}, "
                f"{'the same map' if found == expected else 'ANOTHER MAP'}",
                flush=True,
            )


def _warm(_: None, number: int) -> int:
    import coslide.pipeline.predict  # noqa: F401

    time.sleep(2)  # so that each worker gets one
    return number


def _mapped(index: Path, model: Path, out: Path, *, executor: Executor | None) -> tuple[float, bytes]:
    """Return how long the rows took [s], and the file of the map."""
    done: list[float] = []
    real = pipeline.write_probability_map
    pipeline.write_probability_map = lambda *args: done.append(time.perf_counter()) or real(*args)
    started = time.perf_counter()
    predict_scene(model, index, out, executor=executor)
    pipeline.write_probability_map = real
    return done[0] - started, (out / "probability.tif").read_bytes()


if __name__ == "__main__":
    main()
