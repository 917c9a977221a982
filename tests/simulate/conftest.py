"""Terrain for tests of what lies on it and of what is seen of it."""

import numpy as np
import pytest
from rasterio.features import rasterize

from coslide.simulate.frame import Frame, terrain_of
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain


@pytest.fixture(scope="session")
def plain():
    """Level terrain at 1500 m."""
    return terrain_of(Frame(120, 120), 1500.0, drained_m2=100.0)


@pytest.fixture(scope="session")
def valleys():
    """Mountains with rivers, 5 km wide, and the recipe that they were made by."""
    recipe = Recipe(size_km=5, seed=3, relief_m=900)
    return recipe, make_terrain(recipe, Frame(504, 60))


@pytest.fixture(scope="session")
def inside():
    """Tell which fine pixels of a terrain lie in some shapes."""

    def mask(shapes, terrain):
        grid = terrain.frame.fine_grid
        return rasterize(shapes, out_shape=grid.shape, transform=grid.affine, dtype=np.uint8) == 1

    return mask
