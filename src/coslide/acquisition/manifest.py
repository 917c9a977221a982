"""What was fetched into a folder: ``manifest.json``, true after every file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import coslide
from coslide.acquisition.records import Fetched
from coslide.config.records import StrictModel, read_record
from coslide.errors import InputError
from coslide.io.atomic import write_json

MANIFEST = "manifest.json"
_FORMAT = 1


class _Record(StrictModel):
    coslide_fetch: int
    coslide: str
    event: str
    files: tuple[Fetched, ...]


class Manifest:
    """The files of a folder that were fetched.

    Parameters
    ----------
    folder
        That of the event.
    event_id
        The earthquake; a folder with files of another one is refused.

    Raises
    ------
    InputError
        If there is a manifest that cannot be read.
    """

    def __init__(self, folder: Path, event_id: str) -> None:
        self.folder, self.event_id = folder, event_id
        self._files: dict[str, Fetched] = {}
        path = folder / MANIFEST
        if path.exists():
            record = read_record(path, _Record, advice="remove it, and the files are fetched anew")
            if record.event != event_id:
                found = f"found files of {record.event}, expected those of {event_id}"
                raise InputError(f"{path}: {found}; choose another --out")
            self._files = {one.file: one for one in record.files}

    @property
    def known(self) -> Mapping[str, Fetched]:
        """List what was fetched, by its paths."""
        return self._files

    def add(self, files: Iterable[Fetched]) -> None:
        """Record files that were fetched."""
        self._files |= {one.file: one for one in files}
        self._write()

    def _write(self) -> None:
        files = tuple(self._files[name] for name in sorted(self._files))
        record = _Record(coslide_fetch=_FORMAT, coslide=coslide.__version__, event=self.event_id, files=files)
        write_json(self.folder / MANIFEST, record.model_dump(mode="json"))
