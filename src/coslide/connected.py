"""Objects of a mask: cells that touch at a side or a corner."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage


def connected(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer]:
    """Return the number of the object that each cell of `mask` belongs to, from 1 on; 0 outside (8-connected).

    Which object gets which number is not promised.

    Parameters
    ----------
    mask
        bool (row, col).

    Examples
    --------
    >>> connected(np.array([[True, False, False], [False, True, False]]))
    array([[1, 0, 0],
           [0, 1, 0]]...)
    """
    labels: npt.NDArray[np.integer]
    mask = np.ascontiguousarray(mask)
    try:
        import cc3d
    except ImportError:  # a platform without a wheel: scipy finds the same objects, more slowly
        labels = ndimage.label(mask, structure=np.ones((3, 3)))[0]
    else:
        labels = cc3d.connected_components(mask.view(np.uint8), connectivity=8)
    return labels
