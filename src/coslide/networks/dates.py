"""Which bands of the stacked input show the state before the event, and which the state after it.

Networks that compare two dates take one tensor like all others and split it themselves.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

Static = Literal["both", "none"]

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

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take the input of each date, before and after the event, (batch, band, row, col), channels last in memory.

        Parameters
        ----------
        x
            The stacked input, shape (batch, `bands`, row, col).

        Raises
        ------
        ValueError
            If `x` has another number of bands.

        Examples
        --------
        >>> import torch
        >>> before, after = date_bands(3, pre=[2], post=[0]).split(torch.arange(3.0).view(1, 3, 1, 1))
        >>> before.flatten().tolist(), after.flatten().tolist()
        ([2.0, 1.0], [0.0, 1.0])
        """
        if x.shape[1] != self.bands:
            raise ValueError(f"expected {self.bands} bands, found {x.shape[1]}")
        last = x.permute(0, 2, 3, 1)
        before, after = (last[..., list(bands)].permute(0, 3, 1, 2) for bands in (self.pre, self.post))
        return before, after


def date_bands(
    bands: int, *, pre: Sequence[int] | None = None, post: Sequence[int] | None = None, static: Static = "both"
) -> DateBands:
    """Find the bands of each date.

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
        If only one of `pre` and `post` is given, or neither and there are not 30 bands; or if they differ in length,
        are empty, name a band twice or one that is not there.

    Examples
    --------
    >>> date_bands(5, pre=[0, 3], post=[1, 4])
    DateBands(bands=5, pre=(0, 3, 2), post=(1, 4, 2))
    >>> date_bands(13)
    Traceback (most recent call last):
        ...
    ValueError: found 13 bands and no pre and post; expected the bands of each date, or the paper's 30
    """
    if pre is None and post is None:
        if bands != 30:
            raise ValueError(
                f"found {bands} bands and no pre and post; expected the bands of each date, or the paper's 30"
            )
        pre, post = _PAPER_PRE, _PAPER_POST
    for name, found in (("pre", pre), ("post", post)):
        if found is None or not all(0 <= number < bands for number in found):
            raise ValueError(f"{name}: found {found}; expected numbers from 0 to {bands - 1}, for pre and post alike")
    before, after = tuple(pre or ()), tuple(post or ())
    dated = before + after
    if len(before) != len(after) or not before or len({*dated}) < len(dated):
        raise ValueError(
            f"found pre {list(before)} and post {list(after)}; expected as many of both, at least one, each band once"
        )
    rest = tuple(number for number in range(bands) if number not in dated) if static == "both" else ()
    return DateBands(bands, before + rest, after + rest)
