"""What a notebook draws of a cube, a map and scores: `Cube.plot`, `ProbabilityMap.plot` and `.explore`, `Scores.plot`.

These classes ask the public interface (`coslide.drawing`) for this module when they are drawn, and not before: no cube
needs matplotlib to be read.
"""

import difflib
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import Transformer
from rasterio.transform import array_bounds
from rasterio.warp import Resampling, calculate_default_transform, reproject

from coslide.cube.band import Band
from coslide.cube.cube import Cube, Picture
from coslide.errors import InputError
from coslide.evaluation.scores import Scores
from coslide.grid import pixel_size_m
from coslide.mapping.inventory import vectorize_landslides
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report import images
from coslide.report.charts import score_charts
from coslide.report.contact_sheet import HATCH, MOST_CLASSES, colours_of, norm_of
from coslide.report.fonts import cut, fit_fonts, wrap
from coslide.report.scene_figure import add_scale_bar

if TYPE_CHECKING:
    from folium import Map

_LONGEST_PX = 1000  # of what is drawn; larger rasters are made smaller first
_SMALL_PX = 160  # of a thumbnail
_CHEAP_PIXELS = 2**22  # of a cube that is read for its thumbnail: about a tenth of a second
_PANEL_IN = 4.2
_WEB = "EPSG:3857"  # of web maps
_WHEN = {"pre": "before the earthquake", "post": "after the earthquake"}
_PROBABILITY = LinearSegmentedColormap.from_list("probability", ["#FFFFFF", *images.PROBABILITY])


def plot_cube(cube: Cube, pictures: Sequence[Picture], ax: Axes | None = None) -> list[Axes]:
    """Draw pictures of a cube, each in its own axes; what they may be stands in `Cube.plot`.

    Parameters
    ----------
    cube
        What is drawn.
    pictures
        In their order.
    ax
        Where to draw the only one; None makes a figure.

    Raises
    ------
    InputError
        If the cube does not have what is asked for, or `ax` is given for several pictures.
    """
    found = [_bands_of(cube, picture) for picture in pictures]
    if ax is None:
        columns = min(len(found), 3)
        rows = -(-len(found) // columns)
        tall_in = _PANEL_IN * min(max(cube.shape[0] / cube.shape[1], 0.4), 2) + 0.5
        size_in = (columns * (_PANEL_IN + 1.3), rows * tall_in)
        figure, panels = plt.subplots(rows, columns, figsize=size_in, layout="constrained", squeeze=False)
        axes = list(panels.flat)
        for spare in axes[len(found) :]:
            spare.remove()
    elif len(found) == 1:
        figure, axes = _figure_of(ax), [ax]
    else:
        raise InputError(f"ax: found one for {len(found)} pictures; expected one picture, or no ax")
    axes = axes[: len(found)]
    for each, (title, bands) in zip(axes, found, strict=True):
        if len(bands) == 1:
            _draw_band(each, cube, bands[0])
        else:
            colours = _composite(cube, bands, _step(cube.shape))
            _draw_raster(each, cube.grid, colours)
        each.set_title(title or bands[0].name, fontsize=10, loc="left", parse_math=False)
    fit_fonts(figure)
    return axes


def plot_map(found: ProbabilityMap, ax: Axes | None = None) -> Axes:
    """Draw a probability map, its threshold as a line, in axes of metres of its CRS; see `ProbabilityMap.plot`.

    Parameters
    ----------
    found
        What is drawn.
    ax
        Where; None makes a figure.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(_PANEL_IN + 2, _PANEL_IN + 0.5), layout="constrained")
    step = _step(found.probability.shape)
    small = images.reduce_blocks(found.probability, step, np.nanmax)  # no landslide is lost
    shown = _draw_raster(ax, found.grid, np.ma.masked_invalid(small), cmap=_PROBABILITY, vmin=0, vmax=1)
    words = f"landslide probability; line: threshold {found.threshold:.2g}" + _nodata_words(small)
    if np.nanmax(small, initial=0) >= found.threshold > np.nanmin(small, initial=1):
        line: Any = {"colors": images.OUTLINE, "linewidths": 0.7, "extent": shown.get_extent(), "origin": "upper"}
        ax.contour(np.nan_to_num(small), [found.threshold], **line)
    _add_colour_bar(ax, shown, words)
    event = found.metadata.event if found.metadata else "landslides"
    ax.set_title(cut(event, 60), fontsize=10, loc="left", parse_math=False)
    fit_fonts(_figure_of(ax))
    return ax


def plot_scores(found: Scores, chart: str) -> Figure:
    """Draw one of the charts of scores that the report has; see `Scores.plot`.

    Raises
    ------
    InputError
        If there is no such chart of these scores.
    """
    charts = {name: figure for name, _, _, figure in score_charts(found)}
    if chart not in charts:
        raise InputError(f"chart {chart}: not one of these scores; expected {', '.join(charts)}")
    plt.close(plt.figure())  # a notebook learns from pyplot's first figure how to show any other
    return charts[chart]


def explore_map(found: ProbabilityMap, landslides: gpd.GeoDataFrame | None, tiles: Any) -> "Map":
    """Lay a probability map and its landslides over a web map; see `ProbabilityMap.explore`.

    Parameters
    ----------
    found
        The map.
    landslides
        Its polygons; None draws them from it.
    tiles
        The base map, as folium takes it; None for none.

    Raises
    ------
    InputError
        If folium or mapclassify is not installed.
    """
    try:
        import folium
        import mapclassify  # noqa: F401 - what geopandas asks for
    except ImportError as error:
        raise InputError(f"explore needs {error.name}: pip install 'coslide[notebook]'") from None
    web = folium.Map(tiles=tiles, control_scale=True)
    address, bounds = _overlay(found)
    words = "landslide probability"
    folium.raster_layers.ImageOverlay(address, bounds, name=words, alt=words).add_to(web)
    if landslides is None:
        landslides = vectorize_landslides(found.probability, found.grid, threshold=found.threshold)
    if len(landslides):
        frame = _escaped(landslides)
        columns = [name for name in ("id", "area_m2", "probability_mean") if name in frame]
        style = {"color": images.OUTLINE, "weight": 1.5, "fillOpacity": 0.1}
        frame.explore(m=web, name="landslides", style_kwds=style, tooltip=columns or True, popup=True)
    folium.LayerControl(collapsed=False).add_to(web)
    web.fit_bounds(bounds)
    return web


def thumbnail_of(cube: Cube) -> str:
    """Draw the default picture of a small cube as a data address; empty where reading it would take long."""
    if cube.shape[0] * cube.shape[1] > _CHEAP_PIXELS:
        return ""
    dates = [date for date in ("post", "pre") if cube.reflectance(date, images.TRUE_COLOUR)]
    if not dates:
        return ""
    colours = _composite(cube, cube.reflectance(dates[0], images.TRUE_COLOUR), images.step_of(cube.shape, _SMALL_PX))
    return images.jpeg_uri(colours)


def _bands_of(cube: Cube, picture: Picture) -> tuple[str, list[Band]]:
    """Find the bands of a picture, one or three, and its title, where that is not the name of the band."""
    if isinstance(picture, str) and picture in _WHEN:
        return _scene(cube, picture)
    names = [picture] if isinstance(picture, str) else list(picture)
    if len(names) not in (1, 3):
        raise InputError(f"picture: found {len(names)} bands in one; expected one, or three as red, green and blue")
    there = {band.name: band for band in cube.bands}
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=3)
            like = f", such as {' or '.join(near)}" if near else f": {', '.join(there)}"
            raise InputError(f"picture {name}: no band of this cube; expected pre, post or a band{like}")
    bands = [there[name] for name in names]
    words = ", ".join(band.channel or band.name for band in bands)
    return "" if len(names) == 1 else wrap(f"{words} as red, green, blue", 45, 2), bands


def _scene(cube: Cube, date: str) -> tuple[str, list[Band]]:
    """Find red, green and blue of a date, or the first band that was seen then."""
    seen = [band for band in cube.bands if band.date == date and band.kind == "continuous"]
    if not seen:
        raise InputError(f"picture {date}: the cube has no scene {_WHEN[date]}")
    day = cube.acquired(date)
    bands = cube.reflectance(date, images.TRUE_COLOUR)
    what = "true colour" if bands else seen[0].name
    return f"{what} {_WHEN[date]}{f', {day[:10]}' if day else ''}", bands or seen[:1]


def _composite(cube: Cube, bands: Sequence[Band], step: int) -> NDArray[np.floating]:
    """Read three bands coarsely as red, green and blue, (row, col, 3), stretched; nodata is grey."""
    small = [images.thumbnail(cube.array(band), step).image for band in bands]
    return images.true_colours([np.stack(small, axis=-1)], (2, 98))[0]


def _draw_band(ax: Axes, cube: Cube, band: Band) -> None:
    """Draw one band with its colour bar, or its classes with their names."""
    small = images.thumbnail(cube.array(band), _step(cube.shape)).image
    masked = np.ma.masked_invalid(small)
    if 0 < len(band.class_names) <= MOST_CLASSES:
        numbers = np.arange(band.first_class, band.classes + 1)
        norm = BoundaryNorm(np.arange(numbers[0] - 0.5, band.classes + 1), len(numbers))
        shown = _draw_raster(ax, cube.grid, masked, cmap=colours_of(band), norm=norm)
        handles = [
            Patch(facecolor=shown.cmap(norm(number)), edgecolor="0.4", label=name)
            for number, name in zip(numbers, band.class_names, strict=True)
            if (small == number).any()
        ]
        if np.isnan(small).any():
            handles.append(Patch(**HATCH, label="nodata"))
        look: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "frameon": False, "fontsize": 8}
        legend = ax.legend(handles=handles, title=wrap(band.long_name or band.name, 28, 3), **look)
        for text in [*legend.get_texts(), legend.get_title()]:
            text.set(parse_math=False, fontsize=8)
        return
    shown = _draw_raster(ax, cube.grid, masked, cmap=colours_of(band), norm=norm_of([small], signed=band.signed))
    unit = "" if band.unit == "1" else f" [{band.unit}]"
    words = f"{band.long_name or band.name}{unit}{_nodata_words(small)}"
    _add_colour_bar(ax, shown, wrap(words, 45, 2), extend="both")


def _draw_raster(ax: Axes, grid: GeoBox, values: Any, **options: Any) -> Any:
    """Draw a raster that may be coarser than its grid, in metres of the CRS, with axes in km and a scale bar."""
    west, south, east, north = grid.boundingbox.bbox
    step = _step(grid.shape)
    beyond_m = [step * pixel_size_m(grid) * length for length in values.shape[:2]]  # blocks at the rim too
    extent = (west, west + beyond_m[1], north - beyond_m[0], north)
    shown = ax.imshow(values, extent=extent, interpolation="none", **options)
    ax.set(xlim=(west, east), ylim=(south, north), xlabel="easting [km]", ylabel="northing [km]")
    ax.patch.set(**HATCH)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda metres, _: f"{metres / 1000:.10g}"))
    add_scale_bar(ax, (east - west) / 1000, km=1000)
    return shown


def _add_colour_bar(ax: Axes, shown: Any, words: str, **options: Any) -> None:
    """Add a colour bar as tall as the picture."""
    bar = _figure_of(ax).colorbar(shown, cax=ax.inset_axes((1.03, 0, 0.045, 1)), **options)
    bar.set_label(words, parse_math=False)


def _step(shape: Sequence[int]) -> int:
    return images.step_of(shape, _LONGEST_PX)


def _figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax: expected axes of a figure, found some that were removed")
    return figure


def _nodata_words(small: NDArray[np.floating]) -> str:
    return "; hatched: nodata" if np.isnan(small).any() else ""


def _overlay(found: ProbabilityMap) -> tuple[str, list[list[float]]]:
    """Draw a map in the projection of web maps, as a PNG data address, and tell its south-west and north-east [degree].

    Pixels are the clearer the less probable a landslide is; nodata is not seen.
    """
    step = _step(found.probability.shape)
    small = images.reduce_blocks(found.probability, step, np.nanmax)
    grid = GeoBox(small.shape, found.grid.affine @ Affine.scale(step), found.grid.crs)
    size = (grid.shape.x, grid.shape.y)
    transform, width, height = calculate_default_transform(str(grid.crs), _WEB, *size, *grid.boundingbox.bbox)
    drawn = np.full((height, width), np.nan, np.float32)
    places: dict[str, Any] = {"src_transform": grid.affine, "src_crs": str(grid.crs)}
    places |= {"dst_transform": transform, "dst_crs": _WEB}
    reproject(small, drawn, **places, src_nodata=np.nan, dst_nodata=np.nan, resampling=Resampling.nearest)
    likely = np.nan_to_num(drawn)
    colours = _PROBABILITY(likely)
    colours[..., 3] = np.minimum(likely / found.threshold, 1) * 0.85
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * colours).astype(np.uint8)).save(buffer, "png")
    to_degrees = Transformer.from_crs(_WEB, "EPSG:4326", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*array_bounds(height, width, transform))
    return images.data_uri(buffer.getvalue(), "png"), [[south, west], [north, east]]


def _escaped(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Escape all text of a frame, since a web map shows it as HTML, and round its numbers for reading."""
    columns = {}
    for name, column in frame.drop(columns=frame.geometry.name).items():
        kind = column.dtype.kind
        readable: Any = (lambda value: float(f"{value:.4g}")) if kind == "f" else lambda value: html.escape(str(value))
        columns[html.escape(str(name))] = column if kind in "iub" else column.map(readable)
    return gpd.GeoDataFrame(columns, geometry=frame.geometry.to_numpy(), crs=frame.crs)
