"""The one error type that speaks to the user, and what it promises."""

import re
import unicodedata

_LONGEST = 2000
# Of an address, however odd: what is before its "@", after a scheme (a drive has one letter) or as "user:word".
_USER = re.compile(r"(\w\w:[/\\]+)[^\s/\\@]+@|([/\\])[^\s/\\@:]*:(?![/\\]|\d{1,5}[/?#])[^\s@]*@")
_QUERY = re.compile(r"(\w\w:[/\\][^\s?]*\?)[^\s?]*=[^\s]*?(?=[]:;,)'\"]*(?:\s|$))")
_DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn what follows round


class InputError(Exception):
    """What the user gave cannot be used.

    The text is one line with the file or key, what was found and what was expected. The command line prints it
    without a traceback and ends with exit code 2; everything else that is raised is a fault of coslide (exit code 1).

    Examples
    --------
    >>> raise InputError("event.toml: [dem] path: dem.tif does not exist")
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: event.toml: [dem] path: dem.tif does not exist
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def first_line(error: BaseException) -> str:
    """Take the first line of the text of an error, or its name where it has no text.

    Examples
    --------
    >>> first_line(ValueError("no number")), first_line(TimeoutError())
    ('no number', 'TimeoutError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def one_line(text: str) -> str:
    r"""Make a text fit to be shown: one line of at most 2,000 characters, which steers no terminal.

    A text may hold names from files and messages of libraries: line breaks become spaces, control characters their
    escapes, and what is too long loses its middle. What may be a secret in an address (user, query) is left out.

    Examples
    --------
    >>> one_line("https://user:word@127.0.0.1/a.tif?signature=x: is missing")
    'https://...@127.0.0.1/a.tif?...: is missing'
    >>> one_line("a\nb: \x1b[31mred"), len(one_line("name" * 1000))
    ('a b: \\x1b[31mred', 2000)
    """
    if len(text) > 4 * _LONGEST:  # of megabytes, most is not even looked at
        text = _without_middle(text, 4 * _LONGEST)
    joined = re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text).replace("\t", " ")
    joined = _QUERY.sub(r"\1...", _USER.sub(r"\1\2...@", joined))
    return _without_middle("".join(_escape(c) if _steers(c) else c for c in joined).strip(), _LONGEST)


def _steers(character: str) -> bool:
    """Tell whether a terminal would do something else than show a character, or cannot."""
    return character in _DIRECTIONS or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def _without_middle(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 5]} ... {text[len(text) - tail :]}"
