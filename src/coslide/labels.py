"""What the small numbers in label and class maps mean, and the objects of a mask."""

import numpy as np
import numpy.typing as npt

BACKGROUND, LANDSLIDE, NODATA = 0, 1, 255
NO_CLASS = 255


def label_objects(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer]:
    """Give the objects of `mask` numbers from 1 on: pixels that touch at a side or a corner (8-connected); 0 outside.

    Which object gets which number is not promised.

    Parameters
    ----------
    mask
        bool (row, col).

    Examples
    --------
    >>> label_objects(np.array([[True, False, False], [False, True, False]]))
    array([[1, 0, 0],
           [0, 1, 0]]...)
    """
    import cc3d

    pixels = np.ascontiguousarray(mask).view(np.uint8)
    labels: npt.NDArray[np.integer] = cc3d.connected_components(pixels, connectivity=8)
    return labels
