"""What can be mapped, and what a network can be trained on: the cube of an event, or a folder of chips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.band import Band
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.baselines import Baselines
from coslide.grid import pixel_size_m
from coslide.io.atomic import sha256
from coslide.labels import NODATA
from coslide.samples.footprint import TrainingFootprint
from coslide.samples.split import Split, SplitRaster, Subset
from coslide.sources import landslide4sense
from coslide.windows import Window

CHIP = landslide4sense.SIDE
CHIP_PIXEL_M = 10.0
_CHIP_BANDS = (
    *(
        Band(f"reflectance_post_{name}", group="scene_after", date="post", quantity="reflectance", channel=name)
        for name in landslide4sense.CHANNELS
    ),
    Band("slope", "degree", group="terrain"),
    Band("elevation", "m", group="terrain"),
)
_UNSPLIT = Split(np.zeros((0, 0), dtype=np.uint8), [], [], [], 0.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """A raster that can be mapped, read a few rows at a time.

    Attributes
    ----------
    bands
        Its indices.
    measured
        Its diagnostic bands: what was measured behind class maps, and more to look at.
    shape
        (row, col) in pixels.
    pixel_size_m
        Side of a pixel [m].
    read_own
        ``read_own(rows, bands)`` reads rows of bands that it has, in their units, float32 (band, row, col), NaN where
        there is no value; in a new array.
    valid
        ``valid(rows)`` gives bool (row, col): True where a pixel can be mapped.
    grid
        Grid of its pixels; None where it has no location.
    block_rows
        Rows that are stored, and decoded, together.
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
        """Read rows of `bands` into a new array, float32 (band, row, col); NaN for those that it does not have."""
        own = {*self.bands, *self.measured}
        if own.issuperset(bands):
            return np.asarray(self.read_own(rows, bands), dtype=np.float32)
        there = [i for i, band in enumerate(bands) if band in own]
        height = len(range(*rows.indices(self.shape[0])))
        values = np.full((len(bands), height, self.shape[1]), np.nan, dtype=np.float32)
        values[there] = self.read_own(rows, [bands[i] for i in there])
        return values


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A scene whose landslides are mapped, with all that training and scoring need to know of it.

    Attributes
    ----------
    name, fingerprint
        What the event is called, and a hash of all that is read from it.
    scene
        What can be read of it.
    labels
        uint8 (row, col): 0 background, 1 landslide, 255 nodata.
    chips
        Names of the chips that lie below each other in the scene; none for the cube of an event.
    role
        With a split by events, the subset that it belongs to as a whole: TRAIN or TEST.
    split, footprint
        Its split, and where the subsets lie on Earth; None where the scene has no location.
    seen
        `Subset` of each pixel, (row, col), by what the training on all scenes saw of it, wherever they overlap.
    baselines
        Maps of its test set by simpler methods, by name.
    """

    name: str
    fingerprint: str
    scene: Scene
    labels: NDArray[np.uint8]
    chips: Sequence[str] = ()
    role: Subset = Subset.TRAIN
    split: Split = _UNSPLIT
    footprint: TrainingFootprint | None = None
    seen: SplitRaster = field(default_factory=lambda: _UNSPLIT.parts)
    baselines: Baselines = field(default_factory=dict)

    @property
    def blocks(self) -> list[Window] | None:
        """List the rectangles that nothing may be cut across; None where the scene is one."""
        return [Window(i * CHIP, 0, CHIP, CHIP) for i in range(len(self.chips))] or None


def open_labelled_scene(path: Path | str) -> LabelledScene:
    """Open an index cube with labels, or a folder of Landslide4Sense patches.

    Raises
    ------
    InputError
        If `path` is neither, cannot be read, or has no landslide labels.
    """
    path = Path(path)
    return _chips(path) if landslide4sense.is_patches(path) else labelled_scene(open_cube(path))


def scene_of(cube: Cube) -> Scene:
    """Describe an opened index cube as a scene."""
    return Scene(
        bands=cube.inputs,
        shape=(cube.grid.shape.y, cube.grid.shape.x),
        pixel_size_m=pixel_size_m(cube.grid),
        read_own=cube.read,
        valid=cube.valid,
        grid=cube.grid,
        block_rows=cube.block_rows,
        measured=tuple(band for band in cube.bands if band.role == "diagnostic"),
    )


def labelled_scene(cube: Cube) -> LabelledScene:
    """Take scene and labels from an opened index cube.

    Raises
    ------
    InputError
        If the cube was built without an inventory.
    """
    return LabelledScene(cube.title, cube.fingerprint, scene_of(cube), cube.labels)


def _chips(folder: Path) -> LabelledScene:
    found = landslide4sense.find_patches(folder)
    masks = [mask for mask in found.masks if mask is not None]
    if len(masks) < len(found.images):
        raise InputError(f"{folder}: has images but no masks; expected mask/mask_N.h5 beside img/image_N.h5")
    images, bands = found.images, _CHIP_BANDS

    def read(rows: slice, wanted: Sequence[Band]) -> NDArray[np.float32]:
        start, stop, _ = rows.indices(len(images) * CHIP)
        first = start // CHIP
        numbers = [bands.index(band) for band in wanted]
        pieces = [landslide4sense.read_image(path)[numbers] for path in images[first : -(-stop // CHIP)]]
        return np.concatenate(pieces, axis=1)[:, start - first * CHIP : stop - first * CHIP]

    labels = np.concatenate([landslide4sense.read_mask(path) for path in masks])
    valid = np.concatenate([np.isfinite(landslide4sense.read_image(path)).all(axis=0) for path in images])
    labels[~valid] = NODATA
    scene = Scene(
        bands=bands,
        shape=labels.shape,
        pixel_size_m=CHIP_PIXEL_M,
        read_own=read,
        valid=lambda rows: valid[rows],
        block_rows=CHIP,
    )
    names = [path.stem for path in images]
    return LabelledScene(f"Landslide4Sense patches ({folder.name})", sha256(folder), scene, labels, names)
