"""What can be mapped, and what a network can be trained on: the cube of an event, or a folder of patches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.cube import (
    Band,
    cube_grid,
    diagnostic_bands,
    input_bands,
    open_cube,
    read_inputs,
    read_labels,
    read_valid,
)
from coslide.errors import InputError
from coslide.grid import pixel_size_m
from coslide.io.atomic import sha256
from coslide.labels import NODATA
from coslide.sources import landslide4sense
from coslide.windows import Window

PATCH = landslide4sense.SIDE
PATCH_PIXEL_M = 10.0


@dataclass(frozen=True, eq=False)
class Scene:
    """What can be mapped, read a few rows at a time.

    Attributes
    ----------
    bands
        Its input channels.
    measured
        Other bands that it has: what was measured behind class maps, and more to look at.
    shape
        (row, col) in cells.
    pixel_size_m
        Side of a cell [m].
    read_own
        ``read_own(rows, bands)`` gives rows of channels that it has, in their units, float32 (band, row, col), NaN
        where there is no value; in a new array.
    valid
        ``valid(rows)`` gives bool (row, col): True where a cell can be mapped.
    grid
        Where the cells lie; None where that is not known.
    block_rows
        How many rows are stored, and decoded, together.
    """

    bands: tuple[Band, ...]
    shape: tuple[int, int]
    pixel_size_m: float
    read_own: Callable[[slice, Sequence[Band]], NDArray[np.float32]]
    valid: Callable[[slice], NDArray[np.bool_]]
    grid: GeoBox | None = None
    block_rows: int = 256
    measured: tuple[Band, ...] = ()

    def read(self, rows: slice, bands: Sequence[Band]) -> NDArray[np.float32]:
        """Return rows of `bands` in a new array, float32 (band, row, col); NaN for those that it does not have."""
        own = {*self.bands, *self.measured}
        if own.issuperset(bands):
            return np.asarray(self.read_own(rows, bands), dtype=np.float32)
        there = [i for i, band in enumerate(bands) if band in own]
        height = len(range(*rows.indices(self.shape[0])))
        values = np.full((len(bands), height, self.shape[1]), np.nan, dtype=np.float32)
        values[there] = self.read_own(rows, [bands[i] for i in there])
        return values


@dataclass(frozen=True, eq=False)
class Area:
    """A scene whose landslides are known.

    Attributes
    ----------
    name, fingerprint
        What the event is called, and a hash of all that is read from it.
    scene
        What can be seen of it.
    labels
        uint8 (row, col): 0 background, 1 landslide, 255 unknown.
    patches
        Names of the patches that lie below each other in the scene; none for the cube of an event.
    """

    name: str
    fingerprint: str
    scene: Scene
    labels: NDArray[np.uint8]
    patches: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> list[Window] | None:
        """Return the rectangles that nothing may be cut across; None where the area is one."""
        return [Window(i * PATCH, 0, PATCH, PATCH) for i in range(len(self.patches))] or None


def open_area(path: Path | str) -> Area:
    """Return the ground of an index cube, or of a folder of Landslide4Sense patches.

    Raises
    ------
    InputError
        If `path` is neither, cannot be read, or has no landslide labels.
    """
    path = Path(path)
    return _patches(path) if landslide4sense.is_patches(path) else area_of(open_cube(path))


def scene_of(cube: xr.Dataset) -> Scene:
    """Return what an opened index cube shows."""
    grid = cube_grid(cube)
    return Scene(
        bands=input_bands(cube),
        shape=(cube.sizes["y"], cube.sizes["x"]),
        pixel_size_m=pixel_size_m(grid),
        read_own=lambda rows, bands: read_inputs(cube, rows, bands=bands),
        valid=lambda rows: read_valid(cube, rows),
        grid=grid,
        block_rows=_block_rows(cube),
        measured=diagnostic_bands(cube),
    )


def area_of(cube: xr.Dataset) -> Area:
    """Return the ground of an opened index cube.

    Raises
    ------
    InputError
        If the cube was built without an inventory.
    """
    return Area(str(cube.attrs["title"]), str(cube.attrs["coslide_fingerprint"]), scene_of(cube), read_labels(cube))


def _patches(folder: Path) -> Area:
    found = landslide4sense.find_patches(folder)
    masks = [mask for mask in found.masks if mask is not None]
    if len(masks) < len(found.images):
        raise InputError(f"{folder}: has images but no masks; expected mask/mask_N.h5 beside img/image_N.h5")
    bands = tuple(Band(name, unit) for name, unit in landslide4sense.BANDS)
    images = found.images

    def read(rows: slice, wanted: Sequence[Band]) -> NDArray[np.float32]:
        start, stop, _ = rows.indices(len(images) * PATCH)
        first = start // PATCH
        numbers = [bands.index(band) for band in wanted]
        pieces = [landslide4sense.read_image(path)[numbers] for path in images[first : -(-stop // PATCH)]]
        return np.concatenate(pieces, axis=1)[:, start - first * PATCH : stop - first * PATCH]

    labels = np.concatenate([landslide4sense.read_mask(path) for path in masks])
    known = np.concatenate([np.isfinite(landslide4sense.read_image(path)).all(axis=0) for path in images])
    labels[~known] = NODATA
    scene = Scene(
        bands=bands,
        shape=labels.shape,
        pixel_size_m=PATCH_PIXEL_M,
        read_own=read,
        valid=lambda rows: known[rows],
        block_rows=PATCH,
    )
    names = [path.stem for path in images]
    return Area(f"Landslide4Sense patches ({folder.name})", sha256(folder), scene, labels, names)


def _block_rows(cube: xr.Dataset) -> int:
    """Return how many rows the store of a cube compresses together."""
    chunks = cube["valid"].encoding.get("chunks")
    return int(chunks[0]) if chunks else 256
