"""Records that are read from files: their kind, and the one line about what is wrong with one."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from coslide.errors import InputError
from coslide.io.paths import require_regular_file

Record = TypeVar("Record")
_LONGEST_PROBLEM = 300


class StrictModel(BaseModel):
    """A record read from a file: unknown keys, NaN and infinity are refused, and it cannot change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def require(fits: object, message: str) -> None:
    """Raise a ValueError with `message`, which pydantic reports, where `fits` is not true."""
    if not fits:
        raise ValueError(message)


def require_file(table: BaseModel, file: str, *keys: str) -> None:
    """Require that `keys` of a table, which say how to read its `file`, are given with it alone."""
    for key in keys:
        require(getattr(table, file) or getattr(table, key) is None, f"{key}: goes with {file}")


def read_record(path: Path, kind: type[Record], *, advice: str) -> Record:
    """Read a record that an earlier command left as JSON.

    Parameters
    ----------
    path
        The file.
    kind
        What it holds, as pydantic takes it.
    advice
        What to do where it holds something else, for the message.

    Raises
    ------
    InputError
        If it cannot be read or is no such record.
    """
    require_regular_file(path)
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)[:_LONGEST_PROBLEM]}; {advice}") from None


def first_problem(error: ValidationError) -> str:
    """Put the first problem that pydantic found in one line, ``key: found ..., expected ...``.

    Examples
    --------
    >>> try:
    ...     TypeAdapter(dict[str, int]).validate_python({"epochs": "many"})
    ... except ValidationError as error:
    ...     first_problem(error)
    "epochs: found 'many', expected a valid integer, unable to parse string as an integer"
    """
    first, *more = error.errors(include_url=False)
    key = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    texts = {
        "extra_forbidden": f"{key}: unknown key",
        "missing": f"{key}: missing, and it is required",
        "value_error": f"{key}: {message}" if key else message,
        "json_invalid": "is not valid JSON",
    }
    expected = message.removeprefix("Input should be ")
    expected = expected if expected != message else f"{message[0].lower()}{message[1:]}"
    otherwise = f"{f'{key}: ' if key else ''}found {first['input']!r}, expected {expected}"
    return texts.get(first["type"], otherwise) + (f" (and {len(more)} more)" if more else "")
