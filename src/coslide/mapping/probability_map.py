"""The probability map on disk: a Cloud-Optimised GeoTIFF that carries what made it, and the spread beside it."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import Field, ValidationError

import coslide
from coslide.config.records import StrictModel, first_problem
from coslide.display.overview import Overview, Shown, grid_text, share_text
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

if TYPE_CHECKING:
    from folium import Map
    from matplotlib.axes import Axes

PROBABILITY, UNCERTAINTY = "probability.tif", "uncertainty.tif"
_TAG = "coslide"
_LOOKED_AT = 1000  # rows and columns, for a share in words
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


@dataclass(frozen=True, eq=False, repr=False)
class ProbabilityMap(Shown):
    """A landslide map in memory; `read_probability_map` gives one.

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

    Examples
    --------
    >>> from coslide import predict_scene, read_probability_map
    >>> found = read_probability_map(predict_scene(bundle, index, folder / "map"))
    >>> found
    <ProbabilityMap 'Made-up earthquake'>
      size       100 x 100 pixels of 10 m (1 x 1 km), EPSG:32654
      valid      94 % of the pixels
      landslide  ... of the valid pixels, by the threshold ...
      ...
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

    def plot(self, *, ax: "Axes | None" = None) -> "Axes":
        """Draw the probability, and the threshold as a line around each landslide.

        Parameters
        ----------
        ax
            Matplotlib axes to draw in; by default a new figure of pyplot is made.

        Returns
        -------
        matplotlib Axes
            In metres of the CRS of the map, so that polygons in that CRS can be drawn on top; labelled in km.

        Notes
        -----
        Nodata is hatched. A map of more than 1000 pixels is made smaller so that no landslide is lost, which makes the
        smallest look larger than they are.
        """
        return coslide.drawing.plot_map(self, ax)

    def explore(self, landslides: gpd.GeoDataFrame | None = None, *, tiles: Any = "OpenStreetMap") -> "Map":
        """Lay the map over an interactive web map, with its landslides as polygons that tell what is known of them.

        Parameters
        ----------
        landslides
            Polygons in any CRS, such as `coslide.read_inventory` gives with all their columns; by default those of
            the map at its threshold, with what its pixels alone tell.
        tiles
            The base map, by a name that folium knows, or as it takes it otherwise; None for none.

        Returns
        -------
        folium.Map
            A notebook shows it; ``save`` writes it as a page.

        Raises
        ------
        InputError
            If folium or mapclassify is not installed (``pip install 'coslide[notebook]'``).

        Notes
        -----
        Python itself fetches nothing, but whoever looks at the map does: the browser loads the base map, and the
        JavaScript of Leaflet, from the network. ``report.html`` needs none.
        """
        return coslide.drawing.explore_map(self, landslides, tiles)

    def overview(self) -> Overview:
        """Say what was mapped and by what; of a large map, shares are those of up to a million of its pixels."""
        rows, columns = (max(1, length // _LOOKED_AT) for length in self.probability.shape)
        looked_at = self.probability[::rows, ::columns]
        valid = np.isfinite(looked_at)
        slid = float((looked_at >= self.threshold).sum() / max(valid.sum(), 1))
        facts = {
            "size": grid_text(self.probability.shape, self.pixel_size_m, self.grid.crs),
            "valid": f"{share_text(float(valid.mean()))} of the pixels",
            "landslide": f"{share_text(slid)} of the valid pixels, by the threshold {self.threshold:.3g}",
            "uncertainty": "" if self.spread is None else "standard deviation of each pixel",
        }
        if (made_by := self.metadata) is None:
            return Overview("", facts, {})
        model = made_by.model
        expected = made_by.expected
        facts |= {
            "model": f"{model.name or model.network}, trained on {', '.join(model.events)}",
            "without": ", ".join(made_by.missing_bands),
            "expected": f"F1 {expected.f1:.2f}, if the probabilities are right" if expected else "",
        }
        return Overview(made_by.event, facts, {})

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


def read_probability_map(folder: Path | str) -> ProbabilityMap:
    """Read the map in a folder, as `coslide.predict_scene` left it.

    Parameters
    ----------
    folder
        With ``probability.tif`` and, where there is a spread, ``uncertainty.tif``.

    Raises
    ------
    InputError
        If ``probability.tif`` is missing or cannot be read, or does not tell where its model was trained.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> found = read_probability_map(predict_scene(bundle, index, folder / "map"))
    >>> found.probability.shape, found.probability.dtype, 0 < found.threshold <= 1
    ((100, 100), dtype('float32'), True)
    """
    folder = Path(folder)
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
