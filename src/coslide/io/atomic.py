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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from coslide.errors import InputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}
_REMOVAL_TRIES = 20
_FULL_BELOW_BYTES = 2**20  # libraries that hide errno (GDAL, SQLite) are recognised by what is left on the disk


def _concerns(filename: object, path: Path) -> bool:
    """Return whether an error about `filename` is about `path`, something beside it, or a folder above it."""
    return str(filename).startswith(str(path.parent)) or str(path).startswith(f"{filename}/")


class Marker(NamedTuple):
    """How a folder that coslide wrote is known: a JSON `file` inside it that has `key`."""

    file: str
    key: str

    def is_in(self, folder: Path) -> bool:
        """Return whether `folder` holds the file, and the file the key."""
        known = folder / self.file
        return known.is_file() and self.key in known.read_text("utf-8", "replace")


@contextmanager
def whole_output(path: Path, *, marker: Marker | None = None) -> Iterator[Path]:
    """Return a temporary path beside `path` that takes its name when the block ends without an error.

    Parameters
    ----------
    path
        The file or folder to write. What stood there before stays until the new one is whole.
    marker
        For a folder: how an older output of the same kind is known. Only such a folder, or an empty one, is replaced;
        never anything else that a user keeps.

    Yields
    ------
    Path
        Where to write: a hidden name in the same folder, with the same suffix (drivers choose a format by suffix).

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written, the half-written output is removed; or if a folder that
        is no older output stands where the new one belongs.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_output(folder / "scores.txt") as part:
    ...     _ = part.write_text("f1 0.6")
    >>> sorted(p.name for p in folder.iterdir())
    ['scores.txt']
    """
    path = _own_place(path)
    with report_write_errors(path):
        require_replaceable(path, marker)
    part = _part(path)
    try:
        with report_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(part)
            _put_back(path)
            yield part
            _take_name(part, path)
    except BaseException:
        with suppress(OSError):
            _remove(part)
        raise


@contextmanager
def resumed_output(path: Path, *, marker: Marker, worth_keeping: Callable[[Path], bool]) -> Iterator[Path]:
    """Return a temporary folder beside `path` that outlives a kill and takes the name `path` when the block ends.

    As `whole_output`, for folders that take long to write: what ends the block early leaves the temporary folder, and
    the next call hands it out again, so that what is whole in it need not be made twice. A full disk removes it. While
    one process is in the block, no other can enter it.

    Parameters
    ----------
    path
        The folder to write.
    marker
        How an older output of the same kind is known.
    worth_keeping
        Says, after an error, whether the temporary folder holds anything that the next attempt can use.

    Yields
    ------
    Path
        The temporary folder, with what an earlier attempt left in it.

    Raises
    ------
    InputError
        As `whole_output`; or if another process is writing the same output.
    """
    path = _own_place(path)
    part = _part(path)
    with report_write_errors(path):
        require_replaceable(path, marker)
        path.parent.mkdir(parents=True, exist_ok=True)
        _put_back(path)
        part.mkdir(exist_ok=True)
        with exclusive_lock(part, path):
            try:
                yield part
                _take_name(part, path)
            except Exception as error:
                if _disk_is_full(error, path) or not worth_keeping(part):
                    with suppress(OSError):
                        _remove(part)
                raise


@contextmanager
def exclusive_lock(folder_path: Path, path: Path) -> Iterator[None]:
    """Return nothing; while the block lasts no other process may be in a block of this kind for the same folder.

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


def first_bytes(path: Path, count: int = 1024) -> bytes:
    """Return the first bytes of a file, by which GDAL tells formats; none for a folder or what does not exist.

    Raises
    ------
    OSError
        If it cannot be read.

    Examples
    --------
    >>> first_bytes(Path("no such file"))
    b''
    """
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(count)


def link_or_copy(source: Path, target: Path) -> None:
    """Return nothing; puts the files of the folder `source` into the new folder `target`, without a copy if possible.

    Hard links: both folders then share the bytes on the disk, so neither may be changed in place.

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
    """Return nothing; turns a full disk or a path that cannot be written, met inside the block, into one line.

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
            raise InputError(f"{path}: the disk is full; free some space and run again") from error
        raise


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files in the order of their names, as 64 hexadecimal digits.

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
    """Return the SHA-256 of a file; provenance and fingerprint of a cube ask for the same large files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Return nothing; writes `content` as indented JSON, whole or not at all.

    Raises
    ------
    InputError
        As `whole_output`.
    """
    with whole_output(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_replaceable(path: Path, marker: Marker | None) -> None:
    """Return nothing if an output may take the place of what stands at `path`; `marker` as in `whole_output`.

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


def _own_place(path: Path) -> Path:
    """Return where an output is to stand: a link to a folder is followed, and goes on pointing there."""
    return path.resolve() if path.is_symlink() and path.is_dir() else path.absolute()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.stem}.part{path.suffix}")


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
    if path.is_dir() and not path.is_symlink():
        for _ in range(_REMOVAL_TRIES):
            with suppress(OSError):
                shutil.rmtree(path)
                return
            time.sleep(0.05)  # threads of a writer that failed (Zarr has some) may still add files
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def _disk_is_full(error: Exception, path: Path) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    folder = next((p for p in path.absolute().parents if p.exists()), None)
    return folder is not None and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES
