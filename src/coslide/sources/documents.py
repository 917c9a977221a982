"""Documents of metadata, in files or at http addresses."""

import re
import threading
from base64 import b64encode
from concurrent.futures import Future
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from coslide.errors import InputError, first_line
from coslide.io.paths import require_regular_file

TIMEOUT_S = 30.0
LONGEST_ANSWER_S = 60.0
HTTP = ("http://", "https://")
ADDRESS = re.compile(
    r"https?://(?:[^\s/@?#<>\"\\]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:[/?#][!#-;=?-\[\]-~]*)?"
)
"""An http address: a user or not, a host, a port or not, and then printable ASCII."""
_LARGEST_DOCUMENT_BYTES = 64 * 2**20
_HTTP_HANDLERS = (
    ProxyHandler, UnknownHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPRedirectHandler,
    HTTPErrorProcessor,
)  # fmt: skip


def read_document(place: Path | str) -> bytes:
    """Read a document of metadata, a file or at an http address.

    Raises
    ------
    InputError
        If it is no file, cannot be read, is larger than any metadata, or is not whole after a minute.
    """
    name = redact_url(str(place))
    if isinstance(place, str) and not ADDRESS.fullmatch(place):
        raise InputError(f"{name}: is no http address, expected one such as https://example.org/item.json")
    try:
        text = _fetch(place) if isinstance(place, str) else _beginning(place)
    except (OSError, HTTPException, ValueError, OverflowError) as error:
        if isinstance(error, HTTPError):  # an answer of its own, with a connection
            error.close()
        verb, reason = "fetched" if isinstance(place, str) else "read", getattr(error, "strerror", None)
        raise InputError(f"{name}: cannot be {verb} ({reason or first_line(error)})") from None
    if len(text) > _LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{name}: is larger than {_LARGEST_DOCUMENT_BYTES // 2**20} MB, expected metadata")
    return text


def _beginning(path: Path) -> bytes:
    require_regular_file(path)
    with path.open("rb") as file:
        return file.read(_LARGEST_DOCUMENT_BYTES + 1)


def _fetch(address: str) -> bytes:
    """Ask a server in a thread of its own: it may answer each read in time and yet never end, and is given up then."""
    answer: Future[bytes] = Future()

    def ask() -> None:
        try:
            answer.set_result(_answer(address))
        except Exception as error:  # noqa: BLE001 - raised below
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(LONGEST_ANSWER_S)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"not whole after {LONGEST_ANSWER_S:g} s") from None


def _answer(address: str) -> bytes:
    """Read what a server answers. Only http(s) is followed, and a user is told to no other server."""
    scheme, place, path, query, _ = urlsplit(address)
    user, _, host = place.rpartition("@")
    request = Request(urlunsplit((scheme, host, path, query, "")))  # noqa: S310 - only http(s) has a handler
    if user:
        request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote_to_bytes(user)).decode()}")
    opener = OpenerDirector()
    for handler in _HTTP_HANDLERS:
        opener.add_handler(handler())
    with opener.open(request, timeout=TIMEOUT_S) as file:
        text: bytes = file.read(_LARGEST_DOCUMENT_BYTES + 1)
        if file.length and len(text) <= _LARGEST_DOCUMENT_BYTES:
            raise HTTPException(f"the last {file.length} bytes are missing")
    return text


def read_xml(place: Path | str) -> Element:
    """Read an XML document that has neither a DTD nor entities, a file or at an http address.

    Raises
    ------
    InputError
        As `read_document`, or if it has, or is no XML.
    """
    try:
        root: Element = fromstring(read_document(place), forbid_dtd=True)
    except DefusedXmlException:
        raise InputError(f"{redact_url(str(place))}: found a DTD or entities, expected plain XML") from None
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{redact_url(str(place))}: is not XML ({first_line(error)})") from None
    return root


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
