"""A map that is computed row by row, and goes on where it was interrupted."""

import hashlib
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
        self.shape, self.layers = shape, layers
        made_from = hashlib.sha256(f"{key} {layers} x {shape}".encode()).hexdigest()
        self._file = folder / f"{made_from}.rows"  # of each row that is there the checksum, and then the values
        if not self._file.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._file.touch()
        with self._file.open("r+b") as file:  # a full disk is an error now, not in the middle
            os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * (1 + layers * shape[1]))

    def write(self, start: int, block: npt.NDArray[np.float32]) -> None:
        """Keep rows from `start` on, (layer, row, col).

        Raises
        ------
        ValueError
            If the rows do not fit into the map.
        """
        rows = slice(start, start + block.shape[1])
        target = self._values()[:, rows]
        if target.shape != block.shape:
            size = f"{self.layers} x {self.shape[0]} x {self.shape[1]}"
            raise ValueError(f"expected rows of a map of {size}, found {block.shape} at row {start}")
        target[:] = block
        self._sums()[rows] = _checksums(block)

    def read(self, rows: slice) -> npt.NDArray[np.float32]:
        """Read rows of all layers, float32 (layer, row, col)."""
        return np.array(self._values()[:, rows])

    def missing(self) -> list[tuple[int, int]]:
        """Find the runs of rows that are not there, whole, yet: first row, and one past the last."""
        sums, values = np.array(self._sums()), self._values()
        done = [bool(sums[i]) and sums[i] == _checksums(values[:, i : i + 1])[0] for i in range(self.shape[0])]
        edges = np.flatnonzero(np.diff(done, prepend=1, append=1))
        return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

    # The file is mapped for each access alone: pages that stay mapped would count as memory of the process.
    def _values(self) -> npt.NDArray[np.float32]:
        return np.memmap(self._file, np.float32, "r+", offset=4 * self.shape[0], shape=(self.layers, *self.shape))

    def _sums(self) -> npt.NDArray[np.uint32]:
        return np.memmap(self._file, np.uint32, "r+", shape=self.shape[:1])


def _checksums(block: npt.NDArray[np.float32]) -> list[int]:
    """Compute of each row of (layer, row, col) a checksum that is not 0."""
    return [zlib.crc32(np.ascontiguousarray(block[:, i]).data) or 1 for i in range(block.shape[1])]
