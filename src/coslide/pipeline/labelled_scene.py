"""What can be mapped, and what a network can be trained on: the cube of an event, or a folder of chips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.scoring import Baselines
from coslide.io.atomic import sha256
from coslide.labels import NODATA
from coslide.samples.footprint import TrainingFootprint
from coslide.samples.split import Split, SplitRaster, Subset
from coslide.sources import landslide4sense
from coslide.windows import Window

CHIP = landslide4sense.SIDE
_CHIP_BANDS = (
    *(
        Band(f"reflectance_post_{name}", group="scene_after", date="post", quantity="reflectance", channel=name)
        for name in landslide4sense.CHANNELS
    ),
    *(Band(name, unit, group="terrain") for name, unit in landslide4sense.BANDS[len(landslide4sense.CHANNELS) :]),
)
_UNSPLIT = Split(np.zeros((0, 0), dtype=np.uint8), [], [], [], 0.0)


@dataclass(frozen=True)
class Chips:
    """Chips of Landslide4Sense below each other; their location is not recorded."""

    images: Sequence[Path]
    inputs: tuple[Band, ...] = _CHIP_BANDS
    diagnostics: tuple[Band, ...] = ()
    grid: None = None
    pixel_size_m: float = 10.0
    block_rows: int = CHIP

    @property
    def shape(self) -> tuple[int, int]:
        """Size (row, col) in pixels."""
        return len(self.images) * CHIP, CHIP

    def read(self, window: slice, bands: Sequence[Band]) -> NDArray[np.float32]:
        """Read rows of `bands` into a new array, float32 (band, row, col); NaN where there is no value or no band."""
        images, rows = self._covering(window)
        stored = np.concatenate(list(images), axis=1)[:, rows]
        nodata = np.full(stored.shape[1:], np.nan, dtype=np.float32)
        return np.stack([stored[_CHIP_BANDS.index(band)] if band in _CHIP_BANDS else nodata for band in bands])

    def valid(self, window: slice) -> NDArray[np.bool_]:
        """Read, as (row, col), which pixels have a value in all bands."""
        images, rows = self._covering(window)
        return np.concatenate([np.isfinite(image).all(axis=0) for image in images])[rows]

    def _covering(self, window: slice) -> tuple[Iterator[NDArray[np.float32]], slice]:
        """Open the chips that hold some rows, and find the rows in them."""
        start, stop, _ = window.indices(self.shape[0])
        first = start // CHIP
        images = map(landslide4sense.read_image, self.images[first : -(-stop // CHIP)])
        return images, slice(start - first * CHIP, stop - first * CHIP)


Scene = Cube | Chips
"""A raster that can be mapped, read a few rows at a time."""


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A scene whose landslides are mapped, with all that training and scoring need of it.

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
    seen: SplitRaster = field(default_factory=lambda: _UNSPLIT.subsets)
    baselines: Baselines = field(default_factory=dict)

    @property
    def blocks(self) -> list[Window] | None:
        """List the rectangles that nothing may be cut across; None where the scene is one."""
        return [Window(i * CHIP, 0, CHIP, CHIP) for i in range(len(self.chips))] or None


def open_labelled_scene(path: Path | str) -> LabelledScene:
    """Open an index cube with labels, or a folder of Landslide4Sense chips.

    Raises
    ------
    InputError
        If `path` is neither, cannot be read, or has no landslide labels.
    """
    path = Path(path)
    if not landslide4sense.is_chip_folder(path):
        cube = open_cube(path)
        return LabelledScene(cube.title, cube.fingerprint, cube, cube.labels)
    found = landslide4sense.find_chips(path)
    if not found.masks:
        raise InputError(f"{path}: has images but no masks; expected mask/mask_N.h5 beside img/image_N.h5")
    scene = Chips(found.images)
    labels = np.concatenate([landslide4sense.read_mask(path) for path in found.masks])
    labels[~scene.valid(slice(None))] = NODATA
    names = [path.stem for path in found.images]
    return LabelledScene(f"Landslide4Sense patches ({path.name})", sha256(path), scene, labels, names)
