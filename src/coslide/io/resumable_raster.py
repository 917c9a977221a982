"""Rows of a map on disk while it is made: what is there after a kill is not computed again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from coslide.io.atomic import write_json

_KEY, _ROWS, _DONE = "map.json", "rows.bin", "done.bin"


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
        sizes = {folder / _ROWS: 4 * layers * shape[0] * shape[1], folder / _DONE: shape[0]}
        try:
            found = json.loads((folder / _KEY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != wanted or not all(file.is_file() for file in sizes):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for path, size in sizes.items():
                with path.open("wb") as file:  # a full disk is an error now, not in the middle
                    os.posix_fallocate(file.fileno(), 0, size)
            write_json(folder / _KEY, wanted)

    def write(self, start: int, block: npt.NDArray[np.float32]) -> None:
        """Keep rows from `start` on, (layer, row, col).

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
        self._values()[:, start : start + height] = block
        self._done()[start : start + height] = 1  # only now: the rows themselves are there

    def read(self, rows: slice) -> npt.NDArray[np.float32]:
        """Read rows of all layers, float32 (layer, row, col)."""
        return np.array(self._values()[:, rows])

    def missing(self) -> list[tuple[int, int]]:
        """Find the runs of rows that are not there yet: first row, and one past the last."""
        edges = np.flatnonzero(np.diff(self._done(), prepend=1, append=1))
        return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

    # Files are mapped for each access alone: pages that stay mapped would count as memory of the process.
    def _values(self) -> npt.NDArray[np.float32]:
        return np.memmap(self._folder / _ROWS, np.float32, "r+", shape=(self.layers, *self.shape))

    def _done(self) -> npt.NDArray[np.int8]:
        return np.memmap(self._folder / _DONE, np.int8, "r+", shape=self.shape[:1])
