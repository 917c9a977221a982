"""Documents of metadata, in files or at http addresses."""

import atexit
import functools
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from coslide.errors import InputError, first_line
from coslide.io.http import LARGEST_DOCUMENT_BYTES, Web, redact_url
from coslide.io.paths import require_regular_file

_TRIES = 3


def read_document(place: Path | str) -> bytes:
    """Read a document of metadata, a file or at an http address.

    Raises
    ------
    InputError
        If it is no file, cannot be read, or is larger than any metadata; or as `Web.read`.
    """
    if isinstance(place, str):
        return _web().read(place)
    try:
        require_regular_file(place)
        with place.open("rb") as file:
            text = file.read(LARGEST_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror or first_line(error)})") from None
    if len(text) > LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{place}: is larger than {LARGEST_DOCUMENT_BYTES // 2**20} MB, expected metadata")
    return text


@functools.cache
def _web() -> Web:
    """Open the client that all documents share: reading its certificates takes longer than a document."""
    web = Web(tries=_TRIES)
    atexit.register(web.close)
    return web


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
