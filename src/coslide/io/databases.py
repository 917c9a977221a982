"""SQLite files (GeoPackage) that another program has open: read as they were saved, replaced only when it is closed.

What was saved last may stand in a file beside the database, the -wal, until SQLite merges it: whoever reads the
database alone sees less, whoever opens it merges, and a -wal that stays beside a database that took its place destroys
it.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from coslide.errors import InputError
from coslide.io.paths import SQLITE_HEAD, database_logs, read_head

DATABASE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite may leave beside a database."""
_COPIES = 20
_PAUSE_S = 0.25
_PATIENCE_S = 2.0  # for a program that reads it just now
_OPEN_ELSEWHERE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextmanager
def as_saved(path: Path) -> Iterator[Path]:
    """Give a path at which a source can be read as it was saved, without a change of it or of a file beside it.

    Parameters
    ----------
    path
        A source in any format.

    Yields
    ------
    Path
        `path`; of a database with changes that are not merged, or were left by a program that crashed, a copy for as
        long as the block lasts.

    Raises
    ------
    InputError
        If such a database is written all the time, so that no whole copy can be made.
    """
    if not database_logs(path) or not read_head(path).startswith(SQLITE_HEAD):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="coslide-") as folder:
        yield _copy(path, Path(folder))


@contextmanager
def closed_database(path: Path) -> Iterator[None]:
    """Hold a database for this process alone while the block lasts; what is no database is let pass.

    Changes that a crashed program left beside it are merged. A program that has it open without a transaction, and not
    in the mode of a -wal, holds no lock and cannot be seen.

    Raises
    ------
    InputError
        If another program has it open.
    """
    if not read_head(path).startswith(SQLITE_HEAD):
        yield
        return
    address = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE_S, isolation_level=None)) as database:
        try:
            database.execute("pragma locking_mode = exclusive")  # without it nobody who only reads a -wal is noticed
            database.execute("begin exclusive")
        except sqlite3.Error as error:  # another: it is damaged, or may not be written, and then nobody edits it
            if error.sqlite_errorcode & 0xFF in _OPEN_ELSEWHERE:
                hint = "close it there (in QGIS remove its layers), or choose another --out"
                raise InputError(f"{path}: is open in another program; {hint}") from None
        yield


def _copy(path: Path, folder: Path) -> Path:
    """Copy a database and what is not merged; the files are consistent if none has changed meanwhile."""
    for _ in range(_COPIES):
        before = _state(path)
        with suppress(FileNotFoundError):  # merged meanwhile
            for file in (path, *database_logs(path)):
                shutil.copyfile(file, folder / file.name)
            if _state(path) == before:
                _merge(folder / path.name)
                return folder / path.name
        for file in folder.iterdir():
            file.unlink()
        time.sleep(_PAUSE_S)
    raise InputError(f"{path}: is written by another program all the time; save and close it there")


def _merge(copy: Path) -> None:
    """Let SQLite merge what was saved, and undo what was not: GDAL cannot where it only reads."""
    with closing(sqlite3.connect(copy)) as database, suppress(sqlite3.Error):  # whoever reads it reports what is wrong
        database.execute("select count(*) from sqlite_master")


def _state(path: Path) -> list[tuple[str, int, int]]:
    found = [(file.name, file.stat()) for file in (path, *database_logs(path))]
    return [(name, state.st_mtime_ns, state.st_size) for name, state in found]
