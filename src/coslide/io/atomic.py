"""Outputs that appear whole or not at all, and the hash that names an input."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from coslide.errors import InputError
from coslide.io.databases import DATABASE_FILES, closed_database
from coslide.io.paths import require_regular_file

_NO_SPACE = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the quota of the disk is used up; free some space and run again",
    errno.EFBIG: "is larger than a file may be here (by the file system, or ulimit -f); choose another place",
}
_UNWRITABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
    errno.ESTALE,
}  # fmt: skip
_REMOVAL_TRIES = 20
_FULL_BELOW_BYTES = 2**20


class _DiskFullError(InputError):
    """The disk is full."""


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
        older output stands where the new one belongs; if the older output is a database (GeoPackage) that another
        program has open; or if another process is writing the same one.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_output(folder / "scores.txt") as part:
    ...     _ = part.write_text("f1 0.6")
    >>> sorted(p.name for p in folder.iterdir())
    ['scores.txt']
    """
    with report_write_errors(path):  # A link to a folder is followed, and goes on pointing there.
        path = path.resolve() if path.is_symlink() and path.is_dir() else path.absolute()
    part, old = path.with_name(f".{path.stem}.part{path.suffix}"), path.with_name(f".{path.name}.old")
    with ExitStack() as stack:
        with report_write_errors(path):
            require_replaceable(path, marker)
            path.parent.mkdir(parents=True, exist_ok=True)
            if old.exists() and not path.exists():
                old.rename(path)  # undo a replacement that was killed between its two steps
            if worth_resuming is None:
                _remove(part)
            else:
                part.mkdir(exist_ok=True)
                stack.enter_context(exclusive_lock(part, path))
        try:
            with report_write_errors(path):
                yield part
                if path.is_dir():
                    _remove(old)
                    path.rename(old)  # a folder cannot be replaced in one step while it has content
                    part.rename(path)
                    _remove(old)
                else:
                    _take_name(part, path)
        except BaseException as error:
            full = isinstance(error, _DiskFullError)
            if worth_resuming is None or full or (isinstance(error, Exception) and not worth_resuming(part)):
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
        except OSError as error:  # any other: a file system without locks
            if isinstance(error, BlockingIOError):
                raise InputError(f"{path}: another process is writing it; wait, or choose another place") from None
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
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except shutil.Error:  # another disk, or a file system without links
        shutil.copytree(source, target, dirs_exist_ok=True)


@contextmanager
def report_write_errors(path: Path, *, needed_bytes: int = _FULL_BELOW_BYTES) -> Iterator[None]:
    """Turn what keeps `path` from being written, met inside the block, into one line that says which it is.

    Parameters
    ----------
    path
        What is being written, as the line names it.
    needed_bytes
        How much more must fit where it lies, else a library that hides causes (GDAL, SQLite, torch) failed for want of
        space.

    Raises
    ------
    InputError
        If the disk is full, a quota or the largest size of a file is reached, or `path` cannot be written. Every other
        error goes through as it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        number, place = getattr(error, "errno", None) if isinstance(error, OSError) else None, str(path)
        if isinstance(named := getattr(error, "filename", None), str) and not _concerns(Path(named), path):
            place = named
        elif number in {None, errno.EIO}:
            number = _obstacle(path, needed_bytes)
        if number in _NO_SPACE:
            raise _DiskFullError(f"{place}: {_NO_SPACE[number]}") from error
        if number in _UNWRITABLE and place == str(path):
            advice = "choose a shorter name" if number == errno.ENAMETOOLONG else "choose another place"
            raise InputError(f"{path}: cannot be written ({os.strerror(number)}); {advice}") from error
        raise


def _concerns(other: Path, path: Path) -> bool:
    """Tell whether `other` is written for `path`: itself, inside it, a hidden name beside it, or a folder above it."""
    own, other = path.absolute(), other.absolute()
    for one in (own, own.resolve()):
        if one.is_relative_to(other) or other.is_relative_to(one):
            return True
        if other.is_relative_to(one.parent):
            return other.relative_to(one.parent).parts[0].startswith((".", one.name))
    return False


def _obstacle(path: Path, needed_bytes: int) -> int | None:
    """Find the number of the error that keeps what is written at `path` from growing, by trying.

    Free space would show no quota, and a network disk may not know it.
    """
    folder = next(p for p in path.absolute().parents if p.exists())
    part = folder / f".{path.stem}.part{path.suffix}"
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), part.stat().st_size if part.is_file() else 0, needed_bytes)
    except OSError as error:
        return error.errno
    return None


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
    require_regular_file(path)
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
        If a folder with something else, or, for an output that is a folder, a file stands there; or if it is a database
        (GeoPackage) that another program has open; or its name cannot be looked at.
    """
    with report_write_errors(path):
        if path.is_dir() and any(path.iterdir()):
            if marker is None or not marker.is_in(path):
                raise InputError(f"{path}: is a folder that holds something else; choose another --out")
        elif marker and (path.is_file() or path.is_symlink()):
            raise InputError(f"{path}: is a file or a link; expected a folder or a new name")
        with closed_database(path):
            pass


def _take_name(part: Path, path: Path) -> None:
    """Replace the file `path` by `part`; what an older database left beside it would be laid over the new one."""
    with closed_database(path):
        _remove_database_files(path)
        part.replace(path)


def _remove_database_files(path: Path) -> None:
    for ending in DATABASE_FILES:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        _remove_database_files(path)
        return
    for _ in range(_REMOVAL_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)  # threads of a writer that failed (Zarr has some) may still add files
    shutil.rmtree(path)
