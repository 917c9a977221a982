"""Rasters that lie turned, sheared or upside down, that lie nowhere yet, or that are too large."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.rpc import RPC

from coslide.config.schema import BandFile, DemConfig, GeologyConfig, SceneConfig
from coslide.errors import InputError
from coslide.io.codes import read_codes
from coslide.io.raster import open_raster, read_coarse_raster
from coslide.io.resample import resample
from coslide.sources.dem import open_elevation
from coslide.sources.geology import read_strata
from coslide.sources.sentinel2 import open_scene

LEFT, BOTTOM, SIDE_PX = 575000.0, 4730000.0, 48
GRID = GeoBox((SIDE_PX, SIDE_PX), Affine(10, 0, LEFT, 0, -10, BOTTOM + 10 * SIDE_PX), "EPSG:32654")
PLACES = {
    "turned": Affine.rotation(30) * Affine.scale(10, -10),
    "turned by a right angle": Affine.rotation(90) * Affine.scale(10, -10),
    "turned backwards": Affine.rotation(-137) * Affine.scale(10, -10),
    "sheared": Affine.shear(40, 0) * Affine.scale(10, -10),
    "turned and sheared": Affine.rotation(20) * Affine.shear(30, 0) * Affine.scale(10, -10),
    "south up": Affine.scale(10, 10),
    "mirrored": Affine.rotation(33) * Affine.scale(-10, -10),
}


def height_m(x, y):
    return 300 + 0.1 * (x - LEFT) + 0.07 * (y - BOTTOM)


def centred(linear, size_px):
    """Put the middle of a raster on the middle of the grid."""
    x, y = linear @ (size_px / 2, size_px / 2)
    return Affine.translation(LEFT + 5 * SIDE_PX - x, BOTTOM + 5 * SIDE_PX - y) * linear


def centres(affine, size_px):
    rows, cols = np.mgrid[:size_px, :size_px] + 0.5
    return affine @ (cols, rows)


def write(path, values, **place):
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1}
    with rasterio.open(path, "w", dtype=values.dtype, **profile, **place) as file:
        file.write(values, 1)
    return path


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_raster_is_read_where_it_lies_however_it_is_turned(tmp_path, place):
    affine = centred(place, 160)
    values = height_m(*centres(affine, 160)).astype(np.float32)
    path = write(tmp_path / "raster.tif", values, crs="EPSG:32654", transform=affine)
    expected = height_m(*centres(GRID.affine, SIDE_PX))
    band = open_scene(SceneConfig(bands={"B2": BandFile(path=path)}), root=tmp_path).products[0].bands["B2"]
    coarse = read_coarse_raster(path, GRID)
    for found in (
        open_elevation(DemConfig(path=path), GRID).elevation(GRID),
        resample(band.geobox, band.read, GRID, how=Resampling.cubic),
        resample(coarse.geobox, lambda *part: coarse.values[part], GRID, how=Resampling.bilinear),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)  # the plane rises by 1.2 m a pixel


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_code_is_that_of_the_raster_pixel_however_it_is_turned(tmp_path, place):
    affine = centred(place * Affine.scale(4), 40)
    codes = np.random.default_rng(0).integers(1, 9, (40, 40)).astype(np.uint8)
    path = write(tmp_path / "codes.tif", codes, crs="EPSG:32654", transform=affine)
    found = read_codes(path, GRID, most=10, what="units")
    cols, rows = (np.floor(at + 1e-9).astype(int) for at in ~affine @ centres(GRID.affine, SIDE_PX))
    np.testing.assert_array_equal(found.codes[found.numbers - 1], codes[rows, cols])


def test_a_raster_placed_by_control_points_alone_is_named_so(tmp_path):
    values = np.full((20, 20), 300, np.int16)
    points = [GroundControlPoint(20 * r, 20 * c, LEFT + 200 * c, BOTTOM - 200 * r) for r, c in ((0, 0), (0, 1), (1, 0))]
    by_points = write(tmp_path / "points.tif", values, crs="EPSG:32654", gcps=points)
    numbers = {"err_bias": None, "err_rand": None, "height_off": 0, "height_scale": 1, "lat_off": 42, "lat_scale": 1}
    numbers |= {"line_off": 10, "line_scale": 10, "long_off": 141, "long_scale": 1, "samp_off": 10, "samp_scale": 10}
    ones = {f"{axis}_{part}_coeff": [1.0] * 20 for axis in ("line", "samp") for part in ("num", "den")}
    by_rpcs = write(tmp_path / "rpcs.tif", values, rpcs=RPC(**numbers, **ones))
    for path in (by_points, by_rpcs):
        with (
            pytest.raises(InputError, match=r"placed by control points \(GCPs\) or RPCs alone; rectify it"),
            open_raster(path, crs="EPSG:32654"),
        ):
            pass


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """A raster of 40,000 million pixels of a centimetre, in two megabytes."""
    path, size_px = tmp_path_factory.mktemp("sparse") / "sparse.tif", 200_000
    place = {"crs": "EPSG:32654", "transform": centred(Affine.scale(0.01, -0.01), size_px)}
    profile = {"driver": "GTiff", "height": size_px, "width": size_px, "count": 1, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "SPARSE_OK": True, "BIGTIFF": "YES"}
    with rasterio.open(path, "w", **profile, **place, **tiles):
        return path


@pytest.mark.parametrize(
    "read",
    [
        lambda path, grid: open_elevation(DemConfig(path=path), grid),
        lambda path, grid: open_scene(
            SceneConfig(bands={"B2": BandFile(path=path)}), root=path.parent
        ).check_radiometry(grid),
        lambda path, grid: read_strata(GeologyConfig(path=path, ages=(1,)), grid),
        read_coarse_raster,
    ],
    ids=["dem", "band", "codes", "shaking and rain"],
)
def test_a_raster_of_more_pixels_than_can_be_read_is_named_with_its_size(sparse, read):
    with pytest.raises(InputError, match=r"sparse.tif: has \d+ x \d+ pixels on the grid, expected at most .*coarser"):
        read(sparse, GRID.pad(SIDE_PX))
