"""Folders for outputs: known to be writable before any work starts, and gone again where it was refused."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coslide.errors import InputError


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for outputs, with those above it; what is still empty after an error is removed.

    Parameters
    ----------
    folder
        What the user named.

    Yields
    ------
    Path
        The folder. Files can be written into it.

    Raises
    ------
    InputError
        If a file stands there, or the folder cannot be written.

    Examples
    --------
    >>> parent = Path(tempfile.mkdtemp())
    >>> with suppress(ValueError), output_folder(parent / "a" / "b"):
    ...     raise ValueError
    >>> list(parent.iterdir())
    []
    """
    made: list[Path] = []
    try:
        _make(folder, made)
        yield folder
    except BaseException:
        with suppress(OSError):  # what is in use stays
            for path in made:
                path.rmdir()
        raise


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder that can be written, and note which had to be made for it, the innermost first."""
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; expected a folder or a new name")
        made += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be written ({reason}); choose another place") from None
