"""The probability map on disk: a Cloud-Optimised GeoTIFF that carries what made it, and the spread beside it."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field, ValidationError

from coslide.config.records import StrictModel, first_problem
from coslide.errors import InputError
from coslide.evaluation.unlabelled import Expectation, ExpectedScores
from coslide.grid import pixel_size_m, same_grid
from coslide.io.cog import RasterBands, write_cog
from coslide.io.paths import file_exists
from coslide.io.qgis import Colours, write_raster_style
from coslide.io.raster import grid_of, open_raster
from coslide.io.resumable import ResumableRaster
from coslide.mapping.metadata import ModelMetadata
from coslide.samples.footprint import split_raster
from coslide.samples.split import SplitRaster

PROBABILITY, UNCERTAINTY = "probability.tif", "uncertainty.tif"
_TAG = "coslide"
_COLOURS: Colours = {0.0: (254, 224, 182, 0), 0.5: (230, 159, 0, 200), 1.0: (179, 88, 6, 255)}  # as of the polygons
_SPREAD: Colours = {0.0: (216, 218, 235, 0), 0.15: (128, 115, 172, 200), 0.3: (45, 0, 75, 255)}


class MapMetadata(StrictModel):
    """What a probability map was made of, and by which model.

    Attributes
    ----------
    event
        Name of the event that was mapped.
    model
        The model, with threshold, temperature, and where it was trained.
    missing_bands
        Bands that the scene lacks and the model was trained to do without.
    tta, precision
        Whether windows were seen in all orientations, and in which precision.
    threshold
        The probability from which a pixel counts as landslide.
    expected
        What the probabilities lead to expect at that threshold; None where no landslide is expected.
    """

    event: str
    model: ModelMetadata
    missing_bands: list[str] = Field(default_factory=list)
    tta: bool = False
    precision: str = "32"
    threshold: float = Field(gt=0, le=1)
    expected: ExpectedScores | None = None


@dataclass(frozen=True, eq=False)
class ProbabilityMap:
    """A landslide map in memory.

    Attributes
    ----------
    probability
        0 to 1, float32 (row, col), NaN where the scene is not valid.
    grid
        Where the pixels lie.
    metadata
        What made it; None for landslides that came without a map.
    spread
        Standard deviation of the probability over orientations and members, float32 (row, col); None without them.
    """

    probability: NDArray[np.float32]
    grid: GeoBox
    metadata: MapMetadata | None = None
    spread: NDArray[np.float32] | None = None

    @property
    def pixel_size_m(self) -> float:
        """Give the side of a pixel [m]."""
        return pixel_size_m(self.grid)

    @property
    def threshold(self) -> float:
        """Give the probability from which a pixel counts as landslide."""
        return self.metadata.threshold if self.metadata else 0.5

    @property
    def temperature(self) -> float | None:
        """Give what the logit of the probability was divided by; None for landslides that came without a map."""
        return self.metadata.model.temperature if self.metadata else None

    @functools.cached_property
    def seen(self) -> SplitRaster:
        """Tell what training did with each pixel, uint8 (row, col), a `coslide.samples.split.Subset`."""
        return split_raster(self.metadata.model.footprints if self.metadata else [], self.grid)

    @property
    def split(self) -> dict[str, Any]:
        """Tell how the model was split; empty where it was trained elsewhere, unknown where nobody knows where."""
        if self.metadata and self.seen.any():
            return self.metadata.model.split
        return {} if self.metadata and not self.metadata.model.events_without_location else {"scheme": "unknown"}


def choose_threshold(
    model: ModelMetadata, probability: Iterable[NDArray[np.float32]]
) -> tuple[float, ExpectedScores | None]:
    """Choose the threshold of a map, and tell what scores its probabilities lead to expect there.

    Parameters
    ----------
    model
        What made it: its own threshold holds, or with ``threshold_of = "scene"`` one is chosen from the map alone
        (`coslide.evaluation.unlabelled.Expectation`).
    probability
        The map in pieces, NaN where it has no value.
    """
    expectation = Expectation()
    for piece in probability:
        expectation.add(piece)
    threshold = expectation.threshold if model.threshold_of == "scene" else model.threshold
    return threshold, expectation.scores(threshold)


def write_probability_map(folder: Path, store: ResumableRaster, grid: GeoBox, metadata: MapMetadata) -> None:
    """Write ``probability.tif`` and, where there is a spread, ``uncertainty.tif``, each with its style for QGIS.

    Parameters
    ----------
    folder
        Of the map.
    store
        All rows: the probability and, as a second layer, its spread.
    grid
        CRS, transform and size of the map.
    metadata
        What made the map: a tag of both files. Event, network, threshold and the name of a
        model that comes with coslide are tags of their own, for other programs.
    """
    tags = {"event": metadata.event, "network": metadata.model.network, "threshold": str(metadata.threshold)}
    tags |= {"model": metadata.model.name} if metadata.model.name else {}
    tags[_TAG] = metadata.model_dump_json()
    bands = RasterBands(["landslide probability"])
    write_cog(folder / PROBABILITY, grid, bands, lambda rows: store.read(rows)[:1], tags=tags)
    write_raster_style(folder / PROBABILITY, _COLOURS)
    if store.layers > 1:
        bands = RasterBands(["standard deviation of the probability"])
        write_cog(folder / UNCERTAINTY, grid, bands, lambda rows: store.read(rows)[1:], tags=tags)
        write_raster_style(folder / UNCERTAINTY, _SPREAD)
    else:
        for path in (folder / UNCERTAINTY, (folder / UNCERTAINTY).with_suffix(".qml")):
            path.unlink(missing_ok=True)  # of an earlier map


def read_probability_map(folder: Path) -> ProbabilityMap:
    """Read the map in a folder, as `write_probability_map` left it.

    Raises
    ------
    InputError
        If ``probability.tif`` is missing or cannot be read, or does not tell where its model was trained.
    """
    path = folder / PROBABILITY
    if not file_exists(path):
        raise InputError(f"{path}: not found; expected the folder of a map (coslide map writes one)")
    probability, text, grid = _read(path)
    try:
        metadata = MapMetadata.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{path}: lacks what coslide map writes into its tags ({first_problem(error)[:200]})"
        ) from None
    spread = None
    if file_exists(folder / UNCERTAINTY):
        spread, _, place = _read(folder / UNCERTAINTY, float(np.finfo(np.float32).max))
        if not same_grid(place, grid):
            raise InputError(f"{folder / UNCERTAINTY}: lies on another grid than {PROBABILITY}; map again")
    return ProbabilityMap(probability, grid, metadata, spread)


def _read(path: Path, highest: float = 1.0) -> tuple[NDArray[np.float32], str, GeoBox]:
    """Read one of the two files: its values, 0 to `highest` or NaN, its tag, and its grid."""
    with open_raster(path) as file:
        if (file.count, file.dtypes[0]) != (1, "float32"):
            found = f"{file.count} bands of {file.dtypes[0]}"
            raise InputError(f"{path}: found {found}, expected one of float32, as coslide map writes it")
        values, text, grid = file.read(1), file.tags().get(_TAG, ""), grid_of(file)
    if not ((values >= 0) & (values <= highest) | np.isnan(values)).all():
        raise InputError(f"{path}: found values below 0, or above {highest:g}; map again")
    return values, text, grid
