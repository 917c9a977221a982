"""Ground for tests of what is seen of it."""

import numpy as np
import pytest

from coslide.simulate.frame import Frame
from coslide.simulate.land import Terrain


@pytest.fixture(scope="session")
def plain():
    """Flat ground at 1500 m."""
    frame = Frame(120, 120)
    flat = np.zeros((frame.cells, frame.cells), dtype=np.float32)
    receiver = np.arange(flat.size, dtype=np.int32).reshape(flat.shape)
    return Terrain(frame, flat + 1500, flat, flat, flat, receiver, flat + 100, flat > 0, ())
