"""Which cases of a study differ: pairwise tests over places and trainings, each in a sentence that can be quoted."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import polygamma

from coslide.config.records import StrictModel
from coslide.errors import InputError
from coslide.evaluation.pixels import IntArray, draw_blocks
from coslide.evaluation.scoring import SIDE_PX

Floats = NDArray[np.float64]

_REPLICATES = 10_000
_PARTS = 10  # that replicates are drawn in, so that only the draws of one are in memory
_LEVEL = 0.05
_ROUNDS, _LEAST = 5, 1e-16  # of weighting cases; variance of F1, so that there is a logarithm
_ENOUGH = 10  # squares of equal landslide area; see the notes of `compare`
_PLACE, _COUNTS = ["event", "row", "col"], ["tp", "fp", "fn", "tn"]
COLUMNS = (*_PLACE, *_COUNTS)
"""Columns of ``tiles.csv`` that squares are made of; all but the first are numbers."""
_LARGEST = {"row": 2**31 - 1, "col": 2**31 - 1} | dict.fromkeys(_COUNTS, SIDE_PX**2)


class Comparison(StrictModel):
    """How two cases of a study compare in the F1 of landslides, on the same held-out squares, over the same seeds."""

    first: str
    """The case with the higher F1."""
    second: str
    """The other one."""
    first_f1: float
    """F1 of the landslide class pooled over the squares, mean over the seeds, of the first."""
    second_f1: float
    """The same of the second."""
    difference: float = Field(ge=0)
    """The first less the second."""
    low: float
    """Lower end of the 95 % interval of the difference, of this pair alone: it is not corrected."""
    high: float
    """Upper end."""
    p: float = Field(ge=0, le=1)
    """Two-sided p-value of no difference, of this pair alone."""
    p_corrected: float = Field(ge=0, le=1)
    """The same after Holm's correction for all pairs of the study."""
    seeds: int
    """Trainings of each case. The chance of training is in interval and p-values from two on; with one it is not."""
    squares: int
    """Squares of 128 pixels that were drawn: those that at least one of the seeds held out."""
    effective: float
    """How many squares of equal landslide area they are worth: (sum of areas) ** 2 / sum of (area ** 2)."""
    pairs: int
    """Pairs of the study, which the correction is for."""

    @property
    def shown(self) -> bool:
        """Tell whether a difference is shown: squares are enough, and the corrected p-value is below 0.05 (rounded)."""
        return self.enough and round(self.p_corrected, 3) < _LEVEL

    @property
    def enough(self) -> bool:
        """Tell whether the squares are enough to claim anything: they are worth 10 of equal landslide area."""
        return self.effective >= _ENOUGH

    def sentence(self, event: str, pixel_size_m: float | None = None) -> str:
        """Say what was found in a sentence that can be quoted.

        Parameters
        ----------
        event
            What was mapped.
        pixel_size_m
            Side of a pixel [m], for the size of the squares; without it they are squares of 128 pixels.

        Examples
        --------
        >>> found = Comparison(
        ...     first="EGCN", second="U-Net", first_f1=0.712, second_f1=0.681, difference=0.031, low=0.011, high=0.052,
        ...     p=0.0002, p_corrected=0.0056, seeds=3, squares=143, effective=60.7, pairs=28,
        ... )
        >>> found.sentence("Iburi", 10)
        "On Iburi, EGCN recognises landslides better than U-Net: F1 0.712 against 0.681, a difference of 0.031 (95 %
        interval of this pair alone 0.011 to 0.052; p = 0.006 after Holm's correction for 28 comparisons; 143 squares of
        1.28 km, each held out for at least one of 3 seeds, worth 60 of equal landslide area)."
        """
        better = f"{self.first} recognises landslides better than {self.second}"
        verdict = f"no difference in F1 between {self.first} and {self.second} can be shown:"
        if self.shown:
            verdict = f"{better}: F1"
        elif not self.enough:
            verdict = f"too few landslides were held out to tell whether {better}: F1"
        alone, correction = "", ""
        if self.pairs > 1:
            alone, correction = " of this pair alone", f" after Holm's correction for {self.pairs} comparisons"
        squares = f"{self.squares} squares of {_side_text(pixel_size_m)}"
        held = f"{squares}, each held out for at least one of {self.seeds} seeds"
        if self.seeds == 1:
            held = f"one seed, so that the chance of training is not in it; {squares} held out"
        needed = "" if self.enough else f", of which a claim needs {_ENOUGH}"
        return (
            f"On {event}, {verdict} {self.first_f1:.3f} against {self.second_f1:.3f}, a difference of "
            f"{self.difference:.3f} (95 % interval{alone} {self.low:z.3f} to {self.high:z.3f}; "
            f"{_p_text(self.p_corrected)}{correction}; {held}, worth {int(self.effective)} of equal landslide "
            f"area{needed})."
        )


def compare(counts: Mapping[str, Mapping[int, IntArray]]) -> list[Comparison]:
    """Compare the cases of a study pair by pair, by the mean over seeds of the F1 of landslides.

    Parameters
    ----------
    counts
        Of each case and seed: tp, fp, fn, tn of each square, int (square, 4). Squares are the same places throughout,
        and of one seed the same pixels for all cases (`squares_of` sees to it); zeros where one was not held out.
        Seeds that not all cases have are left out.

    Returns
    -------
    list
        All pairs, those of the best mean first.

    Raises
    ------
    InputError
        If there is nothing to compare: one case, no seed that all cases have, or fewer than two squares.

    Notes
    -----
    Two chances decide which of two cases is ahead. *Places*: squares are drawn with replacement, the same for both
    cases and all seeds (paired bootstrap; Efron and Tibshirani 1993, chapters 8 and 13). *Training*: each case varies
    by itself, once what a seed does to all is taken away, and the difference moves by Student's t with the freedom of
    Welch and Satterthwaite (1946, doi:10.2307/3002019), rounded down. Where the logarithms of the variances of all
    cases vary by no more than chance makes them (trigamma((seeds - 1) / 2), as in Smyth 2004,
    doi:10.2202/1544-6115.1027), cases are pooled, as in an analysis of variance of blocks (Fisher 1935), unless the two
    of a pair vary by more. On squares that are all alike, two cases are so compared by the paired t-test.

    Of made-up studies (800 to 2500) of eight like cases with three seeds, 1 to 2 in 100 claimed a difference; with two
    of them five times as unsteady 3; of three cases 5, with one so unsteady 7. What places make of the difference
    between seeds is in both chances: three seeds cannot tell it, and taken away it left some pairs no variance at all,
    and 40 of 100 studies claimed a difference. Trainings share parts of their training sets (Nadeau and Bengio 2003,
    doi:10.1023/A:1024068626366), so that their chance is taken for smaller than it is.

    The bootstrap needs squares, and what counts is how many of equal landslide area they are worth: with one seed 12 of
    100 studies claimed a difference with less than 8, 10 with 8 to 15, 7 with more. Below 10 nothing is claimed. They
    are taken to be independent, but landslides cross them: in a study of seven networks what a square adds to a
    difference correlated by 0.17 with what its neighbours add. Of made-up studies with as much, 19 of 100 claimed a
    difference with one seed, 8 with three (drawing squares by four: 14 and 7).

    The p-value is min(1, 2 (1 + k) / (replicates + 1)), k replicates of 10,000 being at or beyond zero on the rarer
    side (1 for a tie). Holm's correction (1979, Scandinavian Journal of Statistics 6, 65-70) is for all pairs.

    Examples
    --------
    >>> worse, better = np.array([[40, 10, 30, 900], [20, 9, 9, 900]]), np.array([[60, 9, 10, 901], [25, 8, 4, 901]])
    >>> squares = [np.tile(one, (20, 1)) for one in (worse, better)]
    >>> found = compare({"U-Net": {0: squares[0]}, "EGCN": {0: squares[1]}})
    >>> found[0].first, round(found[0].difference, 3), found[0].shown
    ('EGCN', 0.172, True)
    """
    squares = _squares_to_compare(counts)
    names, sums = list(counts), _sums(squares)
    areas = (squares[0, :, :, 0] + squares[0, :, :, 2]).sum(axis=0, dtype=np.float64)  # the same of all cases
    effective = float(areas.sum() ** 2 / max((areas**2).sum(), 1))
    each = _f1(sums.sum(axis=2))
    f1 = each.mean(axis=1)
    pairs = list(combinations(np.argsort(-f1, kind="stable").tolist(), 2))
    differences = _differences(each, _replicates(sums), pairs)
    p = [1.0 if f1[a] == f1[b] else _p_value(drawn) for (a, b), drawn in zip(pairs, differences, strict=True)]
    bounds, corrected = np.percentile(differences, (2.5, 97.5), axis=1).T.tolist(), _holm(p)
    return [
        Comparison(
            first=names[a],
            second=names[b],
            first_f1=float(f1[a]),
            second_f1=float(f1[b]),
            difference=float(f1[a] - f1[b]),
            low=bounds[i][0],
            high=bounds[i][1],
            p=p[i],
            p_corrected=corrected[i],
            seeds=squares.shape[1],
            squares=squares.shape[2],
            effective=effective,
            pairs=len(pairs),
        )
        for i, (a, b) in enumerate(pairs)
    ]


def _squares_to_compare(counts: Mapping[str, Mapping[int, IntArray]]) -> IntArray:
    """Stack the squares that were held out, int (case, seed, square, 4), of the seeds that all cases have."""
    if len(counts) < 2:
        raise InputError(f"found {len(counts)} case(s), expected two or more to compare")
    seeds = sorted(set.intersection(*(set(of) for of in counts.values())))
    if not seeds:
        raise InputError("found no seed that all cases have, expected one or more")
    squares = np.array([[counts[case][seed] for seed in seeds] for case in counts], np.int64)
    squares = squares[:, :, squares.any(axis=(0, 1, 3))]
    if squares.shape[2] < 2:
        raise InputError(f"found {squares.shape[2]} held-out square(s) of {SIDE_PX} pixels, expected two or more")
    return squares


def _sums(counts: IntArray) -> Floats:
    """Give what F1 is made of, 2 tp and 2 tp + fp + fn, (..., 2), of counts (..., 4)."""
    double = 2.0 * counts[..., 0]
    return np.stack([double, double + counts[..., 1] + counts[..., 2]], axis=-1)


def _f1(sums: Floats) -> Floats:
    """Compute the F1 of landslides of `_sums`, 0 with nothing to divide by."""
    part, whole = sums[..., 0], sums[..., 1]
    found: Floats = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return found


def _replicates(sums: Floats) -> Floats:
    """Draw the squares of sums (case, seed, square, 2) and compute the F1 of each, (case, seed, replicate)."""
    cases, seeds, count, _ = sums.shape
    table = np.moveaxis(sums, 2, 0).reshape(count, -1)
    random = np.random.default_rng(0)
    parts = (draw_blocks(count, _REPLICATES // _PARTS, random=random) for _ in range(_PARTS))
    pooled = np.concatenate([part.astype(np.float64) @ table for part in parts])  # exact, and faster than integers
    return np.moveaxis(_f1(pooled.reshape(-1, cases, seeds, 2)), 0, 2)


def _differences(f1: Floats, drawn: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Add the chance of training, by F1 (case, seed), to differences of drawn F1 (case, seed, replicate)."""
    cases, seeds, count = drawn.shape
    means = drawn.mean(axis=1)
    differences: Floats = np.array([means[a] - means[b] for a, b in pairs])
    if seeds == 1:
        return differences
    random, most = np.random.default_rng(1), (cases - 1) * (seeds - 1)
    variances = _variances(f1)
    alike = np.log(variances).var(ddof=1) < polygamma(1, (seeds - 1) / 2)
    pooled = 2 * float(((f1 - f1.mean(axis=0) - f1.mean(axis=1, keepdims=True) + f1.mean()) ** 2).sum()) / most
    for i, (a, b) in enumerate(pairs):
        variance = variances[a] + variances[b]
        satterthwaite = variance**2 / (variances[a] ** 2 + variances[b] ** 2) * (seeds - 1)
        variance, freedom = (max(variance, pooled), most) if alike else (variance, int(satterthwaite))
        differences[i] += np.sqrt(variance / seeds) * random.standard_t(freedom, count)
    return differences


def _variances(f1: Floats) -> Floats:
    """Estimate the variance of each case from F1 (case, seed), without what a seed does to all."""
    cases, seeds = f1.shape
    own, weights = f1 - f1.mean(axis=1, keepdims=True), np.full(cases, 1 / cases)
    for _ in range(_ROUNDS):
        rest = ((own - weights @ own) ** 2).sum(axis=1) / (seeds - 1)
        variances: Floats = np.maximum(rest / (1 - weights), _LEAST)
        weights = 1 / (variances + np.median(variances))  # so that one which is steady by chance does not decide alone
        weights /= weights.sum()
    return variances


def _p_value(differences: Floats) -> float:
    beyond = 1 + min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * beyond / (len(differences) + 1))


def _holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number, step down from the smallest."""
    corrected, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = least
    return corrected


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else "p = 1" if p == 1 else f"p = {p:.3f}"


def _side_text(pixel_size_m: float | None) -> str:
    return f"{SIDE_PX} pixels" if pixel_size_m is None else f"{SIDE_PX * pixel_size_m / 1000:.3g} km"


def squares_of(tables: Mapping[str, Mapping[int, pd.DataFrame]]) -> dict[str, dict[int, IntArray]]:
    """Align the squares of many runs, as `compare` takes them: of each case and seed int (square, 4), tp, fp, fn, tn.

    Parameters
    ----------
    tables
        Of each case and seed what ``tiles.csv`` has: a row for each square with a scored pixel, and the columns
        ``event``, ``row``, ``col``, ``tp``, ``fp``, ``fn`` and ``tn``; others are of no account.

    Raises
    ------
    InputError
        If a column is missing or has something else than whole numbers, a square is there twice, or two cases with the
        same seed were not scored on the same pixels.
    """
    read = {
        (case, seed): _table_of(table, f"{case}, seed {seed}")
        for case, of_case in tables.items()
        for seed, table in of_case.items()
    }
    places = sorted(set().union(*(one.index for one in read.values())))
    found: dict[str, dict[int, IntArray]] = {case: {} for case in tables}
    first: dict[int, str] = {}
    for (case, seed), one in read.items():
        found[case][seed] = one.reindex(places, fill_value=0).to_numpy(np.int64)
        other = first.setdefault(seed, case)
        _require_same_pixels(seed, {case: found[case][seed], other: found[other][seed]}, places)
    return found


def _table_of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check a table of squares; its counts, by event, row and col."""
    expected = ", ".join(_PLACE + _COUNTS)
    if missing := [column for column in _PLACE + _COUNTS if column not in table.columns]:
        raise InputError(f"{name}: has no column {missing[0]}, expected {expected}")
    whole = {}
    for column, largest in _LARGEST.items():
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        odd = ~((numbers >= 0) & (numbers <= largest) & (np.floor(numbers) == numbers))
        if odd.any():
            value = table[column].iloc[int(odd.argmax())]
            raise InputError(f"{name}: found {value} in column {column}, expected whole numbers from 0 to {largest}")
        whole[column] = numbers.astype(np.int64)
    found = pd.DataFrame({"event": table["event"].astype(str).to_numpy(), **whole}).set_index(_PLACE)
    if found.index.has_duplicates:
        raise InputError(f"{name}: has {_words(found.index[found.index.duplicated()][0])} twice, expected it once")
    return found


def _require_same_pixels(seed: int, counts: Mapping[str, IntArray], places: Sequence[tuple[str, int, int]]) -> None:
    """Require that cases with one seed have as many pixels, and as many of landslide, in each square."""
    pixels = [np.stack([one.sum(axis=1), one[:, 0] + one[:, 2]], axis=1) for one in counts.values()]
    odd = (pixels[0] != pixels[-1]).any(axis=1)
    if odd.any():
        place = int(odd.argmax())
        of_each = [f"{one[place, 0]} pixels, {one[place, 1]} of them landslide" for one in pixels]
        (case, other), (mine, its) = counts, of_each
        where = f"{case}, seed {seed}: found {mine}, in {_words(places[place])}"
        raise InputError(f"{where}; expected those of {other}: {its}; cases are compared on the same held-out pixels")


def _words(place: tuple[str, int, int]) -> str:
    return f"the square at row {place[1]}, col {place[2]} of {place[0]}"
