"""The Zarr folder of a cube, opened for xarray so that whatever is damaged in it is named when it is met."""

import math
from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from coslide.cube.store import COUNTED, Span, span
from coslide.errors import InputError
from coslide.io.paths import require_regular_folder, require_regular_source
from coslide.windows import row_strips

_LONGEST = 2**24  # of a coordinate; it is read when a cube is opened
_METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
_AGAIN = "delete the cube and build it again"


def open_group(path: Path) -> "zarr.Group":
    """Open the group of a cube.

    Raises
    ------
    InputError
        If it is none.
    """
    require_regular_source(path)
    try:
        group: zarr.Group = _opened(str(path), partial(zarr.open_group, path, mode="r", use_consolidated=False))
    except FileNotFoundError:
        raise InputError(f"{path}: is no index cube, or not a whole one; coslide build writes one") from None
    return group


def require_arrays(path: Path, group: "zarr.Group") -> None:
    """Require that each array of a cube can be opened, and that reading its files comes to an end.

    Raises
    ------
    InputError
        If not.
    """
    _opened(str(path), partial(require_regular_folder, path))
    for name in sorted(folder.name for folder in path.iterdir() if folder.is_dir() and folder.name[0] != "."):
        if not any((path / name / file).is_file() for file in _METADATA):
            raise InputError(f"{path}: {name}: has no metadata, so it is no array; {_AGAIN}")
        array = _opened(f"{path}: {name}", partial(group.__getitem__, name))
        if isinstance(array, zarr.Array) and array.ndim == 1 and array.size > _LONGEST:
            raise InputError(f"{path}: {name}: found {array.size} values, expected a coordinate; {_AGAIN}")


def open_dataset(path: Path, group: "zarr.Group", names: Sequence[str]) -> xr.Dataset:
    """Open a cube with xarray, values as stored; reading one of the arrays `names` checks it.

    Raises
    ------
    InputError
        If it does not fit together. Reading an array raises it too: where a chunk cannot be decoded, or is missing
        though its values were counted when the cube was built.
    """
    options: dict[str, Any] = {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"}
    opened = partial(xr.open_zarr, path, chunks=None, consolidated=False, **options)
    dataset: xr.Dataset = _opened(str(path), opened)
    for name in names:
        if name in dataset and isinstance(array := group[name], zarr.Array):
            old = dataset[name].variable
            lazy = indexing.LazilyIndexedArray(_StoredArray(array, path, name))
            dataset[name] = xr.Variable(old.dims, lazy, old.attrs, old.encoding)
    return dataset


def lost_chunks(folder: Path, array: "zarr.Array[Any]") -> int:
    """Count the chunks of an array for which its folder has no file; a cube holds all of them when it is built."""
    expected = math.prod(-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True))
    return expected - sum(file.is_file() and file.name not in _METADATA for file in folder.rglob("*"))


class _StoredArray(BackendArray):
    """An array of a cube, whose failures name it."""

    def __init__(self, array: "zarr.Array[Any]", path: Path, name: str) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._stored, self._path, self._name, self._whole = array, path, name, False

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.VECTORIZED, partial(self._read, type(key))
        )

    def _read(self, kind: type, key: tuple[Any, ...]) -> NDArray[Any]:
        if not self._whole:
            self._require_chunks()
        read: Any = self._stored.vindex if kind is indexing.VectorizedIndexer else self._stored.oindex
        return np.asarray(_opened(f"{self._path}: {self._name}", partial(read.__getitem__, key)))

    def _require_chunks(self) -> None:
        """Check that no chunk was lost: without it, share and range of the values must be those counted at building.

        A cube holds all its chunks when it is built; programs that write it again leave out those of one value.
        """
        self._whole = True
        counted = self._stored.attrs.get(COUNTED)
        if counted != list(self.shape[-2:]):
            return  # cut, or written by an older version: nobody knows what was there
        if (lost := lost_chunks(self._path / self._name, self._stored)) <= 0:
            return
        several = len(self.shape) > 2
        stated: Any = [self._stored.attrs.get(key) for key in ("valid_share", "value_range")]
        for number, (share, values) in enumerate(zip(*stated, strict=True) if several else [stated]):
            place = (number,) if several else ()
            read = partial(self._read, indexing.OuterIndexer)
            strips = (read((*place, rows, slice(None))) for rows in row_strips(self.shape[-2]))
            found = reduce(Span.joined, map(span, strips))
            valid = found.valid / math.prod(self.shape[-2:])
            if not abs(valid - share) < 1e-6 or (found.valid and [found.smallest, found.largest] != values):
                gone = f"{lost} of its chunks are missing, and with them values"
                raise InputError(f"{self._path}: {self._name}: {gone}; {_AGAIN}")


def _opened(what: str, read: Any) -> Any:
    try:
        return read()
    except (FileNotFoundError, InputError):
        raise
    except Exception as error:  # noqa: BLE001 - every codec and every key of the metadata has an error of its own
        raise InputError(f"{what}: cannot be read ({_reason(error)}); {_AGAIN}") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] if text else type(error).__name__
