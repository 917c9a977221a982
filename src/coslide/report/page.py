"""Pages for people, written from templates: every text from the data is escaped, nothing is loaded from elsewhere."""

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from coslide.evaluation.assessment import comparison_rows, estimate_rows, in_words, stratum_rows
from coslide.io.templates import templates_of


def render(template: str, **content: Any) -> str:
    """Fill a template of this package; in a HTML page every text is escaped.

    Parameters
    ----------
    template
        Its name, such as ``"report.html.j2"``.
    content
        What it shows.
    """
    return _ENVIRONMENT.get_template(template).render(content)


def round_length(longest: float) -> float:
    """Find the longest of ..., 1, 2, 5, 10, 20, ... that is not above `longest`, a number above 0.

    Examples
    --------
    >>> round_length(3.9), round_length(0.7), round_length(10), round_length(0.3 / 3)
    (2.0, 0.5, 10.0, 0.05)
    """
    power = 10.0 ** math.floor(math.log10(longest))  # rounded up, a logarithm gives one that is too long
    return float(max(digit * power for digit in (0.5, 1, 2, 5) if digit * power <= longest))


def percent(share: float) -> str:
    """Write a share as text in percent.

    Examples
    --------
    >>> percent(0.034)
    '3.4 %'
    """
    return f"{100 * share:.1f} %"


def score_text(value: float | None, digits: int = 3) -> str:
    """Write a score as text, or a dash where there is none.

    Examples
    --------
    >>> score_text(0.12345), score_text(None)
    ('0.123', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def listed(values: Mapping[str, Any], without: Sequence[str] = ()) -> str:
    """Write options as text.

    Examples
    --------
    >>> listed({"width": 8, "norm_layer": "batch"}, without=["width"])
    'norm layer batch'
    """
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items() if name not in without)


def tex(text: object) -> str:
    r"""Write text so that LaTeX sets it as it is.

    Examples
    --------
    >>> print(tex("50 % of k_1 ± 0.1"))
    50 \% of k\_1 $\pm$ 0.1
    """
    return "".join(_TEX.get(letter, letter) for letter in str(text) if letter.isprintable())


_TEX = {letter: f"\\{letter}" for letter in "%&#_{}$"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "–": "--",
    "≤": r"$\leq$",
    "−": "$-$",
    "×": r"$\times$",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_ENVIRONMENT = templates_of("report")
_ENVIRONMENT.filters |= {
    "percent": percent,
    "score": score_text,
    "round_length": round_length,
    "listed": listed,
    "tex": tex,
}
_ENVIRONMENT.filters |= {
    "estimates": estimate_rows,
    "strata": stratum_rows,
    "comparison": comparison_rows,
    "number": in_words,
}
_ENVIRONMENT.filters |= {"basename": os.path.basename, "median": statistics.median}
