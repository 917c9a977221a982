"""The probability map on disk: a Cloud-Optimised GeoTIFF that carries what made it, and the spread beside it."""

import errno
import functools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field, ValidationError
from rasterio.windows import Window

from coslide.config.training import StrictModel
from coslide.errors import InputError
from coslide.grid import pixel_size_m, short_crs
from coslide.io.atomic import whole_output
from coslide.io.raster import open_raster
from coslide.io.resumable_raster import ResumableRaster
from coslide.mapping.model import ModelMetadata
from coslide.samples.footprint import split_raster
from coslide.samples.split import SplitRaster
from coslide.windows import row_strips

PROBABILITY, UNCERTAINTY = "probability.tif", "uncertainty.tif"
_TAG = "coslide"
_COG = {
    "compress": "DEFLATE",
    "level": 6,
    "predictor": "YES",
    "blocksize": 512,
    "overview_resampling": "AVERAGE",
    "num_threads": "ALL_CPUS",
}


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
    """

    event: str
    model: ModelMetadata
    missing_bands: list[str] = Field(default_factory=list)
    tta: bool = False
    precision: str = "32"


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
        return self.metadata.model.threshold if self.metadata else 0.5

    @property
    def temperature(self) -> float:
        """Give what the logit of the probability was divided by."""
        return self.metadata.model.temperature if self.metadata else 1.0

    @functools.cached_property
    def seen(self) -> SplitRaster:
        """Tell what training did with each pixel, uint8 (row, col), a `coslide.samples.split.Subset`."""
        return split_raster(self.metadata.model.footprints if self.metadata else [], self.grid)

    @property
    def split(self) -> dict[str, Any]:
        """Tell how the model was split; empty where it was trained elsewhere, unknown where nobody knows where."""
        if self.metadata is None:
            return {}
        if self.seen.any():
            return self.metadata.model.split
        return {"scheme": "unknown"} if self.metadata.model.events_without_location else {}


def write_probability_map(folder: Path, store: ResumableRaster, grid: GeoBox, metadata: MapMetadata) -> None:
    """Write ``probability.tif`` and, where there is a spread, ``uncertainty.tif``; see `write_cog`.

    Parameters
    ----------
    folder
        Of the map.
    store
        All rows: the probability and, as a second layer, its spread.
    grid
        CRS, transform and size of the map.
    metadata
        What made the map: a tag of both files. Event, network and threshold are tags of their own, for other programs.
    """
    tags = {"event": metadata.event, "network": metadata.model.network, "threshold": str(metadata.model.threshold)}
    tags[_TAG] = metadata.model_dump_json()
    write_cog(store, 0, folder / PROBABILITY, grid, tags=tags, what="landslide probability")
    if store.layers > 1:
        write_cog(store, 1, folder / UNCERTAINTY, grid, tags=tags, what="standard deviation of the probability")
    else:
        (folder / UNCERTAINTY).unlink(missing_ok=True)  # of an earlier map


def read_probability_map(folder: Path) -> ProbabilityMap:
    """Read the map in a folder, as `write_probability_map` left it.

    Raises
    ------
    InputError
        If ``probability.tif`` is missing or cannot be read, or does not tell where its model was trained.
    """
    path = folder / PROBABILITY
    if not path.exists():
        raise InputError(f"{path}: not found; expected the folder of a map (coslide map writes one)")
    with open_raster(path) as file:
        probability, text = file.read(1), file.tags().get(_TAG, "")
        grid = GeoBox(file.shape, file.transform, short_crs(file.crs.to_wkt()))
    try:
        metadata = MapMetadata.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: lacks what coslide map writes into its tags ({error.title})") from None
    spread = None
    if (folder / UNCERTAINTY).exists():
        with open_raster(folder / UNCERTAINTY) as file:
            spread = file.read(1)
    return ProbabilityMap(probability, grid, metadata, spread)


def write_cog(
    store: ResumableRaster,
    layer: int,
    path: Path,
    grid: GeoBox,
    *,
    tags: Mapping[str, str],
    what: str,
) -> Path:
    """Write a layer of a whole map as a Cloud-Optimised GeoTIFF.

    Parameters
    ----------
    store, layer
        The rows, all of them there, and which layer of them.
    path
        The file to write; it appears whole or not at all.
    grid
        CRS, transform and size of the map.
    tags
        Metadata of the file.
    what
        What the band is called.

    Returns
    -------
    Path
        `path`: one float32 band, nodata NaN, DEFLATE, blocks of 512 x 512 pixels, averaged overviews.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    ValueError
        If the grid has no CRS.
    OSError
        If the file does not read back as it was written although the disk has room.

    Notes
    -----
    GDAL does not report a disk that fills while a file is closed. The map is therefore read again before it takes its
    name.
    """
    if grid.crs is None:
        raise ValueError(f"expected a grid with a CRS, found {grid!r}")
    source = store.path(layer).with_suffix(".vrt")
    source.write_text(_raw_vrt(store.path(layer).name, grid, tags, what), encoding="utf-8")
    with (
        whole_output(path) as part,
        _folder_for_now(part.with_suffix(".work")) as work,
        _full_disk_named(path.parent, grid),
    ):
        cog = work / "cog.tif"
        rasterio.shutil.copy(source, cog, driver="COG", **_COG)
        _compare(cog, store.path(layer))
        cog.replace(part)
    return path


def _raw_vrt(name: str, grid: GeoBox, tags: Mapping[str, str], what: str) -> str:
    """Return the description by which GDAL reads the rows as they lie on the disk."""
    height, width = grid.shape
    items = "".join(f"<MDI key={quoteattr(key)}>{escape(text)}</MDI>" for key, text in tags.items())
    transform = ", ".join(repr(float(number)) for number in grid.affine.to_gdal())
    order = "LSB" if np.little_endian else "MSB"
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(str(grid.crs))}</SRS>'
        f"<GeoTransform>{transform}</GeoTransform><Metadata>{items}</Metadata>"
        '<VRTRasterBand dataType="Float32" band="1" subClass="VRTRawRasterBand">'
        f"<Description>{escape(what)}</Description><NoDataValue>nan</NoDataValue>"
        f'<SourceFilename relativeToVRT="1">{escape(name)}</SourceFilename><ImageOffset>0</ImageOffset>'
        f"<PixelOffset>4</PixelOffset><LineOffset>{4 * width}</LineOffset><ByteOrder>{order}</ByteOrder>"
        "</VRTRasterBand></VRTDataset>"
    )


@contextmanager
def _folder_for_now(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)  # a fixed name: what a killed run left is removed by the next one
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _full_disk_named(folder: Path, grid: GeoBox) -> Iterator[None]:
    """Raise ENOSPC for a failure of GDAL, which names another cause, where the map could not have fitted."""
    try:
        yield
    except Exception as error:
        largest = grid.shape[0] * grid.shape[1] * 4 * 4 // 3 + 2**16  # float32 with overviews, not compressed, header
        if shutil.disk_usage(folder).free < largest:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _compare(path: Path, rows: Path) -> None:
    with rasterio.open(path) as file:
        expected = np.memmap(rows, dtype=np.float32, mode="r", shape=(file.height, file.width))
        for strip in row_strips(file.height, 512):
            found = file.read(1, window=Window(0, strip.start, file.width, strip.stop - strip.start))
            if not np.array_equal(found, expected[strip], equal_nan=True):
                raise OSError(
                    errno.EIO, f"rows {strip.start} to {strip.stop - 1} do not read back as written", str(path)
                )
