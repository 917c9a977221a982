"""The age of a geological unit, as far as its code or its name tells."""

import re

_PERIODS = (
    ("Ar", "archean"), ("Pt", "proterozoic"), ("Nh", "nanhua"), ("Z", "sinian"), ("Cm", "cambrian"),
    ("O", "ordovician"), ("S", "silurian"), ("D", "devonian"), ("C", "carboniferous"), ("P", "permian"),
    ("T", "triassic"), ("J", "jurassic"), ("K", "cretaceous"),
    ("E", "paleogene"), ("N", "neogene"), ("Q", "quaternary"),
)  # fmt: skip
_CODE = re.compile(r"([A-Z][a-z]?)(\d?)")


def age_rank(unit: str) -> float | None:
    """Rank a unit by age, older ones lower, by the code or the name of its period; None where it has neither.

    Two with a hyphen between them are a unit that spans both.

    Examples
    --------
    >>> sorted(["T1", "Q", "P2-T1", "D1", "P2"], key=age_rank), age_rank("granite")
    (['D1', 'P2', 'P2-T1', 'T1', 'Q'], None)
    """
    ranks = []
    for part in re.split(r"\s*-\s*", unit.strip()):
        match = _CODE.fullmatch(part)
        own = [
            rank + (int(match[2] or 5) / 10 if match else 0.5)
            for rank, (code, name) in enumerate(_PERIODS)
            if (match and match[1] == code) or part.lower() == name
        ]
        if not own:
            return None
        ranks += own
    return sum(ranks) / len(ranks)
