"""Which bands of the stacked input show the state before the event, and which the state after it.

Networks that compare two dates take one tensor like all others and split it themselves. Importing this module does not
import torch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from torch import Tensor

    from coslide.cube.band import Band

Static = Literal["both", "none"]

_PAPER_BANDS = 30
# ten reflectances before, ten after, NDVI before, NDVI after, then eight static indices
_PAPER_PRE = (*range(10), 20)
_PAPER_POST = (*range(10, 20), 21)


class DateBands(NamedTuple):
    """What a network sees of each date: `pre` and `post` number the bands of an input of `bands` bands, from 0.

    Both have the same length and the same meaning at each place: first the bands of the date, then the static ones.
    """

    bands: int
    pre: tuple[int, ...]
    post: tuple[int, ...]


def date_bands(
    bands: int, *, pre: Sequence[int] | None = None, post: Sequence[int] | None = None, static: Static = "both"
) -> DateBands:
    """Return the bands of each date.

    Parameters
    ----------
    bands
        Bands of the stacked input.
    pre, post
        Numbers, from 0, of the bands of the state before and after the event, in matching order. None, both of them:
        the order of the 30 bands of Yang et al. (2023, doi:10.3390/rs15040977), which is reflectance before (0 to 9)
        and after (10 to 19), NDVI before (20) and after (21), static (22 to 29).
    static
        The bands that are in neither list: ``"both"`` appends them to each date, in the order of the input; ``"none"``
        leaves them out.

    Raises
    ------
    ValueError
        If only one of `pre` and `post` is given, or neither and there are not 30 bands; if they are no lists of whole
        numbers below `bands`, differ in length, are empty or name a band twice; or if `static` is none of its words.

    Examples
    --------
    >>> date_bands(5, pre=[0, 3], post=[1, 4])
    DateBands(bands=5, pre=(0, 3, 2), post=(1, 4, 2))
    >>> date_bands(13)
    Traceback (most recent call last):
        ...
    ValueError: found 13 bands and no pre and post; expected the bands of each date, or the paper's 30
    """
    if static not in get_args(Static):
        raise ValueError(f"static: found {static!r}; expected one of {', '.join(get_args(Static))}")
    if pre is None and post is None:
        if bands != _PAPER_BANDS:
            raise ValueError(
                f"found {bands} bands and no pre and post; "
                f"expected the bands of each date, or the paper's {_PAPER_BANDS}"
            )
        pre, post = _PAPER_PRE, _PAPER_POST
    before, after = _whole_numbers("pre", pre, bands), _whole_numbers("post", post, bands)
    if len(before) != len(after) or not before:
        raise ValueError(f"found {len(before)} bands in pre and {len(after)} in post; expected as many, at least one")
    dated = before + after
    twice = [index for place, index in enumerate(dated) if index in dated[:place]]
    if twice:
        raise ValueError(f"found band {twice[0]} twice in pre and post; expected each band once")
    rest = tuple(index for index in range(bands) if index not in dated) if static == "both" else ()
    return DateBands(bands, before + rest, after + rest)


def paired_bands(bands: Sequence["Band"]) -> dict[str, list[int]]:
    """Find the options `pre` and `post` of a network: the numbers, from 0, of the bands of each date.

    A band before the event makes a pair with the band after it that shows the same quantity in the same channel. Pairs
    come in the order of their bands before the event. All other bands are static, such as slope, or a reflectance that
    only one of the scenes has.

    Parameters
    ----------
    bands
        The inputs of the network, in their order.

    Raises
    ------
    ValueError
        If there is no pair.

    Examples
    --------
    >>> from coslide.cube.band import Band
    >>> dates = [Band(f"ndvi_{date}", date=date, quantity="ndvi") for date in ("post", "pre")]
    >>> paired_bands([*dates, Band("slope", "degree")])
    {'pre': [1], 'post': [0]}
    """
    after = {(band.quantity, band.channel): number for number, band in enumerate(bands) if band.date == "post"}
    pairs = [
        (number, after[band.quantity, band.channel])
        for number, band in enumerate(bands)
        if band.date == "pre" and band.quantity and (band.quantity, band.channel) in after
    ]
    if not pairs:
        raise ValueError(
            "a network that compares two dates needs bands before and after the event, such as reflectance_pre_B2 and "
            f"reflectance_post_B2; found {', '.join(band.name for band in bands) or 'no band'}"
        )
    return {"pre": [before for before, _ in pairs], "post": [after for _, after in pairs]}


def split_dates(x: "Tensor", dates: DateBands) -> "tuple[Tensor, Tensor]":
    """Return the input of each date, before and after the event, each (batch, band, row, col), in the units of `x`.

    Parameters
    ----------
    x
        The stacked input, shape (batch, `dates.bands`, row, col).
    dates
        What `date_bands` returns.

    Raises
    ------
    ValueError
        If `x` has another number of bands.

    Notes
    -----
    The results are copies in the memory order of `x`; nodata and borders are those of `x`.

    Examples
    --------
    >>> import torch
    >>> before, after = split_dates(torch.arange(3.0).view(1, 3, 1, 1), date_bands(3, pre=[2], post=[0]))
    >>> before.flatten().tolist(), after.flatten().tolist()
    ([2.0, 1.0], [0.0, 1.0])
    """
    import torch

    if x.shape[1] != dates.bands:
        raise ValueError(f"expected {dates.bands} bands, found {x.shape[1]}")
    # Slices of neighbouring bands: picking bands one by one would lose the channels-last memory order.
    before = torch.cat([x[:, run] for run in _runs(dates.pre)], dim=1)
    after = torch.cat([x[:, run] for run in _runs(dates.post)], dim=1)
    return before, after


def _whole_numbers(name: str, indices: Sequence[int] | None, bands: int) -> tuple[int, ...]:
    if isinstance(indices, str) or not isinstance(indices, Sequence):
        raise ValueError(f"{name}: found {indices!r}; expected a list of band numbers, for pre and post alike")
    for index in indices:
        if type(index) is not int or not 0 <= index < bands:
            raise ValueError(f"{name}: found band {index!r}; expected a whole number from 0 to {bands - 1}")
    return tuple(indices)


def _runs(indices: Sequence[int]) -> list[slice]:
    """Return `indices` as slices of neighbours that ascend, in the same order."""
    runs: list[slice] = []
    for index in indices:
        if runs and runs[-1].stop == index:
            runs[-1] = slice(runs[-1].start, index + 1)
        else:
            runs.append(slice(index, index + 1))
    return runs
