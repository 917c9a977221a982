"""Rows of a map on disk while it is made: what is there after a kill is not computed again."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from coslide.io.atomic import write_json

_KEY, _DONE = "map.json", "rows.txt"


class ResumableRaster:
    """Layers of a map, float32 (layer, row, col), in a folder; blocks of rows may come in any order.

    Parameters
    ----------
    folder
        Where the rows lie. It is made anew unless it holds rows of the same `key`.
    shape
        (row, col) of the map.
    layers
        Number of layers.
    key
        What the map is made from: rows of another key are thrown away.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "map"
    >>> ResumableRaster(folder, (4, 2), key="a").write(1, np.ones((1, 2, 2), np.float32))
    >>> ResumableRaster(folder, (4, 2), key="a").missing()
    [(0, 1), (3, 4)]
    >>> ResumableRaster(folder, (4, 2), key="b").missing()
    [(0, 4)]
    """

    def __init__(self, folder: Path, shape: tuple[int, int], *, layers: int = 1, key: str = "") -> None:
        self._folder, self.shape, self.layers = folder, shape, layers
        wanted = {"key": key, "shape": list(shape), "layers": layers}
        if self._found() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for layer in range(layers):
                with self.path(layer).open("wb") as file:  # a full disk is an error now, not in the middle
                    os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])
            (folder / _DONE).touch()
            write_json(folder / _KEY, wanted)

    def path(self, layer: int) -> Path:
        """Return the file of a layer: float32 in the order of this machine, row by row."""
        return self._folder / f"layer{layer}.bin"

    def write(self, start: int, block: npt.NDArray[np.float32]) -> None:
        """Return nothing; keeps rows from `start` on, (layer, row, col).

        Raises
        ------
        ValueError
            If the rows do not fit into the map.
        """
        layers, height, width = block.shape
        if layers != self.layers or width != self.shape[1] or start + height > self.shape[0]:
            raise ValueError(
                f"expected rows of a map of {self.layers} x {self.shape[0]} x {self.shape[1]}, found {block.shape} "
                f"at row {start}"
            )
        for layer in range(layers):
            with self.path(layer).open("r+b") as file:
                file.seek(4 * start * width)
                file.write(np.ascontiguousarray(block[layer], dtype=np.float32).tobytes())
        with (self._folder / _DONE).open("a", encoding="ascii") as file:  # only now: the rows themselves are there
            file.write(f"{start} {start + height}\n")

    def missing(self) -> list[tuple[int, int]]:
        """Return the runs of rows that are not there yet: first row, and one past the last."""
        there = np.zeros(self.shape[0] + 2, dtype=bool)
        there[[0, -1]] = True
        for start, stop in self._written():
            there[1 + start : 1 + stop] = True
        edges = np.flatnonzero(np.diff(there.astype(np.int8)))
        return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]

    def _written(self) -> Iterator[tuple[int, int]]:
        for line in (self._folder / _DONE).read_text(encoding="ascii").splitlines(keepends=True):
            words = line.split()
            if line.endswith("\n") and len(words) == 2:  # a line cut short by a kill says nothing
                yield int(words[0]), int(words[1])

    def _found(self) -> object:
        try:
            found: object = json.loads((self._folder / _KEY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        sizes = {self.path(k).stat().st_size if self.path(k).exists() else -1 for k in range(self.layers)}
        whole = sizes == {4 * self.shape[0] * self.shape[1]} and (self._folder / _DONE).exists()
        return found if whole else None
