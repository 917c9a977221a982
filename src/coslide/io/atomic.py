"""Outputs that appear whole or not at all, and the hash that names an input."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from coslide.errors import InputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_REMOVAL_TRIES = 20
_FULL_BELOW_BYTES = 2**20  # libraries that hide errno (GDAL, SQLite) are recognised by what is left on the disk


class _DiskFullError(InputError):
    """The disk is full."""


def _concerns(filename: object, path: Path) -> bool:
    """Tell whether an error about `filename` is about `path`, something beside it, or a folder above it."""
    return str(filename).startswith(str(path.parent)) or str(path).startswith(f"{filename}/")


class Marker(NamedTuple):
    """How a folder that coslide wrote is known: a JSON `file` inside it that has `key`."""

    file: str
    key: str

    def is_in(self, folder: Path) -> bool:
        """Tell whether `folder` holds the file, and the file the key."""
        known = folder / self.file
        return known.is_file() and self.key in known.read_text("utf-8", "replace")


@contextmanager
def whole_output(
    path: Path, *, marker: Marker | None = None, worth_resuming: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its name when the block ends without an error.

    Parameters
    ----------
    path
        The file or folder to write. What stood there before stays until the new one is whole.
    marker
        For a folder: how an older output of the same kind is known. Only such a folder, or an empty one, is replaced;
        never anything else that a user keeps.
    worth_resuming
        For a folder that takes long to write: whether what an error left of it is of use to the next attempt. Then,
        and after a kill, the next call gives out the temporary folder as it is; a full disk removes it. While one
        process is in the block, no other can enter it.

    Yields
    ------
    Path
        Where to write: a hidden name in the same folder, with the same suffix (drivers choose a format by suffix).

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written, the half-written output is removed; if a folder that is no
        older output stands where the new one belongs; or if another process is writing the same one.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_output(folder / "scores.txt") as part:
    ...     _ = part.write_text("f1 0.6")
    >>> sorted(p.name for p in folder.iterdir())
    ['scores.txt']
    """
    # A link to a folder is followed, and goes on pointing there.
    path = path.resolve() if path.is_symlink() and path.is_dir() else path.absolute()
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    with ExitStack() as stack:
        with report_write_errors(path):
            require_replaceable(path, marker)
            path.parent.mkdir(parents=True, exist_ok=True)
            _put_back(path)
            if worth_resuming is None:
                _remove(part)
            else:
                part.mkdir(exist_ok=True)
                stack.enter_context(exclusive_lock(part, path))
        try:
            with report_write_errors(path):
                yield part
                _take_name(part, path)
        except BaseException as error:
            full = isinstance(error, _DiskFullError)
            if worth_resuming is None or (isinstance(error, Exception) and (full or not worth_resuming(part))):
                with suppress(OSError):
                    _remove(part)
            raise


@contextmanager
def exclusive_lock(folder_path: Path, path: Path) -> Iterator[None]:
    """Lock a folder: while the block lasts, no other process gets into a block of this kind for it.

    Parameters
    ----------
    folder_path
        The folder that is locked; it exists. A file system without locks lets everybody in.
    path
        What is being written, as the line names it.

    Raises
    ------
    InputError
        If another process is writing.
    """
    folder = os.open(folder_path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is writing it; wait for it, or choose another place") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(folder)


def link_or_copy(source: Path, target: Path) -> None:
    """Link the files of the folder `source` into the new folder `target`; copy them where links are not possible.

    Both folders then share the bytes on the disk, so neither may be changed in place.

    Raises
    ------
    OSError
        If a file can be neither linked nor copied.
    """
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a path that cannot be written, met inside the block, into one line.

    Parameters
    ----------
    path
        What is being written, as the line names it.

    Raises
    ------
    InputError
        If the disk is full or `path` cannot be written. Every other error goes through as it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and _concerns(error.filename, path):
            reason = error.strerror
            raise InputError(f"{path}: cannot be written ({reason}); choose another place") from error
        if _disk_is_full(error, path):
            raise _DiskFullError(f"{path}: the disk is full; free some space and run again") from error
        raise


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, or of a folder's files in the order of their names, as 64 hexadecimal digits.

    Parameters
    ----------
    path
        A file, or a folder that is one source (FileGDB, Zarr); read in pieces, so its size does not matter.

    Raises
    ------
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> empty = Path(tempfile.mkdtemp()) / "empty"
    >>> empty.touch()
    >>> sha256(empty)[:16]
    'e3b0c44298fc1c14'
    """
    if path.is_dir():
        parts = (f"{file.relative_to(path)} {sha256(file)}" for file in sorted(path.rglob("*")) if file.is_file())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    state = path.stat()
    return _digest(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, _mtime_ns: int, _size: int) -> str:
    """Compute the SHA-256 of a file once: provenance and fingerprint of a cube ask for the same large files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all.

    Raises
    ------
    InputError
        As `whole_output`.
    """
    with whole_output(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_replaceable(path: Path, marker: Marker | None) -> None:
    """Require that an output may take the place of what stands at `path`; `marker` as in `whole_output`.

    Raises
    ------
    InputError
        If a folder with something else, or, for an output that is a folder, a file stands there.
    """
    if path.is_dir() and any(path.iterdir()):
        if marker is None or not marker.is_in(path):
            raise InputError(f"{path}: is a folder that holds something else; choose another --out")
    elif marker and (path.is_file() or path.is_symlink()):
        raise InputError(f"{path}: is a file or a link; expected a folder or a new name")


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _put_back(path: Path) -> None:
    """Undo a replacement that was killed between taking the old folder away and naming the new one."""
    if not path.exists() and _old(path).exists():
        _old(path).rename(path)


def _take_name(part: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        old = _old(path)
        _remove(old)
        path.rename(old)  # a folder cannot be replaced in one step while it has content
        part.rename(path)
        _remove(old)
    else:
        part.replace(path)


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        return
    for _ in range(_REMOVAL_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)  # threads of a writer that failed (Zarr has some) may still add files
    shutil.rmtree(path)


def _disk_is_full(error: Exception, path: Path) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    folder = next((p for p in path.absolute().parents if p.exists()), None)
    return folder is not None and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
