"""What is read from servers: retried, limited in size, and whole before it takes its name."""

import datetime as dt
import email.utils
import hashlib
import netrc
import os
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx

from coslide.errors import InputError, first_line
from coslide.io.atomic import report_write_errors

TIMEOUT_S = 30.0
HTTP = ("http://", "https://")
ADDRESS = re.compile(
    r"https?://(?:[^\s/@?#<>\"\\]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:[/?#][!#-;=?-\[\]-~]*)?"
)
"""An http address: a user or not, a host, a port or not, and then printable ASCII."""

LARGEST_DOCUMENT_BYTES = 64 * 2**20
_LARGEST_FILE_BYTES = 8 * 2**30
LONGEST_ANSWER_S = 60.0
LONGEST_WAIT_S = 120.0
FIRST_WAIT_S = 1.0
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_ABSENT = {204, 404, 410}

Parameters = Mapping[str, str | float]


class MissingError(InputError):
    """A server has no such thing."""


class _AgainError(Exception):
    """A request failed in a way that may pass; `wait_s` is how long the server asks to wait."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Download(NamedTuple):
    """A file that was downloaded: its address without what may be a secret, its size and the SHA-256 of its content."""

    address: str
    bytes: int
    sha256: str


class Web:
    """A client of http servers, for use in a ``with`` block and by several threads at once.

    What fails in a way that may pass (no connection, a time-out, an answer that is cut short, status 408, 425, 429,
    500, 502, 503, 504) is asked again, after the time that the server names (``Retry-After``, up to two minutes), else
    after 1, 2, 4, ... seconds. Proxies, certificates (``SSL_CERT_FILE``) and netrc (``NETRC``, ``~/.netrc``) are those
    of the environment. A user in an address is told to its server alone.

    Parameters
    ----------
    timeout_s
        How long a server may be silent.
    tries
        How often something is asked for.

    Raises
    ------
    InputError
        If the netrc cannot be read.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, tries: int = 5) -> None:
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=True, auth=_netrc_users(), http2=False)
        self._tries = tries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def read(
        self, address: str, *, params: Parameters | None = None, largest_bytes: int = LARGEST_DOCUMENT_BYTES
    ) -> bytes:
        """Read a document.

        Raises
        ------
        MissingError
            If the server has no such thing.
        InputError
            If `address` is no http address, the server cannot be reached or refuses, or the answer is larger than
            `largest_bytes` or not whole after a minute.
        """
        require_address(address)
        for left in reversed(range(self._tries)):
            with self._once_more(address, left):
                return self._read_in_time(address, params, largest_bytes)
        raise AssertionError  # the last try raised

    def _read_in_time(self, address: str, params: Parameters | None, largest_bytes: int) -> bytes:
        """Read in a thread of its own: a server may send each byte in time and yet never end, and is given up then."""
        document: Future[bytes] = Future()

        def ask() -> None:
            try:
                with self._answer(address, params, {}) as answer:
                    document.set_result(_whole(answer, address, largest_bytes))
            except Exception as error:  # noqa: BLE001 - raised below
                document.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            return document.result(LONGEST_ANSWER_S)
        except TimeoutError:
            late = f"not whole after {LONGEST_ANSWER_S:g} s"
            raise InputError(f"{redact_url(address)}: cannot be fetched ({late})") from None

    def download(self, address: str, path: Path) -> Download:
        """Download a file; what an interrupted download left is completed.

        Parameters
        ----------
        address
            An http address.
        path
            The file, which appears once it is whole. Until then its content is in a hidden file beside it, with the
            tag of the server's version beside that: of another version, it starts anew.

        Raises
        ------
        MissingError
            If the server has no such thing.
        InputError
            If it cannot be downloaded, is larger than 8 GB, or cannot be written.
        """
        require_address(address)
        part, tag = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.tag")
        with report_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(self._tries)):
            with self._once_more(address, left), report_write_errors(path):
                self._continue(address, part, tag)
                break
        with report_write_errors(path):
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = part.stat().st_size
            part.replace(path)
            tag.unlink(missing_ok=True)
        return Download(redact_url(address), size, digest)

    def _continue(self, address: str, part: Path, tag: Path) -> None:
        """Append to `part` what is missing of a file, or begin it anew where the server has another version."""
        version = tag.read_text(encoding="utf-8") if tag.is_file() and part.is_file() else ""
        begun = part.stat().st_size if version else 0
        headers = {"Range": f"bytes={begun}-", "If-Range": version} if begun else {}
        with self._answer(address, None, headers | {"Accept-Encoding": "identity"}) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is whole, or too long
                tag.unlink()
                raise _AgainError("its server has no more of it")
            partial = answer.status_code == httpx.codes.PARTIAL_CONTENT
            if partial and not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
                tag.unlink(missing_ok=True)
                raise _AgainError("its server sent another part than it was asked for")
            goes_on = partial and begun > 0
            if not goes_on:
                part.write_bytes(b"")  # before the tag: a part never stands beside that of another version
            etag = answer.headers.get("ETag", "")
            if etag and not etag.startswith("W/"):
                tag.write_text(etag, encoding="utf-8")
            elif not goes_on:
                tag.unlink(missing_ok=True)
            with part.open("ab") as file:
                for piece in answer.iter_raw():  # as it comes: what is gathered is lost with the connection
                    if file.tell() + len(piece) > _LARGEST_FILE_BYTES:
                        raise InputError(f"{redact_url(address)}: is larger than {_LARGEST_FILE_BYTES // 2**30} GB")
                    file.write(piece)

    @contextmanager
    def _once_more(self, address: str, left: int) -> Iterator[None]:
        """Let a failure that may pass go by while tries are left, after waiting."""
        try:
            yield
        except (_AgainError, httpx.TransportError) as error:
            name, wait_s = redact_url(address), getattr(error, "wait_s", 0.0)
            if wait_s > LONGEST_WAIT_S:
                raise InputError(f"{name}: its server asks to come back in {wait_s:.0f} s; run again then") from None
            reason, may_pass = _reason(error)
            if not left or not may_pass:
                raise InputError(f"{name}: cannot be fetched ({reason})") from None
            backoff_s = FIRST_WAIT_S * 2 ** (self._tries - 1 - left) * random.uniform(0.75, 1.25)  # noqa: S311
            time.sleep(min(max(wait_s, backoff_s), LONGEST_WAIT_S))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise InputError(f"{redact_url(address)}: cannot be fetched ({first_line(error)})") from None

    @contextmanager
    def _answer(self, address: str, params: Parameters | None, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Ask a server, and check that it answers with content."""
        url = httpx.URL(address)
        url = url.copy_merge_params(dict(params)) if params else url
        auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else self._client.auth
        with self._client.stream("GET", url, headers=headers, auth=auth) as answer:
            code, status = answer.status_code, f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
            if code in _ABSENT:
                raise MissingError(f"{redact_url(address)}: cannot be fetched (its server has no such thing, {status})")
            if code in _AGAIN:
                raise _AgainError(status, _retry_after_s(answer.headers.get("Retry-After", "")))
            past_end = code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers
            if not answer.is_success and not past_end:
                raise InputError(f"{redact_url(address)}: cannot be fetched ({status})")
            yield answer


def require_address(address: str) -> None:
    """Require that a text is an http address.

    Raises
    ------
    InputError
        If it is none.
    """
    if not ADDRESS.fullmatch(address):
        example = "expected one such as https://example.org/item.json"
        raise InputError(f"{redact_url(address)}: is no http address, {example}")


def redact_url(href: str) -> str:
    """Strip what may be a secret (user, query) from an address, for messages and records. Paths stay as they are.

    Examples
    --------
    >>> redact_url("https://user:word@127.0.0.1:80/B02.tif?signature=x")
    'https://127.0.0.1:80/B02.tif'
    """
    if not href.lower().startswith(HTTP):
        return href
    scheme, _, rest = href.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def _netrc_users() -> httpx.Auth | None:
    """Read the users of servers; what is wrong with the file is told without what stands in it."""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return None
    try:
        return httpx.NetRCAuth(str(path))
    except netrc.NetrcParseError as error:
        reason = f"line {error.lineno} is not as a netrc has it"
    except UnicodeDecodeError:
        reason = "it is not in UTF-8"
    except OSError as error:
        reason = str(error.strerror)
    raise InputError(f"{path}: cannot be read ({reason})")


def _whole(answer: httpx.Response, address: str, largest_bytes: int) -> bytes:
    """Read all of an answer, up to a size."""
    pieces, size = [], 0
    for piece in answer.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > largest_bytes:
            raise InputError(f"{redact_url(address)}: is larger than {largest_bytes / 2**20:.3g} MB")
    return b"".join(pieces)


def _reason(error: Exception) -> tuple[str, bool]:
    """Tell why a request failed, and whether it may pass."""
    causes = [error, *(cause for cause in (error.__cause__, error.__context__) if cause is not None)]
    causes += [cause.__context__ for cause in causes if cause.__context__ is not None]
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "where your network has a certificate of its own, name it in SSL_CERT_FILE"
            return f"its certificate is not trusted: {cause.verify_message}; {advice}", False
        if isinstance(cause, socket.gaierror):
            return f"no server of this name is known: {cause.strerror}; is this machine on line?", False
    if isinstance(error, httpx.TimeoutException):
        return f"{type(error).__name__}: its server is silent", True
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refuses: {first_line(error)}", True
    return first_line(error), not isinstance(error, httpx.UnsupportedProtocol)


def _retry_after_s(text: str) -> float:
    """Read how long to wait, given in seconds or as a date; 0 where neither is given."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    then = then if then.tzinfo else then.replace(tzinfo=dt.UTC)
    return max((then - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)
