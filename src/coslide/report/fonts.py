"""Text of figures in any script: the fonts of the machine that have its letters, and words for those that none has."""

import logging
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"}
_KIND = re.compile(
    r"[ -](?:LETTER|SYLLAB|CHARACTER|VOWEL|SIGN|DIGIT|CAPITAL|SMALL|UNIFIED|COMPATIBILITY|ITERATION|PROLONGED)"
)
_OMITTED = "…"
_NO_LETTERS = ("Last Resort", "STIXNonUnicode", "cm", "LyX")  # boxes, or signs at the places of others

_log = logging.getLogger(__name__)


def fit_fonts(figure: Figure) -> None:
    """Give each text of a figure the fonts that its letters need, and leave out what no font of the machine has.

    Parameters
    ----------
    figure
        About to be drawn. A text whose letters the default font has stays as it is. Runs of letters that no font has
        become "…", and a line, once, says which font to install.
    """
    texts = [text for text in figure.findobj(Text) if not _is_plain(text.get_text())]
    before = {text: text.get_text() for text in texts}
    for text in texts:
        text.set_text(_cleaned(text.get_text()))
    lacking = {text: missed for text in texts if (missed := _missed(text))}
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns where a family has no bold face
    families = _families(frozenset[str]().union(*lacking.values())) if lacking else []
    nowhere: set[str] = set()
    for text in lacking:
        text.set_fontfamily([*text.get_fontfamily(), *families])
        if missed := _missed(text):
            nowhere |= missed
            one = f"[{re.escape(''.join(sorted(missed)))}]"
            runs = rf"{one}(?:[ \u200d]*{one})*"
            text.set_text(re.sub(runs, _OMITTED, text.get_text()))
    changed = {text for text, was in before.items() if text.get_text() != was}
    for axis in figure.findobj(Axis):  # which writes its labels again when it is drawn
        labels = [tick.label1 for tick in axis.majorTicks]
        if changed.intersection(labels):
            axis.set_ticklabels([label.get_text() for label in labels])
    for advice in sorted(set(map(_advice, nowhere))):
        _say(advice)


def cut(text: str, columns: int) -> str:
    r"""Bring a text onto one line of so many columns at most; letters of East Asia take two.

    Examples
    --------
    >>> cut("An earthquake\nof long ago", 16), cut("平成30年北海道", 9)
    ('An earthquake o…', '平成30年…')
    """
    text = " ".join(text.split())
    if _columns(text) <= columns:
        return text
    while _columns(text) >= columns:
        text = text[:-1]
    return text + _OMITTED


def wrap(text: str, columns: int, lines: int) -> str:
    r"""Break a text into at most so many lines of so many columns, at spaces where there are any.

    Examples
    --------
    >>> wrap("made of open data", 8, 2), wrap("国土地理院", 4, 9)
    ('made of\nopen da…', '国土\n地理\n院')
    """
    left, found = " ".join(text.split()), list[str]()
    while left and len(found) < lines:
        length = next((n for n in range(1, len(left) + 1) if _columns(left[:n]) > columns), len(left) + 1) - 1
        if length < len(left) and left[length] != " " and " " in left[:length] and _columns(left[length]) < 2:
            length = left.rindex(" ", 0, length)
        found.append(left[:length].rstrip())
        left = left[length:].lstrip()
    if left:
        found[-1] = cut(f"{found[-1]} {left}", columns)
    return "\n".join(found)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").isprintable()


def _cleaned(text: str) -> str:
    """Compose letters with their marks, and leave out what is not seen: controls, and choosers of a glyph's form."""
    composed = unicodedata.normalize("NFC", text)
    shown = (" " if unicodedata.category(c) == "Cc" and c != "\n" else c for c in composed)
    return "".join(c for c in shown if not "\ufe00" <= c <= "\ufe0f")


def _missed(text: Text) -> set[str]:
    """Find the letters that none of the fonts of a text has."""
    style = text.get_fontproperties()
    letters = frozenset(text.get_text()) - {"\n"}
    for family in style.get_family():
        own = style.copy()
        own.set_family([family])
        path = findfont(own)
        letters -= _drawn(path, getattr(path, "face_index", 0), letters)
    return {letter for letter in letters if unicodedata.category(letter) != "Cf"}


@cache
def _drawn(path: str, face: int, letters: frozenset[str]) -> frozenset[str]:
    """Find which of the letters a font has a glyph for."""
    font = FT2Font(path, face_index=face) if face else FT2Font(path)
    return frozenset(letter for letter in letters if font.get_char_index(ord(letter)))


@cache
def _families(letters: frozenset[str]) -> list[str]:
    """Choose font families that together have as many of the letters as can be, those with the most first."""
    scripts = set(map(_script, letters))
    region = " KR" if "HANGUL" in scripts else " JP" if scripts & {"HIRAGANA", "KATAKANA"} else " SC"

    def preference(entry: FontEntry) -> tuple[Any, ...]:
        name = entry.name
        return (
            "Serif" in name,
            "Mono" in name,
            not name.startswith("Noto"),
            not name.endswith(region),
            name,
            entry.fname,
        )

    there: dict[str, frozenset[str]] = {}
    for entry in sorted(_fonts(), key=preference):
        try:
            there.setdefault(entry.name, _drawn(entry.fname, getattr(entry, "index", 0), letters))
        except (OSError, RuntimeError):
            continue  # removed since it was listed
    chosen: list[str] = []
    while there and there[best := max(there, key=lambda name: len(there[name] & letters))] & letters:
        letters -= there[best]
        chosen.append(best)
    return chosen


def _fonts() -> Iterable[FontEntry]:
    """List the fonts of the machine, those too that were installed since matplotlib made its list."""
    listed = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - listed):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError, NotImplementedError):
            continue  # no font, or one of coloured pictures, which cannot be drawn
    return [entry for entry in fontManager.ttflist if not entry.name.startswith(_NO_LETTERS)]


def _columns(text: str) -> int:
    """Count the columns that a text takes: two a letter of East Asia or an emoji, none a mark on another letter."""
    widths = {"W": 2, "F": 2}
    return sum(widths.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


def _script(letter: str) -> str:
    """Name the script of a letter in capitals; empty for signs."""
    if unicodedata.category(letter)[0] not in "LMN":
        return ""
    return _KIND.split(unicodedata.name(letter, ""), maxsplit=1)[0].strip()


def _advice(letter: str) -> str:
    """Say what to install for a letter that no font has."""
    if unicodedata.category(letter) in ("Co", "Cn"):
        return "signs that Unicode does not define"
    script = _script(letter)
    if script in _EAST_ASIAN:
        return "East Asian letters; install Noto Sans CJK (Debian, Ubuntu: fonts-noto-cjk)"
    if script:
        return f"{script.title()} letters; install Noto Sans {script.title()} (Debian, Ubuntu: fonts-noto-core)"
    return "some signs; install Symbola (Debian, Ubuntu: fonts-symbola)"


@cache
def _say(advice: str) -> None:
    _log.warning(f"figures have … in place of letters that no font here has: {advice}")
