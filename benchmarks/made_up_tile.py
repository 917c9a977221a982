"""A made-up event of any size in the formats that real ones come in, quick to write: for benchmarks, not for study.

Ten bands at their own 10 and 20 m before and after as GeoTIFF with a scene classification, a 1 arc-second DEM in
degrees, 200 geological units, 30 rain gauges, a ShakeMap grid, 12 faults and 5,563 landslides, which are bright after
the earthquake.
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy.ndimage import zoom
from shapely import MultiPoint, Polygon, box, voronoi_polygons
from shapely.geometry import LineString, Point

CRS = "EPSG:32648"
LEFT, TOP = 600_000, 3_700_020  # congruent to the 60 m lattice of a tile
AT_10_M = ("B02", "B03", "B04", "B08")
AT_20_M = ("B05", "B06", "B07", "B8A", "B11", "B12")
AGES = ("D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3")

EVENT = """
name = "Made-up tile"
time_utc = 2017-08-08T13:19:46Z
[scenes]
coregister = "auto"
[scenes.post]
products = ["post"]
[scenes.pre]
products = ["pre"]
[dem]
path = "dem.tif"
[geology]
path = "geology.gpkg"
field = "age"
ages = ["D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3"]
[rain]
gauges = "gauges.csv"
unit = "mm"
[shaking]
shakemap = "grid.xml"
[faults]
path = "faults.gpkg"
[inventory]
path = "landslides.gpkg"
"""


def write_tile(folder: Path, pixels: int) -> Path:
    """Return the event file of a made-up tile of `pixels` x `pixels` pixels of 10 m, written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    bounds = (LEFT, TOP - 10 * pixels, LEFT + 10 * pixels, TOP)
    slides = _slides(bounds, random)
    gpd.GeoDataFrame(geometry=slides, crs=CRS).to_file(folder / "landslides.gpkg")
    for date, shift, bare in (("pre", 0, []), ("post", 40, slides)):
        _write_scene(folder / date, pixels, shift, random, bare=bare)
    _write_dem(folder / "dem.tif", bounds, random)
    _write_vectors(folder, bounds, random)
    _write_tables(folder, bounds, random)
    (folder / "event.toml").write_text(EVENT)
    return folder / "event.toml"


def _rough(shape: tuple[int, int], random: np.random.Generator) -> NDArray[np.float32]:
    """Return relief of several wavelengths, mean 0 and standard deviation near 1."""
    surface = np.zeros(shape, dtype=np.float32)
    for nodes, height in ((6, 1.0), (40, 0.3), (250, 0.1), (1000, 0.2)):
        coarse = random.normal(0, height, (nodes, nodes)).astype(np.float32)
        scaled = zoom(coarse, (shape[0] / nodes, shape[1] / nodes), order=1, mode="nearest", grid_mode=True)
        surface += scaled[: shape[0], : shape[1]]
    return surface


def _slides(bounds: tuple[float, ...], random: np.random.Generator) -> list[Polygon]:
    places = random.uniform(bounds[:2], bounds[2:], (5563, 2))
    radii = 10 + random.exponential(10, 5563)
    return [Point(place).buffer(radius, 4) for place, radius in zip(places, radii, strict=True)]


def _write_scene(folder: Path, pixels: int, shift: int, random: np.random.Generator, *, bare: list[Polygon]) -> None:
    folder.mkdir(exist_ok=True)
    for bands, step in ((AT_10_M, 1), (AT_20_M, 2)):
        side = pixels // step
        ground = 1500 + 300 * _rough((side, side), np.random.default_rng(7))
        if bare:
            transform = from_origin(LEFT, TOP, 10 * step, 10 * step)
            ground[rasterize(bare, (side, side), transform=transform, dtype=np.uint8) == 1] += 900
        for number, band in enumerate(bands):
            noise = random.integers(-60, 60, (side, side), dtype=np.int16)
            values = (ground + 120 * number + shift + noise).clip(1, 10_000).astype(np.uint16)
            values[: side // 50] = 0
            _write(folder / f"{band}_{10 * step}m.tif", values, step, scale=1e-4, nodata=0)
    scene_class = np.full((pixels // 2, pixels // 2), 4, dtype=np.uint8)
    scene_class[: pixels // 100] = 0
    scene_class[pixels // 4 : pixels // 3, pixels // 8 : pixels // 4] = 9
    _write(folder / "SCL_20m.tif", scene_class, 2, nodata=0)


def _write(path: Path, values: NDArray[np.generic], step: int, *, nodata: float, scale: float | None = None) -> None:
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": values.dtype.name,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
    }
    profile |= {
        "height": values.shape[0],
        "width": values.shape[1],
        "compress": "zstd",
        "zstd_level": 1,
        "predictor": 2,
    }
    with rasterio.open(
        path, "w", crs=CRS, transform=from_origin(LEFT, TOP, 10 * step, 10 * step), nodata=nodata, **profile
    ) as file:
        file.write(values, 1)
        if scale is not None:
            file.scales, file.offsets = (scale,), (0.0,)


def _write_dem(path: Path, bounds: tuple[float, ...], random: np.random.Generator) -> None:
    west, south, east, north = Transformer.from_crs(CRS, 4326, always_xy=True).transform_bounds(*bounds)
    step = 1 / 3600
    columns, rows = int((east - west) / step) + 20, int((north - south) / step) + 20
    metres = 2500 + 600 * _rough((rows, columns), random) + random.normal(0, 0.3, (rows, columns))
    transform = from_origin(west - 10 * step, south + (rows - 10) * step, step, step)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "tiled": True, "compress": "zstd", "predictor": 3}
    with rasterio.open(
        path, "w", height=rows, width=columns, crs=4326, transform=transform, nodata=-32768, **profile
    ) as f:
        f.write(metres.astype(np.float32), 1)


def _write_vectors(folder: Path, bounds: tuple[float, ...], random: np.random.Generator) -> None:
    left, bottom, right, top = bounds
    seeds = MultiPoint(random.uniform((left, bottom), (right, top), (200, 2)))
    units = [unit.segmentize(50.0) for unit in voronoi_polygons(seeds, extend_to=box(*bounds)).geoms]
    ages = [AGES[i % len(AGES)] for i in range(len(units))]
    gpd.GeoDataFrame({"age": ages}, geometry=units, crs=CRS).to_file(folder / "geology.gpkg")
    ends = random.uniform((left - 5000, bottom - 5000), (right + 5000, top + 5000), (12, 2, 2))
    gpd.GeoDataFrame(geometry=[LineString(pair) for pair in ends], crs=CRS).to_file(folder / "faults.gpkg")


def _write_tables(folder: Path, bounds: tuple[float, ...], random: np.random.Generator) -> None:
    west, south, east, north = Transformer.from_crs(CRS, 4326, always_xy=True).transform_bounds(*bounds)
    lon, lat = random.uniform(west - 0.3, east + 0.3, 30), random.uniform(south - 0.3, north + 0.3, 30)
    rain = 60 + 20 * np.sin(8 * lon) + random.normal(0, 3, 30)
    pd.DataFrame({"lon": lon, "lat": lat, "rain": rain}).to_csv(folder / "gauges.csv", index=False)
    step = 1 / 60
    first, last = np.floor((west - 0.1) / step) * step, np.ceil((north + 0.1) / step) * step
    columns, rows = int((east - west + 0.3) / step), int((north - south + 0.3) / step)
    lines = []
    for i in range(rows):
        for j in range(columns):
            x, y = first + j * step, last - i * step
            pga = 26 * np.exp(-((x - (west + east) / 2) ** 2 + (y - (south + north) / 2) ** 2) / 0.3)
            lines.append(f"{x:.4f} {y:.4f} {pga:.4f} 0.4")
    (folder / "grid.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" '
        'event_id="made-up" shakemap_version="1" code_version="4" map_status="RELEASED">\n'
        f'<grid_specification lon_min="{first}" lat_min="{last - (rows - 1) * step}" '
        f'lon_max="{first + (columns - 1) * step}" lat_max="{last}" nominal_lon_spacing="{step}" '
        f'nominal_lat_spacing="{step}" nlon="{columns}" nlat="{rows}" />\n'
        '<grid_field index="1" name="LON" units="dd" />\n<grid_field index="2" name="LAT" units="dd" />\n'
        '<grid_field index="3" name="PGA" units="pctg" />\n<grid_field index="4" name="STDPGA" units="ln(pctg)" />\n'
        f"<grid_data>\n{chr(10).join(lines)}\n</grid_data>\n</shakemap_grid>\n"
    )
